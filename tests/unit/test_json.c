/* The JSON writer: escapes, commas, numbers, depth. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <jansson.h>
#include <math.h>

#include "base/json_write.h"

static void test_layout(void **state) {
    (void)state;
    bk_buf out = {0};
    bk_json w = {.out = &out};
    bk_json_begin(&w, '{');
    bk_json_key(&w, "empty");
    bk_json_begin(&w, '[');
    bk_json_end(&w, ']');
    bk_json_key(&w, "list");
    bk_json_begin(&w, '[');
    bk_json_int(&w, -1);
    bk_json_null(&w);
    bk_json_begin(&w, '{');
    bk_json_end(&w, '}');
    bk_json_bool(&w, true);
    bk_json_end(&w, ']');
    bk_json_key_uint(&w, "u", UINT64_MAX);
    bk_json_key_bool(&w, "b", false);
    bk_json_key_str(&w, "s", "x");
    bk_json_key_int(&w, "i", 7);
    bk_json_key_int(&w, "least", INT64_MIN);
    bk_json_key_int(&w, "zero", 0);
    bk_json_end(&w, '}');
    assert_string_equal(out.data, "{\"empty\":[],\"list\":[-1,null,{},true],"
                                  "\"u\":18446744073709551615,\"b\":false,\"s\":\"x\",\"i\":7,"
                                  "\"least\":-9223372036854775808,\"zero\":0}");
    bk_buf_free(&out);
}

static void test_numbers(void **state) {
    (void)state;
    bk_buf out = {0};
    bk_json w = {.out = &out};
    bk_json_begin(&w, '[');
    bk_json_double(&w, 0.1, 17);
    bk_json_double(&w, 1.0 / 3, 6);
    bk_json_double(&w, -1e300, 3);
    bk_json_double(&w, NAN, 3);
    bk_json_double(&w, INFINITY, 3);
    bk_json_end(&w, ']');
    assert_string_equal(out.data, "[0.10000000000000001,0.333333,-1e+300,null,null]");
    bk_buf_free(&out);
}

/* Every pair of bytes gives valid JSON, which reads back as the same text where that was UTF-8. */
static void test_any_bytes(void **state) {
    (void)state;
    for (int a = 0; a < 256; a++) {
        for (int b = 0; b < 256; b++) {
            char text[2] = {(char)a, (char)b};
            bk_buf out = {0};
            bk_json w = {.out = &out};
            bk_json_begin(&w, '[');
            bk_json_str(&w, (bk_str){text, 2});
            bk_json_end(&w, ']');
            json_t *back = json_loadb(out.data, out.len, JSON_ALLOW_NUL, NULL);
            if (!back) fail_msg("bytes %d %d give %s", a, b, out.data);
            json_t *s = json_array_get(back, 0);
            if (bk_utf8_valid_len(text, 2) == 2) {
                assert_int_equal(json_string_length(s), 2);
                assert_memory_equal(json_string_value(s), text, 2);
            } else {
                assert_non_null(
                    memmem(json_string_value(s), json_string_length(s), "\xEF\xBF\xBD", 3));
            }
            /* No control character stays raw: the output may be shown on a terminal. */
            for (size_t i = 0; i < out.len; i++) assert_true((unsigned char)out.data[i] >= 32);
            json_decref(back);
            bk_buf_free(&out);
        }
    }
}

static void test_escapes(void **state) {
    (void)state;
    bk_buf out = {0};
    bk_json w = {.out = &out};
    bk_json_str(&w, BK_STR("a\"b\\c\nd\te\rf\x01\x7f\xC2\x9B\xC3\xA9"));
    assert_string_equal(out.data, "\"a\\\"b\\\\c\\nd\\te\\rf\\u0001\\u007f\\u009b\xC3\xA9\"");
    bk_buf_free(&out);
}

static void test_depth(void **state) {
    (void)state;
    bk_buf out = {0};
    bk_json w = {.out = &out};
    for (int i = 0; i < BK_JSON_MAX_DEPTH; i++) bk_json_begin(&w, '[');
    assert_false(out.failed);
    bk_json_begin(&w, '[');
    assert_true(out.failed);
    bk_buf_free(&out);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_layout),    cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_any_bytes), cmocka_unit_test(test_escapes),
        cmocka_unit_test(test_depth),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
