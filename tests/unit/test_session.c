/* Sessions and answers over a small random model, through the public header and, where that hides the
 * matter, the internal ones. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "brisk.h"
#include "engine/chat.h"
#include "engine/session.h"

static brisk_model *model;
static brisk_model_info info;
static brisk_token prompt[512];
static const char path[] = "tests/data/tiny_chat.gguf";

static const char text[] =
    "The library on the hill was built in 1887, of brick and slate, with a clock that has never "
    "been "
    "right. Its first keeper, a retired ship's carpenter named Odell, read every book before he "
    "let "
    "anyone borrow it, and wrote his opinion inside the cover in pencil. Some of those notes are "
    "still there. In one volume on bees he wrote: true, mostly. In a treatise on tides: he has not "
    "seen one. People come now from three counties to read the notes rather than the books, and "
    "the "
    "present keeper has begun, with a softer pencil, to answer them. Nobody has complained yet, "
    "but "
    "the clock struck eleven the other day at half past two, and she took it as applause.";

static int open_model(void **state) {
    (void)state;
    brisk_error err;
    if (brisk_model_open(path, NULL, &model, &err)) {
        print_error("%s\n", err.text);
        return -1;
    }
    brisk_model_get_info(model, &info);
    size_t n;
    brisk_status st = brisk_tokenize(model, text, strlen(text), true, false, prompt,
                                     BK_ARRAY_LEN(prompt), &n, &err);
    if (st || n < 140) {
        print_error("the text has %zu tokens, 140 to 512 are wanted\n", n);
        return -1;
    }
    return 0;
}

static int close_model(void **state) {
    (void)state;
    brisk_model_close(&model);
    assert_null(model);
    return 0;
}

enum { N = 140 }; /* tokens of the prompt that are used */

static brisk_session *create(int context, int batch) {
    brisk_session_options o = {.context = context, .batch_size = batch};
    brisk_session *s;
    brisk_error err;
    if (brisk_session_create(model, &o, &s, &err)) fail_msg("%s", err.text);
    return s;
}

static const float *logits_of(brisk_session *s) {
    const float *logits;
    brisk_error err;
    if (brisk_session_eval(s, &logits, NULL, &err)) fail_msg("%s", err.text);
    return logits;
}

static void append(brisk_session *s, const brisk_token *tokens, size_t n) {
    brisk_error err;
    if (brisk_session_append(s, tokens, n, &err)) fail_msg("%s", err.text);
}

static size_t row_bytes(void) { return (size_t)info.n_vocab * sizeof(float); }

/* A copy of the logits after the first n tokens of the prompt. */
static float *reference(size_t n) {
    brisk_session *s = create(0, 0);
    float *copy = malloc(row_bytes());
    append(s, prompt, n);
    memcpy(copy, logits_of(s), row_bytes());
    brisk_session_destroy(&s);
    return copy;
}

static size_t computed(const brisk_session *s) {
    return bk_session_computed((const bk_session *)s);
}

/* ---- Equal bits ------------------------------------------------------------------------------- */

static void test_batches(void **state) {
    (void)state;
    float *want = reference(N);
    static const int batches[] = {1, 7, 64};
    for (size_t i = 0; i < BK_ARRAY_LEN(batches); i++) {
        brisk_session *s = create(512, batches[i]);
        append(s, prompt, N);
        assert_memory_equal(logits_of(s), want, row_bytes());
        brisk_session_destroy(&s);
    }
    free(want);
}

typedef struct rows {
    const float *want[2]; /* of rows 69 and N - 1 */
    size_t seen;
} rows;

static void on_row(size_t index, const float *logits, void *user) {
    rows *r = user;
    assert_int_equal(index, r->seen++);
    if (index == 69) assert_memory_equal(logits, r->want[0], row_bytes());
    if (index == N - 1) assert_memory_equal(logits, r->want[1], row_bytes());
}

static void test_rows(void **state) {
    (void)state;
    float *middle = reference(70), *last = reference(N);
    rows r = {.want = {middle, last}};
    brisk_session *s = create(512, 0);
    brisk_error err;
    assert_int_equal(brisk_session_eval_rows(s, prompt, N, on_row, &r, &err), BRISK_OK);
    assert_int_equal(r.seen, N);
    assert_memory_equal(logits_of(s), last, row_bytes());
    brisk_session_destroy(&s);
    free(middle);
    free(last);
}

static void test_truncate(void **state) {
    (void)state;
    float *want = reference(70);
    brisk_session *s = create(512, 0);
    brisk_error err;
    append(s, prompt, N);
    logits_of(s);
    assert_int_equal(brisk_session_truncate(s, 70, &err), BRISK_OK);
    assert_memory_equal(logits_of(s), want, row_bytes());
    assert_int_equal(brisk_session_truncate(s, 71, &err), BRISK_ERR_INVALID);
    assert_non_null(strstr(err.text, "71"));
    assert_int_equal(brisk_session_truncate(s, 0, &err), BRISK_OK);
    append(s, prompt, 70);
    assert_memory_equal(logits_of(s), want, row_bytes());
    brisk_session_destroy(&s);
    free(want);
}

static void test_fork(void **state) {
    (void)state;
    float *want = reference(N);
    brisk_session *s = create(512, 0), *copy;
    brisk_error err;
    append(s, prompt, 70);
    logits_of(s);
    assert_int_equal(brisk_session_fork(s, &copy, &err), BRISK_OK);
    assert_int_equal(computed(copy), 70);
    append(s, (brisk_token[]){1, 2, 3}, 3);
    logits_of(s);
    append(copy, prompt + 70, N - 70);
    assert_memory_equal(logits_of(copy), want, row_bytes());
    brisk_session_destroy(&s); /* the copy lives on */
    assert_int_equal(brisk_session_truncate(copy, 70, &err), BRISK_OK);
    append(copy, prompt + 70, N - 70);
    assert_memory_equal(logits_of(copy), want, row_bytes());
    brisk_session_destroy(&copy);
    free(want);
}

/* What two token lists have in common is not computed again. */
static void test_set(void **state) {
    (void)state;
    float *want = reference(N);
    brisk_session *s = create(512, 0);
    bk_session *inner = (bk_session *)s;
    bk_error err;
    brisk_token other[N];
    memcpy(other, prompt, sizeof other);
    other[100]++;
    assert_int_equal(bk_session_set(inner, other, N, &err), BK_OK);
    assert_int_equal(computed(s), 0);
    logits_of(s);
    assert_int_equal(computed(s), N);
    assert_int_equal(bk_session_set(inner, prompt, N, &err), BK_OK);
    assert_int_equal(computed(s), 100);
    assert_memory_equal(logits_of(s), want, row_bytes());
    assert_int_equal(bk_session_set(inner, prompt, N, &err), BK_OK);
    assert_int_equal(computed(s), N);
    assert_int_equal(bk_session_set(inner, prompt, 50, &err), BK_OK);
    assert_int_equal(computed(s), 50);
    brisk_session_destroy(&s);
    free(want);
}

/* Sessions of one model, and forks of one session, each in a thread of its own. */
static void *compute_in_thread(void *arg) {
    brisk_session *s = arg;
    if (brisk_session_append(s, prompt + 70, N - 70, NULL)) return NULL;
    return brisk_session_eval(s, NULL, NULL, NULL) ? NULL : s;
}

static void test_threads(void **state) {
    (void)state;
    enum { THREADS = 4 };
    float *want = reference(N);
    brisk_session *s[THREADS];
    pthread_t thread[THREADS];
    for (int i = 0; i < THREADS; i++) {
        if (i % 2 == 0) {
            s[i] = create(512, 16);
            append(s[i], prompt, 70);
            logits_of(s[i]);
        } else if (brisk_session_fork(s[i - 1], &s[i], NULL)) {
            fail_msg("fork %d", i);
        }
    }
    for (int i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_create(&thread[i], NULL, compute_in_thread, s[i]), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        void *done;
        pthread_join(thread[i], &done);
        assert_non_null(done);
        assert_memory_equal(logits_of(s[i]), want, row_bytes());
        brisk_session_destroy(&s[i]);
    }
    free(want);
}

/* ---- Limits ----------------------------------------------------------------------------------- */

static void test_overflow(void **state) {
    (void)state;
    brisk_session *s = create(32, 0);
    brisk_error err;
    size_t n;
    append(s, prompt, 30);
    assert_int_equal(brisk_session_append(s, prompt, 3, &err), BRISK_ERR_LIMIT);
    assert_non_null(strstr(err.text, "33"));
    assert_non_null(strstr(err.text, "32"));
    brisk_session_tokens(s, &n);
    assert_int_equal(n, 30);
    assert_int_equal(brisk_session_append(s, prompt, SIZE_MAX / 8, &err), BRISK_ERR_LIMIT);
    append(s, prompt, 2);
    logits_of(s);
    brisk_stats stats;
    brisk_generate_options o;
    brisk_generate_options_default(&o);
    assert_int_equal(brisk_generate(s, &o, NULL, NULL, &stats, &err), BRISK_OK);
    assert_int_equal(stats.finish, BRISK_FINISH_CONTEXT);
    assert_int_equal(stats.generated_tokens, 0);
    brisk_session_destroy(&s);
}

static void test_refused(void **state) {
    (void)state;
    brisk_session *s = create(64, 0);
    brisk_error err;
    const float *logits;
    assert_int_equal(brisk_session_eval(s, &logits, NULL, &err), BRISK_ERR_INVALID);
    assert_int_equal(brisk_session_append(s, &info.n_vocab, 1, &err), BRISK_ERR_INVALID);
    assert_int_equal(brisk_session_append(s, (brisk_token[]){-1}, 1, &err), BRISK_ERR_INVALID);
    assert_int_equal(brisk_session_append(s, NULL, 1, &err), BRISK_ERR_INVALID);
    assert_int_equal(brisk_session_append(NULL, prompt, 1, &err), BRISK_ERR_INVALID);
    assert_int_equal(brisk_session_append(s, NULL, 0, NULL), BRISK_OK);
    brisk_session_destroy(&s);
    brisk_session_destroy(&s);
    static const brisk_session_options bad[] = {
        {.context = -1}, {.context = 1 << 30}, {.batch_size = -1}, {.batch_size = 1 << 30}};
    for (size_t i = 0; i < BK_ARRAY_LEN(bad); i++) {
        assert_int_equal(brisk_session_create(model, &bad[i], &s, &err), BRISK_ERR_INVALID);
        assert_null(s);
    }
    brisk_model *vocabulary;
    const brisk_model_options header = {.vocab_only = true};
    assert_int_equal(brisk_model_open(path, &header, &vocabulary, &err), BRISK_OK);
    assert_int_equal(brisk_session_create(vocabulary, NULL, &s, &err), BRISK_ERR_INVALID);
    assert_null(s);
    brisk_model_close(&vocabulary);
    brisk_model *none = model;
    assert_int_equal(brisk_model_open("no/such.gguf", NULL, &none, &err), BRISK_ERR_NOT_FOUND);
    assert_null(none);
    assert_int_equal(brisk_model_open(NULL, NULL, &none, &err), BRISK_ERR_INVALID);
}

static void test_cancel(void **state) {
    (void)state;
    volatile bool stop = true;
    brisk_session *s = create(512, 64);
    brisk_error err;
    const float *logits;
    append(s, prompt, N);
    assert_int_equal(brisk_session_eval(s, &logits, &stop, &err), BRISK_ERR_CANCELLED);
    brisk_generate_options o;
    brisk_generate_options_default(&o);
    o.cancel = &stop;
    brisk_stats stats;
    assert_int_equal(brisk_generate(s, &o, NULL, NULL, &stats, &err), BRISK_OK);
    assert_int_equal(stats.finish, BRISK_FINISH_CANCELLED);
    stop = false;
    float *want = reference(N); /* nothing is lost */
    assert_memory_equal(logits_of(s), want, row_bytes());
    brisk_session_destroy(&s);
    free(want);
}

/* ---- Answers ---------------------------------------------------------------------------------- */

typedef struct answer {
    char text[2048];
    size_t len, calls, refuse_after; /* 0: never */
} answer;

static bool on_text(const char *piece, size_t len, brisk_token token, void *user) {
    answer *a = user;
    (void)token;
    assert_true(len > 0 && a->len + len < sizeof a->text);
    memcpy(a->text + a->len, piece, len);
    a->len += len;
    return ++a->calls != a->refuse_after;
}

static brisk_stats generate(const brisk_generate_options *o, answer *a) {
    brisk_session *s = create(512, 0);
    brisk_stats stats;
    brisk_error err;
    append(s, prompt, 40);
    if (brisk_generate(s, o, on_text, a, &stats, &err)) fail_msg("%s", err.text);
    size_t n;
    brisk_session_tokens(s, &n);
    assert_int_equal(n, 40 + stats.generated_tokens);
    a->text[a->len] = '\0';
    brisk_session_destroy(&s);
    return stats;
}

static void test_generate(void **state) {
    (void)state;
    brisk_generate_options o;
    brisk_generate_options_default(&o);
    o.max_tokens = 24;
    answer greedy[2] = {0}, sampled[3] = {0};
    o.sampling.temperature = 0;
    for (int i = 0; i < 2; i++) {
        brisk_stats st = generate(&o, &greedy[i]);
        assert_int_equal(st.prompt_tokens, 40);
        assert_int_equal(st.cached_tokens, 0);
        assert_int_equal(st.generated_tokens, 24);
        assert_int_equal(st.finish, BRISK_FINISH_LENGTH);
        assert_true(st.prompt_ms > 0 && st.first_token_ms >= st.prompt_ms && st.decode_ms > 0);
    }
    assert_string_equal(greedy[0].text, greedy[1].text);
    o.sampling.temperature = 1.5f;
    for (int i = 0; i < 3; i++) {
        o.sampling.seed = i == 2 ? 8 : 7;
        generate(&o, &sampled[i]);
    }
    assert_string_equal(sampled[0].text, sampled[1].text);
    assert_string_not_equal(sampled[0].text, sampled[2].text);

    /* A stop text out of the middle of an answer cuts it where it first stands. */
    char stop[16] = {0};
    const char *stops[] = {stop};
    size_t at = sampled[2].len / 2;
    while ((sampled[2].text[at] & 0xC0) == 0x80) at++;
    size_t end = at + 4;
    while ((sampled[2].text[end] & 0xC0) == 0x80) end++;
    memcpy(stop, sampled[2].text + at, end - at);
    assert_true(strlen(stop) >= 4);
    o.stop = stops;
    o.n_stop = 1;
    answer cut = {0};
    assert_int_equal(generate(&o, &cut).finish, BRISK_FINISH_STOP);
    const char *first = memmem(sampled[2].text, sampled[2].len, stop, strlen(stop));
    assert_int_equal(cut.len, first - sampled[2].text);
    assert_memory_equal(cut.text, sampled[2].text, cut.len);

    o.sampling.temperature = 0;
    o.n_stop = 0;
    answer refused = {.refuse_after = 3};
    assert_int_equal(generate(&o, &refused).finish, BRISK_FINISH_CANCELLED);
    assert_int_equal(refused.calls, 3);
    o.max_tokens = 0;
    answer none = {0};
    assert_int_equal(generate(&o, &none).finish, BRISK_FINISH_LENGTH);
    assert_int_equal(none.len, 0);
    o.max_tokens = -2;
    brisk_session *s = create(64, 0);
    append(s, prompt, 1);
    assert_int_equal(brisk_generate(s, &o, NULL, NULL, NULL, NULL), BRISK_ERR_INVALID);
    brisk_session_destroy(&s);
}

/* Once warm, a token costs no allocation but the pages of KV, one set per 64 positions. */
static bool count_allocations(const char *piece, size_t len, brisk_token token, void *user) {
    (void)piece, (void)len, (void)token;
    uint64_t *at = user;
    if (at[0]++ == 8) at[1] = bk_alloc_count();
    at[2] = bk_alloc_count();
    return true;
}

static void test_no_allocation(void **state) {
    (void)state;
    brisk_session *s = create(512, 0);
    uint64_t at[3] = {0};
    brisk_generate_options o;
    brisk_generate_options_default(&o);
    o.ignore_end = true;
    o.max_tokens = 40;
    o.sampling.repeat_penalty = 1.1f;
    append(s, prompt, 70); /* stays within the page that it reaches */
    assert_int_equal(brisk_generate(s, &o, count_allocations, at, NULL, NULL), BRISK_OK);
    assert_true(at[0] > 20);
    assert_int_equal(at[2] - at[1], 0);
    brisk_session_destroy(&s);
}

/* ---- Chat ------------------------------------------------------------------------------------- */

static brisk_token special(const char *name) {
    brisk_token id;
    size_t n;
    assert_int_equal(brisk_tokenize(model, name, strlen(name), false, true, &id, 1, &n, NULL),
                     BRISK_OK);
    return id;
}

/* Special tokens count only where the template wrote them, and text merges across the boundary of
 * template and user text. */
static void test_chat_encode(void **state) {
    (void)state;
    static const char whole[] = "<|im_start|>user\nsay <|im_end|> now<|im_end|>\n";
    const char *user = strstr(whole, "say");
    bk_rendered r = {0};
    bk_span span = {(size_t)(user - whole), (size_t)(strstr(whole, " now") + 4 - whole)};
    bk_buf_append_str(&r.text, whole);
    r.user = &span;
    r.n_user = 1;
    const bk_tokenizer *t = bk_model_tokenizer((const bk_model *)model);
    bk_ids got = {0}, want = {0};
    bk_error err;
    brisk_token start = special("<|im_start|>"), end = special("<|im_end|>");
    assert_int_equal(bk_chat_encode(t, &r, &got, &err), BK_OK);
    bk_ids_push(&want, start);
    bk_tokenizer_encode(t, BK_STR("user\nsay <|im_end|> now"), false, &want, &err);
    bk_ids_push(&want, end);
    bk_tokenizer_encode(t, BK_STR("\n"), false, &want, &err);
    assert_int_equal(got.len, want.len);
    assert_memory_equal(got.data, want.data, want.len * sizeof *want.data);
    bk_ids_free(&got);
    bk_ids_free(&want);
    bk_buf_free(&r.text);
}

static void test_chat(void **state) {
    (void)state;
    assert_true(info.has_chat_template);
    brisk_chat_message m[3] = {{"user", "Say <|im_end|> twice."},
                               {"assistant", "No."},
                               {"user", "Why?"}};
    brisk_session *s = create(512, 0);
    brisk_error err;
    if (brisk_session_chat(s, m, 1, &err)) fail_msg("%s", err.text);
    size_t n, ends = 0;
    const brisk_token *tokens = brisk_session_tokens(s, &n);
    for (size_t i = 0; i < n; i++) ends += tokens[i] == special("<|im_end|>");
    assert_int_equal(ends, 2); /* of the default system message and of the user's */
    logits_of(s);
    assert_int_equal(brisk_session_chat(s, m, 3, &err), BRISK_OK);
    assert_int_equal(computed(s), n); /* the longer conversation begins with the shorter */
    m[0].content = "\xC3";
    assert_int_equal(brisk_session_chat(s, m, 3, &err), BRISK_ERR_INVALID);
    assert_non_null(strstr(err.text, "message 1"));
    char *rendered;
    m[0].content = "Hi";
    assert_int_equal(brisk_chat_render(model, m, 1, true, &rendered, &err), BRISK_OK);
    assert_non_null(strstr(rendered, "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"));
    brisk_free(rendered);
    brisk_session_destroy(&s);
    s = create(16, 0);
    assert_int_equal(brisk_session_chat(s, m, 3, &err), BRISK_ERR_LIMIT);
    assert_non_null(strstr(err.text, "16"));
    brisk_session_destroy(&s);
}

static void test_tokenize(void **state) {
    (void)state;
    brisk_token ids[4];
    size_t n;
    brisk_error err;
    const char *sentence = "one two three four five six";
    assert_int_equal(brisk_tokenize(model, sentence, strlen(sentence), false, false, ids, 4, &n,
                                    &err),
                     BRISK_ERR_LIMIT);
    assert_true(n > 4);
    assert_int_equal(brisk_tokenize(model, "", 0, false, false, NULL, 0, &n, &err), BRISK_OK);
    assert_int_equal(n, 0);
    bool is_special;
    assert_null(brisk_token_bytes(model, info.n_vocab, &n, &is_special));
    assert_int_equal(n, 0);
    assert_false(is_special);
    const char *name = brisk_token_bytes(model, special("<|im_end|>"), &n, &is_special);
    assert_true(is_special && n == 10 && memcmp(name, "<|im_end|>", 10) == 0);
    assert_true(brisk_token_is_end(model, special("<|im_end|>")));
    assert_false(brisk_token_is_end(model, prompt[0]));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_batches),       cmocka_unit_test(test_rows),
        cmocka_unit_test(test_truncate),      cmocka_unit_test(test_fork),
        cmocka_unit_test(test_set),           cmocka_unit_test(test_threads),
        cmocka_unit_test(test_overflow),      cmocka_unit_test(test_refused),
        cmocka_unit_test(test_cancel),        cmocka_unit_test(test_generate),
        cmocka_unit_test(test_no_allocation), cmocka_unit_test(test_chat_encode),
        cmocka_unit_test(test_chat),          cmocka_unit_test(test_tokenize),
    };
    return cmocka_run_group_tests(tests, open_model, close_model);
}
