/* Attention over one chunk of keys with AVX512: 16 scores per instruction from transposed key
 * tiles, each key and value converted from f16 once for up to 4 queries, sums of values held in
 * registers. Order of operations: kernel.h. */
#include <immintrin.h>
#include <string.h>

#include "kernel/parts.h"
#include "kernel/vec_avx512.h"

enum { QUERIES = 4, TILES = BK_ATTN_CHUNK / 16, DIM_VECS = 4 };

INLINE __m512 f16(const uint16_t *p) {
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(const void *)p));
}

/* Scores of n queries with the keys of n_tiles tiles: s[i][tile * 16 + lane]. */
INLINE void scores(const float *q, size_t ldq, size_t n, const uint16_t *keys, size_t head_size,
                   size_t n_tiles, float s[][BK_ATTN_CHUNK]) {
    __m512 acc[QUERIES][TILES];
    UNROLL for (size_t i = 0; i < n; i++) UNROLL for (size_t t = 0; t < n_tiles; t++) acc[i][t] =
        _mm512_setzero_ps();
    for (size_t d = 0; d < head_size; d++) {
        __m512 k[TILES];
        UNROLL for (size_t t = 0; t < n_tiles; t++) k[t] = f16(keys + (t * head_size + d) * 16);
        UNROLL for (size_t i = 0; i < n; i++) {
            __m512 x = _mm512_set1_ps(q[i * ldq + d]);
            UNROLL for (size_t t = 0; t < n_tiles; t++) acc[i][t] =
                _mm512_fmadd_ps(x, k[t], acc[i][t]);
        }
    }
    UNROLL for (size_t i = 0; i < n; i++) UNROLL for (size_t t = 0; t < n_tiles; t++)
        _mm512_storeu_ps(s[i] + t * 16, acc[i][t]);
}

/* The lowest n bits, n = 0..64. */
INLINE uint64_t below(int n) { return n >= 64 ? ~(uint64_t)0 : ((uint64_t)1 << n) - 1; }

/* s[0..64), capped, -> exp(s - max) inside [lo, hi), 0 outside. Returns max; *sum by 16 lanes. */
INLINE float softmax(float *s, float cap, int lo, int hi, float *sum) {
    uint64_t range = below(hi) & ~below(lo);
    __m512 v[TILES], max = _mm512_set1_ps(-INFINITY), lanes = _mm512_setzero_ps();
    UNROLL for (int t = 0; t < TILES; t++) {
        const __m512 none = _mm512_set1_ps(-INFINITY);
        const __mmask16 seen = (__mmask16)(range >> 16 * t);
        v[t] = _mm512_mask_loadu_ps(none, seen, s + 16 * t);
        if (cap > 0) v[t] = _mm512_mask_mov_ps(none, seen, bk_soft_cap_avx512(v[t], cap));
        max = _mm512_max_ps(v[t], max); /* NaN counts as nothing */
    }
    float m = _mm512_reduce_max_ps(max);
    __m512 mv = _mm512_set1_ps(m);
    UNROLL for (int t = 0; t < TILES; t++) {
        __m512 p = bk_exp_avx512(_mm512_sub_ps(v[t], mv));
        p = _mm512_maskz_mov_ps((__mmask16)(range >> 16 * t), p);
        lanes = _mm512_add_ps(lanes, p);
        _mm512_storeu_ps(s + 16 * t, p);
    }
    *sum = bk_fold_avx512(lanes);
    return m;
}

/* o[i][d0 .. d0 + 64) = sum over keys [lo, hi) of p[i][k] * v[k][d]; lanes past `dims` unused. */
INLINE void average(float p[][BK_ATTN_CHUNK], size_t n, const uint16_t *values, size_t head_size,
                    size_t d0, size_t vecs, int lo, int hi, float *o, size_t ldo) {
    __m512 acc[QUERIES][DIM_VECS];
    UNROLL for (size_t i = 0; i < n; i++) UNROLL for (size_t v = 0; v < vecs; v++) acc[i][v] =
        _mm512_setzero_ps();
    for (int k = lo; k < hi; k++) {
        const uint16_t *row = values + (size_t)k * head_size + d0;
        __m512 x[DIM_VECS];
        UNROLL for (size_t v = 0; v < vecs; v++) x[v] = f16(row + v * 16);
        UNROLL for (size_t i = 0; i < n; i++) {
            __m512 w = _mm512_set1_ps(p[i][k]);
            UNROLL for (size_t v = 0; v < vecs; v++) acc[i][v] =
                _mm512_fmadd_ps(w, x[v], acc[i][v]);
        }
    }
    UNROLL for (size_t i = 0; i < n; i++) UNROLL for (size_t v = 0; v < vecs; v++)
        _mm512_storeu_ps(o + i * ldo + d0 + v * 16, acc[i][v]);
}

/* Dimensions left over after the vectors: heads whose size is no multiple of 16. */
static void average_tail(float p[][BK_ATTN_CHUNK], size_t n, const uint16_t *values,
                         size_t head_size, size_t d0, int lo, int hi, float *o, size_t ldo) {
    for (size_t i = 0; i < n; i++) {
        for (size_t d = d0; d < head_size; d++) {
            __m128 acc = _mm_setzero_ps();
            for (int k = lo; k < hi; k++) {
                float v = _cvtsh_ss(values[(size_t)k * head_size + d]);
                acc = _mm_fmadd_ss(_mm_set_ss(p[i][k]), _mm_set_ss(v), acc);
            }
            o[i * ldo + d] = _mm_cvtss_f32(acc);
        }
    }
}

INLINE void queries(const float *q, size_t ldq, size_t n, const uint16_t *keys,
                    const uint16_t *values, size_t head_size, float cap, const int *lo,
                    const int *hi, float *max, float *sum, float *o, size_t ldo) {
    float s[QUERIES][BK_ATTN_CHUNK];
    int first = BK_ATTN_CHUNK, last = 0;
    for (size_t i = 0; i < n; i++) {
        if (lo[i] >= hi[i]) continue;
        first = bk_min_int(first, lo[i]);
        last = bk_max_int(last, hi[i]);
    }
    if (last > 32) {
        scores(q, ldq, n, keys, head_size, 4, s);
    } else if (last > 16) {
        scores(q, ldq, n, keys, head_size, 2, s);
    } else {
        scores(q, ldq, n, keys, head_size, 1, s);
    }
    UNROLL for (size_t i = 0; i < n; i++) max[i] = softmax(s[i], cap, lo[i], hi[i], &sum[i]);
    size_t d = 0;
    for (; d + 64 <= head_size; d += 64)
        average(s, n, values, head_size, d, 4, first, last, o, ldo);
    for (; d + 16 <= head_size; d += 16)
        average(s, n, values, head_size, d, 1, first, last, o, ldo);
    if (d < head_size) average_tail(s, n, values, head_size, d, first, last, o, ldo);
}

static void attn_chunk(const float *q, size_t ldq, size_t n_q, const uint16_t *keys,
                       const uint16_t *values, size_t head_size, float cap, const int *lo,
                       const int *hi, float *max, float *sum, float *o, size_t ldo) {
    while (n_q > 0) {
        size_t n = bk_min_size(n_q, QUERIES);
        switch (n) {
        case 1: queries(q, ldq, 1, keys, values, head_size, cap, lo, hi, max, sum, o, ldo); break;
        case 2: queries(q, ldq, 2, keys, values, head_size, cap, lo, hi, max, sum, o, ldo); break;
        case 3: queries(q, ldq, 3, keys, values, head_size, cap, lo, hi, max, sum, o, ldo); break;
        default: queries(q, ldq, 4, keys, values, head_size, cap, lo, hi, max, sum, o, ldo); break;
        }
        q += n * ldq, o += n * ldo, lo += n, hi += n, max += n, sum += n;
        n_q -= n;
    }
}

static void attn_merge(float *max, float *sum, float *o, float max2, float sum2, const float *o2,
                       size_t head_size) {
    if (sum2 == 0) return;
    float m = *max > max2 ? *max : max2;
    float f = _mm512_cvtss_f32(bk_exp_avx512(_mm512_set1_ps(*max - m)));
    float g = _mm512_cvtss_f32(bk_exp_avx512(_mm512_set1_ps(max2 - m)));
    *max = m;
    *sum = _mm_cvtss_f32(_mm_fmadd_ss(_mm_set_ss(sum2), _mm_set_ss(g), _mm_set_ss(*sum * f)));
    __m512 fv = _mm512_set1_ps(f), gv = _mm512_set1_ps(g);
    for (size_t d = 0; d < head_size; d += 16) {
        size_t left = head_size - d;
        __mmask16 k = left >= 16 ? (__mmask16)0xFFFF : (__mmask16)((1u << left) - 1);
        __m512 a = _mm512_mul_ps(_mm512_maskz_loadu_ps(k, o + d), fv);
        a = _mm512_fmadd_ps(_mm512_maskz_loadu_ps(k, o2 + d), gv, a);
        _mm512_mask_storeu_ps(o + d, k, a);
    }
}

static void kv_store(const float *k, const float *v, size_t head_size, size_t pos, uint16_t *keys,
                     uint16_t *values) {
    /* With NaN as second operand min and max give NaN. */
    const __m512 limit = _mm512_set1_ps(65504.0f), low = _mm512_set1_ps(-65504.0f);
    uint16_t *tile = keys + pos / 16 * 16 * head_size + pos % 16, *row = values + pos * head_size;
    for (size_t d = 0; d < head_size; d += 16) {
        size_t left = bk_min_size(head_size - d, 16);
        __mmask16 m = (__mmask16)((1u << left) - 1);
        __m512 kv = _mm512_max_ps(low, _mm512_min_ps(limit, _mm512_maskz_loadu_ps(m, k + d)));
        __m512 vv = _mm512_max_ps(low, _mm512_min_ps(limit, _mm512_maskz_loadu_ps(m, v + d)));
        _Alignas(32) uint16_t kh[16], vh[16];
        _mm256_store_si256((__m256i *)(void *)kh, _mm512_cvtps_ph(kv, _MM_FROUND_TO_NEAREST_INT));
        _mm256_store_si256((__m256i *)(void *)vh, _mm512_cvtps_ph(vv, _MM_FROUND_TO_NEAREST_INT));
        for (size_t i = 0; i < left; i++) tile[(d + i) * 16] = kh[i];
        memcpy(row + d, vh, left * sizeof *vh);
    }
}

void bk_attention_init_avx512(bk_kernels *k) {
    k->attn_chunk = attn_chunk;
    k->attn_merge = attn_merge;
    k->kv_store = kv_store;
}
