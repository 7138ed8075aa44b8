/* matrices THREADS OPERATION ARGUMENTS...: the functions of src/compress/ on one matrix, float32 on
 * standard input and output, for tests that compare them with numpy.
 *
 *   cholesky N                   a[n][n]                        -> L over a's lower triangle
 *   solve N M                    a[n][n], x[m][n]               -> x a^-1
 *   inverse N                    a[n][n]                        -> U, U^T U = a^-1
 *   columns ROWS K N DAMPING     w, gram, kept[n] (int32)       -> w'[rows][n], and its error
 *   sparsify ROWS K SCORE PATTERN RATIO N M REPAIR   w, squares (float64), gram -> w', and its error;
 *                                numbers as in bk_score_kind and bk_pattern; tiles of N x M
 *
 * A failure is one line on standard error and exit status 1. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "compress/repair.h"
#include "compress/sparsify.h"

static bk_nn *nn;
static bk_error err;

static void *take(size_t n) {
    void *p = bk_alloc(n + 1, 4);
    if (!p || fread(p, 4, n, stdin) != n) {
        fprintf(stderr, "short input\n");
        exit(2);
    }
    return p;
}

static bk_status give(void *x, size_t n, bk_status st) {
    if (st == BK_OK) fwrite(x, 4, n, stdout);
    bk_free(x);
    return st;
}

static bk_status cholesky(char **v) {
    size_t n = strtoul(v[0], NULL, 10);
    float *a = take(n * n);
    return give(a, n * n, bk_cholesky(nn, a, n, &err));
}

static bk_status solve(char **v) {
    size_t n = strtoul(v[0], NULL, 10), m = strtoul(v[1], NULL, 10);
    float *a = take(n * n), *x = take(n * m);
    bk_status st = bk_cholesky(nn, a, n, &err);
    if (!st) st = bk_cholesky_solve(nn, a, n, x, m, &err);
    bk_free(a);
    return give(x, n * m, st);
}

static bk_status inverse(char **v) {
    size_t n = strtoul(v[0], NULL, 10);
    float *a = take(n * n);
    return give(a, n * n, bk_inverse_factor(nn, a, n, &err));
}

static bk_status columns(char **v) {
    size_t rows = strtoul(v[0], NULL, 10), k = strtoul(v[1], NULL, 10);
    size_t n = strtoul(v[2], NULL, 10);
    float *w = take(rows * k), *gram = take(k * k), *out = bk_alloc(rows * n + 1, sizeof *out);
    int32_t *kept = take(n);
    bk_status st = bk_repair_columns(nn, w, rows, k, gram, kept, n, strtof(v[3], NULL), out, &err);
    if (!st) { /* as wide as before */
        float *wide = bk_alloc_zero(rows * k, sizeof *wide);
        for (size_t i = 0; i < rows * n; i++) wide[i / n * k + (size_t)kept[i % n]] = out[i];
        out[rows * n] = (float)bk_output_error(nn, w, wide, rows, k, gram);
        bk_free(wide);
    }
    bk_free(w);
    bk_free(gram);
    bk_free(kept);
    return give(out, rows * n + 1, st);
}

static bk_status sparsify(char **v) {
    size_t rows = strtoul(v[0], NULL, 10), k = strtoul(v[1], NULL, 10);
    bk_sparsify_rule rule = {.score = (bk_score_kind)atoi(v[2]),
                             .pattern = (bk_pattern)atoi(v[3]),
                             .ratio = strtod(v[4], NULL),
                             .n = atoi(v[5]),
                             .m = atoi(v[6]),
                             .tile_rows = atoi(v[5]),
                             .tile_cols = atoi(v[6]),
                             .repair = atoi(v[7])};
    bk_sparsify_result r;
    float *w = take(rows * k), *squares = take(2 * k), *gram = take(k * k);
    bk_status st = bk_sparsify_matrix(nn, w, rows, k, (double *)squares, gram, &rule, &r, &err);
    w[rows * k] = st ? 0 : (float)r.error;
    bk_free(squares);
    bk_free(gram);
    return give(w, rows * k + 1, st);
}

static const struct {
    const char *name;
    int n_arguments;
    bk_status (*run)(char **arguments);
} operations[] = {{"cholesky", 1, cholesky},
                  {"solve", 2, solve},
                  {"inverse", 1, inverse},
                  {"columns", 4, columns},
                  {"sparsify", 8, sparsify}};

int main(int argc, char **argv) {
    bk_status st = BK_ERR_INVALID;
    size_t i = 0, n = BK_ARRAY_LEN(operations);
    if (argc < 3) return 2;
    while (i < n && strcmp(argv[2], operations[i].name) != 0) i++;
    if (i == n || argc != 3 + operations[i].n_arguments) return 2;
    if (bk_nn_cpu_create(BK_CPU_LEVELS - 1, atoi(argv[1]), &nn, &err) == BK_OK)
        st = operations[i].run(argv + 3);
    bk_nn_destroy(&nn);
    if (st) fprintf(stderr, "%s\n", err.text);
    return st || fflush(stdout) ? 1 : 0;
}
