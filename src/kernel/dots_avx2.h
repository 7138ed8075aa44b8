/* Dots with AVX2. vpmaddubsw adds two products of an unsigned weight and a signed activation to
 * 16 bits, where sums stay as long as they fit: a lane of one line adds at most 2 * q * 127. That is
 * 8 lines of 4-bit weights, 4 of 5-bit and 2 of 6-bit ones; 8-bit weights go as two nibbles. */
#ifndef BRISK_KERNEL_DOTS_AVX2_H
#define BRISK_KERNEL_DOTS_AVX2_H

#include "kernel/lines_avx2.h"

/* Pairs of 16-bit sums added to 32 bits, times factor. */
INLINE __m256i widened(__m256i pairs, int16_t factor) {
    return _mm256_madd_epi16(pairs, _mm256_set1_epi16(factor));
}

/* a + b, one after the other: the compiler would rather add in pairs and run out of registers. */
INLINE __m256i chained(__m256i a, __m256i b) {
    a = _mm256_add_epi16(a, b);
    __asm__("" : "+x"(a));
    return a;
}

/* Lines whose 16-bit sums fit. */
INLINE size_t fitting(bk_layout layout) {
    return layout == BK_LAYOUT_N6 ? 2 : layout == BK_LAYOUT_N5 ? 4 : 8;
}

INLINE __m256i low_nibbles(__m256i q) { return _mm256_and_si256(q, _mm256_set1_epi8(15)); }

INLINE __m256i high_nibbles(__m256i q) { return low_nibbles(_mm256_srli_epi16(q, 4)); }

/* sum + q times a, or the product alone at the start. */
INLINE __m256i add_product(bool start, __m256i sum, __m256i q, __m256i a) {
    __m256i p = _mm256_maddubs_epi16(q, a);
    return start ? p : chained(sum, p);
}

/* s += the byte lines j and j + 4 (j = 0..3, in order) of `halves` halves times the quants of a
 * block at a[c]; after j = 3 full is complete. */
INLINE void line_dots(fmt f, size_t j, const __m256i w[HALVES][2], size_t halves,
                      const int8_t *const a[], size_t cols, sums *s) {
    const bool bytes = f.layout == BK_LAYOUT_B8 || f.layout == BK_LAYOUT_C4;
    const size_t two = f.sub == 16, most = two ? fitting(f.layout) : fitting(f.layout) / 2;
    const size_t n = most < 4 ? most : 4; /* steps whose sums fit */
    const bool start = j % n == 0, end = j % n == n - 1, second = two && start;
    UNROLL for (size_t c = 0; c < cols; c++) {
        __m256i a0 = broadcast(a[c] + 4 * j), a1 = broadcast(a[c] + 16 + 4 * j);
        UNROLL for (size_t h = 0; h < halves; h++) {
            __m256i *t = s->part[h][c], *full = s->full[h][c];
            if (bytes) { /* t: low nibbles of the first and second line, then high ones */
                t[0] = add_product(start, t[0], low_nibbles(w[h][0]), a0);
                t[2] = add_product(start, t[2], high_nibbles(w[h][0]), a0);
                t[two] = add_product(second, t[two], low_nibbles(w[h][1]), a1);
                t[2 + two] = add_product(second, t[2 + two], high_nibbles(w[h][1]), a1);
            } else {
                t[0] = add_product(start, t[0], w[h][0], a0);
                t[two] = add_product(second, t[two], w[h][1], a1);
            }
            if (!end) continue;
            UNROLL for (size_t i = 0; i <= two; i++) {
                full[i] = _mm256_add_epi32(full[i], widened(t[i], 1));
                if (bytes) full[i] = _mm256_add_epi32(full[i], widened(t[2 + i], 16));
            }
        }
    }
}

/* 8-bit weights: both nibbles of a half have sums of their own. */
INLINE void tile_bytes(const uint8_t *q, const int8_t *const a[], size_t cols,
                       __m256i sum[BK_TILE_COLS]) {
    __m256i low[BK_TILE_COLS], high[BK_TILE_COLS];
    const int8_t *from[BK_TILE_COLS];
    UNROLL for (size_t c = 0; c < cols; c++) { from[c] = fresh(a[c]); }
    UNROLL for (size_t j = 0; j < 8; j++) {
        __m256i w = load(q + 64 * j), l = low_nibbles(w), h = high_nibbles(w);
        UNROLL for (size_t c = 0; c < cols; c++) {
            __m256i v = broadcast(from[c] + 4 * j);
            __m256i pl = _mm256_maddubs_epi16(l, v), ph = _mm256_maddubs_epi16(h, v);
            low[c] = j ? chained(low[c], pl) : pl;
            high[c] = j ? chained(high[c], ph) : ph;
        }
    }
    UNROLL for (size_t c = 0; c < cols; c++) {
        sum[c] = _mm256_add_epi32(sum[c], widened(low[c], 1));
        sum[c] = _mm256_add_epi32(sum[c], widened(high[c], 16));
    }
}

/* sum[half][c] += dots of 16 rows with `cols` columns over n_lines byte lines at q; the quants of
 * column c begin at a[c]. */
INLINE void tile_dots(fmt f, const uint8_t *q, size_t n_lines, const int8_t *const a[], size_t cols,
                      __m256i sum[][BK_TILE_COLS]) {
    if (f.layout == BK_LAYOUT_B8) {
        UNROLL for (size_t h = 0; h < HALVES; h++) { tile_bytes(q + 32 * h, a, cols, sum[h]); }
        return;
    }
    const size_t n = fitting(f.layout);
    UNROLL for (size_t i = 0; i < n_lines; i += n) {
        __m256i t[HALVES][BK_TILE_COLS];
        UNROLL for (size_t j = i; j < i + n; j++) {
            __m256i w[HALVES] = {load(q + 64 * j), load(q + 64 * j + 32)};
            UNROLL for (size_t c = 0; c < cols; c++) {
                __m256i v = broadcast(a[c] + 4 * j);
                UNROLL for (size_t h = 0; h < HALVES; h++) {
                    __m256i p = _mm256_maddubs_epi16(w[h], v);
                    t[h][c] = j > i ? chained(t[h][c], p) : p;
                }
            }
        }
        UNROLL for (size_t h = 0; h < HALVES; h++) {
            UNROLL for (size_t c = 0; c < cols; c++) {
                sum[h][c] = _mm256_add_epi32(sum[h][c], widened(t[h][c], 1));
            }
        }
    }
}

/* The same for half a block of 8-bit weights: 4 lines. */
INLINE void tile_half_bytes(const uint8_t *q, const int8_t *const a[], size_t cols,
                            __m256i sum[][BK_TILE_COLS]) {
    UNROLL for (size_t h = 0; h < HALVES; h++) {
        UNROLL for (size_t c = 0; c < cols; c++) {
            const int8_t *from = fresh(a[c]);
            __m256i low = _mm256_setzero_si256(), high = low;
            UNROLL for (size_t j = 0; j < 4; j++) {
                __m256i w = load(q + 64 * j + 32 * h), v = broadcast(from + 4 * j);
                low = add_product(j == 0, low, low_nibbles(w), v);
                high = add_product(j == 0, high, high_nibbles(w), v);
            }
            sum[h][c] = _mm256_add_epi32(sum[h][c], widened(low, 1));
            sum[h][c] = _mm256_add_epi32(sum[h][c], widened(high, 16));
        }
    }
}

#endif
