/* What flows into the matrices of a model while it reads a text: the statistics that weighted rounding
 * and pruning go by. A pass of the model with an observer (device/device.h) collects them. */
#ifndef BRISK_COMPRESS_STATS_H
#define BRISK_COMPRESS_STATS_H

#include "model/model.h"

/* Of the input rows x[k] of a matrix, or of each matrix of a stack of experts. */
typedef struct bk_input_stats {
    size_t k, n_matrices; /* n_matrices: experts, else 1 */
    uint64_t *rows;       /* [n_matrices] seen */
    double *squares;      /* [n_matrices][k] sums of x^2 */
    double *sums;         /* [n_matrices][k] sums of x */
    float *gram;          /* [k][k] sum of x x^T; NULL: not wanted, or of experts */
    float *x;             /* [rows][k] the rows themselves; likewise */
} bk_input_stats;

typedef struct bk_stats bk_stats;

typedef struct bk_stats_options {
    int context;       /* tokens a window, each computed from nothing; 0: 512 */
    size_t max_tokens; /* of the text that are read, from all over it; 0: all */
    /* Whether the Gram matrix of this tensor's input is wanted, k * k floats; NULL: of none. */
    bool (*gram)(const char *tensor, size_t k, void *user);
    /* Whether the rows are kept. */
    bool (*keep)(const char *tensor, size_t k, void *user);
    void (*progress)(double done, void *user); /* may be NULL */
    void *user;
    const volatile bool *cancel; /* polled between windows; may be NULL */
} bk_stats_options;

/* Reads the text in whole windows, the first token of each replaced by the begin token where the model
 * wants one; the rest that fills none is left out. options may be NULL. Nothing else may use the model
 * meanwhile. INVALID (a text shorter than a window), CANCELLED, NOMEM. */
bk_status bk_stats_collect(bk_model *model, bk_str text, const bk_stats_options *options,
                           bk_stats **out, bk_error *err);
void bk_stats_destroy(bk_stats **s);

/* By the tensor's name in the file ("blk.0.ffn_down.weight"; of a tied head "token_embd.weight", what
 * goes into it as the head). Matrices that read the same rows share an entry. NULL: the model
 * multiplies nothing by it. */
const bk_input_stats *bk_stats_find(const bk_stats *s, const char *tensor);

size_t bk_stats_tokens(const bk_stats *s); /* that were read */
size_t bk_stats_windows(const bk_stats *s);
/* All names, n of them, in the order of a pass. */
size_t bk_stats_n(const bk_stats *s);
const char *bk_stats_name(const bk_stats *s, size_t i);

#endif
