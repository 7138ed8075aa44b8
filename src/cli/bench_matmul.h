/* The results of `brisk bench matmul` and its picture. */
#ifndef BRISK_CLI_BENCH_MATMUL_H
#define BRISK_CLI_BENCH_MATMUL_H

#include "brisk_tools.h"
#include "cli/cli.h"

enum { MATMUL_TYPES = 8 };

/* A row with what follows from it. Rates are of the fastest run. */
typedef struct matmul_line {
    const char *type, *way;
    brisk_matmul_row row;
    double rate;       /* operations per second */
    double over_naive; /* times */
    double over_one;   /* times the same way on one thread; 0: that was not measured */
    double efficiency; /* over_one for each thread */
    double peak;       /* operations per second that the instructions allow on as many threads */
} matmul_line;

typedef struct matmul_report {
    size_t m, n, k;
    const char *cpu_level;
    char cpu[256], peer[256], date[16];
    matmul_line lines[MATMUL_TYPES * BRISK_MATMUL_ROWS];
    size_t n_lines;
} matmul_report;

/* The report as an SVG picture, nothing outside of it needed. */
void matmul_svg(const matmul_report *r, bk_buf *out);

/* "SIMD, 2 threads" */
const char *matmul_label(const matmul_line *l, char *out, size_t cap);

/* The verb behind `brisk bench matmul`. */
int bench_matmul(int argc, char **argv);

#endif
