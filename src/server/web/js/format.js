// Numbers as people read them.

const integers = new Intl.NumberFormat("en");

export const count = (n) => integers.format(Math.round(n));

export const plural = (n, what) => `${count(n)} ${what}${Math.round(n) === 1 ? "" : "s"}`;

// Milliseconds: 0.8 ms, 312 ms, 1.24 s, 73 s, 5 min 12 s.
export function duration(ms) {
    if (ms < 0.05) return "0 ms";
    if (ms < 9.95) return ms.toFixed(1) + " ms";
    if (ms < 999.5) return Math.round(ms) + " ms";
    if (ms < 9995) return (ms / 1000).toFixed(2) + " s";
    if (ms < 99500) return (ms / 1000).toFixed(1) + " s";
    const s = Math.round(ms / 1000);
    return `${Math.floor(s / 60)} min ${s % 60} s`;
}

export const seconds = (ms) => (ms < 99500 ? (ms / 1000).toFixed(1) + " s" : duration(ms));

export function rate(perSecond) {
    if (perSecond < 99.95) return perSecond.toFixed(1);
    return count(perSecond);
}

export function bytes(n) {
    const units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let i = 0;
    while (n >= 1023.5 && i < units.length - 1) {
        n /= 1024;
        i++;
    }
    return (i === 0 || n >= 99.95 ? Math.round(n) : n.toFixed(1)) + " " + units[i];
}

export function percent(part, whole) {
    if (!(whole > 0)) return "0 %";
    const p = (100 * part) / whole;
    return (p > 0 && p < 1 ? "<1" : p > 99 && p < 100 ? ">99" : Math.round(p)) + " %";
}

// Anything that is not a finite number is undefined: absent fields stay absent.
export const num = (x) => (typeof x === "number" && Number.isFinite(x) ? x : undefined);
