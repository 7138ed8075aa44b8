/* A teacher: another model of the same vocabulary whose predictions are learned instead of the text's
 * next token (Hinton et al. 2015). What it says to every row of every batch of the schedule is computed
 * once, by the engine's own inference, and kept in a file of the user's cache folder. */
#ifndef BRISK_TRAIN_TEACHER_H
#define BRISK_TRAIN_TEACHER_H

#include "train/data.h"

typedef struct bk_teacher bk_teacher;

/* The windows that the student sees. */
typedef struct bk_lessons {
    const bk_train_options *o; /* teacher, top_k, seed, threads, cpu_level, progress, cancel */
    const bk_tokenizer *tokenizer;
    uint64_t data; /* hash of the text */
    size_t B, T;
    uint64_t n; /* batches */
    /* Batch i; called with 0, 1, ... in order. *fresh: its sequences begin anew, they go on where the
     * batch before ended otherwise. */
    const bk_window *(*window)(void *user, uint64_t i, bool *fresh);
    void *user;
} bk_lessons;

/* From the cache, or computed now: a file that is not whole or of other windows is made again.
 * INVALID (vocabularies that differ, windows longer than the teacher's context), IO, FORMAT, CANCELLED,
 * NOMEM, and what loading a model says. */
bk_status bk_teacher_open(const bk_lessons *l, bk_teacher **out, bk_error *err);
void bk_teacher_close(bk_teacher **t);

/* Tokens of which each row has a log-probability: top_k, or as many as there are but one. */
size_t bk_teacher_n_best(const bk_teacher *t);
/* Those of batch i, ids[B * T][n_best], best first, -1 where there are no more, and their
 * log-probabilities; borrowed. FORMAT when the window is not the one that the teacher saw; IO. */
bk_status bk_teacher_lesson(const bk_teacher *t, uint64_t i, const bk_window *w,
                            const int32_t **ids, const float **logp, bk_error *err);

/* The teacher's own mean loss against the targets of windows. */
bk_status bk_teacher_loss(const bk_lessons *l, double *loss, bk_error *err);

#endif
