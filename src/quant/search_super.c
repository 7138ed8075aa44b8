/* Blocks of 256 weights: first the best scale (and offset) of each group by itself, then the halves that
 * hold them with whole numbers, then for every group the numbers around those, and the halves anew by
 * least squares: sums over groups where each was a sum over weights. */
#include <math.h>

#include "quant/formats.h"
#include "quant/search_lanes.h"

static size_t group_len(const bk_super_form *form) { return BK_SEARCH_BLOCK / form->groups; }

static float as_half(float v) {
    uint8_t bits[2];
    return bk_store_half(bits, v);
}

/* A unit for numbers: not 0 where a half can help it. */
static float as_unit(float v) {
    const float least = 0x1p-24F;
    float unit = as_half(v);
    return unit != 0 || v == 0 ? unit : v < 0 ? -least : least;
}

static float ratio(float v, float unit) { return unit != 0 ? v / unit : 0; }

static float whole_between(float v, float low, float high) {
    return floorf(between(v, low, high) + 0.5F);
}

static void fill_levels(const bk_super_form *form, const float *w, bk_super *s) {
    size_t n = group_len(form);
    for (size_t g = 0; g < form->groups; g++)
        bk_nearest_levels(&form->levels, s->d * (float)s->scale[g], -s->m * (float)s->min[g],
                          w + g * n, n, s->q + g * n);
}

/* The halves with which the groups' scales d and offsets -m become whole numbers in range. */
static void set_units(const bk_super_form *form, const float *d, const float *m, bk_super *s) {
    float furthest = 0, deepest = 0, reach = form->scale_high;
    for (size_t g = 0; g < form->groups; g++) {
        if (fabsf(d[g]) > fabsf(furthest)) furthest = d[g];
        if (m[g] > deepest) deepest = m[g];
    }
    if (form->scale_low < -reach) reach = form->scale_low;
    s->d = as_unit(furthest / reach);
    s->m = form->min_high > 0 ? as_unit(deepest / form->min_high) : 0;
}

static void set_numbers(const bk_super_form *form, const float *d, const float *m, bk_super *s) {
    for (size_t g = 0; g < form->groups; g++) {
        s->scale[g] = (int8_t)whole_between(ratio(d[g], s->d), form->scale_low, form->scale_high);
        s->min[g] = (uint8_t)whole_between(ratio(m[g], s->m), 0, form->min_high);
    }
}

/* ---- Plain -------------------------------------------------------------------------------------- */

/* The value of the largest magnitude is the outermost level; with minima the levels reach from the
 * smallest value or 0 to the largest. */
static void plain_group(const bk_super_form *form, const float *w, float *d, float *m) {
    float min = 0, max = 0, low = form->levels.low, high = form->levels.high;
    for (size_t i = 0; i < group_len(form); i++) {
        min = w[i] < min ? w[i] : min;
        max = w[i] > max ? w[i] : max;
    }
    *m = 0;
    if (form->min_high > 0) {
        *m = -min;
        *d = (max - min) / high;
    } else {
        *d = (max > -min ? max : min) / (-low > high ? low : high);
    }
}

void bk_super_plain(const bk_super_form *form, const float *w, bk_super *out) {
    float d[16], m[16];
    for (size_t g = 0; g < form->groups; g++)
        plain_group(form, w + g * group_len(form), &d[g], &m[g]);
    set_units(form, d, m, out);
    set_numbers(form, d, m, out);
    fill_levels(form, w, out);
}

/* ---- Search ------------------------------------------------------------------------------------- */

typedef struct block {
    const bk_super_form *form;
    const float *w, *h;
    float d[16], m[16]; /* what each group would have by itself; m is minus the offset */
} block;

static void best_groups(block *b) {
    size_t n = group_len(b->form);
    for (size_t g = 0; g < b->form->groups; g++) {
        const float *w = b->w + g * n, *h = b->h + g * n;
        b->m[g] = 0;
        if (b->form->min_high > 0) {
            bk_search_line(b->form->levels.high, true, w, h, n, &b->d[g], &b->m[g]);
            b->m[g] = -b->m[g];
        } else {
            b->d[g] = bk_search_scale(&b->form->levels, w, h, n);
        }
    }
}

/* Units that just reach and somewhat smaller ones, which are finer for the groups that need less. */
static void try_units(const block *b, bk_super *s) {
    const bk_super_form *form = b->form;
    bool minima = form->min_high > 0;
    float d[LANES], m[LANES], dg[LANES], mg[LANES], loss[LANES], total[LANES] = {0};
    size_t n = group_len(form), best = 0;
    for (size_t l = 0; l < LANES; l++) {
        d[l] = as_unit(s->d * (minima ? 1 - 0.06F * (float)(l % 4) : 1 - 0.02F * (float)l));
        m[l] = as_unit(s->m * (1 - 0.06F * (float)(l / 4)));
    }
    for (size_t g = 0; g < form->groups; g++) {
        for (size_t l = 0; l < LANES; l++) {
            dg[l] = d[l] * whole_between(ratio(b->d[g], d[l]), form->scale_low, form->scale_high);
            mg[l] = -m[l] * whole_between(ratio(b->m[g], m[l]), 0, form->min_high);
        }
        loss_lanes(&form->levels, b->w + g * n, b->h + g * n, n, dg, mg, loss);
        for (size_t l = 0; l < LANES; l++) total[l] += loss[l];
    }
    for (size_t l = 1; l < LANES; l++)
        if (total[l] < total[best]) best = l;
    s->d = d[best];
    s->m = m[best];
}

/* The numbers of a group around those nearest to what it would have; gives what it loses. */
static float try_numbers(const block *b, size_t g, bk_super *s) {
    const bk_super_form *form = b->form;
    size_t n = group_len(form), best = 0;
    bool minima = form->min_high > 0;
    float scale[LANES], min[LANES], d[LANES], m[LANES], loss[LANES];
    float at = whole_between(ratio(b->d[g], s->d), form->scale_low, form->scale_high);
    float below = whole_between(ratio(b->m[g], s->m), 0, form->min_high);
    for (int l = 0; l < LANES; l++) {
        scale[l] = at + (float)(minima ? l % 4 - 1 : l - LANES / 2);
        scale[l] = between(scale[l], form->scale_low, form->scale_high);
        min[l] = between(below + (float)(l / 4 - 1), 0, form->min_high);
        d[l] = s->d * scale[l];
        m[l] = -s->m * min[l];
    }
    loss_lanes(&form->levels, b->w + g * n, b->h + g * n, n, d, m, loss);
    for (size_t l = 1; l < LANES; l++)
        if (loss[l] < loss[best]) best = l;
    s->scale[g] = (int8_t)scale[best];
    s->min[g] = (uint8_t)min[best];
    return loss[best];
}

/* The two halves that lose least with the numbers as they are. */
static void fit_units(const block *b, bk_super *s) {
    const bk_super_form *form = b->form;
    size_t n = group_len(form);
    double aa = 0, ab = 0, bb = 0, wa = 0, wb = 0;
    fill_levels(form, b->w, s);
    for (size_t i = 0; i < BK_SEARCH_BLOCK; i++) {
        float level = form->levels.codebook ? (float)form->levels.codebook[s->q[i]]
                                            : (float)s->q[i] + form->levels.low;
        double u = (double)s->scale[i / n] * level, v = -(double)s->min[i / n];
        double hu = b->h[i] * u, hv = b->h[i] * v;
        aa += hu * u;
        ab += hu * v;
        bb += hv * v;
        wa += hu * b->w[i];
        wb += hv * b->w[i];
    }
    double det = aa * bb - ab * ab, d = aa > 0 ? wa / aa : 0, m = 0;
    if (bb > 0 && det > 1e-9 * aa * bb) {
        m = (wb * aa - wa * ab) / det;
        if (m > 0) d = (wa * bb - wb * ab) / det;
        m = m < 0 ? 0 : m;
    }
    s->d = as_half((float)d);
    s->m = as_half((float)m);
}

enum { FITS = 2 };

void bk_super_search(const bk_super_form *form, const float *w, const float *h, bk_super *out) {
    block b = {.form = form, .w = w, .h = h};
    best_groups(&b);
    bk_super s = {.d = 0};
    set_units(form, b.d, b.m, &s);
    try_units(&b, &s);
    float least = INFINITY;
    for (int fit = 0; fit <= FITS; fit++) {
        if (fit > 0) fit_units(&b, &s);
        float loss = 0;
        for (size_t g = 0; g < form->groups; g++) loss += try_numbers(&b, g, &s);
        if (fit == 0 || loss < least) {
            *out = s;
            least = loss;
        }
    }
    fill_levels(form, w, out);
}
