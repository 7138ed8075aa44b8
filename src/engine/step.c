/* One step of the engine: a row for every answer, chunks of prompts, one pass over the weights; answer.c
 * goes on from there. */
#include <math.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "engine/engine_internal.h"

enum {
    LEAST_CHUNK = 8,
    FIRST_CHUNK = 64,
    DRAFT_ROWS = BK_KV_BACK /* rows of answers up to which guesses are tried */
};

/* Without answers to keep going, a step is this long: others come and go in between. */
#define PREFILL_STEP_MS 80.0

/* ---- Who takes part ------------------------------------------------------------------------------- */

static size_t common_prefix(const bk_sequence *a, const bk_sequence *b) {
    size_t n = bk_min_size(a->n, b->n), i = 0;
    while (i < n && a->tokens[i] == b->tokens[i]) i++;
    return i;
}

/* Whether another one, who came before, is computing what this one needs next: it waits and shares the
 * result. */
static bool follows(const bk_engine *e, const bk_sequence *s) {
    if (!bk_engine_shares(e, s)) return false;
    size_t mine = bk_sequence_computed(s);
    for (size_t i = 0; i < e->running.n; i++) {
        const bk_sequence *o = e->running.at[i];
        if (o == s || o->phase != BK_PHASE_PREFILL || o->request->no_cache ||
            o->request->cache_space != s->request->cache_space || o->request->id > s->request->id ||
            o->request->priority < s->request->priority || bk_sequence_computed(o) < mine)
            continue;
        size_t shared = bk_min_size(common_prefix(o, s), bk_engine_shared_most(e, s));
        shared -= shared % BK_PAGE_TOKENS;
        if (shared >= mine + BK_PAGE_TOKENS && bk_sequence_computed(o) < shared) return true;
    }
    return false;
}

/* Takes over what others have computed since this one started. */
static void catch_up(bk_engine *e, bk_sequence *s) {
    if (!bk_engine_shares(e, s)) return;
    size_t mine = bk_sequence_computed(s), most = bk_engine_shared_most(e, s);
    if (bk_prefix_peek(e->prefix, s->request->cache_space, s->tokens, most) < mine + BK_PAGE_TOKENS)
        return;
    bk_prefix_match found;
    if (bk_prefix_find(e->prefix, s->request->cache_space, s->tokens, most, &found, NULL)) return;
    bk_sequence_release(s);
    s->kv = found.kv;
    s->pin = found.pin;
    size_t gained = found.matched - mine;
    if (s->stats.generated_tokens == 0) s->stats.cached_tokens += gained;
    e->live.cached_tokens += gained;
}

/* A row for each answer, and as many more for tokens that probably come next as cost little; returns
 * their work, and their number in *rows. */
static double plan_answers(bk_engine *e, size_t *rows) {
    double units = 0;
    size_t most = bk_min_size(DRAFT_ROWS, (size_t)e->o.batch / 2);
    *rows = 0;
    for (size_t i = 0; i < e->running.n; i++) {
        bk_sequence *s = e->running.at[i];
        s->rows = s->phase == BK_PHASE_DECODE;
        *rows += s->rows;
    }
    for (size_t i = 0; i < e->running.n; i++) {
        bk_sequence *s = e->running.at[i];
        if (s->rows) {
            size_t room = bk_min_size(most - bk_min_size(most, *rows), s->cap - s->n);
            /* Chosen tokens go where the guesses lie, one more than there are guesses. */
            size_t guesses = room ? bk_draft_next(&s->draft, s->tokens + s->n, room - 1) : 0;
            s->rows += guesses;
            *rows += guesses;
            units += bk_work_rows(&e->work, bk_sequence_computed(s), s->rows);
        }
        s->n_logits = s->rows;
    }
    return units;
}

/* Work that a step has room for beside the answers. */
static double room_for_prompts(const bk_engine *e, size_t answer_rows, double units) {
    double ms = PREFILL_STEP_MS, answers_ms = bk_cost_ms(&e->cost, units);
    if (answer_rows) ms = bk_cost_safe(&e->cost, bk_engine_budget(e));
    /* Small chunks cost little more a row than large ones: rather more of them than steps without any,
     * down to three quarters of what the budget allows. */
    if (answer_rows && answers_ms > 0) ms = fmin(ms, fmax(0.75 * ms, bk_pace_ms(answers_ms)));
    double room = bk_cost_units(&e->cost, ms);
    return isinf(room) ? FIRST_CHUNK : fmax(0, room - units);
}

static size_t logits_of(const bk_sequence *s, size_t rows) {
    bool last = bk_sequence_computed(s) + rows == s->n_target;
    if (s->request->kind == BK_REQUEST_EMBED) return 0;
    if (s->request->prompt_logprobs && s->stats.generated_tokens == 0) return rows;
    return last && s->request->max_tokens != 0;
}

/* Rows of prompts whose logits are wanted are few; the rest of such a chunk waits. */
static void grant(bk_sequence *s, size_t rows, size_t *logits_left) {
    s->rows = rows;
    s->n_logits = logits_of(s, rows);
    if (s->n_logits > *logits_left) s->rows = s->n_logits = *logits_left;
    *logits_left -= s->n_logits;
}

static bool waits_for_another(const bk_engine *e, bk_sequence *s, uint64_t now) {
    if (follows(e, s)) {
        if (!s->following) s->following = now;
        return true;
    }
    if (s->following) s->stats.cache_ms += (double)(now - s->following) * 1e-6;
    s->following = 0;
    return false;
}

static void plan_prompts(bk_engine *e, size_t answer_rows, double answers) {
    bk_claim claims[BK_MAX_CLAIMS];
    bk_sequence *of[BK_MAX_CLAIMS];
    size_t n = 0, logits = (size_t)e->o.max_running + BK_PROMPT_LOGITS - answer_rows;
    uint64_t now = bk_now_ns();
    if (answer_rows && bk_pace_wants_decode(&e->pace)) return;
    for (size_t i = 0; i < e->running.n; i++) {
        bk_sequence *s = e->running.at[i];
        if (s->phase != BK_PHASE_PREFILL) continue;
        catch_up(e, s);
        if (waits_for_another(e, s, now)) continue;
        of[n] = s;
        /* After having been preempted its own tokens follow: in a pass of their own. */
        size_t end = bk_sequence_in_prompt(s) ? bk_min_size(s->n_prompt, s->n_target) : s->n_target;
        claims[n++] = bk_sequence_claim(s, bk_sequence_computed(s), end, now);
    }
    if (n == 0) return;
    bk_shares_grant(&e->shares, &e->work, claims, n, room_for_prompts(e, answer_rows, answers),
                    (size_t)e->o.batch - answer_rows, LEAST_CHUNK);
    for (size_t i = 0; i < n; i++)
        if (claims[i].granted) grant(of[i], claims[i].granted, &logits);
}

/* ---- Room ----------------------------------------------------------------------------------------- */

/* Who gives way when KV runs out: the youngest of the lowest priority. */
static size_t victim(const bk_engine *e) {
    size_t worst = 0;
    for (size_t i = 1; i < e->running.n; i++) {
        const bk_request *r = e->running.at[i]->request, *w = e->running.at[worst]->request;
        if (r->priority < w->priority || (r->priority == w->priority && r->id > w->id)) worst = i;
    }
    return worst;
}

/* Back to the queue with all tokens; what it has computed stays in the cache until that is needed. */
static void preempt(bk_engine *e, size_t i) {
    bk_error err;
    bk_sequence *s = bk_sequences_take(&e->running, i);
    bk_engine_remember(e, s, true);
    bk_sequence_release(s);
    s->phase = BK_PHASE_WAITING;
    s->rows = s->n_logits = 0;
    s->stats.preemptions++;
    e->live.preemptions++;
    pthread_mutex_lock(&e->lock);
    e->queued++;
    pthread_mutex_unlock(&e->lock);
    if (bk_sequences_push(&e->waiting, s)) return;
    bk_fail(&err, BK_ERR_NOMEM, "no memory to queue a request");
    bk_engine_finish(e, s, BK_FINISH_CANCELLED, -1, &err);
}

/* Lets the cache give up what those that run have of it as well: they hold the pages that they need,
 * while others that only the cache has, such as the copied-from last page of a prompt, count as free at
 * admission. Whether there was any. */
static bool unpin_all(bk_engine *e) {
    bool any = false;
    for (size_t i = 0; i < e->running.n; i++) {
        any |= e->running.at[i]->pin.node != NULL;
        bk_prefix_unpin(&e->running.at[i]->pin);
    }
    return any;
}

/* Makes room for the rows of a sequence: from the cache first, then from others. False when it has been
 * preempted, or ended, itself. */
static bool make_room(bk_engine *e, bk_sequence *s) {
    bk_error err;
    for (;;) {
        bk_status st = bk_kv_reserve(s->kv, s->rows, &err);
        if (!st) return true;
        size_t want = bk_kv_reserve_bytes(s->kv, s->rows);
        if (e->prefix && bk_prefix_evict(e->prefix, want) > 0) continue;
        if (unpin_all(e)) {
            bk_prefix_evict(e->prefix, want);
            continue;
        }
        size_t i = victim(e);
        bool itself = e->running.at[i] == s;
        if (e->running.n > 1) {
            preempt(e, i);
        } else {
            bk_engine_finish(e, bk_sequences_take(&e->running, 0), BK_FINISH_CANCELLED, -1, &err);
        }
        if (itself) return false;
    }
}

static void make_all_room(bk_engine *e) {
    for (size_t i = 0; i < e->running.n;) {
        bk_sequence *s = e->running.at[i];
        if (s->rows > 0 && !make_room(e, s)) {
            i = 0; /* others may have gone as well: all again, which costs nothing for those that have it */
            continue;
        }
        /* Somebody before this one may have been taken out. */
        i = e->running.at[bk_min_size(i, e->running.n - 1)] == s ? i + 1 : 0;
    }
}

/* ---- The pass ------------------------------------------------------------------------------------- */

static bk_status make_hidden(bk_engine *e, bk_error *err) {
    if (e->hidden) return BK_OK;
    e->hidden =
        bk_alloc((size_t)e->o.batch * (size_t)bk_model_config(e->model)->n_out, sizeof *e->hidden);
    return e->hidden ? BK_OK : bk_fail(err, BK_ERR_NOMEM, "no memory for embeddings");
}

/* Rows of all who take part; the number of parts. */
static size_t list_rows(bk_engine *e, bk_rows *rows) {
    const bk_config *c = bk_model_config(e->model);
    float *logits = bk_exec_logits(e->exec), *hidden = e->hidden;
    size_t n = 0;
    for (size_t i = 0; i < e->running.n; i++) {
        bk_sequence *s = e->running.at[i];
        if (s->rows == 0) continue;
        rows[n++] = (bk_rows){.kv = s->kv,
                              .tokens = s->tokens + bk_kv_len(s->kv),
                              .n = s->rows,
                              .exact = !bk_sequence_in_prompt(s),
                              .spare = bk_sequence_spare(s),
                              .margin = bk_sampling_margin(&s->request->sampling),
                              .history = s->tokens,
                              .n_logits = s->n_logits,
                              .logits = s->n_logits ? logits : NULL,
                              .long_context = bk_config_long_context(c, (size_t)e->o.context)};
        logits += s->n_logits * (size_t)c->n_vocab;
        if (!s->pooled) continue;
        rows[n - 1].n_hidden = bk_sequence_states(s);
        rows[n - 1].hidden = hidden;
        hidden += bk_sequence_states(s) * (size_t)c->n_out;
    }
    return n;
}

static bool wants_hidden(const bk_engine *e) {
    for (size_t i = 0; i < e->running.n; i++)
        if (e->running.at[i]->rows && e->running.at[i]->pooled) return true;
    return false;
}

/* Those whose prompts are done come first. */
static void answers_first(bk_engine *e) {
    bk_sequence **list = e->running.at;
    for (size_t i = 0, n = 0; i < e->running.n; i++) {
        bk_sequence *s = list[i];
        if (bk_sequence_in_prompt(s)) continue;
        memmove(list + n + 1, list + n, (i - n) * sizeof *list);
        list[n++] = s;
    }
}

/* In a fast model prompts and what follows them are two passes. */
static bk_status pass(bk_engine *e, bk_error *err) {
    bk_rows rows[BK_MAX_RUNNING];
    bk_status st = wants_hidden(e) ? make_hidden(e, err) : BK_OK;
    if (st) return st;
    if (bk_engine_fast(e)) answers_first(e);
    size_t n = list_rows(e, rows), first = n;
    if (bk_engine_fast(e))
        for (first = 0; first < n && rows[first].exact;) first++;
    if (first > 0 && first < n) {
        st = bk_exec_forward(e->exec, rows, first, err);
        return st ? st : bk_exec_forward(e->exec, rows + first, n - first, err);
    }
    return bk_exec_forward(e->exec, rows, n, err);
}

/* ---- The step ------------------------------------------------------------------------------------- */

/* What takes part in a step. */
typedef struct load {
    size_t parts, answers, rows, chunk; /* chunk: rows of prompts */
    double units, answer_units;
} load;

static load load_of(const bk_engine *e) {
    load l = {0};
    for (size_t i = 0; i < e->running.n; i++) {
        const bk_sequence *s = e->running.at[i];
        if (s->rows == 0) continue;
        double units = bk_work_rows(&e->work, bk_sequence_computed(s), s->rows);
        l.parts++;
        l.rows += s->rows;
        l.units += units;
        if (s->phase == BK_PHASE_DECODE) {
            l.answers++;
            l.answer_units += units;
        } else {
            l.chunk += s->rows;
        }
    }
    return l;
}

static void count_step(bk_engine *e, const load *l, double ms) {
    bk_engine_stats *s = &e->live;
    bk_step_kind kind = !l->chunk ? BK_STEP_DECODE : l->answers ? BK_STEP_MIXED : BK_STEP_PREFILL;
    size_t bucket = 0, row_bucket = 0;
    bk_cost_learn(&e->cost, l->chunk > 0, l->units, ms);
    if (l->answers && e->cost.decode.known)
        bk_pace_step(&e->pace, l->chunk > 0, ms, bk_cost_ms(&e->cost, l->answer_units));
    while (ms * 1e-3 > s->step_bounds[bucket]) bucket++;
    s->step_count[kind][bucket]++;
    s->step_seconds[kind] += ms * 1e-3;
    s->steps++;
    while ((double)l->rows > s->row_bounds[row_bucket]) row_bucket++;
    s->row_count[row_bucket]++;
    s->rows += l->rows;
    if (l->chunk) s->chunk = l->chunk;
    if (kind == BK_STEP_MIXED) return;
    double *rate = l->chunk ? &s->prefill_per_second : &s->decode_per_second;
    double now = (double)(l->chunk ? l->chunk : l->answers) / (ms * 1e-3);
    *rate += (*rate > 0 ? 0.1 : 1.0) * (now - *rate);
}

/* A pass that failed: nothing has changed for anybody; those who took part end with the error. */
static void fail_all(bk_engine *e, const bk_error *err) {
    for (size_t i = e->running.n; i-- > 0;)
        if (e->running.at[i]->rows)
            bk_engine_finish(e, bk_sequences_take(&e->running, i), BK_FINISH_CANCELLED, -1, err);
}

void bk_engine_step(bk_engine *e) {
    bk_error err;
    size_t rows;
    double units = plan_answers(e, &rows);
    plan_prompts(e, rows, units);
    make_all_room(e);
    load l = load_of(e);
    if (l.parts == 0) return;
    uint64_t begin = bk_now_ns();
    if (pass(e, &err)) {
        fail_all(e, &err);
        return;
    }
    double ms = (double)(bk_now_ns() - begin) * 1e-6;
    bk_engine_follow(e);
    count_step(e, &l, ms);
}
