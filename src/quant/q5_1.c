/* Q5_1: 32 weights in 24 bytes, w = d * q + m.
 *     half d; half m; uint32 qh; byte qs[16], bits as in Q5_0. */
#include <math.h>

#include "quant/formats.h"
#include "quant/search.h"

enum { BLOCK_BYTES = 24, M = 2, QH = 4, QS = 8 };

static void unpack(const void *row, size_t i, bk_canon *out) {
    const uint8_t *b = (const uint8_t *)row + i * BLOCK_BYTES;
    bk_nibbles(b + QS, out->q);
    bk_fifth_bits(bk_load_le32(b + QH), out->q);
    bk_canon_half(&bk_quant_q5_1, b, out);
}

static void words(const void *row, size_t i, uint32_t out[8]) {
    const uint8_t *b = (const uint8_t *)row + i * BLOCK_BYTES;
    for (size_t j = 0; j < 4; j++) out[j] = bk_load_le32(b + QS + 4 * j);
    out[4] = bk_bit_word(bk_load_le32(b + QH));
}

/* ---- From floats -------------------------------------------------------------------------------- */

static void pack(const uint8_t q[32], uint8_t *b) {
    bk_pack_nibbles(q, b + QS);
    bk_pack_fifth_bits(q, b + QH);
}

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
    float d = (max - min) / 31, inverse = d != 0 ? 1 / d : 0;
    bk_store_half(b, d);
    bk_store_half(b + M, min);
    for (size_t i = 0; i < 32; i++) q[i] = (uint8_t)fminf((w[i] - min) * inverse + 0.5F, 31);
    pack(q, b);
}

static void search_block(const float *w, const float *h, uint8_t *b) {
    static const bk_levels levels = {0, 31, NULL, NULL};
    uint8_t q[32];
    float d, m;
    bk_search_line(levels.high, false, w, h, 32, &d, &m);
    bk_nearest_levels(&levels, bk_store_half(b, d), bk_store_half(b + M, m), w, 32, q);
    pack(q, b);
}

static void quantize(const float *x, void *blocks, size_t n) {
    bk_plain_blocks(&bk_quant_q5_1, plain_block, x, blocks, n);
}

static void search(const float *x, const float *importance, void *blocks, size_t n) {
    bk_search_blocks(&bk_quant_q5_1, search_block, x, importance, blocks, n);
}

const bk_quant bk_quant_q5_1 = {
    .type = BK_TYPE_Q5_1,
    .name = "Q5_1",
    .block_len = 32,
    .block_bytes = BLOCK_BYTES,
    .layout = BK_LAYOUT_N5,
    .scales = BK_SCALES_HALF,
    .sub = 32,
    .has_min = true,
    .bits = 5,
    .m_at = M,
    .words = words,
    .quantize = quantize,
    .search = search,
    .unpack = unpack,
};
