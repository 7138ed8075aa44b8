/* Which inputs of a matrix go when the others may be fitted afterwards: optimal brain surgery (Hassibi and
 * Stork 1992) on whole columns, as SlimGPT does (Ling et al. 2024, arXiv 2412.18110). Without input i,
 * and with the best weights for the others, the outputs' error grows by |w_i|^2 / [H^-1]_ii; so the
 * cheapest go, H^-1 and the weights are brought up to date, and the next are looked for. */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "compress/linalg.h"
#include "compress/prune_internal.h"

enum { ROUNDS = 16 };

typedef struct surgery {
    bk_pruning *p;
    size_t rows, k, n; /* n: of a round */
    float *w;          /* [rows][k] */
    float *inverse;    /* [k][k] */
    float *square;     /* [n][n]: of the inverse, those that go */
    float *gone;       /* [n][k]: their rows */
    float *solved;     /* [max(rows, k)][n] */
    double *score;     /* [k] */
    int32_t *kept;     /* [k]: of the last round */
    bool *out;         /* [k] */
} surgery;

static int by_value(const void *a, const void *b) {
    float x = *(const float *)a, y = *(const float *)b;
    return x < y ? -1 : x > y;
}

/* A few inputs are far larger than all others in many models (Sun et al. 2024, arXiv 2402.17762), so
 * a share of the mean would drown the rest. */
float bk_prune_damping(const float *gram, size_t k) {
    float *diagonal = bk_alloc(k, sizeof *diagonal), share = 0.1f;
    double sum = 0;
    if (!diagonal) return share;
    for (size_t i = 0; i < k; i++) sum += (double)(diagonal[i] = gram[i * k + i]);
    qsort(diagonal, k, sizeof *diagonal, by_value);
    if (sum > 0 && diagonal[k / 2] > 0) share *= (float)(diagonal[k / 2] * (double)k / sum);
    bk_free(diagonal);
    return share > 1e-7f ? share : 1e-7f;
}

/* H^-1 of H = G + lambda. */
static bk_status invert(surgery *s, const float *gram) {
    size_t k = s->k;
    float lambda = bk_damping(gram, k, bk_prune_damping(gram, k));
    float *u = bk_alloc(k, k * sizeof *u);
    if (!u) return bk_fail(s->p->err, BK_ERR_NOMEM, "no memory for a matrix of %zu inputs", k);
    memcpy(u, gram, k * k * sizeof *u);
    for (size_t i = 0; i < k; i++) u[i * k + i] += lambda;
    bk_status st = bk_inverse_factor(s->p->nn, u, k, s->p->err);
    if (!st) {
        bk_multiply(s->p->nn, &(bk_product){.m = k,
                                            .n = k,
                                            .k = k,
                                            .a = u,
                                            .b = u,
                                            .c = s->inverse,
                                            .lda = k,
                                            .ldb = k,
                                            .ldc = k,
                                            .ta = true});
        st = s->p->nn->ops->finish(s->p->nn, s->p->err);
    }
    bk_free(u);
    return st;
}

static void score(surgery *s) {
    size_t k = s->k;
    memset(s->score, 0, k * sizeof *s->score);
    for (size_t r = 0; r < s->rows; r++)
        for (size_t i = 0; i < k; i++)
            s->score[i] += (double)s->w[r * k + i] * (double)s->w[r * k + i];
    for (size_t i = 0; i < k; i++) {
        double d = (double)s->inverse[i * k + i];
        /* What has gone is never looked for again. */
        s->score[i] = s->out[i] ? 1e300 : d > 0 ? s->score[i] / d : 0;
    }
}

/* x[m][k] -= x[:, gone] square^-1 gone_rows, x's columns being in s->solved. */
static bk_status update(surgery *s, float *x, size_t m) {
    bk_nn *nn = s->p->nn;
    bk_status st = bk_cholesky_solve(nn, s->square, s->n, s->solved, m, s->p->err);
    if (st) return st;
    for (size_t i = 0; i < m * s->n; i++) s->solved[i] = -s->solved[i];
    bk_multiply(nn, &(bk_product){.m = m,
                                  .n = s->k,
                                  .k = s->n,
                                  .a = s->solved,
                                  .b = s->gone,
                                  .c = x,
                                  .lda = s->n,
                                  .ldb = s->k,
                                  .ldc = s->k,
                                  .add = true});
    return nn->ops->finish(nn, s->p->err);
}

static void take_columns(surgery *s, const float *x, size_t m, const int32_t *gone) {
    for (size_t r = 0; r < m; r++)
        for (size_t j = 0; j < s->n; j++) s->solved[r * s->n + j] = x[r * s->k + (size_t)gone[j]];
}

/* The n cheapest of those that are left go. */
static bk_status round_of(surgery *s) {
    size_t k = s->k, n = s->n, left = 0, found = 0;
    score(s);
    bk_status st = bk_prune_best(s->p, s->score, k, k - n, s->kept);
    if (st) return st;
    int32_t *gone = bk_alloc(n, sizeof *gone);
    if (!gone) return bk_fail(s->p->err, BK_ERR_NOMEM, "no memory for %zu inputs", n);
    for (size_t i = 0; i < k && found < n; i++) {
        if (left < k - n && s->kept[left] == (int32_t)i)
            left++;
        else
            gone[found++] = (int32_t)i;
    }
    for (size_t a = 0; a < n; a++) {
        memcpy(s->gone + a * k, s->inverse + (size_t)gone[a] * k, k * sizeof *s->gone);
        for (size_t b = 0; b < n; b++) s->square[a * n + b] = s->gone[a * k + (size_t)gone[b]];
        s->out[gone[a]] = true;
    }
    st = bk_cholesky(s->p->nn, s->square, n, s->p->err);
    if (!st) take_columns(s, s->w, s->rows, gone);
    if (!st) st = update(s, s->w, s->rows);
    if (!st) take_columns(s, s->inverse, k, gone);
    if (!st) st = update(s, s->inverse, k);
    bk_free(gone);
    return st;
}

static bk_status operate(surgery *s, const float *gram, size_t go) {
    bk_status st = invert(s, gram);
    size_t most = bk_div_up(go, ROUNDS);
    for (size_t done = 0; done < go && !st; done += s->n) {
        s->n = bk_min_size(most, go - done);
        st = round_of(s);
    }
    return st;
}

bk_status bk_prune_choose(bk_pruning *p, const float *w, size_t rows, size_t k, const float *gram,
                          size_t stay, int32_t *keep) {
    size_t most = bk_div_up(k - stay, ROUNDS);
    surgery s = {.p = p,
                 .rows = rows,
                 .k = k,
                 .w = bk_alloc(rows, k * sizeof *s.w),
                 .inverse = bk_alloc(k, k * sizeof *s.inverse),
                 .square = bk_alloc(most, most * sizeof *s.square),
                 .gone = bk_alloc(most, k * sizeof *s.gone),
                 .solved = bk_alloc(bk_max_size(rows, k), most * sizeof *s.solved),
                 .score = bk_alloc(k, sizeof *s.score),
                 .kept = bk_alloc(k, sizeof *s.kept),
                 .out = bk_alloc_zero(k, sizeof *s.out)};
    bk_status st = BK_OK;
    if (s.w && s.inverse && s.square && s.gone && s.solved && s.score && s.kept && s.out) {
        memcpy(s.w, w, rows * k * sizeof *w);
        st = operate(&s, gram, k - stay);
    } else {
        st = bk_fail(p->err, BK_ERR_NOMEM, "no memory to choose among %zu inputs", k);
    }
    for (size_t i = 0, n = 0; i < k && !st; i++)
        if (!s.out[i]) keep[n++] = (int32_t)i;
    bk_free(s.w);
    bk_free(s.inverse);
    bk_free(s.square);
    bk_free(s.gone);
    bk_free(s.solved);
    bk_free(s.score);
    bk_free(s.kept);
    bk_free(s.out);
    return st;
}
