#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "compress/reconstruct.h"
#include "compress/round.h"
#include "compress/stats.h"
#include "format/gguf_build.h"

enum { MATRICES = 3, DEFAULT_TOKENS = 4096 };
static const size_t INPUT_BYTES = (size_t)1 << 30;
static const char *const names[MATRICES] = {"ffn_gate", "ffn_up", "ffn_down"};

typedef struct ffn {
    const bk_gguf_tensor *dense[MATRICES], *pruned[MATRICES];
    uint8_t *bytes[MATRICES]; /* as fitted */
    bool done;
} ffn;

typedef struct run {
    const bk_gguf *from, *pruned;
    bk_model *model;
    const bk_reconstruct_model_options *o;
    bk_error *err;
    bk_gguf_builder *builder;
    bk_nn *nn;
    bk_stats *stats;
    ffn *blocks; /* [n_blocks] of the model; without matrices where it is none */
    size_t n_blocks, n_ffn, n_done;
    size_t kept; /* bytes of inputs in this pass */
    double spent;
} run;

static void name_of(char name[BK_TENSOR_NAME], size_t block, int matrix) {
    snprintf(name, BK_TENSOR_NAME, "blk.%zu.%s.weight", block, names[matrix]);
}

static bool same_shape(const bk_gguf_tensor *a, const bk_gguf_tensor *b) {
    return a && b && a->n_dims == 2 && b->n_dims == 2 && a->ne[0] == b->ne[0] &&
           a->ne[1] == b->ne[1];
}

static bool find_block(run *r, size_t block, ffn *b) {
    for (int m = 0; m < MATRICES; m++) {
        char name[BK_TENSOR_NAME];
        name_of(name, block, m);
        b->dense[m] = bk_gguf_find_tensor(r->from, name);
        b->pruned[m] = bk_gguf_find_tensor(r->pruned, name);
        if (!same_shape(b->dense[m], b->pruned[m])) return false;
    }
    const uint64_t *gate = b->dense[0]->ne, *up = b->dense[1]->ne, *down = b->dense[2]->ne;
    return gate[0] == up[0] && gate[1] == up[1] && down[0] == gate[1] && down[1] == gate[0];
}

static bk_status find_blocks(run *r) {
    const bk_config *c = bk_model_config(r->model);
    if (c->gelu)
        return bk_fail(r->err, BK_ERR_UNSUPPORTED,
                       "blocks with another activation than SiLU cannot be fitted");
    r->n_blocks = (size_t)c->n_layers;
    r->blocks = bk_alloc_zero(bk_max_size(r->n_blocks, 1), sizeof *r->blocks);
    if (!r->blocks) return bk_fail(r->err, BK_ERR_NOMEM, "no memory for a list of blocks");
    for (size_t i = 0; i < r->n_blocks; i++) {
        bool found = find_block(r, i, &r->blocks[i]);
        if (!found) r->blocks[i] = (ffn){.done = true};
        r->n_ffn += found;
    }
    if (r->n_ffn) return BK_OK;
    return bk_fail(r->err, BK_ERR_UNSUPPORTED,
                   "the model has no feed-forward block of gate, up and down to be fitted");
}

/* ---- Inputs ------------------------------------------------------------------------------------------ */

static bool keep(const char *tensor, size_t k, void *user) {
    run *r = user;
    char name[BK_TENSOR_NAME];
    size_t block, tokens = r->o->max_tokens ? r->o->max_tokens : DEFAULT_TOKENS, bytes;
    size_t most = r->o->input_bytes ? r->o->input_bytes : INPUT_BYTES;
    if (sscanf(tensor, "blk.%9zu.", &block) != 1 || block >= r->n_blocks || r->blocks[block].done)
        return false;
    name_of(name, block, 0);
    if (strcmp(name, tensor) != 0 || !bk_mul_size(tokens, k * sizeof(float), &bytes)) return false;
    if (r->kept && (bytes > most || r->kept > most - bytes)) return false;
    r->kept += bytes;
    return true;
}

static void read_on(double done, void *user) {
    const run *r = user;
    if (r->o->progress) r->o->progress("reading the text", done, r->o->user);
}

static bk_status collect(run *r) {
    size_t tokens = r->o->max_tokens ? r->o->max_tokens : DEFAULT_TOKENS;
    bk_stats_options o = {.context = r->o->context,
                          .max_tokens = tokens,
                          .keep = keep,
                          .progress = read_on,
                          .user = r,
                          .cancel = r->o->cancel};
    bk_stats_destroy(&r->stats);
    r->kept = 0;
    return bk_stats_collect(r->model, r->o->text, &o, &r->stats, r->err);
}

/* ---- One block --------------------------------------------------------------------------------------- */

static bk_status read_matrix(run *r, const bk_gguf *g, const bk_gguf_tensor *t, float **out) {
    const uint8_t *data;
    size_t n = (size_t)t->n_elements;
    bk_status st = bk_gguf_read(g, t, &data, r->err);
    if (st) return st;
    *out = bk_alloc(bk_max_size(n, 1), sizeof **out);
    if (*out) bk_quant_dequantize(t->type, data, *out, n);
    bk_gguf_release(g, t, data);
    return *out ? BK_OK : bk_fail(r->err, BK_ERR_NOMEM, "no memory for %zu weights", n);
}

static bk_status store(run *r, ffn *b, size_t block, int matrix, const float *w) {
    const bk_gguf_tensor *t = b->pruned[matrix];
    const bk_quant *q = t->type;
    size_t k = (size_t)t->ne[0], rows = (size_t)t->ne[1], row = k / q->block_len * q->block_bytes;
    char name[BK_TENSOR_NAME];
    name_of(name, block, matrix);
    const bk_input_stats *s = bk_stats_find(r->stats, name);
    float *importance = bk_alloc(k, sizeof *importance);
    b->bytes[matrix] = bk_gguf_builder_alloc(r->builder, bk_max_size(rows, 1), row);
    if (importance && b->bytes[matrix]) {
        for (size_t j = 0; j < k; j++) importance[j] = s ? (float)s->squares[j] : 1;
        for (size_t i = 0; i < rows; i++)
            bk_round_row(q, false, w + i * k, importance, b->bytes[matrix] + i * row, k);
    }
    bool enough = importance && b->bytes[matrix];
    bk_free(importance);
    return enough ? BK_OK : bk_fail(r->err, BK_ERR_NOMEM, "no memory for fitted %s", name);
}

static bk_status fit(run *r, size_t block, const bk_input_stats *s, float *const w[2 * MATRICES]) {
    ffn *b = &r->blocks[block];
    size_t d = (size_t)b->dense[0]->ne[0], f = (size_t)b->dense[0]->ne[1];
    bk_ffn dense = {d, f, w[0], w[1], w[2]}, pruned = {d, f, w[3], w[4], w[5]};
    bk_reconstruct_options o = {.steps = r->o->steps, .cancel = r->o->cancel};
    bk_reconstruct_result result;
    double left = r->o->seconds - r->spent;
    if (r->o->seconds > 0) /* what others did not need, and at least a moment */
        o.seconds = left > 0 ? left / (double)(r->n_ffn - r->n_done) : 1e-9;
    uint64_t start = bk_now_ns();
    bk_status st =
        bk_reconstruct_ffn(r->nn, s->x, (size_t)s->rows[0], &dense, &pruned, &o, &result, r->err);
    r->spent += (double)(bk_now_ns() - start) * 1e-9;
    for (int m = 0; !st && m < MATRICES && result.after < result.before; m++)
        st = store(r, b, block, m, w[MATRICES + m]);
    if (!st && r->o->seen) r->o->seen((int)block, &result, r->o->user);
    return st;
}

static bk_status fit_block(run *r, size_t block, const bk_input_stats *s) {
    ffn *b = &r->blocks[block];
    float *w[2 * MATRICES] = {NULL};
    bk_status st = BK_OK;
    for (int m = 0; !st && m < MATRICES; m++) {
        st = read_matrix(r, r->from, b->dense[m], &w[m]);
        if (!st) st = read_matrix(r, r->pruned, b->pruned[m], &w[MATRICES + m]);
    }
    if (!st) st = fit(r, block, s, w);
    for (int m = 0; m < 2 * MATRICES; m++) bk_free(w[m]);
    if (st) bk_error_prefix(r->err, "block %zu", block);
    b->done = true;
    r->n_done++;
    if (r->o->progress)
        r->o->progress("fitting blocks", (double)r->n_done / (double)r->n_ffn, r->o->user);
    return st;
}

/* Those whose inputs are there. */
static bk_status fit_blocks(run *r) {
    size_t before = r->n_done;
    bk_status st = BK_OK;
    for (size_t i = 0; !st && i < r->n_blocks; i++) {
        char name[BK_TENSOR_NAME];
        if (r->blocks[i].done) continue;
        name_of(name, i, 0);
        const bk_input_stats *s = bk_stats_find(r->stats, name);
        if (!s || s->k != r->blocks[i].dense[0]->ne[0])
            return bk_fail(r->err, BK_ERR_UNSUPPORTED, "%s has no inputs of its size", name);
        if (s->x) st = fit_block(r, i, s);
    }
    if (!st && r->n_done == before)
        return bk_fail(r->err, BK_ERR_NOMEM, "no inputs of blocks were kept");
    return st;
}

/* ---- A model ----------------------------------------------------------------------------------------- */

static const uint8_t *fitted(const run *r, const bk_gguf_tensor *t) {
    for (size_t i = 0; i < r->n_blocks; i++)
        for (int m = 0; m < MATRICES; m++)
            if (r->blocks[i].pruned[m] == t) return r->blocks[i].bytes[m];
    return NULL;
}

static void add_tensor(run *r, const bk_gguf_tensor *t) {
    const uint8_t *bytes = fitted(r, t);
    char *name = bk_gguf_builder_alloc(r->builder, t->name.len + 1, 1);
    if (!name) return;
    memcpy(name, t->name.data, t->name.len);
    if (bytes || t->data)
        bk_gguf_builder_tensor(r->builder, name, t->type->type, t->n_dims, t->ne,
                               bytes ? bytes : t->data);
    else
        bk_gguf_builder_lazy(r->builder, name, t->type->type, t->n_dims, t->ne, t->fill, t->source);
}

static bk_status run_all(run *r, bk_gguf **out) {
    int threads = r->o->threads ? r->o->threads : bk_cpu_default_threads();
    bk_status st = find_blocks(r);
    if (!st) st = bk_nn_cpu_create(BK_CPU_LEVELS - 1, threads, &r->nn, r->err);
    while (!st && r->n_done < r->n_ffn) {
        st = collect(r);
        if (!st) st = fit_blocks(r);
    }
    if (st) return st;
    bk_gguf_builder_keys_of(r->builder, r->pruned);
    for (size_t i = 0; i < bk_gguf_n_tensors(r->pruned); i++)
        add_tensor(r, bk_gguf_tensor_at(r->pruned, i));
    return bk_gguf_builder_finish(&r->builder, out, r->err);
}

bk_status bk_reconstruct_model(const bk_gguf *from, bk_model *model, const bk_gguf *pruned,
                               const bk_reconstruct_model_options *o, bk_gguf **out,
                               bk_error *err) {
    bk_error own;
    run r = {.from = from, .pruned = pruned, .model = model, .o = o, .err = err ? err : &own};
    *out = NULL;
    r.builder = bk_gguf_builder_create();
    bk_status st =
        r.builder ? run_all(&r, out) : bk_fail(err, BK_ERR_NOMEM, "no memory for a fitted model");
    bk_stats_destroy(&r.stats);
    bk_nn_destroy(&r.nn);
    bk_gguf_builder_destroy(&r.builder);
    bk_free(r.blocks);
    return st;
}
