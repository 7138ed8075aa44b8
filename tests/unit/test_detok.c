#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/rng.h"
#include "text/tokenizer.h"

/* Feeds bytes cut at every multiple of step. */
static void feed(bk_str bytes, size_t step, bk_buf *out) {
    bk_detok d = {0};
    bk_buf_clear(out);
    for (size_t pos = 0; pos < bytes.len; pos += step) {
        bk_str part = {bytes.data + pos, bk_min_size(step, bytes.len - pos)};
        size_t before = out->len;
        assert_true(bk_detok_push(&d, part, out));
        size_t n = out->len - before;
        if (n > 0) assert_int_equal(bk_utf8_valid_len(out->data + before, n), n);
    }
    assert_true(bk_detok_finish(&d, out));
    assert_int_equal(d.n_held, 0);
}

static void check_all_cuts(bk_str bytes, bk_str want) {
    bk_buf out = {0};
    for (size_t step = 1; step <= bytes.len + 1; step++) {
        feed(bytes, step, &out);
        assert_int_equal(out.len, want.len);
        assert_memory_equal(bk_buf_view(&out).data, want.data, want.len);
    }
    bk_buf_free(&out);
}

#define R "\xEF\xBF\xBD"

/* Tables 3-8 to 3-11 of the Unicode standard, and ends of text. */
static void test_replacement(void **state) {
    (void)state;
    static const struct {
        const char *in, *out;
    } cases[] = {
        {"\xC0\xAF\xE0\x80\xBF\xF0\x81\x82\x41", R R R R R R R R "A"},
        {"\xED\xA0\x80\xED\xBF\xBF\xED\xAF\x41", R R R R R R R R "A"},
        {"\xF4\x91\x92\x93\xFF\x41\x80\xBF\x42", R R R R R "A" R R "B"},
        {"\xE1\x80\xE2\xF0\x91\x92\xF1\xBF\x41", R R R R "A"},
        {"\x61\xF1\x80\x80\xE1\x80\xC2\x62\x80\x63\x80\xBF\x64", "a" R R R "b" R "c" R R "d"},
        {"\xE2\x82", R},
        {"x\xF0\x9F\x98", "x" R},
        {"\xE2\x82\xAC\xE2", "\xE2\x82\xAC" R},
        {"\xF5\x80", R R},
        {"", ""},
    };
    for (size_t i = 0; i < BK_ARRAY_LEN(cases); i++)
        check_all_cuts(bk_str_from(cases[i].in), bk_str_from(cases[i].out));
}

static void test_valid_passes(void **state) {
    (void)state;
    check_all_cuts(BK_STR("plain"), BK_STR("plain"));
    check_all_cuts(BK_STR("a\0b"), BK_STR("a\0b"));
    check_all_cuts(bk_str_from("né 中文 😀 \xF4\x8F\xBF\xBF"),
                   bk_str_from("né 中文 😀 \xF4\x8F\xBF\xBF"));
    bk_buf text = {0}, out = {0};
    for (uint32_t cp = 0; cp <= 0x10FFFF; cp += cp < 0x3000 ? 1 : 61) {
        char utf8[4];
        if (cp >= 0xD800 && cp <= 0xDFFF) continue;
        bk_buf_append(&text, utf8, bk_utf8_encode(cp, utf8));
    }
    for (size_t step = 1; step < 6; step++) {
        feed(bk_buf_view(&text), step, &out);
        assert_int_equal(out.len, text.len);
        assert_memory_equal(out.data, text.data, text.len);
    }
    bk_buf_free(&text);
    bk_buf_free(&out);
}

/* A character comes out with its last byte, not later. */
static void test_held_back(void **state) {
    (void)state;
    bk_detok d = {0};
    bk_buf out = {0};
    assert_true(bk_detok_push(&d, BK_STR("a\xF0\x9F\x98"), &out));
    assert_int_equal(out.len, 1);
    assert_true(bk_detok_push(&d, BK_STR("\x80"), &out));
    assert_int_equal(out.len, 5);
    assert_true(bk_detok_push(&d, BK_STR("\xE4\xB8"), &out));
    assert_int_equal(out.len, 5);
    assert_true(bk_detok_push(&d, BK_STR("b"), &out));
    assert_string_equal(out.data, "a😀" R "b");
    bk_buf_free(&out);
}

/* However random bytes are cut, the text is the same and valid. */
static void test_random_cuts(void **state) {
    (void)state;
    static const char bytes[] = "ab\x80\xBF\xC2\xC3\xE0\xE2\xED\xF0\xF4\x90\x9F\xA0\xFF";
    bk_rng rng;
    bk_rng_seed(&rng, 7, 1);
    bk_buf whole = {0}, cut = {0};
    for (int round = 0; round < 3000; round++) {
        char in[24];
        size_t len = bk_rng_u32(&rng) % sizeof in;
        for (size_t i = 0; i < len; i++) in[i] = bytes[bk_rng_u32(&rng) % (sizeof bytes - 1)];
        feed((bk_str){in, len}, len + 1, &whole);
        for (size_t step = 1; step < 4; step++) {
            feed((bk_str){in, len}, step, &cut);
            assert_true(bk_str_eq(bk_buf_view(&cut), bk_buf_view(&whole)));
        }
    }
    bk_buf_free(&whole);
    bk_buf_free(&cut);
}

static void test_output_limit(void **state) {
    (void)state;
    bk_detok d = {0};
    bk_buf out = {.limit = 4};
    assert_true(bk_detok_push(&d, BK_STR("abc"), &out));
    assert_false(bk_detok_push(&d, BK_STR("\xFF"), &out));
    bk_buf_free(&out);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_replacement),  cmocka_unit_test(test_valid_passes),
        cmocka_unit_test(test_held_back),    cmocka_unit_test(test_random_cuts),
        cmocka_unit_test(test_output_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
