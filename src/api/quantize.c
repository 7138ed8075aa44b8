#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "api/api.h"
#include "brisk_compress.h"
#include "compress/quantize.h"

/* ---- Weights ------------------------------------------------------------------------------------ */

static bk_status find_for_rows(const char *name, size_t k, const bk_quant **out, bk_error *err) {
    bk_status st = bk_quant_named(name, out, err);
    if (st || k % (*out)->block_len == 0) return st;
    return bk_fail(err, BK_ERR_INVALID, "rows of %zu weights, %s wants a multiple of %zu", k,
                   (*out)->name, (*out)->block_len);
}

BK_API brisk_status brisk_block_type_find(const char *name, brisk_block_type *out,
                                          brisk_error *err) {
    if (!name || !out) return bk_api_null(name ? "out" : "name", err);
    const bk_quant *q;
    bk_error e;
    bk_status st = bk_quant_named(name, &q, &e);
    if (!st) *out = (brisk_block_type){q->name, q->block_len, q->block_bytes, bk_round_to(q)};
    return bk_api_result(st, &e, err);
}

BK_API brisk_status brisk_round_weights(const char *type, brisk_rounding how, const float *rows,
                                        size_t n_rows, size_t k, const float *importance,
                                        void *blocks, brisk_error *err) {
    if (!type || !rows || !blocks)
        return bk_api_null(!type ? "type" : rows ? "blocks" : "rows", err);
    const bk_quant *q;
    bk_error e;
    bk_status st = find_for_rows(type, k, &q, &e);
    if (!st && !bk_round_to(q))
        st = bk_fail(&e, BK_ERR_UNSUPPORTED, "weights cannot be rounded to %s here", q->name);
    for (size_t r = 0; !st && r < n_rows; r++)
        bk_round_row(q, how == BRISK_ROUND_PLAIN, rows + r * k, importance,
                     (char *)blocks + r * (k / q->block_len * q->block_bytes), k);
    return bk_api_result(st, &e, err);
}

BK_API brisk_status brisk_read_weights(const char *type, const void *blocks, size_t n_rows,
                                       size_t k, float *rows, brisk_error *err) {
    if (!type || !blocks || !rows)
        return bk_api_null(!type ? "type" : blocks ? "rows" : "blocks", err);
    const bk_quant *q;
    bk_error e;
    bk_status st = find_for_rows(type, k, &q, &e);
    for (size_t r = 0; !st && r < n_rows; r++)
        bk_quant_dequantize(q, (const char *)blocks + r * (k / q->block_len * q->block_bytes),
                            rows + r * k, k);
    return bk_api_result(st, &e, err);
}

/* ---- Models ------------------------------------------------------------------------------------- */

BK_API void brisk_quantize_default(brisk_quantize_options *options) {
    *options = (brisk_quantize_options){0};
}

static void on_tensor(const bk_gguf_tensor *t, const bk_quant *to, size_t bytes, void *user) {
    const brisk_quantize_options *o = user;
    char name[256];
    if (!o->tensor) return;
    bk_str_printable(name, sizeof name, t->name.data, t->name.len);
    o->tensor(&(brisk_quantize_tensor){name, t->type->name, to->name, t->n_elements, t->bytes,
                                       bytes},
              o->user);
}

static void on_progress(const char *step, double done, void *user) {
    const brisk_quantize_options *o = user;
    if (o->progress) o->progress(step, done, o->user);
}

static bk_status find_preset(const char *name, const bk_preset **out, bk_error *err) {
    char known[400];
    *out = bk_preset_named(name);
    if (*out) return BK_OK;
    bk_preset_names(known, sizeof known);
    return bk_fail(err, BK_ERR_INVALID, "type '%.40s' found; %s wanted", name, known);
}

static bk_status check_target(const brisk_quantize_options *o, bk_error *err) {
    double t[] = {o->target_bpw, o->target_ms, o->target_kl};
    int n = o->type != NULL;
    for (size_t i = 0; i < 3; i++) {
        if (!(t[i] >= 0 && t[i] <= 1e9))
            return bk_fail(err, BK_ERR_INVALID, "a target of %g found", t[i]);
        n += t[i] > 0;
    }
    if (n > 1) return bk_fail(err, BK_ERR_INVALID, "one type or one target, %d found", n);
    if (o->target_kl > 0 && !o->text)
        return bk_fail(err, BK_ERR_INVALID, "a KL is measured on a text: give one");
    if (!o->target_bpw && !o->target_ms && !o->target_kl && o->imatrix && o->text)
        return bk_fail(err, BK_ERR_INVALID,
                       "an importance matrix and a text to collect one: which?");
    return BK_OK;
}

static bk_status take_options(brisk_quantize_options *o, bk_quantize_options *out, bk_error *err) {
    *out = (bk_quantize_options){.plan = {.pure = o->pure,
                                          .leave_output = o->leave_output,
                                          .tensor_types = o->tensor_types,
                                          .n_tensor_types = o->n_tensor_types},
                                 .target_bpw = o->target_bpw,
                                 .target_ms = o->target_ms,
                                 .target_kl = o->target_kl,
                                 .plain = o->rounding == BRISK_ROUND_PLAIN,
                                 .imatrix = o->imatrix,
                                 .imatrix_out = o->imatrix_out,
                                 .text = {o->text, o->text ? o->text_len : 0},
                                 .text_name = o->text_name ? o->text_name : "",
                                 .context = o->context,
                                 .max_tokens = o->max_tokens,
                                 .threads = o->threads,
                                 .dry_run = o->dry_run,
                                 .progress = on_progress,
                                 .tensor = on_tensor,
                                 .user = o,
                                 .cancel = o->cancel};
    bk_status st = o->type ? find_preset(o->type, &out->plan.preset, err) : BK_OK;
    if (!st && o->output_type) st = bk_round_type(o->output_type, &out->plan.output, err);
    if (!st && o->embedding_type) st = bk_round_type(o->embedding_type, &out->plan.embedding, err);
    if (!st && (o->threads < 0 || o->threads > 256))
        st = bk_check_range("threads", o->threads, 0, 256, err);
    if (!st) st = check_target(o, err);
    if (!st && o->imatrix_out && !o->imatrix && !o->text)
        st =
            bk_fail(err, BK_ERR_INVALID, "an importance matrix is collected from a text: give one");
    return st;
}

static void give_report(const bk_quantize_report *r, brisk_quantize_report *out) {
    *out = (brisk_quantize_report){.weights = r->weights,
                                   .bytes_before = r->bytes_before,
                                   .bytes_after = r->bytes_after,
                                   .requantised = r->requantised,
                                   .unweighted = r->unweighted,
                                   .text_tokens = r->text_tokens,
                                   .text_seconds = r->text_seconds,
                                   .plan_seconds = r->plan_seconds,
                                   .round_seconds = r->round_seconds,
                                   .kl_estimate = r->target.kl_estimate,
                                   .kl = r->target.kl,
                                   .ms = r->target.ms};
    memcpy(out->unweighted_name, r->name, sizeof r->name);
}

BK_API brisk_status brisk_quantize(const char *in, const char *out,
                                   const brisk_quantize_options *options,
                                   brisk_quantize_report *report, brisk_error *err) {
    if (!in || !options) return bk_api_null(in ? "options" : "in", err);
    brisk_quantize_options o = *options;
    bk_quantize_options inner;
    bk_quantize_report r;
    bk_error e;
    bk_status st = take_options(&o, &inner, &e);
    bool plans = out || o.dry_run;
    bool decided = inner.plan.preset || o.target_bpw > 0 || o.target_ms > 0 || o.target_kl > 0;
    if (!st && plans && !decided) st = bk_fail(&e, BK_ERR_INVALID, "a type or a target is wanted");
    if (!st && !plans && !o.imatrix_out)
        st = bk_fail(&e, BK_ERR_INVALID,
                     "nothing to write: neither a model nor an importance matrix");
    if (!st) st = bk_quantize(in, out, &inner, &r, &e);
    if (!st && report) give_report(&r, report);
    return bk_api_result(st, &e, err);
}
