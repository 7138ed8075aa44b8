/* Feeding given tokens to a model, for measuring: scratch, one sequence and a few rows of logits. */
#ifndef BRISK_MEASURE_FEED_H
#define BRISK_MEASURE_FEED_H

#include "model/model.h"

typedef struct bk_feed {
    bk_model *model; /* a reference */
    bk_exec *exec;
    bk_kv *kv;
    size_t batch, max_rows, n_vocab;
    size_t context;         /* tokens that the sequence will have */
    bool exact;             /* bk_rows' exact of what is fed */
    bool spare;             /* bk_rows' */
    const int32_t *history; /* bk_rows' of the sequence that is fed; NULL: none */
    float *rows;            /* [max_rows][n_vocab] */
} bk_feed;

/* batch tokens a pass, logits of at most max_rows (1..batch) of them. INVALID, NOMEM. */
bk_status bk_feed_init(bk_feed *f, bk_model *model, size_t batch, size_t max_rows, bk_error *err);
void bk_feed_free(bk_feed *f);

/* Says before the first token is fed how many the sequence will have, which may be more than the model
 * was trained for. */
void bk_feed_set_context(bk_feed *f, size_t n);

/* bk_rows' long_context of all passes. */
bool bk_feed_long_context(const bk_feed *f);

/* Keeps the first n positions. LIMIT as with bk_kv_truncate. */
bk_status bk_feed_rewind(bk_feed *f, size_t n, bk_error *err);

/* Any number of tokens, batch by batch; the logits of the last `rows` (0..max_rows, all in the last
 * batch) go to f->rows. *cancel (may be NULL) is read before each batch. */
bk_status bk_feed_tokens(bk_feed *f, const int32_t *tokens, size_t n, size_t rows,
                         const volatile bool *cancel, bk_error *err);

#endif
