/* IQ4_XS: 256 weights in 136 bytes, in 8 groups of 32: w = d * (scale[g] - 32) * codebook[q].
 *     half d; uint16 scales_h; byte scales_l[4]; byte qs[128].
 * A scale has its 4 low bits in nibble g of scales_l and its 2 high bits at bit 2g of scales_h.
 * Group g has 16 bytes of qs, nibbles as in Q4_0, and the codebook of IQ4_NL. */
#include "quant/formats.h"

enum { BLOCK_BYTES = 136, SCALES_H = 2, SCALES_L = 4, QS = 8 };

static void scale_of(const uint8_t *block, size_t g, int8_t *scale, uint8_t *min) {
    int low = block[SCALES_L + g / 2] >> g % 2 * 4 & 15;
    int high = bk_load_le16(block + SCALES_H) >> 2 * g & 3;
    *scale = (int8_t)((low | high << 4) - 32);
    *min = 0;
}

static void unpack(const void *row, size_t i, bk_canon *out) {
    const uint8_t *b = (const uint8_t *)row + i / 8 * BLOCK_BYTES;
    bk_nibbles(b + QS + i % 8 * 16, out->q);
    bk_look_up(bk_iq4_codebook, out->q);
    bk_canon_super(&bk_quant_iq4_xs, b, i % 8, out);
}

const bk_quant bk_quant_iq4_xs = {
    .type = BK_TYPE_IQ4_XS,
    .name = "IQ4_XS",
    .block_len = 256,
    .block_bytes = BLOCK_BYTES,
    .layout = BK_LAYOUT_C4,
    .scales = BK_SCALES_SUPER,
    .zero = 128,
    .sub = 32,
    .bits = 8,
    .codebook = bk_iq4_codebook,
    .lines_at = QS,
    .unpack = unpack,
    .scale = scale_of,
};
