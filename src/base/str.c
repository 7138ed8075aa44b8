#include "base/str.h"

#include <stdio.h>

size_t bk_utf8_decode(const char *s, size_t len, uint32_t *cp) {
    const unsigned char *p = (const unsigned char *)s;
    *cp = 0xFFFFFFFFu;
    if (p[0] < 0x80) {
        *cp = p[0];
        return 1;
    }
    size_t n;
    uint32_t v, least;
    if (p[0] >= 0xC2 && p[0] <= 0xDF) {
        n = 2, v = p[0] & 0x1Fu, least = 0x80;
    } else if (p[0] >= 0xE0 && p[0] <= 0xEF) {
        n = 3, v = p[0] & 0x0Fu, least = 0x800;
    } else if (p[0] >= 0xF0 && p[0] <= 0xF4) {
        n = 4, v = p[0] & 0x07u, least = 0x10000;
    } else {
        return 1;
    }
    if (n > len) return 1;
    for (size_t i = 1; i < n; i++) {
        if ((p[i] & 0xC0) != 0x80) return 1;
        v = v << 6 | (p[i] & 0x3Fu);
    }
    if (v < least || v > 0x10FFFF || (v >= 0xD800 && v <= 0xDFFF)) return 1;
    *cp = v;
    return n;
}

size_t bk_utf8_encode(uint32_t cp, char out[4]) {
    if (cp < 0x80) {
        out[0] = (char)cp;
        return 1;
    }
    if (cp < 0x800) {
        out[0] = (char)(0xC0 | cp >> 6);
        out[1] = (char)(0x80 | (cp & 0x3F));
        return 2;
    }
    if (cp < 0x10000) {
        out[0] = (char)(0xE0 | cp >> 12);
        out[1] = (char)(0x80 | (cp >> 6 & 0x3F));
        out[2] = (char)(0x80 | (cp & 0x3F));
        return 3;
    }
    out[0] = (char)(0xF0 | cp >> 18);
    out[1] = (char)(0x80 | (cp >> 12 & 0x3F));
    out[2] = (char)(0x80 | (cp >> 6 & 0x3F));
    out[3] = (char)(0x80 | (cp & 0x3F));
    return 4;
}

size_t bk_utf8_valid_len(const char *s, size_t len) {
    size_t pos = 0;
    while (pos < len) {
        uint32_t cp;
        size_t n = bk_utf8_decode(s + pos, len - pos, &cp);
        if (cp == 0xFFFFFFFFu) return pos;
        pos += n;
    }
    return len;
}

size_t bk_utf8_incomplete_tail(const char *s, size_t len) {
    for (size_t back = 1; back <= 3 && back <= len; back++) {
        unsigned char c = (unsigned char)s[len - back];
        if ((c & 0xC0) == 0x80) continue;
        size_t want = c >= 0xF0 && c <= 0xF4  ? 4
                      : c >= 0xE0 && c < 0xF0 ? 3
                      : c >= 0xC2 && c < 0xE0 ? 2
                                              : 1;
        return want > back ? back : 0;
    }
    return 0;
}

size_t bk_str_printable(char *dst, size_t cap, const char *src, size_t len) {
    size_t out = 0, pos = 0;
    if (cap == 0) return 0;
    while (pos < len) {
        uint32_t cp;
        size_t n = bk_utf8_decode(src + pos, len - pos, &cp);
        /* C0, DEL, C1 controls and bidirectional overrides can rewrite what a terminal shows. */
        bool plain = cp >= 32 && cp != 127 && !(cp >= 0x80 && cp < 0xA0) && cp != 0xFFFFFFFFu &&
                     !(cp >= 0x202A && cp <= 0x202E) && !(cp >= 0x2066 && cp <= 0x2069);
        if (plain) {
            if (n >= cap - out) break;
            memcpy(dst + out, src + pos, n);
            out += n;
        } else {
            if (4 * n >= cap - out) break;
            for (size_t i = 0; i < n; i++)
                out +=
                    (size_t)snprintf(dst + out, cap - out, "\\x%02x", (unsigned char)src[pos + i]);
        }
        pos += n;
    }
    dst[out] = '\0';
    return out;
}

size_t bk_str_vprintable(char *dst, size_t cap, const char *fmt, va_list args) {
    char text[1024];
    int n = vsnprintf(text, sizeof text, fmt, args);
    return bk_str_printable(dst, cap, text, bk_min_size(n < 0 ? 0 : (size_t)n, sizeof text - 1));
}
