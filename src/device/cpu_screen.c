/* A product of which only those rows are computed that may be among the largest: see bk_screen.
 *
 * A row's estimate comes from other weights v but the same quantised input x as its value does, so they
 * differ by (w - v) x, which Cauchy and Schwarz bound, and by the rounding of both, which whoever makes
 * the radius puts into it. The largest value is at least that of the row with the largest estimate, which is
 * computed first. */
#include <math.h>
#include <string.h>

#include "device/cpu.h"

/* The best estimate of a part of a row. */
typedef struct best {
    float value;
    uint32_t row;
} best;

enum { GROUPS = 64, LANES = 16 }; /* GROUPS: of a unit */

_Static_assert(sizeof(best) * BK_SCREEN_ROWS * BK_CPU_SCREEN_PARTS <= BK_CPU_SCREEN_BYTES, "all");

/* What a row of the input must reach to matter, and how long it is. */
typedef struct reach {
    float floor, unit;             /* unit: factor * |x| */
    float block[BK_SCREEN_BLOCKS]; /* factor * |x| of each block / 255 */
    size_t blocks;
} reach;

static void measure(const bk_act *x, size_t k, float factor, reach *out) {
    double sum = 0, block[BK_SCREEN_BLOCKS] = {0};
    for (size_t i = 0; i < k; i++) {
        double v = (double)x->s[i / 32] * x->q[i];
        block[i / 32] += v * v;
    }
    for (int e = 0; e < BK_ACT_EXACT; e++)
        block[x->at[e] / 32] += (double)x->value[e] * (double)x->value[e];
    out->blocks = k / 32;
    for (size_t b = 0; b < out->blocks; b++) {
        sum += block[b];
        out->block[b] = (float)(sqrt(block[b]) * (double)factor * (1.00001 / 255));
    }
    out->unit = (float)(sqrt(sum) * (double)factor * 1.00001);
}

/* The largest of a part; NaN is passed over. */
static best find_best(const float *estimate, size_t n, size_t part) {
    size_t begin = n * part / BK_CPU_SCREEN_PARTS, end = n * (part + 1) / BK_CPU_SCREEN_PARTS;
    size_t i = begin;
    float lane[LANES], most = -INFINITY;
    for (size_t l = 0; l < LANES; l++) lane[l] = -INFINITY;
    for (; i + LANES <= end; i += LANES)
        for (size_t l = 0; l < LANES; l++)
            lane[l] = estimate[i + l] > lane[l] ? estimate[i + l] : lane[l];
    for (; i < end; i++) most = estimate[i] > most ? estimate[i] : most;
    for (size_t l = 0; l < LANES; l++) most = lane[l] > most ? lane[l] : most;
    for (i = begin; i < end && estimate[i] != most;) i++;
    return (best){most, (uint32_t)(i < end ? i : begin)};
}

/* The 16 values of a group, out of the kernel that computes them always. */
static void exact(const bk_cpu_device *d, const bk_cmd *c, size_t group, const void *acts,
                  size_t pitch, float *out) {
    bk_packed w = c->product.w[0]->packed;
    const float *bias = c->product.bias[0];
    size_t first = group * BK_GROUP_ROWS;
    w.data += group * w.group_bytes;
    w.n_rows = bk_min_size(BK_GROUP_ROWS, w.n_rows - first);
    w.n_groups = 1;
    for (size_t i = 0; bias && i < w.n_rows; i++) out[i] = bias[first + i];
    d->kernels->direct(&w, 0, 1, acts, pitch, 1, out, BK_GROUP_ROWS, bias != NULL);
}

/* What a value must reach: the largest in the group of the best estimate, less the margin. */
static float floor_of(const bk_cpu_device *d, const bk_cmd *c, const best *all, size_t row,
                      const void *acts, size_t pitch) {
    size_t n_rows = c->product.w[0]->packed.n_rows;
    best b = all[row * BK_CPU_SCREEN_PARTS];
    for (size_t i = 1; i < BK_CPU_SCREEN_PARTS; i++) {
        const best *other = &all[row * BK_CPU_SCREEN_PARTS + i];
        if (other->value > b.value) b = *other;
    }
    float y[BK_GROUP_ROWS], max = -INFINITY;
    size_t group = b.row / BK_GROUP_ROWS, first = group * BK_GROUP_ROWS;
    exact(d, c, group, acts, pitch, y);
    for (size_t i = 0; i < bk_min_size(BK_GROUP_ROWS, n_rows - first); i++)
        if (y[i] > max) max = y[i];
    return max - c->product.screen->margin[row] - 1e-6f * fabsf(max);
}

static inline float radius_at(const uint16_t *radius, size_t i) {
    uint32_t bits = (uint32_t)radius[i] << 16;
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

/* Whether a value is below the floor when its estimate is off by `error`; not when these are no numbers. */
static inline bool is_below(float estimate, float error, float floor) {
    return estimate + error + 1e-6f * fabsf(estimate) < floor;
}

/* The second bound. */
static bool is_below_by_blocks(const bk_screen *s, const reach *r, size_t row, float estimate) {
    const uint8_t *share = s->share + row * r->blocks;
    float sum = r->unit * (1.0f / 1024);
    for (size_t b = 0; b < r->blocks; b++) sum += r->block[b] * (float)share[b];
    return is_below(estimate, sum * radius_at(s->radius, row), r->floor);
}

/* Whether a row of the group may reach the floor. */
static bool may_reach(const bk_screen *s, const reach *r, const float *estimate, size_t first,
                      size_t n) {
    const uint16_t *radius = s->radius + first;
    int below = 0;
    for (size_t i = 0; i < n; i++)
        below += is_below(estimate[i], r->unit * radius_at(radius, i), r->floor);
    if (below == (int)n) return false;
    for (size_t i = 0; i < n; i++)
        if (!is_below(estimate[i], r->unit * radius_at(radius, i), r->floor) &&
            !is_below_by_blocks(s, r, first + i, estimate[i]))
            return true;
    return false;
}

/* Groups [first, end) of a row: computed, or given up. Rows computed. */
static size_t settle(const bk_cpu_device *d, const bk_cmd *c, size_t first, size_t end,
                     const reach *r, const void *acts, size_t pitch, float *y) {
    size_t n_rows = c->product.w[0]->packed.n_rows, computed = 0;
    for (size_t g = first; g < end; g++) {
        size_t at = g * BK_GROUP_ROWS, n = bk_min_size(BK_GROUP_ROWS, n_rows - at);
        if (may_reach(c->product.screen, r, y + at, at, n)) {
            exact(d, c, g, acts, pitch, y + at);
            computed += n;
        } else {
            for (size_t i = 0; i < n; i++) y[at + i] = -INFINITY;
        }
    }
    return computed;
}

void bk_cpu_screen(bk_cpu_device *d, const bk_cmd *c, const void *acts, size_t pitch, void *shared,
                   int thread) {
    const bk_packed *w = &c->product.w[0]->packed;
    size_t units = bk_div_up(w->n_groups, GROUPS), computed = 0;
    best *all = shared;
    reach reaches[BK_SCREEN_ROWS];
    for (size_t i; (i = bk_pool_next(d->pool)) < c->rows * BK_CPU_SCREEN_PARTS;)
        all[i] = find_best(c->product.out[0] + i / BK_CPU_SCREEN_PARTS * c->product.ldo[0],
                           w->n_rows, i % BK_CPU_SCREEN_PARTS);
    bk_cpu_meet(d, thread);
    for (size_t r = 0; r < c->rows; r++) {
        const char *act = (const char *)acts + r * pitch;
        bk_act x = bk_act_view((char *)(uintptr_t)act, w->k); /* which only reads here */
        measure(&x, w->k, c->product.screen->factor, &reaches[r]);
        reaches[r].floor = floor_of(d, c, all, r, act, pitch);
    }
    for (size_t i; (i = bk_pool_next(d->pool)) < units * c->rows;) {
        size_t r = i / units, first = i % units * GROUPS;
        computed += settle(d, c, first, bk_min_size(first + GROUPS, w->n_groups), &reaches[r],
                           (const char *)acts + r * pitch, pitch,
                           c->product.out[0] + r * c->product.ldo[0]);
    }
    __atomic_fetch_add(&c->product.screen->computed, computed, __ATOMIC_RELAXED);
}
