/* Matrix product with AVX512-VNNI: one vpdpbusd multiplies a line (16 rows x 4 k) by one broadcast
 * dword of activations. The format is a compile-time constant of every body (always-inline
 * templates), so each ends up as straight code. Order of operations: kernel.h. */
#include <string.h>

#include "kernel/formats_avx2.h"
#include "kernel/groups_avx512.h"

INLINE __m512i load(const uint8_t *p) { return _mm512_loadu_si512(p); }

INLINE __m512 load_u8(const uint8_t *array, size_t i) {
    return _mm512_cvtepi32_ps(
        _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)(const void *)(array + i * 16))));
}

INLINE __m512 load_i8(const uint8_t *array, size_t i) {
    return _mm512_cvtepi32_ps(
        _mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)(const void *)(array + i * 16))));
}

INLINE int32_t dword(const int8_t *p) {
    int32_t v;
    memcpy(&v, p, 4);
    return v;
}

/* ---- What a format is: its lines, its scales ---------------------------------------------------- */

/* The codebook of a format for shuffles, as canonical bytes. */
INLINE __m512i load_book(const int8_t *book) {
    __m128i b = _mm_loadu_si128((const __m128i *)(const void *)book);
    return _mm512_broadcast_i32x4(_mm_xor_si128(b, _mm_set1_epi8(-128)));
}

/* The 8 byte lines of a block. */
INLINE void byte_lines(fmt f, const uint8_t *p, __m512i q[8]) {
    const __m512i low = _mm512_set1_epi8(15);
    if (f.layout == BK_LAYOUT_B8) {
        UNROLL for (int j = 0; j < 8; j++) q[j] = load(p + 64 * j);
        return;
    }
    UNROLL for (int j = 0; j < 4; j++) {
        __m512i x = load(p + 64 * j);
        q[j] = _mm512_and_si512(x, low);
        q[j + 4] = _mm512_and_si512(_mm512_srli_epi16(x, 4), low);
    }
    if (f.layout == BK_LAYOUT_C4) {
        const __m512i book = load_book(f.book);
        UNROLL for (int j = 0; j < 8; j++) q[j] = _mm512_shuffle_epi8(book, q[j]);
    }
    if (f.layout == BK_LAYOUT_N5) {
        const __m512i bit = _mm512_set1_epi8(16);
        __m512i h = load(p + 256);
        UNROLL for (int j = 0; j < 8; j++) {
            __m512i x = j < 4 ? _mm512_slli_epi16(h, (unsigned)(4 - j))
                              : _mm512_srli_epi16(h, (unsigned)(j - 4));
            q[j] = _mm512_or_si512(q[j], _mm512_and_si512(x, bit));
        }
    }
    if (f.layout == BK_LAYOUT_N6) {
        const __m512i pair = _mm512_set1_epi8(48);
        UNROLL for (int j = 0; j < 8; j++) {
            __m512i h = load(p + 256 + 64 * (j / 4));
            int s = j % 4 * 2;
            __m512i x = s < 4 ? _mm512_slli_epi16(h, (unsigned)(4 - s))
                              : _mm512_srli_epi16(h, (unsigned)(s - 4));
            q[j] = _mm512_or_si512(q[j], _mm512_and_si512(x, pair));
        }
    }
}

/* d and m of scale `part` of block b, out of the arrays at the head of a group; nb = k / 32. */
INLINE __m512 block_d(fmt f, const uint8_t *g, size_t nb, size_t b, size_t part) {
    const scale_arrays s = scales_of(f, g, nb);
    size_t i = f.sub == 16 ? 2 * b + part : b;
    if (f.scales == BK_SCALES_FLOAT) return _mm512_loadu_ps(s.d + i * 64);
    if (f.scales == BK_SCALES_HALF) return load_f16(s.d, i);
    return _mm512_mul_ps(load_f16(s.d, b / 8), load_i8(s.scale, i));
}

INLINE __m512 block_m(fmt f, const uint8_t *g, size_t nb, size_t b, size_t part) {
    const scale_arrays s = scales_of(f, g, nb);
    size_t i = f.sub == 16 ? 2 * b + part : b;
    if (f.scales == BK_SCALES_FLOAT) return _mm512_loadu_ps(s.m + i * 64);
    if (f.scales == BK_SCALES_HALF) return load_f16(s.m, i);
    __m512 m = _mm512_mul_ps(load_f16(s.m, b / 8), load_u8(s.min, i));
    return _mm512_sub_ps(_mm512_set1_ps(-0.0f), m);
}

/* d * (q - zero) + m */
INLINE __m512 weight(__m512i q, int zero, __m512 d, __m512 m) {
    return _mm512_fmadd_ps(d, _mm512_cvtepi32_ps(_mm512_sub_epi32(q, _mm512_set1_epi32(zero))), m);
}

/* (x >> shift) & mask in every dword */
INLINE __m512i field(__m512i x, size_t shift, int mask) {
    return _mm512_and_si512(_mm512_srl_epi32(x, _mm_cvtsi32_si128((int)shift)),
                            _mm512_set1_epi32(mask));
}

/* q of channel `at` (0..31) of a packed block, for the 16 rows. */
INLINE __m512i channel(fmt f, const uint8_t *p, size_t at) {
    size_t j = at / 4, byte = at % 4 * 8;
    if (f.layout == BK_LAYOUT_B8) return field(load(p + 64 * j), byte, 255);
    __m512i q = field(load(p + 64 * (j % 4)), byte + j / 4 * 4, 15);
    if (f.layout == BK_LAYOUT_C4) return field(_mm512_shuffle_epi8(load_book(f.book), q), 0, 255);
    if (f.layout == BK_LAYOUT_N5)
        q = _mm512_or_si512(q, _mm512_slli_epi32(field(load(p + 256), byte + j, 1), 4));
    if (f.layout == BK_LAYOUT_N6) {
        __m512i h = field(load(p + 256 + 64 * (j / 4)), byte + j % 4 * 2, 3);
        q = _mm512_or_si512(q, _mm512_slli_epi32(h, 4));
    }
    return q;
}

/* ---- Direct: few columns, each line unpacked once ------------------------------------------------ */

INLINE __m512 zero_start(fmt f, int32_t nsum) {
    if (f.zero == 0) return _mm512_castsi512_ps(_mm512_setzero_si512());
    return _mm512_castsi512_ps(_mm512_srai_epi32(_mm512_set1_epi32(nsum), (unsigned)f.zero_shift));
}

/* acc += dots of one block with one column. `chains`: of dots; one is enough where other columns hide
 * its latency. */
INLINE __m512 block_dot(fmt f, const __m512i q[8], const bk_act *x, size_t b, __m512 d0, __m512 d1,
                        int chains, __m512 acc) {
    const int8_t *a = x->q + 32 * b;
    __m512i lo, hi;
    if (f.sub == 16) {
        lo = _mm512_castps_si512(zero_start(f, x->nsum0[b]));
        hi = _mm512_castps_si512(zero_start(f, x->nsum1[b]));
    } else {
        lo = _mm512_castps_si512(zero_start(f, x->nsum[b]));
        hi = _mm512_setzero_si512();
    }
    __m512 s = _mm512_set1_ps(x->s[b]);
    if (f.sub == 32 && chains == 1) {
        UNROLL for (int j = 0; j < 8; j++) lo =
            _mm512_dpbusd_epi32(lo, q[j], _mm512_set1_epi32(dword(a + 4 * j)));
        return _mm512_fmadd_ps(_mm512_mul_ps(_mm512_cvtepi32_ps(lo), s), d0, acc);
    }
    UNROLL for (int j = 0; j < 4; j++) {
        lo = _mm512_dpbusd_epi32(lo, q[j], _mm512_set1_epi32(dword(a + 4 * j)));
        hi = _mm512_dpbusd_epi32(hi, q[j + 4], _mm512_set1_epi32(dword(a + 16 + 4 * j)));
    }
    if (f.sub == 32)
        return _mm512_fmadd_ps(_mm512_mul_ps(_mm512_cvtepi32_ps(_mm512_add_epi32(lo, hi)), s), d0,
                               acc);
    acc = _mm512_fmadd_ps(_mm512_mul_ps(_mm512_cvtepi32_ps(lo), s), d0, acc);
    return _mm512_fmadd_ps(_mm512_mul_ps(_mm512_cvtepi32_ps(hi), s), d1, acc);
}

/* The exact channels of one column, straight from the packed block. */
INLINE __m512 direct_exact(fmt f, const uint8_t *g, const uint8_t *lines, size_t nb,
                           const bk_act *x, __m512 acc) {
    for (int e = 0; e < BK_ACT_EXACT; e++) {
        size_t k = (size_t)x->at[e], b = k / 32, at = k % 32;
        __m512 d = block_d(f, g, nb, b, at >= 16);
        __m512 m = f.has_min ? block_m(f, g, nb, b, at >= 16) : _mm512_setzero_ps();
        __m512 w = weight(channel(f, lines + b * f.lines * 64, at), f.zero, d, m);
        acc = _mm512_fmadd_ps(_mm512_set1_ps(x->value[e]), w, acc);
    }
    return acc;
}

INLINE void direct_group(fmt f, const bk_packed *w, size_t group, const bk_act *x, size_t cols,
                         __m512 *acc) {
    size_t nb = w->k / 32, parts = 32 / (size_t)f.sub;
    const uint8_t *g = w->data + group * w->group_bytes, *lines = g + w->scale_bytes;
    UNROLL for (size_t c = 0; c < cols; c++) acc[c] = _mm512_setzero_ps();
    for (size_t i = 0; f.has_min && i < nb * parts; i++) {
        size_t b = i / parts, part = i % parts;
        __m512 m = block_m(f, g, nb, b, part);
        UNROLL for (size_t c = 0; c < cols; c++) acc[c] =
            _mm512_fmadd_ps(_mm512_set1_ps(offset_a((size_t)f.sub, &x[c], b, part)), m, acc[c]);
    }
    for (size_t b = 0; b < nb; b++) {
        const uint8_t *p = lines + b * f.lines * 64;
        __m512i q[8];
        ask_share(f, g, w->scale_bytes, b);
        byte_lines(f, p, q);
        __m512 d0 = block_d(f, g, nb, b, 0), d1 = f.sub == 16 ? block_d(f, g, nb, b, 1) : d0;
        UNROLL for (size_t c = 0; c < cols; c++) acc[c] =
            block_dot(f, q, &x[c], b, d0, d1, cols < 4 ? 2 : 1, acc[c]);
    }
    UNROLL for (size_t c = 0; c < cols; c++) acc[c] = direct_exact(f, g, lines, nb, &x[c], acc[c]);
}

INLINE void direct_cols(fmt f, const bk_packed *w, size_t first, size_t n, const void *acts,
                        size_t pitch, size_t cols, float *out, size_t ldo, bool add) {
    bk_act x[BK_DIRECT_COLS];
    UNROLL for (size_t c = 0; c < cols; c++) x[c] = act_at(acts, pitch, c, w->k);
    for (size_t i = first; i < first + n; i++) {
        __m512 acc[BK_DIRECT_COLS];
        direct_group(f, w, i, x, cols, acc);
        UNROLL for (size_t c = 0; c < cols; c++)
            store(out + c * ldo + i * BK_GROUP_ROWS, acc[c], row_mask(w, i), add);
    }
}

#define DIRECT_MOST 8
#define DIRECT_WIDE                \
    case 5: DIRECT_CALL(5); break; \
    case 6: DIRECT_CALL(6); break; \
    case 7: DIRECT_CALL(7); break; \
    default: DIRECT_CALL(8); break;
EACH_TYPE_PLAN(DIRECT)
EACH_LAYOUT_PLAN(DIRECT_PAIRS)

void bk_direct_avx512(DIRECT_ARGS) {
    switch (w->plan) {
        EACH_TYPE_PLAN(CALL_DIRECT)
        EACH_LAYOUT_PLAN(CALL_DIRECT)
    case BK_PLAN_TILES_4:
    case BK_PLAN_TILES_8:
        bk_tiles_direct_avx512(w, first, n, acts, pitch, cols, out, ldo, add);
        break;
    case BK_PLAN_BITS_4: bk_ref_direct(w, first, n, acts, pitch, cols, out, ldo, add); break;
    default: bk_float_direct_avx512(w, first, n, acts, pitch, cols, out, ldo, add);
    }
}

/* ---- Panels: many columns ------------------------------------------------------------------------ */

INLINE void expand_group(fmt f, const bk_packed *w, size_t group, uint8_t *out, float *d,
                         float *m) {
    size_t nb = w->k / 32;
    const uint8_t *g = w->data + group * w->group_bytes, *lines = g + w->scale_bytes;
    for (size_t b = 0; b < nb; b++) {
        __m512i q[8];
        byte_lines(f, lines + b * f.lines * 64, q);
        UNROLL for (size_t j = 0; j < 8; j++) {
            if (f.zero)
                q[j] = _mm512_add_epi8(q[j], _mm512_set1_epi8((int8_t)(BK_ACT_ZERO - f.zero)));
            _mm512_store_si512(out + (b * 8 + j) * 64, q[j]);
        }
        UNROLL for (size_t part = 0; part < 32 / (size_t)f.sub; part++) {
            size_t at = (b * 32 / (size_t)f.sub + part) * 16;
            _mm512_store_ps(d + at, block_d(f, g, nb, b, part));
            if (f.has_min) _mm512_store_ps(m + at, block_m(f, g, nb, b, part));
        }
    }
}

void bk_expand_avx512(const bk_packed *w, size_t first, size_t n, const bk_panel *panel) {
    if (!w->type->bits) {
        bk_float_expand_avx512(w, first, n, panel);
        return;
    }
    if (w->plan == BK_PLAN_TILES_4 || w->plan == BK_PLAN_TILES_8) {
        bk_tiles_expand_avx512(w, first, n, panel);
        return;
    }
    if (w->plan == BK_PLAN_BITS_4) {
        bk_sparse_expand(w, first, n, panel, BK_ACT_ZERO - w->type->zero);
        return;
    }
    size_t nd = w->k / (size_t)w->type->sub;
    for (size_t i = 0; i < n; i++) {
        uint8_t *q = panel->q + i * w->k * 16;
        float *d = panel->d + i * nd * 16, *m = panel->m + i * nd * 16;
        size_t g = first + i;
        switch (w->plan) {
            EACH_TYPE_PLAN(EXPAND)
            EACH_LAYOUT_PLAN(EXPAND)
        default: break; /* no other plans */
        }
    }
}

static void fast_expand(const bk_packed *w, size_t first, size_t n, const bk_panel *panel) {
    if (w->group_at)
        bk_sparse_expand(w, first, n, panel, BK_ACT_ZERO - w->type->zero);
    else
        bk_expand_avx512(w, first, n, panel);
    bk_fast_coarsen_avx512(w, n, panel, w->type->zero ? BK_ACT_ZERO : 0);
}

/* What a tile needs of its panel; groups are `gq` bytes, `gd` floats apart. */
typedef struct tile {
    const uint8_t *q;
    const float *d, *m; /* m NULL: no offsets */
    size_t nb, gq, gd;
    bool zero; /* of BK_ACT_ZERO, or none */
} tile;

/* One scale's worth of k (n_lines lines from line `l`): all dots of the tile, then the floats. */
INLINE void tile_step(const tile *t, const bk_act *x, size_t groups, size_t cols, size_t b,
                      size_t l, size_t n_lines, const float *d, __m512 acc[][BK_TILE_COLS]) {
    __m512i sum[BK_PANEL_GROUPS][BK_TILE_COLS];
    UNROLL for (size_t c = 0; c < cols; c++) {
        __m512i start = _mm512_setzero_si512();
        if (t->zero) start = _mm512_set1_epi32(nsum_of(&x[c], l, n_lines)[b]);
        UNROLL for (size_t g = 0; g < groups; g++) sum[g][c] = start;
    }
    const uint8_t *q = t->q + (b * 8 + l) * 64;
    UNROLL for (size_t j = 0; j < n_lines; j++) {
        __m512i w[BK_PANEL_GROUPS];
        UNROLL for (size_t g = 0; g < groups; g++) w[g] = load(q + g * t->gq + j * 64);
        UNROLL for (size_t c = 0; c < cols; c++) {
            __m512i a = _mm512_set1_epi32(dword(x[c].q + 32 * b + 4 * (l + j)));
            UNROLL for (size_t g = 0; g < groups; g++) sum[g][c] =
                _mm512_dpbusd_epi32(sum[g][c], w[g], a);
        }
    }
    UNROLL for (size_t g = 0; g < groups; g++) {
        __m512 dv = _mm512_load_ps(d + g * t->gd);
        UNROLL for (size_t c = 0; c < cols; c++) acc[g][c] =
            _mm512_fmadd_ps(_mm512_mul_ps(_mm512_cvtepi32_ps(sum[g][c]), _mm512_set1_ps(x[c].s[b])),
                            dv, acc[g][c]);
    }
}

INLINE void tile_exact(const tile *t, size_t sub, const bk_act *x, size_t groups, size_t cols,
                       __m512 acc[][BK_TILE_COLS]) {
    UNROLL for (size_t c = 0; c < cols; c++) {
        for (int e = 0; e < BK_ACT_EXACT; e++) {
            size_t k = (size_t)x[c].at[e];
            UNROLL for (size_t g = 0; g < groups; g++) {
                __m512 d = _mm512_load_ps(t->d + g * t->gd + k / sub * 16);
                __m512 m =
                    t->m ? _mm512_load_ps(t->m + g * t->gd + k / sub * 16) : _mm512_setzero_ps();
                __m512i q = field(load(t->q + g * t->gq + k / 4 * 64), k % 4 * 8, 255);
                __m512 w = weight(q, t->zero ? BK_ACT_ZERO : 0, d, m);
                acc[g][c] = _mm512_fmadd_ps(_mm512_set1_ps(x[c].value[e]), w, acc[g][c]);
            }
        }
    }
}

INLINE void tile_body(const tile *t, size_t sub, const bk_act *x, size_t groups, size_t cols,
                      __m512 acc[][BK_TILE_COLS]) {
    UNROLL for (size_t g = 0; g < groups; g++) UNROLL for (size_t c = 0; c < cols; c++) acc[g][c] =
        _mm512_setzero_ps();
    const size_t parts = 32 / sub;
    for (size_t i = 0; t->m && i < t->nb * parts; i++) {
        UNROLL for (size_t g = 0; g < groups; g++) {
            __m512 m = _mm512_load_ps(t->m + g * t->gd + i * 16);
            UNROLL for (size_t c = 0; c < cols; c++) acc[g][c] =
                _mm512_fmadd_ps(_mm512_set1_ps(offset_a(sub, &x[c], i / parts, i % parts)), m,
                                acc[g][c]);
        }
    }
    for (size_t b = 0; b < t->nb; b++) {
        if (sub == 32) {
            tile_step(t, x, groups, cols, b, 0, 8, t->d + b * 16, acc);
        } else {
            tile_step(t, x, groups, cols, b, 0, 4, t->d + 2 * b * 16, acc);
            tile_step(t, x, groups, cols, b, 4, 4, t->d + (2 * b + 1) * 16, acc);
        }
    }
    tile_exact(t, sub, x, groups, cols, acc);
}

typedef struct job {
    const bk_packed *w;
    size_t first;
    const void *acts;
    size_t pitch;
    float *out;
    size_t ldo;
    bool add;
    tile t;
} job;

/* Columns [c0, c0 + cols) of a panel of `groups` groups. */
INLINE void tile_run(const job *j, size_t sub, size_t groups, size_t c0, size_t cols) {
    __m512 acc[BK_PANEL_GROUPS][BK_TILE_COLS];
    size_t k = j->w->k;
    bk_act x[BK_TILE_COLS];
    UNROLL for (size_t c = 0; c < cols; c++) {
        x[c] = act_at(j->acts, j->pitch, c0 + c, k);
        ask_output(j->out + (c0 + c) * j->ldo + j->first * BK_GROUP_ROWS, groups);
    }
    tile_body(&j->t, sub, x, groups, cols, acc);
    UNROLL for (size_t g = 0; g < groups; g++) UNROLL for (size_t c = 0; c < cols; c++)
        store(j->out + (c0 + c) * j->ldo + (j->first + g) * BK_GROUP_ROWS, acc[g][c],
              row_mask(j->w, j->first + g), j->add);
}

#define TILE_COLS(name, SUB, GROUPS)                         \
    static void name(const job *j, size_t c0, size_t cols) { \
        WITH_COLS(cols, tile_run, j, SUB, GROUPS, c0)        \
    }
TILE_COLS(tile_32_1, 32, 1)
TILE_COLS(tile_32_2, 32, 2)
TILE_COLS(tile_16_1, 16, 1)
TILE_COLS(tile_16_2, 16, 2)

static void tiles(const bk_packed *w, size_t first, size_t n, const bk_panel *panel,
                  const void *acts, size_t pitch, size_t cols, float *out, size_t ldo, bool add) {
    static void (*const run[2][2])(const job *, size_t, size_t) = {{tile_32_1, tile_32_2},
                                                                   {tile_16_1, tile_16_2}};
    if (!w->type->bits) {
        bk_float_tiles_avx512(w, first, n, panel, acts, pitch, cols, out, ldo, add);
        return;
    }
    if (w->plan == BK_PLAN_TILES_4 || w->plan == BK_PLAN_TILES_8) {
        bk_tiles_tiles_avx512(w, first, n, panel, acts, pitch, cols, out, ldo, add);
        return;
    }
    const bk_quant *q = w->type;
    size_t nb = w->k / 32, nd = q->sub == 16 ? 2 * nb : nb;
    job j = {w, first, acts, pitch, out, ldo, add, {0}};
    j.t = (tile){panel->q, panel->d,    q->has_min ? panel->m : NULL, nb, w->k * 16,
                 nd * 16,  q->zero != 0};
    void (*body)(const job *, size_t, size_t) = run[q->sub == 16][n == 2];
    for (size_t done = 0, width; done < cols; done += width) {
        width = bk_strip_cols(cols - done, BK_TILE_COLS);
        body(&j, done, width);
    }
}

void bk_matmul_init_avx512(bk_kernels *k) {
    k->direct = bk_direct_avx512;
    k->expand = bk_expand_avx512;
    k->tiles = tiles;
    k->fast_expand = fast_expand;
}
