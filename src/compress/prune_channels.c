/* Feed-forward channels. Channel i is row i of gate and up and column i of down; it goes from all three
 * at once, so what stays is an ordinary, narrower model.
 *
 * A channel is worth what it adds to the stream, E[z_i^2] |down column i|^2 (Wanda's score, Sun et al.
 * 2023, arXiv 2306.11695, summed over the column; FASP, arXiv 2501.09412). When down is fitted to what
 * is left, what counts is how well the others stand in for it (prune_obs.c). */
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "compress/prune_internal.h"
#include "model/arch.h"

enum { STEP = 64, SMALL = 512, SMALL_STEP = 16 };

/* Kernels run full with so many channels, and the blocks of down's rows stay whole. */
static size_t step_of(const bk_pruning *p) {
    const bk_gguf_tensor *down = bk_gguf_find_tensor(p->g, "blk.0.ffn_down.weight");
    size_t block = (p->type ? p->type : down->type)->block_len;
    return bk_max_size(block, p->config->n_ff < SMALL ? SMALL_STEP : STEP);
}

static void score(const float *down, size_t rows, size_t n, const double *squares, double *out) {
    memset(out, 0, n * sizeof *out);
    for (size_t r = 0; r < rows; r++)
        for (size_t i = 0; i < n; i++) out[i] += (double)down[r * n + i] * (double)down[r * n + i];
    for (size_t i = 0; i < n; i++) out[i] *= squares[i];
}

/* Of gate and up in one matrix the rows of both. */
static bk_status cut_rows(bk_pruning *p, int layer, const int32_t *keep, size_t stay) {
    size_t n = (size_t)p->config->n_ff;
    if (!(p->config->features & BK_FUSED_FF)) {
        bk_cut_rows(bk_edit_layer(p->edit, "blk.%d.ffn_gate.weight", layer), keep, stay);
        bk_cut_rows(bk_edit_layer(p->edit, "blk.%d.ffn_up.weight", layer), keep, stay);
        return BK_OK;
    }
    int32_t *both = bk_alloc(2 * stay, sizeof *both);
    if (!both) return bk_fail(p->err, BK_ERR_NOMEM, "no memory for %zu channels", stay);
    for (size_t i = 0; i < stay; i++) both[i] = keep[i], both[stay + i] = keep[i] + (int32_t)n;
    bk_cut_rows(bk_edit_layer(p->edit, "blk.%d.ffn_up.weight", layer), both, 2 * stay);
    bk_free(both);
    return BK_OK;
}

typedef struct room {
    size_t stay;
    double *score; /* [n_ff] */
    int32_t *keep; /* [n_ff] */
    float *down;   /* [n_embd][n_ff] */
} room;

static bk_status choose(bk_pruning *p, const bk_cut *down, const bk_input_stats *in, room *r) {
    for (size_t i = 0; i < r->stay; i++) r->keep[i] = (int32_t)i;
    if (!in) return BK_OK;
    bk_status st = bk_cut_read(down, r->down, p->err);
    if (st) return st;
    size_t rows = bk_cut_n_rows(down);
    if (in->gram) st = bk_prune_choose(p, r->down, rows, in->k, in->gram, r->stay, r->keep);
    if (in->gram && st != BK_ERR_INVALID) return st;
    score(r->down, rows, in->k, in->squares, r->score);
    return bk_prune_best(p, r->score, in->k, r->stay, r->keep);
}

static bk_status cut_layer(bk_pruning *p, int layer, const bk_input_stats *in, void *user) {
    room *r = user;
    bk_cut *down = bk_edit_layer(p->edit, "blk.%d.ffn_down.weight", layer);
    bk_status st = choose(p, down, in, r);
    if (!st) st = cut_rows(p, layer, r->keep, r->stay);
    return st ? st : bk_prune_inputs(p, down, r->keep, r->stay, in);
}

bk_status bk_prune_channels(bk_pruning *p) {
    const bk_config *c = p->config;
    size_t n = (size_t)c->n_ff;
    room r = {0};
    if (c->features & BK_EXPERTS)
        return bk_fail(p->err, BK_ERR_UNSUPPORTED,
                       "the feed-forward of this model is a mixture of experts, channels are cut "
                       "from one of a single network");
    bk_status st = bk_prune_count(p, "feed-forward channels", n, step_of(p), &r.stay);
    if (st) return st;
    r.score = bk_alloc(n, sizeof *r.score);
    r.keep = bk_alloc(n, sizeof *r.keep);
    r.down = bk_alloc(n * (size_t)c->n_embd, sizeof *r.down);
    if (r.score && r.keep && r.down)
        st = bk_prune_each_layer(p, "blk.%d.ffn_down.weight", n, cut_layer, &r);
    else
        st = bk_fail(p->err, BK_ERR_NOMEM, "no memory for %zu channels", n);
    bk_free(r.score);
    bk_free(r.keep);
    bk_free(r.down);
    bk_prune_key(p, "feed_forward_length", (uint32_t)r.stay);
    snprintf(p->result->removed, sizeof p->result->removed,
             "%zu of %zu feed-forward channels in each of %d layers", n - r.stay, n, c->n_layers);
    return st;
}
