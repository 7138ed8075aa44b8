/* From logits to log-probabilities: those of the softmax at temperature 1, before biases and penalties.
 * Natural logarithms. NaN is never likely. */
#ifndef BRISK_MEASURE_LOGPROB_H
#define BRISK_MEASURE_LOGPROB_H

#include "base/base.h"

typedef struct bk_logprob {
    int32_t token;
    float logprob;
} bk_logprob;

/* log(sum(exp(x))) of a row: what a logit lies above its log-probability. */
double bk_logprob_norm(const float *logits, size_t n);

/* The log-probability of one logit of a row with this norm, at most 0; -infinity when it has no
 * chance. */
float bk_logprob_of(float logit, double norm);

/* The k most likely tokens, best first, the lower id first where they tie. Returns how many: fewer than
 * k when fewer have a chance. For small k: the row is read once, nothing is sorted. */
size_t bk_logprob_top(const float *logits, size_t n, double norm, size_t k, bk_logprob *out);

#endif
