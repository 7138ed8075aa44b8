/* IQ1_M: 256 weights in 56 bytes, in 16 groups of 16: w = d * (2 * scale[g] + 1) * (grid +- 1/8).
 *     byte qs[32]; byte qh[16]; uint16 scales[4].
 * As IQ1_S, but 8 weights have a nibble of qh: 3 high bits of their place in the grid, and bit 3 for
 * minus 1/8. Each of scales has 4 scales of 3 bits, and on top a nibble of the half d, the lowest first. */
#include <string.h>

#include "quant/search_grid.h"

enum { BLOCK_BYTES = 56, QH = 32, SCALES = 48 };

static float block_d(const uint8_t *b) {
    unsigned h = 0;
    for (size_t j = 0; j < 4; j++) h |= (bk_load_le16(b + SCALES + 2 * j) >> 12u) << 4 * j;
    return bk_f16_to_f32((uint16_t)h);
}

static void unpack(const void *row, size_t i, bk_canon *out) {
    const uint8_t *b = (const uint8_t *)row + i / 8 * BLOCK_BYTES;
    for (size_t j = 0; j < 4; j++) {
        size_t at = i % 8 * 4 + j;
        unsigned high = b[QH + at / 2] >> at % 2 * 4 & 15u;
        bk_grid_put(bk_iq1_grid[b[at] | (high & 7) << 8], 2, 8, high & 8 ? 255 : 0, out->q + 8 * j);
    }
    bk_look_up(bk_iq1_codebook, out->q);
    unsigned scales = (unsigned)bk_load_le16(b + SCALES + i % 8 / 2 * 2) >> i % 2 * 6;
    float d = block_d(b) * 0.125f;
    bk_canon_floats(out, d * (float)(2 * (scales & 7) + 1), d * (float)(2 * (scales >> 3 & 7) + 1));
}

static const bk_grid_format format = {.grid = BK_GRID_IQ1,
                                      .codebook = bk_iq1_codebook,
                                      .signs = BK_SHIFT_EIGHT,
                                      .group = 16,
                                      .scales = 8,
                                      .unit = 0.125F};

static void search_block(const float *w, const float *h, uint8_t *b) {
    bk_grid_block in;
    bk_grid_search(&format, w, h, &in);
    memset(b + QH, 0, SCALES - QH);
    for (size_t j = 0; j < 32; j++) {
        unsigned high = (unsigned)in.place[j] >> 8 | (unsigned)in.signs[j] << 3;
        b[j] = (uint8_t)in.place[j];
        b[QH + j / 2] |= (uint8_t)(high << j % 2 * 4);
    }
    for (size_t k = 0; k < 4; k++) {
        unsigned scales = (bk_load_le16(in.d) >> 4 * k & 15u) << 12;
        for (size_t g = 0; g < 4; g++) scales |= (unsigned)in.scale[4 * k + g] << 3 * g;
        bk_store_le16(b + SCALES + 2 * k, (uint16_t)scales);
    }
}

static void quantize(const float *x, void *blocks, size_t n) {
    bk_plain_blocks(&bk_quant_iq1_m, search_block, x, blocks, n);
}

static void search(const float *x, const float *importance, void *blocks, size_t n) {
    bk_search_blocks(&bk_quant_iq1_m, search_block, x, importance, blocks, n);
}

const bk_quant bk_quant_iq1_m = {
    .type = BK_TYPE_IQ1_M,
    .name = "IQ1_M",
    .block_len = 256,
    .block_bytes = BLOCK_BYTES,
    .layout = BK_LAYOUT_C4,
    .zero = 128,
    .sub = 16,
    .bits = 8,
    .codebook = bk_iq1_codebook,
    .quantize = quantize,
    .search = search,
    .unpack = unpack,
};
