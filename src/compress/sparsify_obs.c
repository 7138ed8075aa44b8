/* SparseGPT: columns from the first to the last, each weight that goes is made up for by all behind it
 * as the optimal brain surgeon does (Hassibi and Stork 1993), which the factor U of the inverse of H
 * gives without computing an inverse for each: with e = w_j / U_jj, the weights behind j lose e U_j.
 * Within a block column by column, for the columns behind the block in one matrix product. */
#include <string.h>

#include "base/mem.h"
#include "compress/linalg.h"
#include "compress/sparsify_internal.h"
#include "device/nn_cpu.h"

enum { STRIP = 16, TRIES = 3 };

typedef struct block {
    const bk_sparsify_rule *rule;
    float *w;
    const float *u;
    size_t rows, k, first, end;
    float *score;  /* [rows][width] */
    float *passed; /* [rows][width]: what columns behind the block take, less its sign */
    uint8_t *gone;
} block;

static void score_rows(const void *p, size_t strip, int thread) {
    (void)thread;
    const block *b = p;
    size_t width = b->end - b->first, last = bk_min_size(b->rows, (strip + 1) * STRIP);
    for (size_t r = strip * STRIP; r < last; r++)
        for (size_t i = 0; i < width; i++) {
            size_t j = b->first + i;
            float w = b->w[r * b->k + j];
            b->score[r * width + i] = (w < 0 ? -w : w) / b->u[j * b->k + j];
        }
}

static void take_out(const block *b, float *w, size_t i, float *passed) {
    size_t j = b->first + i, width = b->end - b->first;
    const float *u = b->u + j * b->k + b->first;
    float e = w[i] / u[i];
    for (size_t c = i + 1; c < width; c++) w[c] -= e * u[c];
    w[i] = 0;
    passed[i] = -e;
}

static void walk_rows(const void *p, size_t strip, int thread) {
    (void)thread;
    const block *b = p;
    size_t width = b->end - b->first, last = bk_min_size(b->rows, (strip + 1) * STRIP);
    size_t m = b->rule->pattern == BK_PATTERN_NM ? (size_t)b->rule->m : 0;
    for (size_t r = strip * STRIP; r < last; r++) {
        float *w = b->w + r * b->k + b->first, *score = b->score + r * width;
        uint8_t *gone = b->gone + r * width;
        memset(b->passed + r * width, 0, width * sizeof *b->passed);
        for (size_t i = 0; i < width; i++) {
            if (m && i % m == 0) {
                for (size_t c = i; c < i + m; c++)
                    score[c] = (w[c] < 0 ? -w[c] : w[c]) / b->u[(b->first + c) * (b->k + 1)];
                bk_choose_nm(score + i, (size_t)b->rule->n, m, gone + i);
            }
            if (gone[i]) take_out(b, w, i, b->passed + r * width);
        }
    }
}

static void pass_on(bk_nn *nn, const block *b) {
    size_t width = b->end - b->first;
    bk_multiply(nn, &(bk_product){.m = b->rows,
                                  .n = b->k - b->end,
                                  .k = width,
                                  .a = b->passed,
                                  .b = b->u + b->first * b->k + b->end,
                                  .c = b->w + b->end,
                                  .lda = width,
                                  .ldb = b->k,
                                  .ldc = b->k,
                                  .add = true});
}

static bk_status walk(bk_nn *nn, block *b, bk_error *err) {
    size_t columns = bk_block_columns(b->rule), strips = bk_div_up(b->rows, STRIP);
    for (b->first = 0; b->first < b->k; b->first = b->end) {
        b->end = bk_min_size(b->k, b->first + columns);
        size_t values = b->rows * (b->end - b->first);
        if (b->rule->pattern != BK_PATTERN_NM) {
            bk_choice c = {b->rule, b->rows, b->k, b->first, b->end, b->score, b->gone};
            bk_nn_cpu_each((bk_nn_cpu *)nn, strips, values, score_rows, b);
            bk_status st = bk_choose(nn, &c, err);
            if (st) return st;
        }
        bk_nn_cpu_each((bk_nn_cpu *)nn, strips, values * 16, walk_rows, b);
        if (b->end < b->k) pass_on(nn, b);
    }
    return nn->ops->finish(nn, err);
}

static bk_status factor(bk_nn *nn, const float *gram, size_t k, float damping, float *u,
                        bk_error *err) {
    bk_status st = BK_OK;
    for (int i = 0; i < TRIES; i++, damping *= 10) {
        float lambda = bk_damping(gram, k, damping);
        memcpy(u, gram, k * k * sizeof *u);
        for (size_t j = 0; j < k; j++) u[j * k + j] += lambda;
        st = bk_inverse_factor(nn, u, k, err);
        if (st != BK_ERR_INVALID) break;
    }
    return st;
}

bk_status bk_sparsify_obs(bk_nn *nn, float *w, size_t rows, size_t k, const float *gram,
                          const bk_sparsify_rule *rule, bk_error *err) {
    size_t width = bk_min_size(k, bk_block_columns(rule));
    block b = {.rule = rule, .w = w, .rows = rows, .k = k};
    float *u = bk_alloc(k * k, sizeof *u);
    b.score = bk_alloc(rows * width, sizeof *b.score);
    b.passed = bk_alloc(rows * width, sizeof *b.passed);
    b.gone = bk_alloc(rows * width, 1);
    bk_status st = BK_OK;
    if (!u || !b.score || !b.passed || !b.gone)
        st = bk_fail(err, BK_ERR_NOMEM, "no memory to prune %zu rows of %zu", rows, k);
    if (!st) st = factor(nn, gram, k, rule->damping, u, err);
    b.u = u;
    if (!st) st = walk(nn, &b, err);
    bk_free(u);
    bk_free(b.score);
    bk_free(b.passed);
    bk_free(b.gone);
    return st;
}
