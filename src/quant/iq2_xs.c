/* IQ2_XS: 256 weights in 74 bytes, in 16 groups of 16: w = d * (scale[g] + 1/2) / 4 * +-grid.
 *     half d; uint16 qs[32]; byte scales[8], scale g in nibble g.
 * Each of qs is 8 weights: 9 bits of grid, 7 of signs. */
#include <string.h>

#include "quant/search_grid.h"

enum { BLOCK_BYTES = 74, QS = 2, SCALES = 66 };

static void unpack(const void *row, size_t i, bk_canon *out) {
    const uint8_t *b = (const uint8_t *)row + i / 8 * BLOCK_BYTES;
    for (size_t j = 0; j < 4; j++) {
        unsigned q = bk_load_le16(b + QS + (i % 8 * 4 + j) * 2);
        bk_grid_put(bk_iq2_xs_grid[q & 511], 2, 8, bk_even_signs(q >> 9), out->q + 8 * j);
    }
    bk_look_up(bk_iq2_codebook, out->q);
    unsigned scales = b[SCALES + i % 8];
    float d = bk_load_half(b);
    bk_canon_floats(out, d * (0.5f + (float)(scales & 15)) * 0.25f,
                    d * (0.5f + (float)(scales >> 4)) * 0.25f);
}

static const bk_grid_format format = {.grid = BK_GRID_IQ2_XS,
                                      .codebook = bk_iq2_codebook,
                                      .signs = BK_SIGNS_EVEN,
                                      .group = 16,
                                      .scales = 16,
                                      .unit = 0.125F};

static void search_block(const float *w, const float *h, uint8_t *b) {
    bk_grid_block in;
    bk_grid_search(&format, w, h, &in);
    memcpy(b, in.d, sizeof in.d);
    for (size_t j = 0; j < 32; j++)
        bk_store_le16(b + QS + 2 * j, (uint16_t)(in.place[j] | (in.signs[j] & 127) << 9));
    for (size_t g = 0; g < 8; g++)
        b[SCALES + g] = (uint8_t)(in.scale[2 * g] | in.scale[2 * g + 1] << 4);
}

static void quantize(const float *x, void *blocks, size_t n) {
    bk_plain_blocks(&bk_quant_iq2_xs, search_block, x, blocks, n);
}

static void search(const float *x, const float *importance, void *blocks, size_t n) {
    bk_search_blocks(&bk_quant_iq2_xs, search_block, x, importance, blocks, n);
}

const bk_quant bk_quant_iq2_xs = {
    .type = BK_TYPE_IQ2_XS,
    .name = "IQ2_XS",
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
