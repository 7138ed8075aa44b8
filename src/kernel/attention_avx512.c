/* Attention with AVX512-VNNI: one instruction multiplies pairs of 16-bit integers and adds them to
 * 16 sums. Keys lie in lines of two components, values in lines of two positions, so scores and
 * averages are the same product: 6 queries times 64 sums stay in
 * registers. Order of operations: kernel.h. */
#include <immintrin.h>
#include <string.h>

#include "kernel/parts.h"
#include "kernel/vec_avx512.h"

enum { QUERIES = 6, TILES = BK_ATTN_CHUNK / 16 };

/* ---- Forms ---------------------------------------------------------------------------------------- */

INLINE __mmask16 lanes_of(size_t left) {
    return left >= 16 ? (__mmask16)0xFFFF : (__mmask16)((1u << left) - 1);
}

/* Clamped; with NaN as second operand min and max give NaN. */
INLINE __m512 load(const float *x, size_t left) {
    const __m512 limit = _mm512_set1_ps(BK_KV_LIMIT), low = _mm512_set1_ps(-BK_KV_LIMIT);
    __m512 v = _mm512_maskz_loadu_ps(lanes_of(left), x);
    return _mm512_max_ps(low, _mm512_min_ps(limit, v));
}

/* Factor of a vector's components and its scale, as in ref.c. */
static float factor(bk_kv_type type, const float *x, size_t n, float *scale) {
    __m512 sum = _mm512_setzero_ps(), most = _mm512_setzero_ps();
    for (size_t d = 0; d < n; d += 16) {
        __m512 v = load(x + d, n - d);
        sum = _mm512_fmadd_ps(v, v, sum);
        most = _mm512_max_ps(_mm512_abs_ps(v), most); /* NaN counts as nothing */
    }
    __m128 length = _mm_set_ss(bk_fold_avx512(sum));
    length = _mm_sqrt_ss(length);
    *scale = _mm_cvtss_f32(length);
    if (!(*scale >= BK_KV_MIN_LENGTH)) return 0;
    float unit = type == BK_KV_Q16 ? BK_KV_UNIT : 127.0f;
    float one = type == BK_KV_Q16 ? *scale : _mm512_reduce_max_ps(most);
    *scale = one * (1.0f / unit);
    return unit / one;
}

/* 16 components from x on, 16 bits each. */
INLINE __m256i rounded(const float *x, size_t left, float f) {
    if (f == 0) return _mm256_setzero_si256();
    __m512 v = _mm512_mul_ps(load(x, left), _mm512_set1_ps(f));
    return _mm512_cvtepi32_epi16(_mm512_cvtps_epi32(v));
}

static void attn_query(const float *q, size_t head_size, float scale, int16_t *out,
                       float *out_scale) {
    float s, f = factor(BK_KV_Q16, q, head_size, &s);
    for (size_t d = 0; d < head_size; d += 16)
        _mm256_storeu_si256((__m256i *)(void *)(out + d), rounded(q + d, head_size - d, f));
    *out_scale = s * scale;
}

static void store16(const float *k, const float *v, size_t head_size, size_t pos, float fk,
                    float fv, int16_t *keys, int16_t *values) {
    size_t head = bk_kv_head(head_size);
    for (size_t d = 0; d < head_size; d += 16) {
        int16_t x[32];
        int32_t pair;
        _mm256_storeu_si256((__m256i *)(void *)x, rounded(k + d, head_size - d, fk));
        _mm256_storeu_si256((__m256i *)(void *)(x + 16), rounded(v + d, head_size - d, fv));
        for (size_t i = 0; i < 16; i += 2) {
            memcpy(&pair, x + i, sizeof pair);
            memcpy(keys + bk_kv_key_at(pos, d + i), &pair, sizeof pair);
        }
        for (size_t i = 0; i < 16; i++) values[bk_kv_value_at(head, pos, d + i)] = x[16 + i];
    }
}

static void store8(const float *k, const float *v, size_t head_size, size_t pos, float fk, float fv,
                   int8_t *keys, int8_t *values) {
    size_t head = bk_kv_head(head_size);
    for (size_t d = 0; d < head_size; d += 16) {
        int8_t x[32];
        __m256i kx = rounded(k + d, head_size - d, fk), vx = rounded(v + d, head_size - d, fv);
        _mm_storeu_si128((__m128i *)(void *)x, _mm256_cvtepi16_epi8(kx));
        _mm_storeu_si128((__m128i *)(void *)(x + 16), _mm256_cvtepi16_epi8(vx));
        for (size_t i = 0; i < 16; i++) {
            keys[bk_kv_key_at(pos, d + i)] = x[i];
            values[bk_kv_value_at(head, pos, d + i)] = x[16 + i];
        }
    }
}

static void kv_store(bk_kv_type type, const float *k, const float *v, size_t head_size, size_t pos,
                     void *chunk) {
    float *scale = chunk;
    char *keys = (char *)chunk + bk_kv_keys_offset();
    char *values = (char *)chunk + bk_kv_values_offset(type, head_size);
    float fk = factor(type, k, head_size, &scale[pos]);
    float fv = factor(type, v, head_size, &scale[BK_ATTN_CHUNK + pos]);
    if (type == BK_KV_Q16)
        store16(k, v, head_size, pos, fk, fv, (int16_t *)(void *)keys, (int16_t *)(void *)values);
    else
        store8(k, v, head_size, pos, fk, fv, (int8_t *)keys, (int8_t *)values);
}

/* ---- A chunk -------------------------------------------------------------------------------------- */

INLINE __m512i pair_at(const int16_t *p) {
    int32_t x;
    memcpy(&x, p, sizeof x);
    return _mm512_set1_epi32(x);
}

/* acc += the products of 16 pairs. Written out because gcc 12 copies the sums of the intrinsic from
 * register to register, and spills. */
INLINE void add_pairs(__m512i *acc, __m512i q, __m512i x) {
    __asm__("vpdpwssd %2, %1, %0" : "+v"(*acc) : "v"(q), "v"(x));
}

/* 16 pairs; bytes are widened. */
INLINE __m512i pairs(bk_kv_type type, const char *p) {
    if (type == BK_KV_Q16) return _mm512_loadu_si512(p);
    return _mm512_cvtepi8_epi16(_mm256_loadu_si256((const __m256i *)(const void *)p));
}

/* to[i][16 * v + lane] = the n_pairs >= 1 pairs of a[i] times those of 16 * vecs lanes, `line` bytes
 * apart from b on. What lies `ahead` is fetched meanwhile. */
INLINE void dots(const int16_t *a, size_t lda, size_t n, bk_kv_type type, const char *b,
                 size_t line, size_t vecs, size_t n_pairs, ptrdiff_t ahead, int32_t to[][64]) {
    const size_t bytes = 32 * bk_kv_element(type);
    __m512i acc[QUERIES][TILES];
    UNROLL for (size_t i = 0; i < n; i++) {
        UNROLL for (size_t v = 0; v < vecs; v++) { acc[i][v] = _mm512_setzero_si512(); }
    }
    do {
        __m512i x[TILES];
        UNROLL for (size_t v = 0; v < vecs; v++) { x[v] = pairs(type, b + v * bytes); }
        UNROLL for (size_t v = 0; v * bytes < vecs * bytes; v += 64 / bytes) {
            _mm_prefetch(b + v * bytes + ahead, _MM_HINT_T0);
        }
        UNROLL for (size_t i = 0; i < n; i++) {
            __m512i q = pair_at(a + i * lda);
            UNROLL for (size_t v = 0; v < vecs; v++) { add_pairs(&acc[i][v], q, x[v]); }
        }
        a += 2;
        b += line;
    } while (--n_pairs);
    UNROLL for (size_t i = 0; i < n; i++) {
        UNROLL for (size_t v = 0; v < vecs; v++) { _mm512_storeu_si512(to[i] + 16 * v, acc[i][v]); }
    }
}

/* The lowest n bits, n = 0..64. */
INLINE uint64_t below(int n) { return n >= 64 ? ~(uint64_t)0 : ((uint64_t)1 << n) - 1; }

/* Scores of query i from its dots -> u[64], the factor of its average; max and sum. */
static float softmax(const bk_attn *a, size_t i, const bk_kv_view *c, const int32_t *dot,
                     int16_t *u) {
    const uint64_t range = below(a->hi[i]) & ~below(a->lo[i]);
    const __m512 none = _mm512_set1_ps(-INFINITY), scale = _mm512_set1_ps(a->q_scale[i]);
    __m512 v[TILES], max = none, sum = _mm512_setzero_ps(), total = sum;
    UNROLL for (int t = 0; t < TILES; t++) {
        const __mmask16 seen = (__mmask16)(range >> 16 * t);
        v[t] = _mm512_mul_ps(_mm512_cvtepi32_ps(_mm512_loadu_si512(dot + 16 * t)),
                             _mm512_mul_ps(scale, _mm512_loadu_ps(c->key_scale + 16 * t)));
        if (a->cap > 0) v[t] = bk_soft_cap_avx512(v[t], a->cap);
        v[t] = _mm512_mask_mov_ps(none, seen, v[t]);
        max = _mm512_max_ps(v[t], max); /* NaN counts as nothing */
    }
    a->max[i] = _mm512_reduce_max_ps(max) + 0.0f; /* one zero */
    max = _mm512_set1_ps(a->max[i]);
    UNROLL for (int t = 0; t < TILES; t++) {
        const __mmask16 seen = (__mmask16)(range >> 16 * t);
        __m512 p = _mm512_maskz_mov_ps(seen, bk_exp_avx512(_mm512_sub_ps(v[t], max)));
        sum = _mm512_add_ps(sum, p);
        v[t] = _mm512_maskz_mul_ps(seen, p, _mm512_loadu_ps(c->value_scale + 16 * t));
        total = _mm512_add_ps(total, v[t]);
    }
    a->sum[i] = bk_fold_avx512(sum);
    float w = bk_fold_avx512(total);
    __m512 f = _mm512_set1_ps(w >= BK_KV_MIN_WEIGHT ? BK_KV_UNIT / w : 0);
    UNROLL for (int t = 0; t < TILES; t++) {
        __m512i x = _mm512_cvtps_epi32(_mm512_mul_ps(v[t], f));
        _mm256_storeu_si256((__m256i *)(void *)(u + 16 * t), _mm512_cvtepi32_epi16(x));
    }
    return w * (1.0f / BK_KV_UNIT);
}

/* 16 * vecs components from d on of the averages of n queries from i0 on; pairs [first, end). */
INLINE void average(const bk_attn *a, size_t i0, size_t n, bk_kv_type type, const bk_kv_view *c,
                    const int16_t *u, const float *unit, size_t d, size_t vecs, size_t first,
                    size_t end) {
    const size_t element = bk_kv_element(type), line = 2 * a->head * element;
    int32_t s[QUERIES][64];
    dots(u + 2 * first, BK_ATTN_CHUNK, n, type,
         (const char *)c->values + first * line + 2 * d * element, line, vecs, end - first,
         c->ahead, s);
    UNROLL for (size_t i = 0; i < n; i++) {
        UNROLL for (size_t v = 0; v < vecs; v++) {
            __m512 o = _mm512_cvtepi32_ps(_mm512_loadu_si512(s[i] + 16 * v));
            o = _mm512_mul_ps(o, _mm512_set1_ps(unit[i]));
            _mm512_storeu_ps(a->o + (i0 + i) * a->head + d + 16 * v, o);
        }
    }
}

/* Queries [i0, i0 + n). */
INLINE void queries(const bk_attn *a, size_t i0, size_t n, bk_kv_type type, const bk_kv_view *c) {
    int32_t s[QUERIES][BK_ATTN_CHUNK];
    int16_t u[QUERIES][BK_ATTN_CHUNK];
    float unit[QUERIES];
    const size_t head = a->head, line = 2 * BK_ATTN_CHUNK * bk_kv_element(type);
    int first = BK_ATTN_CHUNK - 2, last = 2; /* seen by none: two positions of weight 0 */
    for (size_t i = 0; i < n; i++) {
        if (a->lo[i0 + i] >= a->hi[i0 + i]) continue;
        first = bk_min_int(first, a->lo[i0 + i]);
        last = bk_max_int(last, a->hi[i0 + i]);
    }
    dots(a->q + i0 * BK_ATTN_PITCH, BK_ATTN_PITCH, n, type, c->keys, line, TILES, head / 2,
         c->ahead, s);
    for (size_t i = 0; i < n; i++) unit[i] = softmax(a, i0 + i, c, s[i], u[i]);
    size_t d = 0, begin = (size_t)bk_min_int(first, last - 1) / 2, end = ((size_t)last + 1) / 2;
    for (; d + 64 <= head; d += 64) average(a, i0, n, type, c, u[0], unit, d, 4, begin, end);
    for (; d < head; d += 16) average(a, i0, n, type, c, u[0], unit, d, 1, begin, end);
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

/* Up to 16 queries: their factors at once. */
static void merge16(size_t n, size_t head, float *max, float *sum, float *o, const float *max2,
                    const float *sum2, const float *o2) {
    float f[16], g[16];
    __mmask16 k = lanes_of(n);
    __m512 a = _mm512_maskz_loadu_ps(k, max), b = _mm512_maskz_loadu_ps(k, max2);
    __m512 s = _mm512_maskz_loadu_ps(k, sum), s2 = _mm512_maskz_loadu_ps(k, sum2);
    k &= _mm512_cmp_ps_mask(s2, _mm512_setzero_ps(), _CMP_NEQ_UQ);
    __m512 m = _mm512_max_ps(a, b); /* the second where one is NaN, as in ref.c */
    __m512 fv = bk_exp_avx512(_mm512_sub_ps(a, m)), gv = bk_exp_avx512(_mm512_sub_ps(b, m));
    _mm512_mask_storeu_ps(max, k, m);
    _mm512_mask_storeu_ps(sum, k, _mm512_fmadd_ps(s2, gv, _mm512_mul_ps(s, fv)));
    _mm512_storeu_ps(f, fv);
    _mm512_storeu_ps(g, gv);
    for (size_t i = 0; i < n; i++, o += head, o2 += head) {
        if (!(k >> i & 1)) continue;
        __m512 fi = _mm512_set1_ps(f[i]), gi = _mm512_set1_ps(g[i]);
        for (size_t d = 0; d < head; d += 16) {
            __m512 x = _mm512_mul_ps(_mm512_loadu_ps(o + d), fi);
            _mm512_storeu_ps(o + d, _mm512_fmadd_ps(_mm512_loadu_ps(o2 + d), gi, x));
        }
    }
}

static void attn_merge(size_t n, size_t head, float *max, float *sum, float *o, const float *max2,
                       const float *sum2, const float *o2) {
    for (size_t i = 0; i < n; i += 16)
        merge16(bk_min_size(n - i, 16), head, max + i, sum + i, o + i * head, max2 + i, sum2 + i,
                o2 + i * head);
}

void bk_attention_init_avx512(bk_kernels *k) {
    k->attn_query = attn_query;
    k->kv_store = kv_store;
    k->attn_chunk = attn_chunk;
    k->attn_merge = attn_merge;
}
