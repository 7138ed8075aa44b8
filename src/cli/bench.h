/* The results of `brisk bench` and how they are printed. */
#ifndef BRISK_CLI_BENCH_H
#define BRISK_CLI_BENCH_H

#include "cli/cli.h"

enum { BENCH_MOST = 1000 };

typedef enum bench_format { BENCH_MD, BENCH_CSV, BENCH_JSON, BENCH_JSONL } bench_format;

typedef struct bench_output {
    int format;
    bool show_batch, show_ubatch; /* columns of the md table */
    size_t rows;
} bench_output;

/* A test and what came out. */
typedef struct bench_row {
    char path[4096];
    brisk_model_info info;
    int n_batch, n_ubatch, n_prompt, n_gen, n_seqs, n_depth, repetitions;
    char test_time[32];
    uint64_t samples_ns[BENCH_MOST];
    double samples_ts[BENCH_MOST]; /* tokens per second */
    double avg_ns, stddev_ns, avg_ts, stddev_ts;
} bench_row;

void bench_begin(const bench_output *o);
void bench_print(bench_output *o, const bench_row *row);
void bench_end(const bench_output *o);

#endif
