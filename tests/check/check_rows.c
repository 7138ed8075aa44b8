/* Quantisation of activations, norms and gates. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "check.h"

#define EPS 0x1p-24 /* one rounding of a float */

static const size_t long_rows[] = {160, 256, 511, 576, 1536, 2053};

/* Every size 0..130 (from 1 where `least` says so), then real ones, with every kind of values. */
static void all_sizes(check *c, size_t least, void (*run)(check *, check_kind, size_t)) {
    for (size_t n = least; n <= 130; n++) {
        for (int kind = 0; kind < CHECK_KINDS; kind++) run(c, (check_kind)kind, n);
    }
    for (size_t i = 0; i < BK_ARRAY_LEN(long_rows); i++)
        for (int kind = 0; kind < CHECK_KINDS; kind++) run(c, (check_kind)kind, long_rows[i]);
}

/* How far a rounded value may be: half a step, and what the scale, its inverse and the product with it,
 * each rounded, move one of 127 steps. */
static double half_step(double s) { return s * (0.5 + 127 * 4 * EPS) + 1e-37; }

/* ---- Quantise ---------------------------------------------------------------------------------- */

static void exact_channels(check *c, const float *x, size_t k, const bk_act *a) {
    for (int e = 0; e < BK_ACT_EXACT && (size_t)e < k; e++) {
        size_t best = SIZE_MAX, at = (size_t)a->at[e];
        for (size_t i = 0; i < k; i++) {
            bool gone = false;
            for (int f = 0; f < e; f++) gone |= (size_t)a->at[f] == i;
            if (!gone && (best == SIZE_MAX || fabsf(x[i]) > fabsf(x[best]))) best = i;
        }
        if (at != best) check_fail(c, "k %zu: exact channel %d is %zu, want %zu", k, e, at, best);
        if (!check_same(a->value[e], x[best])) check_fail(c, "k %zu: exact value %d", k, e);
        if (a->q[best] != 0) check_fail(c, "k %zu: exact channel %d has a quant too", k, e);
    }
}

static void against_double(check *c, const float *x, size_t k, const bk_act *a) {
    exact_channels(c, x, k, a);
    for (size_t b = 0; b < bk_div_up(k, 32); b++) {
        int32_t sum[2] = {0, 0};
        double max = 0;
        for (size_t i = 32 * b; i < 32 * b + 32; i++) {
            bool exact = i >= k || i == (size_t)a->at[0] || i == (size_t)a->at[1];
            double v = exact ? 0 : (double)x[i], s = (double)a->s[b];
            max = fmax(max, fabs(v));
            sum[i / 16 % 2] += a->q[i];
            if (a->q[i] < -127) check_fail(c, "quant %d", a->q[i]);
            check_near(c, "value", s * a->q[i], v, half_step(s), i);
        }
        check_near(c, "scale", (double)a->s[b], max / 127, max / 127 * 2 * EPS + 1e-45, b);
        if (a->nsum[b] != -128 * (sum[0] + sum[1]) || a->nsum0[b] != -128 * sum[0] ||
            a->nsum1[b] != -128 * sum[1])
            check_fail(c, "sums of %zu", b);
        double want = (double)a->s[b] * (sum[0] + sum[1]);
        if (fabs(want) < 3e38)
            check_near(c, "a", (double)a->a[b], want, fabs(want) * EPS + 1e-45, b);
    }
}

static void quantize_case(check *c, check_kind kind, size_t k) {
    size_t bytes = bk_act_row_bytes(k), nb = bk_div_up(k, 32);
    float *x = check_floats(k);
    check_fill(c, kind, x, k);
    bk_act got = bk_act_view(check_mem(bytes), k), want = bk_act_view(check_mem(bytes), k);
    c->k->quantize(x, k, got.q);
    c->ref->quantize(x, k, want.q);
    check_same_bytes(c, "q", got.q, want.q, nb * 32);
    check_same_floats(c, "s", got.s, want.s, nb);
    check_same_floats(c, "a", got.a, want.a, nb);
    check_same_bytes(c, "nsum", got.nsum, want.nsum, nb * 4);
    check_same_bytes(c, "nsum0", got.nsum0, want.nsum0, nb * 4);
    check_same_bytes(c, "nsum1", got.nsum1, want.nsum1, nb * 4);
    check_same_bytes(c, "at", got.at, want.at, BK_ACT_EXACT * 4);
    check_same_floats(c, "value", got.value, want.value, BK_ACT_EXACT);
    size_t used = (size_t)((char *)(got.value + BK_ACT_EXACT) - (char *)got.q);
    check_same_bytes(c, "padding", got.q + used, want.q + used, bytes - used);
    if (c->portable && kind != CHECK_NONFINITE) against_double(c, x, k, &got);
    check_release();
}

static void quantize(check *c, int arg) {
    (void)arg;
    all_sizes(c, 1, quantize_case);
}

static void fast_double(check *c, const float *x, size_t k, const bk_fast_act *a) {
    double least = INFINITY;
    size_t nb = bk_div_up(k, 32);
    for (size_t e = 0; e < BK_FAST_EXACT && e < k; e++) {
        if (!check_same(a->value[e], x[a->at[e]])) check_fail(c, "k %zu: exact value %zu", k, e);
        least = fmin(least, fabs((double)a->value[e]));
    }
    for (size_t t = 0; t < bk_fast_stretches(nb); t++) {
        int32_t sum = 0;
        double max = 0, s = (double)a->s[t];
        for (size_t i = t * 128; i < bk_min_size(32 * nb, (t + 1) * 128); i++) {
            bool exact = i >= k;
            for (int e = 0; e < BK_FAST_EXACT; e++) exact |= (size_t)a->at[e] == i;
            double v = exact ? 0 : (double)x[i];
            max = fmax(max, fabs(v));
            sum += a->q[i];
            check_near(c, "value", s * a->q[i], v, half_step(s), i);
        }
        if (a->nsum[t] != -128 * sum) check_fail(c, "sum of stretch %zu", t);
        check_near(c, "scale", s, max / 127, max / 127 * 2 * EPS + 1e-45, t);
        if (max > least) check_fail(c, "k %zu: an exact channel is not among the largest", k);
    }
}

static void fast_quantize_case(check *c, check_kind kind, size_t k) {
    size_t bytes = bk_fast_act_bytes(k), nb = bk_div_up(k, 32);
    float *x = check_floats(k);
    check_fill(c, kind, x, k);
    bk_fast_act got = bk_fast_act_view(check_mem(bytes), k);
    bk_fast_act want = bk_fast_act_view(check_mem(bytes), k);
    c->k->fast_quantize(x, k, got.q);
    c->ref->fast_quantize(x, k, want.q);
    check_same_bytes(c, "q", got.q, want.q, nb * 32);
    check_same_floats(c, "s", got.s, want.s, bk_fast_stretches(nb));
    check_same_bytes(c, "at", got.at, want.at, BK_FAST_EXACT * 4);
    check_same_floats(c, "value", got.value, want.value, BK_FAST_EXACT);
    check_same_bytes(c, "nsum", got.nsum, want.nsum, bk_fast_stretches(nb) * 4);
    if (c->portable && kind != CHECK_NONFINITE) fast_double(c, x, k, &got);
    check_release();
}

static void fast_quantize(check *c, int arg) {
    (void)arg;
    all_sizes(c, 1, fast_quantize_case);
}

/* ---- Norm and gate ------------------------------------------------------------------------------ */

static bool plain(check_kind kind) {
    return kind != CHECK_NONFINITE && kind != CHECK_HUGE && kind != CHECK_MIXED;
}

static void norm_double(check *c, const float *x, const float *w, size_t n, float eps,
                        const float *y) {
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += (double)x[i] * (double)x[i];
    double scale = 1 / sqrt(sum / (double)n + (double)eps);
    for (size_t i = 0; i < n; i++) {
        double want = (double)x[i] * scale * (double)w[i];
        double bound = fabs(want) * ((double)n / 16 + 12) * EPS + 1e-36;
        check_near(c, "norm", (double)y[i], want, bound, i);
    }
}

static void rms_norm_case(check *c, check_kind kind, size_t n) {
    float *x = check_floats(n), *w = check_floats(n), *got = check_floats(n),
          *want = check_floats(n), eps = n % 2 ? 1e-5f : 1e-6f;
    check_fill(c, kind, x, n);
    check_fill(c, CHECK_NORMAL, w, n);
    c->k->rms_norm(x, w, n, eps, got);
    c->ref->rms_norm(x, w, n, eps, want);
    check_same_floats(c, "norm", got, want, n);
    if (c->portable && plain(kind)) norm_double(c, x, w, n, eps, got);
    c->k->rms_norm(x, w, n, eps, x);
    check_same_floats(c, "norm in place", x, want, n);
    check_release();
}

static void rms_norm(check *c, int arg) {
    (void)arg;
    all_sizes(c, 0, rms_norm_case);
}

/* A gate is an activation of one vector times another vector. */
typedef struct gate {
    const char *name;
    void (*ours)(const bk_kernels *, const float *, const float *, size_t, float *);
    double (*exponent)(double); /* activation: x / (1 + exp(exponent)) */
} gate;

static void run_silu(const bk_kernels *k, const float *g, const float *u, size_t n, float *y) {
    k->silu_mul(g, u, n, y);
}

static void run_gelu(const bk_kernels *k, const float *g, const float *u, size_t n, float *y) {
    k->gelu_mul(g, u, n, y);
}

static double silu_exponent(double x) { return -x; }

static double gelu_exponent(double x) {
    return -2 * sqrt(2 / acos(-1)) * (x + 0.044715 * x * x * x);
}

static const gate gates[] = {{"silu", run_silu, silu_exponent}, {"gelu", run_gelu, gelu_exponent}};

static void gate_double(check *c, const gate *f, const float *x, const float *up, size_t n,
                        const float *y) {
    for (size_t i = 0; i < n; i++) {
        double g = (double)x[i], u = (double)up[i], e = f->exponent(g), want = g / (1 + exp(e)) * u;
        /* An error of the exponent is one of the result; exp is 0 below -87 and infinite above
         * 88.72: what is left of g is below 3e-37. */
        double bound = fabs(want) * (8 + 4 * fabs(e)) * EPS + fabs(u) * (1 + fabs(g)) * 3e-37;
        check_near(c, f->name, (double)y[i], want, bound, i);
    }
}

static void gate_both(check *c, const gate *f, const float *x, const float *up, size_t n,
                      bool plain_values) {
    float *got = check_floats(n), *want = check_floats(n), *inplace = check_floats(n);
    if (n > 0) memcpy(inplace, x, n * sizeof *x);
    f->ours(c->k, x, up, n, got);
    f->ours(c->ref, x, up, n, want);
    check_same_floats(c, f->name, got, want, n);
    if (c->portable && plain_values) gate_double(c, f, x, up, n, got);
    f->ours(c->k, inplace, up, n, inplace);
    check_same_floats(c, "in place", inplace, want, n);
}

static void gate_case(check *c, check_kind kind, size_t n) {
    for (size_t i = 0; i < BK_ARRAY_LEN(gates); i++) {
        float *x = check_floats(n), *up = check_floats(n);
        check_fill(c, kind, x, n);
        check_fill(c, CHECK_NORMAL, up, n);
        if (kind == CHECK_OUTLIER) x[0] = -90;
        gate_both(c, &gates[i], x, up, n, plain(kind));
        check_release();
    }
}

/* exp over all of its range, the ends finely. */
static void gate_sweep(check *c, const gate *f) {
    enum { N = 4096 };
    static const float from[] = {-100, -89, 86, -1}, to[] = {100, -86, 89, 1};
    for (size_t s = 0; s < BK_ARRAY_LEN(from); s++) {
        float *x = check_floats(N), *up = check_floats(N);
        for (size_t i = 0; i < N; i++) {
            x[i] = from[s] + (to[s] - from[s]) * (float)i / N;
            up[i] = 1;
        }
        gate_both(c, f, x, up, N, true);
        check_release();
    }
}

static void gates_mul(check *c, int arg) {
    (void)arg;
    all_sizes(c, 1, gate_case);
    for (size_t i = 0; i < BK_ARRAY_LEN(gates); i++) gate_sweep(c, &gates[i]);
}

static void soft_cap_case(check *c, check_kind kind, size_t n) {
    float *got = check_floats(n), *want = check_floats(n), cap = n % 2 ? 50.0f : 30.0f;
    check_fill(c, kind, got, n);
    for (size_t i = 0; i < n; i++) got[i] *= n % 3 == 0 ? 100.0f : 3.0f;
    memcpy(want, got, n * sizeof *got);
    float *x = check_floats(n);
    memcpy(x, got, n * sizeof *got);
    c->k->soft_cap(got, n, cap);
    c->ref->soft_cap(want, n, cap);
    check_same_floats(c, "soft cap", got, want, n);
    for (size_t i = 0; c->portable && plain(kind) && i < n; i++) {
        double t = tanh((double)x[i] / (double)cap) * (double)cap;
        check_near(c, "soft cap", (double)got[i], t, (double)cap * 8 * EPS, i);
    }
    check_release();
}

static void soft_cap(check *c, int arg) {
    (void)arg;
    all_sizes(c, 1, soft_cap_case);
}

/* An LSTM's units with odd pitches, against double precision. */
static void lstm_case(check *c, check_kind kind, size_t n) {
    enum { GATES = 4 };
    size_t ldx = n + 3, ldz = n + 16;
    float *x = check_floats(GATES * ldx), *bias = check_floats(GATES * ldx);
    float *z = check_floats(GATES * ldz), *before = check_floats(n);
    check_fill(c, kind, x, GATES * ldx);
    check_fill(c, CHECK_NORMAL, bias, GATES * ldx);
    check_fill(c, CHECK_NORMAL, z, GATES * ldz);
    check_fill(c, CHECK_NORMAL, before, n);
    float *got[2] = {check_floats(n), check_floats(n)};
    float *want[2] = {check_floats(n), check_floats(n)};
    bk_lstm_units u = {.n = n, .x = x, .bias = bias, .z = z, .ldx = ldx, .ldz = ldz};
    u.c_before = before;
    u.h = got[0], u.c = got[1];
    c->k->lstm_units(&u);
    u.h = want[0], u.c = want[1];
    c->ref->lstm_units(&u);
    check_same_floats(c, "lstm h", got[0], want[0], n);
    check_same_floats(c, "lstm c", got[1], want[1], n);
    for (size_t i = 0; c->portable && plain(kind) && i < n; i++) {
        double v[GATES];
        for (size_t g = 0; g < GATES; g++)
            v[g] = (double)(x[g * ldx + i] + bias[g * ldx + i] + z[g * ldz + i]);
        double cell = (double)before[i] / (1 + exp(-v[1])) + tanh(v[2]) / (1 + exp(-v[0]));
        double h = tanh(cell) / (1 + exp(-v[3])), bound = (4 + fabs(cell)) * 16 * EPS;
        check_near(c, "lstm c", (double)got[1][i], cell, bound, i);
        check_near(c, "lstm h", (double)got[0][i], h, bound, i);
    }
    check_release();
}

static void lstm_units(check *c, int arg) {
    (void)arg;
    all_sizes(c, 1, lstm_case);
}

/* ---- Bench --------------------------------------------------------------------------------------- */

typedef struct bench_arg {
    const bk_kernels *k;
    const float *x, *w;
    float *y;
    void *act;
    size_t n;
} bench_arg;

static void bench_quantize(void *p) {
    bench_arg *a = p;
    a->k->quantize(a->x, a->n, a->act);
}

static void bench_norm(void *p) {
    bench_arg *a = p;
    a->k->rms_norm(a->x, a->w, a->n, 1e-5f, a->y);
}

static void bench_silu(void *p) {
    bench_arg *a = p;
    a->k->silu_mul(a->x, a->w, a->n, a->y);
}

static void bench_gelu(void *p) {
    bench_arg *a = p;
    a->k->gelu_mul(a->x, a->w, a->n, a->y);
}

static void bench(check *c, const char *filter) {
    static const struct {
        const char *name;
        void (*run)(void *);
    } what[] = {{"quantize", bench_quantize},
                {"rms_norm", bench_norm},
                {"silu_mul", bench_silu},
                {"gelu_mul", bench_gelu}};
    for (size_t i = 0; i < BK_ARRAY_LEN(what); i++) {
        if (filter && !strstr(what[i].name, filter)) continue;
        for (size_t n = 576; n <= 1536; n += 960) {
            bench_arg a = {c->k, NULL, NULL, check_floats(n), check_mem(bk_act_row_bytes(n)), n};
            float *x = check_floats(n), *w = check_floats(n);
            check_fill(c, CHECK_NORMAL, x, n);
            check_fill(c, CHECK_NORMAL, w, n);
            a.x = x, a.w = w;
            double ns = check_time(what[i].run, &a);
            printf("%-8s %-12s n %5zu  %9.0f ns  %6.2f elements/ns\n", c->level, what[i].name, n,
                   ns, (double)n / ns);
            check_release();
        }
    }
}

static const check_test tests[] = {
    {"quantize", quantize, 0},   {"fast_quantize", fast_quantize, 0}, {"rms_norm", rms_norm, 0},
    {"gates_mul", gates_mul, 0}, {"soft_cap", soft_cap, 0},           {"lstm_units", lstm_units, 0},
};
const check_family check_rows_family = {tests, BK_ARRAY_LEN(tests), bench};
