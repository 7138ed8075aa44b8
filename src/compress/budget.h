/* Dividing a budget: each item (a matrix) takes one of its options (types, ratios), which has a cost
 * (bytes, nanoseconds) and does damage (to the divergence of the outputs); the costs together must fit
 * a total, and the damage together should be least. That is the multiple-choice knapsack.
 *
 * Solved as Sinha and Zoltners (1979) do its relaxation: on each item's lower convex hull the steps that
 * save most damage per cost come first, which is a sweep of Lagrange's multiplier; what the total then
 * leaves is filled by exchanging single options for better ones, on a hull or not. The damage is above
 * the least by less than the one step that did not fit saves.
 *
 * Least cost for a given damage is the same question with the two exchanged. */
#ifndef BRISK_COMPRESS_BUDGET_H
#define BRISK_COMPRESS_BUDGET_H

#include "base/error.h"

typedef struct bk_budget_option {
    double cost, damage;
} bk_budget_option;

typedef struct bk_budget_item {
    const bk_budget_option *options; /* in any order */
    size_t n;                        /* at least one */
} bk_budget_item;

typedef struct bk_budget_result {
    double cost, damage;
    double price; /* damage per cost of the last step: what one unit more of the total is worth */
} bk_budget_result;

/* choice[n_items]: the number of the option that each item takes. LIMIT when even the cheapest ones cost
 * more than total, saying how much they do; INVALID (an item without options, a number that is not
 * finite), NOMEM. result may be NULL. */
bk_status bk_budget_choose(const bk_budget_item *items, size_t n_items, double total,
                           size_t *choice, bk_budget_result *result, bk_error *err);

/* Ratios of pruning by what they were measured to do: item i has weights[i] weights, and a ratio of
 * grid[g] (ascending, n_grid of them) does damage[i * n_grid + g] to it, in between as straight lines
 * say. out[n_items]: ratios within the grid, with which at least `ratio` of all weights go, to within a
 * hundredth of the grid of one item. LIMIT when that is above the grid; INVALID, NOMEM. */
bk_status bk_budget_ratios(const double *weights, const double *damage, size_t n_items,
                           const double *grid, size_t n_grid, double ratio, double *out,
                           bk_error *err);

#endif
