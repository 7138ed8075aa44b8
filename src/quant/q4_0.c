/* Q4_0: 32 weights in 18 bytes, w = d * (q - 8).
 *     half d; byte qs[16]: byte j holds weight j in its low and weight j + 16 in its high nibble. */
#include "quant/formats.h"

enum { BLOCK_BYTES = 18 };

static void unpack(const void *row, size_t i, bk_canon *out) {
    const uint8_t *b = (const uint8_t *)row + i * BLOCK_BYTES, *qs = b + 2;
    for (size_t j = 0; j < 16; j++) {
        out->q[j] = qs[j] & 15;
        out->q[j + 16] = qs[j] >> 4;
    }
    out->d[0] = out->d[1] = bk_load_half(b);
    out->m = 0;
}

static void dequantize(const void *blocks, float *out, size_t n) {
    bk_canon_dequantize(&bk_quant_q4_0, blocks, out, n);
}

const bk_quant bk_quant_q4_0 = {
    .type = BK_TYPE_Q4_0,
    .name = "Q4_0",
    .block_len = 32,
    .block_bytes = BLOCK_BYTES,
    .layout = BK_LAYOUT_N4,
    .zero = 8,
    .sub = 32,
    .bits = 4,
    .dequantize = dequantize,
    .unpack = unpack,
};
