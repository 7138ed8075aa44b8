/* IQ1_S: 256 weights in 50 bytes, in 8 groups of 32: w = d * (2 * scale + 1) * (grid +- 1/8).
 *     half d; byte qs[32]; uint16 qh[8].
 * Each of qs is the low byte of a place in the grid, 8 weights; its 3 high bits are at 3j of the group's
 * qh, the scale in bits 12..14, and bit 15 says minus 1/8. The codebook has eight times the weights. */
#include <string.h>

#include "quant/search_grid.h"

enum { BLOCK_BYTES = 50, QS = 2, QH = 34 };

const int8_t bk_iq1_codebook[16] = {-7, 1, 9, 0, 0, 0, 0, 0, -9, -1, 7};

static void unpack(const void *row, size_t i, bk_canon *out) {
    const uint8_t *b = (const uint8_t *)row + i / 8 * BLOCK_BYTES;
    unsigned qh = bk_load_le16(b + QH + i % 8 * 2);
    for (size_t j = 0; j < 4; j++) {
        unsigned place = b[QS + i % 8 * 4 + j] | (qh >> 3 * j & 7) << 8;
        bk_grid_put(bk_iq1_grid[place], 2, 8, qh >> 15 ? 255 : 0, out->q + 8 * j);
    }
    bk_look_up(bk_iq1_codebook, out->q);
    float d = bk_load_half(b) * (float)(2 * (qh >> 12 & 7) + 1) * 0.125f;
    bk_canon_floats(out, d, d);
}

static const bk_grid_format format = {.grid = BK_GRID_IQ1,
                                      .codebook = bk_iq1_codebook,
                                      .signs = BK_SHIFT_GROUP,
                                      .group = 32,
                                      .scales = 8,
                                      .unit = 0.125F};

static void search_block(const float *w, const float *h, uint8_t *b) {
    bk_grid_block in;
    bk_grid_search(&format, w, h, &in);
    memcpy(b, in.d, sizeof in.d);
    for (size_t g = 0; g < 8; g++) {
        unsigned qh = (unsigned)in.scale[g] << 12 | (unsigned)in.signs[4 * g] << 15;
        for (size_t j = 0; j < 4; j++) {
            b[QS + 4 * g + j] = (uint8_t)in.place[4 * g + j];
            qh |= (unsigned)in.place[4 * g + j] >> 8 << 3 * j;
        }
        bk_store_le16(b + QH + 2 * g, (uint16_t)qh);
    }
}

static void quantize(const float *x, void *blocks, size_t n) {
    bk_plain_blocks(&bk_quant_iq1_s, search_block, x, blocks, n);
}

static void search(const float *x, const float *importance, void *blocks, size_t n) {
    bk_search_blocks(&bk_quant_iq1_s, search_block, x, importance, blocks, n);
}

const bk_quant bk_quant_iq1_s = {
    .type = BK_TYPE_IQ1_S,
    .name = "IQ1_S",
    .block_len = 256,
    .block_bytes = BLOCK_BYTES,
    .layout = BK_LAYOUT_C4,
    .zero = 128,
    .sub = 32,
    .bits = 8,
    .codebook = bk_iq1_codebook,
    .quantize = quantize,
    .search = search,
    .unpack = unpack,
};
