/* Pages of keys and values, cut from slabs of large memory: attention goes through all of them for
 * every token, and a page's chunks of one layer lie far apart. Freed pages are used again, and a slab
 * without any goes back to the system. */
#include <string.h>

#include "base/mem.h"
#include "device/cpu.h"

enum { SLAB_BYTES = 16 << 20, SLAB_PAGES = 64 };

/* Slabs with room are in the device's list. The line before a page names its slab; a freed page names
 * the next freed one. */
struct bk_page_slab {
    struct bk_page_slab *next, *prev;
    char *data;
    void *freed;
    size_t bytes, page_bytes, n, fresh, used; /* pages: all, never used, in use */
};

static size_t stride(size_t page_bytes) {
    return BK_CACHE_LINE + bk_round_up(page_bytes, BK_CACHE_LINE);
}

static void link_slab(bk_cpu_pages *p, struct bk_page_slab *s) {
    s->prev = NULL;
    s->next = p->roomy;
    if (s->next) s->next->prev = s;
    p->roomy = s;
}

static void unlink_slab(bk_cpu_pages *p, struct bk_page_slab *s) {
    if (s->next) s->next->prev = s->prev;
    if (s->prev)
        s->prev->next = s->next;
    else
        p->roomy = s->next;
}

static struct bk_page_slab *slab_create(bk_cpu_pages *p, size_t page_bytes) {
    size_t n = bk_max_size(1, bk_min_size(SLAB_PAGES, SLAB_BYTES / stride(page_bytes)));
    struct bk_page_slab *s = bk_alloc_zero(1, sizeof *s);
    char *data = s ? bk_pages_alloc(n * stride(page_bytes)) : NULL;
    if (!data) {
        bk_free(s);
        return NULL;
    }
    *s = (struct bk_page_slab){.data = data,
                               .bytes = n * stride(page_bytes),
                               .page_bytes = page_bytes,
                               .n = n,
                               .fresh = n};
    link_slab(p, s);
    return s;
}

static void *take(struct bk_page_slab *s) {
    void *page = s->freed;
    if (page) {
        memcpy(&s->freed, page, sizeof s->freed);
        memset(page, 0, s->page_bytes);
    } else {
        char *at = s->data + (s->n - s->fresh--) * stride(s->page_bytes);
        memcpy(at, &s, sizeof s);
        page = at + BK_CACHE_LINE;
    }
    s->used++;
    return page;
}

void *bk_cpu_page_alloc(bk_cpu_pages *p, size_t bytes) {
    if (bytes > SIZE_MAX / 4) return NULL;
    bytes = bk_max_size(bytes, sizeof(void *));
    pthread_mutex_lock(&p->lock);
    struct bk_page_slab *s = p->roomy;
    while (s && s->page_bytes != bytes) s = s->next;
    if (!s) s = slab_create(p, bytes);
    void *page = s ? take(s) : NULL;
    if (s && s->used == s->n) unlink_slab(p, s);
    pthread_mutex_unlock(&p->lock);
    return page;
}

void bk_cpu_page_free(bk_cpu_pages *p, void *page) {
    struct bk_page_slab *s;
    memcpy(&s, (char *)page - BK_CACHE_LINE, sizeof s);
    pthread_mutex_lock(&p->lock);
    if (s->used-- == s->n) link_slab(p, s);
    memcpy(page, &s->freed, sizeof s->freed);
    s->freed = page;
    if (!s->used) {
        unlink_slab(p, s);
        bk_pages_free(s->data, s->bytes);
        bk_free(s);
    }
    pthread_mutex_unlock(&p->lock);
}
