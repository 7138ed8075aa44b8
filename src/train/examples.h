/* A table as examples to learn from and others, held out, to judge by. */
#ifndef BRISK_TRAIN_EXAMPLES_H
#define BRISK_TRAIN_EXAMPLES_H

#include "train/csv.h"

typedef struct bk_examples {
    bk_csv table;
    uint32_t *order; /* rows: n_train to learn from, then n_valid held out */
    size_t n_train, n_valid;
    uint64_t hash; /* of numbers and classes: whether a checkpoint is of the same data */
} bk_examples;

/* Reads a table and splits it: of each class the share `valid_share`, drawn by seed, is held out, to the
 * nearest whole example, but never the last one of a class. NOT_FOUND, IO, FORMAT (the text names the
 * file), NOMEM. */
bk_status bk_examples_open(const char *path, float valid_share, uint64_t seed, bk_examples *out,
                           bk_error *err);
void bk_examples_free(bk_examples *e);

/* Numbers the classes as in names[n], which a model was trained with. FORMAT: one is not among them. */
bk_status bk_examples_rename(bk_examples *e, const bk_str *names, size_t n, bk_error *err);

/* What makes each column's mean 0 and its deviation 1 over the examples to learn from; a column that is
 * the same in all of them becomes 0. mean[cols], factor[cols]: x' = (x - mean) * factor */
void bk_examples_measure(const bk_examples *e, float *mean, float *factor);
void bk_examples_scale(float *x, size_t rows, size_t cols, const float *mean, const float *factor);

/* An order of n rows drawn by (seed, pass) alone (Fisher and Yates 1938). */
void bk_examples_shuffle(uint32_t *rows, size_t n, uint64_t seed, uint64_t pass);

#endif
