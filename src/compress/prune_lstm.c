/* Hidden units of an LSTM. Unit i is row i of each of the four gates' matrices and biases, column i of the
 * recurrent matrix, and column i of whatever reads the layer: the next layer, the projection or the
 * decoder. All layers lose as many; whoever read them is fitted to what the others say.
 *
 * A unit is worth what its readers take from it, E[h_i^2] times their columns' squares. */
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "compress/prune_internal.h"
#include "model/arch.h"

enum { STEP = 16 };

typedef struct units {
    size_t n, stay;
    double *score;  /* [n] */
    int32_t *keep;  /* [stay] */
    int32_t *gates; /* [4 * stay] rows of the stacked gates */
} units;

/* What reads layer l beside itself. */
static bk_cut *reader_of(bk_pruning *p, int layer) {
    if (layer + 1 < p->config->n_layers)
        return bk_edit_layer(p->edit, "blk.%d.lstm_ih.weight", layer + 1);
    bk_cut *c = bk_edit_find(p->edit, "output_proj.weight");
    return c ? c : bk_edit_find(p->edit, "output.weight");
}

static bk_status add_columns(bk_pruning *p, const bk_cut *c, double *score) {
    size_t rows = bk_cut_n_rows(c), n = bk_cut_n_cols(c);
    float *w = bk_alloc(rows, n * sizeof *w);
    if (!w) return bk_fail(p->err, BK_ERR_NOMEM, "no memory for %zu rows of %zu", rows, n);
    bk_status st = bk_cut_read(c, w, p->err);
    for (size_t r = 0; r < rows && !st; r++)
        for (size_t i = 0; i < n; i++) score[i] += (double)w[r * n + i] * (double)w[r * n + i];
    bk_free(w);
    return st;
}

static bk_status choose(bk_pruning *p, const bk_cut *own, const bk_cut *reader,
                        const bk_input_stats *in, units *u) {
    memset(u->score, 0, u->n * sizeof *u->score);
    bk_status st = in ? add_columns(p, own, u->score) : BK_OK;
    if (!st && in) st = add_columns(p, reader, u->score);
    for (size_t i = 0; i < u->n && in; i++) u->score[i] *= in->squares[i];
    if (!st) st = bk_prune_best(p, u->score, u->n, u->stay, u->keep);
    for (size_t g = 0; g < 4 && !st; g++)
        for (size_t i = 0; i < u->stay; i++)
            u->gates[g * u->stay + i] = (int32_t)(g * u->n) + u->keep[i];
    return st;
}

static bk_status cut_layer(bk_pruning *p, int layer, const bk_input_stats *in, void *user) {
    static const char *const stacked[] = {"blk.%d.lstm_ih.weight", "blk.%d.lstm_ih.bias",
                                          "blk.%d.lstm_hh.weight", "blk.%d.lstm_hh.bias"};
    units *u = user;
    bk_cut *own = bk_edit_layer(p->edit, "blk.%d.lstm_hh.weight", layer);
    bk_cut *reader = reader_of(p, layer);
    bk_status st = choose(p, own, reader, in, u);
    if (st) return st;
    for (size_t i = 0; i < BK_ARRAY_LEN(stacked); i++)
        bk_cut_rows(bk_edit_layer(p->edit, stacked[i], layer), u->gates, 4 * u->stay);
    st = bk_prune_inputs(p, own, u->keep, u->stay, in);
    return st ? st : bk_prune_inputs(p, reader, u->keep, u->stay, in);
}

/* A decoder that is the embedding's matrix gets one of its own: the embedding keeps all columns. */
static bk_status untie(bk_pruning *p) {
    if (bk_edit_find(p->edit, "output.weight") || bk_edit_find(p->edit, "output_proj.weight"))
        return BK_OK;
    if (bk_edit_copy(p->edit, bk_edit_find(p->edit, "token_embd.weight"), "output.weight"))
        return BK_OK;
    return bk_fail(p->err, BK_ERR_NOMEM, "no memory for a decoder");
}

static size_t step_of(const bk_pruning *p) {
    const bk_gguf_tensor *hh = bk_gguf_find_tensor(p->g, "blk.0.lstm_hh.weight");
    return bk_max_size(STEP, (p->type ? p->type : hh->type)->block_len);
}

bk_status bk_prune_units(bk_pruning *p) {
    const bk_config *c = p->config;
    units u = {.n = (size_t)c->n_hidden};
    bk_status st = bk_prune_count(p, "hidden units", u.n, step_of(p), &u.stay);
    if (!st) st = untie(p);
    if (st) return st;
    u.score = bk_alloc(u.n, sizeof *u.score);
    u.keep = bk_alloc(u.n, sizeof *u.keep);
    u.gates = bk_alloc(4 * u.n, sizeof *u.gates);
    if (u.score && u.keep && u.gates)
        st = bk_prune_each_layer(p, "blk.%d.lstm_hh.weight", u.n, cut_layer, &u);
    else
        st = bk_fail(p->err, BK_ERR_NOMEM, "no memory for %zu units", u.n);
    bk_prune_key(p, "hidden_length", (uint32_t)u.stay);
    if (!bk_gguf_find_tensor(p->g, "output_proj.weight"))
        bk_prune_key(p, "output_length", (uint32_t)u.stay);
    snprintf(p->result->removed, sizeof p->result->removed,
             "%zu of %zu hidden units in each of %d layers", u.n - u.stay, u.n, c->n_layers);
    bk_free(u.score);
    bk_free(u.keep);
    bk_free(u.gates);
    return st;
}
