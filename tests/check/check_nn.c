/* Kernels of training (kernel/nn.h): the same bits at every level, and nothing read or written beyond
 * an array's end. tests/unit/test_nn_*.c compare them with double. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "check.h"
#include "kernel/nn.h"

/* What a kernel reads and writes, and what it returns. */
enum { ARRAYS = 5 };
typedef struct operands {
    float *v[ARRAYS];
    double result;
} operands;

/* NAME(call): the kernel with arrays v[] of n floats. */
#define EACH_KERNEL(X)                                                                \
    X(dot, o->result = (double)k->dot(v[0], v[1], n))                                 \
    X(axpy, k->axpy(0.3f, v[0], n, v[1]))                                             \
    X(add, k->add(v[1], v[0], n))                                                     \
    X(mul, k->mul(v[1], v[0], n))                                                     \
    X(scale, k->scale(v[0], n, 0.7f))                                                 \
    X(col_sum, k->col_sum(v[0], 1, n, n, v[1]))                                       \
    X(sum, o->result = k->sum(v[0], n))                                               \
    X(sum_squares, o->result = k->sum_squares(v[0], n))                               \
    X(rms_norm, o->result = (double)k->rms_norm(v[0], v[1], n, 1e-5f, v[2]))          \
    X(rms_norm_bwd, k->rms_norm_bwd(v[0], 0.9f, v[1], v[2], n, v[3], false, v[4]))    \
    X(rms_norm_bwd_add, k->rms_norm_bwd(v[0], 0.9f, v[1], v[2], n, v[3], true, v[4])) \
    X(rotate, k->rotate(v[0], v[1], v[2], -1, n))                                     \
    X(silu_mul, k->silu_mul(v[0], v[1], n, v[2]))                                     \
    X(silu_mul_bwd, k->silu_mul_bwd(v[0], v[1], v[2], n, v[3], v[4]))                 \
    X(relu, k->act[BK_NN_RELU](v[0], n, v[1]))                                        \
    X(tanh, k->act[BK_NN_TANH](v[0], n, v[1]))                                        \
    X(sigmoid, k->act[BK_NN_SIGMOID](v[0], n, v[1]))                                  \
    X(gelu, k->act[BK_NN_GELU](v[0], n, v[1]))                                        \
    X(relu_bwd, k->act_bwd[BK_NN_RELU](v[0], v[1], v[2], n, v[3]))                    \
    X(tanh_bwd, k->act_bwd[BK_NN_TANH](v[0], v[1], v[2], n, v[3]))                    \
    X(sigmoid_bwd, k->act_bwd[BK_NN_SIGMOID](v[0], v[1], v[2], n, v[3]))              \
    X(gelu_bwd, k->act_bwd[BK_NN_GELU](v[0], v[1], v[2], n, v[3]))                    \
    X(dropout, k->dropout(&drop, v[0], ((uint64_t)3 << 32) + 11, n, v[1]))            \
    X(log_sum, o->result = k->log_sum(v[0], n))                                       \
    X(exp_scaled, k->exp_scaled(v[0], n, 1.5f, 0.2f, v[1]))                           \
    X(lstm, k->lstm(v[0], n, v[1], n, v[2], v[3]))                                    \
    X(lstm_bwd, k->lstm_bwd(v[0], n, v[1], v[2], v[3], n, v[4]))                      \
    X(adam, k->adam(&adam, v[0], v[1], v[2], v[3], n))

static const bk_nn_drop drop = {{77, 99}, 1u << 30, 4.0f / 3};
static const bk_nn_adam adam = {0.9f, 0.99f, 1e-8f, 0.5f, 0.999f, 1e-2f, 1.5f};

#define CALL(name, call)                                                     \
    static void call_##name(const bk_nn_kernels *k, operands *o, size_t n) { \
        float **v = o->v;                                                    \
        call;                                                                \
    }
EACH_KERNEL(CALL)

typedef struct kernel {
    const char *name;
    void (*call)(const bk_nn_kernels *k, operands *o, size_t n);
} kernel;
#define ENTRY(name, call) {#name, call_##name},
static const kernel kernels[] = {EACH_KERNEL(ENTRY)};

/* The gates of an LSTM are four arrays. */
static size_t length(const kernel *t, int array, size_t n) {
    return array == 0 && strncmp(t->name, "lstm", 4) == 0 ? 4 * n : n;
}

/* Second moments are not below 0. */
static void fill(check *c, const kernel *t, check_kind kind, int array, float *x, size_t n) {
    check_fill(c, kind, x, n);
    for (size_t i = 0; array == 3 && strcmp(t->name, "adam") == 0 && i < n; i++) x[i] = fabsf(x[i]);
}

static void compare(check *c, const bk_nn_kernels *k, const kernel *t, check_kind kind, size_t n) {
    operands got = {.result = 0}, want = {.result = 0};
    char what[64];
    for (int i = 0; i < ARRAYS; i++) {
        size_t length_i = length(t, i, n);
        got.v[i] = check_floats(length_i);
        want.v[i] = check_floats(length_i);
        fill(c, t, kind, i, got.v[i], length_i);
        memcpy(want.v[i], got.v[i], length_i * sizeof *got.v[i]);
    }
    t->call(k, &got, n);
    t->call(bk_nn_kernels_select(BK_CPU_REF), &want, n);
    for (int i = 0; i < ARRAYS; i++) {
        snprintf(what, sizeof what, "n %zu, kind %d, array %d", n, (int)kind, i);
        check_same_floats(c, what, got.v[i], want.v[i], length(t, i, n));
    }
    if (got.result != want.result && (got.result == got.result || want.result == want.result))
        check_fail(c, "n %zu, kind %d: %g, want %g", n, (int)kind, got.result, want.result);
    check_release();
}

/* The kernels of the level; NULL when they are those of the level below. */
static const bk_nn_kernels *of_level(const check *c) {
    const bk_nn_kernels *k = bk_nn_kernels_select(c->k->level);
    return k->level == c->k->level ? k : NULL;
}

static void run_kernel(check *c, int arg) {
    const bk_nn_kernels *k = of_level(c);
    for (size_t n = 1; k && n <= 36; n++)
        for (int kind = 0; kind < (c->portable ? 1 : CHECK_KINDS); kind++)
            compare(c, k, &kernels[arg], (check_kind)kind, n);
    if (k) compare(c, k, &kernels[arg], CHECK_NORMAL, 1337);
}

/* ---- Attention -------------------------------------------------------------------------------------- */

/* Arrays of a block without room behind any of them: a pitch ends with the last row. */
static void fill_block(check *c, bk_nn_attn *a, bool backward) {
    size_t keys = a->first + a->n, q = (a->n - 1) * a->ldq + a->head;
    size_t kv = (keys - 1) * a->ldkv + a->head, y = (a->n - 1) * a->ldy + a->head;
    float *in[5];
    const size_t n[5] = {q, kv, kv, y, y};
    for (int i = 0; i < 5; i++) {
        in[i] = check_floats(n[i]);
        check_fill(c, CHECK_NORMAL, in[i], n[i]);
    }
    a->q = in[0], a->k = in[1], a->v = in[2], a->y = in[3], a->dy = backward ? in[4] : NULL;
    a->lse = check_floats(a->n);
    a->dq = check_floats(q), a->dk = check_floats(kv), a->dv = check_floats(kv);
    check_fill(c, CHECK_NORMAL, a->lse, a->n);
    check_fill(c, CHECK_NORMAL, a->dk, kv);
    check_fill(c, CHECK_NORMAL, a->dv, kv);
    memset(a->dq, 0, q * sizeof *a->dq);
}

static float *copy_of(const float *x, size_t n) {
    float *y = check_floats(n);
    memcpy(y, x, n * sizeof *x);
    return y;
}

static void compare_block(check *c, const bk_nn_kernels *k, bk_nn_attn a, bool backward) {
    const bk_nn_kernels *ref = bk_nn_kernels_select(BK_CPU_REF);
    size_t keys = a.first + a.n, q = (a.n - 1) * a.ldq + a.head;
    size_t kv = (keys - 1) * a.ldkv + a.head, y = (a.n - 1) * a.ldy + a.head;
    fill_block(c, &a, backward);
    bk_nn_attn b = a;
    b.y = copy_of(a.y, y), b.lse = copy_of(a.lse, a.n);
    b.dq = copy_of(a.dq, q), b.dk = copy_of(a.dk, kv), b.dv = copy_of(a.dv, kv);
    float *scratch =
        check_floats(backward ? bk_nn_attn_bwd_scratch(a.head) : bk_nn_attn_scratch(a.head, keys));
    (backward ? k->attention_bwd : k->attention)(&a, scratch);
    (backward ? ref->attention_bwd : ref->attention)(&b, scratch);
    check_same_floats(c, "y", a.y, b.y, y);
    check_same_floats(c, "lse", a.lse, b.lse, a.n);
    check_same_floats(c, "dq", a.dq, b.dq, q);
    check_same_floats(c, "dk", a.dk, b.dk, kv);
    check_same_floats(c, "dv", a.dv, b.dv, kv);
    check_release();
}

static void run_attention(check *c, int backward) {
    static const size_t heads[] = {2, 8, 16, 20, 32, 48, 64, 100, 128};
    static const size_t first[] = {0, 32, 64, 160};
    const bk_nn_kernels *k = of_level(c);
    for (size_t i = 0; k && i < BK_ARRAY_LEN(heads); i++)
        for (size_t f = 0; f < BK_ARRAY_LEN(first); f++)
            for (size_t n = 1; n <= BK_NN_QUERIES; n += n < 3 ? 1 : 7) {
                size_t h = heads[i], pad = check_below(c, 3) * 5;
                bk_nn_attn a = {.first = first[f], .n = n, .head = h, .scale = 0.3f};
                a.ldq = h + pad, a.ldkv = 2 * h + pad, a.ldy = h + 2 * pad;
                a.fresh = n % 2;
                compare_block(c, k, a, backward);
            }
}

#define TEST(name, call) {"nn/" #name, run_kernel, NN_##name},
#define NUMBER(name, call) NN_##name,
enum { EACH_KERNEL(NUMBER) };

static const check_test tests[] = {
    EACH_KERNEL(TEST){"nn/attention", run_attention, false},
    {"nn/attention_bwd", run_attention, true},
};

const check_family check_nn_family = {tests, BK_ARRAY_LEN(tests), NULL};
