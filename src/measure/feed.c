#include "measure/feed.h"

#include "base/mem.h"

bk_status bk_feed_init(bk_feed *f, bk_model *model, size_t batch, size_t max_rows, bk_error *err) {
    *f = (bk_feed){.batch = batch, .max_rows = max_rows};
    f->n_vocab = (size_t)bk_model_config(model)->n_vocab;
    size_t count;
    if (batch == 0 || max_rows == 0 || max_rows > batch ||
        !bk_mul_size(max_rows, f->n_vocab, &count)) {
        return bk_fail(err, BK_ERR_INVALID, "batches of %zu tokens with %zu rows of logits", batch,
                       max_rows);
    }
    f->model = bk_model_ref(model);
    f->rows = bk_alloc(count, sizeof *f->rows);
    if (!f->rows) return bk_fail(err, BK_ERR_NOMEM, "no memory for %zu rows of logits", max_rows);
    bk_status st = bk_exec_create(model, batch, max_rows, &f->exec, err);
    return st ? st : bk_model_new_kv(model, &f->kv, err);
}

void bk_feed_free(bk_feed *f) {
    if (f->kv) bk_kv_destroy(&f->kv);
    if (f->exec) bk_exec_destroy(&f->exec);
    bk_free(f->rows);
    if (f->model) bk_model_unref(&f->model);
    *f = (bk_feed){0};
}

void bk_feed_set_context(bk_feed *f, size_t n) {
    f->context = n;
    bk_kv_set_max_tokens(f->kv, n);
}

bool bk_feed_long_context(const bk_feed *f) {
    return bk_config_long_context(bk_model_config(f->model), f->context);
}

bk_status bk_feed_rewind(bk_feed *f, size_t n, bk_error *err) {
    return bk_kv_truncate(f->kv, n, err);
}

bk_status bk_feed_tokens(bk_feed *f, const int32_t *tokens, size_t n, size_t rows,
                         const volatile bool *cancel, bk_error *err) {
    for (size_t at = 0; at < n;) {
        if (cancel && *cancel) return bk_fail(err, BK_ERR_CANCELLED, "cancelled");
        size_t left = n - at, count = bk_min_size(left, f->batch);
        /* The rows whose logits are wanted lie in one pass. */
        if (count < left && left - count < rows) count = left - rows;
        size_t want = at + count == n ? rows : 0;
        bk_rows pass = {.kv = f->kv,
                        .tokens = tokens + at,
                        .n = count,
                        .exact = f->exact,
                        .spare = f->spare,
                        .history = f->history,
                        .n_logits = want,
                        .logits = want ? f->rows : NULL,
                        .long_context = bk_feed_long_context(f)};
        bk_status st = bk_exec_forward(f->exec, &pass, 1, err);
        if (st) return st;
        at += count;
    }
    return BK_OK;
}
