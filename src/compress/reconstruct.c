#include "compress/reconstruct.h"

#include <math.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/rng.h"
#include "compress/linalg.h"

enum { BATCH = 256, LEAST_ROWS = 64, JUDGE = 8 /* one row in so many */ };
/* The first rate, of the weights' root mean square: steps of Adam are about as long as the rate. */
static const double RATE = 0.01;

typedef struct fit {
    bk_nn *nn;
    size_t d, f, n, n_train, batch, n_weights;
    const float *x;
    float *targets;                                /* [n][d] of the dense block, less their sign */
    bk_mem *memory;                                /* all below */
    bk_vec w, grad, m, v, mask;                    /* [3 f d]: gate, up, down */
    bk_vec in, gate, up, hidden, dhidden, out, to; /* of a batch */
    bk_rng rng;
} fit;

/* ---- The block --------------------------------------------------------------------------------------- */

static void product(const fit *t, size_t m, size_t n, size_t k, bk_vec a, bk_vec b, bk_vec c,
                    bool ta, bool tb, bool add) {
    t->nn->ops->gemm(t->nn, &(bk_gemm){.m = m,
                                       .n = n,
                                       .k = k,
                                       .a = a,
                                       .b = b,
                                       .c = c,
                                       .lda = ta ? m : k,
                                       .ldb = tb ? k : n,
                                       .ldc = n,
                                       .ta = ta,
                                       .tb = tb,
                                       .add = add});
}

static bk_vec up_of(const fit *t, bk_vec w) { return bk_vec_at(w, t->f * t->d); }
static bk_vec down_of(const fit *t, bk_vec w) { return bk_vec_at(w, 2 * t->f * t->d); }

static void forward(const fit *t, size_t n) {
    product(t, n, t->f, t->d, t->in, t->w, t->gate, false, true, false);
    product(t, n, t->f, t->d, t->in, up_of(t, t->w), t->up, false, true, false);
    t->nn->ops->silu_mul(t->nn, t->gate, t->up, n * t->f, t->hidden);
    product(t, n, t->d, t->f, t->hidden, down_of(t, t->w), t->out, false, true, false);
}

/* `out` is the outputs' difference from what they should be. */
static void backward(const fit *t, size_t n) {
    product(t, t->d, t->f, n, t->out, t->hidden, down_of(t, t->grad), true, false, true);
    product(t, n, t->f, t->d, t->out, down_of(t, t->w), t->dhidden, false, false, false);
    t->nn->ops->silu_mul_bwd(t->nn, t->gate, t->up, t->dhidden, n * t->f, t->gate, t->up);
    product(t, t->f, t->d, n, t->gate, t->in, t->grad, true, false, true);
    product(t, t->f, t->d, n, t->up, t->in, up_of(t, t->grad), true, false, true);
}

/* ---- Memory ------------------------------------------------------------------------------------------ */

static bk_vec take(fit *t, size_t *at, size_t n) {
    bk_vec v = {t->memory, *at};
    *at += n;
    return v;
}

static bk_status open_fit(fit *t, bk_error *err) {
    size_t w = t->n_weights, b = t->batch, at = 0;
    t->memory = t->nn->ops->mem_create(t->nn, 5 * w + b * (3 * t->d + 4 * t->f));
    t->targets = bk_alloc(t->n, t->d * sizeof *t->targets);
    if (!t->memory || !t->targets)
        return bk_fail(err, BK_ERR_NOMEM, "no memory to fit a block of %zu neurons", t->f);
    t->w = take(t, &at, w);
    t->grad = take(t, &at, w);
    t->m = take(t, &at, w);
    t->v = take(t, &at, w);
    t->mask = take(t, &at, w);
    t->in = take(t, &at, b * t->d);
    t->out = take(t, &at, b * t->d);
    t->to = take(t, &at, b * t->d);
    t->gate = take(t, &at, b * t->f);
    t->up = take(t, &at, b * t->f);
    t->hidden = take(t, &at, b * t->f);
    t->dhidden = take(t, &at, b * t->f);
    bk_rng_seed(&t->rng, 1, 1);
    return BK_OK;
}

static void write_weights(const fit *t, const bk_ffn *b) {
    size_t part = t->f * t->d;
    t->nn->ops->write(t->nn, t->w, b->gate, part);
    t->nn->ops->write(t->nn, up_of(t, t->w), b->up, part);
    t->nn->ops->write(t->nn, down_of(t, t->w), b->down, part);
}

static void read_weights(const fit *t, const bk_ffn *b) {
    size_t part = t->f * t->d;
    t->nn->ops->read(t->nn, t->w, b->gate, part);
    t->nn->ops->read(t->nn, up_of(t, t->w), b->up, part);
    t->nn->ops->read(t->nn, down_of(t, t->w), b->down, part);
}

/* Ones where a weight is; the squares' sum of them all. */
static bk_status write_mask(const fit *t, const bk_ffn *b, double *squares, bk_error *err) {
    const float *of[] = {b->gate, b->up, b->down};
    size_t part = t->f * t->d;
    float *ones = bk_alloc(part, sizeof *ones);
    if (!ones) return bk_fail(err, BK_ERR_NOMEM, "no memory for a mask of %zu weights", part);
    for (size_t m = 0; m < 3; m++) {
        for (size_t i = 0; i < part; i++) {
            ones[i] = of[m][i] != 0;
            *squares += (double)of[m][i] * (double)of[m][i];
        }
        t->nn->ops->write(t->nn, bk_vec_at(t->mask, m * part), ones, part);
    }
    bk_free(ones);
    return BK_OK;
}

static void make_targets(const fit *t, const bk_ffn *dense) {
    write_weights(t, dense);
    for (size_t r = 0; r < t->n; r += t->batch) {
        size_t n = bk_min_size(t->batch, t->n - r);
        t->nn->ops->write(t->nn, t->in, t->x + r * t->d, n * t->d);
        forward(t, n);
        t->nn->ops->scale(t->nn, t->out, n * t->d, -1);
        t->nn->ops->read(t->nn, t->out, t->targets + r * t->d, n * t->d);
    }
}

/* ---- Fitting ----------------------------------------------------------------------------------------- */

static double judge(const fit *t) {
    double lost = 0, all = 0;
    for (size_t r = t->n_train; r < t->n; r += t->batch) {
        size_t n = bk_min_size(t->batch, t->n - r), values = n * t->d;
        t->nn->ops->write(t->nn, t->in, t->x + r * t->d, values);
        t->nn->ops->write(t->nn, t->to, t->targets + r * t->d, values);
        forward(t, n);
        t->nn->ops->add(t->nn, t->out, t->to, values);
        lost += t->nn->ops->sum_squares(t->nn, t->out, values);
        all += t->nn->ops->sum_squares(t->nn, t->to, values);
    }
    return all > 0 ? lost / all : 0;
}

static void draw_batch(fit *t) {
    for (size_t i = 0; i < t->batch; i++) {
        size_t r = (size_t)(bk_rng_unit(&t->rng) * (double)t->n_train);
        t->nn->ops->write(t->nn, bk_vec_at(t->in, i * t->d), t->x + r * t->d, t->d);
        t->nn->ops->write(t->nn, bk_vec_at(t->to, i * t->d), t->targets + r * t->d, t->d);
    }
}

static void step(fit *t, int number, double rate) {
    static const double b1 = 0.9, b2 = 0.95;
    draw_batch(t);
    forward(t, t->batch);
    t->nn->ops->add(t->nn, t->out, t->to, t->batch * t->d);
    backward(t, t->batch);
    t->nn->ops->adamw(t->nn, &(bk_adamw){.lr = (float)rate,
                                         .b1 = (float)b1,
                                         .b2 = (float)b2,
                                         .eps = 1e-12f,
                                         .fix1 = (float)(1 - pow(b1, number)),
                                         .fix2 = (float)(1 - pow(b2, number)),
                                         .grad_scale = 1.0f / (float)t->batch,
                                         .w = t->w,
                                         .grad = t->grad,
                                         .m = t->m,
                                         .v = t->v,
                                         .n = t->n_weights});
    t->nn->ops->mul(t->nn, t->w, t->mask, t->n_weights);
}

static bk_status run(fit *t, const bk_reconstruct_options *o, double rate, int *steps,
                     bk_error *err) {
    uint64_t start = bk_now_ns();
    bk_status st = BK_OK;
    for (int i = 0; !st; i++) {
        double spent = (double)(bk_now_ns() - start) * 1e-9;
        double part = o->seconds > 0 ? spent / o->seconds : 0;
        if (o->steps > 0) part = fmax(part, (double)i / o->steps);
        *steps = i;
        if (part >= 1) break;
        if (o->cancel && *o->cancel) return bk_fail(err, BK_ERR_CANCELLED, "cancelled");
        step(t, i + 1, rate * (1 - part));
        st = t->nn->ops->finish(t->nn, err);
    }
    return st;
}

static bk_status fit_block(fit *t, const bk_ffn *dense, bk_ffn *pruned,
                           const bk_reconstruct_options *o, bk_reconstruct_result *result,
                           bk_error *err) {
    double squares = 0;
    bk_status st = open_fit(t, err);
    if (!st) st = write_mask(t, pruned, &squares, err);
    if (st) return st;
    make_targets(t, dense);
    write_weights(t, pruned);
    result->before = judge(t);
    st = t->nn->ops->finish(t->nn, err);
    if (!st) st = run(t, o, RATE * sqrt(squares / (double)t->n_weights), &result->steps, err);
    if (st) return st;
    result->after = judge(t);
    if (result->after < result->before)
        read_weights(t, pruned);
    else
        result->after = result->before;
    return t->nn->ops->finish(t->nn, err);
}

static bk_status check_block(const bk_ffn *b, bk_error *err) {
    bk_status st = bk_check_finite(b->gate, b->f * b->d, "gate's weights", err);
    if (!st) st = bk_check_finite(b->up, b->f * b->d, "upward weights", err);
    if (!st) st = bk_check_finite(b->down, b->f * b->d, "downward weights", err);
    return st;
}

bk_status bk_reconstruct_ffn(bk_nn *nn, const float *x, size_t n, const bk_ffn *dense,
                             bk_ffn *pruned, const bk_reconstruct_options *o,
                             bk_reconstruct_result *result, bk_error *err) {
    fit t = {.nn = nn, .d = dense->d, .f = dense->f, .n = n, .x = x};
    *result = (bk_reconstruct_result){0};
    if (pruned->d != dense->d || pruned->f != dense->f || !t.d || !t.f)
        return bk_fail(err, BK_ERR_INVALID, "a block of %zu x %zu is no pruned one of %zu x %zu",
                       pruned->f, pruned->d, dense->f, dense->d);
    if (n < LEAST_ROWS)
        return bk_fail(err, BK_ERR_INVALID,
                       "%zu rows to fit to, at least %d wanted: give a longer text", n, LEAST_ROWS);
    if (!(o->seconds > 0) && o->steps < 1)
        return bk_fail(err, BK_ERR_INVALID, "a budget of %g seconds, more than 0 wanted",
                       o->seconds);
    t.n_train = n - n / JUDGE;
    t.batch = bk_min_size(BATCH, n);
    t.n_weights = 3 * t.f * t.d;
    bk_status st = bk_check_finite(x, n * t.d, "inputs", err);
    if (!st) st = check_block(dense, err);
    if (!st) st = check_block(pruned, err);
    if (!st) st = fit_block(&t, dense, pruned, o, result, err);
    if (t.memory) nn->ops->mem_destroy(nn, t.memory);
    bk_free(t.targets);
    return st;
}
