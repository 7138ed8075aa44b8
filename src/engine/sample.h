/* From logits to a token: biases, penalties, top-k, typical-p, top-p, min-p, temperature, in this order
 * (the order and the meaning of the names are llama.cpp's). The vocabulary is never sorted: selection is linear.
 * The same logits, history and seed give the same token; ties go to the lower id. */
#ifndef BRISK_ENGINE_SAMPLE_H
#define BRISK_ENGINE_SAMPLE_H

#include "base/error.h"

typedef struct bk_logit_bias {
    int32_t token;
    float bias; /* added to its logit; -infinity: never this token */
} bk_logit_bias;

typedef struct bk_sampling {
    float temperature;       /* 0: greedy; up to 100 */
    int top_k;               /* 0: off */
    float top_p;             /* 0..1; 1: off */
    float min_p;             /* 0..1; 0: off */
    float repeat_penalty;    /* above 0, up to 100; 1: off */
    float presence_penalty;  /* -100..100; 0: off */
    float frequency_penalty; /* -100..100; 0: off */
    int penalty_last_n;      /* tokens that penalties look back; -1: all, 0: none */
    uint64_t seed;
    float typical_p;             /* 0..1; 1 and 0: off */
    const bk_logit_bias *biases; /* borrowed until the sampler is destroyed */
    size_t n_biases;
} bk_sampling;

typedef struct bk_sampler bk_sampler;

/* Memory that a choice takes while it is made: samplers of one thread can share it. INVALID, NOMEM. */
typedef struct bk_sample_scratch bk_sample_scratch;
bk_status bk_sample_scratch_create(size_t n_vocab, bk_sample_scratch **out, bk_error *err);
size_t bk_sample_scratch_bytes(size_t n_vocab); /* that it takes */
void bk_sample_scratch_destroy(bk_sample_scratch **w);

/* INVALID names the field, what was found and what is possible. */
bk_status bk_sampling_check(const bk_sampling *p, bk_error *err);
/* The same for its biases over n_vocab tokens. */
bk_status bk_sampling_check_biases(const bk_sampling *p, size_t n_vocab, bk_error *err);

/* How far below the largest logit one may be and still matter: 0 for greedy choices; infinity where all
 * do, such as with top-k, whose place among the others counts. */
float bk_sampling_margin(const bk_sampling *p);

/* Reserves all that sampling over n_vocab tokens needs; scratch (for n_vocab, outlives the sampler) may
 * be NULL: then it has its own. INVALID, NOMEM. */
bk_status bk_sampler_create(const bk_sampling *p, size_t n_vocab, bk_sample_scratch *scratch,
                            bk_sampler **out, bk_error *err);
void bk_sampler_destroy(bk_sampler **s);

/* A token (0 <= id < n_vocab) of the sequence, prompt included, for the penalties to look back on. */
void bk_sampler_accept(bk_sampler *s, int32_t token);

/* The next token, or -1 when no logit is a number. allowed: a bit for each token of the vocabulary, that
 * of token i in word i / 32 with value 1 << i % 32; the others are as if their logits were -infinity,
 * whatever their bias. NULL: all. */
int32_t bk_sampler_pick(bk_sampler *s, const float *logits, const uint32_t *allowed);

#endif
