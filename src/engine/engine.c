#include "engine/engine.h"

#include <math.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "engine/engine_internal.h"
#include "sys/memory.h"

enum { DEFAULT_RUNNING = 16, DEFAULT_BATCH = 512, DEFAULT_QUEUE = 256, DEFAULT_CONTEXTS = 4 };
#define DEFAULT_KV_BYTES (1u << 30)
#define DEFAULT_QUEUE_SECONDS 60.0

/* Upper bounds of the histogram of steps, seconds. */
static const double step_bounds[BK_STEP_BUCKETS] = {0.001, 0.002, 0.004, 0.006,   0.01, 0.015,
                                                    0.025, 0.04,  0.06,  0.1,     0.15, 0.25,
                                                    0.5,   1.0,   2.5,   INFINITY};
/* The same of their rows. */
static const double row_bounds[BK_STEP_BUCKETS] = {1,  2,  4,   8,   12,  16,   24,   32,
                                                   48, 64, 128, 256, 512, 1024, 4096, INFINITY};

/* ---- Life --------------------------------------------------------------------------------------- */

/* Fills in the defaults. */
static bk_status settle_options(bk_engine *e, const bk_engine_options *options, bk_error *err) {
    bk_engine_options *o = &e->o;
    int trained = bk_model_config(e->model)->context_length;
    if (options) *o = *options;
    if (!o->context) o->context = trained;
    if (!o->max_running) o->max_running = DEFAULT_RUNNING;
    if (!o->batch) o->batch = DEFAULT_BATCH;
    if (!o->queue_max) o->queue_max = DEFAULT_QUEUE;
    if (o->queue_seconds == 0) o->queue_seconds = DEFAULT_QUEUE_SECONDS;
    bk_status st = bk_check_range("context", o->context, 2, trained, err);
    if (!st) st = bk_check_range("max_running", o->max_running, 1, BK_MAX_RUNNING, err);
    if (!st) st = bk_check_range("batch_size", o->batch, 16, 8192, err);
    if (!st) st = bk_check_range("itl_budget_ms", o->itl_budget_ms, 0, 1e6, err);
    if (!st) st = bk_check_range("queue_max", o->queue_max, 1, 1e6, err);
    if (!st) st = bk_check_range("queue_seconds", o->queue_seconds, 0, 1e6, err);
    o->batch = bk_max_int(o->batch, o->max_running);
    return st;
}

/* Of the pass, of sampling, and of the states of embeddings, which are had when one is first wanted. */
static uint64_t scratch_bytes(const bk_engine *e) {
    const bk_config *c = bk_model_config(e->model);
    return bk_exec_bytes(e->exec) + bk_sample_scratch_bytes((size_t)c->n_vocab) +
           (uint64_t)e->o.batch * (uint64_t)c->n_out * sizeof *e->hidden;
}

/* One account over weights, scratch and KV; what is left is the limit of the KV. */
static bk_status settle_memory(bk_engine *e, bk_error *err) {
    bk_engine_memory *m = &e->live.memory;
    size_t context = (size_t)e->o.context;
    uint64_t one = bk_kv_pool_bytes_for(bk_model_kv_pool(e->model), context, (size_t)e->o.batch);
    m->weights = bk_model_get_meta(e->model)->resident_bytes;
    m->scratch = scratch_bytes(e);
    m->kv_per_token = one / context;
    if (e->o.mem_limit) {
        m->limit = e->o.mem_limit;
    } else {
        bk_memory machine;
        bk_memory_read(bk_memory_root(), &machine);
        uint64_t kv = (uint64_t)e->o.max_running * one, most = DEFAULT_CONTEXTS * one;
        if (most < DEFAULT_KV_BYTES) most = DEFAULT_KV_BYTES;
        if (kv > most) kv = most;
        uint64_t can = machine.cgroup_limit ? machine.cgroup_limit : machine.available;
        if (machine.available && machine.available < can) can = machine.available;
        if (can && kv > can / 2) kv = can / 2;
        m->limit = m->weights + m->scratch + (kv > one ? kv : one);
    }
    if (m->limit < m->weights + m->scratch + one)
        return bk_fail(
            err, BK_ERR_LIMIT,
            "the memory limit of %.1f MB leaves no room for one context: weights %.1f MB, "
            "scratch %.1f MB, keys and values of %zu tokens %.1f MB; raise the limit or ask "
            "for a smaller context",
            (double)m->limit / 1e6, (double)m->weights / 1e6, (double)m->scratch / 1e6, context,
            (double)one / 1e6);
    m->kv_limit = m->limit - m->weights - m->scratch;
    bk_kv_pool_set_limit(bk_model_kv_pool(e->model), m->kv_limit);
    return BK_OK;
}

/* Attention reads a key and a value per position and head: 4 operations a component, at about 0.4 of
 * the rate of the matrix products (measured), which take 2 a weight. */
static void settle_work(bk_engine *e) {
    const bk_config *c = bk_model_config(e->model);
    double weights = (double)bk_model_get_meta(e->model)->n_params;
    double layer = 2.5 * 2.0 * c->n_heads * c->head_size / weights;
    int full = c->n_layers;
    if (c->window) full = c->window_every ? c->n_layers / c->window_every : 0;
    e->work = (bk_work){.attention = {layer * full, layer * (c->n_layers - full)},
                        .window = {0, (size_t)c->window}};
}

static bk_status list_ends(bk_engine *e, bk_error *err) {
    const bk_tokenizer *t = bk_model_tokenizer(e->model);
    int n_vocab = bk_model_config(e->model)->n_vocab;
    for (int pass = 0; pass < 2; pass++) {
        e->n_ends = 0;
        for (int32_t id = 0; id < n_vocab; id++) {
            if (!bk_tokenizer_is_end(t, id)) continue;
            if (pass) e->ends[e->n_ends] = id;
            e->n_ends++;
        }
        if (pass == 0) e->ends = bk_alloc(e->n_ends + 1, sizeof *e->ends);
        if (!e->ends) return bk_fail(err, BK_ERR_NOMEM, "no memory for the engine");
    }
    return BK_OK;
}

static bk_status start(bk_engine *e, bk_error *err) {
    size_t logits = (size_t)e->o.max_running + BK_PROMPT_LOGITS;
    bk_status st = bk_exec_create(e->model, (size_t)e->o.batch,
                                  bk_min_size(logits, (size_t)e->o.batch), &e->exec, err);
    if (!st) st = settle_memory(e, err);
    if (!st)
        st =
            bk_sample_scratch_create((size_t)bk_model_config(e->model)->n_vocab, &e->sampling, err);
    if (!st) st = list_ends(e, err);
    if (!st && !e->o.no_prefix_cache)
        st = bk_prefix_create(bk_model_kv_pool(e->model), &e->prefix, err);
    if (!st) st = bk_mailbox_init(&e->in, err);
    if (!st) st = bk_mailbox_init(&e->out, err);
    if (st) return st;
    settle_work(e);
    memcpy(e->live.step_bounds, step_bounds, sizeof step_bounds);
    memcpy(e->live.row_bounds, row_bounds, sizeof row_bounds);
    e->live.context = e->o.context;
    e->live.max_running = e->o.max_running;
    e->live.queue_max = e->o.queue_max;
    e->live.itl_budget_ms = bk_engine_budget(e);
    e->published = e->live;
    if (pthread_create(&e->thread, NULL, bk_engine_loop, e))
        return bk_fail(err, BK_ERR_NOMEM, "no thread for the engine");
    return BK_OK;
}

static void free_engine(bk_engine *e) {
    for (size_t i = 0; i < e->waiting.n; i++) bk_sequence_destroy(&e->waiting.at[i]);
    for (size_t i = 0; i < e->running.n; i++) bk_sequence_destroy(&e->running.at[i]);
    bk_free(e->waiting.at);
    bk_free(e->running.at);
    bk_prefix_destroy(&e->prefix);
    if (bk_model_kv_pool(e->model)) bk_kv_pool_set_limit(bk_model_kv_pool(e->model), 0);
    bk_exec_destroy(&e->exec);
    bk_sample_scratch_destroy(&e->sampling);
    bk_mailbox_free(&e->in);
    bk_mailbox_free(&e->out);
    bk_buf_free(&e->commands);
    bk_buf_free(&e->events);
    bk_buf_free(&e->taken);
    bk_free(e->hidden);
    bk_free(e->ends);
    pthread_mutex_destroy(&e->lock);
    bk_model_unref(&e->model);
    bk_free(e);
}

bk_status bk_engine_create(bk_model *model, const bk_engine_options *options, bk_engine **out,
                           bk_error *err) {
    *out = NULL;
    bk_engine *e = bk_alloc_zero(1, sizeof *e);
    if (!e) return bk_fail(err, BK_ERR_NOMEM, "no memory for an engine");
    pthread_mutex_init(&e->lock, NULL);
    e->model = bk_model_ref(model);
    bk_status st = settle_options(e, options, err);
    if (!st) st = start(e, err);
    if (st) {
        free_engine(e);
        return st;
    }
    *out = e;
    return BK_OK;
}

void bk_engine_destroy(bk_engine **ep) {
    bk_engine *e = *ep;
    *ep = NULL;
    if (!e) return;
    atomic_store(&e->stop, true);
    bk_mailbox_close(&e->out);
    bk_engine_cancel(e, 0); /* wakes the thread */
    pthread_join(e->thread, NULL);
    free_engine(e);
}

/* ---- Submitting --------------------------------------------------------------------------------- */

static bk_status check_tokens(const char *name, const int32_t *tokens, size_t n, int n_vocab,
                              bk_error *err) {
    for (size_t i = 0; i < n; i++)
        if (tokens[i] < 0 || tokens[i] >= n_vocab)
            return bk_fail(err, BK_ERR_INVALID, "%s: token id %d, this model has 0 to %d", name,
                           tokens[i], n_vocab - 1);
    return BK_OK;
}

static bk_status check_request(const bk_engine *e, const bk_request *r, const bk_request_view *v,
                               const char *const *stop, bk_error *err) {
    int n_vocab = bk_model_config(e->model)->n_vocab;
    size_t context = (size_t)e->o.context;
    bool answers = r->kind == BK_REQUEST_GENERATE && r->max_tokens != 0;
    if (r->n_tokens == 0) return bk_fail(err, BK_ERR_INVALID, "the prompt is empty");
    if (r->n_tokens + (answers ? 1 : 0) > context)
        return bk_fail(err, BK_ERR_LIMIT,
                       "the prompt has %zu tokens, which do not fit the context of %zu tokens",
                       (size_t)r->n_tokens, context);
    bk_status st = check_tokens("prompt", v->tokens, r->n_tokens, n_vocab, err);
    if (!st) st = check_tokens("stop tokens", v->stop_tokens, r->n_stop_tokens, n_vocab, err);
    if (!st) st = check_tokens("allowed tokens", v->allowed, r->n_allowed, n_vocab, err);
    if (!st) st = check_tokens("prediction", v->prediction, r->n_prediction, n_vocab, err);
    if (!st) st = bk_check_range("max_tokens", r->max_tokens, -1, INT32_MAX, err);
    if (!st) st = bk_check_range("min_tokens", r->min_tokens, 0, INT32_MAX, err);
    if (!st) st = bk_check_range("logprobs", r->logprobs, -1, BK_MAX_LOGPROBS, err);
    if (!st) st = bk_check_range("priority", r->priority, -100, 100, err);
    bk_sampling p = r->sampling;
    p.biases = v->biases;
    p.n_biases = r->n_biases;
    if (!st) st = bk_sampling_check(&p, err);
    if (!st) st = bk_sampling_check_biases(&p, (size_t)n_vocab, err);
    bk_stop check = {0};
    if (!st) st = bk_stop_init(&check, stop, r->n_stop, err);
    bk_stop_free(&check);
    return st;
}

/* Whether the queue takes another request, by count and by predicted time. Under the lock. */
static bk_status check_queue(bk_engine *e, double *wait_s, bk_error *err) {
    *wait_s = (e->wait_ms + e->fresh_ms) * 1e-3;
    if (e->queued >= (size_t)e->o.queue_max)
        return bk_fail(err, BK_ERR_LIMIT,
                       "%zu requests are waiting, the limit is %d: try again later", e->queued,
                       e->o.queue_max);
    if (e->queued > 0 && *wait_s > e->o.queue_seconds)
        return bk_fail(err, BK_ERR_LIMIT,
                       "the wait would be %.1f seconds, the limit is %.1f: try again later",
                       *wait_s, e->o.queue_seconds);
    return BK_OK;
}

bk_status bk_engine_submit(bk_engine *e, const bk_request *head, const bk_request_view *from,
                           const char *const *stop, uint64_t *id, double *retry_after_s,
                           bk_error *err) {
    if (retry_after_s) *retry_after_s = 0;
    bk_status st = check_request(e, head, from, stop, err);
    if (st) return st;
    bk_buf record = {0};
    bk_request h = *head;
    double wait_s;
    pthread_mutex_lock(&e->lock);
    st = check_queue(e, &wait_s, err);
    if (!st) {
        h.id = *id = ++e->last_id;
        e->queued++;
        e->fresh_ms += e->slope * (double)h.n_tokens;
    }
    pthread_mutex_unlock(&e->lock);
    if (st) {
        if (retry_after_s) *retry_after_s = fmax(wait_s, 0.1);
        return st;
    }
    h.submitted = bk_now_ns();
    if (!bk_request_write(&h, from, stop, &record) ||
        !bk_mailbox_put(&e->in, record.data, record.len)) {
        pthread_mutex_lock(&e->lock);
        e->queued--;
        pthread_mutex_unlock(&e->lock);
        st = bk_fail(err, BK_ERR_NOMEM, "no memory to queue a request of %zu tokens",
                     (size_t)h.n_tokens);
    }
    bk_buf_free(&record);
    return st;
}

void bk_engine_cancel(bk_engine *e, uint64_t id) {
    bk_request cancel = {.bytes = sizeof cancel, .id = id, .kind = BK_REQUEST_CANCEL};
    bk_mailbox_put(&e->in, &cancel, sizeof cancel);
}

/* ---- Events and statistics ---------------------------------------------------------------------- */

int bk_engine_fd(const bk_engine *e) { return e->out.fd; }

const bk_event *bk_engine_poll(bk_engine *e) {
    if (e->taken_at == e->taken.len) {
        e->taken_at = 0;
        if (!bk_mailbox_take(&e->out, &e->taken)) return NULL;
    }
    const bk_event *event = (const void *)(e->taken.data + e->taken_at);
    e->taken_at += event->bytes;
    return event;
}

void bk_engine_get_stats(bk_engine *e, bk_engine_stats *stats) {
    pthread_mutex_lock(&e->lock);
    *stats = e->published;
    stats->waiting = (int)e->queued;
    stats->queue_seconds = (e->wait_ms + e->fresh_ms) * 1e-3;
    pthread_mutex_unlock(&e->lock);
}
