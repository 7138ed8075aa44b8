/* From floats to blocks: what the formats' `quantize` and `search` are made of.
 *
 * For whole numbers q that are given, the scale d that loses least, sum h (w - d q)^2, is the one of least
 * squares, d = sum h w q / sum h q^2, and with an offset the two of a 2 x 2 system; for d given, the
 * nearest numbers lose least. So a number of scales are tried, each by the loss of its nearest numbers
 * with the best d for those, and the best of them goes through both steps a few times (Lloyd, "Least
 * squares quantization in PCM", 1982). */
#ifndef BRISK_QUANT_SEARCH_H
#define BRISK_QUANT_SEARCH_H

#include "quant/formats.h"

enum { BK_SEARCH_BLOCK = 256 }; /* the longest block */

/* One block from its weights w and what an error of each counts, h: all finite, w within +-1e9, h
 * positive and of mean 1. */
typedef void bk_search_fn(const float *w, const float *h, uint8_t *block);

/* Makes w and h of each block of a row and calls `one` with them; arguments as in bk_quant.search. A
 * weight's h is importance[i] and a millionth of the block's mean, so that what is never used is not
 * thrown away either. Without importance it is the row's mean square plus x[i]^2: inputs are not known,
 * but large weights have done more for the result. */
void bk_search_blocks(const bk_quant *format, bk_search_fn *one, const float *x,
                      const float *importance, void *blocks, size_t n);

/* The same for `quantize`: h is NULL. */
void bk_plain_blocks(const bk_quant *format, bk_search_fn *one, const float *x, void *blocks,
                     size_t n);

/* What a weight can be in units of its scale: the whole numbers low..high, or the 16 numbers of an
 * ascending codebook between them, whose number nearest to v, -128..127, is nearest[128 + v]. */
typedef struct bk_levels {
    float low, high;
    const int8_t *codebook;
    const float *nearest;
} bk_levels;

/* The scale d, of either sign, for n weights (at most 32) that are to become d * level; 0 when all of
 * them are 0. */
float bk_search_scale(const bk_levels *levels, const float *w, const float *h, size_t n);

/* The scale d >= 0 and offset m for n weights that are to become d * q + m, q = 0..top; m is not
 * positive where `below` says so. */
void bk_search_line(float top, bool below, const float *w, const float *h, size_t n, float *d,
                    float *m);

/* The places, counted from the lowest level, of the levels nearest to (w - m) / d. */
void bk_nearest_levels(const bk_levels *levels, float d, float m, const float *w, size_t n,
                       uint8_t *q);

/* The value of the largest magnitude, with its sign; 0 of none. */
float bk_furthest(const float *w, size_t n);

/* The half nearest to d, or the largest, is written to `out`; gives what it is. */
float bk_store_half(uint8_t *out, float d);

/* ---- Blocks of 256 with scales SUPER ------------------------------------------------------------ */

/* Weights of group g are d * scale[g] * level - m * min[g]. */
struct bk_super {
    float d, m; /* what a half can be */
    int8_t scale[16];
    uint8_t min[16];
    uint8_t q[BK_SEARCH_BLOCK]; /* places of levels */
};

typedef struct bk_super_form {
    bk_levels levels;
    size_t groups;               /* 8 or 16 */
    float scale_low, scale_high; /* what scale[g] can be; low is 0 in forms with minima */
    float min_high;              /* likewise min[g]; 0 without */
} bk_super_form;

void bk_super_plain(const bk_super_form *form, const float *w, bk_super *out);
void bk_super_search(const bk_super_form *form, const float *w, const float *h, bk_super *out);

#endif
