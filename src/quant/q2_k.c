/* Q2_K: 256 weights in 84 bytes, in 16 groups of 16: w = d * scale[g] * q - dmin * min[g].
 *     byte scales[16]: scale in the low, min in the high nibble; byte qs[64]; half d; half dmin.
 * Each half of the block (128 weights, 4 parts of 32) has 32 bytes of qs, part p at their bit 2p. */
#include <math.h>
#include <string.h>

#include "quant/formats.h"

enum { BLOCK_BYTES = 84, QS = 16, D = 80, M = 82 };

static void scale_of(const uint8_t *block, size_t g, int8_t *scale, uint8_t *min) {
    *scale = (int8_t)(block[g] & 15);
    *min = block[g] >> 4;
}

static void unpack(const void *row, size_t i, bk_canon *out) {
    const uint8_t *b = (const uint8_t *)row + i / 8 * BLOCK_BYTES;
    const uint8_t *qs = b + QS + i % 8 / 4 * 32;
    for (size_t j = 0; j < 32; j++) out->q[j] = qs[j] >> i % 4 * 2 & 3;
    bk_canon_super(&bk_quant_q2_k, b, i % 8, out);
}

/* ---- From floats -------------------------------------------------------------------------------- */

enum { GROUP = 16, GROUPS = 16 };
static const float HALF_MAX = 65504;

/* What a byte of 0..most times `unit` gives nearest to v. */
static uint8_t nearest(float v, float unit, float most) {
    return (uint8_t)fminf(fmaxf(unit > 0 ? v / unit + 0.5f : 0, 0), most);
}

/* The largest of 16 as 15 times a half. */
static float unit_of(const float *v, uint8_t *half) {
    float most = 0;
    for (size_t g = 0; g < GROUPS; g++) most = fmaxf(most, v[g]);
    uint16_t bits = bk_f32_to_f16(fminf(most / 15, HALF_MAX));
    bk_store_le16(half, bits);
    return bk_f16_to_f32(bits);
}

/* Plain rounding: a group's four steps reach from its smallest value (or zero) to its largest. */
static void quantize_block(const float *x, uint8_t *b) {
    float step[GROUPS], low[GROUPS];
    for (size_t g = 0; g < GROUPS; g++) {
        float min = 0, max = -HALF_MAX;
        for (size_t i = 0; i < GROUP; i++) {
            min = fminf(min, x[g * GROUP + i]);
            max = fmaxf(max, x[g * GROUP + i]);
        }
        step[g] = (max - min) / 3;
        low[g] = -min;
    }
    float d = unit_of(step, b + D), dmin = unit_of(low, b + M);
    memset(b, 0, D);
    for (size_t g = 0; g < GROUPS; g++) {
        uint8_t scale = nearest(step[g], d, 15), min = nearest(low[g], dmin, 15);
        float unit = d * (float)scale, base = dmin * (float)min;
        b[g] = (uint8_t)(scale | min << 4);
        for (size_t i = 0; i < GROUP; i++) {
            size_t k = g * GROUP + i; /* half k / 128, part k / 32 % 4, byte k % 32 */
            b[QS + k / 128 * 32 + k % 32] |=
                (uint8_t)(nearest(x[k] + base, unit, 3) << k / 32 % 4 * 2);
        }
    }
}

static void quantize(const float *x, void *blocks, size_t n) {
    uint8_t *b = blocks;
    for (; n >= 256; n -= 256, x += 256, b += BLOCK_BYTES) quantize_block(x, b);
}

const bk_quant bk_quant_q2_k = {
    .type = BK_TYPE_Q2_K,
    .name = "Q2_K",
    .block_len = 256,
    .block_bytes = BLOCK_BYTES,
    .layout = BK_LAYOUT_N4,
    .scales = BK_SCALES_SUPER,
    .sub = 16,
    .has_min = true,
    .bits = 2,
    .d_at = D,
    .m_at = M,
    .quantize = quantize,
    .unpack = unpack,
    .scale = scale_of,
};
