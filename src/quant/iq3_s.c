/* IQ3_S: 256 weights in 110 bytes, in 8 groups of 32: w = d * (1 + 2 * scale[g]) * +-grid.
 *     half d; byte qs[64]; byte qh[8]; byte signs[32]; byte scales[4], scale g in nibble g.
 * Each of qs is the low byte of a place in the grid, 4 weights; its high bit is in qh. */
#include <string.h>

#include "quant/search_grid.h"

enum { BLOCK_BYTES = 110, QS = 2, QH = 66, SIGNS = 74, SCALES = 106 };

static const int8_t codebook[16] = {1, 3, 5, 7, 9, 11, 13, 15, -1, -3, -5, -7, -9, -11, -13, -15};

static void unpack(const void *row, size_t i, bk_canon *out) {
    const uint8_t *b = (const uint8_t *)row + i / 8 * BLOCK_BYTES, *qs = b + QS + i % 8 * 8;
    for (size_t j = 0; j < 8; j++) {
        unsigned place = qs[j] | (b[QH + i % 8] >> j & 1u) << 8;
        unsigned signs = (unsigned)b[SIGNS + i % 8 * 4 + j / 2] >> j % 2 * 4;
        bk_grid_put(bk_iq3_s_grid[place], 4, 4, signs, out->q + 4 * j);
    }
    bk_look_up(codebook, out->q);
    unsigned scale = b[SCALES + i % 8 / 2] >> i % 2 * 4 & 15;
    float d = bk_load_half(b) * (float)(1 + 2 * scale);
    bk_canon_floats(out, d, d);
}

static const bk_grid_format format = {.grid = BK_GRID_IQ3_S,
                                      .codebook = codebook,
                                      .signs = BK_SIGNS_FREE,
                                      .group = 32,
                                      .scales = 16,
                                      .unit = 1};

static void search_block(const float *w, const float *h, uint8_t *b) {
    bk_grid_block in;
    bk_grid_search(&format, w, h, &in);
    memcpy(b, in.d, sizeof in.d);
    memset(b + QH, 0, SIGNS - QH);
    for (size_t j = 0; j < 64; j++) {
        b[QS + j] = (uint8_t)in.place[j];
        b[QH + j / 8] |= (uint8_t)(in.place[j] >> 8 << j % 8);
    }
    memcpy(b + SIGNS, in.signs, sizeof in.signs);
    for (size_t g = 0; g < 4; g++)
        b[SCALES + g] = (uint8_t)(in.scale[2 * g] | in.scale[2 * g + 1] << 4);
}

static void quantize(const float *x, void *blocks, size_t n) {
    bk_plain_blocks(&bk_quant_iq3_s, search_block, x, blocks, n);
}

static void search(const float *x, const float *importance, void *blocks, size_t n) {
    bk_search_blocks(&bk_quant_iq3_s, search_block, x, importance, blocks, n);
}

const bk_quant bk_quant_iq3_s = {
    .type = BK_TYPE_IQ3_S,
    .name = "IQ3_S",
    .block_len = 256,
    .block_bytes = BLOCK_BYTES,
    .layout = BK_LAYOUT_C4,
    .zero = 128,
    .sub = 32,
    .bits = 8,
    .codebook = codebook,
    .quantize = quantize,
    .search = search,
    .unpack = unpack,
};
