/* IQ4_NL: 32 weights in 18 bytes, w = d * codebook[q]: steps that are narrow near zero.
 *     half d; byte qs[16], nibbles as in Q4_0. */
#include "quant/formats.h"
#include "quant/search.h"

enum { BLOCK_BYTES = 18, QS = 2 };

const int8_t bk_iq4_codebook[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                    1,    13,   25,  38,  53,  69,  89,  113};

const float bk_iq4_nearest[256] = {
    -127, -127, -127, -127, -127, -127, -127, -127, -127, -127, -127, -127, -127, -104, -104, -104,
    -104, -104, -104, -104, -104, -104, -104, -104, -104, -104, -104, -104, -104, -104, -104, -104,
    -104, -104, -104, -83,  -83,  -83,  -83,  -83,  -83,  -83,  -83,  -83,  -83,  -83,  -83,  -83,
    -83,  -83,  -83,  -83,  -83,  -83,  -83,  -65,  -65,  -65,  -65,  -65,  -65,  -65,  -65,  -65,
    -65,  -65,  -65,  -65,  -65,  -65,  -65,  -65,  -49,  -49,  -49,  -49,  -49,  -49,  -49,  -49,
    -49,  -49,  -49,  -49,  -49,  -49,  -49,  -35,  -35,  -35,  -35,  -35,  -35,  -35,  -35,  -35,
    -35,  -35,  -35,  -35,  -22,  -22,  -22,  -22,  -22,  -22,  -22,  -22,  -22,  -22,  -22,  -22,
    -22,  -10,  -10,  -10,  -10,  -10,  -10,  -10,  -10,  -10,  -10,  -10,  1,    1,    1,    1,
    1,    1,    1,    1,    1,    1,    1,    1,    13,   13,   13,   13,   13,   13,   13,   13,
    13,   13,   13,   13,   25,   25,   25,   25,   25,   25,   25,   25,   25,   25,   25,   25,
    38,   38,   38,   38,   38,   38,   38,   38,   38,   38,   38,   38,   38,   38,   53,   53,
    53,   53,   53,   53,   53,   53,   53,   53,   53,   53,   53,   53,   53,   53,   69,   69,
    69,   69,   69,   69,   69,   69,   69,   69,   69,   69,   69,   69,   69,   69,   69,   69,
    89,   89,   89,   89,   89,   89,   89,   89,   89,   89,   89,   89,   89,   89,   89,   89,
    89,   89,   89,   89,   89,   89,   113,  113,  113,  113,  113,  113,  113,  113,  113,  113,
    113,  113,  113,  113,  113,  113,  113,  113,  113,  113,  113,  113,  113,  113,  113,  113,
};

static void unpack(const void *row, size_t i, bk_canon *out) {
    const uint8_t *b = (const uint8_t *)row + i * BLOCK_BYTES;
    bk_nibbles(b + QS, out->q);
    bk_look_up(bk_iq4_codebook, out->q);
    bk_canon_half(&bk_quant_iq4_nl, b, out);
}

/* ---- From floats -------------------------------------------------------------------------------- */

static void pack(const uint8_t q[32], uint8_t *b) { bk_pack_nibbles(q, b + QS); }

static const bk_levels levels = {-127, 127, bk_iq4_codebook, bk_iq4_nearest};

static void with_scale(const float *w, float d, uint8_t *b) {
    uint8_t q[32];
    bk_nearest_levels(&levels, bk_store_half(b, d), 0, w, 32, q);
    pack(q, b);
}

/* The value of the largest magnitude becomes -127 * d. */
static void plain_block(const float *w, const float *h, uint8_t *b) {
    (void)h;
    with_scale(w, bk_furthest(w, 32) / -127, b);
}

static void search_block(const float *w, const float *h, uint8_t *b) {
    with_scale(w, bk_search_scale(&levels, w, h, 32), b);
}

static void quantize(const float *x, void *blocks, size_t n) {
    bk_plain_blocks(&bk_quant_iq4_nl, plain_block, x, blocks, n);
}

static void search(const float *x, const float *importance, void *blocks, size_t n) {
    bk_search_blocks(&bk_quant_iq4_nl, search_block, x, importance, blocks, n);
}

const bk_quant bk_quant_iq4_nl = {
    .type = BK_TYPE_IQ4_NL,
    .name = "IQ4_NL",
    .block_len = 32,
    .block_bytes = BLOCK_BYTES,
    .layout = BK_LAYOUT_C4,
    .scales = BK_SCALES_HALF,
    .zero = 128,
    .sub = 32,
    .bits = 8,
    .codebook = bk_iq4_codebook,
    .lines_at = QS,
    .quantize = quantize,
    .search = search,
    .unpack = unpack,
};
