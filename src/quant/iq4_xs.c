/* IQ4_XS: 256 weights in 136 bytes, in 8 groups of 32: w = d * (scale[g] - 32) * codebook[q].
 *     half d; uint16 scales_h; byte scales_l[4]; byte qs[128].
 * A scale has its 4 low bits in nibble g of scales_l and its 2 high bits at bit 2g of scales_h.
 * Group g has 16 bytes of qs, nibbles as in Q4_0, and the codebook of IQ4_NL. */
#include <string.h>

#include "quant/formats.h"
#include "quant/search.h"

enum { BLOCK_BYTES = 136, SCALES_H = 2, SCALES_L = 4, QS = 8 };

static void scale_of(const uint8_t *block, size_t g, int8_t *scale, uint8_t *min) {
    int low = block[SCALES_L + g / 2] >> g % 2 * 4 & 15;
    int high = bk_load_le16(block + SCALES_H) >> 2 * g & 3;
    *scale = (int8_t)((low | high << 4) - 32);
    *min = 0;
}

static void unpack(const void *row, size_t i, bk_canon *out) {
    const uint8_t *b = (const uint8_t *)row + i / 8 * BLOCK_BYTES;
    bk_nibbles(b + QS + i % 8 * 16, out->q);
    bk_look_up(bk_iq4_codebook, out->q);
    bk_canon_super(&bk_quant_iq4_xs, b, i % 8, out);
}

/* ---- From floats -------------------------------------------------------------------------------- */

static const bk_super_form form = {
    .levels = {-127, 127, bk_iq4_codebook, bk_iq4_nearest},
    .groups = 8,
    .scale_low = -32,
    .scale_high = 31,
    .min_high = 0,
};

static void pack(const bk_super *s, uint8_t *b) {
    unsigned high = 0;
    memset(b, 0, BLOCK_BYTES);
    for (size_t g = 0; g < 8; g++) {
        unsigned scale = (unsigned)(s->scale[g] + 32);
        b[SCALES_L + g / 2] |= (uint8_t)((scale & 15) << g % 2 * 4);
        high |= scale >> 4 << 2 * g;
        bk_pack_nibbles(s->q + 32 * g, b + QS + 16 * g);
    }
    bk_store_le16(b + SCALES_H, (uint16_t)high);
    bk_store_half(b, s->d);
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
    bk_plain_blocks(&bk_quant_iq4_xs, plain_block, x, blocks, n);
}

static void search(const float *x, const float *importance, void *blocks, size_t n) {
    bk_search_blocks(&bk_quant_iq4_xs, search_block, x, importance, blocks, n);
}

const bk_quant bk_quant_iq4_xs = {
    .type = BK_TYPE_IQ4_XS,
    .name = "IQ4_XS",
    .block_len = 256,
    .block_bytes = BLOCK_BYTES,
    .layout = BK_LAYOUT_C4,
    .scales = BK_SCALES_SUPER,
    .zero = 128,
    .sub = 32,
    .bits = 8,
    .codebook = bk_iq4_codebook,
    .lines_at = QS,
    .quantize = quantize,
    .search = search,
    .unpack = unpack,
    .scale = scale_of,
};
