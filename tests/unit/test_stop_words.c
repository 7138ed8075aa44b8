/* Stop words: the program's lists, lists from outside, what goes and what stays. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/mem.h"
#include "fail_alloc.h"
#include "text/stop_words.h"

static bk_stop_words *open_names(const char *names) {
    bk_stop_words *w = NULL;
    bk_error err = {0};
    if (bk_stop_words_open(names, &w, &err)) fail_msg("%s", err.text);
    return w;
}

static void check(const bk_stop_words *w, const char *in, const char *want) {
    bk_buf out = {0};
    assert_true(bk_stop_words_apply(w, bk_str_from(in), &out));
    assert_string_equal(out.data ? out.data : "", want);
    bk_buf_free(&out);
}

static void test_english(void **state) {
    (void)state;
    bk_stop_words *w = open_names("en");
    check(w, "The cat sat on the mat.", "cat sat mat.");
    check(w, "It\u2019s not theirs, nor hers; it's mine", "not, nor;");
    check(w, "Theory of the others\n the  end\n", "Theory others\n  end\n");
    check(w, "the\nThe\n\nthere", "\n\n\n");
    check(w, " cat\n  dog", " cat\n  dog"); /* what has no stop words stays as it is */
    check(w, "我们的 cat", "我们的 cat");
    check(w, "", "");
    check(w, "the\xFF of", "\xFF");
    bk_stop_words_destroy(&w);
}

static void test_chinese(void **state) {
    (void)state;
    bk_stop_words *w = open_names("zh");
    check(w, "我们的书在桌子上，但是他不知道。", "书桌子上，不知道。");
    check(w, "目的", "目"); /* the price of looking at characters */
    check(w, "the cat的", "the cat");
    bk_stop_words_destroy(&w);
    w = open_names("en,zh");
    check(w, "the cat的 dog", "cat dog");
    bk_stop_words_destroy(&w);
}

static void test_lists(void **state) {
    (void)state;
    bk_stop_words *w = NULL;
    bk_error err = {0};
    static const char own[] = "# mine\r\n\n  Étude \ndon't\n\xE4\xB8\xAD\xE6\x96\x87\n中";
    assert_int_equal(bk_stop_words_parse(bk_str_from(own), &w, &err), BK_OK);
    check(w, "an ÉTUDE don\u2019t 中文字中", "an 字");
    bk_stop_words_destroy(&w);
    assert_int_equal(bk_stop_words_parse(BK_STR(""), &w, &err), BK_OK);
    check(w, "the same", "the same");
    bk_stop_words_destroy(&w);
    static const char *const bad[] = {"a\nof the\n", "x1", "12", "中a", "a\xFF", "-", "'"};
    for (size_t i = 0; i < BK_ARRAY_LEN(bad); i++) {
        assert_int_equal(bk_stop_words_parse(bk_str_from(bad[i]), &w, &err), BK_ERR_FORMAT);
        assert_null(w);
        assert_non_null(strstr(err.text, i == 0 ? "line 2" : "line 1"));
    }
    assert_int_equal(bk_stop_words_open("en,/none/here.txt", &w, &err), BK_ERR_NOT_FOUND);
    assert_non_null(strstr(err.text, "/none/here.txt"));
    assert_int_equal(bk_stop_words_open("en,", &w, &err), BK_ERR_INVALID);
    assert_int_equal(bk_stop_words_open("", &w, &err), BK_ERR_INVALID);
    assert_null(w);
}

/* The program's lists: every word once, nothing that denies. */
static void test_own_lists(void **state) {
    (void)state;
    static const char *const names[] = {"en", "zh"}, *const kept[] = {"not", "no", "never",
                                                                      "不",  "没", "nor"};
    for (size_t i = 0; i < BK_ARRAY_LEN(names); i++) {
        const char *list = bk_stop_list(bk_str_from(names[i]));
        size_t n = 0;
        for (const char *at = list, *end; (end = strchr(at, '\n')); at = end + 1, n++) {
            bk_str word = {at, (size_t)(end - at)};
            for (const char *b = list, *e; (e = strchr(b, '\n')); b = e + 1)
                if (b != at && bk_str_eq((bk_str){b, (size_t)(e - b)}, word))
                    fail_msg("%.*s twice", (int)word.len, word.data);
            for (size_t k = 0; k < BK_ARRAY_LEN(kept); k++)
                assert_false(bk_str_eq(word, bk_str_from(kept[k])));
        }
        assert_in_range(n, 100, 250);
    }
    assert_null(bk_stop_list(BK_STR("de")));
}

#ifdef BRISK_TESTING
static int scenario(void) {
    bk_stop_words *w = NULL;
    bk_error err = {0};
    bk_buf out = {0};
    bk_status st = bk_stop_words_open("en,zh", &w, &err);
    if (st && (w || st != BK_ERR_NOMEM || !err.text[0])) return SWEEP_WRONG;
    bool ok = !st && bk_stop_words_apply(w, BK_STR("the cat 我们的书"), &out);
    if (ok && !bk_str_eq(bk_buf_view(&out), BK_STR("cat 书"))) return SWEEP_WRONG;
    bk_buf_free(&out);
    bk_stop_words_destroy(&w);
    return ok ? SWEEP_ALL_OK : SWEEP_FAILED_WELL;
}

static void test_no_memory(void **state) {
    (void)state;
    assert_true(sweep_all("stop", 1) > 3);
}
#endif

int main(int argc, char **argv) {
#ifdef BRISK_TESTING
    if (argc == 3 && strcmp(argv[1], "sweep") == 0) return sweep_status(scenario());
#else
    (void)argc, (void)argv;
#endif
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_english),   cmocka_unit_test(test_chinese),
        cmocka_unit_test(test_lists),     cmocka_unit_test(test_own_lists),
#ifdef BRISK_TESTING
        cmocka_unit_test(test_no_memory),
#endif
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
