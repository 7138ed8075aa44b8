/* SentencePiece's kinds of tokenizers on small vocabularies. Comparisons with the library itself are in
 * tests/tokenizer/compare_sp.py. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/mem.h"
#include "text/charsmap.h"
#include "text/tokenizer.h"

#define SPACE "\u2581"

enum { MAX_TOKENS = 400 };

typedef struct vocabulary {
    char bytes[256][8];
    bk_str tokens[MAX_TOKENS];
    int32_t types[MAX_TOKENS];
    float scores[MAX_TOKENS];
    bk_tokenizer_desc desc;
} vocabulary;

static int32_t add(vocabulary *v, const char *name, int32_t type, float score) {
    size_t id = v->desc.n_tokens++;
    assert_true(id < MAX_TOKENS);
    v->tokens[id] = bk_str_from(name);
    v->types[id] = type;
    v->scores[id] = score;
    return (int32_t)id;
}

/* <unk> <s> </s>, the bytes where wanted, then pieces. */
static void make(vocabulary *v, const char *model, bool bytes) {
    *v = (vocabulary){.desc = {.model = bk_str_from(model), .pre = BK_STR("default")}};
    add(v, "<unk>", BK_TOKEN_UNKNOWN, 0);
    add(v, "<s>", BK_TOKEN_CONTROL, 0);
    add(v, "</s>", BK_TOKEN_CONTROL, 0);
    for (int b = 0; b < 256 && bytes; b++) {
        snprintf(v->bytes[b], sizeof v->bytes[b], "<0x%02X>", (unsigned)b);
        add(v, v->bytes[b], BK_TOKEN_BYTE, 0);
    }
    static const char *const pieces[] = {"he",        "ll",      SPACE "he", "hell", SPACE "hell",
                                         "o",         "h",       "e",        "l",    SPACE,
                                         SPACE SPACE, "a",       "aa",       "aaaa", "b",
                                         "ab",        SPACE "a", "s>",       "</s",  "</s>x"};
    for (size_t i = 0; i < BK_ARRAY_LEN(pieces); i++)
        add(v, pieces[i], BK_TOKEN_NORMAL, -(float)i - 1);
    v->desc.tokens = v->tokens;
    v->desc.types = v->types;
    v->desc.scores = v->scores;
    v->desc.bos = 1;
    v->desc.eos = 2;
    v->desc.unk = 0;
    v->desc.eot = v->desc.pad = -1;
    v->desc.add_space = true;
}

static bk_tokenizer *create(const vocabulary *v) {
    bk_tokenizer *t = NULL;
    bk_error err = {0};
    if (bk_tokenizer_create(&v->desc, &t, &err)) fail_msg("%s", err.text);
    return t;
}

/* Bytes of the ids with bars between; a byte token in angle brackets, the unknown one as '?'. */
static void check(const bk_tokenizer *t, const char *text, bool special, const char *want) {
    bk_ids ids = {0};
    bk_buf got = {0};
    assert_int_equal(bk_tokenizer_encode(t, bk_str_from(text), special, &ids, NULL), BK_OK);
    for (size_t i = 0; i < ids.len; i++) {
        bk_str b = bk_tokenizer_bytes(t, ids.data[i]);
        int type = bk_tokenizer_type(t, ids.data[i]);
        if (i > 0) bk_buf_putc(&got, '|');
        if (type == BK_TOKEN_BYTE) {
            bk_buf_printf(&got, "<%02X>", (unsigned char)b.data[0]);
        } else if (type == BK_TOKEN_UNKNOWN) {
            bk_buf_putc(&got, '?');
        } else {
            bk_buf_append(&got, b.data, b.len);
        }
    }
    assert_string_equal(got.data ? got.data : "", want);
    bk_buf_free(&got);
    bk_ids_free(&ids);
}

static void test_scores(void **state) {
    (void)state;
    vocabulary v;
    make(&v, "llama", true);
    bk_tokenizer *t = create(&v);
    check(t, "", false, "");
    check(t, "hello", false, " hell|o"); /* "he" comes first, so that " he" never does */
    check(t, "hello  he", false, " hell|o| | he");
    check(t, "a\n", false, " a|<0A>");
    check(t, "é", false, " |<C3>|<A9>");
    check(t, "\xFFo", false, " |<FF>|o");
    check(t, "he" SPACE "he", false, " he| he"); /* the sign itself is a space */
    check(t, "aaaaa", false, " |aaaa|a");
    check(t, "ab", false, " |ab"); /* better than " a" */
    check(t, "<s>a</s>", true, "<s>| a|</s>");
    check(t, "<s>a</s>", false, " |<3C>|s>|a|<3C>|<2F>|s>"); /* no merge makes a control token */
    check(t, "<0x0A>", false, " |<3C>|<30>|<78>|<30>|<41>|<3E>");
    bk_tokenizer_destroy(&t);
    v.desc.add_space = false;
    t = create(&v);
    check(t, "hello", false, "hell|o");
    check(t, "", true, "");
    bk_tokenizer_destroy(&t);
}

static void test_unknown(void **state) {
    (void)state;
    vocabulary v;
    make(&v, "llama", false);
    bk_tokenizer *t = create(&v);
    check(t, "zzéa中 z", false, " |?|a|?| |?"); /* those that follow one another are one */
    v.desc.unk = -1;
    bk_tokenizer_destroy(&t);
    t = create(&v);
    check(t, "zza", false, " |a");
    bk_tokenizer_destroy(&t);
}

static void test_user_defined(void **state) {
    (void)state;
    vocabulary v;
    make(&v, "llama", true);
    add(&v, "\n\n", BK_TOKEN_USER_DEFINED, 0);
    add(&v, "\n\n\n", BK_TOKEN_USER_DEFINED, 0);
    add(&v, SPACE "tag", BK_TOKEN_USER_DEFINED, 0);
    bk_tokenizer *t = create(&v);
    check(t, "a\n\n\n\n\nb", false, " a|\n\n\n|\n\n|b"); /* the leftmost, the longest */
    check(t, "a\n", false, " a|<0A>");
    check(t, "\n\na", false, " |\n\n|a");
    check(t, "a tag a", false, " a| tag| a"); /* no space is put behind one */
    check(t, "<s>\n\n", true, "<s>| |\n\n");
    bk_tokenizer_destroy(&t);
}

static void test_marked(void **state) {
    (void)state;
    vocabulary v;
    make(&v, "llama", true);
    v.desc.add_space = false;
    bk_tokenizer *t = create(&v);
    bk_str text = BK_STR("<s>a<s>b</s></s>");
    bk_span plain[] = {{3, 8}, {13, 14}}; /* "a<s>b" and the "/" of the last */
    bk_ids ids = {0};
    assert_int_equal(bk_tokenizer_encode_marked(t, text, plain, 2, &ids, NULL), BK_OK);
    size_t n = 0;
    for (size_t i = 0; i < ids.len; i++) n += ids.data[i] == 1 || ids.data[i] == 2;
    assert_int_equal(n, 2);
    assert_int_equal(ids.data[0], 1);
    bk_ids_free(&ids);
    bk_tokenizer_destroy(&t);
}

/* Of all ways through the text the one with the best sum. */
static void test_unigram(void **state) {
    (void)state;
    vocabulary v;
    make(&v, "t5", false);
    bk_tokenizer *t = create(&v);
    check(t, "hello", false, " hell|o"); /* -5 - 6 */
    check(t, "aab", false, " a|ab");     /* -17 - 16, against -10 - 13 - 15 */
    check(t, "zz", false, " |?");
    check(t, "<s>a", true, "<s>| a");
    bk_tokenizer_destroy(&t);
    char longest[300];
    memset(longest, 'a', sizeof longest - 1);
    longest[sizeof longest - 1] = '\0';
    add(&v, longest, BK_TOKEN_NORMAL, -1);
    bk_error err = {0};
    assert_int_equal(bk_tokenizer_create(&v.desc, &t, &err), BK_ERR_UNSUPPORTED);
    assert_non_null(strstr(err.text, "299 bytes"));
}

static void test_merges(void **state) {
    (void)state;
    vocabulary v;
    make(&v, "gemma4", true);
    const bk_str merges[] = {BK_STR("h e"), BK_STR("l l"), BK_STR("he ll"), BK_STR(SPACE " hell")};
    v.desc.merges = merges;
    v.desc.n_merges = BK_ARRAY_LEN(merges);
    v.desc.scores = NULL;
    v.desc.add_space = false;
    bk_tokenizer *t = create(&v);
    check(t, "hello hello", false, "hell|o| hell|o");
    check(t, "é", false, "<C3>|<A9>");
    bk_tokenizer_destroy(&t);
}

static void test_squeeze(void **state) {
    (void)state;
    vocabulary v;
    make(&v, "llama", true);
    add(&v, "<tag>", BK_TOKEN_USER_DEFINED, 0);
    v.desc.squeeze = true;
    bk_tokenizer *t = create(&v);
    check(t, "   a   a   ", false, " a| a");
    check(t, "   ", false, "");
    check(t, "  a <tag>  b ", false, " a| |<tag>| |b");
    bk_tokenizer_destroy(&t);
}

/* Every text comes back, whatever its bytes are, and the space in front does not. */
static void test_decode(void **state) {
    (void)state;
    vocabulary v;
    make(&v, "llama", true);
    bk_tokenizer *t = create(&v);
    static const char *const texts[] = {"hello  é 中\n", " a", "", "aaaaaaaaa", "he <s> ll"};
    for (size_t i = 0; i < BK_ARRAY_LEN(texts); i++) {
        bk_ids ids = {0};
        bk_buf out = {0};
        assert_int_equal(bk_tokenizer_encode(t, bk_str_from(texts[i]), false, &ids, NULL), BK_OK);
        assert_int_equal(bk_tokenizer_decode(t, ids.data, ids.len, &out, NULL), BK_OK);
        assert_true(bk_str_eq(bk_buf_view(&out), bk_str_from(texts[i])));
        bk_ids_free(&ids);
        bk_buf_free(&out);
    }
    int32_t bad[] = {3, 100000};
    bk_buf out = {0};
    bk_error err = {0};
    assert_int_equal(bk_tokenizer_decode(t, bad, 2, &out, &err), BK_ERR_INVALID);
    assert_non_null(strstr(err.text, "100000"));
    bk_buf_free(&out);
    bk_tokenizer_destroy(&t);
}

static void test_refused(void **state) {
    (void)state;
    vocabulary v;
    bk_tokenizer *t = NULL;
    bk_error err = {0};
    make(&v, "llama", true);
    v.desc.scores = NULL;
    assert_int_equal(bk_tokenizer_create(&v.desc, &t, &err), BK_ERR_FORMAT);
    assert_non_null(strstr(err.text, "tokenizer.ggml.scores"));
    static const char *const maps[] = {"x", "\x04\0\0\0",
                                       "\xFF\xFF\xFF\xFF"
                                       "aaaaaaaa",
                                       "\x03\0\0\0"
                                       "aaaaaaa",
                                       "\x04\0\0\0"
                                       "aaaax"};
    static const size_t sizes[] = {1, 4, 12, 11, 9};
    for (size_t i = 0; i < BK_ARRAY_LEN(maps); i++) {
        bk_charsmap map;
        assert_int_equal(bk_charsmap_create((bk_str){maps[i], sizes[i]}, &map, &err),
                         BK_ERR_FORMAT);
        bk_charsmap_free(&map);
    }
}

/* A table of units that lead anywhere: nothing outside of it is read. */
static void test_hostile_charsmap(void **state) {
    (void)state;
    uint32_t seed = 1;
    for (int round = 0; round < 2000; round++) {
        char blob[4 + 256 * 4 + 8] = {0};
        uint32_t size = 256 * 4;
        memcpy(blob, &size, 4);
        for (size_t i = 4; i < 4 + 256 * 4; i++) {
            seed = seed * 1664525 + 1013904223;
            blob[i] = (char)(i % 4 == 0 ? seed >> 25 : i % 4 == 1 ? seed >> 24 & 7 : 0);
        }
        bk_charsmap map;
        bk_buf out = {0};
        assert_int_equal(bk_charsmap_create((bk_str){blob, sizeof blob}, &map, NULL), BK_OK);
        bk_charsmap_rules rules = {true, round % 2, true, true};
        assert_true(bk_charsmap_apply(&map, BK_STR("hello \x01\x02 \xFF text 12345"), rules, &out));
        bk_buf_free(&out);
        bk_charsmap_free(&map);
    }
}

static void test_long(void **state) {
    (void)state;
    enum { SIZE = 1 << 20 };
    static const char *const models[] = {"llama", "t5"};
    char *text = malloc(SIZE);
    assert_non_null(text);
    for (size_t m = 0; m < BK_ARRAY_LEN(models); m++) {
        vocabulary v;
        make(&v, models[m], true);
        bk_tokenizer *t = create(&v);
        for (const char *c = "a hz"; *c; c++) {
            bk_ids ids = {0};
            memset(text, *c, SIZE);
            assert_int_equal(bk_tokenizer_encode(t, (bk_str){text, SIZE}, false, &ids, NULL),
                             BK_OK);
            assert_true(ids.len > SIZE / 8);
            bk_ids_free(&ids);
        }
        bk_tokenizer_destroy(&t);
    }
    free(text);
}

/* A text with more different beginnings than the table of steps holds: its words by themselves give the
 * same ids. All sums are whole numbers, which floats have exactly. */
static void test_many_steps(void **state) {
    (void)state;
    enum { WORDS = 30000, LEN = 14 };
    vocabulary v;
    make(&v, "t5", true);
    bk_tokenizer *t = create(&v);
    char *text = malloc(WORDS * (LEN + 1));
    assert_non_null(text);
    bk_ids all = {0}, parts = {0};
    uint32_t seed = 7;
    size_t n = 0;
    for (int w = 0; w < WORDS; w++) {
        size_t begin = n;
        for (int i = 0; i < LEN; i++) {
            seed = seed * 1664525 + 1013904223;
            text[n++] = seed >> 31 ? "hello"[i % 5] : (char)('!' + (seed >> 16) % 94);
        }
        assert_int_equal(bk_tokenizer_encode(t, (bk_str){text + begin, LEN}, false, &parts, NULL),
                         BK_OK);
        text[n++] = ' ';
    }
    assert_int_equal(bk_tokenizer_encode(t, (bk_str){text, n - 1}, false, &all, NULL), BK_OK);
    assert_int_equal(all.len, parts.len);
    assert_memory_equal(all.data, parts.data, all.len * sizeof *all.data);
    bk_ids_free(&all);
    bk_ids_free(&parts);
    bk_tokenizer_destroy(&t);
    free(text);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_scores),       cmocka_unit_test(test_unknown),
        cmocka_unit_test(test_user_defined), cmocka_unit_test(test_marked),
        cmocka_unit_test(test_unigram),      cmocka_unit_test(test_merges),
        cmocka_unit_test(test_squeeze),      cmocka_unit_test(test_decode),
        cmocka_unit_test(test_refused),      cmocka_unit_test(test_hostile_charsmap),
        cmocka_unit_test(test_long),         cmocka_unit_test(test_many_steps),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
