/* TQ2_0: 256 weights in 66 bytes, w = d * (q - 1): minus one, zero, one (and two).
 *     byte qs[64]; half d.
 * Each half of the block (128 weights, 4 parts of 32) has 32 bytes of qs, part p at their bit 2p. */
#include "quant/search_ternary.h"

enum { BLOCK_BYTES = 66, D = 64 };

static void unpack(const void *row, size_t i, bk_canon *out) {
    const uint8_t *b = (const uint8_t *)row + i / 8 * BLOCK_BYTES, *qs = b + i % 8 / 4 * 32;
    for (size_t j = 0; j < 32; j++) out->q[j] = qs[j] >> i % 4 * 2 & 3;
    bk_canon_floats(out, bk_load_half(b + D), bk_load_half(b + D));
}

static void pack(const uint8_t q[256], uint8_t *b) {
    for (size_t j = 0; j < 64; j++) {
        const uint8_t *part = q + j / 32 * 128 + j % 32;
        b[j] = (uint8_t)(part[0] | part[32] << 2 | part[64] << 4 | part[96] << 6);
    }
}

static void search_block(const float *w, const float *h, uint8_t *b) {
    uint8_t q[256];
    bk_store_half(b + D, bk_search_ternary(w, h, q));
    pack(q, b);
}

static void quantize(const float *x, void *blocks, size_t n) {
    bk_plain_blocks(&bk_quant_tq2_0, search_block, x, blocks, n);
}

static void search(const float *x, const float *importance, void *blocks, size_t n) {
    bk_search_blocks(&bk_quant_tq2_0, search_block, x, importance, blocks, n);
}

const bk_quant bk_quant_tq2_0 = {
    .type = BK_TYPE_TQ2_0,
    .name = "TQ2_0",
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
