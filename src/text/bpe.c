#include "text/bpe.h"

#include <string.h>

#include "base/mem.h"

/* At half load the longest run of a well-mixed table is some dozens; a file made to collide must
 * not make loading quadratic. */
enum { MAX_PROBES = 1024 };

bool bk_bpe_init(bk_bpe *b, size_t n_merges) {
    *b = (bk_bpe){.n_merges = n_merges};
    unsigned bits = 4;
    while (bits < 40 && (size_t)1 << bits < 2 * n_merges) bits++;
    size_t n_slots = (size_t)1 << bits;
    b->shift = 64 - bits;
    b->slots = bk_alloc(n_slots, sizeof *b->slots);
    b->pairs = bk_alloc(bk_max_size(1, n_merges), sizeof *b->pairs);
    if (!b->slots || !b->pairs) return false;
    memset(b->slots, 0xFF, n_slots * sizeof *b->slots);
    return true;
}

void bk_bpe_free(bk_bpe *b) {
    bk_free(b->slots);
    bk_free(b->pairs);
    *b = (bk_bpe){0};
}

static size_t first_slot(const bk_bpe *b, int32_t left, int32_t right) {
    uint64_t key = (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
    key = (key ^ key >> 29) * 0x9E3779B97F4A7C15u;
    key = (key ^ key >> 31) * 0xBF58476D1CE4E5B9u;
    return (size_t)(key >> b->shift);
}

void bk_bpe_prefetch(const bk_bpe *b, int32_t left, int32_t right) {
    __builtin_prefetch(&b->slots[first_slot(b, left, right)], 1);
}

/* The slot of a pair or the empty one where it belongs; NULL when that is too far away. */
static uint32_t *find_slot(const bk_bpe *b, int32_t left, int32_t right) {
    size_t mask = ((size_t)1 << (64 - b->shift)) - 1, i = first_slot(b, left, right);
    for (int probe = 0; probe < MAX_PROBES; probe++, i = (i + 1) & mask) {
        uint32_t rank = b->slots[i];
        if (rank == BK_BPE_NONE) return &b->slots[i];
        if (b->pairs[rank].left == left && b->pairs[rank].right == right) return &b->slots[i];
    }
    return NULL;
}

bool bk_bpe_put(bk_bpe *b, int32_t left, int32_t right, uint32_t rank, int32_t merged) {
    uint32_t *slot = find_slot(b, left, right);
    if (!slot) return false;
    *slot = rank;
    b->pairs[rank] = (bk_bpe_pair){left, right, merged};
    return true;
}

static uint32_t find_rank(const bk_bpe *b, int32_t left, int32_t right) {
    const uint32_t *slot = find_slot(b, left, right);
    return slot ? *slot : BK_BPE_NONE;
}

bool bk_bpe_reserve(bk_bpe_work *w, size_t n) {
    if (n <= w->cap) return true;
    size_t cap = bk_max_size(bk_max_size(256, 2 * w->cap), n);
    bk_bpe_work_free(w);
    w->symbols = bk_alloc(cap, sizeof *w->symbols);
    w->heap = bk_alloc(cap, 2 * sizeof *w->heap);
    if (!w->symbols || !w->heap) return false;
    w->cap = cap;
    return true;
}

void bk_bpe_work_free(bk_bpe_work *w) {
    bk_free(w->symbols);
    bk_free(w->heap);
    *w = (bk_bpe_work){0};
}

static void heap_push(bk_bpe_work *w, uint64_t key) {
    size_t i = w->n_heap++;
    while (i > 0 && w->heap[(i - 1) / 2] > key) {
        w->heap[i] = w->heap[(i - 1) / 2];
        i = (i - 1) / 2;
    }
    w->heap[i] = key;
}

static uint64_t heap_pop(bk_bpe_work *w) {
    uint64_t top = w->heap[0], key = w->heap[--w->n_heap];
    size_t i = 0, n = w->n_heap;
    for (size_t child = 1; child < n; child = 2 * i + 1) {
        if (child + 1 < n && w->heap[child + 1] < w->heap[child]) child++;
        if (w->heap[child] >= key) break;
        w->heap[i] = w->heap[child];
        i = child;
    }
    w->heap[i] = key;
    return top;
}

/* Looks up the pair that begins at pos and queues it. */
static inline void queue_pair(bk_bpe_work *w, bk_bpe_find_fn find, const void *ctx, uint32_t pos) {
    bk_bpe_symbol *s = &w->symbols[pos];
    s->rank = BK_BPE_NONE;
    if (s->next != BK_BPE_NONE) find(ctx, w, pos);
    if (s->rank != BK_BPE_NONE) heap_push(w, (uint64_t)s->rank << 32 | pos);
}

/* Inline, so that the table's variant has its lookup inside the loop. Each merge takes one entry out
 * and puts at most two in, so that twice the symbols are enough. */
static inline void merge_all(bk_bpe_work *w, bk_bpe_find_fn find, const void *ctx) {
    bk_bpe_symbol *s = w->symbols;
    w->n_heap = 0;
    for (uint32_t pos = 0; pos != BK_BPE_NONE; pos = s[pos].next) queue_pair(w, find, ctx, pos);
    while (w->n_heap > 0) {
        uint64_t key = heap_pop(w);
        uint32_t pos = (uint32_t)key, rank = (uint32_t)(key >> 32);
        if (s[pos].rank != rank) continue; /* one of the two has merged meanwhile */
        uint32_t gone = s[pos].next;
        s[pos].id = s[pos].merged;
        s[pos].next = s[gone].next;
        s[gone].rank = BK_BPE_NONE;
        if (s[pos].next != BK_BPE_NONE) s[s[pos].next].prev = pos;
        queue_pair(w, find, ctx, pos);
        if (s[pos].prev != BK_BPE_NONE) queue_pair(w, find, ctx, s[pos].prev);
    }
}

void bk_bpe_merge_linked(bk_bpe_work *w, bk_bpe_find_fn find, const void *ctx) {
    merge_all(w, find, ctx);
}

static void find_pair(const void *ctx, bk_bpe_work *w, uint32_t pos) {
    const bk_bpe *b = ctx;
    bk_bpe_symbol *s = &w->symbols[pos];
    s->rank = find_rank(b, s->id, w->symbols[s->next].id);
    if (s->rank != BK_BPE_NONE) s->merged = b->pairs[s->rank].merged;
}

size_t bk_bpe_merge(const bk_bpe *b, bk_bpe_work *w, size_t n) {
    bk_bpe_symbol *s = w->symbols;
    if (n < 2) return n;
    for (size_t i = 0; i < n; i++) {
        s[i].prev = i > 0 ? (uint32_t)(i - 1) : BK_BPE_NONE;
        s[i].next = i + 1 < n ? (uint32_t)(i + 1) : BK_BPE_NONE;
    }
    merge_all(w, find_pair, b);
    size_t left = 0;
    for (uint32_t pos = 0; pos != BK_BPE_NONE; pos = s[pos].next) s[left++].id = s[pos].id;
    return left;
}
