/* Q4_K: 256 weights in 144 bytes, in 8 groups of 32: w = d * scale[g] * q - dmin * min[g].
 *     half d; half dmin; byte scales[12]; byte qs[128].
 * scale and min are 6 bits each. Groups 0..3 have theirs in the low 6 bits of bytes g and g + 4;
 * groups 4..7 have 4 low bits in the nibbles of byte g + 4 and 2 high bits in the top of bytes
 * g - 4 and g. Bytes 32 * p .. + 31 of qs hold group 2p in the low and 2p + 1 in the high nibbles. */
#include "quant/formats.h"

enum { BLOCK_BYTES = 144, M = 2, SCALES = 4, QS = 16 };

void bk_q4_k_scale(const uint8_t *block, size_t g, int8_t *scale, uint8_t *min) {
    const uint8_t *s = block + SCALES;
    if (g < 4) {
        *scale = (int8_t)(s[g] & 63);
        *min = s[g + 4] & 63;
    } else {
        *scale = (int8_t)((s[g + 4] & 15) | s[g - 4] >> 6 << 4);
        *min = (uint8_t)(s[g + 4] >> 4 | s[g] >> 6 << 4);
    }
}

static void unpack(const void *row, size_t i, bk_canon *out) {
    const uint8_t *b = (const uint8_t *)row + i / 8 * BLOCK_BYTES;
    const uint8_t *qs = b + QS + i % 8 / 2 * 32;
    for (size_t j = 0; j < 32; j++) out->q[j] = qs[j] >> i % 2 * 4 & 15;
    bk_canon_super(&bk_quant_q4_k, b, i % 8, out);
}

static void words(const void *row, size_t i, uint32_t out[8]) {
    const uint8_t *b = (const uint8_t *)row + i / 8 * BLOCK_BYTES;
    bk_nibble_words(b + QS + i % 8 / 2 * 32, i % 2 * 4, out);
}

const bk_quant bk_quant_q4_k = {
    .type = BK_TYPE_Q4_K,
    .name = "Q4_K",
    .block_len = 256,
    .block_bytes = BLOCK_BYTES,
    .layout = BK_LAYOUT_N4,
    .scales = BK_SCALES_SUPER,
    .sub = 32,
    .has_min = true,
    .bits = 4,
    .m_at = M,
    .words = words,
    .unpack = unpack,
    .scale = bk_q4_k_scale,
};
