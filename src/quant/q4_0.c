/* Q4_0: 32 weights in 18 bytes, w = d * (q - 8).
 *     half d; byte qs[16]: byte j holds weight j in its low and weight j + 16 in its high nibble. */
#include "quant/formats.h"

enum { BLOCK_BYTES = 18, QS = 2 };

static void unpack(const void *row, size_t i, bk_canon *out) {
    const uint8_t *b = (const uint8_t *)row + i * BLOCK_BYTES;
    bk_nibbles(b + QS, out->q);
    bk_canon_half(&bk_quant_q4_0, b, out);
}

const bk_quant bk_quant_q4_0 = {
    .type = BK_TYPE_Q4_0,
    .name = "Q4_0",
    .block_len = 32,
    .block_bytes = BLOCK_BYTES,
    .layout = BK_LAYOUT_N4,
    .scales = BK_SCALES_HALF,
    .zero = 8,
    .sub = 32,
    .bits = 4,
    .lines_at = QS,
    .unpack = unpack,
};
