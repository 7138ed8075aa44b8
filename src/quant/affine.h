/* Q8_AFFINE, the quantiser of textbooks: a whole tensor has one scale and one minimum,
 *     w = scale * q + minimum      q = 0..255.
 * The scale is (largest - smallest) / 255, so no weight is off by more than half of it, and rounding of
 * floats; a tensor of one value has scale 0 and keeps that value. One outlier makes all of it coarse:
 * that is what formats with a scale per 32 weights are for, and this one is here to be compared with.
 *
 * In memory it is a block format like others, each block of 32 with the tensor's two floats again; files
 * have two tensors (format/gguf_affine.h). */
#ifndef BRISK_QUANT_AFFINE_H
#define BRISK_QUANT_AFFINE_H

#include "quant/quant.h"

enum { BK_AFFINE_BLOCK = 32, BK_AFFINE_BLOCK_BYTES = 40, BK_AFFINE_HEAD = 8 };

/* Weights of larger magnitude, infinite or NaN are no tensor of this type. */
#define BK_AFFINE_MOST 1e38F

typedef struct bk_affine {
    float scale, minimum;
} bk_affine;

/* Of the weights seen so far: begin with {INFINITY, -INFINITY}. */
typedef struct bk_affine_range {
    float smallest, largest;
} bk_affine_range;

/* False when one of n is not within +-BK_AFFINE_MOST. */
bool bk_affine_extend(bk_affine_range *range, const float *x, size_t n);
bk_affine bk_affine_of(bk_affine_range range);

/* n weights (a multiple of 32) to blocks. */
void bk_affine_round(bk_affine a, const float *x, void *blocks, size_t n);

/* Blocks from the numbers q[n] and back; in `split` all blocks are of one tensor. */
void bk_affine_join(bk_affine a, const uint8_t *q, void *blocks, size_t n);
bk_affine bk_affine_split(const void *blocks, uint8_t *q, size_t n);

#endif
