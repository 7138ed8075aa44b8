/* brisk_engine.h over engine/engine.h: the public structs become flat records here, and records public
 * structs. */
#include <string.h>

#include "api/api.h"
#include "base/mem.h"
#include "brisk_engine.h"
#include "engine/engine.h"

_Static_assert((int)BRISK_EVENT_DONE == (int)BK_EVENT_DONE, "kinds of events agree");
_Static_assert((int)BRISK_REQUEST_EMBED == (int)BK_REQUEST_EMBED, "kinds of requests agree");
_Static_assert((int)BRISK_POOLING_MEAN == (int)BK_POOLING_MEAN, "poolings agree");
_Static_assert((int)BRISK_MAX_TOP_LOGPROBS == (int)BK_MAX_LOGPROBS, "limits agree");
_Static_assert(sizeof(brisk_token_logprob) == sizeof(bk_logprob) &&
                   offsetof(brisk_token_logprob, logprob) == offsetof(bk_logprob, logprob),
               "log-probabilities agree");
_Static_assert(sizeof(brisk_engine_stats) == sizeof(bk_engine_stats) &&
                   offsetof(brisk_engine_stats, over_budget) ==
                       offsetof(bk_engine_stats, over_budget) &&
                   offsetof(brisk_engine_stats, step_seconds) ==
                       offsetof(bk_engine_stats, step_seconds) &&
                   offsetof(brisk_engine_stats, rows) == offsetof(bk_engine_stats, rows),
               "statistics agree");

static bk_engine *inner(brisk_engine *e) { return (bk_engine *)e; }
static const bk_engine *cinner(const brisk_engine *e) { return (const bk_engine *)e; }

BK_API void brisk_engine_options_default(brisk_engine_options *options) {
    *options = (brisk_engine_options){0};
}

BK_API brisk_status brisk_engine_create(brisk_model *model, const brisk_engine_options *options,
                                        brisk_engine **engine, brisk_error *err) {
    if (!engine) return bk_api_null("engine", err);
    *engine = NULL;
    if (!model) return bk_api_null("model", err);
    bk_engine_options o = {0};
    if (options)
        o = (bk_engine_options){.context = options->context,
                                .max_running = options->max_running,
                                .batch = options->batch_size,
                                .mem_limit = options->mem_limit,
                                .itl_budget_ms = options->itl_budget_ms,
                                .queue_max = options->queue_max,
                                .queue_seconds = options->queue_seconds,
                                .no_prefix_cache = options->no_prefix_cache};
    bk_error e;
    bk_engine *made = NULL;
    bk_status st = bk_engine_create(bk_api_model(model), &o, &made, &e);
    *engine = (brisk_engine *)made;
    return bk_api_result(st, &e, err);
}

BK_API void brisk_engine_destroy(brisk_engine **engine) {
    if (!engine || !*engine) return;
    bk_engine *e = inner(*engine);
    *engine = NULL;
    bk_engine_destroy(&e);
}

BK_API void brisk_request_default(brisk_request *request) {
    *request = (brisk_request){.max_tokens = -1, .logprobs = -1};
    brisk_sampling_default(&request->sampling);
}

/* INVALID: a number of things without the things. */
static brisk_status check_arrays(const brisk_request *r, brisk_error *err) {
    if (!r->tokens && r->n_tokens) return bk_api_null("tokens", err);
    if (!r->stop && r->n_stop) return bk_api_null("stop", err);
    if (!r->stop_tokens && r->n_stop_tokens) return bk_api_null("stop_tokens", err);
    if (!r->allowed && r->n_allowed) return bk_api_null("allowed", err);
    if (!r->prediction && r->n_prediction) return bk_api_null("prediction", err);
    return BRISK_OK;
}

BK_API brisk_status brisk_engine_submit(brisk_engine *engine, const brisk_request *r, uint64_t *id,
                                        double *retry_after_s, brisk_error *err) {
    uint64_t ignored;
    if (!engine) return bk_api_null("engine", err);
    if (!r) return bk_api_null("request", err);
    brisk_status bad = check_arrays(r, err);
    if (bad) return bad;
    bk_request head = {.kind = (uint32_t)r->kind,
                       .pooling = (uint32_t)r->pooling,
                       .tag = r->tag,
                       .tenant = r->tenant,
                       .cache_space = r->cache_space ? r->cache_space : r->tenant,
                       .priority = r->priority,
                       .max_tokens = r->max_tokens,
                       .min_tokens = r->min_tokens,
                       .logprobs = r->logprobs,
                       .ignore_end = r->ignore_end,
                       .prompt_logprobs = r->prompt_logprobs,
                       .progress = r->progress,
                       .no_cache = r->no_cache,
                       .sampling = bk_api_sampling(&r->sampling),
                       .n_tokens = r->n_tokens,
                       .n_stop_tokens = r->n_stop_tokens,
                       .n_allowed = r->n_allowed,
                       .n_prediction = r->n_prediction,
                       .n_stop = r->n_stop};
    bk_request_view arrays = {.tokens = r->tokens,
                              .stop_tokens = r->stop_tokens,
                              .allowed = r->allowed,
                              .prediction = r->prediction,
                              .biases = head.sampling.biases};
    head.n_biases = head.sampling.n_biases;
    bk_error e;
    bk_status st = bk_engine_submit(inner(engine), &head, &arrays, r->stop, id ? id : &ignored,
                                    retry_after_s, &e);
    return bk_api_result(st, &e, err);
}

BK_API void brisk_engine_cancel(brisk_engine *engine, uint64_t id) {
    if (engine && id) bk_engine_cancel(inner(engine), id);
}

BK_API int brisk_engine_fd(const brisk_engine *engine) { return bk_engine_fd(cinner(engine)); }

BK_API bool brisk_engine_poll(brisk_engine *engine, brisk_event *event) {
    const bk_event *from = engine ? bk_engine_poll(inner(engine)) : NULL;
    if (!from) return false;
    bk_event_view v = bk_event_read(from);
    const bk_request_stats *s = &from->stats;
    *event = (brisk_event){.kind = (brisk_event_kind)from->kind,
                           .request = from->id,
                           .tag = from->tag,
                           .token = from->token,
                           .control = from->control,
                           .text = v.text,
                           .text_len = from->text_len,
                           .has_logprob = from->has_logprob,
                           .logprob = from->logprob,
                           .top = (const brisk_token_logprob *)(const void *)v.top,
                           .n_top = from->n_top,
                           .values = v.values,
                           .n_values = from->n_values,
                           .finish = (brisk_finish)from->finish,
                           .stop = from->stop_len ? v.stop : NULL,
                           .stop_token = from->stop_token,
                           .status = (brisk_status)from->status,
                           .message = v.message,
                           .stats = {.prompt_tokens = s->prompt_tokens,
                                     .cached_tokens = s->cached_tokens,
                                     .computed_tokens = s->computed_tokens,
                                     .generated_tokens = s->generated_tokens,
                                     .preemptions = s->preemptions,
                                     .predicted_tokens = s->predicted_tokens,
                                     .accepted_tokens = s->accepted_tokens,
                                     .queue_ms = s->queue_ms,
                                     .cache_ms = s->cache_ms,
                                     .prefill_ms = s->prefill_ms,
                                     .first_token_ms = s->first_token_ms,
                                     .decode_ms = s->decode_ms,
                                     .gap_p50_ms = s->gap_p50_ms,
                                     .gap_p99_ms = s->gap_p99_ms,
                                     .gap_max_ms = s->gap_max_ms}};
    return true;
}

BK_API void brisk_engine_get_stats(brisk_engine *engine, brisk_engine_stats *stats) {
    bk_engine_stats from;
    bk_engine_get_stats(inner(engine), &from);
    memcpy(stats, &from, sizeof *stats); /* the same struct (above) */
}
