/* Single weights under bit masks, with VBMI2: vpexpandb puts the quants of a tile at their places, on a
 * ground of the zero, so that from there on all is as in the dense product. The idea of expanding a
 * compressed line by its mask in front of the dot is that of SparAMX (AbouElhamayed et al. 2025). */
#include <string.h>

#include "kernel/groups_avx512.h"
#include "kernel/sparse.h"

INLINE __m512i load(const uint8_t *p) { return _mm512_loadu_si512(p); }

INLINE __m512i dot(__m512i sum, __m512i w, const int8_t *a) {
    typedef const int8_t four[4];
    __asm__("vpdpbusd %2%{1to16%}, %1, %0" : "+v"(sum) : "v"(w), "m"(*(four *)(const void *)a));
    return sum;
}

/* What a block has before its tiles 1, 2 and 3 and 5, 6 and 7 in its half, and its masks. */
typedef struct bits_block {
    uint64_t mask[BK_BLOCK_TILES];
    size_t at[BK_BLOCK_TILES];
} bits_block;

INLINE bits_block read_masks(const uint8_t *index) {
    bits_block b;
    UNROLL for (size_t j = 0; j < BK_BLOCK_TILES; j++) {
        memcpy(&b.mask[j], index + 8 * j, 8);
        b.at[j] = j % 4 ? b.at[j - 1] + (size_t)_mm_popcnt_u64(b.mask[j - 1]) : 0;
    }
    return b;
}

/* Tile j, 16 rows x 4 k, quants + bias. */
INLINE __m512i tile(const bits_block *b, const uint8_t *values, size_t j, int bias) {
    const __m512i low = _mm512_set1_epi8(15), zero = _mm512_set1_epi8((char)(8 + bias));
    __m512i x = load(values + b->at[j]);
    x = _mm512_and_si512(j < 4 ? x : _mm512_srli_epi16(x, 4), low);
    if (bias) x = _mm512_add_epi8(x, _mm512_set1_epi8((char)bias));
    return _mm512_mask_expand_epi8(zero, b->mask[j], x);
}

INLINE const uint8_t *values_of(const bk_strip *s, size_t b) {
    return s->values + s->at[b / BK_CHUNK_BLOCKS].values + s->before[b];
}

/* Channel k of a group, for the 16 rows. */
static __m512 channel(const bk_strip *s, size_t k) {
    size_t b = k / 32, j = k % 32 / 4;
    bits_block block = read_masks(s->index + b * BK_TILE_PLACES);
    __m512i q = _mm512_setzero_si512();
    UNROLL for (size_t i = 0; i < BK_BLOCK_TILES; i++) if (i == j) q =
        tile(&block, values_of(s, b), i, 0);
    q = _mm512_srl_epi32(q, _mm_cvtsi32_si128((int)(k % 4 * 8)));
    q = _mm512_sub_epi32(_mm512_and_si512(q, _mm512_set1_epi32(15)), _mm512_set1_epi32(8));
    return _mm512_fmadd_ps(load_f16(s->d, b), _mm512_cvtepi32_ps(q), _mm512_setzero_ps());
}

INLINE void direct_group(const bk_packed *w, const bk_strip *s, const bk_act *x, size_t cols,
                         __m512 *acc) {
    UNROLL for (size_t c = 0; c < cols; c++) acc[c] = _mm512_setzero_ps();
    for (size_t b = 0; b < w->k / 32; b++) {
        const uint8_t *values = values_of(s, b);
        const bits_block block = read_masks(s->index + b * BK_TILE_PLACES);
        __m512i sum[BK_DIRECT_COLS];
        bk_strip_ask(s, b);
        UNROLL for (size_t c = 0; c < cols; c++) sum[c] =
            _mm512_srai_epi32(_mm512_set1_epi32(x[c].nsum[b]), 4);
        UNROLL for (size_t j = 0; j < BK_BLOCK_TILES; j++) {
            const __m512i q = tile(&block, values, j, 0);
            UNROLL for (size_t c = 0; c < cols; c++) sum[c] =
                dot(sum[c], q, x[c].q + 32 * b + 4 * j);
        }
        const __m512 d = load_f16(s->d, b);
        UNROLL for (size_t c = 0; c < cols; c++) acc[c] =
            _mm512_fmadd_ps(_mm512_mul_ps(_mm512_cvtepi32_ps(sum[c]), _mm512_set1_ps(x[c].s[b])), d,
                            acc[c]);
    }
}

INLINE void direct_cols(const bk_packed *w, size_t first, size_t n, const void *acts, size_t pitch,
                        size_t cols, float *out, size_t ldo, bool add) {
    bk_act x[BK_DIRECT_COLS];
    UNROLL for (size_t c = 0; c < cols; c++) x[c] =
        bk_act_view((char *)(uintptr_t)acts + c * pitch, w->k); /* only read */
    for (size_t g = first; g < first + n; g++) {
        __m512 acc[BK_DIRECT_COLS];
        bk_strip s = bk_strip_view(w, g);
        direct_group(w, &s, x, cols, acc);
        for (size_t c = 0; c < cols; c++) {
            for (int e = 0; e < BK_ACT_EXACT; e++)
                acc[c] = _mm512_fmadd_ps(_mm512_set1_ps(x[c].value[e]),
                                         channel(&s, (size_t)x[c].at[e]), acc[c]);
            store(out + c * ldo + g * BK_GROUP_ROWS, acc[c], row_mask(w, g), add);
        }
    }
}

#define CASE(COLS) \
    case COLS: direct_cols(w, first, n, acts, pitch, COLS, out, ldo, add); break;

static void direct(DIRECT_ARGS) {
    if (w->plan != BK_PLAN_BITS_4) {
        bk_direct_avx512(w, first, n, acts, pitch, cols, out, ldo, add);
        return;
    }
    switch (cols) {
        CASE(1)
        CASE(2)
        CASE(3)
        CASE(4)
        CASE(5)
        CASE(6)
        CASE(7)
    default: direct_cols(w, first, n, acts, pitch, 8, out, ldo, add); break;
    }
}

/* A dense panel, as that of Q4_0. */
static void expand(const bk_packed *w, size_t first, size_t n, const bk_panel *panel) {
    if (w->plan != BK_PLAN_BITS_4) {
        bk_expand_avx512(w, first, n, panel);
        return;
    }
    for (size_t g = 0; g < n; g++) {
        bk_strip s = bk_strip_view(w, first + g);
        uint8_t *q = panel->q + g * w->k * BK_GROUP_ROWS;
        float *d = panel->d + g * w->k / 32 * BK_GROUP_ROWS;
        for (size_t b = 0; b < w->k / 32; b++, q += BK_BLOCK_TILES * BK_LINE) {
            const bits_block block = read_masks(s.index + b * BK_TILE_PLACES);
            UNROLL for (size_t j = 0; j < BK_BLOCK_TILES; j++)
                _mm512_store_si512(q + j * BK_LINE,
                                   tile(&block, values_of(&s, b), j, BK_ACT_ZERO - 8));
            _mm512_store_ps(d + b * BK_GROUP_ROWS, load_f16(s.d, b));
        }
    }
}

void bk_kernels_init_avx512vbmi2(bk_kernels *k) {
    k->direct = direct;
    k->expand = expand;
}
