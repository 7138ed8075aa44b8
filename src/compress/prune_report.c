/* What pruning saved and what it cost: sizes, speed in turns with the model before, quality. */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "compress/prune_internal.h"
#include "measure/bench.h"
#include "measure/eval.h"

enum { PROMPT = 256, TOKENS = 32, REPETITIONS = 5, MOST = 16 };

/* ---- Sizes --------------------------------------------------------------------------------------- */

static bk_status count_zeros(const bk_gguf *g, const bk_gguf_tensor *t, uint64_t *zeros,
                             bk_error *err) {
    size_t n = (size_t)t->ne[0], bytes = n / t->type->block_len * t->type->block_bytes;
    const uint8_t *data;
    float *row = bk_alloc(n, sizeof *row);
    if (!row) return bk_fail(err, BK_ERR_NOMEM, "no memory for a row of %zu", n);
    bk_status st = bk_gguf_read(g, t, &data, err);
    for (size_t r = 0; r < t->n_elements / n && !st; r++) {
        bk_quant_dequantize(t->type, data + r * bytes, row, n);
        for (size_t i = 0; i < n; i++) *zeros += row[i] == 0;
    }
    if (!st) bk_gguf_release(g, t, data);
    bk_free(row);
    return st;
}

static bk_status sizes(bk_pruning *p, const bk_gguf *g, bk_prune_side *out) {
    bk_status st = BK_OK;
    for (size_t i = 0; i < bk_gguf_n_tensors(g) && !st; i++) {
        const bk_gguf_tensor *t = bk_gguf_tensor_at(g, i);
        out->parameters += t->n_elements;
        out->bytes += t->bytes;
        st = bk_prune_cancelled(p);
        if (!st) st = count_zeros(g, t, &out->zeros, p->err);
    }
    return st;
}

/* ---- Speed --------------------------------------------------------------------------------------- */

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static double median(double *v, int n) {
    qsort(v, (size_t)n, sizeof *v, by_value);
    return n % 2 ? v[n / 2] : (v[n / 2 - 1] + v[n / 2]) / 2;
}

/* Tokens per second of both, one run of each in turn, and the median of the pairs' quotients. */
static bk_status race(bk_pruning *p, bk_model *after, bk_bench_test test, int repetitions,
                      double out[2], double *ratio) {
    double speed[2][MOST], quotient[MOST];
    bk_model *models[2] = {p->model, after};
    bk_status st = BK_OK;
    for (int r = -1; r < repetitions; r++) {
        for (int m = 0; m < 2 && !st; m++) {
            uint64_t ns = 0;
            st = bk_bench(models[m], &test, &ns, p->err);
            if (r >= 0) speed[m][r] = (test.n_prompt + test.n_gen) * 1e9 / (double)ns;
        }
        if (st) return st;
        if (r >= 0) quotient[r] = speed[1][r] / speed[0][r];
    }
    for (int m = 0; m < 2; m++) out[m] = median(speed[m], repetitions);
    *ratio = median(quotient, repetitions);
    return BK_OK;
}

bk_status bk_prune_measure(bk_pruning *p, bk_model *after, int repetitions, int n_prompt) {
    bk_prune_result *r = p->result;
    double speed[2];
    bk_bench_test test = {
        .n_gen = TOKENS, .n_seqs = 1, .batch = 512, .repetitions = 1, .cancel = p->o->cancel};
    bk_status st = race(p, after, test, bk_min_int(repetitions, MOST), speed, &r->decode_ratio);
    if (st) return st;
    r->before.decode = speed[0], r->after.decode = speed[1];
    if (n_prompt == 0) return BK_OK;
    test.n_gen = 0, test.n_prompt = n_prompt;
    st = race(p, after, test, bk_min_int(repetitions, MOST), speed, &r->prefill_ratio);
    if (!st) r->before.prefill = speed[0], r->after.prefill = speed[1];
    return st;
}

/* ---- Together ------------------------------------------------------------------------------------ */

static void evaluated(size_t done, size_t total, double ppl, void *user) {
    (void)ppl;
    bk_prune_progress(user, "evaluating", (double)done / (double)total);
}

static bk_status evaluate(bk_pruning *p, bk_model *after) {
    bk_eval_options o = {
        .reference = p->model, .progress = evaluated, .user = p, .cancel = p->o->cancel};
    return bk_eval_text(after, p->o->eval, &o, &p->result->quality, p->err);
}

bk_status bk_prune_report(bk_pruning *p, const bk_gguf *after) {
    bk_model *m = NULL;
    bk_status st = sizes(p, p->g, &p->result->before);
    if (!st) st = sizes(p, after, &p->result->after);
    if (st || !p->model || !(p->o->bench || p->o->eval.len)) return st;
    st = bk_prune_load(p, after, &m);
    if (!st && p->o->bench) {
        bk_prune_progress(p, "measuring", 0);
        st = bk_prune_measure(p, m, REPETITIONS, PROMPT);
    }
    if (!st && p->o->eval.len) st = evaluate(p, m);
    bk_model_unref(&m);
    return st;
}
