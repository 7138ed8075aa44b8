#include "base/json_write.h"

#include <math.h>
#include <stdio.h>

/* What stands before a value: a comma, unless it is the first or follows its key. */
static void lead(bk_json *w) {
    if (w->after_key) {
        w->after_key = false;
        return;
    }
    if (w->depth == 0) return;
    if (w->comma[w->depth - 1]) bk_buf_putc(w->out, ',');
    w->comma[w->depth - 1] = true;
}

void bk_json_begin(bk_json *w, char kind) {
    lead(w);
    bk_buf_putc(w->out, kind);
    if (w->depth >= BK_JSON_MAX_DEPTH) {
        w->out->failed = true;
        return;
    }
    w->comma[w->depth++] = false;
}

void bk_json_end(bk_json *w, char kind) {
    if (w->depth > 0) w->depth--;
    bk_buf_putc(w->out, kind);
}

static void escape(bk_buf *out, uint32_t cp) {
    switch (cp) {
    case '"': bk_buf_append_str(out, "\\\""); return;
    case '\\': bk_buf_append_str(out, "\\\\"); return;
    case '\n': bk_buf_append_str(out, "\\n"); return;
    case '\r': bk_buf_append_str(out, "\\r"); return;
    case '\t': bk_buf_append_str(out, "\\t"); return;
    default: bk_buf_printf(out, "\\u%04x", (unsigned)cp);
    }
}

static void quoted(bk_buf *out, bk_str s) {
    bk_buf_putc(out, '"');
    size_t done = 0; /* what lies before it has been written */
    for (size_t i = 0; i < s.len;) {
        uint32_t cp;
        size_t n = bk_utf8_decode(s.data + i, s.len - i, &cp);
        /* DEL and the C1 controls are legal in JSON, but harm a terminal that shows it. */
        bool plain = cp >= 32 && cp != '"' && cp != '\\' && (cp < 127 || cp > 159);
        if (!plain || cp == 0xFFFFFFFF) {
            bk_buf_append(out, s.data + done, i - done);
            escape(out, cp == 0xFFFFFFFF ? 0xFFFD : cp);
            done = i + n;
        }
        i += n;
    }
    bk_buf_append(out, s.data + done, s.len - done);
    bk_buf_putc(out, '"');
}

void bk_json_key(bk_json *w, const char *key) {
    lead(w);
    quoted(w->out, bk_str_from(key));
    bk_buf_putc(w->out, ':');
    w->after_key = true;
}

void bk_json_str(bk_json *w, bk_str s) {
    lead(w);
    quoted(w->out, s);
}

/* By hand: arrays of token ids are most of some outputs. */
static void number(bk_json *w, bool negative, uint64_t v) {
    char text[24], *end = text + sizeof text, *at = end;
    lead(w);
    do *--at = (char)('0' + v % 10);
    while ((v /= 10) > 0);
    if (negative) *--at = '-';
    bk_buf_append(w->out, at, (size_t)(end - at));
}

void bk_json_int(bk_json *w, int64_t v) { number(w, v < 0, v < 0 ? 0 - (uint64_t)v : (uint64_t)v); }

void bk_json_uint(bk_json *w, uint64_t v) { number(w, false, v); }

void bk_json_double(bk_json *w, double v, int digits) {
    if (!isfinite(v)) {
        bk_json_null(w);
        return;
    }
    lead(w);
    char text[64];
    int n = snprintf(text, sizeof text, "%.*g", digits < 1 ? 1 : digits > 17 ? 17 : digits, v);
    /* A host program may have set a locale whose decimal point is a comma. */
    for (int i = 0; i < n; i++) {
        if (text[i] == ',') text[i] = '.';
    }
    bk_buf_append(w->out, text, (size_t)n);
}

void bk_json_bool(bk_json *w, bool v) {
    lead(w);
    bk_buf_append_str(w->out, v ? "true" : "false");
}

void bk_json_null(bk_json *w) {
    lead(w);
    bk_buf_append_str(w->out, "null");
}

void bk_json_key_str(bk_json *w, const char *key, const char *z) {
    bk_json_key(w, key);
    bk_json_str(w, bk_str_from(z));
}

void bk_json_key_int(bk_json *w, const char *key, int64_t v) {
    bk_json_key(w, key);
    bk_json_int(w, v);
}

void bk_json_key_uint(bk_json *w, const char *key, uint64_t v) {
    bk_json_key(w, key);
    bk_json_uint(w, v);
}

void bk_json_key_double(bk_json *w, const char *key, double v) {
    bk_json_key(w, key);
    bk_json_double(w, v, 9);
}

void bk_json_key_bool(bk_json *w, const char *key, bool v) {
    bk_json_key(w, key);
    bk_json_bool(w, v);
}
