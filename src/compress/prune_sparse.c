/* What pruning left, with matrices of many zeros as sparse tensors. */
#include "compress/prune_internal.h"
#include "format/gguf_sparse.h"

bk_status bk_prune_store_sparse(bk_pruning *p, bk_gguf *dense, bk_gguf **out) {
    enum { PERCENT = 90 }; /* of a dense tensor's bytes, what it may take at most */
    bk_gguf_sparsify_options o = {.most = PERCENT / 100.0};
    size_t n = 0;
    bk_status st = bk_gguf_sparsify(dense, &o, out, &n, p->err);
    p->result->sparse_tensors = n;
    if (st || n) return st;
    bk_gguf_destroy(out);
    return bk_fail(p->err, BK_ERR_INVALID,
                   "no matrix is smaller as a sparse one: they take Q4_0 or Q8_0 (--type) and more "
                   "zeros, best in blocks");
}
