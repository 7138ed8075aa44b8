/* Linear algebra of symmetric positive definite matrices, in place on floats in memory: what pruning
 * and rounding with second-order information need. Matrices are row by row, [n][n] without pitch.
 *
 * `nn` is the CPU's device (bk_nn_cpu_create). Nearly all work is its matrix product, on all threads;
 * blocks on the diagonal are factored and inverted in double. So sums are in float, and results are
 * backward stable for float: the factor of a is exact for a matrix that differs from it by about
 * n 2^-24 of the geometric mean of the two diagonal values (Higham 2002, chapter 10), and solutions
 * lose as many more digits as the matrix's condition has. Equal bits on any number of threads. */
#ifndef BRISK_COMPRESS_LINALG_H
#define BRISK_COMPRESS_LINALG_H

#include "device/nn.h"

/* c[m][n] = a b, or c += a b: bk_gemm (device/nn.h, and its ta, tb) on memory of the host. */
typedef struct bk_product {
    size_t m, n, k;
    const float *a, *b;
    float *c;
    size_t lda, ldb, ldc;
    bool ta, tb, add;
} bk_product;
/* A failure (memory) is told by nn's next finish, which all functions below call. */
void bk_multiply(bk_nn *nn, const bk_product *p);

/* a = L L^T: the lower triangle of a, of which nothing else is read or written, becomes L. INVALID when
 * a is not positive definite as far as floats can tell (a pivot below 2^-22 of the diagonal), naming
 * the place; NOMEM. a is spoiled then. */
bk_status bk_cholesky(bk_nn *nn, float *a, size_t n, bk_error *err);

/* The m rows of x[m][n] become those of x (L L^T)^-1: right-hand sides are rows, as weights lie. */
bk_status bk_cholesky_solve(bk_nn *nn, const float *l, size_t n, float *x, size_t m, bk_error *err);

/* a becomes the upper triangular U with U^T U = a^-1, zeros below: the factor that SparseGPT and GPTQ
 * walk along. Needs no inverse: a = M M^T with M upper triangular is the factorisation of a read from
 * its last row and column on, and U = M^-1. Takes memory for another matrix. As bk_cholesky. */
bk_status bk_inverse_factor(bk_nn *nn, float *a, size_t n, bk_error *err);

/* What is added to the diagonal of gram[k][k]: `damping` of its mean, and 1 where that is nothing. */
float bk_damping(const float *gram, size_t k, float damping);
/* INVALID when one of n values is infinite or NaN; `what` names them ("weights"). */
bk_status bk_check_finite(const float *x, size_t n, const char *what, bk_error *err);

#endif
