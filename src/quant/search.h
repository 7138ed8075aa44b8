/* What the searches of the formats (bk_quant.search) are made of.
 *
 * For given whole numbers q the scale that loses least is d = sum h w q / sum h q^2, and what it then
 * saves is (sum h w q)^2 / sum h q^2; the numbers that fit a scale best are the nearest ones. So the
 * best pair is found by going through the scales at which some q changes. */
#ifndef BRISK_QUANT_SEARCH_H
#define BRISK_QUANT_SEARCH_H

#include "quant/quant.h"

enum { BK_SEARCH_BLOCK = 256 }; /* the longest block */

/* One block from its weights w and what an error of each counts, h: all finite, w within +-1e9, h not
 * negative and of mean 1 (all 1 where nothing counts). */
typedef void bk_search_fn(const float *w, const float *h, uint8_t *block);

/* Makes w and h of each block of a row and calls `one` with them; arguments as in bk_quant.search. A
 * weight's h is importance[i] and a millionth of the block's mean, so that what is never used is not
 * thrown away either. Without importance it is the row's mean square plus x[i]^2: inputs are not known,
 * but large weights have done more for the result. */
void bk_search_blocks(const bk_quant *format, bk_search_fn *one, const float *x,
                      const float *importance, void *blocks, size_t n);

/* The values a weight can take, in units of the scale, from the one nearest to 0 outwards: side 0 up,
 * side 1 down with the sign turned, so that both ascend. */
typedef struct bk_levels {
    const float *side[2];
    size_t n[2];
} bk_levels;

extern const float bk_whole_numbers[129]; /* 0 to 128 */

/* -8..7 and the like. */
#define BK_LEVELS_WHOLE(down, up)                                                  \
    {                                                                              \
        .side = {bk_whole_numbers, bk_whole_numbers}, .n = {(up) + 1, (down) + 1 } \
    }

/* The scale d, of either sign, for which n weights lose least when each becomes the nearest of
 * d * level. 0 when all weights are 0. */
float bk_search_scale(const bk_levels *levels, const float *w, const float *h, size_t n);

/* The half nearest to d, or the largest. */
uint16_t bk_search_half(float d);

#endif
