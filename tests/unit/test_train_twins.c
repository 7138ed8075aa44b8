/* The language models beside PyTorch's (tests/train/make_fixtures.py): logits, losses, gradients and ten
 * steps of AdamW from the same weights; state that is carried; slopes of the loss beside gradients;
 * causality. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/rng.h"
#include "format/safetensors.h"
#include "sys/file.h"
#include "train/lm.h"
#include "train/optim.h"
#include "train/options.h"

enum { B = 3, T = 7, R = B * T };
static const double tolerance = 1e-4;

/* ---- A fixture and its twin --------------------------------------------------------------------- */

typedef struct twin {
    bk_map map;
    bk_safetensors *st;
    bk_nn *nn;
    bk_params params;
    bk_lm *m;
    bk_train_options o;
} twin;

static const float *values(const twin *t, const char *kind, const char *name) {
    char full[128];
    snprintf(full, sizeof full, "%s%s", kind, name);
    const bk_st_tensor *v = bk_safetensors_find(t->st, full);
    if (!v) fail_msg("no %s in the fixture", full);
    return (const float *)(const void *)v->data;
}

static void read_options(twin *t, bk_train_kind kind) {
    const float *c = values(t, "", "config"), *h = values(t, "", "optimiser");
    bk_train_options *o = &t->o;
    bk_train_default(kind, o);
    o->embedding = (int)c[1];
    o->batch = B;
    o->sequence = T;
    if (kind == BK_TRAIN_LSTM) {
        o->hidden = (int)c[2];
        o->layers = (int)c[3];
        o->tied = !bk_safetensors_find(t->st, "param/output.weight");
        if (o->tied) o->output = o->embedding;
    } else {
        o->heads = (int)c[2];
        o->kv_heads = (int)c[3];
        o->ffn = (int)c[4];
        o->layers = (int)c[5];
        o->rope_base = c[8];
        o->norm_eps = c[9];
    }
    o->lr = o->min_lr = h[0];
    o->warmup = 0;
    o->b1 = h[1];
    o->b2 = h[2];
    o->eps = h[3];
    o->decay = h[4];
    o->clip = h[5];
    o->steps = (int)h[6];
    bk_train_options_complete(o);
}

/* Rows of the fixture lie sequence by sequence; of a model that carries state step by step. */
static size_t row_of(const twin *t, size_t b, size_t s) {
    return t->m->ops->carries ? s * B + b : b * T + s;
}

static void write_batch(twin *t) {
    const int32_t *ids = (const int32_t *)(const void *)values(t, "", "ids");
    const int32_t *targets = (const int32_t *)(const void *)values(t, "", "targets");
    for (size_t b = 0; b < B; b++) {
        for (size_t s = 0; s < T; s++) {
            t->m->host[row_of(t, b, s)] = ids[b * T + s];
            t->m->host[R + row_of(t, b, s)] = targets[b * T + s];
        }
    }
}

static void open_twin(twin *t, const char *name, bk_train_kind kind, int threads) {
    char path[128];
    bk_error err;
    *t = (twin){0};
    snprintf(path, sizeof path, "tests/train/fixtures/%s.safetensors", name);
    if (bk_map_open(path, &t->map, &err) ||
        bk_safetensors_parse(t->map.data, t->map.size, &t->st, &err))
        fail_msg("%s", err.text);
    read_options(t, kind);
    bk_cpu_level level;
    assert_int_equal(bk_cpu_level_choose(NULL, &level, &err), BK_OK);
    if (bk_nn_cpu_create(level, threads, &t->nn, &err)) fail_msg("%s", err.text);
    t->params.nn = t->nn;
    size_t n_vocab = (size_t)values(t, "", "config")[0];
    bool lstm = kind == BK_TRAIN_LSTM;
    if ((lstm ? bk_lstm_create : bk_llama_create)(&t->o, t->nn, &t->params, n_vocab, &t->m, &err) ||
        bk_lm_prepare(t->m, &err) || bk_params_create(&t->params, NULL, &err))
        fail_msg("%s", err.text);
    for (size_t i = 0; i < t->params.n; i++) {
        const bk_param *p = &t->params.list[i];
        const float *v = values(t, "param/", p->name);
        t->nn->ops->write(t->nn, (bk_vec){t->params.w, p->at}, v, bk_param_count(p));
    }
    t->m->carried = t->m->state[0];
    write_batch(t);
}

static void close_twin(twin *t) {
    t->m->task.ops->destroy(&t->m->task);
    bk_params_free(&t->params);
    bk_nn_destroy(&t->nn);
    bk_safetensors_destroy(&t->st);
    bk_map_close(&t->map);
}

static float *read_back(const twin *t, bk_vec from, size_t n) {
    float *x = bk_alloc(n, sizeof *x);
    t->nn->ops->read(t->nn, from, x, n);
    return x;
}

static void check_close(const char *what, const float *found, const float *wanted, size_t n) {
    for (size_t i = 0; i < n; i++) {
        double off = fabs((double)found[i] - (double)wanted[i]);
        if (!(off <= tolerance))
            fail_msg("%s[%zu]: %g found, %g wanted", what, i, (double)found[i], (double)wanted[i]);
    }
}

static void check_logits(const twin *t, const char *name) {
    size_t V = t->m->V;
    float *x = read_back(t, t->m->logits, R * V);
    const float *want = values(t, "", name);
    for (size_t b = 0; b < B; b++)
        for (size_t s = 0; s < T; s++)
            check_close(name, x + row_of(t, b, s) * V, want + (b * T + s) * V, V);
    bk_free(x);
}

static void check_params(const twin *t, const char *kind, bk_mem *mem) {
    for (size_t i = 0; i < t->params.n; i++) {
        const bk_param *p = &t->params.list[i];
        float *x = read_back(t, (bk_vec){mem, p->at}, bk_param_count(p));
        check_close(p->name, x, values(t, kind, p->name), bk_param_count(p));
        bk_free(x);
    }
}

static void clear_state(twin *t) {
    if (t->m->carried) t->nn->ops->zero(t->nn, (bk_vec){t->m->carried, 0}, t->m->n_state);
}

/* Each step begins with a state of zeros, as the fixture's. */
static double pass(twin *t, bool backward) {
    clear_state(t);
    double sum = bk_lm_losses(t->m, backward ? 1.0f / R : 0);
    if (backward) t->m->ops->backward(t->m);
    return sum / R;
}

static void learn_as_pytorch(const char *name, bk_train_kind kind, int threads) {
    twin t;
    bk_error err;
    open_twin(&t, name, kind, threads);
    const float *losses = values(&t, "", "losses"), *norms = values(&t, "", "norms");
    assert_true(fabs(pass(&t, false) - (double)losses[0]) < tolerance);
    check_logits(&t, "logits");
    pass(&t, true);
    check_params(&t, "grad/", t.params.grad);
    t.nn->ops->zero(t.nn, (bk_vec){t.params.grad, 0}, t.params.learned);
    for (int i = 0; i < t.o.steps; i++) {
        double norm, loss = pass(&t, true);
        assert_true(fabs(loss - (double)losses[i]) < tolerance);
        assert_int_equal(bk_optim_step(&t.o, &t.params, i, &norm, &err), BK_OK);
        assert_true(fabs(norm - (double)norms[i]) < tolerance);
    }
    check_params(&t, "after/", t.params.w);
    assert_true(fabs(pass(&t, false) - (double)losses[t.o.steps]) < tolerance);
    close_twin(&t);
}

/* ---- Tests -------------------------------------------------------------------------------------- */

static void test_lstm(void **state) {
    (void)state;
    learn_as_pytorch("lstm", BK_TRAIN_LSTM, 1);
    learn_as_pytorch("lstm", BK_TRAIN_LSTM, 2);
}

static void test_lstm_tied(void **state) {
    (void)state;
    learn_as_pytorch("lstm_tied", BK_TRAIN_LSTM, 2);
}

static void test_llama(void **state) {
    (void)state;
    learn_as_pytorch("llama", BK_TRAIN_LLAMA, 1);
    learn_as_pytorch("llama", BK_TRAIN_LLAMA, 2);
}

/* The state after a batch, and what a second pass over the same ids makes of it. */
static void carry(const char *name) {
    twin t;
    open_twin(&t, name, BK_TRAIN_LSTM, 2);
    size_t H = (size_t)t.o.hidden, n = B * H;
    pass(&t, false);
    for (int turn = 0; turn < 2; turn++) {
        float *s = read_back(&t, (bk_vec){t.m->carried, 0}, t.m->n_state);
        const float *h = values(&t, turn ? "h_next" : "h", ""),
                    *c = values(&t, turn ? "c_next" : "c", "");
        for (size_t l = 0; l < (size_t)t.o.layers; l++) {
            check_close("h", s + 2 * l * n, h + l * n, n);
            check_close("c", s + (2 * l + 1) * n, c + l * n, n);
        }
        bk_free(s);
        if (turn == 0) bk_lm_losses(t.m, 0);
    }
    check_logits(&t, "logits_next");
    close_twin(&t);
}

static void test_state(void **state) {
    (void)state;
    carry("lstm");
    carry("lstm_tied");
}

/* The loss's slope along random directions in the space of all weights, from differences. */
static void slopes(const char *name, bk_train_kind kind) {
    twin t;
    open_twin(&t, name, kind, 2);
    size_t n = t.params.words;
    const double eps = 1e-3;
    float *w = read_back(&t, (bk_vec){t.params.w, 0}, n), *moved = bk_alloc(n, sizeof *moved);
    pass(&t, true);
    float *g = read_back(&t, (bk_vec){t.params.grad, 0}, n);
    for (uint64_t k = 0; k < 5; k++) {
        double loss[2], slope = 0;
        for (int side = 0; side < 2; side++) {
            bk_rng rng;
            bk_rng_seed(&rng, 9, k);
            slope = 0;
            for (size_t i = 0; i < n; i++) {
                double d = bk_rng_u32(&rng) & 1 ? 1 : -1;
                slope += d * (double)g[i];
                moved[i] = (float)((double)w[i] + (side ? eps : -eps) * d);
            }
            t.nn->ops->write(t.nn, (bk_vec){t.params.w, 0}, moved, n);
            loss[side] = pass(&t, false);
        }
        double measured = (loss[1] - loss[0]) / (2 * eps);
        if (fabs(measured - slope) > 1e-2 * (fabs(slope) + 0.1))
            fail_msg("%s: slope %g measured, %g by the gradient", name, measured, slope);
    }
    bk_free(w);
    bk_free(g);
    bk_free(moved);
    close_twin(&t);
}

static void test_slopes(void **state) {
    (void)state;
    slopes("lstm", BK_TRAIN_LSTM);
    slopes("lstm_tied", BK_TRAIN_LSTM);
    slopes("llama", BK_TRAIN_LLAMA);
}

/* Another token at step s changes nothing before it, and something there. */
static void causal(const char *name, bk_train_kind kind) {
    twin t;
    open_twin(&t, name, kind, 2);
    size_t V = t.m->V;
    pass(&t, false);
    float *before = read_back(&t, t.m->logits, R * V);
    for (size_t s = 0; s < T; s++) {
        size_t changed = row_of(&t, 1, s);
        t.m->host[changed] = (t.m->host[changed] + 1) % (int32_t)V;
        pass(&t, false);
        float *after = read_back(&t, t.m->logits, R * V);
        for (size_t b = 0; b < B; b++) {
            for (size_t k = 0; k < T; k++) {
                size_t at = row_of(&t, b, k) * V;
                bool same = memcmp(before + at, after + at, V * sizeof *after) == 0;
                assert_true(same == (b != 1 || k < s));
            }
        }
        bk_free(after);
        write_batch(&t);
    }
    bk_free(before);
    close_twin(&t);
}

static void test_causal(void **state) {
    (void)state;
    causal("lstm", BK_TRAIN_LSTM);
    causal("llama", BK_TRAIN_LLAMA);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lstm),   cmocka_unit_test(test_lstm_tied),
        cmocka_unit_test(test_llama),  cmocka_unit_test(test_state),
        cmocka_unit_test(test_slopes), cmocka_unit_test(test_causal),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
