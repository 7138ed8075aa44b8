/* Writes JSON into a buffer, piece by piece; commas and escapes are its business.
 *
 *     bk_json w = {.out = &buf};
 *     bk_json_begin(&w, '{');
 *     bk_json_key(&w, "text");
 *     bk_json_str(&w, text);
 *     bk_json_end(&w, '}');
 *
 * Nothing is returned: a failed append stays in out->failed, as with any bk_buf. */
#ifndef BRISK_BASE_JSON_WRITE_H
#define BRISK_BASE_JSON_WRITE_H

#include "base/buf.h"

enum { BK_JSON_MAX_DEPTH = 32 };

typedef struct bk_json {
    bk_buf *out;
    unsigned depth;
    bool comma[BK_JSON_MAX_DEPTH]; /* at this depth something stands before the next value */
    bool after_key;
} bk_json;

/* kind '{' or '['; end takes '}' or ']'. Deeper than BK_JSON_MAX_DEPTH fails the buffer. */
void bk_json_begin(bk_json *w, char kind);
void bk_json_end(bk_json *w, char kind);
void bk_json_key(bk_json *w, const char *key);

/* Bytes that are not UTF-8 come out as U+FFFD: the output is always valid. */
void bk_json_str(bk_json *w, bk_str s);
void bk_json_int(bk_json *w, int64_t v);
void bk_json_uint(bk_json *w, uint64_t v);
/* At most `digits` significant ones; NaN and infinities, which JSON lacks, become null. */
void bk_json_double(bk_json *w, double v, int digits);
void bk_json_bool(bk_json *w, bool v);
void bk_json_null(bk_json *w);

/* "key": value in one call. */
void bk_json_key_str(bk_json *w, const char *key, const char *z);
void bk_json_key_int(bk_json *w, const char *key, int64_t v);
void bk_json_key_uint(bk_json *w, const char *key, uint64_t v);
void bk_json_key_double(bk_json *w, const char *key, double v);
void bk_json_key_bool(bk_json *w, const char *key, bool v);

#endif
