/* Dots with the 256-bit vpdpbusd, whose two encodings have different intrinsics: the file that
 * includes this may define DPBUSD. */
#ifndef BRISK_KERNEL_MATMUL256_AVXVNNI_H
#define BRISK_KERNEL_MATMUL256_AVXVNNI_H

#include "kernel/matmul256_avx2.h"

#ifndef DPBUSD
#define DPBUSD _mm256_dpbusd_epi32
#endif

INLINE void block_dots(fmt f, const __m256i q[8], const int8_t *a, __m256i sum[2]) {
    __m256i low = sum[0], high = f.sub == 16 ? sum[1] : _mm256_setzero_si256();
    UNROLL for (int j = 0; j < 4; j++) {
        low = DPBUSD(low, q[j], broadcast(a + 4 * j));
        high = DPBUSD(high, q[j + 4], broadcast(a + 16 + 4 * j));
    }
    sum[0] = f.sub == 16 ? low : _mm256_add_epi32(low, high);
    sum[1] = high;
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
