/* What pruning saved and what it cost: sizes, speed in turns with the model before, quality. */
#include "base/mem.h"
#include "compress/prune_internal.h"
#include "measure/eval.h"
#include "measure/race.h"

enum { PROMPT = 256, TOKENS = 32, REPETITIONS = 5 };

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

bk_status bk_prune_measure(bk_pruning *p, bk_model *after, int repetitions, int n_prompt) {
    bk_prune_result *r = p->result;
    bk_model *models[2] = {p->model, after};
    bk_lap lap[2];
    bk_bench_test test = {.n_gen = TOKENS, .n_seqs = 1, .batch = 512, .cancel = p->o->cancel};
    bk_status st = bk_race(models, 2, &test, repetitions, NULL, NULL, lap, p->err);
    if (st) return st;
    r->before.decode = lap[0].speed, r->after.decode = lap[1].speed;
    r->decode_ratio = lap[1].ratio;
    if (n_prompt == 0) return BK_OK;
    test.n_gen = 0, test.n_prompt = n_prompt;
    st = bk_race(models, 2, &test, repetitions, NULL, NULL, lap, p->err);
    if (st) return st;
    r->before.prefill = lap[0].speed, r->after.prefill = lap[1].speed;
    r->prefill_ratio = lap[1].ratio;
    return BK_OK;
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
