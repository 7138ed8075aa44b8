/* IQ3_XXS: 256 weights in 98 bytes, in 8 groups of 32: w = d * (scale[g] + 1/2) / 2 * +-grid.
 *     half d; byte qs[64]; uint32 rest[8].
 * Each of qs is 4 weights. rest has 7 bits of signs for each 8, and the scale in its top 4. */
#include "quant/iq_grids.h"

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
    .unpack = unpack,
};
