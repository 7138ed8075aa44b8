/* Many scales at once: the inner loops of search.c and search_super.c. A lane has one scale, a vector four;
 * two vectors go over the weights together, with all they need in registers. */
#ifndef BRISK_QUANT_SEARCH_LANES_H
#define BRISK_QUANT_SEARCH_LANES_H

#include <string.h>

#include "quant/search.h"

#if defined(__x86_64__)
#include <emmintrin.h>
#endif

enum { LANES = 16 };

typedef float quad __attribute__((vector_size(16)));
typedef int32_t int_quad __attribute__((vector_size(16)));

typedef struct sums {
    float q[LANES], wq[LANES], qq[LANES]; /* of h times these */
} sums;

static inline quad quad_of(float v) { return (quad){v, v, v, v}; }

static inline quad load_quad(const float *p) {
    quad v;
    memcpy(&v, p, sizeof v);
    return v;
}

static inline void store_quad(float *p, quad v) { memcpy(p, &v, sizeof v); }

static inline float between(float v, float low, float high) {
    v = v > low ? v : low;
    return v < high ? v : high;
}

static inline quad quad_between(quad v, quad low, quad high) {
#if defined(__x86_64__)
    return (quad)_mm_min_ps(_mm_max_ps((__m128)v, (__m128)low), (__m128)high);
#else
    for (int l = 0; l < 4; l++) v[l] = between(v[l], low[l], high[l]);
    return v;
#endif
}

/* The levels nearest to v. Adding 1.5 * 2^23 rounds to a whole number, halves to even. */
static inline quad nearest_quad(quad v, quad low, quad high, const float *nearest) {
    const quad round = quad_of(12582912.0F);
    v = (quad_between(v, low, high) + round) - round;
    if (nearest) {
        int_quad place = __builtin_convertvector(v, int_quad) + 128;
        v = (quad){nearest[place[0]], nearest[place[1]], nearest[place[2]], nearest[place[3]]};
    }
    return v;
}

/* Lanes at..at + 7 of sum_lanes; `nearest` apart, so that the compiler can make a loop without it. */
static inline void sum_eight(const bk_levels *levels, const float *nearest, const float *w,
                             const float *h, size_t n, const float *inverse, const float *zero,
                             size_t at, sums *out) {
    const quad low = quad_of(levels->low), high = quad_of(levels->high);
    const quad i0 = load_quad(inverse + at), i1 = load_quad(inverse + at + 4);
    const quad z0 = load_quad(zero + at), z1 = load_quad(zero + at + 4);
    quad q0 = {0}, q1 = {0}, wq0 = {0}, wq1 = {0}, qq0 = {0}, qq1 = {0};
    for (size_t i = 0; i < n; i++) {
        quad v0 = nearest_quad(w[i] * i0 + z0, low, high, nearest);
        quad v1 = nearest_quad(w[i] * i1 + z1, low, high, nearest);
        quad h0 = h[i] * v0, h1 = h[i] * v1;
        q0 += h0;
        q1 += h1;
        wq0 += h0 * w[i];
        wq1 += h1 * w[i];
        qq0 += h0 * v0;
        qq1 += h1 * v1;
    }
    store_quad(out->q + at, q0);
    store_quad(out->q + at + 4, q1);
    store_quad(out->wq + at, wq0);
    store_quad(out->wq + at + 4, wq1);
    store_quad(out->qq + at, qq0);
    store_quad(out->qq + at + 4, qq1);
}

/* The sums of each lane, whose levels are those nearest to w * inverse + zero. */
static inline void sum_lanes(const bk_levels *levels, const float *w, const float *h, size_t n,
                             const float *inverse, const float *zero, sums *out) {
    for (size_t at = 0; at < LANES; at += 8) {
        if (levels->nearest)
            sum_eight(levels, levels->nearest, w, h, n, inverse, zero, at, out);
        else
            sum_eight(levels, NULL, w, h, n, inverse, zero, at, out);
    }
}

/* Likewise of loss_lanes. */
static inline void lose_eight(const bk_levels *levels, const float *nearest, const float *w,
                              const float *h, size_t n, const float *d, const float *m,
                              float *loss) {
    const quad low = quad_of(levels->low), high = quad_of(levels->high);
    const quad d0 = load_quad(d), d1 = load_quad(d + 4), m0 = load_quad(m), m1 = load_quad(m + 4);
    quad i0, i1, sum0 = {0}, sum1 = {0};
    for (int l = 0; l < 4; l++) {
        i0[l] = d0[l] != 0 ? 1 / d0[l] : 0;
        i1[l] = d1[l] != 0 ? 1 / d1[l] : 0;
    }
    for (size_t i = 0; i < n; i++) {
        quad v0 = w[i] - m0, v1 = w[i] - m1;
        v0 -= d0 * nearest_quad(v0 * i0, low, high, nearest);
        v1 -= d1 * nearest_quad(v1 * i1, low, high, nearest);
        sum0 += h[i] * (v0 * v0);
        sum1 += h[i] * (v1 * v1);
    }
    store_quad(loss, sum0);
    store_quad(loss + 4, sum1);
}

/* What each lane loses: sum h (w - d * level - m)^2, with the nearest levels. */
static inline void loss_lanes(const bk_levels *levels, const float *w, const float *h, size_t n,
                              const float *d, const float *m, float *loss) {
    for (size_t at = 0; at < LANES; at += 8) {
        if (levels->nearest)
            lose_eight(levels, levels->nearest, w, h, n, d + at, m + at, loss + at);
        else
            lose_eight(levels, NULL, w, h, n, d + at, m + at, loss + at);
    }
}

#endif
