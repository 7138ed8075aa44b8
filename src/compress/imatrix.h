/* Importance matrices: how large the inputs of each weight are, from a text that a model has read. In
 * llama.cpp's files, so that either program can use what the other has collected: today's (GGUF, tensors
 * NAME.in_sum2 and NAME.counts) and those of before (a list of names with values). */
#ifndef BRISK_COMPRESS_IMATRIX_H
#define BRISK_COMPRESS_IMATRIX_H

#include "base/error.h"
#include "base/str.h"

/* Of one tensor: n_matrices of k input values each (more than one: a stack of experts). */
typedef struct bk_imatrix_entry {
    char *name; /* "blk.0.ffn_down.weight" */
    size_t k, n_matrices;
    float *squares; /* [n_matrices][k] sums over the rows seen of x^2 */
    float *counts;  /* [n_matrices] rows seen */
} bk_imatrix_entry;

typedef struct bk_imatrix {
    bk_imatrix_entry *entries; /* sorted by name */
    size_t n, cap;
    char *text;      /* what was read: a name; NULL: not known */
    uint32_t chunks; /* windows of it */
    uint32_t window; /* tokens in each */
} bk_imatrix;

void bk_imatrix_free(bk_imatrix *m);

/* Appends one, values zeroed; bk_imatrix_sort when all are there. NULL when memory is short or the
 * numbers are senseless. */
bk_imatrix_entry *bk_imatrix_add(bk_imatrix *m, bk_str name, size_t k, size_t n_matrices);
void bk_imatrix_sort(bk_imatrix *m);
/* NULL when there is none of that name. */
const bk_imatrix_entry *bk_imatrix_find(const bk_imatrix *m, bk_str name);

/* What is there of one matrix of an entry as weights of an error: means of x^2 into out[k]. False where
 * it has seen no rows: then out is untouched. */
bool bk_imatrix_means(const bk_imatrix_entry *e, size_t matrix, float *out);

/* Either form. NOT_FOUND, IO, FORMAT, LIMIT, NOMEM. */
bk_status bk_imatrix_read(const char *path, bk_imatrix *out, bk_error *err);
bk_status bk_imatrix_parse(const uint8_t *data, size_t size, bk_imatrix *out, bk_error *err);
/* Today's form, atomically. IO, NOMEM. */
bk_status bk_imatrix_write(const bk_imatrix *m, const char *path, bk_error *err);

#endif
