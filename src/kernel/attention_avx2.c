/* Attention over one chunk of keys with AVX2: 8 scores per instruction from transposed key tiles.
 * Sixteen registers hold 8 sums, whatever the number of queries: few queries take more keys (or
 * dimensions) at once. Order of operations: kernel.h. */
#include <string.h>

#include "kernel/parts.h"
#include "kernel/vec_avx2.h"

enum { QUERIES = 4, SUMS = 8, CHUNK_VECS = BK_ATTN_CHUNK / 8 };

INLINE __m256 f16(const uint16_t *p) {
    return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)p));
}

/* Scores of n queries with n_tiles tiles of keys from `first` on: s[i][tile * 16 + lane]. */
INLINE void scores(const float *q, size_t ldq, size_t n, const uint16_t *keys, size_t head_size,
                   size_t first, size_t n_tiles, float s[][BK_ATTN_CHUNK]) {
    __m256 acc[QUERIES][SUMS];
    keys += first * head_size * 16;
    UNROLL for (size_t i = 0; i < n; i++) {
        UNROLL for (size_t t = 0; t < 2 * n_tiles; t++) { acc[i][t] = _mm256_setzero_ps(); }
    }
    for (size_t d = 0; d < head_size; d++) {
        __m256 x[QUERIES];
        UNROLL for (size_t i = 0; i < n; i++) { x[i] = _mm256_set1_ps(q[i * ldq + d]); }
        UNROLL for (size_t t = 0; t < 2 * n_tiles; t++) {
            __m256 k = f16(keys + (t / 2 * head_size + d) * 16 + t % 2 * 8);
            UNROLL for (size_t i = 0; i < n; i++) {
                acc[i][t] = _mm256_fmadd_ps(x[i], k, acc[i][t]);
            }
        }
    }
    UNROLL for (size_t i = 0; i < n; i++) {
        UNROLL for (size_t t = 0; t < 2 * n_tiles; t++) {
            _mm256_storeu_ps(s[i] + first * 16 + t * 8, acc[i][t]);
        }
    }
}

/* s[0..64), capped, -> exp(s - max) inside [lo, hi), 0 outside. Returns max; *sum by 16 lanes. */
INLINE float softmax(float *s, float cap, int lo, int hi, float *sum) {
    const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    __m256 inside[CHUNK_VECS], v[CHUNK_VECS], max = _mm256_set1_ps(-INFINITY), lanes[2];
    for (int t = 0; t < CHUNK_VECS; t++) {
        __m256i at = _mm256_add_epi32(lane, _mm256_set1_epi32(8 * t));
        inside[t] =
            _mm256_castsi256_ps(_mm256_andnot_si256(_mm256_cmpgt_epi32(_mm256_set1_epi32(lo), at),
                                                    _mm256_cmpgt_epi32(_mm256_set1_epi32(hi), at)));
        v[t] = _mm256_loadu_ps(s + 8 * t);
        if (cap > 0) v[t] = bk_soft_cap_avx2(v[t], cap);
        v[t] = _mm256_blendv_ps(_mm256_set1_ps(-INFINITY), v[t], inside[t]);
        max = _mm256_max_ps(v[t], max); /* NaN counts as nothing */
    }
    float m = bk_max_avx2(max);
    lanes[0] = lanes[1] = _mm256_setzero_ps();
    for (int t = 0; t < CHUNK_VECS; t++) {
        __m256 p = bk_exp_avx2(_mm256_sub_ps(v[t], _mm256_set1_ps(m)));
        p = _mm256_and_ps(inside[t], p);
        lanes[t % 2] = _mm256_add_ps(lanes[t % 2], p);
        _mm256_storeu_ps(s + 8 * t, p);
    }
    *sum = bk_fold_avx2(lanes[0], lanes[1]);
    return m;
}

/* o[i][d0 .. d0 + 8 * vecs) = sum over keys [lo, hi) of p[i][k] * v[k][d]. */
INLINE void average(float p[][BK_ATTN_CHUNK], size_t n, const uint16_t *values, size_t head_size,
                    size_t d0, size_t vecs, int lo, int hi, float *o, size_t ldo) {
    __m256 acc[QUERIES][SUMS];
    UNROLL for (size_t i = 0; i < n; i++) {
        UNROLL for (size_t v = 0; v < vecs; v++) { acc[i][v] = _mm256_setzero_ps(); }
    }
    for (int k = lo; k < hi; k++) {
        const uint16_t *row = values + (size_t)k * head_size + d0;
        __m256 w[QUERIES];
        UNROLL for (size_t i = 0; i < n; i++) { w[i] = _mm256_set1_ps(p[i][k]); }
        UNROLL for (size_t v = 0; v < vecs; v++) {
            __m256 x = f16(row + v * 8);
            UNROLL for (size_t i = 0; i < n; i++) {
                acc[i][v] = _mm256_fmadd_ps(w[i], x, acc[i][v]);
            }
        }
    }
    UNROLL for (size_t i = 0; i < n; i++) {
        UNROLL for (size_t v = 0; v < vecs; v++) {
            _mm256_storeu_ps(o + i * ldo + d0 + v * 8, acc[i][v]);
        }
    }
}

/* Dimensions left over after the vectors: heads whose size is no multiple of 8. */
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

/* tiles * 2 * n and vecs * n: the sums in registers, at most 8. */
INLINE void queries(const float *q, size_t ldq, size_t n, size_t tiles, size_t vecs,
                    const uint16_t *keys, const uint16_t *values, size_t head_size, float cap,
                    const int *lo, const int *hi, float *max, float *sum, float *o, size_t ldo) {
    float s[QUERIES][BK_ATTN_CHUNK];
    int first = BK_ATTN_CHUNK, last = 0;
    for (size_t i = 0; i < n; i++) {
        if (lo[i] >= hi[i]) continue;
        first = bk_min_int(first, lo[i]);
        last = bk_max_int(last, hi[i]);
    }
    for (size_t t = first < last ? (size_t)first / 16 / tiles * tiles : BK_ATTN_CHUNK;
         t * 16 < (size_t)last; t += tiles)
        scores(q, ldq, n, keys, head_size, t, tiles, s);
    for (size_t i = 0; i < n; i++) max[i] = softmax(s[i], cap, lo[i], hi[i], &sum[i]);
    size_t d = 0;
    for (; d + 8 * vecs <= head_size; d += 8 * vecs)
        average(s, n, values, head_size, d, vecs, first, last, o, ldo);
    for (; d + 8 <= head_size; d += 8) average(s, n, values, head_size, d, 1, first, last, o, ldo);
    if (d < head_size) average_tail(s, n, values, head_size, d, first, last, o, ldo);
}

static void attn_chunk(const float *q, size_t ldq, size_t n_q, const uint16_t *keys,
                       const uint16_t *values, size_t head_size, float cap, const int *lo,
                       const int *hi, float *max, float *sum, float *o, size_t ldo) {
    while (n_q > 0) {
        size_t n = bk_min_size(n_q, QUERIES);
        switch (n) {
        case 1:
            queries(q, ldq, 1, 4, 8, keys, values, head_size, cap, lo, hi, max, sum, o, ldo);
            break;
        case 2:
            queries(q, ldq, 2, 2, 4, keys, values, head_size, cap, lo, hi, max, sum, o, ldo);
            break;
        case 3:
            queries(q, ldq, 3, 1, 2, keys, values, head_size, cap, lo, hi, max, sum, o, ldo);
            break;
        default:
            queries(q, ldq, 4, 1, 2, keys, values, head_size, cap, lo, hi, max, sum, o, ldo);
            break;
        }
        q += n * ldq, o += n * ldo, lo += n, hi += n, max += n, sum += n;
        n_q -= n;
    }
}

static float exp_one(float x) { return _mm256_cvtss_f32(bk_exp_avx2(_mm256_set1_ps(x))); }

static void attn_merge(float *max, float *sum, float *o, float max2, float sum2, const float *o2,
                       size_t head_size) {
    if (sum2 == 0) return;
    float m = *max > max2 ? *max : max2, f = exp_one(*max - m), g = exp_one(max2 - m);
    *max = m;
    *sum = _mm_cvtss_f32(_mm_fmadd_ss(_mm_set_ss(sum2), _mm_set_ss(g), _mm_set_ss(*sum * f)));
    __m256 fv = _mm256_set1_ps(f), gv = _mm256_set1_ps(g);
    for (size_t d = 0; d < head_size; d += 8) {
        size_t n = head_size - d;
        __m256 a = _mm256_mul_ps(bk_load_avx2(o + d, n), fv);
        bk_store_avx2(o + d, _mm256_fmadd_ps(bk_load_avx2(o2 + d, n), gv, a), n);
    }
}

/* Clamped, because f16 has no larger values; with NaN as second operand min and max give NaN. */
static void to_halves(const float *x, size_t n, uint16_t out[8]) {
    __m256 v = _mm256_min_ps(_mm256_set1_ps(65504.0f), bk_load_avx2(x, n));
    v = _mm256_max_ps(_mm256_set1_ps(-65504.0f), v);
    _mm_storeu_si128((__m128i *)(void *)out, _mm256_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT));
}

static void kv_store(const float *k, const float *v, size_t head_size, size_t pos, uint16_t *keys,
                     uint16_t *values) {
    uint16_t *tile = keys + pos / 16 * 16 * head_size + pos % 16, *row = values + pos * head_size;
    for (size_t d = 0; d < head_size; d += 8) {
        size_t n = bk_min_size(head_size - d, 8);
        uint16_t kh[8], vh[8];
        to_halves(k + d, n, kh);
        to_halves(v + d, n, vh);
        for (size_t i = 0; i < n; i++) tile[(d + i) * 16] = kh[i];
        memcpy(row + d, vh, n * sizeof *vh);
    }
}

void bk_attention_init_avx2(bk_kernels *k) {
    k->attn_chunk = attn_chunk;
    k->attn_merge = attn_merge;
    k->kv_store = kv_store;
}
