/* 28 sums, a line of two and a value of a: all registers but one. 97 to 99 % of what a Zen 4 core
 * multiplies and adds at most, once both factors are packed. */
#include "kernel/lanes_avx512.h"
#include "kernel/parts.h"

#define TILE_ROWS 14
#define TILE_LANES 2
#define EACH_TILE(X) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11) X(12) X(13) X(14)

INLINE void turn_pairs(__m512 r[16]) {
    __m512 t[16];
    UNROLL for (size_t i = 0; i < 16; i += 2) {
        t[i] = _mm512_unpacklo_ps(r[i], r[i + 1]);
        t[i + 1] = _mm512_unpackhi_ps(r[i], r[i + 1]);
    }
    UNROLL for (size_t i = 0; i < 16; i += 4) UNROLL for (size_t j = 0; j < 2; j++) {
        __m512d a = _mm512_castps_pd(t[i + j]), b = _mm512_castps_pd(t[i + j + 2]);
        r[i + 2 * j] = _mm512_castpd_ps(_mm512_unpacklo_pd(a, b));
        r[i + 2 * j + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(a, b));
    }
}

/* 16 x 16. In between r[4 i + j] has of rows 4 i to 4 i + 3 the columns j, j + 4, j + 8, j + 12. */
INLINE void turn_16(__m512 r[16]) {
    __m512 t[16];
    turn_pairs(r);
    UNROLL for (size_t j = 0; j < 4; j++) {
        __m512 a = _mm512_shuffle_f32x4(r[j], r[4 + j], 0x44);
        __m512 b = _mm512_shuffle_f32x4(r[j], r[4 + j], 0xEE);
        __m512 c = _mm512_shuffle_f32x4(r[8 + j], r[12 + j], 0x44);
        __m512 d = _mm512_shuffle_f32x4(r[8 + j], r[12 + j], 0xEE);
        t[j] = _mm512_shuffle_f32x4(a, c, 0x88);
        t[4 + j] = _mm512_shuffle_f32x4(a, c, 0xDD);
        t[8 + j] = _mm512_shuffle_f32x4(b, d, 0x88);
        t[12 + j] = _mm512_shuffle_f32x4(b, d, 0xDD);
    }
    UNROLL for (size_t i = 0; i < 16; i++) r[i] = t[i];
}

/* x[width][ld] to out[k][pitch], width <= 16. Whole registers are written: later lines replace what is
 * beyond the pitch, and nothing is written behind the last one. */
static void turn(const float *x, size_t ld, size_t width, size_t k, float *out, size_t pitch) {
    for (size_t p = 0; p < k; p += 16) {
        __m512 r[16];
        size_t n = bk_min_size(16, k - p);
        UNROLL for (size_t i = 0; i < 16; i++) r[i] =
            i < width ? l_load_n(x + i * ld + p, n) : l_set(0);
        turn_16(r);
        UNROLL for (size_t i = 0; i < 16; i++) if (i < n)
            l_store_n(out + (p + i) * pitch, r[i], bk_min_size(16, (k - p - i) * pitch));
    }
}

#include "kernel/sgemm_loops.h"

const bk_sgemm bk_sgemm_avx512 = SGEMM_TABLE;
