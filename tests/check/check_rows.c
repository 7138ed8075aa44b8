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
            check_near(c, "value", s * a->q[i], v, s * 0.5 * (1 + 256 * EPS) + 1e-37, i);
        }
        check_near(c, "scale", (double)a->s[b], max / 127, max / 127 * 2 * EPS + 1e-45, b);
        if (a->nsum[b] != -sum[0] - sum[1] || a->nsum0[b] != -sum[0])
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

static void silu_double(check *c, const float *gate, const float *up, size_t n, const float *y) {
    for (size_t i = 0; i < n; i++) {
        double g = (double)gate[i], u = (double)up[i], want = g / (1 + exp(-g)) * u;
        /* exp is 0 below -87 and infinite above 88.72: what is left of g is below 3e-37. */
        check_near(c, "silu", (double)y[i], want, fabs(want) * 8 * EPS + fabs(u) * 3e-37, i);
    }
}

static void silu_both(check *c, const float *gate, const float *up, size_t n, bool plain_values) {
    float *got = check_floats(n), *want = check_floats(n), *inplace = check_floats(n);
    if (n > 0) memcpy(inplace, gate, n * sizeof *gate);
    c->k->silu_mul(gate, up, n, got);
    c->ref->silu_mul(gate, up, n, want);
    check_same_floats(c, "silu", got, want, n);
    if (c->portable && plain_values) silu_double(c, gate, up, n, got);
    c->k->silu_mul(inplace, up, n, inplace);
    check_same_floats(c, "silu in place", inplace, want, n);
}

static void silu_case(check *c, check_kind kind, size_t n) {
    float *gate = check_floats(n), *up = check_floats(n);
    check_fill(c, kind, gate, n);
    check_fill(c, CHECK_NORMAL, up, n);
    if (kind == CHECK_OUTLIER) gate[0] = -90;
    silu_both(c, gate, up, n, plain(kind));
    check_release();
}

/* exp over all of its range, the ends finely. */
static void silu_sweep(check *c) {
    enum { N = 4096 };
    static const float from[] = {-100, -89, 86, -1}, to[] = {100, -86, 89, 1};
    for (size_t s = 0; s < BK_ARRAY_LEN(from); s++) {
        float *gate = check_floats(N), *up = check_floats(N);
        for (size_t i = 0; i < N; i++) {
            gate[i] = from[s] + (to[s] - from[s]) * (float)i / N;
            up[i] = 1;
        }
        silu_both(c, gate, up, N, true);
        check_release();
    }
}

static void silu_mul(check *c, int arg) {
    (void)arg;
    all_sizes(c, 1, silu_case);
    silu_sweep(c);
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

static void bench(check *c, const char *filter) {
    static const struct {
        const char *name;
        void (*run)(void *);
    } what[] = {{"quantize", bench_quantize}, {"rms_norm", bench_norm}, {"silu_mul", bench_silu}};
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
    {"quantize", quantize, 0},
    {"rms_norm", rms_norm, 0},
    {"silu_mul", silu_mul, 0},
};
const check_family check_rows_family = {tests, BK_ARRAY_LEN(tests), bench};
