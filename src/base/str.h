/* Borrowed string views and UTF-8. Strings from files are views: not NUL-terminated, any bytes. */
#ifndef BRISK_BASE_STR_H
#define BRISK_BASE_STR_H

#include <stdarg.h>
#include <string.h>

#include "base/base.h"

typedef struct bk_str {
    const char *data; /* borrowed; may hold any byte */
    size_t len;
} bk_str;

/* A byte range of some text. */
typedef struct bk_span {
    size_t begin, end;
} bk_span;

#define BK_STR(literal) ((bk_str){(literal), sizeof(literal) - 1})
#define BK_STR_FMT "%.*s"
/* For "%.*s": at most 200 bytes, so that a hostile name cannot push the rest out of a message. */
#define BK_STR_ARG(s) (int)((s).len < 200 ? (s).len : 200), (s).data

static inline bk_str bk_str_from(const char *z) { return (bk_str){z, strlen(z)}; }

static inline bool bk_str_eq(bk_str a, bk_str b) {
    return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

static inline bool bk_str_starts(bk_str s, bk_str prefix) {
    return s.len >= prefix.len && (prefix.len == 0 || memcmp(s.data, prefix.data, prefix.len) == 0);
}

static inline bool bk_str_contains(bk_str s, const char *part) {
    return memmem(s.data, s.len, part, strlen(part)) != NULL;
}

/* Copies src into dst[cap] (NUL-terminated, cut to fit, never in the middle of a character), with
 * control bytes, DEL and invalid UTF-8 written as \xNN: what comes from a file must not reach a
 * terminal raw. Returns the length written. */
size_t bk_str_printable(char *dst, size_t cap, const char *src, size_t len);

/* The same for a format and its arguments; what the format makes is cut at 1023 bytes. */
size_t bk_str_vprintable(char *dst, size_t cap, const char *fmt, va_list args);

/* Decodes the character at s[0..len), len > 0. Returns its length 1..4 and stores the code point;
 * for invalid or incomplete bytes returns 1 and stores 0xFFFFFFFF. Overlong forms, surrogates and
 * values above 0x10FFFF are invalid (RFC 3629). */
size_t bk_utf8_decode(const char *s, size_t len, uint32_t *cp);

/* Writes cp (a valid scalar value) into out[4]; returns its length. */
size_t bk_utf8_encode(uint32_t cp, char out[4]);

/* Offset of the first invalid byte, or len when all of s is valid UTF-8. */
size_t bk_utf8_valid_len(const char *s, size_t len);

/* How many bytes at the end of s are the beginning of a character that could still be completed
 * (0..3): what a streaming writer holds back. */
size_t bk_utf8_incomplete_tail(const char *s, size_t len);

#endif
