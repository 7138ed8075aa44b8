/* From floats to blocks: every row gives weights that are finite and near, whatever is in it, and the
 * search loses no more than plain rounding. */
#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"
#include "quant/quant.h"

enum { ROW = 512, ROWS = 24, MAX_BYTES = ROW * 4 };

/* A format and how far plain rounding may take a weight: that part of the largest magnitude in its block
 * of 32 (or 256, whose scales are rounded too). The least that a block of 32 random weights loses, as
 * part of their squares, bounds the search; both are for weights of a normal distribution. */
static const struct {
    bk_type type;
    float far;
    double loses;
} kinds[] = {
    {BK_TYPE_Q4_0, 0.126F, 6.7e-3},  {BK_TYPE_Q4_1, 0.07F, 4.9e-3},
    {BK_TYPE_Q5_0, 0.064F, 1.7e-3},  {BK_TYPE_Q5_1, 0.034F, 1.2e-3},
    {BK_TYPE_Q8_0, 0.005F, 2.5e-5},  {BK_TYPE_Q2_K, 0.6F, 7.0e-2},
    {BK_TYPE_Q3_K, 0.30F, 2.1e-2},   {BK_TYPE_Q4_K, 0.10F, 5.0e-3},
    {BK_TYPE_Q5_K, 0.07F, 1.3e-3},   {BK_TYPE_Q6_K, 0.04F, 3.0e-4},
    {BK_TYPE_IQ4_NL, 0.12F, 5.6e-3}, {BK_TYPE_IQ4_XS, 0.15F, 5.7e-3},
};

static double normal(bk_rng *r) {
    double sum = 0;
    for (int i = 0; i < 12; i++) sum += bk_rng_u32(r) / 4294967296.0;
    return sum - 6;
}

static double loss(const float *x, const float *y, const float *importance) {
    double sum = 0;
    for (size_t i = 0; i < ROW; i++)
        sum += (importance ? importance[i] : 1) * ((double)x[i] - y[i]) * ((double)x[i] - y[i]);
    return sum;
}

/* The byte after the blocks is nobody's. */
static void round_trip(const bk_quant *q, bool search, const float *x, const float *importance,
                       float *y) {
    static uint8_t blocks[MAX_BYTES];
    size_t bytes = ROW / q->block_len * q->block_bytes;
    blocks[bytes] = 0xA5;
    if (search)
        q->search(x, importance, blocks, ROW);
    else
        q->quantize(x, blocks, ROW);
    assert_int_equal(blocks[bytes], 0xA5);
    bk_quant_dequantize(q, blocks, y, ROW);
}

static void weights_stay_near(void **state) {
    (void)state;
    static float x[ROW], y[ROW], one[ROW];
    bk_rng r;
    bk_rng_seed(&r, 5, 1);
    for (size_t i = 0; i < ROW; i++) one[i] = 1;
    for (size_t k = 0; k < BK_ARRAY_LEN(kinds); k++) {
        const bk_quant *q = bk_quant_find(kinds[k].type);
        double lost = 0, all = 0;
        for (size_t row = 0; row < ROWS; row++) {
            for (size_t i = 0; i < ROW; i++) x[i] = (float)(normal(&r) * 0.03);
            round_trip(q, false, x, NULL, y);
            for (size_t i = 0; i < ROW; i++) {
                float most = 0;
                for (size_t j = i / 32 * 32; j < i / 32 * 32 + 32; j++)
                    most = fmaxf(most, fabsf(x[j]));
                if (fabsf(x[i] - y[i]) > kinds[k].far * most)
                    fail_msg("%s: %g became %g, the block's largest is %g", q->name, x[i], y[i],
                             most);
            }
            round_trip(q, true, x, one, y);
            lost += loss(x, y, NULL);
            for (size_t i = 0; i < ROW; i++) all += (double)x[i] * x[i];
        }
        if (lost > kinds[k].loses * all) fail_msg("%s loses %g", q->name, lost / all);
    }
}

/* Rows of all sizes and shapes; importance of several, too. */
static void fill(size_t kind, bk_rng *r, float *x) {
    static const float sizes[] = {1, 1e-3F, 1e3F, 0.01F, 0.1F};
    for (size_t i = 0; i < ROW; i++) {
        double v = normal(r);
        if (kind % 4 == 1) v = v * v * v;
        if (kind % 4 == 2) v = fabs(v) + 1;
        if (kind % 4 == 3 && bk_rng_u32(r) % 16) v *= 1e-3;
        x[i] = (float)v * sizes[kind % BK_ARRAY_LEN(sizes)];
    }
}

static void search_loses_no_more_than_plain(void **state) {
    (void)state;
    static float x[ROW], plain[ROW], y[ROW], again[ROW], importance[ROW];
    bk_rng r;
    bk_rng_seed(&r, 6, 1);
    for (uint32_t type = 0; type < 64; type++) {
        const bk_quant *q = bk_quant_find(type);
        if (!q || !q->search || !q->quantize) continue;
        for (size_t row = 0; row < ROWS; row++) {
            fill(row, &r, x);
            for (size_t i = 0; i < ROW; i++) {
                double v = normal(&r);
                importance[i] = row % 2 ? 1 : (float)exp(2 * v);
            }
            round_trip(q, false, x, NULL, plain);
            round_trip(q, true, x, importance, y);
            round_trip(q, true, x, importance, again);
            assert_memory_equal(y, again, sizeof y);
            double before = loss(x, plain, importance), after = loss(x, y, importance);
            if (!(after <= before * 1.001))
                fail_msg("%s, row %zu: loses %g, plain %g", q->name, row, after, before);
        }
    }
}

/* Weights that a format holds exactly are found again, though the largest level is not used. */
static void exact_weights_are_found(void **state) {
    (void)state;
    static const struct {
        bk_type type;
        int low, high;
        float m;
    } grids[] = {{BK_TYPE_Q4_0, -5, 6, 0},     {BK_TYPE_Q5_0, -11, 12, 0},
                 {BK_TYPE_Q8_0, -120, 127, 0}, {BK_TYPE_Q4_1, 0, 15, 2},
                 {BK_TYPE_Q5_1, 0, 31, -7},    {BK_TYPE_Q4_K, 0, 15, -8},
                 {BK_TYPE_Q5_K, 0, 31, -16},   {BK_TYPE_Q6_K, -30, 31, 0},
                 {BK_TYPE_Q3_K, -4, 3, 0}};
    static float x[ROW], y[ROW];
    bk_rng r;
    bk_rng_seed(&r, 7, 1);
    for (size_t g = 0; g < BK_ARRAY_LEN(grids); g++) {
        const bk_quant *q = bk_quant_find(grids[g].type);
        int span = grids[g].high - grids[g].low + 1;
        double all = 0;
        for (size_t i = 0; i < ROW; i++) {
            int level = grids[g].low + (int)(bk_rng_u32(&r) % (uint32_t)span);
            if (i % 16 < 2) level = i % 16 ? grids[g].high : grids[g].low;
            x[i] = 0.0625F * ((float)level + grids[g].m);
            all += (double)x[i] * x[i];
        }
        round_trip(q, true, x, NULL, y);
        if (loss(x, y, NULL) > 1e-6 * all)
            fail_msg("%s loses %g of weights it can hold", q->name, loss(x, y, NULL) / all);
    }
}

/* What no weight should be, among others that are in order, and rows of nothing else. */
static void anything_may_come(void **state) {
    (void)state;
    static const float odd[] = {NAN,    INFINITY, -INFINITY, FLT_MAX, -FLT_MAX, 1e30F,   1e-45F,
                                1e-39F, 0,        -0.0F,     65504,   1e9F,     FLT_MIN, -1e-8F};
    static float x[ROW], y[ROW], importance[ROW];
    bk_rng r;
    bk_rng_seed(&r, 8, 1);
    for (uint32_t type = 0; type < 64; type++) {
        const bk_quant *q = bk_quant_find(type);
        if (!q || !q->bits || (!q->search && !q->quantize)) continue;
        for (size_t row = 0; row < 4 * BK_ARRAY_LEN(odd); row++) {
            float v = odd[row / 4];
            for (size_t i = 0; i < ROW; i++) {
                x[i] = row % 2 && i % 16 ? (float)normal(&r) : v;
                importance[i] = row & 2 ? odd[bk_rng_u32(&r) % BK_ARRAY_LEN(odd)] : v;
            }
            for (int way = 0; way < 3; way++) {
                if (way == 0 ? !q->quantize : !q->search) continue;
                round_trip(q, way > 0, x, way > 1 ? importance : NULL, y);
                for (size_t i = 0; i < ROW; i++) {
                    if (!isfinite(y[i]))
                        fail_msg("%s: %g among others became %g", q->name, v, y[i]);
                    if (v == 0 && row % 2 == 0) assert_true(y[i] == 0);
                }
            }
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(weights_stay_near),
        cmocka_unit_test(search_loses_no_more_than_plain),
        cmocka_unit_test(exact_weights_are_found),
        cmocka_unit_test(anything_may_come),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
