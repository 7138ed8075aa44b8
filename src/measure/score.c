#include "measure/score.h"

#include <math.h>
#include <stdlib.h>

#include "base/mem.h"

bool bk_score_reserve(bk_score *s, size_t n_kl) {
    if (n_kl <= s->cap_kl) return true;
    double *kl = bk_realloc(s->kl, n_kl, sizeof *kl);
    if (!kl) return false;
    s->kl = kl;
    s->cap_kl = n_kl;
    return true;
}

void bk_score_free(bk_score *s) {
    bk_free(s->kl);
    *s = (bk_score){0};
}

/* log(sum(exp(x))) and the first index of the largest; not finite when an x is not. */
static double log_sum_f(const float *x, size_t n, size_t *top) {
    size_t best = 0;
    for (size_t i = 1; i < n; i++) {
        if (x[i] > x[best]) best = i;
    }
    double sum = 0, max = (double)x[best];
    for (size_t i = 0; i < n; i++) sum += exp((double)x[i] - max);
    *top = best;
    return max + log(sum);
}

static double log_sum_d(const double *x, size_t n, size_t *top) {
    size_t best = 0;
    for (size_t i = 1; i < n; i++) {
        if (x[i] > x[best]) best = i;
    }
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += exp(x[i] - x[best]);
    *top = best;
    return x[best] + log(sum);
}

static double divergence(const float *logits, double lse, const double *ref, double ref_lse,
                         size_t n) {
    double kl = 0;
    for (size_t i = 0; i < n; i++) {
        double log_p = ref[i] - ref_lse;
        kl += exp(log_p) * (log_p - ((double)logits[i] - lse));
    }
    return kl > 0 ? kl : 0; /* below 0 only by rounding */
}

bk_status bk_score_add(bk_score *s, const float *logits, const double *ref, size_t n, int32_t next,
                       bk_error *err) {
    size_t top, ref_top;
    double lse = log_sum_f(logits, n, &top);
    if (!isfinite(lse))
        return bk_fail(err, BK_ERR_FORMAT, "the model's logits are not all numbers");
    double ref_lse = ref ? log_sum_d(ref, n, &ref_top) : 0;
    if (!isfinite(ref_lse)) {
        return bk_fail(err, BK_ERR_FORMAT, "the reference's logits are not all numbers");
    }
    if (next >= 0) {
        double loss = lse - (double)logits[next];
        s->n_loss++;
        s->loss += loss;
        s->loss2 += loss * loss;
        if (ref) s->ref_loss += ref_lse - ref[next];
    }
    if (!ref) return BK_OK;
    if (s->n_kl == s->cap_kl) return bk_fail(err, BK_ERR_LIMIT, "more rows than announced");
    s->kl[s->n_kl++] = divergence(logits, lse, ref, ref_lse, n);
    s->same_top += top == ref_top;
    return BK_OK;
}

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Linear between the two nearest, as numpy does by default. */
static double quantile(const double *sorted, size_t n, double q) {
    double at = q * (double)(n - 1);
    size_t lo = (size_t)at;
    if (lo + 1 >= n) return sorted[n - 1];
    return sorted[lo] + (at - (double)lo) * (sorted[lo + 1] - sorted[lo]);
}

static double standard_error(double sum, double sum2, size_t n) {
    if (n < 2) return 0;
    double mean = sum / (double)n, variance = sum2 / (double)n - mean * mean;
    return variance > 0 ? sqrt(variance / (double)(n - 1)) : 0;
}

static void summarise_kl(bk_score *s, bk_summary *out) {
    double sum = 0, sum2 = 0;
    qsort(s->kl, s->n_kl, sizeof *s->kl, ascending);
    for (size_t i = 0; i < s->n_kl; i++) {
        sum += s->kl[i];
        sum2 += s->kl[i] * s->kl[i];
    }
    out->compared = s->n_kl;
    out->kl_mean = sum / (double)s->n_kl;
    out->kl_error = standard_error(sum, sum2, s->n_kl);
    out->kl_median = quantile(s->kl, s->n_kl, 0.5);
    out->kl_p99 = quantile(s->kl, s->n_kl, 0.99);
    out->kl_max = s->kl[s->n_kl - 1];
    out->top_agreement = (double)s->same_top / (double)s->n_kl;
}

void bk_score_summary(bk_score *s, bk_summary *out) {
    *out = (bk_summary){.tokens = s->n_loss};
    if (s->n_loss > 0) {
        out->nll = s->loss / (double)s->n_loss;
        out->ppl = exp(out->nll);
        out->ppl_error = out->ppl * standard_error(s->loss, s->loss2, s->n_loss);
        if (s->n_kl > 0) out->ref_ppl = exp(s->ref_loss / (double)s->n_loss);
    }
    if (s->n_kl > 0) summarise_kl(s, out);
}
