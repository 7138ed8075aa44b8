/* Dots with the 256-bit vpdpbusd: four products added to 32 bits at once. Its two encodings have
 * different intrinsics, so the file that includes this defines DPBUSD. */
#ifndef BRISK_KERNEL_DOTS_AVXVNNI_H
#define BRISK_KERNEL_DOTS_AVXVNNI_H

#include "kernel/lines_avx2.h"

#ifndef DPBUSD
#define DPBUSD _mm256_dpbusd_epi32
#endif

/* s += the byte lines j and j + 4 (j = 0..3, in order) of `halves` halves times the quants of a
 * block at a[c]; after j = 3 full is complete. */
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

/* sum[half][c] += dots of 16 rows with `cols` columns over n_lines byte lines at q; the quants of
 * column c begin at a[c]. */
INLINE void tile_dots(fmt f, const uint8_t *q, size_t n_lines, const int8_t *const a[], size_t cols,
                      __m256i sum[][BK_TILE_COLS]) {
    (void)f;
    UNROLL for (size_t j = 0; j < n_lines; j++) {
        __m256i w[HALVES] = {load(q + 64 * j), load(q + 64 * j + 32)};
        UNROLL for (size_t c = 0; c < cols; c++) {
            __m256i v = broadcast(a[c] + 4 * j);
            UNROLL for (size_t h = 0; h < HALVES; h++) { sum[h][c] = DPBUSD(sum[h][c], w[h], v); }
        }
    }
}

/* The same for half a block of 8-bit weights: 4 lines. */
INLINE void tile_half_bytes(const uint8_t *q, const int8_t *const a[], size_t cols,
                            __m256i sum[][BK_TILE_COLS]) {
    tile_dots((fmt){0}, q, 4, a, cols, sum);
}

#endif
