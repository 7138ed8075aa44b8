/* A language model that learns, whatever its network: forward and backward over a batch of B sequences
 * of T tokens, R = B * T rows. lstm.c and llama.c make one each; lm.c brings data, loss and files. */
#ifndef BRISK_TRAIN_LM_H
#define BRISK_TRAIN_LM_H

#include "train/task.h"
#include "train/teacher.h"

typedef struct bk_lm bk_lm;

struct bk_lm_ops {
    /* Rows lie step by step, t * B + b, and state goes from batch to batch. */
    bool carries;
    void (*destroy)(bk_lm *m);
    /* First values of the weights. */
    bk_status (*init)(bk_lm *m, bk_error *err);
    /* Logits of ids into m->logits [R][n_vocab]. */
    void (*forward)(bk_lm *m);
    /* From gradients in m->logits: adds to those of the weights. After the forward of the same batch. */
    void (*backward)(bk_lm *m);
    /* Keys of a GGUF model of this architecture, without the tokenizer's. */
    void (*keys)(const bk_lm *m, bk_gguf_builder *b);
};

struct bk_lm {
    bk_task task; /* options, device, weights */
    const struct bk_lm_ops *ops;
    bk_text text;
    size_t B, T, R, V; /* V: tokens of the vocabulary */
    bk_mem *batch;     /* ids, targets, losses, all [R], then logits */
    bk_vec ids, targets, losses, logits;
    bk_mem
        *state[2]; /* of sequences, n_state words: while learning, while validating; NULL: none */
    size_t n_state;
    size_t words;           /* of all memories but the weights' */
    bk_mem *carried;        /* the one in use */
    bool learning;          /* dropout is on */
    uint64_t index;         /* of the batch: dropout's generator */
    int32_t *host;          /* [2 * R]: ids and targets on their way */
    bk_window window;       /* whose ids and targets they are */
    bk_teacher *teacher;    /* or NULL */
    size_t n_best;          /* tokens that it has a log-probability of */
    bk_vec best, best_logp; /* [R][n_best] */
    /* Position in the streams: next step, and which pass over the data (its shift). */
    uint64_t at, pass;
};

/* The networks: sizes from o, tensors added to params, then memory for a batch. *out is freed with
 * ops->destroy, which leaves the bk_lm's own parts to lm.c. */
bk_status bk_lstm_create(const bk_train_options *o, bk_nn *nn, bk_params *params, size_t n_vocab,
                         bk_lm **out, bk_error *err);
bk_status bk_llama_create(const bk_train_options *o, bk_nn *nn, bk_params *params, size_t n_vocab,
                          bk_lm **out, bk_error *err);

/* Memory for a batch, and the task's functions; once per model. After a failure too it is to be destroyed
 * as a task. */
bk_status bk_lm_prepare(bk_lm *m, bk_error *err);
/* Forward over ids and targets in m->host; the sum of the losses. With a scale above 0 the logits become
 * gradients of their sum times it. */
double bk_lm_losses(bk_lm *m, float scale);

/* ---- Pieces of networks ------------------------------------------------------------------------- */

/* The next `words` of a memory, from a cache line on; mem may be NULL while counting. */
static inline bk_vec bk_take(bk_mem *mem, size_t *at, size_t words) {
    bk_vec v = {mem, *at};
    *at += bk_round_up(words, 16);
    return v;
}

/* words in the device's memory; {NULL} when short, which *good remembers. */
bk_vec bk_lm_alloc(bk_lm *m, size_t words, bool *good);

/* Whether so many words, the weights added so far with what they are trained by, and a batch's logits can
 * be had at all: LIMIT. To be asked before the memory is touched, as the system may grant what it
 * has not, and then ends the process. */
bk_status bk_lm_check_memory(const bk_lm *m, size_t words, bk_error *err);

/* y[R][n] = x[R][k] W^T + bias, or y += of it. */
typedef struct bk_linear {
    bk_vec w;  /* [n][k] */
    bk_vec dw; /* none: the weights are frozen */
    size_t R, n, k;
} bk_linear;
void bk_linear_forward(bk_nn *nn, const bk_linear *l, bk_vec x, bk_vec bias, bk_vec y, bool add);
/* dW += dy^T x; dx = dy W, or dx += of it; dx may be none. */
void bk_linear_backward(bk_nn *nn, const bk_linear *l, bk_vec x, bk_vec dy, bk_vec dx, bool add);
bk_linear bk_lm_linear(const bk_lm *m, size_t param, size_t n, size_t k);

/* Drops from x[n], in place, while learning; each place in the network has a number of its own. */
void bk_lm_dropout(bk_lm *m, bk_vec x, size_t n, unsigned place);

#endif
