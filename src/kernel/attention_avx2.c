/* Attention with AVX2: vpmaddwd multiplies pairs of 16-bit integers, two instructions for 8 sums of
 * two products. 6 queries times 16 sums stay in registers. A line of keys is two components of 16
 * positions, a line of values two positions of 8 components and more, so scores and averages are the
 * same product. Order of operations: kernel.h. */
#include <string.h>

#include "kernel/parts.h"
#include "kernel/vec_avx2.h"

enum { QUERIES = 6, CHUNK_VECS = BK_ATTN_CHUNK / 8 };

/* Vectors of sums for each of n queries: with the operands they fill the 16 registers. */
#define SUMS(n) ((n) > 2 ? 2 : 4)

/* ---- Forms ---------------------------------------------------------------------------------------- */

/* Clamped; with NaN as second operand min and max give NaN. */
INLINE __m256 load(const float *x, size_t left) {
    __m256 v = _mm256_min_ps(_mm256_set1_ps(BK_KV_LIMIT), bk_load_avx2(x, left));
    return _mm256_max_ps(_mm256_set1_ps(-BK_KV_LIMIT), v);
}

/* Factor of a vector's components and its scale, as in ref.c. */
static float factor(bk_kv_type type, const float *x, size_t n, float *scale) {
    const __m256 sign = _mm256_set1_ps(-0.0f);
    __m256 sum[2] = {_mm256_setzero_ps(), _mm256_setzero_ps()}, most = _mm256_setzero_ps();
    for (size_t d = 0; d < n; d += 8) {
        __m256 v = load(x + d, n - d);
        sum[d / 8 % 2] = _mm256_fmadd_ps(v, v, sum[d / 8 % 2]);
        most = _mm256_max_ps(_mm256_andnot_ps(sign, v), most); /* NaN counts as nothing */
    }
    __m128 length = _mm_set_ss(bk_fold_avx2(sum[0], sum[1]));
    *scale = _mm_cvtss_f32(_mm_sqrt_ss(length));
    if (!(*scale >= BK_KV_MIN_LENGTH)) return 0;
    float unit = type == BK_KV_Q16 ? BK_KV_UNIT : 127.0f;
    float one = type == BK_KV_Q16 ? *scale : bk_max_avx2(most);
    *scale = one * (1.0f / unit);
    return unit / one;
}

/* 16 components from x on, 16 bits each. */
INLINE __m256i rounded(const float *x, size_t left, float f) {
    if (f == 0) return _mm256_setzero_si256();
    __m256 unit = _mm256_set1_ps(f);
    __m256i a = _mm256_cvtps_epi32(_mm256_mul_ps(load(x, left), unit));
    __m256i b = _mm256_setzero_si256();
    if (left > 8) b = _mm256_cvtps_epi32(_mm256_mul_ps(load(x + 8, left - 8), unit));
    return _mm256_permute4x64_epi64(_mm256_packs_epi32(a, b), 0xD8);
}

static void attn_query(const float *q, size_t head_size, float scale, int16_t *out,
                       float *out_scale) {
    float s, f = factor(BK_KV_Q16, q, head_size, &s);
    for (size_t d = 0; d < head_size; d += 16)
        _mm256_storeu_si256((__m256i *)(void *)(out + d), rounded(q + d, head_size - d, f));
    *out_scale = s * scale;
}

static void kv_store(bk_kv_type type, const float *k, const float *v, size_t head_size, size_t pos,
                     void *chunk) {
    float *scale = chunk;
    size_t head = bk_kv_head(head_size);
    char *keys = (char *)chunk + bk_kv_keys_offset();
    char *values = (char *)chunk + bk_kv_values_offset(type, head_size);
    float fk = factor(type, k, head_size, &scale[pos]);
    float fv = factor(type, v, head_size, &scale[BK_ATTN_CHUNK + pos]);
    for (size_t d = 0; d < head_size; d += 16) {
        int16_t x[16], y[16];
        _mm256_storeu_si256((__m256i *)(void *)x, rounded(k + d, head_size - d, fk));
        _mm256_storeu_si256((__m256i *)(void *)y, rounded(v + d, head_size - d, fv));
        for (size_t i = 0; i < 16; i++) {
            size_t ka = bk_kv_key_at(pos, d + i), va = bk_kv_value_at(head, pos, d + i);
            if (type == BK_KV_Q16) {
                ((int16_t *)(void *)keys)[ka] = x[i];
                ((int16_t *)(void *)values)[va] = y[i];
            } else {
                ((int8_t *)keys)[ka] = (int8_t)x[i];
                ((int8_t *)values)[va] = (int8_t)y[i];
            }
        }
    }
}

/* ---- A chunk -------------------------------------------------------------------------------------- */

INLINE __m256i pair_at(const int16_t *p) {
    int32_t x;
    memcpy(&x, p, sizeof x);
    return _mm256_set1_epi32(x);
}

/* 8 pairs; bytes are widened. */
INLINE __m256i pairs(bk_kv_type type, const char *p) {
    if (type == BK_KV_Q16) return _mm256_loadu_si256((const __m256i *)(const void *)p);
    return _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)(const void *)p));
}

/* acc += the products of 8 pairs. Written out because gcc 12 copies sums from register to register,
 * and spills. */
INLINE void add_pairs(__m256i *acc, __m256i q, __m256i x) {
    __m256i product = _mm256_madd_epi16(q, x);
    __asm__("vpaddd %1, %0, %0" : "+x"(*acc) : "x"(product));
}

/* to[i][8 * v + lane] = the n_pairs >= 1 pairs of a[i] times those of 8 * vecs lanes, `line` bytes
 * apart from b on. What lies `ahead` is fetched meanwhile. */
INLINE void dots(const int16_t *a, size_t lda, size_t n, bk_kv_type type, const char *b,
                 size_t line, size_t vecs, size_t n_pairs, ptrdiff_t ahead,
                 int32_t to[][BK_ATTN_CHUNK]) {
    const size_t bytes = 16 * bk_kv_element(type);
    __m256i acc[QUERIES][SUMS(1)];
    UNROLL for (size_t i = 0; i < n; i++) {
        UNROLL for (size_t v = 0; v < vecs; v++) { acc[i][v] = _mm256_setzero_si256(); }
    }
    do {
        __m256i x[SUMS(1)];
        UNROLL for (size_t v = 0; v < vecs; v++) { x[v] = pairs(type, b + v * bytes); }
        UNROLL for (size_t at = 0; at < vecs * bytes; at += 64) {
            _mm_prefetch(b + at + ahead, _MM_HINT_T0);
        }
        UNROLL for (size_t i = 0; i < n; i++) {
            __m256i q = pair_at(a + i * lda);
            UNROLL for (size_t v = 0; v < vecs; v++) { add_pairs(&acc[i][v], q, x[v]); }
        }
        a += 2;
        b += line;
    } while (--n_pairs);
    UNROLL for (size_t i = 0; i < n; i++) {
        UNROLL for (size_t v = 0; v < vecs; v++) {
            _mm256_storeu_si256((__m256i *)(void *)(to[i] + 8 * v), acc[i][v]);
        }
    }
}

/* Scores of query i from its dots -> u[64], the factor of its average; max and sum. */
static float softmax(const bk_attn *a, size_t i, const bk_kv_view *c, const int32_t *dot,
                     int16_t *u) {
    const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    const __m256i lo = _mm256_set1_epi32(a->lo[i]), hi = _mm256_set1_epi32(a->hi[i]);
    const __m256 none = _mm256_set1_ps(-INFINITY), scale = _mm256_set1_ps(a->q_scale[i]);
    __m256 seen[CHUNK_VECS], v[CHUNK_VECS], max = none, sum[2], total[2];
    for (int t = 0; t < CHUNK_VECS; t++) {
        __m256i at = _mm256_add_epi32(lane, _mm256_set1_epi32(8 * t));
        seen[t] = _mm256_castsi256_ps(
            _mm256_andnot_si256(_mm256_cmpgt_epi32(lo, at), _mm256_cmpgt_epi32(hi, at)));
        __m256i d = _mm256_loadu_si256((const __m256i *)(const void *)(dot + 8 * t));
        v[t] = _mm256_mul_ps(_mm256_cvtepi32_ps(d),
                             _mm256_mul_ps(scale, _mm256_loadu_ps(c->key_scale + 8 * t)));
        if (a->cap > 0) v[t] = bk_soft_cap_avx2(v[t], a->cap);
        v[t] = _mm256_blendv_ps(none, v[t], seen[t]);
        max = _mm256_max_ps(v[t], max); /* NaN counts as nothing */
    }
    a->max[i] = bk_max_avx2(max) + 0.0f; /* one zero */
    max = _mm256_set1_ps(a->max[i]);
    sum[0] = sum[1] = total[0] = total[1] = _mm256_setzero_ps();
    for (int t = 0; t < CHUNK_VECS; t++) {
        __m256 p = _mm256_and_ps(seen[t], bk_exp_avx2(_mm256_sub_ps(v[t], max)));
        sum[t % 2] = _mm256_add_ps(sum[t % 2], p);
        v[t] = _mm256_mul_ps(p, _mm256_loadu_ps(c->value_scale + 8 * t));
        v[t] = _mm256_and_ps(seen[t], v[t]);
        total[t % 2] = _mm256_add_ps(total[t % 2], v[t]);
    }
    a->sum[i] = bk_fold_avx2(sum[0], sum[1]);
    float w = bk_fold_avx2(total[0], total[1]);
    __m256 f = _mm256_set1_ps(w >= BK_KV_MIN_WEIGHT ? BK_KV_UNIT / w : 0);
    for (int t = 0; t < CHUNK_VECS; t += 2) {
        __m256i x = _mm256_cvtps_epi32(_mm256_mul_ps(v[t], f));
        __m256i y = _mm256_cvtps_epi32(_mm256_mul_ps(v[t + 1], f));
        x = _mm256_permute4x64_epi64(_mm256_packs_epi32(x, y), 0xD8);
        _mm256_storeu_si256((__m256i *)(void *)(u + 8 * t), x);
    }
    return w * (1.0f / BK_KV_UNIT);
}

/* 8 * vecs components from d on of the averages of n queries from i0 on; pairs [first, end). */
INLINE void average(const bk_attn *a, size_t i0, size_t n, bk_kv_type type, const bk_kv_view *c,
                    const int16_t *u, const float *unit, size_t d, size_t vecs, size_t first,
                    size_t end) {
    const size_t element = bk_kv_element(type), line = 2 * a->head * element;
    int32_t s[QUERIES][BK_ATTN_CHUNK];
    dots(u + 2 * first, BK_ATTN_CHUNK, n, type,
         (const char *)c->values + first * line + 2 * d * element, line, vecs, end - first,
         c->ahead, s);
    UNROLL for (size_t i = 0; i < n; i++) {
        UNROLL for (size_t v = 0; v < vecs; v++) {
            __m256i x = _mm256_loadu_si256((const __m256i *)(const void *)(s[i] + 8 * v));
            __m256 o = _mm256_mul_ps(_mm256_cvtepi32_ps(x), _mm256_set1_ps(unit[i]));
            _mm256_storeu_ps(a->o + (i0 + i) * a->head + d + 8 * v, o);
        }
    }
}

/* Queries [i0, i0 + n). */
INLINE void queries(const bk_attn *a, size_t i0, size_t n, bk_kv_type type, const bk_kv_view *c) {
    int32_t s[QUERIES][BK_ATTN_CHUNK];
    int16_t u[QUERIES][BK_ATTN_CHUNK];
    float unit[QUERIES];
    const size_t element = bk_kv_element(type), vecs = SUMS(n);
    int first = BK_ATTN_CHUNK - 2, last = 2; /* seen by none: two positions of weight 0 */
    for (size_t i = 0; i < n; i++) {
        if (a->lo[i0 + i] >= a->hi[i0 + i]) continue;
        first = bk_min_int(first, a->lo[i0 + i]);
        last = bk_max_int(last, a->hi[i0 + i]);
    }
    for (size_t k = 0; k < BK_ATTN_CHUNK; k += 8 * vecs)
        dots(a->q + i0 * BK_ATTN_PITCH, BK_ATTN_PITCH, n, type,
             (const char *)c->keys + 2 * k * element, 2 * BK_ATTN_CHUNK * element, vecs,
             a->head / 2, c->ahead, (int32_t(*)[BK_ATTN_CHUNK])(void *)(s[0] + k));
    for (size_t i = 0; i < n; i++) unit[i] = softmax(a, i0 + i, c, s[i], u[i]);
    size_t d = 0, begin = (size_t)bk_min_int(first, last - 1) / 2, end = ((size_t)last + 1) / 2;
    for (; d + 8 * vecs <= a->head; d += 8 * vecs)
        average(a, i0, n, type, c, u[0], unit, d, vecs, begin, end);
    for (; d < a->head; d += 16) average(a, i0, n, type, c, u[0], unit, d, 2, begin, end);
}

INLINE void all_queries(const bk_attn *a, bk_kv_type type, const bk_kv_view *c) {
    for (size_t i = 0; i < a->n; i += QUERIES) {
        switch (bk_min_size(a->n - i, QUERIES)) {
        case 1: queries(a, i, 1, type, c); break;
        case 2: queries(a, i, 2, type, c); break;
        case 3: queries(a, i, 3, type, c); break;
        case 4: queries(a, i, 4, type, c); break;
        case 5: queries(a, i, 5, type, c); break;
        default: queries(a, i, 6, type, c); break;
        }
    }
}

static void attn_chunk(const bk_attn *a, const bk_kv_view *c) {
    if (c->type == BK_KV_Q16)
        all_queries(a, BK_KV_Q16, c);
    else
        all_queries(a, BK_KV_Q8_0, c);
}

/* ---- Merging -------------------------------------------------------------------------------------- */

static float exp_one(float x) { return _mm256_cvtss_f32(bk_exp_avx2(_mm256_set1_ps(x))); }

static void attn_merge(size_t n, size_t head, float *max, float *sum, float *o, const float *max2,
                       const float *sum2, const float *o2) {
    for (size_t i = 0; i < n; i++, o += head, o2 += head) {
        if (sum2[i] == 0) continue;
        float m = max[i] > max2[i] ? max[i] : max2[i];
        float f = exp_one(max[i] - m), g = exp_one(max2[i] - m);
        __m128 s = _mm_set_ss(sum[i] * f);
        max[i] = m;
        sum[i] = _mm_cvtss_f32(_mm_fmadd_ss(_mm_set_ss(sum2[i]), _mm_set_ss(g), s));
        __m256 fv = _mm256_set1_ps(f), gv = _mm256_set1_ps(g);
        for (size_t d = 0; d < head; d += 8) {
            __m256 x = _mm256_mul_ps(_mm256_loadu_ps(o + d), fv);
            _mm256_storeu_ps(o + d, _mm256_fmadd_ps(_mm256_loadu_ps(o2 + d), gv, x));
        }
    }
}

void bk_attention_init_avx2(bk_kernels *k) {
    k->attn_query = attn_query;
    k->kv_store = kv_store;
    k->attn_chunk = attn_chunk;
    k->attn_merge = attn_merge;
}
