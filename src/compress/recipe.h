/* Recipes: what is done to a model, in one word, as "q4_0" or "prune:channels:0.2+q4_0". */
#ifndef BRISK_COMPRESS_RECIPE_H
#define BRISK_COMPRESS_RECIPE_H

#include "base/error.h"
#include "base/str.h"

typedef struct bk_recipe_options {
    bk_str text; /* calibration; empty: none */
    int threads;
    /* What is done now, and how far it is, 0..1; may be NULL. */
    void (*progress)(const char *what, double done, void *user);
    void *user;
    const volatile bool *cancel; /* may be NULL */
} bk_recipe_options;

/* Steps with "+" between them: a type or mixture of bk_quantize, or "prune:STRATEGY:RATIO" of bk_prune,
 * with ":no-repair" where what stays is to keep its values. INVALID: it is no recipe; says what is wrong. *prunes
 * (may be NULL): there is a step of the second kind. */
bk_status bk_recipe_check(const char *recipe, bool *prunes, bk_error *err);

/* Writes what the recipe makes of the model `in` to `out`; what lies between steps is beside it and does
 * not stay. Errors of bk_quantize and bk_prune, with the step's name in front. */
bk_status bk_recipe_make(const char *recipe, const char *in, const char *out,
                         const bk_recipe_options *options, bk_error *err);

#endif
