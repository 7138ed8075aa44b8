/* 16 lanes of float as one AVX512 register: lanes_ref.h says what each function does. */
#ifndef BRISK_KERNEL_LANES_AVX512_H
#define BRISK_KERNEL_LANES_AVX512_H

#include "kernel/vec_avx512.h"

#define LANE_FN static inline __attribute__((always_inline, unused))
#define LANE_UNROLL _Pragma("GCC unroll 16")

typedef __m512 lanes;
typedef __m512i ilanes;

LANE_FN __mmask16 l_first(size_t n) { return (__mmask16)((1u << n) - 1); }

LANE_FN lanes l_set(float x) { return _mm512_set1_ps(x); }
LANE_FN lanes l_load(const float *p) { return _mm512_loadu_ps(p); }
LANE_FN void l_store(float *p, lanes a) { _mm512_storeu_ps(p, a); }
LANE_FN lanes l_load_n(const float *p, size_t n) {
    return n == 16 ? l_load(p) : _mm512_maskz_loadu_ps(l_first(n), p);
}
LANE_FN void l_store_n(float *p, lanes a, size_t n) {
    if (n == 16)
        l_store(p, a);
    else
        _mm512_mask_storeu_ps(p, l_first(n), a);
}
LANE_FN lanes l_add(lanes a, lanes b) { return _mm512_add_ps(a, b); }
LANE_FN lanes l_sub(lanes a, lanes b) { return _mm512_sub_ps(a, b); }
LANE_FN lanes l_mul(lanes a, lanes b) { return _mm512_mul_ps(a, b); }
LANE_FN lanes l_div(lanes a, lanes b) { return _mm512_div_ps(a, b); }
LANE_FN lanes l_sqrt(lanes a) { return _mm512_sqrt_ps(a); }
LANE_FN lanes l_abs(lanes a) { return _mm512_abs_ps(a); }
LANE_FN lanes l_copysign(lanes a, lanes sign) {
    const __m512 bit = _mm512_set1_ps(-0.0f);
    return _mm512_or_ps(_mm512_andnot_ps(bit, a), _mm512_and_ps(bit, sign));
}
LANE_FN lanes l_fma(lanes a, lanes b, lanes c) { return _mm512_fmadd_ps(a, b, c); }
LANE_FN lanes l_max(lanes a, lanes b) { return _mm512_max_ps(a, b); }
LANE_FN lanes l_above(lanes x, lanes y, lanes a, lanes b) {
    return _mm512_mask_mov_ps(b, _mm512_cmp_ps_mask(x, y, _CMP_GT_OQ), a);
}
LANE_FN lanes l_exp(lanes a) { return bk_exp_avx512(a); }
LANE_FN lanes l_exp_within(lanes a) { return bk_exp_within_avx512(a); }
LANE_FN lanes l_swap(lanes a) { return _mm512_permute_ps(a, _MM_SHUFFLE(2, 3, 0, 1)); }
LANE_FN lanes l_lane(lanes a, int k) { return _mm512_permutexvar_ps(_mm512_set1_epi32(k), a); }

LANE_FN float l_fold(lanes a) { return bk_fold_avx512(a); }
LANE_FN float l_fold_max(lanes a) { return _mm512_reduce_max_ps(a); }

/* Rows by pairs, then pairs of pairs: after that r[4 i + j] has the columns j, j + 4, j + 8, j + 12 of
 * rows 4 i to 4 i + 3; then fours. */
LANE_FN void l_turn(lanes r[16]) {
    __m512 t[16];
    LANE_UNROLL for (int i = 0; i < 16; i += 2) {
        t[i] = _mm512_unpacklo_ps(r[i], r[i + 1]);
        t[i + 1] = _mm512_unpackhi_ps(r[i], r[i + 1]);
    }
    LANE_UNROLL for (int i = 0; i < 16; i += 4) {
        LANE_UNROLL for (int j = 0; j < 2; j++) {
            __m512d a = _mm512_castps_pd(t[i + j]), b = _mm512_castps_pd(t[i + j + 2]);
            r[i + 2 * j] = _mm512_castpd_ps(_mm512_unpacklo_pd(a, b));
            r[i + 2 * j + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(a, b));
        }
    }
    LANE_UNROLL for (int j = 0; j < 4; j++) {
        t[j] = _mm512_shuffle_f32x4(r[j], r[4 + j], 0x44);
        t[4 + j] = _mm512_shuffle_f32x4(r[j], r[4 + j], 0xEE);
        t[8 + j] = _mm512_shuffle_f32x4(r[8 + j], r[12 + j], 0x44);
        t[12 + j] = _mm512_shuffle_f32x4(r[8 + j], r[12 + j], 0xEE);
    }
    LANE_UNROLL for (int j = 0; j < 8; j++) {
        r[j % 4 + j / 4 * 8] = _mm512_shuffle_f32x4(t[j], t[8 + j], 0x88);
        r[j % 4 + j / 4 * 8 + 4] = _mm512_shuffle_f32x4(t[j], t[8 + j], 0xDD);
    }
}

LANE_FN ilanes i_set(uint32_t x) { return _mm512_set1_epi32((int)x); }
LANE_FN ilanes i_count(void) {
    return _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
}
LANE_FN ilanes i_add(ilanes a, ilanes b) { return _mm512_add_epi32(a, b); }
LANE_FN ilanes i_mul(ilanes a, ilanes b) { return _mm512_mullo_epi32(a, b); }
LANE_FN ilanes i_xor(ilanes a, ilanes b) { return _mm512_xor_si512(a, b); }
LANE_FN ilanes i_shift(ilanes a, int right) { return _mm512_srli_epi32(a, (unsigned)right); }
LANE_FN lanes i_least(ilanes x, ilanes y, lanes a, lanes b) {
    return _mm512_mask_mov_ps(b, _mm512_cmp_epu32_mask(x, y, _MM_CMPINT_NLT), a);
}

#endif
