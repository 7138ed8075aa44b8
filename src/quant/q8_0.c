/* Q8_0: 32 weights in 34 bytes, w = d * q with q a signed byte.
 *     half d; int8 qs[32]. The canonical byte is q + 128. */
#include <math.h>

#include "quant/formats.h"
#include "quant/search.h"

enum { BLOCK_BYTES = 34, QS = 2 };

static void unpack(const void *row, size_t i, bk_canon *out) {
    const uint8_t *b = (const uint8_t *)row + i * BLOCK_BYTES;
    for (size_t j = 0; j < 32; j++) out->q[j] = bk_canon_byte(b[QS + j]);
    bk_canon_half(&bk_quant_q8_0, b, out);
}

/* d is the largest magnitude / 127, q the nearest whole number, halves away from zero. */
static void quantize(const float *x, void *blocks, size_t n) {
    uint8_t *b = blocks;
    for (; n >= 32; n -= 32, x += 32, b += BLOCK_BYTES) {
        float max = 0;
        for (size_t i = 0; i < 32; i++) max = fmaxf(max, fabsf(x[i]));
        float d = fminf(max / 127.0f, 65504), inverse = d != 0 ? 1.0f / d : 0;
        bk_store_half(b, d);
        for (size_t i = 0; i < 32; i++) {
            float q = fminf(fmaxf(roundf(x[i] * inverse), -127), 127);
            b[QS + i] = (uint8_t)(int8_t)q;
        }
    }
}

static void search_block(const float *w, const float *h, uint8_t *b) {
    static const bk_levels levels = {-127, 127, NULL, NULL};
    uint8_t q[32];
    bk_nearest_levels(&levels, bk_store_half(b, bk_search_scale(&levels, w, h, 32)), 0, w, 32, q);
    for (size_t i = 0; i < 32; i++) b[QS + i] = (uint8_t)(q[i] - 127);
}

static void search(const float *x, const float *importance, void *blocks, size_t n) {
    bk_search_blocks(&bk_quant_q8_0, search_block, x, importance, blocks, n);
}

const bk_quant bk_quant_q8_0 = {
    .type = BK_TYPE_Q8_0,
    .name = "Q8_0",
    .block_len = 32,
    .block_bytes = BLOCK_BYTES,
    .layout = BK_LAYOUT_B8,
    .scales = BK_SCALES_HALF,
    .zero = 128,
    .sub = 32,
    .bits = 8,
    .lines_at = QS,
    .quantize = quantize,
    .search = search,
    .unpack = unpack,
};
