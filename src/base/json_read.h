/* JSON in: jansson behind limits, so that a text from outside cannot exhaust the stack.
 * Memory is bounded by the text: a value takes some tens of bytes. */
#ifndef BRISK_BASE_JSON_READ_H
#define BRISK_BASE_JSON_READ_H

#include <jansson.h>

#include "base/error.h"
#include "base/str.h"

/* Parses one value, whose brackets are nested at most max_depth deep. Strings may hold NUL (lengths
 * are known), keys may not; with `unique` an object that names a key twice is an error, otherwise the
 * last one counts. *out is a reference of the caller's, NULL on failure. FORMAT with line and what was
 * wanted; LIMIT. */
bk_status bk_json_parse(bk_str text, int max_depth, bool unique, json_t **out, bk_error *err);

/* A string's bytes; {NULL, 0} for any other value, NULL included. */
static inline bk_str bk_json_text(const json_t *v) {
    if (!json_is_string(v)) return (bk_str){NULL, 0};
    return (bk_str){json_string_value(v), json_string_length(v)};
}

#endif
