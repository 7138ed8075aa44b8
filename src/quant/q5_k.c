/* Q5_K: 256 weights in 176 bytes, in 8 groups of 32: w = d * scale[g] * q - dmin * min[g].
 *     half d; half dmin; byte scales[12]; byte qh[32]; byte qs[128].
 * Scales and low nibbles as in Q4_K; weight j of group g has its high bit at bit g of qh[j]. */
#include <string.h>

#include "quant/formats.h"
#include "quant/search.h"

enum { BLOCK_BYTES = 176, M = 2, QH = 16, QS = 48 };

static void unpack(const void *row, size_t i, bk_canon *out) {
    const uint8_t *b = (const uint8_t *)row + i / 8 * BLOCK_BYTES;
    const uint8_t *qs = b + QS + i % 8 / 2 * 32, *qh = b + QH;
    for (size_t j = 0; j < 32; j++) {
        out->q[j] = (uint8_t)((qs[j] >> i % 2 * 4 & 15) | (qh[j] >> i % 8 & 1) << 4);
    }
    bk_canon_super(&bk_quant_q5_k, b, i % 8, out);
}

static void words(const void *row, size_t i, uint32_t out[8]) {
    const uint8_t *b = (const uint8_t *)row + i / 8 * BLOCK_BYTES;
    bk_nibble_words(b + QS + i % 8 / 2 * 32, i % 2 * 4, out);
    out[4] = 0;
    for (size_t j = 0; j < 8; j++)
        out[4] |= (bk_load_le32(b + QH + 4 * j) >> i % 8 & 0x01010101) << j;
}

/* ---- From floats -------------------------------------------------------------------------------- */

static const bk_super_form form = {
    .levels = {0, 31, NULL, NULL},
    .groups = 8,
    .scale_low = 0,
    .scale_high = 63,
    .min_high = 63,
};

static void pack(const bk_super *s, uint8_t *b) {
    bk_q4_k_pack_scales(s, b);
    bk_q4_k_pack_nibbles(s, b + QS);
    memset(b + QH, 0, 32);
    for (size_t i = 0; i < 256; i++) b[QH + i % 32] |= (uint8_t)(s->q[i] >> 4 << i / 32);
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
    bk_plain_blocks(&bk_quant_q5_k, plain_block, x, blocks, n);
}

static void search(const float *x, const float *importance, void *blocks, size_t n) {
    bk_search_blocks(&bk_quant_q5_k, search_block, x, importance, blocks, n);
}

const bk_quant bk_quant_q5_k = {
    .type = BK_TYPE_Q5_K,
    .name = "Q5_K",
    .block_len = 256,
    .block_bytes = BLOCK_BYTES,
    .layout = BK_LAYOUT_N5,
    .scales = BK_SCALES_SUPER,
    .sub = 32,
    .has_min = true,
    .bits = 5,
    .m_at = M,
    .words = words,
    .quantize = quantize,
    .search = search,
    .unpack = unpack,
    .scale = bk_q4_k_scale,
};
