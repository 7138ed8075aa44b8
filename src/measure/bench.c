#include "measure/bench.h"

#include "base/clock.h"
#include "base/mem.h"
#include "base/rng.h"

enum { MOST_TOKENS = 1 << 24 }; /* as many as a model's context may have */

bk_status bk_bench_check(const bk_bench_test *t, bk_error *err) {
    const struct {
        const char *name;
        int value, min, max;
    } fields[] = {{"prompt tokens", t->n_prompt, 0, INT32_MAX},
                  {"generated tokens", t->n_gen, 0, INT32_MAX},
                  {"depth", t->n_depth, 0, INT32_MAX},
                  {"sequences", t->n_seqs, 1, 1024},
                  {"batch size", t->batch, 1, 8192},
                  {"repetitions", t->repetitions, 1, 1000}};
    for (size_t i = 0; i < BK_ARRAY_LEN(fields); i++) {
        if (fields[i].value >= fields[i].min && fields[i].value <= fields[i].max) continue;
        return bk_fail(err, BK_ERR_INVALID, "%s: %d, it must be from %d to %d", fields[i].name,
                       fields[i].value, fields[i].min, fields[i].max);
    }
    int64_t all = (int64_t)t->n_prompt + t->n_gen + t->n_depth;
    if (t->n_prompt + (int64_t)t->n_gen == 0) {
        return bk_fail(err, BK_ERR_INVALID, "a test needs tokens to process or to generate");
    }
    if (all > MOST_TOKENS) {
        return bk_fail(err, BK_ERR_LIMIT, "a test of %lld tokens, at most %d are possible",
                       (long long)all, MOST_TOKENS);
    }
    return BK_OK;
}

void bk_bench_random(const bk_model *model, int32_t *tokens, size_t n) {
    bk_rng rng;
    bk_rng_seed(&rng, 1, 1);
    uint32_t n_vocab = (uint32_t)bk_model_config(model)->n_vocab;
    for (size_t i = 0; i < n; i++) tokens[i] = (int32_t)(bk_rng_u32(&rng) % n_vocab);
}

bk_status bk_bench_to_depth(bk_feed *f, const bk_bench_test *t, const int32_t *tokens,
                            bk_error *err) {
    size_t depth = (size_t)t->n_depth, keep = bk_min_size(bk_kv_len(f->kv), depth);
    bk_status st = bk_feed_rewind(f, keep, err);
    if (st == BK_ERR_LIMIT) st = bk_feed_rewind(f, keep = 0, err);
    return st ? st : bk_feed_tokens(f, tokens + keep, depth - keep, 0, t->cancel, err);
}

/* n tokens one at a time in each of t->n_seqs copies of the sequence; every pass has one row of each. */
static bk_status generate(bk_feed *f, const bk_bench_test *t, bk_kv **kv, const int32_t *tokens,
                          bk_error *err) {
    size_t n = (size_t)t->n_seqs;
    bk_status st = BK_OK;
    bk_rows *rows = bk_alloc(n, sizeof *rows);
    if (!rows) return bk_fail(err, BK_ERR_NOMEM, "no memory for %zu sequences", n);
    for (size_t i = 0; i < (size_t)t->n_gen && !st; i++) {
        for (size_t s = 0; s < n; s++)
            rows[s] = (bk_rows){.kv = s ? kv[s] : f->kv,
                                .tokens = tokens + i,
                                .n = 1,
                                .exact = true,
                                .spare = true,
                                .n_logits = 1,
                                .logits = f->rows + s * f->n_vocab,
                                .long_context = bk_feed_long_context(f)};
        st = t->cancel && *t->cancel ? bk_fail(err, BK_ERR_CANCELLED, "cancelled")
                                     : bk_exec_forward(f->exec, rows, n, err);
    }
    bk_free(rows);
    return st;
}

/* The copies share what is in memory so far; the first sequence is that of the feed. */
static bk_status generate_copies(bk_feed *f, const bk_bench_test *t, const int32_t *tokens,
                                 bk_error *err) {
    bk_kv *kv[1024] = {0};
    bk_status st = BK_OK;
    for (int s = 1; s < t->n_seqs && !st; s++) st = bk_kv_fork(f->kv, &kv[s], err);
    if (!st) st = generate(f, t, kv, tokens, err);
    for (int s = 1; s < t->n_seqs; s++) bk_kv_destroy(&kv[s]);
    return st;
}

/* One run, timed from where the depth ends. */
static bk_status run(bk_feed *f, const bk_bench_test *t, const int32_t *tokens, uint64_t *ns,
                     bk_error *err) {
    size_t depth = (size_t)t->n_depth, n_prompt = (size_t)t->n_prompt, n_gen = (size_t)t->n_gen;
    bk_status st = bk_bench_to_depth(f, t, tokens, err);
    uint64_t start = bk_now_ns();
    if (!st) st = bk_feed_tokens(f, tokens + depth, n_prompt, n_prompt > 0, t->cancel, err);
    if (!st && n_gen) st = generate_copies(f, t, tokens + depth + n_prompt, err);
    *ns = bk_now_ns() - start;
    return st;
}

static bk_status run_all(bk_feed *f, const bk_bench_test *t, const int32_t *tokens,
                         uint64_t *samples_ns, bk_error *err) {
    bk_status st = BK_OK;
    if (t->warm_up) {
        bk_bench_test once = *t;
        uint64_t ignored;
        once.n_gen = bk_min_int(t->n_gen, 1);
        st = run(f, &once, tokens, &ignored, err);
    }
    for (int r = 0; r < t->repetitions && !st; r++) st = run(f, t, tokens, &samples_ns[r], err);
    return st;
}

bk_status bk_bench(bk_model *model, const bk_bench_test *t, uint64_t *samples_ns, bk_error *err) {
    bk_status st = bk_bench_check(t, err);
    if (st) return st;
    size_t n = (size_t)t->n_prompt + (size_t)t->n_gen + (size_t)t->n_depth;
    int32_t *tokens = bk_alloc(n, sizeof *tokens);
    if (!tokens) return bk_fail(err, BK_ERR_NOMEM, "no memory for %zu tokens", n);
    bk_bench_random(model, tokens, n);
    bk_feed f;
    size_t seqs = t->n_gen ? (size_t)t->n_seqs : 1;
    st = bk_feed_init(&f, model, bk_max_size(seqs, bk_min_size((size_t)t->batch, n)), seqs, err);
    if (!st) bk_feed_set_context(&f, n);
    if (!st) st = run_all(&f, t, tokens, samples_ns, err);
    bk_feed_free(&f);
    bk_free(tokens);
    return st;
}
