/* The fast product with AVX512-VNNI. Order of operations: kernel.h. */
#include <string.h>

#include "kernel/formats_avx2.h"
#include "kernel/groups_avx512.h"

/* ---- Panels -------------------------------------------------------------------------------------- */

INLINE __m512i factor(__m512 x) {
    const __m512 most = _mm512_set1_ps(BK_FAST_LIMIT), least = _mm512_set1_ps(-BK_FAST_LIMIT);
    __mmask16 number = _mm512_cmp_ps_mask(x, x, _CMP_ORD_Q);
    return _mm512_maskz_cvtps_epi32(number, _mm512_max_ps(_mm512_min_ps(x, most), least));
}

/* The low half of every dword twice. */
INLINE __m512i twice(__m512i x) {
    return _mm512_mask_blend_epi16(0xAAAAAAAA, x, _mm512_slli_epi32(x, 16));
}

/* Lines of one scale part. */
INLINE void put_lines(uint8_t *q, size_t n, __m512i factors, __m512i starts) {
    const __m512i low = _mm512_set1_epi16(255);
    for (size_t j = 0; j < n; j++) {
        __m512i x = _mm512_load_si512(q + j * BK_LINE);
        __m512i even = _mm512_and_si512(x, low), odd = _mm512_srli_epi16(x, 8);
        even = _mm512_add_epi16(_mm512_mullo_epi16(even, factors), starts);
        odd = _mm512_add_epi16(_mm512_mullo_epi16(odd, factors), starts);
        x = _mm512_mask_blend_epi8(0xAAAAAAAAAAAAAAAA, _mm512_srli_epi16(even, 8), odd);
        _mm512_store_si512(q + j * BK_LINE, x);
    }
}

/* n parts from d and m (NULL: no offsets) on, of `lines` lines each. Returns the stretch's scale. */
static __m512 coarsen_stretch(const bk_quant *type, int zero, size_t n, size_t lines, uint8_t *q,
                              const float *d, const float *m) {
    float low, high;
    bk_fast_range(type, &low, &high);
    __m512 max = _mm512_setzero_ps(), unit;
    for (size_t p = 0; p < n; p++) {
        __m512 dv = _mm512_load_ps(d + p * 16);
        __m512 mv = m ? _mm512_load_ps(m + p * 16) : _mm512_setzero_ps();
        __m512 a = _mm512_fmadd_ps(dv, _mm512_set1_ps(low), mv);
        __m512 b = _mm512_fmadd_ps(dv, _mm512_set1_ps(high), mv);
        /* NaN counts as nothing: the second operand wins. */
        max = _mm512_max_ps(_mm512_abs_ps(b), _mm512_max_ps(_mm512_abs_ps(a), max));
    }
    __mmask16 some = _mm512_cmp_ps_mask(max, _mm512_set1_ps(BK_FAST_MIN), _CMP_GE_OQ);
    unit = _mm512_maskz_div_ps(some, _mm512_set1_ps(BK_FAST_UNIT), max);
    const __m512 fine = _mm512_set1_ps(256);
    for (size_t p = 0; p < n; p++) {
        __m512 mv = m ? _mm512_load_ps(m + p * 16) : _mm512_setzero_ps();
        __m512i f = factor(_mm512_mul_ps(_mm512_mul_ps(_mm512_load_ps(d + p * 16), unit), fine));
        __m512i start = factor(_mm512_mul_ps(_mm512_mul_ps(mv, unit), fine));
        start = _mm512_sub_epi32(start, _mm512_mullo_epi32(f, _mm512_set1_epi32(zero)));
        start = _mm512_add_epi32(start, _mm512_set1_epi32(32896));
        put_lines(q + p * lines * BK_LINE, lines, twice(f), twice(start));
    }
    return _mm512_div_ps(max, _mm512_set1_ps(BK_FAST_UNIT));
}

void bk_fast_coarsen_avx512(const bk_packed *w, size_t n, const bk_panel *panel, int zero) {
    const bk_quant *type = w->type;
    size_t nb = w->k / 32, parts = 32 / (size_t)type->sub, lines = (size_t)type->sub / 4;
    memset(panel->known, 0, bk_div_up(w->k, 64) * sizeof *panel->known);
    for (size_t g = 0; g < n; g++) {
        float *d = panel->d + g * nb * parts * 16, *m = panel->m + g * nb * parts * 16;
        for (size_t t = 0; t < bk_fast_stretches(nb); t++) {
            size_t b = t * BK_FAST_BLOCKS, count = bk_min_size(BK_FAST_BLOCKS, nb - b) * parts;
            uint8_t *q = panel->q + g * w->k * 16 + b * 8 * BK_LINE;
            __m512 scale = coarsen_stretch(type, zero, count, lines, q, d + b * parts * 16,
                                           type->has_min ? m + b * parts * 16 : NULL);
            _mm512_store_ps(d + t * 16, scale); /* of parts that have been read */
        }
    }
}

/* ---- Tiles --------------------------------------------------------------------------------------- */

typedef struct job {
    const bk_packed *w;
    size_t first, n;
    const bk_panel *panel;
    size_t gq, gd; /* from one group to the next: bytes, floats */
    const void *acts;
    size_t pitch;
    float *out;
    size_t ldo;
    bool add;
} job;

INLINE __m512i broadcast(const int8_t *p) {
    int32_t v;
    memcpy(&v, p, 4);
    return _mm512_set1_epi32(v);
}

/* A stretch of `blocks` blocks: all dots of the tile, then the floats. */
INLINE void tile_stretch(const job *j, const bk_fast_act *x, size_t groups, size_t cols, size_t t,
                         size_t blocks, __m512 acc[][BK_TILE_COLS]) {
    __m512i sum[BK_PANEL_GROUPS][BK_TILE_COLS];
    UNROLL for (size_t c = 0; c < cols; c++) {
        __m512i start = _mm512_set1_epi32(x[c].nsum[t]);
        UNROLL for (size_t g = 0; g < groups; g++) sum[g][c] = start;
    }
    size_t k = t * BK_FAST_BLOCKS * 32, end = k + blocks * 32;
    for (; k < end; k += 32) {
        const uint8_t *q = j->panel->q + k * 16;
        UNROLL for (size_t i = 0; i < 8; i++) {
            __m512i w[BK_PANEL_GROUPS];
            UNROLL for (size_t g = 0; g < groups; g++) w[g] =
                _mm512_load_si512(q + g * j->gq + i * BK_LINE);
            UNROLL for (size_t c = 0; c < cols; c++) {
                __m512i a = broadcast(x[c].q + k + 4 * i);
                UNROLL for (size_t g = 0; g < groups; g++) sum[g][c] =
                    _mm512_dpbusd_epi32(sum[g][c], w[g], a);
            }
        }
    }
    UNROLL for (size_t g = 0; g < groups; g++) {
        __m512 d = _mm512_load_ps(j->panel->d + g * j->gd + t * 16);
        UNROLL for (size_t c = 0; c < cols; c++) acc[g][c] =
            _mm512_fmadd_ps(_mm512_mul_ps(_mm512_cvtepi32_ps(sum[g][c]), _mm512_set1_ps(x[c].s[t])),
                            d, acc[g][c]);
    }
}

/* Channel k of the whole panel as floats. */
static __attribute__((noinline)) void decode_channel(const job *j, size_t k) {
    for (size_t g = 0; g < j->n; g++) {
        __m512i q = _mm512_load_si512(j->panel->q + g * j->gq + k / 4 * BK_LINE);
        q = _mm512_srl_epi32(q, _mm_cvtsi32_si128((int)(k % 4 * 8)));
        q = _mm512_and_si512(q, _mm512_set1_epi32(255));
        __m512 v = _mm512_cvtepi32_ps(_mm512_sub_epi32(q, _mm512_set1_epi32(BK_ACT_ZERO)));
        __m512 d = _mm512_load_ps(j->panel->d + g * j->gd + k / (32 * BK_FAST_BLOCKS) * 16);
        _mm512_store_ps(j->panel->exact + (k * BK_PANEL_GROUPS + g) * 16, _mm512_mul_ps(d, v));
    }
}

INLINE void tile_exact(const job *j, const bk_fast_act *x, size_t groups, size_t cols,
                       __m512 acc[][BK_TILE_COLS]) {
    UNROLL for (size_t c = 0; c < cols; c++) {
        for (int e = 0; e < BK_FAST_EXACT; e++) {
            size_t k = (size_t)x[c].at[e];
            if (!bk_panel_knows(j->panel, k)) decode_channel(j, k);
            const float *w = j->panel->exact + k * BK_PANEL_GROUPS * 16;
            __m512 v = _mm512_set1_ps(x[c].value[e]);
            UNROLL for (size_t g = 0; g < groups; g++) acc[g][c] =
                _mm512_fmadd_ps(v, _mm512_load_ps(w + g * 16), acc[g][c]);
        }
    }
}

/* Columns [c0, c0 + cols) of a panel of `groups` groups. */
INLINE void tile_run(const job *j, size_t groups, size_t c0, size_t cols) {
    __m512 acc[BK_PANEL_GROUPS][BK_TILE_COLS];
    bk_fast_act x[BK_TILE_COLS];
    size_t nb = j->w->k / 32;
    UNROLL for (size_t c = 0; c < cols; c++) {
        /* The view only reads here. */
        x[c] = bk_fast_act_view((char *)(uintptr_t)j->acts + (c0 + c) * j->pitch, j->w->k);
        ask_output(j->out + (c0 + c) * j->ldo + j->first * BK_GROUP_ROWS, groups);
        UNROLL for (size_t g = 0; g < groups; g++) acc[g][c] = _mm512_setzero_ps();
    }
    for (size_t t = 0; t < bk_fast_stretches(nb); t++)
        tile_stretch(j, x, groups, cols, t, bk_min_size(BK_FAST_BLOCKS, nb - t * BK_FAST_BLOCKS),
                     acc);
    tile_exact(j, x, groups, cols, acc);
    UNROLL for (size_t g = 0; g < groups; g++) UNROLL for (size_t c = 0; c < cols; c++)
        store(j->out + (c0 + c) * j->ldo + (j->first + g) * BK_GROUP_ROWS, acc[g][c],
              row_mask(j->w, j->first + g), j->add);
}

#define TILE_COLS(name, GROUPS)                              \
    static void name(const job *j, size_t c0, size_t cols) { \
        WITH_COLS(cols, tile_run, j, GROUPS, c0)             \
    }
TILE_COLS(tile_1, 1)
TILE_COLS(tile_2, 2)

static void tiles(const bk_packed *w, size_t first, size_t n, const bk_panel *panel,
                  const void *acts, size_t pitch, size_t cols, float *out, size_t ldo, bool add) {
    job j = {w,    first, n,   panel, w->k * 16, w->k / (size_t)w->type->sub * 16,
             acts, pitch, out, ldo,   add};
    for (size_t done = 0, width; done < cols; done += width) {
        width = bk_strip_cols(cols - done, BK_TILE_COLS);
        (n == 2 ? tile_2 : tile_1)(&j, done, width);
    }
}

void bk_fast_init_avx512(bk_kernels *k) { k->fast_tiles = tiles; }
