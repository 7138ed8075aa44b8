/* Weight matrices in the order in which the dot instructions want them.
 *
 * Rows come in groups of 16 (the last group is padded with zero rows), and a group is one
 * contiguous, 64-byte aligned run: scales first, then lines of 64 bytes. A line holds 4 consecutive
 * k of 16 rows, rows side by side, so one 4-byte broadcast of activations times one line feeds
 * 16 outputs and nothing is summed across lanes. The same bytes serve decode, small batches and
 * prefill, at 128, 256 and 512 bits. Permuted only: a group has the size of its rows in the file (K-quants
 * keep their 6-bit scales as bytes: +3 %).
 *
 * Group contents, nb = k / 32, ns = k / 256, all arrays over the 16 rows of the group:
 *   Q4_0  d f16[nb][16]                                            | 4 nibble lines per 32 k
 *   Q4_1  m f16[nb][16], d f16[nb][16]                             | 4 nibble lines
 *   Q5_0  d f16[nb][16]                                            | 4 nibble lines, 1 line of bits
 *   Q8_0  d f16[nb][16]                                            | 8 byte lines, q + 128
 *   Q4_K  dmin f16[ns][16], d f16[ns][16], mn u8[nb][16], sc u8[nb][16] | 4 nibble lines
 *   Q6_K  d f16[ns][16], sc i8[2 * nb][16]                         | 4 nibble lines, 2 of bit pairs
 *   F32, F16, BF16                                                 | [k][16]
 * Nibble line j of a block: low nibbles are k = 4j..4j+3, high nibbles k = 16+4j..16+4j+3.
 * Line of bits: bit j of a byte belongs to byte line j (k = 4j..4j+3), j = 0..7.
 * Lines of bit pairs: bits 2j, 2j+1 of the first belong to byte line j, of the second to line 4+j. */
#ifndef BRISK_KERNEL_PACKED_H
#define BRISK_KERNEL_PACKED_H

#include "quant/quant.h"

enum { BK_GROUP_ROWS = 16, BK_LINE = 64 };

typedef struct bk_packed {
    const bk_quant *type;
    size_t n_rows, k;   /* as in the file */
    size_t n_groups;    /* n_rows / 16 rounded up */
    size_t scale_bytes; /* of a group, a multiple of 64: where its lines begin */
    size_t group_bytes; /* a multiple of 64 */
    uint8_t *data;      /* n_groups * group_bytes, 64-byte aligned; owned by whoever allocated */
} bk_packed;

/* Fills everything but data. False when the sizes overflow or k does not suit the type. */
bool bk_packed_init(bk_packed *p, const bk_quant *type, size_t n_rows, size_t k);

static inline size_t bk_packed_bytes(const bk_packed *p) { return p->n_groups * p->group_bytes; }

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
