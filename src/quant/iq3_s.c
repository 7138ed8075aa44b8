/* IQ3_S: 256 weights in 110 bytes, in 8 groups of 32: w = d * (1 + 2 * scale[g]) * +-grid.
 *     half d; byte qs[64]; byte qh[8]; byte signs[32]; byte scales[4], scale g in nibble g.
 * Each of qs is the low byte of a place in the grid, 4 weights; its high bit is in qh. */
#include "quant/iq_grids.h"

enum { BLOCK_BYTES = 110, QS = 2, QH = 66, SIGNS = 74, SCALES = 106 };

static const int8_t codebook[16] = {1, 3, 5, 7, 9, 11, 13, 15, -1, -3, -5, -7, -9, -11, -13, -15};

static void unpack(const void *row, size_t i, bk_canon *out) {
    const uint8_t *b = (const uint8_t *)row + i / 8 * BLOCK_BYTES, *qs = b + QS + i % 8 * 8;
    for (size_t j = 0; j < 8; j++) {
        unsigned place = qs[j] | (b[QH + i % 8] >> j & 1u) << 8;
        unsigned signs = (unsigned)b[SIGNS + i % 8 * 4 + j / 2] >> j % 2 * 4;
        bk_grid_put(bk_iq3_s_grid[place], 4, 4, signs, out->q + 4 * j);
    }
    bk_look_up(codebook, out->q);
    unsigned scale = b[SCALES + i % 8 / 2] >> i % 2 * 4 & 15;
    float d = bk_load_half(b) * (float)(1 + 2 * scale);
    bk_canon_floats(out, d, d);
}

const bk_quant bk_quant_iq3_s = {
    .type = BK_TYPE_IQ3_S,
    .name = "IQ3_S",
    .block_len = 256,
    .block_bytes = BLOCK_BYTES,
    .layout = BK_LAYOUT_C4,
    .zero = 128,
    .sub = 32,
    .bits = 8,
    .codebook = codebook,
    .unpack = unpack,
};
