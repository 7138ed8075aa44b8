/* Q4_0: 32 weights in 18 bytes, w = d * (q - 8).
 *     half d; byte qs[16]: byte j holds weight j in its low and weight j + 16 in its high nibble. */
#include <math.h>

#include "quant/formats.h"
#include "quant/search.h"

enum { BLOCK_BYTES = 18, QS = 2 };

static void unpack(const void *row, size_t i, bk_canon *out) {
    const uint8_t *b = (const uint8_t *)row + i * BLOCK_BYTES;
    bk_nibbles(b + QS, out->q);
    bk_canon_half(&bk_quant_q4_0, b, out);
}

/* The nibble of a weight: 8 + x / d, to the nearest. */
static uint8_t nibble(float x, float inverse) {
    return (uint8_t)fminf(fmaxf(x * inverse + 8.5f, 0), 15);
}

/* The value of the largest magnitude becomes -8 * d, whatever its sign: the end of the range that
 * reaches furthest. */
static void quantize(const float *x, void *blocks, size_t n) {
    uint8_t *b = blocks;
    for (; n >= 32; n -= 32, x += 32, b += BLOCK_BYTES) {
        float max = 0;
        for (size_t i = 0; i < 32; i++)
            if (fabsf(x[i]) > fabsf(max)) max = x[i];
        float d = max / -8.0f, inverse = d != 0 ? 1.0f / d : 0;
        bk_store_le16(b, bk_f32_to_f16(d));
        for (size_t i = 0; i < 16; i++)
            b[QS + i] = (uint8_t)(nibble(x[i], inverse) | nibble(x[i + 16], inverse) << 4);
    }
}

static void search_block(const float *w, const float *h, uint8_t *b) {
    static const bk_levels levels = BK_LEVELS_WHOLE(8, 7);
    uint16_t bits = bk_search_half(bk_search_scale(&levels, w, h, 32));
    float d = bk_f16_to_f32(bits), inverse = d != 0 ? 1 / d : 0;
    bk_store_le16(b, bits);
    for (size_t i = 0; i < 16; i++)
        b[QS + i] = (uint8_t)(nibble(w[i], inverse) | nibble(w[i + 16], inverse) << 4);
}

static void search(const float *x, const float *importance, void *blocks, size_t n) {
    bk_search_blocks(&bk_quant_q4_0, search_block, x, importance, blocks, n);
}

const bk_quant bk_quant_q4_0 = {
    .type = BK_TYPE_Q4_0,
    .name = "Q4_0",
    .block_len = 32,
    .block_bytes = BLOCK_BYTES,
    .layout = BK_LAYOUT_N4,
    .scales = BK_SCALES_HALF,
    .zero = 8,
    .sub = 32,
    .bits = 4,
    .lines_at = QS,
    .quantize = quantize,
    .search = search,
    .unpack = unpack,
};
