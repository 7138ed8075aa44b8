#include "text/normalize.h"

#include "base/mem.h"
#include "text/unicode.h"

/* Only spans of characters that combine, with the one before them, are taken apart and put together
 * again; all other text is copied. A character of a span is ccc << 24 | code point. */
typedef struct span {
    bk_normal_form form;
    uint32_t *chars, *sorted; /* two arrays of cap in one block that chars owns */
    size_t len, cap;
} span;

enum { SHORT_RUN = 16 };

static uint32_t code_point(uint32_t c) { return c & 0xFFFFFFu; }
static unsigned combining(uint32_t c) { return c >> 24; }

static bool is_compat(bk_normal_form form) { return form == BK_NFKC || form == BK_NFKD; }
static bool composes(bk_normal_form form) { return form == BK_NFC || form == BK_NFKC; }

/* Whether the character may change or move. */
static bool cares(bk_normal_form form, uint32_t cp) {
    uint32_t parts[BK_UNICODE_MAX_DECOMP];
    size_t n;
    if (cp < 0x80) return false;
    if (bk_unicode_lookup(cp) & BK_UNICODE_NFC_CARE) return true;
    if (form == BK_NFC || cp > 0x10FFFF) return false;
    if (is_compat(form) && bk_unicode_compatible(cp, &n)) return true;
    return !composes(form) && (bk_unicode_decompose(cp, parts) > 1 || parts[0] != cp);
}

bool bk_normal_needed(bk_normal_form form, bk_str text) {
    for (size_t pos = 0; pos < text.len;) {
        if ((unsigned char)text.data[pos] < 0x80) {
            pos++;
            continue;
        }
        uint32_t cp;
        pos += bk_utf8_decode(text.data + pos, text.len - pos, &cp);
        if (cares(form, cp)) return true;
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
    uint32_t own[BK_UNICODE_MAX_DECOMP];
    size_t n = 0;
    const uint32_t *parts = is_compat(s->form) ? bk_unicode_compatible(cp, &n) : NULL;
    if (!parts) n = bk_unicode_decompose(cp, own), parts = own;
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
    if (composes(s->form)) compose(s);
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
        if (!first && !cares(s->form, cp)) break;
        if (!span_push(s, cp)) return false;
        first = false;
        pos += n;
    }
    *end = pos;
    return true;
}

bool bk_normal_append(bk_normal_form form, bk_str text, bk_buf *out) {
    span s = {.form = form};
    size_t done = 0, pos = 0, before = SIZE_MAX; /* start of the character before pos, if valid */
    bool ok = true;
    while (ok && pos < text.len) {
        uint32_t cp;
        size_t n = bk_utf8_decode(text.data + pos, text.len - pos, &cp);
        if (!cares(form, cp)) {
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

/* ---- Case folding, and both -------------------------------------------------------------------- */

bool bk_casefold_append(bk_str text, bk_buf *out) {
    for (size_t pos = 0; pos < text.len;) {
        uint32_t cp, to[BK_UNICODE_MAX_FOLD];
        char utf8[4 * BK_UNICODE_MAX_FOLD];
        size_t len = bk_utf8_decode(text.data + pos, text.len - pos, &cp), n_bytes = 0;
        if (cp > 0x10FFFF) {
            utf8[n_bytes++] = text.data[pos];
        } else {
            size_t n = bk_unicode_fold(cp, to);
            for (size_t i = 0; i < n; i++) n_bytes += bk_utf8_encode(to[i], utf8 + n_bytes);
        }
        if (!bk_buf_append(out, utf8, n_bytes)) return false;
        pos += len;
    }
    return true;
}

static const struct {
    const char *name;
    bk_normal_form form;
} forms[] = {{"nfc", BK_NFC}, {"nfd", BK_NFD}, {"nfkc", BK_NFKC}, {"nfkd", BK_NFKD}};

bk_status bk_normal_find(bk_str name, bk_normal_form *out, bk_error *err) {
    for (size_t i = 0; i < BK_ARRAY_LEN(forms); i++) {
        if (!bk_str_eq(name, bk_str_from(forms[i].name))) continue;
        *out = forms[i].form;
        return BK_OK;
    }
    return bk_fail(err, BK_ERR_NOT_FOUND,
                   "normalisation \"" BK_STR_FMT
                   "\", wanted \"nfc\", \"nfd\", \"nfkc\" or \"nfkd\"",
                   BK_STR_ARG(name));
}

const char *bk_normal_name(bk_normal_form form) {
    for (size_t i = 0; i < BK_ARRAY_LEN(forms); i++)
        if (forms[i].form == form) return forms[i].name;
    return NULL;
}

/* Puts the normal form of *text into out where it is another, and makes *text that. */
static bool normalize(bk_normal_form form, bk_buf *out, bk_str *text) {
    if (!form || !bk_normal_needed(form, *text)) return true;
    if (!bk_normal_append(form, *text, out)) return false;
    *text = bk_buf_view(out);
    return true;
}

bool bk_text_prepare(bk_text_rules rules, bk_str text, bk_prepared *out) {
    *out = (bk_prepared){.text = text};
    if (!normalize(rules.form, &out->bufs[0], &out->text)) return false;
    if (!rules.casefold) return true;
    if (!bk_casefold_append(out->text, &out->bufs[1])) return false;
    out->text = bk_buf_view(&out->bufs[1]);
    bk_buf_free(&out->bufs[0]);
    return normalize(rules.form, &out->bufs[0], &out->text);
}

void bk_prepared_free(bk_prepared *p) {
    bk_buf_free(&p->bufs[0]);
    bk_buf_free(&p->bufs[1]);
    *p = (bk_prepared){0};
}
