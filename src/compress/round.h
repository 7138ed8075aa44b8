/* A model with its tensors in other types: what `convert` and `quantize` write. */
#ifndef BRISK_COMPRESS_ROUND_H
#define BRISK_COMPRESS_ROUND_H

#include "compress/imatrix.h"
#include "format/gguf.h"
#include "sys/pool.h"

/* The type of that name, in whatever case, which weights can be rounded to; INVALID names all there are. */
bk_status bk_round_type(const char *name, const bk_quant **out, bk_error *err);
static inline bool bk_round_to(const bk_quant *q) { return q && (q->quantize || q->search); }
/* The same, or to be rounded as a whole tensor (quant/affine.h): what bk_round_model can do. */
static inline bool bk_round_whole_to(const bk_quant *q) {
    return bk_round_to(q) || (q && q->type == BK_TYPE_Q8_AFFINE);
}

/* One row of n weights. `plain`: to the nearest, one by one, where the type has that; otherwise the
 * search, weighed by importance[n] (NULL: by the type's own measure). */
void bk_round_row(const bk_quant *to, bool plain, const float *x, const float *importance,
                  void *blocks, size_t n);

/* What was rounded stays here, so that it can be read again: of each tensor the last type. */
typedef struct bk_round_cache {
    size_t n;
    struct {
        const bk_quant *type; /* NULL: nothing yet */
        uint8_t *blocks;
    } * tensors;
} bk_round_cache;

bk_status bk_round_cache_init(bk_round_cache *c, const bk_gguf *from, bk_error *err);
void bk_round_cache_free(bk_round_cache *c);

typedef struct bk_round_options {
    const bk_imatrix *imatrix; /* NULL: none */
    bool plain;
    int file_type;         /* general.file_type; -1: that of the type of most weights */
    bk_round_cache *cache; /* NULL: none */
    bk_pool *pool;         /* rows are shared by its threads; NULL: one thread */
    void (*progress)(double done, void *user); /* may be NULL; from the thread that reads */
    void *user;
    const volatile bool *cancel; /* polled between rows; may be NULL */
} bk_round_options;

/* types[i] of tensor i of `from`, which keeps its bytes where that is the type it has. Rows are rounded
 * when a tensor is read, so the result takes no memory to speak of; everything named by the arguments
 * must outlive it. A tensor that is not to be found in the importance matrix, or with other sizes, is
 * rounded without. INVALID (a type that does not fit or cannot be rounded to), NOMEM; reading:
 * FORMAT (a weight is NaN or infinite), CANCELLED. */
bk_status bk_round_model(const bk_gguf *from, const bk_quant *const *types,
                         const bk_round_options *options, bk_gguf **out, bk_error *err);

/* Means of x^2 of a tensor's columns, [n_matrices][k], to be freed with bk_free: what a matrix has not
 * seen counts alike in all columns. NULL (and BK_OK) where the importance matrix has nothing of it. */
bk_status bk_round_importance(const bk_imatrix *m, const bk_gguf_tensor *t, float **out,
                              bk_error *err);

#endif
