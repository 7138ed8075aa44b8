/* Q5_0: 32 weights in 22 bytes, w = d * (q - 16).
 *     half d; uint32 qh: bit j is bit 4 of weight j; byte qs[16], the low nibbles as in Q4_0. */
#include "quant/formats.h"

enum { BLOCK_BYTES = 22 };

static void unpack(const void *row, size_t i, bk_canon *out) {
    const uint8_t *b = (const uint8_t *)row + i * BLOCK_BYTES, *qs = b + 6;
    uint32_t qh = bk_load_le32(b + 2);
    for (size_t j = 0; j < 16; j++) {
        out->q[j] = (uint8_t)((qs[j] & 15) | (qh >> j & 1) << 4);
        out->q[j + 16] = (uint8_t)(qs[j] >> 4 | (qh >> (j + 16) & 1) << 4);
    }
    out->d[0] = out->d[1] = bk_load_half(b);
    out->m = 0;
}

static void dequantize(const void *blocks, float *out, size_t n) {
    bk_canon_dequantize(&bk_quant_q5_0, blocks, out, n);
}

const bk_quant bk_quant_q5_0 = {
    .type = BK_TYPE_Q5_0,
    .name = "Q5_0",
    .block_len = 32,
    .block_bytes = BLOCK_BYTES,
    .layout = BK_LAYOUT_N5,
    .zero = 16,
    .sub = 32,
    .bits = 5,
    .dequantize = dequantize,
    .unpack = unpack,
};
