/* The kernels of kernel/sgemm.h over 16 lanes. A level's file defines before how many sums its registers
 * hold, TILE_ROWS times TILE_LANES, EACH_TILE for the numbers of rows, and `turn`, which transposes; or
 * takes the portable ones. */
#ifndef BRISK_KERNEL_SGEMM_LOOPS_H
#define BRISK_KERNEL_SGEMM_LOOPS_H

#include "kernel/lanes.h"
#include "kernel/parts.h"
#include "kernel/sgemm.h"

#ifndef TILE_ROWS
#define TILE_ROWS 4
#define TILE_LANES 1
#define EACH_TILE(X) X(1) X(2) X(3) X(4)

/* x[width][ld] to out[k][pitch], width <= 16. */
static void turn(const float *x, size_t ld, size_t width, size_t k, float *out, size_t pitch) {
    for (size_t p = 0; p < k; p++)
        for (size_t i = 0; i < width; i++) out[p * pitch + i] = x[i * ld + p];
}
#endif

enum { LANES = BK_SGEMM_LANES, TILE_COLS = TILE_LANES * LANES, AHEAD = 8 /* rows */ };

/* ---- Packing ------------------------------------------------------------------------------------- */

/* Whole lanes, of which only the first `pitch` count: the next values replace the rest, but not behind
 * the last of k, where other threads may write. */
INLINE void put_line(float *out, size_t p, size_t k, size_t pitch, lanes v) {
    l_store_n(out + p * pitch, v, bk_min_size(LANES, (k - p) * pitch));
}

/* Some values of k for all strips, as strips share lines of memory. */
static void pack_strips(const float *a, size_t ld, size_t m, size_t k, float *out) {
    size_t strips = bk_div_up(m, TILE_ROWS);
    for (size_t first = 0; first < k; first += AHEAD) {
        size_t last = bk_min_size(first + AHEAD, k);
        for (size_t s = 0, i = 0, end; s < strips; s++, i = end) {
            end = bk_sgemm_strip(m, strips, s + 1);
            size_t rows = end - i;
            const float *from = a + first * ld + i;
            for (size_t p = first; p < last; p++, from += ld) {
                __builtin_prefetch(from + AHEAD * ld + rows);
                put_line(out + i * k, p, k, rows, l_load_n(from, rows));
            }
        }
    }
}

static void pack_a(const float *a, size_t ld, bool transposed, size_t m, size_t k, float *out) {
    size_t strips = bk_div_up(m, TILE_ROWS);
    if (transposed) {
        pack_strips(a, ld, m, k, out);
        return;
    }
    for (size_t s = 0, i = 0, end; s < strips; s++, i = end) {
        end = bk_sgemm_strip(m, strips, s + 1);
        turn(a + i * ld, ld, end - i, k, out + i * k, end - i);
    }
}

/* Where 16 columns go, which begin at column j of n. */
INLINE size_t panel_at(size_t j, size_t n, size_t k, size_t *pitch) {
    size_t first = j / TILE_COLS * TILE_COLS;
    *pitch = bk_min_size(TILE_COLS, bk_round_up(n - first, LANES));
    return first * k + j - first;
}

static void pack_b(const float *b, size_t ld, bool transposed, size_t n, size_t k, float *out) {
    size_t pitch;
    if (transposed) {
        for (size_t j = 0; j < n; j += LANES) {
            float *to = out + panel_at(j, n, k, &pitch);
            turn(b + j * ld, ld, bk_min_size(LANES, n - j), k, to, pitch);
        }
        return;
    }
    for (size_t p = 0; p < k; p++) {
        for (size_t j = 0; j < n; j += LANES) {
            const float *from = b + p * ld + j;
            float *to = out + panel_at(j, n, k, &pitch);
            __builtin_prefetch(from + AHEAD * ld);
            l_store(to + p * pitch, l_load_n(from, bk_min_size(LANES, n - j)));
        }
    }
}

/* ---- Tiles --------------------------------------------------------------------------------------- */

/* A block of at most one tile. */
INLINE void finish(const bk_sgemm_block *t, size_t rows, size_t vecs, lanes acc[][TILE_LANES]) {
    UNROLL for (size_t v = 0; v < vecs; v++) {
        size_t n = bk_min_size(LANES, t->n - v * LANES);
        UNROLL for (size_t r = 0; r < rows; r++) {
            float *c = t->c + r * t->ldc + v * LANES;
            if (t->bias) acc[r][v] = l_add(acc[r][v], l_load_n(t->bias + v * LANES, n));
            if (t->add) acc[r][v] = l_add(acc[r][v], l_load_n(c, n));
            l_store_n(c, acc[r][v], n);
        }
    }
}

/* What to ask memory for while tiles are computed, a line of 16 floats with each k. */
typedef struct asker {
    const float *c; /* where the next tile goes */
    const bk_sgemm_ahead *ahead, *end;
    size_t row, line;
} asker;

/* The next 16 lines, one for each row from *at on. */
INLINE size_t ask_next(asker *q, const float **at) {
    if (q->ahead == q->end) return 0;
    const bk_sgemm_ahead *x = q->ahead;
    *at = x->at + q->row * x->ld + q->line * LANES;
    if (++q->line >= x->lines) {
        q->line = 0;
        q->row += 16;
        if (q->row >= x->rows) {
            q->row = 0;
            q->ahead++;
        }
    }
    return x->ld;
}

INLINE void tile(const bk_sgemm_block *t, asker *q, size_t rows, size_t vecs) {
    const float *a = t->a, *b = t->b;
    lanes acc[TILE_ROWS][TILE_LANES];
    UNROLL for (size_t r = 0; r < rows; r++) UNROLL for (size_t v = 0; v < vecs; v++) acc[r][v] =
        l_set(0);
    for (size_t first = 0; first < t->k; first += 16) {
        size_t n = bk_min_size(16, t->k - first), step = t->ldc;
        const float *ask = q->c + first;
        if (first / LANES >= TILE_LANES) {
            ask = t->a;
            step = ask_next(q, &ask);
        }
        for (size_t p = 0; p < n; p++, a += rows, b += vecs * LANES, ask += step) {
            lanes line[TILE_LANES];
            UNROLL for (size_t v = 0; v < vecs; v++) line[v] = l_load(b + v * LANES);
            __builtin_prefetch(ask, 0, 2);
            UNROLL for (size_t r = 0; r < rows; r++) {
                lanes x = l_set(a[r]);
                UNROLL for (size_t v = 0; v < vecs; v++) acc[r][v] = l_fma(x, line[v], acc[r][v]);
            }
        }
    }
    finish(t, rows, vecs, acc);
}

#define TILE(ROWS)                           \
    case ROWS:                               \
        if (TILE_LANES == 2 && t->n > LANES) \
            tile(t, q, ROWS, TILE_LANES);    \
        else                                 \
            tile(t, q, ROWS, 1);             \
        break;
static void any_tile(const bk_sgemm_block *t, asker *q) {
    switch (t->m) {
        EACH_TILE(TILE)
    default: break; /* no more rows */
    }
}

/* A strip stays in the first-level cache while all panels pass, which stay in the second. */
static void block(const bk_sgemm_block *g) {
    size_t strips = bk_div_up(g->m, TILE_ROWS);
    asker q = {.ahead = g->ahead, .end = g->ahead + g->n_ahead};
    for (size_t s = 0, i = 0, end; s < strips; s++, i = end) {
        end = bk_sgemm_strip(g->m, strips, s + 1);
        for (size_t j = 0; j < g->n; j += TILE_COLS) {
            bk_sgemm_block t = *g;
            t.m = end - i;
            t.n = bk_min_size(TILE_COLS, g->n - j);
            t.a += i * g->k;
            t.b += j * g->k;
            t.c += i * g->ldc + j;
            if (t.bias) t.bias += j;
            q.c = j + TILE_COLS < g->n ? t.c + TILE_COLS : g->c + end * g->ldc;
            any_tile(&t, &q);
        }
    }
}

#define SGEMM_TABLE \
    { TILE_ROWS, TILE_COLS, pack_a, pack_b, block }

#endif
