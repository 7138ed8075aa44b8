/* Putting memory out of the caches, for measurements; where there is no instruction for it nothing. */
#ifndef BRISK_SYS_CACHE_H
#define BRISK_SYS_CACHE_H

#include "base/base.h"

#if defined(__x86_64__)
#include <emmintrin.h>
#endif

static inline void bk_cache_flush(const void *p, size_t bytes) {
#if defined(__x86_64__)
    for (size_t i = 0; i < bytes; i += BK_CACHE_LINE) _mm_clflush((const char *)p + i);
    _mm_mfence();
#else
    (void)p, (void)bytes;
#endif
}

#endif
