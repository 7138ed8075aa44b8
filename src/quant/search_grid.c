#include "quant/search_grid.h"

#include <math.h>
#include <pthread.h>
#include <string.h>

enum { HALVES = 81, MOST_ENTRIES = 2048, EIGHTS = 4, MOST_GROUPS = 16 };

/* ---- Grids in halves ----------------------------------------------------------------------------- */

/* A half of an entry is a number of 4 digits base 3, or of 2 digits base 8, its first weight the
 * highest. Entries are listed by their first half. */
typedef struct halves {
    uint16_t first[HALVES + 1]; /* entries of first half a: [first[a], first[a + 1]) */
    uint16_t place[MOST_ENTRIES];
    uint8_t second[MOST_ENTRIES];
    uint8_t of_place[2][MOST_ENTRIES]; /* both halves of the entry at a place */
    uint16_t at[HALVES][HALVES]; /* place + 1 of the entry with these halves; 0: there is none */
} halves;

typedef struct grid {
    const uint16_t *entries;
    size_t n;
    unsigned base; /* digits: 3 or 8 */
} grid;

static const grid grids[BK_GRIDS] = {
    [BK_GRID_IQ1] = {bk_iq1_grid, 2048, 3},        [BK_GRID_IQ2_XXS] = {bk_iq2_xxs_grid, 256, 3},
    [BK_GRID_IQ2_XS] = {bk_iq2_xs_grid, 512, 3},   [BK_GRID_IQ2_S] = {bk_iq2_s_grid, 1024, 3},
    [BK_GRID_IQ3_XXS] = {bk_iq3_xxs_grid, 256, 8}, [BK_GRID_IQ3_S] = {bk_iq3_s_grid, 512, 8},
};
static halves all_halves[BK_GRIDS];
static pthread_once_t halves_once = PTHREAD_ONCE_INIT;

/* Weights in a half. */
static size_t n_digits(unsigned base) { return base == 3 ? 4 : 2; }

static uint8_t half_of(unsigned byte, unsigned base) {
    unsigned width = base == 3 ? 2 : 4, half = 0;
    for (size_t i = 0; i < n_digits(base); i++)
        half = half * base + (byte >> i * width & ((1u << width) - 1));
    return (uint8_t)half;
}

static void list_halves(const grid *g, halves *out) {
    for (size_t i = 0; i < g->n; i++) {
        out->of_place[0][i] = half_of(g->entries[i] & 255, g->base);
        out->of_place[1][i] = half_of(g->entries[i] >> 8, g->base);
        out->first[out->of_place[0][i] + 1]++;
    }
    for (size_t a = 0; a < HALVES; a++)
        out->first[a + 1] = (uint16_t)(out->first[a + 1] + out->first[a]);
    uint16_t next[HALVES];
    memcpy(next, out->first, sizeof next);
    for (size_t i = 0; i < g->n; i++) {
        uint16_t at = next[out->of_place[0][i]]++;
        out->place[at] = (uint16_t)i;
        out->second[at] = out->of_place[1][i];
        out->at[out->of_place[0][i]][out->of_place[1][i]] = (uint16_t)(i + 1);
    }
}

static void list_all(void) {
    for (size_t i = 0; i < BK_GRIDS; i++) list_halves(&grids[i], &all_halves[i]);
}

/* ---- One entry ----------------------------------------------------------------------------------- */

/* What one weight loses as each value, [0] with its own sign, [1] with the wrong one. */
typedef struct weight_losses {
    float of[2][8];
} weight_losses;

static inline void weigh(const float *values, unsigned base, float x, float h, weight_losses *out) {
    for (unsigned v = 0; v < base; v++) {
        float a = x - values[v], b = x + values[v];
        out->of[0][v] = h * a * a;
        out->of[1][v] = h * b * b;
    }
}

/* What the patterns of half an entry lose, [0] without a wrong sign, [1] with the cheapest one, as sums
 * of a quarter of the entry each: pattern a * n + b is u[a] and v[b]. */
typedef struct losses {
    size_t n; /* 9 or 8 patterns of a quarter */
    float u[2][9], v[2][9];
    float least_u[2], least_v[2];
    uint8_t best_u, best_v; /* of [0] */
} losses;

static inline float smaller(float a, float b) { return a < b ? a : b; }

/* Row a of a half's patterns. */
static inline void half_row(const losses *l, size_t a, bool wrong, float *restrict out) {
    if (!wrong)
        for (size_t b = 0; b < l->n; b++) out[b] = l->u[0][a] + l->v[0][b];
    else
        for (size_t b = 0; b < l->n; b++)
            out[b] = smaller(l->u[1][a] + l->v[0][b], l->u[0][a] + l->v[1][b]);
}

/* A quarter from its weights: one of 8 values, or two of 3. Gives the best pattern. */
static uint8_t quarter(const weight_losses *w, unsigned base, bool wrong, float out[2][9],
                       float least[2]) {
    const float(*u)[8] = w[0].of, (*v)[8] = w[1].of;
    size_t n = base == 8 ? 8 : 9;
    uint8_t best = 0;
    if (base == 8) {
        memcpy(out[0], u[0], sizeof u[0]);
        memcpy(out[1], u[1], sizeof u[1]);
    } else {
        for (size_t i = 0; i < 9; i++) out[0][i] = u[0][i / 3] + v[0][i % 3];
        for (size_t i = 0; wrong && i < 9; i++)
            out[1][i] = smaller(u[1][i / 3] + v[0][i % 3], u[0][i / 3] + v[1][i % 3]);
    }
    for (size_t i = 1; i < n; i++) best = out[0][i] < out[0][best] ? (uint8_t)i : best;
    least[0] = out[0][best];
    least[1] = out[1][0];
    for (size_t i = 1; wrong && i < n; i++) least[1] = smaller(least[1], out[1][i]);
    return best;
}

static float least_half(const losses *l, bool wrong) {
    return wrong ? smaller(l->least_u[1] + l->least_v[0], l->least_u[0] + l->least_v[1])
                 : l->least_u[0] + l->least_v[0];
}

/* An entry of the grid in place of 8 or 4 weights. */
typedef struct entry {
    float loss;
    uint16_t place;
    int wrong; /* the weight with the wrong sign; -1: none */
} entry;

/* The entry that loses less than `best` and least; true when there is one. wrong: of the first half;
 * second[] and rest, the least of it, are as its own wrong sign has it. */
static bool least_entry(const halves *g, const losses *first, bool wrong, const float *second,
                        float rest, entry *best) {
    bool found = false;
    float least = best->loss;
    for (size_t u = 0; u < first->n; u++) {
        float row[9], bound = first->u[0][u] + first->least_v[0];
        if (wrong)
            bound = smaller(first->u[1][u] + first->least_v[0], first->u[0][u] + first->least_v[1]);
        if (bound + rest >= least) continue;
        half_row(first, u, wrong, row);
        for (size_t v = 0; v < first->n; v++) {
            if (row[v] + rest >= least) continue;
            size_t a = u * first->n + v, end = g->first[a + 1];
            for (size_t i = g->first[a]; i < end; i++) {
                float loss = row[v] + second[g->second[i]];
                if (loss >= least) continue;
                least = loss;
                best->place = g->place[i];
                found = true;
            }
        }
    }
    best->loss = least;
    return found;
}

/* Which weight of the entry's half takes the wrong sign at the least cost; its digits are those of
 * `pattern`, the last one first. */
static int cheapest(unsigned base, const weight_losses *w, int half, unsigned pattern) {
    int n = (int)n_digits(base), best = 0;
    float least = INFINITY;
    for (int i = n - 1; i >= 0; i--, pattern /= base) {
        const weight_losses *l = &w[half * n + i];
        float cost = l->of[1][pattern % base] - l->of[0][pattern % base];
        if (cost < least) least = cost, best = i;
    }
    return half * n + best;
}

/* Entries without a wrong sign; `best` has a place to begin at. */
static void find_right(const halves *g, const losses l[2], const float *second, entry *best) {
    size_t n = l[0].n, a = g->of_place[0][best->place];
    float row[9];
    half_row(&l[0], a / n, false, row);
    best->loss = row[a % n] + second[g->of_place[1][best->place]];
    least_entry(g, &l[0], false, second, least_half(&l[1], false), best);
}

/* With one; gives the half that it is in. That sign in an entry found without is a good bound. */
static int find_wrong(const halves *g, const losses l[2], float second[2][HALVES], entry *best) {
    size_t n = l[0].n, a = g->of_place[0][best->place], b = g->of_place[1][best->place];
    float row[2][9];
    int half = 0;
    for (size_t k = 0; k < 2; k++) half_row(&l[0], a / n, k, row[k]);
    best->loss = row[1][a % n] + second[0][b];
    if (row[0][a % n] + second[1][b] < best->loss) {
        best->loss = row[0][a % n] + second[1][b];
        half = 1;
    }
    if (least_entry(g, &l[0], true, second[0], least_half(&l[1], false), best)) half = 0;
    if (least_entry(g, &l[0], false, second[1], least_half(&l[1], true), best)) half = 1;
    return half;
}

/* out[0]: without a wrong sign; out[1], where `wrong`, with one. out->place is a place to begin at. */
static void find_entry(unsigned base, const halves *g, const weight_losses *w, bool wrong,
                       entry out[2]) {
    losses l[2];
    float second[2][HALVES];
    size_t n = base == 8 ? 8 : 9, quarters = n_digits(base) / 2, best[2];
    for (size_t half = 0; half < 2; half++) {
        const weight_losses *from = w + half * n_digits(base);
        l[half].n = n;
        l[half].best_u = quarter(from, base, wrong, l[half].u, l[half].least_u);
        l[half].best_v = quarter(from + quarters, base, wrong, l[half].v, l[half].least_v);
        best[half] = l[half].best_u * n + l[half].best_v;
    }
    unsigned at = g->at[best[0]][best[1]];
    for (size_t k = at && !wrong; k < 1 + (size_t)wrong; k++)
        for (size_t a = 0; a < n; a++) half_row(&l[1], a, k, second[k] + a * n);
    out[0].wrong = -1;
    if (at)
        out[0] =
            (entry){least_half(&l[0], false) + least_half(&l[1], false), (uint16_t)(at - 1), -1};
    else
        find_right(g, l, second[0], &out[0]);
    if (!wrong) return;
    out[1] = out[0];
    int half = find_wrong(g, l, second, &out[1]);
    out[1].wrong = cheapest(base, w, half, g->of_place[half][out[1].place]);
}

/* ---- One group ----------------------------------------------------------------------------------- */

/* What 8 weights become at one scale. */
typedef struct eight {
    float loss;
    uint16_t place[2];
    uint8_t signs;
} eight;

typedef struct choice {
    float loss;
    float xq, qq; /* sum h x q, sum h q^2, q in units of the scale */
    eight e[EIGHTS];
} choice;

typedef struct searcher {
    const bk_grid_format *f;
    const grid *grid;
    const halves *halves;
    bool signed_entries; /* IQ1 */
    const float *x, *h;  /* of a block, the largest x 1 */
} searcher;

/* 8 weights at a scale, with the first or the second 8 values of the codebook; out->place is where to
 * begin. */
static void choose_eight(const searcher *s, const float *x, const float *h, float scale,
                         unsigned shift, eight *out) {
    unsigned base = s->grid->base, minus = 0, odd = 0;
    float values[8];
    weight_losses w[8];
    for (unsigned v = 0; v < base; v++) values[v] = scale * (float)s->f->codebook[v + 8 * shift];
    for (size_t i = 0; i < 8; i++) {
        bool negative = !s->signed_entries && x[i] < 0;
        minus |= (unsigned)negative << i;
        odd ^= negative;
        weigh(values, base, negative ? -x[i] : x[i], h[i], &w[i]);
    }
    bool wrong = s->f->signs == BK_SIGNS_EVEN && odd;
    size_t n = base == 3 ? 1 : 2, len = 8 / n, flip = 0;
    entry e[2][2] = {{{0}}};
    for (size_t k = 0; k < n; k++) {
        e[k][0].place = out->place[k];
        find_entry(base, s->halves, w + k * len, wrong, e[k]);
    }
    if (wrong && n == 2) flip = e[1][1].loss - e[1][0].loss < e[0][1].loss - e[0][0].loss;
    out->loss = 0;
    for (size_t k = 0; k < n; k++) {
        const entry *best = &e[k][wrong && k == flip];
        out->loss += best->loss;
        out->place[k] = best->place;
        if (best->wrong >= 0) minus ^= 1u << (k * len + (size_t)best->wrong);
    }
    out->signs = (uint8_t)(s->signed_entries ? shift : minus);
}

/* The sums that the best scale of a choice follows from. */
static void sum_up(const searcher *s, const float *x, const float *h, choice *c) {
    c->xq = c->qq = 0;
    for (size_t i = 0; i < s->f->group; i++) {
        const eight *e = &c->e[i / 8];
        unsigned code = s->grid->base == 3
                            ? s->grid->entries[e->place[0]] >> i % 8 * 2 & 3u
                            : s->grid->entries[e->place[i % 8 / 4]] >> i % 4 * 4 & 15u;
        unsigned sign = s->signed_entries ? e->signs : e->signs >> i % 8 & 1u;
        float q = s->f->codebook[code | sign << 3];
        c->xq += h[i] * x[i] * q;
        c->qq += h[i] * q * q;
    }
}

/* The best for a group's weights at a scale; out is where to begin. */
static void choose(const searcher *s, size_t group, float scale, choice *out) {
    const float *x = s->x + group * s->f->group, *h = s->h + group * s->f->group;
    size_t n = s->f->group / 8;
    out->loss = 0;
    if (s->signed_entries) {
        choice shifted[2] = {*out, *out};
        float sum[2] = {0, 0};
        for (unsigned k = 0; k < 2; k++) {
            for (size_t i = 0; i < n; i++) {
                choose_eight(s, x + 8 * i, h + 8 * i, scale, k, &shifted[k].e[i]);
                sum[k] += shifted[k].e[i].loss;
            }
        }
        for (size_t i = 0; i < n; i++) {
            bool second = s->f->signs == BK_SHIFT_GROUP
                              ? sum[1] < sum[0]
                              : shifted[1].e[i].loss < shifted[0].e[i].loss;
            out->e[i] = shifted[second].e[i];
        }
    } else {
        for (size_t i = 0; i < n; i++) choose_eight(s, x + 8 * i, h + 8 * i, scale, 0, &out->e[i]);
    }
    for (size_t i = 0; i < n; i++) out->loss += out->e[i].loss;
    sum_up(s, x, h, out);
}

/* What a choice loses at the scale that suits it best; all: what it loses at scale 0. */
static float least_loss(const choice *c, float all) {
    return c->xq > 0 ? all - c->xq * c->xq / c->qq : all;
}

/* Scales that are tried, from the one at which the largest weight is a little less than the largest
 * value down. Half as many lose up to 1 % more, three times as many save 0.2 %. */
static const float TRY_FIRST = 1.1F, TRY_STEP = 0.84F, TRY_LAST = 0.38F;

/* The range of scales, given the largest weight and the mean magnitude. Weights of almost one magnitude
 * suit small values as well, which the grids of IQ2 and IQ3 have without any zero. */
static void scale_range(const searcher *s, float most, float mean, float *first, float *last) {
    const int8_t *codebook = s->f->codebook;
    float low = codebook[0], high = codebook[s->grid->base - 1];
    *last = most / high * TRY_LAST;
    *first = most / (most < 2 * mean && !s->signed_entries ? low : high) * TRY_FIRST;
}

static bool take_better(const choice *c, float all, float *scale, choice *best) {
    float loss = least_loss(c, all);
    if (loss >= best->loss) return false;
    *best = *c;
    best->loss = loss;
    *scale = c->xq > 0 ? c->xq / c->qq : 0;
    return true;
}

/* A scale found by trying some, and by least squares from the best of them. */
static float group_scale(const searcher *s, size_t group, choice *best) {
    const float *x = s->x + group * s->f->group, *h = s->h + group * s->f->group;
    float most = 0, mean = 0, all = 0, found = 0, scale, last;
    for (size_t i = 0; i < s->f->group; i++) {
        most = fmaxf(most, fabsf(x[i]));
        mean += fabsf(x[i]) / (float)s->f->group;
        all += h[i] * x[i] * x[i];
    }
    choice c = {0};
    *best = c;
    if (!(most > 1e-12F)) return 0;
    best->loss = INFINITY;
    scale_range(s, most, mean, &scale, &last);
    for (; scale > last; scale *= TRY_STEP) {
        choose(s, group, scale, &c);
        take_better(&c, all, &found, best);
    }
    c = *best;
    choose(s, group, found, &c);
    take_better(&c, all, &found, best);
    return found;
}

/* ---- One block ----------------------------------------------------------------------------------- */

typedef struct block_state {
    size_t n; /* groups */
    float wanted[MOST_GROUPS];
    int scale[MOST_GROUPS];
    choice c[MOST_GROUPS];
} block_state;

/* The scale number whose scale is nearest. */
static int nearest_scale(float wanted, float unit, int scales) {
    float l = 0.5F * (wanted / unit - 1);
    return l > 0 ? l < (float)(scales - 1) ? (int)(l + 0.5F) : scales - 1 : 0;
}

/* The unit of which the groups' scales are odd multiples with the least loss, by what they lose near
 * their best (a parabola as wide as their choices say). */
static float common_unit(const block_state *b, int scales) {
    float most = 0, best = INFINITY, found = 0;
    for (size_t g = 0; g < b->n; g++) most = fmaxf(most, b->wanted[g]);
    float unit = most / (float)(2 * scales - 1) * 0.85F;
    for (int i = 0; i < 64; i++, unit *= 1.02F) {
        float loss = 0;
        for (size_t g = 0; g < b->n; g++) {
            int l = nearest_scale(b->wanted[g], unit, scales);
            float off = unit * (float)(2 * l + 1) - b->wanted[g];
            loss += b->c[g].qq * off * off;
        }
        if (loss < best) best = loss, found = unit;
    }
    return found;
}

/* The unit that suits all choices best. */
static float fit_unit(const block_state *b) {
    double xq = 0, qq = 0;
    for (size_t g = 0; g < b->n; g++) {
        double k = 2 * b->scale[g] + 1;
        xq += k * b->c[g].xq;
        qq += k * k * b->c[g].qq;
    }
    return qq > 0 && xq > 0 ? (float)(xq / qq) : 0;
}

/* What the groups choose with scales that are odd multiples of a unit, each the best of those from
 * `near` - reach to `near` + reach, and what all lose. */
static float choose_scales(const searcher *s, float unit, const int *near, int reach,
                           block_state *b) {
    float sum = 0;
    for (size_t g = 0; g < b->n; g++) {
        choice best = {.loss = INFINITY};
        for (int l = near[g] - reach; l <= near[g] + reach; l++) {
            if (l < 0 || l >= s->f->scales) continue;
            choice c = b->c[g];
            choose(s, g, unit * (float)(2 * l + 1), &c);
            if (c.loss >= best.loss) continue;
            best = c;
            b->scale[g] = l;
        }
        b->c[g] = best;
        sum += best.loss;
    }
    return sum;
}

static void put_out(const bk_grid_format *f, const block_state *b, bk_grid_block *out) {
    size_t n = f->group / 8, per = grids[f->grid].base == 3 ? 1 : 2;
    for (size_t g = 0; g < b->n; g++) {
        out->scale[g] = (uint8_t)b->scale[g];
        for (size_t i = 0; i < n; i++) {
            const eight *e = &b->c[g].e[i];
            out->signs[g * n + i] = e->signs;
            for (size_t k = 0; k < per; k++) out->place[(g * n + i) * per + k] = e->place[k];
        }
    }
}

/* From groups that know which scale they want to a block. */
static void search_block(const searcher *s, block_state *b, float most, bk_grid_block *out) {
    int near[MOST_GROUPS];
    float unit = common_unit(b, s->f->scales), best = INFINITY;
    for (int round = 0; round < 2; round++) {
        /* What the file can hold; weights are x times `most`. */
        uint8_t d[2];
        unit = bk_store_half(d, unit * most / s->f->unit) * s->f->unit / most;
        if (!(unit > 0)) return;
        for (size_t g = 0; g < b->n; g++)
            near[g] = round ? b->scale[g] : nearest_scale(b->wanted[g], unit, s->f->scales);
        float loss = choose_scales(s, unit, near, 1 - round, b);
        if (loss < best) {
            best = loss;
            put_out(s->f, b, out);
            memcpy(out->d, d, sizeof d);
        }
        unit = fit_unit(b);
    }
}

void bk_grid_search(const bk_grid_format *f, const float *w, const float *h, bk_grid_block *out) {
    pthread_once(&halves_once, list_all);
    memset(out, 0, sizeof *out);
    float x[BK_SEARCH_BLOCK], alike[BK_SEARCH_BLOCK], most = fabsf(bk_furthest(w, BK_SEARCH_BLOCK));
    for (size_t i = 0; i < BK_SEARCH_BLOCK; i++) {
        x[i] = most > 0 ? w[i] / most : 0;
        alike[i] = 1;
    }
    searcher s = {.f = f,
                  .grid = &grids[f->grid],
                  .halves = &all_halves[f->grid],
                  .signed_entries = f->signs == BK_SHIFT_GROUP || f->signs == BK_SHIFT_EIGHT,
                  .x = x,
                  .h = h ? h : alike};
    block_state b = {.n = BK_SEARCH_BLOCK / f->group};
    for (size_t g = 0; g < b.n; g++) b.wanted[g] = group_scale(&s, g, &b.c[g]);
    search_block(&s, &b, most, out);
}
