/* Memory: aligned blocks, arrays whose size is checked, an arena for what lives as long as a model.
 *
 * Every allocation of the library goes through here, so that tests can make the n-th one fail
 * (BRISK_FAIL_ALLOC in builds with BRISK_TESTING) and count those on the token path. */
#ifndef BRISK_BASE_MEM_H
#define BRISK_BASE_MEM_H

#include "base/base.h"

/* n * size bytes (n, size > 0), NULL when that overflows or memory is short. Free with bk_free. */
void *bk_alloc(size_t n, size_t size);
void *bk_alloc_zero(size_t n, size_t size);

/* Like realloc with a checked product; on failure the old block stays. p may be NULL. */
void *bk_realloc(void *p, size_t n, size_t size);

/* `bytes` aligned to 64 (to 4096 from 1 MB on), contents undefined; free with bk_free. */
void *bk_alloc_aligned(size_t bytes);

/* A NUL-terminated copy of len bytes. */
char *bk_strndup(const char *s, size_t len);

void bk_free(void *p);

/* How many allocations have been made since the process started: a test takes the difference. */
uint64_t bk_alloc_count(void);

/* Bump allocator: blocks come 16-byte aligned, all freed together. Zero-initialised is empty. */
typedef struct bk_arena {
    struct bk_arena_block *last;
    size_t used, cap; /* of the last block */
} bk_arena;

void *bk_arena_alloc(bk_arena *a, size_t n, size_t size); /* zeroed; NULL when short */
void bk_arena_free(bk_arena *a);

#endif
