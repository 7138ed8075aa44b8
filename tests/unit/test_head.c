/* Heads that leave logits out: what they give are the bits of the whole head, and what they leave out is
 * what they were told to. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/rng.h"
#include "model/arch.h"

enum { N = 40, KEEP = 96 };

static const char *const files[] = {"tests/data/tiny_int.gguf", "tests/data/tiny_float.gguf",
                                    "tests/data/tiny_gemma2.gguf", "tests/data/tiny_lstm.gguf"};
static bk_error err;

static bk_model *load(const char *file, int threads, const char *keep) {
    bk_model *m = NULL;
    bk_model_options o = {.threads = threads, .head_keep = keep};
    if (bk_model_load(file, &o, &m, &err) != BK_OK) fail_msg("%s", err.text);
    return m;
}

typedef struct run {
    bk_model *m;
    bk_exec *x;
    size_t vocab;
    int32_t tokens[N];
    float *out; /* [N][vocab] */
} run;

static run run_of(const char *file, int threads, const char *keep) {
    run r = {.m = load(file, threads, keep)};
    bk_rng rng;
    r.vocab = (size_t)bk_model_config(r.m)->n_vocab;
    bk_rng_seed(&rng, 3, 1);
    for (size_t i = 0; i < N; i++) r.tokens[i] = (int32_t)(bk_rng_u32(&rng) % r.vocab);
    assert_int_equal(bk_exec_create(r.m, 2 * N, 2 * N, &r.x, &err), BK_OK);
    r.out = bk_alloc(N * r.vocab, sizeof *r.out);
    assert_non_null(r.out);
    return r;
}

static void run_free(run *r) {
    bk_free(r->out);
    bk_exec_destroy(&r->x);
    bk_model_unref(&r->m);
}

/* All rows in passes of `chunk`; every third pass has beside them a sequence that wants everything. */
static void feed(run *r, size_t chunk, bool spare, bool history, bool company) {
    bk_kv *kv = NULL, *other = NULL;
    float *aside = bk_alloc(r->vocab, sizeof *aside);
    assert_int_equal(bk_model_new_kv(r->m, &kv, &err), BK_OK);
    assert_int_equal(bk_model_new_kv(r->m, &other, &err), BK_OK);
    for (size_t at = 0, n; at < N; at += n) {
        n = bk_min_size(chunk, N - at);
        bk_rows rows[2] = {
            {.kv = kv,
             .tokens = r->tokens + at,
             .n = n,
             .n_logits = n,
             .logits = r->out + at * r->vocab,
             .spare = spare,
             .history = history ? r->tokens : NULL},
            {.kv = other, .tokens = r->tokens, .n = 1, .n_logits = 1, .logits = aside}};
        bool both = company && at / chunk % 3 == 0;
        if (bk_exec_forward(r->x, rows, 1 + both, &err) != BK_OK) fail_msg("%s", err.text);
        for (size_t i = 0; both && i < r->vocab; i++) assert_true(isfinite(aside[i]));
    }
    bk_kv_destroy(&kv);
    bk_kv_destroy(&other);
    bk_free(aside);
}

static bool seen(const run *r, size_t row, size_t id) {
    for (size_t i = 0; i <= row; i++)
        if (r->tokens[i] == (int32_t)id) return true;
    return false;
}

/* Of every row: the whole head's bits where the token is kept or was seen, else -infinity. */
static void compare(const run *whole, const run *r, bool history, const char *what) {
    size_t left_out = 0;
    for (size_t i = 0; i < N * r->vocab; i++) {
        size_t row = i / r->vocab, id = i % r->vocab;
        bool there = bk_bit(r->m->head.keep, id) || (history && seen(r, row, id));
        left_out += !there;
        if (there ? memcmp(&r->out[i], &whole->out[i], sizeof(float)) == 0
                  : isinf(r->out[i]) && r->out[i] < 0)
            continue;
        fail_msg("%s: row %zu, token %zu: %g, the whole head has %g", what, row, id,
                 (double)r->out[i], (double)whole->out[i]);
    }
    assert_true(left_out > N); /* it left something out */
}

static void keeps_bits(void **state) {
    (void)state;
    for (size_t f = 0; f < BK_ARRAY_LEN(files); f++) {
        run whole = run_of(files[f], 1, NULL);
        feed(&whole, 7, true, true, false); /* without a trimmed head nothing is left out */
        for (int threads = 1; threads <= 3; threads += 2) {
            run r = run_of(files[f], threads, "96");
            assert_true(bk_model_get_meta(r.m)->head_kept >= KEEP);
            feed(&r, 1, true, true, false);
            compare(&whole, &r, true, files[f]);
            feed(&r, N, true, false, false);
            compare(&whole, &r, false, "all at once, without history");
            feed(&r, 3, true, true, true);
            compare(&whole, &r, true, "beside others");
            feed(&r, 5, false, true, false);
            assert_memory_equal(r.out, whole.out, N * r.vocab * sizeof *r.out);
            run_free(&r);
        }
        run_free(&whole);
    }
}

/* ---- What is kept ----------------------------------------------------------------------------------- */

static void write_file(char *path, const char *text) {
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    close(fd);
}

static void chooses(void **state) {
    (void)state;
    char path[] = "/tmp/brisk-head-XXXXXX", spec[64];
    write_file(path, "[281, 282,283]\n281 281 282\n280\t281\n");
    bk_model *m = load(files[0], 1, path);
    const bk_head *h = &m->head;
    for (size_t id = 280; id <= 283; id++) assert_true(bk_bit(h->keep, id));
    assert_false(bk_bit(h->keep, 284));
    size_t always = h->n_kept - 4;
    for (int32_t i = 0; i < m->config.n_vocab; i++) {
        int type = bk_tokenizer_type(m->tokenizer, i);
        if (type == BK_TOKEN_CONTROL || type == BK_TOKEN_BYTE)
            assert_true(bk_bit(h->keep, (size_t)i));
    }
    bk_model_unref(&m);

    /* Room for two beside those that are always there: the most frequent. */
    snprintf(spec, sizeof spec, "%zu:%s", always + 2, path);
    m = load(files[0], 1, spec);
    assert_int_equal(m->head.n_kept, always + 2);
    assert_true(bk_bit(m->head.keep, 281) && bk_bit(m->head.keep, 282));
    assert_false(bk_bit(m->head.keep, 280) || bk_bit(m->head.keep, 283));
    bk_model_unref(&m);
    unlink(path);
}

static void refused(const char *keep, bk_status want) {
    bk_model *m = NULL;
    bk_model_options o = {.threads = 1, .head_keep = keep};
    assert_int_equal(bk_model_load(files[0], &o, &m, &err), want);
    assert_null(m);
    assert_true(strlen(err.text) > 20);
}

static void refuses(void **state) {
    (void)state;
    char path[] = "/tmp/brisk-head-XXXXXX", wrong[] = "/tmp/brisk-head-XXXXXX";
    refused("", BK_ERR_INVALID);
    refused("15", BK_ERR_INVALID);
    refused("99999999999999999999", BK_ERR_INVALID);
    refused("100:", BK_ERR_INVALID);
    refused("/nowhere/ids.txt", BK_ERR_NOT_FOUND);
    write_file(path, "1 2 99999999");
    refused(path, BK_ERR_INVALID);
    write_file(wrong, "1 2 three");
    refused(wrong, BK_ERR_INVALID);
    unlink(path);
    unlink(wrong);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(keeps_bits), cmocka_unit_test(chooses),
                                       cmocka_unit_test(refuses)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
