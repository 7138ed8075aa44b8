#include "base/mem.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

static _Atomic uint64_t n_allocs;

#ifdef BRISK_TESTING
/* BRISK_FAIL_ALLOC=N makes the N-th allocation fail, "N,forever" that one and all after it. */
static bool must_fail(uint64_t nth) {
    static uint64_t at;
    static bool ready, forever;
    if (!ready) {
        const char *s = getenv("BRISK_FAIL_ALLOC");
        char *end = NULL;
        at = s ? strtoull(s, &end, 10) : 0;
        forever = end && strcmp(end, ",forever") == 0;
        ready = true;
    }
    return at != 0 && (nth == at || (forever && nth > at));
}
#else
static bool must_fail(uint64_t nth) {
    (void)nth;
    return false;
}
#endif

static bool may_alloc(void) {
    uint64_t nth = atomic_fetch_add_explicit(&n_allocs, 1, memory_order_relaxed) + 1;
    return !must_fail(nth);
}

void *bk_alloc(size_t n, size_t size) {
    size_t bytes;
    if (!bk_mul_size(n, size, &bytes) || !may_alloc()) return NULL;
    return malloc(bytes ? bytes : 1);
}

void *bk_alloc_zero(size_t n, size_t size) {
    size_t bytes;
    if (!bk_mul_size(n, size, &bytes) || !may_alloc()) return NULL;
    return calloc(bytes ? bytes : 1, 1);
}

void *bk_realloc(void *p, size_t n, size_t size) {
    size_t bytes;
    if (!bk_mul_size(n, size, &bytes) || !may_alloc()) return NULL;
    return realloc(p, bytes ? bytes : 1);
}

void *bk_alloc_aligned(size_t bytes) {
    size_t align = bytes >= (size_t)1 << 20 ? 4096 : BK_CACHE_LINE, padded;
    if (!bk_add_size(bytes ? bytes : 1, align - 1, &padded) || !may_alloc()) return NULL;
    return aligned_alloc(align, padded / align * align);
}

char *bk_strndup(const char *s, size_t len) {
    size_t bytes;
    if (!bk_add_size(len, 1, &bytes)) return NULL;
    char *copy = bk_alloc(bytes, 1);
    if (!copy) return NULL;
    if (len) memcpy(copy, s, len);
    copy[len] = '\0';
    return copy;
}

void bk_free(void *p) { free(p); }

uint64_t bk_alloc_count(void) { return atomic_load_explicit(&n_allocs, memory_order_relaxed); }

struct bk_arena_block {
    struct bk_arena_block *prev;
    _Alignas(16) char data[];
};

void *bk_arena_alloc(bk_arena *a, size_t n, size_t size) {
    size_t bytes, padded, whole;
    if (!bk_mul_size(n, size, &bytes) || !bk_add_size(bytes, 15, &padded)) return NULL;
    padded &= ~(size_t)15;
    if (!a->last || padded > a->cap - a->used) {
        size_t cap = bk_max_size(padded, 64 * 1024);
        if (!bk_add_size(cap, sizeof(struct bk_arena_block), &whole)) return NULL;
        struct bk_arena_block *b = bk_alloc_zero(1, whole);
        if (!b) return NULL;
        b->prev = a->last;
        a->last = b;
        a->used = 0;
        a->cap = cap;
    }
    void *p = a->last->data + a->used;
    a->used += padded;
    return p;
}

void bk_arena_free(bk_arena *a) {
    while (a->last) {
        struct bk_arena_block *b = a->last;
        a->last = b->prev;
        bk_free(b);
    }
    *a = (bk_arena){0};
}
