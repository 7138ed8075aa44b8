/* Training operations over vectors: against double, gradients against central differences. */
#include "base/base.h"
#include "nn_check.h"

/* Odd, and enough for several parts and threads. */
enum { SIZE = 4096 * 9 + 77 };
static const size_t sizes[] = {1, 15, 16, 37, SIZE};

#define EACH_SIZE(n) \
    size_t n;        \
    for (size_t i_ = 0; i_ < BK_ARRAY_LEN(sizes) && (n = sizes[i_], true); i_++)

/* ---- Plain ---------------------------------------------------------------------------------------- */

static void truth_plain(const nn_case *c, double **a) {
    for (size_t i = 0; i < c->n[0]; i++) {
        a[2][i] += a[1][i];
        a[3][i] *= a[1][i];
        a[4][i] *= (double)0.37f;
        a[5][i] = a[1][i];
        a[6][i] = 0;
    }
}

static void run_plain(const nn_case *c, bk_nn *d, const bk_vec *v) {
    size_t n = c->n[0];
    d->ops->add(d, v[2], v[1], n);
    d->ops->mul(d, v[3], v[1], n);
    d->ops->scale(d, v[4], n, 0.37f);
    d->ops->copy(d, v[5], v[1], n);
    d->ops->zero(d, v[6], n);
}

static void plain(void **state) {
    (void)state;
    EACH_SIZE(n)
    nn_check("plain", .n = {n, n, n, n, n, n, n}, .truth = truth_plain, .run = run_plain,
             .tolerance = 1e-7);
}

/* ---- Gates and activations ------------------------------------------------------------------------- */

static void wide(const nn_case *c, double **a, bk_rng *r) {
    (void)r;
    for (size_t i = 0; i < c->n[0]; i++) a[0][i] *= i % 3 ? 6 : 0.4;
}

static double sigmoid(double x) { return 1 / (1 + exp(-x)); }

static void truth_silu(const nn_case *c, double **a) {
    for (size_t i = 0; i < c->n[0]; i++) a[2][i] = a[0][i] * sigmoid(a[0][i]) * a[1][i];
}

static void run_silu(const nn_case *c, bk_nn *d, const bk_vec *v) {
    d->ops->silu_mul(d, v[0], v[1], c->n[0], v[2]);
}

static void run_silu_bwd(const nn_case *c, bk_nn *d, const bk_vec *v) {
    d->ops->silu_mul_bwd(d, v[0], v[1], v[3], c->n[0], v[4], v[5]);
}

static void run_silu_over(const nn_case *c, bk_nn *d, const bk_vec *v) {
    d->ops->silu_mul_bwd(d, v[0], v[1], v[3], c->n[0], v[0], v[1]);
}

static void silu_mul(void **state) {
    (void)state;
    EACH_SIZE(n) {
        nn_check("silu_mul", .n = {n, n, n, n, n, n}, .fill = wide, .truth = truth_silu,
                 .run = run_silu, .run_bwd = run_silu_bwd, .n_out = 1, .out = {{2, 3}}, .n_grad = 2,
                 .grad = {{0, 4, false}, {1, 5, false}});
        nn_check("silu_mul over its inputs", .n = {n, n, n, n}, .fill = wide, .truth = truth_silu,
                 .run = run_silu, .run_bwd = run_silu_over, .n_out = 1, .out = {{2, 3}},
                 .n_grad = 2, .grad = {{0, 0, false}, {1, 1, false}});
    }
}

static double act_of(bk_act kind, double x) {
    switch (kind) {
    case BK_ACT_RELU: return x > 0 ? x : 0;
    case BK_ACT_TANH: return tanh(x);
    case BK_ACT_SIGMOID: return sigmoid(x);
    case BK_ACT_GELU: return x / 2 * (1 + tanh(sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
    }
    return NAN;
}

static void truth_act(const nn_case *c, double **a) {
    for (size_t i = 0; i < c->n[0]; i++) a[1][i] = act_of((bk_act)c->dim[0], a[0][i]);
}

static void run_act(const nn_case *c, bk_nn *d, const bk_vec *v) {
    d->ops->act(d, (bk_act)c->dim[0], v[0], c->n[0], v[1]);
}

static void run_act_bwd(const nn_case *c, bk_nn *d, const bk_vec *v) {
    d->ops->act_bwd(d, (bk_act)c->dim[0], v[0], v[1], v[2], c->n[0], v[c->dim[1]]);
}

static void activations(void **state) {
    (void)state;
    EACH_SIZE(n)
    for (size_t kind = BK_ACT_RELU; kind <= BK_ACT_GELU; kind++)
        for (size_t in = 2; in <= 3; in++) /* dx over dy, and elsewhere */
            nn_check("activation", .dim = {kind, in}, .n = {n, n, n, n}, .fill = wide,
                     .truth = truth_act, .run = run_act, .run_bwd = run_act_bwd, .n_out = 1,
                     .out = {{1, 2}}, .n_grad = 1, .grad = {{0, (int)in, false}});
}

/* Relative error of tanh, and what becomes of values beyond all bounds. */
static void tanh_is_near(void **state) {
    (void)state;
    enum { N = 4000 };
    bk_nn *d = nn_device(bk_cpu_best(), 1);
    float x[N], y[N];
    for (int i = 0; i < N; i++)
        x[i] = (float)(ldexp(1 + i % 16 / 16.0, i / 80 - 45) * (i % 2 ? 1 : -1));
    bk_vec v = nn_floats(d, x, N);
    d->ops->act(d, BK_ACT_TANH, v, N, v);
    nn_read(d, v, y, N);
    for (int i = 0; i < N; i++) {
        double want = tanh((double)x[i]);
        if (!(fabs((double)y[i] - want) <= 3e-7 * fabs(want)))
            fail_msg("tanh(%g) = %.9g, wanted %.9g", (double)x[i], (double)y[i], want);
    }
    nn_free(d, v);
    bk_nn_destroy(&d);
}

static void extreme(void **state) {
    (void)state;
    static const float x[] = {INFINITY, -INFINITY, 1e30f, -1e30f, 100, -100, 0};
    static const float want[][BK_ARRAY_LEN(x)] = {
        [BK_ACT_RELU] = {INFINITY, 0, 1e30f, 0, 100, 0, 0},
        [BK_ACT_TANH] = {1, -1, 1, -1, 1, -1, 0},
        [BK_ACT_SIGMOID] = {1, 0, 1, 0, 1, 0, 0.5f},
        [BK_ACT_GELU] = {INFINITY, NAN, 1e30f, 0, 100, 0, 0},
    };
    float y[BK_ARRAY_LEN(x)];
    for (int level = BK_CPU_REF; level <= (int)bk_cpu_best(); level++) {
        bk_nn *d = nn_device((bk_cpu_level)level, 1);
        for (size_t kind = 0; kind < BK_ARRAY_LEN(want); kind++) {
            bk_vec v = nn_floats(d, x, BK_ARRAY_LEN(x));
            d->ops->act(d, (bk_act)kind, v, BK_ARRAY_LEN(x), v);
            nn_read(d, v, y, BK_ARRAY_LEN(x));
            for (size_t i = 0; i < BK_ARRAY_LEN(x); i++)
                if (!isnan(want[kind][i]) && y[i] != want[kind][i])
                    fail_msg("activation %zu of %g: %g", kind, (double)x[i], (double)y[i]);
            nn_free(d, v);
        }
        bk_nn_destroy(&d);
    }
}

/* ---- Dropout --------------------------------------------------------------------------------------- */

static void dropped(bk_nn *d, const float *x, size_t n, float p, uint64_t seed, uint64_t at,
                    float *y) {
    bk_vec v = nn_floats(d, x, n);
    d->ops->dropout(d, v, n, p, seed, at, v);
    nn_read(d, v, y, n);
    nn_free(d, v);
}

/* The generator's word by its definition in kernel/nn.h, for seed 9: the seed's mix is a constant. */
static uint32_t mix(uint32_t x) {
    x = (x ^ x >> 16) * 0x7feb352du;
    x = (x ^ x >> 15) * 0x846ca68bu;
    return x ^ x >> 16;
}

static bool stays(uint64_t seed, uint64_t index, float p) {
    uint64_t k = seed + 0x9e3779b97f4a7c15u;
    k = (k ^ k >> 30) * 0xbf58476d1ce4e5b9u;
    k = (k ^ k >> 27) * 0x94d049bb133111ebu;
    k ^= k >> 31;
    uint32_t word =
        mix(mix((uint32_t)index + (uint32_t)k) ^ ((uint32_t)(index >> 32) + (uint32_t)(k >> 32)));
    return (double)word >= (double)p * 0x1p32 - 1;
}

static void dropout(void **state) {
    (void)state;
    enum { N = 100003 };
    static const uint64_t places[] = {0, 5, ((uint64_t)1 << 32) - 40007, (uint64_t)7 << 32};
    float *x = malloc(N * sizeof *x), *y = malloc(N * sizeof *y), *z = malloc(N * sizeof *z);
    assert_true(x && y && z);
    for (size_t i = 0; i < N; i++) x[i] = 1 + (float)i;
    bk_nn *d = nn_device(bk_cpu_best(), 1), *ref = nn_device(BK_CPU_REF, 3);
    for (size_t c = 0; c < BK_ARRAY_LEN(places); c++) {
        float p = c % 2 ? 0.5f : 0.1f;
        size_t kept = 0;
        dropped(d, x, N, p, 9, places[c], y);
        dropped(ref, x, N, p, 9, places[c], z);
        assert_memory_equal(y, z, N * sizeof *y);
        for (size_t i = 0; i < N; i++) {
            assert_true(y[i] == (stays(9, places[c] + i, p) ? x[i] * (1 / (1 - p)) : 0));
            kept += y[i] != 0;
        }
        /* Five standard deviations. */
        assert_true(fabs((double)kept - N * (1 - (double)p)) < 5 * sqrt(N * 0.25));
        /* Cut anywhere, and other seeds give others. */
        dropped(d, x + 17, N - 17, p, 9, places[c] + 17, z);
        assert_memory_equal(y + 17, z, (N - 17) * sizeof *y);
        dropped(d, x, N, p, 10, places[c], z);
        size_t same = 0;
        for (size_t i = 0; i < N; i++) same += (y[i] != 0) == (z[i] != 0);
        double chance = (double)p * (double)p + (1 - (double)p) * (1 - (double)p);
        assert_true(fabs((double)same - N * chance) < 5 * sqrt(N * 0.25));
    }
    dropped(d, x, N, 0, 1, 0, y);
    assert_memory_equal(x, y, N * sizeof *x);
    bk_nn_destroy(&d);
    bk_nn_destroy(&ref);
    free(x), free(y), free(z);
}

/* Subnormal numbers count as 0 within operations, on all threads, and as themselves outside. */
static void subnormal(void **state) {
    (void)state;
    volatile float small = 1e-38f;
    float *x = malloc(SIZE * sizeof *x);
    assert_non_null(x);
    for (int threads = 1; threads <= 2; threads++) {
        bk_nn *d = nn_device(bk_cpu_best(), threads);
        for (size_t i = 0; i < SIZE; i++) x[i] = i % 2 ? 1e-38f : 1e-39f;
        bk_vec v = nn_floats(d, x, SIZE);
        d->ops->scale(d, v, SIZE, 0.5f);
        d->ops->scale(d, v, SIZE, 0x1p60f);
        nn_read(d, v, x, SIZE);
#if defined(__x86_64__)
        for (size_t i = 0; i < SIZE; i++) assert_true(x[i] == 0);
#endif
        assert_true(small * 0.5f > 0);
        nn_free(d, v);
        bk_nn_destroy(&d);
    }
    free(x);
}

/* ---- Sums ------------------------------------------------------------------------------------------- */

static void sums(void **state) {
    (void)state;
    EACH_SIZE(n) {
        double first[2] = {0, 0}, want[2] = {0, 0}, size = 0;
        float *x = malloc(n * sizeof *x);
        assert_non_null(x);
        for (int threads = 1; threads <= 4; threads++) {
            for (int level = BK_CPU_REF; level <= (int)bk_cpu_best(); level++) {
                bk_nn *d = nn_device((bk_cpu_level)level, threads);
                bk_vec v = nn_random(d, n, -1, 2, 3);
                double got[2] = {d->ops->sum(d, v, n), d->ops->sum_squares(d, v, n)};
                if (size == 0) {
                    memcpy(first, got, sizeof first);
                    nn_read(d, v, x, n);
                    for (size_t i = 0; i < n; i++) {
                        want[0] += (double)x[i];
                        want[1] += (double)x[i] * (double)x[i];
                        size += fabs((double)x[i]);
                    }
                }
                assert_memory_equal(first, got, sizeof first);
                for (int i = 0; i < 2; i++)
                    assert_true(fabs(got[i] - want[i]) <= 5e-7 * (size + want[1]));
                nn_free(d, v);
                bk_nn_destroy(&d);
            }
        }
        free(x);
    }
    bk_nn *d = nn_device(BK_CPU_REF, 1);
    bk_vec v = nn_random(d, 1, 0, 1, 1);
    assert_true(d->ops->sum(d, v, 0) == 0);
    nn_free(d, v);
    bk_nn_destroy(&d);
}

/* ---- AdamW ------------------------------------------------------------------------------------------ */

enum { STEPS = 100 };

/* Arrays w, m, v, sum of what the gradient is left as, and the gradients of all steps. */
static float step_scale(size_t step) { return step % 7 == 3 ? 0.25f : 1; }

static void fill_adam(const nn_case *c, double **a, bk_rng *r) {
    (void)r;
    for (size_t i = 0; i < c->n[0]; i++) {
        a[1][i] = a[2][i] = a[3][i] = 0;
        for (size_t s = 0; s < STEPS; s++) a[4][s * c->n[0] + i] *= i % 5 == 4 ? 1e-4 : 1;
    }
}

/* The paper's algorithm 2 with the learning rate in the decay, as PyTorch has it. */
static void truth_adam(const nn_case *c, double **a) {
    const double lr = (double)1e-2f, b1 = (double)0.9f, b2 = (double)0.99f, eps = (double)1e-8f;
    double decay = c->dim[0] ? (double)0.1f : 0;
    for (size_t i = 0; i < c->n[0]; i++) {
        double w = a[0][i], m = 0, v = 0;
        for (size_t s = 0; s < STEPS; s++) {
            double g = a[4][s * c->n[0] + i] * (double)step_scale(s);
            w -= lr * decay * w;
            m = b1 * m + (1 - b1) * g;
            v = b2 * v + (1 - b2) * g * g;
            double mhat = m / (1 - pow(b1, (double)s + 1)), vhat = v / (1 - pow(b2, (double)s + 1));
            w -= lr * mhat / (sqrt(vhat) + eps);
        }
        a[0][i] = w, a[1][i] = m, a[2][i] = v;
    }
}

static void run_adam(const nn_case *c, bk_nn *d, const bk_vec *v) {
    size_t n = c->n[0];
    for (size_t s = 0; s < STEPS; s++) {
        bk_vec grad = {d->ops->mem_create(d, n), 0};
        assert_non_null(grad.mem);
        d->ops->copy(d, grad, bk_vec_at(v[4], s * n), n);
        bk_adamw a = {.lr = 1e-2f, .b1 = 0.9f, .b2 = 0.99f, .eps = 1e-8f, .w = v[0], .m = v[1]};
        a.decay = c->dim[0] ? 0.1f : 0;
        a.fix1 = (float)(1 - pow((double)a.b1, (double)s + 1));
        a.fix2 = (float)(1 - pow((double)a.b2, (double)s + 1));
        a.grad_scale = step_scale(s);
        a.v = v[2], a.grad = grad, a.n = n;
        d->ops->adamw(d, &a);
        d->ops->add(d, v[3], grad, n); /* zeros */
        nn_free(d, grad);
    }
}

static void adamw(void **state) {
    (void)state;
    static const size_t n[] = {1, 33, 4096 * 2 + 9};
    for (size_t i = 0; i < BK_ARRAY_LEN(n); i++)
        for (size_t decay = 0; decay < 2; decay++)
            nn_check("adamw", .dim = {decay}, .n = {n[i], n[i], n[i], n[i], n[i] * STEPS},
                     .fill = fill_adam, .truth = truth_adam, .run = run_adam, .tolerance = 5e-6);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plain),        cmocka_unit_test(silu_mul), cmocka_unit_test(activations),
        cmocka_unit_test(tanh_is_near), cmocka_unit_test(extreme),  cmocka_unit_test(dropout),
        cmocka_unit_test(subnormal),    cmocka_unit_test(sums),     cmocka_unit_test(adamw),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
