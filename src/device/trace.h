/* What a device does in which time: a trace notes when every thread began and ended each command of a
 * list, and how much the commands read and compute. Set bk_device.trace, run passes, look at rows.
 *
 * Every command is accounted from the moment the first thread took it up until the first one takes up
 * the next, so the elapsed times of a list add up to its parallel region. Of it `work` is the mean over
 * threads of the time at work; the rest is waiting: for the slowest thread, at barriers, for sleeping
 * threads to wake up. Notes are thread-private cache lines of time stamps; adding them up happens
 * between lists, and what that takes is kept apart (own_ns). */
#ifndef BRISK_DEVICE_TRACE_H
#define BRISK_DEVICE_TRACE_H

#include "base/clock.h"
#include "device/device.h"

/* Arithmetic that operations count as: what the kernels multiply with. */
typedef enum bk_arith { BK_ARITH_INT8, BK_ARITH_INT16, BK_ARITH_F32, BK_N_ARITH } bk_arith;

/* What a command has to read and compute, however well it is done: weights, as packed, and keys and
 * values once each; two operations per multiplication and addition. Activations and what is done to
 * them between products count as nothing. */
typedef struct bk_cost {
    uint64_t bytes, ops[BK_N_ARITH];
} bk_cost;

/* experts: those that have rows, when the command has routes (bk_cmd_experts while it runs). */
bk_cost bk_cmd_cost(const bk_cmd *c, size_t experts);
size_t bk_cmd_experts(const bk_cmd *c);

/* Commands of one name with weights of the same types. */
typedef struct bk_trace_row {
    const char *what;                       /* bk_cmd.what */
    const bk_quant *types[BK_MAX_PRODUCTS]; /* each once; NULL: no more */
    uint64_t calls;
    double elapsed_ns, work_ns;
    double prepare_ns; /* of work_ns: until the threads first meet or say bk_trace_prepared */
    bk_cost cost;
} bk_trace_row;

/* A thread's notes of one command: when it began, twice for every meeting (came, went on), when it
 * was done. */
enum { BK_TRACE_STAMPS = 8 };

typedef struct bk_trace_slot {
    uint32_t n, experts;
    uint64_t at[BK_TRACE_STAMPS];
} bk_trace_slot;

enum { BK_TRACE_ROWS = 48, BK_TRACE_LINE = 128 };

typedef struct bk_trace_thread {
    bk_trace_slot *slots; /* [cap] */
    bk_trace_slot *now;   /* of the command that this thread is at */
    char pad[BK_TRACE_LINE - 2 * sizeof(void *)];
} bk_trace_thread;

typedef struct bk_trace {
    int n_threads;
    size_t cap; /* commands */
    bk_trace_thread *threads;
    uint64_t begin;       /* of the region under way */
    uint64_t ticks0, ns0; /* one moment on both clocks */
    double tick_ns;
    /* Since the last bk_trace_clear: */
    bk_trace_row rows[BK_TRACE_ROWS]; /* in order of appearance */
    size_t n_rows, lists;
    double region_ns; /* all regions: the sum of elapsed_ns */
    uint64_t own_ns;  /* spent adding up, outside the regions */
} bk_trace;

/* NOMEM. */
bk_status bk_trace_create(int n_threads, bk_trace **out, bk_error *err);
void bk_trace_destroy(bk_trace **t);
void bk_trace_clear(bk_trace *t);

/* Called by the device, on its own thread, before and after it runs a list. */
bk_status bk_trace_begin(bk_trace *t, size_t n_cmds, bk_error *err);
void bk_trace_end(bk_trace *t, const bk_cmd *cmds, size_t n_cmds);

/* Called by each thread; t may be NULL. */
static inline void bk_trace_stamp(bk_trace *t, int thread) {
    if (!t) return;
    bk_trace_slot *s = t->threads[thread].now;
    if (s->n == BK_TRACE_STAMPS)
        s->n--; /* more meetings than there is room for: they count as work */
    s->at[s->n++] = bk_ticks();
}

static inline void bk_trace_command(bk_trace *t, int thread, size_t i) {
    if (!t) return;
    t->threads[thread].now = &t->threads[thread].slots[i];
    t->threads[thread].now->n = 0;
    bk_trace_stamp(t, thread);
}

static inline void bk_trace_done(bk_trace *t, int thread, const bk_cmd *c) {
    if (!t) return;
    if (thread == 0) t->threads[0].now->experts = (uint32_t)bk_cmd_experts(c);
    bk_trace_stamp(t, thread);
}

/* The end of preparations that no meeting ends. */
static inline void bk_trace_prepared(bk_trace *t, int thread) {
    bk_trace_stamp(t, thread);
    bk_trace_stamp(t, thread);
}

#endif
