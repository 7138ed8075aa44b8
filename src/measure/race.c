#include "measure/race.h"

#include <stdlib.h>

#include "base/mem.h"

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Linear between the two nearest. */
static double quantile(const double *sorted, int n, double q) {
    double at = q * (n - 1);
    int low = (int)at;
    return low + 1 < n ? sorted[low] + (at - low) * (sorted[low + 1] - sorted[low]) : sorted[low];
}

static bk_lap summarise(double *speed, double *ratio, int rounds) {
    qsort(speed, (size_t)rounds, sizeof *speed, ascending);
    qsort(ratio, (size_t)rounds, sizeof *ratio, ascending);
    bk_lap lap = {.speed = quantile(speed, rounds, 0.5), .ratio = quantile(ratio, rounds, 0.5)};
    lap.spread = (quantile(ratio, rounds, 0.75) - quantile(ratio, rounds, 0.25)) / 2 / lap.ratio;
    return lap;
}

bk_status bk_race(bk_model *const *models, size_t n, const bk_bench_test *given, int rounds,
                  void (*progress)(double done, void *user), void *user, bk_lap *out,
                  bk_error *err) {
    bk_bench_test test = *given;
    test.repetitions = 1;
    test.warm_up = false;
    double(*speed)[BK_RACE_ROUNDS] = NULL, ratio[BK_RACE_ROUNDS];
    if (rounds < 1 || rounds > BK_RACE_ROUNDS)
        return bk_fail(err, BK_ERR_INVALID, "%d rounds, 1 to %d are possible", rounds,
                       BK_RACE_ROUNDS);
    if (!(speed = bk_alloc(n, sizeof *speed)))
        return bk_fail(err, BK_ERR_NOMEM, "no memory for %zu times", n);
    double tokens = test.n_prompt + (double)test.n_gen * test.n_seqs;
    bk_status st = BK_OK;
    for (int r = -1; r < rounds && !st; r++) {
        for (size_t m = 0; m < n && !st; m++) {
            uint64_t ns = 1;
            st = bk_bench(models[m], &test, &ns, err);
            if (r >= 0) speed[m][r] = tokens * 1e9 / (double)(ns ? ns : 1);
        }
        if (!st && progress) progress((r + 2.0) / (rounds + 1), user);
    }
    for (size_t m = n; m-- > 0 && !st;) { /* the first, which all are divided by, is sorted last */
        for (int r = 0; r < rounds; r++) ratio[r] = speed[m][r] / speed[0][r];
        out[m] = summarise(speed[m], ratio, rounds);
    }
    bk_free(speed);
    return st;
}
