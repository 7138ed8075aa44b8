/* What follows a pass: pieces of prompts noted, tokens chosen, events, ends. */
#include <math.h>
#include <string.h>

#include "base/clock.h"
#include "engine/engine_internal.h"

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
    size_t n_embd = (size_t)bk_model_config(e->model)->n_out;
    bool mean = s->request->pooling == BK_POOLING_MEAN;
    for (size_t r = 0; r < bk_sequence_states(s); r++)
        for (size_t i = 0; i < n_embd; i++)
            s->pooled[i] = (mean ? s->pooled[i] : 0) + hidden[r * n_embd + i];
}

/* Scaled to length 1, so that a mean needs no division. */
static void emit_embedding(bk_engine *e, bk_sequence *s) {
    size_t n_embd = (size_t)bk_model_config(e->model)->n_out;
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
    if (end || bk_token_listed(s->view.stop_tokens, r->n_stop_tokens, token)) {
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
    bk_engine_remember(e, s, false);
    if (s->request->progress)
        bk_engine_emit(e, s, (bk_event){.kind = BK_EVENT_PROGRESS, .token = -1, .stop_token = -1},
                       NULL);
    if (done < s->n_target) return false;
    if (s->stats.prefill_ms == 0)
        s->stats.prefill_ms = (double)(now - s->started) * 1e-6 - s->stats.cache_ms;
    s->phase = BK_PHASE_DECODE;
    if (s->pooled) emit_embedding(e, s);
    return s->pooled || s->request->max_tokens == 0;
}

/* The tokens of an answer that this step gives: one, and one more for each guess that was right. The rows
 * of wrong guesses are taken back. Whether the sequence has ended. */
static bool answer_rows(bk_engine *e, bk_sequence *s, const float *logits, size_t guesses,
                        uint64_t now, bk_finish *finish, int32_t *stop_token, bk_error *err) {
    size_t n_vocab = (size_t)bk_model_config(e->model)->n_vocab, right = 0;
    bool ended = false;
    for (;; right++, logits += n_vocab) {
        int32_t guess = right < guesses ? s->tokens[s->n] : -1;
        size_t before = s->n;
        ended = answer(e, s, logits, now, finish, stop_token, err);
        if (ended || s->tokens[before] != guess) break;
    }
    bk_draft_learn(&s->draft, guesses, right);
    s->stats.predicted_tokens += guesses;
    s->stats.accepted_tokens += right;
    /* Everything but the newest token has been computed. It can always be cut by that
     * many. */
    if (bk_kv_len(s->kv) >= s->n) ended |= bk_kv_truncate(s->kv, s->n - 1, err) != BK_OK;
    return ended;
}

/* Whether it goes on; otherwise it has been ended. */
static bool follow_up(bk_engine *e, bk_sequence *s, const float *logits, const float *hidden,
                      uint64_t now) {
    bk_error err = {0};
    bk_finish finish = BK_FINISH_LENGTH;
    int32_t stop_token = -1;
    size_t n_vocab = (size_t)bk_model_config(e->model)->n_vocab, guesses = s->rows - 1;
    bool ended = false;
    if (s->phase == BK_PHASE_PREFILL) {
        if (s->n_logits == s->rows && s->request->prompt_logprobs && s->stats.generated_tokens == 0)
            emit_prompt(e, s, bk_kv_len(s->kv) - s->rows, logits);
        if (s->pooled) pool_rows(e, s, hidden);
        ended = after_chunk(e, s, now);
        if (s->n_logits) logits += (s->n_logits - 1) * n_vocab; /* of the last row */
        guesses = 0;
    }
    if (!ended && s->phase == BK_PHASE_DECODE)
        ended = answer_rows(e, s, logits, guesses, now, &finish, &stop_token, &err);
    if (s->lost && !err.code) {
        bk_fail(&err, BK_ERR_NOMEM, "no memory to pass on what was computed");
        ended = true;
    }
    if (!ended) return true;
    bk_engine_finish(e, s, finish, stop_token, err.code ? &err : NULL);
    return false;
}

void bk_engine_follow(bk_engine *e) {
    const bk_config *c = bk_model_config(e->model);
    const float *logits = bk_exec_logits(e->exec), *hidden = e->hidden;
    uint64_t now = bk_now_ns();
    size_t kept = 0;
    for (size_t i = 0; i < e->running.n; i++) {
        bk_sequence *s = e->running.at[i];
        size_t n_logits = s->n_logits, n_hidden = bk_sequence_states(s);
        if (s->rows == 0 || follow_up(e, s, logits, hidden, now)) e->running.at[kept++] = s;
        logits += n_logits * (size_t)c->n_vocab;
        if (n_hidden) hidden += n_hidden * (size_t)c->n_out;
    }
    e->running.n = kept;
}
