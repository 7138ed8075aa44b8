/* Tiles of sparse matrices on 256 bits: a tile is two halves of 8 rows. A file includes this for each
 * level, with DPBUSD and TILES_OF defined as for matmul256_avx2.h; order of operations as in
 * sparse_avx512.c. */
#ifndef BRISK_KERNEL_SPARSE256_AVX2_H
#define BRISK_KERNEL_SPARSE256_AVX2_H

#include "kernel/lines_avx2.h"
#include "kernel/tiles_avx2.h"

/* Columns of a direct product at a time; sets of columns for which a block's tiles are gone through one
 * set after another (sparse_avx512.c). */
enum { SPARSE_COLS = 4, TILE_SETS = 4, MOST_COLS = TILE_SETS * BK_TILE_COLS };

/* Both nibbles of bytes have sums of their own where there is no VNNI. */
typedef struct tile_sum {
    __m256i v[2];
} tile_sum;

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
static void sparse_starts(int bits, const uint8_t *index, size_t chunk, const tile_act *x,
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

/* Channel k of a group, for the 8 rows of a half. */
static __m256 sparse_channel(const bk_packed *w, const bk_strip *s, size_t k, size_t half) {
    size_t b = k / 32, j = k % 32 / 4;
    if (!(s->index[b] >> j & 1)) return _mm256_setzero_ps();
    bk_sparse_at at = tiles_before(w, s, b);
    size_t n = (size_t)__builtin_popcount(s->index[b] & ((1u << j) - 1)), byte = k % 4 * 8;
    bool four = w->plan == BK_PLAN_TILES_4;
    __m256i q = load(s->values + at.values + (four ? n / 2 : n) * BK_LINE + 32 * half);
    q = _mm256_srl_epi32(q, _mm_cvtsi32_si128((int)(byte + (four && n % 2 ? 4 : 0))));
    q = _mm256_and_si256(q, _mm256_set1_epi32(four ? 15 : 255));
    return weight(q, w->type->zero, load_f16(s->d, at.scales, half), _mm256_setzero_ps());
}

/* The exact channels, and out to `out` and on. */
static void sparse_end(const bk_packed *w, size_t group, const bk_strip *s, const tile_act *x,
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

/* Adds a line, one tile or two at offsets[0] and [1], times the activations of a block at a[c]. `there`:
 * all bits or none. */
INLINE void sparse_line(int bits, const uint8_t *line, __m256i there, const uint8_t *offsets,
                        const int8_t *const a[], size_t cols, tile_sum sum[HALVES][SPARSE_COLS]) {
    const size_t j = offsets[0], i = bits == 4 ? offsets[1] : 0;
    UNROLL for (size_t h = 0; h < HALVES; h++) {
        const __m256i v = _mm256_and_si256(load(line + 32 * h), there);
        UNROLL for (size_t c = 0; c < cols; c++) {
            if (bits == 8) {
                sum_add(bits, &sum[h][c], v, broadcast(a[c] + j));
            } else {
                sum_add(bits, &sum[h][c], low_half_bytes(v), broadcast(a[c] + j));
                sum_add(bits, &sum[h][c], high_half_bytes(v), broadcast(a[c] + i));
            }
        }
    }
}

/* One group. The first `usual` lines of a block are gone through whatever their number, those that there
 * are not as zeros: hardly a branch is guessed wrongly. */
INLINE void sparse_group(int bits, size_t usual, const bk_packed *w, const bk_strip *s,
                         const tile_act *x, size_t cols, __m256 acc[HALVES][BK_TILE_COLS]) {
    const size_t step = bits == 4 ? 2 : 1;
    const __m256i all = _mm256_set1_epi32(-1);
    int32_t starts[SPARSE_COLS][BK_CHUNK_BLOCKS];
    const int8_t *a[SPARSE_COLS];
    const uint8_t *line = s->values, *d = s->d;
    const float no_scale = bk_sparse_no_scale(w);
    UNROLL for (size_t c = 0; c < cols; c++) { acc[0][c] = acc[1][c] = _mm256_setzero_ps(); }
    for (size_t b = 0; b < w->k / 32; b++) {
        unsigned index = s->index[b];
        const uint8_t *offsets = tile_offsets(index);
        size_t i = b % BK_CHUNK_BLOCKS, lines = count_lines(bits, index);
        tile_sum sum[HALVES][SPARSE_COLS];
        if (i == 0) sparse_starts(bits, s->index + b, b / BK_CHUNK_BLOCKS, x, cols, starts);
        UNROLL for (size_t c = 0; c < cols; c++) {
            a[c] = x[c].q + 32 * b;
            sum[0][c] = sum[1][c] = sum_start(starts[c][i]);
        }
        bk_strip_ask(s, b);
        UNROLL for (size_t n = 0; n < usual; n++) {
            __m256i there = _mm256_set1_epi32(0 - (n < lines));
            sparse_line(bits, line + n * BK_LINE, there, offsets + step * n, a, cols, sum);
        }
        for (size_t n = usual; __builtin_expect(n < lines, 0); n++)
            sparse_line(bits, line + n * BK_LINE, all, offsets + step * n, a, cols, sum);
        line += lines * BK_LINE;
        UNROLL for (size_t h = 0; h < HALVES; h++) {
            __m256 scale = index ? load_f16(d, 0, h) : _mm256_set1_ps(no_scale);
            UNROLL for (size_t c = 0; c < cols; c++) {
                acc[h][c] =
                    scaled(sum_end(bits, &sum[h][c], starts[c][i]), x[c].s[b], scale, acc[h][c]);
            }
        }
        d += index ? 32 : 0;
    }
}

#define STEADY(USUAL) \
    case USUAL: sparse_group(bits, USUAL, w, &s, x, cols, acc); break;

INLINE void sparse_direct_cols(int bits, const bk_packed *w, size_t first, size_t n,
                               const void *acts, size_t pitch, size_t cols, float *out, size_t ldo,
                               bool add) {
    tile_act x[SPARSE_COLS];
    UNROLL for (size_t c = 0; c < cols; c++) { x[c] = tile_act_at(acts, pitch, c, w->k); }
    for (size_t g = first; g < first + n; g++) {
        bk_strip s = bk_strip_view(w, g);
        __m256 acc[HALVES][BK_TILE_COLS], y[HALVES][BK_TILE_COLS];
        uint32_t usual = s.at[bk_sparse_chunks(w->k) + 1].values;
        if (bits == 8) usual = usual <= 4 ? 4 : 8;
        switch (usual) {
            STEADY(1)
            STEADY(2)
            STEADY(3)
            STEADY(4)
        default: sparse_group(bits, 8, w, &s, x, cols, acc); break;
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
void TILES_OF(expand)(const bk_packed *w, size_t first, size_t n, const bk_panel *panel) {
    memset(panel->known, 0, bk_div_up(w->k, 64) * sizeof *panel->known);
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
    size_t first, n;
    const bk_panel *panel;
    const void *acts;
    size_t pitch;
    float *out;
    size_t ldo;
    bool add;
} sparse_job;

/* The weights of channel k for group g of the panel, [16]: decoded once for all columns. */
static const float *panel_channel(const sparse_job *j, size_t g, size_t k) {
    float *to = j->panel->exact + k * BK_PANEL_GROUPS * 16;
    if (!bk_panel_knows(j->panel, k)) {
        for (size_t i = 0; i < 2 * j->n; i++) {
            bk_strip s = bk_strip_view(j->w, j->first + i / 2);
            _mm256_store_ps(to + i * 8, sparse_channel(j->w, &s, k, i % 2));
        }
    }
    return to + g * 16;
}

/* A strip of columns, in sets. */
typedef struct strip_cols {
    tile_act x[MOST_COLS];
    int32_t starts[MOST_COLS][BK_CHUNK_BLOCKS];
    __m256 acc[MOST_COLS][HALVES];
} strip_cols;

/* acc += block b, whose tiles are lines from q on, d its scales, for `cols` columns from c0 on. */
INLINE void tile_block(int bits, unsigned index, const uint8_t *q, const __m256 d[HALVES], size_t b,
                       size_t c0, size_t cols, strip_cols *t) {
    const size_t i = b % BK_CHUNK_BLOCKS;
    tile_sum sum[HALVES][BK_TILE_COLS];
    UNROLL for (size_t c = 0; c < cols; c++) {
        sum[0][c] = sum[1][c] = sum_start(t->starts[c0 + c][i]);
    }
    for (unsigned left = index; left; left &= left - 1, q += BK_LINE) {
        const __m256i v[HALVES] = {load(q), load(q + 32)};
        size_t k = 32 * b + 4 * (size_t)__builtin_ctz(left);
        UNROLL for (size_t c = 0; c < cols; c++) {
            __m256i a = broadcast(t->x[c0 + c].q + k);
            UNROLL for (size_t h = 0; h < HALVES; h++) { sum_add(bits, &sum[h][c], v[h], a); }
        }
    }
    UNROLL for (size_t c = 0; c < cols; c++) {
        UNROLL for (size_t h = 0; h < HALVES; h++) {
            __m256i dot = sum_end(bits, &sum[h][c], t->starts[c0 + c][i]);
            t->acc[c0 + c][h] = scaled(dot, t->x[c0 + c].s[b], d[h], t->acc[c0 + c][h]);
        }
    }
}

/* The exact channels, and out to column c0 and on. */
static void tile_end(const sparse_job *j, size_t g, size_t c0, size_t cols, const strip_cols *t) {
    for (size_t c = 0; c < cols; c++) {
        for (size_t h = 0; h < HALVES; h++) {
            __m256 y = t->acc[c][h];
            for (int e = 0; e < BK_ACT_EXACT; e++) {
                const float *w = panel_channel(j, g, (size_t)t->x[c].at[e]) + 8 * h;
                y = _mm256_fmadd_ps(_mm256_set1_ps(t->x[c].value[e]), _mm256_load_ps(w), y);
            }
            store(j->w, j->first + g, h, j->out + (c0 + c) * j->ldo, y, j->add);
        }
    }
}

/* Group g of the panel times `sets` sets of `cols` columns from c0 on. */
INLINE void tile_run(int bits, const sparse_job *j, size_t g, size_t c0, size_t sets, size_t cols) {
    const bk_packed *w = j->w;
    const uint8_t *q = j->panel->q + g * w->k * 16;
    const float *d = j->panel->d + g * w->k / 32 * 16, no_scale = bk_sparse_no_scale(w);
    bk_strip s = bk_strip_view(w, j->first + g);
    strip_cols t;
    for (size_t c = 0; c < sets * cols; c++) {
        t.x[c] = tile_act_at(j->acts, j->pitch, c0 + c, w->k);
        t.acc[c][0] = t.acc[c][1] = _mm256_setzero_ps();
    }
    for (size_t b = 0; b < w->k / 32; b++) {
        unsigned index = s.index[b];
        if (b % BK_CHUNK_BLOCKS == 0)
            sparse_starts(bits, s.index + b, b / BK_CHUNK_BLOCKS, t.x, sets * cols, t.starts);
        const __m256 none = _mm256_set1_ps(no_scale);
        const __m256 scales[HALVES] = {index ? _mm256_load_ps(d) : none,
                                       index ? _mm256_load_ps(d + 8) : none};
        for (size_t i = 0; i < sets * cols; i += cols)
            tile_block(bits, index, q, scales, b, i, cols, &t);
        q += (size_t)__builtin_popcount(index) * BK_LINE;
        d += index ? 16 : 0;
    }
    tile_end(j, g, c0, sets * cols, &t);
}

#define WIDTH(BITS, COLS)                                                                     \
    static void tile_##BITS##_##COLS(const sparse_job *j, size_t g, size_t c0, size_t sets) { \
        tile_run(BITS, j, g, c0, sets, COLS);                                                 \
    }
WIDTH(4, 1)
WIDTH(4, 2)
WIDTH(4, 3)
WIDTH(4, 4)
WIDTH(4, 5)
WIDTH(4, 6)
/* Fewer: without VNNI they have twice the sums. */
WIDTH(8, 1)
WIDTH(8, 2)
WIDTH(8, 3)

void TILES_OF(tiles)(TILES_ARGS) {
    static void (*const run_4[])(const sparse_job *, size_t, size_t, size_t) = {tile_4_1, tile_4_2,
                                                                                tile_4_3, tile_4_4,
                                                                                tile_4_5, tile_4_6};
    static void (*const run_8[])(const sparse_job *, size_t, size_t, size_t) = {tile_8_1, tile_8_2,
                                                                                tile_8_3};
    const sparse_job j = {w, first, n, panel, acts, pitch, out, ldo, add};
    const bool four = w->plan == BK_PLAN_TILES_4;
    for (size_t done = 0, width, sets; done < cols; done += sets * width) {
        width = bk_strip_cols(cols - done, four ? BK_TILE_COLS : 3);
        sets = bk_min_size(TILE_SETS, (cols - done) / width);
        for (size_t g = 0; g < n; g++) (four ? run_4 : run_8)[width - 1](&j, g, done, sets);
    }
}

void TILES_OF(direct)(DIRECT_ARGS) {
    if (w->plan == BK_PLAN_TILES_4)
        sparse_direct_4(w, first, n, acts, pitch, cols, out, ldo, add);
    else
        sparse_direct_8(w, first, n, acts, pitch, cols, out, ldo, add);
}

#endif
