/* What the trainer asks of a kind of model with its data: batches, validation, its part of files. One
 * constructor per kind, below; trainer.c does the rest. */
#ifndef BRISK_TRAIN_TASK_H
#define BRISK_TRAIN_TASK_H

#include "train/params.h"
#include "train/train.h"

typedef struct bk_task bk_task;

struct bk_task_ops {
    void (*destroy)(bk_task *t);

    /* First values of all weights. */
    bk_status (*init)(bk_task *t, bk_error *err);
    /* Batch number `index` (0, 1, ... over all steps): forward and backward. Gradients, of the mean over
     * the batch times `share`, are added. *loss gets the sum of losses, *n of how many. */
    bk_status (*batch)(bk_task *t, uint64_t index, float share, double *loss, uint64_t *n,
                       bk_error *err);
    /* Fills tokens, loss, accuracy and confusion. */
    bk_status (*validate)(bk_task *t, uint64_t most, bk_train_score *score, bk_error *err);
    /* The teacher's loss over the same tokens; 0 without a teacher. NULL: the kind has none. */
    bk_status (*reference)(bk_task *t, uint64_t most, double *loss, bk_error *err);
    /* NULL: the kind has none. */
    bk_status (*predict)(bk_task *t, const float *x, size_t n, int *classes, float *probabilities,
                         bk_error *err);
    const char *(*class_name)(const bk_task *t, int i);

    /* Its part of a checkpoint beside weights, moments and options: position, state, vocabulary. */
    void (*save)(bk_task *t, bk_gguf_builder *b);
    bk_status (*restore)(bk_task *t, const bk_gguf *g, bk_error *err);
    /* Keys of the GGUF model; its tensors are the weights under their names. */
    void (*export)(bk_task *t, bk_gguf_builder *b);
    /* Sizes of the data and what else only it knows. */
    void (*info)(const bk_task *t, bk_train_info *info);
};

/* Beginning of each kind's own struct. */
struct bk_task {
    const struct bk_task_ops *ops;
    bk_train_options o; /* sizes are final when the constructor returns */
    bk_nn *nn;
    bk_params *params; /* the trainer's; the constructor adds its tensors */
};

/* o: ranges are checked, 0 stands for nothing any more. old: the model or checkpoint to take the
 * vocabulary from, or NULL. The trainer makes the weights' memory between create and init. */
typedef bk_status bk_task_create(const bk_train_options *o, bk_nn *nn, bk_params *params,
                                 const bk_gguf *old, bk_task **out, bk_error *err);
bk_task_create bk_mlp_create, bk_lm_create;

/* A progress callback's call; false when the caller asked to stop (then *err says so). */
bool bk_train_progress(const bk_train_options *o, const char *what, double done, bk_error *err);

#endif
