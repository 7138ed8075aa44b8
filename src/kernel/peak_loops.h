/* Shapes of the loops in peak.h; the files of the instruction sets fill in the instruction. These are
 * written in assembly: what is measured is the instruction, not what a compiler puts around it. */
#ifndef BRISK_KERNEL_PEAK_LOOPS_H
#define BRISK_KERNEL_PEAK_LOOPS_H

#include "kernel/peak.h"

/* Accumulators that do not wait for each other: latency times instructions per cycle, 4 or 5 times 2,
 * and a few more. With two operands they fit 16 registers. */
enum { CHAINS = 12 };

/* static uint64_t NAME(size_t rounds): each round is STEP for every acc[i], vectors VEC of lanes LANE.
 * Its operands are the vectors w and a of ones (the bits of which are ONES in every 32), and x[i],
 * the same in memory. */
#define PEAK_LOOP(NAME, VEC, LANE, ONES, STEP)                                              \
    static uint64_t NAME(size_t rounds) {                                                   \
        typedef LANE lanes __attribute__((vector_size(sizeof(VEC))));                       \
        typedef uint32_t words __attribute__((vector_size(sizeof(VEC))));                   \
        volatile uint32_t ones = ONES; /* multiplying by a known one is no work */          \
        uint32_t x[CHAINS];                                                                 \
        VEC acc[CHAINS], w = (VEC)((words){0} + ones), a = (VEC)((words){0} + ones);        \
        for (size_t i = 0; i < CHAINS; i++) x[i] = ones;                                    \
        _Pragma("GCC unroll 16") for (size_t i = 0; i < CHAINS; i++) { acc[i] = (VEC){0}; } \
        for (size_t r = 0; r < rounds; r++) {                                               \
            _Pragma("GCC unroll 16") for (size_t i = 0; i < CHAINS; i++) { STEP; }          \
        }                                                                                   \
        (void)x;                                                                            \
        (void)a;                                                                            \
        double sum = 0;                                                                     \
        _Pragma("GCC unroll 16") for (size_t i = 0; i < CHAINS; i++) {                      \
            lanes v = (lanes)acc[i];                                                        \
            for (size_t k = 0; k < sizeof(VEC) / sizeof(LANE); k++) sum += v[k];            \
        }                                                                                   \
        return (uint64_t)sum;                                                               \
    }

/* acc += w * a by one instruction. */
#define PEAK_STEP(OP) __asm__ volatile(OP " %2, %1, %0" : "+v"(acc[i]) : "v"(w), "v"(a))

/* Vectors of WIDTH bytes. Several streams of loads are in flight at once; prefetch reaches over the
 * ends of pages, where the hardware's own stops. */
enum { PEAK_AHEAD = 4096, PEAK_SUMS = 4 };

#define PEAK_READ(NAME, WIDTH)                                                           \
    static uint64_t NAME(const void *from, size_t bytes) {                               \
        typedef uint64_t vec __attribute__((vector_size(WIDTH), may_alias));             \
        const char *p = from;                                                            \
        vec sum[PEAK_SUMS] = {{0}};                                                      \
        for (size_t at = 0; at < bytes; at += BK_PEAK_READ) {                            \
            _Pragma("GCC unroll 32") for (size_t i = 0; i < BK_PEAK_READ / WIDTH; i++) { \
                const char *v = p + at + i * WIDTH;                                      \
                if (i * WIDTH % 64 == 0) __builtin_prefetch(v + PEAK_AHEAD);             \
                sum[i % PEAK_SUMS] ^= *(const vec *)(const void *)v;                     \
            }                                                                            \
        }                                                                                \
        vec all = sum[0] ^ sum[1] ^ sum[2] ^ sum[3];                                     \
        uint64_t word = 0;                                                               \
        for (size_t k = 0; k < WIDTH / 8; k++) word ^= all[k];                           \
        return word;                                                                     \
    }

#endif
