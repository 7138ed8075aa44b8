/* Perplexity of a text, and how far a model's predictions are from a reference's. */
#ifndef BRISK_MEASURE_EVAL_H
#define BRISK_MEASURE_EVAL_H

#include "measure/score.h"
#include "model/model.h"

typedef struct bk_eval_options {
    int context;         /* tokens per window of a text; 0: 512 */
    bk_model *reference; /* compare with this model; NULL: none, but of a fast model itself,
                                     computed exactly, of one with a trimmed head
                                     itself with the whole one, where there is no other either */
    const char *reference_logits; /* or with the rows of this .npy file; NULL: none */
    const char *save_logits;      /* write the rows to this .npy file; NULL: none */
    /* After each window or sequence: how many are done, of how many, and the perplexity so far. */
    void (*progress)(size_t done, size_t total, double ppl, void *user);
    void *user;
    const volatile bool *cancel;
    size_t max_windows; /* of a text; 0: all */
} bk_eval_options;

/* The windows of llama.cpp's llama-perplexity: the text is cut into windows of `context` tokens,
 * each computed by itself, its first token replaced by the begin token where the model wants one;
 * of each window the predictions of the second half are scored. A rest is left out.
 * INVALID (text shorter than a window, vocabularies that differ), FORMAT, IO, CANCELLED, NOMEM. */
bk_status bk_eval_text(bk_model *model, bk_str text, const bk_eval_options *options,
                       bk_summary *out, bk_error *err);

/* The same for several models in lockstep: every window goes through all of them, and its reference is
 * computed once. out[n_models]. Progress has the first one's perplexity; save_logits, its rows. */
bk_status bk_eval_text_many(bk_model *const *models, size_t n_models, bk_str text,
                            const bk_eval_options *options, bk_summary *out, bk_error *err);

/* Sequences of token ids, each from an empty memory: lengths[n_sequences], their tokens one after
 * another. All rows are compared and saved; all but the last of a sequence scored. */
bk_status bk_eval_tokens(bk_model *model, const int32_t *tokens, const size_t *lengths,
                         size_t n_sequences, const bk_eval_options *options, bk_summary *out,
                         bk_error *err);

/* A text as windows: ids of n windows of `context` tokens, each with the begin token as above. context
 * 0: 512 or what the model has. The caller frees ids. INVALID, NOMEM. */
typedef struct bk_windows {
    bk_ids ids;
    size_t n, context;
} bk_windows;

bk_status bk_windows_cut(const bk_model *model, bk_str text, int context, bk_windows *out,
                         bk_error *err);

#endif
