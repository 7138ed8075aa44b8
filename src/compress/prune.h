/* Models with parts left out: those that matter least for a text, so that the rest is smaller and faster.
 * What each strategy leaves out and by what it chooses stands in its file (compress/prune_NAME.c). */
#ifndef BRISK_COMPRESS_PRUNE_H
#define BRISK_COMPRESS_PRUNE_H

#include "base/str.h"
#include "format/gguf.h"
#include "measure/score.h"

/* How layers are chosen. */
typedef enum bk_prune_choice {
    BK_PRUNE_BY_KL,        /* one after the other, whichever changes the predictions least */
    BK_PRUNE_BY_INFLUENCE, /* those that turn the states least */
    BK_PRUNE_CONTIGUOUS    /* neighbours that together turn them least */
} bk_prune_choice;

/* How the ratio is spread over the layers. */
typedef enum bk_prune_spread {
    BK_PRUNE_UNIFORM,
    BK_PRUNE_OUTLIERS, /* layers with more outliers lose less */
    BK_PRUNE_MEASURED  /* by the divergence that pruning each alone causes */
} bk_prune_spread;

typedef struct bk_prune_options {
    const char *strategy; /* a name of bk_prune_strategies */
    double ratio;         /* share to leave out, 0..1; 0: target_speed says */
    double target_speed;  /* as many times the decode speed; 0: ratio says */
    bk_str calibrate;     /* text that the choice and the repair go by; empty: none */
    size_t max_tokens;    /* of it that are read; 0: all */
    bool no_repair;
    double reconstruct; /* single weights: seconds for compress/reconstruct.h; 0: none */
    bk_prune_choice choice;
    int keep_n, keep_m;     /* strategy nm: of each m weights n stay */
    bk_prune_spread spread; /* single weights */
    bool sparse;            /* write matrices with many zeros as sparse tensors */
    const char *type;       /* of the matrices in the result; NULL: each as it was */
    bk_str eval;            /* text for perplexity before and after; empty: none */
    bool bench;             /* measure the speed before and after */
    int threads;            /* 0: bk_cpu_default_threads() */
    /* What is done now, and how far it is; may be NULL. */
    void (*progress)(const char *what, double done, void *user);
    void *user;
    const volatile bool *cancel; /* may be NULL */
} bk_prune_options;

/* A model before or after. */
typedef struct bk_prune_side {
    uint64_t parameters, bytes; /* of the tensors */
    uint64_t zeros;             /* weights that are 0 */
    double decode, prefill;     /* tokens/s, medians; 0: not measured */
} bk_prune_side;

typedef struct bk_prune_result {
    double ratio;              /* that was left out of what the strategy cuts */
    char removed[160];         /* "320 of 1536 feed-forward channels in each of 30 layers" */
    size_t calibration_tokens; /* that were read; 0: unknown or none */
    size_t sparse_tensors;     /* that were written as such */
    bk_prune_side before, after;
    double decode_ratio, prefill_ratio; /* after to before, medians of pairs run side by side */
    bk_summary quality; /* of the result, the model before as reference; tokens 0: not measured */
} bk_prune_result;

/* The names, "channels, heads, ...". */
size_t bk_prune_strategies(char *out, size_t cap);

/* Reads the model at `in` and writes the smaller one to `out`, which is replaced when all of it is on
 * disk and measured, and not touched before. INVALID (strategy, ratio, a text that is missing or too
 * short), UNSUPPORTED (the model has nothing of what the strategy cuts), FORMAT, NOT_FOUND, IO,
 * CANCELLED, NOMEM. */
bk_status bk_prune(const char *in, const char *out, const bk_prune_options *options,
                   bk_prune_result *result, bk_error *err);

#endif
