#include "text/stop_words.h"

#include <stdlib.h>

#include "base/mem.h"
#include "sys/file.h"
#include "text/normalize.h"
#include "text/unicode.h"
#include "text/word.h"

enum { MAX_LIST = 1 << 20 };

struct bk_stop_words {
    bk_buf text;   /* all words as they are compared, one behind the other */
    bk_str *words; /* [n] in byte order, views into it */
    size_t n;
    size_t longest_han; /* characters of the longest entry of Han characters */
};

/* ---- Lists -------------------------------------------------------------------------------------- */

static bool is_han(bk_str s) {
    uint32_t cp;
    for (size_t pos = 0; pos < s.len;) {
        pos += bk_utf8_decode(s.data + pos, s.len - pos, &cp);
        if (!(bk_unicode_kind(cp) & BK_KIND_HAN)) return false;
    }
    return s.len > 0;
}

static size_t count_chars(bk_str s) {
    size_t n = 0;
    for (size_t i = 0; i < s.len; i++) n += ((unsigned char)s.data[i] & 0xC0) != 0x80;
    return n;
}

/* Appends a word as it is compared: folded, with the apostrophe of ASCII. */
static bool append_key(bk_str word, bk_buf *out) {
    size_t begin = out->len, to;
    if (!bk_casefold_append(word, out)) return false;
    for (size_t i = to = begin; i < out->len; i++, to++) {
        bool quote = out->len - i >= 3 && memcmp(out->data + i, "\xE2\x80\x99", 3) == 0;
        out->data[to] = quote ? '\'' : out->data[i];
        if (quote) i += 2;
    }
    out->len = to;
    return true;
}

static bk_str trim(bk_str s) {
    while (s.len && (s.data[0] == ' ' || s.data[0] == '\t')) s.data++, s.len--;
    while (s.len && strchr(" \t\r", s.data[s.len - 1])) s.len--;
    return s;
}

static bk_status add_word(bk_stop_words *w, bk_str word, size_t line, bk_error *err) {
    uint32_t cp = 0;
    bool han = is_han(word), valid = bk_utf8_valid_len(word.data, word.len) == word.len;
    bk_utf8_decode(word.data, word.len, &cp);
    bool letters = valid && bk_word_next(word.data, word.len) == word.len &&
                   bk_unicode_class(cp) == BK_CHAR_LETTER;
    if (!valid || !(han || letters))
        return bk_fail(err, BK_ERR_FORMAT,
                       "line %zu: '" BK_STR_FMT
                       "', wanted one word of letters, or Han characters alone",
                       line, BK_STR_ARG(word));
    if (!append_key(word, &w->text) || !bk_buf_putc(&w->text, '\n'))
        return bk_fail(err, BK_ERR_NOMEM, "no memory for stop words");
    if (han) w->longest_han = bk_max_size(w->longest_han, count_chars(word));
    w->n++;
    return BK_OK;
}

static bk_status add_list(bk_stop_words *w, bk_str text, bk_error *err) {
    bk_status st = BK_OK;
    for (size_t line = 1; text.len && !st; line++) {
        const char *end = memchr(text.data, '\n', text.len);
        size_t len = end ? (size_t)(end - text.data) : text.len;
        bk_str word = trim((bk_str){text.data, len});
        if (word.len && word.data[0] != '#') st = add_word(w, word, line, err);
        len += end != NULL;
        text = (bk_str){text.data + len, text.len - len};
    }
    return st;
}

static int compare(bk_str a, bk_str b) {
    int order = memcmp(a.data, b.data, bk_min_size(a.len, b.len));
    return order ? order : (a.len > b.len) - (a.len < b.len);
}

static int by_bytes(const void *a, const void *b) {
    return compare(*(const bk_str *)a, *(const bk_str *)b);
}

/* The table, once all lists are in; the text no longer moves. */
static bk_status finish(bk_stop_words *w, bk_error *err) {
    w->words = bk_alloc(w->n + 1, sizeof *w->words);
    if (!w->words) return bk_fail(err, BK_ERR_NOMEM, "no memory for %zu stop words", w->n);
    const char *at = w->text.data;
    for (size_t i = 0; i < w->n; i++) {
        const char *end = memchr(at, '\n', (size_t)(w->text.data + w->text.len - at));
        w->words[i] = (bk_str){at, (size_t)(end - at)};
        at = end + 1;
    }
    qsort(w->words, w->n, sizeof *w->words, by_bytes);
    return BK_OK;
}

static bk_status add_file(bk_stop_words *w, bk_str name, bk_error *err) {
    char path[4096];
    bk_buf text = {.limit = MAX_LIST};
    if (name.len == 0 || name.len >= sizeof path)
        return bk_fail(err, BK_ERR_INVALID,
                       "stop words of '" BK_STR_FMT "', wanted \"en\", \"zh\" or a file",
                       BK_STR_ARG(name));
    memcpy(path, name.data, name.len);
    path[name.len] = '\0';
    bk_status st = bk_file_read(path, &text, err);
    if (st) bk_error_prefix(err, "stop words (\"en\", \"zh\" or a file)");
    if (!st && (st = add_list(w, bk_buf_view(&text), err))) bk_error_prefix(err, "%s", path);
    bk_buf_free(&text);
    return st;
}

static bk_status add_names(bk_stop_words *w, const char *names, bk_error *err) {
    for (const char *at = names;; at++) {
        bk_str name = {at, strcspn(at, ",")};
        const char *list = bk_stop_list(name);
        bk_status st = list ? add_list(w, bk_str_from(list), err) : add_file(w, name, err);
        at += name.len;
        if (st || !*at) return st;
    }
}

/* From names, or from a text where these are NULL. */
static bk_status create(const char *names, bk_str text, bk_stop_words **out, bk_error *err) {
    *out = NULL;
    bk_stop_words *w = bk_alloc_zero(1, sizeof *w);
    if (!w) return bk_fail(err, BK_ERR_NOMEM, "no memory for stop words");
    bk_status st = names ? add_names(w, names, err) : add_list(w, text, err);
    if (!st) st = finish(w, err);
    if (st) {
        bk_stop_words_destroy(&w);
        return st;
    }
    *out = w;
    return BK_OK;
}

bk_status bk_stop_words_open(const char *names, bk_stop_words **out, bk_error *err) {
    return create(names, (bk_str){0}, out, err);
}

bk_status bk_stop_words_parse(bk_str text, bk_stop_words **out, bk_error *err) {
    return create(NULL, text, out, err);
}

void bk_stop_words_destroy(bk_stop_words **w) {
    if (!*w) return;
    bk_buf_free(&(*w)->text);
    bk_free((*w)->words);
    bk_free(*w);
    *w = NULL;
}

/* ---- Texts -------------------------------------------------------------------------------------- */

static bool is_entry(const bk_stop_words *w, bk_str key) {
    return bsearch(&key, w->words, w->n, sizeof key, by_bytes) != NULL;
}

/* Length of the longest entry of Han characters that s begins with, 0: none. */
static size_t match_han(const bk_stop_words *w, bk_str s) {
    size_t best = 0, len = 0;
    for (size_t n = 0; n < w->longest_han && len < s.len; n++) {
        uint32_t cp;
        len += bk_utf8_decode(s.data + len, s.len - len, &cp);
        if (!(bk_unicode_kind(cp) & BK_KIND_HAN)) break;
        if (is_entry(w, (bk_str){s.data, len})) best = len;
    }
    return best;
}

bool bk_stop_words_apply(const bk_stop_words *w, bk_str text, bk_buf *out) {
    bk_buf key = {0};
    bool ok = true, line_begins = true; /* nothing but stop words since the line end */
    for (size_t pos = 0, n; pos < text.len && ok; pos += n) {
        bk_str rest = {text.data + pos, text.len - pos};
        if ((n = match_han(w, rest))) continue;
        n = bk_word_next(rest.data, rest.len);
        size_t space = n > 1 && rest.data[0] == ' ';
        key.len = 0;
        if (!(ok = append_key((bk_str){rest.data + space, n - space}, &key))) break;
        if (is_entry(w, bk_buf_view(&key))) continue;
        if (!space || !line_begins || pos == 0 || text.data[pos - 1] == '\n') space = 0;
        ok = bk_buf_append(out, rest.data + space, n - space);
        line_begins = rest.data[n - 1] == '\n';
    }
    bk_buf_free(&key);
    return ok;
}
