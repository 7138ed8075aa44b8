#include "compress/distance.h"

#include <math.h>

#include "base/mem.h"
#include "kernel/expf.h"

enum { KEPT_BYTES = 256 << 20 };

bk_status bk_distance_init(bk_distance *d, const bk_model *model, bk_str text, int context,
                           double phase, size_t count, bk_pool *pool, bk_error *err) {
    *d = (bk_distance){.pool = pool};
    bk_status st = bk_windows_cut(model, text, context, &d->text, err);
    if (st) return st;
    d->n_vocab = (size_t)bk_model_config(model)->n_vocab;
    d->phase = phase;
    d->count = bk_min_size(count, d->text.n);
    size_t most = KEPT_BYTES / sizeof(float) / d->n_vocab / d->count;
    d->rows = bk_max_size(bk_min_size(d->text.context * 3 / 4, most), 1);
    d->skip = d->text.context - d->rows;
    d->kept = bk_alloc(d->count * d->rows, d->n_vocab * sizeof *d->kept);
    if (d->kept) return BK_OK;
    bk_distance_free(d);
    return bk_fail(err, BK_ERR_NOMEM, "no memory to keep predictions");
}

void bk_distance_free(bk_distance *d) {
    bk_ids_free(&d->text.ids);
    bk_free(d->kept);
    *d = (bk_distance){0};
}

/* log(sum(exp(x))) of logits of ordinary size: chunks of floats, summed in double. */
static double norm_of(const float *x, size_t n) {
    float max = x[0];
    double sum = 0;
    for (size_t i = 1; i < n; i++) max = x[i] > max ? x[i] : max;
    for (size_t i = 0; i < n;) {
        size_t end = bk_min_size(n, i + 256);
        float part = 0;
        for (; i < end; i++) part += bk_expf(x[i] - max);
        sum += (double)part;
    }
    return (double)max + log(sum);
}

/* What the threads do with a pass's rows. */
typedef struct rows_job {
    const bk_distance *d;
    const float *logits; /* [n][n_vocab] */
    size_t at, n;        /* of the kept rows: the first, how many */
    bool keep;
    double *kl; /* [n] */
} rows_job;

static void keep_row(const rows_job *j, size_t r) {
    const bk_distance *d = j->d;
    const float *x = j->logits + r * d->n_vocab;
    float *kept = d->kept + (j->at + r) * d->n_vocab;
    double norm = norm_of(x, d->n_vocab);
    for (size_t i = 0; i < d->n_vocab; i++) kept[i] = (float)((double)x[i] - norm);
}

static void compare_row(const rows_job *j, size_t r) {
    const bk_distance *d = j->d;
    const float *x = j->logits + r * d->n_vocab, *kept = d->kept + (j->at + r) * d->n_vocab;
    double norm = norm_of(x, d->n_vocab), kl = 0;
    for (size_t i = 0; i < d->n_vocab; i++) {
        if (kept[i] < -20) continue; /* all of these together weigh less than the rounding */
        double q = (double)x[i] - norm;
        kl += (double)bk_expf(kept[i]) * ((double)kept[i] - q);
    }
    j->kl[r] = kl;
}

static void run_rows(void *arg, int thread) {
    rows_job *j = arg;
    (void)thread;
    for (size_t r; (r = bk_pool_next(j->d->pool)) < j->n;) (j->keep ? keep_row : compare_row)(j, r);
}

static bk_status read_windows(const bk_distance *d, bk_feed *f, bool keep, double *kl,
                              const volatile bool *cancel, bk_error *err) {
    bk_status st = BK_OK;
    for (size_t w = 0; w < d->count && !st; w++) {
        double at = ((double)w + d->phase) * (double)d->text.n / (double)d->count;
        const int32_t *ids = d->text.ids.data + (size_t)at * d->text.context;
        st = bk_feed_rewind(f, 0, err);
        bk_feed_set_context(f, d->text.context);
        if (!st) st = bk_feed_tokens(f, ids, d->text.context, d->rows, cancel, err);
        rows_job job = {.d = d, .logits = f->rows, .at = w * d->rows, .n = d->rows, .keep = keep};
        job.kl = kl + job.at;
        if (!st) bk_pool_run_steady(d->pool, run_rows, &job);
    }
    return st;
}

static bk_status run_text(const bk_distance *d, bk_model *m, bool keep, double *mean,
                          const volatile bool *cancel, bk_error *err) {
    bk_feed f;
    size_t n = d->count * d->rows;
    double *kl = bk_alloc_zero(n, sizeof *kl), sum = 0;
    bk_status st = bk_feed_init(&f, m, d->text.context, d->rows, err);
    if (!st && !kl) st = bk_fail(err, BK_ERR_NOMEM, "no memory for %zu divergences", n);
    if (!st) st = read_windows(d, &f, keep, kl, cancel, err);
    for (size_t i = 0; !st && i < n; i++) sum += kl[i];
    if (!st && !isfinite(sum))
        st = bk_fail(err, BK_ERR_FORMAT, "the model's logits are not all numbers");
    *mean = sum / (double)n;
    bk_free(kl);
    bk_feed_free(&f);
    return st;
}

bk_status bk_distance_keep(bk_distance *d, bk_model *reference, const volatile bool *cancel,
                           bk_error *err) {
    double none;
    return run_text(d, reference, true, &none, cancel, err);
}

bk_status bk_distance_measure(const bk_distance *d, bk_model *model, const volatile bool *cancel,
                              double *kl, bk_error *err) {
    bk_status st = run_text(d, model, false, kl, cancel, err);
    if (*kl < 0) *kl = 0; /* by rounding */
    return st;
}
