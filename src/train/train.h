/* Learning: a model of one of three kinds, trained step by step from a file of data. What the public
 * header brisk_train.h offers, under internal names; see there for the meaning of the fields. */
#ifndef BRISK_TRAIN_TRAIN_H
#define BRISK_TRAIN_TRAIN_H

#include "base/error.h"
#include "sys/cpu.h"
#include "text/vocab_train.h"

typedef enum bk_train_kind {
    BK_TRAIN_MLP,
    BK_TRAIN_LSTM,
    BK_TRAIN_LLAMA,
    BK_TRAIN_KINDS
} bk_train_kind;

const char *bk_train_kind_name(bk_train_kind kind); /* "mlp", "lstm", "llama" */

typedef enum bk_train_tune { BK_TUNE_ALL, BK_TUNE_NORMS, BK_TUNES } bk_train_tune;

typedef struct bk_train_options {
    bk_train_kind kind;
    const char *data, *resume, *from;
    float valid_share;

    bk_vocab_kind vocab;
    int vocab_size;
    const char *normalize;
    bool casefold;
    const char *stop_words;
    int floor_order;

    /* 0: the kind's own value, or what the checkpoint or model says. */
    int embedding, hidden, output, layers, heads, kv_heads, ffn, sequence, batch, accumulate;
    float dropout;
    bool tied, forget_bias;
    const char *widths, *activation;

    int steps;
    float lr, min_lr;
    int warmup;
    float b1, b2, eps, decay, clip;
    int patience;
    uint64_t seed;

    const char *teacher;
    int top_k;
    const char *quant;
    float quant_share;
    bool keep_zeros;
    bk_train_tune tune;

    /* Not in the public header: what a model given with `from` has. */
    bool projection, decoder_bias; /* lstm */
    float rope_base, norm_eps;     /* llama */
    int context;                   /* tokens that it was trained for; 0: `sequence` */

    int threads;
    const char *cpu_level;
    void (*progress)(const char *what, double done, void *user);
    void *user;
    const volatile bool *cancel;
} bk_train_options;

void bk_train_default(bk_train_kind kind, bk_train_options *o);

typedef struct bk_train_report {
    int step;
    double loss, lr, grad_norm;
    uint64_t tokens;
    double seconds;
} bk_train_report;

typedef struct bk_train_score {
    uint64_t tokens;
    double loss, accuracy; /* accuracy: mlp */
    int classes;
    const uint64_t *confusion;
    double before, reference, recovered;
    bool best, stop;
} bk_train_score;

typedef struct bk_train_info {
    bk_train_options o; /* as in force; texts are NULL */
    uint64_t n_params, n_quantised;
    int n_vocab, inputs;
    int step;
    uint64_t train_tokens, valid_tokens, valid_chars;
    uint64_t memory;
    double floor, best_loss;
    bk_cpu_level cpu_level;
    int threads;
} bk_train_info;

typedef struct bk_train bk_train;

bk_status bk_train_open(const bk_train_options *o, bk_train **out, bk_error *err);
void bk_train_close(bk_train **t);
bk_status bk_train_step(bk_train *t, bk_train_report *report, bk_error *err);
bk_status bk_train_validate(bk_train *t, uint64_t most, bk_train_score *score, bk_error *err);
bk_status bk_train_predict(bk_train *t, const float *x, size_t n, int *classes,
                           float *probabilities, bk_error *err);
bk_status bk_train_save(bk_train *t, const char *path, bk_error *err);
bk_status bk_train_write(bk_train *t, const char *path, const char *type, bk_error *err);
void bk_train_get_info(const bk_train *t, bk_train_info *info);
const char *bk_train_class_name(const bk_train *t, int i);

#endif
