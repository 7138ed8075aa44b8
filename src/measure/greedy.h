/* How long a model's greedy answers stay those of a reference. */
#ifndef BRISK_MEASURE_GREEDY_H
#define BRISK_MEASURE_GREEDY_H

#include "model/model.h"

typedef struct bk_greedy_options {
    size_t n_prompts; /* 1 or more, spread over the text */
    size_t n_prompt;  /* tokens of each; 0: 32 */
    size_t n_tokens;  /* that the reference goes on with, at most; 0: 64 */
    void (*progress)(size_t done, size_t total, void *user); /* after each prompt; may be NULL */
    void *user;
    const volatile bool *cancel;
} bk_greedy_options;

/* Of one model, over the prompts. Positions count tokens that are equal before the first different
 * one; an answer that never differs counts with its whole length. */
typedef struct bk_greedy {
    size_t n_prompts, n_tokens, same; /* same: answers that never differ */
    double median, mean;
} bk_greedy;

/* The reference answers; each model is shown that answer and is left where its own choice would be
 * another token, which is what it would have said itself (bk_exec_forward's bits do not depend on how
 * tokens are fed). Ends at an end token. out[n_models]. INVALID (a text of fewer tokens than one prompt,
 * a model whose context is too small), CANCELLED, NOMEM. */
bk_status bk_greedy_compare(bk_model *reference, bk_model *const *models, size_t n_models,
                            bk_str text, const bk_greedy_options *options, bk_greedy *out,
                            bk_error *err);

#endif
