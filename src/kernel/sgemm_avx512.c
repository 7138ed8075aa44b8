/* 28 sums, a line of two and a value of a: all registers but one. 97 to 99 % of what a Zen 4 core
 * multiplies and adds at most, once both factors are packed. */
#include "kernel/lanes_avx512.h"
#include "kernel/parts.h"

#define TILE_ROWS 14
#define TILE_LANES 2
#define EACH_TILE(X) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11) X(12) X(13) X(14)

/* x[width][ld] to out[k][pitch], width <= 16. Whole registers are written: later lines replace what is
 * beyond the pitch, and nothing is written behind the last one. */
static void turn(const float *x, size_t ld, size_t width, size_t k, float *out, size_t pitch) {
    for (size_t p = 0; p < k; p += 16) {
        __m512 r[16];
        size_t n = bk_min_size(16, k - p);
        UNROLL for (size_t i = 0; i < 16; i++) r[i] =
            i < width ? l_load_n(x + i * ld + p, n) : l_set(0);
        l_turn(r);
        UNROLL for (size_t i = 0; i < 16; i++) if (i < n)
            l_store_n(out + (p + i) * pitch, r[i], bk_min_size(16, (k - p - i) * pitch));
    }
}

#include "kernel/sgemm_loops.h"

const bk_sgemm bk_sgemm_avx512 = SGEMM_TABLE;
