/* MXFP4 (OCP Microscaling Formats): 32 weights in 17 bytes, w = 2^(e - 127) * fp4[q].
 *     byte e; byte qs[16], nibbles as in Q4_0.
 * fp4 has a sign, 2 bits of exponent and 1 of mantissa: 0, 1/2, 1, 3/2, 2, 3, 4, 6. The codebook has
 * twice that, so d is 2^(e - 128). e = 255, which that paper calls NaN, is the next power here, as in
 * every reader of GGUF. */
#include <math.h>

#include "quant/formats.h"

enum { BLOCK_BYTES = 17, QS = 1 };

static const int8_t codebook[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

static void unpack(const void *row, size_t i, bk_canon *out) {
    const uint8_t *b = (const uint8_t *)row + i * BLOCK_BYTES;
    float d = ldexpf(1, b[0] - 128);
    bk_nibbles(b + QS, out->q);
    bk_look_up(codebook, out->q);
    bk_canon_floats(out, d, d);
}

const bk_quant bk_quant_mxfp4 = {
    .type = BK_TYPE_MXFP4,
    .name = "MXFP4",
    .block_len = 32,
    .block_bytes = BLOCK_BYTES,
    .layout = BK_LAYOUT_C4,
    .scales = BK_SCALES_FLOAT,
    .zero = 128,
    .sub = 32,
    .bits = 8,
    .codebook = codebook,
    .lines_at = QS,
    .unpack = unpack,
};
