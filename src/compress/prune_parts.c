/* What the strategies share: counting, ranking, going through the layers, repair. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "compress/prune_internal.h"
#include "compress/repair.h"

bk_status bk_prune_cancelled(const bk_pruning *p) {
    bool stop = p->o->cancel && *p->o->cancel;
    return stop ? bk_fail(p->err, BK_ERR_CANCELLED, "cancelled") : BK_OK;
}

void bk_prune_progress(const bk_pruning *p, const char *what, double done) {
    if (p->o->progress) p->o->progress(what, done, p->o->user);
}

bk_status bk_prune_count(bk_pruning *p, const char *what, size_t n, size_t step, size_t *stay) {
    double steps = floor((1 - p->ratio) * (double)n / (double)step + 0.5);
    size_t most = (n - 1) / step; /* steps that leave at least one out */
    *stay = steps > 0 ? (size_t)steps * step : 0;
    p->result->ratio = 1 - (double)*stay / (double)n;
    if (*stay > 0 && *stay < n) return BK_OK;
    if (most == 0)
        return bk_fail(p->err, BK_ERR_INVALID,
                       "%zu %s cannot become fewer: they stay in multiples of %zu", n, what, step);
    return bk_fail(p->err, BK_ERR_INVALID,
                   "ratio %.4g leaves %zu of %zu %s, which stay in multiples of %zu; a ratio from "
                   "%.4g to %.4g is possible",
                   p->ratio, *stay < n ? *stay : n, n, what, step,
                   1 - (double)(most * step) / (double)n, 1 - (double)step / (double)n);
}

typedef struct ranked {
    double score;
    int32_t at;
} ranked;

static int by_score(const void *a, const void *b) {
    const ranked *x = a, *y = b;
    if (x->score != y->score) return x->score < y->score ? 1 : -1;
    return x->at < y->at ? -1 : x->at > y->at;
}

static int by_number(const void *a, const void *b) {
    int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;
    return x < y ? -1 : x > y;
}

bk_status bk_prune_best(bk_pruning *p, const double *score, size_t n, size_t stay, int32_t *out) {
    ranked *r = bk_alloc(n, sizeof *r);
    if (!r) return bk_fail(p->err, BK_ERR_NOMEM, "no memory to rank %zu parts", n);
    /* NaN, of a text that broke the model, would have no place in an order. */
    for (size_t i = 0; i < n; i++) r[i] = (ranked){score[i] >= 0 ? score[i] : 0, (int32_t)i};
    qsort(r, n, sizeof *r, by_score);
    for (size_t i = 0; i < stay; i++) out[i] = r[i].at;
    qsort(out, stay, sizeof *out, by_number);
    bk_free(r);
    return BK_OK;
}

void bk_prune_key(bk_pruning *p, const char *suffix, uint32_t v) {
    char key[128];
    snprintf(key, sizeof key, "%s.%s", p->arch, suffix);
    bk_gguf_builder_u32(bk_edit_keys(p->edit), key, v);
}

bk_status bk_prune_load(bk_pruning *p, const bk_gguf *g, bk_model **out) {
    bk_model_options o = {.threads = p->o->threads};
    return bk_model_load_gguf(g, &o, out, p->err);
}

/* ---- Layer by layer ------------------------------------------------------------------------------- */

enum { GRAM_BYTES = 512 << 20 };

typedef struct watch {
    bk_pruning *p;
    const char *name;
    int first, end; /* layers whose Gram matrices are wanted */
    int n_layers;
} watch;

static bool gram_of(const char *tensor, size_t k, void *user) {
    const watch *w = user;
    char name[BK_TENSOR_NAME];
    (void)k;
    for (int l = w->first; l < w->end && !w->p->o->no_repair; l++) {
        snprintf(name, sizeof name, w->name, l);
        if (strcmp(tensor, name) == 0) return true;
    }
    return false;
}

static void observed(double done, void *user) {
    const watch *w = user;
    double share = (double)(w->end - w->first) / w->n_layers;
    bk_prune_progress(w->p, "reading the text", (double)w->first / w->n_layers + done * share);
}

static bk_status observe(watch *w, bk_stats **out) {
    bk_pruning *p = w->p;
    bk_stats_options o = {.max_tokens = p->o->max_tokens,
                          .gram = gram_of,
                          .progress = observed,
                          .user = w,
                          .cancel = p->o->cancel};
    bk_status st = bk_stats_collect(p->model, p->o->calibrate, &o, out, p->err);
    if (st == BK_ERR_INVALID) bk_error_prefix(p->err, "calibration text");
    if (!st) p->result->calibration_tokens = bk_stats_tokens(*out);
    return st;
}

static bk_status one_layer(watch *w, const bk_stats *stats, int layer, bk_prune_layer fn,
                           void *user) {
    char name[BK_TENSOR_NAME];
    bk_status st = bk_prune_cancelled(w->p);
    if (st) return st;
    if (w->p->draft) return fn(w->p, layer, NULL, user);
    snprintf(name, sizeof name, w->name, layer);
    const bk_input_stats *in = bk_stats_find(stats, name);
    if (!in) return bk_fail(w->p->err, BK_ERR_FORMAT, "nothing flowed into tensor '%s'", name);
    bk_prune_progress(w->p, "pruning", (double)layer / w->n_layers);
    return fn(w->p, layer, in, user);
}

bk_status bk_prune_each_layer(bk_pruning *p, const char *name, size_t k, bk_prune_layer fn,
                              void *user) {
    watch w = {.p = p, .name = name, .n_layers = p->config->n_layers};
    size_t bytes = k * k * sizeof(float), most = GRAM_BYTES / bytes;
    bool all = p->draft || p->o->no_repair || most >= (size_t)w.n_layers;
    int at_once = all ? w.n_layers : bk_max_int((int)most, 1);
    bk_status st = BK_OK;
    for (; w.first < w.n_layers && !st; w.first = w.end) {
        bk_stats *stats = NULL;
        w.end = bk_min_int(w.first + at_once, w.n_layers);
        if (!p->draft) st = observe(&w, &stats);
        for (int l = w.first; l < w.end && !st; l++) st = one_layer(&w, stats, l, fn, user);
        bk_stats_destroy(&stats);
    }
    return st;
}

/* ---- Repair --------------------------------------------------------------------------------------- */

static bk_status repair(bk_pruning *p, bk_cut *c, const int32_t *keep, size_t stay,
                        const float *gram) {
    size_t rows = bk_cut_n_rows(c), k = bk_cut_n_cols(c), words;
    if (!bk_mul_size(rows, k + stay, &words)) words = SIZE_MAX;
    float *w = bk_alloc(words, sizeof *w);
    if (!w) return bk_fail(p->err, BK_ERR_NOMEM, "no memory to repair %zu rows of %zu", rows, k);
    bk_status st = bk_cut_read(c, w, p->err);
    if (!st)
        st = bk_repair_columns(p->nn, w, rows, k, gram, keep, stay, bk_prune_damping(gram, k),
                               w + rows * k, p->err);
    bk_cut_cols(c, keep, stay);
    if (!st) st = bk_cut_values(c, w + rows * k, p->err);
    bk_free(w);
    return st;
}

bk_status bk_prune_inputs(bk_pruning *p, bk_cut *c, const int32_t *keep, size_t stay,
                          const bk_input_stats *in) {
    if (!c) return BK_OK;
    if (in) {
        float *importance = bk_alloc(stay, sizeof *importance);
        if (!importance) return bk_fail(p->err, BK_ERR_NOMEM, "no memory for %zu inputs", stay);
        for (size_t i = 0; i < stay; i++) importance[i] = (float)in->squares[keep[i]];
        bk_cut_importance(c, importance, stay);
        bk_free(importance);
    }
    if (in && in->gram && !p->o->no_repair) return repair(p, c, keep, stay, in->gram);
    bk_cut_cols(c, keep, stay);
    return BK_OK;
}
