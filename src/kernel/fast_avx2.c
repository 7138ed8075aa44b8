/* Panels of the fast product on 256 bits: of AVX2 and of both encodings of VNNI. Order of operations:
 * kernel.h. */
#include "kernel/lines_avx2.h"

INLINE __m256i factor(__m256 x) {
    const __m256 most = _mm256_set1_ps(BK_FAST_LIMIT), least = _mm256_set1_ps(-BK_FAST_LIMIT);
    x = _mm256_and_ps(x, _mm256_cmp_ps(x, x, _CMP_ORD_Q));
    return _mm256_cvtps_epi32(_mm256_max_ps(_mm256_min_ps(x, most), least));
}

INLINE __m256 magnitude(__m256 x) { return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), x); }

/* The low half of every dword twice. */
INLINE __m256i twice(__m256i x) { return _mm256_blend_epi16(x, _mm256_slli_epi32(x, 16), 0xAA); }

/* Half lines of one scale part. */
INLINE void put_lines(uint8_t *q, size_t n, __m256i factors, __m256i starts) {
    const __m256i low = _mm256_set1_epi16(255);
    for (size_t j = 0; j < n; j++) {
        __m256i *at = (__m256i *)(void *)(q + j * BK_LINE), x = _mm256_load_si256(at);
        __m256i even = _mm256_and_si256(x, low), odd = _mm256_srli_epi16(x, 8);
        even = _mm256_add_epi16(_mm256_mullo_epi16(even, factors), starts);
        odd = _mm256_add_epi16(_mm256_mullo_epi16(odd, factors), starts);
        odd = _mm256_andnot_si256(low, odd);
        _mm256_store_si256(at, _mm256_or_si256(_mm256_srli_epi16(even, 8), odd));
    }
}

/* n parts from d and m (NULL: no offsets) on, of `lines` lines each, 8 rows. Returns the stretch's
 * scale. */
static __m256 coarsen_stretch(const bk_quant *type, int zero, size_t n, size_t lines, uint8_t *q,
                              const float *d, const float *m) {
    float low, high;
    bk_fast_range(type, &low, &high);
    __m256 max = _mm256_setzero_ps(), unit;
    for (size_t p = 0; p < n; p++) {
        __m256 dv = _mm256_load_ps(d + p * 16);
        __m256 mv = m ? _mm256_load_ps(m + p * 16) : _mm256_setzero_ps();
        __m256 a = _mm256_fmadd_ps(dv, _mm256_set1_ps(low), mv);
        __m256 b = _mm256_fmadd_ps(dv, _mm256_set1_ps(high), mv);
        /* NaN counts as nothing: the second operand wins. */
        max = _mm256_max_ps(magnitude(b), _mm256_max_ps(magnitude(a), max));
    }
    unit = _mm256_div_ps(_mm256_set1_ps(BK_FAST_UNIT), max);
    unit = _mm256_and_ps(unit, _mm256_cmp_ps(max, _mm256_set1_ps(BK_FAST_MIN), _CMP_GE_OQ));
    const __m256 fine = _mm256_set1_ps(256);
    for (size_t p = 0; p < n; p++) {
        __m256 mv = m ? _mm256_load_ps(m + p * 16) : _mm256_setzero_ps();
        __m256i f = factor(_mm256_mul_ps(_mm256_mul_ps(_mm256_load_ps(d + p * 16), unit), fine));
        __m256i start = factor(_mm256_mul_ps(_mm256_mul_ps(mv, unit), fine));
        start = _mm256_sub_epi32(start, _mm256_mullo_epi32(f, _mm256_set1_epi32(zero)));
        start = _mm256_add_epi32(start, _mm256_set1_epi32(32896));
        put_lines(q + p * lines * BK_LINE, lines, twice(f), twice(start));
    }
    return _mm256_div_ps(max, _mm256_set1_ps(BK_FAST_UNIT));
}

void bk_fast_coarsen_avx2(const bk_packed *w, size_t n, const bk_panel *panel, int zero) {
    const bk_quant *type = w->type;
    size_t nb = w->k / 32, parts = 32 / (size_t)type->sub, lines = (size_t)type->sub / 4;
    for (size_t i = 0; i < n * HALVES; i++) {
        size_t g = i / HALVES, h = i % HALVES, gd = nb * parts * 16;
        float *d = panel->d + g * gd + h * 8, *m = panel->m + g * gd + h * 8;
        for (size_t t = 0; t < bk_fast_stretches(nb); t++) {
            size_t b = t * BK_FAST_BLOCKS, count = bk_min_size(BK_FAST_BLOCKS, nb - b) * parts;
            uint8_t *q = panel->q + g * w->k * 16 + b * 8 * BK_LINE + h * 32;
            __m256 scale = coarsen_stretch(type, zero, count, lines, q, d + b * parts * 16,
                                           type->has_min ? m + b * parts * 16 : NULL);
            _mm256_store_ps(d + t * 16, scale); /* of parts that have been read */
        }
    }
}
