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

bool bk_expected_init(bk_expected *e, size_t n) {
    *e = (bk_expected){.n = n,
                       .log_p = bk_alloc(n, sizeof(double)),
                       .p = bk_alloc(n, sizeof(double))};
    return e->log_p && e->p;
}

void bk_expected_free(bk_expected *e) {
    bk_free(e->log_p);
    bk_free(e->p);
    *e = (bk_expected){0};
}

bk_status bk_expected_prepare(bk_expected *e, bk_error *err) {
    double *x = e->log_p, sum = 0;
    size_t best = 0;
    for (size_t i = 1; i < e->n; i++)
        if (x[i] > x[best]) best = i;
    double max = x[best];
    for (size_t i = 0; i < e->n; i++) sum += e->p[i] = exp(x[i] - max);
    if (!isfinite(max) || !isfinite(sum)) {
        return bk_fail(err, BK_ERR_FORMAT, "the reference's logits are not all numbers");
    }
    for (size_t i = 0; i < e->n; i++) {
        if (isinf(x[i])) return bk_fail(err, BK_ERR_FORMAT, "the reference cannot give all tokens");
        x[i] -= max + log(sum);
        e->p[i] /= sum;
    }
    e->top = best;
    return BK_OK;
}

/* log(sum(exp(x))) and the first index of the largest; not finite when an x is neither finite nor
 * -infinity. */
static double log_sum(const float *x, size_t n, size_t *top) {
    size_t best = 0;
    for (size_t i = 1; i < n; i++) {
        if (x[i] > x[best]) best = i;
    }
    double sum = 0, max = (double)x[best];
    for (size_t i = 0; i < n; i++) sum += exp((double)x[i] - max);
    *top = best;
    return max + log(sum);
}

/* From the reference over the tokens that have a chance; *outside is its probability of the others. */
static double divergence(const float *logits, double lse, const bk_expected *ref, double *outside) {
    double kl = 0, out = 0;
    for (size_t i = 0; i < ref->n; i++) {
        if (logits[i] > -INFINITY) {
            kl += ref->p[i] * (ref->log_p[i] - ((double)logits[i] - lse));
        } else {
            out += ref->p[i];
        }
    }
    *outside = out;
    if (out >= 1) return 0;
    kl = kl / (1 - out) - log1p(-out);
    return kl > 0 ? kl : 0; /* below 0 only by rounding */
}

static bool is_near_top(const float *logits, size_t n, size_t token) {
    size_t better = 0;
    for (size_t i = 0; i < n; i++) better += logits[i] > logits[token];
    return better < BK_SCORE_NEAR && logits[token] > -INFINITY;
}

static void add_loss(bk_score *s, double loss, const bk_expected *ref, int32_t next) {
    s->n_loss++;
    s->loss += loss;
    s->loss2 += loss * loss;
    if (!ref) return;
    double more = loss + ref->log_p[next], dp = exp(-loss) - ref->p[next];
    s->ref_loss -= ref->log_p[next];
    s->more += more;
    s->more2 += more * more;
    s->dp2 += dp * dp;
}

bk_status bk_score_add(bk_score *s, const float *logits, const bk_expected *ref, size_t n,
                       int32_t next, size_t part, bk_error *err) {
    size_t top;
    double lse = log_sum(logits, n, &top), outside;
    if (!isfinite(lse))
        return bk_fail(err, BK_ERR_FORMAT, "the model's logits are not all numbers");
    if (next >= 0) {
        if (logits[next] > -INFINITY) {
            add_loss(s, lse - (double)logits[next], ref, next);
        } else {
            s->n_impossible++;
        }
    }
    if (!ref) return BK_OK;
    if (s->n_kl == s->cap_kl) return bk_fail(err, BK_ERR_LIMIT, "more rows than announced");
    double kl = divergence(logits, lse, ref, &outside);
    part = bk_min_size(part, BK_SCORE_PARTS - 1);
    s->kl[s->n_kl++] = kl;
    s->part_kl[part] += kl;
    s->part_n[part]++;
    s->outside += outside;
    s->same_top += top == ref->top;
    s->near_top += is_near_top(logits, n, ref->top);
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
    double sum = 0, sum2 = 0, n = (double)s->n_kl;
    qsort(s->kl, s->n_kl, sizeof *s->kl, ascending);
    for (size_t i = 0; i < s->n_kl; i++) {
        sum += s->kl[i];
        sum2 += s->kl[i] * s->kl[i];
    }
    out->compared = s->n_kl;
    out->kl_mean = sum / n;
    out->kl_error = standard_error(sum, sum2, s->n_kl);
    out->kl_median = quantile(s->kl, s->n_kl, 0.5);
    out->kl_p90 = quantile(s->kl, s->n_kl, 0.9);
    out->kl_p99 = quantile(s->kl, s->n_kl, 0.99);
    out->kl_p999 = quantile(s->kl, s->n_kl, 0.999);
    out->kl_max = s->kl[s->n_kl - 1];
    for (size_t i = 0; i < BK_SCORE_PARTS; i++)
        if (s->part_n[i]) out->kl_part[i] = s->part_kl[i] / (double)s->part_n[i];
    out->top_agreement = (double)s->same_top / n;
    out->near_agreement = (double)s->near_top / n;
    out->outside = s->outside / n;
}

void bk_score_summary(bk_score *s, bk_summary *out) {
    double n = (double)s->n_loss;
    *out = (bk_summary){.tokens = s->n_loss + s->n_impossible, .impossible = s->n_impossible};
    if (s->n_loss > 0) {
        out->nll = s->loss / n;
        out->ppl = exp(out->nll);
        out->ppl_error = out->ppl * standard_error(s->loss, s->loss2, s->n_loss);
    }
    if (s->n_loss > 0 && s->n_kl > 0) {
        out->ref_ppl = exp(s->ref_loss / n);
        out->log_ratio = s->more / n;
        out->log_ratio_error = standard_error(s->more, s->more2, s->n_loss);
        out->rms_dp = sqrt(s->dp2 / n);
    }
    if (s->n_kl > 0) summarise_kl(s, out);
}
