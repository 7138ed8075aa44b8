/* One matrix with a device of its own: the product outside of any model. */
#ifndef BRISK_DEVICE_MATRIX_H
#define BRISK_DEVICE_MATRIX_H

#include "device/device.h"

/* Rows, columns and vectors of a product, at most. */
#define BK_MATRIX_MOST ((size_t)1 << 24)

typedef struct bk_matrix {
    bk_device *device;
    bk_weight *weight;
    size_t n_rows, k;
} bk_matrix;

/* From floats rows[n_rows][k], rounded to the type, which must have `quantize`. INVALID, NOMEM. */
bk_status bk_matrix_create(const bk_quant *type, const float *rows, size_t n_rows, size_t k,
                           bk_cpu_level level, int threads, bk_matrix **out, bk_error *err);
void bk_matrix_destroy(bk_matrix **m);

/* out[n][n_rows] = x[n][k] times the transposed matrix. INVALID, NOMEM. */
bk_status bk_matrix_multiply(bk_matrix *m, const float *x, size_t n, float *out, bk_error *err);

/* Row r as floats; row[k]. INVALID. */
bk_status bk_matrix_row(bk_matrix *m, size_t r, float *row, bk_error *err);

#endif
