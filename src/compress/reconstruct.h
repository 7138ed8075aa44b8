/* A pruned feed-forward block fitted to what the dense one gives, all three of its matrices together and
 * through the nonlinearity: for a while, by gradients (blockwise reconstruction; Wagner et al. 2025, arXiv
 * 2510.14444, find that it recovers what single matrices cannot). Goes on from closed-form repair. */
#ifndef BRISK_COMPRESS_RECONSTRUCT_H
#define BRISK_COMPRESS_RECONSTRUCT_H

#include "base/str.h"
#include "device/nn.h"
#include "format/gguf.h"
#include "model/model.h"

/* y = down (silu(gate x) * up x) */
typedef struct bk_ffn {
    size_t d, f;
    float *gate, *up; /* [f][d] */
    float *down;      /* [d][f] */
} bk_ffn;

typedef struct bk_reconstruct_options {
    double seconds; /* to spend; 0: steps say */
    int steps;      /* at most; 0: seconds say. With steps alone the result is always the same */
    const volatile bool *cancel; /* polled between steps; may be NULL */
} bk_reconstruct_options;

typedef struct bk_reconstruct_result {
    double before,
        after; /* share of the output's energy lost, over rows that gradients did not see */
    int steps;
} bk_reconstruct_result;

/* x[n][d]: inputs of the block from calibration text, of which the last eighth judges. Weights of
 * `pruned` that are 0 stay 0; when its outputs over the judging rows come no closer, nothing is changed.
 * Adam (Kingma and Ba 2015) over batches of 256 rows, its rate falling to nothing over the budget.
 * INVALID (fewer than 64 rows, no budget, other shapes, something not finite), CANCELLED, NOMEM. */
bk_status bk_reconstruct_ffn(bk_nn *nn, const float *x, size_t n, const bk_ffn *dense,
                             bk_ffn *pruned, const bk_reconstruct_options *options,
                             bk_reconstruct_result *result, bk_error *err);

typedef struct bk_reconstruct_model_options {
    bk_str text;        /* calibration */
    int context;        /* of bk_stats_options */
    size_t max_tokens;  /* 0: 4096 */
    double seconds;     /* for all blocks together, without the reading of the text; 0: steps say */
    int steps;          /* of each block, at most; 0: seconds say */
    size_t input_bytes; /* of inputs kept at a time; 0: 1 GiB. Those of one block are always */
    int threads;        /* 0: bk_cpu_default_threads() */
    void (*progress)(const char *what, double done, void *user); /* may be NULL */
    /* Of each block; may be NULL. */
    void (*seen)(int block, const bk_reconstruct_result *r, void *user);
    void *user;
    const volatile bool *cancel; /* may be NULL */
} bk_reconstruct_model_options;

/* All feed-forward blocks (gate, up and down) of `pruned`, which has the shapes of `from`, fitted to
 * those of `from`, whose model gives the inputs; the matrices keep their types in `pruned`, in which a
 * zero must stay one. Both must outlive the result. UNSUPPORTED (no such block, another activation),
 * INVALID, CANCELLED, NOMEM, IO. */
bk_status bk_reconstruct_model(const bk_gguf *from, bk_model *model, const bk_gguf *pruned,
                               const bk_reconstruct_model_options *o, bk_gguf **out, bk_error *err);

#endif
