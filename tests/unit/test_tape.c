/* The tape: gradients against differences of losses, values that are used twice, and an LSTM made of
 * primitive operations against the one that models use. */
#include "train/tape.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"

enum { LEAVES = 9, WORDS = 4096 };

typedef struct leaf {
    size_t rows, cols;
    float size; /* values are -size .. size, 1 - size .. 1 + size when `around` is 1 */
    float around;
} leaf;

/* A loss made of parameters. ids and targets lie at the beginning of `ints`. */
typedef struct net {
    const char *name;
    leaf leaves[LEAVES];
    void (*build)(bk_tape *t, const int *p, bk_vec ints);
} net;

typedef struct bench {
    bk_nn *nn;
    bk_tape *t;
    bk_mem *w, *grad, *ints;
    float host[WORDS];
    size_t at[LEAVES], n_leaves, words;
} bench;

static const int32_t ids[12] = {1, 0, 2, 2, -1, 1, 0, 2, 1, 1, 0, 2};

static void bench_open(bench *b, const net *n) {
    bk_error err;
    bk_rng rng;
    memset(b, 0, sizeof *b);
    assert_int_equal(bk_nn_cpu_create(BK_CPU_REF, 2, &b->nn, &err), BK_OK);
    b->t = bk_tape_create(b->nn);
    b->w = b->nn->ops->mem_create(b->nn, WORDS);
    b->grad = b->nn->ops->mem_create(b->nn, WORDS);
    b->ints = b->nn->ops->mem_create(b->nn, 12);
    assert_true(b->t && b->w && b->grad && b->ints);
    bk_rng_seed(&rng, 7, 1);
    for (size_t i = 0; i < LEAVES && n->leaves[i].rows; i++) {
        b->at[b->n_leaves++] = b->words;
        for (size_t k = n->leaves[i].rows * n->leaves[i].cols; k > 0; k--)
            b->host[b->words++] =
                n->leaves[i].around + n->leaves[i].size * (float)(2 * bk_rng_unit(&rng) - 1);
    }
    assert_true(b->words <= WORDS);
    b->nn->ops->write(b->nn, (bk_vec){b->ints, 0}, ids, 12);
}

static void bench_close(bench *b) {
    b->nn->ops->mem_destroy(b->nn, b->w);
    b->nn->ops->mem_destroy(b->nn, b->grad);
    b->nn->ops->mem_destroy(b->nn, b->ints);
    bk_tape_destroy(&b->t);
    bk_nn_destroy(&b->nn);
}

static double loss_of(bench *b, const net *n) {
    int p[LEAVES];
    bk_error err;
    bk_tape_reset(b->t);
    b->nn->ops->write(b->nn, (bk_vec){b->w, 0}, b->host, b->words);
    b->nn->ops->zero(b->nn, (bk_vec){b->grad, 0}, WORDS);
    for (size_t i = 0; i < b->n_leaves; i++)
        p[i] = bk_tape_param(b->t, (bk_vec){b->w, b->at[i]}, (bk_vec){b->grad, b->at[i]},
                             n->leaves[i].rows, n->leaves[i].cols);
    n->build(b->t, p, (bk_vec){b->ints, 0});
    if (bk_tape_backward(b->t, &err)) fail_msg("%s: %s", n->name, err.text);
    return bk_tape_loss(b->t);
}

static void check_net(const net *n) {
    bench b;
    float grad[WORDS];
    const float step = 8e-3f;
    bench_open(&b, n);
    loss_of(&b, n);
    b.nn->ops->read(b.nn, (bk_vec){b.grad, 0}, grad, b.words);
    double largest = 0;
    for (size_t i = 0; i < b.words; i++) largest = fmax(largest, fabs(grad[i]));
    assert_true(largest > 1e-3);
    for (size_t i = 0; i < b.words; i++) {
        float old = b.host[i];
        b.host[i] = old + step;
        double up = loss_of(&b, n);
        b.host[i] = old - step;
        double difference = (up - loss_of(&b, n)) / (2.0 * step);
        b.host[i] = old;
        if (fabs(difference - grad[i]) > 3e-3 * largest + 6e-3 * fabs(difference))
            fail_msg("%s: value %zu: gradient %g, difference %g", n->name, i, (double)grad[i],
                     difference);
    }
    bench_close(&b);
}

/* ---- Networks ------------------------------------------------------------------------------------ */

static void build_mlp(bk_tape *t, const int *p, bk_vec ints) {
    int h = bk_tape_act(t, BK_ACT_GELU, bk_tape_linear(t, p[0], p[1], p[2]));
    h = bk_tape_act(t, BK_ACT_SIGMOID, bk_tape_linear(t, h, p[3], BK_TAPE_NONE));
    h = bk_tape_act(t, BK_ACT_TANH, h);
    bk_tape_cross_entropy(t, bk_tape_linear(t, h, p[4], p[5]), ints, 0.2f);
}

static void build_llama(bk_tape *t, const int *p, bk_vec ints) {
    int x = bk_tape_embed(t, bk_vec_at(ints, 5), 6, p[0]);
    int norm = bk_tape_rms_norm(t, x, p[1], 1e-5f);
    int q = bk_tape_rope(t, bk_tape_linear(t, norm, p[2], BK_TAPE_NONE), 3, 4, 2, 100);
    int k = bk_tape_rope(t, bk_tape_linear(t, norm, p[3], BK_TAPE_NONE), 3, 2, 2, 100);
    int v = bk_tape_linear(t, norm, p[4], BK_TAPE_NONE);
    int mixed = bk_tape_attention(t, q, k, v, 3, 4, 2);
    x = bk_tape_add(t, x, bk_tape_linear(t, mixed, p[8], BK_TAPE_NONE));
    int up = bk_tape_linear(t, x, p[5], BK_TAPE_NONE), gate = bk_tape_linear(t, x, p[6], -1);
    x = bk_tape_add(t, x, bk_tape_linear(t, bk_tape_silu_mul(t, gate, up), p[7], -1));
    /* Tied: the table is the decoder too. */
    bk_tape_cross_entropy(t, bk_tape_linear(t, x, p[0], BK_TAPE_NONE), ints, 0.3f);
}

/* Used twice: x * x + x, a part of it twice, two losses. */
static void build_twice(bk_tape *t, const int *p, bk_vec ints) {
    int square = bk_tape_add(t, bk_tape_mul(t, p[0], p[0]), p[0]);
    int left = bk_tape_columns(t, square, 0, 3), right = bk_tape_columns(t, square, 2, 3);
    int y = bk_tape_mul(t, left, bk_tape_act(t, BK_ACT_RELU, right));
    bk_tape_cross_entropy(t, y, ints, 0.5f);
    bk_tape_cross_entropy(t, bk_tape_rows(t, y, 1, 3), ints, 0.25f);
    bk_tape_mul(t, p[0], p[0]); /* of no use: no gradient comes from it */
}

static void build_dropout(bk_tape *t, const int *p, bk_vec ints) {
    int x = bk_tape_dropout(t, p[0], 0.4f, 11, 100);
    bk_tape_cross_entropy(t, bk_tape_dropout(t, x, 0.1f, 11, 900), ints, 0.5f);
}

static const net nets[] = {
    {"mlp",
     {{5, 7, 1, 0}, {6, 7, 0.5, 0}, {1, 6, 0.5, 0}, {5, 6, 1, 0}, {3, 5, 1, 0}, {1, 3, 1, 0}},
     build_mlp},
    {"llama",
     {{3, 6, 1, 0},
      {1, 6, 0.3f, 1},
      {8, 6, 0.7f, 0},
      {4, 6, 0.7f, 0},
      {4, 6, 0.7f, 0},
      {8, 6, 0.7f, 0},
      {8, 6, 0.7f, 0},
      {6, 8, 0.7f, 0},
      {6, 8, 0.7f, 0}},
     build_llama},
    {"twice", {{4, 5, 1, 0}}, build_twice},
    {"dropout", {{5, 3, 1, 0}}, build_dropout},
};

static void test_shapes(void **state) {
    (void)state;
    bench b;
    bk_error err;
    bench_open(&b, &nets[2]);
    int x = bk_tape_param(b.t, (bk_vec){b.w, 0}, (bk_vec){b.grad, 0}, 4, 5);
    assert_int_equal(bk_tape_linear(b.t, x, bk_tape_input(b.t, (bk_vec){b.w, 0}, 2, 4), -1),
                     BK_TAPE_NONE);
    assert_int_equal(bk_tape_act(b.t, BK_ACT_TANH, x), BK_TAPE_NONE);
    assert_int_equal(bk_tape_backward(b.t, &err), BK_ERR_INVALID);
    assert_non_null(strstr(err.text, "linear"));
    bk_tape_reset(b.t);
    x = bk_tape_input(b.t, (bk_vec){b.w, 0}, 4, 5);
    assert_int_equal(bk_tape_columns(b.t, x, 3, 3), BK_TAPE_NONE);
    bk_tape_reset(b.t);
    x = bk_tape_input(b.t, (bk_vec){b.w, 0}, 4, 5);
    assert_int_equal(bk_tape_attention(b.t, x, x, x, 3, 1, 1), BK_TAPE_NONE);
    bk_tape_reset(b.t);
    x = bk_tape_input(b.t, (bk_vec){b.w, 0}, 4, 5);
    assert_null(bk_tape_grad(b.t, bk_tape_add(b.t, x, x)).mem);
    assert_int_equal(bk_tape_backward(b.t, &err), BK_OK);
    bench_close(&b);
}

static void test_gradients(void **state) {
    (void)state;
    for (size_t i = 0; i < BK_ARRAY_LEN(nets); i++) check_net(&nets[i]);
}

/* ---- LSTM ---------------------------------------------------------------------------------------- */

enum { T = 4, B = 3, E = 5, H = 6, V = 3 };
static const leaf lstm_leaves[] = {{T * B, E, 1, 0},    {4 * H, E, 0.6f, 0}, {4 * H, H, 0.6f, 0},
                                   {1, 4 * H, 0.3f, 0}, {V, H, 1, 0},        {1, V, 0.3f, 0}};

/* p: inputs of all steps, W_ih, W_hh, b, decoder and its bias. */
static void build_lstm(bk_tape *t, const int *p, bk_vec ints) {
    int all = bk_tape_linear(t, p[0], p[1], p[3]), h = -1, c = -1;
    for (size_t step = 0; step < T; step++) {
        int z = bk_tape_rows(t, all, step * B, B);
        if (step) z = bk_tape_add(t, z, bk_tape_linear(t, h, p[2], BK_TAPE_NONE));
        int i = bk_tape_act(t, BK_ACT_SIGMOID, bk_tape_columns(t, z, 0, H));
        int f = bk_tape_act(t, BK_ACT_SIGMOID, bk_tape_columns(t, z, H, H));
        int g = bk_tape_act(t, BK_ACT_TANH, bk_tape_columns(t, z, 2 * H, H));
        int o = bk_tape_act(t, BK_ACT_SIGMOID, bk_tape_columns(t, z, 3 * H, H));
        c = step ? bk_tape_add(t, bk_tape_mul(t, f, c), bk_tape_mul(t, i, g))
                 : bk_tape_mul(t, i, g);
        h = bk_tape_mul(t, o, bk_tape_act(t, BK_ACT_TANH, c));
        bk_tape_cross_entropy(t, bk_tape_linear(t, h, p[4], p[5]), bk_vec_at(ints, step * B),
                              1.0f / (T * B));
    }
}

/* The same through the operations that models use: one product for the inputs of all steps, one for the
 * weights. Gradients go to grad, laid out as the leaves. */
static double fused_lstm(bench *b, float *grad) {
    const struct bk_nn_ops *ops = b->nn->ops;
    const size_t rows = T * B;
    bk_mem *m = ops->mem_create(b->nn, 4096), *dm = ops->mem_create(b->nn, WORDS);
    bk_vec gates = {m, 0}, h = {m, 512}, c = {m, 768}, dh = {m, 1024}, logits = {m, 1280};
    bk_vec losses = {m, 1408}, w[6], d[6];
    for (int i = 0; i < 6; i++) w[i] = (bk_vec){b->w, b->at[i]}, d[i] = (bk_vec){dm, b->at[i]};
    ops->gemm(b->nn, &(bk_gemm){.m = rows,
                                .n = 4 * H,
                                .k = E,
                                .a = w[0],
                                .lda = E,
                                .b = w[1],
                                .ldb = E,
                                .tb = true,
                                .c = gates,
                                .ldc = 4 * H,
                                .bias = w[3]});
    bk_nn_lstm l = {.T = T, .B = B, .H = H, .w_hh = w[2], .gates = gates, .h = h, .c = c, .dh = dh};
    ops->lstm(b->nn, &l);
    bk_vec hs = bk_vec_at(h, B * H);
    ops->gemm(b->nn, &(bk_gemm){.m = rows,
                                .n = V,
                                .k = H,
                                .a = hs,
                                .lda = H,
                                .b = w[4],
                                .ldb = H,
                                .tb = true,
                                .c = logits,
                                .ldc = V,
                                .bias = w[5]});
    ops->cross_entropy(b->nn, logits, rows, V, V, (bk_vec){b->ints, 0}, losses, true,
                       1.0f / (T * B));
    double loss = ops->sum(b->nn, losses, rows) / (T * B);
    ops->gemm(b->nn, &(bk_gemm){.m = V,
                                .n = H,
                                .k = rows,
                                .a = logits,
                                .lda = V,
                                .ta = true,
                                .b = hs,
                                .ldb = H,
                                .c = d[4],
                                .ldc = H,
                                .add = true});
    ops->col_sum(b->nn, logits, rows, V, V, d[5]);
    ops->gemm(b->nn, &(bk_gemm){.m = rows,
                                .n = H,
                                .k = V,
                                .a = logits,
                                .lda = V,
                                .b = w[4],
                                .ldb = H,
                                .c = dh,
                                .ldc = H});
    ops->lstm_bwd(b->nn, &l);
    ops->gemm(b->nn, &(bk_gemm){.m = rows,
                                .n = E,
                                .k = 4 * H,
                                .a = gates,
                                .lda = 4 * H,
                                .b = w[1],
                                .ldb = E,
                                .c = d[0],
                                .ldc = E});
    ops->gemm(b->nn, &(bk_gemm){.m = 4 * H,
                                .n = E,
                                .k = rows,
                                .a = gates,
                                .lda = 4 * H,
                                .ta = true,
                                .b = w[0],
                                .ldb = E,
                                .c = d[1],
                                .ldc = E,
                                .add = true});
    ops->gemm(b->nn, &(bk_gemm){.m = 4 * H,
                                .n = H,
                                .k = rows,
                                .a = gates,
                                .lda = 4 * H,
                                .ta = true,
                                .b = h,
                                .ldb = H,
                                .c = d[2],
                                .ldc = H,
                                .add = true});
    ops->col_sum(b->nn, gates, rows, 4 * H, 4 * H, d[3]);
    ops->read(b->nn, (bk_vec){dm, 0}, grad, b->words);
    ops->mem_destroy(b->nn, m);
    ops->mem_destroy(b->nn, dm);
    return loss;
}

static void test_lstm(void **state) {
    (void)state;
    net n = {.name = "lstm", .build = build_lstm};
    memcpy(n.leaves, lstm_leaves, sizeof lstm_leaves);
    check_net(&n);
    bench b;
    float grad[WORDS], fused[WORDS];
    bench_open(&b, &n);
    double loss = loss_of(&b, &n);
    b.nn->ops->read(b.nn, (bk_vec){b.grad, 0}, grad, b.words);
    assert_true(fabs(fused_lstm(&b, fused) - loss) < 1e-6);
    for (size_t i = 0; i < b.words; i++)
        if (fabsf(grad[i] - fused[i]) > 2e-6f)
            fail_msg("value %zu: %g by the tape, %g by the layer", i, (double)grad[i],
                     (double)fused[i]);
    bench_close(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gradients),
        cmocka_unit_test(test_shapes),
        cmocka_unit_test(test_lstm),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
