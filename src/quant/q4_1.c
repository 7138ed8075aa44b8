/* Q4_1: 32 weights in 20 bytes, w = d * q + m.
 *     half d; half m; byte qs[16], nibbles as in Q4_0. */
#include <math.h>

#include "quant/formats.h"
#include "quant/search.h"

enum { BLOCK_BYTES = 20, M = 2, QS = 4 };

static void unpack(const void *row, size_t i, bk_canon *out) {
    const uint8_t *b = (const uint8_t *)row + i * BLOCK_BYTES;
    bk_nibbles(b + QS, out->q);
    bk_canon_half(&bk_quant_q4_1, b, out);
}

/* ---- From floats -------------------------------------------------------------------------------- */

static void pack(const uint8_t q[32], uint8_t *b) { bk_pack_nibbles(q, b + QS); }

/* From the smallest to the largest value. What is written are the halves, what the numbers are nearest
 * to the floats, as other programs have it. */
static void plain_block(const float *w, const float *h, uint8_t *b) {
    (void)h;
    uint8_t q[32];
    float min = w[0], max = w[0];
    for (size_t i = 0; i < 32; i++) {
        min = w[i] < min ? w[i] : min;
        max = w[i] > max ? w[i] : max;
    }
    float d = (max - min) / 15, inverse = d != 0 ? 1 / d : 0;
    bk_store_half(b, d);
    bk_store_half(b + M, min);
    for (size_t i = 0; i < 32; i++) q[i] = (uint8_t)fminf((w[i] - min) * inverse + 0.5F, 15);
    pack(q, b);
}

static void search_block(const float *w, const float *h, uint8_t *b) {
    static const bk_levels levels = {0, 15, NULL, NULL};
    uint8_t q[32];
    float d, m;
    bk_search_line(levels.high, false, w, h, 32, &d, &m);
    bk_nearest_levels(&levels, bk_store_half(b, d), bk_store_half(b + M, m), w, 32, q);
    pack(q, b);
}

static void quantize(const float *x, void *blocks, size_t n) {
    bk_plain_blocks(&bk_quant_q4_1, plain_block, x, blocks, n);
}

static void search(const float *x, const float *importance, void *blocks, size_t n) {
    bk_search_blocks(&bk_quant_q4_1, search_block, x, importance, blocks, n);
}

const bk_quant bk_quant_q4_1 = {
    .type = BK_TYPE_Q4_1,
    .name = "Q4_1",
    .block_len = 32,
    .block_bytes = BLOCK_BYTES,
    .layout = BK_LAYOUT_N4,
    .scales = BK_SCALES_HALF,
    .sub = 32,
    .has_min = true,
    .bits = 4,
    .m_at = M,
    .lines_at = QS,
    .quantize = quantize,
    .search = search,
    .unpack = unpack,
};
