/* Float weights with AVX512. Order of operations: kernel.h. */
#include "kernel/float_avx2.h"
#include "kernel/groups_avx512.h"

INLINE __m512 float_line(bk_layout layout, const uint8_t *g, size_t k) {
    if (layout == BK_LAYOUT_F32) return _mm512_loadu_ps((const float *)(const void *)g + k * 16);
    if (layout == BK_LAYOUT_F16) return load_f16(g, k);
    __m256i h = _mm256_loadu_si256((const __m256i *)(const void *)(g + k * 32));
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(h), 16));
}

/* ---- Direct: few columns ------------------------------------------------------------------------- */

/* Of a pass over halves with one column: 28 GB/s from memory on Zen 4, where 4 groups of twice 256 bits
 * read 21. */
enum { MOST_GROUPS = 8 };

/* acc += one k of n groups times the columns. */
INLINE void float_step(bk_layout layout, const bk_packed *w, const uint8_t *data, size_t n,
                       size_t k, const float *x, size_t pitch, size_t cols,
                       __m512 acc[][BK_DIRECT_COLS]) {
    UNROLL for (size_t g = 0; g < n; g++) {
        __m512 line = float_line(layout, data + g * w->group_bytes, k);
        UNROLL for (size_t c = 0; c < cols; c++) acc[g][c] =
            _mm512_fmadd_ps(_mm512_set1_ps(x[c * pitch + k]), line, acc[g][c]);
    }
}

/* n groups at once: enough independent chains to hide the latency of one sum per row. */
INLINE void float_groups(bk_layout layout, const bk_packed *w, size_t first, size_t n,
                         const float *x, size_t pitch, size_t cols, float *out, size_t ldo,
                         bool add) {
    const size_t ahead = float_ahead(w, n), per_line = layout == BK_LAYOUT_F32 ? 1 : 2;
    const uint8_t *data = w->data + first * w->group_bytes;
    __m512 acc[MOST_GROUPS][BK_DIRECT_COLS];
    size_t k = 0;
    UNROLL for (size_t g = 0; g < n; g++) UNROLL for (size_t c = 0; c < cols; c++) acc[g][c] =
        _mm512_setzero_ps();
    for (; k + per_line <= w->k; k += per_line) {
        float_prefetch(layout, w, data, n, k, ahead);
        UNROLL for (size_t i = 0; i < per_line; i++)
            float_step(layout, w, data, n, k + i, x, pitch, cols, acc);
    }
    if (k < w->k) float_step(layout, w, data, n, k, x, pitch, cols, acc);
    UNROLL for (size_t g = 0; g < n; g++) UNROLL for (size_t c = 0; c < cols; c++)
        store(out + c * ldo + (first + g) * BK_GROUP_ROWS, acc[g][c], row_mask(w, first + g), add);
}

INLINE void float_cols(bk_layout layout, const bk_packed *w, size_t first, size_t n, const float *x,
                       size_t pitch, size_t cols, float *out, size_t ldo, bool add) {
    const size_t most = layout != BK_LAYOUT_F32 && cols == 1 ? MOST_GROUPS : cols <= 4 ? 4 : 2;
    size_t i = 0;
    for (; i + most <= n; i += most)
        float_groups(layout, w, first + i, most, x, pitch, cols, out, ldo, add);
    for (; most > 4 && i + 4 <= n; i += 4)
        float_groups(layout, w, first + i, 4, x, pitch, cols, out, ldo, add);
    for (; i < n; i++) float_groups(layout, w, first + i, 1, x, pitch, cols, out, ldo, add);
}

enum { DIRECT_MOST = 8 };
#define DIRECT_WIDE               \
    case 5: FLOAT_CALL(5); break; \
    case 6: FLOAT_CALL(6); break; \
    case 7: FLOAT_CALL(7); break; \
    case 8: FLOAT_CALL(8); break;
EACH_FLOAT_PLAN(DIRECT_FLOAT)

void bk_float_direct_avx512(DIRECT_ARGS) {
    switch (w->plan) {
        EACH_FLOAT_PLAN(CALL_DIRECT)
    default: break; /* no other plans */
    }
}

/* ---- Panels: many columns ------------------------------------------------------------------------ */

INLINE void expand_float(bk_layout layout, const bk_packed *w, size_t group, float *out) {
    const uint8_t *g = w->data + group * w->group_bytes;
    for (size_t k = 0; k < w->k; k++) _mm512_store_ps(out + k * 16, float_line(layout, g, k));
}

void bk_float_expand_avx512(const bk_packed *w, size_t first, size_t n, const bk_panel *panel) {
    for (size_t i = 0; i < n; i++) {
        float *x = (float *)(void *)panel->q + i * w->k * 16;
        size_t g = first + i;
        switch (w->plan) {
        case BK_PLAN_F32:
            break; /* the groups are a panel */
            EACH_HALF_PLAN(EXPAND_FLOAT)
        default: break; /* no other plans */
        }
    }
}

/* 12 chains keep the multiply-adds of 512 bits busy: wider tiles (up to 64 rows x 6 columns), and
 * prefetching the next columns, measured no better at k 576 to 4096. */
INLINE void tile_float(const float *q, size_t k, const float *x, size_t pitch, size_t groups,
                       size_t cols, __m512 acc[][BK_TILE_COLS]) {
    UNROLL for (size_t g = 0; g < groups; g++) UNROLL for (size_t c = 0; c < cols; c++) acc[g][c] =
        _mm512_setzero_ps();
    for (size_t i = 0; i < k; i++) {
        __m512 line[BK_PANEL_GROUPS];
        UNROLL for (size_t g = 0; g < groups; g++) line[g] = _mm512_load_ps(q + (g * k + i) * 16);
        UNROLL for (size_t c = 0; c < cols; c++) {
            __m512 v = _mm512_set1_ps(x[c * pitch + i]);
            UNROLL for (size_t g = 0; g < groups; g++) acc[g][c] =
                _mm512_fmadd_ps(v, line[g], acc[g][c]);
        }
    }
}

typedef struct job {
    const bk_packed *w;
    size_t first;
    const float *panel, *x;
    size_t pitch;
    float *out;
    size_t ldo;
    bool add;
} job;

/* Columns [c0, c0 + cols) of a panel of `groups` groups. */
INLINE void tile_run(const job *j, size_t groups, size_t c0, size_t cols) {
    __m512 acc[BK_PANEL_GROUPS][BK_TILE_COLS];
    tile_float(j->panel, j->w->k, j->x + c0 * j->pitch, j->pitch, groups, cols, acc);
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

void bk_float_tiles_avx512(TILES_ARGS) {
    job j = {w, first, float_panel(w, first, panel), acts, pitch, out, ldo, add};
    void (*body)(const job *, size_t, size_t) = n == 2 ? tile_2 : tile_1;
    for (size_t done = 0, width; done < cols; done += width) {
        width = bk_strip_cols(cols - done, BK_TILE_COLS);
        body(&j, done, width);
    }
}
