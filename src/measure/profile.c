#include "measure/profile.h"

#include "base/clock.h"
#include "base/mem.h"

static bk_status feed(bk_feed *f, bk_profile_phase *p, const int32_t *tokens, size_t n,
                      const volatile bool *cancel, bk_error *err) {
    uint64_t own = p->trace->own_ns, start = bk_now_ns();
    bk_status st = bk_feed_tokens(f, tokens, n, n > 0, cancel, err);
    p->total_ns += (double)(bk_now_ns() - start) - (double)(p->trace->own_ns - own);
    p->tokens += n;
    return st;
}

static bk_status run(bk_feed *f, const bk_bench_test *t, const int32_t *tokens, bk_profile *out,
                     bk_error *err) {
    size_t n_gen = (size_t)t->n_gen;
    bk_model_set_trace(f->model, NULL);
    bk_status st = bk_bench_to_depth(f, t, tokens, err);
    tokens += t->n_depth;
    bk_model_set_trace(f->model, out->prefill.trace);
    if (!st) st = feed(f, &out->prefill, tokens, (size_t)t->n_prompt, t->cancel, err);
    tokens += t->n_prompt;
    bk_model_set_trace(f->model, out->decode.trace);
    f->exact = f->spare = true;
    for (size_t i = 0; i < n_gen && !st; i++)
        st = feed(f, &out->decode, tokens + i, 1, t->cancel, err);
    f->exact = f->spare = false;
    return st;
}

static void clear(bk_profile_phase *p) {
    bk_trace_clear(p->trace);
    p->tokens = 0;
    p->total_ns = 0;
}

static bk_status run_all(bk_feed *f, const bk_bench_test *t, const int32_t *tokens, bk_profile *out,
                         bk_error *err) {
    bk_status st = BK_OK;
    if (t->warm_up) {
        bk_bench_test once = *t;
        once.n_gen = bk_min_int(t->n_gen, 1);
        st = run(f, &once, tokens, out, err);
        clear(&out->prefill);
        clear(&out->decode);
    }
    for (int r = 0; r < t->repetitions && !st; r++) st = run(f, t, tokens, out, err);
    bk_model_set_trace(f->model, NULL);
    return st;
}

/* The tokens of the whole run; NULL when memory is short. */
static int32_t *tokens_of(const bk_model *m, const int32_t *tokens, size_t n_tokens, size_t n) {
    int32_t *all = bk_alloc(n, sizeof *all);
    if (all && n_tokens == 0) bk_bench_random(m, all, n);
    for (size_t i = 0; all && n_tokens > 0 && i < n; i++) all[i] = tokens[i % n_tokens];
    return all;
}

bk_status bk_profile_run(bk_model *model, const bk_bench_test *t, const int32_t *tokens,
                         size_t n_tokens, bk_profile *out, bk_error *err) {
    *out = (bk_profile){0};
    int threads = bk_model_get_meta(model)->threads;
    bk_status st = bk_bench_check(t, err);
    if (st) return st;
    size_t n = (size_t)t->n_prompt + (size_t)t->n_gen + (size_t)t->n_depth;
    int32_t *all = tokens_of(model, tokens, n_tokens, n);
    if (!all) return bk_fail(err, BK_ERR_NOMEM, "no memory for %zu tokens", n);
    bk_feed f;
    st = bk_feed_init(&f, model, bk_min_size((size_t)t->batch, n), 1, err);
    if (!st) bk_feed_set_context(&f, n);
    if (!st) st = bk_trace_create(threads, &out->prefill.trace, err);
    if (!st) st = bk_trace_create(threads, &out->decode.trace, err);
    if (!st) st = run_all(&f, t, all, out, err);
    bk_feed_free(&f);
    bk_free(all);
    return st;
}

void bk_profile_free(bk_profile *p) {
    bk_trace_destroy(&p->prefill.trace);
    bk_trace_destroy(&p->decode.trace);
}

bk_roof bk_roof_of(const bk_limits *l, int threads, size_t pass_bytes) {
    bk_roof r = {.read = bk_limits_read_rate(l, threads, pass_bytes)};
    r.ops[BK_ARITH_INT8] = bk_limits_int8(l, threads);
    r.ops[BK_ARITH_F32] = bk_limits_f32(l, threads);
    /* A dot instruction takes two products of 16 bits where it takes four of 8. */
    r.ops[BK_ARITH_INT16] = r.ops[BK_ARITH_INT8] / 2;
    return r;
}

double bk_roof_ns(const bk_roof *r, const bk_cost *c) {
    double read = (double)c->bytes * 1e9 / r->read, compute = 0;
    for (int a = 0; a < BK_N_ARITH; a++) compute += (double)c->ops[a] * 1e9 / r->ops[a];
    return read > compute ? read : compute;
}
