/* IQ2_S: 256 weights in 82 bytes, in 16 groups of 16: w = d * (scale[g] + 1/2) / 4 * +-grid.
 *     half d; byte qs[32]; byte signs[32]; byte qh[8]; byte scales[8], scale g in nibble g.
 * Each of qs is the low byte of a place in the grid, 8 weights; its 2 high bits are in qh. */
#include <string.h>

#include "quant/search_grid.h"

enum { BLOCK_BYTES = 82, QS = 2, SIGNS = 34, QH = 66, SCALES = 74 };

static void unpack(const void *row, size_t i, bk_canon *out) {
    const uint8_t *b = (const uint8_t *)row + i / 8 * BLOCK_BYTES;
    for (size_t j = 0; j < 4; j++) {
        size_t at = i % 8 * 4 + j;
        unsigned place = b[QS + at] | (b[QH + i % 8] >> 2 * j & 3u) << 8;
        bk_grid_put(bk_iq2_s_grid[place], 2, 8, b[SIGNS + at], out->q + 8 * j);
    }
    bk_look_up(bk_iq2_codebook, out->q);
    unsigned scales = b[SCALES + i % 8];
    float d = bk_load_half(b);
    bk_canon_floats(out, d * (0.5f + (float)(scales & 15)) * 0.25f,
                    d * (0.5f + (float)(scales >> 4)) * 0.25f);
}

static const bk_grid_format format = {.grid = BK_GRID_IQ2_S,
                                      .codebook = bk_iq2_codebook,
                                      .signs = BK_SIGNS_FREE,
                                      .group = 16,
                                      .scales = 16,
                                      .unit = 0.125F};

static void search_block(const float *w, const float *h, uint8_t *b) {
    bk_grid_block in;
    bk_grid_search(&format, w, h, &in);
    memcpy(b, in.d, sizeof in.d);
    memset(b + QH, 0, SCALES - QH);
    for (size_t j = 0; j < 32; j++) {
        b[QS + j] = (uint8_t)in.place[j];
        b[SIGNS + j] = in.signs[j];
        b[QH + j / 4] |= (uint8_t)(in.place[j] >> 8 << j % 4 * 2);
    }
    for (size_t g = 0; g < 8; g++)
        b[SCALES + g] = (uint8_t)(in.scale[2 * g] | in.scale[2 * g + 1] << 4);
}

static void quantize(const float *x, void *blocks, size_t n) {
    bk_plain_blocks(&bk_quant_iq2_s, search_block, x, blocks, n);
}

static void search(const float *x, const float *importance, void *blocks, size_t n) {
    bk_search_blocks(&bk_quant_iq2_s, search_block, x, importance, blocks, n);
}

const bk_quant bk_quant_iq2_s = {
    .type = BK_TYPE_IQ2_S,
    .name = "IQ2_S",
    .block_len = 256,
    .block_bytes = BLOCK_BYTES,
    .layout = BK_LAYOUT_C4,
    .zero = 128,
    .sub = 16,
    .bits = 8,
    .codebook = bk_iq2_codebook,
    .quantize = quantize,
    .search = search,
    .unpack = unpack,
};
