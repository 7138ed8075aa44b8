/* The fast product on 256 bits, on the dots, jobs and strips of the exact one: a file that includes this
 * calls product256_init for both. */
#ifndef BRISK_KERNEL_FAST256_AVX2_H
#define BRISK_KERNEL_FAST256_AVX2_H

#include "kernel/matmul256_avx2.h"

/* Stretch t, of `blocks` blocks, of one group: all dots of the tile, then the floats. */
INLINE void fast_stretch(const uint8_t *q, const float *d, const bk_fast_act *x, size_t cols,
                         size_t t, size_t blocks, __m256 acc[][BK_TILE_COLS]) {
    const fmt bytes = {.layout = BK_LAYOUT_B8, .sub = 32};
    __m256i sum[HALVES][BK_TILE_COLS];
    UNROLL for (size_t c = 0; c < cols; c++) {
        sum[0][c] = sum[1][c] = _mm256_set1_epi32(x[c].nsum[t]);
    }
    for (size_t b = t * BK_FAST_BLOCKS; b < t * BK_FAST_BLOCKS + blocks; b++) {
        const int8_t *a[BK_TILE_COLS];
        UNROLL for (size_t c = 0; c < cols; c++) { a[c] = x[c].q + 32 * b; }
        tile_dots(bytes, q + b * 8 * BK_LINE, 8, a, cols, sum);
    }
    UNROLL for (size_t c = 0; c < cols; c++) {
        UNROLL for (size_t h = 0; h < HALVES; h++) {
            acc[h][c] = scaled(sum[h][c], x[c].s[t], _mm256_load_ps(d + t * 16 + h * 8), acc[h][c]);
        }
    }
}

/* Channel k of the whole panel as floats. */
static __attribute__((noinline)) void fast_channel(const job *j, size_t k) {
    size_t gd = j->w->k / (size_t)j->w->type->sub * 16;
    for (size_t g = 0; g < j->n; g++) {
        const uint8_t *lines = j->panel->q + g * j->w->k * 16 + k / 32 * 512;
        const float *d = j->panel->d + g * gd + k / (32 * BK_FAST_BLOCKS) * 16;
        float *to = j->panel->exact + (k * BK_PANEL_GROUPS + g) * 16;
        for (size_t h = 0; h < HALVES; h++) {
            __m256i q = packed_channel(BK_LAYOUT_B8, NULL, lines, h, k % 32);
            __m256 v = _mm256_cvtepi32_ps(_mm256_sub_epi32(q, _mm256_set1_epi32(BK_ACT_ZERO)));
            _mm256_store_ps(to + h * 8, _mm256_mul_ps(_mm256_load_ps(d + h * 8), v));
        }
    }
}

/* The exact channels of a strip, and out to column c0 and on; g: the group within the panel. */
static __attribute__((noinline)) void fast_end(const job *j, size_t g, const bk_fast_act *x,
                                               size_t c0, size_t cols,
                                               __m256 acc[HALVES][BK_TILE_COLS]) {
    for (size_t c = 0; c < cols; c++) {
        for (int e = 0; e < BK_FAST_EXACT; e++) {
            size_t k = (size_t)x[c].at[e];
            if (!bk_panel_knows(j->panel, k)) fast_channel(j, k);
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
INLINE void fast_run(const job *j, size_t c0, size_t cols) {
    size_t k = j->w->k, nb = k / 32, gd = k / (size_t)j->w->type->sub * 16;
    bk_fast_act x[BK_TILE_COLS];
    UNROLL for (size_t c = 0; c < cols; c++) { /* the view only reads here */
        x[c] = bk_fast_act_view((char *)(uintptr_t)j->acts + (c0 + c) * j->pitch, k);
        ask_output(j->out + (c0 + c) * j->ldo + j->first * BK_GROUP_ROWS, BK_PANEL_GROUPS);
    }
    for (size_t g = 0; g < j->n; g++) {
        /* A copy, because what is passed by address is not kept in registers. */
        __m256 acc[HALVES][BK_TILE_COLS], y[HALVES][BK_TILE_COLS];
        UNROLL for (size_t c = 0; c < cols; c++) { acc[0][c] = acc[1][c] = _mm256_setzero_ps(); }
        for (size_t t = 0; t < bk_fast_stretches(nb); t++)
            fast_stretch(j->panel->q + g * k * 16, j->panel->d + g * gd, x, cols, t,
                         bk_min_size(BK_FAST_BLOCKS, nb - t * BK_FAST_BLOCKS), acc);
        UNROLL for (size_t c = 0; c < cols; c++) { y[0][c] = acc[0][c], y[1][c] = acc[1][c]; }
        fast_end(j, g, x, c0, cols, y);
    }
}

static void fast_strip(const job *j, size_t c0, size_t cols) { WITH_COLS(cols, fast_run, j, c0) }

static void fast_expand(const bk_packed *w, size_t first, size_t n, const bk_panel *panel) {
    if (w->group_at)
        bk_sparse_expand(w, first, n, panel, 0);
    else
        expand(w, first, n, panel);
    bk_fast_coarsen_avx2(w, n, panel, w->type->zero);
}

static void fast_tiles(const bk_packed *w, size_t first, size_t n, const bk_panel *panel,
                       const void *acts, size_t pitch, size_t cols, float *out, size_t ldo,
                       bool add) {
    job j = {w, first, n, panel, acts, pitch, out, ldo, add};
    run_strips(fast_strip, &j, cols, BK_TILE_COLS);
}

static inline void product256_init(bk_kernels *k) {
    matmul256_init(k);
    k->fast_expand = fast_expand;
    k->fast_tiles = fast_tiles;
}

#endif
