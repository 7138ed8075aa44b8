#include "measure/greedy.h"

#include <stdlib.h>

#include "base/mem.h"
#include "measure/eval.h"
#include "measure/feed.h"

enum { PROMPT = 32, TOKENS = 64, BATCH = 128, ROWS = 16 };

static int32_t best_of(const float *logits, size_t n) {
    size_t best = 0;
    for (size_t i = 1; i < n; i++)
        if (logits[i] > logits[best]) best = i;
    return (int32_t)best;
}

/* tokens[0, n) is the prompt; the answer goes behind it. Returns in *end where it stops. */
static bk_status answer(bk_feed *f, int32_t *tokens, size_t n, size_t most,
                        const volatile bool *cancel, size_t *end, bk_error *err) {
    const bk_tokenizer *t = bk_model_tokenizer(f->model);
    f->exact = false;
    bk_status st = bk_feed_rewind(f, 0, err);
    size_t from = 0;
    for (*end = n; *end < n + most && !st;) {
        st = bk_feed_tokens(f, tokens + from, *end - from, 1, cancel, err);
        if (st) break;
        f->exact = true;
        from = *end;
        tokens[(*end)++] = best_of(f->rows, f->n_vocab);
        if (bk_tokenizer_is_end(t, tokens[from])) break;
    }
    return st;
}

/* How many tokens of the answer tokens[n, end) this model would have chosen too, before another. */
static bk_status follow(bk_feed *f, const int32_t *tokens, size_t n, size_t end,
                        const volatile bool *cancel, size_t *same, bk_error *err) {
    f->exact = false;
    bk_status st = bk_feed_rewind(f, 0, err);
    if (!st) st = bk_feed_tokens(f, tokens, n, 1, cancel, err);
    *same = 0;
    f->exact = true;
    for (size_t at = n, rows = 1; at < end && !st; at += rows) {
        /* The rows predict tokens[at, at + rows). */
        if (at > n) {
            rows = bk_min_size(end - at, ROWS);
            st = bk_feed_tokens(f, tokens + at - 1, rows, rows, cancel, err);
        }
        for (size_t i = 0; i < rows && !st; i++) {
            if (best_of(f->rows + i * f->n_vocab, f->n_vocab) != tokens[at + i]) return BK_OK;
            ++*same;
        }
    }
    return st;
}

typedef struct comparison {
    const bk_greedy_options *o;
    bk_feed reference, *feeds; /* [n] */
    size_t n, n_prompt, n_tokens;
    int32_t *tokens; /* [n_prompt + n_tokens] */
    size_t *same;    /* [n][n_prompts] */
} comparison;

static int ascending(const void *a, const void *b) {
    size_t x = *(const size_t *)a, y = *(const size_t *)b;
    return (x > y) - (x < y);
}

static void summarise(const comparison *c, size_t model, bk_greedy *out) {
    size_t n = c->o->n_prompts, *v = c->same + model * n, sum = 0;
    qsort(v, n, sizeof *v, ascending);
    for (size_t i = 0; i < n; i++) sum += v[i];
    out->n_prompts = n;
    out->n_tokens = c->n_tokens;
    out->mean = (double)sum / (double)n;
    out->median = (double)(v[(n - 1) / 2] + v[n / 2]) / 2;
}

static bk_status run(comparison *c, const bk_windows *w, bk_greedy *out, bk_error *err) {
    size_t n = c->o->n_prompts;
    bk_status st = BK_OK;
    for (size_t p = 0; p < n && !st; p++) {
        size_t end, at = w->n * p / n;
        for (size_t i = 0; i < c->n_prompt; i++) c->tokens[i] = w->ids.data[at * w->context + i];
        st = answer(&c->reference, c->tokens, c->n_prompt, c->n_tokens, c->o->cancel, &end, err);
        for (size_t m = 0; m < c->n && !st; m++) {
            size_t *same = &c->same[m * n + p];
            st = follow(&c->feeds[m], c->tokens, c->n_prompt, end, c->o->cancel, same, err);
            if (*same == end - c->n_prompt) {
                out[m].same++;
                *same = c->n_tokens; /* it may have ended early, but not differed */
            }
        }
        if (!st && c->o->progress) c->o->progress(p + 1, n, c->o->user);
    }
    for (size_t m = 0; m < c->n && !st; m++) summarise(c, m, &out[m]);
    return st;
}

static bk_status open_feeds(comparison *c, bk_model *reference, bk_model *const *models,
                            size_t n_models, bk_error *err) {
    size_t n_all;
    c->feeds = bk_alloc_zero(n_models, sizeof *c->feeds);
    c->tokens = bk_alloc_zero(c->n_prompt + c->n_tokens, sizeof *c->tokens);
    c->same = bk_mul_size(n_models, c->o->n_prompts, &n_all) ? bk_alloc_zero(n_all, sizeof *c->same)
                                                             : NULL;
    if (!c->feeds || !c->tokens || !c->same) {
        return bk_fail(err, BK_ERR_NOMEM, "no memory to compare %zu answers", c->o->n_prompts);
    }
    bk_status st = bk_feed_init(&c->reference, reference, BATCH, 1, err);
    for (; c->n < n_models && !st; c->n++)
        st = bk_feed_init(&c->feeds[c->n], models[c->n], BATCH, ROWS, err);
    return st;
}

bk_status bk_greedy_compare(bk_model *reference, bk_model *const *models, size_t n_models,
                            bk_str text, const bk_greedy_options *o, bk_greedy *out,
                            bk_error *err) {
    comparison c = {.o = o,
                    .n_prompt = o->n_prompt ? o->n_prompt : PROMPT,
                    .n_tokens = o->n_tokens ? o->n_tokens : TOKENS};
    size_t all, most = (size_t)bk_model_config(reference)->context_length;
    for (size_t m = 0; m < n_models; m++) {
        out[m] = (bk_greedy){0};
        most = bk_min_size(most, (size_t)bk_model_config(models[m])->context_length);
    }
    if (!bk_add_size(c.n_prompt, c.n_tokens, &all) || all > most || o->n_prompts == 0) {
        return bk_fail(
            err, BK_ERR_INVALID,
            "%zu answers of %zu tokens to prompts of %zu: the models have contexts of %zu",
            o->n_prompts, c.n_tokens, c.n_prompt, most);
    }
    bk_windows w;
    bk_status st = bk_windows_cut(reference, text, (int)c.n_prompt, &w, err);
    if (!st) st = open_feeds(&c, reference, models, n_models, err);
    if (!st) st = run(&c, &w, out, err);
    for (size_t m = 0; m < c.n; m++) bk_feed_free(&c.feeds[m]);
    bk_feed_free(&c.reference);
    bk_free(c.feeds);
    bk_free(c.tokens);
    bk_free(c.same);
    bk_ids_free(&w.ids);
    return st;
}
