/* Dots with the 256-bit vpdpbusd, whose two encodings have different intrinsics: the file that
 * includes this may define DPBUSD. */
#ifndef BRISK_KERNEL_MATMUL256_AVXVNNI_H
#define BRISK_KERNEL_MATMUL256_AVXVNNI_H

#include "kernel/matmul256_avx2.h"

#ifndef DPBUSD
#define DPBUSD _mm256_dpbusd_epi32
#endif

INLINE void line_dots(fmt f, size_t j, const __m256i w[HALVES][2], size_t halves,
                      const int8_t *const a[], size_t cols, sums *s) {
    const size_t second = f.sub == 16;
    UNROLL for (size_t c = 0; c < cols; c++) {
        __m256i a0 = broadcast(a[c] + 4 * j), a1 = broadcast(a[c] + 16 + 4 * j);
        UNROLL for (size_t h = 0; h < halves; h++) {
            __m256i *full = s->full[h][c];
            full[0] = DPBUSD(full[0], w[h][0], a0);
            full[second] = DPBUSD(full[second], w[h][1], a1);
        }
    }
}

INLINE void tile_dots(fmt f, const uint8_t *q, size_t n_lines, const bk_act *x, size_t at,
                      size_t cols, __m256i sum[][BK_TILE_COLS]) {
    (void)f;
    UNROLL for (size_t j = 0; j < n_lines; j++) {
        __m256i w[HALVES] = {load(q + 64 * j), load(q + 64 * j + 32)};
        UNROLL for (size_t c = 0; c < cols; c++) {
            __m256i a = broadcast(x[c].q + at + 4 * j);
            UNROLL for (size_t h = 0; h < HALVES; h++) sum[h][c] = DPBUSD(sum[h][c], w[h], a);
        }
    }
}

#endif
