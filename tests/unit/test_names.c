/* Names of models and files. They belong to the program, so their source is taken in here. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "cli/names.c"

static void test_split(void **state) {
    (void)state;
    unsigned part, of;
    size_t stem;
    char other[64];
    assert_true(name_split("big-Q8_0-00002-of-00013.gguf", &part, &of, &stem));
    assert_int_equal(part, 2);
    assert_int_equal(of, 13);
    assert_int_equal(stem, 8);
    assert_true(name_of_part("d/x-00002-of-00013.GGUF", 13, other, sizeof other));
    assert_string_equal(other, "d/x-00013-of-00013.GGUF");
    assert_false(name_of_part("d/x-00002-of-00013.gguf", 3, other, 23));
    assert_false(name_of_part("d/x-00002-of-00013.gguf", 100000, other, sizeof other));
    static const char *const whole[] = {"",
                                        "x.gguf",
                                        "-00001-of-00002.ggu",
                                        "x-0001-of-00002.gguf",
                                        "-00001-of-00002.gguf.part",
                                        "x-00003-of-00002.gguf",
                                        "x-00000-of-00002.gguf",
                                        "x-0000a-of-00002.gguf",
                                        "00001-of-00002.gguf",
                                        "x_00001-of-00002.gguf"};
    for (size_t i = 0; i < BK_ARRAY_LEN(whole); i++) {
        of = 7;
        if (name_split(whole[i], &part, &of, &stem) || of != 7) fail_msg("%s", whole[i]);
        assert_false(name_of_part(whole[i], 1, other, sizeof other));
    }
}

static void test_quant(void **state) {
    (void)state;
    static const char *const cases[][2] = {
        {"a/Llama-3.2-1B-Instruct-Q4_K_M.gguf", "Q4_K_M"},
        {"gemma-3-270m-q4_k_m.gguf", "Q4_K_M"},
        {"x-IQ3_XXS-00001-of-00002.gguf", "IQ3_XXS"},
        {"x.bf16.gguf", "BF16"},
        {"X-FP16.gguf", "FP16"},
        {"gpt-oss-20b-mxfp4.gguf", "MXFP4"},
        {"UD-Q4_K_XL-model.gguf", "Q4_K_XL"},
        {"model_Q5_0.gguf", "Q5_0"},
        {"q8_0-and-q4_0.gguf", "Q4_0"},
        {"TQ1_0.gguf", "TQ1_0"},
        {"plain.gguf", ""},
        {"f16x.gguf", ""},
        {"seq4.gguf", ""},
        {"Q.gguf", ""},
        {"Q4_.gguf", "Q4"},
        {"", ""},
    };
    for (size_t i = 0; i < BK_ARRAY_LEN(cases); i++) {
        char quant[32];
        name_quant(name_stem(cases[i][0]), quant, sizeof quant, NULL);
        if (strcmp(quant, cases[i][1])) fail_msg("%s: %s", cases[i][0], quant);
    }
}

static void test_tag(void **state) {
    (void)state;
    bk_str stem = BK_STR("m-UD-Q4_K_XL");
    assert_true(name_has_tag(stem, BK_STR("q4_k_xl")));
    assert_true(name_has_tag(stem, BK_STR("UD-Q4_K_XL")));
    assert_true(name_has_tag(stem, BK_STR("m-ud-q4_k_xl")));
    assert_false(name_has_tag(stem, BK_STR("Q4_K")));
    assert_false(name_has_tag(stem, BK_STR("D-Q4_K_XL")));
    assert_false(name_has_tag(stem, BK_STR("mm-UD-Q4_K_XL")));
    assert_false(name_has_tag(stem, BK_STR("")));
    assert_false(name_has_tag(BK_STR(""), BK_STR("Q4_K")));
}

static void test_repo(void **state) {
    (void)state;
    bk_str repo, tag;
    assert_true(name_repo("a-b/c.d_e:Q4_K_M", &repo, &tag));
    assert_true(bk_str_eq(repo, BK_STR("a-b/c.d_e")) && bk_str_eq(tag, BK_STR("Q4_K_M")));
    assert_true(name_repo("a/b", &repo, &tag));
    assert_int_equal(tag.len, 0);
    static const char *const bad[] = {"",     "a",    "a/",    "/b",    "a/b/c", "a/b:",
                                      "../b", "a/..", "a b/c", "a:b/c", "a/b?x", "a/b\n"};
    for (size_t i = 0; i < BK_ARRAY_LEN(bad); i++) {
        if (name_repo(bad[i], &repo, &tag)) fail_msg("'%s'", bad[i]);
    }
}

static void test_inside(void **state) {
    (void)state;
    static const char *const good[] = {"a", "a/b.gguf", "..a", "a/...", "\xc3\xa9/x"};
    static const char *const bad[] = {"",       "/",   "/a",  "a/",   "a//b", ".",    "..",
                                      "a/../b", "./a", "a/.", "a\nb", "a\\b", "a\x7f"};
    for (size_t i = 0; i < BK_ARRAY_LEN(good); i++) assert_true(name_is_inside(good[i]));
    for (size_t i = 0; i < BK_ARRAY_LEN(bad); i++) {
        if (name_is_inside(bad[i])) fail_msg("'%s'", bad[i]);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_split), cmocka_unit_test(test_quant),  cmocka_unit_test(test_tag),
        cmocka_unit_test(test_repo),  cmocka_unit_test(test_inside),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
