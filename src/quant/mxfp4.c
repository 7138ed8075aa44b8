/* MXFP4 (OCP Microscaling Formats): 32 weights in 17 bytes, w = 2^(e - 127) * fp4[q].
 *     byte e; byte qs[16], nibbles as in Q4_0.
 * fp4 has a sign, 2 bits of exponent and 1 of mantissa: 0, 1/2, 1, 3/2, 2, 3, 4, 6. The codebook has
 * twice that, so d is 2^(e - 128). e = 255, which that paper calls NaN, is the next power here, as in
 * every reader of GGUF. */
#include <float.h>
#include <math.h>

#include "quant/formats.h"
#include "quant/search.h"

enum { BLOCK_BYTES = 17, QS = 1 };

static const int8_t codebook[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

static void unpack(const void *row, size_t i, bk_canon *out) {
    const uint8_t *b = (const uint8_t *)row + i * BLOCK_BYTES;
    float d = ldexpf(1, b[0] - 128);
    bk_nibbles(b + QS, out->q);
    bk_look_up(codebook, out->q);
    bk_canon_floats(out, d, d);
}

/* The place of the value nearest to v, of two the smaller one. */
static uint8_t place(float v) {
    static const float middle[7] = {0.5F, 1.5F, 2.5F, 3.5F, 5, 7, 10};
    uint8_t k = 0;
    while (k < 7 && fabsf(v) > middle[k]) k++;
    return (uint8_t)(k > 0 && v < 0 ? k | 8 : k);
}

/* The exponent with which the largest of 32 weights is between the values 8 and 16 of the codebook. */
static int exponent(const float *x) {
    float most = 0;
    int e;
    for (size_t i = 0; i < 32; i++) most = fmaxf(most, fabsf(x[i]));
    if (!(most > 0)) return 0;
    frexpf(fminf(most, FLT_MAX), &e);
    return e + 124 > 0 ? e + 124 : 0;
}

static void round_to(const float *x, int e, uint8_t *b) {
    uint8_t q[32];
    /* In two steps, both of which floats can hold. */
    float first = ldexpf(1, 64 - e / 2), second = ldexpf(1, 64 - (e - e / 2));
    for (size_t i = 0; i < 32; i++) q[i] = place(x[i] * first * second);
    b[0] = (uint8_t)e;
    for (size_t i = 0; i < 16; i++) b[QS + i] = (uint8_t)(q[i] | q[i + 16] << 4);
}

static void quantize(const float *x, void *blocks, size_t n) {
    uint8_t *b = blocks;
    for (; n >= 32; n -= 32, x += 32, b += BLOCK_BYTES) round_to(x, exponent(x), b);
}

static double loss(const float *w, const float *h, const uint8_t *b) {
    double sum = 0;
    float got[32];
    bk_quant_dequantize(&bk_quant_mxfp4, b, got, 32);
    for (size_t i = 0; i < 32; i++) sum += h[i] * ((double)w[i] - got[i]) * ((double)w[i] - got[i]);
    return sum;
}

static void search_block(const float *w, const float *h, uint8_t *b) {
    int plain = exponent(w), best = plain;
    double least = INFINITY;
    for (int e = plain > 2 ? plain - 2 : 0; e <= plain + 1; e++) {
        round_to(w, e, b);
        double now = loss(w, h, b);
        if (now < least) least = now, best = e;
    }
    round_to(w, best, b);
}

static void search(const float *x, const float *importance, void *blocks, size_t n) {
    bk_search_blocks(&bk_quant_mxfp4, search_block, x, importance, blocks, n);
}

const bk_quant bk_quant_mxfp4 = {
    .type = BK_TYPE_MXFP4,
    .name = "MXFP4",
    .block_len = 32,
    .block_bytes = BLOCK_BYTES,
    .layout = BK_LAYOUT_C4,
    .scales = BK_SCALES_FLOAT,
    .zero = 128,
    .sub = 32,
    .bits = 8,
    .codebook = codebook,
    .lines_at = QS,
    .quantize = quantize,
    .search = search,
    .unpack = unpack,
};
