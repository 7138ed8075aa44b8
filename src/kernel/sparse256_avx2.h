/* Tiles of sparse matrices on 256 bits: a tile is two halves of 8 rows. Included by matmul256_avx2.h for
 * every level of that width; order of operations as in sparse_avx512.c. */
#ifndef BRISK_KERNEL_SPARSE256_AVX2_H
#define BRISK_KERNEL_SPARSE256_AVX2_H

#include "kernel/lines_avx2.h"
#include "kernel/sparse.h"

enum { SPARSE_COLS = 4 }; /* of a direct product at a time */

/* Both nibbles of bytes have sums of their own where there is no VNNI. */
typedef struct tile_sum {
    __m256i v[2];
} tile_sum;

/* A row of activations. */
typedef struct sparse_act {
    const int8_t *q;
    const float *s, *value;
    const int16_t *sums;
    const int32_t *at;
} sparse_act;

INLINE sparse_act sparse_act_at(const void *acts, size_t pitch, size_t c, size_t k) {
    char *row = (char *)(uintptr_t)acts + c * pitch; /* only read */
    bk_act v = bk_act_view(row, k);
    return (sparse_act){v.q, v.s, v.value, bk_sparse_sums(row, k), v.at};
}

INLINE __m256i low_half_bytes(__m256i q) { return _mm256_and_si256(q, _mm256_set1_epi8(15)); }

INLINE __m256i high_half_bytes(__m256i q) { return low_half_bytes(_mm256_srli_epi16(q, 4)); }

/* ---- Sums: 32 bits with VNNI, else 16 bits that hold those of a block ------------------------------ */

INLINE tile_sum sum_start(int32_t start) {
#ifdef DPBUSD
    return (tile_sum){{_mm256_set1_epi32(start), _mm256_setzero_si256()}};
#else
    (void)start;
    return (tile_sum){{_mm256_setzero_si256(), _mm256_setzero_si256()}};
#endif
}

INLINE void sum_add(int bits, tile_sum *s, __m256i w, __m256i a) {
#ifdef DPBUSD
    (void)bits;
    s->v[0] = DPBUSD(s->v[0], w, a);
#else
    if (bits == 4) {
        s->v[0] = _mm256_add_epi16(s->v[0], _mm256_maddubs_epi16(w, a));
        return;
    }
    s->v[0] = _mm256_add_epi16(s->v[0], _mm256_maddubs_epi16(low_half_bytes(w), a));
    s->v[1] = _mm256_add_epi16(s->v[1], _mm256_maddubs_epi16(high_half_bytes(w), a));
#endif
}

INLINE __m256i sum_end(int bits, const tile_sum *s, int32_t start) {
#ifdef DPBUSD
    (void)bits, (void)start;
    return s->v[0];
#else
    __m256i all = _mm256_madd_epi16(s->v[0], _mm256_set1_epi16(1));
    if (bits == 8) all = _mm256_add_epi32(all, _mm256_madd_epi16(s->v[1], _mm256_set1_epi16(16)));
    return _mm256_add_epi32(all, _mm256_set1_epi32(start));
#endif
}

/* ---- What both kinds of product need ---------------------------------------------------------------- */

/* Where the dots of a chunk's blocks begin (sparse.h). */
static void sparse_starts(int bits, const uint8_t *index, size_t chunk, const sparse_act *x,
                          size_t cols, int32_t starts[][BK_CHUNK_BLOCKS]) {
    const __m128i bytes = _mm_loadu_si128((const __m128i *)(const void *)index);
    __m256i there[BK_BLOCK_TILES];
    for (int j = 0; j < BK_BLOCK_TILES; j++) {
        __m128i bit = _mm_set1_epi8((char)(1 << j));
        there[j] = _mm256_cvtepi8_epi16(_mm_cmpeq_epi8(_mm_and_si128(bytes, bit), bit));
    }
    for (size_t c = 0; c < cols; c++) {
        const int16_t *from = x[c].sums + chunk * BK_BLOCK_TILES * BK_CHUNK_BLOCKS;
        __m256i sum = _mm256_setzero_si256();
        for (int j = 0; j < BK_BLOCK_TILES; j++) {
            __m256i v = load((const uint8_t *)(from + j * BK_CHUNK_BLOCKS));
            sum = _mm256_add_epi16(sum, _mm256_and_si256(v, there[j]));
        }
        for (int h = 0; h < 2; h++) {
            __m128i part = h ? _mm256_extracti128_si256(sum, 1) : _mm256_castsi256_si128(sum);
            __m256i wide = _mm256_slli_epi32(_mm256_cvtepi16_epi32(part), bits == 4 ? 3 : 7);
            _mm256_storeu_si256((__m256i *)(void *)(starts[c] + 8 * h),
                                _mm256_sub_epi32(_mm256_setzero_si256(), wide));
        }
    }
}

/* acc += an absent block: 0 * s * d. */
INLINE void sparse_absent(float no_scale, const sparse_act *x, size_t cols, size_t b,
                          __m256 acc[HALVES][BK_TILE_COLS]) {
    UNROLL for (size_t c = 0; c < cols; c++) {
        UNROLL for (size_t h = 0; h < HALVES; h++) {
            acc[h][c] =
                scaled(_mm256_setzero_si256(), x[c].s[b], _mm256_set1_ps(no_scale), acc[h][c]);
        }
    }
}

/* Channel k of a group, for the 8 rows of a half. */
static __m256 sparse_channel(const bk_packed *w, const bk_strip *s, size_t k, size_t half) {
    size_t b = k / 32, j = k % 32 / 4, chunk = b / BK_CHUNK_BLOCKS;
    bk_sparse_at at = s->at[chunk];
    if (!(s->index[b] >> j & 1)) return _mm256_setzero_ps();
    for (size_t i = chunk * BK_CHUNK_BLOCKS; i < b; i++) {
        at.scales += s->index[i] != 0;
        at.values += (uint32_t)(bk_tiles_lines(w, s->index[i]) * BK_LINE);
    }
    size_t n = (size_t)__builtin_popcount(s->index[b] & ((1u << j) - 1)), byte = k % 4 * 8;
    bool four = w->plan == BK_PLAN_TILES_4;
    __m256i q = load(s->values + at.values + (four ? n / 2 : n) * BK_LINE + 32 * half);
    q = _mm256_srl_epi32(q, _mm_cvtsi32_si128((int)(byte + (four && n % 2 ? 4 : 0))));
    q = _mm256_and_si256(q, _mm256_set1_epi32(four ? 15 : 255));
    return weight(q, w->type->zero, load_f16(s->d, at.scales, half), _mm256_setzero_ps());
}

/* The exact channels, and out to `out` and on. */
static void sparse_end(const bk_packed *w, size_t group, const bk_strip *s, const sparse_act *x,
                       size_t cols, __m256 acc[HALVES][BK_TILE_COLS], float *out, size_t ldo,
                       bool add) {
    for (size_t c = 0; c < cols; c++) {
        for (size_t h = 0; h < HALVES; h++) {
            __m256 y = acc[h][c];
            for (int e = 0; e < BK_ACT_EXACT; e++)
                y = _mm256_fmadd_ps(_mm256_set1_ps(x[c].value[e]),
                                    sparse_channel(w, s, (size_t)x[c].at[e], h), y);
            store(w, group, h, out + c * ldo, y, add);
        }
    }
}

/* ---- Direct ---------------------------------------------------------------------------------------- */

/* Adds the tiles of a block; *line moves past it. */
INLINE void sparse_block_dots(int bits, unsigned index, const uint8_t **line, const sparse_act *x,
                              size_t cols, size_t b, tile_sum sum[HALVES][SPARSE_COLS]) {
    unsigned left =
        index | 256; /* a last tile that an odd number of them may name: its nibbles are 0 */
    for (; left & 255; *line += BK_LINE) {
        size_t j = 4 * (size_t)__builtin_ctz(left), i = 0;
        left &= left - 1;
        if (bits == 4) {
            i = 4 * (size_t)__builtin_ctz(left);
            left &= left - 1;
        }
        UNROLL for (size_t h = 0; h < HALVES; h++) {
            const __m256i v = load(*line + 32 * h);
            UNROLL for (size_t c = 0; c < cols; c++) {
                const int8_t *a = x[c].q + 32 * b;
                if (bits == 8) {
                    sum_add(bits, &sum[h][c], v, broadcast(a + j));
                } else {
                    sum_add(bits, &sum[h][c], low_half_bytes(v), broadcast(a + j));
                    sum_add(bits, &sum[h][c], high_half_bytes(v), broadcast(a + i));
                }
            }
        }
    }
}

INLINE void sparse_direct_cols(int bits, const bk_packed *w, size_t first, size_t n,
                               const void *acts, size_t pitch, size_t cols, float *out, size_t ldo,
                               bool add) {
    const float no_scale = bk_sparse_no_scale(w);
    int32_t starts[SPARSE_COLS][BK_CHUNK_BLOCKS];
    sparse_act x[SPARSE_COLS];
    UNROLL for (size_t c = 0; c < cols; c++) { x[c] = sparse_act_at(acts, pitch, c, w->k); }
    for (size_t g = first; g < first + n; g++) {
        bk_strip s = bk_strip_view(w, g);
        const uint8_t *line = s.values, *d = s.d;
        __m256 acc[HALVES][BK_TILE_COLS], y[HALVES][BK_TILE_COLS];
        UNROLL for (size_t c = 0; c < cols; c++) { acc[0][c] = acc[1][c] = _mm256_setzero_ps(); }
        for (size_t b = 0; b < w->k / 32; b++) {
            size_t i = b % BK_CHUNK_BLOCKS;
            if (i == 0) sparse_starts(bits, s.index + b, b / BK_CHUNK_BLOCKS, x, cols, starts);
            if (!s.index[b]) {
                sparse_absent(no_scale, x, cols, b, acc);
                continue;
            }
            tile_sum sum[HALVES][SPARSE_COLS];
            UNROLL for (size_t c = 0; c < cols; c++) {
                sum[0][c] = sum[1][c] = sum_start(starts[c][i]);
            }
            sparse_block_dots(bits, s.index[b], &line, x, cols, b, sum);
            UNROLL for (size_t c = 0; c < cols; c++) {
                UNROLL for (size_t h = 0; h < HALVES; h++) {
                    acc[h][c] = scaled(sum_end(bits, &sum[h][c], starts[c][i]), x[c].s[b],
                                       load_f16(d, 0, h), acc[h][c]);
                }
            }
            d += 32;
        }
        UNROLL for (size_t c = 0; c < cols; c++) { y[0][c] = acc[0][c], y[1][c] = acc[1][c]; }
        sparse_end(w, g, &s, x, cols, y, out, ldo, add);
    }
}

#define SPARSE_CALL(COLS) sparse_direct_cols(bits, w, first, n, acts, pitch, COLS, out, ldo, add)
#define SPARSE_DIRECT(BITS)                                                      \
    static void sparse_direct_##BITS(DIRECT_ARGS) {                              \
        const int bits = BITS;                                                   \
        if (cols > SPARSE_COLS) {                                                \
            size_t half = cols / 2;                                              \
            sparse_direct_##BITS(w, first, n, acts, pitch, half, out, ldo, add); \
            acts = (const char *)acts + half * pitch;                            \
            out += half * ldo;                                                   \
            cols -= half;                                                        \
        }                                                                        \
        switch (cols) {                                                          \
        case 1: SPARSE_CALL(1); break;                                           \
        case 2: SPARSE_CALL(2); break;                                           \
        case 3: SPARSE_CALL(3); break;                                           \
        default: SPARSE_CALL(4); break;                                          \
        }                                                                        \
    }
SPARSE_DIRECT(4)
SPARSE_DIRECT(8)

/* ---- Panels ---------------------------------------------------------------------------------------- */

/* The tiles that are there as lines of bytes, and the scales of the blocks that are. */
static void sparse_expand(const bk_packed *w, size_t first, size_t n, const bk_panel *panel) {
    for (size_t g = 0; g < n; g++) {
        bk_strip s = bk_strip_view(w, first + g);
        bk_sparse_at all = s.at[bk_sparse_chunks(w->k)];
        uint8_t *q = panel->q + g * w->k * 16;
        float *d = panel->d + g * w->k / 32 * 16;
        for (size_t i = 0; i < 2 * all.scales; i++)
            _mm256_store_ps(d + 8 * i, load_f16(s.d, i / 2, i % 2));
        if (w->plan == BK_PLAN_TILES_8) {
            memcpy(q, s.values, all.values);
            continue;
        }
        for (size_t b = 0; b < w->k / 32; b++) {
            for (int left = __builtin_popcount(s.index[b]); left > 0; left -= 2) {
                for (size_t h = 0; h < HALVES; h++) {
                    __m256i v = load(s.values + 32 * h);
                    __m256i *to = (__m256i *)(void *)(q + 32 * h);
                    _mm256_store_si256(to, low_half_bytes(v));
                    if (left > 1) _mm256_store_si256(to + 2, high_half_bytes(v));
                }
                q += left > 1 ? 2 * BK_LINE : BK_LINE;
                s.values += BK_LINE;
            }
        }
    }
}

typedef struct sparse_job {
    const bk_packed *w;
    const bk_panel *panel;
    const void *acts;
    size_t pitch;
    float *out;
    size_t ldo;
    bool add;
} sparse_job;

/* Columns [c0, c0 + cols) of one group, which is g in its panel. */
INLINE void sparse_tile_run(int bits, const sparse_job *j, size_t group, size_t g, size_t c0,
                            size_t cols) {
    const bk_packed *w = j->w;
    const uint8_t *q = j->panel->q + g * w->k * 16;
    const float *d = j->panel->d + g * w->k / 32 * 16, no_scale = bk_sparse_no_scale(w);
    int32_t starts[BK_TILE_COLS][BK_CHUNK_BLOCKS];
    bk_strip s = bk_strip_view(w, group);
    sparse_act x[BK_TILE_COLS];
    __m256 acc[HALVES][BK_TILE_COLS], y[HALVES][BK_TILE_COLS];
    UNROLL for (size_t c = 0; c < cols; c++) {
        x[c] = sparse_act_at(j->acts, j->pitch, c0 + c, w->k);
        acc[0][c] = acc[1][c] = _mm256_setzero_ps();
    }
    for (size_t b = 0; b < w->k / 32; b++) {
        size_t i = b % BK_CHUNK_BLOCKS;
        unsigned left = s.index[b];
        if (i == 0) sparse_starts(bits, s.index + b, b / BK_CHUNK_BLOCKS, x, cols, starts);
        if (!left) {
            sparse_absent(no_scale, x, cols, b, acc);
            continue;
        }
        tile_sum sum[HALVES][BK_TILE_COLS];
        UNROLL for (size_t c = 0; c < cols; c++) {
            sum[0][c] = sum[1][c] = sum_start(starts[c][i]);
        }
        for (; left; left &= left - 1, q += BK_LINE) {
            const __m256i v[HALVES] = {load(q), load(q + 32)};
            size_t k = 32 * b + 4 * (size_t)__builtin_ctz(left);
            UNROLL for (size_t c = 0; c < cols; c++) {
                __m256i a = broadcast(x[c].q + k);
                UNROLL for (size_t h = 0; h < HALVES; h++) { sum_add(bits, &sum[h][c], v[h], a); }
            }
        }
        UNROLL for (size_t c = 0; c < cols; c++) {
            UNROLL for (size_t h = 0; h < HALVES; h++) {
                acc[h][c] = scaled(sum_end(bits, &sum[h][c], starts[c][i]), x[c].s[b],
                                   _mm256_load_ps(d + 8 * h), acc[h][c]);
            }
        }
        d += 16;
    }
    UNROLL for (size_t c = 0; c < cols; c++) { y[0][c] = acc[0][c], y[1][c] = acc[1][c]; }
    sparse_end(w, group, &s, x, cols, y, j->out + c0 * j->ldo, j->ldo, j->add);
}

static void sparse_tile_4(const sparse_job *j, size_t group, size_t g, size_t c0, size_t cols) {
    switch (cols) {
    case 1: sparse_tile_run(4, j, group, g, c0, 1); break;
    case 2: sparse_tile_run(4, j, group, g, c0, 2); break;
    case 3: sparse_tile_run(4, j, group, g, c0, 3); break;
    case 4: sparse_tile_run(4, j, group, g, c0, 4); break;
    case 5: sparse_tile_run(4, j, group, g, c0, 5); break;
    default: sparse_tile_run(4, j, group, g, c0, 6); break;
    }
}

/* In fewer columns: without VNNI they have twice the sums. */
static void sparse_tile_8(const sparse_job *j, size_t group, size_t g, size_t c0, size_t cols) {
    switch (cols) {
    case 1: sparse_tile_run(8, j, group, g, c0, 1); break;
    case 2: sparse_tile_run(8, j, group, g, c0, 2); break;
    default: sparse_tile_run(8, j, group, g, c0, 3); break;
    }
}

static void sparse_tiles(TILES_ARGS) {
    const sparse_job j = {w, panel, acts, pitch, out, ldo, add};
    const bool four = w->plan == BK_PLAN_TILES_4;
    for (size_t done = 0, width; done < cols; done += width) {
        width = bk_strip_cols(cols - done, four ? BK_TILE_COLS : 3);
        for (size_t g = 0; g < n; g++)
            (four ? sparse_tile_4 : sparse_tile_8)(&j, first + g, g, done, width);
    }
}

#endif
