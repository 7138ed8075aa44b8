/* The matrix product through the public header: against double, equal bits whatever the threads and
 * however the vectors come, and what is refused. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "brisk_matrix.h"
#include "brisk_tools.h"
#include "fail_alloc.h"

static const char *const types[] = {"f32", "f16", "bf16", "q8_0", "q4_0"};

static float *random_floats(size_t n, uint64_t seed) {
    float *x = malloc(n * sizeof *x);
    bk_rng r;
    bk_rng_seed(&r, seed, 3);
    assert_non_null(x);
    for (size_t i = 0; i < n; i++) x[i] = (float)(2 * bk_rng_unit(&r) - 1);
    return x;
}

static brisk_matrix *make(const char *type, const float *rows, size_t n_rows, size_t k, int threads,
                          const char *level) {
    brisk_matrix_options o = {.threads = threads, .cpu_level = level};
    brisk_matrix *m = NULL;
    brisk_error err;
    if (brisk_matrix_create(type, rows, n_rows, k, &o, &m, &err)) fail_msg("%s", err.text);
    return m;
}

/* Against the double product of the rounded weights: within the rounding of k float operations, and for
 * integer types of the vectors to 8 bits. */
static void near_double(void **state) {
    (void)state;
    static const struct {
        size_t n_rows, k, n;
    } shapes[] = {{1, 32, 1}, {17, 64, 3}, {33, 96, 7}, {48, 256, 50}, {100, 160, 97}};
    for (size_t t = 0; t < BK_ARRAY_LEN(types); t++) {
        for (size_t s = 0; s < BK_ARRAY_LEN(shapes); s++) {
            size_t n_rows = shapes[s].n_rows, k = shapes[s].k, n = shapes[s].n;
            float *rows = random_floats(n_rows * k, 1), *x = random_floats(n * k, 2);
            float *out = random_floats(n * n_rows, 9), *w = random_floats(k, 9);
            brisk_matrix *m = make(types[t], rows, n_rows, k, 2, NULL);
            double vectors = types[t][0] == 'q' ? 1.0 / 254 : 0; /* of the largest value, 1 */
            assert_int_equal(brisk_matrix_multiply(m, x, n, out, NULL), BRISK_OK);
            for (size_t r = 0; r < n_rows; r++) {
                assert_int_equal(brisk_matrix_row(m, r, w, NULL), BRISK_OK);
                for (size_t i = 0; i < n; i++) {
                    double sum = 0, size = 0, rounding = 0;
                    for (size_t j = 0; j < k; j++) {
                        sum += (double)w[j] * (double)x[i * k + j];
                        size += fabs((double)w[j] * (double)x[i * k + j]);
                        rounding += fabs((double)w[j]) * vectors;
                    }
                    double bound = rounding + (double)(2 * k + 16) * 0x1p-24 * (size + rounding);
                    double off = fabs((double)out[i * n_rows + r] - sum);
                    if (!(off <= bound))
                        fail_msg("%s: off by %g, %g allowed", types[t], off, bound);
                }
            }
            brisk_matrix_destroy(&m);
            assert_null(m);
            free(rows), free(x), free(out), free(w);
        }
    }
}

/* Threads, level, and what else is in the call change no bit. */
static void same_bits(void **state) {
    (void)state;
    static const struct {
        int threads;
        const char *level;
    } ways[] = {{1, "ref"}, {1, NULL}, {2, NULL}, {5, NULL}, {2, "avx2"}, {2, "avxvnni"}};
    enum { ROWS = 90, K = 192, N = 70 };
    float *rows = random_floats(ROWS * K, 4), *x = random_floats(N * K, 5);
    float *want = random_floats(N * ROWS, 6), *got = random_floats(N * ROWS, 7);
    for (size_t t = 0; t < BK_ARRAY_LEN(types); t++) {
        for (size_t v = 0; v < BK_ARRAY_LEN(ways); v++) {
            brisk_matrix *m = make(types[t], rows, ROWS, K, ways[v].threads, ways[v].level);
            brisk_matrix_multiply(m, x, N, v ? got : want, NULL);
            if (v) assert_memory_equal(got, want, N * ROWS * sizeof *got);
            for (size_t i = 0; i < N; i += 9) /* nine at a time */
                brisk_matrix_multiply(m, x + i * K, i + 9 < N ? 9 : N - i, got + i * ROWS, NULL);
            assert_memory_equal(got, want, N * ROWS * sizeof *got);
            brisk_matrix_multiply(m, x + 3 * K, 1, got, NULL);
            assert_memory_equal(got, want + 3 * ROWS, ROWS * sizeof *got);
            brisk_matrix_destroy(&m);
        }
    }
    free(rows), free(x), free(want), free(got);
}

static void tells_what_it_is(void **state) {
    (void)state;
    float *rows = random_floats(20 * 64, 4);
    brisk_matrix *m = make("Q8_0", rows, 20, 64, 3, "ref");
    brisk_matrix_info info;
    brisk_matrix_get_info(m, &info);
    assert_string_equal(info.type, "Q8_0");
    assert_string_equal(info.cpu_level, "ref");
    assert_int_equal(info.threads, 3);
    assert_int_equal(info.n_rows, 20);
    assert_int_equal(info.k, 64);
    assert_int_equal(info.bytes, 32 * 64 / 32 * 34); /* rows in groups of 16 */
    brisk_matrix_destroy(&m);
    brisk_matrix_destroy(&m);
    brisk_matrix_destroy(NULL);
    free(rows);
}

static void refused(void **state) {
    (void)state;
    float x[64] = {0}, out[64];
    static const struct {
        const char *type;
        size_t n_rows, k;
        int threads;
        const char *level, *says;
        brisk_status status;
    } cases[] = {
        {"q9", 1, 32, 1, NULL, "'q9'", BRISK_ERR_INVALID},
        {"q6_k", 1, 255, 1, NULL, "multiple of 256", BRISK_ERR_INVALID},
        {"q8_0", 1, 33, 1, NULL, "multiple of 32", BRISK_ERR_INVALID},
        {"f32", 0, 32, 1, NULL, "rows: 0", BRISK_ERR_INVALID},
        {"f32", 1, 0, 1, NULL, "k: 0", BRISK_ERR_INVALID},
        {"f32", SIZE_MAX, 32, 1, NULL, "rows", BRISK_ERR_INVALID},
        {"f32", 1, 32, 257, NULL, "threads: 257", BRISK_ERR_INVALID},
        {"f32", 1, 32, -1, NULL, "threads: -1", BRISK_ERR_INVALID},
        {"f32", 1, 32, 1, "avx3", "'avx3'", BRISK_ERR_INVALID},
    };
    brisk_error err;
    brisk_matrix *m;
    for (size_t i = 0; i < BK_ARRAY_LEN(cases); i++) {
        brisk_matrix_options o = {cases[i].threads, cases[i].level};
        m = (brisk_matrix *)x; /* anything but NULL */
        assert_int_equal(brisk_matrix_create(cases[i].type, x, cases[i].n_rows, cases[i].k, &o, &m,
                                             &err),
                         cases[i].status);
        assert_null(m);
        assert_non_null(strstr(err.text, cases[i].says));
    }
    m = make("f32", x, 1, 32, 1, NULL);
    assert_int_equal(brisk_matrix_multiply(m, x, 0, out, &err), BRISK_ERR_INVALID);
    assert_int_equal(brisk_matrix_multiply(m, NULL, 1, out, &err), BRISK_ERR_INVALID);
    assert_int_equal(brisk_matrix_multiply(NULL, x, 1, out, &err), BRISK_ERR_INVALID);
    assert_int_equal(brisk_matrix_row(m, 1, out, &err), BRISK_ERR_INVALID);
    brisk_matrix_destroy(&m);
    assert_int_equal(brisk_matrix_create("f32", NULL, 1, 32, NULL, &m, &err), BRISK_ERR_INVALID);
    assert_int_equal(brisk_matrix_create("f32", x, 1, 32, NULL, NULL, &err), BRISK_ERR_INVALID);
}

/* Sizes that no block divides, in every way: the bench compares them itself. */
static void ways_agree(void **state) {
    (void)state;
    static const size_t sizes[][3] = {{1, 1, 1}, {35, 21, 300}, {2, 4, 256}, {16, 70, 513}};
    for (size_t i = 0; i < BK_ARRAY_LEN(sizes); i++) {
        brisk_matmul_test t;
        brisk_matmul_result r;
        brisk_error err;
        brisk_matmul_default(&t);
        t.m = sizes[i][0], t.n = sizes[i][1], t.k = sizes[i][2];
        t.threads[0] = 1, t.threads[1] = 3, t.n_threads = 2;
        t.rounds = 1;
        t.peer = "";
        if (brisk_bench_matmul(&t, &r, &err)) fail_msg("%s", err.text);
        assert_int_equal(r.n_rows, 4);
        assert_int_equal(r.rows[3].way, BRISK_MATMUL_SIMD);
        assert_int_equal(r.rows[3].threads, 3);
        assert_false(r.integer);
        for (int row = 0; row < r.n_rows; row++) {
            assert_int_equal(r.rows[row].vectors, t.n);
            assert_true(r.rows[row].best > 0 && r.rows[row].best <= r.rows[row].median);
            assert_true(r.rows[row].difference <= 1e-5);
        }
        t.m = 65537;
        assert_int_equal(brisk_bench_matmul(&t, &r, &err), BRISK_ERR_INVALID);
        assert_non_null(strstr(err.text, "65537"));
    }
}

static void bench_refused(void **state) {
    (void)state;
    brisk_matmul_test t, good;
    brisk_matmul_result r;
    brisk_error err;
    bool stop = true;
    brisk_matmul_default(&good);
    good.m = good.n = good.k = 8;
    t = good;
    t.n_threads = 17;
    assert_int_equal(brisk_bench_matmul(&t, &r, &err), BRISK_ERR_INVALID);
    t = good;
    t.rounds = 0;
    assert_int_equal(brisk_bench_matmul(&t, &r, &err), BRISK_ERR_INVALID);
    t = good;
    t.threads[0] = 0;
    assert_int_equal(brisk_bench_matmul(&t, &r, &err), BRISK_ERR_INVALID);
    t = good;
    t.type = NULL;
    assert_int_equal(brisk_bench_matmul(&t, &r, &err), BRISK_ERR_INVALID);
    t = good;
    t.cancel = &stop;
    assert_int_equal(brisk_bench_matmul(&t, &r, &err), BRISK_ERR_CANCELLED);
}

#ifdef BRISK_TESTING
/* Every allocation fails in turn: an error and nothing left behind, or a right result. */
static int scenario(void) {
    float rows[40 * 32], x[70 * 32], out[70 * 40];
    brisk_matrix_options o = {.threads = 2};
    brisk_matrix *m = NULL;
    brisk_error err;
    for (size_t i = 0; i < BK_ARRAY_LEN(rows); i++) rows[i] = 1;
    for (size_t i = 0; i < BK_ARRAY_LEN(x); i++) x[i] = 1;
    brisk_status st = brisk_matrix_create("f32", rows, 40, 32, &o, &m, &err);
    if (!st) st = brisk_matrix_multiply(m, x, 70, out, &err);
    brisk_matrix_destroy(&m);
    if (st) return st == BRISK_ERR_NOMEM ? SWEEP_FAILED_WELL : SWEEP_WRONG;
    for (size_t i = 0; i < BK_ARRAY_LEN(out); i++)
        if (out[i] != 32) return SWEEP_WRONG;
    return SWEEP_ALL_OK;
}

static void without_memory(void **state) {
    (void)state;
    assert_int_equal(sweep_once("matrix", 0), SWEEP_ALL_OK);
    assert_in_range(sweep_all("matrix", 1), 5, 1000);
}
#endif

int main(int argc, char **argv) {
#ifdef BRISK_TESTING
    if (argc == 3 && strcmp(argv[1], "sweep") == 0) return sweep_status(scenario());
#else
    (void)argc, (void)argv;
#endif
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(near_double),      cmocka_unit_test(same_bits),
        cmocka_unit_test(tells_what_it_is), cmocka_unit_test(refused),
        cmocka_unit_test(ways_agree),       cmocka_unit_test(bench_refused),
#ifdef BRISK_TESTING
        cmocka_unit_test(without_memory),
#endif
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
