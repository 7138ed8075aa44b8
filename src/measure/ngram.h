/* What counting alone predicts: the floor below which a language model has learned something.
 *
 * Witten and Bell 1991 (method C), interpolated: in a context h that was seen c(h) times with T(h)
 * different tokens behind it, P(w|h) = (c(hw) + T(h) P(w|h')) / (c(h) + T(h)), where h' lacks h's first
 * token; below the empty context all tokens are equally likely; a context never seen predicts as h'. */
#ifndef BRISK_MEASURE_NGRAM_H
#define BRISK_MEASURE_NGRAM_H

#include "base/error.h"

enum { BK_NGRAM_MAX = 8 };

typedef struct bk_ngram_loss {
    double uniform;                 /* ln of the vocabulary */
    double order[BK_NGRAM_MAX + 1]; /* by the tokens before that are looked at; 0: none */
    int n_orders;                   /* how many of these there are */
    int best;                       /* the order with the lowest loss */
    size_t n;                       /* tokens that were scored */
} bk_ngram_loss;

/* Counts tokens[0..n_train), each >= 0, and scores tokens[n_train..n), in nats per token; the contexts
 * of the first ones reach back. n_vocab: how many tokens there are; 0: as many as differ in all of
 * tokens. Looks at up to max_order tokens, 0..BK_NGRAM_MAX. cancel (may be NULL) is polled. The same on
 * every machine.
 *
 * One order after the other, with contexts told apart by 64-bit hashes: time and memory (16 to 64 bytes
 * a token at worst, far less for text) are linear in the tokens. INVALID (an empty part, a token or
 * max_order out of range), LIMIT (2^31 tokens), NOMEM, CANCELLED. */
bk_status bk_ngram_floor(const int32_t *tokens, size_t n, size_t n_train, size_t n_vocab,
                         int max_order, const volatile bool *cancel, bk_ngram_loss *out,
                         bk_error *err);

#endif
