/* Q4_1: 32 weights in 20 bytes, w = d * q + m.
 *     half d; half m; byte qs[16], nibbles as in Q4_0. */
#include "quant/formats.h"

enum { BLOCK_BYTES = 20 };

static void unpack(const void *row, size_t i, bk_canon *out) {
    const uint8_t *b = (const uint8_t *)row + i * BLOCK_BYTES, *qs = b + 4;
    for (size_t j = 0; j < 16; j++) {
        out->q[j] = qs[j] & 15;
        out->q[j + 16] = qs[j] >> 4;
    }
    out->d[0] = out->d[1] = bk_load_half(b);
    out->m = bk_load_half(b + 2);
}

static void dequantize(const void *blocks, float *out, size_t n) {
    bk_canon_dequantize(&bk_quant_q4_1, blocks, out, n);
}

const bk_quant bk_quant_q4_1 = {
    .type = BK_TYPE_Q4_1,
    .name = "Q4_1",
    .block_len = 32,
    .block_bytes = BLOCK_BYTES,
    .layout = BK_LAYOUT_N4,
    .sub = 32,
    .has_min = true,
    .bits = 4,
    .dequantize = dequantize,
    .unpack = unpack,
};
