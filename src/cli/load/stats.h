/* Arrival times and what is said about samples. */
#ifndef BRISK_CLI_LOAD_STATS_H
#define BRISK_CLI_LOAD_STATS_H

#include "base/base.h"
#include "base/rng.h"

/* Samples that grow; zero-initialised is empty. */
typedef struct load_samples {
    double *v; /* owned */
    size_t n, cap;
    bool failed; /* memory was short: some are missing */
} load_samples;

void load_samples_add(load_samples *s, double v);
void load_samples_sort(load_samples *s);
void load_samples_free(load_samples *s);
double load_samples_mean(const load_samples *s); /* 0 of none */
double load_samples_sd(const load_samples *s);   /* of n - 1; 0 of fewer than two */

/* p in 0..100 of sorted samples, between the two nearest ones (as numpy does it by default); 0 of none. */
double load_percentile(const load_samples *sorted, double p);

/* Of shape a > 0 and scale 1 (Marsaglia and Tsang 2000): mean and variance are a. */
double load_gamma(bk_rng *rng, double a);

/* When each of n requests is due, in seconds, ascending: gaps from a gamma distribution of this shape
 * (1: Poisson arrivals; less: in bursts; more: even), then stretched so that the last is due at n / rate.
 * rate > 0; infinite: all at 0. */
void load_arrivals(bk_rng *rng, double rate, double shape, double *out, size_t n);

#endif
