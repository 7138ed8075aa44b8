/* IQ4_NL: 32 weights in 18 bytes, w = d * codebook[q]: steps that are narrow near zero.
 *     half d; byte qs[16], nibbles as in Q4_0. */
#include "quant/formats.h"

enum { BLOCK_BYTES = 18, QS = 2 };

const int8_t bk_iq4_codebook[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                    1,    13,   25,  38,  53,  69,  89,  113};

static void unpack(const void *row, size_t i, bk_canon *out) {
    const uint8_t *b = (const uint8_t *)row + i * BLOCK_BYTES;
    bk_nibbles(b + QS, out->q);
    bk_look_up(bk_iq4_codebook, out->q);
    bk_canon_half(&bk_quant_iq4_nl, b, out);
}

const bk_quant bk_quant_iq4_nl = {
    .type = BK_TYPE_IQ4_NL,
    .name = "IQ4_NL",
    .block_len = 32,
    .block_bytes = BLOCK_BYTES,
    .layout = BK_LAYOUT_C4,
    .scales = BK_SCALES_HALF,
    .zero = 128,
    .sub = 32,
    .bits = 8,
    .codebook = bk_iq4_codebook,
    .lines_at = QS,
    .unpack = unpack,
};
