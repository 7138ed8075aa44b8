/* The scheduler's numbers: costs learned from steps, the pace of answers, shares of prompts. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "engine/plan.h"

static const bk_work plain = {.attention = {0.001, 0}, .window = {0, 0}};

static void test_work(void **state) {
    (void)state;
    bk_work windowed = {.attention = {0.5, 0.25}, .window = {0, 4}};
    double sum = 0;
    for (size_t p = 3; p < 10; p++) sum += 1 + 0.5 * (double)p + 0.25 * (double)(p < 4 ? p : 4);
    assert_true(fabs(bk_work_rows(&windowed, 3, 7) - sum) < 1e-9);
    assert_true(bk_work_rows(&plain, 0, 0) == 0);
}

/* A machine on which a step takes 5 ms and 0.5 ms a unit. */
static double machine(double units) { return 5 + 0.5 * units; }

static void test_cost(void **state) {
    (void)state;
    bk_cost c = {0};
    assert_true(bk_cost_ms(&c, 100) == 0);
    assert_true(isinf(bk_cost_units(&c, 50)));
    bk_cost_learn(&c, true, 100, machine(100));
    assert_true(fabs(bk_cost_ms(&c, 100) - machine(100)) < 1e-9);
    for (int i = 0; i < 50; i++) {
        bk_cost_learn(&c, false, 4, machine(4));
        bk_cost_learn(&c, true, 80, machine(80));
    }
    assert_true(fabs(bk_cost_ms(&c, 40) - machine(40)) < 0.01);
    assert_true(fabs(bk_cost_units(&c, 45) - 80) < 0.1);
    assert_true(bk_cost_units(&c, 1) == 0);
    assert_true(bk_cost_safe(&c, 50) > 45); /* predictions were good */
    /* One step that was held up for a second says little; a slower machine is believed in time. */
    bk_cost_learn(&c, true, 80, 1000);
    assert_true(bk_cost_ms(&c, 80) < 2 * machine(80));
    assert_true(bk_cost_safe(&c, 50) < 40);
    for (int i = 0; i < 100; i++) {
        bk_cost_learn(&c, false, 4, 3 * machine(4));
        bk_cost_learn(&c, true, 80, 3 * machine(80));
    }
    assert_true(fabs(bk_cost_ms(&c, 80) - 3 * machine(80)) < 0.5);
}

/* Answers keep a quarter of their speed beside prompts without end. */
static void test_pace(void **state) {
    (void)state;
    bk_pace p = {0};
    double time = 0, decode_ms = 5;
    int tokens = 0;
    while (time < 10000) {
        bool prompts = !bk_pace_wants_decode(&p);
        double ms = prompts ? 50 : decode_ms;
        bk_pace_step(&p, prompts, ms, decode_ms);
        time += ms;
        tokens++;
    }
    double share = tokens * decode_ms / time;
    assert_true(share > 0.29 && share < 0.35);
}

static bk_claim claim(uint64_t tenant, uint64_t arrival, size_t left) {
    return (bk_claim){.tenant = tenant, .arrival = arrival, .left = left};
}

static void test_grant_limits(void **state) {
    (void)state;
    bk_shares s = {0};
    bk_claim c[2] = {claim(1, 1, 1000), claim(1, 2, 10)};
    bk_shares_grant(&s, &plain, c, 2, 100, 512, 16);
    assert_true(c[0].granted + c[1].granted <= 100);
    assert_int_equal(c[1].granted, 10); /* the short one is not held up */
    bk_shares_grant(&s, &plain, c, 2, 1e9, 512, 16);
    assert_int_equal(c[0].granted + c[1].granted, 512);
    bk_shares_grant(&s, &plain, c, 2, 0, 512, 16);
    assert_int_equal(c[0].granted + c[1].granted, 16); /* whatever the time, prompts go on */
    bk_shares_grant(&s, &plain, c, 2, 1e9, 0, 16);
    assert_int_equal(c[0].granted + c[1].granted, 0);
}

static void test_grant_priority(void **state) {
    (void)state;
    bk_shares s = {0};
    bk_claim c[2] = {claim(1, 1, 500), claim(1, 2, 500)};
    c[1].priority = 1;
    bk_shares_grant(&s, &plain, c, 2, 300, 512, 16);
    assert_int_equal(c[0].granted, 0);
    assert_true(c[1].granted > 200);
}

/* One tenant with ten long prompts gets no more than another with one. */
static void test_grant_tenants(void **state) {
    (void)state;
    bk_shares s = {0};
    bk_claim c[11];
    size_t served[2] = {0, 0};
    for (size_t i = 0; i < 11; i++) c[i] = claim(i < 10 ? 7 : 8, i, 100000);
    for (int step = 0; step < 200; step++) {
        bk_shares_grant(&s, &plain, c, 11, 200, 512, 16);
        for (size_t i = 0; i < 11; i++) served[i == 10] += c[i].granted;
    }
    double ratio = (double)served[0] / (double)served[1];
    assert_true(ratio > 0.9 && ratio < 1.1);
}

/* Short prompts without end pass a long one, which is finished all the same; and they hardly wait. */
static void test_no_starvation(void **state) {
    (void)state;
    bk_shares s = {0};
    bk_claim c[2] = {claim(1, 0, 4000), claim(1, 1, 40)};
    double waited_short = 0;
    int step = 0, shorts = 0;
    for (; step < 10000 && c[0].left > 0; step++) {
        bk_shares_grant(&s, &plain, c, 2, 60, 512, 16);
        for (int i = 0; i < 2; i++) {
            c[i].begin += c[i].granted;
            c[i].left -= c[i].granted;
            c[i].waited_ms += 30;
        }
        if (c[1].left > 0) continue;
        shorts++;
        waited_short += c[1].waited_ms;
        c[1] = claim(1, 1 + (uint64_t)step, 40);
    }
    assert_int_equal(c[0].left, 0);
    assert_true(step < 4 * bk_work_rows(&plain, 0, 4000) / 60);
    assert_true(waited_short / shorts < 100);
    bk_claim old = claim(1, 0, 4000), young = claim(1, 1, 40);
    assert_true(bk_claim_before(&plain, 0.5, &young, &old)); /* equal waits: the short one */
    old.waited_ms = 60000, young.waited_ms = 30;
    assert_true(bk_claim_before(&plain, 0.5, &old, &young));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_work),           cmocka_unit_test(test_cost),
        cmocka_unit_test(test_pace),           cmocka_unit_test(test_grant_limits),
        cmocka_unit_test(test_grant_priority), cmocka_unit_test(test_grant_tenants),
        cmocka_unit_test(test_no_starvation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
