#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "compress/budget.h"
#include "compress/sparsify_model.h"
#include "format/gguf_build.h"

enum { GRID = 4 };
static const double OF_RATIO[GRID] = {0, 0.75, 1, 1.25};

typedef struct ratios {
    const bk_gguf *from;
    bk_model *model;
    bk_sparsify_options o;
    bk_sparsify_judge judge;
    void *judge_user;
    bk_error *err;
    size_t n;        /* blocks */
    double *weights; /* [n] that can go */
    double *damage;  /* [n][GRID] */
    double grid[GRID];
} ratios;

static int block_of(bk_str name) {
    char start[24] = "";
    int block = -1;
    memcpy(start, name.data, bk_min_size(name.len, sizeof start - 1));
    return sscanf(start, "blk.%9d.", &block) == 1 ? block : -1;
}

/* ---- A model with one block of another ---------------------------------------------------------------- */

static void add(bk_gguf_builder *b, const bk_gguf_tensor *t) {
    char *name = bk_gguf_builder_alloc(b, t->name.len + 1, 1);
    if (!name) return;
    memcpy(name, t->name.data, t->name.len);
    if (t->data)
        bk_gguf_builder_tensor(b, name, t->type->type, t->n_dims, t->ne, t->data);
    else
        bk_gguf_builder_lazy(b, name, t->type->type, t->n_dims, t->ne, t->fill, t->source);
}

/* Both have the same tensors in the same order. */
static bk_status mix(const bk_gguf *from, const bk_gguf *other, int block, bk_gguf **out,
                     bk_error *err) {
    bk_gguf_builder *b = bk_gguf_builder_create();
    if (b) bk_gguf_builder_keys_of(b, from);
    for (size_t i = 0; b && i < bk_gguf_n_tensors(from); i++) {
        const bk_gguf_tensor *t = bk_gguf_tensor_at(from, i);
        add(b, block_of(t->name) == block ? bk_gguf_tensor_at(other, i) : t);
    }
    return bk_gguf_builder_finish(&b, out, err);
}

/* ---- Curves ------------------------------------------------------------------------------------------ */

static void count(const bk_sparsified *m, const bk_quant *type, void *user) {
    (void)type;
    ratios *r = user;
    int block = block_of(m->tensor->name);
    if (block >= 0 && (size_t)block < r->n)
        r->weights[block] = r->weights[block] + (double)(m->n_matrices * m->rows * m->k);
}

static bk_status judge_block(ratios *r, const bk_gguf *pruned, size_t block, size_t g) {
    bk_gguf *mixed = NULL;
    double *to = &r->damage[block * GRID + g];
    if (r->o.cancel && *r->o.cancel) return bk_fail(r->err, BK_ERR_CANCELLED, "cancelled");
    bk_status st = mix(r->from, pruned, (int)block, &mixed, r->err);
    if (!st) st = r->judge(mixed, to, r->judge_user, r->err);
    if (!st && !isfinite(*to))
        st = bk_fail(r->err, BK_ERR_FORMAT, "the model without part of block %zu is judged %g",
                     block, *to);
    if (!st) *to = fmax(*to, r->damage[block * GRID + g - 1]); /* noise: no curve falls */
    bk_gguf_destroy(&mixed);
    return st;
}

static bool chosen(const char *tensor, void *user) {
    const ratios *r = user;
    if (block_of(bk_str_from(tensor)) < 0) return false;
    return r->o.chosen ? r->o.chosen(tensor, r->o.user) : !strstr(tensor, "ffn_gate_inp");
}

static void forward(const char *what, double done, void *user) {
    const ratios *r = user;
    if (r->o.progress) r->o.progress(what, done, r->o.user);
}

static bk_status measure(ratios *r, size_t g) {
    bk_gguf *pruned = NULL;
    bk_sparsify_options o = r->o;
    o.rule.ratio = r->grid[g];
    o.spread = BK_SPREAD_UNIFORM;
    o.ratios = NULL;
    o.chosen = chosen;
    o.progress = forward;
    o.user = r;
    memset(r->weights, 0, r->n * sizeof *r->weights);
    bk_status st = bk_sparsify_gguf(r->from, r->model, &o, NULL, count, &pruned, r->err);
    for (size_t i = 0; !st && i < r->n; i++) {
        if (r->weights[i] > 0) st = judge_block(r, pruned, i, g);
        forward("judging blocks", (double)((g - 1) * r->n + i + 1) / (double)((GRID - 1) * r->n),
                r);
    }
    bk_gguf_destroy(&pruned);
    return st;
}

static bk_status measure_all(ratios *r, double *out) {
    bk_status st = BK_OK;
    for (size_t g = 0; g < GRID; g++)
        r->grid[g] = fmin(OF_RATIO[g], 1 / r->o.rule.ratio) * r->o.rule.ratio;
    /* Above 0.8 the last but one is lower, so that numbers still ascend. */
    if (r->grid[2] >= r->grid[3]) r->grid[2] = (r->grid[1] + r->grid[3]) / 2;
    for (size_t g = 1; !st && g < GRID; g++) st = measure(r, g);
    if (st) return st;
    return bk_budget_ratios(r->weights, r->damage, r->n, r->grid, GRID, r->o.rule.ratio, out,
                            r->err);
}

static size_t count_blocks(const bk_gguf *g) {
    size_t n = 0;
    for (size_t i = 0; i < bk_gguf_n_tensors(g); i++)
        n = bk_max_size(n, (size_t)(block_of(bk_gguf_tensor_at(g, i)->name) + 1));
    return n;
}

bk_status bk_sparsify_ratios(const bk_gguf *from, bk_model *model, const bk_sparsify_options *o,
                             bk_sparsify_judge judge, void *judge_user, double **out, size_t *n,
                             bk_error *err) {
    bk_error own;
    ratios r = {.from = from, .model = model, .o = *o, .judge = judge, .judge_user = judge_user};
    r.err = err ? err : &own;
    *out = NULL;
    *n = r.n = count_blocks(from);
    if (o->rule.pattern == BK_PATTERN_NM || !(o->rule.ratio > 0 && o->rule.ratio <= 1))
        return bk_fail(err, BK_ERR_INVALID,
                       "ratios of blocks are measured for one from 0 to 1, without n:m");
    if (!r.n) return bk_fail(err, BK_ERR_UNSUPPORTED, "the model has no blocks");
    r.weights = bk_alloc_zero(r.n, sizeof *r.weights);
    r.damage = bk_alloc_zero(r.n, GRID * sizeof *r.damage);
    *out = bk_alloc_zero(r.n, sizeof **out);
    bk_status st = BK_OK;
    if (!r.weights || !r.damage || !*out)
        st = bk_fail(err, BK_ERR_NOMEM, "no memory for ratios of %zu blocks", r.n);
    if (!st) st = measure_all(&r, *out);
    bk_free(r.weights);
    bk_free(r.damage);
    if (st) {
        bk_free(*out);
        *out = NULL;
    }
    return st;
}
