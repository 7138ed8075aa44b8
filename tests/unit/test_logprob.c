/* Log-probabilities against sums in long double and a sort of the whole vocabulary. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "measure/logprob.h"

enum { MOST = 50000, TOP = 20 };

static float x[MOST];
static bk_rng rng;

static double true_norm(size_t n) {
    long double max = -INFINITY, sum = 0;
    for (size_t i = 0; i < n; i++)
        if (!isnan(x[i])) max = fmaxl(max, (long double)x[i]);
    for (size_t i = 0; i < n; i++)
        if (!isnan(x[i])) sum += expl((long double)x[i] - max);
    return (double)(max + logl(sum));
}

static int best_first(const void *a, const void *b) {
    int32_t i = *(const int32_t *)a, k = *(const int32_t *)b;
    if (x[i] != x[k]) return x[i] > x[k] ? -1 : 1;
    return (i > k) - (i < k);
}

/* Ids of those that have a chance, best first. */
static size_t sorted(size_t n, int32_t *ids) {
    size_t count = 0;
    for (size_t i = 0; i < n; i++)
        if (x[i] > -INFINITY) ids[count++] = (int32_t)i;
    qsort(ids, count, sizeof *ids, best_first);
    return count;
}

/* As from a model, sharp, flat, equal, few values, rising, falling, with NaN and -infinity. */
static void fill(size_t n, int kind) {
    for (size_t i = 0; i < n; i++) {
        double bell = 0;
        for (int k = 0; k < 6; k++) bell += bk_rng_unit(&rng);
        float v = (float)((bell - 3) * 6);
        switch (kind) {
        case 0: x[i] = v; break;
        case 1: x[i] = v * 10; break;
        case 2: x[i] = v * 0.01f; break;
        case 3: x[i] = -7.25f; break;
        case 4: x[i] = (float)(bk_rng_u32(&rng) % 4); break;
        case 5: x[i] = (float)i * 0.001f; break;
        case 6: x[i] = (float)i * -0.001f; break;
        default: x[i] = i % 3 == 0 ? NAN : i % 3 == 1 ? -INFINITY : v;
        }
    }
}

static void against_a_sort(void **state) {
    (void)state;
    static int32_t ids[MOST];
    static const size_t sizes[] = {1, 2, 19, 20, 21, 300, MOST};
    bk_rng_seed(&rng, 21, 4);
    for (int kind = 0; kind < 8; kind++) {
        for (size_t z = 0; z < BK_ARRAY_LEN(sizes); z++) {
            size_t n = sizes[z];
            fill(n, kind);
            size_t count = sorted(n, ids);
            double norm = bk_logprob_norm(x, n);
            if (count) assert_true(fabs(norm - true_norm(n)) < 2e-7);
            for (size_t k = 0; k <= TOP; k++) {
                bk_logprob top[TOP + 1];
                top[k].token = -77;
                assert_int_equal(bk_logprob_top(x, n, norm, k, top), bk_min_size(k, count));
                assert_int_equal(top[k].token, -77);
                for (size_t i = 0; i < bk_min_size(k, count); i++) {
                    float own = bk_logprob_of(x[ids[i]], norm);
                    assert_int_equal(top[i].token, ids[i]);
                    assert_memory_equal(&top[i].logprob, &own, sizeof own);
                    assert_true(own <= 0);
                }
            }
        }
    }
}

/* They add up to 1, and each is within a few roundings of the truth. */
static void each_of_a_vocabulary(void **state) {
    (void)state;
    bk_rng_seed(&rng, 5, 5);
    for (int kind = 0; kind < 7; kind++) {
        fill(MOST, kind);
        double norm = bk_logprob_norm(x, MOST), truth = true_norm(MOST), sum = 0;
        for (size_t i = 0; i < MOST; i++) {
            double own = (double)bk_logprob_of(x[i], norm), wanted = (double)x[i] - truth;
            sum += exp(own);
            assert_true(fabs(own - wanted) <= 2e-7 + 1e-7 * fabs(wanted));
        }
        assert_true(fabs(sum - 1) < 1e-5);
    }
}

static void extremes(void **state) {
    (void)state;
    static const struct {
        float x[4], first, second;
    } cases[] = {{{0, -INFINITY, NAN, -INFINITY}, 0, -INFINITY},
                 {{3e38f, -3e38f, 0, 0}, 0, -INFINITY},
                 {{INFINITY, 5, 0, NAN}, 0, -INFINITY},
                 {{NAN, -INFINITY, NAN, NAN}, -INFINITY, -INFINITY},
                 {{1000, 1000, NAN, -INFINITY}, -0.693147180f, -0.693147180f},
                 {{0, -20, -INFINITY, NAN}, -2.0611536e-9f, -20}};
    for (size_t i = 0; i < BK_ARRAY_LEN(cases); i++) {
        double norm = bk_logprob_norm(cases[i].x, 4);
        float first = bk_logprob_of(cases[i].x[0], norm);
        float second = bk_logprob_of(cases[i].x[1], norm);
        assert_false(isnan(first) || isnan(second));
        assert_true(first == cases[i].first ||
                    fabsf(first - cases[i].first) <= 1e-6f * fabsf(cases[i].first));
        assert_true(second == cases[i].second || fabsf(second - cases[i].second) <= 2e-6f);
    }
    assert_true(bk_logprob_norm(x, 0) == -INFINITY);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(against_a_sort),
        cmocka_unit_test(each_of_a_vocabulary),
        cmocka_unit_test(extremes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
