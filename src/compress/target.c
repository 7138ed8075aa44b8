#include "compress/target.h"

#include "base/mem.h"
#include "measure/bench.h"
#include "model/model.h"

enum { MOST_TRIES = 5, BENCH_TOKENS = 24, BENCH_TIMES = 3 };

/* How far below bits per weight of the whole the cheapest candidates are. */
#define BELOW 1.8
/* What is close enough to a target that has to be measured. */
#define CLOSE 0.92

typedef struct search {
    const bk_target *t;
    bk_allocation *a;
    bk_plan *plan;
    bk_round_cache *cache;
    bk_target_report *report;
    bk_allocation_sum sum;
} search;

static bk_status decode_ms(bk_model *m, const volatile bool *cancel, double *ms, bk_error *err) {
    bk_bench_test test = {.n_gen = BENCH_TOKENS,
                          .n_seqs = 1,
                          .batch = 512,
                          .repetitions = BENCH_TIMES,
                          .warm_up = true,
                          .cancel = cancel};
    uint64_t ns[BENCH_TIMES], best = UINT64_MAX;
    bk_status st = bk_bench(m, &test, ns, err);
    for (int i = 0; i < BENCH_TIMES && !st; i++)
        if (ns[i] < best) best = ns[i];
    *ms = (double)best / 1e6 / BENCH_TOKENS;
    return st;
}

/* The plan as a model, and what it is worth. */
static bk_status try_plan(search *s, bk_error *err) {
    const bk_target *t = s->t;
    bk_allocation *a = s->a;
    bk_round_options round = {.imatrix = a->imatrix,
                              .file_type = -1,
                              .cache = s->cache,
                              .pool = a->pool,
                              .progress = a->progress,
                              .user = a->user,
                              .cancel = a->cancel};
    bk_model_options open = {.threads = t->threads};
    bk_gguf *g = NULL;
    bk_model *m = NULL;
    *t->step = "rounding";
    bk_status st = bk_round_model(a->source, s->plan->types, &round, &g, err);
    if (!st) st = bk_model_load_gguf(g, &open, &m, err);
    *t->step = "checking";
    if (!st && t->check) st = bk_distance_measure(t->check, m, a->cancel, &s->report->kl, err);
    if (!st && t->ms > 0) st = decode_ms(m, a->cancel, &s->report->ms, err);
    bk_model_unref(&m);
    bk_gguf_destroy(&g);
    return st;
}

static bk_status solve(search *s, bk_allocation_given given, double total, bk_error *err) {
    bk_status st = bk_allocation_solve(s->a, given, total, s->plan->types, &s->sum, err);
    s->report->kl_estimate = s->sum.kl;
    return st;
}

static bk_status reach_bpw(search *s, bk_error *err) {
    double weights = 0;
    for (size_t i = 0; i < bk_gguf_n_tensors(s->a->source); i++)
        weights += (double)bk_gguf_tensor_at(s->a->source, i)->n_elements;
    bk_status st = solve(s, BK_GIVEN_BYTES, s->t->bpw * weights / 8, err);
    return st || !s->t->check || s->t->dry_run ? st : try_plan(s, err);
}

/* What a token takes beside the products of free tensors is the difference of what was measured and what
 * those should take. */
static bk_status reach_ms(search *s, bk_error *err) {
    double want = s->t->ms * 1e6;
    for (int i = 0; i < MOST_TRIES; i++) {
        bk_status st = solve(s, BK_GIVEN_NS, want, err);
        if (!st) st = try_plan(s, err);
        if (st) return st;
        double over = s->report->ms * 1e6 - s->sum.ns;
        if (s->report->ms <= s->t->ms && (i > 0 || s->report->ms > CLOSE * s->t->ms)) return BK_OK;
        s->a->fixed_ns += over;
    }
    return BK_OK; /* the report says what it is */
}

/* The estimate is in proportion to the truth; the factor is found by trying. */
static bk_status reach_kl(search *s, bk_error *err) {
    double want = s->t->kl, low = 0;
    for (int i = 0; i < MOST_TRIES; i++) {
        bk_status st = solve(s, BK_GIVEN_KL, want, err);
        if (!st) st = try_plan(s, err);
        if (st) return st;
        bool good = s->report->kl <= s->t->kl;
        if (good && (s->report->kl > CLOSE * s->t->kl || i + 2 >= MOST_TRIES)) return BK_OK;
        double factor = s->report->kl > 0 ? 0.97 * s->t->kl / s->report->kl : 2;
        if (good) low = want;
        want *= factor > 3 ? 3 : factor;
        if (i + 2 >= MOST_TRIES && low > 0) want = low;
    }
    return bk_fail(err, BK_ERR_LIMIT, "a KL of %.4g found as target, the nearest plan has %.4g",
                   s->t->kl, s->report->kl);
}

bk_status bk_target_plan(const bk_target *t, bk_allocation *a, bk_plan *plan, bk_round_cache *cache,
                         bk_target_report *report, bk_error *err) {
    search s = {.t = t, .a = a, .plan = plan, .cache = cache, .report = report};
    *report = (bk_target_report){.kl_estimate = -1, .kl = -1, .ms = -1};
    *t->step = "trying types";
    bk_status st = bk_allocation_errors(a, t->bpw > 0 ? t->bpw - BELOW : 0, err);
    *t->step = "measuring damage";
    if (!st && t->text.data) st = bk_allocation_measure(a, t->text, t->context, t->threads, err);
    if (!st && !t->text.data) bk_allocation_guess(a);
    *t->step = "timing products";
    if (!st && t->ms > 0) st = bk_allocation_time(a, t->threads, err);
    if (st) return st;
    return t->bpw > 0 ? reach_bpw(&s, err) : t->ms > 0 ? reach_ms(&s, err) : reach_kl(&s, err);
}
