/* IQ2_S: 256 weights in 82 bytes, in 16 groups of 16: w = d * (scale[g] + 1/2) / 4 * +-grid.
 *     half d; byte qs[32]; byte signs[32]; byte qh[8]; byte scales[8], scale g in nibble g.
 * Each of qs is the low byte of a place in the grid, 8 weights; its 2 high bits are in qh. */
#include "quant/iq_grids.h"

enum { BLOCK_BYTES = 82, QS = 2, SIGNS = 34, QH = 66, SCALES = 74 };

static void unpack(const void *row, size_t i, bk_canon *out) {
    const uint8_t *b = (const uint8_t *)row + i / 8 * BLOCK_BYTES;
    for (size_t j = 0; j < 4; j++) {
        size_t at = i % 8 * 4 + j;
        unsigned place = b[QS + at] | (b[QH + i % 8] >> 2 * j & 3u) << 8;
        bk_grid_put(bk_iq2_s_grid[place], 2, 8, b[SIGNS + at], out->q + 8 * j);
    }
    bk_look_up(bk_iq2_codebook, out->q);
    unsigned scales = b[SCALES + i % 8];
    float d = bk_load_half(b);
    bk_canon_floats(out, d * (0.5f + (float)(scales & 15)) * 0.25f,
                    d * (0.5f + (float)(scales >> 4)) * 0.25f);
}

const bk_quant bk_quant_iq2_s = {
    .type = BK_TYPE_IQ2_S,
    .name = "IQ2_S",
    .block_len = 256,
    .block_bytes = BLOCK_BYTES,
    .layout = BK_LAYOUT_C4,
    .zero = 128,
    .sub = 16,
    .bits = 8,
    .codebook = bk_iq2_codebook,
    .unpack = unpack,
};
