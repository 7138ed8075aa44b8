/* A plan for a target: bits per weight, time a token, or divergence. */
#ifndef BRISK_COMPRESS_TARGET_H
#define BRISK_COMPRESS_TARGET_H

#include "compress/allocate.h"

typedef struct bk_target {
    double bpw, ms, kl; /* one of them, the others 0 */
    bk_str text;        /* to measure divergences with; data NULL: none */
    int context;
    int threads;
    /* The source's predictions are kept here, for the true divergence; NULL: it is not measured. */
    const bk_distance *check;
    bool dry_run;      /* nothing is rounded where the target can be met without */
    const char **step; /* told which step runs, for progress */
} bk_target;

/* What was measured of the plan, negative where it was not; kl_estimate as the plan has it. */
typedef struct bk_target_report {
    double kl_estimate, kl, ms;
} bk_target_report;

/* Types into plan->types of tensors that are not fixed. `a` as bk_allocation_errors wants it. What is
 * rounded on the way stays in *cache for whoever writes the model. LIMIT (says what can be reached),
 * CANCELLED, NOMEM, and what reading says. */
bk_status bk_target_plan(const bk_target *t, bk_allocation *a, bk_plan *plan, bk_round_cache *cache,
                         bk_target_report *report, bk_error *err);

#endif
