#include "nn_check.h"

#include "base/base.h"

/* Places of each gradient that are compared. The thread sanitizer looks for races, in the portable kernels
 * alone as the others are not instrumented; values are the other builds' to check. */
#ifdef __SANITIZE_THREAD__
enum { SAMPLES = 1 };
#define LEVELS BK_CPU_REF
#else
enum { SAMPLES = 48 };
#define LEVELS BK_CPU_REF, BK_CPU_AVX2, BK_CPU_AVX512
#endif

bk_nn *nn_device(bk_cpu_level level, int threads) {
    bk_nn *d = NULL;
    bk_error err;
    if (bk_nn_cpu_create(level, threads, &d, &err) != BK_OK) fail_msg("%s", err.text);
    return d;
}

bk_vec nn_floats(bk_nn *d, const float *x, size_t n) {
    bk_vec v = {d->ops->mem_create(d, n), 0};
    assert_non_null(v.mem);
    d->ops->write(d, v, x, n);
    return v;
}

bk_vec nn_random(bk_nn *d, size_t n, double low, double high, uint64_t seed) {
    bk_rng r;
    float *x = malloc(n * sizeof *x);
    assert_non_null(x);
    bk_rng_seed(&r, seed, 7);
    for (size_t i = 0; i < n; i++) x[i] = (float)(low + (high - low) * bk_rng_unit(&r));
    bk_vec v = nn_floats(d, x, n);
    free(x);
    return v;
}

void nn_read(bk_nn *d, bk_vec v, float *out, size_t n) {
    bk_error err;
    if (d->ops->finish(d, &err) != BK_OK) fail_msg("%s", err.text);
    d->ops->read(d, v, out, n);
}

void nn_free(bk_nn *d, bk_vec v) { d->ops->mem_destroy(d, v.mem); }

/* ---- Arrays of a case -------------------------------------------------------------------------------- */

static int count(const nn_case *c) {
    int n = 0;
    while (n < NN_ARRAYS && c->n[n]) n++;
    return n;
}

static void free_arrays(double **a) {
    for (int i = 0; i < NN_ARRAYS; i++) free(a[i]);
}

static void copy_arrays(const nn_case *c, double **from, double **to) {
    for (int i = 0; i < count(c); i++) {
        if (!to[i]) to[i] = malloc(c->n[i] * sizeof **to);
        assert_non_null(to[i]);
        memcpy(to[i], from[i], c->n[i] * sizeof **to);
    }
}

/* Values are floats, so that the device begins with the same. */
static void fill_arrays(const nn_case *c, double **a) {
    bk_rng r;
    bk_rng_seed(&r, 42, 1);
    for (int i = 0; i < count(c); i++) {
        a[i] = malloc(c->n[i] * sizeof **a);
        assert_non_null(a[i]);
        for (size_t k = 0; k < c->n[i]; k++) {
            double unit = bk_rng_unit(&r);
            a[i][k] = c->ids >> i & 1 ? floor(unit * (double)c->n_ids) : 2 * unit - 1;
        }
    }
    if (c->fill) c->fill(c, a, &r);
    for (int i = 0; i < count(c); i++)
        for (size_t k = 0; k < c->n[i]; k++) a[i][k] = (double)(float)a[i][k];
}

static void upload(const nn_case *c, bk_nn *d, double **a, bk_vec *v) {
    for (int i = 0; i < count(c); i++) {
        union {
            float f;
            int32_t i;
        } *x = malloc(c->n[i] * sizeof *x);
        assert_non_null(x);
        for (size_t k = 0; k < c->n[i]; k++) {
            if (c->ids >> i & 1)
                x[k].i = (int32_t)a[i][k];
            else
                x[k].f = (float)a[i][k];
        }
        /* Not at the start of a line: operations may not count on it. */
        v[i] = (bk_vec){d->ops->mem_create(d, c->n[i] + 3), 3};
        assert_non_null(v[i].mem);
        d->ops->write(d, v[i], x, c->n[i]);
        free(x);
    }
}

/* ---- Comparison -------------------------------------------------------------------------------------- */

static void check_value(const nn_case *c, const char *what, int array, size_t at, double got,
                        double want) {
    double tolerance = (c->tolerance > 0 ? c->tolerance : 2e-6) * (1 + fabs(want));
    if (!(fabs(got - want) <= tolerance) && !(isinf(want) && got == want))
        fail_msg("%s: %s, array %d at %zu: %.9g, wanted %.9g", c->name, what, array, at, got, want);
}

static double loss_of(const nn_case *c, double **begin, double **scratch) {
    double loss = 0;
    copy_arrays(c, begin, scratch);
    c->truth(c, scratch);
    for (int o = 0; o < c->n_out; o++) {
        int y = c->out[o].y, dy = c->out[o].dy;
        for (size_t k = 0; k < c->n[y]; k++) loss += scratch[y][k] * begin[dy][k];
    }
    return loss;
}

static double slope_at(const nn_case *c, double **begin, double **scratch, int array, size_t at) {
    const double step = 1e-5;
    double before = begin[array][at];
    begin[array][at] = before + step;
    double up = loss_of(c, begin, scratch);
    begin[array][at] = before - step;
    double down = loss_of(c, begin, scratch);
    begin[array][at] = before;
    return (up - down) / (2 * step);
}

/* What backward has to leave at some places of each gradient. */
typedef struct slopes {
    size_t at[NN_GRADS][SAMPLES];
    double value[NN_GRADS][SAMPLES];
    size_t n[NN_GRADS];
} slopes;

static void find_slopes(const nn_case *c, double **begin, slopes *s) {
    double *scratch[NN_ARRAYS] = {NULL};
    bk_rng r;
    bk_rng_seed(&r, 5, 5);
    for (int g = 0; g < c->n_grad; g++) {
        int of = c->grad[g].of;
        size_t n = c->n[of], most = c->samples ? bk_min_size(c->samples, SAMPLES) : SAMPLES;
        s->n[g] = bk_min_size(n, most);
        for (size_t i = 0; i < s->n[g]; i++) {
            size_t at = n <= most ? i : (size_t)(bk_rng_unit(&r) * (double)n);
            s->at[g][i] = at;
            s->value[g][i] = slope_at(c, begin, scratch, of, at);
        }
    }
    free_arrays(scratch);
}

static float *download(const nn_case *c, bk_nn *d, const bk_vec *v, int array) {
    float *x = malloc(c->n[array] * sizeof *x);
    assert_non_null(x);
    nn_read(d, v[array], x, c->n[array]);
    return x;
}

static void check_forward(const nn_case *c, bk_nn *d, const bk_vec *v, double **want) {
    for (int i = 0; i < count(c); i++) {
        if (c->ids >> i & 1) continue;
        float *x = download(c, d, v, i);
        for (size_t k = 0; k < c->n[i]; k++)
            check_value(c, "forward", i, k, (double)x[k], want[i][k]);
        free(x);
    }
}

static void check_backward(const nn_case *c, bk_nn *d, const bk_vec *v, double **begin,
                           const slopes *s) {
    for (int g = 0; g < c->n_grad; g++) {
        int in = c->grad[g].in;
        float *x = download(c, d, v, in);
        for (size_t i = 0; i < s->n[g]; i++) {
            double before = begin[in][s->at[g][i]], got = (double)x[s->at[g][i]];
            /* What the operation does not touch, as between the rows of a pitch. */
            if (s->value[g][i] == 0 && got == before) continue;
            check_value(c, "backward", in, s->at[g][i], got,
                        s->value[g][i] + (c->grad[g].add ? before : 0));
        }
        free(x);
    }
}

/* Bits of all arrays after forward and backward. */
static void compare_bits(const nn_case *c, bk_nn *d, const bk_vec *v, float **first) {
    for (int i = 0; i < count(c); i++) {
        float *x = download(c, d, v, i);
        if (!first[i]) {
            first[i] = x;
            continue;
        }
        if (memcmp(x, first[i], c->n[i] * sizeof *x) != 0) {
            size_t k = 0;
            while (memcmp(x + k, first[i] + k, sizeof *x) == 0) k++;
            fail_msg("%s: %d threads, array %d at %zu: %.9g and %.9g", c->name, d->threads, i, k,
                     (double)x[k], (double)first[i][k]);
        }
        free(x);
    }
}

static void check_on(const nn_case *c, bk_nn *d, double **begin, double **want, const slopes *s,
                     float **first) {
    bk_vec v[NN_ARRAYS];
    upload(c, d, begin, v);
    c->run(c, d, v);
    check_forward(c, d, v, want);
    if (c->run_bwd) {
        c->run_bwd(c, d, v);
        check_backward(c, d, v, begin, s);
    }
    compare_bits(c, d, v, first);
    for (int i = 0; i < count(c); i++) nn_free(d, v[i]);
}

void nn_check_case(const nn_case *c, bool levels) {
    static const bk_cpu_level each[] = {LEVELS};
    static const int threads[] = {1, 2, 4};
    double *begin[NN_ARRAYS] = {NULL}, *want[NN_ARRAYS] = {NULL};
    float *first[NN_ARRAYS] = {NULL};
    slopes s = {.n = {0}};
    fill_arrays(c, begin);
    copy_arrays(c, begin, want);
    c->truth(c, want);
    find_slopes(c, begin, &s);
    for (size_t l = 0; l < BK_ARRAY_LEN(each) && each[l] <= bk_cpu_best(); l++) {
        for (size_t t = 0; t < BK_ARRAY_LEN(threads); t++) {
            bk_nn *d = nn_device(each[l], threads[t]);
            check_on(c, d, begin, want, &s, first);
            bk_nn_destroy(&d);
        }
        for (int i = 0; !levels && i < NN_ARRAYS; i++) {
            free(first[i]);
            first[i] = NULL;
        }
    }
    for (int i = 0; i < NN_ARRAYS; i++) free(first[i]);
    free_arrays(begin);
    free_arrays(want);
}
