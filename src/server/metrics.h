/* What the server measures, as Prometheus reads it (text exposition format 0.0.4): distributions of
 * times that users feel, counters, and the engine's present state.
 *
 * Not for several threads: the server's thread feeds it and renders it.
 *
 *     sv_metrics_init(&m);
 *     sv_metrics_gap(&m, ms);                        each token but an answer's first
 *     sv_metrics_request(&m, &stats, SV_DONE, "stop", ms);       each request that has ended
 *     sv_metrics_rejected(&m, 429, NULL);            each one that was refused
 *     sv_metrics_render(&m, &scene, SV_COMPAT_NONE, &buf);       GET /metrics, SV_METRICS_TYPE */
#ifndef BRISK_SERVER_METRICS_H
#define BRISK_SERVER_METRICS_H

#include "brisk_engine.h"

#include "base/buf.h"

#define SV_METRICS_TYPE "text/plain; version=0.0.4; charset=utf-8"

enum {
    SV_HISTOGRAM_BOUNDS = 16, /* at most; one more bucket is without a bound */
    SV_FINISHES = 5,
    SV_REJECTIONS = 10
};

typedef struct sv_histogram {
    const double *bounds; /* upper ones, rising; a constant */
    size_t n_bounds;
    uint64_t count[SV_HISTOGRAM_BOUNDS + 1]; /* of each bucket alone */
    double sum;
} sv_histogram;

/* The distributions; their names and bounds are in metrics.c, in this order. */
typedef enum sv_distribution {
    SV_TTFT,
    SV_ITL,
    SV_TPOT,
    SV_QUEUE_TIME,
    SV_PREFILL_TIME,
    SV_DECODE_TIME,
    SV_E2E_TIME,
    SV_PROMPT_TOKENS,
    SV_GENERATION_TOKENS,
    SV_DISTRIBUTIONS
} sv_distribution;

/* Where a request ended: cancelled on its way, or done. */
typedef enum sv_stage { SV_IN_QUEUE, SV_IN_PREFILL, SV_IN_DECODE, SV_DONE, SV_STAGES } sv_stage;

typedef struct sv_metrics {
    sv_histogram of[SV_DISTRIBUTIONS];
    uint64_t finished[SV_FINISHES], cancelled[SV_STAGES], rejected[SV_REJECTIONS];
} sv_metrics;

void sv_metrics_init(sv_metrics *m);

void sv_observe(sv_histogram *h, double value);

/* Between two tokens of one answer. */
void sv_metrics_gap(sv_metrics *m, double ms);

/* A request of the engine (one choice of an answer) has ended. What it waited for counts as far as it
 * came; the rest, when it is done. finish: "stop", "length", "tool_calls", "error";
 * another one or NULL counts as an error; it is not read unless the stage is SV_DONE. */
void sv_metrics_request(sv_metrics *m, const brisk_request_stats *stats, sv_stage stage,
                        const char *finish, double e2e_ms);

/* A request was refused: the reply's status and the error's code (may be NULL). Those that were taken in
 * and failed later (cancelled, 500, 504) are not counted here. */
void sv_metrics_rejected(sv_metrics *m, int status, const char *code);

/* What is read when somebody asks. */
typedef struct sv_metrics_scene {
    const char *model; /* the name that clients see */
    const brisk_model_info *info;
    const brisk_engine_stats *engine;
} sv_metrics_scene;

/* Repeats the main ones under the names of others, so that their dashboards and tools work. */
typedef enum sv_compat { SV_COMPAT_NONE, SV_COMPAT_VLLM, SV_COMPAT_LLAMACPP } sv_compat;

/* "vllm", "llamacpp"; NONE for NULL and anything else. */
sv_compat sv_compat_of(const char *name);

/* Appends the exposition. False when out has failed. */
bool sv_metrics_render(const sv_metrics *m, const sv_metrics_scene *scene, sv_compat compat,
                       bk_buf *out);

#endif
