/* Tokens that an answer will probably have next, from a text that the caller predicts: several rows of
 * one sequence in a step, of which those after the first wrong one are taken back. The text of the
 * answer stays what it is; it comes faster where the prediction is right.
 *
 * Verifying guesses in one pass: speculative decoding (Leviathan et al. 2023). The caller's text as the
 * guess: OpenAI's "predicted outputs". */
#ifndef BRISK_ENGINE_DRAFT_H
#define BRISK_ENGINE_DRAFT_H

#include "base/base.h"

typedef struct bk_draft {
    const int32_t *text; /* borrowed; NULL: none */
    size_t n, at;        /* text[at] is what should come next */
    bool lost;           /* the answer is not in the text at present */
    size_t length;       /* tokens to try, by how it went lately; 0: not yet tried */
} bk_draft;

/* Writes at most `most` tokens that should come next; how many. */
size_t bk_draft_next(bk_draft *d, int32_t *out, size_t most);

/* answer[n - 1] has been chosen. Where it is not what the text has next, the last three tokens are
 * looked for in the rest of the text, then in all of it. */
void bk_draft_follow(bk_draft *d, const int32_t *answer, size_t n);

/* Of `tried` tokens the first `right` were right. */
void bk_draft_learn(bk_draft *d, size_t tried, size_t right);

#endif
