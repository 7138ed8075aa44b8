// The four gauges under an answer: time to first token, speed, gaps between tokens, prompt cache.
// In full under the newest answer, as one line under older ones.
import { h, iconButton, svg } from "./dom.js";
import { count, duration, percent, plural, rate, seconds } from "./format.js";
import { firstTokenParts } from "./meter.js";

const W = 200;
const H = 36;

function gauge(name, label) {
    const value = h("span", { class: "g-value" });
    const graph = h("div", { class: "g-graph" });
    const note = h("div", { class: "g-note" });
    const el = h("div", { class: "g g-" + name }, h("span", { class: "g-label" }, label), value, graph,
        note);
    return { el, value, graph, note };
}

// A number and its unit, the unit quieter.
function measure(to, text) {
    const m = /^([<>]?[\d,.]+)\s(.*)$/.exec(text);
    to.replaceChildren(...(m ? [m[1], h("small", null, " " + m[2])] : [text]));
}

// Points of a series as a path across the graph, scaled to its top.
export function linePath(values, top) {
    const step = values.length > 1 ? W / (values.length - 1) : W;
    return values.map((v, i) =>
        (i ? "L" : "M") + (i * step).toFixed(1) + " " + (H - 2 - (H - 6) * v / top).toFixed(1)).join("");
}

// A line graph with the ground under it shaded; mark: index of a point to mark.
export class Spark {
    constructor(label) {
        this.area = svg("path", { class: "area" });
        this.line = svg("path", { class: "line", "vector-effect": "non-scaling-stroke" });
        this.dot = h("i", { class: "dot", hidden: true });
        this.svg = svg("svg", { viewBox: `0 0 ${W} ${H}`, preserveAspectRatio: "none", role: "img",
            "aria-label": label }, this.area, this.line);
        this.el = h("div", { class: "spark" }, this.svg, this.dot);
    }

    draw(values, mark, label) {
        if (label) this.svg.setAttribute("aria-label", label);
        const top = Math.max(1e-9, ...values);
        const path = values.length > 1 ? linePath(values, top) : "";
        this.line.setAttribute("d", path);
        this.area.setAttribute("d", path && `${path}L${W} ${H}L0 ${H}Z`);
        this.dot.hidden = mark === undefined || values.length < 2;
        if (this.dot.hidden) return;
        this.dot.style.left = (100 * mark) / (values.length - 1) + "%";
        this.dot.style.top = (100 * (H - 2 - (H - 6) * values[mark] / top)) / H + "%";
    }
}

// A bar of parts: [[class, size], ...]; free: what is left of the whole.
export function fillBar(bar, parts, free) {
    const list = parts.filter((p) => p[1] > 0);
    while (bar.children.length > list.length + 1) bar.lastChild.remove();
    while (bar.children.length < list.length + 1) bar.append(h("i"));
    list.forEach(([name, size], i) => {
        bar.children[i].className = "s-" + name;
        bar.children[i].style.flexGrow = size;
    });
    bar.lastChild.className = "s-free";
    bar.lastChild.style.flexGrow = Math.max(0, free || 0);
}

export class Gauges {
    constructor() {
        this.first = gauge("first", "First token");
        this.speed = gauge("speed", "Speed");
        this.gaps = gauge("gaps", "Gaps between tokens");
        this.cache = gauge("cache", "Prompt from cache");
        this.bar = h("div", { class: "bar" });
        this.first.graph.append(this.bar);
        this.cacheBar = h("div", { class: "bar" });
        this.cache.graph.append(this.cacheBar);
        this.spark = new Spark("Gaps between tokens");
        this.gaps.graph.append(this.spark.el);
        this.full = h("div", { class: "gauges-full" },
            [this.first, this.speed, this.gaps, this.cache].map((g) => g.el));
        this.line = h("div", { class: "gauges-line" });
        this.el = h("section", { class: "gauges", "aria-label": "What this answer cost" }, this.line,
            this.full);
        this.button = iconButton("gauge", "Show or hide the gauges", () => this.open(this.full.hidden));
        this.open(true);
    }

    open(yes) {
        this.full.hidden = !yes;
        this.line.hidden = yes;
        this.button.setAttribute("aria-expanded", String(yes));
    }

    // liveMs: time since the request was sent, while it runs.
    update(s, liveMs) {
        this.el.dataset.phase = s.phase;
        this.showFirst(s, liveMs);
        this.showSpeed(s, liveMs);
        this.showGaps(s);
        this.showCache(s);
        this.line.textContent = [
            s.ttftMs !== undefined && duration(s.ttftMs) + " to first token",
            s.perSecond !== undefined && rate(s.perSecond) + " tokens/s",
            s.tokens > 0 && plural(s.tokens, "token"),
            s.gapMax !== undefined && "worst gap " + duration(s.gapMax),
            s.cachedTokens > 0 && percent(s.cachedTokens, s.promptTokens) + " cached",
        ].filter(Boolean).join("  ·  ");
    }

    showFirst(s, liveMs) {
        const { total, parts } = firstTokenParts(s, liveMs);
        measure(this.first.value, duration(total));
        fillBar(this.bar, parts.map((p) => [p[0], p[2]]), parts.length ? 0 : 1);
        this.first.note.replaceChildren(...parts.map(([name, label, ms]) =>
            h("span", { class: "key k-" + name }, `${label} ${duration(ms)}`)));
    }

    showSpeed(s, liveMs) {
        measure(this.speed.value, s.perSecond === undefined ? "–" : rate(s.perSecond) + " tokens/s");
        const ms = s.phase === "done" ? s.elapsedMs : liveMs;
        this.speed.note.textContent = s.tokens > 0 ? `${plural(s.tokens, "token")} in ${seconds(ms)}`
            : s.phase === "done" ? "no tokens" : "";
    }

    showGaps(s) {
        const worst = s.gapMax === undefined ? undefined
            : s.gaps.indexOf(Math.max(...s.gaps));
        measure(this.gaps.value, s.gapMax === undefined ? "–" : duration(s.gapMax) + " worst");
        this.spark.draw(s.gaps, worst, s.gapMax === undefined ? "" :
            `Gaps between tokens; the worst, ${duration(s.gapMax)}, before token ${s.gapMaxAt + 1}`);
        this.gaps.note.replaceChildren(...[["median", s.gapMedian], ["p99", s.gapP99]]
            .filter(([, ms]) => ms !== undefined)
            .map(([name, ms]) => h("span", { class: "part" }, `${name} ${duration(ms)}`)));
        this.gaps.el.title = s.serverGapMax === undefined ? ""
            : `Worst as the server saw it: ${duration(s.serverGapMax)}`;
    }

    showCache(s) {
        const known = s.promptTokens !== undefined && s.cachedTokens !== undefined;
        measure(this.cache.value, known ? percent(s.cachedTokens, s.promptTokens) : "–");
        fillBar(this.cacheBar, known ? [["cache", s.cachedTokens]] : [],
            known ? s.promptTokens - s.cachedTokens : 1);
        this.cache.note.textContent = !known ? ""
            : `cached ${count(s.cachedTokens)} of ${count(s.promptTokens)} prompt tokens`;
        this.cache.el.title = [s.source && "from " + s.source, s.reason].filter(Boolean).join("; ");
    }
}
