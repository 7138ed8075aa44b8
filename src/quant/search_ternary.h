/* Rounding to minus one, zero or one times the scale of a block of 256: TQ1_0 and TQ2_0. */
#ifndef BRISK_QUANT_SEARCH_TERNARY_H
#define BRISK_QUANT_SEARCH_TERNARY_H

#include "quant/search.h"

/* The scale, and the weights as 0, 1, 2; w and h as bk_search_fn has them. Without h the scale is the
 * largest magnitude, which is right for weights that were trained as these three. With it the one that
 * loses least: whatever the scale, those that are not zero are the weights from some magnitude on, so one
 * way through them by magnitude finds it. */
float bk_search_ternary(const float *w, const float *h, uint8_t q[256]);

#endif
