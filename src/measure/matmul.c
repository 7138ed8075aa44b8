#include "measure/matmul.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/rng.h"
#include "measure/openblas.h"

enum { MAX_SAMPLES = 256 };

static const double SLOW_OPS = 2.5e9;    /* that the slow ways do at most, one to four seconds */
static const uint64_t TURN_NS = 60e6;    /* of a way in a round, at least */
static const uint64_t ENOUGH_NS = 1.5e9; /* after which a way is not run again */

/* One way with its samples. */
typedef struct run {
    bk_matmul_row *row;
    bk_matrix *matrix; /* SIMD */
    uint64_t ns[MAX_SAMPLES], total;
    size_t n;
} run;

typedef struct bench {
    const bk_matmul_test *t;
    float *w, *x; /* [m][k] as rounded, [n][k] */
    float *want, *out,
        *bits; /* [n][m] of the three loops, of the way at hand, of the SIMD kernels */
    bk_openblas peer;
    run *runs;
    bk_matmul_result *result;
} bench;

/* ---- The ways that need no library ----------------------------------------------------------------- */

static void naive(const bench *b, size_t n) {
    size_t m = b->t->m, k = b->t->k;
    for (size_t j = 0; j < n; j++) {
        for (size_t i = 0; i < m; i++) {
            float sum = 0;
            for (size_t p = 0; p < k; p++) sum += b->w[i * k + p] * b->x[j * k + p];
            b->want[j * m + i] = sum;
        }
    }
}

enum { BLOCK_K = 256, BLOCK_N = 16, TILE_M = 2, TILE_N = 4 };

/* Loops over constants, unrolled so that the sums are registers. */
#define EACH(v, n) _Pragma("GCC unroll 4") for (size_t v = 0; v < (n); v++)

/* Adds `len` of the k to TILE_M x TILE_N results. */
static void tile(const float *w, const float *x, size_t k, size_t len, float *out, size_t m) {
    float sum[TILE_N][TILE_M];
    EACH(j, TILE_N) EACH(i, TILE_M) sum[j][i] = out[j * m + i];
    for (size_t p = 0; p < len; p++) {
        EACH(j, TILE_N) EACH(i, TILE_M) sum[j][i] += w[i * k + p] * x[j * k + p];
    }
    EACH(j, TILE_N) EACH(i, TILE_M) out[j * m + i] = sum[j][i];
}

/* What is left at the edges. */
static void tile_edge(const float *w, const float *x, size_t k, size_t len, float *out, size_t m,
                      size_t rows, size_t cols) {
    for (size_t j = 0; j < cols; j++)
        for (size_t i = 0; i < rows; i++)
            for (size_t p = 0; p < len; p++) out[j * m + i] += w[i * k + p] * x[j * k + p];
}

/* The same sums in the same order; what is used again soon is still in the first-level cache. */
static void blocked(const bench *b, size_t n) {
    size_t m = b->t->m, k = b->t->k;
    memset(b->out, 0, n * m * sizeof *b->out);
    for (size_t p = 0; p < k; p += BLOCK_K) {
        size_t len = bk_min_size(BLOCK_K, k - p);
        for (size_t jb = 0; jb < n; jb += BLOCK_N) {
            size_t end = bk_min_size(n, jb + BLOCK_N);
            for (size_t i = 0; i < m; i += TILE_M) {
                for (size_t j = jb; j < end; j += TILE_N) {
                    const float *w = b->w + i * k + p, *x = b->x + j * k + p;
                    size_t rows = bk_min_size(TILE_M, m - i), cols = bk_min_size(TILE_N, end - j);
                    if (rows == TILE_M && cols == TILE_N)
                        tile(w, x, k, len, b->out + j * m + i, m);
                    else
                        tile_edge(w, x, k, len, b->out + j * m + i, m, rows, cols);
                }
            }
        }
    }
}

/* ---- Checking -------------------------------------------------------------------------------------- */

static double norm(const float *v, size_t n) {
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += (double)v[i] * (double)v[i];
    return sqrt(sum);
}

/* Length of the largest error that rounding a vector to 8 bits per 32 values can make. */
static double act_error(const float *x, size_t k) {
    double sum = 0;
    for (size_t b = 0; b < k; b += 32) {
        double max = 0;
        for (size_t i = b; i < bk_min_size(k, b + 32); i++) max = fmax(max, fabs((double)x[i]));
        sum += 32 * (max / 254) * (max / 254);
    }
    return sqrt(sum);
}

/* Bound: both sums round k products and additions, each within 2^-24 of the sum of magnitudes, which is
 * at most the product of the lengths (Cauchy and Schwarz), as is what a rounded vector changes. */
static bk_status compare(const bench *b, bk_matmul_row *row, const char *name, bk_error *err) {
    size_t m = b->t->m, k = b->t->k, n = b->result->rows[0].vectors;
    double scale = 0, most = 0;
    bool ints = b->t->type->bits && row->way == BK_MATMUL_SIMD;
    for (size_t i = 0; i < m; i++) {
        double w = norm(b->w + i * k, k);
        for (size_t j = 0; j < n; j++) {
            const float *x = b->x + j * k;
            double want = (double)b->want[j * m + i];
            double off = fabs((double)b->out[j * m + i] - want), rounding = 4.0 * (double)(k + 8);
            double bound = w * (norm(x, k) * rounding * 0x1p-24 + (ints ? act_error(x, k) : 0));
            if (!(off <= bound))
                return bk_fail(err, BK_ERR_FORMAT,
                               "%s: a wrong product, row %zu of vector %zu is off by %g where "
                               "rounding explains %g",
                               name, i, j, off, bound);
            most = fmax(most, off);
            scale = fmax(scale, fabs(want));
        }
    }
    row->difference = scale > 0 ? most / scale : 0;
    return BK_OK;
}

/* The kernels promise more: the same bits on any number of threads. */
static bk_status same_bits(const bench *b, const run *r, bool first, bk_error *err) {
    size_t bytes = b->t->m * b->t->n * sizeof *b->out;
    if (first) memcpy(b->bits, b->out, bytes);
    if (memcmp(b->bits, b->out, bytes) == 0) return BK_OK;
    return bk_fail(err, BK_ERR_FORMAT, "a wrong product: %d threads give other bits than %d",
                   r->row->threads, b->t->threads[0]);
}

/* ---- Running --------------------------------------------------------------------------------------- */

static bk_status multiply(const bench *b, run *r, bk_error *err) {
    const bk_matmul_test *t = b->t;
    bk_status st = BK_OK;
    uint64_t start = bk_now_ns();
    switch (r->row->way) {
    case BK_MATMUL_NAIVE: naive(b, r->row->vectors); break;
    case BK_MATMUL_BLOCKED: blocked(b, r->row->vectors); break;
    case BK_MATMUL_SIMD: st = bk_matrix_multiply(r->matrix, b->x, t->n, b->out, err); break;
    case BK_MATMUL_OPENBLAS:
        b->peer.set_threads(r->row->threads);
        bk_openblas_multiply(&b->peer, b->w, t->m, t->k, b->x, t->n, b->out);
        break;
    }
    uint64_t ns = bk_now_ns() - start;
    r->ns[r->n++ % MAX_SAMPLES] = ns;
    r->total += ns;
    return st;
}

/* OpenBLAS's threads spin on for a while. */
static void let_settle(const run *r) {
    const struct timespec pause = {0, 50000000};
    if (r->row->way == BK_MATMUL_OPENBLAS && r->row->threads > 1) nanosleep(&pause, NULL);
}

static bool cancelled(const bench *b) { return b->t->cancel && *b->t->cancel; }

/* A first product of each way, which does not count but for the slow ones, to see that it is right. */
static bk_status first_round(bench *b, bk_error *err) {
    static const char *const names[] = {"naive", "blocked", "SIMD", "OpenBLAS"};
    bk_status st = BK_OK;
    for (int i = 0; i < b->result->n_rows && !st; i++) {
        run *r = &b->runs[i];
        bk_matmul_way way = r->row->way;
        if (cancelled(b)) return bk_fail(err, BK_ERR_CANCELLED, "cancelled");
        st = multiply(b, r, err);
        let_settle(r);
        if (!st && way != BK_MATMUL_NAIVE) st = compare(b, r->row, names[way], err);
        if (!st && way == BK_MATMUL_SIMD) st = same_bits(b, r, b->runs[i - 1].row->way != way, err);
        if (way != BK_MATMUL_NAIVE && way != BK_MATMUL_BLOCKED) r->n = r->total = 0;
    }
    return st;
}

static bk_status later_round(bench *b, bk_error *err) {
    bk_status st = BK_OK;
    for (int i = 0; i < b->result->n_rows && !st; i++) {
        run *r = &b->runs[i];
        uint64_t end = r->total + TURN_NS;
        while (r->total < bk_min_size(end, ENOUGH_NS) && !st) {
            if (cancelled(b)) return bk_fail(err, BK_ERR_CANCELLED, "cancelled");
            st = multiply(b, r, err);
        }
        let_settle(r);
    }
    return st;
}

static int by_size(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static void summarise(bench *b) {
    for (int i = 0; i < b->result->n_rows; i++) {
        run *r = &b->runs[i];
        size_t n = bk_min_size(r->n, MAX_SAMPLES);
        qsort(r->ns, n, sizeof *r->ns, by_size);
        r->row->best = (double)r->ns[0] * 1e-9;
        r->row->median = (double)r->ns[n / 2] * 1e-9;
    }
}

/* ---- Setting up ------------------------------------------------------------------------------------ */

static bk_status check(const bk_matmul_test *t, bk_error *err) {
    const size_t sizes[] = {t->m, t->n, t->k};
    for (size_t i = 0; i < BK_ARRAY_LEN(sizes); i++) {
        if (sizes[i] < 1 || sizes[i] > 65536)
            return bk_fail(err, BK_ERR_INVALID, "%c: %zu, it must be from 1 to 65536", "mnk"[i],
                           sizes[i]);
    }
    if (t->n_threads < 1 || t->n_threads > BK_MATMUL_THREADS)
        return bk_fail(err, BK_ERR_INVALID, "%d numbers of threads, from 1 to %d wanted",
                       t->n_threads, BK_MATMUL_THREADS);
    if (t->rounds < 1 || t->rounds > 100)
        return bk_fail(err, BK_ERR_INVALID, "rounds: %d, it must be from 1 to 100", t->rounds);
    return BK_OK;
}

static run *add_row(bench *b, bk_matmul_way way, int threads) {
    const bk_matmul_test *t = b->t;
    run *r = &b->runs[b->result->n_rows];
    bool slow = way == BK_MATMUL_NAIVE || way == BK_MATMUL_BLOCKED;
    double fit = SLOW_OPS / (2.0 * (double)t->m * (double)t->k);
    size_t most = fit < 1 ? 1 : fit > (double)t->n ? t->n : (size_t)fit;
    r->row = &b->result->rows[b->result->n_rows++];
    *r->row = (bk_matmul_row){.way = way, .threads = threads, .vectors = slow ? most : t->n};
    return r;
}

static bk_status add_rows(bench *b, const float *exact, bk_error *err) {
    const bk_matmul_test *t = b->t;
    add_row(b, BK_MATMUL_NAIVE, 1);
    add_row(b, BK_MATMUL_BLOCKED, 1);
    for (int i = 0; i < t->n_threads; i++) {
        run *r = add_row(b, BK_MATMUL_SIMD, t->threads[i]);
        bk_status st =
            bk_matrix_create(t->type, exact, t->m, t->k, t->level, t->threads[i], &r->matrix, err);
        for (size_t row = 0; !st && i == 0 && row < t->m; row++)
            st = bk_matrix_row(r->matrix, row, b->w + row * t->k, err);
        if (st) return st;
    }
    if (t->type->type != BK_TYPE_F32 || !*t->peer || !bk_openblas_open(t->peer, &b->peer))
        return BK_OK;
    snprintf(b->result->peer, sizeof b->result->peer, "%s", b->peer.get_config());
    for (int i = 0; i < t->n_threads; i++) {
        b->peer.set_threads(t->threads[i]); /* a build without threads keeps to one */
        if (b->peer.get_threads() == t->threads[i]) add_row(b, BK_MATMUL_OPENBLAS, t->threads[i]);
    }
    return BK_OK;
}

static float *random_floats(size_t n, size_t k, uint64_t stream) {
    float *x = bk_alloc(n * k, sizeof *x); /* each at most 65536 */
    bk_rng r;
    bk_rng_seed(&r, 1, stream);
    for (size_t i = 0; x && i < n * k; i++) x[i] = (float)(2 * bk_rng_unit(&r) - 1);
    return x;
}

static bk_status run_all(bench *b, bk_error *err) {
    const bk_matmul_test *t = b->t;
    float *exact = random_floats(t->m, t->k, 1);
    size_t n_out = t->n * t->m;
    b->runs = bk_alloc_zero(BK_MATMUL_ROWS, sizeof *b->runs);
    b->w = bk_alloc(t->m * t->k, sizeof *b->w);
    b->x = random_floats(t->n, t->k, 2);
    b->want = bk_alloc(n_out, sizeof *b->want);
    b->out = bk_alloc(n_out, sizeof *b->out);
    b->bits = bk_alloc(n_out, sizeof *b->bits);
    bk_status st = BK_OK;
    if (!exact || !b->runs || !b->w || !b->x || !b->want || !b->out || !b->bits)
        st = bk_fail(err, BK_ERR_NOMEM, "no memory for a product of %zu x %zu x %zu", t->m, t->n,
                     t->k);
    if (!st) st = add_rows(b, exact, err);
    bk_free(exact);
    if (!st) st = first_round(b, err);
    for (int i = 0; i < t->rounds && !st; i++) st = later_round(b, err);
    if (!st) summarise(b);
    return st;
}

bk_status bk_matmul_bench(const bk_matmul_test *t, bk_matmul_result *out, bk_error *err) {
    bench b = {.t = t, .result = out};
    *out = (bk_matmul_result){0};
    bk_status st = check(t, err);
    if (!st) st = run_all(&b, err);
    for (int i = 0; b.runs && i < out->n_rows; i++) bk_matrix_destroy(&b.runs[i].matrix);
    bk_free(b.runs);
    bk_free(b.w);
    bk_free(b.x);
    bk_free(b.want);
    bk_free(b.out);
    bk_free(b.bits);
    return st;
}
