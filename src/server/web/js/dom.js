// Making elements, icons, short notices.

// h("button", {class: "icon", onclick: f}, "text", node, [more]): an element. Properties that begin
// with "on" are listeners; true sets an empty attribute; null, undefined and false set nothing.
export function h(tag, props, ...kids) {
    const el = document.createElement(tag);
    for (const [name, value] of Object.entries(props || {})) {
        if (value === null || value === undefined || value === false) continue;
        if (name.startsWith("on")) el.addEventListener(name.slice(2), value);
        else if (name === "icon") el.append(icon(value));
        else el.setAttribute(name, value === true ? "" : value);
    }
    el.append(...kids.flat().filter((k) => k !== null && k !== undefined && k !== false));
    return el;
}

export const $ = (id) => document.getElementById(id);

const SVG = "http://www.w3.org/2000/svg";

export function svg(tag, props, ...kids) {
    const el = document.createElementNS(SVG, tag);
    for (const [name, value] of Object.entries(props || {})) el.setAttribute(name, value);
    el.append(...kids);
    return el;
}

// Strokes on a field of 24 by 24.
const PATHS = {
    plus: "M12 5v14M5 12h14",
    close: "M6 6l12 12M18 6L6 18",
    menu: "M4 7h16M4 12h16M4 17h10",
    sliders: "M4 8h9M19 8h1M4 16h1M11 16h9M13 8a3 3 0 106 0 3 3 0 10-6 0M5 16a3 3 0 106 0 3 3 0 10-6 0",
    pulse: "M3 12h4l3-8 4 16 3-8h4",
    moon: "M20 14.5A8.5 8.5 0 019.5 4 8.5 8.5 0 1020 14.5z",
    sun: "M12 8a4 4 0 100 8 4 4 0 100-8M12 2v2M12 20v2M2 12h2M20 12h2M5 5l1.5 1.5M17.5 17.5L19 19M5 19l1.5-1.5M17.5 6.5L19 5",
    upload: "M12 15V4M7 9l5-5 5 5M5 20h14",
    download: "M12 4v11M7 10l5 5 5-5M5 20h14",
    help: "M12 3a9 9 0 100 18 9 9 0 100-18M9.7 9.5a2.4 2.4 0 114 1.9c-1 .7-1.7 1.1-1.7 2.3M12 16.8v.2",
    up: "M12 19V5M6 11l6-6 6 6",
    down: "M12 5v14M6 13l6 6 6-6",
    stop: "M8 8h8v8H8z",
    copy: "M9 9h10v11H9zM6 15H5V4h10v2",
    check: "M5 12.5l4.5 4.5L19 7.5",
    edit: "M4 20l1-4L16.5 4.5l3 3L8 19l-4 1M14 7l3 3",
    again: "M20 5v5h-5M19.5 10A8 8 0 1020 14",
    left: "M14.5 6l-6 6 6 6",
    right: "M9.5 6l6 6-6 6",
    trash: "M5 7h14M10 7V4h4v3M7 7l1 13h8l1-13M10.5 11v5.5M13.5 11v5.5",
    gauge: "M4 17a8.5 8.5 0 1116 0M12 15l4-5.5",
    tool: "M14.5 6.5a4 4 0 015-1l-2.5 2.5 1 1 2.5-2.5a4 4 0 01-5.2 5.2L8.5 18.5a1.8 1.8 0 01-2.5-2.5l6.8-6.8a4 4 0 011.7-2.7",
};

export function icon(name) {
    return svg("svg", { viewBox: "0 0 24 24", class: "i i-" + name, "aria-hidden": "true" },
        svg("path", { d: PATHS[name] }));
}

// Puts the icon that data-icon names at the front of every button under root.
export function addIcons(root) {
    for (const el of root.querySelectorAll("[data-icon]")) setIcon(el, el.dataset.icon);
}

export function setIcon(el, name) {
    el.querySelector("svg.i")?.remove();
    el.prepend(icon(name));
}

export function iconButton(name, label, onclick, extra) {
    return h("button", { class: "icon", type: "button", "aria-label": label, title: label,
        onclick, icon: name, ...extra });
}

// A notice that leaves by itself; action: {label, run}.
export function toast(text, action) {
    const el = h("div", { class: "toast" }, h("span", null, text));
    const leave = () => el.remove();
    if (action) {
        el.append(h("button", { type: "button", onclick: () => { leave(); action.run(); } },
            action.label));
    }
    $("toasts").append(el);
    while ($("toasts").children.length > 3) $("toasts").firstChild.remove();
    setTimeout(leave, action ? 8000 : 4500);
}

// Said by screen readers, seen by nobody.
export const announce = (text) => { $("announce").textContent = text; };

// Copies, also where the page came over plain http from another machine and the clipboard is shut.
export async function copyText(text, button) {
    let done = false;
    try {
        await navigator.clipboard.writeText(text);
        done = true;
    } catch {
        const area = h("textarea", { class: "hidden", "aria-hidden": "true" });
        area.value = text;
        document.body.append(area);
        area.select();
        done = document.execCommand("copy");
        area.remove();
    }
    if (!done) {
        toast("The browser did not allow copying");
        return;
    }
    setIcon(button, "check");
    button.classList.add("done");
    announce("Copied");
    setTimeout(() => {
        setIcon(button, "copy");
        button.classList.remove("done");
    }, 1500);
}
