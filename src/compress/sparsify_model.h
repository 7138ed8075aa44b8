/* All matrices of a model with zeros in them. Matrices go by their order in a pass of the model; where
 * Gram matrices are wanted the text is read as often as their memory asks for, always by the model as it
 * was. */
#ifndef BRISK_COMPRESS_SPARSIFY_MODEL_H
#define BRISK_COMPRESS_SPARSIFY_MODEL_H

#include "base/str.h"
#include "compress/sparsify.h"
#include "format/gguf.h"
#include "model/model.h"

/* How the ratio is spread over the model's layers. */
typedef enum bk_spread {
    BK_SPREAD_UNIFORM,
    /* Less goes from layers with a larger share of outliers, |w| ||x_j|| above five times the layer's
     * mean; ratios differ from the mean by 0.08 at most (OWL, Yin et al. 2024, arXiv 2310.05175). */
    BK_SPREAD_OUTLIERS
} bk_spread;

typedef struct bk_sparsify_options {
    bk_sparsify_rule rule; /* its ratio: of all weights of the matrices together */
    bk_spread spread;      /* of no effect with nm */
    /* [blocks of the model] of each blk.N, instead of rule.ratio and spread; NULL: those. */
    const double *ratios;
    size_t n_ratios;
    /* Whether the matrix of this name is pruned; NULL: all of blk.N but those that choose experts. */
    bool (*chosen)(const char *tensor, void *user);
    bk_str text; /* calibration; not needed for magnitude without repair in one spread */
    int context; /* of bk_stats_options, as the next */
    size_t max_tokens;
    size_t gram_bytes; /* of Gram matrices at a time; 0: 1 GiB. One is always taken */
    int threads;       /* 0: bk_cpu_default_threads() */
    void (*progress)(const char *what, double done, void *user); /* may be NULL */
    void *user;                                                  /* of chosen and progress */
    const volatile bool *cancel; /* polled between matrices and windows; may be NULL */
} bk_sparsify_options;

/* A matrix, or a stack of one for each expert, that is done. */
typedef struct bk_sparsified {
    const char *name;
    const bk_gguf_tensor *tensor; /* of the model before */
    size_t rows, k, n_matrices;
    const float *w;            /* [n_matrices][rows][k] */
    const double *squares;     /* [n_matrices][k] of the inputs, or NULL */
    double ratio;              /* that was asked for */
    bk_sparsify_result result; /* of a stack: the zeros of all, no error */
} bk_sparsified;
typedef bk_status (*bk_sparsify_store)(const bk_sparsified *m, void *user, bk_error *err);

/* Hands each pruned matrix to `store`, whose failure ends all. `model` is `from`, loaded; NULL when no
 * statistics are needed. INVALID (a rule that does not fit a matrix, whose name is told; no text), what
 * statistics fail with, UNSUPPORTED (experts with obs or repair, which would take a Gram matrix for
 * each; no matrix is chosen), CANCELLED, NOMEM, IO. */
bk_status bk_sparsify_model(const bk_gguf *from, bk_model *model, const bk_sparsify_options *o,
                            bk_sparsify_store store, void *store_user, bk_error *err);

/* The same into a model: matrices in `type`, or with NULL each in its own where a zero stays one in it,
 * else in Q8_0, else F16. `from` must outlive the result. seen: of each matrix, may be NULL. INVALID when
 * type does not keep zeros or does not fit the rows of a matrix. */
bk_status bk_sparsify_gguf(const bk_gguf *from, bk_model *model, const bk_sparsify_options *o,
                           const bk_quant *type,
                           void (*seen)(const bk_sparsified *m, const bk_quant *type, void *user),
                           bk_gguf **out, bk_error *err);

/* How much worse a model has become: 0 or more, such as the divergence of its predictions from those of
 * the model before. The model is gone when this returns. */
typedef bk_status (*bk_sparsify_judge)(const bk_gguf *pruned, double *damage, void *user,
                                       bk_error *err);

/* A ratio for each block of the model, by what was measured: with only blk.N pruned, at three quarters,
 * all and five quarters of the rule's ratio, how much worse the model is, for each N; then the ratios at
 * which all together are least worse (bk_budget_ratios) while as many weights go. No block
 * loses more than five quarters. Judges three models for each block. ratios[*n] is to be freed with bk_free. Errors
 * of bk_sparsify_gguf and of the judge; INVALID with nm, whose ratio is given. */
bk_status bk_sparsify_ratios(const bk_gguf *from, bk_model *model, const bk_sparsify_options *o,
                             bk_sparsify_judge judge, void *judge_user, double **ratios, size_t *n,
                             bk_error *err);

/* Whether weights that are 0 are 0 after a round trip, whatever stands beside them. */
bool bk_quant_keeps_zeros(const bk_quant *type);

#endif
