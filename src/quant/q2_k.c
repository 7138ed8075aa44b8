/* Q2_K: 256 weights in 84 bytes, in 16 groups of 16: w = d * scale[g] * q - dmin * min[g].
 *     byte scales[16]: scale in the low, min in the high nibble; byte qs[64]; half d; half dmin.
 * Each half of the block (128 weights, 4 parts of 32) has 32 bytes of qs, part p at their bit 2p. */
#include "quant/formats.h"

enum { BLOCK_BYTES = 84, QS = 16, D = 80, M = 82 };

static void scale_of(const uint8_t *block, size_t g, int8_t *scale, uint8_t *min) {
    *scale = (int8_t)(block[g] & 15);
    *min = block[g] >> 4;
}

static void unpack(const void *row, size_t i, bk_canon *out) {
    const uint8_t *b = (const uint8_t *)row + i / 8 * BLOCK_BYTES;
    const uint8_t *qs = b + QS + i % 8 / 4 * 32;
    for (size_t j = 0; j < 32; j++) out->q[j] = qs[j] >> i % 4 * 2 & 3;
    bk_canon_super(&bk_quant_q2_k, b, i % 8, out);
}

const bk_quant bk_quant_q2_k = {
    .type = BK_TYPE_Q2_K,
    .name = "Q2_K",
    .block_len = 256,
    .block_bytes = BLOCK_BYTES,
    .layout = BK_LAYOUT_N4,
    .scales = BK_SCALES_SUPER,
    .sub = 16,
    .has_min = true,
    .bits = 2,
    .d_at = D,
    .m_at = M,
    .unpack = unpack,
    .scale = scale_of,
};
