/* TQ1_0: 256 weights in 54 bytes, w = d * (q - 1), q a base-3 digit.
 *     byte qs[48]; byte qh[4]; half d.
 * A byte holds 5 digits as a fraction of 256: digit t is the whole part of 3 * (byte * 3^t mod 256) / 256.
 * Weights 0..159 are digits 0 to 4 of the first 32 bytes, 160..239 of the next 16, and 240..255 digits
 * 0 to 3 of qh: all first digits, then all second ones, and so on. */
#include "quant/search_ternary.h"

enum { BLOCK_BYTES = 54, D = 52 };

static uint8_t digit(const uint8_t *b, size_t k) {
    static const uint8_t power[5] = {1, 3, 9, 27, 81};
    size_t from = k < 160 ? 0 : k < 240 ? 32 : 48, n = k < 160 ? 32 : k < 240 ? 16 : 4;
    size_t at = k < 160 ? k : k < 240 ? k - 160 : k - 240;
    return (uint8_t)((uint8_t)(b[from + at % n] * power[at / n]) * 3 >> 8);
}

static void unpack(const void *row, size_t i, bk_canon *out) {
    const uint8_t *b = (const uint8_t *)row + i / 8 * BLOCK_BYTES;
    for (size_t j = 0; j < 32; j++) out->q[j] = digit(b, i % 8 * 32 + j);
    bk_canon_floats(out, bk_load_half(b + D), bk_load_half(b + D));
}

/* n digits, `apart` from one another, as the smallest byte whose first digits they are. */
static uint8_t fraction(const uint8_t *q, size_t n, size_t apart) {
    unsigned sum = 0;
    for (size_t t = 0; t < 5; t++) sum = sum * 3 + (t < n ? q[t * apart] : 0);
    return (uint8_t)((sum * 256 + 242) / 243);
}

static void pack(const uint8_t q[256], uint8_t *b) {
    for (size_t j = 0; j < 32; j++) b[j] = fraction(q + j, 5, 32);
    for (size_t j = 0; j < 16; j++) b[32 + j] = fraction(q + 160 + j, 5, 16);
    for (size_t j = 0; j < 4; j++) b[48 + j] = fraction(q + 240 + j, 4, 4);
}

static void search_block(const float *w, const float *h, uint8_t *b) {
    uint8_t q[256];
    bk_store_half(b + D, bk_search_ternary(w, h, q));
    pack(q, b);
}

static void quantize(const float *x, void *blocks, size_t n) {
    bk_plain_blocks(&bk_quant_tq1_0, search_block, x, blocks, n);
}

static void search(const float *x, const float *importance, void *blocks, size_t n) {
    bk_search_blocks(&bk_quant_tq1_0, search_block, x, importance, blocks, n);
}

const bk_quant bk_quant_tq1_0 = {
    .type = BK_TYPE_TQ1_0,
    .name = "TQ1_0",
    .block_len = 256,
    .block_bytes = BLOCK_BYTES,
    .layout = BK_LAYOUT_N4,
    .zero = 1,
    .sub = 16,
    .bits = 2,
    .d_at = D,
    .quantize = quantize,
    .search = search,
    .unpack = unpack,
};
