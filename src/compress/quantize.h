/* Quantising a model: statistics of a text, a type for every tensor, rounding, and the file. */
#ifndef BRISK_COMPRESS_QUANTIZE_H
#define BRISK_COMPRESS_QUANTIZE_H

#include "compress/plan.h"
#include "compress/round.h"
#include "compress/target.h"
#include "sys/cpu.h"

typedef struct bk_quantize_options {
    bk_plan_options plan;                    /* preset NULL: a target decides */
    double target_bpw, target_ms, target_kl; /* one of them, or none */
    bool plain;
    const char *imatrix;     /* file to read, NULL: none */
    const char *imatrix_out; /* file to write, NULL: none */
    bk_str text;             /* calibration; data NULL: none */
    const char *text_name;
    int context;       /* tokens a window of it; 0: 512 */
    size_t max_tokens; /* of it that are read; 0: all */
    int threads;       /* 0: bk_cpu_default_threads() */
    bool dry_run;
    /* Of each step: what it is, how much of it is done. May be NULL. */
    void (*progress)(const char *what, double done, void *user);
    /* Of each tensor, when its type is decided. May be NULL. */
    void (*tensor)(const bk_gguf_tensor *t, const bk_quant *to, size_t bytes, void *user);
    void *user;
    const volatile bool *cancel; /* may be NULL */
} bk_quantize_options;

typedef struct bk_quantize_report {
    uint64_t bytes_before, bytes_after; /* of tensors */
    uint64_t weights;
    size_t requantised; /* tensors that were no floats before */
    size_t unweighted;  /* matrices that the importance matrix did not know */
    char name[64];      /* of the first of these */
    size_t text_tokens; /* that were read for statistics */
    double text_seconds, plan_seconds, round_seconds;
    bk_target_report target;
} bk_quantize_report;

/* in: whatever bk_model_file_open opens. out: the file to write, atomically; NULL: none, for dry runs and
 * to collect statistics only (imatrix_out). Errors name the file. */
bk_status bk_quantize(const char *in, const char *out, const bk_quantize_options *options,
                      bk_quantize_report *report, bk_error *err);

#endif
