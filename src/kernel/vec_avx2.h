/* Vector pieces that the AVX2 files share: 16 lanes are two registers of 8. Included by *_avx2.c
 * only. */
#ifndef BRISK_KERNEL_VEC_AVX2_H
#define BRISK_KERNEL_VEC_AVX2_H

#include <immintrin.h>

#include "kernel/expf.h"

/* All ones in the first n lanes. */
static inline __m256i bk_mask_avx2(size_t n) {
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(n < 8 ? (int)n : 8),
                              _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

/* The first n floats, zeros after them. */
static inline __m256 bk_load_avx2(const float *p, size_t n) {
    return n >= 8 ? _mm256_loadu_ps(p) : _mm256_maskload_ps(p, bk_mask_avx2(n));
}

static inline void bk_store_avx2(float *p, __m256 v, size_t n) {
    if (n >= 8)
        _mm256_storeu_ps(p, v);
    else
        _mm256_maskstore_ps(p, bk_mask_avx2(n), v);
}

/* 16 lanes fold to 8, 4, 2 and 1 by adding the upper half. */
static inline float bk_fold_avx2(__m256 low, __m256 high) {
    __m256 a = _mm256_add_ps(low, high);
    __m128 b = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    b = _mm_add_ps(b, _mm_movehl_ps(b, b));
    b = _mm_add_ss(b, _mm_movehdup_ps(b));
    return _mm_cvtss_f32(b);
}

static inline float bk_max_avx2(__m256 v) {
    __m128 b = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    b = _mm_max_ps(b, _mm_movehl_ps(b, b));
    b = _mm_max_ss(b, _mm_movehdup_ps(b));
    return _mm_cvtss_f32(b);
}

/* 2^n for n in [-126, 127]. */
static inline __m256 bk_exp2i_avx2(__m256i n) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(n, _mm256_set1_epi32(127)), 23));
}

/* bk_expf (kernel/expf.h), 8 at a time, from BK_EXP_MIN to BK_EXP_MAX. */
static inline __m256 bk_exp_within_avx2(__m256 x) {
    __m256 n = _mm256_round_ps(_mm256_mul_ps(x, _mm256_set1_ps(BK_EXP_LOG2E)),
                               _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    __m256 r = _mm256_fmadd_ps(n, _mm256_set1_ps(-BK_EXP_LN2_HI), x);
    r = _mm256_fmadd_ps(n, _mm256_set1_ps(-BK_EXP_LN2_LO), r);
    __m256 p = _mm256_set1_ps(BK_EXP_C0);
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(BK_EXP_C1));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(BK_EXP_C2));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(BK_EXP_C3));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(BK_EXP_C4));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(BK_EXP_C5));
    p = _mm256_fmadd_ps(p, _mm256_mul_ps(r, r), r);
    p = _mm256_add_ps(p, _mm256_set1_ps(1.0f));
    /* Two factors, because 2^128 is no float; both products are exact or overflow. */
    __m256i ni = _mm256_cvtps_epi32(n), half = _mm256_srai_epi32(ni, 1);
    p = _mm256_mul_ps(p, bk_exp2i_avx2(half));
    return _mm256_mul_ps(p, bk_exp2i_avx2(_mm256_sub_epi32(ni, half)));
}

static inline __m256 bk_exp_avx2(__m256 x) {
    __m256 over = _mm256_cmp_ps(x, _mm256_set1_ps(BK_EXP_MAX), _CMP_GT_OQ);
    __m256 under = _mm256_cmp_ps(x, _mm256_set1_ps(BK_EXP_MIN), _CMP_LT_OQ);
    __m256 p = bk_exp_within_avx2(x);
    p = _mm256_blendv_ps(p, _mm256_set1_ps(INFINITY), over);
    return _mm256_andnot_ps(under, p);
}

/* x / (1 + e): the gate of both activations. */
static inline __m256 bk_gate_avx2(__m256 x, __m256 e) {
    return _mm256_div_ps(x, _mm256_add_ps(_mm256_set1_ps(1.0f), e));
}

/* bk_gelu */
static inline __m256 bk_gelu_avx2(__m256 x) {
    __m256 cube = _mm256_mul_ps(_mm256_mul_ps(x, x), x);
    __m256 u = _mm256_fmadd_ps(cube, _mm256_set1_ps(BK_GELU_CUBE), x);
    return bk_gate_avx2(x, bk_exp_avx2(_mm256_mul_ps(u, _mm256_set1_ps(BK_GELU_SCALE))));
}

/* bk_soft_cap */
static inline __m256 bk_soft_cap_avx2(__m256 x, float cap) {
    const __m256 one = _mm256_set1_ps(1.0f), sign = _mm256_set1_ps(-0.0f), c = _mm256_set1_ps(cap);
    __m256 z = _mm256_andnot_ps(sign, _mm256_div_ps(x, c));
    __m256 e = bk_exp_avx2(_mm256_mul_ps(z, _mm256_set1_ps(-2.0f)));
    __m256 t = _mm256_div_ps(_mm256_sub_ps(one, e), _mm256_add_ps(one, e));
    t = _mm256_or_ps(_mm256_andnot_ps(sign, t), _mm256_and_ps(sign, x));
    return _mm256_add_ps(_mm256_mul_ps(t, c), _mm256_setzero_ps());
}

#endif
