/* IQ2_XXS: 256 weights in 66 bytes, in 8 groups of 32: w = d * (scale[g] + 1/2) / 4 * +-grid.
 *     half d; 8 times { byte grid[4]; uint32 rest }.
 * Each byte of grid is 8 weights. rest has 7 bits of signs for each, and the scale in its top 4. */
#include <string.h>

#include "quant/search_grid.h"

enum { BLOCK_BYTES = 66, GROUPS = 2 };

const int8_t bk_iq2_codebook[16] = {8, 25, 43, 0, 0, 0, 0, 0, -8, -25, -43};

static void unpack(const void *row, size_t i, bk_canon *out) {
    const uint8_t *b = (const uint8_t *)row + i / 8 * BLOCK_BYTES, *g = b + GROUPS + i % 8 * 8;
    uint32_t rest = bk_load_le32(g + 4);
    for (size_t j = 0; j < 4; j++) {
        bk_grid_put(bk_iq2_xxs_grid[g[j]], 2, 8, bk_even_signs(rest >> 7 * j & 127),
                    out->q + 8 * j);
    }
    bk_look_up(bk_iq2_codebook, out->q);
    float d = bk_load_half(b) * (0.5f + (float)(rest >> 28)) * 0.25f;
    bk_canon_floats(out, d, d);
}

static const bk_grid_format format = {.grid = BK_GRID_IQ2_XXS,
                                      .codebook = bk_iq2_codebook,
                                      .signs = BK_SIGNS_EVEN,
                                      .group = 32,
                                      .scales = 16,
                                      .unit = 0.125F};

static void search_block(const float *w, const float *h, uint8_t *b) {
    bk_grid_block in;
    bk_grid_search(&format, w, h, &in);
    memcpy(b, in.d, sizeof in.d);
    for (size_t g = 0; g < 8; g++) {
        uint32_t rest = (uint32_t)in.scale[g] << 28;
        for (size_t j = 0; j < 4; j++) {
            b[GROUPS + 8 * g + j] = (uint8_t)in.place[4 * g + j];
            rest |= (uint32_t)(in.signs[4 * g + j] & 127) << 7 * j;
        }
        bk_store_le32(b + GROUPS + 8 * g + 4, rest);
    }
}

static void quantize(const float *x, void *blocks, size_t n) {
    bk_plain_blocks(&bk_quant_iq2_xxs, search_block, x, blocks, n);
}

static void search(const float *x, const float *importance, void *blocks, size_t n) {
    bk_search_blocks(&bk_quant_iq2_xxs, search_block, x, importance, blocks, n);
}

const bk_quant bk_quant_iq2_xxs = {
    .type = BK_TYPE_IQ2_XXS,
    .name = "IQ2_XXS",
    .block_len = 256,
    .block_bytes = BLOCK_BYTES,
    .layout = BK_LAYOUT_C4,
    .zero = 128,
    .sub = 32,
    .bits = 8,
    .codebook = bk_iq2_codebook,
    .quantize = quantize,
    .search = search,
    .unpack = unpack,
};
