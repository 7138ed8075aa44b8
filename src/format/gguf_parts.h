/* Tensors in brisk's own ways of storing weights, in files that stay GGUF.
 *
 * The key brisk.extensions (strings) names the ways that a file uses. A tensor NAME stored so is absent
 * under its name: the file has ordinary tensors NAME.SUFFIX, so that other readers open it, list it, and
 * refuse the model by the name that is missing. bk_gguf_open puts each such tensor together again:
 * whoever reads the model sees NAME as one dense tensor, whose bytes are made when they are asked for,
 * and not its parts. A new way is a line in the table of gguf_parts.c and a function. */
#ifndef BRISK_FORMAT_GGUF_PARTS_H
#define BRISK_FORMAT_GGUF_PARTS_H

#include "format/gguf.h"

/* Fills in type, n_dims, ne, fill and source of the tensor called t->name, whose first part has been
 * found; memory is of the model's arena (bk_gguf_alloc). FORMAT, UNSUPPORTED, NOMEM. */
typedef bk_status (*bk_gguf_join)(bk_gguf *g, bk_gguf_tensor *t, bk_error *err);

/* Puts together all tensors that are stored in parts; without brisk.extensions there are none. That key
 * and those of the ways, brisk.WAY.*, are gone afterwards: what is written from the model is dense.
 * UNSUPPORTED for a way that is not known here; FORMAT, NOMEM. */
bk_status bk_gguf_join_parts(bk_gguf *g, bk_error *err);

/* Part NAME.suffix of a type and, unless 0, of so many bytes, which from now on is no tensor by itself.
 * FORMAT naming it. */
bk_status bk_gguf_part(bk_gguf *g, bk_str name, const char *suffix, bk_type type, size_t bytes,
                       const bk_gguf_tensor **out, bk_error *err);

/* Zeroed memory that lives as long as the model; NULL when short. */
void *bk_gguf_alloc(bk_gguf *g, size_t n, size_t size);

/* The ways. */
bk_status bk_gguf_join_sparse(bk_gguf *g, bk_gguf_tensor *t, bk_error *err);
bk_status bk_gguf_join_affine(bk_gguf *g, bk_gguf_tensor *t, bk_error *err);

#endif
