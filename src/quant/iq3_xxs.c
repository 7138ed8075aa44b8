/* IQ3_XXS: 256 weights in 98 bytes, in 8 groups of 32: w = d * (scale[g] + 1/2) / 2 * +-grid.
 *     half d; byte qs[64]; uint32 rest[8].
 * Each of qs is 4 weights. rest has 7 bits of signs for each 8, and the scale in its top 4. */
#include <string.h>

#include "quant/search_grid.h"

enum { BLOCK_BYTES = 98, QS = 2, REST = 66 };

static const int8_t codebook[16] = {4,  12,  20,  28,  36,  44,  52,  62,
                                    -4, -12, -20, -28, -36, -44, -52, -62};

static void unpack(const void *row, size_t i, bk_canon *out) {
    const uint8_t *b = (const uint8_t *)row + i / 8 * BLOCK_BYTES, *qs = b + QS + i % 8 * 8;
    uint32_t rest = bk_load_le32(b + REST + i % 8 * 4);
    for (size_t j = 0; j < 8; j++) {
        unsigned signs = bk_even_signs(rest >> 7 * (j / 2) & 127) >> j % 2 * 4;
        bk_grid_put(bk_iq3_xxs_grid[qs[j]], 4, 4, signs, out->q + 4 * j);
    }
    bk_look_up(codebook, out->q);
    float d = bk_load_half(b) * (0.5f + (float)(rest >> 28)) * 0.5f;
    bk_canon_floats(out, d, d);
}

static const bk_grid_format format = {.grid = BK_GRID_IQ3_XXS,
                                      .codebook = codebook,
                                      .signs = BK_SIGNS_EVEN,
                                      .group = 32,
                                      .scales = 16,
                                      .unit = 0.25F};

static void search_block(const float *w, const float *h, uint8_t *b) {
    bk_grid_block in;
    bk_grid_search(&format, w, h, &in);
    memcpy(b, in.d, sizeof in.d);
    for (size_t j = 0; j < 64; j++) b[QS + j] = (uint8_t)in.place[j];
    for (size_t g = 0; g < 8; g++) {
        uint32_t rest = (uint32_t)in.scale[g] << 28;
        for (size_t j = 0; j < 4; j++) rest |= (uint32_t)(in.signs[4 * g + j] & 127) << 7 * j;
        bk_store_le32(b + REST + 4 * g, rest);
    }
}

static void quantize(const float *x, void *blocks, size_t n) {
    bk_plain_blocks(&bk_quant_iq3_xxs, search_block, x, blocks, n);
}

static void search(const float *x, const float *importance, void *blocks, size_t n) {
    bk_search_blocks(&bk_quant_iq3_xxs, search_block, x, importance, blocks, n);
}

const bk_quant bk_quant_iq3_xxs = {
    .type = BK_TYPE_IQ3_XXS,
    .name = "IQ3_XXS",
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
