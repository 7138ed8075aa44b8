/* Which type every tensor of a model gets. */
#ifndef BRISK_COMPRESS_PLAN_H
#define BRISK_COMPRESS_PLAN_H

#include "compress/preset.h"

typedef struct bk_plan_options {
    const bk_preset *preset;
    bool pure;         /* the preset's base type everywhere, no mixture */
    bool leave_output; /* the head stays as it is */
    const bk_quant *output,
        *embedding;                  /* of the head, of the embedding; NULL: as the mixture says */
    const char *const *tensor_types; /* "PATTERN=TYPE", the first whose regular expression (POSIX
                                        extended) is found in a tensor's name decides */
    size_t n_tensor_types;
    bool importance; /* there is an importance matrix */
} bk_plan_options;

/* A tensor's part of a plan that is not free: by an option, or because it does not round. */
typedef struct bk_plan {
    const bk_quant **types; /* [tensors of the model] */
    bool *fixed;            /* [the same]: not for a budget to change */
} bk_plan;

/* Types by the preset and the options; blocks that do not fit a tensor's rows give way to those that do.
 * INVALID (a pattern, a type, one that fits no tensor), NOMEM. */
bk_status bk_plan_make(const bk_gguf *g, const bk_plan_options *options, bk_plan *out,
                       bk_error *err);
void bk_plan_free(bk_plan *p);

/* Convert's plan: matrices of floats become `type`, except where a name contains `keep` (NULL: none), of
 * routers of experts, and where rows are no whole number of blocks. NOMEM. */
bk_status bk_plan_convert(const bk_gguf *g, const bk_quant *type, const char *keep, bk_plan *out,
                          bk_error *err);

#endif
