/* Q3_K: 256 weights in 110 bytes, in 16 groups of 16: w = d * (scale[g] - 32) * (q - 4).
 *     byte hmask[32]; byte qs[64]; byte scales[12]; half d.
 * Part i (of 8, 32 weights each) has its 2 low bits as in Q2_K and its high bit at bit i of hmask.
 * A scale has 6 bits: the 4 low ones of g < 8 are in the low nibble of byte g, of the others in the
 * high nibble of byte g - 8; the 2 high ones are in byte 8 + g % 4 at bit 2 * (g / 4). */
#include "quant/formats.h"

enum { BLOCK_BYTES = 110, QS = 32, SCALES = 96, D = 108 };

static void scale_of(const uint8_t *block, size_t g, int8_t *scale, uint8_t *min) {
    const uint8_t *s = block + SCALES;
    int low = s[g % 8] >> g / 8 * 4 & 15, high = s[8 + g % 4] >> g / 4 * 2 & 3;
    *scale = (int8_t)((low | high << 4) - 32);
    *min = 0;
}

static void unpack(const void *row, size_t i, bk_canon *out) {
    const uint8_t *b = (const uint8_t *)row + i / 8 * BLOCK_BYTES;
    const uint8_t *qs = b + QS + i % 8 / 4 * 32;
    for (size_t j = 0; j < 32; j++) {
        out->q[j] = (uint8_t)((qs[j] >> i % 4 * 2 & 3) | (b[j] >> i % 8 & 1) << 2);
    }
    bk_canon_super(&bk_quant_q3_k, b, i % 8, out);
}

const bk_quant bk_quant_q3_k = {
    .type = BK_TYPE_Q3_K,
    .name = "Q3_K",
    .block_len = 256,
    .block_bytes = BLOCK_BYTES,
    .layout = BK_LAYOUT_N4,
    .scales = BK_SCALES_SUPER,
    .zero = 4,
    .sub = 16,
    .bits = 3,
    .d_at = D,
    .unpack = unpack,
    .scale = scale_of,
};
