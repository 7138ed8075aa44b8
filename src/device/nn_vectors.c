/* Operations over vectors without rows: parts of fixed length. */
#include <string.h>

#include "device/nn_cpu.h"

/* Floats of a part, all arrays together a part of the second-level cache. */
enum { PART = 4096 };

typedef struct job {
    const bk_nn_kernels *k;
    size_t n;
    float *out, *out2, *state, *state2; /* written */
    const float *x, *y, *z;
    union {
        float by;
        bk_act act;
        bk_nn_adam adam;
        struct {
            bk_nn_drop drop;
            uint64_t at;
        };
    };
    double *sums; /* [parts] */
} job;

typedef struct span {
    size_t at, n;
} span;

static span span_of(const job *j, size_t part) {
    return (span){part * PART, bk_min_size(PART, j->n - part * PART)};
}

/* cost: of a float, as bk_nn_cpu_each counts. */
static void each(bk_nn *nn, job *j, size_t cost, bk_nn_part fn) {
    bk_nn_cpu *d = (bk_nn_cpu *)nn;
    j->k = d->kernels;
    bk_nn_cpu_each(d, bk_div_up(j->n, PART), cost * j->n, fn, j);
}

#define PART_FN(name)                                                   \
    static void name##_part(const void *arg, size_t part, int thread) { \
        const job *j = arg;                                             \
        const span s = span_of(j, part);                                \
        (void)thread;                                                   \
        name##_span(j, s.at, s.n);                                      \
    }

/* ---- Plain ---------------------------------------------------------------------------------------- */

static void zero_span(const job *j, size_t at, size_t n) { memset(j->out + at, 0, n * 4); }
static void copy_span(const job *j, size_t at, size_t n) { memcpy(j->out + at, j->x + at, n * 4); }
static void scale_span(const job *j, size_t at, size_t n) { j->k->scale(j->out + at, n, j->by); }
static void add_span(const job *j, size_t at, size_t n) { j->k->add(j->out + at, j->x + at, n); }
static void mul_span(const job *j, size_t at, size_t n) { j->k->mul(j->out + at, j->x + at, n); }
PART_FN(zero)
PART_FN(copy)
PART_FN(scale)
PART_FN(add)
PART_FN(mul)

static void zero(bk_nn *d, bk_vec x, size_t n) {
    each(d, &(job){.n = n, .out = bk_nn_floats(x)}, 1, zero_part);
}

static void copy(bk_nn *d, bk_vec to, bk_vec from, size_t n) {
    each(d, &(job){.n = n, .out = bk_nn_floats(to), .x = bk_nn_floats(from)}, 1, copy_part);
}

static void scale(bk_nn *d, bk_vec x, size_t n, float by) {
    each(d, &(job){.n = n, .out = bk_nn_floats(x), .by = by}, 1, scale_part);
}

static void add(bk_nn *d, bk_vec to, bk_vec x, size_t n) {
    each(d, &(job){.n = n, .out = bk_nn_floats(to), .x = bk_nn_floats(x)}, 1, add_part);
}

static void mul(bk_nn *d, bk_vec to, bk_vec x, size_t n) {
    each(d, &(job){.n = n, .out = bk_nn_floats(to), .x = bk_nn_floats(x)}, 1, mul_part);
}

/* ---- Gates and activations -------------------------------------------------------------------------- */

static void silu_mul_span(const job *j, size_t at, size_t n) {
    j->k->silu_mul(j->x + at, j->y + at, n, j->out + at);
}

static void silu_mul_bwd_span(const job *j, size_t at, size_t n) {
    j->k->silu_mul_bwd(j->x + at, j->y + at, j->z + at, n, j->out + at, j->out2 + at);
}

static void act_span(const job *j, size_t at, size_t n) {
    j->k->act[j->act](j->x + at, n, j->out + at);
}

static void act_bwd_span(const job *j, size_t at, size_t n) {
    j->k->act_bwd[j->act](j->x + at, j->y + at, j->z + at, n, j->out + at);
}
PART_FN(silu_mul)
PART_FN(silu_mul_bwd)
PART_FN(act)
PART_FN(act_bwd)

static void silu_mul(bk_nn *d, bk_vec gate, bk_vec up, size_t n, bk_vec y) {
    job j = {.n = n, .x = bk_nn_floats(gate), .y = bk_nn_floats(up), .out = bk_nn_floats(y)};
    each(d, &j, 8, silu_mul_part);
}

static void silu_mul_bwd(bk_nn *d, bk_vec gate, bk_vec up, bk_vec dy, size_t n, bk_vec dgate,
                         bk_vec dup) {
    job j = {.n = n, .x = bk_nn_floats(gate), .y = bk_nn_floats(up), .z = bk_nn_floats(dy)};
    j.out = bk_nn_floats(dgate), j.out2 = bk_nn_floats(dup);
    each(d, &j, 10, silu_mul_bwd_part);
}

static void act(bk_nn *d, bk_act kind, bk_vec x, size_t n, bk_vec y) {
    each(d, &(job){.n = n, .x = bk_nn_floats(x), .out = bk_nn_floats(y), .act = kind}, 8, act_part);
}

static void act_bwd(bk_nn *d, bk_act kind, bk_vec x, bk_vec y, bk_vec dy, size_t n, bk_vec dx) {
    job j = {.n = n, .x = bk_nn_floats(x), .y = bk_nn_floats(y), .z = bk_nn_floats(dy)};
    j.out = bk_nn_floats(dx), j.act = kind;
    each(d, &j, 4, act_bwd_part);
}

/* ---- Dropout ---------------------------------------------------------------------------------------- */

/* The kernel takes one high half of the index per 16 lanes: a part is cut where that changes, which
 * must not lie inside of a vector. */
static void dropout_span(const job *j, size_t at, size_t n) {
    while (n) {
        uint64_t index = j->at + at;
        size_t to_edge = (size_t)bk_min_size(n, (size_t)((uint64_t)1 << 32) - (index & UINT32_MAX));
        j->k->dropout(&j->drop, j->x + at, index, to_edge, j->out + at);
        at += to_edge, n -= to_edge;
    }
}
PART_FN(dropout)

/* Both halves of the seed, each mixed into both keys (finaliser of SplitMix64, Steele et al. 2014). */
static uint64_t spread(uint64_t x) {
    x += 0x9e3779b97f4a7c15u;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

static void dropout(bk_nn *d, bk_vec x, size_t n, float p, uint64_t seed, uint64_t at, bk_vec y) {
    job j = {.n = n, .x = bk_nn_floats(x), .out = bk_nn_floats(y), .at = at};
    uint64_t key = spread(seed);
    double least = (double)p * 0x1p32;
    j.drop = (bk_nn_drop){.key = {(uint32_t)key, (uint32_t)(key >> 32)},
                          .least = least < 0x1p32 ? (uint32_t)least : UINT32_MAX,
                          .scale = p < 1 ? 1 / (1 - p) : 0};
    each(d, &j, 4, dropout_part);
}

/* ---- Sums and the optimiser -------------------------------------------------------------------------- */

static void sum_part(const void *arg, size_t part, int thread) {
    const job *j = arg;
    const span s = span_of(j, part);
    (void)thread;
    j->sums[part] = j->k->sum(j->x + s.at, s.n);
}

static void sum_squares_part(const void *arg, size_t part, int thread) {
    const job *j = arg;
    const span s = span_of(j, part);
    (void)thread;
    j->sums[part] = j->k->sum_squares(j->x + s.at, s.n);
}

static double sum_of(bk_nn *d, bk_vec x, size_t n, bk_nn_part fn) {
    job j = {.n = n, .x = bk_nn_floats(x)};
    size_t parts = bk_div_up(n, PART);
    j.sums = bk_nn_cpu_scratch((bk_nn_cpu *)d, parts * sizeof *j.sums);
    if (!j.sums) return 0;
    each(d, &j, 1, fn);
    double all = 0;
    for (size_t i = 0; i < parts; i++) all += j.sums[i];
    return all;
}

static double sum(bk_nn *d, bk_vec x, size_t n) { return sum_of(d, x, n, sum_part); }
static double sum_squares(bk_nn *d, bk_vec x, size_t n) {
    return sum_of(d, x, n, sum_squares_part);
}

static void adamw_span(const job *j, size_t at, size_t n) {
    j->k->adam(&j->adam, j->out + at, j->out2 + at, j->state + at, j->state2 + at, n);
}
PART_FN(adamw)

static void adamw(bk_nn *d, const bk_adamw *a) {
    job j = {.n = a->n, .out = bk_nn_floats(a->w), .out2 = bk_nn_floats(a->grad)};
    j.state = bk_nn_floats(a->m), j.state2 = bk_nn_floats(a->v);
    j.adam = (bk_nn_adam){.b1 = a->b1, .b2 = a->b2, .eps = a->eps, .grad_scale = a->grad_scale};
    j.adam.keep = (float)(1 - (double)a->lr * (double)a->decay);
    j.adam.rate = (float)((double)a->lr / (double)a->fix1);
    j.adam.fix2 = (float)(1 / (double)a->fix2);
    each(d, &j, 6, adamw_part);
}

void bk_nn_cpu_vector_ops(struct bk_nn_ops *o) {
    o->zero = zero;
    o->copy = copy;
    o->scale = scale;
    o->add = add;
    o->mul = mul;
    o->silu_mul = silu_mul;
    o->silu_mul_bwd = silu_mul_bwd;
    o->act = act;
    o->act_bwd = act_bwd;
    o->dropout = dropout;
    o->sum = sum;
    o->sum_squares = sum_squares;
    o->adamw = adamw;
}
