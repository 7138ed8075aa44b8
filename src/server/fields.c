#include "server/fields.h"

#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>

enum { BODY_DEPTH = 64 };

bool sv_field_fail(const sv_fields *f, const char *key, const char *code, const char *fmt, ...) {
    char text[sizeof f->err->text], param[512];
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    if (n < 0) text[0] = '\0';
    sv_field_error *e = f->err;
    *e = (sv_field_error){.code = code};
    snprintf(param, sizeof param, "%s%s%s", f->path, key && f->path[0] ? "." : "", key ? key : "");
    bk_str_printable(e->param, sizeof e->param, param, strlen(param));
    size_t at = 0;
    if (e->param[0]) at = (size_t)snprintf(e->text, sizeof e->text, "%s: ", e->param);
    bk_str_printable(e->text + at, sizeof e->text - at, text, strlen(text));
    return false;
}

bool sv_fields_parse(bk_str body, json_t **object, sv_field_error *err) {
    sv_fields f = {.path = "", .err = err};
    bk_error why;
    size_t good = bk_utf8_valid_len(body.data, body.len);
    *object = NULL;
    if (good < body.len) {
        return sv_field_fail(&f, NULL, "invalid_utf8", "the body is not UTF-8 at byte %zu", good);
    }
    if (bk_json_parse(body, BODY_DEPTH, false, object, &why)) {
        return sv_field_fail(&f, NULL, "invalid_json", "the body: %s", why.text);
    }
    if (json_is_object(*object)) return true;
    sv_field_refuse(&f, NULL, *object, "a JSON object as the body");
    json_decref(*object);
    *object = NULL;
    return false;
}

/* A few words on a value: "\"hot\"", "-1", "an array". */
static void describe(char *out, size_t cap, const json_t *v) {
    static const char *const words[] = {
        [JSON_OBJECT] = "an object", [JSON_ARRAY] = "an array", [JSON_STRING] = "a string",
        [JSON_TRUE] = "true",        [JSON_FALSE] = "false",    [JSON_NULL] = "null"};
    if (!v) {
        snprintf(out, cap, "nothing");
    } else if (json_is_integer(v)) {
        snprintf(out, cap, "%" JSON_INTEGER_FORMAT, json_integer_value(v));
    } else if (json_is_real(v)) {
        snprintf(out, cap, "%g", json_real_value(v));
    } else if (json_is_string(v) && json_string_length(v) < 40) {
        char text[200];
        bk_str_printable(text, sizeof text, json_string_value(v), json_string_length(v));
        snprintf(out, cap, "\"%s\"", text);
    } else {
        snprintf(out, cap, "%s", words[json_typeof(v)]);
    }
}

bool sv_field_refuse(const sv_fields *f, const char *key, const json_t *found, const char *wanted) {
    char what[256];
    describe(what, sizeof what, found);
    bool number = json_is_number(found) && (strstr(wanted, "number") != NULL);
    const char *code = !found ? "missing_field" : number ? "invalid_value" : "invalid_type";
    return sv_field_fail(f, key, code, "wanted %s, found %s", wanted, what);
}

json_t *sv_field_get(const sv_fields *f, const char *key) {
    json_t *v = json_object_get(f->object, key);
    return json_is_null(v) ? NULL : v;
}

bool sv_field_bool(const sv_fields *f, const char *key, bool *out) {
    const json_t *v = sv_field_get(f, key);
    if (!v) return true;
    if (!json_is_boolean(v)) return sv_field_refuse(f, key, v, "true or false");
    *out = json_is_true(v);
    return true;
}

bool sv_field_int(const sv_fields *f, const char *key, int64_t min, int64_t max, int64_t *out) {
    const json_t *v = sv_field_get(f, key);
    char wanted[96];
    if (!v) return true;
    double real = json_is_real(v) ? json_real_value(v) : 0;
    bool whole = json_is_integer(v) || (json_is_real(v) && real == floor(real));
    /* 2^53: from there on not every whole number is a double. */
    if (json_is_real(v) && fabs(real) > 0x1p53) whole = false;
    int64_t value = json_is_integer(v) ? (int64_t)json_integer_value(v) : whole ? (int64_t)real : 0;
    if (whole && value >= min && value <= max) {
        *out = value;
        return true;
    }
    snprintf(wanted, sizeof wanted, "a whole number from %" PRId64 " to %" PRId64, min, max);
    return sv_field_refuse(f, key, v, wanted);
}

bool sv_field_number(const sv_fields *f, const char *key, double min, double max, double *out) {
    const json_t *v = sv_field_get(f, key);
    char wanted[96];
    if (!v) return true;
    double value = json_number_value(v);
    if (json_is_number(v) && value >= min && value <= max) {
        *out = value;
        return true;
    }
    snprintf(wanted, sizeof wanted, "a number from %g to %g", min, max);
    return sv_field_refuse(f, key, v, wanted);
}

bool sv_field_str(const sv_fields *f, const char *key, size_t max_len, bk_str *out) {
    const json_t *v = sv_field_get(f, key);
    if (!v) return true;
    if (!json_is_string(v)) return sv_field_refuse(f, key, v, "a string");
    if (json_string_length(v) > max_len) {
        return sv_field_fail(f, key, "invalid_value",
                             "wanted a string of at most %zu bytes, found one of %zu", max_len,
                             json_string_length(v));
    }
    *out = bk_json_text(v);
    return true;
}

bool sv_field_array(const sv_fields *f, const char *key, size_t max_n, json_t **out) {
    json_t *v = sv_field_get(f, key);
    if (!v) return true;
    if (!json_is_array(v)) return sv_field_refuse(f, key, v, "an array");
    if (json_array_size(v) > max_n) {
        return sv_field_fail(f, key, "invalid_value", "wanted at most %zu elements, found %zu",
                             max_n, json_array_size(v));
    }
    *out = v;
    return true;
}

bool sv_field_object(const sv_fields *f, const char *key, json_t **out) {
    json_t *v = sv_field_get(f, key);
    if (!v) return true;
    if (!json_is_object(v)) return sv_field_refuse(f, key, v, "an object");
    *out = v;
    return true;
}
