/* IQ1_M: 256 weights in 56 bytes, in 16 groups of 16: w = d * (2 * scale[g] + 1) * (grid +- 1/8).
 *     byte qs[32]; byte qh[16]; uint16 scales[4].
 * As IQ1_S, but 8 weights have a nibble of qh: 3 high bits of their place in the grid, and bit 3 for
 * minus 1/8. Each of scales has 4 scales of 3 bits, and on top a nibble of the half d, the lowest first. */
#include "quant/iq_grids.h"

enum { BLOCK_BYTES = 56, QH = 32, SCALES = 48 };

static float block_d(const uint8_t *b) {
    unsigned h = 0;
    for (size_t j = 0; j < 4; j++) h |= (bk_load_le16(b + SCALES + 2 * j) >> 12u) << 4 * j;
    return bk_f16_to_f32((uint16_t)h);
}

static void unpack(const void *row, size_t i, bk_canon *out) {
    const uint8_t *b = (const uint8_t *)row + i / 8 * BLOCK_BYTES;
    for (size_t j = 0; j < 4; j++) {
        size_t at = i % 8 * 4 + j;
        unsigned high = b[QH + at / 2] >> at % 2 * 4 & 15u;
        bk_grid_put(bk_iq1_grid[b[at] | (high & 7) << 8], 2, 8, high & 8 ? 255 : 0, out->q + 8 * j);
    }
    bk_look_up(bk_iq1_codebook, out->q);
    unsigned scales = (unsigned)bk_load_le16(b + SCALES + i % 8 / 2 * 2) >> i % 2 * 6;
    float d = block_d(b) * 0.125f;
    bk_canon_floats(out, d * (float)(2 * (scales & 7) + 1), d * (float)(2 * (scales >> 3 & 7) + 1));
}

const bk_quant bk_quant_iq1_m = {
    .type = BK_TYPE_IQ1_M,
    .name = "IQ1_M",
    .block_len = 256,
    .block_bytes = BLOCK_BYTES,
    .layout = BK_LAYOUT_C4,
    .zero = 128,
    .sub = 16,
    .bits = 8,
    .codebook = bk_iq1_codebook,
    .unpack = unpack,
};
