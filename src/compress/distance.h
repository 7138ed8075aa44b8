/* How far a changed model's predictions are from a reference's, again and again on the same short text:
 * the reference's are kept, so that a measurement is one model's passes. */
#ifndef BRISK_COMPRESS_DISTANCE_H
#define BRISK_COMPRESS_DISTANCE_H

#include "measure/eval.h"
#include "measure/feed.h"
#include "sys/pool.h"

typedef struct bk_distance {
    bk_windows text;
    size_t count;      /* of its windows that are read */
    double phase;      /* 0..1: where in its share of the text each lies */
    size_t skip, rows; /* of each window: predictions that are left out, that are compared */
    size_t n_vocab;
    float *kept;   /* [count * rows][n_vocab] log-probabilities of the reference */
    bk_pool *pool; /* borrowed */
} bk_distance;

/* Takes `count` windows from all over the text, or as many as there are: each at `phase` (0..1) of a share of
 * it, so that two phases are two sets where the text is long enough. The last three quarters of each are
 * compared, or what memory is spent on. INVALID (text too short), NOMEM. */
bk_status bk_distance_init(bk_distance *d, const bk_model *model, bk_str text, int context,
                           double phase, size_t count, bk_pool *pool, bk_error *err);
void bk_distance_free(bk_distance *d);

/* Keeps this model's predictions. CANCELLED, NOMEM. */
bk_status bk_distance_keep(bk_distance *d, bk_model *reference, const volatile bool *cancel,
                           bk_error *err);
/* Mean KL(reference || model) over the predictions, in nats. */
bk_status bk_distance_measure(const bk_distance *d, bk_model *model, const volatile bool *cancel,
                              double *kl, bk_error *err);

#endif
