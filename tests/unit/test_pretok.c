/* The hand-written splitters against the published expressions run by PCRE2. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/rng.h"
#include "text/pretok.h"
#include "text/unicode.h"

static const bk_pretok kinds[] = {BK_PRETOK_GPT2, BK_PRETOK_SMOLLM, BK_PRETOK_LLAMA3,
                                  BK_PRETOK_QWEN2};

enum { MAX_PIECES = 512 };

/* Ends of all pieces of s. */
static size_t split(bk_pretok kind, bk_str s, size_t ends[MAX_PIECES]) {
    size_t n = 0;
    for (size_t pos = 0; pos < s.len;) {
        size_t len = bk_pretok_next(kind, s.data + pos, s.len - pos);
        assert_true(len > 0 && len <= s.len - pos);
        pos += len;
        assert_true(n < MAX_PIECES);
        ends[n++] = pos;
    }
    return n;
}

static void check_pieces(const char *pre, const char *text, const char *want) {
    bk_pretok_rules rules;
    assert_true(bk_pretok_find(bk_str_from(pre), &rules));
    char got[256] = "";
    size_t ends[MAX_PIECES], begin = 0, at = 0;
    size_t n = split(rules.kind, bk_str_from(text), ends);
    for (size_t i = 0; i < n; begin = ends[i++]) {
        if (i > 0) got[at++] = '|';
        memcpy(got + at, text + begin, ends[i] - begin);
        at += ends[i] - begin;
    }
    got[at] = '\0';
    assert_string_equal(got, want);
}

static void test_examples(void **state) {
    (void)state;
    check_pieces("gpt-2", "It's 2024,  isn't it?", "It|'s| 2024|,| | isn|'t| it|?");
    check_pieces("gpt-2", "a \n\n b  ", "a| \n\n| b|  ");
    check_pieces("gpt-2", "WE'LL \tx", "WE|'|LL| |\t|x");
    check_pieces("smollm", "a1234  56", "a|1|2|3|4|  |5|6");
    check_pieces("smollm", " 1\n x", "\x20|1|\n| x");
    check_pieces("llama-bpe", "1234567 1", "123|456|7| |1");
    check_pieces("llama-bpe", "WE'LL, (see)\n\n  x", "WE|'LL|,| (|see|)\n\n| | x");
    check_pieces("llama-bpe", "a \r\n \t\n  b", "a| \r\n \t\n| | b");
    check_pieces("llama-bpe", "x'ſ\tfoo!bar", "x|'ſ|\tfoo|!bar");
    check_pieces("qwen2",
                 "12 a\xC2\xA0"
                 "b 你好。\n",
                 "1|2| a|\xC2\xA0"
                 "b| 你好|。\n");
    check_pieces("qwen2", "\xFF\xFEz\xFFz", "\xFF\xFE|z|\xFFz");
}

static bk_pretok_rules rules_of(const char *name) {
    bk_pretok_rules rules;
    if (!bk_pretok_find(bk_str_from(name), &rules)) fail_msg("%s is not known", name);
    return rules;
}

static void test_names(void **state) {
    (void)state;
    bk_pretok_rules rules;
    assert_false(bk_pretok_find(BK_STR(""), &rules));
    assert_false(bk_pretok_find(BK_STR("qwen"), &rules));
    assert_false(bk_pretok_find(BK_STR("qwen2 "), &rules));
    bk_pretok_rules llama = rules_of("llama3");
    assert_true(llama.ignore_merges && !llama.nfc && llama.kind == BK_PRETOK_LLAMA3);
    bk_pretok_rules qwen = rules_of("deepseek-r1-qwen");
    assert_true(qwen.nfc && !qwen.ignore_merges && qwen.kind == BK_PRETOK_QWEN2);
    assert_int_equal(rules_of("smollm").kind, BK_PRETOK_SMOLLM);
    assert_int_equal(rules_of("jina-v2-code").kind, BK_PRETOK_GPT2);
    assert_int_equal(rules_of("o200k").kind, BK_PRETOK_O200K);
}

/* A bad byte counts as one symbol: the cuts are those of a text with '!' in its place. */
static void test_invalid_bytes(void **state) {
    (void)state;
    static const char *const parts[] = {"\xFF", "a", " ", "1", "\n", "'", "s", "\xC3"};
    bk_rng rng;
    bk_rng_seed(&rng, 5, 2);
    for (int round = 0; round < 20000; round++) {
        char bad[16], plain[16];
        size_t n = 1 + bk_rng_u32(&rng) % sizeof bad, a[MAX_PIECES], b[MAX_PIECES];
        for (size_t i = 0; i < n; i++) {
            bad[i] = parts[bk_rng_u32(&rng) % BK_ARRAY_LEN(parts)][0];
            plain[i] = (unsigned char)bad[i] >= 0x80 ? '!' : bad[i];
        }
        for (size_t k = 0; k < BK_ARRAY_LEN(kinds); k++) {
            size_t n_bad = split(kinds[k], (bk_str){bad, n}, a);
            assert_int_equal(n_bad, split(kinds[k], (bk_str){plain, n}, b));
            assert_memory_equal(a, b, n_bad * sizeof *a);
        }
    }
}

#if BRISK_HAVE_PCRE2
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#define GPT2 "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"
#define WORDS "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|"
#define TAIL "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"

typedef struct oracle {
    pcre2_code *code;
    pcre2_match_data *match;
} oracle;

static oracle expressions[4];        /* by kind; SMOLLM is GPT2 between digits */
static bool pcre2_differs[0x110000]; /* characters whose class is another there */
static bool pcre2_is_14;

static oracle compile(const char *pattern) {
    int code;
    size_t at;
    oracle o;
    o.code = pcre2_compile((PCRE2_SPTR)pattern, PCRE2_ZERO_TERMINATED, PCRE2_UTF | PCRE2_UCP, &code,
                           &at, NULL);
    assert_non_null(o.code);
    pcre2_jit_compile(o.code, PCRE2_JIT_COMPLETE);
    o.match = pcre2_match_data_create_from_pattern(o.code, NULL);
    return o;
}

static void release(oracle *o) {
    pcre2_code_free(o->code);
    pcre2_match_data_free(o->match);
}

static size_t oracle_next(const oracle *o, bk_str s, size_t pos) {
    int rc = pcre2_match(o->code, (PCRE2_SPTR)s.data, s.len, pos, PCRE2_ANCHORED, o->match, NULL);
    assert_true(rc > 0);
    return pcre2_get_ovector_pointer(o->match)[1];
}

static bool is_number(bk_str s, size_t pos, size_t *n) {
    uint32_t cp;
    *n = bk_utf8_decode(s.data + pos, s.len - pos, &cp);
    return bk_unicode_class(cp) == BK_CHAR_NUMBER;
}

static size_t oracle_split(bk_pretok kind, bk_str s, size_t ends[MAX_PIECES]) {
    size_t n = 0, stop = 0;
    for (size_t pos = 0; pos < s.len; pos = ends[n++]) {
        size_t len = 0;
        if (kind != BK_PRETOK_SMOLLM) {
            ends[n] = oracle_next(&expressions[kind], s, pos);
        } else if (is_number(s, pos, &len)) {
            ends[n] = pos + len;
        } else {
            for (stop = bk_max_size(stop, pos); stop < s.len && !is_number(s, stop, &len);)
                stop += len;
            ends[n] = oracle_next(&expressions[BK_PRETOK_GPT2], (bk_str){s.data, stop}, pos);
        }
    }
    return n;
}

static void compare(bk_str s) {
    for (size_t k = 0; k < BK_ARRAY_LEN(kinds); k++) {
        size_t ours[MAX_PIECES], want[MAX_PIECES];
        size_t n = split(kinds[k], s, ours), n_want = oracle_split(kinds[k], s, want);
        bool same = n == n_want && memcmp(ours, want, n * sizeof *ours) == 0;
        if (!same)
            print_error("kind %d splits \"%.*s\" otherwise\n", (int)kinds[k], (int)s.len, s.data);
        assert_true(same);
    }
}

static bool has(const oracle *o, const char *s, size_t len) {
    return pcre2_match(o->code, (PCRE2_SPTR)s, len, 0, PCRE2_NO_UTF_CHECK, o->match, NULL) > 0;
}

static int set_up(void **state) {
    (void)state;
    char version[64];
    pcre2_config(PCRE2_CONFIG_UNICODE_VERSION, version);
    pcre2_is_14 = strcmp(version, "14.0.0") == 0;
    expressions[BK_PRETOK_GPT2] = compile(GPT2);
    expressions[BK_PRETOK_LLAMA3] = compile(WORDS "\\p{N}{1,3}" TAIL);
    expressions[BK_PRETOK_QWEN2] = compile(WORDS "\\p{N}" TAIL);
    oracle letter = compile("\\p{L}"), number = compile("\\p{N}"), space = compile("\\s");
    for (uint32_t cp = 0; cp <= 0x10FFFF; cp++) {
        char s[4];
        if (cp >= 0xD800 && cp <= 0xDFFF) continue;
        size_t n = bk_utf8_encode(cp, s);
        bk_char_class class = has(&letter, s, n)   ? BK_CHAR_LETTER
                              : has(&number, s, n) ? BK_CHAR_NUMBER
                              : has(&space, s, n)  ? BK_CHAR_SPACE
                                                   : BK_CHAR_OTHER;
        pcre2_differs[cp] = class != bk_unicode_class(cp);
    }
    release(&letter);
    release(&number);
    release(&space);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    release(&expressions[BK_PRETOK_GPT2]);
    release(&expressions[BK_PRETOK_LLAMA3]);
    release(&expressions[BK_PRETOK_QWEN2]);
    return 0;
}

/* What Unicode 15.0 added to the 14.0 of PCRE2 10.42, and the vowel separator, which PCRE2 takes for
 * horizontal white space though it has not been White_Space since Unicode 6.3. A newer PCRE2 may
 * differ on characters that 15.0 does not assign. */
static void test_known_differences(void **state) {
    (void)state;
    static const struct {
        uint32_t first, last;
        bk_char_class class; /* here */
    } known[] = {
        {0x180E, 0x180E, BK_CHAR_OTHER},    {0x1123F, 0x11240, BK_CHAR_LETTER},
        {0x11F02, 0x11F02, BK_CHAR_LETTER}, {0x11F04, 0x11F10, BK_CHAR_LETTER},
        {0x11F12, 0x11F33, BK_CHAR_LETTER}, {0x11F50, 0x11F59, BK_CHAR_NUMBER},
        {0x1342F, 0x1342F, BK_CHAR_LETTER}, {0x13441, 0x13446, BK_CHAR_LETTER},
        {0x1B132, 0x1B132, BK_CHAR_LETTER}, {0x1B155, 0x1B155, BK_CHAR_LETTER},
        {0x1D2C0, 0x1D2D3, BK_CHAR_NUMBER}, {0x1DF25, 0x1DF2A, BK_CHAR_LETTER},
        {0x1E030, 0x1E06D, BK_CHAR_LETTER}, {0x1E4D0, 0x1E4EB, BK_CHAR_LETTER},
        {0x1E4F0, 0x1E4F9, BK_CHAR_NUMBER}, {0x2B739, 0x2B739, BK_CHAR_LETTER},
        {0x31350, 0x323AF, BK_CHAR_LETTER},
    };
    size_t n = 0, expected = 0;
    for (size_t i = 0; i < BK_ARRAY_LEN(known); i++) {
        for (uint32_t cp = known[i].first; cp <= known[i].last; cp++) {
            assert_int_equal(bk_unicode_class(cp), known[i].class);
            if (pcre2_is_14) assert_true(pcre2_differs[cp]);
            expected++;
        }
    }
    for (uint32_t cp = 0; cp <= 0x10FFFF; cp++) {
        n += pcre2_differs[cp];
        if (!pcre2_is_14 && pcre2_differs[cp])
            assert_int_equal(bk_unicode_class(cp), BK_CHAR_OTHER);
    }
    if (pcre2_is_14) assert_int_equal(n, expected);
}

/* Every text of up to five of these. */
static void test_all_short_texts(void **state) {
    (void)state;
    static const char *const parts[] = {"a",  "\xC5\xBF", "1", " ", "\n",
                                        "\t", "'",        "S", "!", "\u00A0"};
    enum { N = BK_ARRAY_LEN(parts) };
    for (size_t length = 1, texts = N; length <= 5; length++, texts *= N) {
        for (size_t i = 0; i < texts; i++) {
            char s[16];
            size_t len = 0, rest = i;
            for (size_t k = 0; k < length; k++, rest /= N) {
                size_t n = strlen(parts[rest % N]);
                memcpy(s + len, parts[rest % N], n);
                len += n;
            }
            compare((bk_str){s, len});
        }
    }
}

static void test_random_texts(void **state) {
    (void)state;
    static const char *const parts[] = {
        "a",      "Z",       "é",      "\u0301", "中",     "ß",          "0",      "9",
        "½",      "٣",       "\u2167", " ",      " ",      "  ",         "\t",     "\n",
        "\r\n",   "\r",      "\u00A0", "\u3000", "\u2028", "\xC2\x85",   "\v",     "'s",
        "'S",     "'\u017F", "'t",     "'RE",    "'ve",    "'m",         "'lL",    "'d",
        "'",      "\u2019s", "!",      "?!",     "_",      "😀",          "\u200D", "\u200B",
        "\uFE0F", "\x01",    "\x7F",   "\uE000", "\u0378", "\U0010FFFF", "\u212A", "ŉ",
    };
    bk_rng rng;
    bk_rng_seed(&rng, 2024, 1);
    for (int round = 0; round < 60000; round++) {
        char s[300];
        size_t len = 0, n = 1 + bk_rng_u32(&rng) % 24;
        for (size_t i = 0; i < n; i++) {
            const char *part = parts[bk_rng_u32(&rng) % BK_ARRAY_LEN(parts)];
            memcpy(s + len, part, strlen(part));
            len += strlen(part);
        }
        compare((bk_str){s, len});
    }
}

/* Every character in contexts where its class decides. */
static void test_every_character(void **state) {
    (void)state;
    for (uint32_t cp = 1; cp <= 0x10FFFF; cp++) {
        if ((cp >= 0xD800 && cp <= 0xDFFF) || pcre2_differs[cp]) continue;
        if (cp > 0x3400 && bk_unicode_class(cp) == BK_CHAR_OTHER && cp % 64) continue;
        char s[64];
        size_t len = 0;
        static const char *const around[] = {"a", "1", " ", " b", "\n", "'", "!", "  "};
        for (size_t i = 0; i < BK_ARRAY_LEN(around); i++) {
            len += bk_utf8_encode(cp, s + len);
            memcpy(s + len, around[i], strlen(around[i]));
            len += strlen(around[i]);
        }
        compare((bk_str){s, len});
    }
}
#endif

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_examples),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_invalid_bytes),
#if BRISK_HAVE_PCRE2
        cmocka_unit_test(test_known_differences),
        cmocka_unit_test(test_all_short_texts),
        cmocka_unit_test(test_random_texts),
        cmocka_unit_test(test_every_character),
#endif
    };
#if BRISK_HAVE_PCRE2
    return cmocka_run_group_tests(tests, set_up, tear_down);
#else
    print_message("built without libpcre2-dev: the splitters are not compared with PCRE2\n");
    return cmocka_run_group_tests(tests, NULL, NULL);
#endif
}
