#include "cache/kv.h"

#include <stdatomic.h>
#include <string.h>

#include "base/mem.h"
#include "device/device.h"

/* A page carries its own count in front of the table that names it: pages are device memory. */
typedef struct page {
    void *memory;
    _Atomic int refs; /* sequences that hold it */
    int idle;         /* those of them that are idle */
} page;

struct bk_kv_pool {
    bk_device *device;
    bk_kv_shape shape;
    size_t page_bytes[2], limit_bytes;
    _Atomic size_t bytes;
    size_t idle_bytes;
    _Atomic int refs;
};

/* Page tables of one group: memory[i] is what the device sees, pages[i] who counts. */
typedef struct table {
    page **pages;
    void **memory;
    size_t n, cap, dropped; /* pages [0, dropped) have left the window */
} table;

struct bk_kv {
    bk_kv_pool *pool;
    size_t len, max_tokens;
    table tables[2];
    bool idle;
};

/* ---- Types ---------------------------------------------------------------------------------------- */

static const char *const type_names[BK_KV_TYPES] = {"q16", "q8_0"};

bk_status bk_kv_type_find(const char *name, bk_kv_type *out, bk_error *err) {
    *out = BK_KV_Q16;
    if (strcmp(name, "f16") == 0) return BK_OK;
    for (int i = 0; i < BK_KV_TYPES; i++) {
        *out = (bk_kv_type)i;
        if (strcmp(name, type_names[i]) == 0) return BK_OK;
    }
    return bk_fail(err, BK_ERR_INVALID, "keys and values of type '%.40s', wanted q16 or q8_0",
                   name);
}

const char *bk_kv_type_name(bk_kv_type type) { return type_names[type]; }

/* ---- Pool ----------------------------------------------------------------------------------------- */

bk_status bk_kv_pool_create(const struct bk_device *device, const bk_kv_shape *shape,
                            size_t limit_bytes, bk_kv_pool **out, bk_error *err) {
    *out = NULL;
    bool heads = shape->state || (shape->n_kv_heads > 0 && shape->head_size > 0);
    if (shape->n_groups < 1 || shape->n_groups > 2 || !heads || shape->max_tokens < 1)
        return bk_fail(err, BK_ERR_INVALID, "a KV pool of %d groups, %d heads of %d",
                       shape->n_groups, shape->n_kv_heads, shape->head_size);
    bk_kv_pool *p = bk_alloc_zero(1, sizeof *p);
    if (!p) return bk_fail(err, BK_ERR_NOMEM, "no memory for a KV pool");
    p->device = (bk_device *)(uintptr_t)device; /* its operations take it non-const */
    p->shape = *shape;
    p->limit_bytes = limit_bytes;
    atomic_init(&p->refs, 1);
    size_t layer = shape->state
                       ? bk_page_state_bytes(shape->state)
                       : bk_page_layer_bytes(shape->kv_type, shape->n_kv_heads, shape->head_size);
    for (int g = 0; g < shape->n_groups; g++)
        p->page_bytes[g] = (size_t)shape->group[g].n_layers * layer;
    *out = p;
    return BK_OK;
}

bk_kv_pool *bk_kv_pool_ref(bk_kv_pool *pool) {
    atomic_fetch_add(&pool->refs, 1);
    return pool;
}

void bk_kv_pool_unref(bk_kv_pool **pool) {
    if (*pool && atomic_fetch_sub(&(*pool)->refs, 1) == 1) bk_free(*pool);
    *pool = NULL;
}

size_t bk_kv_pool_bytes(const bk_kv_pool *pool) { return atomic_load(&pool->bytes); }

size_t bk_kv_pool_idle_bytes(const bk_kv_pool *pool) { return pool->idle_bytes; }

void bk_kv_pool_set_limit(bk_kv_pool *pool, size_t bytes) { pool->limit_bytes = bytes; }

size_t bk_kv_pool_limit(const bk_kv_pool *pool) { return pool->limit_bytes; }

size_t bk_kv_pool_bytes_for(const bk_kv_pool *pool, size_t n, size_t chunk) {
    size_t sum = 0;
    for (int g = 0; g < pool->shape.n_groups; g++) {
        size_t window = (size_t)pool->shape.group[g].window;
        size_t pages = bk_div_up(n, BK_PAGE_TOKENS);
        /* What one chunk sees and writes, wherever in a page it begins. */
        size_t seen = window - 1 + BK_KV_BACK + bk_min_size(chunk, n) + BK_PAGE_TOKENS - 1;
        if (window) pages = bk_min_size(pages, bk_div_up(seen, BK_PAGE_TOKENS));
        sum += pages * pool->page_bytes[g];
    }
    return sum;
}

/* Changes who holds a page and returns by how many it is held now; the pool's sum of those that only
 * idle sequences hold follows. */
static int page_count(bk_kv_pool *pool, int group, page *p, int refs, int idle) {
    int before = atomic_fetch_add(&p->refs, refs), after = before + refs;
    bool was = before > 0 && before == p->idle;
    if (idle) p->idle += idle;
    bool is = after > 0 && after == p->idle;
    if (was && !is) pool->idle_bytes -= pool->page_bytes[group];
    if (is && !was) pool->idle_bytes += pool->page_bytes[group];
    return after;
}

static void page_ref(bk_kv *kv, int group, page *p) {
    if (p) (void)page_count(kv->pool, group, p, 1, kv->idle);
}

static bk_status page_create(bk_kv *kv, int group, page **out, bk_error *err) {
    bk_kv_pool *pool = kv->pool;
    size_t bytes = pool->page_bytes[group];
    size_t held = atomic_fetch_add(&pool->bytes, bytes) + bytes;
    bool fits = !pool->limit_bytes || held <= pool->limit_bytes;
    page *p = fits ? bk_alloc_zero(1, sizeof *p) : NULL;
    if (p) p->memory = pool->device->ops->page_alloc(pool->device, bytes);
    if (!p || !p->memory) {
        bk_free(p);
        atomic_fetch_sub(&pool->bytes, bytes);
        if (!fits)
            return bk_fail(err, BK_ERR_LIMIT, "KV memory: %zu bytes wanted, the limit is %zu", held,
                           pool->limit_bytes);
        return bk_fail(err, BK_ERR_NOMEM, "no memory for a KV page of %zu bytes", bytes);
    }
    page_ref(kv, group, p);
    *out = p;
    return BK_OK;
}

static void page_unref(bk_kv *kv, int group, page *p) {
    bk_kv_pool *pool = kv->pool;
    if (!p || page_count(pool, group, p, -1, -(int)kv->idle) > 0) return;
    pool->device->ops->page_free(pool->device, p->memory);
    atomic_fetch_sub(&pool->bytes, pool->page_bytes[group]);
    bk_free(p);
}

/* ---- Tables --------------------------------------------------------------------------------------- */

static bool table_reserve(table *t, size_t n) {
    if (n <= t->cap) return true;
    size_t cap = bk_max_size(n, 2 * t->cap);
    page **pages = bk_realloc(t->pages, cap, sizeof *pages);
    if (pages) t->pages = pages;
    void **memory = pages ? bk_realloc(t->memory, cap, sizeof *memory) : NULL;
    if (!memory) return false;
    t->memory = memory;
    t->cap = cap;
    return true;
}

static void table_set(table *t, size_t i, page *p) {
    t->pages[i] = p;
    t->memory[i] = p ? p->memory : NULL;
}

static void table_cut(bk_kv *kv, int group, size_t n) {
    table *t = &kv->tables[group];
    for (size_t i = n; i < t->n; i++) page_unref(kv, group, t->pages[i]);
    t->n = bk_min_size(t->n, n);
    t->dropped = bk_min_size(t->dropped, t->n);
}

/* The first page that a sequence of `len` positions still needs: the next position, len, sees from
 * len - window + 1 on. */
static size_t first_needed(const bk_kv_pool *pool, int group, size_t len) {
    size_t window = (size_t)pool->shape.group[group].window;
    return window && len + 1 > window ? (len + 1 - window) / BK_PAGE_TOKENS : 0;
}

/* Gives back pages that no future position can see, also after a cut by BK_KV_BACK. */
static void drop_left(bk_kv *kv, int group) {
    table *t = &kv->tables[group];
    size_t least = kv->len - bk_min_size(kv->len, BK_KV_BACK);
    size_t keep = first_needed(kv->pool, group, least);
    for (; t->dropped < keep && t->dropped < t->n; t->dropped++) {
        page_unref(kv, group, t->pages[t->dropped]);
        table_set(t, t->dropped, NULL);
    }
}

/* ---- Sequences ------------------------------------------------------------------------------------- */

bk_status bk_kv_create(bk_kv_pool *pool, bk_kv **out, bk_error *err) {
    bk_kv *kv = bk_alloc_zero(1, sizeof *kv);
    *out = NULL;
    if (!kv) return bk_fail(err, BK_ERR_NOMEM, "no memory for a sequence");
    kv->pool = bk_kv_pool_ref(pool);
    kv->max_tokens = pool->shape.max_tokens;
    *out = kv;
    return BK_OK;
}

void bk_kv_destroy(bk_kv **out) {
    bk_kv *kv = *out;
    if (!kv) return;
    *out = NULL;
    for (int g = 0; g < kv->pool->shape.n_groups; g++) {
        table_cut(kv, g, 0);
        bk_free(kv->tables[g].pages);
        bk_free(kv->tables[g].memory);
    }
    bk_kv_pool_unref(&kv->pool);
    bk_free(kv);
}

size_t bk_kv_len(const bk_kv *kv) { return kv->len; }

size_t bk_kv_bytes(const bk_kv *kv) {
    size_t sum = 0;
    for (int g = 0; g < kv->pool->shape.n_groups; g++)
        sum += (kv->tables[g].n - kv->tables[g].dropped) * kv->pool->page_bytes[g];
    return sum;
}

static bool is_shared(const table *t, size_t i) {
    return i < t->n && t->pages[i] && atomic_load(&t->pages[i]->refs) > 1;
}

/* The first page to be written may be shared: it is replaced by a copy. */
static bk_status make_private(bk_kv *kv, int group, size_t i, bk_error *err) {
    table *t = &kv->tables[group];
    if (!is_shared(t, i)) return BK_OK;
    page *copy = NULL;
    bk_status status = page_create(kv, group, &copy, err);
    if (status != BK_OK) return status;
    bk_device *d = kv->pool->device;
    d->ops->page_copy(d, copy->memory, t->pages[i]->memory, kv->pool->page_bytes[group]);
    page_unref(kv, group, t->pages[i]);
    table_set(t, i, copy);
    return BK_OK;
}

static bk_status reserve_group(bk_kv *kv, int group, size_t n, bk_error *err) {
    table *t = &kv->tables[group];
    size_t pages = bk_div_up(kv->len + n, BK_PAGE_TOKENS);
    if (!table_reserve(t, pages)) return bk_fail(err, BK_ERR_NOMEM, "no memory for a page table");
    bk_status status = make_private(kv, group, kv->len / BK_PAGE_TOKENS, err);
    while (status == BK_OK && t->n < pages) {
        page *p = NULL;
        status = page_create(kv, group, &p, err);
        if (status == BK_OK) table_set(t, t->n++, p);
    }
    return status;
}

/* Gives back what was reserved beyond the length. */
static void cut_reserved(bk_kv *kv) {
    for (int g = 0; g < kv->pool->shape.n_groups; g++)
        table_cut(kv, g, bk_div_up(kv->len, BK_PAGE_TOKENS));
}

void bk_kv_set_max_tokens(bk_kv *kv, size_t n) { kv->max_tokens = n; }

bk_status bk_kv_reserve(bk_kv *kv, size_t n, bk_error *err) {
    size_t max = kv->max_tokens;
    if (n > max - bk_min_size(kv->len, max))
        return bk_fail(err, BK_ERR_LIMIT, "%zu tokens and %zu more do not fit the context of %zu",
                       kv->len, n, max);
    if (n == 0) return BK_OK;
    bk_status status = BK_OK;
    for (int g = 0; status == BK_OK && g < kv->pool->shape.n_groups; g++)
        status = reserve_group(kv, g, n, err);
    if (status != BK_OK) cut_reserved(kv);
    return status;
}

size_t bk_kv_reserve_bytes(const bk_kv *kv, size_t n) {
    size_t sum = 0, len = kv->len;
    if (n == 0 || n > kv->max_tokens - bk_min_size(len, kv->max_tokens)) return 0;
    for (int g = 0; g < kv->pool->shape.n_groups; g++) {
        const table *t = &kv->tables[g];
        size_t pages = bk_div_up(len + n, BK_PAGE_TOKENS),
               copy = is_shared(t, len / BK_PAGE_TOKENS);
        sum += (pages - bk_min_size(t->n, pages) + copy) * kv->pool->page_bytes[g];
    }
    return sum;
}

void bk_kv_commit(bk_kv *kv, size_t n) {
    kv->len += n;
    for (int g = 0; g < kv->pool->shape.n_groups; g++) drop_left(kv, g);
}

bool bk_kv_keeps(const bk_kv *kv, size_t n) {
    if (n == 0 || n >= kv->len) return n <= kv->len;
    for (int g = 0; g < kv->pool->shape.n_groups; g++)
        if (kv->tables[g].dropped > first_needed(kv->pool, g, n)) return false;
    return true;
}

bk_status bk_kv_truncate(bk_kv *kv, size_t n, bk_error *err) {
    if (n > kv->len)
        return bk_fail(err, BK_ERR_INVALID, "cannot keep %zu of %zu tokens", n, kv->len);
    if (!bk_kv_keeps(kv, n))
        return bk_fail(err, BK_ERR_LIMIT,
                       "the window has moved past what the first %zu tokens need", n);
    kv->len = n;
    cut_reserved(kv);
    return BK_OK;
}

bk_status bk_kv_fork(const bk_kv *kv, bk_kv **out, bk_error *err) {
    bk_status status = bk_kv_create(kv->pool, out, err);
    if (status != BK_OK) return status;
    (*out)->max_tokens = kv->max_tokens;
    for (int g = 0; g < kv->pool->shape.n_groups; g++) {
        const table *from = &kv->tables[g];
        table *to = &(*out)->tables[g];
        /* Pages reserved beyond the length will be written: they are not shared. */
        size_t n = bk_min_size(from->n, bk_div_up(kv->len, BK_PAGE_TOKENS));
        if (!table_reserve(to, n)) {
            bk_kv_destroy(out);
            return bk_fail(err, BK_ERR_NOMEM, "no memory for a page table");
        }
        for (size_t i = 0; i < n; i++) {
            page_ref(*out, g, from->pages[i]);
            table_set(to, i, from->pages[i]);
        }
        to->n = n;
        to->dropped = from->dropped;
    }
    (*out)->len = kv->len;
    return BK_OK;
}

void bk_kv_share(bk_kv *kv, const bk_kv *from, size_t n) {
    for (int g = 0; g < kv->pool->shape.n_groups; g++) {
        table *t = &kv->tables[g];
        const table *f = &from->tables[g];
        size_t pages = bk_min_size(n, bk_min_size(kv->len, from->len)) / BK_PAGE_TOKENS;
        for (size_t i = bk_max_size(t->dropped, f->dropped); i < pages; i++) {
            if (t->pages[i] == f->pages[i] || !t->pages[i] || !f->pages[i]) continue;
            page_ref(kv, g, f->pages[i]);
            page_unref(kv, g, t->pages[i]);
            table_set(t, i, f->pages[i]);
        }
    }
}

void bk_kv_set_idle(bk_kv *kv, bool idle) {
    int change = (int)idle - (int)kv->idle;
    kv->idle = idle;
    for (int g = 0; change && g < kv->pool->shape.n_groups; g++)
        for (size_t i = kv->tables[g].dropped; i < kv->tables[g].n; i++)
            if (kv->tables[g].pages[i])
                (void)page_count(kv->pool, g, kv->tables[g].pages[i], 0, change);
}

size_t bk_kv_private_bytes(const bk_kv *kv) {
    size_t sum = 0;
    for (int g = 0; g < kv->pool->shape.n_groups; g++)
        for (size_t i = kv->tables[g].dropped; i < kv->tables[g].n; i++)
            if (kv->tables[g].pages[i] && !is_shared(&kv->tables[g], i))
                sum += kv->pool->page_bytes[g];
    return sum;
}

void *const *bk_kv_table(const bk_kv *kv, int group, size_t *n) {
    if (n) *n = kv->tables[group].n;
    return kv->tables[group].memory;
}

/* ---- Export and import ------------------------------------------------------------------------------ */

/* What precedes the pages: enough to refuse data of another shape. */
typedef struct export_header {
    uint32_t magic, n_groups, n_kv_heads, head_size, page_tokens, kv_type;
    uint32_t n_layers[2];
    uint64_t begin, end, state;
} export_header;

enum { EXPORT_MAGIC = 0x766B6B62 /* "bkkv" */ };

static export_header header_of(const bk_kv *kv, size_t begin, size_t end) {
    const bk_kv_shape *s = &kv->pool->shape;
    export_header h = {.magic = EXPORT_MAGIC,
                       .n_groups = (uint32_t)s->n_groups,
                       .n_kv_heads = (uint32_t)s->n_kv_heads,
                       .head_size = (uint32_t)s->head_size,
                       .page_tokens = BK_PAGE_TOKENS,
                       .kv_type = (uint32_t)s->kv_type,
                       .begin = begin,
                       .end = end,
                       .state = s->state};
    for (int g = 0; g < s->n_groups; g++) h.n_layers[g] = (uint32_t)s->group[g].n_layers;
    return h;
}

static bk_status check_export(const bk_kv *kv, size_t begin, size_t end, bk_error *err) {
    if (begin > end || end > kv->len || begin % BK_PAGE_TOKENS)
        return bk_fail(err, BK_ERR_INVALID, "export of [%zu, %zu) of %zu tokens", begin, end,
                       kv->len);
    for (int g = 0; g < kv->pool->shape.n_groups; g++)
        if (end > begin && kv->tables[g].dropped > first_needed(kv->pool, g, end))
            return bk_fail(err, BK_ERR_LIMIT,
                           "the window has moved past what the first %zu tokens need", end);
    return BK_OK;
}

bk_status bk_kv_export(const bk_kv *kv, size_t begin, size_t end, bk_buf *out, bk_error *err) {
    bk_status status = check_export(kv, begin, end, err);
    if (status != BK_OK) return status;
    export_header h = header_of(kv, begin, end);
    bk_device *d = kv->pool->device;
    bk_buf_append(out, &h, sizeof h);
    for (int g = 0; g < kv->pool->shape.n_groups; g++) {
        size_t bytes = kv->pool->page_bytes[g];
        for (size_t i = begin / BK_PAGE_TOKENS; i < bk_div_up(end, BK_PAGE_TOKENS); i++) {
            void *memory = kv->tables[g].memory[i];
            uint8_t present = memory != NULL;
            bk_buf_append(out, &present, 1);
            if (!present || !bk_buf_reserve(out, bytes)) continue;
            d->ops->page_read(d, memory, 0, out->data + out->len, bytes);
            out->len += bytes;
        }
    }
    return out->failed ? bk_fail(err, BK_ERR_NOMEM, "the exported positions do not fit the buffer")
                       : BK_OK;
}

/* One page out of the data; *data and *len move on. A page may be absent when a sequence of `end`
 * positions no longer needs it. */
static bk_status import_page(bk_kv *kv, int group, size_t i, size_t end, const uint8_t **data,
                             size_t *len, bk_error *err) {
    size_t bytes = kv->pool->page_bytes[group];
    table *t = &kv->tables[group];
    bk_device *d = kv->pool->device;
    if (*len < 1) return bk_fail(err, BK_ERR_FORMAT, "exported positions end early");
    uint8_t present = **data;
    *data += 1, *len -= 1;
    if (present == 0) {
        if (i >= first_needed(kv->pool, group, end))
            return bk_fail(err, BK_ERR_FORMAT, "exported positions lack page %zu", i);
        page_unref(kv, group, t->pages[i]);
        table_set(t, i, NULL);
        return BK_OK;
    }
    if (present != 1 || *len < bytes)
        return bk_fail(err, BK_ERR_FORMAT, "exported positions are damaged at page %zu", i);
    d->ops->page_write(d, t->memory[i], 0, *data, bytes);
    *data += bytes, *len -= bytes;
    return BK_OK;
}

static bk_status import_pages(bk_kv *kv, const export_header *h, const uint8_t *data, size_t len,
                              bk_error *err) {
    size_t first = h->begin / BK_PAGE_TOKENS, end = bk_div_up(h->end, BK_PAGE_TOKENS);
    for (int g = 0; g < kv->pool->shape.n_groups; g++) {
        for (size_t i = first; i < end; i++) {
            bk_status status = import_page(kv, g, i, h->end, &data, &len, err);
            if (status != BK_OK) return status;
        }
    }
    if (len) return bk_fail(err, BK_ERR_FORMAT, "exported positions: %zu bytes left over", len);
    return BK_OK;
}

bk_status bk_kv_import(bk_kv *kv, const void *data, size_t len, bk_error *err) {
    export_header h, want;
    if (len < sizeof h)
        return bk_fail(err, BK_ERR_FORMAT, "exported positions: only %zu bytes", len);
    memcpy(&h, data, sizeof h);
    want = header_of(kv, h.begin, h.end);
    if (memcmp(&h, &want, sizeof h) != 0)
        return bk_fail(err, BK_ERR_FORMAT, "exported positions come from another model");
    if (h.begin != kv->len || h.begin % BK_PAGE_TOKENS || h.end < h.begin || h.end > kv->max_tokens)
        return bk_fail(err, BK_ERR_FORMAT,
                       "exported positions [%llu, %llu) do not continue a sequence of %zu",
                       (unsigned long long)h.begin, (unsigned long long)h.end, kv->len);
    bk_status status = bk_kv_reserve(kv, h.end - h.begin, err);
    if (status == BK_OK)
        status = import_pages(kv, &h, (const uint8_t *)data + sizeof h, len - sizeof h, err);
    if (status == BK_OK)
        bk_kv_commit(kv, h.end - h.begin);
    else
        cut_reserved(kv);
    return status;
}
