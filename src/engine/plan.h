/* How much of which prompt goes into the next step.
 *
 * A step is one pass over the weights for a row of every answer that runs and a chunk of prompts. Here
 * are the numbers alone: what a step costs (learned from the steps before), how many prompt tokens
 * fit a time, and who gets them. No model, no clock: it can be tested by simulation.
 *
 * Sources: chunked prefill with decode rows in the same pass is Sarathi-Serve's (Agrawal et al. 2024);
 * here the budget is in milliseconds. Deficit round robin between tenants is Shreedhar and Varghese's
 * (1996), the response ratio Brinch Hansen's (1971). */
#ifndef BRISK_ENGINE_PLAN_H
#define BRISK_ENGINE_PLAN_H

#include "base/base.h"

/* ---- Cost ----------------------------------------------------------------------------------- */

/* The work of a row at position p counts 1 + attention * min(p, window) in units of a row without
 * attention; `attention` and `window` of the layers that see all positions, and of the others. */
typedef struct bk_work {
    double attention[2];
    size_t window[2]; /* 0: all */
} bk_work;

/* Units of rows at positions [begin, begin + n). */
double bk_work_rows(const bk_work *w, size_t begin, size_t n);

/* Time of a step: a line through two running means, (units, ms) of the steps without and with prompt
 * tokens. Both follow the machine as it gets slower or faster. */
typedef struct bk_cost {
    struct bk_cost_mean {
        double units, ms;
        bool known;
    } decode, prefill;
    double spread; /* running mean of how far predictions are off, as a share of them */
} bk_cost;

void bk_cost_learn(bk_cost *c, bool has_prefill, double units, double ms);
/* ms of one more unit; 0 while nothing is known. */
double bk_cost_slope(const bk_cost *c);
/* Predicted ms; 0 while nothing is known. */
double bk_cost_ms(const bk_cost *c, double units);
/* Most units that fit into ms; at least 0, infinite while nothing is known. */
double bk_cost_units(const bk_cost *c, double ms);
/* The time to plan a step for, so that it hardly ever takes longer than ms. */
double bk_cost_safe(const bk_cost *c, double ms);

/* ---- Pace ----------------------------------------------------------------------------------- */

/* Sees to it that answers go on at no less than a quarter of their speed while prompts are computed: the
 * tokens that they are owed. */
typedef struct bk_pace {
    double owed;
    unsigned mixed; /* steps with prompts since the last one without */
} bk_pace;

/* A step took ms; a step without prompts would have taken decode_ms. */
void bk_pace_step(bk_pace *p, bool had_prefill, double ms, double decode_ms);
/* The longest step beside prompts that keeps the pace. */
double bk_pace_ms(double decode_ms);
/* Whether the next step must leave prompts out: now and then also to learn what that takes. */
bool bk_pace_wants_decode(const bk_pace *p);

/* ---- Shares --------------------------------------------------------------------------------- */

/* A prompt that waits for computing. */
typedef struct bk_claim {
    uint64_t tenant, arrival; /* arrival: any number that grows */
    int priority;
    size_t begin, left; /* tokens computed, tokens to compute, at least 1 */
    double waited_ms;
    size_t granted; /* out: tokens of this step, at most left */
} bk_claim;

/* What tenants have had, in units. Those that have nothing waiting are forgotten. */
enum { BK_MAX_CLAIMS = 256 };

typedef struct bk_shares {
    struct bk_share {
        uint64_t tenant;
        double served;
        unsigned turns;
        bool live;
    } of[BK_MAX_CLAIMS];
    size_t n;
} bk_shares;

/* Distributes `units` of work, at most `rows` rows, over the n <= BK_MAX_CLAIMS claims: higher
 * priorities first; tenants of equal priority evenly; within a tenant the shortest first, with every
 * fourth turn to the one that came first, so that nobody starves. At least `least` rows are given when
 * there are claims, whatever `units` says. */
void bk_shares_grant(bk_shares *s, const bk_work *w, bk_claim *claims, size_t n, double units,
                     size_t rows, size_t least);

/* Whether claim a is to start before b of the same tenant: by priority, then by how long it has waited
 * for its length. ms_per_unit turns a length into time. */
bool bk_claim_before(const bk_work *w, double ms_per_unit, const bk_claim *a, const bk_claim *b);

#endif
