/* Dividing a budget, against trying every choice. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>

#include "base/rng.h"
#include "compress/budget.h"

enum { ITEMS = 6, OPTIONS = 4, CASES = 300, CHOICES = 4096 };

static bk_error err;
static bk_budget_option options[ITEMS][OPTIONS];
static bk_budget_item items[ITEMS];

static void make_items(bk_rng *rng) {
    for (int i = 0; i < ITEMS; i++) {
        items[i] = (bk_budget_item){options[i], OPTIONS};
        for (int o = 0; o < OPTIONS; o++)
            options[i][o] = (bk_budget_option){1 + floor(20 * bk_rng_unit(rng)), bk_rng_unit(rng)};
    }
}

/* The least damage within total; INFINITY when nothing fits. */
static double least_damage(double total) {
    double best = INFINITY;
    for (int c = 0; c < CHOICES; c++) {
        double cost = 0, damage = 0;
        for (int i = 0; i < ITEMS; i++) {
            const bk_budget_option *o = &options[i][c >> (2 * i) & 3];
            cost += o->cost;
            damage += o->damage;
        }
        if (cost <= total) best = fmin(best, damage);
    }
    return best;
}

static double most_saved(void) {
    double most = 0;
    for (int i = 0; i < ITEMS; i++)
        for (int a = 0; a < OPTIONS; a++)
            for (int b = 0; b < OPTIONS; b++)
                most = fmax(most, options[i][a].damage - options[i][b].damage);
    return most;
}

static void test_against_all_choices(void **state) {
    (void)state;
    bk_rng rng;
    bk_rng_seed(&rng, 7, 1);
    double sum = 0, sum_best = 0;
    for (int n = 0; n < CASES; n++) {
        make_items(&rng);
        double total = 10 + floor(100 * bk_rng_unit(&rng)), best = least_damage(total);
        size_t choice[ITEMS];
        bk_budget_result r;
        bk_status st = bk_budget_choose(items, ITEMS, total, choice, &r, &err);
        if (isinf(best)) {
            assert_int_equal(st, BK_ERR_LIMIT);
            continue;
        }
        assert_int_equal(st, BK_OK);
        double cost = 0, damage = 0;
        for (int i = 0; i < ITEMS; i++) {
            assert_in_range(choice[i], 0, OPTIONS - 1);
            cost += options[i][choice[i]].cost;
            damage += options[i][choice[i]].damage;
        }
        assert_true(cost <= total && cost == r.cost && damage == r.damage);
        assert_true(damage >= best - 1e-12 && damage <= best + most_saved());
        sum += damage;
        sum_best += best;
    }
    assert_true(sum < 1.06 * sum_best); /* on average it is close to the least */
}

/* With more to spend than the best costs, each item takes its best. */
static void test_enough(void **state) {
    (void)state;
    bk_rng rng;
    bk_rng_seed(&rng, 8, 1);
    size_t choice[ITEMS];
    make_items(&rng);
    assert_int_equal(bk_budget_choose(items, ITEMS, 1000, choice, NULL, &err), BK_OK);
    for (int i = 0; i < ITEMS; i++)
        for (int o = 0; o < OPTIONS; o++)
            assert_true(options[i][choice[i]].damage <= options[i][o].damage);
}

static void test_refused(void **state) {
    (void)state;
    bk_rng rng;
    bk_rng_seed(&rng, 9, 1);
    size_t choice[ITEMS];
    make_items(&rng);
    assert_int_equal(bk_budget_choose(items, 0, 0, choice, NULL, &err), BK_OK);
    assert_int_equal(bk_budget_choose(items, ITEMS, NAN, choice, NULL, &err), BK_ERR_INVALID);
    options[2][1].damage = NAN;
    assert_int_equal(bk_budget_choose(items, ITEMS, 100, choice, NULL, &err), BK_ERR_INVALID);
    options[2][1].damage = 0;
    items[3].n = 0;
    assert_int_equal(bk_budget_choose(items, ITEMS, 100, choice, NULL, &err), BK_ERR_INVALID);
}

/* Two items with damage c r^2: the least together is where c1 r1 / w1 = c2 r2 / w2. */
static void test_ratios(void **state) {
    (void)state;
    enum { GRID = 11 };
    double grid[GRID], damage[2 * GRID], weights[] = {100, 300}, out[2];
    for (int g = 0; g < GRID; g++) {
        grid[g] = g / 10.0;
        damage[g] = 1 * grid[g] * grid[g];
        damage[GRID + g] = 6 * grid[g] * grid[g];
    }
    assert_int_equal(bk_budget_ratios(weights, damage, 2, grid, GRID, 0.3, out, &err), BK_OK);
    assert_float_equal(out[0], 0.48, 0.03); /* straight lines between */
    assert_float_equal(out[1], 0.24, 0.02);
    double gone = (100 * out[0] + 300 * out[1]) / 400;
    assert_true(gone > 0.3 - 1e-6 && gone < 0.31);
    assert_int_equal(bk_budget_ratios(weights, damage, 2, grid, 6, 0.6, out, &err), BK_ERR_LIMIT);
    assert_int_equal(bk_budget_ratios(weights, damage, 2, grid, 1, 0, out, &err), BK_ERR_INVALID);
    grid[3] = grid[2];
    assert_int_equal(bk_budget_ratios(weights, damage, 2, grid, GRID, 0.3, out, &err),
                     BK_ERR_INVALID);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_against_all_choices),
        cmocka_unit_test(test_enough),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_ratios),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
