/* Vector pieces that the AVX512 files share. Included by *_avx512.c only. */
#ifndef BRISK_KERNEL_VEC_AVX512_H
#define BRISK_KERNEL_VEC_AVX512_H

#include <immintrin.h>

#include "kernel/expf.h"

/* Lanes fold 16 -> 8 -> 4 -> 2 -> 1 by adding the upper half. */
static inline float bk_fold_avx512(__m512 v) {
    __m256 a = _mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1));
    __m128 b = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    b = _mm_add_ps(b, _mm_movehl_ps(b, b));
    b = _mm_add_ss(b, _mm_movehdup_ps(b));
    return _mm_cvtss_f32(b);
}

/* bk_expf (kernel/expf.h), 16 at a time, from BK_EXP_MIN to BK_EXP_MAX. */
static inline __m512 bk_exp_within_avx512(__m512 x) {
    __m512 n = _mm512_roundscale_ps(_mm512_mul_ps(x, _mm512_set1_ps(BK_EXP_LOG2E)),
                                    _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    __m512 r = _mm512_fmadd_ps(n, _mm512_set1_ps(-BK_EXP_LN2_HI), x);
    r = _mm512_fmadd_ps(n, _mm512_set1_ps(-BK_EXP_LN2_LO), r);
    __m512 p = _mm512_set1_ps(BK_EXP_C0);
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(BK_EXP_C1));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(BK_EXP_C2));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(BK_EXP_C3));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(BK_EXP_C4));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(BK_EXP_C5));
    p = _mm512_fmadd_ps(p, _mm512_mul_ps(r, r), r);
    return _mm512_scalef_ps(_mm512_add_ps(p, _mm512_set1_ps(1.0f)), n);
}

static inline __m512 bk_exp_avx512(__m512 x) {
    __mmask16 over = _mm512_cmp_ps_mask(x, _mm512_set1_ps(BK_EXP_MAX), _CMP_GT_OQ);
    __mmask16 under = _mm512_cmp_ps_mask(x, _mm512_set1_ps(BK_EXP_MIN), _CMP_LT_OQ);
    __m512 p = bk_exp_within_avx512(x);
    p = _mm512_mask_mov_ps(p, over, _mm512_set1_ps(INFINITY));
    return _mm512_mask_mov_ps(p, under, _mm512_setzero_ps());
}

/* x / (1 + e): the gate of both activations. */
static inline __m512 bk_gate_avx512(__m512 x, __m512 e) {
    return _mm512_div_ps(x, _mm512_add_ps(_mm512_set1_ps(1.0f), e));
}

/* bk_gelu */
static inline __m512 bk_gelu_avx512(__m512 x) {
    __m512 cube = _mm512_mul_ps(_mm512_mul_ps(x, x), x);
    __m512 u = _mm512_fmadd_ps(cube, _mm512_set1_ps(BK_GELU_CUBE), x);
    return bk_gate_avx512(x, bk_exp_avx512(_mm512_mul_ps(u, _mm512_set1_ps(BK_GELU_SCALE))));
}

/* bk_soft_cap */
static inline __m512 bk_soft_cap_avx512(__m512 x, float cap) {
    const __m512 one = _mm512_set1_ps(1.0f), sign = _mm512_set1_ps(-0.0f), c = _mm512_set1_ps(cap);
    __m512 z = _mm512_abs_ps(_mm512_div_ps(x, c));
    __m512 e = bk_exp_avx512(_mm512_mul_ps(z, _mm512_set1_ps(-2.0f)));
    __m512 t = _mm512_div_ps(_mm512_sub_ps(one, e), _mm512_add_ps(one, e));
    t = _mm512_or_ps(_mm512_andnot_ps(sign, t), _mm512_and_ps(sign, x));
    return _mm512_add_ps(_mm512_mul_ps(t, c), _mm512_setzero_ps());
}

#endif
