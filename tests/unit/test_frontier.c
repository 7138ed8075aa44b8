/* Who is beaten by whom: points worked out by hand. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>

#include "compress/frontier.h"

static void near(double got, double wanted) {
    if (fabs(got - wanted) > 1e-12) fail_msg("%.17g, wanted %.17g", got, wanted);
}

/* A source, two dense types (the second twice as fast), one that both beat, and pruned ones. */
enum { SOURCE, FIRST, SECOND, POOR, GOOD, BAD, FASTEST };
static const bk_point points[] = {
    {1, 0, 0, true},         {2, 0.01, 0.1, true},     {4, 0.01, 0.4, true}, {2, 0.01, 0.5, true},
    {2.5, 0.01, 0.1, false}, {2.5, 0.01, 0.39, false}, {5, 0.01, 2, false},
};

static bk_judgement judge(size_t i) { return bk_frontier_judge(points, BK_ARRAY_LEN(points), i); }

static void test_rivals(void **state) {
    (void)state;
    /* At 2.5 the time is 0.4: two fifths of the way from 0.5 (loss 0.1) to 0.25 (loss 0.4). */
    bk_judgement j = judge(GOOD);
    near(j.equal_speed.value, 0.1 + 0.3 * 0.4);
    assert_int_equal(j.equal_speed.fast, SECOND);
    assert_int_equal(j.equal_speed.slow, FIRST);
    near(j.equal_quality.value, 2);
    j = judge(FASTEST);
    assert_int_equal(j.equal_speed.fast, -1); /* none is as fast */
    near(j.equal_quality.value, 4);
    assert_int_equal(j.equal_quality.fast, SECOND);
    assert_int_equal(j.equal_quality.slow, SECOND);
    /* A dense point is no rival of its own: FIRST's are the source and SECOND; time 1/2 is two thirds of
     * the way from 1 to 1/4. */
    j = judge(FIRST);
    near(j.equal_speed.value, 0.4 * 2 / 3);
    near(j.equal_quality.value, 1 / (1 - 0.75 * 0.25));
}

static void test_verdicts(void **state) {
    (void)state;
    const bool dominated[] = {false, true, false, true, false, true, false};
    for (size_t i = 0; i < BK_ARRAY_LEN(points); i++)
        assert_int_equal(judge(i).dominated, dominated[i]);
    assert_int_equal(judge(FIRST).by, GOOD);
    assert_int_equal(judge(POOR).by, FIRST);
    /* Faster within the spread, and the line no longer beats it; slower, and another row does. */
    bk_point p[] = {{1, 0, 0, true}, {4, 0, 0.4, true}, {2, 0.1, 0.28, false}};
    bk_judgement j = bk_frontier_judge(p, 3, 2);
    near(j.equal_speed.value, 0.4 * 2 / 3);
    assert_true(j.dominated && j.by < 0 && j.tie);
    p[2].spread = 0.01;
    assert_false(bk_frontier_judge(p, 3, 2).tie);
    p[2].loss = 0.2;
    assert_false(bk_frontier_judge(p, 3, 2).dominated);
}

static void test_alone(void **state) {
    (void)state;
    bk_judgement j = bk_frontier_judge(points, 1, 0);
    assert_false(j.dominated || j.tie);
    assert_int_equal(j.equal_speed.fast, -1);
    assert_int_equal(j.equal_quality.fast, -1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rivals),
        cmocka_unit_test(test_verdicts),
        cmocka_unit_test(test_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
