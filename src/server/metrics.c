#include "server/metrics.h"

#include <inttypes.h>
#include <math.h>

/* ---- Distributions ------------------------------------------------------------------------------ */

/* A processor's times: a first token may take minutes, a gap is felt from tens of milliseconds on. */
static const double first_bounds[] = {0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1,  2.5,
                                      5,    10,    20,   40,  80,   160, 300};
static const double gap_bounds[] = {0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1,
                                    0.15,  0.25,  0.5,  1,    2.5,  5,    10};
static const double whole_bounds[] = {0.1, 0.25, 0.5, 1,   2.5, 5,   10,
                                      20,  40,   80,  160, 300, 600, 1200};
static const double token_bounds[] = {1,   2,    5,    10,   20,    50,    100,   200,
                                      500, 1000, 2000, 5000, 10000, 20000, 50000, 100000};

#define BOUNDS(b) b, BK_ARRAY_LEN(b)

static const struct distribution {
    const char *name, *vllm, *help; /* vllm: its name there */
    const double *bounds;
    size_t n_bounds;
} distributions[SV_DISTRIBUTIONS] = {
    [SV_TTFT] = {"time_to_first_token_seconds", "time_to_first_token_seconds",
                 "From a request's arrival to its first token.", BOUNDS(first_bounds)},
    [SV_ITL] = {"inter_token_latency_seconds", "inter_token_latency_seconds",
                "Between two tokens of one answer.", BOUNDS(gap_bounds)},
    [SV_TPOT] = {"time_per_output_token_seconds", "request_time_per_output_token_seconds",
                 "Mean time of a request's tokens after the first.", BOUNDS(gap_bounds)},
    [SV_QUEUE_TIME] = {"request_queue_time_seconds", "request_queue_time_seconds",
                       "From a request's arrival to its start.", BOUNDS(first_bounds)},
    [SV_PREFILL_TIME] = {"request_prefill_time_seconds", "request_prefill_time_seconds",
                         "From a request's start to its prompt computed.", BOUNDS(first_bounds)},
    [SV_DECODE_TIME] = {"request_decode_time_seconds", "request_decode_time_seconds",
                        "From a request's first token to its last.", BOUNDS(whole_bounds)},
    [SV_E2E_TIME] = {"e2e_request_latency_seconds", "e2e_request_latency_seconds",
                     "From a request's arrival to its end.", BOUNDS(whole_bounds)},
    [SV_PROMPT_TOKENS] = {"request_prompt_tokens", "request_prompt_tokens",
                          "Tokens of a request's prompt, cached ones included.",
                          BOUNDS(token_bounds)},
    [SV_GENERATION_TOKENS] = {"request_generation_tokens", "request_generation_tokens",
                              "Tokens of a request's answer.", BOUNDS(token_bounds)},
};

_Static_assert(BK_ARRAY_LEN(token_bounds) <= SV_HISTOGRAM_BOUNDS, "room for every bound");
_Static_assert(BK_ARRAY_LEN(first_bounds) <= SV_HISTOGRAM_BOUNDS, "room for every bound");

void sv_metrics_init(sv_metrics *m) {
    *m = (sv_metrics){0};
    for (size_t i = 0; i < SV_DISTRIBUTIONS; i++) {
        m->of[i].bounds = distributions[i].bounds;
        m->of[i].n_bounds = distributions[i].n_bounds;
    }
}

/* What is no number, or below zero, is not a measurement. */
void sv_observe(sv_histogram *h, double value) {
    size_t i = 0;
    if (!(value >= 0) || isinf(value)) return;
    while (i < h->n_bounds && value > h->bounds[i]) i++;
    h->count[i]++;
    h->sum += value;
}

/* ---- Requests ----------------------------------------------------------------------------------- */

static const char *const finishes[SV_FINISHES] = {"stop", "length", "tool_calls", "cancelled",
                                                  "error"};
enum { FINISH_CANCELLED = 3, FINISH_ERROR = 4 };

static const char *const stages[SV_STAGES] = {"queue", "prefill", "decode", NULL};

/* By reason; the first row that fits counts. status 0: any; code NULL: any; reason NULL: had been taken
 * in, and is counted where it ended. */
static const struct rejection {
    int status;
    const char *code, *reason;
} rejections[SV_REJECTIONS] = {
    {0, "cancelled", NULL},     {500, NULL, NULL},
    {504, NULL, NULL},          {0, "context_length_exceeded", "context_length"},
    {400, NULL, "invalid"},     {401, NULL, "unauthorized"},
    {413, NULL, "too_large"},   {429, NULL, "queue_full"},
    {503, NULL, "unavailable"}, {0, NULL, "other"},
};

void sv_metrics_gap(sv_metrics *m, double ms) { sv_observe(&m->of[SV_ITL], ms / 1e3); }

void sv_metrics_request(sv_metrics *m, const brisk_request_stats *stats, sv_stage stage,
                        const char *finish, double e2e_ms) {
    size_t i = 0;
    if (stage >= SV_IN_PREFILL) sv_observe(&m->of[SV_QUEUE_TIME], stats->queue_ms / 1e3);
    if (stage >= SV_IN_DECODE && stats->generated_tokens > 0)
        sv_observe(&m->of[SV_TTFT], stats->first_token_ms / 1e3);
    if (stage < SV_DONE) {
        m->cancelled[stage]++;
        m->finished[FINISH_CANCELLED]++;
        return;
    }
    while (i < FINISH_ERROR && !(finish && strcmp(finish, finishes[i]) == 0)) i++;
    m->finished[i]++;
    size_t generated = stats->generated_tokens;
    sv_observe(&m->of[SV_PREFILL_TIME], stats->prefill_ms / 1e3);
    sv_observe(&m->of[SV_E2E_TIME], e2e_ms / 1e3);
    sv_observe(&m->of[SV_PROMPT_TOKENS], (double)stats->prompt_tokens);
    if (generated == 0) return; /* an embedding, or a prompt alone */
    sv_observe(&m->of[SV_GENERATION_TOKENS], (double)generated);
    sv_observe(&m->of[SV_DECODE_TIME], stats->decode_ms / 1e3);
    if (generated > 1)
        sv_observe(&m->of[SV_TPOT], stats->decode_ms / 1e3 / (double)(generated - 1));
}

void sv_metrics_rejected(sv_metrics *m, int status, const char *code) {
    for (size_t i = 0; i < SV_REJECTIONS; i++) {
        const struct rejection *r = &rejections[i];
        if (r->status && r->status != status) continue;
        if (r->code && !(code && strcmp(code, r->code) == 0)) continue;
        m->rejected[i]++;
        return;
    }
}

sv_compat sv_compat_of(const char *name) {
    if (name && strcmp(name, "vllm") == 0) return SV_COMPAT_VLLM;
    return name && strcmp(name, "llamacpp") == 0 ? SV_COMPAT_LLAMACPP : SV_COMPAT_NONE;
}

/* ---- Text --------------------------------------------------------------------------------------- */

typedef struct writer {
    bk_buf *out;
    const char *prefix; /* of names: "brisk_" */
    const char *labels; /* of every sample: model="..." */
} writer;

/* A label's value: backslash, quote and newline have escapes, other bytes are UTF-8. */
static void put_escaped(bk_buf *out, const char *z) {
    size_t len = strlen(z);
    for (size_t i = 0; i < len;) {
        uint32_t cp;
        size_t n = bk_utf8_decode(z + i, len - i, &cp);
        if (cp == 0xFFFFFFFF)
            bk_buf_append_str(out, "\xEF\xBF\xBD");
        else if (z[i] == '\n')
            bk_buf_append_str(out, "\\n");
        else if (z[i] == '"' || z[i] == '\\')
            bk_buf_printf(out, "\\%c", z[i]);
        else
            bk_buf_append(out, z + i, n);
        i += n;
    }
}

static void put_head(const writer *w, const char *name, const char *type, const char *help) {
    bk_buf_printf(w->out, "# HELP %s%s %s\n# TYPE %s%s %s\n", w->prefix, name, help, w->prefix,
                  name, type);
}

static void put_value(bk_buf *out, double v) {
    /* 15 digits are exact up to 10^15, and short otherwise. */
    bk_buf_printf(out, "%.15g\n", isfinite(v) ? v : 0.0);
}

/* One sample; key NULL: no label but the common ones. */
static void put_sample(const writer *w, const char *name, const char *key, const char *word,
                       double v) {
    bk_buf_printf(w->out, "%s%s{%s", w->prefix, name, w->labels);
    if (key) {
        bk_buf_printf(w->out, ",%s=\"", key);
        put_escaped(w->out, word);
        bk_buf_putc(w->out, '"');
    }
    bk_buf_append_str(w->out, "} ");
    put_value(w->out, v);
}

static void put_one(const writer *w, const char *name, const char *type, const char *help,
                    double v) {
    put_head(w, name, type, help);
    put_sample(w, name, NULL, NULL, v);
}

/* The lines of a histogram whose buckets are counted one by one; the last one has no bound. */
static void put_buckets(const writer *w, const char *name, const char *extra, const double *bounds,
                        const uint64_t *count, size_t n, double sum) {
    uint64_t total = 0;
    for (size_t i = 0; i < n; i++) {
        total += count[i];
        bk_buf_printf(w->out, "%s%s_bucket{%s%s,le=\"", w->prefix, name, w->labels, extra);
        if (i + 1 < n)
            bk_buf_printf(w->out, "%.9g", bounds[i]);
        else
            bk_buf_append_str(w->out, "+Inf");
        bk_buf_printf(w->out, "\"} %" PRIu64 "\n", total);
    }
    bk_buf_printf(w->out, "%s%s_sum{%s%s} ", w->prefix, name, w->labels, extra);
    put_value(w->out, sum);
    bk_buf_printf(w->out, "%s%s_count{%s%s} %" PRIu64 "\n", w->prefix, name, w->labels, extra,
                  total);
}

static void put_histogram(const writer *w, const char *name, const char *help,
                          const sv_histogram *h) {
    put_head(w, name, "histogram", help);
    put_buckets(w, name, "", h->bounds, h->count, h->n_bounds + 1, h->sum);
}

/* ---- brisk's own names -------------------------------------------------------------------------- */

static void put_steps(const writer *w, const brisk_engine_stats *e) {
    static const char *const kinds[BRISK_STEP_KINDS] = {
        [BRISK_STEP_DECODE] = ",kind=\"decode\"",
        [BRISK_STEP_PREFILL] = ",kind=\"prefill\"",
        [BRISK_STEP_MIXED] = ",kind=\"mixed\"",
    };
    static const char name[] = "step_duration_seconds";
    put_head(w, name, "histogram", "One pass over the weights, by what was in it.");
    for (size_t i = 0; i < BRISK_STEP_KINDS; i++) {
        put_buckets(w, name, kinds[i], e->step_bounds, e->step_count[i], BRISK_STEP_BUCKETS,
                    e->step_seconds[i]);
    }
}

static void put_rows(const writer *w, const brisk_engine_stats *e) {
    static const char name[] = "iteration_tokens";
    put_head(w, name, "histogram", "Tokens in one pass, of prompts and answers.");
    put_buckets(w, name, "", e->row_bounds, e->row_count, BRISK_STEP_BUCKETS, (double)e->rows);
}

static double computed_tokens(const brisk_engine_stats *e) {
    return e->prompt_tokens > e->cached_tokens ? (double)(e->prompt_tokens - e->cached_tokens) : 0;
}

static void put_counters(const writer *w, const sv_metrics *m, const brisk_engine_stats *e) {
    put_head(w, "prompt_tokens_total", "counter", "Tokens of prompts, by where they came from.");
    put_sample(w, "prompt_tokens_total", "source", "computed", computed_tokens(e));
    put_sample(w, "prompt_tokens_total", "source", "memory_cache", (double)e->cached_tokens);
    put_one(w, "generation_tokens_total", "counter", "Tokens of answers.",
            (double)e->generated_tokens);
    put_head(w, "requests_total", "counter", "Requests that ended, by how.");
    for (size_t i = 0; i < SV_FINISHES; i++) {
        put_sample(w, "requests_total", "finish_reason", finishes[i], (double)m->finished[i]);
    }
    put_head(w, "requests_cancelled_total", "counter",
             "Requests whose client left or called them back, by how far they were.");
    for (size_t i = 0; i < SV_DONE; i++) {
        put_sample(w, "requests_cancelled_total", "phase", stages[i], (double)m->cancelled[i]);
    }
    put_head(w, "requests_rejected_total", "counter", "Requests that were refused, by why.");
    for (size_t i = 0; i < SV_REJECTIONS; i++) {
        if (!rejections[i].reason) continue;
        put_sample(w, "requests_rejected_total", "reason", rejections[i].reason,
                   (double)m->rejected[i]);
    }
    put_one(w, "itl_budget_exceeded_total", "counter", "Gaps between tokens beyond the budget.",
            (double)e->over_budget);
    put_one(w, "preemptions_total", "counter", "Running requests that had to make room.",
            (double)e->preemptions);
    put_one(w, "prefix_cache_queries_total", "counter", "Tokens looked up in the prefix cache.",
            (double)e->cache_asked_tokens);
    put_one(w, "prefix_cache_hits_total", "counter", "Tokens found in the prefix cache.",
            (double)e->cache_hit_tokens);
    put_head(w, "cache_evicted_tokens_total", "counter", "Tokens that left the prefix cache.");
    put_sample(w, "cache_evicted_tokens_total", "tier", "memory", (double)e->cache_evicted_tokens);
}

static double kv_usage(const brisk_engine_stats *e) {
    double limit = (double)e->memory.kv_limit;
    return limit > 0 ? (double)e->memory.kv_used / limit : 0;
}

static void put_gauges(const writer *w, const brisk_engine_stats *e) {
    const brisk_engine_memory *mem = &e->memory;
    uint64_t kv = mem->kv_used > mem->cached ? mem->kv_used - mem->cached : 0;
    put_one(w, "num_requests_running", "gauge", "Requests in the running batch.", e->running);
    put_one(w, "num_requests_waiting", "gauge", "Requests that have not started.", e->waiting);
    put_one(w, "kv_cache_usage_ratio", "gauge", "Memory of keys and values that is in use, 0 to 1.",
            kv_usage(e));
    put_head(w, "cache_bytes", "gauge", "Memory of the prefix cache.");
    put_sample(w, "cache_bytes", "tier", "memory", (double)mem->cached);
    put_head(w, "memory_bytes", "gauge", "Memory in use, by what for.");
    put_sample(w, "memory_bytes", "part", "weights", (double)mem->weights);
    put_sample(w, "memory_bytes", "part", "kv", (double)kv);
    put_sample(w, "memory_bytes", "part", "cache", (double)mem->cached);
    put_sample(w, "memory_bytes", "part", "scratch", (double)mem->scratch);
    put_one(w, "memory_limit_bytes", "gauge", "What all parts together may take.",
            (double)mem->limit);
    put_one(w, "prefill_chunk_tokens", "gauge", "Prompt tokens in the latest step that had any.",
            (double)e->chunk);
    put_one(w, "itl_budget_seconds", "gauge", "Longest gap that prompts of others may cause.",
            e->itl_budget_ms / 1e3);
    put_head(w, "tokens_per_second", "gauge", "Measured lately.");
    put_sample(w, "tokens_per_second", "phase", "prefill", e->prefill_per_second);
    put_sample(w, "tokens_per_second", "phase", "decode", e->decode_per_second);
}

static void put_infos(const writer *w, const brisk_model_info *info) {
    put_head(w, "build_info", "gauge", "The program.");
    put_sample(w, "build_info", "version", brisk_version(), 1);
    put_head(w, "model_info", "gauge", "The model.");
    bk_buf_printf(w->out, "%smodel_info{%s,architecture=\"", w->prefix, w->labels);
    put_escaped(w->out, info->architecture);
    bk_buf_append_str(w->out, "\",quantization=\"");
    put_escaped(w->out, info->quantization);
    bk_buf_append_str(w->out, "\",kv_type=\"");
    put_escaped(w->out, info->kv_type);
    bk_buf_append_str(w->out, "\",cpu_level=\"");
    put_escaped(w->out, info->cpu_level);
    bk_buf_append_str(w->out, "\"} 1\n");
}

/* ---- Names of others ---------------------------------------------------------------------------- */

/* vLLM's, of its engine V1. */
static void put_vllm(const writer *w, const sv_metrics *m, const brisk_engine_stats *e) {
    put_one(w, "num_requests_running", "gauge", "Requests in the running batch.", e->running);
    put_one(w, "num_requests_waiting", "gauge", "Requests that have not started.", e->waiting);
    put_one(w, "kv_cache_usage_perc", "gauge", "Keys and values in use, 0 to 1.", kv_usage(e));
    put_one(w, "prefix_cache_queries_total", "counter", "Tokens looked up in the prefix cache.",
            (double)e->cache_asked_tokens);
    put_one(w, "prefix_cache_hits_total", "counter", "Tokens found in the prefix cache.",
            (double)e->cache_hit_tokens);
    put_one(w, "num_preemptions_total", "counter", "Requests that had to make room.",
            (double)e->preemptions);
    put_one(w, "prompt_tokens_total", "counter", "Tokens of prompts.", (double)e->prompt_tokens);
    put_one(w, "generation_tokens_total", "counter", "Tokens of answers.",
            (double)e->generated_tokens);
    put_head(w, "request_success_total", "counter", "Requests that ended, by how.");
    for (size_t i = 0; i < FINISH_ERROR; i++) {
        put_sample(w, "request_success_total", "finished_reason",
                   i == FINISH_CANCELLED ? "abort" : finishes[i], (double)m->finished[i]);
    }
    for (size_t i = 0; i < SV_DISTRIBUTIONS; i++) {
        put_histogram(w, distributions[i].vllm, distributions[i].help, &m->of[i]);
    }
}

/* llama-server's. */
static void put_llamacpp(const writer *w, const sv_metrics *m, const brisk_engine_stats *e) {
    put_one(w, "prompt_tokens_total", "counter", "Tokens of prompts computed.", computed_tokens(e));
    put_one(w, "prompt_seconds_total", "counter", "Time of prompts.", m->of[SV_PREFILL_TIME].sum);
    put_one(w, "tokens_predicted_total", "counter", "Tokens of answers.",
            (double)e->generated_tokens);
    put_one(w, "tokens_predicted_seconds_total", "counter", "Time of answers.",
            m->of[SV_DECODE_TIME].sum);
    put_one(w, "n_decode_total", "counter", "Passes over the weights.", (double)e->steps);
    put_one(w, "prompt_tokens_seconds", "gauge", "Tokens of prompts per second.",
            e->prefill_per_second);
    put_one(w, "predicted_tokens_seconds", "gauge", "Tokens of answers per second.",
            e->decode_per_second);
    put_one(w, "kv_cache_usage_ratio", "gauge", "Keys and values in use, 0 to 1.", kv_usage(e));
    put_one(w, "requests_processing", "gauge", "Requests in the running batch.", e->running);
    put_one(w, "requests_deferred", "gauge", "Requests that have not started.", e->waiting);
}

/* NAME="MODEL" */
static bool put_label(bk_buf *labels, const char *name, const char *model) {
    bk_buf_clear(labels);
    bk_buf_printf(labels, "%s=\"", name);
    put_escaped(labels, model);
    return bk_buf_putc(labels, '"');
}

bool sv_metrics_render(const sv_metrics *m, const sv_metrics_scene *scene, sv_compat compat,
                       bk_buf *out) {
    bk_buf labels = {0};
    bool vllm = compat == SV_COMPAT_VLLM, good = put_label(&labels, "model", scene->model);
    writer w = {out, "brisk_", labels.data};
    if (good) {
        for (size_t i = 0; i < SV_DISTRIBUTIONS; i++) {
            put_histogram(&w, distributions[i].name, distributions[i].help, &m->of[i]);
        }
        put_steps(&w, scene->engine);
        put_rows(&w, scene->engine);
        put_counters(&w, m, scene->engine);
        put_gauges(&w, scene->engine);
        put_infos(&w, scene->info);
    }
    good = good && put_label(&labels, vllm ? "model_name" : "model", scene->model);
    w = (writer){out, vllm ? "vllm:" : "llamacpp:", labels.data};
    if (good && vllm) put_vllm(&w, m, scene->engine);
    if (good && compat == SV_COMPAT_LLAMACPP) put_llamacpp(&w, m, scene->engine);
    bk_buf_free(&labels);
    return good && !out->failed;
}
