#include "compress/prune.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "compress/prune_internal.h"
#include "compress/reconstruct.h"
#include "compress/round.h"
#include "model/arch.h"
#include "model/hf.h"

/* ---- What there is ------------------------------------------------------------------------------- */

typedef struct strategy {
    const char *name;
    const bk_family *family; /* that it is for; NULL: any, or the simple network alone */
    bool calibrate;          /* it cannot do without a text */
    bk_status (*cut)(bk_pruning *p);
    bk_status (*make)(bk_pruning *p,
                      bk_gguf **out); /* instead: leaves zeros, all keeps its shape */
} strategy;

static const strategy strategies[] = {
    {"channels", &bk_transformer, true, bk_prune_channels, NULL},
    {"heads", &bk_transformer, true, bk_prune_heads, NULL},
    {"layers", &bk_transformer, true, bk_prune_layers, NULL},
    {"units", &bk_lstm, true, bk_prune_units, NULL},
    {"neurons", NULL, false, bk_prune_neurons, NULL},
    {"magnitude", NULL, false, NULL, bk_prune_weights},
    {"wanda", NULL, true, NULL, bk_prune_weights},
    {"sparsegpt", NULL, true, NULL, bk_prune_weights},
    {"nm", NULL, true, NULL, bk_prune_weights},
    {"blocks", NULL, true, NULL, bk_prune_weights},
};

size_t bk_prune_strategies(char *out, size_t cap) {
    size_t len = 0;
    for (size_t i = 0; i < BK_ARRAY_LEN(strategies) && len < cap; i++)
        len += (size_t)snprintf(out + len, cap - len, "%s%s", i ? ", " : "", strategies[i].name);
    return len;
}

static bk_status find_strategy(const char *name, const strategy **out, bk_error *err) {
    char known[256];
    for (size_t i = 0; i < BK_ARRAY_LEN(strategies); i++) {
        *out = &strategies[i];
        if (name && strcmp(name, (*out)->name) == 0) return BK_OK;
    }
    bk_prune_strategies(known, sizeof known);
    return bk_fail(err, BK_ERR_INVALID, "strategy '%.40s' found; one of %s wanted",
                   name ? name : "", known);
}

/* ---- One model ----------------------------------------------------------------------------------- */

static bk_status cut(bk_pruning *p, const strategy *s, double ratio, bool draft, bk_gguf **out) {
    p->ratio = ratio;
    p->draft = draft;
    *out = NULL;
    if (s->make) return s->make(p, out);
    bk_status st = bk_edit_create(p->g, p->pool, p->type, &p->edit, p->err);
    if (!st) st = s->cut(p);
    if (!st) st = bk_edit_finish(&p->edit, out, p->err);
    bk_edit_destroy(&p->edit);
    return st;
}

/* The decode speed that leaving ratio out gives, as a multiple of the model's. */
static bk_status time_ratio(bk_pruning *p, const strategy *s, double ratio, double *speed) {
    bk_gguf *g = NULL;
    bk_model *m = NULL;
    bk_status st = cut(p, s, ratio, true, &g);
    if (!st) st = bk_prune_load(p, g, &m);
    if (!st) st = bk_prune_measure(p, m, 5, 0);
    *speed = p->result->decode_ratio;
    bk_model_unref(&m);
    bk_gguf_destroy(&g);
    return st;
}

/* The smallest ratio that reaches the speed: speed grows with the ratio, so the interval is halved until
 * what lies in it differs by less than one part in 64. What takes nothing away, or all, has no speed. */
static bk_status search_ratio(bk_pruning *p, const strategy *s, double *ratio) {
    enum { HALVINGS = 6 };
    double low = 0, high = 0.95, fastest = 1, speed = 0;
    bool reached = false;
    bk_status st = BK_OK;
    for (int i = 0; i < HALVINGS && !st; i++) {
        double middle = (low + high) / 2;
        bk_prune_progress(p, "searching the ratio", (double)i / HALVINGS);
        st = time_ratio(p, s, middle, &speed);
        bool possible = st != BK_ERR_INVALID, enough = !st && speed >= p->o->target_speed;
        if (!st && speed > fastest) fastest = speed;
        if (!possible) st = BK_OK;
        reached = reached || enough;
        *(enough || (!possible && middle > 0.5) ? &high : &low) = middle;
    }
    *ratio = high;
    if (st || reached) return st;
    return bk_fail(p->err, BK_ERR_INVALID,
                   "%s cannot reach %.3g times the decode speed, %.2f times was the most", s->name,
                   p->o->target_speed, fastest);
}

static bk_status check_amount(const bk_prune_options *o, const strategy *s, bk_error *err) {
    bool speed = o->target_speed > 0;
    if (strcmp(s->name, "nm") == 0) {
        if (speed || o->ratio > 0)
            return bk_fail(err, BK_ERR_INVALID, "strategy nm takes no ratio: --nm says what stays");
        if (o->keep_n >= 1 && o->keep_n < o->keep_m && o->keep_m <= 256) return BK_OK;
        return bk_fail(err, BK_ERR_INVALID, "%d of %d found; 1:2 to 255:256 wanted", o->keep_n,
                       o->keep_m);
    }
    if (speed == (o->ratio > 0))
        return bk_fail(err, BK_ERR_INVALID, "give a ratio or a target speed%s",
                       speed ? ", not both" : "");
    if (speed && s->make)
        return bk_fail(err, BK_ERR_INVALID,
                       "strategy %s leaves zeros, whose speed depends on how they are stored: give "
                       "a ratio",
                       s->name);
    if (!speed && !(o->ratio < 1))
        return bk_fail(err, BK_ERR_INVALID, "ratio %.4g found, more than 0 and less than 1 wanted",
                       o->ratio);
    if (speed && !(o->target_speed > 1 && o->target_speed <= 100))
        return bk_fail(err, BK_ERR_INVALID, "target speed %.4g found, more than 1 to 100 wanted",
                       o->target_speed);
    return BK_OK;
}

static bk_status check_options(const bk_prune_options *o, const strategy *s, bk_error *err) {
    if (o->sparse && !s->make)
        return bk_fail(err, BK_ERR_INVALID, "strategy %s leaves no zeros to store sparsely",
                       s->name);
    if (s->calibrate && o->calibrate.len == 0)
        return bk_fail(err, BK_ERR_INVALID,
                       "strategy %s goes by what the model does with a text: give one with "
                       "--calibrate",
                       s->name);
    if (o->reconstruct > 0 && (!s->make || o->calibrate.len == 0))
        return bk_fail(err, BK_ERR_INVALID,
                       s->make ? "reconstruction goes by what the model does with a text: give one "
                                 "with --calibrate"
                               : "strategy %s changes shapes: reconstruction is for zeros",
                       s->name);
    return check_amount(o, s, err);
}

/* Texts, not whatever file lay there. */
static bk_status check_text(bk_str text, const char *what, bk_error *err) {
    if (text.len && memchr(text.data, '\0', text.len))
        return bk_fail(err, BK_ERR_INVALID, "the %s is no text: it has bytes of 0", what);
    return BK_OK;
}

/* A network from numbers to classes reads no text and is no bk_model. */
static bk_status check_simple(bk_pruning *p, const strategy *s) {
    const bk_prune_options *o = p->o;
    bool fits = s->cut == bk_prune_neurons || (s->make && !s->calibrate);
    if (!fits)
        return bk_fail(p->err, BK_ERR_UNSUPPORTED,
                       "strategy %s is not for models of architecture '%s'", s->name, p->arch);
    if (o->calibrate.len || o->eval.len || o->target_speed > 0 || o->spread != BK_PRUNE_UNIFORM)
        return bk_fail(p->err, BK_ERR_UNSUPPORTED,
                       "a model of architecture '%s' reads no text: give a strategy and a ratio",
                       p->arch);
    return BK_OK;
}

static bk_status open_model(bk_pruning *p, const strategy *s) {
    bk_str arch = {0};
    if (bk_gguf_str(p->g, "general.architecture", &arch, NULL) == BK_OK &&
        bk_str_eq(arch, BK_STR("mlp"))) {
        p->arch = "mlp";
        return check_simple(p, s);
    }
    bk_status st = bk_prune_load(p, p->g, &p->model);
    if (st) return st;
    p->config = bk_model_config(p->model);
    p->arch = p->model->arch->name;
    bool any = !s->family && s->make;
    if (any || p->model->family == s->family) return BK_OK;
    return bk_fail(p->err, BK_ERR_UNSUPPORTED, "strategy %s is not for models of architecture '%s'",
                   s->name, p->arch);
}

/* *out is g, or its blocks fitted to those of the model before. */
static bk_status reconstruct(bk_pruning *p, bk_gguf *g, bk_gguf **out) {
    const bk_prune_options *o = p->o;
    bk_reconstruct_model_options r = {.text = o->calibrate,
                                      .seconds = o->reconstruct,
                                      .threads = o->threads,
                                      .progress = o->progress,
                                      .user = o->user,
                                      .cancel = o->cancel};
    return bk_reconstruct_model(p->g, p->model, g, &r, out, p->err);
}

static void wrote(double done, void *user) { bk_prune_progress(user, "writing", done); }

static bk_status run(bk_pruning *p, const strategy *s, const char *out) {
    enum { CUT, FITTED, SPARSE, STAGES };
    bk_gguf *made[STAGES] = {NULL}, *last = NULL; /* each reads the one before */
    double ratio = p->o->ratio;
    bk_gguf_write_options write = {.progress = wrote, .user = p, .cancel = p->o->cancel};
    bk_status st = open_model(p, s);
    if (!st && p->o->target_speed > 0) st = search_ratio(p, s, &ratio);
    if (!st) st = cut(p, s, ratio, false, &made[CUT]);
    last = made[CUT];
    if (!st && p->o->reconstruct > 0) {
        st = reconstruct(p, last, &made[FITTED]);
        last = made[FITTED];
    }
    if (!st && p->o->sparse) {
        st = bk_prune_store_sparse(p, last, &made[SPARSE]);
        last = made[SPARSE];
    }
    if (!st) st = bk_prune_report(p, last);
    if (!st) st = bk_gguf_write(last, out, &write, p->err);
    for (int i = STAGES; i-- > 0;) bk_gguf_destroy(&made[i]);
    return st;
}

bk_status bk_prune(const char *in, const char *out, const bk_prune_options *o,
                   bk_prune_result *result, bk_error *err) {
    const strategy *s;
    bk_gguf *g = NULL;
    *result = (bk_prune_result){0};
    bk_pruning p = {.o = o, .result = result, .err = err};
    int threads = o->threads > 0 ? o->threads : bk_cpu_default_threads();
    bk_status st = find_strategy(o->strategy, &s, err);
    if (!st) st = check_options(o, s, err);
    if (!st) st = check_text(o->calibrate, "calibration text", err);
    if (!st) st = check_text(o->eval, "text to evaluate on", err);
    if (!st && o->type) st = bk_round_type(o->type, &p.type, err);
    if (!st) st = bk_pool_create(threads, &p.pool, err);
    if (!st) st = bk_nn_cpu_create(bk_cpu_best(), threads, &p.nn, err);
    if (!st) st = bk_model_file_open(in, &(bk_hf_options){0}, &g, err);
    p.g = g;
    if (!st) st = run(&p, s, out);
    bk_model_unref(&p.model);
    bk_gguf_destroy(&g);
    bk_nn_destroy(&p.nn);
    if (p.pool) bk_pool_destroy(&p.pool);
    return st;
}
