/* Matrix product on 256 bits, for AVX2 and for both encodings of VNNI: a line of 64 bytes is two
 * halves of 8 rows. The file that includes this defines block_dots and tile_dots with its own
 * instructions, and calls matmul256_init. The format is a compile-time constant of every body, so
 * each ends up as straight code. Order of operations: kernel.h. */
#ifndef BRISK_KERNEL_MATMUL256_AVX2_H
#define BRISK_KERNEL_MATMUL256_AVX2_H

#include <immintrin.h>
#include <string.h>

#include "kernel/parts.h"

#define INLINE static inline __attribute__((always_inline))
#define UNROLL _Pragma("GCC unroll 16")

/* PREFETCH: how far ahead the weight stream is asked for. */
enum { HALVES = 2, PREFETCH = 4096 };

/* ---- What a format is: its lines, its scales ---------------------------------------------------- */

typedef struct fmt {
    bk_type type;
    bk_layout layout;
    int zero, zero_shift, sub;
    bool has_min;
    size_t lines; /* per 32 k */
} fmt;

INLINE fmt fmt_of(bk_type type) {
    switch (type) {
    case BK_TYPE_Q4_0: return (fmt){type, BK_LAYOUT_N4, 8, 3, 32, false, 4};
    case BK_TYPE_Q4_1: return (fmt){type, BK_LAYOUT_N4, 0, 0, 32, true, 4};
    case BK_TYPE_Q5_0: return (fmt){type, BK_LAYOUT_N5, 16, 4, 32, false, 5};
    case BK_TYPE_Q4_K: return (fmt){type, BK_LAYOUT_N4, 0, 0, 32, true, 4};
    case BK_TYPE_Q6_K: return (fmt){type, BK_LAYOUT_N6, 32, 5, 16, false, 6};
    default: return (fmt){type, BK_LAYOUT_B8, 128, 7, 32, false, 8};
    }
}

/* ---- To be defined with the instructions of a level ---------------------------------------------- */

/* sum[i] += dots of 8 rows with one column: q holds the 8 byte lines of the half of a block, a its
 * 32 quants. With sub 16 sum[0] takes k 0..15 and sum[1] k 16..31, otherwise sum[0] takes all. */
static inline void block_dots(fmt f, const __m256i q[8], const int8_t *a, __m256i sum[2]);

/* sum[half][c] += dots of 16 rows with `cols` columns over n_lines byte lines at q; the quants of
 * column c begin at x[c].q + at. */
static inline void tile_dots(fmt f, const uint8_t *q, size_t n_lines, const bk_act *x, size_t at,
                             size_t cols, __m256i sum[][BK_TILE_COLS]);

/* ---- Loads ---------------------------------------------------------------------------------------- */

INLINE __m256i load(const uint8_t *p) {
    return _mm256_loadu_si256((const __m256i *)(const void *)p);
}

/* Entry i of an array over 16 rows, the 8 of one half. */
INLINE __m256 load_f16(const uint8_t *array, size_t i, size_t half) {
    return _mm256_cvtph_ps(
        _mm_loadu_si128((const __m128i *)(const void *)(array + i * 32 + half * 16)));
}

INLINE __m256 load_u8(const uint8_t *array, size_t i, size_t half) {
    __m128i v = _mm_loadl_epi64((const __m128i *)(const void *)(array + i * 16 + half * 8));
    return _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(v));
}

INLINE __m256 load_i8(const uint8_t *array, size_t i, size_t half) {
    __m128i v = _mm_loadl_epi64((const __m128i *)(const void *)(array + i * 16 + half * 8));
    return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(v));
}

/* Four activations for all rows. */
INLINE __m256i broadcast(const int8_t *p) {
    int32_t v;
    memcpy(&v, p, 4);
    return _mm256_set1_epi32(v);
}

/* The 8 byte lines of one half of a block. */
INLINE void byte_lines(fmt f, const uint8_t *p, size_t half, __m256i q[8]) {
    const __m256i low = _mm256_set1_epi8(15);
    p += 32 * half;
    if (f.layout == BK_LAYOUT_B8) {
        UNROLL for (int j = 0; j < 8; j++) q[j] = load(p + 64 * j);
        return;
    }
    UNROLL for (int j = 0; j < 4; j++) {
        __m256i x = load(p + 64 * j);
        q[j] = _mm256_and_si256(x, low);
        q[j + 4] = _mm256_and_si256(_mm256_srli_epi16(x, 4), low);
    }
    if (f.layout == BK_LAYOUT_N5) {
        const __m256i bit = _mm256_set1_epi8(16);
        __m256i h = load(p + 256);
        UNROLL for (int j = 0; j < 8; j++) {
            __m256i x = j < 4 ? _mm256_slli_epi16(h, 4 - j) : _mm256_srli_epi16(h, j - 4);
            q[j] = _mm256_or_si256(q[j], _mm256_and_si256(x, bit));
        }
    }
    if (f.layout == BK_LAYOUT_N6) {
        const __m256i pair = _mm256_set1_epi8(48);
        UNROLL for (int j = 0; j < 8; j++) {
            __m256i h = load(p + 256 + 64 * (j / 4));
            int s = j % 4 * 2;
            __m256i x = s < 4 ? _mm256_slli_epi16(h, 4 - s) : _mm256_srli_epi16(h, s - 4);
            q[j] = _mm256_or_si256(q[j], _mm256_and_si256(x, pair));
        }
    }
}

/* The arrays at the head of a group (packed.h), nb = k / 32; part: the scale within the block. */
INLINE __m256 block_d(fmt f, const uint8_t *g, size_t nb, size_t b, size_t part, size_t half) {
    switch (f.type) {
    case BK_TYPE_Q4_1: return load_f16(g + nb * 32, b, half);
    case BK_TYPE_Q4_K:
        return _mm256_mul_ps(load_f16(g + nb / 8 * 32, b / 8, half),
                             load_u8(g + nb / 8 * 64 + nb * 16, b, half));
    case BK_TYPE_Q6_K:
        return _mm256_mul_ps(load_f16(g, b / 8, half),
                             load_i8(g + nb / 8 * 32, 2 * b + part, half));
    default: return load_f16(g, b, half);
    }
}

INLINE __m256 block_m(fmt f, const uint8_t *g, size_t nb, size_t b, size_t half) {
    if (f.type == BK_TYPE_Q4_1) return load_f16(g, b, half);
    __m256 m = _mm256_mul_ps(load_f16(g, b / 8, half), load_u8(g + nb / 8 * 64, b, half));
    return _mm256_sub_ps(_mm256_set1_ps(-0.0f), m);
}

/* Weights of channel `at` of a block from its byte line: exact, as floats. */
INLINE __m256 channel(__m256i line, size_t at, int zero, __m256 d, __m256 m) {
    __m256i x = _mm256_srl_epi32(line, _mm_cvtsi32_si128((int)(at % 4) * 8));
    x = _mm256_sub_epi32(_mm256_and_si256(x, _mm256_set1_epi32(255)), _mm256_set1_epi32(zero));
    return _mm256_fmadd_ps(d, _mm256_cvtepi32_ps(x), m);
}

/* 8 outputs of a group's half; rows past the last are left alone. */
INLINE void store(const bk_packed *w, size_t group, size_t half, float *column, __m256 y,
                  bool add) {
    size_t row = group * BK_GROUP_ROWS + half * 8;
    float *o = column + row;
    if (row + 8 <= w->n_rows) {
        _mm256_storeu_ps(o, add ? _mm256_add_ps(_mm256_loadu_ps(o), y) : y);
    } else if (row < w->n_rows) {
        __m256i rows = _mm256_cmpgt_epi32(_mm256_set1_epi32((int)(w->n_rows - row)),
                                          _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
        if (add) y = _mm256_add_ps(_mm256_maskload_ps(o, rows), y);
        _mm256_maskstore_ps(o, rows, y);
    }
}

INLINE bk_act act_at(const void *acts, size_t pitch, size_t c, size_t k) {
    return bk_act_view((char *)(uintptr_t)acts + c * pitch, k); /* read only here */
}

/* Where a dot begins so that q counts as q - zero. */
INLINE __m256i zero_start(fmt f, int32_t nsum) {
    if (f.zero == 0) return _mm256_setzero_si256();
    return _mm256_slli_epi32(_mm256_set1_epi32(nsum), f.zero_shift);
}

/* acc += sum * s * d */
INLINE __m256 scaled(__m256i sum, float s, __m256 d, __m256 acc) {
    return _mm256_fmadd_ps(_mm256_mul_ps(_mm256_cvtepi32_ps(sum), _mm256_set1_ps(s)), d, acc);
}

/* ---- Direct: few columns, each line unpacked once ------------------------------------------------ */

/* One half of a block times all columns. */
INLINE void direct_block(fmt f, const uint8_t *g, const uint8_t *lines, size_t nb, size_t b,
                         size_t half, const bk_act *x, size_t cols, __m256 acc[]) {
    __m256i q[8];
    byte_lines(f, lines + b * f.lines * 64, half, q);
    __m256 d0 = block_d(f, g, nb, b, 0, half);
    __m256 d1 = f.sub == 16 ? block_d(f, g, nb, b, 1, half) : d0;
    UNROLL for (size_t c = 0; c < cols; c++) {
        __m256i sum[2];
        int32_t nsum = x[c].nsum[b], nsum0 = f.sub == 16 ? x[c].nsum0[b] : nsum;
        sum[0] = zero_start(f, nsum0);
        sum[1] = zero_start(f, nsum - nsum0);
        block_dots(f, q, x[c].q + 32 * b, sum);
        acc[c] = scaled(sum[0], x[c].s[b], d0, acc[c]);
        if (f.sub == 16) acc[c] = scaled(sum[1], x[c].s[b], d1, acc[c]);
    }
}

/* The exact channels of one column, straight from the packed block. */
INLINE __m256 direct_exact(fmt f, const uint8_t *g, const uint8_t *lines, size_t nb, size_t half,
                           const bk_act *x, __m256 acc) {
    for (int e = 0; e < BK_ACT_EXACT; e++) {
        size_t k = (size_t)x->at[e], b = k / 32, at = k % 32;
        __m256i q[8];
        byte_lines(f, lines + b * f.lines * 64, half, q);
        __m256 d = block_d(f, g, nb, b, at >= 16, half);
        __m256 m = f.has_min ? block_m(f, g, nb, b, half) : _mm256_setzero_ps();
        acc = _mm256_fmadd_ps(_mm256_set1_ps(x->value[e]), channel(q[at / 4], at, f.zero, d, m),
                              acc);
    }
    return acc;
}

INLINE void direct_group(fmt f, const bk_packed *w, size_t group, const bk_act *x, size_t cols,
                         __m256 acc[HALVES][BK_DIRECT_COLS]) {
    size_t nb = w->k / 32;
    const uint8_t *g = w->data + group * w->group_bytes, *lines = g + w->scale_bytes;
    UNROLL for (size_t h = 0; h < HALVES; h++)
        UNROLL for (size_t c = 0; c < cols; c++) acc[h][c] = _mm256_setzero_ps();
    for (size_t b = 0; f.has_min && b < nb; b++) {
        UNROLL for (size_t h = 0; h < HALVES; h++) {
            __m256 m = block_m(f, g, nb, b, h);
            UNROLL for (size_t c = 0; c < cols; c++)
                acc[h][c] = _mm256_fmadd_ps(_mm256_set1_ps(x[c].a[b]), m, acc[h][c]);
        }
    }
    for (size_t b = 0; b < nb; b++) {
        UNROLL for (size_t j = 0; j < f.lines; j++)
            _mm_prefetch((const char *)lines + (b * f.lines + j) * 64 + PREFETCH, _MM_HINT_T0);
        UNROLL for (size_t h = 0; h < HALVES; h++)
            direct_block(f, g, lines, nb, b, h, x, cols, acc[h]);
    }
    UNROLL for (size_t h = 0; h < HALVES; h++)
        UNROLL for (size_t c = 0; c < cols; c++)
            acc[h][c] = direct_exact(f, g, lines, nb, h, &x[c], acc[h][c]);
}

INLINE void direct_cols(fmt f, const bk_packed *w, size_t first, size_t n, const void *acts,
                        size_t pitch, size_t cols, float *out, size_t ldo, bool add) {
    bk_act x[BK_DIRECT_COLS];
    UNROLL for (size_t c = 0; c < cols; c++) x[c] = act_at(acts, pitch, c, w->k);
    for (size_t i = first; i < first + n; i++) {
        __m256 acc[HALVES][BK_DIRECT_COLS];
        direct_group(f, w, i, x, cols, acc);
        UNROLL for (size_t h = 0; h < HALVES; h++)
            UNROLL for (size_t c = 0; c < cols; c++)
                store(w, i, h, out + c * ldo, acc[h][c], add);
    }
}

#define DIRECT(name, T)                                                                           \
    static void name(const bk_packed *w, size_t first, size_t n, const void *acts, size_t pitch,  \
                     size_t cols, float *out, size_t ldo, bool add) {                             \
        const fmt f = fmt_of(T);                                                                  \
        switch (cols) {                                                                           \
        case 1: direct_cols(f, w, first, n, acts, pitch, 1, out, ldo, add); break;                \
        case 2: direct_cols(f, w, first, n, acts, pitch, 2, out, ldo, add); break;                \
        case 3: direct_cols(f, w, first, n, acts, pitch, 3, out, ldo, add); break;                \
        default: direct_cols(f, w, first, n, acts, pitch, 4, out, ldo, add); break;               \
        }                                                                                         \
    }
DIRECT(direct_q4_0, BK_TYPE_Q4_0)
DIRECT(direct_q4_1, BK_TYPE_Q4_1)
DIRECT(direct_q5_0, BK_TYPE_Q5_0)
DIRECT(direct_q8_0, BK_TYPE_Q8_0)
DIRECT(direct_q4_k, BK_TYPE_Q4_K)
DIRECT(direct_q6_k, BK_TYPE_Q6_K)

/* ---- Float weights ------------------------------------------------------------------------------- */

INLINE __m256 float_line(bk_type type, const uint8_t *g, size_t k, size_t half) {
    if (type == BK_TYPE_F32)
        return _mm256_loadu_ps((const float *)(const void *)g + k * 16 + half * 8);
    if (type == BK_TYPE_F16) return load_f16(g, k, half);
    __m128i h = _mm_loadu_si128((const __m128i *)(const void *)(g + k * 32 + half * 16));
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(h), 16));
}

/* n groups at once: enough independent chains to hide the latency of one sum per row. */
INLINE void float_groups(bk_type type, const bk_packed *w, size_t first, size_t n, const float *x,
                         size_t pitch, size_t cols, float *out, size_t ldo, bool add) {
    __m256 acc[4 * HALVES][BK_DIRECT_COLS];
    UNROLL for (size_t v = 0; v < n * HALVES; v++)
        UNROLL for (size_t c = 0; c < cols; c++) acc[v][c] = _mm256_setzero_ps();
    for (size_t k = 0; k < w->k; k++) {
        UNROLL for (size_t v = 0; v < n * HALVES; v++) {
            __m256 line = float_line(type, w->data + (first + v / 2) * w->group_bytes, k, v % 2);
            UNROLL for (size_t c = 0; c < cols; c++)
                acc[v][c] = _mm256_fmadd_ps(_mm256_set1_ps(x[c * pitch + k]), line, acc[v][c]);
        }
    }
    UNROLL for (size_t v = 0; v < n * HALVES; v++)
        UNROLL for (size_t c = 0; c < cols; c++)
            store(w, first + v / 2, v % 2, out + c * ldo, acc[v][c], add);
}

INLINE void float_cols(bk_type type, const bk_packed *w, size_t first, size_t n, const float *x,
                       size_t pitch, size_t cols, float *out, size_t ldo, bool add) {
    const size_t most = cols == 1 ? 4 : cols == 2 ? 2 : 1; /* 8 sums in registers */
    size_t i = 0;
    for (; i + most <= n; i += most)
        float_groups(type, w, first + i, most, x, pitch, cols, out, ldo, add);
    for (; i < n; i++) float_groups(type, w, first + i, 1, x, pitch, cols, out, ldo, add);
}

#define DIRECT_FLOAT(name, T)                                                                     \
    static void name(const bk_packed *w, size_t first, size_t n, const float *x, size_t pitch,    \
                     size_t cols, float *out, size_t ldo, bool add) {                             \
        switch (cols) {                                                                           \
        case 1: float_cols(T, w, first, n, x, pitch, 1, out, ldo, add); break;                    \
        case 2: float_cols(T, w, first, n, x, pitch, 2, out, ldo, add); break;                    \
        case 3: float_cols(T, w, first, n, x, pitch, 3, out, ldo, add); break;                    \
        default: float_cols(T, w, first, n, x, pitch, 4, out, ldo, add); break;                   \
        }                                                                                         \
    }
DIRECT_FLOAT(direct_f32, BK_TYPE_F32)
DIRECT_FLOAT(direct_f16, BK_TYPE_F16)
DIRECT_FLOAT(direct_bf16, BK_TYPE_BF16)

static void direct(const bk_packed *w, size_t first, size_t n, const void *acts, size_t pitch,
                   size_t cols, float *out, size_t ldo, bool add) {
    switch (w->type->type) {
    case BK_TYPE_F32: direct_f32(w, first, n, acts, pitch, cols, out, ldo, add); break;
    case BK_TYPE_F16: direct_f16(w, first, n, acts, pitch, cols, out, ldo, add); break;
    case BK_TYPE_BF16: direct_bf16(w, first, n, acts, pitch, cols, out, ldo, add); break;
    case BK_TYPE_Q4_0: direct_q4_0(w, first, n, acts, pitch, cols, out, ldo, add); break;
    case BK_TYPE_Q4_1: direct_q4_1(w, first, n, acts, pitch, cols, out, ldo, add); break;
    case BK_TYPE_Q5_0: direct_q5_0(w, first, n, acts, pitch, cols, out, ldo, add); break;
    case BK_TYPE_Q8_0: direct_q8_0(w, first, n, acts, pitch, cols, out, ldo, add); break;
    case BK_TYPE_Q4_K: direct_q4_k(w, first, n, acts, pitch, cols, out, ldo, add); break;
    case BK_TYPE_Q6_K: direct_q6_k(w, first, n, acts, pitch, cols, out, ldo, add); break;
    }
}

/* ---- Panels: many columns ------------------------------------------------------------------------ */

INLINE void expand_group(fmt f, const bk_packed *w, size_t group, uint8_t *out, float *d,
                         float *m) {
    size_t nb = w->k / 32;
    const uint8_t *g = w->data + group * w->group_bytes, *lines = g + w->scale_bytes;
    for (size_t b = 0; b < nb; b++) {
        UNROLL for (size_t h = 0; h < HALVES; h++) {
            __m256i q[8];
            byte_lines(f, lines + b * f.lines * 64, h, q);
            UNROLL for (size_t j = 0; j < 8; j++)
                _mm256_store_si256((__m256i *)(void *)(out + (b * 8 + j) * 64 + h * 32), q[j]);
            for (size_t part = 0; part < 32 / (size_t)f.sub; part++)
                _mm256_store_ps(d + (b * 32 / (size_t)f.sub + part) * 16 + h * 8,
                                block_d(f, g, nb, b, part, h));
            if (f.has_min) _mm256_store_ps(m + b * 16 + h * 8, block_m(f, g, nb, b, h));
        }
    }
}

INLINE void expand_float(bk_type type, const bk_packed *w, size_t group, float *out) {
    const uint8_t *g = w->data + group * w->group_bytes;
    for (size_t k = 0; k < w->k; k++)
        for (size_t h = 0; h < HALVES; h++)
            _mm256_store_ps(out + k * 16 + h * 8, float_line(type, g, k, h));
}

static void expand(const bk_packed *w, size_t first, size_t n, const bk_panel *panel) {
    size_t nb = w->k / 32, nd = w->type->sub == 16 ? 2 * nb : nb;
    for (size_t i = 0; i < n; i++) {
        uint8_t *q = panel->q + i * w->k * 16;
        float *x = (float *)(void *)panel->q + i * w->k * 16;
        float *d = panel->d + i * nd * 16, *m = panel->m + i * nb * 16;
        size_t g = first + i;
        switch (w->type->type) {
        case BK_TYPE_F32: expand_float(BK_TYPE_F32, w, g, x); break;
        case BK_TYPE_F16: expand_float(BK_TYPE_F16, w, g, x); break;
        case BK_TYPE_BF16: expand_float(BK_TYPE_BF16, w, g, x); break;
        case BK_TYPE_Q4_0: expand_group(fmt_of(BK_TYPE_Q4_0), w, g, q, d, m); break;
        case BK_TYPE_Q4_1: expand_group(fmt_of(BK_TYPE_Q4_1), w, g, q, d, m); break;
        case BK_TYPE_Q5_0: expand_group(fmt_of(BK_TYPE_Q5_0), w, g, q, d, m); break;
        case BK_TYPE_Q8_0: expand_group(fmt_of(BK_TYPE_Q8_0), w, g, q, d, m); break;
        case BK_TYPE_Q4_K: expand_group(fmt_of(BK_TYPE_Q4_K), w, g, q, d, m); break;
        case BK_TYPE_Q6_K: expand_group(fmt_of(BK_TYPE_Q6_K), w, g, q, d, m); break;
        }
    }
}

/* A strip of columns times one group of a panel. */
typedef struct tile {
    const uint8_t *q;
    const float *d, *m;
    size_t nb;
} tile;

/* One scale's worth of k (n_lines lines from line `l`): all dots of the tile, then the floats. */
INLINE void tile_scale(fmt f, const tile *t, const bk_act *x, size_t cols, size_t b, size_t l,
                       size_t n_lines, const float *d, __m256 acc[][BK_TILE_COLS]) {
    __m256i sum[HALVES][BK_TILE_COLS];
    UNROLL for (size_t c = 0; c < cols; c++) {
        int32_t nsum = n_lines == 8 ? x[c].nsum[b]
                       : l == 0     ? x[c].nsum0[b]
                                    : x[c].nsum[b] - x[c].nsum0[b];
        sum[0][c] = sum[1][c] = zero_start(f, nsum);
    }
    tile_dots(f, t->q + (b * 8 + l) * 64, n_lines, x, 32 * b + 4 * l, cols, sum);
    UNROLL for (size_t c = 0; c < cols; c++) {
        UNROLL for (size_t h = 0; h < HALVES; h++)
            acc[h][c] = scaled(sum[h][c], x[c].s[b], _mm256_load_ps(d + h * 8), acc[h][c]);
    }
}

INLINE void tile_exact(fmt f, const tile *t, const bk_act *x, size_t cols,
                       __m256 acc[][BK_TILE_COLS]) {
    UNROLL for (size_t c = 0; c < cols; c++) {
        for (int e = 0; e < BK_ACT_EXACT; e++) {
            size_t k = (size_t)x[c].at[e];
            UNROLL for (size_t h = 0; h < HALVES; h++) {
                __m256 d = _mm256_load_ps(t->d + k / (size_t)f.sub * 16 + h * 8);
                __m256 m = f.has_min ? _mm256_load_ps(t->m + k / 32 * 16 + h * 8)
                                     : _mm256_setzero_ps();
                __m256 w = channel(load(t->q + k / 4 * 64 + h * 32), k, f.zero, d, m);
                acc[h][c] = _mm256_fmadd_ps(_mm256_set1_ps(x[c].value[e]), w, acc[h][c]);
            }
        }
    }
}

INLINE void tile_int(fmt f, const tile *t, const bk_act *x, size_t cols,
                     __m256 acc[][BK_TILE_COLS]) {
    for (size_t b = 0; f.has_min && b < t->nb; b++) {
        UNROLL for (size_t h = 0; h < HALVES; h++) {
            __m256 m = _mm256_load_ps(t->m + b * 16 + h * 8);
            UNROLL for (size_t c = 0; c < cols; c++)
                acc[h][c] = _mm256_fmadd_ps(_mm256_set1_ps(x[c].a[b]), m, acc[h][c]);
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
    tile_exact(f, t, x, cols, acc);
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
    const bk_panel *panel;
    const void *acts;
    size_t pitch;
    float *out;
    size_t ldo;
    bool add;
} job;

/* Columns [c0, c0 + cols) of all groups of the panel. Formats without sub are floats. */
INLINE void tile_run(fmt f, const job *j, size_t c0, size_t cols) {
    size_t k = j->w->k, nb = k / 32, nd = f.sub == 16 ? 2 * nb : nb;
    bk_act x[BK_TILE_COLS];
    if (f.sub) {
        UNROLL for (size_t c = 0; c < cols; c++) x[c] = act_at(j->acts, j->pitch, c0 + c, k);
    }
    for (size_t g = 0; g < j->n; g++) {
        __m256 acc[HALVES][BK_TILE_COLS];
        UNROLL for (size_t h = 0; h < HALVES; h++)
            UNROLL for (size_t c = 0; c < cols; c++) acc[h][c] = _mm256_setzero_ps();
        if (f.sub) {
            tile t = {j->panel->q + g * k * 16, j->panel->d + g * nd * 16,
                      j->panel->m + g * nb * 16, nb};
            tile_int(f, &t, x, cols, acc);
        } else {
            tile_float((const float *)(const void *)j->panel->q + g * k * 16, k,
                       (const float *)j->acts + c0 * j->pitch, j->pitch, cols, acc);
        }
        UNROLL for (size_t h = 0; h < HALVES; h++)
            UNROLL for (size_t c = 0; c < cols; c++)
                store(j->w, j->first + g, h, j->out + (c0 + c) * j->ldo, acc[h][c], j->add);
    }
}

#define TILE(name, F)                                                                             \
    static void name(const job *j, size_t c0, size_t cols) {                                      \
        const fmt f = F;                                                                          \
        switch (cols) {                                                                           \
        case 1: tile_run(f, j, c0, 1); break;                                                     \
        case 2: tile_run(f, j, c0, 2); break;                                                     \
        case 3: tile_run(f, j, c0, 3); break;                                                     \
        case 4: tile_run(f, j, c0, 4); break;                                                     \
        case 5: tile_run(f, j, c0, 5); break;                                                     \
        default: tile_run(f, j, c0, 6); break;                                                    \
        }                                                                                         \
    }
TILE(tile_q4_0, fmt_of(BK_TYPE_Q4_0))
TILE(tile_q4_1, fmt_of(BK_TYPE_Q4_1)) /* a panel of Q4_K looks the same */
TILE(tile_q5_0, fmt_of(BK_TYPE_Q5_0))
TILE(tile_q8_0, fmt_of(BK_TYPE_Q8_0))
TILE(tile_q6_k, fmt_of(BK_TYPE_Q6_K))
TILE(tile_floats, (fmt){0})

static void tiles(const bk_packed *w, size_t first, size_t n, const bk_panel *panel,
                  const void *acts, size_t pitch, size_t cols, float *out, size_t ldo, bool add) {
    job j = {w, first, n, panel, acts, pitch, out, ldo, add};
    void (*body)(const job *, size_t, size_t) = tile_floats;
    switch (w->type->type) {
    case BK_TYPE_Q4_0: body = tile_q4_0; break;
    case BK_TYPE_Q4_1:
    case BK_TYPE_Q4_K: body = tile_q4_1; break;
    case BK_TYPE_Q5_0: body = tile_q5_0; break;
    case BK_TYPE_Q8_0: body = tile_q8_0; break;
    case BK_TYPE_Q6_K: body = tile_q6_k; break;
    default: break;
    }
    /* Strips of nearly equal width: 13 columns go as 5 + 4 + 4, not as 6 + 6 + 1. */
    size_t strips = bk_div_up(cols, BK_TILE_COLS), done = 0;
    for (size_t i = 0; i < strips; i++) {
        size_t width = (cols - done + (strips - i) - 1) / (strips - i);
        body(&j, done, width);
        done += width;
    }
}

static inline void matmul256_init(bk_kernels *k) {
    k->direct = direct;
    k->expand = expand;
    k->tiles = tiles;
}

#endif
