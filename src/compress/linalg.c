#include "compress/linalg.h"

#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "device/nn_cpu.h"

enum { PANEL = 128 };                     /* columns that are computed together */
static const double SINGULAR = 0x1.0p-22; /* least pivot, of the diagonal before */

void bk_multiply(bk_nn *nn, const bk_product *p) {
    bk_mem a = {(void *)p->a}, b = {(void *)p->b}, c = {p->c};
    bk_gemm g = {.m = p->m, .n = p->n, .k = p->k, .a.mem = &a, .b.mem = &b, .c.mem = &c};
    g.lda = p->lda, g.ldb = p->ldb, g.ldc = p->ldc;
    g.ta = p->ta, g.tb = p->tb, g.add = p->add;
    nn->ops->gemm(nn, &g);
}

float bk_damping(const float *gram, size_t k, float damping) {
    double sum = 0;
    for (size_t i = 0; i < k; i++) sum += (double)gram[i * k + i];
    double by = (double)damping * sum / (double)bk_max_size(k, 1);
    return by > 0 && isfinite((float)by) ? (float)by : 1;
}

bk_status bk_check_finite(const float *x, size_t n, const char *what, bk_error *err) {
    for (size_t i = 0; i < n; i++)
        if (!isfinite(x[i]))
            return bk_fail(err, BK_ERR_INVALID, "one of the %s is %s, finite numbers wanted", what,
                           isnan(x[i]) ? "not a number" : "infinite");
    return BK_OK;
}

/* ---- Blocks on the diagonal, in double -------------------------------------------------------------- */

typedef struct work {
    bk_nn *nn;
    size_t n;
    float *negated; /* PANEL rows or columns of the factor */
    float *columns; /* [m][PANEL] */
    float *inverse; /* [PANEL][PANEL] of the block on the diagonal */
    double *block, *block_inverse;
} work;

static bk_status open_work(work *w, bk_nn *nn, size_t n, size_t m, bk_error *err) {
    size_t wide, tall;
    *w = (work){.nn = nn, .n = n};
    if (!bk_mul_size(PANEL, n, &wide) || !bk_mul_size(PANEL, m, &tall)) wide = tall = SIZE_MAX;
    w->negated = bk_alloc(bk_max_size(wide, 1), sizeof(float));
    w->columns = bk_alloc(bk_max_size(tall, 1), sizeof(float));
    w->inverse = bk_alloc(PANEL * PANEL, sizeof(float));
    w->block = bk_alloc(PANEL * PANEL, sizeof(double));
    w->block_inverse = bk_alloc(PANEL * PANEL, sizeof(double));
    if (w->negated && w->columns && w->inverse && w->block && w->block_inverse) return BK_OK;
    return bk_fail(err, BK_ERR_NOMEM, "no memory to solve for %zu unknowns", n);
}

/* And the device's failure, where there is no other. */
static bk_status close_work(work *w, bk_status st, bk_error *err) {
    bk_free(w->negated);
    bk_free(w->columns);
    bk_free(w->inverse);
    bk_free(w->block);
    bk_free(w->block_inverse);
    bk_status late = w->nn->ops->finish(w->nn, st ? NULL : err);
    return st ? st : late;
}

static void load_block(work *w, const float *a, size_t b) {
    for (size_t i = 0; i < b; i++)
        for (size_t j = 0; j <= i; j++) w->block[i * PANEL + j] = (double)a[i * w->n + j];
}

static void invert_block(work *w, size_t b) {
    const double *l = w->block;
    double *x = w->block_inverse;
    for (size_t i = 0; i < b; i++) {
        double by = 1 / l[i * PANEL + i];
        for (size_t j = 0; j < b; j++) x[i * PANEL + j] = i == j;
        for (size_t p = 0; p < i; p++)
            for (size_t j = 0; j <= p; j++) x[i * PANEL + j] -= l[i * PANEL + p] * x[p * PANEL + j];
        for (size_t j = 0; j <= i; j++) x[i * PANEL + j] *= by;
    }
    for (size_t i = 0; i < b; i++)
        for (size_t j = 0; j < b; j++) w->inverse[i * PANEL + j] = (float)x[i * PANEL + j];
}

/* The number of the pivot that is none; b when all are. */
static size_t factor_block(work *w, float *a, const float *diagonal, size_t b) {
    double *l = w->block;
    for (size_t j = 0; j < b; j++) {
        double pivot = l[j * PANEL + j];
        for (size_t p = 0; p < j; p++) pivot -= l[j * PANEL + p] * l[j * PANEL + p];
        if (!(pivot > SINGULAR * (double)diagonal[j]) || !isfinite(pivot)) return j;
        l[j * PANEL + j] = sqrt(pivot);
        for (size_t i = j + 1; i < b; i++) {
            double sum = l[i * PANEL + j];
            for (size_t p = 0; p < j; p++) sum -= l[i * PANEL + p] * l[j * PANEL + p];
            l[i * PANEL + j] = sum / l[j * PANEL + j];
        }
    }
    for (size_t i = 0; i < b; i++)
        for (size_t j = 0; j <= i; j++) a[i * w->n + j] = (float)l[i * PANEL + j];
    return b;
}

/* ---- Panels ------------------------------------------------------------------------------------------ */

/* Columns [j, j + b) of x[m][n] less what the columns before them, times rows [j, j + b) of l, make. */
static void subtract_before(work *w, const float *l, float *x, size_t m, size_t j, size_t b) {
    if (!j || !m) return;
    for (size_t i = 0; i < b; i++)
        for (size_t p = 0; p < j; p++) w->negated[i * j + p] = -l[(j + i) * w->n + p];
    bk_multiply(w->nn, &(bk_product){.m = m,
                                     .n = b,
                                     .k = j,
                                     .a = x,
                                     .b = w->negated,
                                     .c = x + j,
                                     .lda = w->n,
                                     .ldb = j,
                                     .ldc = w->n,
                                     .tb = true,
                                     .add = true});
}

/* The same with the columns after them and columns [j, j + b) of l. */
static void subtract_after(work *w, const float *l, float *x, size_t m, size_t j, size_t b) {
    size_t end = j + b, k = w->n - end;
    if (!k || !m) return;
    for (size_t p = 0; p < k; p++)
        for (size_t i = 0; i < b; i++) w->negated[p * b + i] = -l[(end + p) * w->n + j + i];
    bk_multiply(w->nn, &(bk_product){.m = m,
                                     .n = b,
                                     .k = k,
                                     .a = x + end,
                                     .b = w->negated,
                                     .c = x + j,
                                     .lda = w->n,
                                     .ldb = b,
                                     .ldc = w->n,
                                     .add = true});
}

/* Columns [j, j + b) of x times the inverse of the block, or times its transpose. */
static void divide(work *w, float *x, size_t m, size_t j, size_t b, bool transposed) {
    if (!m) return;
    for (size_t i = 0; i < m; i++) memcpy(w->columns + i * b, x + i * w->n + j, b * sizeof(float));
    bk_multiply(w->nn, &(bk_product){.m = m,
                                     .n = b,
                                     .k = b,
                                     .a = w->columns,
                                     .b = w->inverse,
                                     .c = x + j,
                                     .lda = b,
                                     .ldb = PANEL,
                                     .ldc = w->n,
                                     .tb = transposed});
}

static bk_status factor(work *w, float *a, float *diagonal, bk_error *err) {
    size_t n = w->n;
    for (size_t i = 0; i < n; i++) diagonal[i] = a[i * n + i];
    for (size_t j = 0; j < n; j += PANEL) {
        size_t b = bk_min_size(PANEL, n - j), done;
        float *corner = a + j * n + j, *below = a + (j + b) * n;
        /* The block's own upper half is not to be touched: it takes its update aside. */
        for (size_t i = 0; i < b; i++)
            memcpy(w->columns + i * b, corner + i * n, b * sizeof(float));
        subtract_before(w, a, a + j * n, b, j, b);
        load_block(w, corner, b);
        for (size_t i = 0; i < b; i++)
            memcpy(corner + i * n, w->columns + i * b, b * sizeof(float));
        done = factor_block(w, corner, diagonal + j, b);
        if (done < b)
            return bk_fail(
                err, BK_ERR_INVALID,
                "a matrix of %zu rows is not positive definite (row %zu): more damping or "
                "more calibration text wanted",
                n, j + done + 1);
        if (j + b == n) break;
        invert_block(w, b);
        subtract_before(w, a, below, n - j - b, j, b);
        divide(w, below, n - j - b, j, b, true);
    }
    return BK_OK;
}

bk_status bk_cholesky(bk_nn *nn, float *a, size_t n, bk_error *err) {
    work w;
    bk_status st = open_work(&w, nn, n, bk_max_size(n, PANEL), err);
    float *diagonal = st ? NULL : bk_alloc(bk_max_size(n, 1), sizeof *diagonal);
    if (!st && !diagonal) st = bk_fail(err, BK_ERR_NOMEM, "no memory for %zu unknowns", n);
    if (!st) st = factor(&w, a, diagonal, err);
    bk_free(diagonal);
    return close_work(&w, st, err);
}

static void load_inverse(work *w, const float *l, size_t j, size_t b) {
    load_block(w, l + j * w->n + j, b);
    invert_block(w, b);
}

/* x L^T = what x was. */
static void solve_forward(work *w, const float *l, float *x, size_t m, bool triangular) {
    for (size_t j = 0; j < w->n; j += PANEL) {
        size_t b = bk_min_size(PANEL, w->n - j);
        size_t rows = triangular ? j + b : m; /* below is nothing yet */
        load_inverse(w, l, j, b);
        subtract_before(w, l, x, rows, j, b);
        divide(w, x, rows, j, b, true);
    }
}

/* x L = what x was. */
static void solve_backward(work *w, const float *l, float *x, size_t m) {
    for (size_t end = w->n, j; end > 0; end = j) {
        j = (end - 1) / PANEL * PANEL;
        load_inverse(w, l, j, end - j);
        subtract_after(w, l, x, m, j, end - j);
        divide(w, x, m, j, end - j, false);
    }
}

bk_status bk_cholesky_solve(bk_nn *nn, const float *l, size_t n, float *x, size_t m,
                            bk_error *err) {
    work w;
    bk_status st = open_work(&w, nn, n, m, err);
    if (!st) {
        solve_forward(&w, l, x, m, false);
        solve_backward(&w, l, x, m);
    }
    return close_work(&w, st, err);
}

/* ---- The factor of the inverse ----------------------------------------------------------------------- */

/* The lower triangle of a read backwards. */
static void flip(const float *a, size_t n, float *out) {
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j <= i; j++) out[i * n + j] = a[(n - 1 - j) * n + n - 1 - i];
}

/* About the diagonal from the lower left to the upper right. */
static void transpose_other(float *a, size_t n) {
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j + i + 1 < n; j++) {
            float *p = a + i * n + j, *q = a + (n - 1 - j) * n + n - 1 - i, t = *p;
            *p = *q;
            *q = t;
        }
}

bk_status bk_inverse_factor(bk_nn *nn, float *a, size_t n, bk_error *err) {
    work w;
    size_t values = 0;
    bool fits = bk_mul_size(n, n, &values);
    float *l = fits ? bk_alloc(bk_max_size(values, 1), sizeof *l) : NULL;
    if (!l) return bk_fail(err, BK_ERR_NOMEM, "no memory to invert for %zu unknowns", n);
    flip(a, n, l);
    bk_status st = bk_cholesky(nn, l, n, err);
    if (!st) {
        st = open_work(&w, nn, n, n, err);
        if (!st) {
            memset(a, 0, values * sizeof *a);
            for (size_t i = 0; i < n; i++) a[i * n + i] = 1;
            solve_forward(&w, l, a, n, true);
            transpose_other(a, n);
        }
        st = close_work(&w, st, err);
    }
    bk_free(l);
    return st;
}
