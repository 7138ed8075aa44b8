/* The sampler against a plain one that sorts. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/rng.h"
#include "engine/sample.h"

enum { MOST = 20000 };

static const bk_sampling off = {.temperature = 1, .top_p = 1, .repeat_penalty = 1};

static bk_sampler *make(bk_sampling p, size_t n) {
    bk_sampler *s;
    bk_error err;
    if (bk_sampler_create(&p, n, NULL, &s, &err)) fail_msg("%s", err.text);
    return s;
}

static int32_t pick_once(bk_sampling p, const float *logits, size_t n) {
    bk_sampler *s = make(p, n);
    int32_t id = bk_sampler_pick(s, logits, NULL);
    bk_sampler_destroy(&s);
    return id;
}

/* ---- The plain sampler -------------------------------------------------------------------------- */

typedef struct plain {
    int32_t id;
    double logit, weight;
} plain;

static int best_first(const void *a, const void *b) {
    const plain *x = a, *y = b;
    if (x->logit != y->logit) return x->logit > y->logit ? -1 : 1;
    return (x->id > y->id) - (x->id < y->id);
}

static int by_id(const void *a, const void *b) {
    const plain *x = a, *y = b;
    return (x->id > y->id) - (x->id < y->id);
}

static int nearest_first(const void *a, const void *b) {
    const plain *x = a, *y = b;
    if (x->weight != y->weight) return x->weight < y->weight ? -1 : 1;
    return (x->id > y->id) - (x->id < y->id);
}

/* By the definition: |-log p - entropy|, smallest first, until they add up; best first again. */
static size_t plain_typical(plain *c, size_t n, double typical_p) {
    double total = 0, entropy = 0, sum = 0, max = c[0].logit;
    for (size_t i = 0; i < n; i++) total += exp(c[i].logit - max);
    for (size_t i = 0; i < n; i++) {
        double p = exp(c[i].logit - max) / total;
        if (p > 0) entropy -= p * log(p);
    }
    for (size_t i = 0; i < n; i++) {
        double log_p = c[i].logit - max - log(total);
        c[i].weight = (double)(float)fabs(-log_p - entropy);
    }
    qsort(c, n, sizeof *c, nearest_first);
    size_t kept = 0;
    while (kept < n && sum < typical_p) sum += exp(c[kept++].logit - max) / total;
    qsort(c, kept, sizeof *c, best_first);
    return kept;
}

static int32_t plain_pick(const bk_sampling *p, bk_rng *rng, const float *logits, size_t n) {
    static plain c[MOST];
    size_t kept = 0;
    for (size_t i = 0; i < n; i++) {
        if (logits[i] > -INFINITY) c[kept++] = (plain){(int32_t)i, (double)logits[i], 0};
    }
    if (kept == 0) return -1;
    qsort(c, kept, sizeof *c, best_first);
    double max = c[0].logit, total = 0, sum = 0;
    if (p->top_k > 0 && (size_t)p->top_k < kept) kept = (size_t)p->top_k;
    if (p->typical_p > 0 && p->typical_p < 1) {
        kept = plain_typical(c, kept, (double)p->typical_p);
        max = c[0].logit;
    }
    for (size_t i = 0; i < kept; i++) total += exp(c[i].logit - max);
    for (size_t i = 0; i < kept && p->top_p < 1; i++) {
        sum += exp(c[i].logit - max);
        if (sum >= total * (double)p->top_p) kept = i + 1;
    }
    while (p->min_p > 0 && c[kept - 1].logit < max + log((double)p->min_p)) kept--;
    qsort(c, kept, sizeof *c, by_id);
    total = 0;
    for (size_t i = 0; i < kept; i++) {
        c[i].weight = exp((c[i].logit - max) / (double)p->temperature);
        total += c[i].weight;
    }
    double u = bk_rng_unit(rng) * total;
    for (size_t i = 0; i < kept; i++) {
        if (u < c[i].weight) return c[i].id;
        u -= c[i].weight;
    }
    return c[kept - 1].id;
}

static float bell(bk_rng *rng) {
    double sum = 0;
    for (int i = 0; i < 6; i++) sum += bk_rng_unit(rng);
    return (float)((sum - 3) * 5);
}

/* Kinds of logits: as from a model, rising, falling, all equal, few values, with NaN and -infinity. */
static void fill(float *x, size_t n, int kind, bk_rng *rng) {
    for (size_t i = 0; i < n; i++) {
        switch (kind) {
        case 0: x[i] = bell(rng); break;
        case 1: x[i] = (float)i * 0.001f; break;
        case 2: x[i] = -(float)i * 0.001f; break;
        case 3: x[i] = -2.5f; break;
        case 4: x[i] = (float)(bk_rng_u32(rng) % 5); break;
        default: x[i] = i % 3 == 0 ? NAN : i % 3 == 1 ? -INFINITY : bell(rng);
        }
    }
}

static void test_against_plain(void **state) {
    (void)state;
    static float x[MOST];
    static const size_t sizes[] = {1, 2, 7, 300, MOST};
    static const bk_sampling settings[] = {
        {.temperature = 1, .top_p = 1, .repeat_penalty = 1},
        {.temperature = 0.8f, .top_k = 40, .top_p = 0.95f, .min_p = 0.05f, .repeat_penalty = 1},
        {.temperature = 2, .top_k = 7, .top_p = 1, .repeat_penalty = 1},
        {.temperature = 1, .top_p = 0.5f, .repeat_penalty = 1},
        {.temperature = 1, .top_p = 0, .repeat_penalty = 1},
        {.temperature = 100, .top_p = 1, .min_p = 0.3f, .repeat_penalty = 1},
        {.temperature = 1.5f, .top_k = 12000, .top_p = 0.99f, .repeat_penalty = 1},
        {.temperature = 1, .top_p = 1, .repeat_penalty = 1, .typical_p = 0.7f},
        {.temperature = 0.5f,
         .top_k = 50,
         .top_p = 0.9f,
         .min_p = 0.1f,
         .repeat_penalty = 1,
         .typical_p = 0.3f},
    };
    bk_rng data;
    bk_rng_seed(&data, 11, 3);
    for (int kind = 0; kind < 6; kind++) {
        for (size_t z = 0; z < BK_ARRAY_LEN(sizes); z++) {
            fill(x, sizes[z], kind, &data);
            for (size_t k = 0; k < BK_ARRAY_LEN(settings); k++) {
                bk_sampling p = settings[k];
                p.seed = k * 1000 + z;
                bk_rng rng;
                bk_rng_seed(&rng, p.seed, 1);
                bk_sampler *s = make(p, sizes[z]);
                for (int again = 0; again < 4; again++) {
                    int32_t got = bk_sampler_pick(s, x, NULL),
                            want = plain_pick(&p, &rng, x, sizes[z]);
                    if (got != want) {
                        fail_msg("kind %d size %zu setting %zu: %d, wanted %d", kind, sizes[z], k,
                                 got, want);
                    }
                }
                bk_sampler_destroy(&s);
            }
        }
    }
}

/* A mask is as good as -infinity in its place; the mask is no longer than it must be. */
static void test_masks(void **state) {
    (void)state;
    static float x[MOST], cut[MOST];
    static const size_t sizes[] = {1, 31, 32, 33, 300, MOST};
    const bk_logit_bias biases[] = {{.token = 0, .bias = 100}};
    static const uint32_t share[] = {0, 1, 50, 500, 1000}; /* of 1000 that are allowed */
    bk_rng rng;
    bk_rng_seed(&rng, 3, 9);
    for (size_t round = 0; round < 6 * 6 * 5 * 4; round++) {
        size_t n = sizes[round % 6], words = bk_div_up(n, 32);
        uint32_t *allowed = bk_alloc_zero(words, sizeof *allowed);
        fill(x, n, (int)(round / 6 % 6), &rng);
        for (size_t i = 0; i < 32 * words; i++) /* bits beyond the vocabulary too */
            if (bk_rng_u32(&rng) % 1000 < share[round / 36 % 5]) allowed[i / 32] |= 1u << i % 32;
        for (size_t i = 0; i < n; i++) cut[i] = allowed[i / 32] >> i % 32 & 1 ? x[i] : -INFINITY;
        bk_sampling p = off;
        p.temperature = round / 180 ? 1 : 0;
        p.top_k = round / 180 > 1 ? 5 : 0;
        p.typical_p = round / 180 == 2 ? 0.5f : 1;
        p.seed = round;
        if (round / 180 == 3) p.biases = biases, p.n_biases = 1;
        bk_sampler *with = make(p, n), *without = make(p, n);
        for (int again = 0; again < 3; again++) {
            int32_t got = bk_sampler_pick(with, x, allowed);
            assert_int_equal(got, bk_sampler_pick(without, cut, NULL));
            assert_true(got == -1 || ((size_t)got < n && allowed[got / 32] >> got % 32 & 1));
        }
        bk_sampler_destroy(&with);
        bk_sampler_destroy(&without);
        bk_free(allowed);
    }
}

static void test_greedy(void **state) {
    (void)state;
    bk_sampling greedy = off;
    greedy.temperature = 0;
    assert_int_equal(pick_once(greedy, (float[]){1, 3, 3, 2}, 4), 1);
    assert_int_equal(pick_once(greedy, (float[]){NAN, -5, NAN, -4}, 4), 3);
    assert_int_equal(pick_once(greedy, (float[]){NAN, -INFINITY}, 2), -1);
    assert_int_equal(pick_once(off, (float[]){NAN, NAN}, 2), -1);
    assert_int_equal(pick_once(off, (float[]){1, INFINITY, INFINITY}, 3), 1);
    bk_sampling one = off;
    one.top_k = 1;
    assert_int_equal(pick_once(one, (float[]){-0.0f, 0.0f}, 2), 0);
}

/* Shares of 100,000 draws are the softmax's within five standard deviations. */
static void test_shares(void **state) {
    (void)state;
    enum { N = 5, DRAWS = 100000 };
    const float x[N] = {0, 1, 2, -1, 0.5f};
    bk_sampling p = off;
    p.temperature = 0.7f;
    p.seed = 5;
    bk_sampler *s = make(p, N);
    int count[N] = {0};
    double total = 0;
    for (int i = 0; i < DRAWS; i++) count[bk_sampler_pick(s, x, NULL)]++;
    for (int i = 0; i < N; i++) total += exp((double)x[i] / 0.7);
    for (int i = 0; i < N; i++) {
        double share = exp((double)x[i] / 0.7) / total;
        assert_true(fabs(count[i] - share * DRAWS) < 5 * sqrt(DRAWS * share * (1 - share)));
    }
    bk_sampler_destroy(&s);
}

static void test_seed(void **state) {
    (void)state;
    float x[200];
    int32_t first[3][32];
    for (size_t i = 0; i < BK_ARRAY_LEN(x); i++) x[i] = (float)(i % 7) * 0.3f;
    for (int run = 0; run < 3; run++) {
        bk_sampling p = off;
        p.seed = run < 2 ? 42 : 43;
        bk_sampler *s = make(p, BK_ARRAY_LEN(x));
        for (int i = 0; i < 32; i++) first[run][i] = bk_sampler_pick(s, x, NULL);
        bk_sampler_destroy(&s);
    }
    assert_memory_equal(first[0], first[1], sizeof first[0]);
    assert_memory_not_equal(first[0], first[2], sizeof first[0]);
}

static void test_penalties(void **state) {
    (void)state;
    const float x[4] = {2.0f, 1.9f, -1.0f, 1.0f};
    bk_sampling p = {.repeat_penalty = 2, .top_p = 1, .penalty_last_n = 2};
    bk_sampler *s = make(p, 4);
    assert_int_equal(bk_sampler_pick(s, x, NULL), 0);
    bk_sampler_accept(s, 0);
    assert_int_equal(bk_sampler_pick(s, x, NULL), 1); /* 2 / 2 < 1.9 */
    bk_sampler_accept(s, 1);
    assert_int_equal(bk_sampler_pick(s, x, NULL), 0); /* 1, 0.95, -1, 1: the first of the largest */
    bk_sampler_accept(s, 2);
    assert_int_equal(bk_sampler_pick(s, x, NULL), 0); /* 0 has left the window of two */
    bk_sampler_destroy(&s);

    p = (bk_sampling){
        .repeat_penalty = 1, .top_p = 1, .frequency_penalty = 0.5f, .penalty_last_n = -1};
    s = make(p, 4);
    for (int i = 0; i < 3; i++) bk_sampler_accept(s, 0);
    bk_sampler_accept(s, 1);
    assert_int_equal(bk_sampler_pick(s, x, NULL), 1); /* 0.5, 1.4, -1, 1 */
    bk_sampler_destroy(&s);

    p = (bk_sampling){.repeat_penalty = 1, .top_p = 1, .presence_penalty = 3, .penalty_last_n = 0};
    s = make(p, 4);
    bk_sampler_accept(s, 0);
    assert_int_equal(bk_sampler_pick(s, x, NULL), 0); /* looks back on nothing */
    bk_sampler_accept(s, 99);                         /* no such token: ignored */
    bk_sampler_destroy(&s);
}

/* What is kept is nearest to the entropy, whether or not that is the best. */
static void test_typical(void **state) {
    (void)state;
    bk_sampling p = off;
    p.typical_p = 0.2f;
    float x[9] = {logf(0.6f)};
    for (int i = 1; i < 9; i++) x[i] = logf(0.05f);
    /* Entropy 1.50 nats; surprise 0.51 of the first (0.99 away), 3.0 of the others (1.49 away). */
    assert_int_equal(pick_once(p, x, 9), 0);
    x[0] = logf(0.4f);
    for (int i = 1; i < 9; i++) x[i] = logf(0.075f);
    /* Entropy 1.92; 0.92 (1.00 away) against 2.59 (0.67 away): the best is left out. */
    bk_sampler *s = make(p, 9);
    for (int i = 0; i < 200; i++) assert_in_range(bk_sampler_pick(s, x, NULL), 1, 3);
    bk_sampler_destroy(&s);
}

static void test_biases(void **state) {
    (void)state;
    const float x[4] = {2, 1, 0, -1};
    bk_sampling p = off;
    p.temperature = 0;
    p.n_biases = 1;
    p.biases = (bk_logit_bias[]){{.token = 3, .bias = 3.5f}};
    assert_int_equal(pick_once(p, x, 4), 3);
    p.biases = (bk_logit_bias[]){{.token = 0, .bias = -INFINITY}};
    assert_int_equal(pick_once(p, x, 4), 1);
    /* Added before penalties: 2 + 1 halved is below 1 + 1. */
    p.n_biases = 2;
    p.biases = (bk_logit_bias[]){{.token = 0, .bias = 1}, {.token = 1, .bias = 1}};
    p.repeat_penalty = 2;
    p.penalty_last_n = 4;
    bk_sampler *s = make(p, 4);
    bk_sampler_accept(s, 0);
    assert_int_equal(bk_sampler_pick(s, x, NULL), 1);
    bk_sampler_destroy(&s);
    static const bk_logit_bias bad[] = {{4, 1}, {-1, 1}, {0, NAN}};
    for (size_t i = 0; i < BK_ARRAY_LEN(bad); i++) {
        bk_error err;
        p.n_biases = 1;
        p.biases = &bad[i];
        assert_int_equal(bk_sampler_create(&p, 4, NULL, &s, &err), BK_ERR_INVALID);
        assert_non_null(strstr(err.text, "0 to 3"));
    }
}

static void test_negative_logits_repeat(void **state) {
    (void)state;
    bk_sampling p = {.repeat_penalty = 3, .top_p = 1, .penalty_last_n = 8};
    bk_sampler *s = make(p, 2);
    bk_sampler_accept(s, 0);
    assert_int_equal(bk_sampler_pick(s, (float[]){-1, -2}, NULL), 1); /* -3 against -2 */
    bk_sampler_destroy(&s);
}

static void test_no_allocation(void **state) {
    (void)state;
    static float x[MOST];
    bk_rng rng;
    bk_rng_seed(&rng, 1, 2);
    fill(x, MOST, 0, &rng);
    bk_sampling p = {.temperature = 1,
                     .top_k = 50,
                     .top_p = 0.9f,
                     .repeat_penalty = 1.1f,
                     .penalty_last_n = 16,
                     .typical_p = 0.9f};
    bk_sampler *s = make(p, MOST);
    uint64_t before = bk_alloc_count();
    for (int i = 0; i < 40; i++) bk_sampler_accept(s, bk_sampler_pick(s, x, NULL));
    assert_int_equal(bk_alloc_count() - before, 0);
    bk_sampler_destroy(&s);
    assert_null(s);
}

static void test_ranges(void **state) {
    (void)state;
    struct {
        const char *name;
        bk_sampling p;
    } bad[] = {{"temperature", off},    {"temperature", off},    {"top_k", off},
               {"top_p", off},          {"min_p", off},          {"min_p", off},
               {"repeat_penalty", off}, {"penalty_last_n", off}, {"typical_p", off}};
    bad[0].p.temperature = -1;
    bad[1].p.temperature = NAN;
    bad[2].p.top_k = -1;
    bad[3].p.top_p = 1.5f;
    bad[4].p.min_p = -0.1f;
    bad[5].p.min_p = INFINITY;
    bad[6].p.repeat_penalty = 0;
    bad[7].p.penalty_last_n = -2;
    bad[8].p.typical_p = 2;
    for (size_t i = 0; i < BK_ARRAY_LEN(bad); i++) {
        bk_error err;
        bk_sampler *s = (void *)&err;
        assert_int_equal(bk_sampler_create(&bad[i].p, 10, NULL, &s, &err), BK_ERR_INVALID);
        assert_null(s);
        assert_non_null(strstr(err.text, bad[i].name));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_against_plain),
        cmocka_unit_test(test_masks),
        cmocka_unit_test(test_greedy),
        cmocka_unit_test(test_shares),
        cmocka_unit_test(test_seed),
        cmocka_unit_test(test_penalties),
        cmocka_unit_test(test_negative_logits_repeat),
        cmocka_unit_test(test_no_allocation),
        cmocka_unit_test(test_ranges),
        cmocka_unit_test(test_typical),
        cmocka_unit_test(test_biases),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
