/* Quantisation of activations, norms and gates with AVX512. Order of operations: kernel.h. */
#include <immintrin.h>
#include <math.h>

#include "kernel/expf.h"
#include "kernel/parts.h"
#include "kernel/vec_avx512.h"

static __mmask16 tail(size_t n) { return n >= 16 ? (__mmask16)0xFFFF : (__mmask16)((1u << n) - 1); }

/* ---- Quantise ---------------------------------------------------------------------------------- */

static __m512 absolute(const float *x, size_t n) {
    return _mm512_abs_ps(_mm512_maskz_loadu_ps(tail(n), x));
}

/* Largest |x| of a block; NaN counts as nothing (the second operand of vmaxps wins). */
static float block_max(const float *x, size_t n) {
    __m512 m = _mm512_max_ps(absolute(x, n), _mm512_setzero_ps());
    if (n > 16) m = _mm512_max_ps(absolute(x + 16, n - 16), m);
    return _mm512_reduce_max_ps(m);
}

static bool taken(const bk_act *a, int n_taken, size_t i) {
    for (int e = 0; e < n_taken; e++)
        if (a->at[e] == (int32_t)i) return true;
    return false;
}

/* Index of the largest |x| not yet taken; a->s holds each block's maximum without those. */
static size_t take_largest(const float *x, size_t k, const bk_act *a, int n_taken) {
    size_t nb = bk_div_up(k, 32), best = 0;
    for (size_t b = 1; b < nb; b++)
        if (a->s[b] > a->s[best]) best = b;
    size_t end = bk_min_size(32 * best + 32, k);
    for (size_t i = 32 * best; i < end; i++)
        if (fabsf(x[i]) == a->s[best] && !taken(a, n_taken, i)) return i;
    return 32 * best;
}

static float max_without_taken(const float *x, size_t k, size_t b, const bk_act *a, int n_taken) {
    float max = 0;
    for (size_t i = 32 * b; i < 32 * b + 32 && i < k; i++) {
        float v = fabsf(x[i]);
        if (v > max && !taken(a, n_taken, i)) max = v;
    }
    return max;
}

static void quantize_block(const float *x, size_t n, size_t b, const bk_act *a, uint32_t drop) {
    float max = a->s[b];
    __m512 inverse = _mm512_set1_ps(max > 0 ? 127.0f / max : 0.0f);
    __m512 low = _mm512_set1_ps(-127), high = _mm512_set1_ps(127);
    int32_t sum[2];
    for (int h = 0; h < 2; h++) {
        __mmask16 keep = n > 16 * (size_t)h ? tail(n - 16 * (size_t)h) : 0;
        keep &= (__mmask16) ~(drop >> 16 * h);
        __m512 v = _mm512_mul_ps(_mm512_maskz_loadu_ps(keep, x + 16 * h), inverse);
        /* Clamped before the conversion, which has no value for infinity; NaN becomes 0. */
        __mmask16 number = _mm512_cmp_ps_mask(v, v, _CMP_ORD_Q);
        v = _mm512_max_ps(_mm512_min_ps(v, high), low);
        __m512i q = _mm512_maskz_cvtps_epi32(number, v);
        sum[h] = _mm512_reduce_add_epi32(q);
        _mm_storeu_si128((__m128i *)(void *)(a->q + 32 * b + 16 * (size_t)h),
                         _mm512_cvtepi32_epi8(q));
    }
    a->s[b] = max / 127.0f;
    a->nsum[b] = -(sum[0] + sum[1]);
    a->nsum0[b] = -sum[0];
    a->a[b] = a->s[b] * (float)(sum[0] + sum[1]);
}

static void quantize(const float *x, size_t k, void *act) {
    bk_act a = bk_act_view(act, k);
    size_t nb = bk_div_up(k, 32);
    for (size_t b = 0; b < nb; b++) a.s[b] = block_max(x + 32 * b, bk_min_size(32, k - 32 * b));
    for (int e = 0; e < BK_ACT_EXACT; e++) {
        size_t i = take_largest(x, k, &a, e);
        a.at[e] = (int32_t)i;
        a.value[e] = x[i];
        if ((size_t)e >= k) a.at[e] = 0, a.value[e] = 0;
        a.s[i / 32] = max_without_taken(x, k, i / 32, &a, e + 1);
    }
    for (size_t b = 0; b < nb; b++) {
        uint32_t drop = 0;
        for (int e = 0; e < BK_ACT_EXACT; e++)
            if ((size_t)a.at[e] / 32 == b) drop |= 1u << a.at[e] % 32;
        quantize_block(x + 32 * b, bk_min_size(32, k - 32 * b), b, &a, drop);
    }
}

/* ---- Norm and gate ------------------------------------------------------------------------------ */

static void rms_norm(const float *x, const float *w, size_t n, float eps, float *y) {
    __m512 squares = _mm512_setzero_ps();
    for (size_t i = 0; i < n; i += 16) {
        __m512 v = _mm512_maskz_loadu_ps(tail(n - i), x + i);
        squares = _mm512_fmadd_ps(v, v, squares);
    }
    float scale = 1.0f / sqrtf(bk_fold_avx512(squares) / (float)n + eps);
    __m512 s = _mm512_set1_ps(scale);
    for (size_t i = 0; i < n; i += 16) {
        __mmask16 m = tail(n - i);
        __m512 v = _mm512_mul_ps(_mm512_maskz_loadu_ps(m, x + i), s);
        _mm512_mask_storeu_ps(y + i, m, _mm512_mul_ps(v, _mm512_maskz_loadu_ps(m, w + i)));
    }
}

static void silu_mul(const float *gate, const float *up, size_t n, float *y) {
    const __m512 sign = _mm512_set1_ps(-0.0f);
    for (size_t i = 0; i < n; i += 16) {
        __mmask16 m = tail(n - i);
        __m512 g = _mm512_maskz_loadu_ps(m, gate + i);
        __m512 v = bk_gate_avx512(g, bk_exp_avx512(_mm512_xor_ps(g, sign)));
        _mm512_mask_storeu_ps(y + i, m, _mm512_mul_ps(v, _mm512_maskz_loadu_ps(m, up + i)));
    }
}

static void gelu_mul(const float *gate, const float *up, size_t n, float *y) {
    for (size_t i = 0; i < n; i += 16) {
        __mmask16 m = tail(n - i);
        __m512 v = bk_gelu_avx512(_mm512_maskz_loadu_ps(m, gate + i));
        _mm512_mask_storeu_ps(y + i, m, _mm512_mul_ps(v, _mm512_maskz_loadu_ps(m, up + i)));
    }
}

static void soft_cap(float *x, size_t n, float cap) {
    for (size_t i = 0; i < n; i += 16) {
        __mmask16 m = tail(n - i);
        __m512 v = bk_soft_cap_avx512(_mm512_maskz_loadu_ps(m, x + i), cap);
        _mm512_mask_storeu_ps(x + i, m, v);
    }
}

void bk_rows_init_avx512(bk_kernels *k) {
    k->quantize = quantize;
    k->rms_norm = rms_norm;
    k->silu_mul = silu_mul;
    k->gelu_mul = gelu_mul;
    k->soft_cap = soft_cap;
}
