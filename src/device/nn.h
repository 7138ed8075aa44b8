/* The operations that training is made of, in float: forward and backward pairs over rows in a
 * device's memory. Models (train/) call them through the table, so that a GPU can stand behind it.
 *
 * Names: rows are positions of all sequences of a batch, R of them. x is an input, y an output, w a
 * weight; dx, dy, dw are the loss's gradients with respect to them. Matrices are row by row, with a
 * row pitch ld in floats where one is given, else as wide as they are.
 *
 * Backward operations write gradients of inputs (those with `add` add them, where a value went two
 * ways) and add to gradients of weights, which begin at zero for each step of the optimiser.
 *
 * Equal bits whatever the number of threads: each element is computed by one order of operations, and
 * sums over rows go by parts of fixed size. Operations run in the order of the calls; a device may
 * return before they are done, but not from `read`, and arguments may not be checked: the callers are
 * models that know their shapes. Failures (memory) are kept and told by the next `finish`. */
#ifndef BRISK_DEVICE_NN_H
#define BRISK_DEVICE_NN_H

#include "base/error.h"
#include "quant/quant.h"
#include "sys/cpu.h"

typedef struct bk_nn bk_nn;
typedef struct bk_mem bk_mem; /* 32-bit words in the device's memory */

/* Floats (or int32 ids) from word `at` of mem on; mem NULL: none. */
typedef struct bk_vec {
    bk_mem *mem;
    size_t at;
} bk_vec;

static inline bk_vec bk_vec_at(bk_vec v, size_t n) {
    v.at += n;
    return v;
}

/* c[m][n] = a[m][k] * b[k][n] + bias[n], or c += of it. ta: a lies as [k][m], with lda; tb: b lies as
 * [n][k], which is how weights do: y = x W^T is {tb}, dx = dy W neither, dW = dy^T x is {ta}. Sums
 * ascend in k with one fused multiply-add each, by parts of fixed length. */
typedef struct bk_gemm {
    size_t m, n, k;
    bk_vec a, b, c;
    size_t lda, ldb, ldc;
    bool ta, tb, add;
    bk_vec bias; /* [n] or none */
} bk_gemm;

typedef enum bk_act { BK_ACT_RELU, BK_ACT_TANH, BK_ACT_SIGMOID, BK_ACT_GELU } bk_act;

/* Causal attention of B sequences of T positions; row b * T + t. Query head h reads key head
 * h / (n_heads / n_kv_heads). Scores are scaled by 1 / sqrt(head_size). */
typedef struct bk_nn_attention {
    size_t B, T;
    int n_heads, n_kv_heads, head_size;
    bk_vec q, k, v; /* [B*T][ldq], [B*T][ldkv] twice; heads side by side */
    size_t ldq, ldkv;
    bk_vec y; /* [B*T][n_heads * head_size] */
    bk_vec
        lse; /* [B][n_heads][T]: log of each query's sum, all that backward needs of the scores */
    /* backward only; pitches as those of q, k, v */
    bk_vec dy, dq, dk, dv;
} bk_nn_attention;

/* One LSTM layer over T steps of B sequences, steps outermost: row t * B + b. Gates lie i, f, g, o as
 * in torch.nn.LSTM:
 *   i, f, o = sigmoid, g = tanh of (x W_ih^T + b_ih + h_prev W_hh^T + b_hh)
 *   c = f * c_prev + i * g;   h = o * tanh(c)
 * The input half for all steps, biases included, is one bk_gemm before this and lies in `gates`,
 * which forward replaces by the gates' values and backward by the gradients of what went into them:
 * then dx, dW_ih, dW_hh (with h_prev = h shifted by a step) and db are a bk_gemm or a col_sum each. */
typedef struct bk_nn_lstm {
    size_t T, B, H;
    bk_vec w_hh;  /* [4H][H] */
    bk_vec gates; /* [T][B][4H] */
    bk_vec h, c;  /* [T + 1][B][H]; step 0 is the state before, given */
    bk_vec dh;    /* [T][B][H] backward: from above; becomes the whole gradient of h */
    bk_vec
        dstate; /* [2][B][H] backward: gradients of the last h and c from later on (or none: zero),
                    * and on return of the state before */
} bk_nn_lstm;

/* Adam with decoupled weight decay (Loshchilov and Hutter 2019), one pass over each part:
 *   g *= grad_scale; m = b1 m + (1 - b1) g; v = b2 v + (1 - b2) g^2
 *   w = w (1 - lr decay) - lr (m / fix1) / (sqrt(v / fix2) + eps); gradient = 0
 * with fix = 1 - b^step. */
typedef struct bk_adamw {
    float lr, b1, b2, eps, decay, fix1, fix2, grad_scale;
    bk_vec w, grad, m, v;
    size_t n;
} bk_adamw;

struct bk_nn_ops {
    const char *name;
    void (*destroy)(bk_nn *d);

    /* Zeroed; NULL when short. */
    bk_mem *(*mem_create)(bk_nn *d, size_t words);
    void (*mem_destroy)(bk_nn *d, bk_mem *m);
    void (*write)(bk_nn *d, bk_vec to, const void *words, size_t n);
    void (*read)(bk_nn *d, bk_vec from, void *words, size_t n);
    /* Waits for all that was asked; the first failure since the last call. */
    bk_status (*finish)(bk_nn *d, bk_error *err);

    void (*gemm)(bk_nn *d, const bk_gemm *g);
    /* w[n] += sum over the R rows of x[R][ld], n columns: a bias's gradient. */
    void (*col_sum)(bk_nn *d, bk_vec x, size_t R, size_t ld, size_t n, bk_vec w);

    void (*zero)(bk_nn *d, bk_vec x, size_t n);
    void (*copy)(bk_nn *d, bk_vec to, bk_vec from, size_t n);
    void (*scale)(bk_nn *d, bk_vec x, size_t n, float by);
    void (*add)(bk_nn *d, bk_vec to, bk_vec x, size_t n); /* to += x */
    void (*mul)(bk_nn *d, bk_vec to, bk_vec x, size_t n); /* to *= x: masks of pruning */

    /* y[R][d] = table[ids[R]][d]; dtable[ids[r]] += dy[r]. */
    void (*embed)(bk_nn *d, bk_vec ids, size_t R, bk_vec table, size_t dim, bk_vec y);
    void (*embed_bwd)(bk_nn *d, bk_vec ids, size_t R, bk_vec dy, size_t dim, bk_vec dtable);

    /* y = x * rstd * w, rstd[R] = 1 / sqrt(mean(x^2) + eps) (Zhang and Sennrich 2019). */
    void (*rms_norm)(bk_nn *d, bk_vec x, size_t R, size_t dim, bk_vec w, float eps, bk_vec y,
                     bk_vec rstd);
    void (*rms_norm_bwd)(bk_nn *d, bk_vec x, bk_vec rstd, size_t R, size_t dim, bk_vec w, bk_vec dy,
                         bk_vec dx, bool add, bk_vec dw);

    /* Rotates pairs of neighbours (2i, 2i + 1) of every head of x[R][ld] in place by
     * sign * (r % T) * theta^(-2i / head_size) (Su et al. 2021); sign -1 is the way back. */
    void (*rope)(bk_nn *d, bk_vec x, size_t R, size_t ld, size_t T, int n_heads, int head_size,
                 float theta, int sign);
    void (*attention)(bk_nn *d, const bk_nn_attention *a);
    void (*attention_bwd)(bk_nn *d, const bk_nn_attention *a);

    /* y = silu(gate) * up, n values; backward may write dgate over gate and dup over up. */
    void (*silu_mul)(bk_nn *d, bk_vec gate, bk_vec up, size_t n, bk_vec y);
    void (*silu_mul_bwd)(bk_nn *d, bk_vec gate, bk_vec up, bk_vec dy, size_t n, bk_vec dgate,
                         bk_vec dup);
    /* y = act(x); backward from x and y, dx may be dy. */
    void (*act)(bk_nn *d, bk_act kind, bk_vec x, size_t n, bk_vec y);
    void (*act_bwd)(bk_nn *d, bk_act kind, bk_vec x, bk_vec y, bk_vec dy, size_t n, bk_vec dx);

    void (*lstm)(bk_nn *d, const bk_nn_lstm *l);
    void (*lstm_bwd)(bk_nn *d, const bk_nn_lstm *l);

    /* y = x where the generator's word (seed, at + i) is above p, scaled by 1 / (1 - p), else 0:
     * the same call on gradients is its backward. y may be x. */
    void (*dropout)(bk_nn *d, bk_vec x, size_t n, float p, uint64_t seed, uint64_t at, bk_vec y);

    /* loss[r] = -log softmax(x[r])[target[r]], 0 where target < 0; with `backward` x becomes
     * (softmax - onehot) * scale, zeros where target < 0. x[R][ld], n classes. */
    void (*cross_entropy)(bk_nn *d, bk_vec x, size_t R, size_t ld, size_t n, bk_vec target,
                          bk_vec loss, bool backward, float scale);
    /* The same with a distribution as target: the n_best log-probabilities logp[R][n_best] of classes
     * ids[R][n_best], and what is left spread over the other classes as the student has it:
     * loss[r] = KL(teacher || student) over n_best + 1 outcomes (Hinton et al. 2015 at temperature 1).
     * A row's ids differ; a negative one ends them, and a row without any counts nothing. Without
     * `backward` x is as before when the operation is done, but not while it runs. */
    void (*distil)(bk_nn *d, bk_vec x, size_t R, size_t ld, size_t n, bk_vec ids, bk_vec logp,
                   size_t n_best, bk_vec loss, bool backward, float scale);

    /* Sum of x, of x^2, in double by parts of fixed size. */
    double (*sum)(bk_nn *d, bk_vec x, size_t n);
    double (*sum_squares)(bk_nn *d, bk_vec x, size_t n);
    void (*adamw)(bk_nn *d, const bk_adamw *a);
    /* y = x as it reads after a round trip through the block format, rows of k: quantisation-aware
     * training goes forward with y and takes its gradient as x's (Bengio et al. 2013). A failure where
     * the format has no encoder or k is no multiple of its block. */
    void (*round_trip)(bk_nn *d, const bk_quant *type, bk_vec x, size_t rows, size_t k, bk_vec y);
};

struct bk_nn {
    const struct bk_nn_ops *ops;
    int threads;
};

/* The CPU: kernels of `level` or the best below, a pool of `threads`. */
bk_status bk_nn_cpu_create(bk_cpu_level level, int threads, bk_nn **out, bk_error *err);

static inline void bk_nn_destroy(bk_nn **d) {
    if (*d) (*d)->ops->destroy(*d);
    *d = NULL;
}

#endif
