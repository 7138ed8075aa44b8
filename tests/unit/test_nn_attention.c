/* Attention of training: against double, gradients against central differences. */
#include <stdio.h>

#include "base/base.h"
#include "nn_check.h"

/* dim: B, T, heads, key heads, head size, ldq, ldkv. Arrays q, k, v, y, lse, dy, dq, dk, dv. */
static void attend(const nn_case *c, double **a, size_t b, size_t h, size_t t, double *p) {
    size_t T = c->dim[1], H = c->dim[2], D = c->dim[4], row = b * T + t, kv = h / (H / c->dim[3]);
    const double *q = a[0] + row * c->dim[5] + h * D;
    double largest = -INFINITY, sum = 0, *y = a[3] + (row * H + h) * D;
    for (size_t s = 0; s <= t; s++) {
        const double *k = a[1] + (b * T + s) * c->dim[6] + kv * D;
        p[s] = 0;
        for (size_t i = 0; i < D; i++) p[s] += q[i] * k[i] / sqrt((double)D);
        largest = fmax(largest, p[s]);
    }
    for (size_t s = 0; s <= t; s++) sum += exp(p[s] - largest);
    a[4][(b * H + h) * T + t] = largest + log(sum);
    for (size_t i = 0; i < D; i++) y[i] = 0;
    for (size_t s = 0; s <= t; s++)
        for (size_t i = 0; i < D; i++)
            y[i] += exp(p[s] - largest) / sum * a[2][(b * T + s) * c->dim[6] + kv * D + i];
}

static void truth(const nn_case *c, double **a) {
    double *p = malloc(c->dim[1] * sizeof *p);
    assert_non_null(p);
    for (size_t b = 0; b < c->dim[0]; b++)
        for (size_t h = 0; h < c->dim[2]; h++)
            for (size_t t = 0; t < c->dim[1]; t++) attend(c, a, b, h, t, p);
    free(p);
}

static bk_nn_attention call(const nn_case *c, const bk_vec *v) {
    return (bk_nn_attention){.B = c->dim[0],
                             .T = c->dim[1],
                             .n_heads = (int)c->dim[2],
                             .n_kv_heads = (int)c->dim[3],
                             .head_size = (int)c->dim[4],
                             .q = v[0],
                             .k = v[1],
                             .v = v[2],
                             .ldq = c->dim[5],
                             .ldkv = c->dim[6],
                             .y = v[3],
                             .lse = v[4],
                             .dy = v[5],
                             .dq = v[6],
                             .dk = v[7],
                             .dv = v[8]};
}

static void run(const nn_case *c, bk_nn *d, const bk_vec *v) {
    bk_nn_attention a = call(c, v);
    d->ops->attention(d, &a);
}

static void run_bwd(const nn_case *c, bk_nn *d, const bk_vec *v) {
    bk_nn_attention a = call(c, v);
    d->ops->attention_bwd(d, &a);
}

static void check(size_t B, size_t T, size_t H, size_t KV, size_t D, size_t pad, double tolerance,
                  size_t samples, void (*fill)(const nn_case *, double **, bk_rng *)) {
    size_t R = B * T, ldq = H * D + pad, ldkv = KV * D + pad, y = R * H * D;
    char name[80];
    snprintf(name, sizeof name, "attention B %zu T %zu heads %zu/%zu of %zu", B, T, H, KV, D);
    nn_check(name, .dim = {B, T, H, KV, D, ldq, ldkv},
             .n = {R * ldq, R * ldkv, R * ldkv, y, B * H * T, y, R * ldq, R * ldkv, R * ldkv},
             .fill = fill, .truth = truth, .run = run, .run_bwd = run_bwd, .n_out = 1,
             .out = {{3, 5}}, .n_grad = 3, .grad = {{0, 6, false}, {1, 7, false}, {2, 8, false}},
             .tolerance = tolerance, .samples = samples);
}

/* Weights far apart, so that one key has nearly all. */
static void sharp(const nn_case *c, double **a, bk_rng *r) {
    (void)r;
    for (size_t i = 0; i < c->n[0]; i++) a[0][i] *= 12;
}

static void shapes(void **state) {
    (void)state;
    static const size_t heads[] = {2, 16, 32, 40, 64, 80, 128};
    for (size_t i = 0; i < BK_ARRAY_LEN(heads); i++) {
        check(1, 1, 1, 1, heads[i], 0, 2e-6, 20, NULL);
        check(3, 7, 2, 1, heads[i], 0, 4e-6, 20, NULL);
        check(2, 19, 3, 3, heads[i], 6, 4e-6, 12, NULL);
        check(1, 33, 4, 2, heads[i], 0, 1e-5, 12, sharp);
    }
}

/* Positions around what a tile may have. */
static void lengths(void **state) {
    (void)state;
    static const size_t T[] = {2, 8, 15, 16, 17, 31, 32, 63, 64, 65, 100, 129};
    for (size_t i = 0; i < BK_ARRAY_LEN(T); i++) check(1, T[i], 2, 1, 32, 0, 4e-6, 16, NULL);
    check(1, 300, 1, 1, 32, 0, 4e-6, 6, NULL);
    check(1, 210, 1, 1, 64, 16, 2e-5, 6, sharp);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(shapes), cmocka_unit_test(lengths)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
