/* Large memory straight from the system, in 2 MB pages where it grants them: a pass over weights
 * touches every page once a token, and with 4 KB pages the address translation costs more than the
 * reading (measured on a virtual machine: 10 GB/s against 24 GB/s). Untouched parts take no memory. */
#ifndef BRISK_SYS_PAGES_H
#define BRISK_SYS_PAGES_H

#include "base/base.h"

/* Zeroed, 2 MB-aligned; NULL when the system refuses. */
void *bk_pages_alloc(size_t bytes);
void bk_pages_free(void *p, size_t bytes);

/* Bump allocation from slabs of such memory; everything is freed together. Zeroed is empty. */
typedef struct bk_slabs {
    struct bk_slab *last;
} bk_slabs;

/* 64-byte aligned, zeroed; NULL when short. */
void *bk_slabs_alloc(bk_slabs *s, size_t bytes);
void bk_slabs_free(bk_slabs *s);

#endif
