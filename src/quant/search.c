#include "quant/search.h"

#include <math.h>
#include <string.h>

#define N10(x) x, x + 1, x + 2, x + 3, x + 4, x + 5, x + 6, x + 7, x + 8, x + 9
const float bk_whole_numbers[129] = {N10(0),  N10(10), N10(20), N10(30), N10(40),  N10(50),
                                     N10(60), N10(70), N10(80), N10(90), N10(100), N10(110),
                                     120,     121,     122,     123,     124,      125,
                                     126,     127,     128};

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
    double mean = sum / (double)n;
    for (size_t i = 0; i < n; i++) h[i] = mean > 0 ? (float)(h[i] / mean + 1e-6) : 1;
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

uint16_t bk_search_half(float d) {
    const float most = 65504;
    return bk_f32_to_f16(d > most ? most : d < -most ? -most : d);
}

/* ---- One scale ---------------------------------------------------------------------------------- */

/* The inverse scales that are looked at, in parts of the one at which the largest weight reaches the
 * outermost level: beyond 1 it is cut. */
enum { PLACES = 128 };
static const float FIRST = 0.85F, LAST = 2.1F;

/* What changes in the two sums at each place: entry p is what happens before the p-th inverse scale. */
typedef struct changes {
    float wq[PLACES + 2], qq[PLACES + 2];
} changes;

static float largest(const float *w, size_t n) {
    float most = 0;
    for (size_t i = 0; i < n; i++) most = fabsf(w[i]) > most ? fabsf(w[i]) : most;
    return most;
}

/* The sums at an inverse scale of 0, and their changes at every place where a weight goes on to its next
 * level. `unit` brings an inverse scale to places. */
static void collect(const bk_levels *levels, int turned, const float *w, const float *h, size_t n,
                    float unit, changes *c) {
    memset(c, 0, sizeof *c);
    for (size_t i = 0; i < n; i++) {
        int down = (w[i] < 0) != turned;
        const float *level = levels->side[down];
        float size = fabsf(w[i]), weight = h[i] * size, from = level[0];
        c->wq[0] += weight * from;
        c->qq[0] += h[i] * from * from;
        if (size == 0) continue;
        float step = 0.5F * unit / size;
        for (size_t k = 1; k < levels->n[down]; k++) {
            float to = level[k], at = (from + to) * step - FIRST * PLACES / (LAST - FIRST);
            if (at >= PLACES) break;
            size_t p = at > 0 ? (size_t)at + 1 : 0;
            c->wq[p] += weight * (to - from);
            c->qq[p] += h[i] * (to * to - from * from);
            from = to;
        }
    }
}

/* The sums with the nearest level at a scale. */
static void sums_at(const bk_levels *levels, float d, const float *w, const float *h, size_t n,
                    float *wq, float *qq) {
    float inverse = 1 / fabsf(d);
    *wq = *qq = 0;
    for (size_t i = 0; i < n; i++) {
        int down = (w[i] < 0) != (d < 0);
        const float *level = levels->side[down];
        float v = fabsf(w[i]) * inverse;
        size_t k = 1;
        while (k < levels->n[down] && 0.5F * (level[k - 1] + level[k]) <= v) k++;
        float q = level[k - 1];
        *wq += h[i] * fabsf(w[i]) * q;
        *qq += h[i] * q * q;
    }
}

float bk_search_scale(const bk_levels *levels, const float *w, const float *h, size_t n) {
    changes c;
    float most = largest(w, n), best = 0, d = 0;
    if (!(most > 1e-15F)) return 0;
    for (int turned = 0; turned < 2; turned++) {
        /* The largest weight can be on either side, the sides of different length. */
        float outer = fmaxf(levels->side[0][levels->n[0] - 1], levels->side[1][levels->n[1] - 1]);
        float unit = PLACES * most / (outer * (LAST - FIRST));
        collect(levels, turned, w, h, n, unit, &c);
        float wq = 0, qq = 0;
        for (size_t p = 0; p <= PLACES; p++) {
            wq += c.wq[p];
            qq += c.qq[p];
            if (qq > 0 && wq > 0 && wq * wq > best * qq) {
                best = wq * wq / qq;
                d = turned ? -wq / qq : wq / qq;
            }
        }
    }
    for (int round = 0; round < 2 && d != 0; round++) {
        float wq, qq;
        sums_at(levels, d, w, h, n, &wq, &qq);
        if (!(qq > 0 && wq > 0)) break;
        d = d < 0 ? -wq / qq : wq / qq;
    }
    return d;
}
