/* The engine's thread: takes commands, lets requests start, runs steps, publishes what came of them. */
#include <math.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/mem.h"
#include "engine/engine_internal.h"

enum {
    MAX_UNTAKEN = 64 << 20, /* bytes of events that nobody takes, before the engine waits */
    RESERVED_ANSWER = 256   /* tokens of an answer for which room is kept at admission */
};

#define LEARN_RATE 0.1

/* ---- Lists ---------------------------------------------------------------------------------------- */

bool bk_sequences_push(bk_sequences *list, bk_sequence *s) {
    if (list->n == list->cap) {
        size_t cap = bk_max_size(16, 2 * list->cap);
        bk_sequence **at = bk_realloc(list->at, cap, sizeof *at);
        if (!at) return false;
        list->at = at;
        list->cap = cap;
    }
    list->at[list->n++] = s;
    return true;
}

bk_sequence *bk_sequences_take(bk_sequences *list, size_t i) {
    bk_sequence *s = list->at[i];
    memmove(list->at + i, list->at + i + 1, (--list->n - i) * sizeof *list->at);
    return s;
}

/* ---- Events --------------------------------------------------------------------------------------- */

static void pause_ms(void) {
    const struct timespec ms = {.tv_nsec = 1000000};
    nanosleep(&ms, NULL);
}

/* The end of a request must not be lost, or somebody waits for ever: memory comes back. */
static void write_end(bk_engine *e, const bk_event *head, const bk_event_view *from) {
    while (!bk_event_write(head, from, &e->events) && !atomic_load(&e->stop)) pause_ms();
}

void bk_engine_emit(bk_engine *e, bk_sequence *s, bk_event head, const bk_event_view *from) {
    static const bk_event_view nothing;
    if (!from) from = &nothing;
    head.id = s->request->id;
    head.tag = s->request->tag;
    head.stats = s->stats;
    if (head.kind == BK_EVENT_DONE)
        write_end(e, &head, from);
    else if (!bk_event_write(&head, from, &e->events))
        s->lost = true;
}

/* What cannot be handed over for want of memory is kept. */
static void publish(bk_engine *e) {
    while (!bk_mailbox_put_slowly(&e->out, e->events.data, e->events.len, MAX_UNTAKEN) &&
           !atomic_load(&e->stop))
        pause_ms();
    bk_buf_clear(&e->events);
}

/* ---- Ends ----------------------------------------------------------------------------------------- */

void bk_engine_remember(bk_engine *e, bk_sequence *s, bool whole) {
    size_t computed = bk_sequence_computed(s), n = computed;
    if (!e->prefix || s->request->no_cache) return;
    bk_kv *part = NULL;
    if (bk_engine_fast(e)) n = bk_min_size(n, s->n_prompt);
    /* A shared last page would be copied when it is written next. */
    if (!whole) n -= n % BK_PAGE_TOKENS;
    if (n < computed) {
        if (n == 0 || bk_kv_fork(s->kv, &part, NULL)) return;
        if (bk_kv_truncate(part, n, NULL)) n = 0;
    }
    /* A failure is no more than a cache that knows less. What had been computed twice is the tree's then. */
    bk_status st = BK_OK;
    if (n)
        st = bk_prefix_insert(e->prefix, s->request->cache_space, s->tokens, n, part ? part : s->kv,
                              &s->pin, NULL);
    if (n && !st && part) bk_kv_share(s->kv, part, n);
    bk_kv_destroy(&part);
}

static void leave_queue(bk_engine *e) {
    pthread_mutex_lock(&e->lock);
    e->queued--;
    pthread_mutex_unlock(&e->lock);
}

void bk_engine_finish(bk_engine *e, bk_sequence *s, bk_finish finish, int32_t stop_token,
                      const bk_error *failure) {
    bk_event head = {
        .kind = BK_EVENT_DONE, .token = -1, .finish = finish, .stop_token = stop_token};
    bk_event_view v = {0};
    bk_sequence_finish(s);
    if (failure) {
        head.status = failure->code;
        v.message = failure->text;
        head.message_len = strlen(failure->text);
    } else if (s->sampler && finish != BK_FINISH_CANCELLED) {
        bk_str rest = bk_reply_finish(&s->reply);
        v.text = rest.data;
        head.text_len = rest.len;
        if (finish == BK_FINISH_STOP && s->reply.stop.found) {
            v.stop = s->stop[s->reply.stop.which];
            head.stop_len = strlen(v.stop);
        }
    }
    if (s->phase == BK_PHASE_WAITING) {
        leave_queue(e);
    } else {
        double ms = (double)(bk_now_ns() - s->started) * 1e-6;
        e->service_ms += (e->service_ms > 0 ? LEARN_RATE : 1.0) * (ms - e->service_ms);
        bk_engine_remember(e, s, true);
    }
    bk_engine_emit(e, s, head, &v);
    bk_sequence_destroy(&s);
}

/* ---- Commands ------------------------------------------------------------------------------------- */

static void accept_request(bk_engine *e, const bk_request *r) {
    bk_error err;
    bk_sequence *s = NULL;
    bk_status st = bk_sequence_create(r, (size_t)e->o.context, &s, &err);
    if (!st && bk_sequences_push(&e->waiting, s)) return;
    bk_sequence_destroy(&s);
    if (!st) bk_fail(&err, BK_ERR_NOMEM, "no memory to queue a request");
    bk_event done = {.kind = BK_EVENT_DONE,
                     .id = r->id,
                     .tag = r->tag,
                     .token = -1,
                     .stop_token = -1,
                     .status = err.code,
                     .message_len = strlen(err.text)};
    bk_event_view v = {.message = err.text};
    write_end(e, &done, &v);
    leave_queue(e);
}

static void mark_cancelled(bk_sequences *list, uint64_t id) {
    for (size_t i = 0; i < list->n; i++)
        if (list->at[i]->request->id == id) list->at[i]->cancelled = true;
}

static void take_commands(bk_engine *e) {
    if (!bk_mailbox_take(&e->in, &e->commands)) return;
    for (size_t at = 0; at < e->commands.len;) {
        const bk_request *r = (const void *)(e->commands.data + at);
        at += r->bytes;
        if (r->kind == BK_REQUEST_CANCEL) {
            mark_cancelled(&e->waiting, r->id);
            mark_cancelled(&e->running, r->id);
        } else {
            accept_request(e, r);
        }
    }
    for (int l = 0; l < 2; l++) {
        bk_sequences *list = l ? &e->running : &e->waiting;
        for (size_t i = list->n; i-- > 0;)
            if (list->at[i]->cancelled)
                bk_engine_finish(e, bk_sequences_take(list, i), BK_FINISH_CANCELLED, -1, NULL);
    }
}

/* ---- Admission ------------------------------------------------------------------------------------ */

/* Bytes of KV that a sequence may still need, as far as room is kept for it. `have` of its tokens are
 * there. */
static size_t growth(const bk_engine *e, const bk_sequence *s, size_t have) {
    const bk_kv_pool *pool = bk_model_kv_pool(e->model);
    size_t n = bk_min_size(s->cap, bk_max_size(s->n, s->n_prompt + RESERVED_ANSWER));
    size_t chunk = (size_t)e->o.batch;
    return bk_kv_pool_bytes_for(pool, n, chunk) -
           bk_kv_pool_bytes_for(pool, bk_min_size(have, n), chunk);
}

/* Whether there is room for another one beside those that run; what only the cache holds can go. Long
 * answers may turn out to need more: then somebody is preempted. */
static bool has_room(const bk_engine *e, const bk_sequence *s) {
    const bk_kv_pool *pool = bk_model_kv_pool(e->model);
    size_t idle = bk_kv_pool_idle_bytes(pool), kept = bk_kv_pool_bytes(pool) - idle, cached = 0;
    if (bk_engine_shares(e, s))
        cached = bk_prefix_peek(e->prefix, s->request->cache_space, s->tokens, s->n);
    kept += growth(e, s, cached);
    /* What it finds can then no longer go; as much of that as is idle counts with it. */
    kept += bk_min_size(idle, bk_kv_pool_bytes_for(pool, cached, (size_t)e->o.batch));
    for (size_t i = 0; i < e->running.n; i++)
        kept += growth(e, e->running.at[i], bk_sequence_computed(e->running.at[i]));
    return e->running.n == 0 || kept <= e->live.memory.kv_limit;
}

static size_t running_of(const bk_engine *e, uint64_t tenant) {
    size_t n = 0;
    for (size_t i = 0; i < e->running.n; i++) n += e->running.at[i]->request->tenant == tenant;
    return n;
}

/* Who starts next: by priority, then the tenant with the fewest running, then as plan.h orders claims.
 * e->waiting.n when nobody waits. */
static size_t next_waiting(const bk_engine *e, uint64_t now) {
    size_t best = e->waiting.n, best_running = 0;
    bk_claim best_claim = {0};
    double slope = bk_cost_slope(&e->cost);
    for (size_t i = 0; i < e->waiting.n; i++) {
        const bk_sequence *s = e->waiting.at[i];
        bk_claim c = bk_sequence_claim(s, 0, s->n, now);
        size_t running = running_of(e, c.tenant);
        bool before =
            best == e->waiting.n || c.priority > best_claim.priority ||
            (c.priority == best_claim.priority &&
             (running < best_running ||
              (running == best_running && bk_claim_before(&e->work, slope, &c, &best_claim))));
        if (!before) continue;
        best = i;
        best_running = running;
        best_claim = c;
    }
    return best;
}

/* Finds what is cached of a sequence's tokens; at least one is left to compute. */
static bk_status match(bk_engine *e, bk_sequence *s, bk_error *err) {
    bk_prefix_match found = {0};
    bk_status st = BK_OK;
    if (bk_engine_shares(e, s))
        st = bk_prefix_find(e->prefix, s->request->cache_space, s->tokens,
                            bk_engine_shared_most(e, s), &found, err);
    s->kv = found.kv;
    s->pin = found.pin;
    return !st && !s->kv ? bk_model_new_kv(e->model, &s->kv, err) : st;
}

static void start_sequence(bk_engine *e, bk_sequence *s, uint64_t now) {
    bk_error err;
    bk_status st = bk_sequence_prepare(s, e->model, e->sampling, e->ends, e->n_ends, &err);
    uint64_t began = bk_now_ns();
    if (!st) st = match(e, s, &err);
    double lookup_ms = (double)(bk_now_ns() - began) * 1e-6;
    if (!st && !bk_sequences_push(&e->running, s))
        st = bk_fail(&err, BK_ERR_NOMEM, "no memory to start");
    if (st) {
        bk_engine_finish(e, s, BK_FINISH_CANCELLED, -1, &err);
        return;
    }
    leave_queue(e);
    s->phase = BK_PHASE_PREFILL;
    s->n_target = s->n;
    if (s->started) return; /* it goes on after having been preempted */
    s->started = now;
    s->stats.cache_ms = lookup_ms;
    s->stats.cached_tokens = s->stats.computed_tokens = bk_kv_len(s->kv);
    s->stats.queue_ms = (double)(now - s->submitted) * 1e-6;
    e->live.prompt_tokens += s->n_prompt;
    e->live.cached_tokens += s->stats.cached_tokens;
    bk_engine_emit(e, s, (bk_event){.kind = BK_EVENT_STARTED, .token = -1, .stop_token = -1}, NULL);
}

static void admit(bk_engine *e) {
    uint64_t now = bk_now_ns();
    while (e->running.n < (size_t)e->o.max_running) {
        size_t next = next_waiting(e, now);
        if (next == e->waiting.n || !has_room(e, e->waiting.at[next])) return;
        start_sequence(e, bk_sequences_take(&e->waiting, next), now);
    }
}

/* ---- Statistics ----------------------------------------------------------------------------------- */

double bk_engine_budget(const bk_engine *e) {
    if (e->o.itl_budget_ms > 0) return e->o.itl_budget_ms;
    return fmin(fmax(4 * e->gap_ms, 50.0), 100.0);
}

/* The wait of a request that comes now: until what is waiting has been computed, and until as many of
 * those that run have ended as are ahead of it. */
static double predict_wait(const bk_engine *e) {
    double units = 0;
    for (int l = 0; l < 2; l++) {
        const bk_sequences *list = l ? &e->running : &e->waiting;
        for (size_t i = 0; i < list->n; i++) {
            size_t done = bk_sequence_computed(list->at[i]);
            if (list->at[i]->phase != BK_PHASE_DECODE)
                units += bk_work_rows(&e->work, done,
                                      list->at[i]->n - bk_min_size(done, list->at[i]->n));
        }
    }
    double prompts = units * bk_cost_slope(&e->cost);
    size_t ahead = e->waiting.n + e->running.n;
    size_t places = (size_t)e->o.max_running;
    double places_free =
        ahead < places ? 0 : (double)(ahead + 1 - places) / (double)places * e->service_ms;
    return fmax(prompts, places_free);
}

static void update_stats(bk_engine *e) {
    bk_engine_stats *s = &e->live;
    s->running = (int)e->running.n;
    s->itl_budget_ms = bk_engine_budget(e);
    s->memory.kv_used = bk_kv_pool_bytes(bk_model_kv_pool(e->model));
    if (e->prefix) {
        bk_prefix_stats p = bk_prefix_stats_of(e->prefix);
        s->memory.cached = p.bytes;
        s->cache_nodes = p.nodes;
        s->cache_tokens = p.tokens;
        s->cache_asked_tokens = p.asked;
        s->cache_hit_tokens = p.matched;
        s->cache_evicted_tokens = p.evicted;
    }
    double wait = predict_wait(e);
    pthread_mutex_lock(&e->lock);
    e->published = *s;
    e->wait_ms = wait;
    e->slope = bk_cost_slope(&e->cost);
    e->fresh_ms = 0;
    pthread_mutex_unlock(&e->lock);
}

void *bk_engine_loop(void *engine) {
    bk_engine *e = engine;
    while (!atomic_load(&e->stop)) {
        take_commands(e);
        admit(e);
        if (e->running.n > 0) bk_engine_step(e);
        update_stats(e);
        publish(e);
        if (e->running.n == 0 && e->waiting.n == 0) bk_mailbox_wait(&e->in);
    }
    return NULL;
}
