/* The matcher of tokenizer patterns: random patterns against PCRE2, refusals, budgets. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/rng.h"
#include "text/pretok.h"

static bk_pattern *compile(const char *source) {
    bk_pattern *p = NULL;
    bk_error err = {0};
    if (bk_pattern_compile(bk_str_from(source), &p, &err)) fail_msg("%s", err.text);
    return p;
}

/* Matches with bars between, what is not matched in brackets. */
static void check_cut(const char *source, const char *text, const char *want) {
    bk_pattern *p = compile(source);
    bk_pattern_work w = {0};
    bk_buf got = {0};
    bk_str s = bk_str_from(text);
    bk_span m;
    size_t pos = 0;
    while (bk_pattern_find(p, &w, s, pos, &m)) {
        if (m.begin > pos) {
            bk_buf_printf(&got, "[%.*s]", (int)(m.begin - pos), text + pos);
        }
        bk_buf_printf(&got, "%.*s|", (int)(m.end - m.begin), text + m.begin);
        pos = m.end;
    }
    if (pos < s.len) bk_buf_printf(&got, "[%s]", text + pos);
    assert_string_equal(got.data ? got.data : "", want);
    bk_buf_free(&got);
    bk_pattern_work_free(&w);
    bk_pattern_destroy(&p);
}

static void test_examples(void **state) {
    (void)state;
    check_cut("a|ab", "abab", "a|[b]a|[b]");
    check_cut("(?:a|ab)c", "abcac", "abc|ac|");
    check_cut("a{2,3}", "aaaaaaa", "aaa|aaa|[a]");
    check_cut("(?:ab){2,3}", "ababababab", "ababab|abab|");
    check_cut("(?:ab){2,}c", "ababababcabc", "ababababc|[abc]");
    check_cut("(?:ab)?c", "abcc", "abc|c|");
    check_cut("a*", "baab", "[b]aa|[b]"); /* empty matches are none */
    check_cut("a+(?!b)", "aabaa", "a|[ab]aa|");
    check_cut("a+(?=b)", "aabaa", "aa|[baa]");
    check_cut("a++a", "aaa", "[aaa]");
    check_cut("(?i:'S|k)", "'s'\u017FK\u212A'", "'s|'\u017F|K|\u212A|[']");
    check_cut("[^\\s\\p{L}]+",
              "a1! \xFF"
              "b",
              "[a]1!|[ ]\xFF|[b]");
    check_cut("[\\p{L}&&[^\\p{Han}]]+", "ab中文c", "ab|[中文]c|");
    check_cut("[a\\-z]+", "a-zb", "a-z|[b]");
    check_cut("[a-]+", "-ab-", "-a|[b]-|");
    check_cut("\\d{1,2}\\b", "123a 45", "[123a ]45|");
    check_cut("\\s+$", "a  \n  ", "[a]  \n  |");
    check_cut("^a", "aa\na", "a|[a\n]a|");
    check_cut("\\u4E00|\\x41", "A一", "A|一|");
    check_cut(".", "a\nb", "a|[\n]b|");
    check_cut("\\P{L}\\S\\D", "1a!", "1a!|");
}

static void check_refused(const char *source, bk_status want, const char *part) {
    bk_pattern *p = NULL;
    bk_error err = {0};
    assert_int_equal(bk_pattern_compile(bk_str_from(source), &p, &err), want);
    assert_null(p);
    if (!strstr(err.text, part)) fail_msg("%s: \"%s\" lacks \"%s\"", source, err.text, part);
}

static void test_refused(void **state) {
    (void)state;
    check_refused("(a", BK_ERR_FORMAT, ") is missing");
    check_refused("a)", BK_ERR_FORMAT, "without a (");
    check_refused("[a", BK_ERR_FORMAT, "");
    check_refused("[b-a]", BK_ERR_FORMAT, "range");
    check_refused("*a", BK_ERR_FORMAT, "quantifier");
    check_refused("a{", BK_ERR_LIMIT, "count");
    check_refused("a{2", BK_ERR_FORMAT, "}");
    check_refused("a{3,2}", BK_ERR_FORMAT, "count");
    check_refused("a{1001}", BK_ERR_LIMIT, "1000");
    check_refused("a+?", BK_ERR_UNSUPPORTED, "least");
    check_refused("(?:ab)++", BK_ERR_UNSUPPORTED, "possessive");
    check_refused("(?<=a)b", BK_ERR_UNSUPPORTED, "group");
    check_refused("\\p{Greek}", BK_ERR_UNSUPPORTED, "property");
    check_refused("\\p{L", BK_ERR_FORMAT, "}");
    check_refused("\\q", BK_ERR_UNSUPPORTED, "escape");
    check_refused("\\u12g4", BK_ERR_FORMAT, "hexadecimal");
    check_refused("\\", BK_ERR_FORMAT, "missing");
    check_refused("\xFF", BK_ERR_FORMAT, "UTF-8");
    check_refused("[a[b]]", BK_ERR_UNSUPPORTED, "set");
    check_refused("((((((((((((((((((((a))))))))))))))))))))", BK_ERR_LIMIT, "deep");
    check_refused("(?:(?:(?:a{1,9}b){100}c){100}d){100}", BK_ERR_LIMIT, "long");
}

/* A pattern that would take for ever gives up; memory and time stay bounded. */
static void test_budget(void **state) {
    (void)state;
    check_cut("(?:a|aa)+(?:a|aa)+(?:a|aa)+b",
              "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
              "[aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa]");
    check_cut("(?:a*)*b", "aac", "[aac]");
}

/* A megabyte of one character goes through every rule in a moment. */
static void test_linear(void **state) {
    (void)state;
    static const char *const names[] = {"qwen35",    "jais-2",     "deepseek-llm", "deepseek-coder",
                                        "falcon",    "default",    "deepseek-v3",  "spark2_5",
                                        "youtu",     "bloom",      "viking",       "tekken",
                                        "chameleon", "gpt-4o",     "tiny_aya",     "kimi-k2",
                                        "superbpe",  "bailingmoe", "seed-coder",   "ufakzeka",
                                        "afmoe",     "laguna",     "exaone-moe",   "minicpm5"};
    static const char *const letters[] = {"a", "A", "1", " ", "\n", "!", "\t", "'", "中", "\u0301"};
#ifdef BRISK_TESTING
    enum { SIZE = 1 << 14 };
#else
    enum { SIZE = 1 << 18 };
#endif
    char *text = malloc(SIZE + 8);
    assert_non_null(text);
    for (size_t i = 0; i < BK_ARRAY_LEN(names); i++) {
        bk_pretok_rules rules;
        assert_true(bk_pretok_find(bk_str_from(names[i]), &rules));
        assert_int_equal(bk_pretok_compile(&rules, NULL), BK_OK);
        for (size_t k = 0; k < BK_ARRAY_LEN(letters); k++) {
            size_t n = strlen(letters[k]), len = 0;
            while (len + n <= SIZE) memcpy(text + len, letters[k], n), len += n;
            text[len++] = 'x';
            bk_cut cut = {0};
            bk_str piece;
            size_t sum = 0;
            bk_cut_begin(&cut, &rules, (bk_str){text, len});
            while (bk_cut_next(&cut, &piece)) {
                assert_true(piece.len > 0 && piece.data == text + sum);
                sum += piece.len;
            }
            assert_int_equal(sum, len);
            bk_cut_free(&cut);
        }
        bk_pretok_free(&rules);
    }
    free(text);
}

#if BRISK_HAVE_PCRE2
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

static uint32_t below(bk_rng *rng, uint32_t n) { return bk_rng_u32(rng) % n; }

static void random_quantifier(bk_rng *rng, bk_buf *out) {
    static const char *const all[] = {"",    "",      "",     "",   "?",  "*", "+",
                                      "{2}", "{1,2}", "{2,}", "?+", "*+", "++"};
    bk_buf_append_str(out, all[below(rng, BK_ARRAY_LEN(all))]);
}

static void random_atom(bk_rng *rng, bk_buf *out) {
    static const char *const all[] = {"a",          "b",     "é",      "[ab]",
                                      "[^a]",       "\\s",   "\\p{L}", "\\p{N}",
                                      "[b-é]",      ".",     "(?i:a)", "[^\\s\\p{L}]",
                                      "\\P{Lu}",    "[^b1]", "\\d",    "1",
                                      "[\\p{Ll}1]", "\\S"};
    bk_buf_append_str(out, all[below(rng, BK_ARRAY_LEN(all))]);
}

/* Every repeated group begins with a character, so that none of its turns is empty. */
static void random_sequence(bk_rng *rng, int depth, bk_buf *out) {
    size_t n = 1 + below(rng, 3);
    for (size_t i = 0; i < n; i++) {
        uint32_t kind = below(rng, depth > 0 ? 10 : 6);
        if (kind < 6) {
            random_atom(rng, out);
            random_quantifier(rng, out);
        } else if (kind < 8) {
            static const char *const after[] = {")", ")?", ")*", ")+", "){2}", "){1,3}", "){2,}"};
            bk_buf_append_str(out, "(?:");
            random_atom(rng, out);
            random_sequence(rng, depth - 1, out);
            bk_buf_append_str(out, "|");
            random_atom(rng, out);
            random_sequence(rng, depth - 1, out);
            bk_buf_append_str(out, after[below(rng, BK_ARRAY_LEN(after))]);
        } else {
            bk_buf_append_str(out, kind == 8 ? "(?=" : "(?!");
            random_sequence(rng, depth - 1, out);
            bk_buf_putc(out, ')');
        }
    }
}

static void compare_texts(bk_rng *rng, const char *source, pcre2_code *code,
                          pcre2_match_data *data) {
    static const char *const parts[] = {"a", "b", "A", "1", " ", "\n", "é", "!", "ab", "aa"};
    bk_pattern *p = compile(source);
    bk_pattern_work w = {0};
    for (int round = 0; round < 20; round++) {
        char text[64];
        size_t len = 0, n = below(rng, 12);
        for (size_t i = 0; i < n; i++) {
            const char *part = parts[below(rng, BK_ARRAY_LEN(parts))];
            memcpy(text + len, part, strlen(part));
            len += strlen(part);
        }
        bk_span m = {len, len}, want = {len, len};
        bool got = bk_pattern_find(p, &w, (bk_str){text, len}, 0, &m), found = false;
        for (size_t pos = 0; pos < len && !found; pos++) {
            if ((text[pos] & 0xC0) == 0x80) continue;
            int rc = pcre2_match(code, (PCRE2_SPTR)text, len, pos, PCRE2_ANCHORED, data, NULL);
            size_t *at = pcre2_get_ovector_pointer(data);
            found = rc > 0 && at[1] > pos;
            if (found) want = (bk_span){at[0], at[1]};
        }
        if (got != found || m.begin != want.begin || m.end != want.end)
            fail_msg("%s in \"%.*s\": %zu..%zu, wanted %zu..%zu", source, (int)len, text, m.begin,
                     m.end, want.begin, want.end);
    }
    bk_pattern_work_free(&w);
    bk_pattern_destroy(&p);
}

static void test_against_pcre2(void **state) {
    (void)state;
    bk_rng rng;
    bk_rng_seed(&rng, 77, 3);
    /* Sanitizers look at the paths, which a few take as well. */
#ifdef BRISK_TESTING
    const int rounds = 200;
#else
    const int rounds = 4000;
#endif
    for (int round = 0; round < rounds; round++) {
        bk_buf source = {0};
        int problem;
        size_t at;
        random_sequence(&rng, 2, &source);
        if (below(&rng, 2)) {
            bk_buf_putc(&source, '|');
            random_sequence(&rng, 2, &source);
        }
        pcre2_code *code = pcre2_compile((PCRE2_SPTR)source.data, source.len, PCRE2_UTF | PCRE2_UCP,
                                         &problem, &at, NULL);
        if (!code) fail_msg("PCRE2 refuses %s", source.data);
        pcre2_match_data *data = pcre2_match_data_create_from_pattern(code, NULL);
        compare_texts(&rng, source.data, code, data);
        pcre2_match_data_free(data);
        pcre2_code_free(code);
        bk_buf_free(&source);
    }
}
#endif

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_examples),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_budget),
        cmocka_unit_test(test_linear),
#if BRISK_HAVE_PCRE2
        cmocka_unit_test(test_against_pcre2),
#endif
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
