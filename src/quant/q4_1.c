/* Q4_1: 32 weights in 20 bytes, w = d * q + m.
 *     half d; half m; byte qs[16], nibbles as in Q4_0. */
#include "quant/formats.h"

enum { BLOCK_BYTES = 20, M = 2, QS = 4 };

static void unpack(const void *row, size_t i, bk_canon *out) {
    const uint8_t *b = (const uint8_t *)row + i * BLOCK_BYTES;
    bk_nibbles(b + QS, out->q);
    bk_canon_half(&bk_quant_q4_1, b, out);
}

const bk_quant bk_quant_q4_1 = {
    .type = BK_TYPE_Q4_1,
    .name = "Q4_1",
    .block_len = 32,
    .block_bytes = BLOCK_BYTES,
    .layout = BK_LAYOUT_N4,
    .scales = BK_SCALES_HALF,
    .sub = 32,
    .has_min = true,
    .bits = 4,
    .m_at = M,
    .lines_at = QS,
    .unpack = unpack,
};
