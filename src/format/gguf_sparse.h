/* Sparse tensors in GGUF files: NAME.index, NAME.scales and NAME.values, which are the arrays of
 * quant/sparse.h, and a key brisk.sparse.NAME of four integers: kind, number of the dense type, rows and
 * columns. bk_gguf_open makes dense tensors of them (format/gguf_parts.h). */
#ifndef BRISK_FORMAT_GGUF_SPARSE_H
#define BRISK_FORMAT_GGUF_SPARSE_H

#include "format/gguf_build.h"
#include "quant/sparse.h"

/* How the file has a tensor; NULL when it is stored densely. */
const bk_sparse *bk_gguf_sparse_of(const bk_gguf_tensor *t);

typedef struct bk_gguf_sparsify_options {
    bk_sparse_kind kind; /* 0: tiles or bits, whichever takes less */
    double most;         /* bytes that a sparse tensor may take, as a share of the dense one's */
} bk_gguf_sparsify_options;

/* A model whose matrices of Q4_0 and Q8_0 are stored sparsely where that takes at most the share that is
 * wanted, and nothing else changed; *n (may be NULL) counts them. The sparse ones are in memory until
 * *out is destroyed, which `from` must outlive. IO, NOMEM. */
bk_status bk_gguf_sparsify(const bk_gguf *from, const bk_gguf_sparsify_options *o, bk_gguf **out,
                           size_t *n, bk_error *err);

#endif
