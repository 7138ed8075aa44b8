#include "measure/eval.h"

#include "base/mem.h"
#include "measure/feed.h"
#include "measure/npy.h"

enum { DEFAULT_WINDOW = 512, BATCH = 512, ROWS = 32 };

typedef struct eval {
    const bk_eval_options *o;
    bk_feed model, reference;
    bool have_reference;
    bk_npy truth;
    bk_npy_writer save;
    double *ref_row; /* [n_vocab]; NULL without a reference */
    bk_score score;
    size_t row; /* rows so far, over all windows */
} eval;

static bk_status open_reference(eval *e, size_t rows, bk_error *err) {
    size_t n_vocab = e->model.n_vocab, other = n_vocab;
    bk_status st = BK_OK;
    bk_model *reference = e->o->reference;
    bool itself = !reference && !e->o->reference_logits && bk_model_get_meta(e->model.model)->fast;
    if (reference || itself) {
        e->have_reference = true;
        st = bk_feed_init(&e->reference, itself ? e->model.model : reference, BATCH, ROWS, err);
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
    e->ref_row = bk_alloc(n_vocab, sizeof *e->ref_row);
    if (!e->ref_row || !bk_score_reserve(&e->score, rows)) {
        return bk_fail(err, BK_ERR_NOMEM, "no memory to compare %zu rows", rows);
    }
    return BK_OK;
}

static bk_status eval_open(eval *e, bk_model *model, const bk_eval_options *o, size_t rows,
                           bk_error *err) {
    *e = (eval){.o = o};
    bk_status st = bk_feed_init(&e->model, model, BATCH, ROWS, err);
    if (!st) st = open_reference(e, rows, err);
    if (!st && o->save_logits) {
        st = bk_npy_create(o->save_logits, rows, e->model.n_vocab, &e->save, err);
    }
    return st;
}

static bk_status eval_close(eval *e, bk_status st, bk_summary *out, bk_error *err) {
    if (!st && e->save.file.tmp) st = bk_npy_finish(&e->save, err);
    if (!st) bk_score_summary(&e->score, out);
    bk_npy_abandon(&e->save);
    bk_npy_close(&e->truth);
    bk_feed_free(&e->model);
    bk_feed_free(&e->reference);
    bk_free(e->ref_row);
    bk_score_free(&e->score);
    return st;
}

/* Row i of the current pass. */
static bk_status one_row(eval *e, size_t i, int32_t next, bk_error *err) {
    size_t n = e->model.n_vocab;
    const float *logits = e->model.rows + i * n;
    if (e->have_reference) {
        const float *ref = e->reference.rows + i * n;
        for (size_t k = 0; k < n; k++) e->ref_row[k] = (double)ref[k];
    } else if (e->truth.data) {
        bk_npy_row(&e->truth, e->row, e->ref_row);
    }
    bk_status st = e->save.file.tmp ? bk_npy_put(&e->save, logits, err) : BK_OK;
    if (!st) st = bk_score_add(&e->score, logits, e->ref_row, n, next, err);
    e->row++;
    return st;
}

static bk_status feed(eval *e, const int32_t *tokens, size_t n, size_t rows, bk_error *err) {
    bk_status st = bk_feed_tokens(&e->model, tokens, n, rows, e->o->cancel, err);
    if (st || !e->have_reference) return st;
    return bk_feed_tokens(&e->reference, tokens, n, rows, e->o->cancel, err);
}

/* Computes tokens[0, n) from nothing and takes the rows [first, n) into account; tokens[n], what
 * follows, is known when has_next. */
static bk_status window(eval *e, const int32_t *tokens, size_t first, size_t n, bool has_next,
                        bk_error *err) {
    bk_status st = bk_feed_rewind(&e->model, 0, err);
    if (!st && e->have_reference) st = bk_feed_rewind(&e->reference, 0, err);
    e->model.context = e->reference.context = n;
    if (!st) st = feed(e, tokens, first, 0, err);
    for (size_t at = first; at < n && !st; at += ROWS) {
        size_t count = bk_min_size(n - at, ROWS);
        st = feed(e, tokens + at, count, count, err);
        for (size_t i = 0; i < count && !st; i++) {
            bool known = has_next || at + i + 1 < n;
            st = one_row(e, i, known ? tokens[at + i + 1] : -1, err);
        }
    }
    return st;
}

static void report(const eval *e, size_t done, size_t total) {
    if (!e->o->progress) return;
    bk_score running = e->score;
    running.n_kl = 0; /* sorting the distances is for the end */
    bk_summary so_far;
    bk_score_summary(&running, &so_far);
    e->o->progress(done, total, so_far.ppl, e->o->user);
}

static bk_status text_windows(eval *e, int32_t *tokens, size_t context, size_t n_windows,
                              int32_t begin, bk_error *err) {
    bk_status st = BK_OK;
    for (size_t w = 0; w < n_windows && !st; w++) {
        int32_t *at = tokens + w * context;
        if (begin >= 0) at[0] = begin;
        st = window(e, at, context / 2, context - 1, true, err);
        if (!st) report(e, w + 1, n_windows);
    }
    return st;
}

bk_status bk_eval_text(bk_model *model, bk_str text, const bk_eval_options *o, bk_summary *out,
                       bk_error *err) {
    int most = bk_model_config(model)->context_length;
    int context = o->context ? o->context : bk_min_int(DEFAULT_WINDOW, most);
    if (context < 4 || context > most) {
        return bk_fail(err, BK_ERR_INVALID, "windows of %d tokens, this model takes 4 to %d",
                       context, most);
    }
    const bk_tokenizer *t = bk_model_tokenizer(model);
    int32_t begin = bk_tokenizer_add_bos(t) ? bk_tokenizer_bos(t) : -1;
    bk_ids ids = {0};
    bk_status st = BK_OK;
    if (begin >= 0 && !bk_ids_push(&ids, begin)) st = bk_fail(err, BK_ERR_NOMEM, "no memory");
    if (!st) st = bk_tokenizer_encode(t, text, false, &ids, err);
    size_t window_len = (size_t)context, n_windows = ids.len / window_len;
    if (!st && n_windows == 0) {
        st = bk_fail(err, BK_ERR_INVALID,
                     "the text has %zu tokens, one window takes %d: give a longer text or -c",
                     ids.len, context);
    }
    if (!st) {
        eval e;
        st = eval_open(&e, model, o, n_windows * (window_len - 1 - window_len / 2), err);
        if (!st) st = text_windows(&e, ids.data, window_len, n_windows, begin, err);
        st = eval_close(&e, st, out, err);
    }
    bk_ids_free(&ids);
    return st;
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
    bk_status st = eval_open(&e, model, o, rows, err);
    for (size_t i = 0; i < n_sequences && !st; i++) {
        st = window(&e, tokens, 0, lengths[i], false, err);
        tokens += lengths[i];
        if (!st) report(&e, i + 1, n_sequences);
    }
    return eval_close(&e, st, out, err);
}
