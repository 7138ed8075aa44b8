/* Inside of the CPU device: cpu.c owns it; cpu_product.c, cpu_attention.c, cpu_lstm.c and cpu_rows.c are
 * its commands, cpu_pages.c its pages. */
#ifndef BRISK_DEVICE_CPU_H
#define BRISK_DEVICE_CPU_H

#include <pthread.h>

#include "device/trace.h"
#include "kernel/kernel.h"
#include "sys/pages.h"
#include "sys/pool.h"

struct bk_weight {
    bk_packed packed;
    uint64_t *group_at; /* of a sparse one, or NULL */
};

/* Pages of the KV cache (cpu_pages.c). */
typedef struct bk_cpu_pages {
    struct bk_page_slab *roomy;
    pthread_mutex_t lock;
} bk_cpu_pages;

typedef struct bk_cpu_device {
    bk_device base;
    bk_pool *pool;
    const bk_kernels *kernels;
    bk_slabs weights; /* packed bytes of all weights */
    bk_cpu_pages pages;
    /* Scratch grows to what the largest command so far needed and stays: after a warm-up pass
     * nothing is allocated. */
    void *shared;
    void **private; /* per thread */
    size_t shared_bytes, private_bytes;
    pthread_mutex_t lock; /* one list of commands at a time: scratch and cursor are shared */
} bk_cpu_device;

/* Bytes of scratch that a command needs: one for all threads, one for each. */
typedef struct bk_cpu_need {
    size_t shared, private;
} bk_cpu_need;

/* Zeroed, NULL when short. Any thread. */
void *bk_cpu_page_alloc(bk_cpu_pages *p, size_t bytes);
void bk_cpu_page_free(bk_cpu_pages *p, void *page);

/* Commands: called on every thread, which take chunks from the pool's cursor and meet
 * (bk_cpu_meet) where one step needs another finished. */
void bk_cpu_product(bk_cpu_device *d, const bk_cmd *cmd, int thread);
/* The functions called _ahead ask memory for what this thread will read first of a command to come, so
 * that it arrives while the thread waits for the others: as much as does. */
enum { BK_CPU_AHEAD = 8192 };

/* Asks for lines; a hint, which may reach past what is there. */
static inline void bk_cpu_ask(const void *at, size_t bytes) {
    for (size_t i = 0; i < bytes; i += BK_LINE) __builtin_prefetch((const char *)at + i, 0, 2);
}

void bk_cpu_product_ahead(const bk_cpu_device *d, const bk_cmd *cmd, int thread);
bk_cpu_need bk_cpu_product_need(const bk_cmd *cmd);
/* Makes the input rows and shows them. NOMEM. */
bk_status bk_cpu_product_show(const bk_cpu_device *d, const bk_cmd *cmd, const bk_observer *o,
                              bk_error *err);
void bk_cpu_attention(bk_cpu_device *d, const bk_cmd *cmd, int thread);
void bk_cpu_attention_ahead(const bk_cpu_device *d, const bk_cmd *cmd, int thread);
bk_cpu_need bk_cpu_attention_need(const bk_cpu_device *d, const bk_cmd *cmd);
void bk_cpu_lstm(bk_cpu_device *d, const bk_cmd *cmd, int thread);
bk_cpu_need bk_cpu_lstm_need(const bk_cmd *cmd);
void bk_cpu_route(bk_cpu_device *d, const bk_cmd *cmd);
void bk_cpu_combine(bk_cpu_device *d, const bk_cmd *cmd);
/* A product with a screen: acts are the quantised rows of its input, shared is scratch of
 * BK_CPU_SCREEN_BYTES. */
enum { BK_CPU_SCREEN_PARTS = 64, BK_CPU_SCREEN_BYTES = BK_CPU_SCREEN_PARTS * BK_SCREEN_ROWS * 8 };
void bk_cpu_screen(bk_cpu_device *d, const bk_cmd *c, const void *acts, size_t pitch, void *shared,
                   int thread);
void bk_cpu_soft_cap(bk_cpu_device *d, const bk_cmd *cmd);
void bk_cpu_spread(bk_cpu_device *d, const bk_cmd *cmd);

/* The pool's barrier within a command: the trace sees that the thread waits. */
static inline void bk_cpu_meet(bk_cpu_device *d, int thread) {
    bk_trace_stamp(d->base.trace, thread);
    bk_pool_barrier(d->pool);
    bk_trace_stamp(d->base.trace, thread);
}

#endif
