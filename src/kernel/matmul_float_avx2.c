/* Float weights on 256 bits, for all levels below AVX512. Order of operations: kernel.h. */
#include "kernel/float_avx2.h"
#include "kernel/lines_avx2.h"

enum { MOST_GROUPS = 4 };

INLINE __m256 float_line(bk_layout layout, const uint8_t *g, size_t k, size_t half) {
    if (layout == BK_LAYOUT_F32)
        return _mm256_loadu_ps((const float *)(const void *)g + k * 16 + half * 8);
    if (layout == BK_LAYOUT_F16) return load_f16(g, k, half);
    __m128i h = _mm_loadu_si128((const __m128i *)(const void *)(g + k * 32 + half * 16));
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(h), 16));
}

/* acc += one k of n groups times the columns. */
INLINE void float_step(bk_layout layout, const bk_packed *w, const uint8_t *data, size_t n,
                       size_t k, const float *x, size_t pitch, size_t cols,
                       __m256 acc[][BK_DIRECT_COLS]) {
    UNROLL for (size_t v = 0; v < n * HALVES; v++) {
        __m256 line = float_line(layout, data + v / 2 * w->group_bytes, k, v % 2);
        UNROLL for (size_t c = 0; c < cols; c++) {
            acc[v][c] = _mm256_fmadd_ps(_mm256_set1_ps(x[c * pitch + k]), line, acc[v][c]);
        }
    }
}

/* n groups at once: enough independent chains to hide the latency of one sum per row. */
INLINE void float_groups(bk_layout layout, const bk_packed *w, size_t first, size_t n,
                         const float *x, size_t pitch, size_t cols, float *out, size_t ldo,
                         bool add) {
    const size_t ahead = float_ahead(w, n), per_line = layout == BK_LAYOUT_F32 ? 1 : 2;
    const uint8_t *data = w->data + first * w->group_bytes;
    __m256 acc[MOST_GROUPS * HALVES][BK_DIRECT_COLS];
    size_t k = 0;
    UNROLL for (size_t v = 0; v < n * HALVES; v++) {
        UNROLL for (size_t c = 0; c < cols; c++) { acc[v][c] = _mm256_setzero_ps(); }
    }
    for (; k + per_line <= w->k; k += per_line) {
        float_prefetch(layout, w, data, n, k, ahead);
        UNROLL for (size_t i = 0; i < per_line; i++) {
            float_step(layout, w, data, n, k + i, x, pitch, cols, acc);
        }
    }
    if (k < w->k) float_step(layout, w, data, n, k, x, pitch, cols, acc);
    UNROLL for (size_t v = 0; v < n * HALVES; v++) {
        UNROLL for (size_t c = 0; c < cols; c++) {
            store(w, first + v / 2, v % 2, out + c * ldo, acc[v][c], add);
        }
    }
}

INLINE void float_cols(bk_layout layout, const bk_packed *w, size_t first, size_t n, const float *x,
                       size_t pitch, size_t cols, float *out, size_t ldo, bool add) {
    const size_t most = cols == 1 ? MOST_GROUPS : cols == 2 ? 2 : 1; /* 8 sums in registers */
    size_t i = 0;
    for (; i + most <= n; i += most)
        float_groups(layout, w, first + i, most, x, pitch, cols, out, ldo, add);
    for (; i < n; i++) float_groups(layout, w, first + i, 1, x, pitch, cols, out, ldo, add);
}

enum { DIRECT_MOST = 6 };
#define DIRECT_WIDE               \
    case 5: FLOAT_CALL(5); break; \
    case 6: FLOAT_CALL(6); break;
EACH_FLOAT_PLAN(DIRECT_FLOAT)

void bk_float_direct_avx2(DIRECT_ARGS) {
    switch (w->plan) {
        EACH_FLOAT_PLAN(CALL_DIRECT)
    default: break; /* no other plans */
    }
}

/* ---- Panels: many columns ------------------------------------------------------------------------ */

INLINE void expand_float(bk_layout layout, const bk_packed *w, size_t group, float *out) {
    const uint8_t *g = w->data + group * w->group_bytes;
    for (size_t k = 0; k < w->k; k++)
        for (size_t h = 0; h < HALVES; h++)
            _mm256_store_ps(out + k * 16 + h * 8, float_line(layout, g, k, h));
}

void bk_float_expand_avx2(const bk_packed *w, size_t first, size_t n, const bk_panel *panel) {
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

INLINE void tile_float(const float *q, size_t k, const float *x, size_t pitch, size_t cols,
                       __m256 acc[][BK_TILE_COLS]) {
    for (size_t i = 0; i < k; i++) {
        __m256 low = _mm256_load_ps(q + i * 16), high = _mm256_load_ps(q + i * 16 + 8);
        UNROLL for (size_t c = 0; c < cols; c++) {
            __m256 v = _mm256_set1_ps(x[c * pitch + i]);
            acc[0][c] = _mm256_fmadd_ps(v, low, acc[0][c]);
            acc[1][c] = _mm256_fmadd_ps(v, high, acc[1][c]);
        }
    }
}

typedef struct job {
    const bk_packed *w;
    size_t first, n;
    const float *panel, *x;
    size_t pitch;
    float *out;
    size_t ldo;
    bool add;
} job;

/* Columns [c0, c0 + cols) of all groups of the panel. */
INLINE void tile_run(const job *j, size_t c0, size_t cols) {
    size_t k = j->w->k;
    for (size_t g = 0; g < j->n; g++) {
        __m256 acc[HALVES][BK_TILE_COLS];
        UNROLL for (size_t h = 0; h < HALVES; h++) {
            UNROLL for (size_t c = 0; c < cols; c++) { acc[h][c] = _mm256_setzero_ps(); }
        }
        tile_float(j->panel + g * k * 16, k, j->x + c0 * j->pitch, j->pitch, cols, acc);
        UNROLL for (size_t h = 0; h < HALVES; h++) {
            UNROLL for (size_t c = 0; c < cols; c++) {
                store(j->w, j->first + g, h, j->out + (c0 + c) * j->ldo, acc[h][c], j->add);
            }
        }
    }
}

static void tile(const job *j, size_t c0, size_t cols) { WITH_COLS(cols, tile_run, j, c0) }

void bk_float_tiles_avx2(TILES_ARGS) {
    job j = {w, first, n, float_panel(w, first, panel), acts, pitch, out, ldo, add};
    for (size_t done = 0, width; done < cols; done += width) {
        width = bk_strip_cols(cols - done, BK_TILE_COLS);
        tile(&j, done, width);
    }
}
