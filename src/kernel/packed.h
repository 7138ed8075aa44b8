/* Weight matrices in the order in which the dot instructions want them.
 *
 * Rows come in groups of 16 (the last group is padded with zero rows), and a group is one
 * contiguous, 64-byte aligned run: scales first, then lines of 64 bytes. A line holds 4 consecutive
 * k of 16 rows, rows side by side, so one 4-byte broadcast of activations times one line feeds
 * 16 outputs and nothing is summed across lanes. The same bytes serve decode, small batches and
 * prefill, at 128, 256 and 512 bits. Permuted only, where the kernels know the format's way of storing
 * scales: then a group has the size of its rows in the file, but for 6-bit scales and 2- and 3-bit
 * quants, which become bytes and nibbles (docs/formats.md has the sizes).
 *
 * Group contents: scales, then lines. With nb = k / 32, ns = k / 256 and n = k / sub, all arrays over
 * the 16 rows of the group, those in brackets only in formats with offset:
 *   BK_SCALES_HALF   [m f16[nb][16]] d f16[nb][16]
 *   BK_SCALES_SUPER  [dmin f16[ns][16]] d f16[ns][16] [min u8[n][16]] scale i8[n][16]
 *   BK_SCALES_FLOAT  [m f32[n][16]] d f32[n][16]
 *
 *   BK_LAYOUT_N4, C4   4 nibble lines per 32 k
 *   BK_LAYOUT_N5       4 nibble lines, 1 line of bits
 *   BK_LAYOUT_N6       4 nibble lines, 2 of bit pairs
 *   BK_LAYOUT_B8       8 byte lines
 *   F32, F16, BF16     [k][16] numbers
 * Nibble line j of a block: low nibbles are k = 4j..4j+3, high nibbles k = 16+4j..16+4j+3; in C4 they
 * are places in the codebook.
 * Line of bits: bit j of a byte belongs to byte line j (k = 4j..4j+3), j = 0..7.
 * Lines of bit pairs: bits 2j, 2j+1 of the first belong to byte line j, of the second to line 4+j. */
#ifndef BRISK_KERNEL_PACKED_H
#define BRISK_KERNEL_PACKED_H

#include "quant/quant.h"

enum { BK_GROUP_ROWS = 16, BK_LINE = 64 };

/* Which kernels take a format. Those named after a type have everything of it as a compile-time
 * constant, and take every format that is alike; those named after a layout know its lines and `sub`
 * alone, and serve whatever else has these. */
typedef enum bk_plan {
    BK_PLAN_F32,
    BK_PLAN_F16,
    BK_PLAN_BF16,
    BK_PLAN_Q4_0,
    BK_PLAN_Q4_1,
    BK_PLAN_Q5_0,
    BK_PLAN_Q8_0,
    BK_PLAN_Q4_K,
    BK_PLAN_Q6_K,
    BK_PLAN_N4_16,
    BK_PLAN_N5_32,
    BK_PLAN_C4_32,
    BK_PLAN_C4_16,
    BK_PLAN_B8_16,
    BK_PLAN_B8_32,
    /* Sparse matrices (kernel/sparse.h): tiles of Q4_0 and of Q8_0, single weights of Q4_0. */
    BK_PLAN_TILES_4,
    BK_PLAN_TILES_8,
    BK_PLAN_BITS_4
} bk_plan;

typedef struct bk_packed {
    const bk_quant *type;
    bk_plan plan;
    size_t n_rows, k;   /* as in the file */
    size_t n_groups;    /* n_rows / 16 rounded up */
    size_t scale_bytes; /* of a group, a multiple of 64: where its lines begin */
    size_t group_bytes; /* a multiple of 64; 0: groups differ */
    uint8_t *data;      /* 64-byte aligned; owned by whoever allocated */
    /* Sparse: [n_groups + 1] where groups begin, multiples of 64; NULL: group_bytes apart. */
    const uint64_t *group_at;
} bk_packed;

/* Fills everything but data. False when the sizes overflow, k does not suit the type, or there is no
 * plan for it. */
bool bk_packed_init(bk_packed *p, const bk_quant *type, size_t n_rows, size_t k);

/* Where group g begins; that of n_groups is the length of data. */
static inline size_t bk_packed_at(const bk_packed *p, size_t g) {
    return p->group_at ? (size_t)p->group_at[g] : g * p->group_bytes;
}

static inline size_t bk_packed_bytes(const bk_packed *p) { return bk_packed_at(p, p->n_groups); }

/* Writes the groups [first, first + n) of p->data from the rows of the file, `rows` being row 0.
 * Groups may be packed by different threads. */
void bk_pack_groups(const bk_packed *p, const uint8_t *rows, size_t first, size_t n);

/* Row r of the packed matrix as floats, exactly what dequantize gives; k floats. */
void bk_packed_row(const bk_packed *p, size_t r, float *out);

/* One block of 32 weights of row r in canonical form (integer types), or one weight (float types):
 * what the portable kernels and the tests compute from. */
void bk_packed_block(const bk_packed *p, size_t r, size_t b, bk_canon *out);
float bk_packed_float(const bk_packed *p, size_t r, size_t k);

#endif
