/* Repair: a model goes on learning from its file, with a teacher, rounded weights, masks or norms alone.
 * The truth for losses is the engine, which runs the files. */
#include <dirent.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/rng.h"
#include "format/gguf_build.h"
#include "measure/eval.h"
#include "sys/file.h"
#include "train/train.h"

static char folder[64];

/* The path of a file there; it stays as long as the program. */
static const char *in_folder(const char *name) {
    static char paths[32][400];
    size_t len = strlen(folder), i = 0;
    for (; paths[i][0]; i++) {
        if (i == 31) abort();
        if (strcmp(paths[i] + len + 1, name) == 0) return paths[i];
    }
    snprintf(paths[i], sizeof paths[0], "%s/%s", folder, name);
    return paths[i];
}

/* Sentences of a small grammar: enough to learn that rounding hurts. */
static void write_text(void) {
    static const char *const who[] = {"the king",    "a shepherd", "my brother", "the old prophet",
                                      "her servant", "the people", "a stranger", "the queen"};
    static const char *const what[] = {"went up to",    "spoke unto",    "looked upon",
                                       "was afraid of", "returned from", "built again"};
    static const char *const where[] = {"the mountain",       "the great city",
                                        "his father's house", "the river",
                                        "the temple",         "all the land of the south"};
    static const char *const end[] = {", and it was so.\n", ".\n", ", because of the famine.\n",
                                      " in the seventh year.\n"};
    bk_buf out = {0};
    bk_rng rng;
    bk_error err;
    bk_rng_seed(&rng, 5, 0);
    for (int i = 0; i < 3000; i++) {
        uint32_t a = bk_rng_u32(&rng) % 8, b = (a + bk_rng_u32(&rng) % 3) % 6;
        uint32_t c = (a * 5 + b + bk_rng_u32(&rng) % 2) % 6;
        bk_buf_append_str(&out, who[a]);
        bk_buf_putc(&out, ' ');
        bk_buf_append_str(&out, what[b]);
        bk_buf_putc(&out, ' ');
        bk_buf_append_str(&out, where[c]);
        bk_buf_append_str(&out, end[(b + c) % 4]);
    }
    if (bk_file_write_atomic(in_folder("text"), out.data, out.len, &err)) abort();
    bk_buf_free(&out);
}

/* ---- A trainer ---------------------------------------------------------------------------------- */

static int asked; /* batches that a teacher was asked for */

static void on_progress(const char *what, double done, void *user) {
    (void)done;
    (void)user;
    asked += strcmp(what, "asking the teacher") == 0;
}

static bk_train_options options(bk_train_kind kind, int steps) {
    bk_train_options o;
    bk_train_default(kind, &o);
    o.data = in_folder("text");
    o.embedding = 64;
    o.hidden = 64;
    o.layers = 2;
    o.heads = 4;
    o.kv_heads = 2;
    o.ffn = 128;
    o.sequence = 32;
    o.batch = 8;
    o.steps = steps;
    o.warmup = 10;
    o.lr = 5e-3f;
    o.min_lr = 5e-4f;
    o.progress = on_progress;
    return o;
}

/* What a file fixes is left to it. */
static bk_train_options repair(const char *from, int steps) {
    bk_train_options o = options(BK_TRAIN_LLAMA, steps);
    o.embedding = o.hidden = o.layers = o.heads = o.kv_heads = o.ffn = 0;
    o.from = from;
    o.lr = 2e-3f;
    o.min_lr = 2e-4f;
    return o;
}

static bk_train *open_train(const bk_train_options *o) {
    bk_train *t = NULL;
    bk_error err;
    if (bk_train_open(o, &t, &err)) fail_msg("%s", err.text);
    return t;
}

static double step(bk_train *t, int n) {
    bk_train_report r = {0};
    bk_error err;
    for (int i = 0; i < n; i++)
        if (bk_train_step(t, &r, &err)) fail_msg("%s", err.text);
    return r.loss;
}

static bk_train_score score(bk_train *t) {
    bk_train_score s;
    bk_error err;
    if (bk_train_validate(t, 0, &s, &err)) fail_msg("%s", err.text);
    return s;
}

static void write_model(bk_train *t, const char *path, const char *type) {
    bk_error err;
    if (bk_train_write(t, path, type, &err)) fail_msg("%s", err.text);
}

static void make_model(void) {
    bk_train_options o = options(BK_TRAIN_LLAMA, 500);
    bk_train *t = open_train(&o);
    step(t, o.steps);
    write_model(t, in_folder("dense"), NULL);
    write_model(t, in_folder("q4"), "q4_0");
    bk_train_close(&t);
}

/* ---- Files -------------------------------------------------------------------------------------- */

static bk_gguf *open_file(const char *path) {
    bk_gguf *g = NULL;
    bk_error err;
    if (bk_gguf_open(path, &g, &err)) fail_msg("%s", err.text);
    return g;
}

static float *floats_of(const bk_gguf *g, const bk_gguf_tensor *t) {
    const uint8_t *data;
    bk_error err;
    float *x = bk_alloc(t->n_elements, sizeof *x);
    if (!x || bk_gguf_read(g, t, &data, &err)) abort();
    bk_quant_dequantize(t->type, data, x, t->n_elements);
    bk_gguf_release(g, t, data);
    return x;
}

static bool same_files(const char *a, const char *b) {
    bk_buf x = {.limit = 1 << 26}, y = {.limit = 1 << 26};
    bk_error err;
    if (bk_file_read(a, &x, &err) || bk_file_read(b, &y, &err)) fail_msg("%s", err.text);
    bool same = x.len == y.len && memcmp(x.data, y.data, x.len) == 0;
    bk_buf_free(&x);
    bk_buf_free(&y);
    return same;
}

static int by_size(const void *a, const void *b) {
    float x = fabsf(*(const float *)a), y = fabsf(*(const float *)b);
    return (x > y) - (x < y);
}

/* The same file with half of the weights of each matrix of a block zero, the smallest. */
static void prune(const char *from, const char *to) {
    bk_gguf *g = open_file(from), *out = NULL;
    bk_gguf_builder *b = bk_gguf_builder_create();
    bk_error err;
    float *all[64];
    size_t n = bk_gguf_n_tensors(g);
    assert_true(n <= 64);
    bk_gguf_builder_keys_of(b, g);
    for (size_t i = 0; i < n; i++) {
        const bk_gguf_tensor *t = bk_gguf_tensor_at(g, i);
        float *x = all[i] = floats_of(g, t);
        char name[64];
        snprintf(name, sizeof name, BK_STR_FMT, BK_STR_ARG(t->name));
        if (t->n_dims == 2 && strncmp(name, "blk.", 4) == 0) {
            float *sorted = bk_alloc(t->n_elements, sizeof *sorted);
            if (!sorted) abort();
            memcpy(sorted, x, t->n_elements * sizeof *x);
            qsort(sorted, t->n_elements, sizeof *sorted, by_size);
            float least = fabsf(sorted[t->n_elements / 2]);
            for (size_t k = 0; k < t->n_elements; k++)
                if (fabsf(x[k]) < least) x[k] = 0;
            bk_free(sorted);
        }
        bk_gguf_builder_tensor(b, name, BK_TYPE_F32, t->n_dims, t->ne, (const uint8_t *)x);
    }
    if (bk_gguf_builder_finish(&b, &out, &err) || bk_gguf_write(out, to, NULL, &err))
        fail_msg("%s", err.text);
    for (size_t i = 0; i < n; i++) bk_free(all[i]);
    bk_gguf_destroy(&out);
    bk_gguf_destroy(&g);
}

/* The engine's loss over the windows that a trainer of these options validates with. */
static double engine_loss(const char *model, const bk_train_options *o) {
    bk_error err;
    bk_model *m = NULL;
    bk_buf file = {.limit = 1 << 24};
    bk_ids ids = {0};
    const bk_model_options mo = {.threads = 2};
    if (bk_model_load(model, &mo, &m, &err) || bk_file_read(o->data, &file, &err))
        fail_msg("%s", err.text);
    size_t cut = file.len - (size_t)((double)file.len * (double)o->valid_share);
    bk_str tail = {file.data + cut, file.len - cut};
    if (bk_tokenizer_encode(bk_model_tokenizer(m), tail, false, &ids, &err))
        fail_msg("%s", err.text);
    size_t T = (size_t)o->sequence, n = (ids.len - 1) / T;
    int32_t *tokens = bk_alloc(n * (T + 1), sizeof *tokens);
    size_t *lengths = bk_alloc(n, sizeof *lengths);
    for (size_t w = 0; w < n; w++) {
        memcpy(tokens + w * (T + 1), ids.data + w * T, (T + 1) * sizeof *tokens);
        lengths[w] = T + 1;
    }
    bk_summary s;
    const bk_eval_options eo = {0};
    if (bk_eval_tokens(m, tokens, lengths, n, &eo, &s, &err)) fail_msg("%s", err.text);
    assert_int_equal(s.tokens, n * T);
    bk_free(tokens);
    bk_free(lengths);
    bk_ids_free(&ids);
    bk_buf_free(&file);
    bk_model_unref(&m);
    return s.nll;
}

/* ---- From a file -------------------------------------------------------------------------------- */

static void test_from(void **state) {
    (void)state;
    bk_train_options o = repair(in_folder("dense"), 10);
    bk_train *t = open_train(&o);
    write_model(t, in_folder("again"), NULL);
    assert_true(same_files(in_folder("dense"), in_folder("again")));
    bk_train_close(&t);
    /* A quantised file's weights become floats; writing them again finds the same blocks. */
    o.from = in_folder("q4");
    t = open_train(&o);
    write_model(t, in_folder("again"), "q4_0");
    assert_true(same_files(in_folder("q4"), in_folder("again")));
    bk_train_close(&t);
}

static void test_from_lstm(void **state) {
    (void)state;
    bk_train_options o = options(BK_TRAIN_LSTM, 5);
    o.output = 48;
    bk_train *t = open_train(&o);
    step(t, 5);
    double loss = score(t).loss;
    write_model(t, in_folder("lstm"), NULL);
    bk_train_close(&t);
    o = options(BK_TRAIN_LSTM, 5);
    o.embedding = o.hidden = o.layers = 0;
    o.from = in_folder("lstm");
    t = open_train(&o);
    assert_true(score(t).loss == loss);
    write_model(t, in_folder("again"), NULL);
    assert_true(same_files(in_folder("lstm"), in_folder("again")));
    bk_train_close(&t);
}

/* The trainer's loss over the whole windows held out is the engine's of the file. */
static void check_engine(bk_train *t, const bk_train_options *o, const char *path) {
    bk_train_score s = {0};
    bk_train_info info;
    bk_error err;
    bk_train_get_info(t, &info);
    uint64_t T = (uint64_t)o->sequence, whole = (info.valid_tokens - 1) / T * T;
    if (bk_train_validate(t, whole, &s, &err)) fail_msg("%s", err.text);
    assert_int_equal(s.tokens, whole);
    double engine = engine_loss(path, o);
    if (fabs(engine - s.loss) > 1e-3)
        fail_msg("%s: %.6f in the engine, %.6f in training", path, engine, s.loss);
}

static void test_loss_of_engine(void **state) {
    (void)state;
    static const char *const files[] = {"dense", "q4"};
    for (size_t i = 0; i < BK_ARRAY_LEN(files); i++) {
        bk_train_options o = repair(in_folder(files[i]), 10);
        o.sequence = 31; /* the engine wants room for the token behind a window */
        bk_train *t = open_train(&o);
        check_engine(t, &o, o.from);
        bk_train_close(&t);
    }
}

static void refuse(const bk_train_options *o, bk_status want, const char *part) {
    bk_train *t = NULL;
    bk_error err;
    assert_int_equal(bk_train_open(o, &t, &err), want);
    if (!strstr(err.text, part)) fail_msg("'%s' not in: %s", part, err.text);
}

static void test_refused(void **state) {
    (void)state;
    bk_train_options o = repair("tests/data/tiny_float.gguf", 10);
    refuse(&o, BK_ERR_UNSUPPORTED, "llama.rope.dimension_count");
    o.from = "tests/data/tiny_qwen3moe.gguf";
    refuse(&o, BK_ERR_INVALID, "qwen3moe");
    o.from = in_folder("dense");
    o.layers = 3;
    refuse(&o, BK_ERR_INVALID, "block_count");
    o.layers = 0;
    o.quant = "q9";
    refuse(&o, BK_ERR_INVALID, "q9");
    o.quant = NULL;
    o.teacher = "tests/data/tiny_int.gguf";
    refuse(&o, BK_ERR_INVALID, "vocabulary");
    o.teacher = in_folder("dense");
    o.sequence = 64;
    refuse(&o, BK_ERR_INVALID, "sees 32 tokens");
    o.sequence = 32;
    o.teacher = in_folder("nothing");
    refuse(&o, BK_ERR_NOT_FOUND, "nothing");
}

/* ---- What stays --------------------------------------------------------------------------------- */

static void test_keep_zeros(void **state) {
    (void)state;
    bk_train_options o = repair(in_folder("sparse"), 20);
    o.keep_zeros = true;
    bk_train *t = open_train(&o);
    step(t, 20);
    write_model(t, in_folder("again"), NULL);
    bk_train_close(&t);
    bk_gguf *a = open_file(in_folder("sparse")), *b = open_file(in_folder("again"));
    size_t zeros = 0, changed = 0, all = 0;
    for (size_t i = 0; i < bk_gguf_n_tensors(a); i++) {
        const bk_gguf_tensor *ta = bk_gguf_tensor_at(a, i), *tb = bk_gguf_tensor_at(b, i);
        float *x = floats_of(a, ta), *y = floats_of(b, tb);
        for (size_t k = 0; k < ta->n_elements; k++) {
            zeros += x[k] == 0;
            changed += x[k] != y[k];
            if (x[k] == 0) assert_true(y[k] == 0);
        }
        all += ta->n_elements;
        bk_free(x);
        bk_free(y);
    }
    assert_true(zeros > all / 3);
    assert_true(changed > (all - zeros) * 9 / 10);
    bk_gguf_destroy(&a);
    bk_gguf_destroy(&b);
}

static void test_norms(void **state) {
    (void)state;
    bk_train_options o = repair(in_folder("dense"), 20);
    bk_train_info all, norms;
    bk_train *t = open_train(&o);
    bk_train_get_info(t, &all);
    bk_train_close(&t);
    o.tune = BK_TUNE_NORMS;
    t = open_train(&o);
    bk_train_get_info(t, &norms);
    assert_true(norms.memory + 11 * norms.n_params < all.memory);
    step(t, 10);
    bk_error err;
    if (bk_train_save(t, in_folder("checkpoint"), &err)) fail_msg("%s", err.text);
    step(t, 10);
    write_model(t, in_folder("again"), NULL);
    bk_train_close(&t);
    bk_gguf *a = open_file(in_folder("dense")), *b = open_file(in_folder("again"));
    for (size_t i = 0; i < bk_gguf_n_tensors(a); i++) {
        const bk_gguf_tensor *ta = bk_gguf_tensor_at(a, i), *tb = bk_gguf_tensor_at(b, i);
        float *x = floats_of(a, ta), *y = floats_of(b, tb);
        bool same = memcmp(x, y, ta->n_elements * sizeof *x) == 0;
        assert_true(same == (ta->n_dims == 2));
        bk_free(x);
        bk_free(y);
    }
    bk_gguf_destroy(&a);
    bk_gguf_destroy(&b);
    o.from = NULL;
    o.resume = in_folder("checkpoint");
    t = open_train(&o);
    step(t, 10);
    write_model(t, in_folder("resumed"), NULL);
    bk_train_close(&t);
    assert_true(same_files(in_folder("again"), in_folder("resumed")));
}

/* ---- Rounded weights ---------------------------------------------------------------------------- */

static void test_quant(void **state) {
    (void)state;
    bk_train_options o = repair(in_folder("dense"), 20);
    o.quant = "q4_0";
    o.sequence = 31;
    bk_train *t = open_train(&o);
    bk_train_info info;
    bk_train_get_info(t, &info);
    assert_true(info.n_quantised > info.n_params * 9 / 10 && info.n_quantised < info.n_params);
    step(t, 20);
    double loss = score(t).loss;
    write_model(t, in_folder("again"), "q4_0");
    check_engine(t, &o, in_folder("again"));
    bk_train_close(&t);
    /* The file is what was trained: its weights as floats give the same bits. */
    o.quant = NULL;
    o.from = in_folder("again");
    t = open_train(&o);
    assert_true(score(t).loss == loss);
    bk_train_close(&t);
}

/* The first half of the steps is as without, the second not. */
static void test_quant_share(void **state) {
    (void)state;
    double loss[2][10];
    for (int k = 0; k < 2; k++) {
        bk_train_options o = repair(in_folder("dense"), 10);
        o.quant = k ? "q4_0" : NULL;
        o.quant_share = 0.5f;
        bk_train *t = open_train(&o);
        for (int i = 0; i < 10; i++) {
            loss[k][i] = step(t, 1);
            if (i == 2) score(t); /* scored as it will be written, then it goes on as before */
        }
        bk_train_close(&t);
    }
    for (int i = 0; i < 10; i++) assert_true((loss[0][i] == loss[1][i]) == (i < 5));
}

/* ---- A teacher ---------------------------------------------------------------------------------- */

static int n_cached(char *name, size_t cap) {
    DIR *d = opendir(in_folder("cache"));
    int n = 0;
    for (struct dirent *e; d && (e = readdir(d));) {
        if (strncmp(e->d_name, "teacher-", 8) != 0) continue;
        snprintf(name, cap, "cache/%.255s", e->d_name);
        n++;
    }
    if (d) closedir(d);
    return n;
}

static void with_teacher(bk_train_options *o, const char *out) {
    bk_train *t = open_train(o);
    step(t, o->steps);
    write_model(t, out, NULL);
    bk_train_close(&t);
}

static void spoil(const char *path, long at, bool cut) {
    FILE *f = fopen(path, "r+b");
    if (!f) abort();
    fseek(f, at, SEEK_SET);
    int c = fgetc(f);
    fseek(f, at, SEEK_SET);
    fputc(c ^ 1, f);
    fclose(f);
    if (cut && truncate(path, at)) abort();
}

static void test_teacher(void **state) {
    (void)state;
    char name[300];
    bk_train_options o = repair(in_folder("q4"), 6);
    o.teacher = in_folder("dense");
    o.top_k = 8;
    o.accumulate = 2;
    asked = 0;
    with_teacher(&o, in_folder("first"));
    assert_int_equal(asked, 12);
    assert_int_equal(n_cached(name, sizeof name), 1);
    /* Again, and with other settings that change nothing of what is asked. */
    with_teacher(&o, in_folder("again"));
    assert_int_equal(asked, 12);
    assert_true(same_files(in_folder("first"), in_folder("again")));
    o.steps = 3;
    o.lr = 1e-3f;
    with_teacher(&o, in_folder("again"));
    assert_int_equal(asked, 12);
    o = repair(o.from, 6);
    o.teacher = in_folder("dense");
    o.top_k = 8;
    o.accumulate = 2;
    for (int k = 0; k < 3; k++) {
        spoil(in_folder(name), k == 1 ? 3 : 5000, k == 2);
        asked = 0;
        with_teacher(&o, in_folder("again"));
        assert_int_equal(asked, 12);
        assert_true(same_files(in_folder("first"), in_folder("again")));
    }
    o.seed = 2;
    asked = 0;
    with_teacher(&o, in_folder("again"));
    assert_int_equal(asked, 12);
    assert_int_equal(n_cached(name, sizeof name), 2);
    assert_false(same_files(in_folder("first"), in_folder("again")));
}

/* A model that is its own teacher has nothing to learn; with a checkpoint in between the bits are the
 * same. */
static void test_own_teacher(void **state) {
    (void)state;
    bk_error err;
    bk_train_options o = repair(in_folder("dense"), 8);
    o.teacher = in_folder("dense");
    bk_train *t = open_train(&o);
    bk_train_score s = score(t);
    assert_true(fabs(s.reference - s.loss) < 1e-3);
    double loss = step(t, 1);
    if (!(loss >= 0 && loss < 1e-4)) fail_msg("divergence from itself is %g", loss);
    bk_train_close(&t);
    o.from = in_folder("q4");
    o.quant = "q4_0";
    t = open_train(&o);
    s = score(t);
    step(t, 4);
    if (bk_train_save(t, in_folder("checkpoint"), &err)) fail_msg("%s", err.text);
    step(t, 4);
    bk_train_score last = score(t);
    write_model(t, in_folder("first"), NULL);
    bk_train_close(&t);
    assert_true(last.before == s.loss && last.reference == s.reference);
    double share = (s.loss - last.loss) / (s.loss - s.reference);
    assert_true(last.recovered == share && share != 0);
    o.from = NULL;
    o.resume = in_folder("checkpoint");
    asked = 0;
    t = open_train(&o);
    step(t, 4);
    assert_true(score(t).recovered == share);
    write_model(t, in_folder("again"), NULL);
    bk_train_close(&t);
    assert_int_equal(asked, 0);
    assert_true(same_files(in_folder("first"), in_folder("again")));
}

/* Both carry their state from window to window. */
static void test_lstm_teacher(void **state) {
    (void)state;
    bk_train_options o = options(BK_TRAIN_LSTM, 5);
    o.embedding = o.hidden = o.layers = 0;
    o.from = o.teacher = in_folder("lstm");
    o.lr = o.min_lr = 0;
    bk_train *t = open_train(&o);
    bk_train_score s = score(t);
    assert_true(fabs(s.reference - s.loss) < 1e-3);
    for (int i = 0; i < o.steps; i++) {
        double loss = step(t, 1);
        if (!(loss >= 0 && loss < 1e-4)) fail_msg("step %d: %g from itself", i + 1, loss);
    }
    bk_train_close(&t);
}

/* ---- Repair ------------------------------------------------------------------------------------- */

/* Under a sanitizer a few steps are enough: what is learned is the other builds' to check. */
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
enum { LEARNS = 0 };
#else
enum { LEARNS = 1 };
#endif

static void recover(const char *what, bk_train_options *o, double least) {
    if (!LEARNS) o->steps = 5;
    bk_train *t = open_train(o);
    score(t);
    step(t, o->steps);
    bk_train_score s = score(t);
    print_message("%s: %.4f before, %.4f after, %.4f to reach: %.0f %% recovered\n", what, s.before,
                  s.loss, s.reference, 100 * s.recovered);
    assert_true(!LEARNS || s.before > s.reference);
    assert_true(!LEARNS || s.recovered > least);
    bk_train_close(&t);
}

static void test_recover_sparse(void **state) {
    (void)state;
    bk_train_options o = repair(in_folder("sparse"), 150);
    o.teacher = in_folder("dense");
    o.lr = 3e-4f;
    o.min_lr = 3e-5f;
    o.keep_zeros = true;
    recover("half of the weights", &o, 0.7);
    o.tune = BK_TUNE_NORMS;
    o.lr = 3e-3f;
    recover("half of the weights, norms alone", &o, 0.25);
}

/* Two bits a weight, for which rows are 256 wide. */
static void test_recover_rounded(void **state) {
    (void)state;
    bk_train_options o = options(BK_TRAIN_LLAMA, LEARNS ? 250 : 5);
    o.embedding = o.ffn = 256;
    o.kv_heads = o.layers = 1;
    o.batch = 4;
    o.lr = 3e-3f;
    bk_train *t = open_train(&o);
    step(t, o.steps);
    write_model(t, in_folder("wide"), NULL);
    bk_train_close(&t);
    o = repair(in_folder("wide"), 150);
    o.teacher = o.from;
    o.batch = 4;
    o.lr = 1e-3f;
    o.min_lr = 3e-5f;
    o.quant = "q2_k";
    recover("q2_k", &o, 0.5);
}

static int set_up(void **state) {
    (void)state;
    snprintf(folder, sizeof folder, "/tmp/test_train_repair.XXXXXX");
    if (!mkdtemp(folder)) return -1;
    setenv("BRISK_CACHE", in_folder("cache"), 1);
    write_text();
    make_model();
    prune(in_folder("dense"), in_folder("sparse"));
    return 0;
}

static void remove_all(const char *path) {
    char name[1024];
    DIR *d = opendir(path);
    for (struct dirent *e; d && (e = readdir(d));) {
        snprintf(name, sizeof name, "%s/%s", path, e->d_name);
        if (e->d_name[0] != '.') unlink(name);
    }
    if (d) closedir(d);
    rmdir(path);
}

static int tear_down(void **state) {
    (void)state;
    remove_all(in_folder("cache"));
    remove_all(folder);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_from),
        cmocka_unit_test(test_from_lstm),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_loss_of_engine),
        cmocka_unit_test(test_keep_zeros),
        cmocka_unit_test(test_norms),
        cmocka_unit_test(test_quant),
        cmocka_unit_test(test_quant_share),
        cmocka_unit_test(test_teacher),
        cmocka_unit_test(test_own_teacher),
        cmocka_unit_test(test_lstm_teacher),
        cmocka_unit_test(test_recover_sparse),
        cmocka_unit_test(test_recover_rounded),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
