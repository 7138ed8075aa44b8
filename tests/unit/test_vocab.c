/* Vocabularies made from texts: small ones by hand, round trips, files. Merges are compared with Hugging
 * Face's trainer and tokens with llama.cpp's in tests/tokenizer/compare_vocab.py. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/mem.h"
#include "base/rng.h"
#include "fail_alloc.h"
#include "text/vocab_train.h"
#include "text/word.h"

static bk_vocab *make(bk_vocab_options o, const char *text) {
    bk_vocab *v = NULL;
    bk_error err = {0};
    if (bk_vocab_train(&o, bk_str_from(text), &v, &err)) fail_msg("%s", err.text);
    return v;
}

static bk_tokenizer *tokenizer(bk_vocab_options o, const char *text) {
    bk_tokenizer *t = NULL;
    bk_error err = {0};
    bk_vocab *v = make(o, text);
    if (bk_tokenizer_create(bk_vocab_desc(v), &t, &err)) fail_msg("%s", err.text);
    bk_vocab_destroy(&v);
    return t;
}

/* All names with bars between. */
static void check_tokens(bk_vocab_options o, const char *text, const char *want) {
    bk_vocab *v = make(o, text);
    const bk_tokenizer_desc *d = bk_vocab_desc(v);
    bk_buf got = {0};
    for (size_t i = 0; i < d->n_tokens; i++) {
        if (i > 0) bk_buf_putc(&got, '|');
        bk_buf_append(&got, d->tokens[i].data, d->tokens[i].len);
    }
    assert_string_equal(got.data, want);
    bk_buf_free(&got);
    bk_vocab_destroy(&v);
}

/* Tokens of text with bars between, and that they give the text back where nothing is unknown. */
static void check_encode(const bk_tokenizer *t, const char *text, const char *want) {
    bk_ids ids = {0};
    bk_buf got = {0}, back = {0};
    bool unknown = false;
    assert_int_equal(bk_tokenizer_encode(t, bk_str_from(text), false, &ids, NULL), BK_OK);
    for (size_t i = 0; i < ids.len; i++) {
        bk_str b = bk_tokenizer_bytes(t, ids.data[i]);
        unknown |= bk_tokenizer_type(t, ids.data[i]) == BK_TOKEN_UNKNOWN;
        if (i > 0) bk_buf_putc(&got, '|');
        bk_buf_append(&got, b.data, b.len);
    }
    assert_string_equal(got.data ? got.data : "", want);
    assert_int_equal(bk_tokenizer_decode(t, ids.data, ids.len, &back, NULL), BK_OK);
    if (!unknown) assert_string_equal(bk_buf_view(&back).data, text);
    bk_buf_free(&got);
    bk_buf_free(&back);
    bk_ids_free(&ids);
}

static void check_refused(bk_vocab_options o, const char *text, bk_status status,
                          const char *part) {
    bk_vocab *v = NULL;
    bk_error err = {0};
    assert_int_equal(bk_vocab_train(&o, bk_str_from(text), &v, &err), status);
    assert_null(v);
    if (!strstr(err.text, part)) fail_msg("\"%s\" without \"%s\"", err.text, part);
}

static void test_chars(void **state) {
    (void)state;
    bk_vocab_options o = {.kind = BK_VOCAB_CHAR};
    check_tokens(o, "ba\nb é", "<unk>|\n|\u2581|a|b|é");
    check_tokens(o, "\u2581 a\xFF", "<unk>|\u2581|a");
    o.end_of_text = true;
    check_tokens(o, "a", "<unk>|<|endoftext|>|a");
    o.size = 4; /* the most frequent, equals by code point */
    check_tokens(o, "cbcbda", "<unk>|<|endoftext|>|b|c");
    o = (bk_vocab_options){.kind = BK_VOCAB_CHAR, .min_count = 2};
    check_tokens(o, "cbcbda", "<unk>|b|c");
    o = (bk_vocab_options){.kind = BK_VOCAB_CHAR};
    bk_tokenizer *t = tokenizer(o, "Hé llo,\n\t世界😀");
    check_encode(t, " Hé  \n\n世😀 ", " |H|é| | |\n|\n|世|😀| ");
    check_encode(t, "xHy", "<unk>|H|<unk>");
    check_encode(t, "", "");
    assert_false(bk_tokenizer_is_end(t, bk_tokenizer_find(t, BK_STR("H"))));
    bk_tokenizer_destroy(&t);
    o.bytes = true;
    t = tokenizer(o, "ab");
    assert_int_equal(bk_tokenizer_count(t), 1 + 256 + 2);
    check_encode(t, "aé", "a|\xC3|\xA9");
    bk_tokenizer_destroy(&t);
}

static void test_words(void **state) {
    (void)state;
    bk_vocab_options o = {.kind = BK_VOCAB_WORD};
    check_tokens(o, "the cat, the  don't 12", "<unk>| | 12| cat| don't| the|,|the");
    check_tokens(o, ", b, b, a", "<unk>|,| b| a");
    o.size = 3;
    o.end_of_text = true;
    check_tokens(o, "b a b a a", "<unk>|<|endoftext|>| a");
    o = (bk_vocab_options){.kind = BK_VOCAB_WORD, .min_count = 2};
    bk_tokenizer *t = tokenizer(o, " a a b b c,,\n\n \u2581 \u2581");
    check_encode(t, "a a\n b,  c", "<unk>| a|\n| b|,| |<unk>");
    check_encode(t, " \u2581\u2581", " |<unk>|<unk>");
    bk_tokenizer_destroy(&t);
}

static void test_word_cuts(void **state) {
    (void)state;
    static const struct {
        const char *text;
        size_t n;
    } cases[] = {{"word next", 4},
                 {" word", 5},
                 {"  word", 1},
                 {" 12a", 3},
                 {"don't,", 5},
                 {"dogs' ", 4},
                 {"l\u2019ami ", 7},
                 {"'s", 1},
                 {"世界", 3},
                 {" 世", 1},
                 {"e\u0301te\u0301,", 7},
                 {"\u0301e", 2},
                 {"\xFFz", 1},
                 {", ", 1},
                 {"日a", 3},
                 {"a日", 1},
                 {"ひらがな ", 12}};
    for (size_t i = 0; i < BK_ARRAY_LEN(cases); i++)
        assert_int_equal(bk_word_next(cases[i].text, strlen(cases[i].text)), cases[i].n);
}

static void test_pairs(void **state) {
    (void)state;
    static const char text[] = "low low low lower lowest aaaaaa";
    /* aaaaaa has five pairs of a; equal counts go by the left id, a's is before l's, aa's before low's. */
    static const char *const want[] = {"a a", "l o", "lo w", "Ġ low", "aa aa", "Ġlow e"};
    bk_vocab_options o = {.kind = BK_VOCAB_BPE, .size = 300, .min_count = 2};
    bk_vocab *v = make(o, text);
    const bk_tokenizer_desc *d = bk_vocab_desc(v);
    assert_int_equal(d->n_merges, BK_ARRAY_LEN(want));
    for (size_t i = 0; i < d->n_merges; i++)
        assert_true(bk_str_eq(d->merges[i], bk_str_from(want[i])));
    assert_int_equal(d->n_tokens, 256 + d->n_merges + 1);
    assert_true(bk_str_eq(d->tokens[0], BK_STR("!")));
    assert_true(bk_str_eq(d->tokens[260], BK_STR("aaaa")));
    assert_true(bk_str_eq(d->tokens[d->n_tokens - 1], BK_STR("<|endoftext|>")));
    bk_vocab_destroy(&v);
    bk_tokenizer *t = tokenizer(o, text);
    check_encode(t, "low lowering aaaaa\xC3\xA9", "low| lowe|r|i|n|g| |aaaa|a|\xC3|\xA9");
    bk_tokenizer_destroy(&t);
    o.size = 259; /* two merges and the end */
    t = tokenizer(o, text);
    assert_int_equal(bk_tokenizer_count(t), 259);
    check_encode(t, "aalow", "aa|lo|w");
    bk_tokenizer_destroy(&t);
}

static void test_refused(void **state) {
    (void)state;
    bk_vocab_options o = {.kind = BK_VOCAB_CHAR};
    check_refused(o, "", BK_ERR_INVALID, "without a character");
    check_refused(o, "\xFF\xC3", BK_ERR_INVALID, "without a character");
    o.size = 1;
    check_refused(o, "abc", BK_ERR_INVALID, "at least 2");
    o.kind = BK_VOCAB_WORD;
    check_refused(o, "abc", BK_ERR_INVALID, "at least 2");
    o.size = 0;
    check_refused(o, "\xFF", BK_ERR_INVALID, "without a character");
    check_refused(o, "", BK_ERR_INVALID, "without a character");
    o.kind = BK_VOCAB_BPE;
    check_refused(o, "", BK_ERR_INVALID, "without a character");
    check_refused(o, "abc", BK_ERR_INVALID, "without a size");
    o.size = 257;
    check_refused(o, "abc", BK_ERR_INVALID, "at least 258");
    bk_vocab_kind kind;
    bk_error err = {0};
    assert_int_equal(bk_vocab_kind_find(BK_STR("bpe"), &kind, &err), BK_OK);
    assert_int_equal(kind, BK_VOCAB_BPE);
    assert_int_equal(bk_vocab_kind_find(BK_STR("bert"), &kind, &err), BK_ERR_NOT_FOUND);
}

/* What is done to the text of the vocabulary is done to every text. */
static void test_prepare(void **state) {
    (void)state;
    bk_vocab_options o = {.kind = BK_VOCAB_CHAR, .prepare = {BK_NFKC, true}};
    check_tokens(o, "AaÉe\u0301", "<unk>|a|é");
    bk_tokenizer *t = tokenizer(o, "AaÉe\u0301");
    bk_ids ids = {0};
    bk_buf back = {0};
    assert_int_equal(bk_tokenizer_encode(t, BK_STR("ＡE\u0301"), false, &ids, NULL), BK_OK);
    assert_int_equal(ids.len, 2);
    assert_int_equal(bk_tokenizer_decode(t, ids.data, ids.len, &back, NULL), BK_OK);
    assert_string_equal(back.data, "aé");
    bk_buf_free(&back);
    bk_ids_free(&ids);
    bk_tokenizer_destroy(&t);
    /* A control token is found before, and none is made by it. */
    o = (bk_vocab_options){.kind = BK_VOCAB_BPE, .size = 258, .prepare = {BK_NFKC, true}};
    t = tokenizer(o, "aa aa");
    ids = (bk_ids){0};
    assert_int_equal(bk_tokenizer_encode(t, BK_STR("A<|endoftext|>\uFF21A"), true, &ids, NULL),
                     BK_OK);
    assert_int_equal(ids.len, 3);
    assert_int_equal(ids.data[1], bk_tokenizer_eos(t));
    assert_true(bk_str_eq(bk_tokenizer_bytes(t, ids.data[2]), BK_STR("aa")));
    ids.len = 0;
    assert_int_equal(bk_tokenizer_encode(t, BK_STR("<|ENDOFTEXT|>"), true, &ids, NULL), BK_OK);
    assert_int_equal(ids.len, 13);
    bk_ids_free(&ids);
    bk_tokenizer_destroy(&t);
}

static char *random_text(bk_rng *r, size_t n) {
    static const char *const parts[] = {"a",  "b",  "ab ", " ", "\n", "é",  "e\u0301", "世",
                                        "，", "'s", "12",  "😀", "\t", "Ab", "\u00a0",  "."};
    bk_buf b = {0};
    for (size_t i = 0; i < n; i++)
        bk_buf_append_str(&b, parts[bk_rng_u32(r) % BK_ARRAY_LEN(parts)]);
    assert_false(b.failed);
    return b.data;
}

/* Every kind gives its own text back; merges of many sizes keep their table consistent. */
static void test_round_trips(void **state) {
    (void)state;
    bk_rng r;
    bk_rng_seed(&r, 5, 1);
    for (int turn = 0; turn < 200; turn++) {
        char *text = random_text(&r, 1 + bk_rng_u32(&r) % 300);
        bk_vocab_options o = {.kind = (bk_vocab_kind)(turn % 3)};
        if (o.kind == BK_VOCAB_BPE) o.size = 258 + bk_rng_u32(&r) % 300;
        bk_tokenizer *t = tokenizer(o, text);
        bk_ids ids = {0};
        bk_buf back = {0};
        assert_int_equal(bk_tokenizer_encode(t, bk_str_from(text), false, &ids, NULL), BK_OK);
        for (size_t i = 0; i < ids.len; i++)
            assert_int_equal(bk_tokenizer_type(t, ids.data[i]), BK_TOKEN_NORMAL);
        assert_int_equal(bk_tokenizer_decode(t, ids.data, ids.len, &back, NULL), BK_OK);
        assert_string_equal(back.data, text);
        bk_ids_free(&ids);
        bk_buf_free(&back);
        bk_tokenizer_destroy(&t);
        bk_free(text);
    }
}

#ifdef BRISK_TESTING
static int scenario(const char *name) {
    bk_vocab_options o = {.size = 280};
    bk_vocab *v = NULL;
    bk_error err = {0};
    bk_rng r;
    bk_rng_seed(&r, 7, 1);
    if (bk_vocab_kind_find(bk_str_from(name), &o.kind, &err)) return SWEEP_WRONG;
    char text[4096];
    for (size_t i = 0; i + 1 < sizeof text; i++) text[i] = "abcdefghijklmnop "[bk_rng_u32(&r) % 17];
    text[sizeof text - 1] = '\0';
    bk_status st = bk_vocab_train(&o, bk_str_from(text), &v, &err);
    if (st && (v || st != BK_ERR_NOMEM || !err.text[0])) return SWEEP_WRONG;
    bk_vocab_destroy(&v);
    return st ? SWEEP_FAILED_WELL : SWEEP_ALL_OK;
}

static void test_no_memory(void **state) {
    (void)state;
    assert_true(sweep_all("char", 1) > 2);
    assert_true(sweep_all("word", 1) > 3);
    assert_true(sweep_all("bpe", 1) > 8);
}
#endif

int main(int argc, char **argv) {
#ifdef BRISK_TESTING
    if (argc == 3 && strcmp(argv[1], "sweep") == 0) return sweep_status(scenario(argv[2]));
#else
    (void)argc, (void)argv;
#endif
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_chars),       cmocka_unit_test(test_words),
        cmocka_unit_test(test_word_cuts),   cmocka_unit_test(test_pairs),
        cmocka_unit_test(test_refused),     cmocka_unit_test(test_prepare),
        cmocka_unit_test(test_round_trips),
#ifdef BRISK_TESTING
        cmocka_unit_test(test_no_memory),
#endif
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
