/* Inside of the CPU device of training (device/nn.h): nn_cpu.c owns it; nn_rows.c, nn_attention.c,
 * nn_loss.c, nn_gemm.c and nn_lstm.c are its operations.
 *
 * An operation is cut into parts that do not depend on the number of threads; threads take parts, each
 * its own run of them, so that what a thread wrote lies in its cache for the next operation. Small
 * operations run on the calling thread. */
#ifndef BRISK_DEVICE_NN_CPU_H
#define BRISK_DEVICE_NN_CPU_H

#include "device/nn.h"
#include "kernel/nn.h"
#include "kernel/sgemm.h"
#include "sys/pool.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

struct bk_mem {
    void *words;
};

typedef struct bk_nn_cpu {
    bk_nn base;
    bk_pool *pool;
    const bk_nn_kernels *kernels;
    const bk_sgemm *sgemm;
    bk_error failed; /* the first since `finish`; code BK_OK: none */
    /* Grows to what the largest operation so far needed and stays. */
    void *scratch;
    size_t scratch_bytes;
    /* Rotations of positions [0, rope_T): [rope_T][rope_head] cosines, then sines. */
    float *rope;
    size_t rope_T;
    int rope_head;
    float rope_theta;
} bk_nn_cpu;

/* The words at v; NULL for none. */
static inline float *bk_nn_floats(bk_vec v) { return v.mem ? (float *)v.mem->words + v.at : NULL; }
static inline int32_t *bk_nn_ints(bk_vec v) {
    return v.mem ? (int32_t *)v.mem->words + v.at : NULL;
}

/* Calls fn(job, part, thread) for each of `parts` over the threads. `work`: about how many floats are
 * read, or as many times more as computing takes longer than that; about ten are a nanosecond. Below
 * BK_NN_SMALL the calling thread does it alone: a region costs 2 or 3 microseconds. From BK_NN_LONG on
 * it is worth while to wait for threads that others on their CPUs hold up. */
typedef void (*bk_nn_part)(const void *job, size_t part, int thread);
enum { BK_NN_SMALL = 32768, BK_NN_LONG = 1 << 20 };
void bk_nn_cpu_each(bk_nn_cpu *d, size_t parts, size_t work, bk_nn_part fn, const void *job);

/* At least `bytes`, aligned to 64 and undefined, until the next call; NULL with the failure noted. */
void *bk_nn_cpu_scratch(bk_nn_cpu *d, size_t bytes);
/* Notes a failure for the next finish, when there is none yet. */
void bk_nn_cpu_failed(bk_nn_cpu *d, const bk_error *err);

/* Numbers below 2^-126 as zero while a thread computes: they take a hundred times as long and add
 * nothing. Returns what to give back to bk_nn_cpu_flush_end. */
static inline unsigned bk_nn_cpu_flush_begin(void) {
#if defined(__x86_64__)
    unsigned before = _mm_getcsr();
    _mm_setcsr(before | _MM_FLUSH_ZERO_ON | 0x40); /* and those that come in */
    return before;
#else
    return 0;
#endif
}

static inline void bk_nn_cpu_flush_end(unsigned before) {
#if defined(__x86_64__)
    _mm_setcsr(before);
#else
    (void)before;
#endif
}

/* Matrix products sum over so many values of k at most before they add the sum to others: a strip of
 * the left side fills half of the first-level cache, and errors grow with the parts' number. Parts of
 * k are nearly equal, the last one may be shorter. */
enum { BK_NN_PART = 384 };
static inline size_t bk_nn_part_of(size_t k) {
    size_t parts = bk_max_size(1, bk_div_up(k, BK_NN_PART));
    return bk_max_size(16, bk_round_up(bk_div_up(k, parts), 16));
}

void bk_nn_cpu_gemm(bk_nn *d, const bk_gemm *g);
void bk_nn_cpu_lstm(bk_nn *d, const bk_nn_lstm *l);
void bk_nn_cpu_lstm_bwd(bk_nn *d, const bk_nn_lstm *l);
void bk_nn_cpu_attention(bk_nn *d, const bk_nn_attention *a);
void bk_nn_cpu_attention_bwd(bk_nn *d, const bk_nn_attention *a);

/* Each fills its part of the table. */
void bk_nn_cpu_row_ops(struct bk_nn_ops *ops);
void bk_nn_cpu_vector_ops(struct bk_nn_ops *ops);
void bk_nn_cpu_loss_ops(struct bk_nn_ops *ops);

#endif
