/* Whether a sparse matrix of a file is to stay sparse: where the dense one is faster on this machine its
 * zeros are filled in. Both are multiplied with one vector, some times by turns; matrices that are alike
 * are measured once. */
#ifndef BRISK_MODEL_SPARSE_H
#define BRISK_MODEL_SPARSE_H

#include "device/device.h"
#include "model/model.h"
#include "quant/sparse.h"

enum { BK_SPARSE_KNOWN = 32 };

/* A kind of matrices, with densities within one 32nd. */
typedef struct bk_sparse_known {
    bk_sparse_kind kind;
    bk_type type;
    size_t n_rows, k;
    int density;
    bool faster;
} bk_sparse_known;

typedef struct bk_sparse_choice {
    bk_sparse_use use;
    uint64_t
        token_bytes; /* that decoding reads of the whole model: more than caches hold, or less */
    bk_sparse_known known[BK_SPARSE_KNOWN];
    size_t n;
} bk_sparse_choice;

/* *use: for the device's level and threads. NOMEM, IO. */
bk_status bk_sparse_choose(bk_sparse_choice *c, const bk_device *d, const bk_sparse *s, bool *use,
                           bk_error *err);

#endif
