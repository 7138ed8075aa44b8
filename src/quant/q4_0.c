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

/* ---- From floats -------------------------------------------------------------------------------- */

static void pack(const uint8_t q[32], uint8_t *b) { bk_pack_nibbles(q, b + QS); }

/* The value of the largest magnitude becomes -8 * d, whatever its sign: the end of the range that
 * reaches furthest. */
static void plain_block(const float *w, const float *h, uint8_t *b) {
    (void)h;
    uint8_t q[32];
    float d = bk_furthest(w, 32) / -8, inverse = d != 0 ? 1 / d : 0;
    bk_store_half(b, d);
    for (size_t i = 0; i < 32; i++) q[i] = (uint8_t)fminf(w[i] * inverse + 8.5F, 15);
    pack(q, b);
}

static const bk_levels levels = {-8, 7, NULL, NULL};

static void with_scale(const float *w, float d, uint8_t *b) {
    uint8_t q[32];
    bk_nearest_levels(&levels, bk_store_half(b, d), 0, w, 32, q);
    pack(q, b);
}

static void search_block(const float *w, const float *h, uint8_t *b) {
    with_scale(w, bk_search_scale(&levels, w, h, 32), b);
}

static void quantize(const float *x, void *blocks, size_t n) {
    bk_plain_blocks(&bk_quant_q4_0, plain_block, x, blocks, n);
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
