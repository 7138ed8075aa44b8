/* Which rows a trimmed head keeps. */
#include <stdlib.h>
#include <string.h>

#include "model/arch.h"
#include "sys/file.h"

enum { MOST_TEXT = 256 << 20 };

/* A choice in the making. */
typedef struct choice {
    const bk_model *m;
    uint32_t *keep;
    size_t n_vocab, n, most; /* most 0: no limit */
} choice;

static void take(choice *c, size_t id) {
    if (id >= c->n_vocab || bk_bit(c->keep, id)) return;
    bk_set_bit(c->keep, id);
    c->n++;
}

/* What every text may need: control tokens and ends, bytes, single characters of ASCII. */
static bool always(const bk_tokenizer *t, int32_t id) {
    int type = bk_tokenizer_type(t, id);
    bk_str bytes = bk_tokenizer_bytes(t, id);
    bool ascii = bytes.len == 1 && (unsigned char)bytes.data[0] < 128;
    return type == BK_TOKEN_CONTROL || type == BK_TOKEN_BYTE || type == BK_TOKEN_UNKNOWN || ascii ||
           bk_tokenizer_is_end(t, id);
}

static bk_status take_template(choice *c, bk_error *err) {
    const bk_template *t = bk_model_template(c->m, NULL);
    bk_ids ids = {0};
    if (!t) return BK_OK;
    bk_status st = bk_tokenizer_encode(c->m->tokenizer, bk_template_source(t), true, &ids, err);
    for (size_t i = 0; !st && i < ids.len; i++) take(c, (size_t)ids.data[i]);
    bk_ids_free(&ids);
    return st;
}

/* ---- A file of ids -------------------------------------------------------------------------------- */

typedef struct count {
    uint32_t n, id;
} count;

static int most_first(const void *a, const void *b) {
    const count *x = a, *y = b;
    if (x->n != y->n) return x->n < y->n ? 1 : -1;
    return x->id < y->id ? -1 : x->id > y->id;
}

/* How often each id stands in a text of ids, as `brisk tokenize` prints them. */
static bk_status count_ids(const char *path, const bk_buf *text, count *counts, size_t n_vocab,
                           bk_error *err) {
    for (size_t i = 0; i < text->len;) {
        char ch = text->data[i];
        if (strchr(" \t\r\n,[]", ch)) {
            i++;
            continue;
        }
        uint64_t id = 0;
        size_t first = i;
        for (; i < text->len && text->data[i] >= '0' && text->data[i] <= '9' && i - first < 10; i++)
            id = id * 10 + (uint64_t)(text->data[i] - '0');
        if (i == first || id >= n_vocab)
            return bk_fail(err, BK_ERR_INVALID,
                           "%s: token ids from 0 to %zu wanted, with blanks or commas between; "
                           "byte %zu is no such id",
                           path, n_vocab - 1, first);
        if (counts[id].n < UINT32_MAX) counts[id].n++;
    }
    return BK_OK;
}

static bk_status take_file(choice *c, const char *path, bk_error *err) {
    bk_buf text = {.limit = MOST_TEXT};
    count *counts = bk_alloc_zero(c->n_vocab, sizeof *counts);
    bk_status st = counts ? bk_file_read(path, &text, err)
                          : bk_fail(err, BK_ERR_NOMEM, "no memory to count tokens");
    if (!st) st = count_ids(path, &text, counts, c->n_vocab, err);
    for (size_t i = 0; !st && i < c->n_vocab; i++) counts[i].id = (uint32_t)i;
    if (!st) qsort(counts, c->n_vocab, sizeof *counts, most_first);
    for (size_t i = 0; !st && i < c->n_vocab && counts[i].n; i++)
        if (!c->most || c->n < c->most) take(c, counts[i].id);
    bk_free(counts);
    bk_buf_free(&text);
    return st;
}

/* ---- The choice ----------------------------------------------------------------------------------- */

/* "N", "FILE" or "N:FILE"; *file NULL: none. */
static bk_status parse(const char *spec, size_t n_vocab, size_t *most, const char **file,
                       bk_error *err) {
    size_t digits = strspn(spec, "0123456789");
    bool number = digits && (spec[digits] == '\0' || spec[digits] == ':');
    *most = 0;
    *file = !number ? spec : spec[digits] ? spec + digits + 1 : NULL;
    if (!number && *spec) return BK_OK;
    unsigned long long n = digits < 10 ? strtoull(spec, NULL, 10) : 0;
    if (n < 16 || n > n_vocab || (*file && !**file))
        return bk_fail(err, BK_ERR_INVALID,
                       "a head of '%.80s' was asked for: wanted a number of tokens from 16 to %zu, "
                       "a file of token ids, or both as N:FILE",
                       spec, n_vocab);
    *most = (size_t)n;
    return BK_OK;
}

bk_status bk_head_choose(bk_model *m, const char *spec, bk_error *err) {
    choice c = {.m = m, .n_vocab = (size_t)m->config.n_vocab};
    const char *file;
    bk_status st = parse(spec, c.n_vocab, &c.most, &file, err);
    if (st) return st;
    m->head.words = bk_div_up(c.n_vocab, 32);
    c.keep = bk_arena_alloc(&m->arena, m->head.words, sizeof *c.keep);
    m->head.rank = bk_arena_alloc(&m->arena, m->head.words, sizeof *m->head.rank);
    if (!c.keep || !m->head.rank) return bk_fail(err, BK_ERR_NOMEM, "no memory for a head");
    memset(c.keep, 0, m->head.words * sizeof *c.keep);
    for (size_t i = 0; i < c.n_vocab; i++)
        if (always(m->tokenizer, (int32_t)i)) take(&c, i);
    st = take_template(&c, err);
    if (!st && file) st = take_file(&c, file, err);
    for (size_t i = 0; !st && i < c.n_vocab && c.n < c.most; i++)
        if (bk_tokenizer_type(m->tokenizer, (int32_t)i) != BK_TOKEN_UNUSED) take(&c, i);
    for (size_t w = 0, n = 0; w < m->head.words; w++) {
        m->head.rank[w] = (uint32_t)n;
        n += (size_t)__builtin_popcount(c.keep[w]);
    }
    m->head.keep = c.keep;
    m->head.n_kept = c.n;
    return st;
}
