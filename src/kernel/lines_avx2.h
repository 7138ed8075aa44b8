/* Weights in packed lines on 256 bits, for AVX2 and for both encodings of VNNI: a line of 64 bytes
 * is two halves of 8 rows. The format is a compile-time constant of every caller, so each ends up
 * as straight code. */
#ifndef BRISK_KERNEL_LINES_AVX2_H
#define BRISK_KERNEL_LINES_AVX2_H

#include <immintrin.h>
#include <string.h>

#include "kernel/formats_avx2.h"

enum { HALVES = 2 };

/* ---- Loads ---------------------------------------------------------------------------------------- */

INLINE __m256i load(const uint8_t *p) {
    return _mm256_loadu_si256((const __m256i *)(const void *)p);
}

/* Entry i of an array over 16 rows, the 8 of one half. */
INLINE __m256 load_f16(const uint8_t *array, size_t i, size_t half) {
    return _mm256_cvtph_ps(
        _mm_loadu_si128((const __m128i *)(const void *)(array + i * 32 + half * 16)));
}

INLINE __m256 load_u8(const uint8_t *array, size_t i, size_t half) {
    __m128i v = _mm_loadl_epi64((const __m128i *)(const void *)(array + i * 16 + half * 8));
    return _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(v));
}

INLINE __m256 load_i8(const uint8_t *array, size_t i, size_t half) {
    __m128i v = _mm_loadl_epi64((const __m128i *)(const void *)(array + i * 16 + half * 8));
    return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(v));
}

/* Four activations for all rows. */
INLINE __m256i broadcast(const int8_t *p) {
    int32_t v;
    memcpy(&v, p, 4);
    return _mm256_set1_epi32(v);
}

/* The codebook of a format for shuffles, as canonical bytes. */
INLINE __m256i load_book(const int8_t *book) {
    __m128i b = _mm_loadu_si128((const __m128i *)(const void *)book);
    return _mm256_broadcastsi128_si256(_mm_xor_si128(b, _mm_set1_epi8(-128)));
}

/* Byte lines j and j + 4 (j = 0..3) of one half of a block. */
INLINE void line_pair(fmt f, const uint8_t *p, size_t half, size_t j, __m256i q[2]) {
    const __m256i low = _mm256_set1_epi8(15);
    p += 32 * half;
    __m256i x = load(p + 64 * j);
    if (f.layout == BK_LAYOUT_B8) {
        q[0] = x;
        q[1] = load(p + 64 * j + 256);
        return;
    }
    q[0] = _mm256_and_si256(x, low);
    q[1] = _mm256_and_si256(_mm256_srli_epi16(x, 4), low);
    if (f.layout == BK_LAYOUT_C4) {
        const __m256i book = load_book(f.book);
        q[0] = _mm256_shuffle_epi8(book, q[0]);
        q[1] = _mm256_shuffle_epi8(book, q[1]);
    }
    if (f.layout == BK_LAYOUT_N5) { /* bits j and j + 4 to the place of 16 */
        const __m256i bit = _mm256_set1_epi8(16);
        __m256i h = load(p + 256);
        __m256i h0 = _mm256_slli_epi16(h, 4 - (int)j), h1 = _mm256_srli_epi16(h, (int)j);
        q[0] = _mm256_or_si256(q[0], _mm256_and_si256(h0, bit));
        q[1] = _mm256_or_si256(q[1], _mm256_and_si256(h1, bit));
    }
    if (f.layout == BK_LAYOUT_N6) { /* bits 2j, 2j + 1 of both lines to the place of 48 */
        const __m256i pair = _mm256_set1_epi8(48);
        int up = j < 2 ? 4 - 2 * (int)j : 0, down = j < 2 ? 0 : 2 * (int)j - 4;
        __m256i h0 = _mm256_srli_epi16(_mm256_slli_epi16(load(p + 256), up), down);
        __m256i h1 = _mm256_srli_epi16(_mm256_slli_epi16(load(p + 320), up), down);
        q[0] = _mm256_or_si256(q[0], _mm256_and_si256(h0, pair));
        q[1] = _mm256_or_si256(q[1], _mm256_and_si256(h1, pair));
    }
}

/* Quants of channel `at` (0..31) of a block for the rows of one half, one to a dword. */
static inline __m256i packed_channel(bk_layout layout, const int8_t *book, const uint8_t *p,
                                     size_t half, size_t at) {
    size_t j = at / 4, byte = at % 4 * 8;
    __m128i shift = _mm_cvtsi64_si128((long long)(byte + (j < 4 ? 0 : 4)));
    p += 32 * half;
    if (layout == BK_LAYOUT_B8)
        return _mm256_and_si256(_mm256_srl_epi32(load(p + 64 * j), _mm_cvtsi64_si128((int)byte)),
                                _mm256_set1_epi32(255));
    __m256i q = _mm256_srl_epi32(load(p + j % 4 * 64), shift);
    q = _mm256_and_si256(q, _mm256_set1_epi32(15));
    if (layout == BK_LAYOUT_N4) return q;
    if (layout == BK_LAYOUT_C4)
        return _mm256_and_si256(_mm256_shuffle_epi8(load_book(book), q), _mm256_set1_epi32(255));
    bool five = layout == BK_LAYOUT_N5;
    shift = _mm_cvtsi64_si128((long long)(byte + (five ? j : j % 4 * 2)));
    __m256i h = _mm256_srl_epi32(load(p + 256 + (five ? 0 : j / 4 * 64)), shift);
    h = _mm256_and_si256(h, _mm256_set1_epi32(five ? 1 : 3));
    return _mm256_or_si256(q, _mm256_slli_epi32(h, 4));
}

/* Floats of entry i. */
INLINE __m256 load_f32(const uint8_t *array, size_t i, size_t half) {
    return _mm256_loadu_ps((const float *)(const void *)(array + i * 64 + half * 32));
}

/* d and m of scale `part` of block b, out of the arrays at the head of a group; nb = k / 32. */
INLINE __m256 block_d(fmt f, const uint8_t *g, size_t nb, size_t b, size_t part, size_t half) {
    const scale_arrays s = scales_of(f, g, nb);
    size_t i = f.sub == 16 ? 2 * b + part : b;
    if (f.scales == BK_SCALES_FLOAT) return load_f32(s.d, i, half);
    if (f.scales == BK_SCALES_HALF) return load_f16(s.d, i, half);
    return _mm256_mul_ps(load_f16(s.d, b / 8, half), load_i8(s.scale, i, half));
}

INLINE __m256 block_m(fmt f, const uint8_t *g, size_t nb, size_t b, size_t part, size_t half) {
    const scale_arrays s = scales_of(f, g, nb);
    size_t i = f.sub == 16 ? 2 * b + part : b;
    if (f.scales == BK_SCALES_FLOAT) return load_f32(s.m, i, half);
    if (f.scales == BK_SCALES_HALF) return load_f16(s.m, i, half);
    __m256 m = _mm256_mul_ps(load_f16(s.m, b / 8, half), load_u8(s.min, i, half));
    return _mm256_sub_ps(_mm256_set1_ps(-0.0f), m);
}

/* The weights of one channel as floats. */
INLINE __m256 weight(__m256i q, int zero, __m256 d, __m256 m) {
    return _mm256_fmadd_ps(d, _mm256_cvtepi32_ps(_mm256_sub_epi32(q, _mm256_set1_epi32(zero))), m);
}

/* 8 outputs of a group's half; rows past the last are left alone. */
static inline void store(const bk_packed *w, size_t group, size_t half, float *column, __m256 y,
                         bool add) {
    size_t row = group * BK_GROUP_ROWS + half * 8;
    float *o = column + row;
    if (row + 8 <= w->n_rows) {
        _mm256_storeu_ps(o, add ? _mm256_add_ps(_mm256_loadu_ps(o), y) : y);
    } else if (row < w->n_rows) {
        __m256i rows = _mm256_cmpgt_epi32(_mm256_set1_epi32((int)(w->n_rows - row)),
                                          _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
        if (add) y = _mm256_add_ps(_mm256_maskload_ps(o, rows), y);
        _mm256_maskstore_ps(o, rows, y);
    }
}

/* The same pointer, of which the compiler knows nothing: what is loaded through it is not kept in
 * registers from the half before, of which there are too few. */
INLINE const int8_t *fresh(const int8_t *p) {
    __asm__ volatile("" : "+r"(p));
    return p;
}

/* Where a dot begins so that q counts as q - zero. */
INLINE __m256i zero_start(fmt f, int32_t nsum) {
    if (f.zero == 0) return _mm256_setzero_si256();
    return _mm256_srai_epi32(_mm256_set1_epi32(nsum), f.zero_shift);
}

/* acc += sum * s * d */
INLINE __m256 scaled(__m256i sum, float s, __m256 d, __m256 acc) {
    return _mm256_fmadd_ps(_mm256_mul_ps(_mm256_cvtepi32_ps(sum), _mm256_set1_ps(s)), d, acc);
}

/* Sums of one block for some halves and columns: with sub 16 [0] is of k 0..15 and [1] of k 16..31,
 * otherwise all is in [0]. `part` is room for narrower sums on the way. */
typedef struct sums {
    __m256i full[HALVES][BK_DIRECT_COLS][2], part[HALVES][BK_DIRECT_COLS][4];
} sums;

#endif
