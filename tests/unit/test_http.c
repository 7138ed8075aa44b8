/* HTTP messages as bytes (server/http.h), keys and origins (server/auth.h). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "server/auth.h"
#include "server/http.h"

/* Parses a head; its status, and the copy that the views lie in. */
static int parse(const char *text, sv_head *h, char **block) {
    int refused;
    const char *why;
    size_t len = strlen(text), n = sv_head_find(text, len, &refused);
    *block = NULL;
    if (refused) return refused;
    assert_int_equal(n, len);
    *block = malloc(len);
    assert_non_null(*block);
    memcpy(*block, text, len);
    return sv_head_parse(*block, len, h, &why);
}

static void test_head(void **state) {
    (void)state;
    sv_head h;
    char *block;
    assert_int_equal(parse("POST /a%20b?c=d HTTP/1.1\r\nHost:  x:1 \r\nCONTENT-LENGTH: 12\r\n"
                           "Connection: keep-alive, Close\r\n\r\n",
                           &h, &block),
                     0);
    assert_int_equal(h.method, SV_POST);
    assert_true(bk_str_eq(h.path, BK_STR("/a b")));
    assert_true(bk_str_eq(h.query, BK_STR("c=d")));
    assert_true(bk_str_eq(h.host, BK_STR("x:1")));
    assert_int_equal(h.length, 12);
    assert_false(h.keep_alive);
    free(block);
    /* The target's host counts, not the header's. */
    assert_int_equal(parse("GET http://real/x HTTP/1.1\r\nHost: other\r\n\r\n", &h, &block), 0);
    assert_true(bk_str_eq(h.host, BK_STR("real")));
    assert_true(h.keep_alive);
    free(block);
}

static void test_refused(void **state) {
    (void)state;
    static const struct {
        const char *text;
        int status;
    } cases[] = {
        {"GET / HTTP/1.1\r\n\r\n", 400},
        {"GET / HTTP/1.1\nHost: a\n\n", 400},
        {"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\nHost : a\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\nHost: a\r\n b\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
         400},
        {"GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n", 501},
        {"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x1\r\n\r\n", 400},
        {"GET /%0a HTTP/1.1\r\nHost: a\r\n\r\n", 400},
        {"GET /%ff HTTP/1.1\r\nHost: a\r\n\r\n", 400},
        {"GET / HTTP/3.0\r\nHost: a\r\n\r\n", 505},
        {"TEA / HTTP/1.1\r\nHost: a\r\n\r\n", 501},
    };
    for (size_t i = 0; i < BK_ARRAY_LEN(cases); i++) {
        sv_head h;
        char *block;
        assert_int_equal(parse(cases[i].text, &h, &block), cases[i].status);
        free(block);
    }
}

static void test_chunks(void **state) {
    (void)state;
    static const char good[] = "3;x=y\r\nabc\r\nA\r\n0123456789\r\n0\r\nT: 1\r\n\r\nREST";
    for (size_t step = 1; step < sizeof good; step++) {
        sv_chunks c = {0};
        bk_buf out = {0};
        size_t at = 0, used;
        sv_chunks_result r = SV_CHUNKS_MORE;
        while (r == SV_CHUNKS_MORE) {
            r = sv_chunks_feed(&c, good + at, bk_min_size(step, sizeof good - 1 - at), &out, &used);
            at += used;
        }
        assert_int_equal(r, SV_CHUNKS_DONE);
        assert_string_equal(good + at, "REST");
        assert_string_equal(out.data, "abc0123456789");
        bk_buf_free(&out);
    }
    static const char *const bad[] = {
        "-1\r\n", "\r\n", "1\n", "0x1\r\n", "1\r\nab", "1\r\na\n", "fffffffffffff\r\n", " 1\r\n"};
    for (size_t i = 0; i < BK_ARRAY_LEN(bad); i++) {
        sv_chunks c = {0};
        bk_buf out = {0};
        size_t used;
        assert_int_equal(sv_chunks_feed(&c, bad[i], strlen(bad[i]), &out, &used), SV_CHUNKS_BAD);
        bk_buf_free(&out);
    }
}

static sv_head bearing(const char *authorization, const char *api_key) {
    sv_head h = {0};
    if (authorization) h.authorization = bk_str_from(authorization);
    if (api_key) h.api_key = bk_str_from(api_key);
    return h;
}

static void test_keys(void **state) {
    (void)state;
    static const char *const keys[] = {"alpha", "beta"};
    const sv_auth_options o = {.host = "127.0.0.1", .keys = keys, .n_keys = 2};
    sv_auth *a = sv_auth_create(&o);
    assert_non_null(a);
    uint64_t one, same, two;
    sv_head h = bearing("Bearer alpha", NULL), x = bearing(NULL, "alpha"),
            b = bearing("bearer beta", NULL);
    assert_true(sv_auth_key(a, &h, &one) && sv_auth_key(a, &x, &same) && sv_auth_key(a, &b, &two));
    assert_true(one == same && one != two);
    static const char *const wrong[] = {"Bearer alph", "Bearer alphab", "Bearer ",
                                        "alpha",       "Basic alpha",   "Bearer Alpha"};
    for (size_t i = 0; i < BK_ARRAY_LEN(wrong); i++) {
        h = bearing(wrong[i], NULL);
        assert_false(sv_auth_key(a, &h, &one));
    }
    h = bearing(NULL, NULL);
    assert_false(sv_auth_key(a, &h, &one));
    sv_auth_destroy(&a);
}

static void test_hosts(void **state) {
    (void)state;
    const sv_auth_options o = {.host = "localhost", .cors_origins = "https://a.example, http://b"};
    sv_auth *a = sv_auth_create(&o);
    assert_non_null(a);
    static const char *const here[] = {"localhost", "LocalHost:80", "127.0.0.1", "127.9.9.9:1",
                                       "[::1]:5"};
    static const char *const away[] = {"a.example", "127.0.0.1.a", "localhost.a:80",
                                       "",          ":80",         "0.0.0.0"};
    for (size_t i = 0; i < BK_ARRAY_LEN(here); i++)
        assert_true(sv_auth_host(a, &(sv_head){.host = bk_str_from(here[i])}));
    for (size_t i = 0; i < BK_ARRAY_LEN(away); i++)
        assert_false(sv_auth_host(a, &(sv_head){.host = bk_str_from(away[i])}));
    static const struct {
        const char *origin;
        sv_origin is;
    } origins[] = {{"http://localhost:80", SV_ORIGIN_SAME},
                   {"https://a.example", SV_ORIGIN_ALLOWED},
                   {"http://b", SV_ORIGIN_ALLOWED},
                   {"http://a.example", SV_ORIGIN_FOREIGN},
                   {"http://localhost:81", SV_ORIGIN_FOREIGN},
                   {"null", SV_ORIGIN_FOREIGN}};
    for (size_t i = 0; i < BK_ARRAY_LEN(origins); i++) {
        sv_head h = {.host = BK_STR("localhost:80"), .origin = bk_str_from(origins[i].origin)};
        assert_int_equal(sv_auth_origin(a, &h), origins[i].is);
    }
    sv_auth_destroy(&a);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_head), cmocka_unit_test(test_refused), cmocka_unit_test(test_chunks),
        cmocka_unit_test(test_keys), cmocka_unit_test(test_hosts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
