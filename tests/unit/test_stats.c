/* Statistics of what flows into matrices: against states that the pass itself gives, against rows made
 * by hand from the file, and against each other. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "compress/stats.h"
#include "fail_alloc.h"
#include "model/arch.h"

enum { WINDOW = 40 };

static const char text[] =
    "In the beginning was the word, and the word was with all who could read it aloud. It was one "
    "of many: numbers like 1, 22 and 333, names, and what people say when they mean nothing by it.";

static bk_error err;

static bk_model *load(const char *file, int threads) {
    bk_model *m = NULL;
    bk_model_options o = {.threads = threads};
    if (bk_model_load(file, &o, &m, &err)) fail_msg("%s", err.text);
    return m;
}

static bool all(const char *tensor, size_t k, void *user) {
    (void)tensor;
    (void)k;
    (void)user;
    return true;
}

static bk_stats *collect(bk_model *m, bool gram) {
    bk_stats *s = NULL;
    bk_stats_options o = {.context = WINDOW, .gram = gram ? all : NULL};
    if (bk_stats_collect(m, bk_str_from(text), &o, &s, &err)) fail_msg("%s", err.text);
    return s;
}

static const bk_input_stats *find(const bk_stats *s, const char *name) {
    const bk_input_stats *e = bk_stats_find(s, name);
    if (!e) fail_msg("%s has no statistics", name);
    return e;
}

/* The windows' tokens. */
static bk_ids tokens_of(bk_model *m) {
    const bk_tokenizer *t = bk_model_tokenizer(m);
    bk_ids ids = {0};
    assert_int_equal(bk_tokenizer_encode(t, bk_str_from(text), false, &ids, &err), BK_OK);
    ids.len = ids.len / WINDOW * WINDOW;
    assert_true(ids.len > 0);
    for (size_t i = 0; bk_tokenizer_add_bos(t) && i < ids.len; i += WINDOW)
        ids.data[i] = bk_tokenizer_bos(t);
    return ids;
}

static void near(const char *what, size_t i, double a, double b) {
    if (!(fabs(a - b) <= 1e-5 * fabs(b) + 1e-9)) fail_msg("%s %zu: %g, want %g", what, i, a, b);
}

/* Every window's states, which the head reads. */
static void check_head(bk_model *m, const bk_stats *s) {
    size_t n = (size_t)bk_model_config(m)->n_out;
    float *hidden = bk_alloc(WINDOW * n, sizeof *hidden);
    double *squares = bk_alloc_zero(n, sizeof *squares);
    bk_ids ids = tokens_of(m);
    bk_exec *x = NULL;
    assert_int_equal(bk_exec_create(m, WINDOW, 1, &x, &err), BK_OK);
    for (size_t at = 0; at < ids.len; at += WINDOW) {
        bk_kv *kv = NULL;
        assert_int_equal(bk_model_new_kv(m, &kv, &err), BK_OK);
        bk_rows r = {
            .kv = kv, .tokens = ids.data + at, .n = WINDOW, .n_hidden = WINDOW, .hidden = hidden};
        assert_int_equal(bk_exec_forward(x, &r, 1, &err), BK_OK);
        for (size_t i = 0; i < WINDOW * n; i++)
            squares[i % n] += (double)hidden[i] * (double)hidden[i];
        bk_kv_destroy(&kv);
    }
    char name[BK_TENSOR_NAME];
    bk_model_weight_name(m, m->weights.head, name);
    const bk_input_stats *e = find(s, name);
    assert_int_equal(e->k, n);
    assert_int_equal(e->rows[0], ids.len);
    assert_int_equal(bk_stats_tokens(s), ids.len);
    for (size_t i = 0; i < n; i++) near("head", i, e->squares[i], squares[i]);
    bk_exec_destroy(&x);
    bk_ids_free(&ids);
    bk_free(hidden);
    bk_free(squares);
}

/* Matrices of the file all have statistics under their names. */
static void check_names(const char *file, const bk_stats *s) {
    bk_gguf *g = NULL;
    assert_int_equal(bk_gguf_open(file, &g, &err), BK_OK);
    for (size_t i = 0; i < bk_gguf_n_tensors(g); i++) {
        const bk_gguf_tensor *t = bk_gguf_tensor_at(g, i);
        char name[BK_TENSOR_NAME];
        snprintf(name, sizeof name, "%.*s", (int)t->name.len, t->name.data);
        if (t->n_dims < 2 || strncmp(name, "blk.", 4) != 0) continue;
        assert_int_equal(find(s, name)->k, t->ne[0]);
    }
    bk_gguf_destroy(&g);
}

static void test_head_and_names(void **state) {
    (void)state;
    static const char *const files[] = {"tests/data/tiny_int.gguf", "tests/data/tiny_qwen3moe.gguf",
                                        "tests/data/tiny_gemma2.gguf", "tests/data/tiny_lstm.gguf"};
    for (size_t i = 0; i < BK_ARRAY_LEN(files); i++) {
        bk_model *m = load(files[i], 2);
        bk_stats *s = collect(m, false);
        check_head(m, s);
        check_names(files[i], s);
        bk_stats_destroy(&s);
        bk_model_unref(&m);
    }
}

/* What the first layer's queries read: normed embeddings. */
static void test_first_layer(void **state) {
    (void)state;
    bk_model *m = load("tests/data/tiny_float.gguf", 1);
    bk_stats *s = collect(m, true);
    const bk_input_stats *e = find(s, "blk.0.attn_q.weight");
    assert_ptr_equal(e, find(s, "blk.0.attn_v.weight"));
    bk_gguf *g = NULL;
    assert_int_equal(bk_gguf_open("tests/data/tiny_float.gguf", &g, &err), BK_OK);
    const bk_gguf_tensor *table = bk_gguf_find_tensor(g, "token_embd.weight");
    const bk_gguf_tensor *norm = bk_gguf_find_tensor(g, "blk.0.attn_norm.weight");
    size_t k = e->k, row_bytes = k / table->type->block_len * table->type->block_bytes;
    bk_ids ids = tokens_of(m);
    float *x = bk_alloc(k, sizeof *x), *w = bk_alloc(k, sizeof *w);
    double *rows = bk_alloc(ids.len * k, sizeof *rows);
    bk_quant_dequantize(norm->type, norm->data, w, k);
    for (size_t t = 0; t < ids.len; t++) {
        double mean = 0;
        bk_quant_dequantize(table->type, table->data + (size_t)ids.data[t] * row_bytes, x, k);
        for (size_t i = 0; i < k; i++) mean += (double)x[i] * (double)x[i] / (double)k;
        double by = 1 / sqrt(mean + (double)bk_model_config(m)->norm_eps);
        for (size_t i = 0; i < k; i++) rows[t * k + i] = (double)x[i] * by * (double)w[i];
    }
    for (size_t i = 0; i < k; i++) {
        double sum = 0, squares = 0, gram = 0, size = 0;
        for (size_t t = 0; t < ids.len; t++) {
            sum += rows[t * k + i];
            squares += rows[t * k + i] * rows[t * k + i];
            gram += rows[t * k + i] * rows[t * k + (i * 7 + 3) % k];
            size += fabs(rows[t * k + i]);
        }
        near("squares", i, e->squares[i], squares);
        near("sum", i, e->sums[i] + size, sum + size);
        near("gram's diagonal", i, (double)e->gram[i * k + i], squares);
        near("gram", i, (double)e->gram[i * k + (i * 7 + 3) % k] + squares, gram + squares);
    }
    bk_free(rows);
    bk_free(x);
    bk_free(w);
    bk_ids_free(&ids);
    bk_gguf_destroy(&g);
    bk_stats_destroy(&s);
    bk_model_unref(&m);
}

/* A layer's h goes into its own recurrent matrices and into the next layer. */
static void test_lstm(void **state) {
    (void)state;
    bk_model *m = load("tests/data/tiny_lstm.gguf", 2);
    assert_true(bk_model_config(m)->n_layers > 1);
    bk_stats *s = collect(m, true);
    const bk_input_stats *h = find(s, "blk.0.lstm_hh.weight"), *x = find(s, "blk.1.lstm_ih.weight");
    assert_int_equal(h->k, x->k);
    assert_memory_equal(h->squares, x->squares, h->k * sizeof *h->squares);
    assert_memory_equal(h->gram, x->gram, h->k * h->k * sizeof *h->gram);
    bk_stats_destroy(&s);
    bk_model_unref(&m);
}

static void test_experts(void **state) {
    (void)state;
    bk_model *m = load("tests/data/tiny_qwen3moe.gguf", 2);
    const bk_config *c = bk_model_config(m);
    bk_stats *s = collect(m, true);
    const bk_input_stats *e = find(s, "blk.0.ffn_down_exps.weight");
    uint64_t rows = 0;
    assert_int_equal(e->n_matrices, c->n_experts);
    assert_null(e->gram);
    for (size_t i = 0; i < e->n_matrices; i++) rows += e->rows[i];
    assert_int_equal(rows, bk_stats_tokens(s) * (size_t)c->n_experts_used);
    assert_non_null(bk_stats_find(s, "blk.0.ffn_gate_inp.weight"));
    bk_stats_destroy(&s);
    bk_model_unref(&m);
}

/* The same bits with one thread and three, and the model computes afterwards as before. */
static void test_threads(void **state) {
    (void)state;
    bk_model *m[2] = {load("tests/data/tiny_int.gguf", 1), load("tests/data/tiny_int.gguf", 3)};
    bk_stats *s[2] = {collect(m[0], true), collect(m[1], true)};
    assert_int_equal(bk_stats_n(s[0]), bk_stats_n(s[1]));
    for (size_t i = 0; i < bk_stats_n(s[0]); i++) {
        const bk_input_stats *a = find(s[0], bk_stats_name(s[0], i));
        const bk_input_stats *b = find(s[1], bk_stats_name(s[1], i));
        assert_memory_equal(a->squares, b->squares, a->k * sizeof *a->squares);
        assert_memory_equal(a->gram, b->gram, a->k * a->k * sizeof *a->gram);
    }
    check_head(m[0], s[1]);
    for (int i = 0; i < 2; i++) {
        bk_stats_destroy(&s[i]);
        bk_model_unref(&m[i]);
    }
}

static void test_refused(void **state) {
    (void)state;
    bk_model *m = load("tests/data/tiny_int.gguf", 1);
    bk_stats *s = NULL;
    bk_stats_options o = {.context = WINDOW};
    assert_int_equal(bk_stats_collect(m, bk_str_from("short"), &o, &s, &err), BK_ERR_INVALID);
    assert_non_null(strstr(err.text, "give a longer one"));
    assert_null(s);
    const volatile bool cancel = true;
    o.cancel = &cancel;
    assert_int_equal(bk_stats_collect(m, bk_str_from(text), &o, &s, &err), BK_ERR_CANCELLED);
    o.context = 1;
    assert_int_equal(bk_stats_collect(m, bk_str_from(text), &o, &s, &err), BK_ERR_INVALID);
    bk_model_unref(&m);
}

static int sweep_stats(void) {
    bk_model *m = NULL;
    bk_stats *s = NULL;
    bk_model_options o = {.threads = 1};
    bk_stats_options so = {.context = WINDOW, .gram = all, .max_tokens = WINDOW};
    bk_status st = bk_model_load("tests/data/tiny_lstm.gguf", &o, &m, &err);
    if (st == BK_OK) st = bk_stats_collect(m, bk_str_from(text), &so, &s, &err);
    bool good = st == BK_OK ? s != NULL : st == BK_ERR_NOMEM && !s;
    bk_stats_destroy(&s);
    bk_model_unref(&m);
    return !good ? SWEEP_WRONG : st == BK_OK ? SWEEP_ALL_OK : SWEEP_FAILED_WELL;
}

static void test_memory_runs_out(void **state) {
    (void)state;
    assert_true(sweep_all("stats", 5) > 1);
}

int main(int argc, char **argv) {
    if (argc == 3 && strcmp(argv[1], "sweep") == 0) return sweep_status(sweep_stats());
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_head_and_names),
        cmocka_unit_test(test_first_layer),
        cmocka_unit_test(test_lstm),
        cmocka_unit_test(test_experts),
        cmocka_unit_test(test_threads),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_memory_runs_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
