/* Monotonic time. */
#ifndef BRISK_BASE_CLOCK_H
#define BRISK_BASE_CLOCK_H

#include <stdint.h>
#include <time.h>

/* Nanoseconds. */
static inline uint64_t bk_now_ns(void) {
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* The same clock on all processors, cheaper to read where the processor has a counter for it; how long
 * a tick is, is for the caller to find out. */
static inline uint64_t bk_ticks(void) {
#if defined(__x86_64__)
    return __builtin_ia32_rdtsc();
#else
    return bk_now_ns();
#endif
}

#endif
