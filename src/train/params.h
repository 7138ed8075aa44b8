/* The weights of a model that learns: named tensors side by side in one memory, vectors first, then
 * matrices, with gradients and moments in memories alike, so that the optimiser takes them in few
 * passes. When vectors alone learn, these memories end with them. */
#ifndef BRISK_TRAIN_PARAMS_H
#define BRISK_TRAIN_PARAMS_H

#include "device/nn.h"
#include "format/gguf_build.h"

typedef struct bk_param {
    char name[64];
    size_t rows, cols; /* a vector has one row */
    size_t at;         /* its first word in each memory, once they are made */
    bool matrix;       /* decays, and may be of a block type */
    bool joined;       /* right behind the one before */
    bool frozen;       /* keeps its value; it has neither gradient nor moments */
} bk_param;

typedef struct bk_params {
    bk_nn *nn;
    bk_param *list;
    size_t n, cap;
    size_t words, n_weights; /* of all weights, gaps included; without them */
    size_t vectors, learned; /* words of the vectors; of what learns: of grad, m and v */
    bool freeze;             /* matrices do not learn: set before bk_params_create */
    bool failed;             /* memory was short while tensors were added */
    bk_mem *w, *grad, *m, *v;
    bk_mem *best;    /* the weights with the best score, or NULL */
    bk_mem *mask;    /* 0 where a weight was zero when bk_params_keep_zeros came, or NULL */
    bk_mem *rounded; /* w after a round trip through `quant`; NULL without */
    bk_mem *read;    /* what models compute with: w or rounded */
    const bk_quant *quant;
} bk_params;

/* Adding gives the tensor's index, in the order of the calls. `joined`: right behind the one before,
 * so that both can be used as one matrix. Names are those of GGUF files. */
size_t bk_params_matrix(bk_params *p, bool joined, size_t rows, size_t cols, const char *name, ...)
    BK_PRINTF(5, 6);
size_t bk_params_vector(bk_params *p, size_t n, const char *name, ...) BK_PRINTF(3, 4);

/* When all are added: memory for them, zeroed. quant may be NULL. NOMEM. */
bk_status bk_params_create(bk_params *p, const bk_quant *quant, bk_error *err);
void bk_params_free(bk_params *p);
uint64_t bk_params_bytes(const bk_params *p); /* of all its memories */

static inline bk_vec bk_param_w(const bk_params *p, size_t i) {
    return (bk_vec){p->read, p->list[i].at};
}
/* None where it is frozen. */
static inline bk_vec bk_param_grad(const bk_params *p, size_t i) {
    return p->list[i].frozen ? (bk_vec){0} : (bk_vec){p->grad, p->list[i].at};
}
static inline size_t bk_param_count(const bk_param *p) { return p->rows * p->cols; }

/* First values, from a generator of the tensor's own. NOMEM. */
typedef enum bk_init { BK_INIT_NORMAL, BK_INIT_UNIFORM, BK_INIT_CONSTANT } bk_init;
bk_status bk_params_init(bk_params *p, size_t i, bk_init how, double size, uint64_t seed,
                         bk_error *err);

/* Whether models compute with rounded weights from now on; without effect when there is no `quant`.
 * Also after weights have changed otherwise than by the optimiser. */
void bk_params_round(bk_params *p, bool on);
/* After a step of the optimiser: what models read follows. */
void bk_params_refresh(bk_params *p);
/* Weights that a block type holds: those of matrices whose rows are whole blocks. */
size_t bk_params_fitting(const bk_params *p, const bk_quant *type);

/* Weights of matrices that are zero now stay so. */
bk_status bk_params_keep_zeros(bk_params *p, bk_error *err);

/* All tensors of the memory under the names prefix + name; float vectors stay F32, matrices become
 * `type` where a row is whole blocks of it. Read when the file is written. */
void bk_params_put(bk_params *p, bk_mem *from, const char *prefix, const bk_quant *type,
                   bk_gguf_builder *b);
/* UNSUPPORTED when the file has a tensor that is not among them (biases, experts, factors of rotation):
 * without it, it would be another model. In from.c. */
bk_status bk_params_check(const bk_params *p, const bk_gguf *g, bk_error *err);
/* The same back; FORMAT when one is missing or has another shape. */
bk_status bk_params_get(bk_params *p, bk_mem *to, const char *prefix, const bk_gguf *g,
                        bk_error *err);

#endif
