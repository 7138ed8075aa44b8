#include "compress/quantize.h"

#include <stdio.h>

#include "base/clock.h"
#include "base/mem.h"
#include "compress/stats.h"
#include "format/gguf_build.h"
#include "model/hf.h"
#include "model/model.h"

/* One run. */
typedef struct work {
    const bk_quantize_options *o;
    bk_quantize_report *report;
    const char *in;
    bk_gguf *source, *result;
    bk_pool *pool;
    bk_imatrix imatrix;
    bk_distance check; /* the source's predictions, for a target */
    bk_round_cache cache;
    bk_plan plan;
    int threads;
    const char *step; /* for progress */
    bk_error *err;
} work;

static void on_progress(double done, void *user) {
    const work *w = user;
    if (w->o->progress) w->o->progress(w->step, done, w->o->user);
}

static double seconds_since(uint64_t start) { return (double)(bk_now_ns() - start) / 1e9; }

/* ---- Importance --------------------------------------------------------------------------------- */

static bk_status take_stats(const bk_stats *s, const bk_quantize_options *o, bk_imatrix *m,
                            bk_error *err) {
    m->chunks = (uint32_t)bk_stats_windows(s);
    m->window = (uint32_t)(bk_stats_tokens(s) / bk_stats_windows(s));
    m->text = bk_strndup(o->text_name, strlen(o->text_name));
    for (size_t i = 0; i < bk_stats_n(s); i++) {
        const char *name = bk_stats_name(s, i);
        const bk_input_stats *in = bk_stats_find(s, name);
        bk_imatrix_entry *e = bk_imatrix_add(m, bk_str_from(name), in->k, in->n_matrices);
        if (!e) return bk_fail(err, BK_ERR_NOMEM, "no memory for an importance matrix");
        for (size_t j = 0; j < in->k * in->n_matrices; j++) e->squares[j] = (float)in->squares[j];
        for (size_t j = 0; j < in->n_matrices; j++) e->counts[j] = (float)in->rows[j];
    }
    bk_imatrix_sort(m);
    return BK_OK;
}

static bool has_target(const bk_quantize_options *o) {
    return o->target_bpw > 0 || o->target_ms > 0 || o->target_kl > 0;
}

/* What the true divergence is measured on: other windows than those that damage is measured on. */
static bk_status keep_predictions(work *w, bk_model *model) {
    enum { WINDOW = 256, COUNT = 4 };
    int window = bk_min_int(WINDOW, bk_model_config(model)->context_length);
    bk_status st =
        bk_distance_init(&w->check, model, w->o->text, window, 0.75, COUNT, w->pool, w->err);
    return st ? st : bk_distance_keep(&w->check, model, w->o->cancel, w->err);
}

static bk_status read_text(work *w, bk_model *model) {
    const bk_quantize_options *o = w->o;
    bk_stats_options stats = {.context = o->context,
                              .max_tokens = o->max_tokens,
                              .progress = on_progress,
                              .user = w,
                              .cancel = o->cancel};
    bk_stats *s = NULL;
    bk_status st = bk_stats_collect(model, o->text, &stats, &s, w->err);
    if (!st) st = take_stats(s, o, &w->imatrix, w->err);
    if (!st) w->report->text_tokens = bk_stats_tokens(s);
    bk_stats_destroy(&s);
    return st;
}

static bk_status calibrate(work *w) {
    bk_model_options open = {.threads = w->threads};
    bk_model *model = NULL;
    uint64_t start = bk_now_ns();
    w->step = "reading the text";
    bk_status st = bk_model_load(w->in, &open, &model, w->err);
    if (!st && !w->o->imatrix) st = read_text(w, model);
    if (!st && has_target(w->o)) st = keep_predictions(w, model);
    bk_model_unref(&model);
    w->report->text_seconds = seconds_since(start);
    return st;
}

static bk_status get_importance(work *w) {
    const bk_quantize_options *o = w->o;
    bk_status st = BK_OK;
    if (o->imatrix) st = bk_imatrix_read(o->imatrix, &w->imatrix, w->err);
    if (!st && o->text.data && (!o->imatrix || has_target(o))) st = calibrate(w);
    if (!st && o->imatrix_out) st = bk_imatrix_write(&w->imatrix, o->imatrix_out, w->err);
    return st;
}

/* ---- The plan ----------------------------------------------------------------------------------- */

static const bk_imatrix *imatrix_of(const work *w) { return w->imatrix.n ? &w->imatrix : NULL; }

static void note_unweighted(work *w, const bk_gguf_tensor *t) {
    const bk_imatrix_entry *e = bk_imatrix_find(&w->imatrix, t->name);
    if (!imatrix_of(w) || w->o->plain || (e && e->k * e->n_matrices == t->ne[0] * t->ne[2])) return;
    if (w->report->unweighted++ == 0)
        bk_str_printable(w->report->name, sizeof w->report->name, t->name.data, t->name.len);
}

static void tell_plan(work *w) {
    bk_quantize_report *r = w->report;
    for (size_t i = 0; i < bk_gguf_n_tensors(w->source); i++) {
        const bk_gguf_tensor *t = bk_gguf_tensor_at(w->source, i);
        const bk_quant *to = w->plan.types[i];
        size_t bytes = (size_t)t->n_elements / to->block_len * to->block_bytes;
        r->bytes_before += t->bytes;
        r->bytes_after += bytes;
        r->weights += t->n_elements;
        if (to != t->type && t->type->bits) r->requantised++;
        if (to != t->type && to->bits) note_unweighted(w, t);
        if (w->o->tensor) w->o->tensor(t, to, bytes, w->o->user);
    }
}

static bk_status plan_target(work *w) {
    const bk_quantize_options *o = w->o;
    bk_mixture m = bk_mixture_of(w->source, NULL, false);
    bk_allocation a = {.source = w->source,
                       .plan = &w->plan,
                       .imatrix = imatrix_of(w),
                       .pool = w->pool,
                       .experts_share = m.n_experts ? (double)m.n_experts_used / m.n_experts : 1,
                       .progress = on_progress,
                       .user = w,
                       .cancel = o->cancel};
    bk_target t = {.bpw = o->target_bpw,
                   .ms = o->target_ms,
                   .kl = o->target_kl,
                   .text = o->text,
                   .context = o->context,
                   .threads = w->threads,
                   .check = w->check.kept ? &w->check : NULL,
                   .dry_run = o->dry_run,
                   .step = &w->step};
    bk_status st = bk_round_cache_init(&w->cache, w->source, w->err);
    if (!st) st = bk_target_plan(&t, &a, &w->plan, &w->cache, &w->report->target, w->err);
    bk_allocation_free(&a);
    return st;
}

static bk_status make_plan(work *w) {
    bk_plan_options p = w->o->plan;
    uint64_t start = bk_now_ns();
    w->report->target = (bk_target_report){-1, -1, -1};
    p.importance = imatrix_of(w) != NULL;
    if (has_target(w->o)) p.preset = bk_preset_named("Q8_0"), p.pure = true;
    bk_status st = bk_plan_make(w->source, &p, &w->plan, w->err);
    if (!st && has_target(w->o)) st = plan_target(w);
    w->report->plan_seconds = seconds_since(start);
    return st;
}

/* ---- Rounding ----------------------------------------------------------------------------------- */

static bk_status write_model(work *w, const char *out) {
    const bk_quantize_options *o = w->o;
    bk_round_options round = {.imatrix = imatrix_of(w),
                              .plain = o->plain,
                              .file_type = o->plan.preset ? o->plan.preset->file_type : -1,
                              .cache = w->cache.tensors ? &w->cache : NULL,
                              .pool = w->pool,
                              .progress = on_progress,
                              .user = w,
                              .cancel = o->cancel};
    bk_gguf_write_options write = {.cancel = o->cancel};
    uint64_t start = bk_now_ns();
    w->step = "rounding";
    bk_status st = bk_round_model(w->source, w->plan.types, &round, &w->result, w->err);
    if (!st) st = bk_gguf_write(w->result, out, &write, w->err);
    w->report->round_seconds = seconds_since(start);
    if (st) bk_error_prefix(w->err, "%s", st == BK_ERR_FORMAT ? w->in : out);
    return st;
}

bk_status bk_quantize(const char *in, const char *out, const bk_quantize_options *options,
                      bk_quantize_report *report, bk_error *err) {
    work w = {.o = options, .report = report, .in = in, .err = err};
    w.threads = options->threads > 0 ? options->threads : bk_cpu_default_threads();
    *report = (bk_quantize_report){0};
    bk_status st = bk_pool_create(w.threads, &w.pool, err);
    if (!st && (st = bk_model_file_open(in, NULL, &w.source, err))) bk_error_prefix(err, "%s", in);
    if (!st) st = get_importance(&w);
    if (!st && (out || options->dry_run)) {
        st = make_plan(&w);
        if (!st) tell_plan(&w);
    }
    if (!st && out && !options->dry_run) st = write_model(&w, out);
    bk_gguf_destroy(&w.result);
    bk_plan_free(&w.plan);
    bk_round_cache_free(&w.cache);
    bk_distance_free(&w.check);
    bk_imatrix_free(&w.imatrix);
    bk_gguf_destroy(&w.source);
    bk_pool_destroy(&w.pool);
    return st;
}
