#include "compress/budget.h"

#include <math.h>
#include <stdlib.h>

#include "base/mem.h"

/* From one corner of an item's hull to the next. */
typedef struct step {
    size_t item, from, to, number; /* number: in the order they were made */
    double slope; /* damage saved per cost; not above that of the item's step before */
} step;

/* Corners on one straight line, as far as rounding tells, stay: short steps fill a total better. */
static const double STRAIGHT = 1 + 1e-9;

typedef struct solver {
    const bk_budget_item *items;
    size_t n_items, n_steps;
    step *steps;
    size_t *order; /* an item's options by cost */
    size_t *choice;
    double left; /* of the total */
    double price;
} solver;

static bk_status check_items(const bk_budget_item *items, size_t n, size_t *n_options, size_t *most,
                             bk_error *err) {
    *n_options = *most = 0;
    for (size_t i = 0; i < n; i++) {
        if (!items[i].n)
            return bk_fail(err, BK_ERR_INVALID, "item %zu of %zu has no option", i + 1, n);
        for (size_t o = 0; o < items[i].n; o++)
            if (!isfinite(items[i].options[o].cost) || !isfinite(items[i].options[o].damage))
                return bk_fail(err, BK_ERR_INVALID,
                               "option %zu of item %zu costs %g and damages %g, finite numbers "
                               "wanted",
                               o + 1, i + 1, items[i].options[o].cost, items[i].options[o].damage);
        *n_options += items[i].n;
        *most = bk_max_size(*most, items[i].n);
    }
    return BK_OK;
}

/* By cost, the less damaging first. Few options: insertion. */
static void sort_options(const bk_budget_item *item, size_t *order) {
    for (size_t i = 0; i < item->n; i++) {
        const bk_budget_option *x = &item->options[i];
        size_t at = i;
        for (; at > 0; at--) {
            const bk_budget_option *y = &item->options[order[at - 1]];
            if (y->cost < x->cost || (y->cost == x->cost && y->damage <= x->damage)) break;
            order[at] = order[at - 1];
        }
        order[at] = i;
    }
}

static double slope(const bk_budget_item *item, size_t from, size_t to) {
    const bk_budget_option *a = &item->options[from], *b = &item->options[to];
    return (a->damage - b->damage) / (b->cost - a->cost);
}

/* Appends the steps of an item, steepest first, and takes its cheapest option. */
static void add_steps(solver *s, size_t number) {
    const bk_budget_item *item = &s->items[number];
    size_t first = s->n_steps, at;
    sort_options(item, s->order);
    at = s->choice[number] = s->order[0];
    for (size_t i = 1; i < item->n; i++) {
        size_t to = s->order[i];
        if (item->options[to].damage >= item->options[at].damage) continue;
        /* Corners that the new one makes hollow go. */
        while (s->n_steps > first && slope(item, s->steps[s->n_steps - 1].to, to) >
                                         STRAIGHT * s->steps[s->n_steps - 1].slope)
            at = s->steps[--s->n_steps].from;
        double by = slope(item, at, to);
        if (s->n_steps > first) by = fmin(by, s->steps[s->n_steps - 1].slope);
        s->steps[s->n_steps] = (step){number, at, to, s->n_steps, by};
        s->n_steps++;
        at = to;
    }
}

static int steeper(const void *a, const void *b) {
    const step *x = a, *y = b;
    if (x->slope != y->slope) return x->slope < y->slope ? 1 : -1;
    return x->number < y->number ? -1 : x->number > y->number;
}

static void walk(solver *s) {
    for (size_t i = 0; i < s->n_steps; i++) {
        const step *t = &s->steps[i];
        const bk_budget_option *o = s->items[t->item].options;
        double more = o[t->to].cost - o[t->from].cost;
        /* Steps of an item come in order: one that did not fit blocks those after it. */
        if (s->choice[t->item] != t->from || more > s->left) continue;
        s->choice[t->item] = t->to;
        s->left -= more;
        s->price = t->slope;
    }
}

/* The single exchange that fits and saves most; false when none saves anything. */
static bool exchange(solver *s) {
    double best = 0;
    size_t item = 0, to = 0;
    for (size_t i = 0; i < s->n_items; i++) {
        const bk_budget_option *o = s->items[i].options, *now = &o[s->choice[i]];
        for (size_t j = 0; j < s->items[i].n; j++) {
            double saved = now->damage - o[j].damage;
            if (saved <= best || o[j].cost - now->cost > s->left) continue;
            best = saved;
            item = i;
            to = j;
        }
    }
    if (best <= 0) return false;
    s->left -= s->items[item].options[to].cost - s->items[item].options[s->choice[item]].cost;
    s->choice[item] = to;
    return true;
}

static bk_status solve(solver *s, double total, bk_error *err) {
    double least = 0;
    for (size_t i = 0; i < s->n_items; i++) {
        add_steps(s, i);
        least += s->items[i].options[s->choice[i]].cost;
    }
    if (least > total)
        return bk_fail(err, BK_ERR_LIMIT, "a total of %.6g found, the cheapest choice costs %.6g",
                       total, least);
    s->left = total - least;
    qsort(s->steps, s->n_steps, sizeof *s->steps, steeper);
    walk(s);
    while (exchange(s)) {
    }
    return BK_OK;
}

bk_status bk_budget_choose(const bk_budget_item *items, size_t n_items, double total,
                           size_t *choice, bk_budget_result *result, bk_error *err) {
    size_t n_options, most;
    bk_status st = check_items(items, n_items, &n_options, &most, err);
    if (!st && !isfinite(total)) st = bk_fail(err, BK_ERR_INVALID, "a total of %g found", total);
    if (st) return st;
    solver s = {.items = items, .n_items = n_items, .choice = choice};
    s.steps = bk_alloc(bk_max_size(n_options, 1), sizeof *s.steps);
    s.order = bk_alloc(bk_max_size(most, 1), sizeof *s.order);
    if (s.steps && s.order)
        st = solve(&s, total, err);
    else
        st = bk_fail(err, BK_ERR_NOMEM, "no memory for a budget of %zu items", n_items);
    bk_free(s.steps);
    bk_free(s.order);
    if (st || !result) return st;
    *result = (bk_budget_result){.price = s.price};
    for (size_t i = 0; i < n_items; i++) {
        result->cost += items[i].options[choice[i]].cost;
        result->damage += items[i].options[choice[i]].damage;
    }
    return BK_OK;
}

/* ---- Ratios ------------------------------------------------------------------------------------------ */

enum { RATIO_STEPS = 100 };

static double at_step(const double *grid, size_t n, int s) {
    return grid[0] + (grid[n - 1] - grid[0]) * s / RATIO_STEPS;
}

/* The curve through (grid, damage) at x, which lies within. */
static double interpolate(const double *grid, const double *damage, size_t n, double x) {
    size_t i = 1;
    while (i + 1 < n && grid[i] < x) i++;
    return damage[i - 1] +
           (damage[i] - damage[i - 1]) * (x - grid[i - 1]) / (grid[i] - grid[i - 1]);
}

static bk_status check_grid(const double *grid, size_t n, bk_error *err) {
    if (n < 2) return bk_fail(err, BK_ERR_INVALID, "%zu ratios measured, at least 2 wanted", n);
    for (size_t i = 0; i < n; i++)
        if (!(grid[i] >= 0 && grid[i] <= 1) || (i && !(grid[i] > grid[i - 1])))
            return bk_fail(err, BK_ERR_INVALID, "ratio %g after %g: ascending ones of 0..1 wanted",
                           grid[i], i ? grid[i - 1] : 0);
    return BK_OK;
}

bk_status bk_budget_ratios(const double *weights, const double *damage, size_t n_items,
                           const double *grid, size_t n_grid, double ratio, double *out,
                           bk_error *err) {
    enum { OPTIONS = RATIO_STEPS + 1 };
    bk_status st = check_grid(grid, n_grid, err);
    if (st) return st;
    bk_budget_option *options = bk_alloc(bk_max_size(n_items, 1), OPTIONS * sizeof *options);
    bk_budget_item *items = bk_alloc(bk_max_size(n_items, 1), sizeof *items);
    size_t *choice = bk_alloc(bk_max_size(n_items, 1), sizeof *choice);
    double all = 0;
    if (!options || !items || !choice)
        st = bk_fail(err, BK_ERR_NOMEM, "no memory for ratios of %zu items", n_items);
    for (size_t i = 0; !st && i < n_items; i++) {
        items[i] = (bk_budget_item){options + i * OPTIONS, OPTIONS};
        all += weights[i];
        for (int s = 0; s < OPTIONS; s++) {
            double x = at_step(grid, n_grid, s);
            options[i * OPTIONS + (size_t)s] =
                (bk_budget_option){(1 - x) * weights[i],
                                   interpolate(grid, damage + i * n_grid, n_grid, x)};
        }
    }
    /* A hair more, for sums that are not exact. */
    if (!st)
        st = bk_budget_choose(items, n_items, (1 - ratio) * all + 1e-9 * all, choice, NULL, err);
    for (size_t i = 0; !st && i < n_items; i++) out[i] = at_step(grid, n_grid, (int)choice[i]);
    bk_free(options);
    bk_free(items);
    bk_free(choice);
    return st;
}
