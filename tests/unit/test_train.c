/* Training from files, through the public header: where it begins, what it can learn by heart, going on
 * from a checkpoint, threads, the model it writes, early stop, and input that is not as it should be. */
#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/rng.h"
#include "brisk_train.h"
#include "format/gguf_build.h"

static char folder[] = "/tmp/brisk-train-XXXXXX";
static char story_path[128];
static const brisk_train_kind both[] = {BRISK_TRAIN_LSTM, BRISK_TRAIN_LLAMA};

static const char *in_folder(const char *name) {
    static char path[8][128];
    static int turn;
    turn = (turn + 1) % 8;
    snprintf(path[turn], sizeof path[turn], "%s/%s", folder, name);
    return path[turn];
}

static const char *write_text(const char *name, const void *data, size_t len) {
    const char *path = in_folder(name);
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(data, 1, len, f), len);
    fclose(f);
    return path;
}

/* Words of a small language: each one begins with the letter that the one before ended with. */
static void write_story(size_t len) {
    static const char letters[] = "abcdefghijklmnop";
    bk_buf text = {0};
    bk_rng rng;
    bk_rng_seed(&rng, 5, 5);
    unsigned last = 0;
    while (text.len < len) {
        size_t n = 2 + bk_rng_u32(&rng) % 5;
        for (size_t i = 0; i < n; i++) {
            bk_buf_putc(&text, letters[last % 16]);
            if (i + 1 < n) last = last * 5 + 1 + (bk_rng_u32(&rng) & 1);
        }
        bk_buf_putc(&text, bk_rng_u32(&rng) % 9 ? ' ' : '\n');
    }
    snprintf(story_path, sizeof story_path, "%s", write_text("story.txt", text.data, len));
    bk_buf_free(&text);
}

static int setup(void **state) {
    (void)state;
    if (!mkdtemp(folder)) return 1;
    write_story(20000);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    char command[256];
    snprintf(command, sizeof command, "rm -r %s", folder);
    FILE *p = popen(command, "r");
    return p ? pclose(p) : 1;
}

/* A model small enough for hundreds of steps. */
static brisk_train_options small(brisk_train_kind kind) {
    brisk_train_options o;
    brisk_train_default(kind, &o);
    o.data = story_path;
    o.embedding = 32;
    o.hidden = kind == BRISK_TRAIN_LSTM ? 48 : 0;
    o.layers = 2;
    if (kind == BRISK_TRAIN_LLAMA) o.heads = 4, o.kv_heads = 2;
    o.batch = 4;
    o.sequence = 24;
    o.steps = 20;
    o.warmup = 5;
    o.lr = 5e-3f;
    o.threads = 2;
    return o;
}

static brisk_train *open_ok(const brisk_train_options *o) {
    brisk_error err;
    brisk_train *t = NULL;
    if (brisk_train_open(o, &t, &err)) fail_msg("%s", err.text);
    assert_non_null(t);
    return t;
}

static double steps(brisk_train *t, int n) {
    brisk_train_report r = {0};
    brisk_error err;
    for (int i = 0; i < n; i++)
        if (brisk_train_step(t, &r, &err)) fail_msg("%s", err.text);
    return r.loss;
}

static void save(brisk_train *t, const char *name) {
    brisk_error err;
    if (brisk_train_save(t, in_folder(name), &err)) fail_msg("%s", err.text);
}

static double validate(brisk_train *t) {
    brisk_train_score s;
    brisk_error err;
    if (brisk_train_validate(t, 0, &s, &err)) fail_msg("%s", err.text);
    assert_true(fabs(s.perplexity - exp(s.loss)) < 1e-9);
    return s.loss;
}

static bool same_files(const char *a, const char *b) {
    bk_buf x = {0}, y = {0};
    bk_error err;
    if (bk_file_read(in_folder(a), &x, &err) || bk_file_read(in_folder(b), &y, &err))
        fail_msg("%s", err.text);
    bool same = x.len == y.len && memcmp(x.data, y.data, x.len) == 0;
    bk_buf_free(&x);
    bk_buf_free(&y);
    return same;
}

/* Fails with this status and a text that holds `words`. */
static void refuse(const brisk_train_options *o, brisk_status status, const char *words) {
    brisk_error err;
    brisk_train *t = NULL;
    brisk_status st = brisk_train_open(o, &t, &err);
    assert_null(t);
    if (st != status || !strstr(err.text, words))
        fail_msg("status %d '%s'; %d '%s' wanted", st, st ? err.text : "", status, words);
}

/* ---- Learning ----------------------------------------------------------------------------------- */

/* A model that knows nothing predicts all tokens alike. */
static void test_first_loss(void **state) {
    (void)state;
    for (int i = 0; i < 2; i++) {
        brisk_train_options o = small(both[i]);
        brisk_train *t = open_ok(&o);
        brisk_train_info info;
        brisk_train_get_info(t, &info);
        assert_int_equal(info.train_tokens, 18000);
        assert_int_equal(info.valid_tokens, 2000);
        assert_int_equal(info.valid_chars, 2000);
        double even = log(info.n_vocab), loss = steps(t, 1);
        assert_true(fabs(loss - even) < 0.02 * even);
        brisk_train_close(&t);
        assert_null(t);
    }
}

/* One batch, over and over. */
static void test_by_heart(void **state) {
    (void)state;
    char noise[4 * 24 + 1];
    bk_rng rng;
    bk_rng_seed(&rng, 3, 3);
    for (size_t i = 0; i < sizeof noise; i++) noise[i] = (char)('a' + bk_rng_u32(&rng) % 20);
    for (int i = 0; i < 2; i++) {
        bool lstm = both[i] == BRISK_TRAIN_LSTM;
        brisk_train_options o = small(both[i]);
        o.data = write_text("noise.txt", noise, lstm ? sizeof noise : 25);
        o.valid_share = 0;
        o.steps = 300;
        brisk_train *t = open_ok(&o);
        double loss = steps(t, 300);
        if (!(loss < 0.05)) fail_msg("loss %g after 300 steps on one batch", loss);
        brisk_train_score s;
        brisk_error err;
        assert_int_equal(brisk_train_validate(t, 0, &s, &err), BRISK_ERR_LIMIT);
        brisk_train_report r;
        assert_int_equal(brisk_train_step(t, &r, &err), BRISK_ERR_LIMIT);
        brisk_train_close(&t);
    }
}

static void test_learns(void **state) {
    (void)state;
    for (int i = 0; i < 2; i++) {
        brisk_train_options o = small(both[i]);
        o.steps = 250;
        o.floor_order = 1;
        o.dropout = 0.05f;
        o.tied = i == 1;
        brisk_train *t = open_ok(&o);
        brisk_train_info info;
        brisk_train_get_info(t, &info);
        double before = validate(t);
        steps(t, 250);
        double after = validate(t);
        if (!(info.floor > 1 && after < info.floor && after < before - 1))
            fail_msg("loss %g, then %g; counting pairs: %g", before, after, info.floor);
        brisk_train_close(&t);
    }
}

/* ---- Equal bits --------------------------------------------------------------------------------- */

static void test_resume(void **state) {
    (void)state;
    for (int i = 0; i < 2; i++) {
        brisk_train_options o = small(both[i]);
        o.dropout = 0.2f;
        o.accumulate = 2;
        o.patience = 5;
        brisk_train *t = open_ok(&o);
        steps(t, 10);
        validate(t);
        save(t, "half");
        steps(t, 10);
        validate(t);
        save(t, "whole");
        brisk_train_close(&t);

        brisk_train_options again;
        brisk_train_default(both[i], &again);
        again.data = o.data;
        again.resume = in_folder("half");
        again.threads = 1;
        t = open_ok(&again);
        brisk_train_info info;
        brisk_train_get_info(t, &info);
        assert_int_equal(info.step, 10);
        assert_int_equal(info.steps, 20);
        save(t, "half again");
        assert_true(same_files("half", "half again"));
        steps(t, 10);
        assert_false(same_files("half", "whole"));
        validate(t);
        save(t, "whole again");
        assert_true(same_files("whole", "whole again"));
        brisk_train_close(&t);
    }
}

static void test_threads(void **state) {
    (void)state;
    for (int i = 0; i < 2; i++) {
        brisk_train_options o = small(both[i]);
        o.embedding = 64;
        o.hidden = i == 0 ? 80 : 0;
        for (int threads = 1; threads <= 3; threads++) {
            char name[24];
            o.threads = threads;
            brisk_train *t = open_ok(&o);
            steps(t, 12);
            snprintf(name, sizeof name, "threads %d", threads);
            save(t, name);
            brisk_train_close(&t);
        }
        assert_true(same_files("threads 1", "threads 2"));
        assert_true(same_files("threads 1", "threads 3"));
    }
}

/* ---- The model that is written ------------------------------------------------------------------- */

typedef struct scored {
    const brisk_token *ids; /* what follows row i is ids[i + 1] */
    size_t n_vocab, n, wanted;
    double sum;
} scored;

static void score_row(size_t i, const float *logits, void *user) {
    scored *s = user;
    double max = -INFINITY, sum = 0;
    if (i >= s->wanted) return;
    for (size_t k = 0; k < s->n_vocab; k++) max = fmax(max, (double)logits[k]);
    for (size_t k = 0; k < s->n_vocab; k++) sum += exp((double)logits[k] - max);
    s->sum += max + log(sum) - (double)logits[s->ids[i + 1]];
    s->n++;
}

/* The mean loss over the last `bytes` of the story in windows of T tokens, by the engine. */
static double engine_loss(const char *model_path, size_t bytes, size_t T) {
    brisk_model *model = NULL;
    brisk_session *session = NULL;
    brisk_error err;
    bk_buf text = {0};
    bk_error e;
    if (bk_file_read(story_path, &text, &e)) fail_msg("%s", e.text);
    if (brisk_model_open(model_path, NULL, &model, &err) ||
        brisk_session_create(model, NULL, &session, &err))
        fail_msg("%s", err.text);
    brisk_token ids[4096];
    size_t n = 0;
    if (brisk_tokenize(model, text.data + text.len - bytes, bytes, false, false, ids, 4096, &n,
                       &err))
        fail_msg("%s", err.text);
    brisk_model_info info;
    brisk_model_get_info(model, &info);
    scored s = {.n_vocab = (size_t)info.n_vocab};
    for (size_t at = 0; at + 1 < n; at += T) {
        size_t here = bk_min_size(T, n - 1 - at);
        s.ids = ids + at;
        s.wanted = here;
        if (brisk_session_truncate(session, 0, &err) ||
            brisk_session_eval_rows(session, ids + at, here, score_row, &s, &err))
            fail_msg("%s", err.text);
    }
    assert_int_equal(s.n, n - 1);
    bk_buf_free(&text);
    brisk_session_destroy(&session);
    brisk_model_close(&model);
    return s.sum / (double)s.n;
}

static void written(brisk_train_options *o, const char *type) {
    brisk_error err;
    o->steps = 60;
    brisk_train *t = open_ok(o);
    steps(t, 60);
    double loss = validate(t);
    if (brisk_train_write(t, in_folder("model.gguf"), type, &err)) fail_msg("%s", err.text);
    brisk_train_close(&t);
    double found = engine_loss(in_folder("model.gguf"), 2000, (size_t)o->sequence);
    if (!(fabs(loss - found) < 1e-3))
        fail_msg("loss %.5f in training, %.5f in the engine", loss, found);
}

static void test_written_llama(void **state) {
    (void)state;
    brisk_train_options o = small(BRISK_TRAIN_LLAMA);
    written(&o, NULL);
    o.tied = true;
    o.kv_heads = 4;
    written(&o, NULL);
    o.vocab = BRISK_VOCAB_BPE;
    o.vocab_size = 300;
    written(&o, NULL);
    o.vocab = BRISK_VOCAB_WORD;
    o.vocab_size = 100;
    written(&o, NULL);
}

static void test_written_lstm(void **state) {
    (void)state;
    brisk_train_options o = small(BRISK_TRAIN_LSTM);
    /* Validation runs as many streams as a batch has sequences: here one, as the engine. */
    o.batch = 1;
    o.sequence = 2048;
    o.lr = 2e-2f;
    written(&o, NULL);
    o.output = 40;
    written(&o, NULL);
    o.output = 32;
    o.tied = true;
    o.vocab = BRISK_VOCAB_BPE;
    o.vocab_size = 300;
    written(&o, NULL);
}

/* What was learned with rounded matrices is what the rounded file has. */
static void test_rounded(void **state) {
    (void)state;
    static const char *const types[] = {"f16", "q8_0"};
    for (size_t i = 0; i < BK_ARRAY_LEN(types); i++) {
        brisk_train_options o = small(BRISK_TRAIN_LLAMA);
        o.embedding = 64;
        o.quant = types[i];
        written(&o, types[i]);
    }
    brisk_train_options o = small(BRISK_TRAIN_LLAMA);
    o.quant = "q9_9";
    refuse(&o, BRISK_ERR_INVALID, "q9_9");
}

/* Sizes and weights of a file, and a loss that goes on where it was. */
static void test_from(void **state) {
    (void)state;
    for (int i = 0; i < 2; i++) {
        brisk_error err;
        brisk_train_options o = small(both[i]);
        if (i == 0) o.output = 40;
        o.steps = 60;
        brisk_train *t = open_ok(&o);
        steps(t, 60);
        double loss = validate(t);
        if (brisk_train_write(t, in_folder("first.gguf"), NULL, &err)) fail_msg("%s", err.text);
        brisk_train_close(&t);

        brisk_train_options more;
        brisk_train_default(both[i], &more);
        more.data = o.data;
        more.from = in_folder("first.gguf");
        more.batch = o.batch;
        more.sequence = o.sequence;
        t = open_ok(&more);
        brisk_train_info info;
        brisk_train_get_info(t, &info);
        assert_int_equal(info.embedding, 32);
        assert_int_equal(info.layers, 2);
        assert_true(fabs(validate(t) - loss) < 1e-12);
        steps(t, 3);
        if (brisk_train_write(t, in_folder("second.gguf"), NULL, &err)) fail_msg("%s", err.text);
        brisk_train_close(&t);
        assert_false(same_files("first.gguf", "second.gguf"));

        more.embedding = 64;
        refuse(&more, BRISK_ERR_INVALID, "embedding_length: 64 was asked for");
        more.embedding = 0;
        more.kind = both[1 - i];
        refuse(&more, BRISK_ERR_INVALID, "is wanted");
    }
}

/* ---- What changes and what does not -------------------------------------------------------------- */

/* The tensor's floats in a file. */
static float *tensor(const char *name, const char *file, size_t *n) {
    bk_gguf *g = NULL;
    bk_error err;
    if (bk_gguf_open(in_folder(file), &g, &err)) fail_msg("%s", err.text);
    const bk_gguf_tensor *t = bk_gguf_find_tensor(g, name);
    const uint8_t *data;
    if (!t || bk_gguf_read(g, t, &data, &err)) fail_msg("no %s", name);
    *n = (size_t)t->n_elements;
    float *x = bk_alloc(*n, sizeof *x);
    memcpy(x, data, *n * sizeof *x);
    bk_gguf_release(g, t, data);
    bk_gguf_destroy(&g);
    return x;
}

static bool same_tensor(const char *name, const char *a, const char *b) {
    size_t n, m;
    float *x = tensor(name, a, &n), *y = tensor(name, b, &m);
    bool same = n == m && memcmp(x, y, n * sizeof *x) == 0;
    bk_free(x);
    bk_free(y);
    return same;
}

static void write_model(brisk_train *t, const char *name) {
    brisk_error err;
    if (brisk_train_write(t, in_folder(name), NULL, &err)) fail_msg("%s", err.text);
}

static void test_norms_alone(void **state) {
    (void)state;
    brisk_train_options o = small(BRISK_TRAIN_LLAMA);
    o.tune = BRISK_TUNE_NORMS;
    brisk_train *t = open_ok(&o);
    write_model(t, "before.gguf");
    steps(t, 5);
    write_model(t, "after.gguf");
    brisk_train_close(&t);
    assert_true(same_tensor("blk.0.ffn_up.weight", "before.gguf", "after.gguf"));
    assert_false(same_tensor("blk.0.ffn_norm.weight", "before.gguf", "after.gguf"));
}

/* Writes model `from` as `to`, each float of one tensor changed. */
static void change(const char *from, const char *to, const char *name, float (*f)(size_t, float)) {
    bk_gguf_builder *b = bk_gguf_builder_create();
    bk_gguf *old = NULL, *g = NULL;
    bk_error err;
    size_t n;
    float *x = tensor(name, from, &n);
    for (size_t i = 0; i < n; i++) x[i] = f(i, x[i]);
    if (bk_gguf_open(in_folder(from), &old, &err)) fail_msg("%s", err.text);
    bk_gguf_builder_keys_of(b, old);
    for (size_t i = 0; i < bk_gguf_n_tensors(old); i++) {
        const bk_gguf_tensor *t = bk_gguf_tensor_at(old, i);
        bool this = bk_str_eq(t->name, bk_str_from(name));
        char text[64] = {0};
        memcpy(text, t->name.data, bk_min_size(t->name.len, 63));
        bk_gguf_builder_tensor(b, text, t->type->type, t->n_dims, t->ne,
                               this ? (const uint8_t *)x : t->data);
    }
    if (bk_gguf_builder_finish(&b, &g, &err) || bk_gguf_write(g, in_folder(to), NULL, &err))
        fail_msg("%s", err.text);
    bk_gguf_destroy(&g);
    bk_gguf_destroy(&old);
    bk_free(x);
}

static float every_third(size_t i, float x) { return i % 3 ? x : 0; }

static void test_keep_zeros(void **state) {
    (void)state;
    brisk_train_options o = small(BRISK_TRAIN_LLAMA);
    brisk_train *t = open_ok(&o);
    write_model(t, "dense.gguf");
    brisk_train_close(&t);
    change("dense.gguf", "sparse.gguf", "blk.1.ffn_up.weight", every_third);
    o.from = in_folder("sparse.gguf");
    o.keep_zeros = true;
    t = open_ok(&o);
    steps(t, 10);
    write_model(t, "tuned.gguf");
    brisk_train_close(&t);
    size_t n;
    float *x = tensor("blk.1.ffn_up.weight", "tuned.gguf", &n);
    for (size_t i = 0; i < n; i++) assert_true((x[i] == 0) == (i % 3 == 0));
    bk_free(x);
    assert_false(same_tensor("blk.1.ffn_up.weight", "sparse.gguf", "tuned.gguf"));
}

/* A learning rate that spoils what was learned: the best weights are those that are written. */
static void test_early_stop(void **state) {
    (void)state;
    brisk_train_options o = small(BRISK_TRAIN_LLAMA);
    brisk_error err;
    brisk_train_score s = {0};
    o.steps = 200;
    o.lr = o.min_lr = 0.3f;
    o.clip = 0;
    o.patience = 3;
    brisk_train *t = open_ok(&o);
    double best = INFINITY;
    int scores = 0, since = 0;
    while (!s.stop) {
        steps(t, 1);
        if (brisk_train_validate(t, 0, &s, &err)) fail_msg("%s", err.text);
        assert_int_equal(s.best, s.loss < best);
        since = s.best ? 0 : since + 1;
        if (s.best) {
            best = s.loss;
            save(t, "best");
        }
        assert_int_equal(s.stop, since == 3);
        assert_true(++scores < 200);
    }
    write_model(t, "stopped.gguf");
    brisk_train_close(&t);
    assert_true(same_tensor("output.weight", "best", "stopped.gguf"));
}

/* ---- Bad input ---------------------------------------------------------------------------------- */

static void test_bad_data(void **state) {
    (void)state;
    static const char zeros[100] = "a text with a zero\0in it";
    char latin[200];
    memset(latin, 0xE9, sizeof latin);
    for (int i = 0; i < 2; i++) {
        brisk_train_options o = small(both[i]);
        o.data = in_folder("nowhere");
        refuse(&o, BRISK_ERR_NOT_FOUND, "nowhere");
        o.data = folder;
        refuse(&o, BRISK_ERR_FORMAT, "director");
        o.data = write_text("empty", "", 0);
        refuse(&o, BRISK_ERR_FORMAT, "empty");
        o.data = write_text("zeros", zeros, sizeof zeros);
        refuse(&o, BRISK_ERR_FORMAT, "no text: there is a zero byte at 18");
        o.data = write_text("latin", latin, sizeof latin);
        refuse(&o, BRISK_ERR_FORMAT, "not UTF-8");
        o.data = write_text("tiny", "hello", 5);
        refuse(&o, BRISK_ERR_FORMAT, "too short: 5 tokens");
        o.data = NULL;
        refuse(&o, BRISK_ERR_INVALID, "no data");
    }
}

/* Words that are left out are learned by nobody. */
static void test_stop_words(void **state) {
    (void)state;
    brisk_train_options o = small(BRISK_TRAIN_LSTM);
    brisk_train *t = open_ok(&o);
    brisk_train_info all, less;
    brisk_train_get_info(t, &all);
    brisk_train_close(&t);
    o.stop_words = "en";
    t = open_ok(&o);
    brisk_train_get_info(t, &less);
    assert_true(less.train_tokens > 0 && less.train_tokens < all.train_tokens);
    brisk_train_close(&t);
}

static void test_bad_options(void **state) {
    (void)state;
    brisk_train_options o = small(BRISK_TRAIN_LLAMA);
    o.heads = 5;
    refuse(&o, BRISK_ERR_INVALID, "5 heads");
    o.heads = 4;
    o.kv_heads = 3;
    refuse(&o, BRISK_ERR_INVALID, "cannot share 3");
    o = small(BRISK_TRAIN_LSTM);
    o.tied = true;
    refuse(&o, BRISK_ERR_INVALID, "output 48 found, embedding 32");
    o = small(BRISK_TRAIN_LSTM);
    o.dropout = 1;
    refuse(&o, BRISK_ERR_INVALID, "dropout");
    o.dropout = NAN;
    refuse(&o, BRISK_ERR_INVALID, "dropout");
    o = small(BRISK_TRAIN_LSTM);
    o.layers = -1;
    refuse(&o, BRISK_ERR_INVALID, "layers");
    o = small(BRISK_TRAIN_LSTM);
    o.hidden = 60000;
    o.embedding = 60000;
    o.layers = 200;
    refuse(&o, BRISK_ERR_LIMIT, "training needs");
    o = small(BRISK_TRAIN_LSTM);
    o.normalize = "nfq";
    refuse(&o, BRISK_ERR_NOT_FOUND, "nfq");
    o = small(BRISK_TRAIN_LSTM);
    o.stop_words = "no-list";
    refuse(&o, BRISK_ERR_NOT_FOUND, "no-list");
    o.stop_words = "en";
    o.data = write_text("small words", "the of the of the of", 20);
    refuse(&o, BRISK_ERR_FORMAT, "nothing but stop words");
}

static void test_bad_checkpoint(void **state) {
    (void)state;
    brisk_train_options o = small(BRISK_TRAIN_LSTM);
    brisk_train *t = open_ok(&o);
    steps(t, 2);
    save(t, "good");
    write_model(t, "model.gguf");
    brisk_train_close(&t);
    o.resume = in_folder("good");
    o.hidden = 64;
    refuse(&o, BRISK_ERR_INVALID, "hidden 64 was asked for, the checkpoint has 48");
    o.hidden = 0;
    char other[20001];
    memset(other, 'b', sizeof other);
    o.data = write_text("other.txt", other, sizeof other);
    refuse(&o, BRISK_ERR_INVALID, "not the text");
    o.data = story_path;
    o.kind = BRISK_TRAIN_LLAMA;
    refuse(&o, BRISK_ERR_INVALID, "of kind lstm");
    o.kind = BRISK_TRAIN_LSTM;
    o.resume = in_folder("model.gguf");
    refuse(&o, BRISK_ERR_FORMAT, "no checkpoint");
    o.resume = o.data;
    refuse(&o, BRISK_ERR_FORMAT, "story.txt");
    bk_buf whole = {0};
    bk_error err;
    if (bk_file_read(in_folder("good"), &whole, &err)) fail_msg("%s", err.text);
    o.resume = write_text("cut", whole.data, whole.len - 1000);
    refuse(&o, BRISK_ERR_FORMAT, "cut");
    bk_buf_free(&whole);
}

static float huge(size_t i, float x) { return (i & 1 ? 3e38f : -3e38f) + x; }

/* Weights from which no loss can be computed: told in one line, and they stay as they were. */
static void test_no_number(void **state) {
    (void)state;
    for (int i = 0; i < 2; i++) {
        brisk_train_options o = small(both[i]);
        brisk_train *t = open_ok(&o);
        brisk_train_report r;
        brisk_error err;
        write_model(t, "sound.gguf");
        brisk_train_close(&t);
        change("sound.gguf", "broken.gguf", "output.weight", huge);
        o.from = in_folder("broken.gguf");
        t = open_ok(&o);
        for (int k = 0; k < 2; k++) {
            assert_int_equal(brisk_train_step(t, &r, &err), BRISK_ERR_FORMAT);
            assert_non_null(strstr(err.text, "step 1 is not a number"));
        }
        write_model(t, "still.gguf");
        brisk_train_close(&t);
        assert_true(same_tensor("token_embd.weight", "sound.gguf", "still.gguf"));
    }
}

/* A disk that is full: the checkpoint before stays whole, and training can go on. */
static void test_full_disk(void **state) {
    (void)state;
    brisk_train_options o = small(BRISK_TRAIN_LSTM);
    brisk_train *t = open_ok(&o);
    brisk_error err;
    struct rlimit before, little = {16384, 16384};
    steps(t, 1);
    save(t, "kept");
    save(t, "kept too");
    steps(t, 1);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    little.rlim_max = before.rlim_max;
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &little), 0);
    assert_int_equal(brisk_train_save(t, in_folder("kept"), &err), BRISK_ERR_IO);
    assert_int_equal(brisk_train_write(t, in_folder("kept"), NULL, &err), BRISK_ERR_IO);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    assert_true(same_files("kept", "kept too"));
    steps(t, 1);
    save(t, "kept");
    assert_false(same_files("kept", "kept too"));
    brisk_train_close(&t);
}

static void count_calls(const char *what, double done, void *user) {
    assert_non_null(what);
    assert_true(done >= 0 && done <= 1);
    ++*(int *)user;
}

static void test_cancel(void **state) {
    (void)state;
    volatile bool cancel = false;
    int calls = 0;
    brisk_train_options o = small(BRISK_TRAIN_LSTM);
    o.cancel = &cancel;
    o.progress = count_calls;
    o.user = &calls;
    brisk_train *t = open_ok(&o);
    assert_true(calls > 0);
    cancel = true;
    brisk_train_score s;
    brisk_error err;
    assert_int_equal(brisk_train_validate(t, 0, &s, &err), BRISK_ERR_CANCELLED);
    brisk_train_close(&t);
    refuse(&o, BRISK_ERR_CANCELLED, "cancelled");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_first_loss),   cmocka_unit_test(test_by_heart),
        cmocka_unit_test(test_learns),       cmocka_unit_test(test_resume),
        cmocka_unit_test(test_threads),      cmocka_unit_test(test_written_llama),
        cmocka_unit_test(test_written_lstm), cmocka_unit_test(test_rounded),
        cmocka_unit_test(test_from),         cmocka_unit_test(test_norms_alone),
        cmocka_unit_test(test_keep_zeros),   cmocka_unit_test(test_early_stop),
        cmocka_unit_test(test_bad_data),     cmocka_unit_test(test_bad_options),
        cmocka_unit_test(test_stop_words),   cmocka_unit_test(test_bad_checkpoint),
        cmocka_unit_test(test_no_number),    cmocka_unit_test(test_full_disk),
        cmocka_unit_test(test_cancel),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
