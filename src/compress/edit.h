/* A model with rows, columns or whole tensors taken out, others renamed, some with new values.
 *
 *     status = bk_edit_create(g, pool, NULL, &e, err);
 *     bk_cut_rows(bk_edit_find(e, "blk.0.ffn_up.weight"), rows, n);
 *     bk_gguf_builder_u32(bk_edit_keys(e), "llama.feed_forward_length", n);
 *     status = bk_edit_finish(&e, &pruned, err);
 *
 * What is only cut out keeps its bytes: a row as a whole always does, columns when whole blocks stay.
 * The rest is rounded again, in its own type where that fits the new rows. */
#ifndef BRISK_COMPRESS_EDIT_H
#define BRISK_COMPRESS_EDIT_H

#include "format/gguf_build.h"
#include "sys/pool.h"

typedef struct bk_edit bk_edit;

/* A tensor of the result. */
typedef struct bk_cut bk_cut;

/* type: of all matrices of the result that it fits; NULL: each its own. g must outlive what finish
 * gives, the pool bk_edit_finish. NOMEM. */
bk_status bk_edit_create(const bk_gguf *g, bk_pool *pool, const bk_quant *type, bk_edit **out,
                         bk_error *err);
void bk_edit_destroy(bk_edit **e);

/* Where keys are replaced. */
bk_gguf_builder *bk_edit_keys(bk_edit *e);

/* By its name in g, or of a copy. NULL when there is none; the functions below then do nothing. */
bk_cut *bk_edit_find(bk_edit *e, const char *name);
/* The same for a printf format with a layer's number. */
bk_cut *bk_edit_layer(bk_edit *e, const char *format, int layer);
/* A second one of the same tensor under another name, behind all others; NULL when memory is short. */
bk_cut *bk_edit_copy(bk_edit *e, const bk_cut *of, const char *name);

const bk_gguf_tensor *bk_cut_tensor(const bk_cut *c);
void bk_cut_omit(bk_cut *c);
void bk_cut_rename(bk_cut *c, const char *name); /* at most 63 bytes */
/* Only these rows stay, numbers of g's, ascending or in any other order; of a vector: these values. Rows
 * may be cut after bk_cut_values as well. The lists are copied. */
void bk_cut_rows(bk_cut *c, const int32_t *rows, size_t n);
void bk_cut_cols(bk_cut *c, const int32_t *cols, size_t n);
/* How much each of the columns that are to stay weighs when its values are rounded; [n], copied. */
void bk_cut_importance(bk_cut *c, const float *importance, size_t n);
/* [rows that stay][columns that stay] instead of what the source has; rounded by this call. UNSUPPORTED
 * when no type takes them, NOMEM, IO. */
bk_status bk_cut_values(bk_cut *c, const float *values, bk_error *err);
/* What it holds now, [rows that stay][columns that stay]: to be changed and given to bk_cut_values. */
bk_status bk_cut_read(const bk_cut *c, float *out, bk_error *err);
size_t bk_cut_n_rows(const bk_cut *c);
size_t bk_cut_n_cols(const bk_cut *c);

/* Rounds what has to be, on all threads; *e is gone. NOMEM and what reading and building fail with. */
bk_status bk_edit_finish(bk_edit **e, bk_gguf **out, bk_error *err);

#endif
