/* IQ1_S: 256 weights in 50 bytes, in 8 groups of 32: w = d * (2 * scale + 1) * (grid +- 1/8).
 *     half d; byte qs[32]; uint16 qh[8].
 * Each of qs is the low byte of a place in the grid, 8 weights; its 3 high bits are at 3j of the group's
 * qh, the scale in bits 12..14, and bit 15 says minus 1/8. The codebook has eight times the weights. */
#include "quant/iq_grids.h"

enum { BLOCK_BYTES = 50, QS = 2, QH = 34 };

const int8_t bk_iq1_codebook[16] = {-7, 1, 9, 0, 0, 0, 0, 0, -9, -1, 7};

static void unpack(const void *row, size_t i, bk_canon *out) {
    const uint8_t *b = (const uint8_t *)row + i / 8 * BLOCK_BYTES;
    unsigned qh = bk_load_le16(b + QH + i % 8 * 2);
    for (size_t j = 0; j < 4; j++) {
        unsigned place = b[QS + i % 8 * 4 + j] | (qh >> 3 * j & 7) << 8;
        bk_grid_put(bk_iq1_grid[place], 2, 8, qh >> 15 ? 255 : 0, out->q + 8 * j);
    }
    bk_look_up(bk_iq1_codebook, out->q);
    float d = bk_load_half(b) * (float)(2 * (qh >> 12 & 7) + 1) * 0.125f;
    bk_canon_floats(out, d, d);
}

const bk_quant bk_quant_iq1_s = {
    .type = BK_TYPE_IQ1_S,
    .name = "IQ1_S",
    .block_len = 256,
    .block_bytes = BLOCK_BYTES,
    .layout = BK_LAYOUT_C4,
    .zero = 128,
    .sub = 32,
    .bits = 8,
    .codebook = bk_iq1_codebook,
    .unpack = unpack,
};
