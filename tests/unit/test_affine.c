/* Q8_AFFINE: rounding at the edges of floats, and files that have such tensors in two parts. */
#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/rng.h"
#include "format/gguf_build.h"
#include "format/gguf_parts.h"
#include "quant/affine.h"

enum { N = 96, BYTES = N / BK_AFFINE_BLOCK * BK_AFFINE_BLOCK_BYTES };

static bk_affine round_all(const float *x, uint8_t *blocks) {
    bk_affine_range range = {INFINITY, -INFINITY};
    assert_true(bk_affine_extend(&range, x, N / 2));
    assert_true(bk_affine_extend(&range, x + N / 2, N / 2));
    bk_affine a = bk_affine_of(range);
    bk_affine_round(a, x, blocks, N);
    return a;
}

static void within_half_a_step(void **state) {
    (void)state;
    static const float ranges[][2] = {{-1, 1},         {-0.03F, 0.11F},   {5, 6},
                                      {1000, 1000.5F}, {-1e-38F, 1e-40F}, {-1e38F, 1e38F},
                                      {0, 1e-45F},     {-7, -7}};
    bk_rng r;
    bk_rng_seed(&r, 1, 2);
    for (size_t k = 0; k < BK_ARRAY_LEN(ranges); k++) {
        float x[N], got[N], low = ranges[k][0], high = ranges[k][1];
        uint8_t blocks[BYTES], q[N];
        for (size_t i = 0; i < N; i++) x[i] = (float)(low + bk_rng_unit(&r) * ((double)high - low));
        x[7] = low;
        x[70] = high;
        bk_affine a = round_all(x, blocks), again = bk_affine_split(blocks, q, N);
        assert_memory_equal(&a, &again, sizeof a);
        if (high - low > 1e-30F) assert_true(q[7] == 0 && q[70] == 255);
        bk_quant_dequantize(bk_quant_find(BK_TYPE_Q8_AFFINE), blocks, got, N);
        /* Floats of the middle, which offsets are counted from, and of the largest are rounded. */
        double most = fmax(fabs(low), fabs(high)), slack = most * 4 * FLT_EPSILON + 512e-45;
        for (size_t i = 0; i < N; i++)
            assert_true(fabs((double)got[i] - x[i]) <= 0.5 * a.scale + slack);
    }
}

static void not_numbers(void **state) {
    (void)state;
    static const float bad[] = {NAN, INFINITY, -INFINITY, FLT_MAX, -1.1e38F};
    for (size_t k = 0; k < BK_ARRAY_LEN(bad); k++) {
        float x[N] = {0};
        bk_affine_range range = {INFINITY, -INFINITY};
        x[N - 1] = bad[k];
        assert_false(bk_affine_extend(&range, x, N));
    }
}

/* ---- Files --------------------------------------------------------------------------------------- */

static const uint64_t shape[2] = {32, 3};

static bk_gguf *finished(bk_gguf_builder *b) {
    bk_gguf *g;
    bk_error err;
    if (bk_gguf_builder_finish(&b, &g, &err) != BK_OK) fail_msg("%s", err.text);
    return g;
}

static void there_and_back(void **state) {
    (void)state;
    char path[2][64] = {"/tmp/brisk-affine-XXXXXX", "/tmp/brisk-affine-XXXXXX"};
    float x[N];
    uint8_t blocks[BYTES];
    bk_error err;
    for (size_t i = 0; i < N; i++) x[i] = (float)(i * i % 97) - 20;
    round_all(x, blocks);
    bk_gguf_builder *b = bk_gguf_builder_create();
    bk_gguf_builder_str(b, "general.name", BK_STR("affine"));
    bk_gguf_builder_tensor(b, "a.weight", BK_TYPE_Q8_AFFINE, 2, shape, blocks);
    bk_gguf_builder_tensor(b, "c.weight", BK_TYPE_F32, 2, shape, (const uint8_t *)x);
    bk_gguf *g = finished(b);
    for (int turn = 0; turn < 2; turn++) {
        close(mkstemp(path[turn]));
        if (bk_gguf_write(g, path[turn], NULL, &err) != BK_OK) fail_msg("%s", err.text);
        bk_gguf_destroy(&g);
        if (bk_gguf_open(path[turn], &g, &err) != BK_OK) fail_msg("%s", err.text);
        const bk_gguf_tensor *t = bk_gguf_find_tensor(g, "a.weight");
        const uint8_t *data;
        assert_true(t && t->type->type == BK_TYPE_Q8_AFFINE && t->ne[0] == 32 && t->ne[1] == 3);
        assert_int_equal(bk_gguf_n_tensors(g), 2);
        assert_null(bk_gguf_find(g, "brisk.extensions"));
        assert_int_equal(bk_gguf_read(g, t, &data, &err), BK_OK);
        assert_memory_equal(data, blocks, BYTES);
        bk_gguf_release(g, t, data);
    }
    bk_gguf_destroy(&g);
    for (int turn = 0; turn < 2; turn++) unlink(path[turn]);
}

/* Parts that do not belong together are refused by name. */
static void broken(void **state) {
    (void)state;
    static const struct {
        const char *affine_name, *wanted;
        uint64_t width, n_affine;
        bk_type q_type;
        float scale, minimum;
    } cases[] = {
        {"a.weight.affine", NULL, 32, 2, BK_TYPE_I8, 0.5F, -3},
        {"b.weight.affine", "'a.weight': its part .affine is missing", 32, 2, BK_TYPE_I8, 1, 0},
        {"a.weight.affine", "'a.weight.affine': 12 bytes found", 32, 3, BK_TYPE_I8, 1, 0},
        {"a.weight.affine", "'a.weight.q8': F32 found", 32, 2, BK_TYPE_F32, 1, 0},
        {"a.weight.affine", "'a.weight.q8': rows of 33 weights", 33, 2, BK_TYPE_I8, 1, 0},
        {"a.weight.affine", "'a.weight.affine': scale nan", 32, 2, BK_TYPE_I8, NAN, 0},
        {"a.weight.affine", "'a.weight.affine': scale -1", 32, 2, BK_TYPE_I8, -1, 0},
        {"a.weight.affine", "minimum inf", 32, 2, BK_TYPE_I8, 1, INFINITY},
    };
    for (size_t k = 0; k < BK_ARRAY_LEN(cases); k++) {
        static const uint8_t bytes[33 * 4 * 3];
        const bk_str way = BK_STR("q8_affine");
        float affine[3] = {cases[k].scale, cases[k].minimum, 0};
        uint64_t ne[2] = {cases[k].width, 3};
        bk_error err = {0};
        bk_gguf_builder *b = bk_gguf_builder_create();
        bk_gguf_builder_strs(b, "brisk.extensions", &way, 1);
        bk_gguf_builder_tensor(b, "a.weight.q8", cases[k].q_type, 2, ne, bytes);
        bk_gguf_builder_tensor(b, cases[k].affine_name, BK_TYPE_F32, 1, &cases[k].n_affine,
                               (const uint8_t *)affine);
        bk_gguf *g = finished(b);
        bk_status status = bk_gguf_join_parts(g, &err);
        assert_int_equal(status, cases[k].wanted ? BK_ERR_FORMAT : BK_OK);
        if (cases[k].wanted && !strstr(err.text, cases[k].wanted)) fail_msg("%s", err.text);
        bk_gguf_destroy(&g);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(within_half_a_step),
        cmocka_unit_test(not_numbers),
        cmocka_unit_test(there_and_back),
        cmocka_unit_test(broken),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
