/* What predictions are worth: loss against the text, distance from reference predictions. */
#ifndef BRISK_MEASURE_SCORE_H
#define BRISK_MEASURE_SCORE_H

#include "base/error.h"

enum { BK_SCORE_PARTS = 8, BK_SCORE_NEAR = 5 };

/* A reference's prediction, prepared once for all that are compared with it. */
typedef struct bk_expected {
    size_t n, top; /* top: the first of the best tokens */
    double *log_p; /* [n] */
    double *p;     /* [n] exp of it */
} bk_expected;

bool bk_expected_init(bk_expected *e, size_t n); /* false when memory is short */
void bk_expected_free(bk_expected *e);
/* From logits that lie in log_p. FORMAT when they are not all finite. */
bk_status bk_expected_prepare(bk_expected *e, bk_error *err);

/* Running sums; zero-initialised is empty. Everything is computed in double. A logit of -infinity is
 * a token that the model cannot give (a trimmed vocabulary): divergence is then that from the
 * reference's distribution over the others, and what this leaves out is counted beside it. */
typedef struct bk_score {
    size_t n_loss;         /* predictions scored against the text */
    size_t n_impossible;   /* more of them, whose token the model cannot give */
    double loss, loss2;    /* sums of -log p and its square */
    double ref_loss;       /* the same for the reference */
    double more, more2;    /* of loss - ref_loss and its square */
    double dp2;            /* of (p - p of the reference)^2, of the text's token */
    size_t n_kl, same_top; /* predictions compared, and how many agree on the best token */
    size_t near_top;       /* of how many the reference's best is among the best BK_SCORE_NEAR */
    double outside;        /* sum of the reference's probability of tokens without a chance */
    double *kl;            /* [cap_kl] KL(reference || model) of each, in nats */
    size_t cap_kl;
    size_t part_n[BK_SCORE_PARTS];  /* compared in each part of the windows, */
    double part_kl[BK_SCORE_PARTS]; /* and the sum of their divergence */
} bk_score;

bool bk_score_reserve(bk_score *s, size_t n_kl); /* room for that many comparisons in all */
void bk_score_free(bk_score *s);

/* One prediction: logits[n] of the model, the reference's (NULL: none), the token that the text goes on
 * with (-1: unknown), and the part of its window that it lies in. FORMAT when logits are no numbers. */
bk_status bk_score_add(bk_score *s, const float *logits, const bk_expected *ref, size_t n,
                       int32_t next, size_t part, bk_error *err);

typedef struct bk_summary {
    size_t tokens, impossible;
    double nll, ppl, ppl_error; /* mean loss, exp of it, its standard error */
    size_t compared;
    double ref_ppl;
    double log_ratio, log_ratio_error; /* ln(ppl / ref_ppl), token by token: the same text's
                                           difficulty cancels in the error */
    double kl_mean, kl_error, kl_median, kl_p90, kl_p99, kl_p999, kl_max;
    double kl_part[BK_SCORE_PARTS]; /* means */
    double rms_dp;
    double top_agreement, near_agreement; /* 0..1 */
    double outside;                       /* mean */
} bk_summary;

/* Sorts s->kl. Fields without data are 0. */
void bk_score_summary(bk_score *s, bk_summary *out);

#endif
