#include "compress/sparsify_model.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "compress/stats.h"

static const size_t GRAM_BYTES = (size_t)1 << 30;

/* A matrix that is to be pruned. */
typedef struct target {
    char name[BK_TENSOR_NAME];
    const bk_gguf_tensor *tensor;
    int layer; /* -1: none */
    double ratio;
    bool done;
} target;

typedef struct run {
    const bk_gguf *from;
    bk_model *model;
    const bk_sparsify_options *o;
    bk_sparsify_store store;
    void *store_user;
    bk_error *err;
    bk_nn *nn;
    target *targets;
    size_t n_targets, n_done;
    bk_stats *stats;
    size_t gram_bytes; /* taken in this pass */
    bool gram;         /* the rule wants Gram matrices */
} run;

/* ---- Which matrices ---------------------------------------------------------------------------------- */

static int layer_of(const char *name) {
    int layer = -1;
    return sscanf(name, "blk.%9d.", &layer) == 1 ? layer : -1;
}

static bool chosen(const run *r, const char *name, const bk_gguf_tensor *t) {
    if (t->n_dims < 2) return false;
    if (r->o->chosen) return r->o->chosen(name, r->o->user);
    return layer_of(name) >= 0 && !strstr(name, "ffn_gate_inp");
}

static bk_status list_targets(run *r) {
    size_t n = bk_gguf_n_tensors(r->from);
    r->targets = bk_alloc_zero(bk_max_size(n, 1), sizeof *r->targets);
    if (!r->targets) return bk_fail(r->err, BK_ERR_NOMEM, "no memory for a list of matrices");
    for (size_t i = 0; i < n; i++) {
        const bk_gguf_tensor *t = bk_gguf_tensor_at(r->from, i);
        target *to = &r->targets[r->n_targets];
        if (t->name.len >= sizeof to->name) continue;
        memcpy(to->name, t->name.data, t->name.len);
        to->name[t->name.len] = '\0';
        to->tensor = t;
        to->layer = layer_of(to->name);
        to->ratio = r->o->rule.ratio;
        if (chosen(r, to->name, t)) r->n_targets++;
    }
    if (r->n_targets) return BK_OK;
    return bk_fail(r->err, BK_ERR_UNSUPPORTED, "no matrix of the model is chosen to be pruned");
}

static target *find_target(run *r, const char *name) {
    for (size_t i = 0; i < r->n_targets; i++)
        if (strcmp(r->targets[i].name, name) == 0) return &r->targets[i];
    return NULL;
}

/* ---- Statistics -------------------------------------------------------------------------------------- */

static bool want_gram(const char *tensor, size_t k, void *user) {
    run *r = user;
    target *t = find_target(r, tensor);
    size_t most = r->o->gram_bytes ? r->o->gram_bytes : GRAM_BYTES, bytes;
    if (!r->gram || !t || t->done || !bk_mul_size(k, k, &bytes) ||
        !bk_mul_size(bytes, sizeof(float), &bytes))
        return false;
    if (r->gram_bytes && (bytes > most || r->gram_bytes > most - bytes)) return false;
    r->gram_bytes += bytes;
    return true;
}

static void read_on(double done, void *user) {
    const run *r = user;
    if (r->o->progress) r->o->progress("reading the text", done, r->o->user);
}

static bk_status collect(run *r) {
    bk_stats_options o = {.context = r->o->context,
                          .max_tokens = r->o->max_tokens,
                          .gram = want_gram,
                          .progress = read_on,
                          .user = r,
                          .cancel = r->o->cancel};
    bk_stats_destroy(&r->stats);
    r->gram_bytes = 0;
    if (!r->model || !r->o->text.len)
        return bk_fail(r->err, BK_ERR_INVALID,
                       "no statistics of the inputs: calibration text wanted");
    return bk_stats_collect(r->model, r->o->text, &o, &r->stats, r->err);
}

static bk_status stats_of(run *r, const target *t, const bk_input_stats **out) {
    *out = r->stats ? bk_stats_find(r->stats, t->name) : NULL;
    if (!r->stats) return BK_OK;
    size_t n = t->tensor->n_dims > 2 ? (size_t)t->tensor->ne[2] : 1;
    if (!*out || (*out)->k != t->tensor->ne[0] || (*out)->n_matrices != n)
        return bk_fail(r->err, BK_ERR_UNSUPPORTED,
                       "%s has no statistics of %zu inputs: the model does not multiply by it",
                       t->name, (size_t)t->tensor->ne[0]);
    if (r->gram && n > 1)
        return bk_fail(r->err, BK_ERR_UNSUPPORTED,
                       "%s holds %zu experts, whose Gram matrices are not collected: use wanda or "
                       "magnitude without repair",
                       t->name, n);
    return BK_OK;
}

/* ---- Weights ----------------------------------------------------------------------------------------- */

static bk_status read_weights(run *r, const target *t, float **out) {
    const bk_gguf_tensor *x = t->tensor;
    const uint8_t *data;
    size_t n = (size_t)x->n_elements;
    bk_status st = bk_gguf_read(r->from, x, &data, r->err);
    if (st) return st;
    *out = bk_alloc(bk_max_size(n, 1), sizeof **out);
    if (*out) bk_quant_dequantize(x->type, data, *out, n);
    bk_gguf_release(r->from, x, data);
    return *out ? BK_OK : bk_fail(r->err, BK_ERR_NOMEM, "no memory for the weights of %s", t->name);
}

/* Sums of squares of one expert; of one that no token went to, all inputs alike. */
static const double *squares_of(const bk_input_stats *s, size_t matrix, double *ones) {
    if (s->rows[matrix]) return s->squares + matrix * s->k;
    for (size_t j = 0; j < s->k; j++) ones[j] = 1;
    return ones;
}

static bk_status prune_matrices(run *r, bk_sparsified *m, const bk_input_stats *s, float *w) {
    bk_sparsify_rule rule = r->o->rule;
    double *ones = bk_alloc(m->k, sizeof *ones);
    bk_status st = ones ? BK_OK : bk_fail(r->err, BK_ERR_NOMEM, "no memory for %zu inputs", m->k);
    rule.ratio = m->ratio;
    for (size_t i = 0; !st && i < m->n_matrices; i++) {
        bk_sparsify_result one;
        st = bk_sparsify_matrix(r->nn, w + i * m->rows * m->k, m->rows, m->k,
                                s ? squares_of(s, i, ones) : NULL, s ? s->gram : NULL, &rule, &one,
                                r->err);
        m->result.zeros += one.zeros;
        m->result.error = m->n_matrices == 1 ? one.error : -1;
    }
    bk_free(ones);
    if (st) bk_error_prefix(r->err, "%s", m->name);
    return st;
}

static bk_status prune_target(run *r, target *t, const bk_input_stats *s) {
    const bk_gguf_tensor *x = t->tensor;
    float *w = NULL;
    bk_sparsified m = {.name = t->name, .tensor = x, .k = (size_t)x->ne[0]};
    m.rows = (size_t)x->ne[1];
    m.n_matrices = (size_t)(x->ne[2] * x->ne[3]);
    m.squares = s ? s->squares : NULL;
    m.ratio = t->ratio;
    bk_status st = read_weights(r, t, &w);
    if (!st) st = prune_matrices(r, &m, s, w);
    m.w = w;
    if (!st) st = r->store(&m, r->store_user, r->err);
    bk_free(w);
    t->done = true;
    r->n_done++;
    if (r->o->progress)
        r->o->progress("pruning", (double)r->n_done / (double)r->n_targets, r->o->user);
    return st;
}

/* Those whose statistics are there. */
static bk_status prune_targets(run *r) {
    size_t before = r->n_done;
    bk_status st = BK_OK;
    for (size_t i = 0; !st && i < r->n_targets; i++) {
        const bk_input_stats *s;
        if (r->targets[i].done) continue;
        if (r->o->cancel && *r->o->cancel) return bk_fail(r->err, BK_ERR_CANCELLED, "cancelled");
        st = stats_of(r, &r->targets[i], &s);
        if (!st && r->gram && !s->gram) continue;
        if (!st) st = prune_target(r, &r->targets[i], s);
    }
    if (!st && r->n_done == before)
        return bk_fail(r->err, BK_ERR_NOMEM, "no Gram matrix was collected");
    return st;
}

/* ---- Ratios ------------------------------------------------------------------------------------------ */

typedef struct layer {
    double weights, sum, outliers; /* sum: of |w| ||x_j||, of all its matrices */
} layer;

static const double FAR = 5, SPAN = 0.08; /* of OWL */

/* Adds the scores of a matrix to its layer: their sum, or with the mean known how many are far above. */
static bk_status count_scores(run *r, const target *t, layer *l, double mean) {
    const bk_input_stats *s;
    float *w = NULL;
    bk_status st = stats_of(r, t, &s);
    if (!st) st = read_weights(r, t, &w);
    size_t n = (size_t)t->tensor->n_elements, k = st ? 1 : s->k, in_matrix = k;
    if (!st) in_matrix = k * (size_t)t->tensor->ne[1];
    for (size_t i = 0; !st && i < n; i++) {
        double score = fabs((double)w[i]) * sqrt(s->squares[i / in_matrix * k + i % k]);
        if (mean < 0)
            l->sum += score;
        else
            l->outliers += score > FAR * mean;
    }
    if (!st && mean < 0) l->weights += (double)n;
    bk_free(w);
    return st;
}

static bk_status measure_layers(run *r, layer *layers) {
    bk_status st = BK_OK;
    for (int pass = 0; pass < 2; pass++)
        for (size_t i = 0; !st && i < r->n_targets; i++) {
            layer *l = &layers[r->targets[i].layer + 1];
            st = count_scores(r, &r->targets[i], l, pass ? l->sum / l->weights : -1);
        }
    return st;
}

static void spread_ratio(run *r, const layer *layers, size_t n) {
    double least = 1, most = 0, mean = 0, weights = 0, share[2];
    for (size_t i = 0; i < n; i++) {
        if (layers[i].weights <= 0) continue;
        share[0] = layers[i].outliers / layers[i].weights;
        least = fmin(least, share[0]);
        most = fmax(most, share[0]);
        mean += layers[i].outliers;
        weights += layers[i].weights;
    }
    double by = most > least ? 2 * SPAN / (most - least) : 0;
    for (size_t i = 0; i < r->n_targets; i++) {
        const layer *l = &layers[r->targets[i].layer + 1];
        share[1] = l->outliers / l->weights - mean / weights;
        r->targets[i].ratio = fmin(fmax(r->o->rule.ratio - by * share[1], 0), 1);
    }
}

static bk_status spread_by_outliers(run *r) {
    size_t n = 1;
    for (size_t i = 0; i < r->n_targets; i++) n = bk_max_size(n, (size_t)(r->targets[i].layer + 2));
    layer *layers = bk_alloc_zero(n, sizeof *layers);
    if (!layers) return bk_fail(r->err, BK_ERR_NOMEM, "no memory for %zu layers", n);
    bk_status st = measure_layers(r, layers);
    if (!st) spread_ratio(r, layers, n);
    bk_free(layers);
    return st;
}

static bk_status spread(run *r) {
    const bk_sparsify_options *o = r->o;
    if (o->rule.pattern == BK_PATTERN_NM) return BK_OK;
    if (!o->ratios) return o->spread == BK_SPREAD_OUTLIERS ? spread_by_outliers(r) : BK_OK;
    for (size_t i = 0; i < r->n_targets; i++) {
        int at = r->targets[i].layer;
        if (at < 0) continue;
        if ((size_t)at >= o->n_ratios)
            return bk_fail(r->err, BK_ERR_INVALID, "%zu ratios found, one for %s wanted",
                           o->n_ratios, r->targets[i].name);
        r->targets[i].ratio = o->ratios[at];
    }
    return BK_OK;
}

/* ---- A model ----------------------------------------------------------------------------------------- */

static bk_status run_all(run *r) {
    const bk_sparsify_options *o = r->o;
    bool spreads = o->spread == BK_SPREAD_OUTLIERS && !o->ratios;
    bool wants = r->gram || spreads || o->rule.score != BK_SCORE_MAGNITUDE;
    int threads = o->threads ? o->threads : bk_cpu_default_threads();
    bk_status st = list_targets(r);
    if (!st) st = bk_nn_cpu_create(BK_CPU_LEVELS - 1, threads, &r->nn, r->err);
    if (!st && wants) st = collect(r);
    if (!st) st = spread(r);
    while (!st && r->n_done < r->n_targets) {
        st = prune_targets(r);
        if (!st && r->n_done < r->n_targets) st = collect(r);
    }
    return st;
}

bk_status bk_sparsify_model(const bk_gguf *from, bk_model *model, const bk_sparsify_options *o,
                            bk_sparsify_store store, void *store_user, bk_error *err) {
    bk_error own;
    run r = {.from = from, .model = model, .o = o, .store = store, .store_user = store_user};
    r.err = err ? err : &own;
    r.gram = o->rule.score == BK_SCORE_OBS || o->rule.repair;
    bk_status st = run_all(&r);
    bk_stats_destroy(&r.stats);
    bk_nn_destroy(&r.nn);
    bk_free(r.targets);
    return st;
}
