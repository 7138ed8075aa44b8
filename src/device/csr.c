#include "device/csr.h"

#include <string.h>

#include "base/mem.h"

enum { UNIT_ROWS = 16, TILE = 16 };

bk_status bk_csr_create(const float *rows, size_t n_rows, size_t k, bk_csr *out, bk_error *err) {
    size_t n = 0;
    for (size_t i = 0; i < n_rows * k; i++) n += rows[i] != 0;
    *out = (bk_csr){.n_rows = n_rows,
                    .k = k,
                    .row_at = bk_alloc(n_rows + 1, sizeof *out->row_at),
                    .column = bk_alloc(n + 1, sizeof *out->column),
                    .value = bk_alloc(n + 1, sizeof *out->value)};
    if (!out->row_at || !out->column || !out->value) {
        bk_csr_free(out);
        return bk_fail(err, BK_ERR_NOMEM, "no memory for %zu weights as compressed rows", n);
    }
    n = 0;
    for (size_t r = 0; r < n_rows; r++) {
        out->row_at[r] = n;
        for (size_t i = 0; i < k; i++) {
            if (rows[r * k + i] == 0) continue;
            out->column[n] = (uint32_t)i;
            out->value[n++] = rows[r * k + i];
        }
    }
    out->row_at[n_rows] = n;
    return BK_OK;
}

void bk_csr_free(bk_csr *c) {
    bk_free(c->row_at);
    bk_free(c->column);
    bk_free(c->value);
    *c = (bk_csr){0};
}

size_t bk_csr_bytes(const bk_csr *c) {
    return (c->n_rows + 1) * sizeof *c->row_at + c->row_at[c->n_rows] * 8;
}

typedef struct job {
    const bk_csr *c;
    bk_pool *pool;
    const float *x;
    size_t n;
    float *xt, *out;
} job;

/* Four sums, so that one addition need not wait for the one before. */
static float row_dot(const bk_csr *c, size_t r, const float *x) {
    float sum[4] = {0};
    size_t i = c->row_at[r], end = c->row_at[r + 1];
    for (; i + 4 <= end; i += 4)
        for (size_t j = 0; j < 4; j++) sum[j] += c->value[i + j] * x[c->column[i + j]];
    for (; i < end; i++) sum[0] += c->value[i] * x[c->column[i]];
    return sum[0] + sum[1] + (sum[2] + sum[3]);
}

/* Row r times the vectors [first, first + n), n <= TILE. */
static void row_tile(const job *j, size_t r, size_t first, size_t n) {
    const bk_csr *c = j->c;
    float sum[TILE] = {0};
    for (size_t i = c->row_at[r]; i < c->row_at[r + 1]; i++) {
        const float *x = j->xt + c->column[i] * j->n + first, w = c->value[i];
        if (n == TILE)
            for (size_t k = 0; k < TILE; k++) sum[k] += w * x[k];
        else
            for (size_t k = 0; k < n; k++) sum[k] += w * x[k];
    }
    for (size_t k = 0; k < n; k++) j->out[(first + k) * c->n_rows + r] = sum[k];
}

static void region(void *arg, int thread) {
    const job *j = arg;
    const bk_csr *c = j->c;
    (void)thread;
    if (j->n > 1) {
        for (size_t k; (k = bk_pool_next(j->pool) * TILE) < c->k;)
            for (size_t i = k; i < bk_min_size(k + TILE, c->k); i++)
                for (size_t v = 0; v < j->n; v++) j->xt[i * j->n + v] = j->x[v * c->k + i];
        bk_pool_barrier(j->pool);
    }
    for (size_t u; (u = bk_pool_next(j->pool) * UNIT_ROWS) < c->n_rows;) {
        for (size_t r = u; r < bk_min_size(u + UNIT_ROWS, c->n_rows); r++) {
            if (j->n == 1) j->out[r] = row_dot(c, r, j->x);
            for (size_t v = 0; j->n > 1 && v < j->n; v += TILE)
                row_tile(j, r, v, bk_min_size(TILE, j->n - v));
        }
    }
}

void bk_csr_multiply(const bk_csr *c, bk_pool *pool, const float *x, size_t n, float *xt,
                     float *out) {
    job j = {c, pool, x, n, xt, out};
    bk_pool_run(pool, region, &j);
}
