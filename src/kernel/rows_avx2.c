/* Quantisation of activations, norms and gates with AVX2. Order of operations: kernel.h. */
#include <math.h>
#include <string.h>

#include "kernel/parts.h"
#include "kernel/vec_avx2.h"

static size_t left(size_t n, size_t done) { return n > done ? n - done : 0; }

/* ---- Quantise ---------------------------------------------------------------------------------- */

/* Largest |x| of a block; NaN counts as nothing (the second operand of vmaxps wins). */
static float block_max(const float *x, size_t n) {
    const __m256 sign = _mm256_set1_ps(-0.0f);
    __m256 m = _mm256_setzero_ps();
    for (size_t i = 0; i < n; i += 8)
        m = _mm256_max_ps(_mm256_andnot_ps(sign, bk_load_avx2(x + i, n - i)), m);
    return bk_max_avx2(m);
}

static bool taken(const int32_t *at, int n_taken, size_t i) {
    for (int e = 0; e < n_taken; e++)
        if (at[e] == (int32_t)i) return true;
    return false;
}

static size_t largest_block(const float *maxima, size_t nb) {
    size_t best = 0;
    for (size_t b = 1; b < nb; b++)
        if (maxima[b] > maxima[best]) best = b;
    return best;
}

/* Index of the largest |x| not yet taken; maxima holds each block's without those. */
static size_t take_largest(const float *x, size_t k, const float *maxima, const int32_t *at,
                           int n_taken) {
    size_t best = largest_block(maxima, bk_div_up(k, 32));
    size_t end = bk_min_size(32 * best + 32, k);
    for (size_t i = 32 * best; i < end; i++)
        if (fabsf(x[i]) == maxima[best] && !taken(at, n_taken, i)) return i;
    return 32 * best;
}

static float max_without_taken(const float *x, size_t k, size_t b, const int32_t *at, int n_taken) {
    float max = 0;
    for (size_t i = 32 * b; i < 32 * b + 32 && i < k; i++) {
        float v = fabsf(x[i]);
        if (v > max && !taken(at, n_taken, i)) max = v;
    }
    return max;
}

/* The n largest as exact channels; maxima[blocks] becomes what the others have. */
static void take_exact(const float *x, size_t k, int n, float *maxima, int32_t *at, float *value) {
    for (size_t b = 0; b < bk_div_up(k, 32); b++)
        maxima[b] = block_max(x + 32 * b, bk_min_size(32, k - 32 * b));
    for (int e = 0; e < n; e++) {
        size_t i = take_largest(x, k, maxima, at, e);
        at[e] = (int32_t)i;
        value[e] = x[i];
        if ((size_t)e >= k) at[e] = 0, value[e] = 0;
        maxima[i / 32] = max_without_taken(x, k, i / 32, at, e + 1);
    }
}

/* Rounded to integers in [-127, 127]. Clamped before the conversion, which has no value for
 * infinity; NaN becomes 0. */
static __m256i round_clamped(__m256 v) {
    v = _mm256_and_ps(v, _mm256_cmp_ps(v, v, _CMP_ORD_Q));
    v = _mm256_max_ps(_mm256_min_ps(v, _mm256_set1_ps(127)), _mm256_set1_ps(-127));
    return _mm256_cvtps_epi32(v);
}

static int32_t sum_of_4(__m128i v) {
    v = _mm_add_epi32(v, _mm_shuffle_epi32(v, 0x4E));
    v = _mm_add_epi32(v, _mm_shuffle_epi32(v, 0xB1));
    return _mm_cvtsi128_si32(v);
}

/* Up to 32 values times f as bytes to q. Their sums over four each. */
static __m256i put_bytes(const float *x, size_t n, __m256 f, int8_t *to) {
    __m256i q[4];
    for (size_t i = 0; i < 4; i++)
        q[i] = round_clamped(_mm256_mul_ps(bk_load_avx2(x + 8 * i, left(n, 8 * i)), f));
    __m256i bytes =
        _mm256_packs_epi16(_mm256_packs_epi32(q[0], q[1]), _mm256_packs_epi32(q[2], q[3]));
    /* Packing works per half: dwords come as 0 2 4 6 1 3 5 7. */
    bytes = _mm256_permutevar8x32_epi32(bytes, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
    _mm256_storeu_si256((__m256i *)(void *)to, bytes);
    return _mm256_madd_epi16(_mm256_maddubs_epi16(_mm256_set1_epi8(1), bytes),
                             _mm256_set1_epi16(1));
}

static void quantize_block(const float *x, size_t n, size_t b, const bk_act *a) {
    float max = a->s[b];
    __m256 inverse = _mm256_set1_ps(max > 0 ? 127.0f / max : 0.0f);
    __m256i sums = put_bytes(x, n, inverse, a->q + 32 * b);
    int32_t sum0 = sum_of_4(_mm256_castsi256_si128(sums));
    int32_t sum1 = sum_of_4(_mm256_extracti128_si256(sums, 1));
    a->s[b] = max / 127.0f;
    bk_act_set_sums(a, b, sum0, sum1);
}

static void quantize(const float *x, size_t k, void *act) {
    bk_act a = bk_act_view(act, k);
    take_exact(x, k, BK_ACT_EXACT, a.s, a.at, a.value);
    for (size_t b = 0; b < bk_div_up(k, 32); b++) {
        float rest[32];
        size_t n = bk_min_size(32, k - 32 * b);
        const float *from = x + 32 * b;
        for (int e = 0; e < BK_ACT_EXACT; e++) {
            if ((size_t)a.at[e] / 32 != b) continue;
            if (from != rest) memcpy(rest, from, n * sizeof *rest);
            from = rest;
            rest[a.at[e] % 32] = 0;
        }
        quantize_block(from, n, b, &a);
    }
}

static void fast_quantize(const float *x, size_t k, void *act) {
    bk_fast_act a = bk_fast_act_view(act, k);
    size_t nb = bk_div_up(k, 32);
    float *maxima = (float *)(void *)a.q; /* until the bytes come */
    take_exact(x, k, BK_FAST_EXACT, maxima, a.at, a.value);
    memset(a.s, 0, bk_fast_stretches(nb) * sizeof *a.s);
    memset(a.nsum, 0, bk_fast_stretches(nb) * sizeof *a.nsum);
    for (size_t b = 0; b < nb; b++) {
        float *max = &a.s[b / BK_FAST_BLOCKS];
        if (maxima[b] > *max) *max = maxima[b];
    }
    for (size_t b = 0; b < nb; b++) {
        float max = a.s[b / BK_FAST_BLOCKS];
        __m256 inverse = _mm256_set1_ps(max > 0 ? 127.0f / max : 0.0f);
        __m256i s = put_bytes(x + 32 * b, bk_min_size(32, k - 32 * b), inverse, a.q + 32 * b);
        a.nsum[b / BK_FAST_BLOCKS] -= BK_ACT_ZERO * (sum_of_4(_mm256_castsi256_si128(s)) +
                                                     sum_of_4(_mm256_extracti128_si256(s, 1)));
    }
    for (size_t t = 0; t < bk_fast_stretches(nb); t++) a.s[t] /= 127.0f;
    for (int e = 0; e < BK_FAST_EXACT && (size_t)e < k; e++) {
        a.nsum[a.at[e] / (32 * BK_FAST_BLOCKS)] += BK_ACT_ZERO * a.q[a.at[e]];
        a.q[a.at[e]] = 0;
    }
}

/* ---- Norm and gate ------------------------------------------------------------------------------ */

static void rms_norm(const float *x, const float *w, size_t n, float eps, float *y) {
    __m256 low = _mm256_setzero_ps(), high = low;
    for (size_t i = 0; i < n; i += 16) {
        __m256 a = bk_load_avx2(x + i, n - i), b = bk_load_avx2(x + i + 8, left(n, i + 8));
        low = _mm256_fmadd_ps(a, a, low);
        high = _mm256_fmadd_ps(b, b, high);
    }
    __m256 s = _mm256_set1_ps(1.0f / sqrtf(bk_fold_avx2(low, high) / (float)n + eps));
    for (size_t i = 0; i < n; i += 8) {
        __m256 v = _mm256_mul_ps(bk_load_avx2(x + i, n - i), s);
        bk_store_avx2(y + i, _mm256_mul_ps(v, bk_load_avx2(w + i, n - i)), n - i);
    }
}

static void silu_mul(const float *gate, const float *up, size_t n, float *y) {
    const __m256 sign = _mm256_set1_ps(-0.0f);
    for (size_t i = 0; i < n; i += 8) {
        __m256 g = bk_load_avx2(gate + i, n - i);
        __m256 v = bk_gate_avx2(g, bk_exp_avx2(_mm256_xor_ps(g, sign)));
        bk_store_avx2(y + i, _mm256_mul_ps(v, bk_load_avx2(up + i, n - i)), n - i);
    }
}

static void gelu_mul(const float *gate, const float *up, size_t n, float *y) {
    for (size_t i = 0; i < n; i += 8) {
        __m256 v = bk_gelu_avx2(bk_load_avx2(gate + i, n - i));
        bk_store_avx2(y + i, _mm256_mul_ps(v, bk_load_avx2(up + i, n - i)), n - i);
    }
}

static void soft_cap(float *x, size_t n, float cap) {
    for (size_t i = 0; i < n; i += 8)
        bk_store_avx2(x + i, bk_soft_cap_avx2(bk_load_avx2(x + i, n - i), cap), n - i);
}

static __m256 sigmoid(__m256 x) {
    return bk_gate_avx2(_mm256_set1_ps(1.0f), bk_exp_avx2(_mm256_xor_ps(x, _mm256_set1_ps(-0.0f))));
}

/* What goes into a gate of the n units from k on. */
static __m256 gate_input(const bk_lstm_units *u, size_t gate, size_t k, size_t n) {
    size_t at = gate * u->ldx + k;
    __m256 v = _mm256_add_ps(bk_load_avx2(u->x + at, n), bk_load_avx2(u->bias + at, n));
    return _mm256_add_ps(v, bk_load_avx2(u->z + gate * u->ldz + k, n));
}

static void lstm_units(const bk_lstm_units *u) {
    for (size_t k = 0; k < u->n; k += 8) {
        size_t n = u->n - k;
        __m256 g = bk_soft_cap_avx2(gate_input(u, 2, k, n), 1.0f);
        __m256 add = _mm256_mul_ps(sigmoid(gate_input(u, 0, k, n)), g);
        __m256 c =
            _mm256_fmadd_ps(sigmoid(gate_input(u, 1, k, n)), bk_load_avx2(u->c_before + k, n), add);
        __m256 h = _mm256_mul_ps(sigmoid(gate_input(u, 3, k, n)), bk_soft_cap_avx2(c, 1.0f));
        bk_store_avx2(u->c + k, c, n);
        bk_store_avx2(u->h + k, h, n);
    }
}

void bk_rows_init_avx2(bk_kernels *k) {
    k->quantize = quantize;
    k->fast_quantize = fast_quantize;
    k->rms_norm = rms_norm;
    k->silu_mul = silu_mul;
    k->gelu_mul = gelu_mul;
    k->soft_cap = soft_cap;
    k->lstm_units = lstm_units;
}
