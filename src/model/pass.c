/* Recording commands, for whatever kind of model. */
#include "model/arch.h"

bk_cmd *bk_pass_add(bk_pass *p, bk_op op, const char *what, size_t rows) {
    bk_cmd *c = &p->cmds[p->n_cmds++];
    *c = (bk_cmd){.op = op, .what = what, .rows = rows};
    return c;
}

bk_cmd *bk_pass_products(bk_pass *p, const char *what, size_t rows, bk_input input, bool add) {
    bk_cmd *c = bk_pass_add(p, BK_OP_PRODUCT, what, rows);
    c->product.input = input;
    c->product.add = add;
    c->product.fast = p->fast && input.index != p->logit_rows; /* logits are exact */
    return c;
}

void bk_pass_product(bk_cmd *c, const bk_weight *w, float *y, size_t ld) {
    int i = c->product.n++;
    c->product.w[i] = w;
    c->product.out[i] = y;
    c->product.ldo[i] = ld;
}
