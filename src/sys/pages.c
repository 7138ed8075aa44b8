#include "sys/pages.h"

#include <stdint.h>
#include <sys/mman.h>

#include "base/mem.h"

#define HUGE_PAGE ((size_t)2 << 20)
#define SLAB_BYTES ((size_t)64 << 20)

static size_t padded(size_t bytes) { return bk_round_up(bytes ? bytes : 1, HUGE_PAGE); }

void *bk_pages_alloc(size_t bytes) {
    if (bytes > SIZE_MAX / 4) return NULL;
    size_t want = padded(bytes), whole = want + HUGE_PAGE;
    char *p = mmap(NULL, whole, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
                   -1, 0);
    if (p == MAP_FAILED) return NULL;
    char *at = (char *)bk_round_up((uintptr_t)p, HUGE_PAGE);
    if (at > p) munmap(p, (size_t)(at - p));
    if (at + want < p + whole) munmap(at + want, (size_t)(p + whole - at - want));
    /* A system without huge pages goes on with small ones. */
    madvise(at, want, MADV_HUGEPAGE);
    return at;
}

void bk_pages_free(void *p, size_t bytes) {
    if (p) munmap(p, padded(bytes));
}

struct bk_slab {
    struct bk_slab *prev;
    char *data;
    size_t used, cap;
};

static struct bk_slab *slab_create(size_t cap, struct bk_slab *prev) {
    struct bk_slab *s = bk_alloc(1, sizeof *s);
    char *data = s ? bk_pages_alloc(cap) : NULL;
    if (!data) {
        bk_free(s);
        return NULL;
    }
    *s = (struct bk_slab){prev, data, 0, cap};
    return s;
}

void *bk_slabs_alloc(bk_slabs *s, size_t bytes) {
    if (bytes > SIZE_MAX / 4) return NULL;
    size_t want = bk_round_up(bytes ? bytes : 1, BK_CACHE_LINE);
    if (!s->last || want > s->last->cap - s->last->used) {
        struct bk_slab *next = slab_create(bk_max_size(want, SLAB_BYTES), s->last);
        if (!next) return NULL;
        s->last = next;
    }
    void *p = s->last->data + s->last->used;
    s->last->used += want;
    return p;
}

void bk_slabs_free(bk_slabs *s) {
    while (s->last) {
        struct bk_slab *slab = s->last;
        s->last = slab->prev;
        bk_pages_free(slab->data, slab->cap);
        bk_free(slab);
    }
}
