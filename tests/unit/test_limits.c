/* measure/limits and kernel/peak: the loops count their own work; what is kept is found again, and
 * nothing else is taken for it; between what was measured. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/mem.h"
#include "fake_root.h"
#include "kernel/peak.h"
#include "measure/limits.h"

/* ---- Loops -------------------------------------------------------------------------------------- */

/* Multiplications of one round; 0 where the level has no such loop. */
typedef struct work {
    uint64_t int8, bf16, f32;
} work;

static const work PER_ROUND[BK_CPU_LEVELS] = {
    [BK_CPU_REF] = {64, 0, 12 * 4},
    [BK_CPU_AVX2] = {4 * 8 * 32, 0, 12 * 8},
    [BK_CPU_AVXVNNI] = {12 * 32, 0, 12 * 8},
    [BK_CPU_AVX512] = {12 * 64, 12 * 32, 12 * 16},
};

static void loops_count_their_work(void **state) {
    (void)state;
    static const size_t rounds[] = {0, 1, 7, 1000, BK_PEAK_ROUNDS};
    for (int level = 0; level <= (int)bk_cpu_best(); level++) {
        bk_peaks p = bk_peaks_select((bk_cpu_level)level);
        const work *w = &PER_ROUND[level];
        for (size_t i = 0; i < BK_ARRAY_LEN(rounds); i++) {
            size_t n = rounds[i];
            assert_true(p.int8(n) == n * w->int8);
            assert_true(p.int8_memory(n) == n * w->int8);
            assert_true(p.f32(n) == n * w->f32);
            if (p.bf16) assert_true(p.bf16(n) == n * w->bf16);
        }
        assert_int_equal(p.bf16 != NULL, level == BK_CPU_AVX512 && bk_cpu_has_avx512_bf16());
    }
}

static void every_word_is_read(void **state) {
    (void)state;
    enum { BYTES = 3 * BK_PEAK_READ };
    uint64_t *words = bk_alloc_aligned(BYTES), want = 0;
    for (size_t i = 0; i < BYTES / 8; i++) {
        words[i] = (i + 1) * 0x9e3779b97f4a7c15u;
        want ^= words[i];
    }
    for (int level = 0; level <= (int)bk_cpu_best(); level++) {
        bk_peaks p = bk_peaks_select((bk_cpu_level)level);
        assert_true(p.read(words, BYTES) == want);
        assert_true(p.read(words, 0) == 0);
        for (size_t i = 0; i < BYTES / 8; i++) {
            words[i] ^= 5;
            assert_true(p.read(words, BYTES) == (want ^ 5));
            words[i] ^= 5;
        }
    }
    bk_free(words);
}

/* ---- Measuring ---------------------------------------------------------------------------------- */

typedef struct seen {
    int calls, until; /* sets cancel at this call */
    double last;
    bool cancel;
} seen;

static void watch(double done, void *user) {
    seen *s = user;
    assert_true(done > s->last && done <= 1);
    s->last = done;
    if (++s->calls == s->until) s->cancel = true;
}

/* Whether the memory written by the next function counts. */
#ifdef BRISK_TESTING
static const bool other_root = true;
#else
static const bool other_root = false;
#endif

/* Another machine's memory, so that buffers stay small. */
static void little_memory(void) {
    put("/proc/meminfo", "MemTotal:       20000 kB\nMemAvailable:    18000 kB\n");
}

static void measures(void **state) {
    (void)state;
    little_memory();
    seen s = {.until = -1};
    bk_limits_watch w = {.progress = watch, .user = &s, .cancel = &s.cancel};
    bk_limits l;
    bk_error err;
    bk_cpu_level level = bk_cpu_best();
    assert_int_equal(bk_limits_measure(level, 3, &w, &l, &err), BK_OK);
    assert_true(s.last == 1 && s.calls > 0);
    assert_int_equal(l.level, level);
    assert_int_equal(l.n_counts, 3);
    for (int i = 0; i < 3; i++) assert_int_equal(l.threads[i], i + 1);
    if (other_root) assert_true(l.n_sizes == 3 && l.bytes[2] == 4u << 20); /* a quarter of 18 MB */
    assert_true(l.date > 1700000000);
    for (int c = 0; c < l.n_counts; c++) {
        assert_true(l.int8[c] > 0 && l.int8_memory[c] > 0 && l.f32[c] > 0 && l.barrier[c] > 0);
        bool has_bf16 = level == BK_CPU_AVX512 && bk_cpu_has_avx512_bf16();
        assert_true(has_bf16 ? l.bf16[c] > 0 : l.bf16[c] == 0);
        for (int i = 0; i < l.n_sizes; i++)
            assert_true(l.read[c][i] >= l.read_median[c][i] && l.read_median[c][i] > 0);
    }
}

static void measuring_stops(void **state) {
    (void)state;
    little_memory();
    seen s = {.until = 2};
    bk_limits_watch w = {.progress = watch, .user = &s, .cancel = &s.cancel};
    bk_limits l;
    bk_error err;
    assert_int_equal(bk_limits_measure(BK_CPU_REF, 1, &w, &l, &err), BK_ERR_CANCELLED);
    assert_int_equal(s.calls, 2);
}

static void refuses(void **state) {
    (void)state;
    bk_limits l;
    bk_error err;
    double best, median;
    assert_int_equal(bk_limits_measure(BK_CPU_REF, 257, NULL, &l, &err), BK_ERR_INVALID);
    assert_int_equal(bk_limits_measure(BK_CPU_REF, -1, NULL, &l, &err), BK_ERR_INVALID);
    assert_int_equal(bk_limits_measure(BK_CPU_LEVELS, 1, NULL, &l, &err), BK_ERR_INVALID);
    assert_int_equal(bk_limits_get(BK_CPU_REF, -1, false, NULL, &l, &err), BK_ERR_INVALID);
    assert_false(bk_limits_load(BK_CPU_REF, -1, &l));
    assert_false(bk_limits_load(BK_CPU_REF, INT32_MAX, &l));
    assert_int_equal(bk_read_rate_measure(BK_CPU_REF, 0, 1 << 20, NULL, &best, &median, &err),
                     BK_ERR_INVALID);
    assert_int_equal(bk_read_rate_measure(BK_CPU_REF, 4, 16383, NULL, &best, &median, &err),
                     BK_ERR_INVALID);
    little_memory();
    if (!other_root) return;
    assert_int_equal(bk_read_rate_measure(BK_CPU_REF, 1, 1 << 30, NULL, &best, &median, &err),
                     BK_ERR_LIMIT);
}

static void one_rate(void **state) {
    (void)state;
    bk_error err;
    bool cancel = false;
    double best = 0, median = 0;
    assert_int_equal(bk_read_rate_measure(bk_cpu_best(), 2, 300001, &cancel, &best, &median, &err),
                     BK_OK);
    assert_true(best >= median && median > 0);
    cancel = true;
    assert_int_equal(bk_read_rate_measure(bk_cpu_best(), 2, 300001, &cancel, &best, &median, &err),
                     BK_ERR_CANCELLED);
}

/* ---- Keeping ------------------------------------------------------------------------------------ */

/* Figures that can be told apart. */
static bk_limits made(int max_threads) {
    bk_limits l;
    bk_limits_describe(BK_CPU_REF, max_threads, &l);
    l.date = 1700000000;
    for (int c = 0; c < l.n_counts; c++) {
        l.int8[c] = 1e9 * (c + 1);
        l.int8_memory[c] = 2e9 * (c + 1);
        l.f32[c] = 4e9 * (c + 1);
        l.barrier[c] = 1e-7 * (c + 1);
        for (int s = 0; s < l.n_sizes; s++) {
            l.read[c][s] = 1e10 * (c + 1) / (s + 1);
            l.read_median[c][s] = 0.5e10 * (c + 1) / (s + 1);
        }
    }
    return l;
}

static void assert_same(const bk_limits *a, const bk_limits *b) {
    bk_buf x = {0}, y = {0};
    assert_true(bk_limits_write(a, &x) && bk_limits_write(b, &y));
    assert_string_equal(x.data, y.data);
    bk_buf_free(&x);
    bk_buf_free(&y);
}

static void kept_is_found(void **state) {
    (void)state;
    bk_limits l = made(5), back;
    bk_error err;
    assert_int_equal(l.n_counts, 4); /* 1, 2, 4, 5 */
    assert_false(bk_limits_load(BK_CPU_REF, 5, &back));
    assert_int_equal(bk_limits_save(&l, &err), BK_OK);
    assert_true(bk_limits_load(BK_CPU_REF, 5, &back));
    assert_same(&l, &back);
    assert_false(bk_limits_load(BK_CPU_REF, 4, &back));
    assert_false(bk_limits_load(BK_CPU_AVX2, 5, &back));
    /* Found, so not measured. */
    assert_int_equal(bk_limits_get(BK_CPU_REF, 5, false, NULL, &back, &err), BK_OK);
    assert_same(&l, &back);
}

static void measured_is_kept(void **state) {
    (void)state;
    little_memory();
    bk_limits l, back;
    bk_error err;
    bk_limits stale = made(1);
    assert_int_equal(bk_limits_save(&stale, &err), BK_OK);
    assert_int_equal(bk_limits_get(BK_CPU_REF, 1, true, NULL, &l, &err), BK_OK);
    assert_true(l.date > stale.date);
    assert_true(bk_limits_load(BK_CPU_REF, 1, &back));
    assert_same(&l, &back);
}

/* The file that was kept, found by its name. */
static void kept_path(char *out, size_t cap) {
    char command[256];
    snprintf(command, sizeof command, "ls %s/limits-*.json", root);
    FILE *f = popen(command, "r");
    assert_non_null(f);
    assert_non_null(fgets(out, (int)cap, f));
    out[strcspn(out, "\n")] = '\0';
    assert_null(fgets(command, sizeof command, f)); /* the only one */
    pclose(f);
}

static void write_file(const char *path, const char *text, size_t len) {
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_int_equal(fwrite(text, 1, len, f), len);
    fclose(f);
}

static void damaged_is_not_taken(void **state) {
    (void)state;
    bk_limits l = made(2), back;
    bk_error err;
    char path[256];
    bk_buf text = {0};
    assert_int_equal(bk_limits_save(&l, &err), BK_OK);
    kept_path(path, sizeof path);
    assert_true(bk_limits_write(&l, &text));
    for (size_t cut = 0; cut + 1 < text.len; cut += 7) { /* the last byte is a newline */
        write_file(path, text.data, cut);
        assert_false(bk_limits_load(BK_CPU_REF, 2, &back));
    }
    write_file(path, text.data, text.len);
    assert_true(bk_limits_load(BK_CPU_REF, 2, &back));
    bk_buf_free(&text);
}

/* Replaces the first `from` in the text of limits by `to`. */
static bk_status read_changed(const char *from, const char *to, bk_error *err) {
    bk_limits l = made(2), back;
    bk_buf text = {0}, changed = {0};
    assert_true(bk_limits_write(&l, &text));
    const char *at = strstr(text.data, from);
    if (!at) fail_msg("no %s in %s", from, text.data);
    bk_buf_append(&changed, text.data, (size_t)(at - text.data));
    bk_buf_append_str(&changed, to);
    bk_buf_append_str(&changed, at + strlen(from));
    bk_status st = bk_limits_read(bk_buf_view(&changed), &back, err);
    bk_buf_free(&text);
    bk_buf_free(&changed);
    return st;
}

static void strange_is_refused(void **state) {
    (void)state;
    static const struct {
        const char *from, *to, *named;
    } changes[] = {
        {"\"version\":1", "\"version\":2", "version"},
        {"\"level\":\"ref\"", "\"level\":\"fast\"", "level"},
        {"\"level\":\"ref\"", "\"level\":1", "level"},
        {"\"cpu\":\"", "\"cpu\":\"0123456789012345678901234567890123456789012345678901234567890123",
         "cpu"},
        {"\"cpu\":\"", "\"cpu\":\"\\u0000", "cpu"},
        {"\"date\":17", "\"date\":-17", "date"},
        {"\"threads\":[1,2]", "\"threads\":[1,1]", "threads"},
        {"\"threads\":[1,2]", "\"threads\":[2,3]", "threads"},
        {"\"threads\":[1,2]", "\"threads\":[1,2,3,4,5,6,7,8,9,10,11]", "threads"},
        {"\"threads\":[1,2]", "\"threads\":[]", "threads"},
        {"\"threads\":[1,2]", "\"threads\":[1,2,3]", "read"},
        {"\"bytes\":[262144", "\"bytes\":[0", "bytes"},
        {"\"int8\":[", "\"int8\":[\"a\",", "int8"},
        {"\"int8\":[1e+09", "\"int8\":[0", "int8"},
        {"\"f32\":[4e+09", "\"f32\":[-4e+09", "f32"},
        {"\"barrier\":[", "\"barrier\":[1,", "barrier"},
        {"\"read_median\":[[", "\"read_median\":[[1,", "read_median"},
        {"\"f32\"", "\"f33\"", "f32"},
    };
    bk_error err;
    for (size_t i = 0; i < BK_ARRAY_LEN(changes); i++) {
        assert_int_equal(read_changed(changes[i].from, changes[i].to, &err), BK_ERR_FORMAT);
        char named[64];
        snprintf(named, sizeof named, "\"%s\"", changes[i].named);
        if (!strstr(err.text, named)) fail_msg("%zu: %s", i, err.text);
    }
    assert_int_equal(read_changed("\"version\":1", "\"version\":1,\"new\":[]", &err), BK_OK);
}

static void stale_is_not_taken(void **state) {
    (void)state;
    static const struct {
        const char *from, *to;
    } changes[] = {{"\"cpu\":\"", "\"cpu\":\"other "}, {"\"cpus\":", "\"cpus\":9"}};
    for (size_t i = 0; i < BK_ARRAY_LEN(changes); i++) {
        bk_limits l = made(2), back;
        bk_error err;
        char path[256];
        bk_buf text = {0}, changed = {0};
        assert_int_equal(bk_limits_save(&l, &err), BK_OK);
        kept_path(path, sizeof path);
        assert_true(bk_limits_load(BK_CPU_REF, 2, &back));
        assert_true(bk_limits_write(&l, &text));
        const char *at = strstr(text.data, changes[i].from);
        bk_buf_append(&changed, text.data, (size_t)(at - text.data));
        bk_buf_append_str(&changed, changes[i].to);
        bk_buf_append_str(&changed, at + strlen(changes[i].from));
        write_file(path, changed.data, changed.len);
        assert_int_equal(bk_limits_read(bk_buf_view(&changed), &back, &err), BK_OK);
        assert_false(bk_limits_load(BK_CPU_REF, 2, &back));
        bk_buf_free(&text);
        bk_buf_free(&changed);
    }
}

/* ---- Between ------------------------------------------------------------------------------------ */

static void between(void **state) {
    (void)state;
    bk_limits l = {.n_counts = 3,
                   .threads = {1, 2, 6},
                   .n_sizes = 3,
                   .bytes = {1000, 10000, 1000000},
                   .read = {{9, 5, 1}, {19, 15, 11}, {59, 55, 51}},
                   .int8 = {10, 20, 60},
                   .f32 = {1, 1, 3},
                   .barrier = {2, 4, 8}};
    const double near = 1e-9;
    assert_float_equal(bk_limits_int8(&l, 1), 10, near);
    assert_float_equal(bk_limits_int8(&l, 2), 20, near);
    assert_float_equal(bk_limits_int8(&l, 4), 40, near);
    assert_float_equal(bk_limits_int8(&l, 6), 60, near);
    assert_float_equal(bk_limits_int8(&l, 0), 10, near);
    assert_float_equal(bk_limits_int8(&l, 100), 60, near);
    assert_float_equal(bk_limits_f32(&l, 3), 1.5, near);
    assert_float_equal(bk_limits_bf16(&l, 2), 0, near);
    assert_float_equal(bk_limits_barrier(&l, 5), 7, near);

    assert_float_equal(bk_limits_read_rate(&l, 1, 1000), 9, near);
    assert_float_equal(bk_limits_read_rate(&l, 1, 1), 9, near);
    assert_float_equal(bk_limits_read_rate(&l, 1, 0), 9, near);
    assert_float_equal(bk_limits_read_rate(&l, 1, 10000), 5, near);
    assert_float_equal(bk_limits_read_rate(&l, 1, 100000), 3, near); /* half-way in the logarithm */
    assert_float_equal(bk_limits_read_rate(&l, 1, 1000000), 1, near);
    assert_float_equal(bk_limits_read_rate(&l, 1, SIZE_MAX), 1, near);
    assert_float_equal(bk_limits_read_rate(&l, 4, 100000), 33, near);
    assert_float_equal(bk_limits_read_rate(&l, 9, 1), 59, near);

    l.n_counts = l.n_sizes = 1;
    assert_float_equal(bk_limits_int8(&l, 5), 10, near);
    assert_float_equal(bk_limits_read_rate(&l, 5, 5000), 9, near);
}

/* An empty machine, whose cache folder is its root too. */
static int set_up(void **state) {
    if (make_root(state)) return -1;
    setenv("BRISK_CACHE", root, 1);
    return setenv("BRISK_TEST_ROOT", root, 1);
}

int main(void) {
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(loops_count_their_work),
        cmocka_unit_test(every_word_is_read),
        cmocka_unit_test_setup_teardown(measures, set_up, remove_root),
        cmocka_unit_test_setup_teardown(measuring_stops, set_up, remove_root),
        cmocka_unit_test_setup_teardown(refuses, set_up, remove_root),
        cmocka_unit_test_setup_teardown(one_rate, set_up, remove_root),
        cmocka_unit_test_setup_teardown(kept_is_found, set_up, remove_root),
        cmocka_unit_test_setup_teardown(measured_is_kept, set_up, remove_root),
        cmocka_unit_test_setup_teardown(damaged_is_not_taken, set_up, remove_root),
        cmocka_unit_test_setup_teardown(strange_is_refused, set_up, remove_root),
        cmocka_unit_test_setup_teardown(stale_is_not_taken, set_up, remove_root),
        cmocka_unit_test(between),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
