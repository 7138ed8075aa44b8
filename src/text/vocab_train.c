#include "text/vocab_train.h"

#include <stdio.h>
#include <stdlib.h>

#include "text/vocab_train_internal.h"

enum { N_CODE_POINTS = 0x110000, SPACE_SIGN = 0x2581, N_BYTES = 256 };

bool bk_vocab_reserve(bk_vocab *v, size_t n_tokens) {
    v->tokens = bk_arena_alloc(&v->arena, n_tokens, sizeof *v->tokens);
    v->types = bk_arena_alloc(&v->arena, n_tokens, sizeof *v->types);
    v->cap = n_tokens;
    v->desc.tokens = v->tokens;
    v->desc.types = v->types;
    return v->tokens && v->types;
}

int32_t bk_vocab_add(bk_vocab *v, bk_str name, int32_t type) {
    char *copy = bk_arena_alloc(&v->arena, bk_max_size(1, name.len), 1);
    if (!copy || v->desc.n_tokens == v->cap) return -1;
    memcpy(copy, name.data, name.len);
    v->tokens[v->desc.n_tokens] = (bk_str){copy, name.len};
    v->types[v->desc.n_tokens] = type;
    return (int32_t)v->desc.n_tokens++;
}

bool bk_vocab_add_special(bk_vocab *v, bool end_of_text) {
    bk_tokenizer_desc *d = &v->desc;
    d->unk = d->bos = d->eos = bk_vocab_add(v, BK_STR("<unk>"), BK_TOKEN_UNKNOWN);
    if (d->unk >= 0 && end_of_text)
        d->bos = d->eos = bk_vocab_add(v, BK_STR("<|endoftext|>"), BK_TOKEN_CONTROL);
    return d->unk >= 0 && d->eos >= 0;
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

/* The characters of a text, by code point; NULL when memory is short. */
static symbol *count_symbols(bk_str text, size_t *n) {
    uint32_t *count = bk_alloc_zero(N_CODE_POINTS, sizeof *count), cp;
    *n = 0;
    for (size_t pos = 0; count && pos < text.len;) {
        pos += bk_utf8_decode(text.data + pos, text.len - pos, &cp);
        if (cp >= N_CODE_POINTS) continue;
        if (cp == SPACE_SIGN) cp = ' ';
        *n += count[cp] == 0;
        if (count[cp] < UINT32_MAX) count[cp]++;
    }
    symbol *s = count ? bk_alloc(*n + 1, sizeof *s) : NULL;
    size_t k = 0;
    for (cp = 0; s && cp < N_CODE_POINTS; cp++)
        if (count[cp]) s[k++] = (symbol){cp, count[cp]};
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

static bk_status train_chars(bk_vocab *v, const bk_vocab_options *o, bk_str text, bk_error *err) {
    size_t n, other = 1u + o->end_of_text + (o->bytes ? N_BYTES : 0);
    if (o->size && o->size <= other)
        return bk_fail(err, BK_ERR_INVALID,
                       "a vocabulary of %zu tokens, wanted at least %zu: %zu are special", o->size,
                       other + 1, other);
    symbol *s = count_symbols(text, &n);
    if (!s) return bk_fail(err, BK_ERR_NOMEM, "no memory to count characters");
    if (o->size && n > o->size - other) {
        qsort(s, n, sizeof *s, by_count);
        n = o->size - other;
        qsort(s, n, sizeof *s, by_code_point);
    }
    v->desc.model = BK_STR("llama");
    v->desc.pre = BK_STR("default");
    bool ok = bk_vocab_reserve(v, n + other) && bk_vocab_add_special(v, o->end_of_text) &&
              (!o->bytes || add_bytes(v)) && add_symbols(v, s, n);
    bk_free(s);
    if (!ok) return bk_fail(err, BK_ERR_NOMEM, "no memory for a vocabulary of %zu tokens", n);
    return n > 0
               ? BK_OK
               : bk_fail(err, BK_ERR_INVALID,
                         "a text of %zu bytes without a character in UTF-8, wanted text to make a "
                         "vocabulary of",
                         text.len);
}

/* ---- All kinds ---------------------------------------------------------------------------------- */

static const struct {
    const char *name;
    bk_status (*train)(bk_vocab *v, const bk_vocab_options *o, bk_str text, bk_error *err);
} kinds[] = {
    [BK_VOCAB_CHAR] = {"char", train_chars},
};

bk_status bk_vocab_kind_find(bk_str name, bk_vocab_kind *out, bk_error *err) {
    for (size_t i = 0; i < BK_ARRAY_LEN(kinds); i++) {
        if (!bk_str_eq(name, bk_str_from(kinds[i].name))) continue;
        *out = (bk_vocab_kind)i;
        return BK_OK;
    }
    return bk_fail(err, BK_ERR_NOT_FOUND, "vocabulary \"" BK_STR_FMT "\", wanted \"char\"",
                   BK_STR_ARG(name));
}

bk_status bk_vocab_train(const bk_vocab_options *options, bk_str text, bk_vocab **out,
                         bk_error *err) {
    *out = NULL;
    bk_vocab *v = bk_alloc_zero(1, sizeof *v);
    if (!v) return bk_fail(err, BK_ERR_NOMEM, "no memory for a vocabulary");
    v->desc.bos = v->desc.eos = v->desc.eot = v->desc.unk = v->desc.pad = -1;
    bk_status st = kinds[options->kind].train(v, options, text, err);
    if (st) {
        bk_vocab_destroy(&v);
        return st;
    }
    *out = v;
    return BK_OK;
}

const bk_tokenizer_desc *bk_vocab_desc(const bk_vocab *v) { return &v->desc; }

void bk_vocab_destroy(bk_vocab **v) {
    if (!*v) return;
    bk_arena_free(&(*v)->arena);
    bk_free(*v);
    *v = NULL;
}
