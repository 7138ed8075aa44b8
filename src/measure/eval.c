#include "measure/eval.h"

#include "base/mem.h"
#include "measure/feed.h"
#include "measure/npy.h"

enum { DEFAULT_WINDOW = 512, BATCH = 512, ROWS = 32 };

typedef struct candidate {
    bk_feed feed;
    bk_score score;
} candidate;

typedef struct eval {
    const bk_eval_options *o;
    candidate *models;
    size_t n;
    bk_feed reference;
    bool have_reference;
    bk_npy truth;
    bk_npy_writer save;   /* of the first model */
    bk_expected expected; /* n 0 without a reference */
    size_t row;           /* rows so far, over all windows */
} eval;

static bk_status reserve(eval *e, size_t n_vocab, size_t rows, bk_error *err) {
    bool good = bk_expected_init(&e->expected, n_vocab);
    for (size_t i = 0; i < e->n && good; i++) good = bk_score_reserve(&e->models[i].score, rows);
    return good ? BK_OK : bk_fail(err, BK_ERR_NOMEM, "no memory to compare %zu rows", rows);
}

static bk_status open_reference(eval *e, size_t rows, bk_error *err) {
    const bk_feed *first = &e->models[0].feed;
    size_t n_vocab = first->n_vocab, other = n_vocab;
    bk_status st = BK_OK;
    bk_model *reference = e->o->reference;
    const bk_model_meta *meta = bk_model_get_meta(first->model);
    bool itself = !reference && !e->o->reference_logits &&
                  (meta->fast || meta->head_kept || meta->head_screen);
    if (reference || itself) {
        e->have_reference = true;
        st = bk_feed_init(&e->reference, itself ? first->model : reference, BATCH, ROWS, err);
        e->reference.exact = itself;
        other = e->reference.n_vocab;
    } else if (e->o->reference_logits) {
        st = bk_npy_open(e->o->reference_logits, &e->truth, err);
        other = e->truth.cols;
        if (!st && e->truth.rows != rows) {
            return bk_fail(err, BK_ERR_INVALID, "%s has %zu rows, these tokens give %zu",
                           e->o->reference_logits, e->truth.rows, rows);
        }
    } else {
        return BK_OK;
    }
    if (st) return st;
    if (other != n_vocab) {
        return bk_fail(
            err, BK_ERR_INVALID,
            "the reference predicts %zu tokens, the model %zu: their vocabularies differ", other,
            n_vocab);
    }
    return reserve(e, n_vocab, rows, err);
}

static bk_status eval_open(eval *e, bk_model *const *models, size_t n, const bk_eval_options *o,
                           size_t rows, bk_error *err) {
    *e = (eval){.o = o, .models = bk_alloc_zero(n, sizeof(candidate))};
    bk_status st = e->models ? BK_OK : bk_fail(err, BK_ERR_NOMEM, "no memory for %zu models", n);
    for (; e->n < n && !st; e->n++) {
        candidate *c = &e->models[e->n];
        st = bk_feed_init(&c->feed, models[e->n], BATCH, ROWS, err);
        c->feed.spare = true;
        if (!st && c->feed.n_vocab != e->models[0].feed.n_vocab) {
            st = bk_fail(err, BK_ERR_INVALID,
                         "one model predicts %zu tokens, another %zu: their vocabularies differ",
                         e->models[0].feed.n_vocab, c->feed.n_vocab);
        }
    }
    if (!st) st = open_reference(e, rows, err);
    if (!st && o->save_logits) {
        st = bk_npy_create(o->save_logits, rows, e->models[0].feed.n_vocab, &e->save, err);
    }
    return st;
}

static bk_status eval_close(eval *e, bk_status st, bk_summary *out, bk_error *err) {
    if (!st && e->save.file.tmp) st = bk_npy_finish(&e->save, err);
    for (size_t i = 0; i < e->n; i++) {
        if (!st) bk_score_summary(&e->models[i].score, &out[i]);
        bk_feed_free(&e->models[i].feed);
        bk_score_free(&e->models[i].score);
    }
    bk_npy_abandon(&e->save);
    bk_npy_close(&e->truth);
    bk_feed_free(&e->reference);
    bk_expected_free(&e->expected);
    bk_free(e->models);
    return st;
}

static bk_status expect(eval *e, size_t i, bk_error *err) {
    size_t n = e->expected.n;
    if (n == 0) return BK_OK;
    if (e->have_reference) {
        const float *ref = e->reference.rows + i * n;
        for (size_t k = 0; k < n; k++) e->expected.log_p[k] = (double)ref[k];
    } else {
        bk_npy_row(&e->truth, e->row, e->expected.log_p);
    }
    return bk_expected_prepare(&e->expected, err);
}

/* Row i of the current pass. */
static bk_status one_row(eval *e, size_t i, int32_t next, size_t part, bk_error *err) {
    size_t n = e->models[0].feed.n_vocab;
    const bk_expected *expected = e->expected.n ? &e->expected : NULL;
    bk_status st = expect(e, i, err);
    if (!st && e->save.file.tmp) st = bk_npy_put(&e->save, e->models[0].feed.rows + i * n, err);
    for (size_t k = 0; k < e->n && !st; k++) {
        candidate *c = &e->models[k];
        st = bk_score_add(&c->score, c->feed.rows + i * n, expected, n, next, part, err);
    }
    e->row++;
    return st;
}

static bk_status rewind_all(eval *e, const int32_t *tokens, size_t context, bk_error *err) {
    bk_status st = e->have_reference ? bk_feed_rewind(&e->reference, 0, err) : BK_OK;
    e->reference.context = context;
    for (size_t k = 0; k < e->n && !st; k++) {
        st = bk_feed_rewind(&e->models[k].feed, 0, err);
        e->models[k].feed.context = context;
        e->models[k].feed.history = tokens;
    }
    return st;
}

static bk_status feed(eval *e, const int32_t *tokens, size_t n, size_t rows, bk_error *err) {
    bk_status st = BK_OK;
    for (size_t k = 0; k < e->n && !st; k++)
        st = bk_feed_tokens(&e->models[k].feed, tokens, n, rows, e->o->cancel, err);
    if (st || !e->have_reference) return st;
    return bk_feed_tokens(&e->reference, tokens, n, rows, e->o->cancel, err);
}

/* Computes tokens[0, n) from nothing and takes the rows [first, n) into account; tokens[n], what
 * follows, is known when has_next. */
static bk_status window(eval *e, const int32_t *tokens, size_t first, size_t n, bool has_next,
                        bk_error *err) {
    bk_status st = rewind_all(e, tokens, n, err);
    if (!st) st = feed(e, tokens, first, 0, err);
    for (size_t at = first; at < n && !st; at += ROWS) {
        size_t count = bk_min_size(n - at, ROWS);
        st = feed(e, tokens + at, count, count, err);
        for (size_t i = 0; i < count && !st; i++) {
            bool known = has_next || at + i + 1 < n;
            size_t part = (at + i - first) * BK_SCORE_PARTS / (n - first);
            st = one_row(e, i, known ? tokens[at + i + 1] : -1, part, err);
        }
    }
    return st;
}

static void report(const eval *e, size_t done, size_t total) {
    if (!e->o->progress) return;
    bk_score running = e->models[0].score;
    running.n_kl = 0; /* sorting the distances is for the end */
    bk_summary so_far;
    bk_score_summary(&running, &so_far);
    e->o->progress(done, total, so_far.ppl, e->o->user);
}

bk_status bk_windows_cut(const bk_model *model, bk_str text, int context, bk_windows *out,
                         bk_error *err) {
    int most = bk_model_config(model)->context_length;
    if (context == 0) context = bk_min_int(DEFAULT_WINDOW, most);
    *out = (bk_windows){.context = (size_t)context};
    if (context < 4 || context > most) {
        return bk_fail(err, BK_ERR_INVALID, "windows of %d tokens, this model takes 4 to %d",
                       context, most);
    }
    const bk_tokenizer *t = bk_model_tokenizer(model);
    int32_t begin = bk_tokenizer_add_bos(t) ? bk_tokenizer_bos(t) : -1;
    bk_status st = BK_OK;
    if (begin >= 0 && !bk_ids_push(&out->ids, begin)) st = bk_fail(err, BK_ERR_NOMEM, "no memory");
    if (!st) st = bk_tokenizer_encode(t, text, false, &out->ids, err);
    out->n = out->ids.len / out->context;
    if (!st && out->n == 0) {
        st = bk_fail(err, BK_ERR_INVALID,
                     "the text has %zu tokens, one window takes %d: give a longer text or -c",
                     out->ids.len, context);
    }
    for (size_t w = 0; w < out->n && begin >= 0 && !st; w++)
        out->ids.data[w * out->context] = begin;
    return st;
}

bk_status bk_eval_text_many(bk_model *const *models, size_t n_models, bk_str text,
                            const bk_eval_options *o, bk_summary *out, bk_error *err) {
    bk_windows w = {0};
    eval e;
    bk_status st = bk_windows_cut(models[0], text, o->context, &w, err);
    if (!st) {
        size_t n = w.context, count = o->max_windows ? bk_min_size(w.n, o->max_windows) : w.n;
        st = eval_open(&e, models, n_models, o, count * (n - 1 - n / 2), err);
        for (size_t i = 0; i < count && !st; i++) {
            st = window(&e, w.ids.data + i * n, n / 2, n - 1, true, err);
            if (!st) report(&e, i + 1, count);
        }
        st = eval_close(&e, st, out, err);
    }
    bk_ids_free(&w.ids);
    return st;
}

bk_status bk_eval_text(bk_model *model, bk_str text, const bk_eval_options *o, bk_summary *out,
                       bk_error *err) {
    return bk_eval_text_many(&model, 1, text, o, out, err);
}

bk_status bk_eval_tokens(bk_model *model, const int32_t *tokens, const size_t *lengths,
                         size_t n_sequences, const bk_eval_options *o, bk_summary *out,
                         bk_error *err) {
    size_t rows = 0;
    for (size_t i = 0; i < n_sequences; i++) {
        if (!bk_add_size(rows, lengths[i], &rows)) return bk_fail(err, BK_ERR_INVALID, "too many");
    }
    if (rows == 0) return bk_fail(err, BK_ERR_INVALID, "there are no tokens to evaluate");
    eval e;
    bk_status st = eval_open(&e, &model, 1, o, rows, err);
    for (size_t i = 0; i < n_sequences && !st; i++) {
        st = window(&e, tokens, 0, lengths[i], false, err);
        tokens += lengths[i];
        if (!st) report(&e, i + 1, n_sequences);
    }
    return eval_close(&e, st, out, err);
}
