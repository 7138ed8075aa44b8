/* Q8_0: 32 weights in 34 bytes, w = d * q with q a signed byte.
 *     half d; int8 qs[32]. The canonical byte is q + 128. */
#include "quant/formats.h"

enum { BLOCK_BYTES = 34, QS = 2 };

static void unpack(const void *row, size_t i, bk_canon *out) {
    const uint8_t *b = (const uint8_t *)row + i * BLOCK_BYTES;
    for (size_t j = 0; j < 32; j++) out->q[j] = bk_canon_byte(b[QS + j]);
    bk_canon_half(&bk_quant_q8_0, b, out);
}

const bk_quant bk_quant_q8_0 = {
    .type = BK_TYPE_Q8_0,
    .name = "Q8_0",
    .block_len = 32,
    .block_bytes = BLOCK_BYTES,
    .layout = BK_LAYOUT_B8,
    .scales = BK_SCALES_HALF,
    .zero = 128,
    .sub = 32,
    .bits = 8,
    .lines_at = QS,
    .unpack = unpack,
};
