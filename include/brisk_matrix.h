/* brisk_matrix.h: the matrix product by itself, as the models use it: weights in a block format, kept
 * in the order in which the processor's dot instructions want them, times float vectors, on as many
 * threads as wanted.
 *
 *     brisk_matrix_options o = {.threads = 2};
 *     brisk_matrix *w = NULL;
 *     if (brisk_matrix_create("q8_0", rows, n_rows, k, &o, &w, &err)) return puts(err.text);
 *     brisk_matrix_multiply(w, x, n, out, &err);
 *     brisk_matrix_destroy(&w);
 *
 * The bits of a result depend on the weights, their type and that vector alone: not on the number of
 * threads, the instructions used, or what else is multiplied in the same call. Conventions as in
 * brisk.h. */
#ifndef BRISK_MATRIX_H
#define BRISK_MATRIX_H

#include "brisk.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct brisk_matrix brisk_matrix;

typedef struct brisk_matrix_options {
    int threads; /* compute threads, 1..256; 0: physical cores this process may use */
    const char
        *cpu_level; /* "ref", "avx2", "avxvnni", "avx512" or NULL: $BRISK_CPU, else the best */
} brisk_matrix_options;

/* A matrix of n_rows rows of k weights, from floats rows[n_rows][k] rounded to `type`: "f32", "f16",
 * "bf16", "q8_0", "q4_k" ... (k is a multiple of its block's length). The floats are not needed
 * afterwards. options may be NULL. INVALID, NOMEM. */
brisk_status brisk_matrix_create(const char *type, const float *rows, size_t n_rows, size_t k,
                                 const brisk_matrix_options *options, brisk_matrix **matrix,
                                 brisk_error *err);
void brisk_matrix_destroy(brisk_matrix **matrix);

/* out[i][r] = sum over k of weight[r][k] * x[i][k], for n vectors x[n][k] into out[n][n_rows]. Float
 * types sum in float. Integer types round each vector first: to 8 bits per 32 values, but for its two
 * largest values, which stay floats. Calls for the same matrix wait for each other. INVALID (n of 0),
 * NOMEM. */
brisk_status brisk_matrix_multiply(brisk_matrix *matrix, const float *x, size_t n, float *out,
                                   brisk_error *err);

/* Row r as the floats that its rounded weights stand for; row[k]. INVALID, NOMEM. */
brisk_status brisk_matrix_row(brisk_matrix *matrix, size_t r, float *row, brisk_error *err);

typedef struct brisk_matrix_info {
    const char *type, *cpu_level; /* "Q8_0", "avx512" */
    int threads;
    size_t n_rows, k;
    uint64_t bytes; /* of the weights in memory */
} brisk_matrix_info;

void brisk_matrix_get_info(const brisk_matrix *matrix, brisk_matrix_info *info);

#ifdef __cplusplus
}
#endif
#endif
