/* Fitting a pruned feed-forward block: against a forward pass in double, and all blocks of a model. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "base/rng.h"
#include "compress/reconstruct.h"
#include "compress/sparsify_model.h"

enum { D = 20, F = 36, ROWS = 640, JUDGED = ROWS / 8, PART = D * F };

static bk_error err;
static float x[ROWS * D], dense[3][PART], pruned[3][PART], fitted[3][PART];

static bk_ffn block(float w[3][PART]) { return (bk_ffn){D, F, w[0], w[1], w[2]}; }

static void make(void) {
    bk_rng rng;
    bk_rng_seed(&rng, 3, 1);
    for (size_t i = 0; i < ROWS * D; i++) x[i] = (float)(bk_rng_unit(&rng) * 4 - 2);
    for (int m = 0; m < 3; m++)
        for (size_t i = 0; i < PART; i++) {
            dense[m][i] = (float)(bk_rng_unit(&rng) - 0.5);
            pruned[m][i] = bk_rng_unit(&rng) < 0.3 ? 0 : dense[m][i];
        }
    memcpy(fitted, pruned, sizeof fitted);
}

static void outputs(const float *in, float w[3][PART], double y[D]) {
    memset(y, 0, D * sizeof *y);
    for (size_t i = 0; i < F; i++) {
        double gate = 0, up = 0;
        for (size_t j = 0; j < D; j++) {
            gate += (double)in[j] * (double)w[0][i * D + j];
            up += (double)in[j] * (double)w[1][i * D + j];
        }
        for (size_t j = 0; j < D; j++)
            y[j] += gate / (1 + exp(-gate)) * up * (double)w[2][j * F + i];
    }
}

static double lost(float w[3][PART]) {
    double sum = 0, all = 0, a[D], b[D];
    for (size_t r = ROWS - JUDGED; r < ROWS; r++) {
        outputs(x + r * D, dense, a);
        outputs(x + r * D, w, b);
        for (size_t j = 0; j < D; j++) {
            sum += (a[j] - b[j]) * (a[j] - b[j]);
            all += a[j] * a[j];
        }
    }
    return sum / all;
}

static bk_status fit(int threads, int steps, size_t rows, bk_reconstruct_result *r) {
    bk_nn *nn = NULL;
    bk_ffn from = block(dense), to = block(fitted);
    bk_reconstruct_options o = {.steps = steps};
    assert_int_equal(bk_nn_cpu_create(BK_CPU_LEVELS - 1, threads, &nn, &err), BK_OK);
    bk_status st = bk_reconstruct_ffn(nn, x, rows, &from, &to, &o, r, &err);
    bk_nn_destroy(&nn);
    return st;
}

static void test_block(void **state) {
    (void)state;
    bk_reconstruct_result r;
    float first[3][PART];
    make();
    assert_int_equal(fit(1, 200, ROWS, &r), BK_OK);
    assert_int_equal(r.steps, 200);
    assert_float_equal(r.before, lost(pruned), 1e-4 * r.before);
    assert_float_equal(r.after, lost(fitted), 1e-4 * r.before);
    if (r.after > 0.85 * r.before) fail_msg("%g to %g", r.before, r.after);
    for (int m = 0; m < 3; m++)
        for (size_t i = 0; i < PART; i++) assert_true(pruned[m][i] != 0 || fitted[m][i] == 0);
    memcpy(first, fitted, sizeof first);
    make();
    assert_int_equal(fit(3, 200, ROWS, &r), BK_OK);
    assert_memory_equal(first, fitted, sizeof first);
}

/* A block that is as good as it can be stays as it is. */
static void test_no_gain(void **state) {
    (void)state;
    bk_reconstruct_result r;
    make();
    memcpy(fitted, dense, sizeof fitted);
    assert_int_equal(fit(1, 5, ROWS, &r), BK_OK);
    assert_memory_equal(fitted, dense, sizeof fitted);
    assert_true(r.after == r.before);
}

static void test_refused(void **state) {
    (void)state;
    bk_reconstruct_result r;
    make();
    assert_int_equal(fit(1, 0, ROWS, &r), BK_ERR_INVALID);
    assert_int_equal(fit(1, 5, 10, &r), BK_ERR_INVALID);
    assert_non_null(strstr(err.text, "longer text"));
    x[5] = NAN;
    assert_int_equal(fit(1, 5, ROWS, &r), BK_ERR_INVALID);
}

/* ---- A model ----------------------------------------------------------------------------------------- */

static const char text[] =
    "In the beginning was the word, and the word was with all who could read it aloud. It was one "
    "of many: numbers like 1, 22 and 333, names, and what people say when they mean nothing by it.";

typedef struct sum {
    int blocks;
    double before, after;
} sum;

static void add(int number, const bk_reconstruct_result *r, void *user) {
    sum *s = user;
    assert_int_equal(number, s->blocks);
    s->blocks++;
    s->before += r->before;
    s->after += r->after;
}

/* Zeros stay, what is no feed-forward matrix is as it was; whether anything changed. */
static bool compare(const bk_gguf *a, const bk_gguf *b) {
    bool changed = false;
    for (size_t i = 0; i < bk_gguf_n_tensors(a); i++) {
        const bk_gguf_tensor *t = bk_gguf_tensor_at(a, i), *u = bk_gguf_tensor_at(b, i);
        assert_true(t->type == u->type && t->bytes == u->bytes);
        bool same = memcmp(t->data, u->data, t->bytes) == 0;
        changed |= !same;
        if (same) continue;
        assert_non_null(memmem(t->name.data, t->name.len, "ffn_", 4));
        size_t n = (size_t)t->n_elements;
        float *v = bk_alloc(n, sizeof *v), *w = bk_alloc(n, sizeof *w);
        bk_quant_dequantize(t->type, t->data, v, n);
        bk_quant_dequantize(u->type, u->data, w, n);
        for (size_t j = 0; j < n; j++) assert_true(v[j] != 0 || w[j] == 0);
        bk_free(v);
        bk_free(w);
    }
    return changed;
}

static void test_model(void **state) {
    (void)state;
    const char *file = "tests/data/tiny_float.gguf";
    bk_gguf *from, *zeros, *out[2];
    bk_model *m;
    bk_model_options mo = {.threads = 1};
    bk_sparsify_options so = {.rule = {.ratio = 0.4, .pattern = BK_PATTERN_ROW}, .threads = 1};
    assert_int_equal(bk_gguf_open(file, &from, &err), BK_OK);
    assert_int_equal(bk_model_load(file, &mo, &m, &err), BK_OK);
    assert_int_equal(bk_sparsify_gguf(from, NULL, &so, NULL, NULL, &zeros, &err), BK_OK);
    for (int i = 0; i < 2; i++) { /* one block at a time, and both */
        sum s = {0};
        bk_reconstruct_model_options o = {.text = bk_str_from(text),
                                          .context = 32,
                                          .steps = 30,
                                          .input_bytes = i ? 0 : 1,
                                          .threads = 2,
                                          .seen = add,
                                          .user = &s};
        assert_int_equal(bk_reconstruct_model(from, m, zeros, &o, &out[i], &err), BK_OK);
        assert_true(s.blocks == 2 && s.after < s.before);
        assert_true(compare(zeros, out[i]));
    }
    assert_false(compare(out[0], out[1]));
    for (int i = 0; i < 2; i++) bk_gguf_destroy(&out[i]);
    bk_gguf_destroy(&zeros);
    bk_model_unref(&m);
    bk_gguf_destroy(&from);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_block),
        cmocka_unit_test(test_no_gain),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
