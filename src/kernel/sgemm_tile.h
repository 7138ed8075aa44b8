/* Float matrix products with vectors: what the levels share. The including file says what a vector
 * is (V, LANES, and the operations used here), how many rows a tile has (ROWS, registers for twice so
 * many vectors) and fills strips and panels from transposed memory (turn). */
#include "kernel/parts.h"

/* [0, width) of one line of each k. */
INLINE void copy_lines(const float *x, size_t ld, size_t width, size_t k, float *out, size_t pitch) {
    for (size_t p = 0; p < k; p++) {
        for (size_t i = 0; i < width; i += LANES)
            store_first(out + p * pitch + i, load_first(x + p * ld + i, width - i), LANES);
    }
}

static void pack_a(const float *a, size_t ld, bool transposed, size_t m, size_t k, float *out) {
    size_t strips = bk_sgemm_strips(m, ROWS);
    for (size_t s = 0; s < strips; s++) {
        size_t i = bk_sgemm_strip(m, strips, s), w = bk_sgemm_strip(m, strips, s + 1) - i;
        if (transposed)
            copy_lines(a + i, ld, w, k, out + i * k, w);
        else
            turn(a + i * ld, ld, w, k, out + i * k, w);
    }
}

static void pack_b(const float *b, size_t ld, bool transposed, size_t n, size_t k, float *out) {
    for (size_t j = 0; j < n; j += 2 * LANES) {
        size_t width = bk_min_size(2 * LANES, n - j), pitch = bk_round_up(width, LANES);
        if (!transposed) {
            copy_lines(b + j, ld, width, k, out + j * k, pitch);
            continue;
        }
        for (size_t i = 0; i < width; i += LANES)
            turn(b + (j + i) * ld, ld, bk_min_size(LANES, width - i), k, out + j * k + i, pitch);
    }
}

/* ---- Tiles --------------------------------------------------------------------------------------- */

typedef struct tile {
    const float *a, *b;
    size_t k, n; /* n: columns that exist */
    float *c;
    size_t ldc;
    const float *bias;
    bool add;
} tile;

INLINE void finish(const tile *t, size_t rows, size_t vecs, V acc[][2]) {
    UNROLL for (size_t v = 0; v < vecs; v++) {
        size_t left = t->n - v * LANES;
        V bias = t->bias ? load_first(t->bias + v * LANES, left) : zero();
        UNROLL for (size_t r = 0; r < rows; r++) {
            float *c = t->c + r * t->ldc + v * LANES;
            V y = t->bias ? plus(acc[r][v], bias) : acc[r][v];
            if (t->add) y = plus(load_first(c, left), y);
            store_first(c, y, left);
        }
    }
}

INLINE void tile_run(const tile *t, size_t rows, size_t vecs) {
    const float *a = t->a, *b = t->b;
    V acc[ROWS][2];
    UNROLL for (size_t r = 0; r < rows; r++) UNROLL for (size_t v = 0; v < vecs; v++)
        acc[r][v] = zero();
    UNROLL for (size_t r = 0; r < rows; r++) ask_for(t->c + r * t->ldc);
    for (size_t p = 0; p < t->k; p++, a += rows, b += vecs * LANES) {
        V line[2];
        UNROLL for (size_t v = 0; v < vecs; v++) line[v] = load(b + v * LANES);
        UNROLL for (size_t r = 0; r < rows; r++) {
            V x = all(a[r]);
            UNROLL for (size_t v = 0; v < vecs; v++) acc[r][v] = muladd(x, line[v], acc[r][v]);
        }
    }
    finish(t, rows, vecs, acc);
}
