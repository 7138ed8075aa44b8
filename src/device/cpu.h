/* Inside of the CPU device: cpu.c owns it, cpu_matmul.c and cpu_attention.c are its commands. */
#ifndef BRISK_DEVICE_CPU_H
#define BRISK_DEVICE_CPU_H

#include <pthread.h>

#include "device/device.h"
#include "kernel/kernel.h"
#include "sys/pages.h"
#include "sys/pool.h"

struct bk_weight {
    bk_packed packed;
};

typedef struct bk_cpu_device {
    bk_device base;
    bk_pool *pool;
    const bk_kernels *kernels;
    bk_slabs weights; /* packed bytes of all weights */
    void **scratch;   /* per thread */
    size_t scratch_bytes;
    pthread_mutex_t lock; /* one list of commands at a time: scratch and cursor are shared */
} bk_cpu_device;

/* Commands: called on every thread, which take chunks from the pool's cursor. */
void bk_cpu_matmul(bk_cpu_device *d, const bk_cmd *cmd, void *scratch);
void bk_cpu_rope_store(bk_cpu_device *d, const bk_cmd *cmd);
void bk_cpu_attention(bk_cpu_device *d, const bk_cmd *cmd, void *scratch);

/* Scratch bytes that a command needs per thread. */
size_t bk_cpu_matmul_scratch(const bk_cmd *cmd);
size_t bk_cpu_attention_scratch(const bk_cmd *cmd);

#endif
