/* How much an error in a tensor matters: what the model says differently when it is there. */
#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "compress/allocate.h"
#include "model/model.h"

enum {
    BANDS = 4,    /* groups of neighbouring layers that a role is measured in */
    WINDOW = 128, /* tokens of a window, of which there are */
    N_WINDOWS = 4,
    PROBE = BK_TYPE_Q4_0
};

/* Errors are blown up by this, which the divergence feels squared: above the noise of activations that
 * round differently, and still small. */
#define BLOWN_UP 2.0f

/* What varies together: a role in a band of layers, or one tensor in no role. */
static size_t group_of(const bk_allocation *a, size_t i, int n_layers) {
    const bk_gguf_tensor *t = bk_gguf_tensor_at(a->source, a->items[i].tensor);
    int role = bk_tensor_role(t, a->tied), layer = bk_tensor_layer(t);
    if (role == 0) return (size_t)1000 + i;
    return (size_t)(role * BANDS + layer * BANDS / n_layers);
}

/* ---- Errors into the model ---------------------------------------------------------------------- */

typedef struct variant {
    const bk_allocation *a;
    const bk_gguf_tensor *t;
    const bk_quant *to; /* the type that the model has */
    float factor;       /* of the probe's errors; 0: none */
    const uint8_t *data;
    const float *importance;
    uint8_t *out, *blocks; /* blocks: [threads][8 * k] */
    float *scratch;        /* [threads][2 * k] */
    size_t k, n_rows;
} variant;

static void make_row(const variant *v, size_t r, int thread) {
    const bk_quant *from = v->t->type, *probe = bk_quant_find(PROBE);
    float *x = v->scratch + (size_t)thread * 2 * v->k, *y = x + v->k;
    uint8_t *blocks = v->blocks + (size_t)thread * 8 * v->k;
    const float *h = v->importance ? v->importance + r / (size_t)v->t->ne[1] * v->k : NULL;
    bk_quant_dequantize(from, v->data + r * (v->k / from->block_len * from->block_bytes), x, v->k);
    if (v->factor != 0) {
        bk_round_row(probe, false, x, h, blocks, v->k);
        bk_quant_dequantize(probe, blocks, y, v->k);
        for (size_t i = 0; i < v->k; i++) x[i] += v->factor * (y[i] - x[i]);
    }
    bk_round_row(v->to, true, x, NULL, v->out + r * (v->k / v->to->block_len * v->to->block_bytes),
                 v->k);
}

static void make_rows(void *arg, int thread) {
    enum { CHUNK = 8 };
    variant *v = arg;
    for (size_t c; (c = bk_pool_next(v->a->pool)) * CHUNK < v->n_rows;)
        for (size_t r = c * CHUNK; r < bk_min_size((c + 1) * CHUNK, v->n_rows); r++)
            make_row(v, r, thread);
}

/* The tensor with its errors, or without, into the model. */
static bk_status put(const bk_allocation *a, bk_model *m, const bk_gguf_tensor *t, float factor,
                     bk_error *err) {
    char name[BK_TENSOR_NAME];
    size_t threads = (size_t)bk_pool_threads(a->pool), k = (size_t)t->ne[0];
    variant v = {.a = a, .t = t, .factor = factor, .k = k, .n_rows = (size_t)t->n_elements / k};
    v.to = bk_quant_find(BK_TYPE_Q8_0);
    size_t row_bytes = k / v.to->block_len * v.to->block_bytes;
    float *importance = NULL;
    if (t->name.len >= sizeof name) return BK_OK; /* no matrix of a model has such a name */
    memcpy(name, t->name.data, t->name.len);
    name[t->name.len] = '\0';
    v.out = bk_alloc(v.n_rows, row_bytes);
    v.blocks = bk_alloc(threads * 8, k);
    v.scratch = bk_alloc(threads * 2, k * sizeof *v.scratch);
    bk_status st = bk_round_importance(a->imatrix, t, &importance, err);
    v.importance = importance;
    if (!st && (!v.out || !v.blocks || !v.scratch))
        st = bk_fail(err, BK_ERR_NOMEM, "no memory for a tensor with errors");
    if (!st) st = bk_gguf_read(a->source, t, &v.data, err);
    if (!st) {
        bk_pool_run_steady(a->pool, make_rows, &v);
        bk_gguf_release(a->source, t, v.data);
        bk_model_refill(m, name, v.out, row_bytes);
    }
    bk_free(importance);
    bk_free(v.out);
    bk_free(v.blocks);
    bk_free(v.scratch);
    return st;
}

/* ---- Measuring ---------------------------------------------------------------------------------- */

static bk_status load_base(const bk_allocation *a, int threads, bk_model **out, bk_error *err) {
    size_t n = bk_gguf_n_tensors(a->source);
    const bk_quant **types = bk_alloc(n + 1, sizeof *types);
    bk_round_options round = {.plain = true, .file_type = -1, .pool = a->pool, .cancel = a->cancel};
    bk_model_options open = {.threads = threads};
    bk_gguf *g = NULL;
    if (!types) return bk_fail(err, BK_ERR_NOMEM, "no memory for %zu types", n);
    for (size_t i = 0; i < n; i++) types[i] = bk_gguf_tensor_at(a->source, i)->type;
    for (size_t i = 0; i < a->n; i++) types[a->items[i].tensor] = bk_quant_find(BK_TYPE_Q8_0);
    bk_status st = bk_round_model(a->source, types, &round, &g, err);
    if (!st) st = bk_model_load_gguf(g, &open, out, err);
    bk_gguf_destroy(&g);
    bk_free(types);
    return st;
}

typedef struct probing {
    bk_allocation *a;
    bk_model *model;
    bk_distance distance;
    size_t *group; /* [items] */
    bool *done;    /* [items] */
} probing;

/* All items of item i's group. */
static bk_status probe(probing *p, size_t i, bk_error *err) {
    bk_allocation *a = p->a;
    double kl = 0, errors = 0;
    bk_status st = BK_OK;
    for (size_t j = i; j < a->n && !st; j++) {
        if (p->group[j] != p->group[i]) continue;
        st = put(a, p->model, bk_gguf_tensor_at(a->source, a->items[j].tensor), BLOWN_UP, err);
        errors += a->items[j].probe_error;
    }
    if (!st) st = bk_distance_measure(&p->distance, p->model, a->cancel, &kl, err);
    for (size_t j = i; j < a->n && !st; j++) {
        if (p->group[j] != p->group[i]) continue;
        st = put(a, p->model, bk_gguf_tensor_at(a->source, a->items[j].tensor), 0, err);
        double squared = (double)(BLOWN_UP * BLOWN_UP);
        a->items[j].sensitivity = errors > 0 ? kl / squared / errors : 0;
        p->done[j] = true;
    }
    return st;
}

static bk_status probe_all(probing *p, bk_error *err) {
    bk_allocation *a = p->a;
    bk_mixture m = bk_mixture_of(a->source, NULL, false);
    for (size_t i = 0; i < a->n; i++) p->group[i] = group_of(a, i, m.n_layers > 0 ? m.n_layers : 1);
    bk_status st = bk_distance_keep(&p->distance, p->model, a->cancel, err);
    for (size_t i = 0; i < a->n && !st; i++) {
        if (!p->done[i]) st = probe(p, i, err);
        if (a->progress) a->progress((double)(i + 1) / (double)a->n, a->user);
    }
    return st;
}

bk_status bk_allocation_measure(bk_allocation *a, bk_str text, int context, int threads,
                                bk_error *err) {
    probing p = {.a = a};
    int window = context && context < WINDOW ? context : WINDOW;
    p.group = bk_alloc_zero(a->n + 1, sizeof *p.group);
    p.done = bk_alloc_zero(a->n + 1, sizeof *p.done);
    bk_status st = BK_OK;
    if (!p.group || !p.done) st = bk_fail(err, BK_ERR_NOMEM, "no memory for %zu tensors", a->n);
    if (!st) st = load_base(a, threads, &p.model, err);
    if (!st) window = bk_min_int(window, bk_model_config(p.model)->context_length);
    if (!st)
        st = bk_distance_init(&p.distance, p.model, text, window, 0.25, N_WINDOWS, a->pool, err);
    if (!st) st = probe_all(&p, err);
    bk_distance_free(&p.distance);
    bk_model_unref(&p.model);
    bk_free(p.group);
    bk_free(p.done);
    return st;
}

/* ---- Without a text ----------------------------------------------------------------------------- */

void bk_allocation_guess(bk_allocation *a) {
    /* Means over the layers of SmolLM2 135M and Gemma 3 270M; of the head less than there, where errors
     * are not weighed by a text. */
    static const struct {
        const char *part;
        double sensitivity;
    } known[] = {{"attn_q.", 0.06},    {"attn_k.", 0.09}, {"attn_v.", 0.12}, {"attn_output.", 0.09},
                 {"ffn_gate", 0.15},   {"ffn_up", 0.21},  {"ffn_down", 0.2}, {"attn_qkv.", 0.1},
                 {"output.weight", 8}, {"token_embd.", 8}};
    for (size_t i = 0; i < a->n; i++) {
        const bk_gguf_tensor *t = bk_gguf_tensor_at(a->source, a->items[i].tensor);
        a->items[i].sensitivity = 0.15;
        for (size_t j = 0; j < BK_ARRAY_LEN(known); j++)
            if (bk_str_contains(t->name, known[j].part))
                a->items[i].sensitivity = known[j].sensitivity;
        bool embedding = bk_str_eq(t->name, BK_STR("token_embd.weight"));
        if (embedding && !a->tied) a->items[i].sensitivity = 1;
    }
}
