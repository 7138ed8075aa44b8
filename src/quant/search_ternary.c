#include "quant/search_ternary.h"

#include <math.h>

enum { BLOCK = 256, BINS = 512 };

/* The best scale when those from `from` on are not zero; what that saves. */
static float scale_from(const float *w, const float *h, float from, float *d) {
    float sum = 0, all = 0;
    for (size_t i = 0; i < BLOCK; i++) {
        if (!(fabsf(w[i]) >= from)) continue;
        sum += h[i] * fabsf(w[i]);
        all += h[i];
    }
    *d = all > 0 ? sum / all : 0;
    return all > 0 ? sum * *d : 0;
}

/* By magnitude, in bins. */
static float search_scale(const float *w, const float *h, float most) {
    float sums[BINS] = {0}, weights[BINS] = {0}, sum = 0, all = 0, best = 0, d = 0;
    for (size_t i = 0; i < BLOCK; i++) {
        size_t at = (size_t)(fabsf(w[i]) / most * (BINS - 1));
        sums[at] += h[i] * fabsf(w[i]);
        weights[at] += h[i];
    }
    for (size_t at = BINS; at-- > 0;) {
        sum += sums[at];
        all += weights[at];
        if (!(weights[at] > 0 && sum * sum > best * all)) continue;
        best = sum * sum / all;
        d = sum / all;
    }
    for (int round = 0; round < 2; round++) {
        float next, saved = scale_from(w, h, 0.5F * d, &next);
        if (saved > best) best = saved, d = next;
    }
    return d;
}

float bk_search_ternary(const float *w, const float *h, uint8_t q[256]) {
    float most = fabsf(bk_furthest(w, BLOCK)), d = most;
    if (h) d = most > 1e-15F ? search_scale(w, h, most) : 0;
    float inverse = d > 0 ? 1.0F / d : 0;
    for (size_t i = 0; i < BLOCK; i++) {
        float v = w[i] * inverse;
        q[i] = v >= 0.5F ? 2 : v <= -0.5F ? 0 : 1;
    }
    return d;
}
