/* Sparse matrices with AVX2: tiles, and for them the sums of 4 activations, blocks side by side. */
#include "kernel/sparse256_avx2.h"

/* Dword j of row i goes to dword i of row j. */
INLINE void transpose(__m256i v[8]) {
    __m256i a[8], b[8];
    for (size_t i = 0; i < 4; i++) {
        a[2 * i] = _mm256_unpacklo_epi32(v[2 * i], v[2 * i + 1]);
        a[2 * i + 1] = _mm256_unpackhi_epi32(v[2 * i], v[2 * i + 1]);
    }
    for (size_t i = 0; i < 8; i += 4) {
        for (size_t j = 0; j < 2; j++) {
            b[i + 2 * j] = _mm256_unpacklo_epi64(a[i + j], a[i + j + 2]);
            b[i + 2 * j + 1] = _mm256_unpackhi_epi64(a[i + j], a[i + j + 2]);
        }
    }
    for (size_t i = 0; i < 4; i++) {
        v[i] = _mm256_permute2x128_si256(b[i], b[i + 4], 0x20);
        v[i + 4] = _mm256_permute2x128_si256(b[i], b[i + 4], 0x31);
    }
}

/* Of 8 blocks from b on the sums of tile j in out[j]. */
INLINE void eight_blocks(const int8_t *q, size_t b, size_t nb, __m256i out[8]) {
    const __m256i ones = _mm256_set1_epi8(1), pairs = _mm256_set1_epi16(1);
    for (size_t i = 0; i < 8; i++) {
        __m256i x = _mm256_setzero_si256();
        if (b + i < nb) x = _mm256_loadu_si256((const __m256i *)(const void *)(q + 32 * (b + i)));
        out[i] = _mm256_madd_epi16(_mm256_maddubs_epi16(ones, x), pairs);
    }
    transpose(out);
}

void bk_tile_sums_avx2(size_t k, void *act) {
    const int8_t *q = bk_act_view(act, k).q;
    int16_t *to = bk_sparse_sums(act, k);
    size_t nb = bk_div_up(k, 32);
    for (size_t b = 0; b < nb; b += BK_CHUNK_BLOCKS) {
        __m256i low[8], high[8];
        eight_blocks(q, b, nb, low);
        eight_blocks(q, b + 8, nb, high);
        for (size_t j = 0; j < BK_BLOCK_TILES; j++, to += BK_CHUNK_BLOCKS) {
            __m256i both = _mm256_packs_epi32(low[j], high[j]);
            _mm256_storeu_si256((__m256i *)(void *)to, _mm256_permute4x64_epi64(both, 0xD8));
        }
    }
}
