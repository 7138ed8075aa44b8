/* Fields of a request's JSON object, each with its type and range. What is wrong ends the request with
 * status 400 and one line that names the field, what was wanted and what was found.
 *
 * A field that is null counts as absent: clients send both. Getters then leave *out as it is and return
 * true. Of a key given twice the last value counts, as in JavaScript and Python. */
#ifndef BRISK_SERVER_FIELDS_H
#define BRISK_SERVER_FIELDS_H

#include "base/json_read.h"

typedef struct sv_field_error {
    char param[96];   /* "messages[2].content"; "" when the body as a whole is wrong */
    const char *code; /* "invalid_type", "invalid_value", "missing_field", "unsupported_value",
                         "invalid_json", "invalid_utf8", "out_of_memory" (this one is no 400) */
    char text[512];   /* one printable line */
} sv_field_error;

/* A request's body as an object: UTF-8, nested at most 64 deep. *object is a reference of the caller's,
 * NULL on failure. */
bool sv_fields_parse(bk_str body, json_t **object, sv_field_error *err);

typedef struct sv_fields {
    const json_t *object;
    const char *path; /* of the object: "" for the body, "messages[2]" */
    sv_field_error *err;
} sv_fields;

/* Sets the error to "FIELD: " and the text. key NULL: the object itself. Returns false. */
bool sv_field_fail(const sv_fields *f, const char *key, const char *code, const char *fmt, ...)
    BK_PRINTF(4, 5);

/* The same, "wanted WANTED, found ..." with a few words on the value; NULL is one that is missing. */
bool sv_field_refuse(const sv_fields *f, const char *key, const json_t *found, const char *wanted);

/* NULL when absent or null. */
json_t *sv_field_get(const sv_fields *f, const char *key);

bool sv_field_bool(const sv_fields *f, const char *key, bool *out);
/* A whole number, 16.0 included. */
bool sv_field_int(const sv_fields *f, const char *key, int64_t min, int64_t max, int64_t *out);
bool sv_field_number(const sv_fields *f, const char *key, double min, double max, double *out);
/* At most max_len bytes. Borrowed from the object, NUL-terminated, and may hold more NULs. */
bool sv_field_str(const sv_fields *f, const char *key, size_t max_len, bk_str *out);
/* At most max_n elements; borrowed. */
bool sv_field_array(const sv_fields *f, const char *key, size_t max_n, json_t **out);
bool sv_field_object(const sv_fields *f, const char *key, json_t **out);

#endif
