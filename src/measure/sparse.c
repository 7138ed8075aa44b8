#include "measure/sparse.h"

#include <math.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/rng.h"
#include "device/csr.h"
#include "device/device.h"
#include "sys/cache.h"

enum { MOST = 65536, MOST_VECTORS = 4096 };

static const uint64_t TURN_NS = 4e6; /* of a form in a round, where weights stay in the caches */

typedef struct bench {
    const bk_sparse_test *t;
    bk_device *device;
    bk_pool *pool; /* of CSR */
    bk_weight *w[BK_FORMS];
    bk_weight *thin; /* the dense matrix of which single weights are left */
    bk_csr csr;
    size_t vectors;                  /* at most */
    float *x, *xt, *y, *want, *rows; /* rows: the matrix of single weights as CSR has it */
    uint64_t best[BK_FORMS], bytes[BK_FORMS];
} bench;

/* ---- Matrices -------------------------------------------------------------------------------------- */

/* Random blocks of which a share is left, of tiles or of single weights. */
static bk_status make_blocks(const bk_sparse_test *t, const bk_quant *type, bool tiles,
                             double density, uint8_t **out, bk_error *err) {
    size_t pitch = t->k / 32 * type->block_bytes;
    float *x = bk_alloc(16 * t->k, sizeof *x);
    uint8_t *blocks = *out = bk_alloc(t->m, pitch);
    bk_rng rng;
    if (!x || !blocks) {
        bk_free(x);
        return bk_fail(err, BK_ERR_NOMEM, "no memory for %zu x %zu weights", t->m, t->k);
    }
    bk_rng_seed(&rng, 1, (uint64_t)(density * 1e6));
    for (size_t r = 0; r < t->m; r += 16) {
        memset(x, 0, 16 * t->k * sizeof *x);
        for (size_t p = 0; p < t->k / 4; p++) {
            bool keep = bk_rng_unit(&rng) < density;
            for (size_t i = 0; i < 64; i++) {
                float v = (float)(2 * bk_rng_unit(&rng) - 1);
                if (!tiles) keep = bk_rng_unit(&rng) < density;
                if (keep) x[i / 4 * t->k + 4 * p + i % 4] = v;
            }
        }
        for (size_t i = 0; i < 16 && r + i < t->m; i++)
            type->quantize(x + i * t->k, blocks + (r + i) * pitch, t->k);
    }
    bk_free(x);
    return BK_OK;
}

static bk_status make_dense(bench *b, const bk_quant *type, const uint8_t *blocks, bk_weight **w,
                            bk_error *err) {
    bk_status st = b->device->ops->weight_create(b->device, type, b->t->m, b->t->k, w, err);
    if (!st) b->device->ops->weight_load(b->device, *w, blocks, 0, b->t->m);
    return st;
}

static bk_status make_sparse(bench *b, bk_sparse_kind kind, const bk_quant *type,
                             const uint8_t *blocks, bk_weight **w, bk_error *err) {
    bk_sparse s;
    bk_status st = bk_sparse_encode(kind, type, blocks, b->t->m, b->t->k, &s, err);
    if (st) return st;
    st = b->device->ops->weight_create_sparse(b->device, &s, w, err);
    bk_free((void *)(uintptr_t)s.index);
    return st;
}

static bk_status make_tiles(bench *b, const bk_quant *type, double density, bk_sparse_form dense,
                            bk_sparse_form sparse, bk_error *err) {
    uint8_t *blocks = NULL;
    bk_status st = make_blocks(b->t, type, true, density, &blocks, err);
    if (!st) st = make_dense(b, type, blocks, &b->w[dense], err);
    if (!st) st = make_sparse(b, BK_SPARSE_TILES, type, blocks, &b->w[sparse], err);
    bk_free(blocks);
    return st;
}

static bk_status make_thin(bench *b, double density, bk_error *err) {
    const bk_quant *type = bk_quant_find(BK_TYPE_Q4_0);
    uint8_t *blocks = NULL;
    bk_status st = make_blocks(b->t, type, false, density, &blocks, err);
    if (!st) st = make_dense(b, type, blocks, &b->thin, err);
    if (!st) st = make_sparse(b, BK_SPARSE_BITS, type, blocks, &b->w[BK_FORM_BITS_Q4_0], err);
    if (!st) {
        bk_quant_dequantize(type, blocks, b->rows, b->t->m * b->t->k);
        st = bk_csr_create(b->rows, b->t->m, b->t->k, &b->csr, err);
    }
    bk_free(blocks);
    return st;
}

static void drop_matrices(bench *b) {
    for (int i = 0; i < BK_FORMS; i++)
        if (b->w[i]) b->device->ops->weight_destroy(b->device, b->w[i]);
    if (b->thin) b->device->ops->weight_destroy(b->device, b->thin);
    memset(b->w, 0, sizeof b->w);
    b->thin = NULL;
    bk_csr_free(&b->csr);
    bk_device_destroy(&b->device); /* with the weights' memory */
}

static bk_status make_matrices(bench *b, double density, bk_error *err) {
    bk_status st = bk_device_cpu_create(b->t->level, b->t->threads, &b->device, err);
    if (!st)
        st = make_tiles(b, bk_quant_find(BK_TYPE_Q4_0), density, BK_FORM_DENSE_Q4_0,
                        BK_FORM_TILES_Q4_0, err);
    if (!st)
        st = make_tiles(b, bk_quant_find(BK_TYPE_Q8_0), density, BK_FORM_DENSE_Q8_0,
                        BK_FORM_TILES_Q8_0, err);
    if (!st) st = make_thin(b, density, err);
    for (int i = 0; !st && i < BK_FORMS; i++)
        b->bytes[i] = b->w[i] ? bk_weight_bytes(b->w[i]) : bk_csr_bytes(&b->csr);
    return st;
}

/* ---- Products -------------------------------------------------------------------------------------- */

static bk_status multiply(bench *b, const bk_weight *w, size_t n, float *out, bk_error *err) {
    if (!w) {
        bk_csr_multiply(&b->csr, b->pool, b->x, n, b->xt, out);
        return BK_OK;
    }
    bk_cmd c = {.op = BK_OP_PRODUCT, .rows = n};
    c.product.input = (bk_input){.kind = BK_INPUT_ROWS, .k = b->t->k, .x = b->x, .ld = b->t->k};
    c.product.n = 1;
    c.product.w[0] = w;
    c.product.out[0] = out;
    c.product.ldo[0] = b->t->m;
    return b->device->ops->run(b->device, &c, 1, err);
}

static void forget(bench *b, const bk_weight *w) {
    if (w) {
        b->device->ops->weight_forget(b->device, w);
        return;
    }
    size_t n = b->csr.row_at[b->csr.n_rows];
    bk_cache_flush(b->csr.row_at, (b->csr.n_rows + 1) * sizeof *b->csr.row_at);
    bk_cache_flush(b->csr.column, n * sizeof *b->csr.column);
    bk_cache_flush(b->csr.value, n * sizeof *b->csr.value);
}

/* The matrix that a form must be equal to. */
static const bk_weight *rival(const bench *b, int form) {
    if (form == BK_FORM_TILES_Q4_0) return b->w[BK_FORM_DENSE_Q4_0];
    if (form == BK_FORM_TILES_Q8_0) return b->w[BK_FORM_DENSE_Q8_0];
    return form == BK_FORM_BITS_Q4_0 ? b->thin : NULL;
}

static bk_status check_forms(bench *b, size_t n, bk_error *err) {
    bk_status st = BK_OK;
    size_t m = b->t->m;
    for (int f = BK_FORM_TILES_Q4_0; f <= BK_FORM_BITS_Q4_0 && !st; f++) {
        st = multiply(b, b->w[f], n, b->y, err);
        if (!st) st = multiply(b, rival(b, f), n, b->want, err);
        if (!st && memcmp(b->y, b->want, n * m * sizeof *b->y) != 0)
            st = bk_fail(err, BK_ERR_FORMAT, "a wrong product: form %d is not the dense one", f);
    }
    if (!st) st = multiply(b, NULL, n, b->y, err);
    for (size_t i = 0; i < n * m && !st; i += 1 + i / 8) { /* some of them */
        double sum = 0, size = 0;
        for (size_t k = 0; k < b->t->k; k++) {
            double v = (double)b->rows[i % m * b->t->k + k] * (double)b->x[i / m * b->t->k + k];
            sum += v;
            size += fabs(v);
        }
        if (fabs((double)b->y[i] - sum) > size * (double)b->t->k * 0x1p-24)
            st = bk_fail(err, BK_ERR_FORMAT, "a wrong product of compressed rows");
    }
    return st;
}

static bk_status run_form(bench *b, int form, size_t n, bool cold, bk_error *err) {
    bk_status st = BK_OK;
    uint64_t spent = 0;
    do {
        if (cold) forget(b, b->w[form]);
        uint64_t start = bk_now_ns();
        st = multiply(b, b->w[form], n, b->y, err);
        uint64_t ns = bk_now_ns() - start;
        if (ns < b->best[form]) b->best[form] = ns;
        spent += ns;
    } while (!st && spent < TURN_NS && !cold);
    return st;
}

static bk_status run_case(bench *b, double density, int columns, bool cold, bk_error *err) {
    bk_status st = BK_OK;
    int rounds = cold ? 3 * b->t->rounds : b->t->rounds;
    for (int f = 0; f < BK_FORMS; f++) b->best[f] = UINT64_MAX;
    for (int r = 0; r < rounds && !st; r++) {
        for (int f = 0; f < BK_FORMS && !st; f++) st = run_form(b, f, (size_t)columns, cold, err);
        if (b->t->cancel && *b->t->cancel) return bk_fail(err, BK_ERR_CANCELLED, "cancelled");
    }
    for (int f = 0; f < BK_FORMS && !st; f++) {
        bk_sparse_row row = {(bk_sparse_form)f,         density,    columns, cold,
                             (double)b->best[f] * 1e-9, b->bytes[f]};
        b->t->row(&row, b->t->user);
    }
    return st;
}

static bk_status run_density(bench *b, double density, bk_error *err) {
    bk_status st = make_matrices(b, density, err);
    if (!st) st = check_forms(b, bk_min_size(b->vectors, 9), err);
    for (int i = 0; i < 2 * b->t->n_columns && !st; i++)
        st = run_case(b, density, b->t->columns[i % b->t->n_columns], i >= b->t->n_columns, err);
    drop_matrices(b);
    return st;
}

static bk_status check(const bk_sparse_test *t, bk_error *err) {
    bk_status st = bk_check_range("rows", (double)t->m, 1, MOST, err);
    if (!st) st = bk_check_range("columns of the matrix", (double)t->k, 32, MOST, err);
    if (!st && t->k % 32)
        st = bk_fail(err, BK_ERR_INVALID, "%zu columns of the matrix: wanted a multiple of 32",
                     t->k);
    if (!st) st = bk_check_range("threads", t->threads, 1, 256, err);
    if (!st) st = bk_check_range("rounds", t->rounds, 1, 1000, err);
    if (!st) st = bk_check_range("densities", t->n_densities, 1, BK_SPARSE_DENSITIES, err);
    if (!st) st = bk_check_range("numbers of vectors", t->n_columns, 1, BK_SPARSE_COLUMNS, err);
    for (int i = 0; i < t->n_densities && !st; i++)
        st = bk_check_range("density", t->densities[i], 0.001, 1, err);
    for (int i = 0; i < t->n_columns && !st; i++)
        st = bk_check_range("vectors", t->columns[i], 1, MOST_VECTORS, err);
    return st;
}

static bk_status make_vectors(bench *b, bk_error *err) {
    const bk_sparse_test *t = b->t;
    bk_rng rng;
    for (int i = 0; i < t->n_columns; i++)
        b->vectors = bk_max_size(b->vectors, (size_t)t->columns[i]);
    b->x = bk_alloc(b->vectors * t->k, sizeof *b->x);
    b->xt = bk_alloc(b->vectors * t->k, sizeof *b->xt);
    b->y = bk_alloc(b->vectors * t->m, sizeof *b->y);
    b->want = bk_alloc(b->vectors * t->m, sizeof *b->want);
    b->rows = bk_alloc(t->m * t->k, sizeof *b->rows);
    if (!b->x || !b->xt || !b->y || !b->want || !b->rows)
        return bk_fail(err, BK_ERR_NOMEM, "no memory for %zu x %zu weights", t->m, t->k);
    bk_rng_seed(&rng, 1, 2);
    for (size_t i = 0; i < b->vectors * t->k; i++) b->x[i] = (float)(2 * bk_rng_unit(&rng) - 1);
    return BK_OK;
}

bk_status bk_sparse_bench(const bk_sparse_test *t, bk_error *err) {
    bench b = {.t = t};
    bk_status st = check(t, err);
    if (st) return st;
    st = bk_pool_create(t->threads, &b.pool, err);
    if (!st) st = make_vectors(&b, err);
    for (int i = 0; i < t->n_densities && !st; i++) st = run_density(&b, t->densities[i], err);
    bk_pool_destroy(&b.pool);
    bk_free(b.x);
    bk_free(b.xt);
    bk_free(b.y);
    bk_free(b.want);
    bk_free(b.rows);
    return st;
}
