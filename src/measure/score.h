/* What predictions are worth: loss against the text, distance from reference predictions. */
#ifndef BRISK_MEASURE_SCORE_H
#define BRISK_MEASURE_SCORE_H

#include "base/error.h"

/* Running sums; zero-initialised is empty. Everything is computed in double. */
typedef struct bk_score {
    size_t n_loss;         /* predictions scored against the text */
    double loss, loss2;    /* sums of -log p and its square */
    double ref_loss;       /* the same for the reference */
    size_t n_kl, same_top; /* predictions compared, and how many agree on the best token */
    double *kl;            /* [cap_kl] KL(reference || model) of each, in nats */
    size_t cap_kl;
} bk_score;

bool bk_score_reserve(bk_score *s, size_t n_kl); /* room for that many comparisons in all */
void bk_score_free(bk_score *s);

/* One prediction: logits[n] of the model, of the reference (NULL: none), and the token that the text
 * goes on with (-1: unknown). FORMAT when they are not all finite. */
bk_status bk_score_add(bk_score *s, const float *logits, const double *ref, size_t n, int32_t next,
                       bk_error *err);

typedef struct bk_summary {
    size_t tokens;
    double nll, ppl, ppl_error; /* mean loss, exp of it, its standard error */
    size_t compared;
    double ref_ppl;
    double kl_mean, kl_error, kl_median, kl_p99, kl_max;
    double top_agreement; /* 0..1 */
} bk_summary;

/* Sorts s->kl. Fields without data are 0. */
void bk_score_summary(bk_score *s, bk_summary *out);

#endif
