/* What products of tiles share at 256 and 512 bits (sparse.h). */
#ifndef BRISK_KERNEL_TILES_AVX2_H
#define BRISK_KERNEL_TILES_AVX2_H

#include <immintrin.h>

#include "kernel/parts.h"
#include "kernel/sparse.h"

/* A row of activations. */
typedef struct tile_act {
    const int8_t *q;
    const float *s, *value;
    const int16_t *sums;
    const int32_t *at;
} tile_act;

INLINE tile_act tile_act_at(const void *acts, size_t pitch, size_t c, size_t k) {
    char *row = (char *)(uintptr_t)acts + c * pitch; /* only read */
    bk_act v = bk_act_view(row, k);
    return (tile_act){v.q, v.s, v.value, bk_sparse_sums(row, k), v.at};
}

/* What is before block b of a group. */
INLINE bk_sparse_at tiles_before(const bk_packed *w, const bk_strip *s, size_t b) {
    const __m128i counts = _mm_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4);
    const __m128i places = _mm_setr_epi8(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    const __m128i low = _mm_set1_epi8(15), zero = _mm_setzero_si128();
    size_t chunk = b / BK_CHUNK_BLOCKS, i = b % BK_CHUNK_BLOCKS;
    const void *index = s->index + chunk * BK_CHUNK_BLOCKS;
    bk_sparse_at at = s->at[chunk];
    __m128i x =
        _mm_and_si128(_mm_loadu_si128(index), _mm_cmplt_epi8(places, _mm_set1_epi8((char)i)));
    unsigned none = (unsigned)_mm_movemask_epi8(_mm_cmpeq_epi8(x, zero));
    __m128i n = _mm_add_epi8(_mm_shuffle_epi8(counts, _mm_and_si128(x, low)),
                             _mm_shuffle_epi8(counts, _mm_and_si128(_mm_srli_epi16(x, 4), low)));
    if (w->plan == BK_PLAN_TILES_4) n = _mm_avg_epu8(n, zero); /* two to a line */
    n = _mm_sad_epu8(n, zero);
    at.scales += BK_CHUNK_BLOCKS - (uint32_t)__builtin_popcount(none);
    at.values += BK_LINE * (uint32_t)(_mm_cvtsi128_si32(n) + _mm_extract_epi16(n, 4));
    return at;
}

/* By a block's byte of the index, byte i: where the activations of its tile i are, from those of the block
 * on; 0 past the last. */
extern const uint64_t bk_tile_offsets[256];

INLINE const uint8_t *tile_offsets(unsigned index) {
    return (const uint8_t *)&bk_tile_offsets[index];
}

INLINE size_t count_lines(int bits, unsigned index) {
    size_t n = (size_t)__builtin_popcount(index);
    return bits == 4 ? (n + 1) / 2 : n;
}

#endif
