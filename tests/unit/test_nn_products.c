/* Matrix products and the LSTM of training: against double, gradients against central differences. */
#include "base/base.h"
#include "nn_check.h"

/* ---- Matrix product --------------------------------------------------------------------------------- */

/* dim: m, n, k, ta, tb, add, bias, pad. Arrays a, b, bias, c. */
static void truth_gemm(const nn_case *c, double **a) {
    size_t m = c->dim[0], n = c->dim[1], k = c->dim[2], pad = c->dim[7];
    size_t lda = (c->dim[3] ? m : k) + pad, ldb = (c->dim[4] ? k : n) + pad, ldc = n + pad;
    for (size_t i = 0; i < m; i++)
        for (size_t j = 0; j < n; j++) {
            double s = c->dim[6] ? a[2][j] : 0, *out = a[3] + i * ldc + j;
            for (size_t p = 0; p < k; p++)
                s += a[0][c->dim[3] ? p * lda + i : i * lda + p] *
                     a[1][c->dim[4] ? j * ldb + p : p * ldb + j];
            *out = (c->dim[5] ? *out : 0) + s;
        }
}

static void run_gemm(const nn_case *c, bk_nn *d, const bk_vec *v) {
    size_t m = c->dim[0], n = c->dim[1], k = c->dim[2], pad = c->dim[7];
    bk_gemm g = {.m = m, .n = n, .k = k, .a = v[0], .b = v[1], .c = v[3]};
    g.ta = c->dim[3], g.tb = c->dim[4], g.add = c->dim[5];
    g.lda = (g.ta ? m : k) + pad, g.ldb = (g.tb ? k : n) + pad, g.ldc = n + pad;
    if (c->dim[6]) g.bias = v[2];
    d->ops->gemm(d, &g);
}

static void check_gemm(const size_t shape[3], size_t way) {
    size_t m = shape[0], n = shape[1], k = shape[2], pad = way & 16 ? 5 : 0;
    size_t ta = way & 1, tb = way >> 1 & 1, ldc = n + pad;
    size_t a = ta ? k * (m + pad) : m * (k + pad), b = tb ? n * (k + pad) : k * (n + pad);
    nn_case c = {.name = "gemm",
                 .dim = {m, n, k, ta, tb, way >> 2 & 1, way >> 3 & 1, pad},
                 .n = {a, b, n, m * ldc},
                 .truth = truth_gemm,
                 .run = run_gemm,
                 .tolerance = 4e-7 * sqrt((double)k) + 1e-6};
    nn_check_case(&c, true);
}

static void gemm(void **state) {
    (void)state;
    static const size_t shapes[][3] = {{1, 1, 1},     {3, 5, 7},      {17, 33, 16}, {64, 80, 128},
                                       {70, 15, 301}, {130, 260, 70}, {1, 129, 96}, {40, 1, 640}};
    for (size_t s = 0; s < BK_ARRAY_LEN(shapes); s++)
        for (size_t way = 0; way < 32; way++) check_gemm(shapes[s], way);
}

/* Every edge of strips, panels and lines; the way changes along. */
static void gemm_edges(void **state) {
    (void)state;
    for (size_t i = 1; i <= 130; i++) {
        const size_t shapes[][3] = {{i, 19, 21}, {15, i, 18}, {29, 33, i}};
        for (size_t s = 0; s < BK_ARRAY_LEN(shapes); s++) check_gemm(shapes[s], (i * 7 + s) % 32);
    }
}

/* Several blocks of columns, parts of k, chunks of rows. */
static void gemm_blocks(void **state) {
    (void)state;
    static const size_t shapes[][3] = {{33, 1300, 129}, {500, 40, 800}, {80, 700, 385}};
    for (size_t s = 0; s < BK_ARRAY_LEN(shapes); s++)
        for (size_t form = 0; form < 4; form++) check_gemm(shapes[s], form + 4 * (7 * s + form));
}

/* ---- LSTM -------------------------------------------------------------------------------------------- */

/* dim: T, B, H, whether there is a dstate. Arrays: 0 w_hh, 1 gates, 2 h, 3 c, 4 dh, 5 dstate, 6 and 7
 * the gradients of h and c as the loss has them, dh and the last state's; 8 what else a test needs. */
static double sigmoid(double x) { return 1 / (1 + exp(-x)); }

static void truth_lstm(const nn_case *k, double **a) {
    size_t B = k->dim[1], H = k->dim[2];
    for (size_t r = 0; r < k->dim[0] * B; r++)
        for (size_t n = 0; n < H; n++) {
            double z[4], *c = a[3] + r * H + n;
            for (size_t g = 0; g < 4; g++) {
                z[g] = a[1][r * 4 * H + g * H + n];
                for (size_t i = 0; i < H; i++) z[g] += a[2][r * H + i] * a[0][(g * H + n) * H + i];
            }
            for (size_t g = 0; g < 4; g++) z[g] = g == 2 ? tanh(z[g]) : sigmoid(z[g]);
            c[B * H] = z[1] * c[0] + z[0] * z[2];
            a[2][(r + B) * H + n] = z[3] * tanh(c[B * H]);
        }
}

/* The gates' values in their place, when nothing needs what went into them. */
static void truth_gates(const nn_case *k, double **a) {
    size_t B = k->dim[1], H = k->dim[2], n = k->n[1];
    double *in = malloc(n * sizeof *in);
    assert_non_null(in);
    truth_lstm(k, a);
    memcpy(in, a[1], n * sizeof *in);
    for (size_t r = 0; r < k->dim[0] * B; r++)
        for (size_t g = 0; g < 4 * H; g++) {
            double z = in[r * 4 * H + g];
            for (size_t i = 0; i < H; i++) z += a[2][r * H + i] * a[0][g * H + i];
            a[1][r * 4 * H + g] = g / H == 2 ? tanh(z) : sigmoid(z);
        }
    free(in);
}

static void fill_lstm(const nn_case *k, double **a, bk_rng *r) {
    size_t T = k->dim[0], BH = k->dim[1] * k->dim[2];
    (void)r;
    for (size_t i = 0; i < k->n[1]; i++) a[1][i] *= 2;
    for (size_t i = 0; i < BH; i++) a[6][i] = a[7][i] = 0; /* of step 0 */
    for (size_t i = 0; i < T * BH; i++) {
        bool last = i >= (T - 1) * BH;
        size_t n = i % BH;
        a[6][BH + i] = a[4][i] + (last && k->dim[3] ? a[5][n] : 0);
        a[7][BH + i] = last && k->dim[3] ? a[5][BH + n] : 0;
    }
}

static bk_nn_lstm call(const nn_case *k, const bk_vec *v) {
    bk_nn_lstm l = {.T = k->dim[0], .B = k->dim[1], .H = k->dim[2], .w_hh = v[0], .gates = v[1]};
    l.h = v[2], l.c = v[3], l.dh = v[4];
    if (k->dim[3]) l.dstate = v[5];
    return l;
}

static void run_lstm(const nn_case *k, bk_nn *d, const bk_vec *v) {
    bk_nn_lstm l = call(k, v);
    d->ops->lstm(d, &l);
}

static void run_lstm_bwd(const nn_case *k, bk_nn *d, const bk_vec *v) {
    bk_nn_lstm l = call(k, v);
    d->ops->lstm_bwd(d, &l);
}

/* The weights' gradient as nn.h says it comes: a product of the gates' gradients and h before. */
static void run_lstm_weights(const nn_case *k, bk_nn *d, const bk_vec *v) {
    size_t H = k->dim[2], R = k->dim[0] * k->dim[1];
    run_lstm_bwd(k, d, v);
    bk_gemm g = {.m = 4 * H, .n = H, .k = R, .a = v[1], .b = v[2], .c = v[8], .lda = 4 * H};
    g.ldb = g.ldc = H, g.ta = g.add = true;
    d->ops->gemm(d, &g);
}

static void lstm(void **state) {
    (void)state;
    static const size_t s[][3] = {{1, 1, 1},   {5, 3, 7},   {4, 2, 33},
                                  {7, 20, 16}, {3, 33, 64}, {2, 3, 100}};
    for (size_t i = 0; i < BK_ARRAY_LEN(s); i++)
        for (size_t with = 0; with < 2; with++) {
            size_t T = s[i][0], B = s[i][1], H = s[i][2], BH = B * H, W = 4 * H * H;
            nn_case c = {.name = "lstm",
                         .dim = {T, B, H, with},
                         .n = {W, T * 4 * BH, (T + 1) * BH, (T + 1) * BH, T * BH, 2 * BH,
                               (T + 1) * BH, (T + 1) * BH, W},
                         .fill = fill_lstm,
                         .truth = truth_gates,
                         .run = run_lstm,
                         .run_bwd = run_lstm_weights,
                         .n_out = 2,
                         .out = {{2, 6}, {3, 7}},
                         .n_grad = 2,
                         .grad = {{1, 1, false}, {0, 8, true}},
                         .tolerance = 2e-5};
            nn_check_case(&c, true);
        }
}

/* Of one step only the state before matters: its gradient comes back in dstate. */
static void truth_state(const nn_case *k, double **a) {
    size_t BH = k->dim[1] * k->dim[2];
    memcpy(a[2], a[8], BH * sizeof **a);
    memcpy(a[3], a[8] + BH, BH * sizeof **a);
    truth_gates(k, a);
}

static void run_state(const nn_case *k, bk_nn *d, const bk_vec *v) {
    size_t BH = k->dim[1] * k->dim[2];
    d->ops->copy(d, v[2], v[8], BH);
    d->ops->copy(d, v[3], bk_vec_at(v[8], BH), BH);
    run_lstm(k, d, v);
}

static void lstm_state(void **state) {
    (void)state;
    for (size_t T = 1; T <= 4; T += 3) {
        size_t B = 3, H = 19, BH = B * H;
        nn_case c = {.name = "lstm's state",
                     .dim = {T, B, H, 1},
                     .n = {4 * H * H, T * 4 * BH, (T + 1) * BH, (T + 1) * BH, T * BH, 2 * BH,
                           (T + 1) * BH, (T + 1) * BH, 2 * BH},
                     .fill = fill_lstm,
                     .truth = truth_state,
                     .run = run_state,
                     .run_bwd = run_lstm_bwd,
                     .n_out = 2,
                     .out = {{2, 6}, {3, 7}},
                     .n_grad = 1,
                     .grad = {{8, 5, false}},
                     .tolerance = 2e-5};
        nn_check_case(&c, true);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gemm), cmocka_unit_test(gemm_edges), cmocka_unit_test(gemm_blocks),
        cmocka_unit_test(lstm), cmocka_unit_test(lstm_state),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
