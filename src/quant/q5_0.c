/* Q5_0: 32 weights in 22 bytes, w = d * (q - 16).
 *     half d; uint32 qh: bit j is bit 4 of weight j; byte qs[16], the low nibbles as in Q4_0. */
#include "quant/formats.h"

enum { BLOCK_BYTES = 22, QH = 2, QS = 6 };

static void unpack(const void *row, size_t i, bk_canon *out) {
    const uint8_t *b = (const uint8_t *)row + i * BLOCK_BYTES;
    bk_nibbles(b + QS, out->q);
    bk_fifth_bits(bk_load_le32(b + QH), out->q);
    bk_canon_half(&bk_quant_q5_0, b, out);
}

static void words(const void *row, size_t i, uint32_t out[8]) {
    const uint8_t *b = (const uint8_t *)row + i * BLOCK_BYTES;
    for (size_t j = 0; j < 4; j++) out[j] = bk_load_le32(b + QS + 4 * j);
    out[4] = bk_bit_word(bk_load_le32(b + QH));
}

const bk_quant bk_quant_q5_0 = {
    .type = BK_TYPE_Q5_0,
    .name = "Q5_0",
    .block_len = 32,
    .block_bytes = BLOCK_BYTES,
    .layout = BK_LAYOUT_N5,
    .scales = BK_SCALES_HALF,
    .zero = 16,
    .sub = 32,
    .bits = 5,
    .words = words,
    .unpack = unpack,
};
