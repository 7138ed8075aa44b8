/* Quantisation of activations, norms and gates with AVX512. Order of operations: kernel.h. */
#include <immintrin.h>
#include <math.h>
#include <stdint.h>

#include "kernel/expf.h"
#include "kernel/parts.h"
#include "kernel/vec_avx512.h"

static __mmask16 tail(size_t n) { return n >= 16 ? (__mmask16)0xFFFF : (__mmask16)((1u << n) - 1); }

/* ---- Quantise ---------------------------------------------------------------------------------- */

static __m512 absolute(const float *x, size_t n) {
    return _mm512_abs_ps(_mm512_maskz_loadu_ps(tail(n), x));
}

/* Largest |x| of a block by lanes; NaN counts as nothing (the second operand of vmaxps wins). */
static __m512 lane_max(const float *x, size_t n) {
    __m512 m = _mm512_max_ps(absolute(x, n), _mm512_setzero_ps());
    return n > 16 ? _mm512_max_ps(absolute(x + 16, n - 16), m) : m;
}

static __m512 max_halves(__m512 a, __m512 b) {
    return _mm512_max_ps(_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b));
}

/* The largest of each of four vectors. */
static __m128 max_of_4(__m512 a, __m512 b, __m512 c, __m512 d) {
    __m512d ac = _mm512_castps_pd(max_halves(a, c)), bd = _mm512_castps_pd(max_halves(b, d));
    __m512 lo = _mm512_castpd_ps(_mm512_unpacklo_pd(ac, bd));
    __m512 hi = _mm512_castpd_ps(_mm512_unpackhi_pd(ac, bd));
    /* Every 128 bits hold, in the order a, c, b, d, the largest of theirs. */
    __m512 m = _mm512_max_ps(lo, hi);
    __m256 half = _mm256_max_ps(_mm512_castps512_ps256(m), _mm512_extractf32x8_ps(m, 1));
    __m128 all = _mm_max_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
    return _mm_shuffle_ps(all, all, _MM_SHUFFLE(3, 1, 2, 0));
}

static void block_maxima(const float *x, size_t k, float *max) {
    size_t b = 0, nb = bk_div_up(k, 32);
    for (; 32 * (b + 4) <= k; b += 4) {
        const float *at = x + 32 * b;
        _mm_storeu_ps(max + b, max_of_4(lane_max(at, 32), lane_max(at + 32, 32),
                                        lane_max(at + 64, 32), lane_max(at + 96, 32)));
    }
    for (; b < nb; b++)
        max[b] = _mm512_reduce_max_ps(lane_max(x + 32 * b, bk_min_size(32, k - 32 * b)));
}

/* Index of the first of the largest of v[n], none of which is NaN. */
static size_t first_largest(const float *v, size_t n) {
    __m512 m = _mm512_setzero_ps();
    for (size_t i = 0; i < n; i += 16)
        m = _mm512_max_ps(m, _mm512_maskz_loadu_ps(tail(n - i), v + i));
    m = _mm512_set1_ps(_mm512_reduce_max_ps(m));
    for (size_t i = 0; i < n; i += 16) {
        __mmask16 in = tail(n - i);
        unsigned hit = _mm512_mask_cmp_ps_mask(in, m, _mm512_maskz_loadu_ps(in, v + i), _CMP_EQ_OQ);
        if (hit) return i + (size_t)__builtin_ctz(hit);
    }
    return 0;
}

/* Takes the largest |x| that is left as exact channel e; block_max holds each block's maximum without
 * those taken before. */
static void take_largest(const float *x, size_t k, float *block_max, int32_t *channel, float *value,
                         int e) {
    size_t b = first_largest(block_max, bk_div_up(k, 32)), n = bk_min_size(32, k - 32 * b);
    uint32_t left = n < 32 ? (1u << n) - 1 : UINT32_MAX;
    for (int t = 0; t < e; t++)
        if ((size_t)channel[t] / 32 == b) left &= ~(1u << channel[t] % 32);
    __m512 max = _mm512_set1_ps(block_max[b]), low = absolute(x + 32 * b, n);
    __m512 high = n > 16 ? absolute(x + 32 * b + 16, n - 16) : _mm512_setzero_ps();
    uint32_t hit = _mm512_cmp_ps_mask(low, max, _CMP_EQ_OQ) |
                   (uint32_t)_mm512_cmp_ps_mask(high, max, _CMP_EQ_OQ) << 16;
    hit &= left;
    uint32_t at = hit ? (uint32_t)__builtin_ctz(hit) : 0;
    channel[e] = (int32_t)(32 * b + at);
    value[e] = x[32 * b + at];
    if ((size_t)e >= k) channel[e] = 0, value[e] = 0;
    left &= ~(1u << at);
    const __m512 zero = _mm512_setzero_ps();
    low = _mm512_max_ps(_mm512_maskz_mov_ps((__mmask16)left, low), zero);
    high = _mm512_max_ps(_mm512_maskz_mov_ps((__mmask16)(left >> 16), high), low);
    block_max[b] = _mm512_reduce_max_ps(high);
}

/* Up to 16 values as bytes. Clamped before the conversion, which has no value for infinity; NaN
 * becomes 0. */
static void round_bytes(const float *x, size_t n, __m512 inverse, int8_t *q) {
    const __m512 low = _mm512_set1_ps(-127), high = _mm512_set1_ps(127);
    __m512 v = _mm512_mul_ps(_mm512_maskz_loadu_ps(tail(n), x), inverse);
    __mmask16 number = _mm512_cmp_ps_mask(v, v, _CMP_ORD_Q);
    __m512i i = _mm512_maskz_cvtps_epi32(number, _mm512_max_ps(_mm512_min_ps(v, high), low));
    _mm_storeu_si128((__m128i *)(void *)q, _mm512_cvtepi32_epi8(i));
}

/* From the blocks' maxima to their scales; the values as bytes. */
static void round_blocks(const float *x, size_t k, bk_act *a) {
    size_t nb = bk_div_up(k, 32);
    const __m512 most = _mm512_set1_ps(127);
    for (size_t first = 0; first < nb; first += 16) {
        float inverse[16];
        __mmask16 in = tail(nb - first);
        __m512 max = _mm512_maskz_loadu_ps(in, a->s + first);
        __mmask16 some = _mm512_cmp_ps_mask(max, _mm512_setzero_ps(), _CMP_GT_OQ);
        _mm512_storeu_ps(inverse, _mm512_maskz_div_ps(some, most, max));
        _mm512_mask_storeu_ps(a->s + first, in, _mm512_div_ps(max, most));
        for (size_t b = first; b < bk_min_size(nb, first + 16); b++) {
            size_t n = bk_min_size(32, k - 32 * b);
            __m512 f = _mm512_set1_ps(inverse[b - first]);
            round_bytes(x + 32 * b, n, f, a->q + 32 * b);
            round_bytes(x + 32 * b + 16, n > 16 ? n - 16 : 0, f, a->q + 32 * b + 16);
        }
    }
}

/* vpsadbw adds 8 unsigned bytes: of q + 128. */
static void sum_blocks(size_t nb, bk_act *a) {
    const __m256i flip = _mm256_set1_epi8(-128);
    for (size_t b = 0; b < nb; b++) {
        __m256i q = _mm256_loadu_si256((const __m256i *)(const void *)(a->q + 32 * b));
        __m256i s = _mm256_sad_epu8(_mm256_xor_si256(q, flip), _mm256_setzero_si256());
        s = _mm256_add_epi64(s, _mm256_shuffle_epi32(s, _MM_SHUFFLE(1, 0, 3, 2)));
        int32_t low = _mm256_cvtsi256_si32(s) - 16 * 128;
        int32_t high = _mm_cvtsi128_si32(_mm256_extracti128_si256(s, 1)) - 16 * 128;
        bk_act_set_sums(a, b, low, high);
    }
}

static void quantize(const float *x, size_t k, void *act) {
    bk_act a = bk_act_view(act, k);
    block_maxima(x, k, a.s);
    for (int e = 0; e < BK_ACT_EXACT; e++) take_largest(x, k, a.s, a.at, a.value, e);
    round_blocks(x, k, &a);
    for (int e = 0; e < BK_ACT_EXACT; e++) a.q[a.at[e]] = 0;
    sum_blocks(bk_div_up(k, 32), &a);
}

/* Sum of 32 bytes. */
static int32_t block_sum(const int8_t *q) {
    __m256i x = _mm256_loadu_si256((const __m256i *)(const void *)q);
    x = _mm256_dpbusd_epi32(_mm256_setzero_si256(), _mm256_set1_epi8(1), x);
    __m128i s = _mm_add_epi32(_mm256_castsi256_si128(x), _mm256_extracti128_si256(x, 1));
    s = _mm_add_epi32(s, _mm_shuffle_epi32(s, _MM_SHUFFLE(1, 0, 3, 2)));
    return _mm_cvtsi128_si32(_mm_add_epi32(s, _mm_shuffle_epi32(s, _MM_SHUFFLE(2, 3, 0, 1))));
}

/* The maxima of blocks are where the bytes will be, 4 for each 32. */
static void fast_quantize(const float *x, size_t k, void *act) {
    bk_fast_act a = bk_fast_act_view(act, k);
    size_t nb = bk_div_up(k, 32);
    float *maxima = (float *)(void *)a.q;
    block_maxima(x, k, maxima);
    for (int e = 0; e < BK_FAST_EXACT; e++) take_largest(x, k, maxima, a.at, a.value, e);
    for (size_t t = 0; t < bk_fast_stretches(nb); t++) {
        a.s[t] = 0;
        for (size_t b = t * BK_FAST_BLOCKS; b < bk_min_size(nb, (t + 1) * BK_FAST_BLOCKS); b++)
            a.s[t] = maxima[b] > a.s[t] ? maxima[b] : a.s[t];
    }
    for (size_t t = 0; t < bk_fast_stretches(nb); t++) {
        size_t begin = t * BK_FAST_BLOCKS * 32, end = begin + BK_FAST_BLOCKS * 32;
        __m512 inverse = _mm512_set1_ps(a.s[t] > 0 ? 127.0f / a.s[t] : 0.0f);
        a.s[t] /= 127.0f;
        for (size_t i = begin; i < bk_min_size(end, 32 * nb); i += 16)
            round_bytes(x + i, k > i ? k - i : 0, inverse, a.q + i);
    }
    for (int e = 0; e < BK_FAST_EXACT; e++) a.q[a.at[e]] = 0;
    for (size_t t = 0; t < bk_fast_stretches(nb); t++) {
        int32_t sum = 0;
        for (size_t b = t * BK_FAST_BLOCKS; b < bk_min_size(nb, (t + 1) * BK_FAST_BLOCKS); b++)
            sum += block_sum(a.q + 32 * b);
        a.nsum[t] = -BK_ACT_ZERO * sum;
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

static __m512 sigmoid(__m512 x) {
    return bk_gate_avx512(_mm512_set1_ps(1.0f),
                          bk_exp_avx512(_mm512_xor_ps(x, _mm512_set1_ps(-0.0f))));
}

/* What goes into a gate of the units from k on. */
static __m512 gate_input(const bk_lstm_units *u, size_t gate, size_t k, __mmask16 m) {
    size_t at = gate * u->ldx + k;
    __m512 v =
        _mm512_add_ps(_mm512_maskz_loadu_ps(m, u->x + at), _mm512_maskz_loadu_ps(m, u->bias + at));
    return _mm512_add_ps(v, _mm512_maskz_loadu_ps(m, u->z + gate * u->ldz + k));
}

static void lstm_units(const bk_lstm_units *u) {
    for (size_t k = 0; k < u->n; k += 16) {
        __mmask16 m = tail(u->n - k);
        __m512 g = bk_soft_cap_avx512(gate_input(u, 2, k, m), 1.0f);
        __m512 add = _mm512_mul_ps(sigmoid(gate_input(u, 0, k, m)), g);
        __m512 c = _mm512_fmadd_ps(sigmoid(gate_input(u, 1, k, m)),
                                   _mm512_maskz_loadu_ps(m, u->c_before + k), add);
        __m512 h = _mm512_mul_ps(sigmoid(gate_input(u, 3, k, m)), bk_soft_cap_avx512(c, 1.0f));
        _mm512_mask_storeu_ps(u->c + k, m, c);
        _mm512_mask_storeu_ps(u->h + k, m, h);
    }
}

void bk_rows_init_avx512(bk_kernels *k) {
    k->quantize = quantize;
    k->fast_quantize = fast_quantize;
    k->rms_norm = rms_norm;
    k->silu_mul = silu_mul;
    k->gelu_mul = gelu_mul;
    k->soft_cap = soft_cap;
    k->lstm_units = lstm_units;
}
