/* Vocabularies of characters, and of words. */
#include <stdio.h>
#include <stdlib.h>

#include "text/piece_count.h"
#include "text/vocab_train_internal.h"
#include "text/word.h"

enum { N_CODE_POINTS = 0x110000, SPACE_SIGN = 0x2581, N_BYTES = 256 };

static bk_status no_memory(size_t n, bk_error *err) {
    return bk_fail(err, BK_ERR_NOMEM, "no memory for a vocabulary of %zu tokens", n);
}

/* ---- Characters --------------------------------------------------------------------------------- */

typedef struct symbol {
    uint32_t cp, count;
} symbol;

static int by_count(const void *x, const void *y) {
    const symbol *a = x, *b = y;
    if (a->count != b->count) return a->count > b->count ? -1 : 1;
    return a->cp < b->cp ? -1 : a->cp > b->cp;
}

static int by_code_point(const void *x, const void *y) {
    const symbol *a = x, *b = y;
    return a->cp < b->cp ? -1 : a->cp > b->cp;
}

/* How large a table of counts must be, so that English does not take one of all of Unicode. */
static uint32_t highest_code_point(bk_str text) {
    uint32_t highest = ' ', cp;
    for (size_t pos = 0; pos < text.len;) {
        pos += bk_utf8_decode(text.data + pos, text.len - pos, &cp);
        if (cp < N_CODE_POINTS && cp > highest) highest = cp;
    }
    return highest;
}

/* The characters of a text that occur often enough, by code point; NULL when memory is short. */
static symbol *count_symbols(bk_str text, size_t min_count, size_t *n) {
    uint32_t end = highest_code_point(text) + 1, cp;
    uint32_t *count = bk_alloc_zero(end, sizeof *count);
    size_t found = 0;
    for (size_t pos = 0; count && pos < text.len;) {
        pos += bk_utf8_decode(text.data + pos, text.len - pos, &cp);
        if (cp >= N_CODE_POINTS) continue;
        if (cp == SPACE_SIGN) cp = ' ';
        found += count[cp]++ == 0;
    }
    symbol *s = count ? bk_alloc(found + 1, sizeof *s) : NULL;
    *n = 0;
    for (cp = 0; s && cp < end; cp++)
        if (count[cp] && count[cp] >= min_count) s[(*n)++] = (symbol){cp, count[cp]};
    bk_free(count);
    return s;
}

static bool add_bytes(bk_vocab *v) {
    char name[8];
    for (int b = 0; b < N_BYTES; b++) {
        snprintf(name, sizeof name, "<0x%02X>", (unsigned)b);
        if (bk_vocab_add(v, bk_str_from(name), BK_TOKEN_BYTE) < 0) return false;
    }
    return true;
}

static bool add_symbols(bk_vocab *v, const symbol *s, size_t n) {
    char name[4];
    for (size_t i = 0; i < n; i++) {
        size_t len = bk_utf8_encode(s[i].cp == ' ' ? SPACE_SIGN : s[i].cp, name);
        if (bk_vocab_add(v, (bk_str){name, len}, BK_TOKEN_NORMAL) < 0) return false;
    }
    /* No names of several characters, so that the scores never choose between any. */
    v->desc.scores = bk_arena_alloc(&v->arena, v->cap, sizeof(float));
    return v->desc.scores;
}

bk_status bk_vocab_chars(bk_vocab *v, const bk_vocab_options *o, bk_str text, bk_error *err) {
    size_t n, room, other = 1u + o->end_of_text + (o->bytes ? N_BYTES : 0);
    symbol *s = count_symbols(text, o->min_count, &n);
    if (!s) return bk_fail(err, BK_ERR_NOMEM, "no memory to count characters");
    bk_status st = bk_vocab_room(o, other, n, &room, err);
    if (st) {
        bk_free(s);
        return st;
    }
    if (room < n) {
        qsort(s, n, sizeof *s, by_count);
        qsort(s, room, sizeof *s, by_code_point);
    }
    v->desc.model = BK_STR("llama");
    v->desc.pre = BK_STR("default");
    bool ok = bk_vocab_reserve(v, room + other) && bk_vocab_add_special(v, o->end_of_text) &&
              (!o->bytes || add_bytes(v)) && add_symbols(v, s, room);
    bk_free(s);
    return ok ? BK_OK : no_memory(room, err);
}

/* ---- Words -------------------------------------------------------------------------------------- */

/* A name must be a text, and U+2581 would be read as a space. */
static bool can_be_name(bk_str s) {
    for (size_t pos = 0; pos < s.len;) {
        uint32_t cp;
        pos += bk_utf8_decode(s.data + pos, s.len - pos, &cp);
        if (cp >= N_CODE_POINTS || cp == SPACE_SIGN) return false;
    }
    return true;
}

/* Drops what makes no token. */
static void choose(bk_piece_counts *c, size_t min_count) {
    size_t n = 0;
    for (size_t i = 0; i < c->n; i++)
        if (c->items[i].count >= min_count && can_be_name(c->items[i].text))
            c->items[n++] = c->items[i];
    c->n = n;
}

static bool add_words(bk_vocab *v, const bk_piece_counts *c, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (bk_vocab_add(v, c->items[i].text, BK_TOKEN_NORMAL) < 0) return false;
    return true;
}

bk_status bk_vocab_words(bk_vocab *v, const bk_vocab_options *o, bk_str text, bk_error *err) {
    size_t room = 0, other = 1u + o->end_of_text;
    bk_piece_counts c = {0};
    bk_status st = bk_piece_count(&c, text, bk_word_next) ? BK_OK : no_memory(c.n, err);
    if (!st) {
        bk_piece_sort(&c);
        choose(&c, o->min_count);
        st = bk_vocab_room(o, other, c.n, &room, err);
    }
    v->desc.model = BK_STR("word");
    v->desc.pre = BK_STR("default");
    if (!st && !(bk_vocab_reserve(v, room + other) && bk_vocab_add_special(v, o->end_of_text) &&
                 add_words(v, &c, room)))
        st = no_memory(room, err);
    bk_piece_counts_free(&c);
    return st;
}
