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

/* ---- Screens ---------------------------------------------------------------------------------------- */

enum { VOCAB = 1000, K = 96, ROUNDS = 400 };

/* A head of random rows, some of them awkward: twins, zeros, huge ones, ones with one large weight. */
static uint8_t *head_rows(const bk_quant *type, bk_rng *rng) {
    size_t bytes = K / type->block_len * type->block_bytes;
    uint8_t *rows = bk_alloc(VOCAB, bytes);
    float w[K];
    assert_non_null(rows);
    for (size_t r = 0; r < VOCAB; r++) {
        float size = r % 50 == 3 ? 1e4f : r % 50 == 4 ? 0.0f : r % 50 == 5 ? 1e-6f : 1.0f;
        for (size_t i = 0; i < K; i++) w[i] = size * (float)(bk_rng_unit(rng) - 0.5);
        if (r % 50 == 6) w[r % K] = 300;
        if (r % 50 == 7)
            memcpy(rows + r * bytes, rows + (r - 5) * bytes, bytes);
        else
            type->quantize(w, rows + r * bytes, K);
        if (r == 777)
            rows[r * bytes] = 0, rows[r * bytes + 1] = 0x7C; /* its first scale is infinite */
    }
    return rows;
}

typedef struct screened {
    bk_model m;
    bk_weight *head;
    bk_screen screen;
    float x[BK_SCREEN_ROWS * K];
} screened;

static void open_screen(screened *s, const bk_quant *type, int threads, double z) {
    bk_rng rng;
    *s = (screened){.m.config = {.n_vocab = VOCAB, .n_out = K}};
    bk_rng_seed(&rng, 11, (uint64_t)type->type);
    assert_int_equal(bk_device_cpu_create(BK_CPU_AVX512, threads, &s->m.device, &err), BK_OK);
    bk_device *d = s->m.device;
    uint8_t *rows = head_rows(type, &rng);
    assert_int_equal(d->ops->weight_create(d, type, VOCAB, K, &s->head, &err), BK_OK);
    d->ops->weight_load(d, s->head, rows, 0, VOCAB);
    if (bk_head_screen(&s->m, type, rows, z, &err) != BK_OK) fail_msg("%s", err.text);
    s->screen = (bk_screen){.radius = s->m.head.radius,
                            .share = s->m.head.share,
                            .factor = s->m.head.factor};
    bk_free(rows);
}

static void close_screen(screened *s) {
    bk_device *d = s->m.device;
    d->ops->weight_destroy(d, s->head);
    d->ops->weight_destroy(d, s->m.head.coarse);
    bk_free(s->m.head.radius);
    bk_free(s->m.head.share);
    bk_device_destroy(&s->m.device);
}

static bk_cmd product(const screened *s, const bk_weight *w, size_t n, float *out) {
    bk_cmd c = {.op = BK_OP_PRODUCT, .what = "head", .rows = n};
    c.product.input = (bk_input){.kind = BK_INPUT_ROWS, .k = K, .x = s->x, .ld = K};
    c.product.n = 1;
    c.product.w[0] = w;
    c.product.out[0] = out;
    c.product.ldo[0] = VOCAB;
    return c;
}

static void random_states(screened *s, bk_rng *rng, size_t round) {
    for (size_t i = 0; i < BK_SCREEN_ROWS * K; i++) {
        s->x[i] = (float)(bk_rng_unit(rng) - 0.5);
        if (round % 4 == 1 && i % 29 == 0) s->x[i] *= 50; /* a few large channels */
        if (round % 4 == 2) s->x[i] *= 1e-8f;
    }
    if (round % 16 == 3) memset(s->x, 0, K * sizeof *s->x);
}

static size_t first_of_best(const float *y) {
    size_t best = VOCAB;
    for (size_t i = 0; i < VOCAB; i++)
        if (y[i] > (best < VOCAB ? y[best] : -INFINITY)) best = i;
    return best;
}

/* Whatever is within the margin of the best has its bits, the first of the best is the same, and the bounds
 * hold for every row. Rows left out. */
static size_t compare_screened(const screened *s, const float *whole, const float *coarse,
                               const float *y, size_t row, float margin) {
    size_t out = 0;
    double length = 0;
    for (size_t i = 0; i < K; i++) length += pow((double)s->x[row * K + i], 2);
    length = sqrt(length) * 1.02; /* what rounding it adds */
    size_t best = first_of_best(whole);
    assert_int_equal(first_of_best(y), best);
    for (size_t i = 0; i < VOCAB; i++) {
        uint32_t bits = (uint32_t)s->screen.radius[i] << 16;
        float radius;
        memcpy(&radius, &bits, sizeof radius);
        double off = fabs((double)whole[i] - (double)coarse[i]);
        if (isfinite(radius) && !(off <= (double)radius * length + 1e-30))
            fail_msg("row %zu: off by %g, the bound is %g", i, off, (double)radius * length);
        bool left_out = isinf(y[i]) && y[i] < 0 && !(isinf(whole[i]) && whole[i] < 0);
        out += left_out;
        if (!left_out && memcmp(&y[i], &whole[i], sizeof *y) != 0 && whole[i] == whole[i])
            fail_msg("row %zu: %g, the whole head has %g", i, (double)y[i], (double)whole[i]);
        if (left_out && best < VOCAB && whole[i] >= whole[best] - margin)
            fail_msg("row %zu is left out: %g of %g", i, (double)whole[i], (double)whole[best]);
    }
    return out;
}

static void screens(void **state) {
    (void)state;
    static const bk_type types[] = {BK_TYPE_Q8_0, BK_TYPE_Q4_0, BK_TYPE_Q5_0};
    static screened s;
    bk_rng rng;
    float *y = bk_alloc(3 * BK_SCREEN_ROWS * VOCAB, sizeof *y);
    assert_non_null(y);
    float *whole = y + BK_SCREEN_ROWS * VOCAB, *coarse = whole + BK_SCREEN_ROWS * VOCAB;
    for (size_t t = 0; t < BK_ARRAY_LEN(types); t++) {
        size_t out = 0;
        open_screen(&s, bk_quant_find(types[t]), 1 + (int)t, 0);
        bk_rng_seed(&rng, 5, t);
        for (size_t round = 0; round < ROUNDS; round++) {
            size_t n = 1 + round % BK_SCREEN_ROWS;
            float margin = round % 3 == 2 ? 2.0f : 0;
            random_states(&s, &rng, round);
            for (size_t r = 0; r < n; r++) s.screen.margin[r] = margin;
            bk_cmd cmds[] = {product(&s, s.head, n, whole), product(&s, s.m.head.coarse, n, coarse),
                             product(&s, s.m.head.coarse, n, y), product(&s, s.head, n, y)};
            cmds[3].product.screen = &s.screen;
            assert_int_equal(s.m.device->ops->run(s.m.device, cmds, 4, &err), BK_OK);
            for (size_t r = 0; r < n; r++)
                out += compare_screened(&s, whole + r * VOCAB, coarse + r * VOCAB, y + r * VOCAB, r,
                                        margin);
        }
        assert_true(out > ROUNDS * VOCAB / 4); /* it left much out */
        close_screen(&s);
    }
    bk_free(y);
}

static void refuses_screens(void **state) {
    (void)state;
    const struct {
        const char *file, *head, *keep;
        bk_status want;
    } cases[] = {{files[0], "scream", NULL, BK_ERR_INVALID},
                 {files[0], "screen:", NULL, BK_ERR_INVALID},
                 {files[0], "screen:0.5", NULL, BK_ERR_INVALID},
                 {files[0], "screen", "96", BK_ERR_INVALID},
                 {files[1], "screen", NULL, BK_ERR_UNSUPPORTED},
                 {files[2], "screen", NULL, BK_ERR_UNSUPPORTED}};
    for (size_t i = 0; i < BK_ARRAY_LEN(cases); i++) {
        bk_model *m = NULL;
        bk_model_options o = {.threads = 1, .head = cases[i].head, .head_keep = cases[i].keep};
        if (bk_model_load(cases[i].file, &o, &m, &err) != cases[i].want)
            fail_msg("case %zu: %s", i, err.text);
        assert_null(m);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(keeps_bits), cmocka_unit_test(chooses),
                                       cmocka_unit_test(refuses), cmocka_unit_test(screens),
                                       cmocka_unit_test(refuses_screens)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
