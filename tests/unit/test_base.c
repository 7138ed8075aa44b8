/* Strings, buffers, memory, errors, the generator. */
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/error.h"
#include "base/mem.h"
#include "base/rng.h"
#include "base/str.h"

static void checked_sizes(void **state) {
    (void)state;
    size_t r = 7;
    assert_true(bk_mul_size(1u << 20, 1u << 20, &r) && r == (size_t)1 << 40);
    r = 7;
    assert_false(bk_mul_size(SIZE_MAX, 2, &r));
    assert_int_equal(r, 7);
    assert_false(bk_mul_size((size_t)1 << 32, (size_t)1 << 32, &r));
    assert_true(bk_mul_size(0, SIZE_MAX, &r) && r == 0);
    assert_true(bk_add_size(SIZE_MAX, 0, &r) && r == SIZE_MAX);
    r = 7;
    assert_false(bk_add_size(SIZE_MAX, 1, &r));
    assert_int_equal(r, 7);
    assert_int_equal(bk_div_up(0, 8), 0);
    assert_int_equal(bk_div_up(9, 8), 2);
    assert_true(bk_div_up(SIZE_MAX, 2) == SIZE_MAX / 2 + 1);
    assert_int_equal(bk_round_up(1, 64), 64);
    assert_int_equal(bk_round_up(64, 64), 64);
}

static void string_views(void **state) {
    (void)state;
    assert_true(bk_str_eq(BK_STR("abc"), bk_str_from("abc")));
    assert_false(bk_str_eq(BK_STR("abc"), BK_STR("abd")));
    assert_false(bk_str_eq(BK_STR("abc"), BK_STR("ab")));
    assert_true(bk_str_eq((bk_str){NULL, 0}, BK_STR("")));
    assert_true(bk_str_starts(BK_STR("abc"), BK_STR("ab")));
    assert_true(bk_str_starts(BK_STR("abc"), (bk_str){NULL, 0}));
    assert_false(bk_str_starts(BK_STR("ab"), BK_STR("abc")));
}

static void utf8_round_trip(void **state) {
    (void)state;
    for (uint32_t cp = 0; cp <= 0x10FFFF; cp++) {
        if (cp >= 0xD800 && cp <= 0xDFFF) continue;
        char out[4];
        size_t len = bk_utf8_encode(cp, out);
        uint32_t back;
        assert_int_equal(bk_utf8_decode(out, len, &back), len);
        assert_int_equal(back, cp);
        for (size_t cut = 1; cut < len; cut++) { /* a beginning is invalid, and known as such */
            assert_int_equal(bk_utf8_decode(out, cut, &back), 1);
            assert_int_equal(back, 0xFFFFFFFF);
            assert_int_equal(bk_utf8_incomplete_tail(out, cut), cut);
        }
        assert_int_equal(bk_utf8_incomplete_tail(out, len), 0);
    }
}

static void utf8_refuses(void **state) {
    (void)state;
    static const char *const bad[] = {
        "\x80",
        "\xBF",
        "\xC0\x80",
        "\xC1\xBF",
        "\xE0\x80\x80",
        "\xE0\x9F\xBF",
        "\xED\xA0\x80",
        "\xED\xBF\xBF",
        "\xF0\x8F\xBF\xBF",
        "\xF4\x90\x80\x80",
        "\xF5\x80\x80\x80",
        "\xFF",
        "\xFE",
        "\xC3(",
        "\xE2\x82(",
        "\xF0\x9F\x98(",
    };
    for (size_t i = 0; i < BK_ARRAY_LEN(bad); i++) {
        uint32_t cp = 0;
        assert_int_equal(bk_utf8_decode(bad[i], strlen(bad[i]), &cp), 1);
        assert_int_equal(cp, 0xFFFFFFFF);
        assert_int_equal(bk_utf8_valid_len(bad[i], strlen(bad[i])), 0);
    }
    assert_int_equal(bk_utf8_valid_len("h\xC3\xA9llo \xE2\x82\xAC", 10), 10);
    assert_int_equal(bk_utf8_valid_len("ab\xC3", 3), 2);
    assert_int_equal(bk_utf8_valid_len("", 0), 0);
    assert_int_equal(bk_utf8_incomplete_tail("", 0), 0);
    assert_int_equal(bk_utf8_incomplete_tail("a\x80\x80\x80", 4), 0);
}

static void printable(void **state) {
    (void)state;
    char out[64];
    bk_str_printable(out, sizeof out, "a\x1b]0;x\a\n\x7f", 9);
    assert_string_equal(out, "a\\x1b]0;x\\x07\\x0a\\x7f");
    bk_str_printable(out, sizeof out, "h\xC3\xA9\xFF", 4);
    assert_string_equal(out, "h\xC3\xA9\\xff");
    bk_str_printable(out, sizeof out,
                     "\xC2\x9B"
                     "1m",
                     4); /* the C1 form of ESC [ */
    assert_string_equal(out, "\\xc2\\x9b1m");
    bk_str_printable(out, sizeof out, "\xE2\x80\xAE", 3); /* right-to-left override */
    assert_string_equal(out, "\\xe2\\x80\\xae");
    /* Cut at every length: terminated, never inside a character or an escape. */
    for (size_t cap = 1; cap <= 12; cap++) {
        char small[16];
        memset(small, '#', sizeof small);
        size_t len = bk_str_printable(small, cap, "\xE2\x82\xAC\x01\xE2\x82\xAC", 7);
        assert_true(len < cap && small[len] == '\0' && small[cap] == '#');
        assert_int_equal(bk_utf8_valid_len(small, len), len);
        assert_true(len == 0 || len == 3 || len == 7 || len == 10);
    }
    assert_int_equal(bk_str_printable(out, 0, "abc", 3), 0);
}

static void buffers(void **state) {
    (void)state;
    bk_buf b = {0};
    assert_int_equal(bk_buf_view(&b).len, 0);
    assert_true(bk_buf_append_str(&b, "ab") && bk_buf_putc(&b, 'c'));
    assert_true(bk_buf_printf(&b, "%d-%s", 42, "x"));
    assert_string_equal(b.data, "abc42-x");
    assert_int_equal(b.len, 7);
    for (int i = 0; i < 10000; i++) assert_true(bk_buf_putc(&b, 'z'));
    assert_int_equal(b.len, 10007);
    assert_true(b.data[b.len] == '\0');
    bk_buf_clear(&b);
    assert_string_equal(b.data, "");
    bk_buf_free(&b);
    assert_null(b.data);
}

static void buffer_limit(void **state) {
    (void)state;
    bk_buf b = {.limit = 10};
    assert_true(bk_buf_append(&b, "0123456789", 10));
    assert_false(bk_buf_putc(&b, 'x'));
    assert_true(b.failed);
    assert_string_equal(b.data, "0123456789");
    assert_false(bk_buf_append(&b, "", 0)); /* sticky */
    bk_buf_clear(&b);
    assert_true(bk_buf_append_str(&b, "ok"));
    assert_false(bk_buf_reserve(&b, SIZE_MAX));
    bk_buf_clear(&b);
    assert_false(bk_buf_printf(&b, "%s", "longer than ten"));
    bk_buf_free(&b);
    assert_int_equal(b.limit, 10);
}

static void memory(void **state) {
    (void)state;
    uint64_t before = bk_alloc_count();
    assert_null(bk_alloc(SIZE_MAX, 2));
    assert_null(bk_alloc_zero(SIZE_MAX / 2, 3));
    assert_null(bk_realloc(NULL, SIZE_MAX, 16));
    assert_null(bk_alloc_aligned(SIZE_MAX - 3));
    assert_null(bk_strndup("x", SIZE_MAX));
    unsigned char *p = bk_alloc_zero(100, 1);
    assert_non_null(p);
    for (int i = 0; i < 100; i++) assert_int_equal(p[i], 0);
    p[0] = 9;
    p = bk_realloc(p, 1000, 10);
    assert_int_equal(p[0], 9);
    bk_free(p);
    void *a = bk_alloc_aligned(1), *big = bk_alloc_aligned((1 << 20) + 1);
    assert_true((uintptr_t)a % 64 == 0 && (uintptr_t)big % 4096 == 0);
    bk_free(a);
    bk_free(big);
    char *copy = bk_strndup("hello", 4);
    assert_string_equal(copy, "hell");
    bk_free(copy);
    assert_true(bk_alloc_count() - before >= 5);
}

static void arena(void **state) {
    (void)state;
    bk_arena a = {0};
    char *last = NULL;
    for (size_t i = 1; i < 2000; i++) {
        char *p = bk_arena_alloc(&a, i, 7);
        assert_non_null(p);
        assert_true((uintptr_t)p % 16 == 0);
        for (size_t k = 0; k < 7 * i; k++) assert_true(p[k] == 0);
        memset(p, 0x5A, 7 * i);
        assert_true(p != last);
        last = p;
    }
    assert_non_null(bk_arena_alloc(&a, 1 << 20, 1)); /* larger than a block */
    assert_null(bk_arena_alloc(&a, SIZE_MAX, 2));
    assert_null(bk_arena_alloc(&a, SIZE_MAX, 1));
    bk_arena_free(&a);
    assert_null(a.last);
    bk_arena_free(&a);
}

static void errors(void **state) {
    (void)state;
    bk_error e = {0};
    assert_int_equal(bk_fail(&e, BK_ERR_FORMAT, "key '%s': found %d", "a\x1b[2J", 7),
                     BK_ERR_FORMAT);
    assert_int_equal(e.code, BK_ERR_FORMAT);
    assert_string_equal(e.text, "key 'a\\x1b[2J': found 7");
    bk_error_prefix(&e, "%s", "m\ny.gguf");
    assert_string_equal(e.text, "m\\x0ay.gguf: key 'a\\x1b[2J': found 7");
    assert_int_equal(bk_fail(NULL, BK_ERR_IO, "nobody reads this"), BK_ERR_IO);
    bk_error_prefix(NULL, "x");

    char longer[2000];
    memset(longer, 'x', sizeof longer - 1);
    longer[sizeof longer - 1] = '\0';
    bk_fail(&e, BK_ERR_LIMIT, "%s", longer);
    assert_int_equal(strlen(e.text), sizeof e.text - 1);
    bk_error_prefix(&e, "front");
    assert_int_equal(strncmp(e.text, "front: xxx", 10), 0);
    memset(longer, '\x01', sizeof longer - 1);
    bk_fail(&e, BK_ERR_LIMIT, "%s", longer);
    assert_true(strlen(e.text) < sizeof e.text && strlen(e.text) > 400);

    for (int code = BK_ERR_CANCELLED - 1; code <= 1; code++) {
        assert_true(strlen(bk_status_str((bk_status)code)) > 1);
    }
}

/* The first outputs of the published PCG32 for seed 42, stream 54. */
static void generator(void **state) {
    (void)state;
    static const uint32_t wanted[] = {0xa15c02b7, 0x7b47f409, 0xba1d3330,
                                      0x83d2f293, 0xbfa4784b, 0xcbed606e};
    bk_rng r;
    bk_rng_seed(&r, 42, 54);
    for (size_t i = 0; i < BK_ARRAY_LEN(wanted); i++) assert_int_equal(bk_rng_u32(&r), wanted[i]);
    double sum = 0;
    for (int i = 0; i < 100000; i++) {
        double u = bk_rng_unit(&r);
        assert_true(u >= 0 && u < 1);
        sum += u;
    }
    assert_true(sum > 49500 && sum < 50500);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(checked_sizes),   cmocka_unit_test(string_views),
        cmocka_unit_test(utf8_round_trip), cmocka_unit_test(utf8_refuses),
        cmocka_unit_test(printable),       cmocka_unit_test(buffers),
        cmocka_unit_test(buffer_limit),    cmocka_unit_test(memory),
        cmocka_unit_test(arena),           cmocka_unit_test(errors),
        cmocka_unit_test(generator),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
