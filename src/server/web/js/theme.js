// Dark or light before anything is drawn: the visitor's choice, else what the system prefers.
(function () {
    "use strict";
    const system = matchMedia("(prefers-color-scheme: dark)");
    const apply = () => {
        let choice = null;
        try {
            choice = localStorage.getItem("brisk.theme");
        } catch { /* storage is switched off */ }
        const dark = choice ? choice === "dark" : system.matches;
        document.documentElement.dataset.theme = dark ? "dark" : "light";
        const color = document.querySelector('meta[name="theme-color"]');
        if (color) color.content = dark ? "#171614" : "#faf9f7";
    };
    system.addEventListener("change", apply);
    addEventListener("brisk-theme", apply);
    apply();
})();
