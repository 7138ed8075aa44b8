/* Sparse matrices as files have them: of the weights of a block format those that are not 0.
 *
 * 16 rows are a strip, and in it 4 consecutive k a tile of 64 places, place 4 * row + k % 4. A block is
 * the 8 tiles of 32 k. Strips go one after another, in each its blocks in order of k; rows past the
 * last are 0. Both kinds keep what the dense format has, its scales (halves) and its quants, so that the
 * dense matrix can be made again bit by bit but for blocks of zeros, whose scale is that of zeros.
 *
 * BK_SPARSE_TILES: tiles that hold a weight which is not 0 (block sparsity, Gray, Radford and Kingma
 * 2017), of Q4_0 or Q8_0.
 *   index   a byte for each block: bit j for its tile j
 *   scales  half[16] for each block that has a tile
 *   values  lines of 64 bytes. Q4_0: for each block its tiles two by two, the first in the low nibbles,
 *           the second in the high ones, which are 0 where there is none. Q8_0: a line a tile, quant + 128.
 * BK_SPARSE_BITS: single weights, of Q4_0.
 *   index   64 bytes for each block: 8 little-endian masks, bit p of mask j for place p of tile j
 *   scales  half[16] for each block
 *   values  bytes, for each block as many as the fuller half of it has weights: the quants of its tiles
 *           0..3 in the low nibbles, those of 4..7 in the high ones, 0 where there is none
 * Scales and values are at least one entry long. */
#ifndef BRISK_QUANT_SPARSE_H
#define BRISK_QUANT_SPARSE_H

#include "base/error.h"
#include "quant/quant.h"

typedef enum bk_sparse_kind { BK_SPARSE_TILES = 1, BK_SPARSE_BITS = 2 } bk_sparse_kind;

enum { BK_STRIP_ROWS = 16, BK_TILE_K = 4, BK_BLOCK_TILES = 8, BK_TILE_PLACES = 64 };

typedef struct bk_sparse {
    bk_sparse_kind kind;
    const bk_quant *type;
    size_t n_rows, k;
    const uint8_t *index, *scales, *values;
    size_t index_bytes, scales_bytes, values_bytes;
} bk_sparse;

static inline size_t bk_sparse_strips(const bk_sparse *s) {
    return bk_div_up(s->n_rows, BK_STRIP_ROWS);
}

/* Whether a kind can be of a format. */
bool bk_sparse_has(bk_sparse_kind kind, const bk_quant *type);

/* Sets the bytes of the index; INVALID when no such matrix can be. */
bk_status bk_sparse_shape(bk_sparse *s, bk_error *err);
/* And those of scales and values, which follow from the index. */
void bk_sparse_measure(bk_sparse *s);

/* What a block takes of scales and values, by its part of the index (1 or 64 bytes). */
typedef struct bk_sparse_need {
    size_t scales, values;
} bk_sparse_need;
bk_sparse_need bk_sparse_block_need(const bk_sparse *s, const uint8_t *index);

static inline size_t bk_sparse_bytes(const bk_sparse *s) {
    return s->index_bytes + s->scales_bytes + s->values_bytes;
}

/* Share of the places that are stored. */
double bk_sparse_density(const bk_sparse *s);

/* From rows[n_rows] of the dense format: tiles (or places) are kept that are not 0 or whose scale is not
 * a number; the three arrays are one allocation, index, to be freed. INVALID, NOMEM. */
bk_status bk_sparse_encode(bk_sparse_kind kind, const bk_quant *type, const uint8_t *rows,
                           size_t n_rows, size_t k, bk_sparse *out, bk_error *err);
/* The dense rows. IO when the index is not the one that was measured: mapped files can change. */
bk_status bk_sparse_decode(const bk_sparse *s, uint8_t *rows, bk_error *err);

#endif
