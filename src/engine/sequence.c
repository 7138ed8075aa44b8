#include "engine/sequence.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

/* How many tokens the request can come to. */
static size_t most_tokens(const bk_request *r, size_t context) {
    size_t n = (size_t)r->n_tokens, room = context - bk_min_size(n, context);
    if (r->kind == BK_REQUEST_EMBED) return n;
    return n + (r->max_tokens < 0 ? room : bk_min_size(room, (size_t)r->max_tokens));
}

bk_status bk_sequence_create(const bk_request *record, size_t context, bk_sequence **out,
                             bk_error *err) {
    *out = NULL;
    bk_sequence *s = bk_alloc_zero(1, sizeof *s);
    if (!s) return bk_fail(err, BK_ERR_NOMEM, "no memory for a request");
    s->cap = most_tokens(record, context);
    s->n = s->n_prompt = s->n_target = (size_t)record->n_tokens;
    s->request = bk_alloc(record->bytes, 1);
    s->tokens = bk_alloc(s->cap, sizeof *s->tokens);
    s->gaps = bk_alloc(s->cap - s->n_prompt + 1, sizeof *s->gaps);
    if (!s->request || !s->tokens || !s->gaps) {
        bk_sequence_destroy(&s);
        return bk_fail(err, BK_ERR_NOMEM, "no memory for a request of %zu tokens",
                       (size_t)record->n_tokens);
    }
    memcpy(s->request, record, record->bytes);
    s->view = bk_request_read(s->request);
    memcpy(s->tokens, s->view.tokens, s->n * sizeof *s->tokens);
    s->submitted = record->submitted;
    s->stats.prompt_tokens = s->n_prompt;
    *out = s;
    return BK_OK;
}

void bk_sequence_destroy(bk_sequence **sp) {
    bk_sequence *s = *sp;
    *sp = NULL;
    if (!s) return;
    bk_sequence_release(s);
    bk_sampler_destroy(&s->sampler);
    bk_reply_free(&s->reply);
    bk_free(s->stop);
    bk_free(s->allowed);
    bk_free(s->pooled);
    bk_free(s->gaps);
    bk_free(s->tokens);
    bk_free(s->request);
    bk_free(s);
}

void bk_sequence_release(bk_sequence *s) {
    bk_kv_destroy(&s->kv);
    bk_prefix_unpin(&s->pin);
}

/* The stop texts, which lie one after another in the record. */
static bool list_stops(bk_sequence *s) {
    if (s->request->n_stop == 0) return true;
    s->stop = bk_alloc(s->request->n_stop, sizeof *s->stop);
    if (!s->stop) return false;
    const char *at = s->view.stop;
    for (size_t i = 0; i < s->request->n_stop; i++) {
        s->stop[i] = at;
        at += strlen(at) + 1;
    }
    return true;
}

/* A bit for each token that may be chosen, when not all may. */
static bool make_mask(bk_sequence *s, size_t n_vocab) {
    const bk_request *r = s->request;
    if (r->n_allowed == 0 && r->min_tokens <= 0) return true;
    size_t words = bk_div_up(n_vocab, 32);
    s->allowed = bk_alloc_zero(words, sizeof *s->allowed);
    if (!s->allowed) return false;
    if (r->n_allowed == 0) memset(s->allowed, 0xFF, words * sizeof *s->allowed);
    for (size_t i = 0; i < r->n_allowed; i++) {
        uint32_t id = (uint32_t)s->view.allowed[i];
        s->allowed[id / 32] |= 1u << (id % 32);
    }
    return true;
}

/* Allows the tokens of a list, as far as the request does, or forbids them. */
static void set_ends(bk_sequence *s, const int32_t *list, size_t n, bool open) {
    const bk_request *r = s->request;
    for (size_t i = 0; i < n; i++) {
        uint32_t bit = 1u << ((uint32_t)list[i] % 32), *word = &s->allowed[list[i] / 32];
        bool may =
            open && (r->n_allowed == 0 || bk_token_listed(s->view.allowed, r->n_allowed, list[i]));
        *word = may ? *word | bit : *word & ~bit;
    }
}

void bk_sequence_open_ends(bk_sequence *s, const int32_t *ends, size_t n_ends) {
    set_ends(s, ends, n_ends, true);
    set_ends(s, s->view.stop_tokens, s->request->n_stop_tokens, true);
    s->reply.stop.n = s->request->n_stop;
    s->early = false;
}

static void close_ends(bk_sequence *s, const int32_t *ends, size_t n_ends) {
    set_ends(s, ends, n_ends, false);
    set_ends(s, s->view.stop_tokens, s->request->n_stop_tokens, false);
    s->reply.stop.n = 0;
    s->early = true;
}

static bk_status prepare_embedding(bk_sequence *s, size_t n_embd, bk_error *err) {
    if (!s->pooled) s->pooled = bk_alloc(n_embd, sizeof *s->pooled);
    if (!s->pooled) return bk_fail(err, BK_ERR_NOMEM, "no memory for an embedding");
    memset(s->pooled, 0, n_embd * sizeof *s->pooled);
    return BK_OK;
}

bk_status bk_sequence_prepare(bk_sequence *s, bk_model *m, bk_sample_scratch *scratch,
                              const int32_t *ends, size_t n_ends, bk_error *err) {
    const bk_config *c = bk_model_config(m);
    if (s->request->kind == BK_REQUEST_EMBED) return prepare_embedding(s, (size_t)c->n_out, err);
    if (s->sampler) return BK_OK;
    bk_sampling p = s->request->sampling;
    p.biases = s->view.biases;
    p.n_biases = s->request->n_biases;
    if (!list_stops(s) || !make_mask(s, (size_t)c->n_vocab))
        return bk_fail(err, BK_ERR_NOMEM, "no memory for a request");
    bk_status st =
        bk_reply_init(&s->reply, bk_model_tokenizer(m), s->stop, s->request->n_stop, err);
    if (!st) st = bk_sampler_create(&p, (size_t)c->n_vocab, scratch, &s->sampler, err);
    if (!st && s->request->min_tokens > 0) close_ends(s, ends, n_ends);
    if (s->request->n_prediction && !c->window) /* pages that leave a window do not come back */
        s->draft = (bk_draft){.text = s->view.prediction, .n = s->request->n_prediction};
    for (size_t i = 0; !st && i < s->n; i++) bk_sampler_accept(s->sampler, s->tokens[i]);
    return st;
}

void bk_sequence_push(bk_sequence *s, int32_t token, uint64_t now) {
    s->tokens[s->n++] = token;
    bk_draft_follow(&s->draft, s->tokens + s->n_prompt, s->n - s->n_prompt);
    size_t k = bk_sequence_generated(s);
    if (k == 1)
        s->first = now;
    else
        s->gaps[k - 2] = (float)((double)(now - s->last) * 1e-6);
    s->last = now;
    s->stats.generated_tokens = k;
    bk_sampler_accept(s->sampler, token);
}

static int by_size(const void *a, const void *b) {
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

void bk_sequence_finish(bk_sequence *s) {
    if (s->stats.generated_tokens == 0) return;
    size_t n = s->stats.generated_tokens - 1;
    s->stats.first_token_ms = (double)(s->first - s->submitted) * 1e-6;
    s->stats.decode_ms = (double)(s->last - s->first) * 1e-6;
    if (n == 0) return;
    qsort(s->gaps, n, sizeof *s->gaps, by_size);
    s->stats.gap_p50_ms = (double)s->gaps[(n - 1) / 2];
    s->stats.gap_p99_ms = (double)s->gaps[(n - 1) - (n - 1) / 100];
    s->stats.gap_max_ms = (double)s->gaps[n - 1];
}
