/* Neurons of a simple network (train/mlp.c): row i of a layer's matrix, its bias, and column i of the next
 * layer's. Every hidden layer loses the same share. A neuron is worth what passes through it when all inputs
 * are alike, |w_in|^2 |w_out|^2. */
#include <stdio.h>

#include "base/mem.h"
#include "compress/prune_internal.h"

typedef struct layer {
    bk_cut *in, *bias, *out;
    size_t n;
} layer;

/* Everything that the cut relies on, compared with the widths that the file gives. */
static bk_status find_layer(bk_pruning *p, size_t i, size_t n_layers, int32_t width, layer *l) {
    *l = (layer){.in = bk_edit_layer(p->edit, "blk.%d.weight", (int)i),
                 .bias = bk_edit_layer(p->edit, "blk.%d.bias", (int)i),
                 .out = i + 1 < n_layers ? bk_edit_layer(p->edit, "blk.%d.weight", (int)i + 1)
                                         : bk_edit_find(p->edit, "output.weight"),
                 .n = width > 0 ? (size_t)width : 0};
    if (l->n && l->in && l->bias && l->out && bk_cut_n_rows(l->in) == l->n &&
        bk_cut_n_cols(l->bias) == l->n && bk_cut_tensor(l->out)->ne[0] == l->n)
        return BK_OK;
    return bk_fail(p->err, BK_ERR_FORMAT,
                   "layer %zu: its matrices do not have the %d neurons of mlp.hidden_lengths", i,
                   width);
}

static bk_status squares(bk_pruning *p, const bk_cut *c, bool by_row, double *out) {
    size_t rows = bk_cut_n_rows(c), cols = bk_cut_n_cols(c);
    float *w = bk_alloc(rows, cols * sizeof *w);
    if (!w) return bk_fail(p->err, BK_ERR_NOMEM, "no memory for %zu rows of %zu", rows, cols);
    bk_status st = bk_cut_read(c, w, p->err);
    for (size_t r = 0; r < rows && !st; r++)
        for (size_t i = 0; i < cols; i++)
            out[by_row ? r : i] += (double)w[r * cols + i] * (double)w[r * cols + i];
    bk_free(w);
    return st;
}

static bk_status cut_layer(bk_pruning *p, const layer *l, size_t stay) {
    double *in = bk_alloc_zero(2 * l->n, sizeof *in), *out = in + l->n;
    int32_t *kept = bk_alloc(l->n, sizeof *kept);
    bk_status st = BK_OK;
    if (!in || !kept) st = bk_fail(p->err, BK_ERR_NOMEM, "no memory for %zu neurons", l->n);
    if (!st) st = squares(p, l->in, true, in);
    if (!st) st = squares(p, l->out, false, out);
    for (size_t i = 0; i < l->n && !st; i++) in[i] *= out[i];
    if (!st) st = bk_prune_best(p, in, l->n, stay, kept);
    if (!st) {
        bk_cut_rows(l->in, kept, stay);
        bk_cut_rows(l->bias, kept, stay);
        bk_cut_cols(l->out, kept, stay);
    }
    bk_free(in);
    bk_free(kept);
    return st;
}

bk_status bk_prune_neurons(bk_pruning *p) {
    const char *key = "mlp.hidden_lengths";
    int32_t *widths = NULL;
    size_t n = 0, before = 0, after = 0;
    bk_status st = bk_gguf_i32_array(p->g, key, &widths, &n, p->err);
    if (st == BK_ERR_NOT_FOUND) st = bk_fail(p->err, BK_ERR_FORMAT, "key '%s' is missing", key);
    for (size_t i = 0; i < n && !st; i++) {
        layer l;
        size_t stay = 0;
        st = find_layer(p, i, n, widths[i], &l);
        if (!st) st = bk_prune_count(p, "neurons of a layer", l.n, 1, &stay);
        if (!st) st = cut_layer(p, &l, stay);
        before += l.n, after += stay;
        widths[i] = (int32_t)stay;
    }
    if (!st) bk_gguf_builder_i32s(bk_edit_keys(p->edit), key, widths, n);
    p->result->ratio = before ? 1 - (double)after / (double)before : 0;
    snprintf(p->result->removed, sizeof p->result->removed, "%zu of %zu neurons in %zu layers",
             before - after, before, n);
    bk_free(widths);
    return st;
}
