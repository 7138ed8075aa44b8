/* The matrix product done in the ways in which one learns to do it: three loops, blocks that stay in the
 * cache, the SIMD kernels, these on several threads, and OpenBLAS beside them where it is installed. All
 * ways multiply the same numbers and are compared with the three loops. */
#ifndef BRISK_MEASURE_MATMUL_H
#define BRISK_MEASURE_MATMUL_H

#include "device/matrix.h"

typedef enum bk_matmul_way {
    BK_MATMUL_NAIVE,
    BK_MATMUL_BLOCKED,
    BK_MATMUL_SIMD,
    BK_MATMUL_OPENBLAS
} bk_matmul_way;

enum { BK_MATMUL_THREADS = 16, BK_MATMUL_ROWS = 2 + 2 * BK_MATMUL_THREADS };

typedef struct bk_matmul_test {
    const bk_quant *type; /* of the weights; OpenBLAS takes part with F32 alone */
    size_t m, n, k;       /* weights [m][k] times n vectors of k */
    int threads[BK_MATMUL_THREADS];
    int n_threads;
    bk_cpu_level level;
    int rounds;                  /* every way once in each, so that all see the same machine */
    const char *peer;            /* OpenBLAS's library, "": none */
    const volatile bool *cancel; /* polled between products; may be NULL */
} bk_matmul_test;

typedef struct bk_matmul_row {
    bk_matmul_way way;
    int threads;
    size_t vectors;      /* computed: of n, what the slow ways do in seconds */
    double best, median; /* seconds */
    double difference;   /* the largest from the three loops, as a share of their largest result */
} bk_matmul_row;

typedef struct bk_matmul_result {
    bk_matmul_row rows[BK_MATMUL_ROWS];
    int n_rows;
    char peer[256]; /* what OpenBLAS calls itself, "" where it was not found */
} bk_matmul_result;

/* Seconds to a minute. FORMAT when a way's result is further from the three loops than rounding allows,
 * or the SIMD kernels' bits differ between numbers of threads; INVALID, NOMEM, CANCELLED. */
bk_status bk_matmul_bench(const bk_matmul_test *t, bk_matmul_result *out, bk_error *err);

#endif
