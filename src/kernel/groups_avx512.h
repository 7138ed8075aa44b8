/* Loads and stores over the 16 rows of a group. Included by *_avx512.c only. */
#ifndef BRISK_KERNEL_GROUPS_AVX512_H
#define BRISK_KERNEL_GROUPS_AVX512_H

#include <immintrin.h>

#include "kernel/parts.h"

/* Entry i of an array of halves. */
INLINE __m512 load_f16(const uint8_t *array, size_t i) {
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(const void *)(array + i * 32)));
}

/* Rows of a group that exist. */
INLINE __mmask16 row_mask(const bk_packed *w, size_t group) {
    size_t left = w->n_rows - group * BK_GROUP_ROWS;
    return left >= 16 ? (__mmask16)0xFFFF : (__mmask16)((1u << left) - 1);
}

INLINE void store(float *o, __m512 y, __mmask16 rows, bool add) {
    if (add) y = _mm512_add_ps(_mm512_maskz_loadu_ps(rows, o), y);
    _mm512_mask_storeu_ps(o, rows, y);
}

#endif
