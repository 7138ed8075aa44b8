/* Inside of compress/sparsify.h: choosing among scores, for the whole matrix or for a block of columns. */
#ifndef BRISK_COMPRESS_SPARSIFY_INTERNAL_H
#define BRISK_COMPRESS_SPARSIFY_INTERNAL_H

#include "compress/sparsify.h"

/* Columns [first, end) of a matrix of k, and how many of them go. */
typedef struct bk_choice {
    const bk_sparsify_rule *rule;
    size_t rows, k, first, end;
    const float *score; /* [rows][end - first], not negative */
    uint8_t *gone;      /* the same: 1 where the weight goes */
} bk_choice;

/* All patterns but nm go for blocks too: what goes of [0, k) is what goes of its blocks. */
bk_status bk_choose(bk_nn *nn, const bk_choice *c, bk_error *err);
/* Of the m values of one group; gone[m]. */
void bk_choose_nm(const float *score, size_t n, size_t m, uint8_t *gone);

/* The columns of a block that the pattern can be cut at. */
size_t bk_block_columns(const bk_sparsify_rule *rule);

/* w without what goes by score obs. */
bk_status bk_sparsify_obs(bk_nn *nn, float *w, size_t rows, size_t k, const float *gram,
                          const bk_sparsify_rule *rule, bk_error *err);

#endif
