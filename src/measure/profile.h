/* Where the time of a prompt and of each token goes: the tests of bench.h, run with a trace. */
#ifndef BRISK_MEASURE_PROFILE_H
#define BRISK_MEASURE_PROFILE_H

#include "device/trace.h"
#include "measure/bench.h"
#include "measure/limits.h"

/* All repetitions together. total_ns is the time on the clock without what the tracing itself took
 * between passes; what is not in trace->region_ns of it no command took: recording them, angles of
 * positions, pages, copying logits. */
typedef struct bk_profile_phase {
    bk_trace *trace;
    size_t tokens;
    double total_ns;
} bk_profile_phase;

typedef struct bk_profile {
    bk_profile_phase prefill, decode;
} bk_profile;

/* tokens[n_tokens] are used one after another and over again for depth, prompt and generation; n_tokens
 * 0: random ones. Errors as with bk_bench, and INVALID for token ids out of range. Freed with
 * bk_profile_free, also after a failure. */
bk_status bk_profile_run(bk_model *model, const bk_bench_test *test, const int32_t *tokens,
                         size_t n_tokens, bk_profile *out, bk_error *err);
void bk_profile_free(bk_profile *p);

/* The rates that bound a phase: bytes and operations per second. */
typedef struct bk_roof {
    double read, ops[BK_N_ARITH];
} bk_roof;

/* For passes that read so many bytes: the next pass finds in the caches what they hold of these. Without
 * an instruction for bfloat16 that is done in floats. */
bk_roof bk_roof_of(const bk_limits *l, int threads, size_t pass_bytes);

/* Nanoseconds that reading or computing takes at least, whichever is longer. */
double bk_roof_ns(const bk_roof *r, const bk_cost *c);

#endif
