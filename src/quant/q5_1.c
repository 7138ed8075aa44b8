/* Q5_1: 32 weights in 24 bytes, w = d * q + m.
 *     half d; half m; uint32 qh; byte qs[16], bits as in Q5_0. */
#include "quant/formats.h"

enum { BLOCK_BYTES = 24, M = 2, QH = 4, QS = 8 };

static void unpack(const void *row, size_t i, bk_canon *out) {
    const uint8_t *b = (const uint8_t *)row + i * BLOCK_BYTES;
    bk_nibbles(b + QS, out->q);
    bk_fifth_bits(bk_load_le32(b + QH), out->q);
    bk_canon_half(&bk_quant_q5_1, b, out);
}

static void words(const void *row, size_t i, uint32_t out[8]) {
    const uint8_t *b = (const uint8_t *)row + i * BLOCK_BYTES;
    for (size_t j = 0; j < 4; j++) out[j] = bk_load_le32(b + QS + 4 * j);
    out[4] = bk_bit_word(bk_load_le32(b + QH));
}

const bk_quant bk_quant_q5_1 = {
    .type = BK_TYPE_Q5_1,
    .name = "Q5_1",
    .block_len = 32,
    .block_bytes = BLOCK_BYTES,
    .layout = BK_LAYOUT_N5,
    .scales = BK_SCALES_HALF,
    .sub = 32,
    .has_min = true,
    .bits = 5,
    .m_at = M,
    .words = words,
    .unpack = unpack,
};
