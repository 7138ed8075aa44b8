#include "engine/plan.h"

#include <math.h>

enum { QUANTUM = 32, OLDEST_EVERY = 4, MOST_MIXED = 10 };

/* Of the speed of answers, kept while prompts are computed. What is promised is a quarter; the rest is
 * for what steps take beside the pass. */
#define DECODE_SHARE 0.3
#define LEARN_RATE 0.2 /* weight of the newest step in the running means */

/* ---- Cost ------------------------------------------------------------------------------------- */

/* The sum of min(p, window) for p in [begin, begin + n). */
static double positions(size_t window, size_t begin, size_t n) {
    double b = (double)begin, e = b + (double)n, w = window ? (double)window : e;
    double flat = e > w ? e - fmax(b, w) : 0; /* rows that see a whole window */
    double end = e - flat;
    return flat * w + (end > b ? (end - b) * (b + end - 1) / 2 : 0);
}

double bk_work_rows(const bk_work *w, size_t begin, size_t n) {
    double sum = (double)n;
    for (int g = 0; g < 2; g++)
        if (w->attention[g] > 0) sum += w->attention[g] * positions(w->window[g], begin, n);
    return sum;
}

void bk_cost_learn(bk_cost *c, bool has_prefill, double units, double ms) {
    struct bk_cost_mean *m = has_prefill ? &c->prefill : &c->decode;
    /* A step that others on the machine held up for long says nothing about the next. */
    double expected = bk_cost_ms(c, units);
    if (m->known && expected > 0) {
        ms = fmin(ms, 2 * expected);
        if (has_prefill) c->spread += LEARN_RATE * (fabs(ms / expected - 1) - c->spread);
    }
    double rate = m->known ? LEARN_RATE : 1.0;
    m->units += rate * (units - m->units);
    m->ms += rate * (ms - m->ms);
    m->known = true;
}

/* Fixed part and slope. Without steps of both kinds, or when their means lie too close to give a
 * slope, work is taken to be proportional to units. */
static void line(const bk_cost *c, double *fixed, double *slope) {
    const struct bk_cost_mean *d = &c->decode, *p = &c->prefill;
    *fixed = *slope = 0;
    if (p->known && d->known && p->units > 1.5 * d->units && p->ms > d->ms) {
        *slope = (p->ms - d->ms) / (p->units - d->units);
        *fixed = d->ms - *slope * d->units;
        if (*fixed >= 0) return;
    }
    const struct bk_cost_mean *m = p->known ? p : d;
    *fixed = 0;
    if (m->known) *slope = m->ms / fmax(m->units, 1e-9);
}

double bk_cost_slope(const bk_cost *c) {
    double fixed, slope;
    line(c, &fixed, &slope);
    return slope;
}

double bk_cost_ms(const bk_cost *c, double units) {
    double fixed, slope;
    line(c, &fixed, &slope);
    return fixed + slope * units;
}

double bk_cost_units(const bk_cost *c, double ms) {
    double fixed, slope;
    line(c, &fixed, &slope);
    return slope > 0 ? fmax(0, (ms - fixed) / slope) : INFINITY;
}

double bk_cost_safe(const bk_cost *c, double ms) {
    return ms / fmin(fmax(1 + 3 * c->spread, 1.05), 1.5);
}

/* ---- Pace ------------------------------------------------------------------------------------- */

void bk_pace_step(bk_pace *p, bool had_prefill, double ms, double decode_ms) {
    if (decode_ms <= 0) return;
    p->owed += had_prefill ? DECODE_SHARE * ms / decode_ms - 1.0 : DECODE_SHARE - 1.0;
    p->owed = fmin(fmax(p->owed, 0.0), 8.0);
    p->mixed = had_prefill ? p->mixed + 1 : 0;
}

bool bk_pace_wants_decode(const bk_pace *p) { return p->owed >= 1.0 || p->mixed >= MOST_MIXED; }

double bk_pace_ms(double decode_ms) { return decode_ms / DECODE_SHARE; }

/* ---- Shares ----------------------------------------------------------------------------------- */

static double left_ms(const bk_work *w, double ms_per_unit, const bk_claim *c) {
    return bk_work_rows(w, c->begin + c->granted, c->left - c->granted) * ms_per_unit + 1.0;
}

/* Waiting time and own time over own time: short prompts lead, and every wait tells. */
static double ratio(const bk_work *w, double ms_per_unit, const bk_claim *c) {
    return 1.0 + c->waited_ms / left_ms(w, ms_per_unit, c);
}

/* Among one tenant's prompts in a step: the one that is done soonest. */
static bool shorter(const bk_work *w, const bk_claim *a, const bk_claim *b) {
    double la = left_ms(w, 1, a), lb = left_ms(w, 1, b);
    return la != lb ? la < lb : a->arrival < b->arrival;
}

bool bk_claim_before(const bk_work *w, double ms_per_unit, const bk_claim *a, const bk_claim *b) {
    if (a->priority != b->priority) return a->priority > b->priority;
    double ra = left_ms(w, ms_per_unit, a), rb = left_ms(w, ms_per_unit, b);
    double qa = ratio(w, ms_per_unit, a), qb = ratio(w, ms_per_unit, b);
    if (qa != qb) return qa > qb;
    if (ra != rb) return ra < rb;
    return a->arrival < b->arrival;
}

static struct bk_share *share_of(bk_shares *s, uint64_t tenant) {
    for (size_t i = 0; i < s->n; i++)
        if (s->of[i].tenant == tenant) return &s->of[i];
    return NULL;
}

/* Keeps the tenants that have claims, and takes in new ones, who start level with the least served:
 * nobody saves up a right to the machine while away. */
static void update_tenants(bk_shares *s, const bk_claim *claims, size_t n) {
    for (size_t i = 0; i < s->n; i++) s->of[i].live = false;
    for (size_t i = 0; i < n; i++) {
        struct bk_share *t = share_of(s, claims[i].tenant);
        if (t) t->live = true;
    }
    size_t kept = 0;
    double least = INFINITY;
    for (size_t i = 0; i < s->n; i++) {
        if (!s->of[i].live) continue;
        s->of[kept] = s->of[i];
        least = fmin(least, s->of[kept++].served);
    }
    s->n = kept;
    for (size_t i = 0; i < n; i++)
        if (!share_of(s, claims[i].tenant))
            s->of[s->n++] =
                (struct bk_share){.tenant = claims[i].tenant, .served = kept ? least : 0};
}

static bool open_claim(const bk_claim *c, int priority) {
    return c->priority == priority && c->granted < c->left;
}

/* The tenant that has had least among those with an open claim of this priority. */
static struct bk_share *next_tenant(bk_shares *s, const bk_claim *claims, size_t n, int priority) {
    struct bk_share *best = NULL;
    for (size_t i = 0; i < n; i++) {
        if (!open_claim(&claims[i], priority)) continue;
        struct bk_share *t = share_of(s, claims[i].tenant);
        if (!best || t->served < best->served) best = t;
    }
    return best;
}

static bk_claim *next_claim(const bk_work *w, bk_claim *claims, size_t n, int priority,
                            struct bk_share *t) {
    bool oldest = ++t->turns % OLDEST_EVERY == 0;
    bk_claim *best = NULL;
    for (size_t i = 0; i < n; i++) {
        bk_claim *c = &claims[i];
        if (!open_claim(c, priority) || c->tenant != t->tenant) continue;
        bool before = best && (oldest ? c->arrival < best->arrival : shorter(w, c, best));
        if (!best || before) best = c;
    }
    return best;
}

/* The highest priority with something left to do. */
static bool top_priority(const bk_claim *claims, size_t n, int *priority) {
    bool any = false;
    for (size_t i = 0; i < n; i++) {
        if (claims[i].granted == claims[i].left || (any && claims[i].priority <= *priority))
            continue;
        *priority = claims[i].priority;
        any = true;
    }
    return any;
}

/* How many rows of a claim, at most `most`, fit into `units`. */
static size_t rows_that_fit(const bk_work *w, const bk_claim *c, double units, size_t most) {
    size_t at = c->begin + c->granted;
    if (bk_work_rows(w, at, most) <= units) return most;
    double each = bk_work_rows(w, at, 1);
    return bk_min_size(most, (size_t)fmax(0, units / each));
}

void bk_shares_grant(bk_shares *s, const bk_work *w, bk_claim *claims, size_t n, double units,
                     size_t rows, size_t least) {
    size_t given = 0;
    int priority = 0;
    for (size_t i = 0; i < n; i++) claims[i].granted = 0;
    update_tenants(s, claims, n);
    while (rows > 0 && top_priority(claims, n, &priority)) {
        struct bk_share *t = next_tenant(s, claims, n, priority);
        bk_claim *c = next_claim(w, claims, n, priority, t);
        size_t most = bk_min_size(bk_min_size(QUANTUM, c->left - c->granted), rows);
        size_t some = rows_that_fit(w, c, units, most);
        if (given < least) some = bk_max_size(some, bk_min_size(most, least - given));
        if (some == 0) return;
        double cost = bk_work_rows(w, c->begin + c->granted, some);
        c->granted += some;
        t->served += cost;
        units -= cost;
        rows -= some;
        given += some;
    }
}
