/* TQ2_0: 256 weights in 66 bytes, w = d * (q - 1): minus one, zero, one (and two).
 *     byte qs[64]; half d.
 * Each half of the block (128 weights, 4 parts of 32) has 32 bytes of qs, part p at their bit 2p. */
#include "quant/formats.h"

enum { BLOCK_BYTES = 66, D = 64 };

static void unpack(const void *row, size_t i, bk_canon *out) {
    const uint8_t *b = (const uint8_t *)row + i / 8 * BLOCK_BYTES, *qs = b + i % 8 / 4 * 32;
    for (size_t j = 0; j < 32; j++) out->q[j] = qs[j] >> i % 4 * 2 & 3;
    bk_canon_floats(out, bk_load_half(b + D), bk_load_half(b + D));
}

const bk_quant bk_quant_tq2_0 = {
    .type = BK_TYPE_TQ2_0,
    .name = "TQ2_0",
    .block_len = 256,
    .block_bytes = BLOCK_BYTES,
    .layout = BK_LAYOUT_N4,
    .zero = 1,
    .sub = 16,
    .bits = 2,
    .d_at = D,
    .unpack = unpack,
};
