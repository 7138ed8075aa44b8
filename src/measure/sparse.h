/* Sparse matrices against dense ones: products of random matrices of several densities, in every form,
 * all checked. Tiles of 16 rows x 4 columns are kept or not, or single weights, each with the probability
 * that is the density. */
#ifndef BRISK_MEASURE_SPARSE_H
#define BRISK_MEASURE_SPARSE_H

#include "base/error.h"
#include "sys/cpu.h"

typedef enum bk_sparse_form {
    BK_FORM_DENSE_Q4_0,
    BK_FORM_DENSE_Q8_0,
    BK_FORM_TILES_Q4_0,
    BK_FORM_TILES_Q8_0,
    BK_FORM_BITS_Q4_0,
    BK_FORM_CSR, /* floats */
    BK_FORMS
} bk_sparse_form;

enum { BK_SPARSE_DENSITIES = 16, BK_SPARSE_COLUMNS = 8 };

typedef struct bk_sparse_row {
    bk_sparse_form form;
    double density;
    int columns;
    bool cold;      /* put out of the caches before each product */
    double seconds; /* of the fastest product */
    uint64_t bytes; /* of the matrix */
} bk_sparse_row;

typedef struct bk_sparse_test {
    size_t m, k; /* k: blocks of 32 */
    double densities[BK_SPARSE_DENSITIES];
    int n_densities, columns[BK_SPARSE_COLUMNS], n_columns;
    int threads, rounds;
    bk_cpu_level level;
    void (*row)(const bk_sparse_row *row, void *user); /* all forms of a case one after another */
    void *user;
    const volatile bool *cancel; /* may be NULL */
} bk_sparse_test;

/* INVALID, NOMEM, CANCELLED; FORMAT when a product differs from the dense one: by a bit for what is
 * quantised, by more than rounding for CSR. */
bk_status bk_sparse_bench(const bk_sparse_test *t, bk_error *err);

#endif
