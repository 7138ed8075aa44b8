#include "text/piece_count.h"

#include <stdlib.h>

#include "base/mem.h"
#include "text/tokenizer_internal.h"

static const uint32_t EMPTY = UINT32_MAX;

static bool grow(bk_piece_counts *c) {
    size_t cap = bk_max_size(1024, 2 * c->cap), n_slots = 2 * cap;
    bk_piece *items = bk_realloc(c->items, cap, sizeof *items);
    if (!items) return false;
    c->items = items;
    uint32_t *slots = bk_alloc(n_slots, sizeof *slots);
    if (!slots) return false;
    memset(slots, 0xFF, n_slots * sizeof *slots);
    for (size_t i = 0; i < c->n; i++) {
        size_t k = c->items[i].hash & (n_slots - 1);
        while (slots[k] != EMPTY) k = (k + 1) & (n_slots - 1);
        slots[k] = (uint32_t)i;
    }
    bk_free(c->slots);
    c->slots = slots;
    c->cap = cap;
    c->n_slots = n_slots;
    return true;
}

static bool count_one(bk_piece_counts *c, bk_str piece) {
    if (c->n == c->cap && !grow(c)) return false;
    uint32_t hash = bk_tok_hash(piece);
    size_t k = hash & (c->n_slots - 1);
    for (; c->slots[k] != EMPTY; k = (k + 1) & (c->n_slots - 1)) {
        bk_piece *p = &c->items[c->slots[k]];
        if (p->hash != hash || !bk_str_eq(p->text, piece)) continue;
        p->count++;
        return true;
    }
    c->slots[k] = (uint32_t)c->n;
    c->items[c->n++] = (bk_piece){piece, hash, 1};
    return true;
}

bool bk_piece_count(bk_piece_counts *c, bk_str text, size_t (*next)(const char *s, size_t len)) {
    for (size_t pos = 0, n; pos < text.len; pos += n) {
        n = next(text.data + pos, text.len - pos);
        if (!count_one(c, (bk_str){text.data + pos, n})) return false;
    }
    return true;
}

static int by_count(const void *x, const void *y) {
    const bk_piece *a = x, *b = y;
    if (a->count != b->count) return a->count > b->count ? -1 : 1;
    int order = memcmp(a->text.data, b->text.data, bk_min_size(a->text.len, b->text.len));
    if (order) return order;
    return a->text.len < b->text.len ? -1 : a->text.len > b->text.len;
}

void bk_piece_sort(bk_piece_counts *c) {
    if (c->n) qsort(c->items, c->n, sizeof *c->items, by_count);
    bk_free(c->slots);
    c->slots = NULL; /* they point to the old places */
    c->n_slots = c->cap = 0;
}

void bk_piece_counts_free(bk_piece_counts *c) {
    bk_free(c->items);
    bk_free(c->slots);
    *c = (bk_piece_counts){0};
}
