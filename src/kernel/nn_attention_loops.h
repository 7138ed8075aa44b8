/* Attention of training by blocks of queries (kernel/nn.h), over 16 lanes. nn_LEVEL.c says how many
 * vectors (TILE_VECS) and rows (TILE_ROWS: 4 or 8) of sums fit its registers.
 *
 * Scores lie with the queries in the lanes, [keys][BK_NN_QUERIES]: then no product needs keys or values
 * in another order than they have, and maxima and sums over keys stay in their lanes. Only the block's
 * queries are turned. */
#ifndef BRISK_KERNEL_NN_ATTENTION_LOOPS_H
#define BRISK_KERNEL_NN_ATTENTION_LOOPS_H

#include "kernel/nn_loops.h"

#ifndef TILE_ROWS
#define TILE_ROWS 4
#define TILE_VECS 1
#endif
#define UNROLL_TILE _Pragma("GCC unroll 8")

/* ---- Small products -------------------------------------------------------------------------------- */

/* c[m][n] = a * b, or c += of it, with element (i, k) of a at a[i * row + k * step], and b[k][n]. Sums
 * ascend in k. */
typedef struct product {
    size_t m, n, k;
    const float *a;
    size_t row, step;
    const float *b;
    size_t ldb;
    float *c;
    size_t ldc;
    bool add;
} product;

/* So many rows and vectors from (i, j) on; `count` lanes of the last vector are there. */
LANE_FN void tile(const product *p, size_t i, size_t j, const size_t rows, const size_t vecs,
                  const size_t count) {
    const float *a = p->a + i * p->row, *b = p->b + j;
    float *c = p->c + i * p->ldc + j;
    lanes acc[TILE_ROWS][TILE_VECS];
    UNROLL_TILE for (size_t r = 0; r < rows; r++) UNROLL_TILE for (size_t v = 0; v < vecs; v++)
        acc[r][v] = l_set(0);
    for (size_t k = 0; k < p->k; k++, a += p->step, b += p->ldb) {
        lanes line[TILE_VECS];
        UNROLL_TILE for (size_t v = 0; v < vecs; v++) line[v] = l_load_n(b + v * LANES, count);
        UNROLL_TILE for (size_t r = 0; r < rows; r++) {
            lanes x = l_set(a[r * p->row]);
            UNROLL_TILE for (size_t v = 0; v < vecs; v++) acc[r][v] = l_fma(x, line[v], acc[r][v]);
        }
    }
    UNROLL_TILE for (size_t r = 0; r < rows; r++) UNROLL_TILE for (size_t v = 0; v < vecs; v++) {
        float *out = c + r * p->ldc + v * LANES;
        lanes y = p->add ? l_add(l_load_n(out, count), acc[r][v]) : acc[r][v];
        l_store_n(out, y, count);
    }
}

LANE_FN void strip(const product *p, size_t j, const size_t vecs, const size_t count) {
    size_t i = 0;
    for (; i + TILE_ROWS <= p->m; i += TILE_ROWS) tile(p, i, j, TILE_ROWS, vecs, count);
    if (TILE_ROWS > 4 && i + 4 <= p->m) tile(p, i, j, 4, vecs, count), i += 4;
    if (i + 2 <= p->m) tile(p, i, j, 2, vecs, count), i += 2;
    if (i < p->m) tile(p, i, j, 1, vecs, count);
}

static void multiply(const product *p) {
    size_t j = 0;
    for (; j + TILE_VECS * LANES <= p->n; j += TILE_VECS * LANES) strip(p, j, TILE_VECS, LANES);
    if (TILE_VECS > 1 && j + LANES <= p->n) strip(p, j, 1, LANES), j += LANES;
    if (j < p->n) strip(p, j, 1, p->n - j);
}

/* ---- Blocks ---------------------------------------------------------------------------------------- */

enum { VECS = BK_NN_QUERIES / LANES };

/* Rows of the block times `by`, queries side by side: out[head][BK_NN_QUERIES], zeros for those that
 * are not there. */
static void turn(const bk_nn_attn *a, const float *x, size_t ld, float by, float *out) {
    const lanes f = l_set(by), none = l_set(0);
    for (size_t q = 0; q < BK_NN_QUERIES; q += LANES) {
        for (size_t i = 0; i < a->head; i += LANES) {
            size_t n = bk_min_size(LANES, a->head - i);
            lanes r[LANES];
            for (size_t k = 0; k < LANES; k++)
                r[k] = q + k < a->n ? l_mul(l_load_n(x + (q + k) * ld + i, n), f) : none;
            l_turn(r);
            for (size_t k = 0; k < n; k++) l_store(out + (i + k) * BK_NN_QUERIES + q, r[k]);
        }
    }
}

/* Products of keys (or values) [first, first + n) with turned rows, [n][BK_NN_QUERIES]. */
static void scores(const bk_nn_attn *a, const float *keys, size_t n, const float *turned,
                   float *out) {
    multiply(&(product){.m = n,
                        .n = BK_NN_QUERIES,
                        .k = a->head,
                        .a = keys,
                        .row = a->ldkv,
                        .step = 1,
                        .b = turned,
                        .ldb = BK_NN_QUERIES,
                        .c = out,
                        .ldc = BK_NN_QUERIES});
}

/* x where query and key may meet, else `none`: key s, queries first + 16 v and on. */
LANE_FN lanes seen(const bk_nn_attn *a, size_t s, size_t v, lanes x, lanes none) {
    if (s <= a->first + v * LANES) return x;
    size_t least = s - a->first - v * LANES;
    return i_least(i_count(), i_set((uint32_t)least), x, none);
}

/* Scores to weights before their division by the sum. */
LANE_FN void soften(const bk_nn_attn *a, size_t keys, size_t v, float *p, float *max, float *sum) {
    const lanes never = l_set(-INFINITY);
    lanes m = never, s = l_set(0);
    for (size_t k = 0; k < keys; k++) {
        float *at = p + k * BK_NN_QUERIES + v * LANES;
        lanes x = l_load(at);
        if (k > a->first) {
            x = seen(a, k, v, x, never);
            l_store(at, x);
        }
        m = l_max(x, m);
    }
    for (size_t k = 0; k < keys; k++) {
        float *at = p + k * BK_NN_QUERIES + v * LANES;
        lanes e = l_exp(l_sub(l_load(at), m));
        s = l_add(s, e);
        l_store(at, e);
    }
    l_store(max + v * LANES, m);
    l_store(sum + v * LANES, s);
}

static void attention(const bk_nn_attn *a, float *scratch) {
    float *turned = scratch, *p = scratch + a->head * BK_NN_QUERIES;
    float max[BK_NN_QUERIES], sum[BK_NN_QUERIES];
    size_t keys = a->first + a->n;
    turn(a, a->q, a->ldq, a->scale, turned);
    scores(a, a->k, keys, turned, p);
    for (size_t v = 0; v < VECS; v++) soften(a, keys, v, p, max, sum);
    multiply(&(product){.m = a->n,
                        .n = a->head,
                        .k = keys,
                        .a = p,
                        .row = 1,
                        .step = BK_NN_QUERIES,
                        .b = a->v,
                        .ldb = a->ldkv,
                        .c = a->y,
                        .ldc = a->ldy});
    for (size_t q = 0; q < a->n; q++) {
        a->lse[q] = max[q] + logf(sum[q]);
        scale(a->y + q * a->ldy, a->head, 1 / sum[q]);
    }
}

/* Weights from the scores of keys [s, s + n) and, from the products dp of values and dy, the scores'
 * gradients: ds = p (dp - delta), with the scores' scale. */
static void soften_bwd(const bk_nn_attn *a, size_t s, size_t n, const float *lse,
                       const float *delta, float *p, float *dp) {
    const lanes none = l_set(0), by = l_set(a->scale);
    for (size_t v = 0; v < VECS; v++) {
        const lanes shift = l_load(lse + v * LANES), mean = l_load(delta + v * LANES);
        for (size_t k = 0; k < n; k++) {
            size_t at = k * BK_NN_QUERIES + v * LANES;
            lanes e = l_exp(l_sub(l_load(p + at), shift));
            if (s + k > a->first) e = seen(a, s + k, v, e, none);
            l_store(p + at, e);
            l_store(dp + at, l_mul(l_mul(e, by), l_sub(l_load(dp + at), mean)));
        }
    }
}

/* dk or dv of n keys += weights (or their gradients) [n][BK_NN_QUERIES] times rows of the block. */
static void to_keys(const bk_nn_attn *a, size_t n, const float *w, const float *x, size_t ld,
                    float *out) {
    multiply(&(product){.m = n,
                        .n = a->head,
                        .k = a->n,
                        .a = w,
                        .row = BK_NN_QUERIES,
                        .step = 1,
                        .b = x,
                        .ldb = ld,
                        .c = out,
                        .ldc = a->ldkv,
                        .add = true});
}

LANE_FN void clear(float *x, size_t n) { EACH_LANES(n, PUT(x, l_set(0))); }

static void attention_bwd(const bk_nn_attn *a, float *scratch) {
    float *q = scratch, *dy = q + a->head * BK_NN_QUERIES, *p = dy + a->head * BK_NN_QUERIES;
    float *dp = p + BK_NN_KEYS * BK_NN_QUERIES;
    float lse[BK_NN_QUERIES], delta[BK_NN_QUERIES];
    size_t keys = a->first + a->n;
    turn(a, a->q, a->ldq, a->scale, q);
    turn(a, a->dy, a->ldy, 1, dy);
    for (size_t i = 0; i < BK_NN_QUERIES; i++) {
        lse[i] = i < a->n ? a->lse[i] : INFINITY;
        delta[i] = i < a->n ? dot(a->dy + i * a->ldy, a->y + i * a->ldy, a->head) : 0;
    }
    for (size_t k = a->first; a->fresh && k < keys; k++) {
        clear(a->dk + k * a->ldkv, a->head);
        clear(a->dv + k * a->ldkv, a->head);
    }
    for (size_t s = 0; s < keys; s += BK_NN_KEYS) {
        size_t n = bk_min_size(BK_NN_KEYS, keys - s), at = s * a->ldkv;
        scores(a, a->k + at, n, q, p);
        scores(a, a->v + at, n, dy, dp);
        soften_bwd(a, s, n, lse, delta, p, dp);
        to_keys(a, n, p, a->dy, a->ldy, a->dv + at);
        to_keys(a, n, dp, a->q, a->ldq, a->dk + at);
        multiply(&(product){.m = a->n,
                            .n = a->head,
                            .k = n,
                            .a = dp,
                            .row = 1,
                            .step = BK_NN_QUERIES,
                            .b = a->k + at,
                            .ldb = a->ldkv,
                            .c = a->dq,
                            .ldc = a->ldq,
                            .add = s > 0});
    }
}

#endif
