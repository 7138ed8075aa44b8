/* Loss, divergence and their summary against values worked out by hand; .npy files there and back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "measure/npy.h"
#include "measure/score.h"

static void near(double got, double wanted) {
    if (fabs(got - wanted) > 1e-12) fail_msg("%.17g, wanted %.17g", got, wanted);
}

/* Adds with a reference given as logits[2]. */
static bk_status add(bk_score *s, const float *logits, const double *ref, int32_t next,
                     size_t part) {
    bk_expected e;
    assert_true(bk_expected_init(&e, 2));
    e.log_p[0] = ref[0], e.log_p[1] = ref[1];
    bk_status st = bk_expected_prepare(&e, NULL);
    if (!st) st = bk_score_add(s, logits, &e, 2, next, part, NULL);
    bk_expected_free(&e);
    return st;
}

static void test_loss(void **state) {
    (void)state;
    bk_score s = {0};
    bk_summary sum;
    const float even[4] = {7, 7, 7, 7}, sure[4] = {0, 1000, 0, 0};
    assert_int_equal(bk_score_add(&s, even, NULL, 4, 2, 0, NULL), BK_OK);
    bk_score_summary(&s, &sum);
    near(sum.ppl, 4);
    near(sum.ppl_error, 0);
    assert_int_equal(bk_score_add(&s, sure, NULL, 4, 1, 0, NULL), BK_OK);
    assert_int_equal(bk_score_add(&s, even, NULL, 4, -1, 0, NULL), BK_OK); /* unknown: not scored */
    bk_score_summary(&s, &sum);
    assert_int_equal(sum.tokens, 2);
    assert_int_equal(sum.compared, 0);
    near(sum.nll, log(4) / 2);
    near(sum.ppl, 2);
    /* losses log 4 and 0: variance (log 2)^2, over n - 1 = 1 */
    near(sum.ppl_error, 2 * log(2));
    bk_score_free(&s);
}

static void test_divergence(void **state) {
    (void)state;
    bk_score s = {0};
    bk_summary sum;
    assert_true(bk_score_reserve(&s, 3));
    const float half[2] = {0, 0}, same[2] = {3, 4};
    const double ref[2] = {log(0.9), log(0.1)}, same_ref[2] = {-3, -2};
    assert_int_equal(add(&s, half, ref, 0, 0), BK_OK);
    assert_int_equal(add(&s, same, same_ref, 1, 0), BK_OK);
    bk_score_summary(&s, &sum);
    double kl = 0.9 * log(0.9 / 0.5) + 0.1 * log(0.1 / 0.5);
    assert_int_equal(sum.compared, 2);
    near(sum.kl_mean, kl / 2);
    near(sum.kl_max, kl);
    near(sum.kl_median, kl / 2);
    near(sum.kl_p99, 0.99 * kl);
    near(sum.top_agreement, 1); /* of equal logits the first counts */
    near(sum.ref_ppl, exp((-log(0.9) + log(1 + exp(-1))) / 2));
    const float other[2] = {1, 2};
    assert_int_equal(add(&s, other, ref, 0, 0), BK_OK);
    bk_score_summary(&s, &sum);
    near(sum.top_agreement, 2.0 / 3);
    assert_int_equal(add(&s, other, ref, 0, 0), BK_ERR_LIMIT);
    bk_score_free(&s);
}

static void test_beside_the_reference(void **state) {
    (void)state;
    bk_score s = {0};
    bk_summary sum;
    assert_true(bk_score_reserve(&s, 2));
    const float half[2] = {0, 0}, sure[2] = {logf(3), 0};
    const double ref[2] = {log(0.9), log(0.1)};
    assert_int_equal(add(&s, half, ref, 0, 1), BK_OK);
    assert_int_equal(add(&s, sure, ref, 1, 99), BK_OK); /* parts past the last count as it */
    bk_score_summary(&s, &sum);
    double first = log(0.9 / 0.5), second = log(0.1 / 0.25), kl = 0.9 * log(0.9 / 0.75);
    assert_true(fabs(sum.log_ratio - (first + second) / 2) < 1e-7);
    assert_true(fabs(sum.log_ratio_error - (first - second) / 2) < 1e-7);
    assert_true(fabs(sum.rms_dp - sqrt((0.16 + 0.0225) / 2)) < 1e-7);
    near(sum.kl_part[0], 0);
    assert_true(fabs(sum.kl_part[BK_SCORE_PARTS - 1] - kl - 0.1 * log(0.1 / 0.25)) < 1e-7);
    near(sum.near_agreement, 1);
    bk_score_free(&s);
}

/* A model without the second token: the distance is from what the reference says of the first. */
static void test_trimmed(void **state) {
    (void)state;
    bk_score s = {0};
    bk_summary sum;
    assert_true(bk_score_reserve(&s, 2));
    const float first[2] = {5, -INFINITY}, none[2] = {-INFINITY, -INFINITY};
    const double ref[2] = {log(0.9), log(0.1)}, trimmed[2] = {0, -INFINITY};
    assert_int_equal(add(&s, first, ref, 0, 0), BK_OK);
    assert_int_equal(add(&s, first, ref, 1, 0), BK_OK);
    bk_score_summary(&s, &sum);
    near(sum.kl_mean, 0);
    near(sum.outside, 0.1);
    near(sum.nll, 0);
    assert_int_equal(sum.tokens, 2);
    assert_int_equal(sum.impossible, 1);
    assert_int_equal(add(&s, none, ref, 0, 0), BK_ERR_FORMAT);
    assert_int_equal(add(&s, first, trimmed, 0, 0), BK_ERR_FORMAT);
    bk_score_free(&s);
}

static void test_not_numbers(void **state) {
    (void)state;
    bk_score s = {0};
    const float good[2] = {0, 0}, first[2] = {NAN, 0}, last[2] = {0, NAN}, inf[2] = {INFINITY, 0};
    const double bad_ref[2] = {0, NAN};
    assert_true(bk_score_reserve(&s, 9));
    assert_int_equal(bk_score_add(&s, first, NULL, 2, 0, 0, NULL), BK_ERR_FORMAT);
    assert_int_equal(bk_score_add(&s, last, NULL, 2, 0, 0, NULL), BK_ERR_FORMAT);
    assert_int_equal(bk_score_add(&s, inf, NULL, 2, 0, 0, NULL), BK_ERR_FORMAT);
    assert_int_equal(add(&s, good, bad_ref, 0, 0), BK_ERR_FORMAT);
    bk_score_free(&s);
}

/* ---- .npy ------------------------------------------------------------------------------------- */

static char path[64];

static int make_path(void **state) {
    (void)state;
    snprintf(path, sizeof path, "%s/brisk-test-npy-XXXXXX", P_tmpdir);
    int fd = mkstemp(path);
    return fd < 0 ? -1 : close(fd);
}

static int remove_path(void **state) {
    (void)state;
    return unlink(path);
}

static void test_write_and_read(void **state) {
    (void)state;
    bk_npy_writer w;
    bk_npy f;
    bk_error err;
    const float rows[2][3] = {{1, 2.5f, -3}, {4, 5, 1e-30f}};
    assert_int_equal(bk_npy_create(path, 2, 3, &w, &err), BK_OK);
    assert_int_equal(bk_npy_put(&w, rows[0], &err), BK_OK);
    assert_int_equal(bk_npy_finish(&w, &err), BK_ERR_INVALID); /* a row is missing */
    assert_int_equal(bk_npy_put(&w, rows[1], &err), BK_OK);
    assert_int_equal(bk_npy_finish(&w, &err), BK_OK);
    bk_npy_abandon(&w);
    if (bk_npy_open(path, &f, &err)) fail_msg("%s", err.text);
    assert_int_equal(f.rows, 2);
    assert_int_equal(f.cols, 3);
    assert_int_equal((uintptr_t)f.data % 64, 0);
    double row[3];
    for (size_t i = 0; i < 2; i++) {
        bk_npy_row(&f, i, row);
        for (size_t k = 0; k < 3; k++) assert_true(row[k] == (double)rows[i][k]);
    }
    bk_npy_close(&f);
    assert_int_equal(bk_npy_create("/no/such/folder/x.npy", 1, 1, &w, &err), BK_ERR_NOT_FOUND);
    bk_npy_abandon(&w);
}

static void write_file(int version, const char *header, size_t data) {
    FILE *f = fopen(path, "wb");
    size_t len = strlen(header);
    fprintf(f, "\x93NUMPY%c%c%c%c", version, 0, (int)(len & 255), (int)(len >> 8));
    if (version > 1) fprintf(f, "%c%c", 0, 0);
    fputs(header, f);
    for (size_t i = 0; i < data; i++) fputc(0, f);
    fclose(f);
}

static bk_status try_file(int version, const char *header, size_t data) {
    bk_npy f;
    write_file(version, header, data);
    bk_status st = bk_npy_open(path, &f, NULL);
    if (!st) bk_npy_close(&f);
    return st;
}

static void test_headers(void **state) {
    (void)state;
    const char *good = "{'descr': '<f8', 'fortran_order': False, 'shape': (2, 3), }\n";
    assert_int_equal(try_file(1, good, 48), BK_OK);
    assert_int_equal(try_file(2, good, 48), BK_OK);
    assert_int_equal(try_file(3, "{'shape':(2,3),'fortran_order':False,'descr':'<f4'}", 24), BK_OK);
    assert_int_equal(try_file(1, good, 47), BK_ERR_FORMAT);
    assert_int_equal(try_file(4, good, 48), BK_ERR_UNSUPPORTED);
    static const char *const bad[] = {
        "",
        "{}",
        "'descr'",
        "{'descr': '>f4', 'fortran_order': False, 'shape': (1, 1)}",
        "{'descr': '<i4', 'fortran_order': False, 'shape': (1, 1)}",
        "{'descr': '<f4', 'fortran_order': True, 'shape': (1, 1)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (1,)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 1, 1)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (-1, 1)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999, 1)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (4611686018427387904, 4)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 1",
        "{'descr': '<f4', 'fortran_order': False, 'shape':",
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        if (try_file(1, bad[i], 64) == BK_OK) fail_msg("taken: %s", bad[i]);
    }
    /* Every beginning of a good file. */
    write_file(1, good, 48);
    for (long n = 0; n < 10 + (long)strlen(good) + 48; n++) {
        write_file(1, good, 48);
        assert_int_equal(truncate(path, n), 0);
        bk_npy f;
        assert_int_not_equal(bk_npy_open(path, &f, NULL), BK_OK);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_loss),
        cmocka_unit_test(test_divergence),
        cmocka_unit_test(test_beside_the_reference),
        cmocka_unit_test(test_trimmed),
        cmocka_unit_test(test_not_numbers),
        cmocka_unit_test(test_write_and_read),
        cmocka_unit_test(test_headers),
    };
    return cmocka_run_group_tests(tests, make_path, remove_path);
}
