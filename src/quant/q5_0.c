/* Q5_0: 32 weights in 22 bytes, w = d * (q - 16).
 *     half d; uint32 qh: bit j is bit 4 of weight j; byte qs[16], the low nibbles as in Q4_0. */
#include <math.h>

#include "quant/formats.h"
#include "quant/search.h"

enum { BLOCK_BYTES = 22, QH = 2, QS = 6 };

static void unpack(const void *row, size_t i, bk_canon *out) {
    const uint8_t *b = (const uint8_t *)row + i * BLOCK_BYTES;
    bk_nibbles(b + QS, out->q);
    bk_fifth_bits(bk_load_le32(b + QH), out->q);
    bk_canon_half(&bk_quant_q5_0, b, out);
}

static void words(const void *row, size_t i, uint32_t out[8]) {
    const uint8_t *b = (const uint8_t *)row + i * BLOCK_BYTES;
    for (size_t j = 0; j < 4; j++) out[j] = bk_load_le32(b + QS + 4 * j);
    out[4] = bk_bit_word(bk_load_le32(b + QH));
}

/* ---- From floats -------------------------------------------------------------------------------- */

static void pack(const uint8_t q[32], uint8_t *b) {
    bk_pack_nibbles(q, b + QS);
    bk_pack_fifth_bits(q, b + QH);
}

/* The value of the largest magnitude becomes -16 * d, whatever its sign: the end of the range that
 * reaches furthest. */
static void plain_block(const float *w, const float *h, uint8_t *b) {
    (void)h;
    uint8_t q[32];
    float d = bk_furthest(w, 32) / -16, inverse = d != 0 ? 1 / d : 0;
    bk_store_half(b, d);
    for (size_t i = 0; i < 32; i++) q[i] = (uint8_t)fminf(w[i] * inverse + 16.5F, 31);
    pack(q, b);
}

static const bk_levels levels = {-16, 15, NULL, NULL};

static void with_scale(const float *w, float d, uint8_t *b) {
    uint8_t q[32];
    bk_nearest_levels(&levels, bk_store_half(b, d), 0, w, 32, q);
    pack(q, b);
}

static void search_block(const float *w, const float *h, uint8_t *b) {
    with_scale(w, bk_search_scale(&levels, w, h, 32), b);
}

static void quantize(const float *x, void *blocks, size_t n) {
    bk_plain_blocks(&bk_quant_q5_0, plain_block, x, blocks, n);
}

static void search(const float *x, const float *importance, void *blocks, size_t n) {
    bk_search_blocks(&bk_quant_q5_0, search_block, x, importance, blocks, n);
}

const bk_quant bk_quant_q5_0 = {
    .type = BK_TYPE_Q5_0,
    .name = "Q5_0",
    .block_len = 32,
    .block_bytes = BLOCK_BYTES,
    .layout = BK_LAYOUT_N5,
    .scales = BK_SCALES_HALF,
    .zero = 16,
    .sub = 32,
    .bits = 5,
    .words = words,
    .quantize = quantize,
    .search = search,
    .unpack = unpack,
};
