#include "quant/search.h"

#include <math.h>

#include "quant/formats.h"
#include "quant/search_lanes.h"

/* ---- Rows --------------------------------------------------------------------------------------- */

static const float WEIGHT_MAX = 1e9F, IMPORTANCE_MAX = 1e30F;

static float usable(float x) {
    return x != x ? 0 : x > WEIGHT_MAX ? WEIGHT_MAX : x < -WEIGHT_MAX ? -WEIGHT_MAX : x;
}

static float mean_square(const float *x, size_t n) {
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += (double)usable(x[i]) * usable(x[i]);
    return n > 0 ? (float)(sum / (double)n) : 0;
}

/* To a mean of 1 and nothing at 0. */
static void proportions(float *h, size_t n) {
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += h[i];
    double unit = sum > 0 ? (double)n / sum : 0, least = sum > 0 ? 1e-6 : 1;
    for (size_t i = 0; i < n; i++) h[i] = (float)(h[i] * unit + least);
}

void bk_plain_blocks(const bk_quant *format, bk_search_fn *one, const float *x, void *blocks,
                     size_t n) {
    float w[BK_SEARCH_BLOCK];
    size_t len = format->block_len;
    for (uint8_t *b = blocks; n >= len; n -= len, x += len, b += format->block_bytes) {
        for (size_t i = 0; i < len; i++) w[i] = usable(x[i]);
        one(w, NULL, b);
    }
}

void bk_search_blocks(const bk_quant *format, bk_search_fn *one, const float *x,
                      const float *importance, void *blocks, size_t n) {
    float w[BK_SEARCH_BLOCK], h[BK_SEARCH_BLOCK], square = importance ? 0 : mean_square(x, n);
    size_t len = format->block_len;
    for (uint8_t *b = blocks; n >= len; n -= len, x += len, b += format->block_bytes) {
        for (size_t i = 0; i < len; i++) {
            w[i] = usable(x[i]);
            h[i] = importance ? importance[i] : square + w[i] * w[i];
            if (!(h[i] >= 0 && h[i] <= IMPORTANCE_MAX) || x[i] != x[i]) h[i] = 0;
        }
        proportions(h, len);
        one(w, h, b);
        if (importance) importance += len;
    }
}

float bk_furthest(const float *w, size_t n) {
    float v = 0;
    for (size_t i = 0; i < n; i++) v = fabsf(w[i]) > fabsf(v) ? w[i] : v;
    return v;
}

float bk_store_half(uint8_t *out, float d) {
    const float most = 65504;
    uint16_t bits = bk_f32_to_f16(d > most ? most : d < -most ? -most : d);
    bk_store_le16(out, bits);
    return bk_f16_to_f32(bits);
}

static uint8_t place_in(const int8_t *codebook, float v) {
    uint8_t k = 0;
    while (k < 15 && v > 0.5F * (float)(codebook[k] + codebook[k + 1])) k++;
    return k;
}

void bk_nearest_levels(const bk_levels *levels, float d, float m, const float *w, size_t n,
                       uint8_t *q) {
    float inverse = d != 0 ? 1 / d : 0, low = levels->low;
    for (size_t i = 0; i < n; i++) {
        float v = (w[i] - m) * inverse;
        q[i] = levels->codebook ? place_in(levels->codebook, v)
                                : (uint8_t)(between(v, low, levels->high) - low + 0.5F);
    }
}

/* ---- A scale ------------------------------------------------------------------------------------ */

/* Inverse scales are tried in a geometric series, in parts of the one at which the largest weight is the
 * outermost level. Below 1 levels are left unused, so that weights that matter come to lie on one; beyond
 * it the largest are cut, where they matter less than the rest. With many levels neither goes far. */
enum { SCALES = 32, ROUNDS = 2, MANY_LEVELS = 32 };
static const float FIRST = 0.5F, LAST = 3, FIRST_OF_MANY = 0.7F, LAST_OF_MANY = 1.5F;

typedef struct best_scale {
    float saved, d;
} best_scale;

static void try_scales(const bk_levels *levels, const float *w, const float *h, size_t n,
                       const float *inverse, best_scale *best) {
    static const float zero[LANES];
    sums s;
    sum_lanes(levels, w, h, n, inverse, zero, &s);
    for (size_t l = 0; l < LANES; l++) {
        if (s.wq[l] * s.wq[l] > best->saved * s.qq[l]) {
            best->saved = s.wq[l] * s.wq[l] / s.qq[l];
            best->d = s.wq[l] / s.qq[l];
        }
    }
}

float bk_search_scale(const bk_levels *levels, const float *w, const float *h, size_t n) {
    float most = fabsf(bk_furthest(w, n)), inverse[LANES];
    if (!(most > 1e-15F)) return 0;
    best_scale best = {0, 0};
    float outer = levels->high > -levels->low ? levels->high : -levels->low;
    bool many = !levels->codebook && outer >= MANY_LEVELS;
    float first = many ? FIRST_OF_MANY : FIRST, last = many ? LAST_OF_MANY : LAST;
    float v = first * outer / most, step = powf(last / first, 1.0F / (SCALES - 1));
    for (int c = 0; c < SCALES; c += LANES / 2) {
        for (size_t l = 0; l < LANES; l += 2, v *= step) {
            /* The series has plain rounding's scale in place of its first. */
            inverse[l] = c + l == 0 ? outer / most : v;
            inverse[l + 1] = -inverse[l];
        }
        try_scales(levels, w, h, n, inverse, &best);
    }
    for (int r = 0; r < ROUNDS && best.d != 0; r++) {
        for (int l = 0; l < LANES; l++)
            inverse[l] = 1 / best.d * (1 + (float)(l - LANES / 2) * 0.005F);
        try_scales(levels, w, h, n, inverse, &best);
    }
    return best.d;
}

/* ---- A scale and an offset ---------------------------------------------------------------------- */

/* Windows onto the range of the weights, between whose edges the numbers 0..top lie: so many widths, in
 * a geometric series, and so many positions of each. As above, some are wider than the range. */
typedef struct windows {
    int widths, positions;
    float widest, narrowest; /* the range is this many windows */
} windows;

static const windows FEW_LEVELS = {16, 4, 0.8F, 3}, MORE_LEVELS = {16, 8, 0.7F, 2.5F};
enum { LINE_ROUNDS = 2 };

typedef struct best_line {
    float saved, d, m;
} best_line;

static void try_lines(const bk_levels *levels, bool below, const float *w, const float *h, size_t n,
                      const float *inverse, const float *zero, best_line *best) {
    float one = 0, sum = 0;
    sums s;
    for (size_t i = 0; i < n; i++) {
        one += h[i];
        sum += h[i] * w[i];
    }
    sum_lanes(levels, w, h, n, inverse, zero, &s);
    for (size_t l = 0; l < LANES; l++) {
        float over = s.wq[l] - s.q[l] * sum / one, under = s.qq[l] - s.q[l] * s.q[l] / one;
        if (!(over > 0 && under > 0)) continue;
        best_line line = {over * over / under, over / under, 0};
        line.m = (sum - line.d * s.q[l]) / one;
        if (below && line.m > 0) {
            line.d = s.wq[l] / s.qq[l];
            line.m = 0;
            line.saved = s.wq[l] * line.d - sum * sum / one;
        }
        if (line.saved > best->saved) *best = line;
    }
}

void bk_search_line(float top, bool below, const float *w, const float *h, size_t n, float *d,
                    float *m) {
    bk_levels levels = {0, top, NULL, NULL};
    float inverse[LANES], zero[LANES], min = w[0], max = w[0];
    for (size_t i = 0; i < n; i++) {
        min = w[i] < min ? w[i] : min;
        max = w[i] > max ? w[i] : max;
    }
    if (below && min > 0) min = 0;
    const windows *win = top > 15 ? &MORE_LEVELS : &FEW_LEVELS;
    float range = max - min, step = powf(win->narrowest / win->widest, 1.0F / (win->widths - 1));
    *d = 0;
    *m = below && min > 0 ? 0 : min;
    if (!(range > 1e-15F)) return;
    best_line best = {-1e30F, 0, *m};
    float v = win->widest * top / range;
    for (int c = 0; c < win->widths * win->positions;) {
        for (int l = 0; l < LANES; l++, c++) {
            float left = (float)(c % win->positions) / (win->positions - 1);
            inverse[l] = c ? v : top / range; /* plain rounding for the first */
            zero[l] = -(min * inverse[l] + left * (range * v - top));
            if ((c + 1) % win->positions == 0) v *= step;
        }
        try_lines(&levels, below, w, h, n, inverse, zero, &best);
    }
    for (int r = 0; r < LINE_ROUNDS && best.d > 0; r++) {
        for (int l = 0; l < LANES; l++) {
            inverse[l] = 1 / best.d * (1 + (float)(l % 4 - 1) * (r ? 0.005F : 0.02F));
            zero[l] = -best.m / best.d + (float)(l / 4 - 1) * (r ? 0.04F : 0.15F);
        }
        try_lines(&levels, below, w, h, n, inverse, zero, &best);
    }
    *d = best.d;
    *m = best.m;
}
