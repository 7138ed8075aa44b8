/* 16 lanes of float as two AVX2 registers: lanes_ref.h says what each function does. */
#ifndef BRISK_KERNEL_LANES_AVX2_H
#define BRISK_KERNEL_LANES_AVX2_H

#include "kernel/vec_avx2.h"

#define LANE_FN static inline __attribute__((always_inline, unused))
#define LANE_UNROLL _Pragma("GCC unroll 16")

typedef struct lanes {
    __m256 a, b;
} lanes;
typedef struct ilanes {
    __m256i a, b;
} ilanes;

LANE_FN lanes l_pair(__m256 a, __m256 b) { return (lanes){a, b}; }
LANE_FN ilanes i_pair(__m256i a, __m256i b) { return (ilanes){a, b}; }

LANE_FN lanes l_set(float x) { return l_pair(_mm256_set1_ps(x), _mm256_set1_ps(x)); }
LANE_FN lanes l_load(const float *p) { return l_pair(_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)); }
LANE_FN void l_store(float *p, lanes v) {
    _mm256_storeu_ps(p, v.a);
    _mm256_storeu_ps(p + 8, v.b);
}
LANE_FN lanes l_load_n(const float *p, size_t n) {
    if (n == 16) return l_load(p);
    return l_pair(bk_load_avx2(p, n), n > 8 ? bk_load_avx2(p + 8, n - 8) : _mm256_setzero_ps());
}
LANE_FN void l_store_n(float *p, lanes v, size_t n) {
    bk_store_avx2(p, v.a, n);
    if (n > 8) bk_store_avx2(p + 8, v.b, n - 8);
}
LANE_FN lanes l_add(lanes x, lanes y) {
    return l_pair(_mm256_add_ps(x.a, y.a), _mm256_add_ps(x.b, y.b));
}
LANE_FN lanes l_sub(lanes x, lanes y) {
    return l_pair(_mm256_sub_ps(x.a, y.a), _mm256_sub_ps(x.b, y.b));
}
LANE_FN lanes l_mul(lanes x, lanes y) {
    return l_pair(_mm256_mul_ps(x.a, y.a), _mm256_mul_ps(x.b, y.b));
}
LANE_FN lanes l_div(lanes x, lanes y) {
    return l_pair(_mm256_div_ps(x.a, y.a), _mm256_div_ps(x.b, y.b));
}
LANE_FN lanes l_max(lanes x, lanes y) {
    return l_pair(_mm256_max_ps(x.a, y.a), _mm256_max_ps(x.b, y.b));
}
LANE_FN lanes l_sqrt(lanes x) { return l_pair(_mm256_sqrt_ps(x.a), _mm256_sqrt_ps(x.b)); }
LANE_FN lanes l_abs(lanes x) {
    const __m256 bit = _mm256_set1_ps(-0.0f);
    return l_pair(_mm256_andnot_ps(bit, x.a), _mm256_andnot_ps(bit, x.b));
}
LANE_FN lanes l_copysign(lanes x, lanes sign) {
    const __m256 bit = _mm256_set1_ps(-0.0f);
    x = l_abs(x);
    return l_pair(_mm256_or_ps(x.a, _mm256_and_ps(bit, sign.a)),
                  _mm256_or_ps(x.b, _mm256_and_ps(bit, sign.b)));
}
LANE_FN lanes l_fma(lanes x, lanes y, lanes z) {
    return l_pair(_mm256_fmadd_ps(x.a, y.a, z.a), _mm256_fmadd_ps(x.b, y.b, z.b));
}
LANE_FN lanes l_above(lanes x, lanes y, lanes v, lanes w) {
    return l_pair(_mm256_blendv_ps(w.a, v.a, _mm256_cmp_ps(x.a, y.a, _CMP_GT_OQ)),
                  _mm256_blendv_ps(w.b, v.b, _mm256_cmp_ps(x.b, y.b, _CMP_GT_OQ)));
}
LANE_FN lanes l_exp(lanes x) { return l_pair(bk_exp_avx2(x.a), bk_exp_avx2(x.b)); }
LANE_FN lanes l_exp_within(lanes a) {
    return l_pair(bk_exp_within_avx2(a.a), bk_exp_within_avx2(a.b));
}
LANE_FN lanes l_swap(lanes x) {
    return l_pair(_mm256_permute_ps(x.a, _MM_SHUFFLE(2, 3, 0, 1)),
                  _mm256_permute_ps(x.b, _MM_SHUFFLE(2, 3, 0, 1)));
}
LANE_FN lanes l_lane(lanes x, int k) {
    __m256 v = _mm256_permutevar8x32_ps(k < 8 ? x.a : x.b, _mm256_set1_epi32(k & 7));
    return l_pair(v, v);
}

LANE_FN float l_fold(lanes x) { return bk_fold_avx2(x.a, x.b); }
LANE_FN float l_fold_max(lanes x) { return bk_max_avx2(_mm256_max_ps(x.a, x.b)); }

LANE_FN void l_turn_8(__m256 r[8]) {
    __m256 t[8], s[8];
    LANE_UNROLL for (int i = 0; i < 8; i += 2) {
        t[i] = _mm256_unpacklo_ps(r[i], r[i + 1]);
        t[i + 1] = _mm256_unpackhi_ps(r[i], r[i + 1]);
    }
    LANE_UNROLL for (int i = 0; i < 8; i += 4) {
        LANE_UNROLL for (int j = 0; j < 2; j++) {
            s[i + 2 * j] = _mm256_shuffle_ps(t[i + j], t[i + j + 2], 0x44);
            s[i + 2 * j + 1] = _mm256_shuffle_ps(t[i + j], t[i + j + 2], 0xEE);
        }
    }
    LANE_UNROLL for (int j = 0; j < 4; j++) {
        r[j] = _mm256_permute2f128_ps(s[j], s[4 + j], 0x20);
        r[4 + j] = _mm256_permute2f128_ps(s[j], s[4 + j], 0x31);
    }
}
/* The four quarters, of which two change places. */
LANE_FN void l_turn(lanes r[16]) {
    __m256 q[4][8];
    LANE_UNROLL for (int i = 0; i < 8; i++) {
        q[0][i] = r[i].a, q[1][i] = r[i].b;
        q[2][i] = r[i + 8].a, q[3][i] = r[i + 8].b;
    }
    LANE_UNROLL for (int i = 0; i < 4; i++) l_turn_8(q[i]);
    LANE_UNROLL for (int i = 0; i < 8; i++) {
        r[i] = l_pair(q[0][i], q[2][i]);
        r[i + 8] = l_pair(q[1][i], q[3][i]);
    }
}

LANE_FN ilanes i_set(uint32_t x) {
    return i_pair(_mm256_set1_epi32((int)x), _mm256_set1_epi32((int)x));
}
LANE_FN ilanes i_count(void) {
    return i_pair(_mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7),
                  _mm256_setr_epi32(8, 9, 10, 11, 12, 13, 14, 15));
}
LANE_FN ilanes i_add(ilanes x, ilanes y) {
    return i_pair(_mm256_add_epi32(x.a, y.a), _mm256_add_epi32(x.b, y.b));
}
LANE_FN ilanes i_mul(ilanes x, ilanes y) {
    return i_pair(_mm256_mullo_epi32(x.a, y.a), _mm256_mullo_epi32(x.b, y.b));
}
LANE_FN ilanes i_xor(ilanes x, ilanes y) {
    return i_pair(_mm256_xor_si256(x.a, y.a), _mm256_xor_si256(x.b, y.b));
}
LANE_FN ilanes i_shift(ilanes x, int right) {
    return i_pair(_mm256_srli_epi32(x.a, right), _mm256_srli_epi32(x.b, right));
}
LANE_FN __m256 i_least_half(__m256i x, __m256i y, __m256 v, __m256 w) {
    __m256i least = _mm256_cmpeq_epi32(_mm256_max_epu32(x, y), x);
    return _mm256_blendv_ps(w, v, _mm256_castsi256_ps(least));
}
LANE_FN lanes i_least(ilanes x, ilanes y, lanes v, lanes w) {
    return l_pair(i_least_half(x.a, y.a, v.a, w.a), i_least_half(x.b, y.b, v.b, w.b));
}

#endif
