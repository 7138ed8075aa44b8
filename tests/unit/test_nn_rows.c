/* Training operations over rows and losses: against double, gradients against central differences. */
#include "base/base.h"
#include "nn_check.h"

static const size_t shapes[][2] = {
    {1, 1}, {3, 17}, {33, 5}, {70, 128}, {301, 131}}; /* rows, columns */

#define EACH_SHAPE(R, D)                                                                           \
    size_t R = 0, D = 0;                                                                           \
    for (size_t i_ = 0; i_ < BK_ARRAY_LEN(shapes) && (R = shapes[i_][0], D = shapes[i_][1], true); \
         i_++)

/* ---- Sums of columns and the embedding ------------------------------------------------------------- */

static void truth_col_sum(const nn_case *c, double **a) {
    size_t R = c->dim[0], D = c->dim[1], ld = c->dim[2];
    for (size_t r = 0; r < R; r++)
        for (size_t i = 0; i < D; i++) a[1][i] += a[0][r * ld + i];
}

static void run_col_sum(const nn_case *c, bk_nn *d, const bk_vec *v) {
    d->ops->col_sum(d, v[0], c->dim[0], c->dim[2], c->dim[1], v[1]);
}

static void col_sum(void **state) {
    (void)state;
    EACH_SHAPE(R, D)
    for (size_t pad = 0; pad < 10; pad += 9)
        nn_check("col_sum", .dim = {R, D, D + pad}, .n = {R * (D + pad), D + 3},
                 .truth = truth_col_sum, .run = run_col_sum, .tolerance = 1e-5);
}

static void truth_embed(const nn_case *c, double **a) {
    size_t R = c->dim[0], D = c->dim[1];
    for (size_t r = 0; r < R; r++)
        for (size_t i = 0; i < D; i++) a[2][r * D + i] = a[1][(size_t)a[0][r] * D + i];
}

static void run_embed(const nn_case *c, bk_nn *d, const bk_vec *v) {
    d->ops->embed(d, v[0], c->dim[0], v[1], c->dim[1], v[2]);
}

static void run_embed_bwd(const nn_case *c, bk_nn *d, const bk_vec *v) {
    d->ops->embed_bwd(d, v[0], c->dim[0], v[3], c->dim[1], v[4]);
}

static void embed(void **state) {
    (void)state;
    EACH_SHAPE(R, D)
    nn_check("embed", .dim = {R, D}, .n = {R, 6 * D, R * D, R * D, 6 * D}, .ids = 1, .n_ids = 6,
             .truth = truth_embed, .run = run_embed, .run_bwd = run_embed_bwd, .n_out = 1,
             .out = {{2, 3}}, .n_grad = 1, .grad = {{1, 4, true}}, .tolerance = 1e-5);
}

/* ---- Norm ------------------------------------------------------------------------------------------ */

static void truth_norm(const nn_case *c, double **a) {
    size_t R = c->dim[0], D = c->dim[1];
    for (size_t r = 0; r < R; r++) {
        double sum = 0, *x = a[0] + r * D;
        for (size_t i = 0; i < D; i++) sum += x[i] * x[i];
        a[3][r] = 1 / sqrt(sum / (double)D + (double)1e-5f);
        for (size_t i = 0; i < D; i++) a[2][r * D + i] = x[i] * a[3][r] * a[1][i];
    }
}

static void run_norm(const nn_case *c, bk_nn *d, const bk_vec *v) {
    d->ops->rms_norm(d, v[0], c->dim[0], c->dim[1], v[1], 1e-5f, v[2], v[3]);
}

static void run_norm_bwd(const nn_case *c, bk_nn *d, const bk_vec *v) {
    size_t R = c->dim[0], D = c->dim[1], dx = c->dim[2];
    d->ops->rms_norm_bwd(d, v[0], v[3], R, D, v[1], v[4], v[dx], c->dim[3], v[6]);
}

/* The last row is small, so that eps counts. */
static void fill_norm(const nn_case *c, double **a, bk_rng *r) {
    (void)r;
    for (size_t i = 0; i < c->dim[1]; i++) a[0][(c->dim[0] - 1) * c->dim[1] + i] *= 1e-2;
}

static void rms_norm(void **state) {
    (void)state;
    EACH_SHAPE(R, D)
    for (size_t add = 0; add < 2; add++)
        for (size_t dx = 4; dx <= 5 - add; dx++) /* over dy, and elsewhere */
            nn_check("rms_norm", .dim = {R, D, add ? 5 : dx, add},
                     .n = {R * D, D, R * D, R, R * D, R * D, D}, .fill = fill_norm,
                     .truth = truth_norm, .run = run_norm, .run_bwd = run_norm_bwd, .n_out = 1,
                     .out = {{2, 4}}, .n_grad = 2,
                     .grad = {{0, add ? 5 : (int)dx, add}, {1, 6, true}}, .tolerance = 1e-5);
}

/* ---- Rotation -------------------------------------------------------------------------------------- */

enum { HEADS = 3, POSITIONS = 7 };

static void truth_rope(const nn_case *c, double **a) {
    size_t R = c->dim[0], head = c->dim[1], ld = c->dim[2];
    for (size_t r = 0; r < R; r++)
        for (size_t h = 0; h < HEADS; h++)
            for (size_t i = 0; i < head; i += 2) {
                double *x = a[0] + r * ld + h * head + i, x0 = x[0], x1 = x[1];
                double turn = pow(10000, -(double)i / (double)head);
                double angle = (double)(r % POSITIONS) * turn;
                x[0] = x0 * cos(angle) - x1 * sin(angle);
                x[1] = x0 * sin(angle) + x1 * cos(angle);
            }
}

static void turn(const nn_case *c, bk_nn *d, bk_vec x, int sign) {
    d->ops->rope(d, x, c->dim[0], c->dim[2], POSITIONS, HEADS, (int)c->dim[1], 10000, sign);
}
static void run_rope(const nn_case *c, bk_nn *d, const bk_vec *v) { turn(c, d, v[0], 1); }
static void run_rope_bwd(const nn_case *c, bk_nn *d, const bk_vec *v) { turn(c, d, v[1], -1); }

static void rope(void **state) {
    (void)state;
    static const size_t heads[] = {2, 10, 32, 64};
    for (size_t i = 0; i < BK_ARRAY_LEN(heads); i++)
        for (size_t pad = 0; pad < 6; pad += 5) {
            size_t R = 3 * POSITIONS * (1 + 9 * i), ld = HEADS * heads[i] + pad;
            nn_check("rope", .dim = {R, heads[i], ld}, .n = {R * ld, R * ld}, .truth = truth_rope,
                     .run = run_rope, .run_bwd = run_rope_bwd, .n_out = 1, .out = {{0, 1}},
                     .n_grad = 1, .grad = {{0, 1, false}});
        }
}

/* One device turns by one table after another. */
static void rope_tables(void **state) {
    (void)state;
    bk_nn *d = nn_device(bk_cpu_best(), 1);
    static const struct {
        size_t T;
        int head;
        float theta;
    } c[] = {{4, 8, 100}, {2, 8, 100}, {9, 8, 100}, {9, 4, 100}, {9, 8, 1e4f}};
    for (size_t i = 0; i < BK_ARRAY_LEN(c); i++) {
        float x[9 * 8];
        for (size_t k = 0; k < BK_ARRAY_LEN(x); k++) x[k] = k % 2 ? 0 : 1;
        bk_vec v = nn_floats(d, x, BK_ARRAY_LEN(x));
        size_t head = (size_t)c[i].head;
        d->ops->rope(d, v, c[i].T, head, c[i].T, 1, c[i].head, c[i].theta, 1);
        nn_read(d, v, x, BK_ARRAY_LEN(x));
        for (size_t k = 0; k < c[i].T * head; k += 2) {
            double angle =
                (double)(k / head) * pow((double)c[i].theta, -(double)(k % head) / (double)head);
            assert_true(fabs((double)x[k] - cos(angle)) < 1e-6);
            assert_true(fabs((double)x[k + 1] - sin(angle)) < 1e-6);
        }
        nn_free(d, v);
    }
    bk_nn_destroy(&d);
}

/* ---- Cross entropy --------------------------------------------------------------------------------- */

/* Arrays x, target, loss and, all the same, the loss's gradient. */
static const float loss_scale = 0.125f;

static void fill_loss(const nn_case *c, double **a, bk_rng *r) {
    for (size_t i = 0; i < c->n[0]; i++) a[0][i] *= 20 * bk_rng_unit(r);
    for (size_t i = 0; i < c->dim[0]; i++) {
        if (i % 5 == 2) a[1][i] = -1;
        a[3][i] = (double)loss_scale;
    }
}

static void truth_entropy(const nn_case *c, double **a) {
    size_t R = c->dim[0], n = c->dim[1], ld = c->dim[2];
    for (size_t r = 0; r < R; r++) {
        double *x = a[0] + r * ld, sum = 0;
        for (size_t i = 0; i < n; i++) sum += exp(x[i]);
        a[2][r] = a[1][r] < 0 ? 0 : log(sum) - x[(size_t)a[1][r]];
    }
}

static void run_entropy(const nn_case *c, bk_nn *d, const bk_vec *v) {
    d->ops->cross_entropy(d, v[0], c->dim[0], c->dim[2], c->dim[1], v[1], v[2], false, 1);
}

static void run_entropy_bwd(const nn_case *c, bk_nn *d, const bk_vec *v) {
    d->ops->cross_entropy(d, v[0], c->dim[0], c->dim[2], c->dim[1], v[1], v[2], true, loss_scale);
}

static void cross_entropy(void **state) {
    (void)state;
    EACH_SHAPE(R, D)
    for (size_t pad = 0; pad < 4; pad += 3) {
        size_t ld = D + pad;
        nn_check("cross_entropy", .dim = {R, D, ld}, .n = {R * ld, R, R, R}, .ids = 2, .n_ids = D,
                 .fill = fill_loss, .truth = truth_entropy, .run = run_entropy,
                 .run_bwd = run_entropy_bwd, .n_out = 1, .out = {{2, 3}}, .n_grad = 1,
                 .grad = {{0, 0, false}});
    }
}

/* ---- Distillation ----------------------------------------------------------------------------------- */

/* Arrays x, ids [R][K], logp [R][K], loss, its gradient. */
static void fill_distil(const nn_case *c, double **a, bk_rng *r) {
    size_t R = c->dim[0], n = c->dim[1], K = c->dim[3];
    for (size_t i = 0; i < R; i++) {
        double left = 1;
        size_t first = (size_t)(bk_rng_unit(r) * (double)n);
        for (size_t k = 0; k < K; k++) {
            double q = K == n && k + 1 == K ? left : left * bk_rng_unit(r);
            left -= q;
            a[1][i * K + k] = (double)((first + k * c->dim[4]) % n);
            a[2][i * K + k] = log(q);
        }
        if (i % 7 == 3) a[1][i * K + K / 2] = -1; /* fewer, or none */
        a[4][i] = (double)loss_scale;
    }
    for (size_t i = 0; i < c->n[0]; i++) a[0][i] *= 8;
}

static void truth_distil(const nn_case *c, double **a) {
    size_t R = c->dim[0], n = c->dim[1], ld = c->dim[2], K = c->dim[3];
    for (size_t r = 0; r < R; r++) {
        double *x = a[0] + r * ld, all = 0, others, left = 1, kl = 0;
        for (size_t i = 0; i < n; i++) all += exp(x[i]);
        others = all;
        size_t k = 0;
        for (; k < K && a[1][r * K + k] >= 0; k++) {
            double z = x[(size_t)a[1][r * K + k]], q = exp(a[2][r * K + k]);
            others -= exp(z);
            left -= q;
            kl += q * (a[2][r * K + k] - (z - log(all)));
        }
        if (k < n && left > 0) kl += left * (log(left) - log(others / all));
        a[3][r] = k ? kl : 0;
    }
}

static void distil_op(const nn_case *c, bk_nn *d, const bk_vec *v, bool backward) {
    d->ops->distil(d, v[0], c->dim[0], c->dim[2], c->dim[1], v[1], v[2], c->dim[3], v[3], backward,
                   backward ? loss_scale : 1);
}
static void run_distil(const nn_case *c, bk_nn *d, const bk_vec *v) { distil_op(c, d, v, false); }
static void run_distil_bwd(const nn_case *c, bk_nn *d, const bk_vec *v) {
    distil_op(c, d, v, true);
}

static void distil(void **state) {
    (void)state;
    /* Rows, classes, best, step between the best. */
    static const size_t s[][4] = {{9, 5, 1, 1}, {40, 80, 16, 3}, {150, 101, 8, 7}, {9, 7, 7, 1}};
    for (size_t i = 0; i < BK_ARRAY_LEN(s); i++) {
        size_t R = s[i][0], n = s[i][1], ld = n + i, K = s[i][2];
        nn_check("distil", .dim = {R, n, ld, K, s[i][3]}, .n = {R * ld, R * K, R * K, R, R},
                 .ids = 2, .fill = fill_distil, .truth = truth_distil, .run = run_distil,
                 .run_bwd = run_distil_bwd, .n_out = 1, .out = {{3, 4}}, .n_grad = 1,
                 .grad = {{0, 0, false}}, .tolerance = 4e-6);
    }
}

/* A student who gives the teacher's choice no chance, and one who gives the others none. */
static void far_students(void **state) {
    (void)state;
    const float x[] = {300, -300, -300, 0, /**/ 300, -300, -250, -400};
    const int32_t ids[] = {1, 0};
    const float logp[] = {0, logf(0.5f)};
    /* 600; (log 0.5) / 2 + (log 0.5 - (-550)) / 2 */
    const double want[] = {600, 274.306852819};
    float loss[2], slope[8];
    for (int level = BK_CPU_REF; level <= (int)bk_cpu_best(); level++) {
        bk_nn *d = nn_device((bk_cpu_level)level, 1);
        bk_vec vx = nn_floats(d, x, 8), vl = nn_random(d, 2, 0, 1, 1), vp = nn_floats(d, logp, 2);
        bk_vec vi = nn_random(d, 2, 0, 1, 1);
        d->ops->write(d, vi, ids, 2);
        d->ops->distil(d, vx, 2, 4, 4, vi, vp, 1, vl, true, 1);
        nn_read(d, vl, loss, 2);
        nn_read(d, vx, slope, 8);
        for (int i = 0; i < 2; i++) assert_true(fabs((double)loss[i] - want[i]) < 1e-4);
        const double g[] = {1, -1, 0, 0, /**/ 0.5, 0, -0.5, 0};
        for (int i = 0; i < 8; i++) assert_true(fabs((double)slope[i] - g[i]) < 1e-6);
        nn_free(d, vx), nn_free(d, vl), nn_free(d, vp), nn_free(d, vi);
        bk_nn_destroy(&d);
    }
}

/* ---- Block formats ------------------------------------------------------------------------- */

static void round_trip(void **state) {
    (void)state;
    enum { ROWS = 37, K = 512 };
    static const bk_type types[] = {BK_TYPE_F32, BK_TYPE_F16, BK_TYPE_BF16, BK_TYPE_Q8_0,
                                    BK_TYPE_Q4_0};
    float *x = malloc(ROWS * K * sizeof *x), *y = malloc(ROWS * K * sizeof *y);
    float want[K];
    uint8_t blocks[K * 4];
    assert_true(x && y);
    for (size_t t = 0; t < BK_ARRAY_LEN(types); t++) {
        const bk_quant *type = bk_quant_find(types[t]);
        for (int threads = 1; threads <= 3; threads++) {
            bk_nn *d = nn_device(bk_cpu_best(), threads);
            bk_vec in = nn_random(d, ROWS * K, -3, 3, t), out = nn_random(d, ROWS * K, 0, 1, 9);
            d->ops->round_trip(d, type, in, ROWS, K, out);
            nn_read(d, in, x, ROWS * K);
            nn_read(d, out, y, ROWS * K);
            for (size_t r = 0; r < ROWS; r++) {
                type->quantize(x + r * K, blocks, K);
                bk_quant_dequantize(type, blocks, want, K);
                assert_memory_equal(y + r * K, want, sizeof want);
            }
            d->ops->round_trip(d, type, in, ROWS, K, in); /* over itself */
            nn_read(d, in, x, ROWS * K);
            assert_memory_equal(x, y, ROWS * K * sizeof *x);
            nn_free(d, in), nn_free(d, out);
            bk_nn_destroy(&d);
        }
    }
    free(x), free(y);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(col_sum), cmocka_unit_test(embed),        cmocka_unit_test(rms_norm),
        cmocka_unit_test(rope),    cmocka_unit_test(rope_tables),  cmocka_unit_test(cross_entropy),
        cmocka_unit_test(distil),  cmocka_unit_test(far_students), cmocka_unit_test(round_trip),

    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
