#include "cli/load/stats.h"

#include <math.h>
#include <stdlib.h>

#include "base/mem.h"

void load_samples_add(load_samples *s, double v) {
    if (s->n == s->cap) {
        size_t cap = s->cap ? 2 * s->cap : 64;
        double *more = bk_realloc(s->v, cap, sizeof *more);
        if (!more) {
            s->failed = true;
            return;
        }
        s->v = more;
        s->cap = cap;
    }
    s->v[s->n++] = v;
}

void load_samples_free(load_samples *s) {
    bk_free(s->v);
    *s = (load_samples){.n = 0};
}

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

void load_samples_sort(load_samples *s) {
    if (s->n) qsort(s->v, s->n, sizeof *s->v, ascending);
}

double load_samples_mean(const load_samples *s) {
    double sum = 0;
    for (size_t i = 0; i < s->n; i++) sum += s->v[i];
    return s->n ? sum / (double)s->n : 0;
}

double load_samples_sd(const load_samples *s) {
    double mean = load_samples_mean(s), sum = 0;
    for (size_t i = 0; i < s->n; i++) sum += (s->v[i] - mean) * (s->v[i] - mean);
    return s->n > 1 ? sqrt(sum / (double)(s->n - 1)) : 0;
}

double load_percentile(const load_samples *s, double p) {
    if (s->n == 0) return 0;
    double at = p / 100 * (double)(s->n - 1), below = floor(at);
    size_t i = (size_t)below;
    if (i + 1 >= s->n) return s->v[s->n - 1];
    return s->v[i] + (at - below) * (s->v[i + 1] - s->v[i]);
}

/* Never 0, whose logarithm is not finite. */
static double unit(bk_rng *rng) { return 1 - bk_rng_unit(rng); }

static double normal(bk_rng *rng) { /* Box and Muller 1958 */
    return sqrt(-2 * log(unit(rng))) * cos(2 * 3.14159265358979323846 * bk_rng_unit(rng));
}

double load_gamma(bk_rng *rng, double a) {
    if (a < 1) return load_gamma(rng, a + 1) * pow(unit(rng), 1 / a);
    double d = a - 1.0 / 3, c = 1 / sqrt(9 * d);
    for (;;) {
        double x = normal(rng), v = 1 + c * x;
        if (v <= 0) continue;
        v = v * v * v;
        if (log(unit(rng)) < 0.5 * x * x + d - d * v + d * log(v)) return d * v;
    }
}

void load_arrivals(bk_rng *rng, double rate, double shape, double *out, size_t n) {
    double sum = 0;
    for (size_t i = 0; i < n; i++) out[i] = isinf(rate) ? 0 : (sum += load_gamma(rng, shape));
    if (sum <= 0) return;
    for (size_t i = 0; i < n; i++) out[i] *= (double)n / rate / sum;
}
