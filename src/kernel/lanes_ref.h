/* 16 lanes of float in portable C: what lanes_avx2.h and lanes_avx512.h do in registers. The three
 * have the same functions with the same results; code written with them is compiled for each. */
#ifndef BRISK_KERNEL_LANES_REF_H
#define BRISK_KERNEL_LANES_REF_H

#include <math.h>
#include <string.h>

#include "kernel/expf.h"

/* Not forced into place: with checks compiled in, whole kernels take the compiler minutes. */
#define LANE_FN static inline __attribute__((unused))

typedef struct lanes {
    float v[16];
} lanes;
typedef struct ilanes {
    uint32_t v[16];
} ilanes;

#define LANE_MAP(type, value)                         \
    type out_;                                        \
    for (int i = 0; i < 16; i++) out_.v[i] = (value); \
    return out_

LANE_FN lanes l_set(float x) { LANE_MAP(lanes, x); }
LANE_FN lanes l_load(const float *p) { LANE_MAP(lanes, p[i]); }
/* The first n floats (1..16), zeros after them. */
LANE_FN lanes l_load_n(const float *p, size_t n) { LANE_MAP(lanes, (size_t)i < n ? p[i] : 0); }
LANE_FN void l_store_n(float *p, lanes a, size_t n) { memcpy(p, a.v, n * sizeof *p); }
LANE_FN void l_store(float *p, lanes a) { l_store_n(p, a, 16); }
LANE_FN lanes l_add(lanes a, lanes b) { LANE_MAP(lanes, a.v[i] + b.v[i]); }
LANE_FN lanes l_sub(lanes a, lanes b) { LANE_MAP(lanes, a.v[i] - b.v[i]); }
LANE_FN lanes l_mul(lanes a, lanes b) { LANE_MAP(lanes, a.v[i] * b.v[i]); }
LANE_FN lanes l_div(lanes a, lanes b) { LANE_MAP(lanes, a.v[i] / b.v[i]); }
LANE_FN lanes l_sqrt(lanes a) { LANE_MAP(lanes, sqrtf(a.v[i])); }
LANE_FN lanes l_abs(lanes a) { LANE_MAP(lanes, fabsf(a.v[i])); }
LANE_FN lanes l_copysign(lanes a, lanes sign) { LANE_MAP(lanes, copysignf(a.v[i], sign.v[i])); }
/* a * b + c, rounded once. */
LANE_FN lanes l_fma(lanes a, lanes b, lanes c) { LANE_MAP(lanes, fmaf(a.v[i], b.v[i], c.v[i])); }
/* The second when one is NaN. */
LANE_FN lanes l_max(lanes a, lanes b) { LANE_MAP(lanes, a.v[i] > b.v[i] ? a.v[i] : b.v[i]); }
/* x > y ? a : b */
LANE_FN lanes l_above(lanes x, lanes y, lanes a, lanes b) {
    LANE_MAP(lanes, x.v[i] > y.v[i] ? a.v[i] : b.v[i]);
}
LANE_FN lanes l_exp(lanes a) { LANE_MAP(lanes, bk_expf(a.v[i])); }
/* The same from BK_EXP_MIN to BK_EXP_MAX alone. */
LANE_FN lanes l_exp_within(lanes a) { return l_exp(a); }
/* Neighbours 2i and 2i + 1 change places. */
LANE_FN lanes l_swap(lanes a) { LANE_MAP(lanes, a.v[i ^ 1]); }
/* All lanes have lane k. */
LANE_FN lanes l_lane(lanes a, int k) { return l_set(a.v[k]); }

/* Sum and maximum: 16 lanes fold to 8, 4, 2, 1 by their upper half. */
LANE_FN float l_fold(lanes a) {
    for (int half = 8; half > 0; half /= 2)
        for (int i = 0; i < half; i++) a.v[i] += a.v[i + half];
    return a.v[0];
}
LANE_FN float l_fold_max(lanes a) {
    for (int half = 8; half > 0; half /= 2)
        for (int i = 0; i < half; i++) a.v[i] = a.v[i] > a.v[i + half] ? a.v[i] : a.v[i + half];
    return a.v[0];
}

/* 16 x 16: r[i] has what was lane i of all. */
LANE_FN void l_turn(lanes r[16]) {
    for (int i = 0; i < 16; i++)
        for (int j = 0; j < i; j++) {
            float x = r[i].v[j];
            r[i].v[j] = r[j].v[i];
            r[j].v[i] = x;
        }
}

LANE_FN ilanes i_set(uint32_t x) { LANE_MAP(ilanes, x); }
LANE_FN ilanes i_count(void) { LANE_MAP(ilanes, (uint32_t)i); } /* 0, 1, 2, ... */
LANE_FN ilanes i_add(ilanes a, ilanes b) { LANE_MAP(ilanes, a.v[i] + b.v[i]); }
LANE_FN ilanes i_mul(ilanes a, ilanes b) { LANE_MAP(ilanes, a.v[i] * b.v[i]); }
LANE_FN ilanes i_xor(ilanes a, ilanes b) { LANE_MAP(ilanes, a.v[i] ^ b.v[i]); }
LANE_FN ilanes i_shift(ilanes a, int right) { LANE_MAP(ilanes, a.v[i] >> right); }
/* x >= y ? a : b, unsigned. */
LANE_FN lanes i_least(ilanes x, ilanes y, lanes a, lanes b) {
    LANE_MAP(lanes, x.v[i] >= y.v[i] ? a.v[i] : b.v[i]);
}

#endif
