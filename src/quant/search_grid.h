/* Rounding to the IQ1, IQ2 and IQ3 formats: what weights of a block become, before its bits are put
 * together.
 *
 * Given a group's scale, 8 (or 4) weights become the entry of the grid and the signs that lose least.
 * That is found exactly. What an entry loses is the sum over its two halves, and a half takes one of 81
 * patterns of three magnitudes (or 64 of eight): so the losses of all patterns are two small tables, a
 * loss of an entry is one addition, and most entries are never looked at because their first half alone
 * loses more than the best entry so far (branch and bound). An even number of minus signs is part of the
 * search: the tables exist a second time for one weight with the wrong sign, the one that costs least.
 *
 * Scales of groups are looked for around the largest weight, each refined by the least squares of what
 * was chosen; then one scale of the block such that 4 (or 3) bits reach those of all groups, the
 * groups' next, and both once more. */
#ifndef BRISK_QUANT_SEARCH_GRID_H
#define BRISK_QUANT_SEARCH_GRID_H

#include "quant/iq_grids.h"
#include "quant/search.h"

/* What the bit beside an entry of the grid means. */
typedef enum bk_grid_signs {
    BK_SIGNS_FREE,  /* one for each weight */
    BK_SIGNS_EVEN,  /* the same, an even number of them minus in 8 weights */
    BK_SHIFT_GROUP, /* IQ1, whose entries have signs: which shift, of all weights of a group */
    BK_SHIFT_EIGHT  /* of 8 weights */
} bk_grid_signs;

typedef enum bk_grid_id {
    BK_GRID_IQ1,
    BK_GRID_IQ2_XXS,
    BK_GRID_IQ2_XS,
    BK_GRID_IQ2_S,
    BK_GRID_IQ3_XXS,
    BK_GRID_IQ3_S,
    BK_GRIDS
} bk_grid_id;

/* Weights are codebook[entry] * d * unit * (2 * scale + 1), scale < scales. */
typedef struct bk_grid_format {
    bk_grid_id grid;
    const int8_t *codebook;
    bk_grid_signs signs;
    size_t group; /* weights that share a scale: 16 or 32 */
    int scales;
    float unit;
} bk_grid_format;

/* A block of 256 weights. */
typedef struct bk_grid_block {
    uint8_t d[2]; /* a half */
    uint8_t scale[16];
    uint16_t place[64]; /* in the grid: of each 8 weights, in IQ3 of each 4 */
    uint8_t signs[32];  /* of each 8: a bit for minus, or 1 for the second shift */
} bk_grid_block;

/* w and h as bk_search_fn has them; without h all weights count alike. */
void bk_grid_search(const bk_grid_format *f, const float *w, const float *h, bk_grid_block *out);

#endif
