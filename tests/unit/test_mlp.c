/* The simple network: what PyTorch computes for the same weights (tests/train/make_fixtures.py), equal
 * bits for any threads and across checkpoints, the digits, and files that are not as they should be. */
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
#include "format/gguf_build.h"
#include "format/safetensors.h"
#include "train/task.h"

static const char fixture_path[] = "tests/train/fixtures/mlp.safetensors";
static const char digits_path[] = "share/digits.csv";
static char folder[64], table_path[96], model_path[96], out_path[96], out2_path[96];

/* ---- The fixture --------------------------------------------------------------------------------- */

typedef struct fixture {
    bk_map map;
    bk_safetensors *st;
} fixture;

static const float *values(const fixture *f, const char *name) {
    const bk_st_tensor *t = bk_safetensors_find(f->st, name);
    if (!t) fail_msg("no %s in the fixture", name);
    return (const float *)(const void *)t->data;
}

static const char *const layers[] = {"layers.0", "layers.1", "layers.2"};
static const char *const ours[] = {"blk.0", "blk.1", "output"};
static const size_t dims[] = {11, 17, 9, 5};
enum { LAYERS = 3, ROWS = 13, CLASSES = 5 };

static void write_table(const fixture *f) {
    FILE *file = fopen(table_path, "w");
    const float *x = values(f, "x");
    const int32_t *y = (const int32_t *)(const void *)values(f, "targets");
    for (size_t i = 0; i < ROWS; i++) {
        for (size_t k = 0; k < dims[0]; k++) fprintf(file, "%.9g,", (double)x[i * dims[0] + k]);
        fprintf(file, "%d\n", y[i]);
    }
    fclose(file);
}

/* A model file of the fixture's weights, without scaling; `without` is left out. */
static void write_model(const fixture *f, const char *without) {
    bk_gguf_builder *b = bk_gguf_builder_create();
    bk_gguf *g = NULL;
    bk_error err;
    const bk_str names[] = {BK_STR("0"), BK_STR("1"), BK_STR("2"), BK_STR("3"), BK_STR("4")};
    const int32_t widths[] = {17, 9};
    float mean[11] = {0}, factor[11];
    for (size_t i = 0; i < 11; i++) factor[i] = 1;
    bk_gguf_builder_str(b, "general.architecture", BK_STR("mlp"));
    bk_gguf_builder_u32(b, "mlp.input_length", 11);
    bk_gguf_builder_i32s(b, "mlp.hidden_lengths", widths, 2);
    bk_gguf_builder_str(b, "mlp.activation", BK_STR("relu"));
    bk_gguf_builder_strs(b, "mlp.classes", names, CLASSES);
    bk_gguf_builder_f32s(b, "mlp.scaling.mean", mean, 11);
    bk_gguf_builder_f32s(b, "mlp.scaling.factor", factor, 11);
    if (without) bk_gguf_builder_remove(b, without);
    for (size_t l = 0; l < LAYERS; l++) {
        char from[64], to[64];
        const uint64_t ne[2] = {dims[l], dims[l + 1]};
        snprintf(from, sizeof from, "param/%s.weight", layers[l]);
        snprintf(to, sizeof to, "%s.weight", ours[l]);
        bk_gguf_builder_tensor(b, to, BK_TYPE_F32, 2, ne, (const uint8_t *)values(f, from));
        snprintf(from, sizeof from, "param/%s.bias", layers[l]);
        snprintf(to, sizeof to, "%s.bias", ours[l]);
        bk_gguf_builder_tensor(b, to, BK_TYPE_F32, 1, ne + 1, (const uint8_t *)values(f, from));
    }
    if (bk_gguf_builder_finish(&b, &g, &err) || bk_gguf_write(g, model_path, NULL, &err))
        fail_msg("%s", err.text);
    bk_gguf_destroy(&g);
}

static void fixture_open(fixture *f) {
    bk_error err;
    if (bk_map_open(fixture_path, &f->map, &err) ||
        bk_safetensors_parse(f->map.data, f->map.size, &f->st, &err))
        fail_msg("%s", err.text);
    write_table(f);
    write_model(f, NULL);
}

static void fixture_close(fixture *f) {
    bk_safetensors_destroy(&f->st);
    bk_map_close(&f->map);
}

static bk_train_options fixture_options(const fixture *f) {
    bk_train_options o;
    const float *opt = values(f, "optimiser");
    bk_train_default(BK_TRAIN_MLP, &o);
    o.data = table_path;
    o.from = model_path;
    o.valid_share = 0;
    o.batch = ROWS;
    o.lr = o.min_lr = opt[0];
    o.b1 = opt[1], o.b2 = opt[2], o.eps = opt[3], o.decay = opt[4], o.clip = opt[5];
    o.steps = (int)opt[6];
    o.threads = 2;
    return o;
}

static void near(const char *what, const float *a, const float *b, size_t n, double most) {
    for (size_t i = 0; i < n; i++)
        if (!(fabs((double)a[i] - (double)b[i]) <= most))
            fail_msg("%s [%zu]: %g, PyTorch has %g", what, i, (double)a[i], (double)b[i]);
}

static bk_train *open_train(const bk_train_options *o) {
    bk_train *t = NULL;
    bk_error err;
    if (bk_train_open(o, &t, &err)) fail_msg("%s", err.text);
    return t;
}

static void test_gradients_of_twin(void **state) {
    (void)state;
    fixture f;
    bk_error err;
    bk_nn *nn;
    bk_gguf *g;
    bk_task *task;
    double loss;
    uint64_t n;
    float grad[17 * 11];
    fixture_open(&f);
    bk_train_options o = fixture_options(&f);
    assert_int_equal(bk_nn_cpu_create(BK_CPU_REF, 2, &nn, &err), BK_OK);
    assert_int_equal(bk_gguf_open(model_path, &g, &err), BK_OK);
    bk_params params = {.nn = nn};
    assert_int_equal(bk_mlp_create(&o, nn, &params, g, &task, &err), BK_OK);
    assert_int_equal(bk_params_create(&params, NULL, &err), BK_OK);
    assert_int_equal(bk_params_get(&params, params.w, "", g, &err), BK_OK);
    assert_int_equal(task->ops->batch(task, 0, 1, &loss, &n, &err), BK_OK);
    assert_int_equal(n, ROWS);
    assert_true(fabs(loss / ROWS - (double)values(&f, "losses")[0]) < 1e-6);
    for (size_t i = 0; i < params.n; i++) {
        char name[64];
        snprintf(name, sizeof name, "grad/%s.%s", layers[i % LAYERS],
                 i < LAYERS ? "weight" : "bias");
        size_t count = bk_param_count(&params.list[i]);
        nn->ops->read(nn, bk_param_grad(&params, i), grad, count);
        near(name, grad, values(&f, name), count, 1e-6);
    }
    task->ops->destroy(task);
    bk_params_free(&params);
    bk_gguf_destroy(&g);
    bk_nn_destroy(&nn);
    fixture_close(&f);
}

static void test_steps_of_twin(void **state) {
    (void)state;
    fixture f;
    bk_error err;
    bk_gguf *g;
    fixture_open(&f);
    bk_train_options o = fixture_options(&f);
    bk_train *t = open_train(&o);
    int classes[ROWS];
    float p[ROWS * CLASSES];
    const float *logits = values(&f, "logits"), *losses = values(&f, "losses"),
                *norms = values(&f, "norms");
    assert_int_equal(bk_train_predict(t, values(&f, "x"), ROWS, classes, p, &err), BK_OK);
    for (size_t i = 0; i < ROWS; i++) {
        double sum = 0;
        for (size_t k = 0; k < CLASSES; k++) sum += exp(logits[i * CLASSES + k]);
        for (size_t k = 0; k < CLASSES; k++)
            assert_true(fabs(exp(logits[i * CLASSES + k]) / sum - p[i * CLASSES + k]) < 1e-5);
    }
    for (int step = 0; step < o.steps; step++) {
        bk_train_report r;
        assert_int_equal(bk_train_step(t, &r, &err), BK_OK);
        assert_true(fabs(r.loss - losses[step]) < 1e-5 && fabs(r.grad_norm - norms[step]) < 1e-5);
    }
    bk_train_report r;
    assert_int_equal(bk_train_step(t, &r, &err), BK_ERR_LIMIT);
    assert_int_equal(bk_train_write(t, out_path, NULL, &err), BK_OK);
    bk_train_close(&t);
    assert_int_equal(bk_gguf_open(out_path, &g, &err), BK_OK);
    for (size_t i = 0; i < 2 * LAYERS; i++) {
        char theirs[64], mine[64];
        const char *part = i < LAYERS ? "weight" : "bias";
        snprintf(theirs, sizeof theirs, "after/%s.%s", layers[i % LAYERS], part);
        snprintf(mine, sizeof mine, "%s.%s", ours[i % LAYERS], part);
        const bk_gguf_tensor *tensor = bk_gguf_find_tensor(g, mine);
        assert_non_null(tensor);
        near(mine, (const float *)(const void *)tensor->data, values(&f, theirs),
             tensor->n_elements, 1e-4);
    }
    bk_gguf_destroy(&g);
    fixture_close(&f);
}

/* ---- Equal bits ---------------------------------------------------------------------------------- */

static void run_steps(bk_train *t, int n) {
    bk_train_report r;
    bk_error err;
    for (int i = 0; i < n; i++)
        if (bk_train_step(t, &r, &err)) fail_msg("%s", err.text);
}

static void same_files(const char *a, const char *b) {
    bk_buf x = {0}, y = {0};
    bk_error err;
    assert_int_equal(bk_file_read(a, &x, &err), BK_OK);
    assert_int_equal(bk_file_read(b, &y, &err), BK_OK);
    assert_int_equal(x.len, y.len);
    assert_memory_equal(x.data, y.data, x.len);
    bk_buf_free(&x);
    bk_buf_free(&y);
}

static bk_train_options digits_options(void) {
    bk_train_options o;
    bk_train_default(BK_TRAIN_MLP, &o);
    o.data = digits_path;
    o.widths = "20,12";
    o.batch = 50;
    o.dropout = 0.1f;
    o.activation = "gelu";
    o.steps = 60; /* more than one pass */
    o.threads = 1;
    return o;
}

static void test_equal_bits(void **state) {
    (void)state;
    bk_error err;
    bk_train_options o = digits_options();
    bk_train *t = open_train(&o);
    run_steps(t, 60);
    assert_int_equal(bk_train_write(t, out_path, NULL, &err), BK_OK);
    bk_train_close(&t);
    o.threads = 3;
    t = open_train(&o);
    run_steps(t, 33);
    bk_train_score s;
    assert_int_equal(bk_train_validate(t, 0, &s, &err), BK_OK); /* changes nothing */
    assert_int_equal(bk_train_save(t, model_path, &err), BK_OK);
    bk_train_close(&t);
    o.resume = model_path;
    t = open_train(&o);
    run_steps(t, 27);
    assert_int_equal(bk_train_write(t, out2_path, NULL, &err), BK_OK);
    bk_train_close(&t);
    same_files(out_path, out2_path);
}

/* ---- The digits ---------------------------------------------------------------------------------- */

static void test_digits(void **state) {
    (void)state;
    bk_error err;
    bk_train_options o;
    bk_train_report r;
    bk_train_score s;
    bk_train_info info;
    bk_train_default(BK_TRAIN_MLP, &o);
    o.data = digits_path;
    o.steps = 600;
    bk_train *t = open_train(&o);
    bk_train_get_info(t, &info);
    assert_true(info.inputs == 64 && info.n_vocab == 10 && info.n_params == 64 * 32 + 32 + 330);
    assert_int_equal(info.train_tokens + info.valid_tokens, 1797);
    assert_true(info.valid_tokens >= 355 && info.valid_tokens <= 363);
    assert_int_equal(bk_train_step(t, &r, &err), BK_OK);
    assert_true(fabs(r.loss - log(10)) < 0.02 * log(10));
    run_steps(t, 599);
    assert_int_equal(bk_train_validate(t, 0, &s, &err), BK_OK);
    assert_int_equal(s.tokens, info.valid_tokens);
    assert_true(s.accuracy > 0.94 && s.loss < 0.2 && s.classes == 10);
    uint64_t sum = 0, right = 0;
    for (size_t i = 0; i < 100; i++) sum += s.confusion[i], right += i % 11 ? 0 : s.confusion[i];
    assert_int_equal(sum, s.tokens);
    assert_true(fabs((double)right / (double)sum - s.accuracy) < 1e-9);
    assert_string_equal(bk_train_class_name(t, 9), "9");
    assert_null(bk_train_class_name(t, 10));

    /* Written and read again, without the table. */
    float x[2 * 64], p[20], p2[20];
    int classes[2], classes2[2];
    for (int i = 0; i < 128; i++) x[i] = (float)(i * 7 % 17);
    assert_int_equal(bk_train_predict(t, x, 2, classes, p, &err), BK_OK);
    assert_int_equal(bk_train_write(t, out_path, NULL, &err), BK_OK);
    bk_train_close(&t);
    o.data = NULL;
    o.from = out_path;
    t = open_train(&o);
    assert_int_equal(bk_train_predict(t, x, 2, classes2, p2, &err), BK_OK);
    assert_memory_equal(classes, classes2, sizeof classes);
    assert_memory_equal(p, p2, sizeof p);
    assert_int_equal(bk_train_step(t, &r, &err), BK_ERR_INVALID);
    assert_int_equal(bk_train_validate(t, 0, &s, &err), BK_ERR_LIMIT);
    bk_train_close(&t);
}

static void test_overfits(void **state) {
    (void)state;
    fixture f;
    bk_error err;
    bk_train_report r = {.loss = 9};
    fixture_open(&f);
    bk_train_options o = fixture_options(&f);
    o.from = NULL;
    o.steps = 300;
    o.decay = 0;
    bk_train *t = open_train(&o);
    while (r.step < o.steps) assert_int_equal(bk_train_step(t, &r, &err), BK_OK);
    assert_true(r.loss < 0.05);
    bk_train_close(&t);
    fixture_close(&f);
}

/* ---- What is refused ----------------------------------------------------------------------------- */

static void refused(const bk_train_options *o, bk_status st, const char *why) {
    bk_train *t = NULL;
    bk_error err;
    assert_int_equal(bk_train_open(o, &t, &err), st);
    assert_null(t);
    if (!strstr(err.text, why)) fail_msg("'%s', wanted '%s'", err.text, why);
}

static void test_refused(void **state) {
    (void)state;
    fixture f;
    fixture_open(&f);
    bk_train_options o = fixture_options(&f), no_data = o;
    static const char *const keys[] = {"mlp.input_length", "mlp.hidden_lengths",
                                       "mlp.activation",   "mlp.classes",
                                       "mlp.scaling.mean", "mlp.scaling.factor"};
    for (size_t i = 0; i < BK_ARRAY_LEN(keys); i++) {
        write_model(&f, keys[i]);
        refused(&o, BK_ERR_FORMAT, keys[i]);
    }
    write_model(&f, NULL);
    o.data = digits_path;
    refused(&o, BK_ERR_FORMAT, "64 columns of numbers found, the model has 11");
    o.from = NULL;
    o.activation = "step";
    refused(&o, BK_ERR_INVALID, "activation 'step' found");
    o.activation = NULL;
    static const char *const widths[] = {"", "0", "4,,5", "4,", "x", "70000", "123456789", "4;5"};
    for (size_t i = 0; i < BK_ARRAY_LEN(widths); i++) {
        o.widths = widths[i];
        refused(&o, BK_ERR_INVALID, "widths");
    }
    no_data.data = no_data.from = NULL;
    refused(&no_data, BK_ERR_INVALID, "no data");
    fixture_close(&f);
}

/* Another table than that of the checkpoint. */
static void test_other_table(void **state) {
    (void)state;
    fixture f;
    bk_error err;
    fixture_open(&f);
    bk_train_options o = fixture_options(&f);
    bk_train *t = open_train(&o);
    run_steps(t, 2);
    assert_int_equal(bk_train_save(t, out_path, &err), BK_OK);
    bk_train_close(&t);
    FILE *file = fopen(table_path, "a");
    fprintf(file, "1,2,3,4,5,6,7,8,9,10,11,0\n");
    fclose(file);
    o.resume = out_path;
    o.from = NULL;
    refused(&o, BK_ERR_FORMAT, "not the one");
    fixture_close(&f);
}

int main(void) {
    snprintf(folder, sizeof folder, "/tmp/brisk-mlp-XXXXXX");
    if (!mkdtemp(folder)) return 1;
    snprintf(table_path, sizeof table_path, "%s/table.csv", folder);
    snprintf(model_path, sizeof model_path, "%s/model.gguf", folder);
    snprintf(out_path, sizeof out_path, "%s/out.gguf", folder);
    snprintf(out2_path, sizeof out2_path, "%s/out2.gguf", folder);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gradients_of_twin), cmocka_unit_test(test_steps_of_twin),
        cmocka_unit_test(test_equal_bits),        cmocka_unit_test(test_digits),
        cmocka_unit_test(test_overfits),          cmocka_unit_test(test_refused),
        cmocka_unit_test(test_other_table),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    const char *const files[] = {table_path, model_path, out_path, out2_path};
    for (size_t i = 0; i < BK_ARRAY_LEN(files); i++) unlink(files[i]);
    rmdir(folder);
    return failed;
}
