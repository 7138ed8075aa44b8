/* Speeds of several models beside each other: one run of each in turn, so that what else happens on the
 * machine slows all of them. */
#ifndef BRISK_MEASURE_RACE_H
#define BRISK_MEASURE_RACE_H

#include "measure/bench.h"

enum { BK_RACE_ROUNDS = 100 };

typedef struct bk_lap {
    double speed;  /* tokens/s, median of the rounds */
    double ratio;  /* to the first model's in the same round, median */
    double spread; /* half of what lies between the quartiles of that, as a share of it */
} bk_lap;

/* One round that does not count, then `rounds` (1..BK_RACE_ROUNDS); the test's own repetitions and warm-up
 * do not matter. progress (done in 0..1) may be NULL. out[n]. Errors as bk_bench. */
bk_status bk_race(bk_model *const *models, size_t n, const bk_bench_test *test, int rounds,
                  void (*progress)(double done, void *user), void *user, bk_lap *out,
                  bk_error *err);

#endif
