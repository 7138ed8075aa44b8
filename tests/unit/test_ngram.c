/* The floor of counting, against the formula applied by searching the tokens. On text, and with figures
 * of an independent program: tests/tokenizer/compare_vocab.py. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/rng.h"
#include "fail_alloc.h"
#include "measure/ngram.h"

enum { ORDER = 6, N = 700, N_TRAIN = 600, N_VOCAB = 5 };

static void random_tokens(int32_t *tokens, size_t n, int n_vocab) {
    bk_rng r;
    bk_rng_seed(&r, 3, 1);
    for (size_t i = 0; i < n; i++) /* some habits, so that long contexts come again */
        tokens[i] = i > 3 && bk_rng_u32(&r) % 3 ? tokens[i - 3]
                                                : (int32_t)(bk_rng_u32(&r) % (unsigned)n_vocab);
}

static bool same(const int32_t *a, const int32_t *b, int n) {
    return n == 0 || memcmp(a, b, (size_t)n * sizeof *a) == 0;
}

/* P(tokens[i] | the `order` before it), by looking for them everywhere. */
static double probability(const int32_t *tokens, size_t i, int order) {
    if (order < 0) return 1.0 / N_VOCAB;
    size_t total = 0, seen = 0;
    bool kind[N_VOCAB] = {false};
    for (size_t k = (size_t)order; k < N_TRAIN; k++) {
        if (!same(tokens + k - order, tokens + i - order, order)) continue;
        total++;
        seen += tokens[k] == tokens[i];
        kind[tokens[k]] = true;
    }
    double kinds = 0, below = probability(tokens, i, order - 1);
    for (int k = 0; k < N_VOCAB; k++) kinds += kind[k];
    return total ? ((double)seen + kinds * below) / ((double)total + kinds) : below;
}

static void test_formula(void **state) {
    (void)state;
    static int32_t tokens[N];
    bk_ngram_loss loss;
    random_tokens(tokens, N, N_VOCAB);
    assert_int_equal(bk_ngram_floor(tokens, N, N_TRAIN, N_VOCAB, ORDER, NULL, &loss, NULL), BK_OK);
    assert_true(fabs(loss.uniform - log(N_VOCAB)) < 1e-12);
    assert_int_equal(loss.n, N - N_TRAIN);
    for (int order = 0; order <= ORDER; order++) {
        double sum = 0;
        for (size_t i = N_TRAIN; i < N; i++) sum -= log(probability(tokens, i, order));
        assert_true(fabs(loss.order[order] - sum / (N - N_TRAIN)) < 1e-9);
        assert_true(loss.order[order] >= loss.order[loss.best]);
    }
    assert_int_not_equal(loss.best, 0);
}

/* Probabilities of all that may follow sum to one, whatever was counted: a text scored with each token
 * of the vocabulary in the place of its last one. */
static void test_sums(void **state) {
    (void)state;
    static int32_t tokens[N_TRAIN + 1];
    double sum[ORDER + 1] = {0};
    random_tokens(tokens, N_TRAIN, N_VOCAB);
    for (int32_t k = 0; k < 2 * N_VOCAB; k++) { /* half of them never seen */
        bk_ngram_loss loss;
        tokens[N_TRAIN] = k;
        assert_int_equal(bk_ngram_floor(tokens, N_TRAIN + 1, N_TRAIN, 2 * (size_t)N_VOCAB, ORDER,
                                        NULL, &loss, NULL),
                         BK_OK);
        for (int o = 0; o <= ORDER; o++) sum[o] += exp(-loss.order[o]);
    }
    for (int o = 0; o <= ORDER; o++) assert_true(fabs(sum[o] - 1) < 1e-12);
}

static void test_edges(void **state) {
    (void)state;
    bk_error err = {0};
    bk_ngram_loss loss;
    int32_t two[] = {7, 7}, bad[] = {1, -1};
    assert_int_equal(bk_ngram_floor(two, 2, 1, 0, ORDER, NULL, &loss, &err), BK_OK);
    assert_true(loss.uniform == 0 && loss.order[0] == 0 && loss.order[5] == 0);
    assert_int_equal(bk_ngram_floor(two, 2, 0, 0, ORDER, NULL, &loss, &err), BK_ERR_INVALID);
    assert_int_equal(bk_ngram_floor(two, 2, 2, 0, ORDER, NULL, &loss, &err), BK_ERR_INVALID);
    assert_int_equal(bk_ngram_floor(two, 2, 3, 0, ORDER, NULL, &loss, &err), BK_ERR_INVALID);
    assert_int_equal(bk_ngram_floor(two, 2, 1, 7, ORDER, NULL, &loss, &err), BK_ERR_INVALID);
    assert_int_equal(bk_ngram_floor(two, 2, 1, 0, 9, NULL, &loss, &err), BK_ERR_INVALID);
    const volatile bool cancel = true;
    assert_int_equal(bk_ngram_floor(two, 2, 1, 0, 2, &cancel, &loss, &err), BK_ERR_CANCELLED);
    assert_int_equal(bk_ngram_floor(bad, 2, 1, 0, ORDER, NULL, &loss, &err), BK_ERR_INVALID);
    assert_non_null(strstr(err.text, "token 1 is -1"));
}

#ifdef BRISK_TESTING
static int scenario(void) {
    static int32_t tokens[8000];
    bk_ngram_loss loss;
    bk_error err = {0};
    random_tokens(tokens, BK_ARRAY_LEN(tokens), 900);
    bk_status st = bk_ngram_floor(tokens, BK_ARRAY_LEN(tokens), 7000, 0, ORDER, NULL, &loss, &err);
    if (st && (st != BK_ERR_NOMEM || !err.text[0])) return SWEEP_WRONG;
    return st ? SWEEP_FAILED_WELL : SWEEP_ALL_OK;
}

static void test_no_memory(void **state) {
    (void)state;
    assert_true(sweep_all("ngram", 1) >= 2);
}
#endif

int main(int argc, char **argv) {
#ifdef BRISK_TESTING
    if (argc == 3 && strcmp(argv[1], "sweep") == 0) return sweep_status(scenario());
#else
    (void)argc, (void)argv;
#endif
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_formula),
        cmocka_unit_test(test_sums),
        cmocka_unit_test(test_edges),
#ifdef BRISK_TESTING
        cmocka_unit_test(test_no_memory),
#endif
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
