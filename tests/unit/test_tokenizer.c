/* The tokenizer on a small vocabulary: all bytes, a few merges, a few special tokens. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/rng.h"
#include "text/tokenizer.h"

enum { MAX_TOKENS = 400, MAX_MERGES = 64 };

/* A description that tests may damage. */
typedef struct vocabulary {
    char letters[256][4]; /* names of the bytes */
    bk_str tokens[MAX_TOKENS];
    int32_t types[MAX_TOKENS];
    bk_str merges[MAX_MERGES];
    bk_tokenizer_desc desc;
} vocabulary;

static const char *const merges[] = {"a a",       "aa aa",  "Ġ a",    "h e", "l l",
                                     "he ll",     "hell o", "Ġ hell", "b c", "a bc",
                                     "aaaa aaaa", "1 2",    "12 3"};
static const char *const specials[] = {"<|im_start|>", "<|im_end|>", "<|im|>", "<|im_end|>x",
                                       "<s>"};

static int32_t add(vocabulary *v, const char *name, int32_t type) {
    int32_t id = (int32_t)v->desc.n_tokens++;
    v->tokens[id] = bk_str_from(name);
    v->types[id] = type;
    return id;
}

/* Token b is byte b, 256.. are the results of the merges, then the special tokens. */
static void make(vocabulary *v, const char *pre) {
    static char names[MAX_MERGES][32];
    *v = (vocabulary){.desc = {.model = BK_STR("gpt2"), .pre = bk_str_from(pre)}};
    uint32_t next = 256;
    for (uint32_t b = 0; b < 256; b++) {
        bool own = (b >= 0x21 && b <= 0x7E) || (b >= 0xA1 && b <= 0xAC) || b >= 0xAE;
        v->letters[b][bk_utf8_encode(own ? b : next++, v->letters[b])] = '\0';
        add(v, v->letters[b], BK_TOKEN_NORMAL);
    }
    for (size_t i = 0; i < BK_ARRAY_LEN(merges); i++) {
        v->merges[v->desc.n_merges++] = bk_str_from(merges[i]);
        size_t n = 0;
        for (const char *p = merges[i]; *p; p++)
            if (*p != ' ') names[i][n++] = *p;
        names[i][n] = '\0';
        add(v, names[i], BK_TOKEN_NORMAL);
    }
    for (size_t i = 0; i < BK_ARRAY_LEN(specials); i++) add(v, specials[i], BK_TOKEN_CONTROL);
    v->desc.tokens = v->tokens;
    v->desc.types = v->types;
    v->desc.merges = v->merges;
    v->desc.bos = v->desc.eos = v->desc.eot = v->desc.unk = v->desc.pad = -1;
}

static int32_t special_id(int i) { return (int32_t)(256 + BK_ARRAY_LEN(merges)) + i; }

static bk_tokenizer *create(const vocabulary *v) {
    bk_tokenizer *t = NULL;
    bk_error err = {0};
    if (bk_tokenizer_create(&v->desc, &t, &err)) fail_msg("%s", err.text);
    return t;
}

static bk_tokenizer *create_named(const char *pre) {
    vocabulary v;
    make(&v, pre);
    return create(&v);
}

/* Writes ids as text: merged and special tokens by name, bytes as they are, bars between. */
static void describe(const bk_tokenizer *t, const bk_ids *ids, char *out, size_t cap) {
    size_t at = 0;
    out[0] = '\0';
    for (size_t i = 0; i < ids->len; i++) {
        bk_str b = bk_tokenizer_bytes(t, ids->data[i]);
        at += (size_t)snprintf(out + at, cap - at, "%s%.*s", i ? "|" : "", (int)b.len, b.data);
        assert_true(at < cap);
    }
}

static void check_encode(const bk_tokenizer *t, const char *text, bool special, const char *want) {
    bk_ids ids = {0};
    char got[512];
    assert_int_equal(bk_tokenizer_encode(t, bk_str_from(text), special, &ids, NULL), BK_OK);
    describe(t, &ids, got, sizeof got);
    assert_string_equal(got, want);
    bk_ids_free(&ids);
}

/* Runs in a child before anything here has allocated, because the failing allocation is chosen
 * once for a process. Only builds with BRISK_TESTING can make one fail. */
static void test_out_of_memory(void **state) {
    (void)state;
    int n_failed = 0;
    for (int nth = 1; nth <= 24; nth++) {
        fflush(NULL);
        pid_t pid = fork();
        assert_true(pid >= 0);
        if (pid == 0) {
            char text[16];
            vocabulary v;
            bk_tokenizer *t = NULL;
            bk_error err = {0};
            bk_ids ids = {0};
            snprintf(text, sizeof text, "%d", nth);
            setenv("BRISK_FAIL_ALLOC", text, 1);
            make(&v, "qwen2");
            bk_status st = bk_tokenizer_create(&v.desc, &t, &err);
            if (!st) st = bk_tokenizer_encode(t, BK_STR("hello e\u0301 <s>"), true, &ids, &err);
            bool sane = st == BK_OK || (st == BK_ERR_NOMEM && err.text[0] && ids.len == 0);
            bk_ids_free(&ids);
            bk_tokenizer_destroy(&t);
            exit(!sane ? 2 : st ? 1 : 0); /* not _exit: leaks are looked for on the way out */
        }
        int status = 0;
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFEXITED(status) && WEXITSTATUS(status) < 2);
        n_failed += WEXITSTATUS(status);
    }
#ifdef BRISK_TESTING
    assert_in_range(n_failed, 9, 23);
#else
    assert_int_equal(n_failed, 0);
#endif
}

static void test_merges(void **state) {
    (void)state;
    bk_tokenizer *t = create_named("gpt-2");
    check_encode(t, "", false, "");
    check_encode(t, "hello", false, "hello");
    check_encode(t, " hello", false, " |hello");
    check_encode(t, " hell", false, " hell");
    check_encode(t, "hellohell", false, "hello|hell");
    check_encode(t, "aaaaa", false, "aaaa|a"); /* leftmost first among equal ranks */
    check_encode(t, "aaa aaa", false, "aa|a| |aa|a");
    check_encode(t, " a", false, " a");
    check_encode(t, "abc", false, "abc");
    check_encode(t, "aabc", false, "aa|bc"); /* a a ranks before a bc */
    check_encode(t, "123", false, "123");
    check_encode(t, "\xFF\x80", false, "\xFF|\x80");
    bk_tokenizer_destroy(&t);
    t = create_named("smollm");
    check_encode(t, "123", false, "1|2|3");
    bk_tokenizer_destroy(&t);
}

static void test_bytes_come_back(void **state) {
    (void)state;
    static const char *const pres[] = {"gpt-2", "smollm", "llama-bpe"};
    for (size_t k = 0; k < BK_ARRAY_LEN(pres); k++) {
        bk_tokenizer *t = create_named(pres[k]);
        char all[512], back[512];
        for (int i = 0; i < 512; i++) all[i] = (char)(i * 7);
        bk_ids ids = {0};
        assert_int_equal(bk_tokenizer_encode(t, (bk_str){all, sizeof all}, true, &ids, NULL),
                         BK_OK);
        size_t n = 0;
        for (size_t i = 0; i < ids.len; i++) {
            bk_str b = bk_tokenizer_bytes(t, ids.data[i]);
            assert_true(n + b.len <= sizeof back);
            memcpy(back + n, b.data, b.len);
            n += b.len;
        }
        assert_int_equal(n, sizeof all);
        assert_memory_equal(back, all, n);
        bk_ids_free(&ids);
        bk_tokenizer_destroy(&t);
    }
}

/* The definition, step by step: the best pair of the whole piece merges, until none is left. */
static size_t merge_naively(const vocabulary *v, bk_str *parts, size_t n) {
    for (;;) {
        size_t best_rank = SIZE_MAX, best = 0;
        for (size_t i = 0; i + 1 < n; i++) {
            for (size_t r = 0; r < v->desc.n_merges && r < best_rank; r++) {
                bk_str m = v->merges[r];
                if (m.len == parts[i].len + parts[i + 1].len + 1 && m.data[parts[i].len] == ' ' &&
                    memcmp(m.data, parts[i].data, parts[i].len) == 0 &&
                    memcmp(m.data + parts[i].len + 1, parts[i + 1].data, parts[i + 1].len) == 0) {
                    best_rank = r;
                    best = i;
                }
            }
        }
        if (best_rank == SIZE_MAX) return n;
        parts[best].len += parts[best + 1].len;
        memmove(parts + best + 1, parts + best + 2, (n - best - 2) * sizeof *parts);
        n--;
    }
}

static void test_against_definition(void **state) {
    (void)state;
    vocabulary v;
    make(&v, "gpt-2");
    bk_tokenizer *t = create(&v);
    bk_rng rng;
    bk_rng_seed(&rng, 3, 9);
    for (int round = 0; round < 20000; round++) {
        char text[24];
        bk_str parts[24];
        size_t n = 1 + bk_rng_u32(&rng) % sizeof text;
        for (size_t i = 0; i < n; i++) {
            text[i] = "aaaabchello"[bk_rng_u32(&rng) % 11];
            parts[i] = (bk_str){text + i, 1};
        }
        size_t want = merge_naively(&v, parts, n);
        bk_ids ids = {0};
        assert_int_equal(bk_tokenizer_encode(t, (bk_str){text, n}, false, &ids, NULL), BK_OK);
        assert_int_equal(ids.len, want);
        for (size_t i = 0; i < want; i++)
            assert_true(bk_str_eq(bk_tokenizer_bytes(t, ids.data[i]), parts[i]));
        bk_ids_free(&ids);
    }
    bk_tokenizer_destroy(&t);
}

/* A quadratic loop would take hours here. */
static void test_long_piece(void **state) {
    (void)state;
    size_t n = (size_t)1 << 20;
    char *text = bk_alloc(n, 1);
    assert_non_null(text);
    bk_tokenizer *t = create_named("gpt-2");
    bk_ids ids = {0};
    memset(text, 'a', n);
    assert_int_equal(bk_tokenizer_encode(t, (bk_str){text, n}, false, &ids, NULL), BK_OK);
    assert_int_equal(ids.len, n / 8);
    ids.len = 0;
    memset(text, ' ', n);
    assert_int_equal(bk_tokenizer_encode(t, (bk_str){text, n}, false, &ids, NULL), BK_OK);
    assert_int_equal(ids.len, n);
    ids.len = 0;
    memset(text, '<', n); /* begins every special token */
    assert_int_equal(bk_tokenizer_encode(t, (bk_str){text, n}, true, &ids, NULL), BK_OK);
    assert_int_equal(ids.len, n);
    bk_ids_free(&ids);
    bk_free(text);
    bk_tokenizer_destroy(&t);
}

static void test_text_too_long(void **state) {
    (void)state;
    bk_tokenizer *t = create_named("gpt-2");
    bk_ids ids = {0};
    bk_error err = {0};
    bk_str huge = {"", ((size_t)1 << 30) + 1}; /* refused before it is read */
    assert_int_equal(bk_tokenizer_encode(t, huge, false, &ids, &err), BK_ERR_LIMIT);
    assert_non_null(strstr(err.text, "1073741825"));
    bk_tokenizer_destroy(&t);
}

static void test_special(void **state) {
    (void)state;
    vocabulary v;
    make(&v, "gpt-2");
    int32_t user = add(&v, "<think>", BK_TOKEN_USER_DEFINED);
    bk_tokenizer *t = create(&v);
    check_encode(t, "<|im_end|>", true, "<|im_end|>");
    check_encode(t, "<|im_end|>", false, "<|||i|m|_|e|n|d|||>");
    check_encode(t, "a<|im_end|>xa<s>", true, "a|<|im_end|>x|a|<s>"); /* the longest */
    check_encode(t, "<<s><|im_en<|im|>", true, "<|<s>|<|||i|m|_|e|n|<|im|>");
    check_encode(t, "<think> a", true, "<think>| a");
    check_encode(t, "<think>a<s>", false, "<think>|a|<|s|>");
    check_encode(t, "<|im_start|", true, "<|||i|m|_|s|t|a|r|t||");
    assert_int_equal(bk_tokenizer_find(t, BK_STR("<|im_end|>")), special_id(1));
    assert_int_equal(bk_tokenizer_find(t, BK_STR("<think>")), user);
    assert_int_equal(bk_tokenizer_find(t, BK_STR("<|im_end|>xy")), -1);
    assert_int_equal(bk_tokenizer_find(t, BK_STR("<|im_")), -1);
    assert_int_equal(bk_tokenizer_find(t, BK_STR("hello")), -1); /* not special */
    assert_int_equal(bk_tokenizer_find(t, BK_STR("")), -1);
    bk_tokenizer_destroy(&t);
}

/* Text cannot yield a control token, whatever its name and the merges are. */
static void test_control_is_out_of_reach(void **state) {
    (void)state;
    vocabulary v;
    make(&v, "llama-bpe");
    int32_t word = add(&v, "word", BK_TOKEN_CONTROL);
    add(&v, "wo", BK_TOKEN_NORMAL);
    add(&v, "rd", BK_TOKEN_NORMAL);
    bk_tokenizer *t = create(&v);
    check_encode(t, "word", false, "w|o|r|d");
    check_encode(t, "word", true, "word");
    assert_int_equal(bk_tokenizer_find(t, BK_STR("word")), word);
    bk_tokenizer_destroy(&t);
    v.merges[v.desc.n_merges++] = BK_STR("wo rd");
    assert_int_equal(bk_tokenizer_create(&v.desc, &t, NULL), BK_ERR_FORMAT);
}

static void test_whole_pieces(void **state) {
    (void)state;
    vocabulary v;
    make(&v, "llama-bpe");
    add(&v, "Ġworld", BK_TOKEN_NORMAL); /* no merges lead to it */
    bk_tokenizer *t = create(&v);
    check_encode(t, "a world", false, "a| world");
    bk_tokenizer_destroy(&t);
    v.desc.pre = BK_STR("gpt-2");
    t = create(&v);
    check_encode(t, "a world", false, "a| |w|o|r|l|d");
    bk_tokenizer_destroy(&t);
}

static void test_normalisation(void **state) {
    (void)state;
    bk_tokenizer *t = create_named("qwen2");
    check_encode(t, "e\u0301<s>e\u0301", true, "\xC3|\xA9|<s>|\xC3|\xA9");
    bk_tokenizer_destroy(&t);
    t = create_named("gpt-2");
    check_encode(t, "e\u0301", true, "e|\xCC|\x81");
    bk_tokenizer_destroy(&t);
}

/* As in Hugging Face's tokenizers: a byte without a token vanishes and its neighbours meet. */
static void test_missing_byte(void **state) {
    (void)state;
    vocabulary v;
    make(&v, "gpt-2");
    v.tokens['x'] = BK_STR("unused name");
    bk_tokenizer *t = create(&v);
    check_encode(t, "axa", false, "aa");
    check_encode(t, "x", false, "");
    bk_tokenizer_destroy(&t);
}

static void test_names_outside_the_alphabet(void **state) {
    (void)state;
    vocabulary v;
    make(&v, "gpt-2");
    int32_t raw = add(&v, "中 文", BK_TOKEN_NORMAL);
    int32_t unused = add(&v, "[PAD0]", BK_TOKEN_UNUSED);
    int32_t spaces = add(&v, "  ", BK_TOKEN_USER_DEFINED);
    int32_t empty = add(&v, "", BK_TOKEN_CONTROL);
    bk_tokenizer *t = create(&v);
    assert_true(bk_str_eq(bk_tokenizer_bytes(t, raw), bk_str_from("中 文")));
    assert_true(bk_str_eq(bk_tokenizer_bytes(t, unused), BK_STR("[PAD0]")));
    assert_true(bk_str_eq(bk_tokenizer_bytes(t, spaces), BK_STR("  ")));
    assert_int_equal(bk_tokenizer_bytes(t, empty).len, 0);
    check_encode(t, "a  a", true, "a|  |a");
    bk_tokenizer_destroy(&t);
}

static void test_ids(void **state) {
    (void)state;
    vocabulary v;
    make(&v, "gpt-2");
    v.desc.bos = special_id(4);
    v.desc.eos = 'q';
    v.desc.eot = special_id(2);
    v.desc.add_bos = true;
    bk_tokenizer *t = create(&v);
    assert_int_equal(bk_tokenizer_count(t), v.desc.n_tokens);
    assert_int_equal(bk_tokenizer_bos(t), special_id(4));
    assert_int_equal(bk_tokenizer_eos(t), 'q');
    assert_true(bk_tokenizer_add_bos(t));
    assert_true(bk_tokenizer_is_end(t, 'q'));            /* eos */
    assert_true(bk_tokenizer_is_end(t, special_id(2)));  /* eot */
    assert_true(bk_tokenizer_is_end(t, special_id(1)));  /* <|im_end|> */
    assert_false(bk_tokenizer_is_end(t, special_id(0))); /* <|im_start|> */
    assert_false(bk_tokenizer_is_end(t, special_id(3)));
    assert_false(bk_tokenizer_is_end(t, 'a'));
    assert_int_equal(bk_tokenizer_type(t, special_id(0)), BK_TOKEN_CONTROL);
    assert_int_equal(bk_tokenizer_type(t, 'a'), BK_TOKEN_NORMAL);
    int32_t outside[] = {-1, (int32_t)v.desc.n_tokens, INT32_MAX, INT32_MIN};
    for (size_t i = 0; i < BK_ARRAY_LEN(outside); i++) {
        assert_null(bk_tokenizer_bytes(t, outside[i]).data);
        assert_int_equal(bk_tokenizer_bytes(t, outside[i]).len, 0);
        assert_int_equal(bk_tokenizer_type(t, outside[i]), BK_TOKEN_UNKNOWN);
        assert_false(bk_tokenizer_is_end(t, outside[i]));
    }
    bk_tokenizer_destroy(&t);
    assert_null(t);
    bk_tokenizer_destroy(&t);
}

/* A name of an end token that is ordinary text does not end anything. */
static void test_end_names_are_special(void **state) {
    (void)state;
    vocabulary v;
    make(&v, "gpt-2");
    int32_t text = add(&v, "</s>", BK_TOKEN_NORMAL);
    int32_t user = add(&v, "<|eot_id|>", BK_TOKEN_USER_DEFINED);
    bk_tokenizer *t = create(&v);
    assert_false(bk_tokenizer_is_end(t, text));
    assert_true(bk_tokenizer_is_end(t, user));
    assert_int_equal(bk_tokenizer_type(t, user), BK_TOKEN_CONTROL); /* not for a user to write */
    check_encode(t, "<|eot_id|>", false, "<|||e|o|t|_|i|d|||>");
    bk_tokenizer_destroy(&t);
}

static void check_refused(const vocabulary *v, bk_status want, const char *part) {
    bk_tokenizer *t = (bk_tokenizer *)(uintptr_t)1;
    bk_error err = {0};
    assert_int_equal(bk_tokenizer_create(&v->desc, &t, &err), want);
    assert_null(t);
    if (!strstr(err.text, part)) fail_msg("\"%s\" lacks \"%s\"", err.text, part);
    assert_int_equal(bk_tokenizer_create(&v->desc, &t, NULL), want);
}

static void test_unsupported(void **state) {
    (void)state;
    vocabulary v;
    make(&v, "unheard-of");
    check_refused(&v, BK_ERR_UNSUPPORTED, "tokenizer.ggml.pre is \"unheard-of\"");
    check_refused(&v, BK_ERR_UNSUPPORTED, "--pre NAME");
    v.desc.pre = BK_STR("\x1b[2J");
    check_refused(&v, BK_ERR_UNSUPPORTED, "\\x1b[2J");
    make(&v, "gpt-2");
    v.desc.model = BK_STR("bert");
    check_refused(&v, BK_ERR_UNSUPPORTED, "tokenizer.ggml.model is \"bert\"");
    v.desc.model = BK_STR("llama");
    check_refused(&v, BK_ERR_FORMAT, "tokenizer.ggml.scores");
}

static void test_bad_tokens(void **state) {
    (void)state;
    vocabulary v;
    make(&v, "gpt-2");
    v.desc.n_tokens = 0;
    check_refused(&v, BK_ERR_FORMAT, "tokenizer.ggml.tokens: 0 tokens");
    make(&v, "gpt-2");
    add(&v, "hello", BK_TOKEN_NORMAL);
    check_refused(&v, BK_ERR_FORMAT, "both \"hello\"");
    make(&v, "gpt-2");
    add(&v, "<s>", BK_TOKEN_CONTROL);
    check_refused(&v, BK_ERR_FORMAT, "both \"<s>\"");
    make(&v, "gpt-2");
    v.types[3] = 7;
    check_refused(&v, BK_ERR_FORMAT, "token 3 has type 7");
    v.types[3] = 0;
    check_refused(&v, BK_ERR_FORMAT, "token 3 has type 0");
    make(&v, "gpt-2");
    for (size_t i = 0; i < v.desc.n_tokens; i++) v.types[i] = BK_TOKEN_CONTROL;
    check_refused(&v, BK_ERR_FORMAT, "no token is a single byte");
    make(&v, "gpt-2");
    v.desc.eos = (int32_t)v.desc.n_tokens;
    check_refused(&v, BK_ERR_FORMAT, "tokenizer.ggml.eos_token_id");
    v.desc.eos = -2;
    check_refused(&v, BK_ERR_FORMAT, "tokenizer.ggml.eos_token_id is -2");
}

static void test_bad_merges(void **state) {
    (void)state;
    static const char *const bad[] = {"",     " ",       "ab",   "a ",   " a",  "a b c",
                                      "a  b", "hello q", "zz a", "a zz", "中 a"};
    for (size_t i = 0; i < BK_ARRAY_LEN(bad); i++) {
        vocabulary v;
        make(&v, "gpt-2");
        v.merges[4] = bk_str_from(bad[i]);
        check_refused(&v, BK_ERR_FORMAT, "tokenizer.ggml.merges: merge 4 is \"");
    }
}

/* A pair listed twice has its later rank. */
static void test_repeated_merge(void **state) {
    (void)state;
    vocabulary v;
    make(&v, "gpt-2");
    bk_tokenizer *t = create(&v);
    check_encode(t, "aabc", false, "aa|bc");
    bk_tokenizer_destroy(&t);
    v.merges[v.desc.n_merges++] = BK_STR("a a");
    t = create(&v);
    check_encode(t, "aabc", false, "a|abc");
    bk_tokenizer_destroy(&t);
}

static void test_no_types(void **state) {
    (void)state;
    vocabulary v;
    make(&v, "gpt-2");
    v.desc.types = NULL;
    bk_tokenizer *t = create(&v);
    check_encode(t, "<s>", true, "<|s|>");
    bk_tokenizer_destroy(&t);
}

/* Tables are flat: the number of allocations does not grow with the vocabulary. */
static void test_few_allocations(void **state) {
    (void)state;
    uint64_t before = bk_alloc_count();
    bk_tokenizer *t = create_named("gpt-2");
    assert_in_range(bk_alloc_count() - before, 1, 16);
    bk_tokenizer_destroy(&t);
}

static void test_ids_append(void **state) {
    (void)state;
    bk_tokenizer *t = create_named("gpt-2");
    bk_ids ids = {0};
    assert_true(bk_ids_push(&ids, 42));
    assert_int_equal(bk_tokenizer_encode(t, BK_STR("aa"), false, &ids, NULL), BK_OK);
    assert_int_equal(ids.len, 2);
    assert_int_equal(ids.data[0], 42);
    bk_ids_free(&ids);
    assert_null(ids.data);
    bk_tokenizer_destroy(&t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_out_of_memory), /* first: see there */
        cmocka_unit_test(test_merges),
        cmocka_unit_test(test_bytes_come_back),
        cmocka_unit_test(test_against_definition),
        cmocka_unit_test(test_long_piece),
        cmocka_unit_test(test_text_too_long),
        cmocka_unit_test(test_special),
        cmocka_unit_test(test_control_is_out_of_reach),
        cmocka_unit_test(test_whole_pieces),
        cmocka_unit_test(test_normalisation),
        cmocka_unit_test(test_missing_byte),
        cmocka_unit_test(test_names_outside_the_alphabet),
        cmocka_unit_test(test_ids),
        cmocka_unit_test(test_end_names_are_special),
        cmocka_unit_test(test_unsupported),
        cmocka_unit_test(test_bad_tokens),
        cmocka_unit_test(test_bad_merges),
        cmocka_unit_test(test_repeated_merge),
        cmocka_unit_test(test_no_types),
        cmocka_unit_test(test_few_allocations),
        cmocka_unit_test(test_ids_append),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
