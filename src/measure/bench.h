/* Speed of prompt processing and decoding, as llama.cpp's llama-bench measures it: random tokens, no
 * sampling, memory emptied before each repetition. */
#ifndef BRISK_MEASURE_BENCH_H
#define BRISK_MEASURE_BENCH_H

#include "measure/feed.h"

typedef struct bk_bench_test {
    int n_prompt;    /* tokens processed together */
    int n_gen;       /* then tokens one at a time */
    int n_seqs;      /* sequences that these continue at once, 1..1024, alike up to there */
    int n_depth;     /* tokens already in memory, not timed */
    int batch;       /* tokens per pass, 1..8192 */
    int repetitions; /* 1..1000 */
    bool warm_up;    /* one run beforehand that does not count */
    const volatile bool *cancel;
} bk_bench_test;

/* samples_ns[repetitions]. The test may go deeper than the model's context, as in
 * llama-bench: the speed is the same, what comes out means nothing. INVALID, LIMIT (over 2^24 tokens),
 * CANCELLED, NOMEM. */
bk_status bk_bench(bk_model *model, const bk_bench_test *test, uint64_t *samples_ns, bk_error *err);

/* What other measurements of the same tests share: whether a test makes sense; n tokens, always the same
 * ones; memory that holds the first n_depth tokens and nothing else. */
bk_status bk_bench_check(const bk_bench_test *test, bk_error *err);
void bk_bench_random(const bk_model *model, int32_t *tokens, size_t n);
bk_status bk_bench_to_depth(bk_feed *f, const bk_bench_test *test, const int32_t *tokens,
                            bk_error *err);

#endif
