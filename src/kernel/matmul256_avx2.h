/* Matrix product on 256 bits, for AVX2 and for both encodings of VNNI. A file includes this through
 * fast256_avx2.h, which adds the fast product, defines TILES_OF(name) as the level's bk_tiles_name_level, and
 * calls product256_init; with DPBUSD defined as the
 * intrinsic of vpdpbusd it gets kernels of VNNI, without those of AVX2. Order of operations: kernel.h. */
#ifndef BRISK_KERNEL_MATMUL256_AVX2_H
#define BRISK_KERNEL_MATMUL256_AVX2_H

#ifdef DPBUSD
#include "kernel/dots_avxvnni.h"
#else
#include "kernel/dots_avx2.h"
#endif

/* ---- Direct: few columns, each line unpacked once ------------------------------------------------ */

/* One block times all columns, `halves` halves from `first` on at a time. */
INLINE void direct_block(fmt f, const uint8_t *g, const uint8_t *lines, size_t nb, size_t b,
                         size_t first, size_t halves, const bk_act *x, size_t cols,
                         __m256 acc[HALVES][BK_DIRECT_COLS]) {
    sums s;
    const int8_t *a[BK_DIRECT_COLS];
    UNROLL for (size_t c = 0; c < cols; c++) {
        const bool two = f.sub == 16;
        const int32_t *first_sum = two ? x[c].nsum0 : x[c].nsum;
        a[c] = fresh(x[c].q + 32 * b);
        UNROLL for (size_t h = 0; h < halves; h++) {
            s.full[h][c][0] = zero_start(f, first_sum[b]);
            s.full[h][c][1] = two ? zero_start(f, x[c].nsum1[b]) : _mm256_setzero_si256();
        }
    }
    UNROLL for (size_t j = 0; j < 4; j++) {
        __m256i w[HALVES][2];
        UNROLL for (size_t h = 0; h < halves; h++) {
            line_pair(f, lines + b * f.lines * 64, first + h, j, w[h]);
        }
        line_dots(f, j, w, halves, a, cols, &s);
    }
    UNROLL for (size_t h = 0; h < halves; h++) {
        UNROLL for (size_t p = 0; p < 32 / (size_t)f.sub; p++) {
            __m256 d = block_d(f, g, nb, b, p, first + h);
            UNROLL for (size_t c = 0; c < cols; c++) {
                acc[first + h][c] = scaled(s.full[h][c][p], x[c].s[b], d, acc[first + h][c]);
            }
        }
    }
}

/* The exact channels of all columns, straight from the packed blocks, and out. */
static __attribute__((noinline)) void direct_end(fmt f, const bk_packed *w, size_t group,
                                                 const bk_act *x, size_t cols,
                                                 __m256 acc[HALVES][BK_DIRECT_COLS], float *out,
                                                 size_t ldo, bool add) {
    size_t nb = w->k / 32;
    const uint8_t *g = w->data + group * w->group_bytes, *lines = g + w->scale_bytes;
    for (size_t c = 0; c < cols; c++) {
        for (size_t h = 0; h < HALVES; h++) {
            __m256 y = acc[h][c];
            for (int e = 0; e < BK_ACT_EXACT; e++) {
                size_t b = (size_t)x[c].at[e] / 32, at = (size_t)x[c].at[e] % 32;
                __m256i q = packed_channel(f.layout, f.book, lines + b * f.lines * 64, h, at);
                __m256 d = block_d(f, g, nb, b, at / 16, h);
                __m256 m = f.has_min ? block_m(f, g, nb, b, at / 16, h) : _mm256_setzero_ps();
                y = _mm256_fmadd_ps(_mm256_set1_ps(x[c].value[e]), weight(q, f.zero, d, m), y);
            }
            store(w, group, h, out + c * ldo, y, add);
        }
    }
}

INLINE void direct_group(fmt f, const bk_packed *w, size_t group, const bk_act *x, size_t cols,
                         __m256 acc[HALVES][BK_DIRECT_COLS]) {
    /* Formats with two sums per column leave no registers for both halves of many columns. */
    const size_t nb = w->k / 32,
                 halves = cols > 2 && (f.sub == 16 || f.layout == BK_LAYOUT_B8) ? 1 : HALVES,
                 parts = 32 / (size_t)f.sub;
    const uint8_t *g = w->data + group * w->group_bytes, *lines = g + w->scale_bytes;
    UNROLL for (size_t h = 0; h < HALVES; h++) {
        UNROLL for (size_t c = 0; c < cols; c++) { acc[h][c] = _mm256_setzero_ps(); }
    }
    for (size_t i = 0; f.has_min && i < nb * parts; i++) {
        size_t b = i / parts, part = i % parts;
        UNROLL for (size_t h = 0; h < HALVES; h++) {
            __m256 m = block_m(f, g, nb, b, part, h);
            UNROLL for (size_t c = 0; c < cols; c++) {
                __m256 a = _mm256_set1_ps(offset_a((size_t)f.sub, &x[c], b, part));
                acc[h][c] = _mm256_fmadd_ps(a, m, acc[h][c]);
            }
        }
    }
    for (size_t b = 0; b < nb; b++) {
        ask_share(f, g, w->scale_bytes, b);
        direct_block(f, g, lines, nb, b, 0, halves, x, cols, acc);
        if (halves == 1) direct_block(f, g, lines, nb, b, 1, 1, x, cols, acc);
    }
}

INLINE void direct_cols(fmt f, const bk_packed *w, size_t first, size_t n, const void *acts,
                        size_t pitch, size_t cols, float *out, size_t ldo, bool add) {
    bk_act x[BK_DIRECT_COLS];
    UNROLL for (size_t c = 0; c < cols; c++) { x[c] = act_at(acts, pitch, c, w->k); }
    for (size_t i = first; i < first + n; i++) {
        /* A copy, because what is passed by address is not kept in registers. */
        __m256 acc[HALVES][BK_DIRECT_COLS], y[HALVES][BK_DIRECT_COLS];
        direct_group(f, w, i, x, cols, acc);
        UNROLL for (size_t h = 0; h < HALVES; h++) {
            UNROLL for (size_t c = 0; c < cols; c++) { y[h][c] = acc[h][c]; }
        }
        direct_end(f, w, i, x, cols, y, out, ldo, add);
    }
}

#define DIRECT_MOST 4
#define DIRECT_WIDE
EACH_TYPE_PLAN(DIRECT)
EACH_LAYOUT_PLAN(DIRECT_PAIRS)

static void direct(DIRECT_ARGS) {
    switch (w->plan) {
        EACH_TYPE_PLAN(CALL_DIRECT)
        EACH_LAYOUT_PLAN(CALL_DIRECT)
    case BK_PLAN_TILES_4:
    case BK_PLAN_TILES_8: TILES_OF(direct)(w, first, n, acts, pitch, cols, out, ldo, add); break;
    case BK_PLAN_BITS_4: bk_ref_direct(w, first, n, acts, pitch, cols, out, ldo, add); break;
    default: bk_float_direct_avx2(w, first, n, acts, pitch, cols, out, ldo, add);
    }
}

/* ---- Panels: many columns ------------------------------------------------------------------------ */

INLINE void expand_group(fmt f, const bk_packed *w, size_t group, uint8_t *out, float *d,
                         float *m) {
    size_t nb = w->k / 32;
    const uint8_t *g = w->data + group * w->group_bytes, *lines = g + w->scale_bytes;
    for (size_t b = 0; b < nb; b++) {
        UNROLL for (size_t h = 0; h < HALVES; h++) {
            UNROLL for (size_t j = 0; j < 4; j++) {
                __m256i q[2];
                uint8_t *to = out + (b * 8 + j) * 64 + h * 32;
                line_pair(f, lines + b * f.lines * 64, h, j, q);
                _mm256_store_si256((__m256i *)(void *)to, q[0]);
                _mm256_store_si256((__m256i *)(void *)(to + 256), q[1]);
            }
            for (size_t part = 0; part < 32 / (size_t)f.sub; part++) {
                size_t at = (b * 32 / (size_t)f.sub + part) * 16 + h * 8;
                _mm256_store_ps(d + at, block_d(f, g, nb, b, part, h));
                if (f.has_min) _mm256_store_ps(m + at, block_m(f, g, nb, b, part, h));
            }
        }
    }
}

static void expand(const bk_packed *w, size_t first, size_t n, const bk_panel *panel) {
    if (!w->type->bits) {
        bk_float_expand_avx2(w, first, n, panel);
        return;
    }
    if (w->plan == BK_PLAN_TILES_4 || w->plan == BK_PLAN_TILES_8) {
        TILES_OF(expand)(w, first, n, panel);
        return;
    }
    if (w->plan == BK_PLAN_BITS_4) {
        bk_sparse_expand(w, first, n, panel, 0);
        return;
    }
    size_t nd = w->k / (size_t)w->type->sub;
    memset(panel->known, 0, bk_div_up(w->k, 64) * sizeof *panel->known);
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

/* A strip of columns times one group of a panel. */
typedef struct tile {
    const uint8_t *q;
    const float *d, *m; /* m NULL: no offsets */
    size_t nb;
} tile;

/* One scale's worth of k (n_lines lines from line `l`): all dots of the tile, then the floats. */
INLINE void tile_scale(fmt f, const tile *t, const bk_act *x, size_t cols, size_t b, size_t l,
                       size_t n_lines, const float *d, __m256 acc[][BK_TILE_COLS]) {
    __m256i sum[HALVES][BK_TILE_COLS];
    UNROLL for (size_t c = 0; c < cols; c++) {
        sum[0][c] = sum[1][c] = zero_start(f, nsum_of(&x[c], l, n_lines)[b]);
    }
    const uint8_t *q = t->q + (b * 8 + l) * 64;
    const int8_t *a[BK_TILE_COLS];
    UNROLL for (size_t c = 0; c < cols; c++) { a[c] = x[c].q + 32 * b + 4 * l; }
    if (f.layout == BK_LAYOUT_B8 && n_lines == 4)
        tile_half_bytes(q, a, cols, sum);
    else
        tile_dots(f, q, n_lines, a, cols, sum);
    UNROLL for (size_t c = 0; c < cols; c++) {
        UNROLL for (size_t h = 0; h < HALVES; h++) {
            acc[h][c] = scaled(sum[h][c], x[c].s[b], _mm256_load_ps(d + h * 8), acc[h][c]);
        }
    }
}

INLINE void tile_int(fmt f, const tile *t, const bk_act *x, size_t cols,
                     __m256 acc[][BK_TILE_COLS]) {
    const size_t parts = 32 / (size_t)f.sub;
    for (size_t i = 0; f.has_min && i < t->nb * parts; i++) {
        UNROLL for (size_t h = 0; h < HALVES; h++) {
            __m256 m = _mm256_load_ps(t->m + i * 16 + h * 8);
            UNROLL for (size_t c = 0; c < cols; c++) {
                __m256 a = _mm256_set1_ps(offset_a((size_t)f.sub, &x[c], i / parts, i % parts));
                acc[h][c] = _mm256_fmadd_ps(a, m, acc[h][c]);
            }
        }
    }
    for (size_t b = 0; b < t->nb; b++) {
        if (f.sub == 32) {
            tile_scale(f, t, x, cols, b, 0, 8, t->d + b * 16, acc);
        } else {
            tile_scale(f, t, x, cols, b, 0, 4, t->d + 2 * b * 16, acc);
            tile_scale(f, t, x, cols, b, 4, 4, t->d + (2 * b + 1) * 16, acc);
        }
    }
}

typedef struct job {
    const bk_packed *w;
    size_t first, n;
    const bk_panel *panel;
    const void *acts;
    size_t pitch;
    float *out;
    size_t ldo;
    bool add;
} job;

/* Channel k of the whole panel as floats. */
static __attribute__((noinline)) void decode_channel(const job *j, size_t k) {
    const bk_quant *type = j->w->type;
    size_t nd = j->w->k / (size_t)type->sub;
    for (size_t g = 0; g < j->n; g++) {
        const uint8_t *lines = j->panel->q + g * j->w->k * 16 + k / 32 * 512;
        for (size_t h = 0; h < HALVES; h++) {
            size_t at = (g * nd + k / (size_t)type->sub) * 16 + h * 8;
            __m256 m = type->has_min ? _mm256_load_ps(j->panel->m + at) : _mm256_setzero_ps();
            __m256i q = packed_channel(BK_LAYOUT_B8, NULL, lines, h, k % 32);
            _mm256_store_ps(j->panel->exact + (k * BK_PANEL_GROUPS + g) * 16 + h * 8,
                            weight(q, type->zero, _mm256_load_ps(j->panel->d + at), m));
        }
    }
}

/* The exact channels of a strip, and out to column c0 and on; g: the group within the panel. */
static __attribute__((noinline)) void tile_end(const job *j, size_t g, const bk_act *x, size_t c0,
                                               size_t cols, __m256 acc[HALVES][BK_TILE_COLS]) {
    for (size_t c = 0; c < cols; c++) {
        for (int e = 0; e < BK_ACT_EXACT; e++) {
            size_t k = (size_t)x[c].at[e];
            if (!bk_panel_knows(j->panel, k)) decode_channel(j, k);
            const float *w = j->panel->exact + (k * BK_PANEL_GROUPS + g) * 16;
            __m256 v = _mm256_set1_ps(x[c].value[e]);
            for (size_t h = 0; h < HALVES; h++)
                acc[h][c] = _mm256_fmadd_ps(v, _mm256_load_ps(w + h * 8), acc[h][c]);
        }
        for (size_t h = 0; h < HALVES; h++)
            store(j->w, j->first + g, h, j->out + (c0 + c) * j->ldo, acc[h][c], j->add);
    }
}

/* Columns [c0, c0 + cols) of all groups of the panel. */
INLINE void tile_run(fmt f, const job *j, size_t c0, size_t cols) {
    size_t k = j->w->k, nb = k / 32, nd = f.sub == 16 ? 2 * nb : nb;
    bk_act x[BK_TILE_COLS];
    UNROLL for (size_t c = 0; c < cols; c++) {
        x[c] = act_at(j->acts, j->pitch, c0 + c, k);
        ask_output(j->out + (c0 + c) * j->ldo + j->first * BK_GROUP_ROWS, BK_PANEL_GROUPS);
    }
    for (size_t g = 0; g < j->n; g++) {
        /* A copy, because what is passed by address is not kept in registers. */
        __m256 acc[HALVES][BK_TILE_COLS], y[HALVES][BK_TILE_COLS];
        tile t = {j->panel->q + g * k * 16, j->panel->d + g * nd * 16, j->panel->m + g * nd * 16,
                  nb};
        UNROLL for (size_t h = 0; h < HALVES; h++) {
            UNROLL for (size_t c = 0; c < cols; c++) { acc[h][c] = _mm256_setzero_ps(); }
        }
        tile_int(f, &t, x, cols, acc);
        UNROLL for (size_t h = 0; h < HALVES; h++) {
            UNROLL for (size_t c = 0; c < cols; c++) { y[h][c] = acc[h][c]; }
        }
        tile_end(j, g, x, c0, cols, y);
    }
}

/* A panel is bytes whatever the layout was: here a layout only says how large they may be. */
#define TILE(name, F)                                        \
    static void name(const job *j, size_t c0, size_t cols) { \
        const fmt f = F;                                     \
        WITH_COLS(cols, tile_run, f, j, c0)                  \
    }
/* Rarer formats in less code. */
#define TILE_NARROW(name, F)                                 \
    static void name(const job *j, size_t c0, size_t cols) { \
        const fmt f = F;                                     \
        switch (cols) {                                      \
        case 1: tile_run(f, j, c0, 1); break;                \
        case 2: tile_run(f, j, c0, 2); break;                \
        case 3: tile_run(f, j, c0, 3); break;                \
        default: tile_run(f, j, c0, 4); break;               \
        }                                                    \
    }
TILE(tile_q4_0, fmt_of(BK_PLAN_Q4_0, NULL))
TILE(tile_q4_1, fmt_of(BK_PLAN_Q4_1, NULL)) /* a panel of Q4_K looks the same */
TILE(tile_q5_0, fmt_of(BK_PLAN_Q5_0, NULL))
TILE(tile_n5_32, fmt_shared(BK_LAYOUT_N5, 5, 32, j->w->type))
TILE(tile_b8_32, fmt_shared(BK_LAYOUT_B8, 8, 32, j->w->type))
TILE(tile_q6_k, fmt_of(BK_PLAN_Q6_K, NULL))
TILE_NARROW(tile_n4_16, fmt_shared(BK_LAYOUT_N5, 5, 16, j->w->type)) /* in 4 lines, as N5 */
TILE_NARROW(tile_b8_16, fmt_shared(BK_LAYOUT_B8, 8, 16, j->w->type))

static void run_strips(void (*body)(const job *, size_t, size_t), const job *j, size_t cols,
                       size_t most) {
    for (size_t done = 0, width; done < cols; done += width) {
        width = bk_strip_cols(cols - done, most);
        body(j, done, width);
    }
}

static void tiles(const bk_packed *w, size_t first, size_t n, const bk_panel *panel,
                  const void *acts, size_t pitch, size_t cols, float *out, size_t ldo, bool add) {
    static void (*const by_plan[])(const job *, size_t, size_t) = {
        [BK_PLAN_Q4_0] = tile_q4_0,   [BK_PLAN_Q4_1] = tile_q4_1,   [BK_PLAN_Q5_0] = tile_q5_0,
        [BK_PLAN_Q8_0] = tile_b8_32,  [BK_PLAN_Q4_K] = tile_q4_1,   [BK_PLAN_Q6_K] = tile_q6_k,
        [BK_PLAN_N4_16] = tile_n4_16, [BK_PLAN_N5_32] = tile_n5_32, [BK_PLAN_C4_32] = tile_b8_32,
        [BK_PLAN_C4_16] = tile_b8_16, [BK_PLAN_B8_16] = tile_b8_16, [BK_PLAN_B8_32] = tile_b8_32,
        [BK_PLAN_BITS_4] = tile_q4_0,
    };
    if (!w->type->bits) {
        bk_float_tiles_avx2(w, first, n, panel, acts, pitch, cols, out, ldo, add);
        return;
    }
    if (w->plan == BK_PLAN_TILES_4 || w->plan == BK_PLAN_TILES_8) {
        TILES_OF(tiles)(w, first, n, panel, acts, pitch, cols, out, ldo, add);
        return;
    }
    job j = {w, first, n, panel, acts, pitch, out, ldo, add};
    void (*body)(const job *, size_t, size_t) = by_plan[w->plan];
    bool narrow = body == tile_n4_16 || body == tile_b8_16;
    run_strips(body, &j, cols, narrow ? 4 : BK_TILE_COLS);
}

static inline void matmul256_init(bk_kernels *k) {
    k->direct = direct;
    k->expand = expand;
    k->tiles = tiles;
}

#endif
