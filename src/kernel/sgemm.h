/* The inside of float matrix products, c = a b: both factors copied to where a tile of c, which is
 * held in registers, reads them one value after the other (Goto and van de Geijn 2008). As pure as the
 * kernels of kernel.h; device/nn_gemm.c divides a product into blocks.
 *
 * Order of operations of every element, at every level, so equal bits:
 *   sum = 0;  for p in 0..k: sum = fma(a[i][p], b[p][j], sum)
 *   c = sum, + bias[j] if there is one, + the c before if it adds */
#ifndef BRISK_KERNEL_SGEMM_H
#define BRISK_KERNEL_SGEMM_H

#include "base/base.h"
#include "sys/cpu.h"

enum {
    BK_SGEMM_ROWS = 14, /* of a tile at any level, at most */
    BK_SGEMM_LANES = 16 /* columns that a tile's width is a multiple of */
};

/* What will be packed next: memory is asked for it while tiles are computed. */
typedef struct bk_sgemm_ahead {
    const float *at;
    size_t ld, rows, lines; /* of 16 floats, in each row */
} bk_sgemm_ahead;

typedef struct bk_sgemm_block {
    size_t m, n, k;
    const float *a, *b; /* packed; b is 64-byte aligned */
    float *c;           /* [m][ldc] */
    size_t ldc;
    const float *bias; /* [n] or NULL */
    bool add;
    const bk_sgemm_ahead *ahead; /* [n_ahead] */
    size_t n_ahead;
} bk_sgemm_block;

typedef struct bk_sgemm {
    size_t rows, cols; /* of the largest tile */

    /* m rows of a, which is [m][ld] or transposed [k][ld], as strips of bk_sgemm_strip rows, each
     * [k][rows], one behind the other: m * k floats. */
    void (*pack_a)(const float *a, size_t ld, bool transposed, size_t m, size_t k, float *out);
    /* n columns of b, which is [k][ld] or transposed [n][ld], as panels of `cols` columns, each
     * [k][cols], the last one as wide as there are lanes: n rounded up to lanes, times k floats. */
    void (*pack_b)(const float *b, size_t ld, bool transposed, size_t n, size_t k, float *out);
    void (*block)(const bk_sgemm_block *b);
} bk_sgemm;

/* First row of strip s of m rows in `strips` strips of nearly equal height, s = 0..strips. */
static inline size_t bk_sgemm_strip(size_t m, size_t strips, size_t s) {
    return s * (m / strips) + bk_min_size(s, m % strips);
}

/* The kernels of the highest level that is not above `level` and that the CPU has. */
const bk_sgemm *bk_sgemm_select(bk_cpu_level level);

extern const bk_sgemm bk_sgemm_ref, bk_sgemm_avx2, bk_sgemm_avx512;

#endif
