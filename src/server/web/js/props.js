// What GET /props and /v1/models say, in one shape; what is absent stays absent.
import { getJson } from "./api.js";
import { count, num } from "./format.js";

export function readProps(raw) {
    const memory = raw?.memory || {};
    const engine = raw?.engine || {};
    const path = String(raw?.model_path || "");
    const used = num(memory.kv_used);
    const cached = num(memory.cached) ?? num(memory.cache);
    return {
        name: String(raw?.model_alias || raw?.model || path.split("/").pop() || ""),
        path,
        nCtx: num(raw?.default_generation_settings?.n_ctx) ?? num(raw?.n_ctx),
        version: String(raw?.build_info || raw?.version || ""),
        slots: num(raw?.total_slots),
        weights: num(memory.weights),
        scratch: num(memory.scratch),
        limit: num(memory.limit),
        kvLimit: num(memory.kv_limit),
        cached,
        // Pages of running answers; what is only kept for later does not count as used.
        kvUsed: used === undefined ? undefined : Math.max(0, used - (cached || 0)),
        running: num(engine.running),
        waiting: num(engine.waiting),
        queueMax: num(engine.queue_max),
        queueSeconds: num(engine.queue_seconds),
        budgetMs: num(engine.itl_budget_ms),
        decodePerSecond: num(engine.decode_per_second),
        asked: num(engine.cache_asked_tokens),
        hit: num(engine.cache_hit_tokens),
    };
}

let listed = null;

// The first model of the list, asked for once: {id, meta}.
export function firstModel() {
    listed ||= getJson("v1/models").then((list) => list.data?.[0] || {});
    listed.catch(() => { listed = null; });
    return listed;
}

// "llama · Q4_1 · 135 M parameters"
export function describeModel(model) {
    const n = num(model?.meta?.n_params);
    const size = n === undefined ? "" : n < 1e9 ? `${count(n / 1e6)} M parameters`
        : `${(n / 1e9).toFixed(1)} G parameters`;
    return [model?.meta?.architecture, model?.meta?.quant, size].filter(Boolean).join(" · ");
}
