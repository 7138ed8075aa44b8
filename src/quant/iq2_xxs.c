/* IQ2_XXS: 256 weights in 66 bytes, in 8 groups of 32: w = d * (scale[g] + 1/2) / 4 * +-grid.
 *     half d; 8 times { byte grid[4]; uint32 rest }.
 * Each byte of grid is 8 weights. rest has 7 bits of signs for each, and the scale in its top 4. */
#include "quant/iq_grids.h"

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
    .unpack = unpack,
};
