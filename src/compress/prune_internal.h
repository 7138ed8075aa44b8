/* What the strategies share. */
#ifndef BRISK_COMPRESS_PRUNE_INTERNAL_H
#define BRISK_COMPRESS_PRUNE_INTERNAL_H

#include "compress/edit.h"
#include "compress/prune.h"
#include "compress/stats.h"
#include "device/nn.h"

typedef struct bk_pruning {
    const bk_prune_options *o;
    const bk_gguf *g;
    bk_model *model;         /* NULL for the simple network, architecture mlp */
    const bk_config *config; /* likewise */
    const char *arch;
    bk_pool *pool;
    bk_nn *nn;            /* for compress/linalg.h */
    const bk_quant *type; /* asked for; NULL: none */
    bk_edit *edit;        /* what is being made */
    double ratio;         /* to leave out */
    bool draft;           /* to be timed alone: any choice of the right size will do */
    bk_prune_result *result;
    bk_error *err;
} bk_pruning;

/* Each records in p->edit what goes, and in p->result how much that was. */
bk_status bk_prune_channels(bk_pruning *p);
bk_status bk_prune_layers(bk_pruning *p);
bk_status bk_prune_heads(bk_pruning *p);
bk_status bk_prune_units(bk_pruning *p);
bk_status bk_prune_neurons(bk_pruning *p);
/* Makes the whole result. */
bk_status bk_prune_weights(bk_pruning *p, bk_gguf **out);

/* The same model, which must outlive *out, with sparse tensors; INVALID when none is worth it. */
bk_status bk_prune_store_sparse(bk_pruning *p, bk_gguf *dense, bk_gguf **out);

bk_status bk_prune_cancelled(const bk_pruning *p);
void bk_prune_progress(const bk_pruning *p, const char *what, double done);

/* Calls fn for every layer in turn with what flowed into its tensor of that name ("blk.%d.name.weight",
 * of k inputs) while the model read the calibration text: with the Gram matrix, where there is to be
 * repair; memory for at most some hundred megabytes of these is taken at a time. NULL for a draft. */
typedef bk_status (*bk_prune_layer)(bk_pruning *p, int layer, const bk_input_stats *in, void *user);
bk_status bk_prune_each_layer(bk_pruning *p, const char *name, size_t k, bk_prune_layer fn,
                              void *user);

/* The matrix keeps these of its inputs. With the Gram matrix of all of them (NULL: there is no repair)
 * what is left is changed as compress/repair.h says. in: what flowed into it, which weighs the rounding;
 * NULL: nothing is known. */
bk_status bk_prune_inputs(bk_pruning *p, bk_cut *c, const int32_t *keep, size_t stay,
                          const bk_input_stats *in);

/* How many of n stay when ratio of them go, in steps: a multiple of step, at least one and not all of
 * n. INVALID when there is none. */
bk_status bk_prune_count(bk_pruning *p, const char *what, size_t n, size_t step, size_t *stay);

/* The `stay` of n with the highest scores, ascending in out[stay]. NOMEM. */
bk_status bk_prune_best(bk_pruning *p, const double *score, size_t n, size_t stay, int32_t *out);

/* The `stay` of k inputs of w[rows][k] that the fitted outputs lose least with, given gram[k][k]. INVALID
 * when that is singular even with damping, NOMEM. (prune_obs.c) */
bk_status bk_prune_choose(bk_pruning *p, const float *w, size_t rows, size_t k, const float *gram,
                          size_t stay, int32_t *keep);
/* What linalg.h takes as the share of the mean: a tenth of the diagonal's median. */
float bk_prune_damping(const float *gram, size_t k);

/* "ARCH.suffix" */
void bk_prune_key(bk_pruning *p, const char *suffix, uint32_t v);

/* The speeds of both, run in turns; n_prompt 0: decoding alone. */
bk_status bk_prune_measure(bk_pruning *p, bk_model *after, int repetitions, int n_prompt);
/* Sizes, and with the options for it quality and speed. */
bk_status bk_prune_report(bk_pruning *p, const bk_gguf *after);
/* Of a model in memory. */
bk_status bk_prune_load(bk_pruning *p, const bk_gguf *g, bk_model **out);

#endif
