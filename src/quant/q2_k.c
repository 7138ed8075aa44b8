/* Q2_K: 256 weights in 84 bytes, in 16 groups of 16: w = d * scale[g] * q - dmin * min[g].
 *     byte scales[16]: scale in the low, min in the high nibble; byte qs[64]; half d; half dmin.
 * Each half of the block (128 weights, 4 parts of 32) has 32 bytes of qs, part p at their bit 2p. */
#include <string.h>

#include "quant/formats.h"
#include "quant/search.h"

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

static const bk_super_form form = {
    .levels = {0, 3, NULL, NULL},
    .groups = 16,
    .scale_low = 0,
    .scale_high = 15,
    .min_high = 15,
};

static void pack(const bk_super *s, uint8_t *b) {
    memset(b, 0, BLOCK_BYTES);
    for (size_t g = 0; g < 16; g++) b[g] = (uint8_t)(s->scale[g] | s->min[g] << 4);
    for (size_t i = 0; i < 256; i++) /* half i / 128, part i / 32 % 4, byte i % 32 */
        b[QS + i / 128 * 32 + i % 32] |= (uint8_t)(s->q[i] << i / 32 % 4 * 2);
    bk_store_half(b + D, s->d);
    bk_store_half(b + M, s->m);
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
    bk_plain_blocks(&bk_quant_q2_k, plain_block, x, blocks, n);
}

static void search(const float *x, const float *importance, void *blocks, size_t n) {
    bk_search_blocks(&bk_quant_q2_k, search_block, x, importance, blocks, n);
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
    .search = search,
    .unpack = unpack,
    .scale = scale_of,
};
