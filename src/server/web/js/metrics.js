// The Prometheus text format, as much of it as the server panel reads.

// A map from name to its samples, [{labels, value}].
export function parseMetrics(text) {
    const all = new Map();
    for (const line of text.split("\n")) {
        const m = /^([A-Za-z_:][\w:]*)(?:\{(.*)\})?\s+(\S+)/.exec(line);
        if (!m) continue;
        const value = Number(m[3].replace("Inf", "Infinity"));
        if (Number.isNaN(value)) continue;
        const labels = {};
        for (const l of (m[2] || "").matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g)) labels[l[1]] = l[2];
        if (!all.has(m[1])) all.set(m[1], []);
        all.get(m[1]).push({ labels, value });
    }
    return all;
}

// The sum of a metric's samples whose labels are as wanted; undefined when there is none.
export function sumOf(metrics, name, wanted = {}) {
    const list = (metrics.get(name) || []).filter((s) =>
        Object.entries(wanted).every(([k, v]) => s.labels[k] === v));
    return list.length ? list.reduce((sum, s) => sum + s.value, 0) : undefined;
}

// The quantile q of a histogram (its buckets summed over other labels), as Prometheus estimates it:
// linear within the bucket. undefined when nothing was observed.
export function quantile(metrics, name, q) {
    const buckets = new Map();
    for (const s of metrics.get(name + "_bucket") || []) {
        const le = Number(String(s.labels.le).replace("Inf", "Infinity"));
        buckets.set(le, (buckets.get(le) || 0) + s.value);
    }
    const list = [...buckets].sort((a, b) => a[0] - b[0]);
    const total = list.at(-1)?.[1];
    if (!(total > 0)) return undefined;
    let below = 0;
    let from = 0;
    for (const [le, n] of list) {
        if (n >= q * total) {
            if (le === Infinity) return from;
            return from + (le - from) * (q * total - below) / Math.max(1e-12, n - below);
        }
        below = n;
        from = le;
    }
    return from;
}
