/* Many requests at once over one model: a thread that owns all sequences, and two mailboxes.
 *
 * engine.c    life of the engine, submitting, statistics: any thread
 * loop.c      the thread: commands, admission, steps
 * step.c      one step: who takes part, room, the pass
 * answer.c    what follows from it: tokens, events, ends
 * plan.h      the numbers behind it
 *
 * See brisk_engine.h for what the caller is promised. */
#ifndef BRISK_ENGINE_ENGINE_H
#define BRISK_ENGINE_ENGINE_H

#include "engine/record.h"
#include "model/model.h"

typedef struct bk_engine bk_engine;

typedef struct bk_engine_options {
    int context, max_running, batch;
    uint64_t mem_limit;
    double itl_budget_ms;
    int queue_max;
    double queue_seconds;
    bool no_prefix_cache;
} bk_engine_options;

bk_status bk_engine_create(bk_model *model, const bk_engine_options *options, bk_engine **out,
                           bk_error *err);
void bk_engine_destroy(bk_engine **e);

/* Checks a request and queues it: `head` with the arrays of `from` and the stop texts. */
bk_status bk_engine_submit(bk_engine *e, const bk_request *head, const bk_request_view *from,
                           const char *const *stop, uint64_t *id, double *retry_after_s,
                           bk_error *err);
void bk_engine_cancel(bk_engine *e, uint64_t id);

int bk_engine_fd(const bk_engine *e);
/* The next event, borrowed until the next call; NULL when there is none. */
const bk_event *bk_engine_poll(bk_engine *e);

typedef struct bk_engine_memory {
    uint64_t limit, weights, scratch, kv_limit, kv_used, cached, kv_per_token;
} bk_engine_memory;

enum { BK_STEP_BUCKETS = 16 };
typedef enum bk_step_kind {
    BK_STEP_DECODE,
    BK_STEP_PREFILL,
    BK_STEP_MIXED,
    BK_STEP_KINDS
} bk_step_kind;

typedef struct bk_engine_stats {
    bk_engine_memory memory;
    int context, max_running, queue_max, running, waiting;
    double queue_seconds, itl_budget_ms, prefill_per_second, decode_per_second;
    size_t chunk;
    uint64_t steps, prompt_tokens, cached_tokens, generated_tokens, preemptions, over_budget;
    uint64_t cache_asked_tokens, cache_hit_tokens, cache_evicted_tokens, cache_nodes, cache_tokens;
    double step_bounds[BK_STEP_BUCKETS];
    uint64_t step_count[BK_STEP_KINDS][BK_STEP_BUCKETS];
    double step_seconds[BK_STEP_KINDS];
    double row_bounds[BK_STEP_BUCKETS];
    uint64_t row_count[BK_STEP_BUCKETS], rows;
} bk_engine_stats;

void bk_engine_get_stats(bk_engine *e, bk_engine_stats *stats);

#endif
