/* A text as token ids: a part to learn from, and one held out behind it. The cut comes before anything
 * else: neither vocabulary nor windows of the first part know of the second. */
#ifndef BRISK_TRAIN_DATA_H
#define BRISK_TRAIN_DATA_H

#include "format/gguf_build.h"
#include "text/tokenizer.h"
#include "train/train.h"

typedef struct bk_text {
    bk_tokenizer *tokenizer;
    bk_gguf *keys;  /* the tokenizer's, as in a GGUF file */
    bk_ids ids;     /* both parts */
    size_t n_train; /* of them, those to learn from */
    uint64_t valid_chars;
    uint64_t hash; /* of all ids: whether a checkpoint is of the same data */
    double floor;  /* loss of counting over the part held out (measure/ngram.h); 0: not computed */
} bk_text;

static inline const int32_t *bk_text_valid(const bk_text *t, size_t *n) {
    *n = t->ids.len - t->n_train;
    return *n ? t->ids.data + t->n_train : NULL;
}

/* Reads o->data. The vocabulary is that of `old`, or made from the first part when old is NULL.
 * NOT_FOUND, IO, FORMAT (empty, binary), INVALID, NOMEM, CANCELLED. */
bk_status bk_text_open(const bk_train_options *o, const bk_gguf *old, bk_text *out, bk_error *err);
void bk_text_free(bk_text *t);

/* Windows of B sequences of T tokens: inputs and the tokens behind them, -1 for none. Rows lie
 * b * T + t, or with `step_major` t * B + b. */
typedef struct bk_window {
    size_t B, T;
    bool step_major;
    int32_t *ids, *targets; /* [B * T] */
} bk_window;

/* Where token t of sequence b lies. */
static inline size_t bk_window_row(const bk_window *w, size_t b, size_t t) {
    return w->step_major ? t * w->B + b : b * w->T + t;
}

/* B windows drawn at random: by (seed, index) alone. n > T. */
void bk_window_random(const bk_window *w, const int32_t *ids, size_t n, uint64_t seed,
                      uint64_t index);
/* The text cut into B streams side by side, steps [at, at + T) of each; beyond a stream's end nothing is
 * wanted. Returns how many tokens are. */
size_t bk_window_streams(const bk_window *w, const int32_t *ids, size_t n, size_t at);
/* Steps of a stream. */
static inline size_t bk_stream_len(size_t n, size_t B) { return n ? bk_div_up(n - 1, B) : 0; }

#endif
