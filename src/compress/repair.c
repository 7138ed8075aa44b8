#include "compress/repair.h"

#include <math.h>
#include <string.h>

#include "base/mem.h"

enum { TRIES = 3 }; /* with ten times the damping each */

/* ---- Whole columns ----------------------------------------------------------------------------------- */

typedef struct columns {
    bk_nn *nn;
    const float *w, *gram;
    size_t rows, k, n;
    const int32_t *kept;
    float *out, *gathered, *square; /* rows S of G, [n][k]; H[S,S] */
} columns;

static bk_status check_kept(const columns *c, bk_error *err) {
    for (size_t i = 0; i < c->n; i++)
        if (c->kept[i] < 0 || (size_t)c->kept[i] >= c->k || (i && c->kept[i] <= c->kept[i - 1]))
            return bk_fail(err, BK_ERR_INVALID,
                           "input %d of %zu is kept after %d: ascending numbers wanted", c->kept[i],
                           c->k, i ? c->kept[i - 1] : -1);
    return c->n ? BK_OK : bk_fail(err, BK_ERR_INVALID, "no input of %zu is kept", c->k);
}

/* The factor of H[S,S] in `square`, and W H[:,S] in out. */
static bk_status set_up(columns *c, float damping, bk_error *err) {
    float lambda = bk_damping(c->gram, c->k, damping);
    for (size_t i = 0; i < c->n; i++) {
        const float *row = c->gathered + i * c->k;
        for (size_t j = 0; j < c->n; j++) c->square[i * c->n + j] = row[c->kept[j]];
        c->square[i * c->n + i] += lambda;
    }
    bk_multiply(c->nn, &(bk_product){.m = c->rows,
                                     .n = c->n,
                                     .k = c->k,
                                     .a = c->w,
                                     .b = c->gathered,
                                     .c = c->out,
                                     .lda = c->k,
                                     .ldb = c->k,
                                     .ldc = c->n,
                                     .tb = true});
    for (size_t r = 0; r < c->rows; r++)
        for (size_t j = 0; j < c->n; j++)
            c->out[r * c->n + j] += lambda * c->w[r * c->k + (size_t)c->kept[j]];
    return bk_cholesky(c->nn, c->square, c->n, err);
}

static bk_status solve_columns(columns *c, float damping, bk_error *err) {
    bk_status st = BK_OK;
    for (size_t i = 0; i < c->n; i++)
        memcpy(c->gathered + i * c->k, c->gram + (size_t)c->kept[i] * c->k, c->k * sizeof(float));
    for (int i = 0; i < TRIES; i++, damping *= 10) {
        st = set_up(c, damping, err);
        if (st != BK_ERR_INVALID) break;
    }
    return st ? st : bk_cholesky_solve(c->nn, c->square, c->n, c->out, c->rows, err);
}

bk_status bk_repair_columns(bk_nn *nn, const float *w, size_t rows, size_t k, const float *gram,
                            const int32_t *kept, size_t n_kept, float damping, float *out,
                            bk_error *err) {
    columns c = {nn, w, gram, rows, k, n_kept, kept, out, NULL, NULL};
    bk_status st = check_kept(&c, err);
    if (!st) st = bk_check_finite(gram, k * k, "values of a Gram matrix", err);
    if (!st) st = bk_check_finite(w, rows * k, "weights", err);
    if (st) return st;
    c.gathered = bk_alloc(n_kept * k, sizeof *c.gathered);
    c.square = bk_alloc(n_kept * n_kept, sizeof *c.square);
    if (c.gathered && c.square)
        st = solve_columns(&c, damping, err);
    else
        st = bk_fail(err, BK_ERR_NOMEM, "no memory to repair for %zu inputs", n_kept);
    bk_free(c.gathered);
    bk_free(c.square);
    return st;
}

/* ---- What was lost ----------------------------------------------------------------------------------- */

enum { ENERGY_ROWS = 256 };

/* The sum of w G w^T over rows; `minus` NULL: nothing is subtracted. */
static double energy(bk_nn *nn, const float *w, const float *minus, size_t rows, size_t k,
                     const float *gram, float *memory) {
    double sum = 0;
    float *x = memory, *y = memory + ENERGY_ROWS * k;
    for (size_t r = 0; r < rows; r += ENERGY_ROWS) {
        size_t n = bk_min_size(ENERGY_ROWS, rows - r);
        for (size_t i = 0; i < n * k; i++)
            x[i] = minus ? w[r * k + i] - minus[r * k + i] : w[r * k + i];
        bk_multiply(
            nn,
            &(bk_product){
                .m = n, .n = k, .k = k, .a = x, .b = gram, .c = y, .lda = k, .ldb = k, .ldc = k});
        for (size_t i = 0; i < n * k; i++) sum += (double)x[i] * (double)y[i];
    }
    return sum;
}

double bk_output_error(bk_nn *nn, const float *w, const float *pruned, size_t rows, size_t k,
                       const float *gram) {
    float *memory = bk_alloc(bk_max_size(k, 1), 2 * ENERGY_ROWS * sizeof *memory);
    if (!memory) return INFINITY;
    double all = energy(nn, w, NULL, rows, k, gram, memory);
    double lost = energy(nn, w, pruned, rows, k, gram, memory);
    bk_free(memory);
    return all > 0 ? fmax(lost, 0) / all : 0;
}
