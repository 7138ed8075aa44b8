/* Rounding to the types whose weights are entries of a grid, to ternary ones and to MXFP4: against a search
 * through all entries and signs, and at the edges of what floats can be. */
#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"
#include "quant/iq_grids.h"

enum { BLOCK = 256, MOST_BYTES = 136 };

typedef enum sign_rule { FREE, EVEN, SHIFT_GROUP, SHIFT_EIGHT } sign_rule;

static const struct grid_type {
    bk_type type;
    const uint16_t *grid;
    size_t n, len; /* entries, weights of each */
    sign_rule signs;
} grid_types[] = {
    {BK_TYPE_IQ1_S, bk_iq1_grid, 2048, 8, SHIFT_GROUP},
    {BK_TYPE_IQ1_M, bk_iq1_grid, 2048, 8, SHIFT_EIGHT},
    {BK_TYPE_IQ2_XXS, bk_iq2_xxs_grid, 256, 8, EVEN},
    {BK_TYPE_IQ2_XS, bk_iq2_xs_grid, 512, 8, EVEN},
    {BK_TYPE_IQ2_S, bk_iq2_s_grid, 1024, 8, FREE},
    {BK_TYPE_IQ3_XXS, bk_iq3_xxs_grid, 256, 4, EVEN},
    {BK_TYPE_IQ3_S, bk_iq3_s_grid, 512, 4, FREE},
};
static const bk_type all_types[] = {
    BK_TYPE_IQ1_S,   BK_TYPE_IQ1_M, BK_TYPE_IQ2_XXS, BK_TYPE_IQ2_XS, BK_TYPE_IQ2_S,
    BK_TYPE_IQ3_XXS, BK_TYPE_IQ3_S, BK_TYPE_TQ1_0,   BK_TYPE_TQ2_0,  BK_TYPE_MXFP4,
};

/* Heavy tails: most of a trained matrix is small. */
static void random_weights(uint64_t seed, float *w, float *h, size_t n) {
    bk_rng r;
    bk_rng_seed(&r, seed, 3);
    for (size_t i = 0; i < n; i++) {
        double u = bk_rng_u32(&r) / 4294967296.0 * 2 - 1;
        w[i] = (float)(0.02 * u * (1 + 3 * u * u * u * u));
        h[i] = (float)exp(4 * (bk_rng_u32(&r) / 4294967296.0) - 2);
    }
}

static double loss_of(const float *w, const float *h, const float *got, size_t n) {
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += h[i] * pow((double)w[i] - got[i], 2);
    return sum;
}

/* The least that `len` weights can lose as any entry at scale d, all[1] with an odd number of signs
 * that are not the weights' own. */
static void try_all(const struct grid_type *t, const int8_t *codebook, float d, const float *w,
                    const float *h, int shift, double all[2]) {
    unsigned width = t->len == 8 ? 2 : 4;
    bool own_signs = t->signs == SHIFT_GROUP || t->signs == SHIFT_EIGHT;
    all[0] = all[1] = INFINITY;
    for (size_t e = 0; e < t->n; e++) {
        double sum = 0, flip = INFINITY;
        for (size_t i = 0; i < t->len; i++) {
            unsigned code = t->grid[e] >> i * width & ((1u << width) - 1);
            double q = d * (double)codebook[code + (shift ? 8 : 0)];
            double right = h[i] * pow((own_signs ? w[i] : fabs(w[i])) - q, 2);
            sum += right;
            flip = fmin(flip, h[i] * pow(fabs(w[i]) + q, 2) - right);
        }
        all[0] = fmin(all[0], sum);
        all[1] = fmin(all[1], sum + flip);
    }
}

/* Of 8 weights. */
static double least_of_eight(const struct grid_type *t, const int8_t *codebook, float d,
                             const float *w, const float *h, int shift) {
    double one[2], two[2] = {0, INFINITY};
    bool odd = false;
    try_all(t, codebook, d, w, h, shift, one);
    if (t->len == 4) try_all(t, codebook, d, w + 4, h + 4, shift, two);
    for (size_t i = 0; i < 8; i++) odd ^= w[i] < 0;
    if (t->signs != EVEN || !odd) return one[0] + two[0];
    return fmin(one[1] + two[0], one[0] + two[1]);
}

/* With the scales that the search has chosen, nothing else loses less. */
static void entries_are_the_best(void **state) {
    (void)state;
    for (size_t k = 0; k < BK_ARRAY_LEN(grid_types); k++) {
        const struct grid_type *t = &grid_types[k];
        const bk_quant *q = bk_quant_find(t->type);
        float w[BLOCK], h[BLOCK], got[BLOCK];
        uint8_t block[MOST_BYTES];
        random_weights(k, w, h, BLOCK);
        q->search(w, h, block, BLOCK);
        bk_quant_dequantize(q, block, got, BLOCK);
        for (size_t i = 0; i < BLOCK; i += 32) {
            bk_canon c;
            double least = 0, shifted[2] = {0, 0};
            q->unpack(block, i / 32, &c);
            for (size_t j = 0; j < 32; j += 8) {
                double of[2];
                for (int s = 0; s < 2; s++) {
                    of[s] = least_of_eight(t, q->codebook, c.d[j / 16], w + i + j, h + i + j, s);
                    shifted[s] += of[s];
                }
                least += t->signs == SHIFT_EIGHT ? fmin(of[0], of[1]) : of[0];
            }
            if (t->signs == SHIFT_GROUP) least = fmin(shifted[0], shifted[1]);
            double loss = loss_of(w + i, h + i, got + i, 32);
            if (!(loss <= least * 1.001 && loss >= least * 0.999))
                fail_msg("%s: loss %g, %g wanted", q->name, loss, least);
        }
    }
}

/* A search that knows what counts loses less than rounding that does not, and a row's blocks do not
 * depend on how it is cut. */
static void search_loses_less_than_plain(void **state) {
    (void)state;
    enum { N = 4 * BLOCK };
    float w[N], h[N], got[N];
    uint8_t blocks[4 * MOST_BYTES], again[4 * MOST_BYTES];
    random_weights(99, w, h, N);
    for (size_t k = 0; k < BK_ARRAY_LEN(all_types); k++) {
        const bk_quant *q = bk_quant_find(all_types[k]);
        q->quantize(w, blocks, N);
        bk_quant_dequantize(q, blocks, got, N);
        double plain = loss_of(w, h, got, N);
        q->search(w, h, blocks, N);
        bk_quant_dequantize(q, blocks, got, N);
        if (!(loss_of(w, h, got, N) <= plain)) fail_msg("%s: the search loses more", q->name);
        size_t half = N / 2 / q->block_len * q->block_bytes;
        q->search(w, h, again, N / 2);
        q->search(w + N / 2, h + N / 2, again + half, N / 2);
        assert_memory_equal(blocks, again, 2 * half);
    }
}

typedef struct edge {
    const char *name;
    float a, b; /* in turn */
    float off;  /* of the largest, at most; 0: whatever, but finite */
} edge;

/* What comes out is finite, zeros are zeros, and one magnitude is met as well as the type can. */
static void edges(void **state) {
    (void)state;
    static const edge cases[] = {
        {"zeros", 0, 0, 1e-9F},
        {"one value", 0.25F, 0.25F, 0.26F},
        {"two signs", 0.25F, -0.25F, 0.26F},
        {"huge", FLT_MAX, -FLT_MAX, 0},
        {"large", 60000, -1, 0},
        {"infinite", INFINITY, -INFINITY, 0},
        {"not numbers", NAN, NAN, 0},
        {"a number and none", 0.5F, NAN, 0},
        {"subnormal", 1e-42F, -3e-44F, 0},
        {"beneath a half", 1e-12F, 1e-9F, 0},
    };
    float x[BLOCK], h[BLOCK], got[BLOCK];
    uint8_t block[8 * MOST_BYTES];
    for (size_t k = 0; k < BK_ARRAY_LEN(all_types); k++) {
        const bk_quant *q = bk_quant_find(all_types[k]);
        for (size_t c = 0; c < 3 * BK_ARRAY_LEN(cases); c++) {
            const edge *e = &cases[c / 3];
            for (size_t i = 0; i < BLOCK; i++) {
                x[i] = i % 2 ? e->b : e->a;
                h[i] = i % 7 == 0 ? NAN : i % 7 == 1 ? -1 : i % 7 == 2 ? INFINITY : 0;
            }
            if (c % 3 == 0) q->quantize(x, block, BLOCK);
            if (c % 3 == 1) q->search(x, NULL, block, BLOCK);
            if (c % 3 == 2) q->search(x, h, block, BLOCK);
            bk_quant_dequantize(q, block, got, BLOCK);
            for (size_t i = 0; i < BLOCK; i++) {
                bool good = isfinite(got[i]);
                if (e->off > 0)
                    good = good && fabsf(got[i] - x[i]) <= e->off * fmaxf(1e-9F, fabsf(e->a));
                if (!good)
                    fail_msg("%s of %s (%zu): %g of %g", q->name, e->name, c % 3, got[i], x[i]);
            }
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(entries_are_the_best),
        cmocka_unit_test(search_loses_less_than_plain),
        cmocka_unit_test(edges),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
