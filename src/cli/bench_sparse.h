/* The results of `brisk bench sparse` and its picture. */
#ifndef BRISK_CLI_BENCH_SPARSE_H
#define BRISK_CLI_BENCH_SPARSE_H

#include "brisk_compress.h"
#include "brisk_tools.h"
#include "cli/cli.h"

/* All forms at one density, number of vectors, and place of the weights. */
typedef struct sparse_case {
    double density, seconds[BRISK_SPARSE_FORMS];
    uint64_t bytes[BRISK_SPARSE_FORMS];
    int columns;
    bool cold;
} sparse_case;

enum { SPARSE_CASES = 2 * BRISK_SPARSE_DENSITIES * BRISK_SPARSE_COLUMNS };

typedef struct sparse_report {
    size_t m, k;
    int threads;
    char cpu[256], cpu_level[32], date[16];
    sparse_case cases[SPARSE_CASES];
    size_t n_cases, n_rows;
    int columns[BRISK_SPARSE_COLUMNS], n_columns;
} sparse_report;

extern const char *const sparse_names[BRISK_SPARSE_FORMS];

/* Times that a form is as fast as the fastest dense one. */
double sparse_speed(const sparse_case *c, int form);

/* The largest density up to which a form is faster than the dense ones, between those measured
 * linearly; 0: nowhere; 1: everywhere. */
double sparse_break_even(const sparse_report *r, int form, int columns, bool cold);

/* The report as an SVG picture, nothing outside of it needed. */
void sparse_svg(const sparse_report *r, bk_buf *out);

/* The verb behind `brisk bench sparse`. */
int bench_sparse(int argc, char **argv);

#endif
