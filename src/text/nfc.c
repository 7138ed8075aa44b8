#include "text/nfc.h"

#include "base/mem.h"
#include "text/unicode.h"

/* Only spans of characters that combine, with the one before them, are taken apart and put together
 * again; all other text is copied. A character of a span is ccc << 24 | code point. */
typedef struct span {
    uint32_t *chars, *sorted; /* two arrays of cap in one block that chars owns */
    size_t len, cap;
} span;

enum { SHORT_RUN = 16 };

static uint32_t code_point(uint32_t c) { return c & 0xFFFFFFu; }
static unsigned combining(uint32_t c) { return c >> 24; }

static bool cares(uint32_t cp) { return bk_unicode_lookup(cp) & BK_UNICODE_NFC_CARE; }

bool bk_nfc_needed(bk_str text) {
    for (size_t pos = 0; pos < text.len;) {
        if ((unsigned char)text.data[pos] < 0x80) {
            pos++;
            continue;
        }
        uint32_t cp;
        pos += bk_utf8_decode(text.data + pos, text.len - pos, &cp);
        if (cares(cp)) return true;
    }
    return false;
}

static bool span_reserve(span *s, size_t extra) {
    if (extra <= s->cap - s->len) return true;
    size_t cap = bk_max_size(64, 2 * s->cap);
    uint32_t *chars = bk_alloc(cap, 2 * sizeof *chars);
    if (!chars) return false;
    if (s->len) memcpy(chars, s->chars, s->len * sizeof *chars);
    bk_free(s->chars);
    s->chars = chars;
    s->sorted = chars + cap;
    s->cap = cap;
    return true;
}

static bool span_push(span *s, uint32_t cp) {
    uint32_t parts[BK_UNICODE_MAX_DECOMP];
    size_t n = bk_unicode_decompose(cp, parts);
    if (!span_reserve(s, n)) return false;
    for (size_t i = 0; i < n; i++)
        s->chars[s->len++] = bk_unicode_combining(parts[i]) << 24 | parts[i];
    return true;
}

static void sort_short(uint32_t *c, size_t n) {
    for (size_t i = 1; i < n; i++) {
        uint32_t x = c[i];
        size_t k = i;
        for (; k > 0 && combining(c[k - 1]) > combining(x); k--) c[k] = c[k - 1];
        c[k] = x;
    }
}

/* Counting sort: a text may be a million marks long. */
static void sort_long(uint32_t *c, size_t n, uint32_t *sorted) {
    size_t start[257] = {0};
    for (size_t i = 0; i < n; i++) start[combining(c[i]) + 1]++;
    for (size_t k = 1; k < 257; k++) start[k] += start[k - 1];
    for (size_t i = 0; i < n; i++) sorted[start[combining(c[i])]++] = c[i];
    memcpy(c, sorted, n * sizeof *c);
}

/* Canonical order: each run of marks by combining class, stable. */
static void reorder(span *s) {
    for (size_t i = 0; i < s->len;) {
        size_t end = i;
        while (end < s->len && combining(s->chars[end])) end++;
        if (end - i > SHORT_RUN) {
            sort_long(s->chars + i, end - i, s->sorted);
        } else {
            sort_short(s->chars + i, end - i);
        }
        i = end + 1;
    }
}

/* A mark joins the last starter unless one of the same or a higher class stands between. */
static void compose(span *s) {
    size_t n = 0, starter = SIZE_MAX;
    unsigned last = 0;
    for (size_t i = 0; i < s->len; i++) {
        uint32_t c = s->chars[i];
        unsigned class = combining(c);
        if (starter != SIZE_MAX && (last == 0 || last < class)) {
            uint32_t joined = bk_unicode_compose(code_point(s->chars[starter]), code_point(c));
            if (joined) {
                s->chars[starter] = joined;
                continue;
            }
        }
        if (class == 0) starter = n;
        last = class;
        s->chars[n++] = c;
    }
    s->len = n;
}

static bool span_flush(span *s, bk_buf *out) {
    reorder(s);
    compose(s);
    for (size_t i = 0; i < s->len; i++) {
        char utf8[4];
        if (!bk_buf_append(out, utf8, bk_utf8_encode(code_point(s->chars[i]), utf8))) return false;
    }
    s->len = 0;
    return true;
}

/* Puts the span that begins at pos (one character, then all that combine) into s and stores where
 * it ends. */
static bool span_collect(span *s, bk_str text, size_t pos, size_t *end) {
    bool first = true;
    while (pos < text.len) {
        uint32_t cp;
        size_t n = bk_utf8_decode(text.data + pos, text.len - pos, &cp);
        if (!first && !cares(cp)) break;
        if (!span_push(s, cp)) return false;
        first = false;
        pos += n;
    }
    *end = pos;
    return true;
}

bool bk_nfc_append(bk_str text, bk_buf *out) {
    span s = {0};
    size_t done = 0, pos = 0, before = SIZE_MAX; /* start of the character before pos, if valid */
    bool ok = true;
    while (ok && pos < text.len) {
        uint32_t cp;
        size_t n = bk_utf8_decode(text.data + pos, text.len - pos, &cp);
        if (!cares(cp)) {
            before = cp <= 0x10FFFF ? pos : SIZE_MAX;
            pos += n;
            continue;
        }
        size_t begin = before != SIZE_MAX ? before : pos;
        ok = bk_buf_append(out, text.data + done, begin - done) &&
             span_collect(&s, text, begin, &pos) && span_flush(&s, out);
        done = pos;
        before = SIZE_MAX;
    }
    ok = ok && bk_buf_append(out, text.data + done, text.len - done);
    bk_free(s.chars);
    return ok;
}
