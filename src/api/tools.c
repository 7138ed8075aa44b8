#include "brisk_tools.h"

#include <stdio.h>
#include <strings.h>

#include "api/api.h"
#include "compress/plan.h"
#include "compress/round.h"
#include "format/gguf_build.h"
#include "measure/bench.h"
#include "measure/profile.h"
#include "model/hf.h"
#include "sys/cpu.h"
#include "sys/file.h"

BK_API brisk_status brisk_cache_dir(char *path, size_t cap, brisk_error *err) {
    if (!path) return bk_api_null("path", err);
    bk_error e;
    return bk_api_result(bk_cache_dir(path, cap, &e), &e, err);
}

BK_API const char *brisk_cpu_name(char *name, size_t cap) { return bk_cpu_model_name(name, cap); }

BK_API void brisk_convert_options_default(brisk_convert_options *options) {
    *options = (brisk_convert_options){0};
}

static bk_status round_floats(const bk_gguf *g, const bk_quant *type, const char *keep,
                              bk_plan *plan, bk_gguf **out, bk_error *err) {
    bk_round_options round = {.plain = true, .file_type = -1};
    bk_status st = bk_plan_convert(g, type, keep, plan, err);
    return st ? st : bk_round_model(g, plan->types, &round, out, err);
}

BK_API brisk_status brisk_convert(const char *in, const char *out,
                                  const brisk_convert_options *options, brisk_error *err) {
    if (!in || !out) return bk_api_null(in ? "out" : "in", err);
    brisk_convert_options o = {0};
    if (options) o = *options;
    bk_hf_options read = {.pre = o.pre, .vocab = o.vocab};
    bk_gguf_write_options write = {.progress = o.progress, .user = o.user, .cancel = o.cancel};
    const bk_quant *type = NULL;
    bk_gguf *g = NULL, *rounded = NULL;
    bk_plan plan = {0};
    bk_error e;
    const char *at = in;
    bk_status st = BK_OK;
    if (o.type && strcasecmp(o.type, "auto") != 0) st = bk_round_type(o.type, &type, &e);
    if (st) return bk_api_result(st, &e, err);
    st = bk_model_file_open(in, &read, &g, &e);
    if (!st && type) st = round_floats(g, type, o.keep, &plan, &rounded, &e);
    if (!st) st = bk_gguf_write(rounded ? rounded : g, at = out, &write, &e);
    bk_gguf_destroy(&rounded);
    bk_plan_free(&plan);
    bk_gguf_destroy(&g);
    if (st) bk_error_prefix(&e, "%s", at);
    return bk_api_result(st, &e, err);
}

BK_API void brisk_bench_default(brisk_bench_test *test) {
    *test = (brisk_bench_test){.n_prompt = 512, .repetitions = 5, .warm_up = true};
}

static bk_bench_test bench_test(const brisk_bench_test *test) {
    return (bk_bench_test){.n_prompt = test->n_prompt,
                           .n_gen = test->n_gen,
                           .n_seqs = test->n_seqs ? test->n_seqs : 1,
                           .n_depth = test->n_depth,
                           .batch = test->batch_size ? test->batch_size : 512,
                           .repetitions = test->repetitions,
                           .warm_up = test->warm_up,
                           .cancel = test->cancel};
}

BK_API brisk_status brisk_bench(brisk_model *model, const brisk_bench_test *test,
                                uint64_t *samples_ns, brisk_error *err) {
    if (!model) return bk_api_null("model", err);
    if (!test || !samples_ns) return bk_api_null(test ? "samples_ns" : "test", err);
    bk_bench_test t = bench_test(test);
    bk_error e;
    return bk_api_result(bk_bench(bk_api_model(model), &t, samples_ns, &e), &e, err);
}

static brisk_profile_part part_of(const bk_trace_row *r) {
    brisk_profile_part p = {.calls = r->calls,
                            .bytes = r->cost.bytes,
                            .int8_ops = r->cost.ops[BK_ARITH_INT8],
                            .int16_ops = r->cost.ops[BK_ARITH_INT16],
                            .float_ops = r->cost.ops[BK_ARITH_F32],
                            .time_ns = r->elapsed_ns,
                            .work_ns = r->work_ns,
                            .prepare_ns = r->prepare_ns,
                            .wait_ns = r->elapsed_ns - r->work_ns};
    snprintf(p.name, sizeof p.name, "%s", r->what);
    size_t len = 0;
    for (int i = 0; i < BK_MAX_PRODUCTS && r->types[i] && len < sizeof p.types; i++)
        len += (size_t)snprintf(p.types + len, sizeof p.types - len, i ? " %s" : "%s",
                                r->types[i]->name);
    return p;
}

static void phase_of(const bk_profile_phase *from, brisk_profile_phase *to) {
    const bk_trace *t = from->trace;
    *to = (brisk_profile_phase){.tokens = from->tokens, .passes = t->lists};
    if (from->tokens == 0) return;
    to->total_ns = from->total_ns;
    to->n_parts = t->n_rows;
    for (size_t i = 0; i < t->n_rows; i++) {
        to->parts[i] = part_of(&t->rows[i]);
        to->work_ns += to->parts[i].work_ns;
        to->wait_ns += to->parts[i].wait_ns;
    }
    to->serial_ns = to->total_ns - to->work_ns - to->wait_ns;
}

BK_API brisk_status brisk_profile_run(brisk_model *model, const brisk_bench_test *test,
                                      const brisk_token *tokens, size_t n_tokens,
                                      brisk_profile *out, brisk_error *err) {
    if (!model) return bk_api_null("model", err);
    if (!test || !out) return bk_api_null(test ? "profile" : "test", err);
    if (n_tokens && !tokens) return bk_api_null("tokens", err);
    *out = (brisk_profile){0};
    bk_bench_test t = bench_test(test);
    bk_profile p;
    bk_error e;
    bk_status st = bk_profile_run(bk_api_model(model), &t, tokens, n_tokens, &p, &e);
    if (!st) {
        phase_of(&p.prefill, &out->prefill);
        phase_of(&p.decode, &out->decode);
    }
    bk_profile_free(&p);
    return bk_api_result(st, &e, err);
}

static void add_limits(const bk_limits *l, int threads, brisk_profile_phase *p) {
    uint64_t bytes = 0;
    for (size_t i = 0; i < p->n_parts; i++) bytes += p->parts[i].bytes;
    if (p->passes == 0) return;
    bk_roof roof = bk_roof_of(l, threads, (size_t)(bytes / p->passes));
    p->read_rate = roof.read;
    p->limit_ns = 0;
    for (size_t i = 0; i < p->n_parts; i++) {
        brisk_profile_part *part = &p->parts[i];
        bk_cost cost = {.bytes = part->bytes};
        cost.ops[BK_ARITH_INT8] = part->int8_ops;
        cost.ops[BK_ARITH_INT16] = part->int16_ops;
        cost.ops[BK_ARITH_F32] = part->float_ops;
        part->limit_ns = bk_roof_ns(&roof, &cost);
        p->limit_ns += part->limit_ns;
    }
}

BK_API brisk_status brisk_profile_limits(const brisk_model *model,
                                         const brisk_limits_options *options,
                                         brisk_profile *profile, brisk_error *err) {
    if (!model || !profile) return bk_api_null(model ? "profile" : "model", err);
    const bk_model_meta *meta = bk_model_get_meta(bk_api_cmodel(model));
    brisk_limits_options o = {0};
    if (options) o = *options;
    bk_limits_watch watch = {.progress = o.progress, .user = o.user, .cancel = o.cancel};
    bk_limits l;
    bk_error e;
    bk_status st = bk_limits_get(meta->cpu_level, meta->threads, o.again, &watch, &l, &e);
    if (st) return bk_api_result(st, &e, err);
    profile->int8_peak = bk_limits_int8(&l, meta->threads);
    profile->int16_peak = profile->int8_peak / 2;
    profile->float_peak = bk_limits_f32(&l, meta->threads);
    add_limits(&l, meta->threads, &profile->prefill);
    add_limits(&l, meta->threads, &profile->decode);
    return BRISK_OK;
}
