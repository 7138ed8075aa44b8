/* Pruning all matrices of a model: what becomes of which tensor. That the right weights go is for
 * tests/compress/compare_numpy.py. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "compress/sparsify_model.h"
#include "fail_alloc.h"

static const char text[] =
    "In the beginning was the word, and the word was with all who could read it aloud. It was one "
    "of many: numbers like 1, 22 and 333, names, and what people say when they mean nothing by it.";

static bk_error err;

typedef struct sum {
    size_t matrices, weights, zeros;
    double least, most; /* ratios */
    double error;
} sum;

static void add(const bk_sparsified *m, const bk_quant *type, void *user) {
    sum *s = user;
    assert_true(bk_quant_keeps_zeros(type));
    s->matrices++;
    s->weights += m->n_matrices * m->rows * m->k;
    s->zeros += m->result.zeros;
    s->least = fmin(s->matrices == 1 ? 1 : s->least, m->ratio);
    s->most = fmax(s->most, m->ratio);
    s->error += m->result.error;
}

static bk_sparsify_options options(bk_score_kind score, bk_pattern pattern, double ratio, sum *s) {
    bk_sparsify_options o = {.rule = {.score = score, .pattern = pattern, .ratio = ratio}};
    o.text = bk_str_from(text);
    o.context = 32;
    o.threads = 2;
    o.user = s;
    *s = (sum){0};
    return o;
}

static bk_status prune(const char *file, const bk_sparsify_options *o, const bk_quant *type,
                       bk_gguf **g, bk_gguf **out) {
    bk_model *m = NULL;
    bk_model_options mo = {.threads = 1};
    *g = *out = NULL;
    bk_status st = bk_gguf_open(file, g, &err);
    if (!st) st = bk_model_load(file, &mo, &m, &err);
    if (!st) st = bk_sparsify_gguf(*g, m, o, type, add, out, &err);
    bk_model_unref(&m);
    return st;
}

static void close_both(bk_gguf **g, bk_gguf **out) {
    bk_gguf_destroy(out);
    bk_gguf_destroy(g);
}

static float *values(const bk_gguf *g, const bk_gguf_tensor *t) {
    const uint8_t *data;
    float *x = bk_alloc((size_t)t->n_elements, sizeof *x);
    assert_non_null(x);
    assert_int_equal(bk_gguf_read(g, t, &data, &err), BK_OK);
    bk_quant_dequantize(t->type, data, x, (size_t)t->n_elements);
    bk_gguf_release(g, t, data);
    return x;
}

static bool in_layer(const bk_gguf_tensor *t) {
    return t->n_dims > 1 && bk_str_starts(t->name, BK_STR("blk."));
}

/* Zeros of each matrix as they are in the result, and all else as it was. */
static size_t compare(const bk_gguf *g, const bk_gguf *out, double ratio) {
    size_t zeros = 0;
    assert_int_equal(bk_gguf_n_tensors(g), bk_gguf_n_tensors(out));
    for (size_t i = 0; i < bk_gguf_n_tensors(g); i++) {
        const bk_gguf_tensor *a = bk_gguf_tensor_at(g, i), *b = bk_gguf_tensor_at(out, i);
        float *x = values(g, a), *y = values(out, b);
        size_t n = (size_t)a->n_elements, gone = 0;
        assert_true(bk_str_eq(a->name, b->name) && n == b->n_elements);
        for (size_t j = 0; j < n; j++) gone += y[j] == 0;
        if (in_layer(a)) {
            if ((double)gone < floor(ratio * (double)n))
                fail_msg("%.*s in %s: %zu of %zu are 0", BK_STR_ARG(a->name), b->type->name, gone,
                         n);
            zeros += gone;
        } else {
            assert_true(a->type == b->type);
            assert_memory_equal(x, y, n * sizeof *x);
        }
        bk_free(x);
        bk_free(y);
    }
    return zeros;
}

static void test_all_matrices(void **state) {
    (void)state;
    static const char *const files[] = {"tests/data/tiny_float.gguf", "tests/data/tiny_int.gguf",
                                        "tests/data/tiny_lstm.gguf"};
    for (size_t f = 0; f < BK_ARRAY_LEN(files); f++)
        for (int repair = 0; repair < 2; repair++) {
            sum s;
            bk_gguf *g, *out;
            bk_sparsify_options o = options(BK_SCORE_OBS, BK_PATTERN_LAYER, 0.5, &s);
            o.rule.repair = repair;
            if (prune(files[f], &o, NULL, &g, &out)) fail_msg("%s: %s", files[f], err.text);
            assert_true(s.matrices > 3 && s.error > 0);
            assert_true(s.zeros >= s.weights / 2 - s.matrices);
            assert_true(compare(g, out, 0.5) >= s.zeros);
            close_both(&g, &out);
        }
}

/* Gram matrices one after the other give what all together do, and one thread what three do. */
static void test_same_bits(void **state) {
    (void)state;
    sum s;
    bk_gguf *g[3], *out[3];
    for (int i = 0; i < 3; i++) {
        bk_sparsify_options o = options(BK_SCORE_OBS, BK_PATTERN_TILES, 0.4, &s);
        o.rule.repair = true;
        o.gram_bytes = i == 1 ? 1 : 0;
        o.threads = i == 2 ? 3 : 1;
        const bk_quant *f32 = bk_quant_find(BK_TYPE_F32);
        assert_int_equal(prune("tests/data/tiny_int.gguf", &o, f32, &g[i], &out[i]), BK_OK);
    }
    for (int i = 1; i < 3; i++)
        for (size_t t = 0; t < bk_gguf_n_tensors(out[0]); t++) {
            const bk_gguf_tensor *a = bk_gguf_tensor_at(out[0], t),
                                 *b = bk_gguf_tensor_at(out[i], t);
            if (a->data && b->data) assert_memory_equal(a->data, b->data, a->bytes);
        }
    for (int i = 0; i < 3; i++) close_both(&g[i], &out[i]);
}

static void test_experts(void **state) {
    (void)state;
    sum s;
    bk_gguf *g, *out;
    const char *file = "tests/data/tiny_qwen3moe.gguf";
    bk_sparsify_options o = options(BK_SCORE_WANDA, BK_PATTERN_ROW, 0.25, &s);
    assert_int_equal(prune(file, &o, NULL, &g, &out), BK_OK);
    assert_int_equal(s.zeros, s.weights / 4);
    close_both(&g, &out);
    o = options(BK_SCORE_OBS, BK_PATTERN_ROW, 0.25, &s);
    assert_int_equal(prune(file, &o, NULL, &g, &out), BK_ERR_UNSUPPORTED);
    assert_non_null(strstr(err.text, "experts"));
    close_both(&g, &out);
}

static bool only_down(const char *tensor, void *user) {
    (void)user;
    return strstr(tensor, "ffn_down") != NULL;
}

static void test_ratios(void **state) {
    (void)state;
    sum s;
    bk_gguf *g, *out;
    bk_sparsify_options o = options(BK_SCORE_WANDA, BK_PATTERN_LAYER, 0.5, &s);
    o.spread = BK_SPREAD_OUTLIERS;
    assert_int_equal(prune("tests/data/tiny_float.gguf", &o, NULL, &g, &out), BK_OK);
    assert_true(s.least < 0.5 && s.most > 0.5 && s.least >= 0.34 && s.most <= 0.66);
    assert_true(fabs((double)s.zeros - 0.5 * (double)s.weights) <= 0.5 * (double)s.matrices + 1);
    close_both(&g, &out);

    double ratios[] = {0.25, 0.75};
    o = options(BK_SCORE_MAGNITUDE, BK_PATTERN_LAYER, 0, &s);
    o.ratios = ratios;
    o.n_ratios = 2;
    o.chosen = only_down;
    assert_int_equal(prune("tests/data/tiny_int.gguf", &o, NULL, &g, &out), BK_OK);
    assert_int_equal(s.matrices, 2);
    assert_true(s.least == 0.25 && s.most == 0.75);
    assert_int_equal(s.zeros, s.weights / 2);
    close_both(&g, &out);
    o.n_ratios = 1;
    assert_int_equal(prune("tests/data/tiny_int.gguf", &o, NULL, &g, &out), BK_ERR_INVALID);
    close_both(&g, &out);
}

static void test_types(void **state) {
    (void)state;
    static const bk_type keep[] = {BK_TYPE_F32,  BK_TYPE_F16,  BK_TYPE_BF16, BK_TYPE_Q4_0,
                                   BK_TYPE_Q5_0, BK_TYPE_Q8_0, BK_TYPE_Q6_K};
    static const bk_type lose[] = {BK_TYPE_Q4_1, BK_TYPE_Q5_1, BK_TYPE_Q4_K, BK_TYPE_Q2_K,
                                   BK_TYPE_IQ4_NL};
    for (size_t i = 0; i < BK_ARRAY_LEN(keep); i++)
        assert_true(bk_quant_keeps_zeros(bk_quant_find(keep[i])));
    for (size_t i = 0; i < BK_ARRAY_LEN(lose); i++)
        assert_false(bk_quant_keeps_zeros(bk_quant_find(lose[i])));
}

/* What a weight that is gone costs: four times as much in the second block as in the first. */
static bk_status judge(const bk_gguf *pruned, double *damage, void *user, bk_error *e) {
    (void)e;
    size_t *calls = user;
    double zeros[2] = {0, 0};
    ++*calls;
    for (size_t i = 0; i < bk_gguf_n_tensors(pruned); i++) {
        const bk_gguf_tensor *t = bk_gguf_tensor_at(pruned, i);
        if (!in_layer(t)) continue;
        float *x = values(pruned, t);
        for (size_t j = 0; j < (size_t)t->n_elements; j++)
            zeros[t->name.data[4] - '0'] += x[j] == 0 ? 1e-3 : 0;
        bk_free(x);
    }
    *damage = zeros[0] * zeros[0] + 4 * zeros[1] * zeros[1];
    return BK_OK;
}

static void test_measured_ratios(void **state) {
    (void)state;
    sum s;
    size_t n, calls = 0;
    double *ratios;
    bk_gguf *g;
    bk_sparsify_options o = options(BK_SCORE_MAGNITUDE, BK_PATTERN_LAYER, 0.5, &s);
    assert_int_equal(bk_gguf_open("tests/data/tiny_float.gguf", &g, &err), BK_OK);
    assert_int_equal(bk_sparsify_ratios(g, NULL, &o, judge, &calls, &ratios, &n, &err), BK_OK);
    assert_true(n == 2 && calls == 6);
    assert_true(ratios[0] > 0.55 && ratios[1] < 0.45);
    assert_true(ratios[0] + ratios[1] >= 1 - 1e-6 && ratios[0] + ratios[1] < 1.02);
    bk_free(ratios);
    o.rule.pattern = BK_PATTERN_NM;
    assert_int_equal(bk_sparsify_ratios(g, NULL, &o, judge, &calls, &ratios, &n, &err),
                     BK_ERR_INVALID);
    assert_null(ratios);
    bk_gguf_destroy(&g);
}

static bool none(const char *tensor, void *user) {
    (void)tensor;
    (void)user;
    return false;
}

static void refused(const bk_sparsify_options *o, const bk_quant *type, bk_status wanted,
                    const char *word) {
    bk_gguf *g, *out;
    assert_int_equal(prune("tests/data/tiny_int.gguf", o, type, &g, &out), wanted);
    assert_null(out);
    if (!strstr(err.text, word)) fail_msg("'%s' without '%s'", err.text, word);
    close_both(&g, &out);
}

static void test_refused(void **state) {
    (void)state;
    sum s;
    const volatile bool stop = true;
    bk_sparsify_options o = options(BK_SCORE_WANDA, BK_PATTERN_NM, 0, &s);
    o.rule.n = 1, o.rule.m = 3;
    refused(&o, NULL, BK_ERR_INVALID, "blk.0.attn_q.weight: rows of 32 weights");
    o = options(BK_SCORE_WANDA, BK_PATTERN_ROW, 0.5, &s);
    refused(&o, bk_quant_find(BK_TYPE_Q4_1), BK_ERR_INVALID, "does not stay 0 in Q4_1");
    refused(&o, bk_quant_find(BK_TYPE_Q6_K), BK_ERR_INVALID, "multiples of 256");
    o.text = BK_STR("short");
    refused(&o, NULL, BK_ERR_INVALID, "longer");
    o.text.len = 0;
    refused(&o, NULL, BK_ERR_INVALID, "calibration text wanted");
    o = options(BK_SCORE_MAGNITUDE, BK_PATTERN_ROW, 0.5, &s);
    o.cancel = &stop;
    refused(&o, NULL, BK_ERR_CANCELLED, "cancelled");
    o = options(BK_SCORE_MAGNITUDE, BK_PATTERN_ROW, 0.5, &s);
    o.chosen = none;
    refused(&o, NULL, BK_ERR_UNSUPPORTED, "no matrix");
}

static int sweep_prune(void) {
    sum s;
    bk_gguf *g = NULL, *out = NULL;
    bk_sparsify_options o = options(BK_SCORE_OBS, BK_PATTERN_ROW, 0.5, &s);
    o.rule.repair = true;
    o.chosen = only_down;
    o.threads = 1;
    bk_status st = prune("tests/data/tiny_int.gguf", &o, NULL, &g, &out);
    bool good = st == BK_OK ? out != NULL : st == BK_ERR_NOMEM && !out;
    close_both(&g, &out);
    return !good ? SWEEP_WRONG : st == BK_OK ? SWEEP_ALL_OK : SWEEP_FAILED_WELL;
}

static void test_memory_runs_out(void **state) {
    (void)state;
    assert_true(sweep_all("prune", 5) > 1);
}

int main(int argc, char **argv) {
    if (argc == 3 && strcmp(argv[1], "sweep") == 0) return sweep_status(sweep_prune());
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_matrices), cmocka_unit_test(test_same_bits),
        cmocka_unit_test(test_experts),      cmocka_unit_test(test_types),
        cmocka_unit_test(test_ratios),       cmocka_unit_test(test_measured_ratios),
        cmocka_unit_test(test_refused),      cmocka_unit_test(test_memory_runs_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
