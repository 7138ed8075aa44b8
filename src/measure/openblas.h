/* OpenBLAS as a peer to measure beside, found at run time. */
#ifndef BRISK_MEASURE_OPENBLAS_H
#define BRISK_MEASURE_OPENBLAS_H

#include "base/base.h"

/* The C interface of the BLAS (Blackford et al. 2002) and what OpenBLAS adds. */
typedef struct bk_openblas {
    void (*sgemm)(int order, int trans_a, int trans_b, int m, int n, int k, float alpha,
                  const float *a, int lda, const float *b, int ldb, float beta, float *c, int ldc);
    void (*set_threads)(int n);
    int (*get_threads)(void);
    char *(*get_config)(void); /* "OpenBLAS 0.3.21 DYNAMIC_ARCH ... Cooperlake"; static */
} bk_openblas;

/* False when there is no such library or it lacks one of these. It stays loaded: it has threads of its
 * own. */
bool bk_openblas_open(const char *path, bk_openblas *out);

/* out[n][m] = x[n][k] times the transposed w[m][k]. */
void bk_openblas_multiply(const bk_openblas *b, const float *w, size_t m, size_t k, const float *x,
                          size_t n, float *out);

#endif
