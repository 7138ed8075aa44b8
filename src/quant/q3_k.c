/* Q3_K: 256 weights in 110 bytes, in 16 groups of 16: w = d * (scale[g] - 32) * (q - 4).
 *     byte hmask[32]; byte qs[64]; byte scales[12]; half d.
 * Part i (of 8, 32 weights each) has its 2 low bits as in Q2_K and its high bit at bit i of hmask.
 * A scale has 6 bits: the 4 low ones of g < 8 are in the low nibble of byte g, of the others in the
 * high nibble of byte g - 8; the 2 high ones are in byte 8 + g % 4 at bit 2 * (g / 4). */
#include <string.h>

#include "quant/formats.h"
#include "quant/search.h"

enum { BLOCK_BYTES = 110, QS = 32, SCALES = 96, D = 108 };

static void scale_of(const uint8_t *block, size_t g, int8_t *scale, uint8_t *min) {
    const uint8_t *s = block + SCALES;
    int low = s[g % 8] >> g / 8 * 4 & 15, high = s[8 + g % 4] >> g / 4 * 2 & 3;
    *scale = (int8_t)((low | high << 4) - 32);
    *min = 0;
}

static void unpack(const void *row, size_t i, bk_canon *out) {
    const uint8_t *b = (const uint8_t *)row + i / 8 * BLOCK_BYTES;
    const uint8_t *qs = b + QS + i % 8 / 4 * 32;
    for (size_t j = 0; j < 32; j++) {
        out->q[j] = (uint8_t)((qs[j] >> i % 4 * 2 & 3) | (b[j] >> i % 8 & 1) << 2);
    }
    bk_canon_super(&bk_quant_q3_k, b, i % 8, out);
}

/* ---- From floats -------------------------------------------------------------------------------- */

static const bk_super_form form = {
    .levels = {-4, 3, NULL, NULL},
    .groups = 16,
    .scale_low = -32,
    .scale_high = 31,
    .min_high = 0,
};

static void pack(const bk_super *s, uint8_t *b) {
    memset(b, 0, BLOCK_BYTES);
    for (size_t g = 0; g < 16; g++) {
        int scale = s->scale[g] + 32;
        b[SCALES + g % 8] |= (uint8_t)((scale & 15) << g / 8 * 4);
        b[SCALES + 8 + g % 4] |= (uint8_t)(scale >> 4 << g / 4 * 2);
    }
    for (size_t i = 0; i < 256; i++) {
        b[QS + i / 128 * 32 + i % 32] |= (uint8_t)((s->q[i] & 3) << i / 32 % 4 * 2);
        b[i % 32] |= (uint8_t)(s->q[i] >> 2 << i / 32);
    }
    bk_store_half(b + D, s->d);
}

static void plain_block(const float *w, const float *h, uint8_t *b) {
    (void)h;
    bk_super s;
    bk_super_plain(&form, w, &s);
    pack(&s, b);
}

static void search_block(const float *w, const float *h, uint8_t *b) {
    bk_super s;
    bk_super_search(&form, w, h, &s);
    pack(&s, b);
}

static void quantize(const float *x, void *blocks, size_t n) {
    bk_plain_blocks(&bk_quant_q3_k, plain_block, x, blocks, n);
}

static void search(const float *x, const float *importance, void *blocks, size_t n) {
    bk_search_blocks(&bk_quant_q3_k, search_block, x, importance, blocks, n);
}

const bk_quant bk_quant_q3_k = {
    .type = BK_TYPE_Q3_K,
    .name = "Q3_K",
    .block_len = 256,
    .block_bytes = BLOCK_BYTES,
    .layout = BK_LAYOUT_N4,
    .scales = BK_SCALES_SUPER,
    .zero = 4,
    .sub = 16,
    .bits = 3,
    .d_at = D,
    .quantize = quantize,
    .search = search,
    .unpack = unpack,
    .scale = scale_of,
};
