/* Types of tensors under a budget. What a type costs a tensor is bytes or time; what it does to the model is
 * estimated as
 *     KL = sum over tensors of sensitivity * relative error in that type
 * where the relative error is sum h (w - w')^2 / sum h w^2 over some rows (h: mean squares of the inputs),
 * and the sensitivity is measured: all tensors of one role in some neighbouring layers get the errors of
 * rounding, everything else stays, and the divergence that follows is divided by the errors. For small
 * errors it is proportional to their squares and adds up, which is what makes this a knapsack. */
#ifndef BRISK_COMPRESS_ALLOCATE_H
#define BRISK_COMPRESS_ALLOCATE_H

#include "compress/budget.h"
#include "compress/distance.h"
#include "compress/plan.h"
#include "compress/round.h"

/* What a tensor may become. */
typedef struct bk_candidate {
    const bk_quant *type;
    double error; /* relative, of squares */
    double bytes;
    double ns; /* of a token, where time was measured */
} bk_candidate;

typedef struct bk_allocation_item {
    size_t tensor; /* its number in the model */
    size_t n;
    bk_candidate *candidates;
    double probe_error; /* in the type that sensitivities are measured with */
    double sensitivity;
} bk_allocation_item;

typedef struct bk_allocation {
    const bk_gguf *source;
    const bk_plan *plan;       /* fixed tensors have the types that they keep */
    const bk_imatrix *imatrix; /* NULL: none */
    bk_pool *pool;
    bool tied;
    size_t n;
    bk_allocation_item *items;
    double fixed_bytes;
    double fixed_ns;      /* of a token, besides the products of free tensors */
    double experts_share; /* of a stack's weights, that a token multiplies */
    void (*progress)(double done, void *user); /* may be NULL */
    void *user;
    const volatile bool *cancel;
} bk_allocation;

/* Errors of all candidates of at least `fewest` bits per weight. The struct's first part (source to pool,
 * experts_share, progress to cancel) is filled in by the caller. CANCELLED, NOMEM, and what reading tensors says. */
bk_status bk_allocation_errors(bk_allocation *a, double fewest, bk_error *err);
void bk_allocation_free(bk_allocation *a);

/* Sensitivities by divergences on a text (distance: which of its windows), from the model rounded to Q8_0,
 * which is loaded for it. */
bk_status bk_allocation_measure(bk_allocation *a, bk_str text, int context, int threads,
                                bk_error *err);
/* Sensitivities where there is no text: by role, as they were measured on other models. */
void bk_allocation_guess(bk_allocation *a);

/* Nanoseconds of every candidate's product with one vector on this machine. */
bk_status bk_allocation_time(bk_allocation *a, int threads, bk_error *err);

/* What is given; the other of cost and divergence is made least. */
typedef enum bk_allocation_given {
    BK_GIVEN_BYTES, /* of all tensors */
    BK_GIVEN_NS,    /* a token, of all products */
    BK_GIVEN_KL     /* estimated; what is made least is bytes */
} bk_allocation_given;

/* What a choice comes to, fixed tensors included. */
typedef struct bk_allocation_sum {
    double bytes, ns, kl;
} bk_allocation_sum;

/* The best types at no more than `total` of what is given; into types[tensors of the model] those of free
 * tensors. LIMIT says what can be reached. */
bk_status bk_allocation_solve(const bk_allocation *a, bk_allocation_given given, double total,
                              const bk_quant **types, bk_allocation_sum *sum, bk_error *err);

#endif
