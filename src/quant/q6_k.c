/* Q6_K: 256 weights in 210 bytes, in 16 groups of 16: w = d * scale[g] * (q - 32).
 *     byte ql[128]; byte qh[64]; int8 scales[16]; half d.
 * Each half of the block (128 weights, 4 parts of 32) has 64 bytes of ql and 32 of qh. Part p has
 * its low nibbles in bytes 32 * (p % 2) .. + 31 of ql, low nibbles for p < 2 and high ones above,
 * and its 2 high bits at bit 2p of the bytes of qh. */
#include <string.h>

#include "quant/formats.h"
#include "quant/search.h"

enum { BLOCK_BYTES = 210, QH = 128, SCALES = 192, D = 208 };

static void scale_of(const uint8_t *block, size_t g, int8_t *scale, uint8_t *min) {
    *scale = (int8_t)block[SCALES + g];
    *min = 0;
}

static void unpack(const void *row, size_t i, bk_canon *out) {
    const uint8_t *b = (const uint8_t *)row + i / 8 * BLOCK_BYTES;
    size_t half = i % 8 / 4, part = i % 4;
    const uint8_t *ql = b + 64 * half + part % 2 * 32, *qh = b + QH + 32 * half;
    size_t low = part / 2 * 4, high = part * 2;
    for (size_t j = 0; j < 32; j++) {
        out->q[j] = (uint8_t)((ql[j] >> low & 15) | (qh[j] >> high & 3) << 4);
    }
    bk_canon_super(&bk_quant_q6_k, b, i % 8, out);
}

static void words(const void *row, size_t i, uint32_t out[8]) {
    const uint8_t *b = (const uint8_t *)row + i / 8 * BLOCK_BYTES;
    size_t half = i % 8 / 4, part = i % 4;
    const uint8_t *qh = b + QH + 32 * half;
    bk_nibble_words(b + 64 * half + part % 2 * 32, part / 2 * 4, out);
    out[4] = out[5] = 0;
    for (size_t j = 0; j < 8; j++)
        out[4 + j / 4] |= (bk_load_le32(qh + 4 * j) >> part * 2 & 0x03030303) << j % 4 * 2;
}

/* ---- From floats -------------------------------------------------------------------------------- */

static const bk_super_form form = {
    .levels = {-32, 31, NULL, NULL},
    .groups = 16,
    .scale_low = -128,
    .scale_high = 127,
    .min_high = 0,
};

static void pack(const bk_super *s, uint8_t *b) {
    memset(b, 0, BLOCK_BYTES);
    for (size_t i = 0; i < 256; i++) {
        size_t half = i / 128, part = i / 32 % 4, k = i % 32;
        b[64 * half + part % 2 * 32 + k] |= (uint8_t)((s->q[i] & 15) << part / 2 * 4);
        b[QH + 32 * half + k] |= (uint8_t)(s->q[i] >> 4 << part * 2);
    }
    for (size_t g = 0; g < 16; g++) b[SCALES + g] = (uint8_t)s->scale[g];
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
    bk_plain_blocks(&bk_quant_q6_k, plain_block, x, blocks, n);
}

static void search(const float *x, const float *importance, void *blocks, size_t n) {
    bk_search_blocks(&bk_quant_q6_k, search_block, x, importance, blocks, n);
}

const bk_quant bk_quant_q6_k = {
    .type = BK_TYPE_Q6_K,
    .name = "Q6_K",
    .block_len = 256,
    .block_bytes = BLOCK_BYTES,
    .layout = BK_LAYOUT_N6,
    .scales = BK_SCALES_SUPER,
    .zero = 32,
    .sub = 16,
    .bits = 6,
    .d_at = D,
    .words = words,
    .quantize = quantize,
    .search = search,
    .unpack = unpack,
    .scale = scale_of,
};
