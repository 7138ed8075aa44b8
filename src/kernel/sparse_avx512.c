/* Tiles of sparse matrices with AVX512-VNNI: the loops of matmul_avx512.c over the tiles that are there.
 * Order of operations: kernel.h, of the dense matrix. */
#include <string.h>

#include "kernel/groups_avx512.h"
#include "kernel/tiles_avx2.h"

/* Columns whose sums are registers; sets of so many for which a block's tiles are gone through one set
 * after another. How many tiles a block has is a branch that is guessed wrongly once for all sets. */
enum { TILE_COLS = 12, TILE_SETS = 1 };

INLINE __m512i load(const uint8_t *p) { return _mm512_loadu_si512(p); }

/* sum + the dots of 16 rows of w with 4 activations. Written out so that these are an operand of the
 * instruction: the compiler would rather load and copy. */
INLINE __m512i dot(__m512i sum, __m512i w, const int8_t *a) {
    typedef const int8_t four[4];
    __asm__("vpdpbusd %2%{1to16%}, %1, %0" : "+v"(sum) : "v"(w), "m"(*(four *)(const void *)a));
    return sum;
}

INLINE __m512i low_nibbles(__m512i x) { return _mm512_and_si512(x, _mm512_set1_epi8(15)); }

INLINE __m512i high_nibbles(__m512i x) { return low_nibbles(_mm512_srli_epi16(x, 4)); }

/* Where the dots of a chunk's blocks begin, minus zero times the sum of the activations that have
 * tiles; for each column 16 blocks. */
INLINE void chunk_starts(const uint8_t *index, size_t chunk, int shift, const tile_act *x,
                         size_t cols, int32_t starts[][BK_CHUNK_BLOCKS]) {
    const __m128i bytes = _mm_loadu_si128((const __m128i *)(const void *)index);
    __mmask16 there[BK_BLOCK_TILES];
    UNROLL for (int j = 0; j < BK_BLOCK_TILES; j++) there[j] =
        _mm_test_epi8_mask(bytes, _mm_set1_epi8((char)(1 << j)));
    for (size_t c = 0; c < cols; c++) {
        const int16_t *from = x[c].sums + chunk * BK_BLOCK_TILES * BK_CHUNK_BLOCKS;
        __m256i sum = _mm256_setzero_si256();
        UNROLL for (int j = 0; j < BK_BLOCK_TILES; j++) {
            const void *at = from + j * BK_CHUNK_BLOCKS;
            sum = _mm256_mask_add_epi16(sum, there[j], sum, _mm256_loadu_si256(at));
        }
        __m512i wide = _mm512_slli_epi32(_mm512_cvtepi16_epi32(sum), (unsigned)shift);
        _mm512_storeu_si512(starts[c], _mm512_sub_epi32(_mm512_setzero_si512(), wide));
    }
}

/* acc += an absent block: 0 * s * d. */
INLINE void absent_block(float no_scale, const tile_act *x, size_t cols, size_t b, __m512 *acc) {
    UNROLL for (size_t c = 0; c < cols; c++) acc[c] =
        _mm512_fmadd_ps(_mm512_mul_ps(_mm512_setzero_ps(), _mm512_set1_ps(x[c].s[b])),
                        _mm512_set1_ps(no_scale), acc[c]);
}

INLINE void scale_block(const __m512i *sum, __m512 d, const tile_act *x, size_t cols, size_t b,
                        __m512 *acc) {
    UNROLL for (size_t c = 0; c < cols; c++) acc[c] =
        _mm512_fmadd_ps(_mm512_mul_ps(_mm512_cvtepi32_ps(sum[c]), _mm512_set1_ps(x[c].s[b])), d,
                        acc[c]);
}

/* ---- The weights of exact channels ----------------------------------------------------------------- */

/* Channel k of a group, for the 16 rows. */
static __m512 channel(const bk_packed *w, const bk_strip *s, size_t k) {
    size_t b = k / 32, j = k % 32 / 4;
    if (!(s->index[b] >> j & 1)) return _mm512_setzero_ps();
    bk_sparse_at at = tiles_before(w, s, b);
    size_t n = (size_t)__builtin_popcount(s->index[b] & ((1u << j) - 1)), byte = k % 4 * 8;
    bool four = w->plan == BK_PLAN_TILES_4;
    __m512i q = load(s->values + at.values + (four ? n / 2 : n) * BK_LINE);
    q = _mm512_srl_epi32(q, _mm_cvtsi32_si128((int)(byte + (four && n % 2 ? 4 : 0))));
    q = _mm512_and_si512(q, _mm512_set1_epi32(four ? 15 : 255));
    q = _mm512_sub_epi32(q, _mm512_set1_epi32(w->type->zero));
    return _mm512_fmadd_ps(load_f16(s->d, at.scales), _mm512_cvtepi32_ps(q), _mm512_setzero_ps());
}

/* ---- Direct ---------------------------------------------------------------------------------------- */

/* sum[c][0] + sum[c][1] += dots of a line, one tile or two at offsets[0] and [1], with the activations of
 * a block at a[c]. */
INLINE void line_dots(int bits, __m512i v, const uint8_t *offsets, const int8_t *const a[],
                      size_t cols, __m512i sum[][2]) {
    const size_t second = cols < 4, j = offsets[0];
    if (bits == 8) {
        UNROLL for (size_t c = 0; c < cols; c++) sum[c][0] = dot(sum[c][0], v, a[c] + j);
        return;
    }
    const size_t i = offsets[1];
    const __m512i low = low_nibbles(v), high = high_nibbles(v);
    UNROLL for (size_t c = 0; c < cols; c++) {
        sum[c][0] = dot(sum[c][0], low, a[c] + j);
        sum[c][second] = dot(sum[c][second], high, a[c] + i);
    }
}

/* acc += one block. The first `usual` lines are gone through whatever their number, those that there are
 * not as zeros, so that hardly a branch is guessed wrongly. */
INLINE void steady_block(int bits, size_t usual, unsigned index, size_t lines, const uint8_t *line,
                         __m512 d, const int32_t (*starts)[BK_CHUNK_BLOCKS], const tile_act *x,
                         size_t cols, size_t b, __m512 *acc) {
    const size_t step = bits == 4 ? 2 : 1;
    const uint8_t *offsets = tile_offsets(index);
    const int8_t *a[BK_DIRECT_COLS];
    __m512i sum[BK_DIRECT_COLS][2], all[BK_DIRECT_COLS];
    UNROLL for (size_t c = 0; c < cols; c++) {
        sum[c][0] = _mm512_set1_epi32(starts[c][b % BK_CHUNK_BLOCKS]);
        sum[c][1] = _mm512_setzero_si512();
        a[c] = x[c].q + 32 * b;
    }
    UNROLL for (size_t i = 0; i < usual; i++) {
        __mmask16 there = (__mmask16)(0 - (i < lines));
        line_dots(bits, _mm512_maskz_loadu_epi32(there, line + i * BK_LINE), offsets + step * i, a,
                  cols, sum);
    }
    for (size_t i = usual; __builtin_expect(i < lines, 0); i++)
        line_dots(bits, load(line + i * BK_LINE), offsets + step * i, a, cols, sum);
    UNROLL for (size_t c = 0; c < cols; c++) all[c] = _mm512_add_epi32(sum[c][0], sum[c][1]);
    scale_block(all, d, x, cols, b, acc);
}

/* Few columns. */
INLINE void steady_group(int bits, size_t usual, const bk_packed *w, const bk_strip *s,
                         const tile_act *x, size_t cols, __m512 *acc) {
    static const uint16_t none_4[BK_GROUP_ROWS] = {0x8000, 0x8000, 0x8000, 0x8000, 0x8000, 0x8000,
                                                   0x8000, 0x8000, 0x8000, 0x8000, 0x8000, 0x8000,
                                                   0x8000, 0x8000, 0x8000, 0x8000};
    static const uint16_t none_8[BK_GROUP_ROWS] = {0};
    const uint8_t *none = (const uint8_t *)(bits == 4 ? none_4 : none_8);
    const uint8_t *line = s->values, *d = s->d;
    int32_t starts[BK_DIRECT_COLS][BK_CHUNK_BLOCKS];
    UNROLL for (size_t c = 0; c < cols; c++) acc[c] = _mm512_setzero_ps();
    for (size_t b = 0; b < w->k / 32; b++) {
        unsigned index = s->index[b];
        if (b % BK_CHUNK_BLOCKS == 0)
            chunk_starts(s->index + b, b / BK_CHUNK_BLOCKS, bits == 4 ? 3 : 7, x, cols, starts);
        size_t lines = count_lines(bits, index);
        bk_strip_ask(s, b);
        steady_block(bits, usual, index, lines, line, load_f16(index ? d : none, 0), starts, x,
                     cols, b, acc);
        line += lines * BK_LINE;
        d += index ? 32 : 0;
    }
}

/* Many: a wrong guess costs little beside their dots. */
INLINE void loop_group(int bits, const bk_packed *w, const bk_strip *s, const tile_act *x,
                       size_t cols, __m512 *acc) {
    const uint8_t *line = s->values, *d = s->d;
    const float no_scale = bk_sparse_no_scale(w);
    int32_t starts[BK_DIRECT_COLS][BK_CHUNK_BLOCKS];
    UNROLL for (size_t c = 0; c < cols; c++) acc[c] = _mm512_setzero_ps();
    for (size_t b = 0; b < w->k / 32; b++) {
        unsigned index = s->index[b];
        const uint8_t *offsets = tile_offsets(index);
        if (b % BK_CHUNK_BLOCKS == 0)
            chunk_starts(s->index + b, b / BK_CHUNK_BLOCKS, bits == 4 ? 3 : 7, x, cols, starts);
        if (!index) {
            absent_block(no_scale, x, cols, b, acc);
            continue;
        }
        __m512i sum[BK_DIRECT_COLS][2], all[BK_DIRECT_COLS];
        const int8_t *a[BK_DIRECT_COLS];
        UNROLL for (size_t c = 0; c < cols; c++) {
            sum[c][0] = _mm512_set1_epi32(starts[c][b % BK_CHUNK_BLOCKS]);
            a[c] = x[c].q + 32 * b;
        }
        bk_strip_ask(s, b);
        for (size_t n = count_lines(bits, index); n > 0; n--, line += BK_LINE) {
            line_dots(bits, load(line), offsets, a, cols, sum);
            offsets += bits == 4 ? 2 : 1;
        }
        UNROLL for (size_t c = 0; c < cols; c++) all[c] = sum[c][0];
        scale_block(all, load_f16(d, 0), x, cols, b, acc);
        d += 32;
    }
}

#define STEADY(USUAL) \
    case USUAL: steady_group(bits, USUAL, w, s, x, cols, acc); break;

INLINE void direct_group(int bits, const bk_packed *w, const bk_strip *s, const tile_act *x,
                         size_t cols, __m512 *acc) {
    if (cols >= 4) {
        loop_group(bits, w, s, x, cols, acc);
        return;
    }
    uint32_t usual = s->at[bk_sparse_chunks(w->k) + 1].values;
    if (bits == 8) usual = usual <= 4 ? 4 : usual <= 6 ? 6 : 8;
    switch (usual) {
        STEADY(1)
        STEADY(2)
        STEADY(3)
        STEADY(4)
        STEADY(6)
    default: steady_group(bits, 8, w, s, x, cols, acc); break;
    }
}

INLINE void direct_cols(int bits, const bk_packed *w, size_t first, size_t n, const void *acts,
                        size_t pitch, size_t cols, float *out, size_t ldo, bool add) {
    tile_act x[BK_DIRECT_COLS];
    UNROLL for (size_t c = 0; c < cols; c++) x[c] = tile_act_at(acts, pitch, c, w->k);
    for (size_t g = first; g < first + n; g++) {
        __m512 acc[BK_DIRECT_COLS];
        bk_strip s = bk_strip_view(w, g);
        direct_group(bits, w, &s, x, cols, acc);
        for (size_t c = 0; c < cols; c++) {
            for (int e = 0; e < BK_ACT_EXACT; e++)
                acc[c] = _mm512_fmadd_ps(_mm512_set1_ps(x[c].value[e]),
                                         channel(w, &s, (size_t)x[c].at[e]), acc[c]);
            store(out + c * ldo + g * BK_GROUP_ROWS, acc[c], row_mask(w, g), add);
        }
    }
}

#define CASE(COLS)                                                        \
    case COLS:                                                            \
        direct_cols(bits, w, first, n, acts, pitch, COLS, out, ldo, add); \
        break
#define DIRECT(BITS)                                                                   \
    static void direct_##BITS(DIRECT_ARGS) {                                           \
        const int bits = BITS;                                                         \
        switch (cols) {                                                                \
            CASE(1);                                                                   \
            CASE(2);                                                                   \
            CASE(3);                                                                   \
            CASE(4);                                                                   \
            CASE(5);                                                                   \
            CASE(6);                                                                   \
            CASE(7);                                                                   \
        default: direct_cols(bits, w, first, n, acts, pitch, 8, out, ldo, add); break; \
        }                                                                              \
    }
DIRECT(4)
DIRECT(8)

void bk_tiles_direct_avx512(DIRECT_ARGS) {
    if (w->plan == BK_PLAN_TILES_4)
        direct_4(w, first, n, acts, pitch, cols, out, ldo, add);
    else
        direct_8(w, first, n, acts, pitch, cols, out, ldo, add);
}

/* ---- Panels ---------------------------------------------------------------------------------------- */

/* The tiles that are there as lines of bytes, and the scales of the blocks that are. */
void bk_tiles_expand_avx512(const bk_packed *w, size_t first, size_t n, const bk_panel *panel) {
    memset(panel->known, 0, bk_div_up(w->k, 64) * sizeof *panel->known);
    for (size_t g = 0; g < n; g++) {
        bk_strip s = bk_strip_view(w, first + g);
        bk_sparse_at all = s.at[bk_sparse_chunks(w->k)];
        uint8_t *q = panel->q + g * w->k * 16;
        float *d = panel->d + g * w->k / 32 * 16;
        for (size_t i = 0; i < all.scales; i++) _mm512_store_ps(d + 16 * i, load_f16(s.d, i));
        if (w->plan == BK_PLAN_TILES_8) {
            memcpy(q, s.values, all.values);
            continue;
        }
        const uint8_t *line = s.values;
        for (size_t b = 0; b < w->k / 32; b++) {
            for (int left = __builtin_popcount(s.index[b]); left > 0; left -= 2, line += BK_LINE) {
                __m512i v = load(line);
                _mm512_store_si512(q, low_nibbles(v));
                if (left > 1) _mm512_store_si512(q + BK_LINE, high_nibbles(v));
                q += left > 1 ? 2 * BK_LINE : BK_LINE;
            }
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

/* The weights of channel k for group g of the panel: decoded once for all columns. */
INLINE __m512 panel_channel(const job *j, size_t g, size_t k) {
    float *to = j->panel->exact + k * BK_PANEL_GROUPS * 16;
    if (!bk_panel_knows(j->panel, k)) {
        for (size_t i = 0; i < j->n; i++) {
            bk_strip s = bk_strip_view(j->w, j->first + i);
            _mm512_store_ps(to + i * 16, channel(j->w, &s, k));
        }
    }
    return _mm512_load_ps(to + g * 16);
}

/* A strip of columns, in `sets` sets. */
typedef struct strip_cols {
    tile_act x[TILE_SETS * TILE_COLS];
    int32_t starts[TILE_SETS * TILE_COLS][BK_CHUNK_BLOCKS];
    __m512 acc[TILE_SETS * TILE_COLS];
} strip_cols;

/* acc += block b, whose tiles are lines from q on. */
INLINE void tile_block(unsigned index, const uint8_t *q, __m512 d, size_t b, size_t cols,
                       const tile_act *x, const int32_t (*starts)[BK_CHUNK_BLOCKS], __m512 *acc) {
    __m512i sum[TILE_COLS];
    UNROLL for (size_t c = 0; c < cols; c++) sum[c] =
        _mm512_set1_epi32(starts[c][b % BK_CHUNK_BLOCKS]);
    for (unsigned left = index; left; left &= left - 1, q += BK_LINE) {
        const __m512i v = load(q);
        size_t k = 32 * b + 4 * (size_t)__builtin_ctz(left);
        UNROLL for (size_t c = 0; c < cols; c++) sum[c] = dot(sum[c], v, x[c].q + k);
    }
    scale_block(sum, d, x, cols, b, acc);
}

/* Group g of the panel times `sets` sets of `cols` columns from c0 on. */
INLINE void tile_run(const job *j, size_t g, size_t c0, size_t sets, size_t cols) {
    const bk_packed *w = j->w;
    const size_t group = j->first + g;
    const uint8_t *q = j->panel->q + g * w->k * 16;
    const float *d = j->panel->d + g * w->k / 32 * 16, no_scale = bk_sparse_no_scale(w);
    const int shift = w->type->bits == 4 ? 3 : 7;
    bk_strip s = bk_strip_view(w, group);
    strip_cols t;
    for (size_t c = 0; c < sets * cols; c++) {
        t.x[c] = tile_act_at(j->acts, j->pitch, c0 + c, w->k);
        t.acc[c] = _mm512_setzero_ps();
    }
    for (size_t b = 0; b < w->k / 32; b++) {
        unsigned index = s.index[b];
        if (b % BK_CHUNK_BLOCKS == 0)
            chunk_starts(s.index + b, b / BK_CHUNK_BLOCKS, shift, t.x, sets * cols, t.starts);
        for (size_t i = 0; i < sets * cols; i += cols) {
            if (index)
                tile_block(index, q, _mm512_load_ps(d), b, cols, t.x + i, t.starts + i, t.acc + i);
            else
                absent_block(no_scale, t.x + i, cols, b, t.acc + i);
        }
        q += (size_t)__builtin_popcount(index) * BK_LINE;
        d += index ? 16 : 0;
    }
    for (size_t c = 0; c < sets * cols; c++) {
        for (int e = 0; e < BK_ACT_EXACT; e++)
            t.acc[c] = _mm512_fmadd_ps(_mm512_set1_ps(t.x[c].value[e]),
                                       panel_channel(j, g, (size_t)t.x[c].at[e]), t.acc[c]);
        store(j->out + (c0 + c) * j->ldo + group * BK_GROUP_ROWS, t.acc[c], row_mask(w, group),
              j->add);
    }
}

#define WIDTH(COLS)                                                           \
    static void tile_##COLS(const job *j, size_t g, size_t c0, size_t sets) { \
        tile_run(j, g, c0, sets, COLS);                                       \
    }
WIDTH(1)
WIDTH(2)
WIDTH(3)
WIDTH(4)
WIDTH(5)
WIDTH(6)
WIDTH(7)
WIDTH(8)
WIDTH(9)
WIDTH(10)
WIDTH(11)
WIDTH(12)

void bk_tiles_tiles_avx512(TILES_ARGS) {
    static void (*const run[])(const job *, size_t, size_t,
                               size_t) = {tile_1, tile_2, tile_3, tile_4,  tile_5,  tile_6,
                                          tile_7, tile_8, tile_9, tile_10, tile_11, tile_12};
    job j = {w, first, n, panel, acts, pitch, out, ldo, add};
    for (size_t done = 0, width, sets; done < cols; done += sets * width) {
        width = bk_strip_cols(cols - done, TILE_COLS);
        sets = bk_min_size(TILE_SETS, (cols - done) / width);
        for (size_t g = 0; g < n; g++) run[width - 1](&j, g, done, sets);
    }
}
