/* A matrix as compressed sparse rows: of each row the columns that are not 0, and their values. What
 * every library calls a sparse matrix, and the measure of the forms that fit the hardware: 8 bytes for a
 * weight, and every one fetches its own x. */
#ifndef BRISK_DEVICE_CSR_H
#define BRISK_DEVICE_CSR_H

#include "base/error.h"
#include "sys/pool.h"

typedef struct bk_csr {
    size_t n_rows, k;
    size_t *row_at; /* [n_rows + 1]: where a row begins */
    uint32_t *column;
    float *value;
} bk_csr;

/* Of rows[n_rows][k], k < 2^32. NOMEM. */
bk_status bk_csr_create(const float *rows, size_t n_rows, size_t k, bk_csr *out, bk_error *err);
void bk_csr_free(bk_csr *c);
size_t bk_csr_bytes(const bk_csr *c);

/* out[n][n_rows] = x[n][k] times the transposed matrix, rows shared among the pool's threads. xt: room for
 * k * n floats, where x is laid the other way round if n > 1. */
void bk_csr_multiply(const bk_csr *c, bk_pool *pool, const float *x, size_t n, float *xt,
                     float *out);

#endif
