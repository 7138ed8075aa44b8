/* How much memory the machine has, and how much of it this process may use. */
#ifndef BRISK_SYS_MEMORY_H
#define BRISK_SYS_MEMORY_H

#include "base/error.h"

typedef struct bk_memory {
    uint64_t total, available; /* MemTotal and MemAvailable in bytes; 0: unknown */
    uint64_t cgroup_limit;     /* the least of this process's control groups; 0: none */
} bk_memory;

/* Reads ROOT/proc/meminfo and the control groups; root is "" on the machine itself. */
void bk_memory_read(const char *root, bk_memory *out);

/* Whether `needed` bytes can be had at all: LIMIT, naming what is needed, the limit and what to do,
 * when they exceed the machine's memory or one of the limits. Says nothing about what others have
 * taken: that may be given back. */
bk_status bk_memory_check(const char *root, uint64_t needed, bk_error *err);

/* The root for both on this machine: "" (builds with BRISK_TESTING: $BRISK_TEST_ROOT). */
const char *bk_memory_root(void);

#endif
