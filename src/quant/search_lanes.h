/* Many scales at once: the inner loops of search.c and search_super.c. Loops over lanes become vectors of
 * whatever the machine has; a lane's sums have one order. */
#ifndef BRISK_QUANT_SEARCH_LANES_H
#define BRISK_QUANT_SEARCH_LANES_H

#include "quant/search.h"

enum { LANES = 16 };

typedef struct sums {
    float q[LANES], wq[LANES], qq[LANES]; /* of h times these */
} sums;

static inline float between(float v, float low, float high) {
    v = v > low ? v : low;
    return v < high ? v : high;
}

/* The level nearest to v in each lane. Adding 1.5 * 2^23 rounds to a whole number, halves to even. */
static inline void levels_of(const bk_levels *levels, float v[LANES]) {
    const float low = levels->low, high = levels->high, round = 12582912.0F;
    for (size_t l = 0; l < LANES; l++) v[l] = (between(v[l], low, high) + round) - round;
    if (levels->nearest)
        for (size_t l = 0; l < LANES; l++) v[l] = levels->nearest[128 + (int)v[l]];
}

/* The sums of each lane, whose levels are those nearest to w * inverse + zero. */
static inline void sum_lanes(const bk_levels *levels, const float *w, const float *h, size_t n,
                             const float *inverse, const float *zero, sums *out) {
    sums s = {{0}, {0}, {0}};
    float q[LANES];
    for (size_t i = 0; i < n; i++) {
        for (size_t l = 0; l < LANES; l++) q[l] = w[i] * inverse[l] + zero[l];
        levels_of(levels, q);
        for (size_t l = 0; l < LANES; l++) {
            float hq = h[i] * q[l];
            s.q[l] += hq;
            s.wq[l] += hq * w[i];
            s.qq[l] += hq * q[l];
        }
    }
    *out = s;
}

/* What each lane loses: sum h (w - d * level - m)^2, with the nearest levels. */
static inline void loss_lanes(const bk_levels *levels, const float *w, const float *h, size_t n,
                              const float *d, const float *m, float *loss) {
    float inverse[LANES], sum[LANES] = {0}, q[LANES];
    for (size_t l = 0; l < LANES; l++) inverse[l] = d[l] != 0 ? 1 / d[l] : 0;
    for (size_t i = 0; i < n; i++) {
        for (size_t l = 0; l < LANES; l++) q[l] = (w[i] - m[l]) * inverse[l];
        levels_of(levels, q);
        for (size_t l = 0; l < LANES; l++) {
            float off = w[i] - d[l] * q[l] - m[l];
            sum[l] += h[i] * off * off;
        }
    }
    for (size_t l = 0; l < LANES; l++) loss[l] = sum[l];
}

#endif
