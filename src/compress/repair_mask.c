#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "compress/repair.h"
#include "device/nn_cpu.h"

/* ---- Rows that share their zeros -------------------------------------------------------------------- */

static size_t list_kept(const float *pruned, size_t rows, size_t k, int32_t *kept) {
    size_t n = 0;
    for (size_t j = 0; j < k; j++) {
        bool any = false;
        for (size_t r = 0; r < rows; r++) any |= pruned[r * k + j] != 0;
        if (any) kept[n++] = (int32_t)j;
    }
    return n;
}

static bk_status repair_groups(bk_nn *nn, const float *w, size_t rows, size_t k, const float *gram,
                               size_t shared, float damping, float *pruned, bk_error *err) {
    int32_t *kept = bk_alloc(k, sizeof *kept);
    float *out = bk_alloc(k, bk_min_size(shared, rows) * sizeof *out);
    bk_status st =
        kept && out ? BK_OK : bk_fail(err, BK_ERR_NOMEM, "no memory to repair rows of %zu", k);
    for (size_t r = 0; !st && r < rows; r += shared) {
        size_t n = bk_min_size(shared, rows - r), n_kept = list_kept(pruned + r * k, n, k, kept);
        if (!n_kept) continue;
        st = bk_repair_columns(nn, w + r * k, n, k, gram, kept, n_kept, damping, out, err);
        for (size_t i = 0; !st && i < n * n_kept; i++)
            pruned[(r + i / n_kept) * k + (size_t)kept[i % n_kept]] = out[i];
    }
    bk_free(kept);
    bk_free(out);
    return st;
}

/* ---- Each row by itself ------------------------------------------------------------------------------ */

/* 24 steps are 99.9 % of what can be gained on matrices of language models at half of the weights: their
 * inputs' condition, damped, is mild but for a few directions, which come first. */
enum { ROWS = 512, STEPS = 24 };
static const double ENOUGH = 1e-5; /* of the squared residual at the start */

/* The search of up to ROWS rows, each [n][k]: preconditioned by H's diagonal (Saad 2003, 9.1). */
typedef struct search {
    size_t n, k;
    const float *w, *gram, *diagonal; /* 1 / H_jj */
    float lambda;
    float *pruned, *residual, *direction, *product; /* product: direction G */
    uint8_t *stays;
    double *rest, *start; /* [n] squared residuals, weighed by the diagonal; 0: done */
} search;

static void multiply(bk_nn *nn, const search *s) {
    bk_multiply(nn, &(bk_product){.m = s->n,
                                  .n = s->k,
                                  .k = s->k,
                                  .a = s->direction,
                                  .b = s->gram,
                                  .c = s->product,
                                  .lda = s->k,
                                  .ldb = s->k,
                                  .ldc = s->k});
}

static void begin_row(const void *job, size_t r, int thread) {
    (void)thread;
    const search *s = job;
    const float *product = s->product + r * s->k;
    const uint8_t *stays = s->stays + r * s->k;
    float *direction = s->direction + r * s->k, *residual = s->residual + r * s->k;
    double rest = 0;
    for (size_t j = 0; j < s->k; j++) {
        residual[j] = stays[j] ? product[j] + s->lambda * direction[j] : 0;
        direction[j] = residual[j] * s->diagonal[j];
        rest += (double)residual[j] * (double)direction[j];
    }
    s->rest[r] = s->start[r] = rest;
}

static void step_row(const void *job, size_t r, int thread) {
    (void)thread;
    const search *s = job;
    size_t k = s->k;
    float *direction = s->direction + r * k, *product = s->product + r * k;
    float *residual = s->residual + r * k, *pruned = s->pruned + r * k;
    const uint8_t *stays = s->stays + r * k;
    double curve = 0, rest = 0;
    if (s->rest[r] <= 0) return;
    for (size_t j = 0; j < k; j++) {
        product[j] = stays[j] ? product[j] + s->lambda * direction[j] : 0;
        curve += (double)direction[j] * (double)product[j];
    }
    float by = curve > 0 ? (float)(s->rest[r] / curve) : 0;
    for (size_t j = 0; j < k; j++) {
        pruned[j] += by * direction[j];
        residual[j] -= by * product[j];
        rest += (double)residual[j] * (double)residual[j] * (double)s->diagonal[j];
    }
    float keep = (float)(rest / s->rest[r]);
    for (size_t j = 0; j < k; j++)
        direction[j] = residual[j] * s->diagonal[j] + keep * direction[j];
    bool done = !(curve > 0) || !(rest > ENOUGH * s->start[r]);
    s->rest[r] = done ? 0 : rest;
    if (done) memset(direction, 0, k * sizeof *direction);
}

static bool any_left(const search *s) {
    bool any = false;
    for (size_t r = 0; r < s->n; r++) any |= s->rest[r] > 0;
    return any;
}

static bk_status run_search(bk_nn *nn, search *s, bk_error *err) {
    bk_nn_cpu *d = (bk_nn_cpu *)nn;
    size_t values = s->n * s->k;
    for (size_t i = 0; i < values; i++) {
        s->stays[i] = s->pruned[i] != 0;
        s->direction[i] = s->w[i] - s->pruned[i];
    }
    multiply(nn, s);
    bk_nn_cpu_each(d, s->n, values, begin_row, s);
    bk_status st = nn->ops->finish(nn, err);
    for (int i = 0; i < STEPS && !st && any_left(s); i++) {
        multiply(nn, s);
        st = nn->ops->finish(nn, err);
        if (!st) bk_nn_cpu_each(d, s->n, 4 * values, step_row, s);
    }
    return st;
}

static bk_status search_rows(bk_nn *nn, search *s, const float *w, size_t rows, float *pruned,
                             bk_error *err) {
    bk_status st = BK_OK;
    for (size_t r = 0; !st && r < rows; r += ROWS) {
        s->n = bk_min_size(ROWS, rows - r);
        s->w = w + r * s->k;
        s->pruned = pruned + r * s->k;
        st = run_search(nn, s, err);
    }
    return st;
}

static bk_status repair_rows(bk_nn *nn, const float *w, size_t rows, size_t k, const float *gram,
                             float damping, float *pruned, bk_error *err) {
    size_t most = bk_min_size(ROWS, rows);
    float *diagonal = bk_alloc(k, sizeof *diagonal),
          *memory = bk_alloc(k, 3 * most * sizeof *memory);
    double *rest = bk_alloc(most, 2 * sizeof *rest);
    search s = {.k = k, .gram = gram, .diagonal = diagonal, .rest = rest};
    s.stays = bk_alloc(k, most);
    bk_status st = BK_OK;
    if (!diagonal || !memory || !rest || !s.stays)
        st = bk_fail(err, BK_ERR_NOMEM, "no memory to repair %zu rows of %zu", rows, k);
    s.lambda = bk_damping(gram, k, damping);
    if (!st) {
        for (size_t j = 0; j < k; j++) diagonal[j] = 1 / (gram[j * k + j] + s.lambda);
        s.start = rest + most;
        s.residual = memory;
        s.direction = memory + most * k;
        s.product = memory + 2 * most * k;
        st = search_rows(nn, &s, w, rows, pruned, err);
    }
    bk_free(diagonal);
    bk_free(memory);
    bk_free(rest);
    bk_free(s.stays);
    return st;
}

bk_status bk_repair_mask(bk_nn *nn, const float *w, size_t rows, size_t k, const float *gram,
                         size_t shared, float damping, float *pruned, bk_error *err) {
    bk_status st = bk_check_finite(gram, k * k, "values of a Gram matrix", err);
    if (!st) st = bk_check_finite(w, rows * k, "weights", err);
    if (st || !rows || !k) return st;
    if (shared > 1) return repair_groups(nn, w, rows, k, gram, shared, damping, pruned, err);
    return repair_rows(nn, w, rows, k, gram, damping, pruned, err);
}
