/* One step of the engine: a row for every answer, chunks of prompts, one pass over the weights, then a
 * token for each that may have one. */
#include <math.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "engine/engine_internal.h"

enum { LEAST_CHUNK = 8, FIRST_CHUNK = 64 };

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
    if (!e->prefix || s->request->no_cache || s->request->prompt_logprobs) return false;
    size_t mine = bk_sequence_computed(s);
    for (size_t i = 0; i < e->running.n; i++) {
        const bk_sequence *o = e->running.at[i];
        if (o == s || o->phase != BK_PHASE_PREFILL || o->request->no_cache ||
            o->request->tenant != s->request->tenant || o->request->id > s->request->id ||
            o->request->priority < s->request->priority || bk_sequence_computed(o) < mine)
            continue;
        size_t shared = bk_min_size(common_prefix(o, s), s->n - 1);
        shared -= shared % BK_PAGE_TOKENS;
        if (shared >= mine + BK_PAGE_TOKENS && bk_sequence_computed(o) < shared) return true;
    }
    return false;
}

/* Takes over what others have computed since this one started. */
static void catch_up(bk_engine *e, bk_sequence *s) {
    if (!e->prefix || s->request->no_cache || s->request->prompt_logprobs || s->pooled) return;
    size_t mine = bk_sequence_computed(s);
    if (bk_prefix_peek(e->prefix, s->request->tenant, s->tokens, s->n - 1) < mine + BK_PAGE_TOKENS)
        return;
    bk_prefix_match found;
    if (bk_prefix_find(e->prefix, s->request->tenant, s->tokens, s->n - 1, &found, NULL)) return;
    bk_sequence_release(s);
    s->kv = found.kv;
    s->pin = found.pin;
    size_t gained = found.matched - mine;
    if (s->stats.generated_tokens == 0) s->stats.cached_tokens += gained;
    e->live.cached_tokens += gained;
}

/* A row for each answer; returns their work. */
static double plan_answers(bk_engine *e, size_t *n) {
    double units = 0;
    *n = 0;
    for (size_t i = 0; i < e->running.n; i++) {
        bk_sequence *s = e->running.at[i];
        s->rows = s->n_logits = 0;
        if (s->phase != BK_PHASE_DECODE) continue;
        s->rows = s->n_logits = 1;
        units += bk_work_rows(&e->work, bk_sequence_computed(s), 1);
        ++*n;
    }
    return units;
}

/* Work that a step has room for beside the answers. */
static double room_for_prompts(const bk_engine *e, size_t n_answers, double units) {
    double ms = n_answers ? bk_cost_safe(&e->cost, bk_engine_budget(e)) : PREFILL_STEP_MS;
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

static size_t plan_prompts(bk_engine *e, size_t n_answers, double answers) {
    bk_claim claims[BK_MAX_CLAIMS];
    bk_sequence *of[BK_MAX_CLAIMS];
    size_t n = 0, rows = 0, logits = (size_t)e->o.max_running + BK_PROMPT_LOGITS - n_answers;
    uint64_t now = bk_now_ns();
    if (n_answers && bk_pace_wants_decode(&e->pace)) return 0;
    for (size_t i = 0; i < e->running.n; i++) {
        bk_sequence *s = e->running.at[i];
        if (s->phase != BK_PHASE_PREFILL) continue;
        catch_up(e, s);
        if (follows(e, s)) continue;
        size_t done = bk_sequence_computed(s);
        of[n] = s;
        claims[n++] = (bk_claim){.tenant = s->request->tenant,
                                 .arrival = s->request->id,
                                 .priority = s->request->priority,
                                 .begin = done,
                                 .left = s->n_target - done,
                                 .waited_ms = (double)(now - s->submitted) * 1e-6};
    }
    if (n == 0) return 0;
    bk_shares_grant(&e->shares, &e->work, claims, n, room_for_prompts(e, n_answers, answers),
                    (size_t)e->o.batch - n_answers, LEAST_CHUNK);
    for (size_t i = 0; i < n; i++) {
        if (claims[i].granted) grant(of[i], claims[i].granted, &logits);
        rows += of[i]->rows;
    }
    return rows;
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

/* Makes room for the rows of a sequence: from the cache first, then from others. False when it has been
 * preempted, or ended, itself. */
static bool make_room(bk_engine *e, bk_sequence *s) {
    bk_error err;
    for (;;) {
        bk_status st = bk_kv_reserve(s->kv, s->rows, &err);
        if (!st) return true;
        size_t want = bk_kv_reserve_bytes(s->kv, s->rows);
        if (e->prefix && bk_prefix_evict(e->prefix, want) > 0) continue;
        if (s->pin.node) { /* its own tokens in the cache: then the last page needs no copy */
            bk_prefix_unpin(&s->pin);
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
        bk_alloc((size_t)e->o.batch * (size_t)bk_model_config(e->model)->n_embd, sizeof *e->hidden);
    return e->hidden ? BK_OK : bk_fail(err, BK_ERR_NOMEM, "no memory for embeddings");
}

/* States that an embedding needs of this step: all rows, or the prompt's last. */
static size_t hidden_of(const bk_sequence *s) {
    if (!s->pooled || s->rows == 0) return 0;
    return s->request->pooling == BK_POOLING_MEAN ? s->rows : 1;
}

/* Rows of all who take part; the number of parts, 0 when there is no memory. */
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
                              .n_logits = s->n_logits,
                              .logits = s->n_logits ? logits : NULL,
                              .long_context = bk_config_long_context(c, (size_t)e->o.context)};
        logits += s->n_logits * (size_t)c->n_vocab;
        if (!s->pooled) continue;
        rows[n - 1].n_hidden = hidden_of(s);
        rows[n - 1].hidden = hidden;
        hidden += hidden_of(s) * (size_t)c->n_embd;
    }
    return n;
}

static bool wants_hidden(const bk_engine *e) {
    for (size_t i = 0; i < e->running.n; i++)
        if (e->running.at[i]->rows && e->running.at[i]->pooled) return true;
    return false;
}

static bk_status pass(bk_engine *e, bk_error *err) {
    bk_rows rows[BK_MAX_RUNNING];
    bk_status st = wants_hidden(e) ? make_hidden(e, err) : BK_OK;
    return st ? st : bk_exec_forward(e->exec, rows, list_rows(e, rows), err);
}

/* ---- What follows --------------------------------------------------------------------------------- */

/* The log-probabilities of a row, as an event of this kind. */
static void emit_token(bk_engine *e, bk_sequence *s, bk_event_kind kind, int32_t token,
                       const float *logits, bk_str text, bool control) {
    bk_logprob top[BK_MAX_LOGPROBS];
    bk_event head = {
        .kind = kind, .token = token, .stop_token = -1, .control = control, .text_len = text.len};
    bk_event_view v = {.top = top, .text = text.data};
    if (logits && s->request->logprobs >= 0) {
        size_t n_vocab = (size_t)bk_model_config(e->model)->n_vocab;
        double norm = bk_logprob_norm(logits, n_vocab);
        head.n_top = bk_logprob_top(logits, n_vocab, norm, (size_t)s->request->logprobs, top);
        head.logprob = bk_logprob_of(logits[token], norm);
        head.has_logprob = true;
    }
    bk_engine_emit(e, s, head, &v);
}

/* Log-probabilities of the prompt: the row at position p is about token p + 1. What a sequence has
 * reported before it was preempted is not reported again. */
static void emit_prompt(bk_engine *e, bk_sequence *s, size_t begin, const float *logits) {
    size_t n_vocab = (size_t)bk_model_config(e->model)->n_vocab;
    bk_str none = {"", 0};
    for (size_t at; (at = s->n_reported) < bk_min_size(begin + s->rows + 1, s->n_prompt);
         s->n_reported++)
        emit_token(e, s, BK_EVENT_PROMPT, s->tokens[at],
                   at ? logits + (at - 1 - begin) * n_vocab : NULL, none, false);
}

/* Adds the rows' states to the embedding, or keeps the last. */
static void pool_rows(const bk_engine *e, bk_sequence *s, const float *hidden) {
    size_t n_embd = (size_t)bk_model_config(e->model)->n_embd;
    bool mean = s->request->pooling == BK_POOLING_MEAN;
    for (size_t r = 0; r < hidden_of(s); r++)
        for (size_t i = 0; i < n_embd; i++)
            s->pooled[i] = (mean ? s->pooled[i] : 0) + hidden[r * n_embd + i];
}

/* Scaled to length 1, so that a mean needs no division. */
static void emit_embedding(bk_engine *e, bk_sequence *s) {
    size_t n_embd = (size_t)bk_model_config(e->model)->n_embd;
    double sum = 0;
    for (size_t i = 0; i < n_embd; i++) sum += (double)s->pooled[i] * (double)s->pooled[i];
    float scale = sum > 0 ? (float)(1.0 / sqrt(sum)) : 0;
    for (size_t i = 0; i < n_embd; i++) s->pooled[i] *= scale;
    bk_event_view v = {.values = s->pooled};
    bk_engine_emit(
        e, s,
        (bk_event){.kind = BK_EVENT_EMBEDDING, .token = -1, .stop_token = -1, .n_values = n_embd},
        &v);
}

static bool among(const int32_t *list, size_t n, int32_t token) {
    for (size_t i = 0; i < n; i++)
        if (list[i] == token) return true;
    return false;
}

static int32_t choose(bk_engine *e, bk_sequence *s, const float *logits) {
    if (s->early && bk_sequence_generated(s) >= (size_t)s->request->min_tokens)
        bk_sequence_open_ends(s, e->ends, e->n_ends);
    return bk_sampler_pick(s->sampler, logits, s->allowed);
}

/* What the token just chosen means for the answer: whether it ends, and how. */
static bool ends_answer(bk_engine *e, bk_sequence *s, int32_t token, const float *logits,
                        bk_finish *finish, int32_t *stop_token) {
    const bk_request *r = s->request;
    bool end = !r->ignore_end && bk_tokenizer_is_end(bk_model_tokenizer(e->model), token);
    *stop_token = -1;
    if (end || among(s->view.stop_tokens, r->n_stop_tokens, token)) {
        *stop_token = token;
        *finish = end ? BK_FINISH_END : BK_FINISH_STOP;
        return true;
    }
    bool control = bk_tokenizer_type(bk_model_tokenizer(e->model), token) == BK_TOKEN_CONTROL;
    emit_token(e, s, BK_EVENT_TOKEN, token, logits, bk_reply_push(&s->reply, token), control);
    *finish = s->reply.stop.found ? BK_FINISH_STOP
              : r->max_tokens >= 0 && s->stats.generated_tokens >= (size_t)r->max_tokens
                  ? BK_FINISH_LENGTH
                  : BK_FINISH_CONTEXT;
    return *finish != BK_FINISH_CONTEXT || s->n >= (size_t)e->o.context;
}

/* The next token of an answer. Whether the sequence has ended. */
static bool answer(bk_engine *e, bk_sequence *s, const float *logits, uint64_t now,
                   bk_finish *finish, int32_t *stop_token, bk_error *err) {
    int32_t token = choose(e, s, logits);
    *finish = BK_FINISH_CANCELLED;
    if (token < 0) {
        bk_fail(err, BK_ERR_FORMAT,
                "the model computed no usable logits (all NaN, or no token allowed)");
        return true;
    }
    uint64_t before = s->last;
    bk_sequence_push(s, token, now);
    e->live.generated_tokens++;
    if (s->stats.generated_tokens > 1) {
        double gap = (double)(now - before) * 1e-6;
        if (gap > bk_engine_budget(e)) e->live.over_budget++;
        /* A running median: a step up or down of a few per cent. */
        e->gap_ms = e->gap_ms > 0 ? e->gap_ms * (gap > e->gap_ms ? 1.02 : 1 / 1.02) : gap;
    }
    return ends_answer(e, s, token, logits, finish, stop_token);
}

/* A chunk of a prompt has been computed. Whether the sequence has ended. */
static bool after_chunk(bk_engine *e, bk_sequence *s, uint64_t now) {
    size_t done = bk_kv_len(s->kv);
    s->stats.computed_tokens = bk_min_size(done, s->n_prompt);
    if (!s->pooled) bk_engine_remember(e, s, false);
    if (s->request->progress)
        bk_engine_emit(e, s, (bk_event){.kind = BK_EVENT_PROGRESS, .token = -1, .stop_token = -1},
                       NULL);
    if (done < s->n_target) return false;
    if (s->stats.prefill_ms == 0) s->stats.prefill_ms = (double)(now - s->started) * 1e-6;
    s->phase = BK_PHASE_DECODE;
    if (s->pooled) emit_embedding(e, s);
    return s->pooled || s->request->max_tokens == 0;
}

/* Whether it goes on; otherwise it has been ended. */
static bool follow_up(bk_engine *e, bk_sequence *s, const float *logits, const float *hidden,
                      uint64_t now) {
    bk_error err = {0};
    bk_finish finish = BK_FINISH_LENGTH;
    int32_t stop_token = -1;
    size_t n_vocab = (size_t)bk_model_config(e->model)->n_vocab;
    bool ended = false;
    if (s->phase == BK_PHASE_PREFILL) {
        if (s->n_logits == s->rows && s->request->prompt_logprobs && s->stats.generated_tokens == 0)
            emit_prompt(e, s, bk_kv_len(s->kv) - s->rows, logits);
        if (s->pooled) pool_rows(e, s, hidden);
        ended = after_chunk(e, s, now);
    }
    if (!ended && s->phase == BK_PHASE_DECODE)
        ended = answer(e, s, logits + (s->n_logits - 1) * n_vocab, now, &finish, &stop_token, &err);
    if (!ended) return true;
    bk_engine_finish(e, s, finish, stop_token, err.code ? &err : NULL);
    return false;
}

static void follow_all(bk_engine *e) {
    const bk_config *c = bk_model_config(e->model);
    const float *logits = bk_exec_logits(e->exec), *hidden = e->hidden;
    uint64_t now = bk_now_ns();
    size_t kept = 0;
    for (size_t i = 0; i < e->running.n; i++) {
        bk_sequence *s = e->running.at[i];
        size_t n_logits = s->n_logits, n_hidden = hidden_of(s);
        if (s->rows == 0 || follow_up(e, s, logits, hidden, now)) e->running.at[kept++] = s;
        logits += n_logits * (size_t)c->n_vocab;
        if (n_hidden) hidden += n_hidden * (size_t)c->n_embd;
    }
    e->running.n = kept;
}

/* ---- The step ------------------------------------------------------------------------------------- */

static void count_step(bk_engine *e, size_t answers, size_t chunk, double units,
                       double answer_units, double ms) {
    bk_engine_stats *s = &e->live;
    bk_step_kind kind = !chunk ? BK_STEP_DECODE : answers ? BK_STEP_MIXED : BK_STEP_PREFILL;
    size_t bucket = 0;
    bk_cost_learn(&e->cost, chunk > 0, units, ms);
    if (answers)
        bk_pace_step(&e->pace, chunk > 0, ms,
                     e->cost.decode.known ? bk_cost_ms(&e->cost, answer_units) : 0);
    while (ms * 1e-3 > s->step_bounds[bucket]) bucket++;
    s->step_count[kind][bucket]++;
    s->step_seconds[kind] += ms * 1e-3;
    s->steps++;
    if (chunk) s->chunk = chunk;
    double *rate = chunk ? &s->prefill_per_second : &s->decode_per_second;
    double now = (double)(chunk ? chunk : answers) / (ms * 1e-3);
    if (kind != BK_STEP_MIXED) *rate += (*rate > 0 ? 0.1 : 1.0) * (now - *rate);
}

/* A pass that failed: nothing has changed for anybody; those who took part end with the error. */
static void fail_all(bk_engine *e, const bk_error *err) {
    for (size_t i = e->running.n; i-- > 0;)
        if (e->running.at[i]->rows)
            bk_engine_finish(e, bk_sequences_take(&e->running, i), BK_FINISH_CANCELLED, -1, err);
}

void bk_engine_step(bk_engine *e) {
    bk_error err;
    size_t answers = 0, chunk = 0, n = 0;
    double units = 0, answer_units = plan_answers(e, &answers);
    plan_prompts(e, answers, answer_units);
    make_all_room(e);
    answers = 0;
    answer_units = 0;
    for (size_t i = 0; i < e->running.n; i++) {
        const bk_sequence *s = e->running.at[i];
        if (s->rows == 0) continue;
        double u = bk_work_rows(&e->work, bk_sequence_computed(s), s->rows);
        bool answering = s->phase == BK_PHASE_DECODE;
        answers += answering;
        chunk += answering ? 0 : s->rows;
        answer_units += answering ? u : 0;
        units += u;
        n++;
    }
    if (n == 0) return;
    uint64_t begin = bk_now_ns();
    if (pass(e, &err)) {
        fail_all(e, &err);
        return;
    }
    double ms = (double)(bk_now_ns() - begin) * 1e-6;
    follow_all(e);
    count_step(e, answers, chunk, units, answer_units, ms);
}
