/* Dots with AVX2. vpmaddubsw adds two products of an unsigned weight and a signed activation to
 * 16 bits, where sums stay as long as they fit: a lane of one line adds at most 2 * q * 127. That is
 * 8 lines of 4-bit weights, 4 of 5-bit and 2 of 6-bit ones; 8-bit weights go as two nibbles. */
#include "kernel/matmul256_avx2.h"

INLINE __m256i widened(__m256i pairs) {
    return _mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
}

/* 16-bit sums of n lines with the quants at a. */
INLINE __m256i lines_dot(const __m256i *q, const int8_t *a, size_t n) {
    __m256i t = _mm256_maddubs_epi16(q[0], broadcast(a));
    UNROLL for (size_t j = 1; j < n; j++)
        t = _mm256_add_epi16(t, _mm256_maddubs_epi16(q[j], broadcast(a + 4 * j)));
    return t;
}

/* Lines whose 16-bit sums fit. */
INLINE size_t fitting(bk_layout layout) {
    return layout == BK_LAYOUT_N6 ? 2 : layout == BK_LAYOUT_N5 ? 4 : 8;
}

INLINE __m256i low_nibbles(__m256i q) { return _mm256_and_si256(q, _mm256_set1_epi8(15)); }

INLINE __m256i high_nibbles(__m256i q) { return low_nibbles(_mm256_srli_epi16(q, 4)); }

INLINE void block_dots(fmt f, const __m256i q[8], const int8_t *a, __m256i sum[2]) {
    if (f.layout == BK_LAYOUT_B8) {
        __m256i low[8], high[8];
        UNROLL for (int j = 0; j < 8; j++) low[j] = low_nibbles(q[j]), high[j] = high_nibbles(q[j]);
        sum[0] = _mm256_add_epi32(sum[0], widened(lines_dot(low, a, 8)));
        sum[0] = _mm256_add_epi32(
            sum[0], _mm256_madd_epi16(lines_dot(high, a, 8), _mm256_set1_epi16(16)));
        return;
    }
    const size_t n = fitting(f.layout);
    UNROLL for (size_t j = 0; j < 8; j += n) {
        __m256i *s = &sum[f.sub == 16 ? j / 4 : 0];
        *s = _mm256_add_epi32(*s, widened(lines_dot(q + j, a + 4 * j, n)));
    }
}

/* 8-bit weights: both nibbles of a half have sums of their own. */
INLINE void tile_bytes(const uint8_t *q, const bk_act *x, size_t at, size_t cols,
                       __m256i sum[BK_TILE_COLS]) {
    __m256i low[BK_TILE_COLS], high[BK_TILE_COLS];
    UNROLL for (size_t j = 0; j < 8; j++) {
        __m256i w = load(q + 64 * j), l = low_nibbles(w), h = high_nibbles(w);
        UNROLL for (size_t c = 0; c < cols; c++) {
            __m256i a = broadcast(x[c].q + at + 4 * j);
            __m256i pl = _mm256_maddubs_epi16(l, a), ph = _mm256_maddubs_epi16(h, a);
            low[c] = j ? _mm256_add_epi16(low[c], pl) : pl;
            high[c] = j ? _mm256_add_epi16(high[c], ph) : ph;
        }
    }
    UNROLL for (size_t c = 0; c < cols; c++) {
        sum[c] = _mm256_add_epi32(sum[c], widened(low[c]));
        sum[c] = _mm256_add_epi32(sum[c], _mm256_madd_epi16(high[c], _mm256_set1_epi16(16)));
    }
}

INLINE void tile_dots(fmt f, const uint8_t *q, size_t n_lines, const bk_act *x, size_t at,
                      size_t cols, __m256i sum[][BK_TILE_COLS]) {
    if (f.layout == BK_LAYOUT_B8) {
        UNROLL for (size_t h = 0; h < HALVES; h++) tile_bytes(q + 32 * h, x, at, cols, sum[h]);
        return;
    }
    const size_t n = fitting(f.layout);
    UNROLL for (size_t i = 0; i < n_lines; i += n) {
        __m256i t[HALVES][BK_TILE_COLS];
        UNROLL for (size_t j = i; j < i + n; j++) {
            __m256i w[HALVES] = {load(q + 64 * j), load(q + 64 * j + 32)};
            UNROLL for (size_t c = 0; c < cols; c++) {
                __m256i a = broadcast(x[c].q + at + 4 * j);
                UNROLL for (size_t h = 0; h < HALVES; h++) {
                    __m256i p = _mm256_maddubs_epi16(w[h], a);
                    t[h][c] = j > i ? _mm256_add_epi16(t[h][c], p) : p;
                }
            }
        }
        UNROLL for (size_t h = 0; h < HALVES; h++)
            UNROLL for (size_t c = 0; c < cols; c++)
                sum[h][c] = _mm256_add_epi32(sum[h][c], widened(t[h][c]));
    }
}

void bk_matmul_init_avx2(bk_kernels *k) { matmul256_init(k); }
