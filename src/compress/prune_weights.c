/* Single weights and tiles of them, as zeros (compress/sparsify.h). The matrices keep their shapes, so a
 * dense file is neither smaller nor faster; stored as sparse tensors they are, where zeros come in tiles
 * or in large numbers. */
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "compress/prune_internal.h"
#include "compress/sparsify_model.h"
#include "measure/eval.h"

typedef struct seen {
    bk_pruning *p;
    uint64_t zeros, weights, matrices;
} seen;

static const struct rule {
    const char *strategy;
    bk_score_kind score;
    bk_pattern pattern;
} rules[] = {{"magnitude", BK_SCORE_MAGNITUDE, BK_PATTERN_LAYER},
             {"wanda", BK_SCORE_WANDA, BK_PATTERN_ROW},
             {"sparsegpt", BK_SCORE_OBS, BK_PATTERN_LAYER},
             {"nm", BK_SCORE_OBS, BK_PATTERN_NM},
             {"blocks", BK_SCORE_WANDA, BK_PATTERN_TILES}};

static const struct rule *rule_of(const bk_prune_options *o) {
    size_t i = 0;
    while (strcmp(rules[i].strategy, o->strategy) != 0) i++;
    return &rules[i];
}

static void see(const bk_sparsified *m, const bk_quant *type, void *user) {
    seen *s = user;
    (void)type;
    s->zeros += m->result.zeros;
    s->weights += m->n_matrices * m->rows * m->k;
    s->matrices++;
}

static void progress(const char *what, double done, void *user) {
    bk_prune_progress(((seen *)user)->p, what, done);
}

/* Divergence of a model that is pruned a little, on some of the calibration text. */
static bk_status judge(const bk_gguf *pruned, double *damage, void *user, bk_error *err) {
    enum { CONTEXT = 128, WINDOWS = 4 };
    bk_pruning *p = user;
    bk_model *m = NULL;
    bk_summary sum;
    bk_eval_options o = {.context = bk_min_int(CONTEXT, p->config->context_length),
                         .reference = p->model,
                         .cancel = p->o->cancel,
                         .max_windows = WINDOWS};
    bk_status st = bk_prune_load(p, pruned, &m);
    if (!st) st = bk_eval_text(m, p->o->calibrate, &o, &sum, err);
    if (!st) *damage = sum.kl_mean;
    bk_model_unref(&m);
    return st;
}

bk_status bk_prune_weights(bk_pruning *p, bk_gguf **out) {
    const bk_prune_options *o = p->o;
    const struct rule *r = rule_of(o);
    seen s = {.p = p};
    bk_sparsify_options so = {.rule = {.score = r->score,
                                       .pattern = r->pattern,
                                       .ratio = p->ratio,
                                       .n = o->keep_n,
                                       .m = o->keep_m,
                                       .repair = !o->no_repair && o->calibrate.len},
                              .spread = o->spread == BK_PRUNE_OUTLIERS ? BK_SPREAD_OUTLIERS
                                                                       : BK_SPREAD_UNIFORM,
                              .text = o->calibrate,
                              .max_tokens = o->max_tokens,
                              .threads = o->threads,
                              .progress = progress,
                              .user = &s,
                              .cancel = o->cancel};
    double *ratios = NULL;
    bk_status st = BK_OK;
    if (o->spread == BK_PRUNE_MEASURED)
        st = bk_sparsify_ratios(p->g, p->model, &so, judge, p, &ratios, &so.n_ratios, p->err);
    so.ratios = ratios;
    if (!st) st = bk_sparsify_gguf(p->g, p->model, &so, p->type, see, out, p->err);
    bk_free(ratios);
    if (st == BK_ERR_INVALID && o->calibrate.len == 0 && o->spread != BK_PRUNE_UNIFORM)
        bk_error_prefix(p->err, "--calibrate");
    if (st) return st;
    p->result->ratio = s.weights ? (double)s.zeros / (double)s.weights : 0;
    snprintf(p->result->removed, sizeof p->result->removed,
             "%llu of %llu weights of %llu matrices are zeros", (unsigned long long)s.zeros,
             (unsigned long long)s.weights, (unsigned long long)s.matrices);
    return BK_OK;
}
