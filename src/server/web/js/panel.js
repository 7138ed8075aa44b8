// The server panel: what everybody's requests are doing, asked for every second while it is seen.
import { getJson, getText } from "./api.js";
import { $, h, iconButton } from "./dom.js";
import { bytes, count, duration, num, percent, plural, rate } from "./format.js";
import { fillBar, Spark } from "./gauges.js";
import { parseMetrics, quantile, sumOf } from "./metrics.js";
import { describeModel, firstModel, readProps } from "./props.js";

const EVERY_MS = 1000;
const HISTORY = 60;

function card(title, ...kids) {
    const value = h("span", { class: "card-value" });
    const el = h("section", { class: "card" },
        h("h3", null, title), value, ...kids);
    return { el, value };
}

const row = (name, value) => h("div", { class: "row" }, h("span", null, name), h("span", null, value));

export class Panel {
    // onOpen(yes) is told when it opens or closes.
    constructor(onOpen) {
        this.el = $("panel");
        this.onOpen = onOpen;
        this.speeds = [];
        this.build();
        document.addEventListener("visibilitychange", () => this.schedule(0));
    }

    build() {
        this.state = h("span", { class: "state" });
        this.slots = h("div", { class: "slots" });
        this.waiting = h("div", { class: "g-note" });
        this.streams = card("Streams", this.slots, this.waiting);
        this.spark = new Spark("Tokens per second, last minute");
        this.speed = card("Tokens per second", this.spark.el);
        this.kvBar = h("div", { class: "bar" });
        this.kvNote = h("div", { class: "g-note" });
        this.kv = card("Keys and values", this.kvBar, this.kvNote);
        this.hitBar = h("div", { class: "bar" });
        this.hitNote = h("div", { class: "g-note" });
        this.hits = card("Prompt tokens from cache", this.hitBar, this.hitNote);
        this.memoryBar = h("div", { class: "bar tall" });
        this.memoryRows = h("div", { class: "rows" });
        this.memory = card("Memory", this.memoryBar, this.memoryRows);
        this.latency = card("Everybody's waiting times");
        this.latencyRows = h("div", { class: "rows" });
        this.latency.value.remove();
        this.latency.el.append(this.latencyRows);
        this.list = h("div", { class: "requests" });
        this.requests = card("Requests", this.list);
        this.title = h("div", { class: "panel-model" });
        this.error = h("p", { class: "error", hidden: true });
        this.el.append(
            h("div", { class: "panel-head" }, h("h2", null, "Server"), this.state,
                iconButton("close", "Close the server panel", () => this.open(false))),
            this.error, this.title, this.streams.el, this.speed.el, this.kv.el, this.hits.el,
            this.latency.el, this.memory.el, this.requests.el);
    }

    open(yes) {
        this.el.hidden = !yes;
        this.onOpen(yes);
        this.schedule(0);
    }

    // One timer; none while the panel or the page is hidden.
    schedule(ms) {
        clearTimeout(this.timer);
        if (this.el.hidden || document.hidden) return;
        this.timer = setTimeout(async () => {
            await this.poll();
            this.schedule(EVERY_MS);
        }, ms);
    }

    async poll() {
        if (this.busy) return;
        this.busy = true;
        const ask = { quiet: true };
        const got = await Promise.allSettled([getJson("props", ask), getJson("v1/requests", ask),
            this.noMetrics ? "" : getText("metrics", ask)]);
        this.model ||= await firstModel().catch(() => undefined);
        this.busy = false;
        const [props, requests, metrics] = got.map((g) => g.value);
        this.noMetrics = this.noMetrics || got[2].reason?.status === 404;
        const failed = got[0].status === "rejected" && got[1].status === "rejected";
        this.error.hidden = !failed;
        this.error.textContent = failed ? got[0].reason.message : "";
        this.state.textContent = failed ? "unreachable" : "running";
        this.state.classList.toggle("bad", failed);
        if (!failed) {
            this.draw(readProps(props), Array.isArray(requests?.data) ? requests.data : [],
                parseMetrics(metrics || ""));
        }
    }

    draw(props, list, metrics) {
        this.drawModel(props);
        this.drawStreams(props, list, metrics);
        this.drawSpeed(props, metrics);
        this.drawCaches(props, metrics);
        this.drawLatency(props, metrics);
        this.drawMemory(props);
        this.drawRequests(list);
    }

    drawModel(props) {
        const lines = [describeModel(this.model), [props.nCtx && `${count(props.nCtx)} tokens of context`,
            props.version && "brisk " + props.version].filter(Boolean).join(" · ")];
        this.title.replaceChildren(h("strong", { title: props.path }, props.name || "model"),
            ...lines.filter(Boolean).map((text) => h("span", null, text)));
    }

    drawStreams(props, list, metrics) {
        const queued = list.filter((r) => r.phase === "queued").length;
        const running = props.running ?? sumOf(metrics, "brisk_num_requests_running") ??
            list.length - queued;
        const waiting = props.waiting ?? sumOf(metrics, "brisk_num_requests_waiting") ?? queued;
        const slots = props.slots ?? 0;
        this.streams.value.replaceChildren(count(running),
            h("small", null, slots ? ` of ${count(slots)}` : " running"));
        const n = Math.min(64, Math.max(slots, running));
        while (this.slots.children.length > n) this.slots.lastChild.remove();
        while (this.slots.children.length < n) this.slots.append(h("i"));
        const reading = list.filter((r) => r.phase === "prefill").length;
        [...this.slots.children].forEach((el, i) => {
            el.className = i >= running ? "" : i < running - reading ? "decode" : "prefill";
        });
        this.waiting.textContent = waiting === 0 ? "nobody waits"
            : `${count(waiting)} in the queue` +
                (props.queueSeconds > 0.5 ? `, about ${duration(1000 * props.queueSeconds)}` : "");
    }

    drawSpeed(props, metrics) {
        const total = sumOf(metrics, "brisk_generation_tokens_total");
        const now = performance.now();
        // The counter is exact; without /metrics the engine's own rate stands in.
        let speed = props.running === 0 ? 0 : props.decodePerSecond;
        if (total !== undefined && this.total !== undefined && now > this.at) {
            speed = Math.max(0, (1000 * (total - this.total)) / (now - this.at));
        }
        this.total = total;
        this.at = now;
        if (speed === undefined) {
            if (!this.speeds.length) this.speed.value.textContent = "–";
            return;
        }
        this.speeds = [...this.speeds, speed].slice(-HISTORY);
        this.speed.value.textContent = rate(speed);
        this.spark.draw(this.speeds, undefined, `Tokens per second: ${rate(speed)} now`);
    }

    drawCaches(props, metrics) {
        const { kvUsed: used, cached = 0, kvLimit: limit } = props;
        const known = used !== undefined && limit > 0;
        this.kv.el.hidden = !known;
        if (known) {
            this.kv.value.replaceChildren(percent(used, limit), h("small", null, " in use"));
            fillBar(this.kvBar, [["m-kv", used], ["m-cache", cached]], limit - used - cached);
            this.kvNote.textContent = `${bytes(used)} by answers, ${bytes(cached)} kept for reuse, ` +
                `of ${bytes(limit)}`;
        }
        const asked = props.asked ?? sumOf(metrics, "brisk_prefix_cache_queries_total");
        const hit = props.hit ?? sumOf(metrics, "brisk_prefix_cache_hits_total");
        this.hits.el.hidden = asked === undefined || hit === undefined;
        this.hits.value.textContent = asked > 0 ? percent(hit, asked) : "–";
        fillBar(this.hitBar, [["cache", hit || 0]], asked - hit || 1);
        this.hitNote.textContent = `${count(hit || 0)} of ${count(asked || 0)} since the start`;
    }

    drawLatency(props, metrics) {
        const rows = [];
        const add = (name, metric) => {
            const p50 = quantile(metrics, metric, 0.5);
            const p99 = quantile(metrics, metric, 0.99);
            if (p50 === undefined) return;
            rows.push(row(name, `${duration(1000 * p50)} · p99 ${duration(1000 * p99)}`));
        };
        add("first token", "brisk_time_to_first_token_seconds");
        add("gap", "brisk_inter_token_latency_seconds");
        if (props.budgetMs) rows.push(row("gap allowed", duration(props.budgetMs)));
        const exceeded = sumOf(metrics, "brisk_itl_budget_exceeded_total");
        if (exceeded) rows.push(row("exceeded", plural(exceeded, "time")));
        this.latency.el.hidden = !rows.length;
        this.latencyRows.replaceChildren(...rows);
    }

    // The account: what is not used of the memory for keys and values is free.
    drawMemory(props) {
        const parts = [["weights", "weights", props.weights],
            ["kv", "keys and values in use", props.kvUsed], ["cache", "kept for reuse", props.cached],
            ["scratch", "scratch", props.scratch]].filter((p) => p[2] !== undefined);
        this.memory.el.hidden = !parts.length;
        const sum = parts.reduce((a, p) => a + p[2], 0);
        const free = Math.max(0, (props.limit || 0) - sum);
        this.memory.value.replaceChildren(bytes(sum),
            h("small", null, props.limit ? ` of ${bytes(props.limit)}` : ""));
        fillBar(this.memoryBar, parts.map((p) => ["m-" + p[0], p[2]]), free);
        this.memoryRows.replaceChildren(...[...parts, ...free ? [["free", "free", free]] : []].map(
            ([part, label, n]) => h("div", { class: "row" },
                h("span", { class: "key k-m-" + part }, label), h("span", null, bytes(n)))));
    }

    drawRequests(list) {
        this.requests.value.textContent = list.length ? count(list.length) : "none";
        this.list.replaceChildren(...list.slice(0, 20).map((r) => {
            const prompt = num(r.prompt_tokens) || 0;
            const done = num(r.generated_tokens) || 0;
            const read = num(r.computed_tokens);
            const detail = r.phase === "decode" ? plural(done, "token")
                : r.phase === "prefill" && read !== undefined
                    ? `reads ${count(read)} of ${count(prompt)}`
                : r.phase === "queued" && num(r.eta_ms) !== undefined
                    ? "in about " + duration(r.eta_ms) : `prompt of ${count(prompt)}`;
            return h("div", { class: "request" },
                h("span", { class: "phase p-" + String(r.phase).replace(/\W/g, "") },
                    String(r.phase || "")),
                h("span", null, detail),
                h("span", { class: "age" }, num(r.age_ms) === undefined ? "" : duration(r.age_ms)));
        }));
        if (list.length > 20) this.list.append(h("div", { class: "g-note" }, `and ${list.length - 20} more`));
    }
}
