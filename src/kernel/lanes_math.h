/* Functions over 16 lanes. */
#ifndef BRISK_KERNEL_LANES_MATH_H
#define BRISK_KERNEL_LANES_MATH_H

#include "kernel/lanes.h"

/* 1 / (1 + exp(-x)) */
LANE_FN lanes l_sigmoid(lanes x) {
    const lanes one = l_set(1.0f);
    return l_div(one, l_add(one, l_exp(l_sub(l_set(0.0f), x))));
}

/* Near 0 the odd polynomial of Cephes' tanhf (S. L. Moshier), elsewhere (1 - e) / (1 + e) with
 * e = exp(-2 |x|). Error below 3 ulp. */
LANE_FN lanes l_tanh(lanes x) {
    const lanes one = l_set(1.0f);
    lanes size = l_abs(x), z = l_mul(x, x), e = l_exp(l_mul(size, l_set(-2.0f)));
    lanes far = l_copysign(l_div(l_sub(one, e), l_add(one, e)), x);
    lanes p = l_fma(l_set(-5.70498872745e-3f), z, l_set(2.06390887954e-2f));
    p = l_fma(p, z, l_set(-5.37397155531e-2f));
    p = l_fma(p, z, l_set(1.33314422036e-1f));
    p = l_fma(p, z, l_set(-3.33332819422e-1f));
    return l_above(l_set(0.625f), size, l_fma(l_mul(p, z), x, x), far);
}

/* The gate of GELU by its tanh formula, which is x times this (Hendrycks and Gimpel 2016). */
LANE_FN lanes l_gelu_gate(lanes x) {
    lanes u = l_fma(l_mul(l_mul(x, x), x), l_set(BK_GELU_CUBE), x);
    return l_sigmoid(l_mul(u, l_set(-BK_GELU_SCALE)));
}

/* A permutation of 32-bit words that mixes well (constants found by C. Wellons' search). */
LANE_FN ilanes i_mix(ilanes x) {
    x = i_mul(i_xor(x, i_shift(x, 16)), i_set(0x7feb352du));
    x = i_mul(i_xor(x, i_shift(x, 15)), i_set(0x846ca68bu));
    return i_xor(x, i_shift(x, 16));
}

#endif
