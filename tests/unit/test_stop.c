/* Stop texts across the pieces of a stream. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>

#include "engine/stop.h"

/* Feeds text in pieces of `step` bytes; out gets what is passed on. */
static bool feed(const char *const *texts, size_t n, const char *text, size_t step, char *out) {
    bk_stop s;
    bk_error err;
    size_t len = strlen(text), written = 0;
    if (bk_stop_init(&s, texts, n, &err)) fail_msg("%s", err.text);
    for (size_t at = 0; at < len && !s.found; at += step) {
        size_t count = len - at < step ? len - at : step;
        size_t pass = bk_stop_push(&s, (bk_str){text + at, count});
        memcpy(out + written, s.held.data, pass);
        written += pass;
        bk_stop_drop(&s, pass);
    }
    if (!s.found) { /* the end: what was held belongs to the text */
        memcpy(out + written, s.held.data ? s.held.data : "", s.held.len);
        written += s.held.len;
    }
    out[written] = '\0';
    bool found = s.found;
    bk_stop_free(&s);
    return found;
}

static void expect(const char *const *texts, size_t n, const char *text, const char *wanted,
                   bool found) {
    char out[256];
    for (size_t step = 1; step <= strlen(text) + 1; step++) {
        assert_int_equal(feed(texts, n, text, step, out), found);
        assert_string_equal(out, wanted);
    }
}

static void test_found(void **state) {
    (void)state;
    const char *const end[] = {"END"}, *const two[] = {"\n\n", "User:"}, *const e[] = {"\xC3\xA9"};
    expect(end, 1, "one EN two END three", "one EN two ", true);
    expect(end, 1, "EENEND", "EEN", true);
    expect(end, 1, "END", "", true);
    expect(two, 2, "Hi\nUser: x", "Hi\n", true);
    expect(two, 2, "Hi\n\nUser: x", "Hi", true);
    expect(e, 1, "caf\xC3\xA8 caf\xC3\xA9", "caf\xC3\xA8 caf", true);
}

static void test_not_found(void **state) {
    (void)state;
    const char *const texts[] = {"abcabd"};
    expect(texts, 1, "abcabcabcab", "abcabcabcab", false);
    expect(texts, 1, "", "", false);
    expect(NULL, 0, "anything", "anything", false);
}

/* A piece that begins a longer stop text before a shorter one is complete. */
static void test_overlap(void **state) {
    (void)state;
    const char *const texts[] = {"abcd", "b"};
    expect(texts, 2, "xabcd", "xa", true);
}

/* Nothing of a stop text is ever passed on before it is known not to be one. */
static void test_held(void **state) {
    (void)state;
    const char *const texts[] = {"stop"};
    bk_stop s;
    assert_int_equal(bk_stop_init(&s, texts, 1, NULL), BK_OK);
    assert_int_equal(bk_stop_push(&s, BK_STR("go st")), 3);
    bk_stop_drop(&s, 3);
    assert_int_equal(bk_stop_push(&s, BK_STR("o")), 0);
    assert_int_equal(bk_stop_push(&s, BK_STR("st")), 3);
    bk_stop_drop(&s, 3);
    assert_int_equal(bk_stop_push(&s, BK_STR("op")), 0);
    assert_true(s.found);
    bk_stop_free(&s);
}

static void test_refused(void **state) {
    (void)state;
    const char *const empty[] = {"a", ""}, *const cut[] = {"\xC3"};
    bk_stop s;
    bk_error err;
    assert_int_equal(bk_stop_init(&s, empty, 2, &err), BK_ERR_INVALID);
    assert_non_null(strstr(err.text, "stop text 2"));
    assert_int_equal(bk_stop_init(&s, cut, 1, &err), BK_ERR_INVALID);
}

/* Against a search over the whole text, with random texts of two letters. */
static void test_random(void **state) {
    (void)state;
    unsigned seed = 1;
    for (int round = 0; round < 2000; round++) {
        char text[24], stop[2][4], out[32];
        for (size_t i = 0; i < sizeof text; i++) {
            seed = seed * 1103515245u + 12345u;
            text[i] = (char)('a' + (seed >> 16 & 1));
        }
        text[sizeof text - 1] = '\0';
        for (int k = 0; k < 2; k++) {
            for (int i = 0; i < 3; i++) {
                seed = seed * 1103515245u + 12345u;
                stop[k][i] = (char)('a' + (seed >> 16 & 1));
            }
            stop[k][3] = '\0';
        }
        const char *const texts[] = {stop[0], stop[1]};
        const char *a = strstr(text, stop[0]), *b = strstr(text, stop[1]);
        const char *first = a && (!b || a < b) ? a : b;
        bool found = feed(texts, 2, text, 1 + seed % 5, out);
        assert_int_equal(found, first != NULL);
        if (first) text[first - text] = '\0';
        assert_string_equal(out, text);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_found),   cmocka_unit_test(test_not_found),
        cmocka_unit_test(test_overlap), cmocka_unit_test(test_held),
        cmocka_unit_test(test_refused), cmocka_unit_test(test_random),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
