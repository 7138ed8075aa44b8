/* Q8_0: 32 weights in 34 bytes, w = d * q with q a signed byte.
 *     half d; int8 qs[32]. The canonical byte is q + 128. */
#include "quant/formats.h"

enum { BLOCK_BYTES = 34 };

static void unpack(const void *row, size_t i, bk_canon *out) {
    const uint8_t *b = (const uint8_t *)row + i * BLOCK_BYTES, *qs = b + 2;
    /* Two's complement plus 128 is the top bit turned over. */
    for (size_t j = 0; j < 32; j++) out->q[j] = qs[j] ^ 0x80;
    out->d[0] = out->d[1] = bk_load_half(b);
    out->m = 0;
}

static void dequantize(const void *blocks, float *out, size_t n) {
    bk_canon_dequantize(&bk_quant_q8_0, blocks, out, n);
}

const bk_quant bk_quant_q8_0 = {
    .type = BK_TYPE_Q8_0,
    .name = "Q8_0",
    .block_len = 32,
    .block_bytes = BLOCK_BYTES,
    .layout = BK_LAYOUT_B8,
    .zero = 128,
    .sub = 32,
    .bits = 8,
    .dequantize = dequantize,
    .unpack = unpack,
};
