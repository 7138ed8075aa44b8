/* What the IQ1, IQ2 and IQ3 formats share: 8 or 4 weights at a time are a place in a table of a few hundred
 * magnitude patterns (a grid), and a sign each. iq_tables.c has the grids; they are part of the
 * formats. A grid's entry has 2 bits per weight (IQ1 and IQ2, 8 weights) or 4 (IQ3, 4 weights), which
 * choose one of the first 3 or 8 entries of the format's codebook. Those for the other sign, the same
 * negative in IQ2 and IQ3, are 8 further on. */
#ifndef BRISK_QUANT_IQ_GRIDS_H
#define BRISK_QUANT_IQ_GRIDS_H

#include "quant/formats.h"

extern const uint16_t bk_iq2_xxs_grid[256], bk_iq2_xs_grid[512], bk_iq2_s_grid[1024];
extern const uint16_t bk_iq1_grid[2048];
extern const uint16_t bk_iq3_xxs_grid[256], bk_iq3_s_grid[512];

extern const int8_t bk_iq1_codebook[16], bk_iq2_codebook[16]; /* of all IQ1 and IQ2 formats */

/* Eight signs out of seven bits: the eighth makes the number of minus signs even. */
static inline unsigned bk_even_signs(unsigned seven) {
    unsigned parity = seven ^ seven >> 4;
    parity ^= parity >> 2;
    return seven | ((parity ^ parity >> 1) & 1) << 7;
}

/* n weights of one entry, `width` bits each, to places in a codebook; bit i of signs: minus. */
static inline void bk_grid_put(unsigned entry, unsigned width, size_t n, unsigned signs,
                               uint8_t *q) {
    for (size_t i = 0; i < n; i++) {
        q[i] = (uint8_t)((entry >> i * width & ((1u << width) - 1)) | (signs >> i & 1) << 3);
    }
}

#endif
