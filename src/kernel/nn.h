/* Kernels of training beside the matrix products: what device/nn_cpu.c runs over parts of a vector or
 * rows. Arrays of one call do not overlap except where it is said. Written once over 16 lanes
 * (nn_loops.h) and compiled per level, with equal bits: sums are kept in 16 lanes and folded 16 -> 8 ->
 * 4 -> 2 -> 1, multiplications and additions are fused. */
#ifndef BRISK_KERNEL_NN_H
#define BRISK_KERNEL_NN_H

#include "base/base.h"
#include "sys/cpu.h"

enum { BK_NN_RELU, BK_NN_TANH, BK_NN_SIGMOID, BK_NN_GELU, BK_NN_ACTS };

/* Adam's step with what does not change from weight to weight (device/nn.h has the formula). */
typedef struct bk_nn_adam {
    float b1, b2, eps, grad_scale;
    float keep; /* 1 - lr decay */
    float rate; /* lr / fix1 */
    float fix2; /* 1 / fix2 */
} bk_nn_adam;

/* Dropout's generator: word i is mix(mix(low half of i + key[0]) ^ (high half of i + key[1])). */
typedef struct bk_nn_drop {
    uint32_t key[2];
    uint32_t least; /* words from here on stay */
    float scale;
} bk_nn_drop;

/* Attention goes by blocks of queries; backward by blocks of keys within. */
enum { BK_NN_QUERIES = 32, BK_NN_KEYS = 64 };

/* A block of n queries of one head, the first at position `first` of its sequence. Pitches in floats. */
typedef struct bk_nn_attn {
    size_t first, n, head;
    float scale;        /* of the scores */
    const float *q;     /* [n][ldq] */
    const float *k, *v; /* [first + n][ldkv] */
    size_t ldq, ldkv, ldy;
    float *y;        /* [n][ldy] */
    float *lse;      /* [n] */
    const float *dy; /* [n][ldy]; backward only, as what follows */
    float *dq;       /* [n][ldq], written */
    float *dk, *dv;  /* [first + n][ldkv], added to; */
    bool fresh;      /* rows from `first` on are written: no block came before */
} bk_nn_attn;

/* Floats of scratch that a block needs; `keys`: first + n. */
static inline size_t bk_nn_attn_scratch(size_t head, size_t keys) {
    return (head + keys) * BK_NN_QUERIES;
}
static inline size_t bk_nn_attn_bwd_scratch(size_t head) {
    return 2 * (head + BK_NN_KEYS) * BK_NN_QUERIES;
}

typedef struct bk_nn_kernels {
    bk_cpu_level level;

    float (*dot)(const float *x, const float *y, size_t n);
    void (*axpy)(float a, const float *x, size_t n, float *y); /* y += a x */
    void (*add)(float *to, const float *x, size_t n);
    void (*mul)(float *to, const float *x, size_t n);
    void (*scale)(float *x, size_t n, float by);
    /* w[n] += the R rows of x, in order; by parts of 64 rows. */
    void (*col_sum)(const float *x, size_t R, size_t ld, size_t n, float *w);
    double (*sum)(const float *x, size_t n);
    double (*sum_squares)(const float *x, size_t n);

    /* Returns rstd. */
    float (*rms_norm)(const float *x, const float *w, size_t n, float eps, float *y);
    /* dx (dx += with `add`; may be dy) and dw += of one row. */
    void (*rms_norm_bwd)(const float *x, float rstd, const float *w, const float *dy, size_t n,
                         float *dx, bool add, float *dw);
    /* Pairs of x: cos holds each pair's cosine twice, sin its sine as -, +; times `sign`. */
    void (*rotate)(float *x, const float *cos, const float *sin, float sign, size_t n);
    void (*silu_mul)(const float *gate, const float *up, size_t n, float *y);
    /* dgate may be gate or dy, dup may be up. */
    void (*silu_mul_bwd)(const float *gate, const float *up, const float *dy, size_t n,
                         float *dgate, float *dup);
    void (*act[BK_NN_ACTS])(const float *x, size_t n, float *y);
    void (*act_bwd[BK_NN_ACTS])(const float *x, const float *y, const float *dy, size_t n,
                                float *dx);
    /* A step of an LSTM for n units of a row (device/nn.h has the formulas): the gates i, f, g, o lie H
     * floats apart. Forward replaces what goes into the gates by their values. */
    void (*lstm)(float *gates, size_t H, const float *before, size_t n, float *cells, float *h);
    /* Replaces the values by the gradients of what went in, and dc by that of the cells before. */
    void (*lstm_bwd)(float *gates, size_t H, const float *before, const float *cells,
                     const float *dh, size_t n, float *dc);
    /* y may be x. */
    void (*dropout)(const bk_nn_drop *d, const float *x, uint64_t at, size_t n, float *y);

    /* log(sum(exp(x))); -inf when all are. */
    double (*log_sum)(const float *x, size_t n);
    /* y = exp(x - shift) * by; y may be x. */
    void (*exp_scaled)(const float *x, size_t n, float shift, float by, float *y);
    /* Weights p = exp(score - lse); forward writes y = p v and lse. Backward: dp = dy v,
     * ds = p (dp - dy y), dq = ds k, dk += ds^T q, dv += p^T dy. */
    void (*attention)(const bk_nn_attn *a, float *scratch);
    void (*attention_bwd)(const bk_nn_attn *a, float *scratch);

    void (*adam)(const bk_nn_adam *a, float *w, float *grad, float *m, float *v, size_t n);
} bk_nn_kernels;

/* The table of the highest level that is not above `level` and that the CPU has. */
const bk_nn_kernels *bk_nn_kernels_select(bk_cpu_level level);

extern const bk_nn_kernels bk_nn_kernels_ref, bk_nn_kernels_avx2, bk_nn_kernels_avx512;

#endif
