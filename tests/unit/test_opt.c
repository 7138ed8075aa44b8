/* The option parser. It belongs to the program, so its source is taken in here. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "cli/opt.c"

typedef struct values {
    const char *name;
    opt_strs many, rest;
    opt_ints list;
    int count, color;
    float temp;
    uint64_t seed;
    bool flag;
} values;

static opt_result parse(values *v, bool rest, char *err, size_t cap, int argc, const char **argv) {
    const opt_spec specs[] = {
        {"-m --model", "PATH", "a model", OPT_STR, &v->name, 0, 0},
        {"-r --stop", "TEXT", "a text", OPT_STRS, &v->many, 0, 0},
        {"-t --threads", "N,...", "threads", OPT_INTS, &v->list, 0, 256},
        {"-n --n-predict", "N", "tokens", OPT_INT, &v->count, -1, 1000},
        {"--temp", "T", "temperature", OPT_FLOAT, &v->temp, 0, 100},
        {"-s --seed", "N", "seed", OPT_SEED, &v->seed, 0, 0},
        {"--color", "auto|always|never", "color", OPT_CHOICE, &v->color, 0, 0},
        {"--raw", NULL, "raw", OPT_FLAG, &v->flag, 0, 0},
    };
    const opt_table t = {.verb = "try",
                         .usage = "usage: brisk try",
                         .about = "Tries.",
                         .specs = specs,
                         .n_specs = BK_ARRAY_LEN(specs),
                         .rest = rest ? &v->rest : NULL};
    return opt_parse(&t, argc, (char **)(uintptr_t)argv, err, cap);
}

#define PARSE(v, err, ...)                                                      \
    parse(v, false, err, sizeof err,                                            \
          (int)(sizeof((const char *[]){"try", __VA_ARGS__}) / sizeof(char *)), \
          (const char *[]){"try", __VA_ARGS__})

static void test_values(void **state) {
    (void)state;
    char err[256];
    values v = {.list = {.v = {9}, .n = 1}};
    assert_int_equal(PARSE(&v, err, "-m", "x y", "--n-predict", "-1", "--temp=0.25", "--seed", "7",
                           "--color", "never", "--raw", "-r", "a", "--stop", "b"),
                     OPT_OK);
    assert_string_equal(v.name, "x y");
    assert_int_equal(v.count, -1);
    assert_float_equal(v.temp, 0.25, 0);
    assert_int_equal(v.seed, 7);
    assert_int_equal(v.color, 2);
    assert_true(v.flag);
    assert_int_equal(v.many.n, 2);
    assert_string_equal(v.many.v[1], "b");
    assert_int_equal(v.list.v[0], 9);
    assert_int_equal(PARSE(&v, err, "-s", "-1"), OPT_OK);
    assert_true(v.seed == UINT64_MAX);
    assert_int_equal(PARSE(&v, err, "-n", "3", "--help"), OPT_HELP);
}

static void check_list(const char *text, size_t n, const int *wanted) {
    char err[256];
    values v = {.list = {.v = {9}, .n = 1}};
    if (PARSE(&v, err, "-t", text) != OPT_OK) fail_msg("%s: %s", text, err);
    assert_int_equal(v.list.n, n);
    for (size_t i = 0; i < n; i++) assert_int_equal(v.list.v[i], wanted[i]);
}

static void test_lists(void **state) {
    (void)state;
    check_list("1", 1, (int[]){1});
    check_list("1,2,16", 3, (int[]){1, 2, 16});
    check_list("2-4", 3, (int[]){2, 3, 4});
    check_list("1-8*2,3", 5, (int[]){1, 2, 4, 8, 3});
    check_list("0-10+5", 3, (int[]){0, 5, 10});
    char err[256];
    static const char *const bad[] = {"",      "1,",    ",1",    "a",     "1-",
                                      "5-2",   "1-2*1", "0-4*2", "257",   "1-9+0",
                                      "0-256", "1 ",    " 1",    "1-2+x", "99999999999999999999"};
    for (size_t i = 0; i < BK_ARRAY_LEN(bad); i++) {
        values v = {0};
        if (PARSE(&v, err, "-t", bad[i]) != OPT_ERROR) fail_msg("'%s' was taken", bad[i]);
        assert_non_null(strstr(err, "-t: found '"));
    }
}

static void refuse(const char *option, const char *value, const char *wanted) {
    char err[256];
    values v = {0};
    assert_int_equal(PARSE(&v, err, option, value), OPT_ERROR);
    if (!strstr(err, wanted) || !strstr(err, option)) fail_msg("%s", err);
    assert_null(strchr(err, '\n'));
}

static void test_refused_values(void **state) {
    (void)state;
    static const char *const numbers[] = {"",   "x",   "1x",   " 1",  "1001",
                                          "-2", "1.5", "0x10", "nan", "+"};
    for (size_t i = 0; i < BK_ARRAY_LEN(numbers); i++) refuse("-n", numbers[i], "from -1 to 1000");
    static const char *const reals[] = {"",    "x",  "nan", "inf", "-0.1",
                                        "101", "1e", "1,5", " 1",  "."};
    for (size_t i = 0; i < BK_ARRAY_LEN(reals); i++) refuse("--temp", reals[i], "from 0 to 100");
    refuse("--seed", "-2", "-1 for a random one");
    refuse("--seed", "18446744073709551616", "whole number");
    refuse("--color", "blue", "auto|always|never");
    refuse("--color", "", "auto|always|never");
    refuse("-n", "\x1b[31m\n", "found '\\x1");
}

static void test_refused_names(void **state) {
    (void)state;
    char err[256];
    values v = {0};
    assert_int_equal(PARSE(&v, err, "--tmep", "1"), OPT_ERROR);
    assert_non_null(strstr(err, "did you mean --temp?"));
    assert_int_equal(PARSE(&v, err, "--n_predict", "1"), OPT_ERROR);
    assert_non_null(strstr(err, "did you mean --n-predict?"));
    assert_int_equal(PARSE(&v, err, "--colour=never"), OPT_ERROR);
    assert_non_null(strstr(err, "did you mean --color?"));
    assert_int_equal(PARSE(&v, err, "--zebra-crossing"), OPT_ERROR);
    assert_null(strstr(err, "did you mean"));
    assert_int_equal(PARSE(&v, err, "--raw=1"), OPT_ERROR);
    assert_non_null(strstr(err, "takes no value"));
    assert_int_equal(PARSE(&v, err, "-m"), OPT_ERROR);
    assert_non_null(strstr(err, "-m needs a value"));
    assert_int_equal(PARSE(&v, err, "stray"), OPT_ERROR);
    assert_non_null(strstr(err, "unexpected 'stray'"));
    char longest[5000];
    memset(longest, '-', sizeof longest - 1);
    longest[sizeof longest - 1] = '\0';
    assert_int_equal(PARSE(&v, err, longest), OPT_ERROR);
    assert_int_equal(PARSE(&v, err, "-n", longest), OPT_ERROR);
}

static void test_rest(void **state) {
    (void)state;
    char err[256];
    values v = {0};
    const char *argv[] = {"try", "a", "--raw", "-", "--", "--raw"};
    assert_int_equal(parse(&v, true, err, sizeof err, 6, argv), OPT_OK);
    assert_int_equal(v.rest.n, 3);
    assert_string_equal(v.rest.v[0], "a");
    assert_string_equal(v.rest.v[1], "-");
    assert_string_equal(v.rest.v[2], "--raw");
    const char *many[OPT_LIST_MAX + 2] = {"try"};
    for (size_t i = 1; i < BK_ARRAY_LEN(many); i++) many[i] = "x";
    v = (values){0};
    assert_int_equal(parse(&v, true, err, sizeof err, OPT_LIST_MAX + 2, many), OPT_ERROR);
}

static void test_distance(void **state) {
    (void)state;
    assert_int_equal(opt_distance("", ""), 0);
    assert_int_equal(opt_distance("abc", ""), 3);
    assert_int_equal(opt_distance("temp", "tmep"), 1);
    assert_int_equal(opt_distance("kitten", "sitting"), 3);
    assert_int_equal(opt_distance("abcd", "abcd"), 0);
}

static void test_environment(void **state) {
    (void)state;
    char err[256];
    values v = {0};
    setenv("BRISK_ARG_THREADS", "3,4", 1);
    setenv("BRISK_ARG_STOP", "x", 1);
    setenv("BRISK_ARG_N_PREDICT", "7", 1);
    setenv("BRISK_ARG_RAW", "on", 1);
    setenv("BRISK_ARG_TEMP", "", 1); /* empty: not set */
    setenv("BRISK_ARG_M", "short names have none", 1);
    assert_int_equal(PARSE(&v, err, "-n", "8"), OPT_OK);
    assert_int_equal(v.count, 8);
    assert_true(v.flag && !v.name);
    assert_int_equal(v.list.n, 2);
    assert_string_equal(v.many.v[0], "x");
    v = (values){0};
    assert_int_equal(PARSE(&v, err, "-t", "5", "-r", "y"), OPT_OK); /* replace, do not add */
    assert_int_equal(v.list.n, 1);
    assert_int_equal(v.many.n, 1);
    assert_int_equal(v.count, 7);
    setenv("BRISK_ARG_RAW", "0", 1);
    v = (values){.flag = true};
    assert_int_equal(PARSE(&v, err, "-n", "8"), OPT_OK);
    assert_false(v.flag);
    setenv("BRISK_ARG_RAW", "maybe", 1);
    assert_int_equal(PARSE(&v, err, "-n", "8"), OPT_ERROR);
    assert_string_equal(err, "BRISK_ARG_RAW: found 'maybe', wanted 1 or 0, on or off");
    assert_int_equal(PARSE(&v, err, "--help"), OPT_HELP);
    static const char *const names[] = {"THREADS", "STOP", "N_PREDICT", "RAW", "TEMP", "M"};
    for (size_t i = 0; i < BK_ARRAY_LEN(names); i++) {
        char variable[64];
        snprintf(variable, sizeof variable, "BRISK_ARG_%s", names[i]);
        unsetenv(variable);
    }
}

static void test_set(void **state) {
    (void)state;
    char err[256];
    values v = {0};
    const opt_spec specs[] = {
        {"-n --n-predict", "N", "tokens", OPT_INT, &v.count, -1, 1000},
        {"--temp", "T", "temperature", OPT_FLOAT, &v.temp, 0, 100},
        {"--raw", NULL, "raw", OPT_FLAG, &v.flag, 0, 0},
    };
    const opt_table t = {.specs = specs, .n_specs = BK_ARRAY_LEN(specs)};
    assert_int_equal(opt_set(&t, "temp", "0.5", err, sizeof err), OPT_OK);
    assert_int_equal(opt_set(&t, "n_predict", "12", err, sizeof err), OPT_OK);
    assert_int_equal(opt_set(&t, "raw", "true", err, sizeof err), OPT_OK);
    assert_float_equal(v.temp, 0.5, 0);
    assert_int_equal(v.count, 12);
    assert_true(v.flag);
    assert_int_equal(opt_set(&t, "temp", "x", err, sizeof err), OPT_ERROR);
    assert_string_equal(err, "temp: found 'x', wanted a number from 0 to 100");
    assert_int_equal(opt_set(&t, "tmep", "1", err, sizeof err), OPT_ERROR);
    assert_string_equal(err, "'tmep' cannot be set; did you mean temp?");
    char lengthy[400];
    memset(lengthy, 'y', sizeof lengthy - 1);
    lengthy[sizeof lengthy - 1] = '\0';
    assert_int_equal(opt_set(&t, lengthy, "1", err, sizeof err), OPT_ERROR);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_environment),    cmocka_unit_test(test_set),
        cmocka_unit_test(test_values),         cmocka_unit_test(test_lists),
        cmocka_unit_test(test_refused_values), cmocka_unit_test(test_refused_names),
        cmocka_unit_test(test_rest),           cmocka_unit_test(test_distance),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
