/* 6 rows of 16 columns: 12 sums, a line of two registers and a value of a. */
#include "kernel/lanes_avx2.h"
#include "kernel/parts.h"

#define TILE_ROWS 6
#define TILE_LANES 1
#define EACH_TILE(X) X(1) X(2) X(3) X(4) X(5) X(6)

/* 8 values of k at most, n of them, of 8 rows at most. */
INLINE void turn_half(const float *x, size_t ld, size_t width, size_t n, float *out, size_t pitch,
                      size_t room) {
    __m256 r[8];
    UNROLL for (size_t i = 0; i < 8; i++) r[i] =
        i < width ? bk_load_avx2(x + i * ld, n) : _mm256_setzero_ps();
    l_turn_8(r);
    UNROLL for (size_t i = 0; i < 8; i++) if (i < n)
        bk_store_avx2(out + i * pitch, r[i], room - i * pitch);
}

/* x[width][ld] to out[k][pitch], width <= 16. Whole registers are written: later lines replace what is
 * beyond the pitch, and nothing is written behind the last one. */
static void turn(const float *x, size_t ld, size_t width, size_t k, float *out, size_t pitch) {
    for (size_t p = 0; p < k; p += 8) {
        size_t n = bk_min_size(8, k - p), room = (k - p) * pitch;
        turn_half(x + p, ld, bk_min_size(width, 8), n, out + p * pitch, pitch, room);
        if (pitch <= 8) continue;
        x += 8 * ld;
        turn_half(x + p, ld, width > 8 ? width - 8 : 0, n, out + p * pitch + 8, pitch, room);
        x -= 8 * ld;
    }
}

#include "kernel/sgemm_loops.h"

const bk_sgemm bk_sgemm_avx2 = SGEMM_TABLE;
