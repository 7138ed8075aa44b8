/* exp(x) in float, the same operations at every level: x = n ln 2 + r, |r| <= ln 2 / 2, polynomial
 * of degree 6 in r (coefficients by a minimax fit of Cephes' expf, S. L. Moshier), times 2^n.
 * Error below 2 ulp on [-87, 88]; 0 below -87 (and for -inf), inf above 88.72. */
#ifndef BRISK_KERNEL_EXPF_H
#define BRISK_KERNEL_EXPF_H

#include <math.h>
#include <string.h>

#include "base/base.h"

#define BK_EXP_MIN (-87.0f)
#define BK_EXP_MAX 88.72f
#define BK_EXP_LOG2E 1.44269504088896341f
#define BK_EXP_LN2_HI 0.693359375f
#define BK_EXP_LN2_LO (-2.12194440e-4f)
#define BK_EXP_C0 1.9875691500e-4f
#define BK_EXP_C1 1.3981999507e-3f
#define BK_EXP_C2 8.3334519073e-3f
#define BK_EXP_C3 4.1665795894e-2f
#define BK_EXP_C4 1.6666665459e-1f
#define BK_EXP_C5 5.0000001201e-1f

static inline float bk_expf(float x) {
    if (x > BK_EXP_MAX) return INFINITY;
    if (!(x >= BK_EXP_MIN)) return x != x ? x : 0.0f;
    float n = rintf(x * BK_EXP_LOG2E);
    float r = fmaf(n, -BK_EXP_LN2_HI, x);
    r = fmaf(n, -BK_EXP_LN2_LO, r);
    float p = BK_EXP_C0;
    p = fmaf(p, r, BK_EXP_C1);
    p = fmaf(p, r, BK_EXP_C2);
    p = fmaf(p, r, BK_EXP_C3);
    p = fmaf(p, r, BK_EXP_C4);
    p = fmaf(p, r, BK_EXP_C5);
    p = fmaf(p, r * r, r);
    p = p + 1.0f;
    /* n is in [-126, 128]: two factors so that 2^128 does not overflow on the way. */
    int32_t half = (int32_t)n / 2, rest = (int32_t)n - half;
    uint32_t bits_a = (uint32_t)(half + 127) << 23, bits_b = (uint32_t)(rest + 127) << 23;
    float fa, fb;
    memcpy(&fa, &bits_a, 4);
    memcpy(&fb, &bits_b, 4);
    return p * fa * fb;
}

/* The cubic of GELU and its factor, times -2: x / (1 + exp(BK_GELU_SCALE * (cubic))) . */
#define BK_GELU_CUBE 0.044715f
#define BK_GELU_SCALE (-1.5957691216057308f)

static inline float bk_gelu(float x) {
    float u = fmaf(x * x * x, BK_GELU_CUBE, x);
    return x / (1.0f + bk_expf(u * BK_GELU_SCALE));
}

static inline float bk_soft_cap(float x, float cap) {
    float e = bk_expf(fabsf(x / cap) * -2.0f);
    return copysignf((1.0f - e) / (1.0f + e), x) * cap + 0.0f; /* one zero, for maxima */
}

#endif
