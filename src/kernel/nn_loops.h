/* The kernels of kernel/nn.h over 16 lanes, compiled by nn_LEVEL.c with its lanes. A loop's body is a function of the place and of how many lanes count, so that only the last one is masked. */
#ifndef BRISK_KERNEL_NN_LOOPS_H
#define BRISK_KERNEL_NN_LOOPS_H

#include "kernel/lanes_math.h"
#include "kernel/nn.h"

#define LANES 16
#define EACH_LANES(n, body)                    \
    do {                                       \
        size_t i = 0;                          \
        for (; i + LANES <= (n); i += LANES) { \
            const size_t c = LANES;            \
            body;                              \
        }                                      \
        if (i < (n)) {                         \
            const size_t c = (n)-i;            \
            body;                              \
        }                                      \
    } while (0)
/* The c lanes of array p at place i, and back. */
#define AT(p) l_load_n((p) + i, c)
#define PUT(p, v) l_store_n((p) + i, (v), c)

/* ---- Vectors ------------------------------------------------------------------------------------ */

static float dot(const float *x, const float *y, size_t n) {
    lanes s = l_set(0);
    EACH_LANES(n, s = l_fma(AT(x), AT(y), s));
    return l_fold(s);
}

static void axpy(float a, const float *x, size_t n, float *y) {
    const lanes by = l_set(a);
    EACH_LANES(n, PUT(y, l_fma(by, AT(x), AT(y))));
}

static void add(float *to, const float *x, size_t n) {
    EACH_LANES(n, PUT(to, l_add(AT(to), AT(x))));
}

static void mul(float *to, const float *x, size_t n) {
    EACH_LANES(n, PUT(to, l_mul(AT(to), AT(x))));
}

static void scale(float *x, size_t n, float by) {
    const lanes f = l_set(by);
    EACH_LANES(n, PUT(x, l_mul(AT(x), f)));
}

/* One block of columns; rows in parts, so that the error grows with the parts' number. */
enum { SUM_ROWS = 64 };

LANE_FN void col_sum_block(const float *x, size_t R, size_t ld, size_t c, float *w) {
    for (size_t first = 0; first < R; first += SUM_ROWS) {
        size_t end = bk_min_size(R, first + SUM_ROWS);
        lanes s = l_set(0);
        for (size_t r = first; r < end; r++) s = l_add(s, l_load_n(x + r * ld, c));
        l_store_n(w, l_add(l_load_n(w, c), s), c);
    }
}

static void col_sum(const float *x, size_t R, size_t ld, size_t n, float *w) {
    EACH_LANES(n, col_sum_block(x + i, R, ld, c, w + i));
}

/* A float part of so many values each, added up in double. */
enum { SUM_PART = 512 };

static double sum(const float *x, size_t n) {
    double all = 0;
    for (size_t at = 0; at < n; at += SUM_PART) {
        const float *p = x + at;
        lanes s = l_set(0);
        EACH_LANES(bk_min_size(SUM_PART, n - at), s = l_add(s, AT(p)));
        all += (double)l_fold(s);
    }
    return all;
}

static double sum_squares(const float *x, size_t n) {
    double all = 0;
    for (size_t at = 0; at < n; at += SUM_PART) {
        const float *p = x + at;
        lanes s = l_set(0);
        EACH_LANES(bk_min_size(SUM_PART, n - at), {
            lanes v = AT(p);
            s = l_fma(v, v, s);
        });
        all += (double)l_fold(s);
    }
    return all;
}

/* ---- Norm and rotation --------------------------------------------------------------------------- */

static float rms_norm(const float *x, const float *w, size_t n, float eps, float *y) {
    float rstd = 1.0f / sqrtf(dot(x, x, n) / (float)n + eps);
    const lanes by = l_set(rstd);
    EACH_LANES(n, PUT(y, l_mul(l_mul(AT(x), by), AT(w))));
    return rstd;
}

/* With z = x rstd the normalised row: dx = rstd (w dy - z mean(w dy z)), dw += dy z. */
static void rms_norm_bwd(const float *x, float rstd, const float *w, const float *dy, size_t n,
                         float *dx, bool add_to, float *dw) {
    lanes s = l_set(0);
    const lanes r = l_set(rstd);
    EACH_LANES(n, s = l_fma(l_mul(AT(w), AT(dy)), AT(x), s));
    float mean = l_fold(s) * rstd / (float)n;
    const lanes m = l_set(-mean), none = l_set(0);
    EACH_LANES(n, {
        lanes d = AT(dy);
        lanes z = l_mul(AT(x), r);
        PUT(dw, l_fma(d, z, AT(dw)));
        lanes g = l_mul(l_fma(z, m, l_mul(AT(w), d)), r);
        PUT(dx, l_add(add_to ? AT(dx) : none, g));
    });
}

static void rotate(float *x, const float *cos, const float *sin, float sign, size_t n) {
    const lanes way = l_set(sign);
    EACH_LANES(n, {
        lanes v = AT(x);
        PUT(x, l_fma(v, AT(cos), l_mul(l_mul(l_swap(v), way), AT(sin))));
    });
}

/* ---- Gates and activations ------------------------------------------------------------------------ */

static void silu_mul(const float *gate, const float *up, size_t n, float *y) {
    EACH_LANES(n, {
        lanes g = AT(gate);
        PUT(y, l_mul(l_mul(g, l_sigmoid(g)), AT(up)));
    });
}

static void silu_mul_bwd(const float *gate, const float *up, const float *dy, size_t n,
                         float *dgate, float *dup) {
    const lanes one = l_set(1.0f);
    EACH_LANES(n, {
        lanes g = AT(gate);
        lanes d = AT(dy);
        lanes u = AT(up);
        lanes s = l_sigmoid(g);
        lanes slope = l_mul(s, l_fma(g, l_sub(one, s), one));
        PUT(dgate, l_mul(l_mul(d, u), slope));
        PUT(dup, l_mul(d, l_mul(g, s)));
    });
}

#define ACTIVATION(name, value, slope)                                                             \
    static void name(const float *x, size_t n, float *out) {                                       \
        EACH_LANES(n, {                                                                            \
            lanes v = AT(x);                                                                       \
            PUT(out, value);                                                                       \
        });                                                                                        \
    }                                                                                              \
    static void name##_bwd(const float *x, const float *y, const float *dy, size_t n, float *dx) { \
        const lanes one = l_set(1.0f);                                                             \
        (void)one, (void)x, (void)y;                                                               \
        EACH_LANES(n, PUT(dx, l_mul(AT(dy), slope)));                                              \
    }

LANE_FN lanes gelu_slope(lanes x) {
    const lanes one = l_set(1.0f);
    lanes s = l_gelu_gate(x);
    lanes inner =
        l_fma(l_mul(x, x), l_set(-3 * BK_GELU_CUBE * BK_GELU_SCALE), l_set(-BK_GELU_SCALE));
    return l_mul(s, l_fma(l_mul(x, l_sub(one, s)), inner, one));
}

ACTIVATION(relu, l_max(v, l_set(0)), l_above(AT(x), l_set(0), one, l_set(0)))
ACTIVATION(tanh_, l_tanh(v), l_sub(one, l_mul(AT(y), AT(y))))
ACTIVATION(sigmoid, l_sigmoid(v), l_mul(AT(y), l_sub(one, AT(y))))
ACTIVATION(gelu, l_mul(v, l_gelu_gate(v)), gelu_slope(AT(x)))

/* 1 + exp(-x), as if x were in [-43, 87]: two of them multiply without overflow, and beyond a gate is
 * shut or open to 2^-62. */
LANE_FN lanes gate_divisor(lanes x) {
    lanes down = l_sub(l_set(0), l_max(l_set(-43.0f), x));
    return l_add(l_set(1.0f), l_exp_within(l_max(l_set(BK_EXP_MIN), down)));
}

/* sigmoid(x) = 1 / divisor(x), tanh(x) = 2 / divisor(2 x) - 1, both to 2^-22 of 1; pairs of gates
 * share a division. */
static void lstm(float *gates, size_t H, const float *before, size_t n, float *cells, float *h) {
    const lanes one = l_set(1.0f), two = l_set(2.0f), none = l_set(0);
    float *gi = gates, *gf = gates + H, *gg = gates + 2 * H, *go = gates + 3 * H;
    EACH_LANES(n, {
        lanes di = gate_divisor(AT(gi));
        lanes df = gate_divisor(AT(gf));
        lanes dg = gate_divisor(l_mul(two, AT(gg)));
        lanes dq = gate_divisor(AT(go));
        lanes by_ig = l_div(one, l_mul(di, dg));
        lanes by_fo = l_div(one, l_mul(df, dq));
        lanes in = l_mul(by_ig, dg);
        lanes forget = l_mul(by_fo, dq);
        lanes value = l_fma(l_mul(two, by_ig), di, l_sub(none, one));
        lanes out = l_mul(by_fo, df);
        lanes cell = l_fma(forget, AT(before), l_mul(in, value));
        PUT(gi, in);
        PUT(gf, forget);
        PUT(gg, value);
        PUT(go, out);
        PUT(cells, cell);
        lanes twice = l_div(l_mul(two, out), gate_divisor(l_mul(two, cell)));
        PUT(h, l_sub(twice, out));
    });
}

static void lstm_bwd(float *gates, size_t H, const float *before, const float *cells,
                     const float *dh, size_t n, float *dc) {
    const lanes one = l_set(1.0f), two = l_set(2.0f);
    float *gi = gates, *gf = gates + H, *gg = gates + 2 * H, *go = gates + 3 * H;
    EACH_LANES(n, {
        lanes in = AT(gi);
        lanes forget = AT(gf);
        lanes value = AT(gg);
        lanes out = AT(go);
        lanes d = AT(dh);
        lanes t = l_sub(l_div(two, gate_divisor(l_mul(two, AT(cells)))), one);
        lanes down = l_fma(l_mul(d, out), l_sub(one, l_mul(t, t)), AT(dc));
        PUT(gi, l_mul(l_mul(down, value), l_mul(in, l_sub(one, in))));
        PUT(gf, l_mul(l_mul(down, AT(before)), l_mul(forget, l_sub(one, forget))));
        PUT(gg, l_mul(l_mul(down, in), l_sub(one, l_mul(value, value))));
        PUT(go, l_mul(l_mul(d, t), l_mul(out, l_sub(one, out))));
        PUT(dc, l_mul(down, forget));
    });
}

static void dropout(const bk_nn_drop *d, const float *x, uint64_t at, size_t n, float *y) {
    const ilanes least = i_set(d->least), low_key = i_set(d->key[0]);
    const lanes by = l_set(d->scale), none = l_set(0);
    EACH_LANES(n, {
        /* A part ends where the index's high half changes (device/nn_rows.c). */
        uint64_t index = at + i;
        ilanes low = i_add(i_add(i_set((uint32_t)index), i_count()), low_key);
        ilanes word = i_mix(i_xor(i_mix(low), i_set((uint32_t)(index >> 32) + d->key[1])));
        PUT(y, l_mul(AT(x), i_least(word, least, by, none)));
    });
}

/* ---- Losses and the optimiser ---------------------------------------------------------------------- */

static double log_sum(const float *x, size_t n) {
    float largest = -INFINITY;
    size_t whole = n / LANES * LANES;
    if (whole) {
        lanes m = l_load(x);
        for (size_t i = LANES; i < whole; i += LANES) m = l_max(l_load(x + i), m);
        largest = l_fold_max(m);
    }
    for (size_t i = whole; i < n; i++) largest = x[i] > largest ? x[i] : largest;
    if (!(largest > -INFINITY)) return (double)largest;
    const lanes m = l_set(largest);
    lanes s = l_set(0);
    for (size_t i = 0; i < whole; i += LANES) s = l_add(s, l_exp(l_sub(l_load(x + i), m)));
    float rest = 0;
    for (size_t i = whole; i < n; i++) rest += bk_expf(x[i] - largest);
    return (double)largest + log((double)l_fold(s) + (double)rest);
}

static void exp_scaled(const float *x, size_t n, float shift, float by, float *y) {
    const lanes s = l_set(shift), f = l_set(by);
    EACH_LANES(n, PUT(y, l_mul(l_exp(l_sub(AT(x), s)), f)));
}

static void adam(const bk_nn_adam *a, float *w, float *grad, float *m, float *v, size_t n) {
    const lanes b1 = l_set(a->b1), c1 = l_set((1 - a->b1) * a->grad_scale), b2 = l_set(a->b2);
    const lanes c2 = l_set(1 - a->b2), by = l_set(a->grad_scale), eps = l_set(a->eps);
    const lanes keep = l_set(a->keep), rate = l_set(-a->rate), fix = l_set(a->fix2);
    EACH_LANES(n, {
        lanes g = AT(grad);
        lanes first = l_fma(c1, g, l_mul(b1, AT(m)));
        g = l_mul(g, by);
        lanes second = l_fma(c2, l_mul(g, g), l_mul(b2, AT(v)));
        lanes step = l_div(first, l_add(l_sqrt(l_mul(second, fix)), eps));
        PUT(w, l_fma(rate, step, l_mul(keep, AT(w))));
        PUT(m, first);
        PUT(v, second);
        PUT(grad, l_set(0));
    });
}

#endif
