/* Tables of numbers as NumPy's .npy files: float32 or float64, [rows, columns], in C order.
 * Format: https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html */
#ifndef BRISK_MEASURE_NPY_H
#define BRISK_MEASURE_NPY_H

#include "sys/file.h"

typedef struct bk_npy {
    bk_map map;
    const uint8_t *data;
    size_t rows, cols;
    size_t item; /* bytes of a number: 4 or 8 */
} bk_npy;

/* Maps and checks a file. NOT_FOUND, IO, FORMAT, UNSUPPORTED (other types or orders). */
bk_status bk_npy_open(const char *path, bk_npy *out, bk_error *err);
void bk_npy_close(bk_npy *f);
/* Row i < rows as doubles, [cols]. */
void bk_npy_row(const bk_npy *f, size_t i, double *out);

/* Writes float32 rows beside path; finish puts the whole under its name, abandon leaves nothing. */
typedef struct bk_npy_writer {
    bk_file_writer file;
    size_t rows, cols, written;
} bk_npy_writer;

bk_status bk_npy_create(const char *path, size_t rows, size_t cols, bk_npy_writer *out,
                        bk_error *err);
bk_status bk_npy_put(bk_npy_writer *w, const float *row, bk_error *err);
bk_status bk_npy_finish(bk_npy_writer *w, bk_error *err);
/* After a finish, or on a zero-initialised writer, does nothing. */
void bk_npy_abandon(bk_npy_writer *w);

#endif
