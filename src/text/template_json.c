/* JSON both ways: the variables of a rendering, and the filter tojson as Python's json.dumps. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/json_read.h"
#include "text/template_value.h"

/* ---- Writing --------------------------------------------------------------------------------- */

static void unit_escape(uint32_t cp, char out[16]) {
    if (cp < 0x10000) {
        snprintf(out, 16, "\\u%04x", cp);
    } else {
        snprintf(out, 16, "\\u%04x\\u%04x", 0xD7C0 + (cp >> 10), 0xDC00 + (cp & 0x3FF));
    }
}

/* The escape for this character, or "" for the character itself. */
static void write_escape(uint32_t cp, bool ascii, char out[16]) {
    static const char named[] = "\"\"\\\\\nn\rr\tt\bb\ff";
    out[0] = '\0';
    for (size_t i = 0; named[i]; i += 2) {
        if (cp == (unsigned char)named[i]) snprintf(out, 16, "\\%c", named[i + 1]);
    }
    if (!out[0] && (cp < 0x20 || (ascii && cp >= 0x7F))) unit_escape(cp, out);
}

static bool write_string(bk_tsb *sb, const bk_tstr *s, const bk_tjson_style *style) {
    char esc[16];
    size_t from = 0;
    bk_tsb_lit(sb, "\"");
    for (size_t i = 0; i < s->len && bk_trun_ok(sb->run);) {
        uint32_t cp;
        size_t len = bk_utf8_decode(s->data + i, s->len - i, &cp);
        if (cp < 0x20 || cp == '"' || cp == '\\' || (cp >= 0x7F && style->ascii)) {
            write_escape(cp, style->ascii, esc);
            if (esc[0]) {
                bk_tsb_slice(sb, s, from, i);
                bk_tsb_bytes(sb, esc, strlen(esc), bk_tstr_user_at(s, i));
                from = i + len;
            }
        }
        i += len;
    }
    bk_tsb_slice(sb, s, from, s->len);
    return bk_tsb_lit(sb, "\"");
}

static bool write_float(bk_tsb *sb, double f) {
    char text[40];
    bk_tfloat_repr(f, text);
    if (isnan(f)) return bk_tsb_lit(sb, "NaN");
    if (isinf(f)) return bk_tsb_lit(sb, f < 0 ? "-Infinity" : "Infinity");
    return bk_tsb_lit(sb, text);
}

static bool write_newline(bk_tsb *sb, const bk_tjson_style *style, int depth) {
    if (!style->indent) return true;
    bk_tsb_lit(sb, "\n");
    for (int i = 0; i < depth; i++) bk_tsb_str(sb, style->indent);
    return bk_trun_ok(sb->run);
}

static bool write_deep(bk_tsb *sb, bk_tval v, const bk_tjson_style *style, int depth);

static bool write_list(bk_tsb *sb, const bk_tseq *seq, const bk_tjson_style *style, int depth) {
    if (seq->n == 0) return bk_tsb_lit(sb, "[]");
    bk_tsb_lit(sb, "[");
    for (size_t i = 0; i < seq->n; i++) {
        if (i) bk_tsb_str(sb, style->item);
        if (!write_newline(sb, style, depth + 1)) return false;
        if (!write_deep(sb, seq->items[i], style, depth + 1)) return false;
    }
    return write_newline(sb, style, depth) && bk_tsb_lit(sb, "]");
}

static bool write_key(bk_tsb *sb, bk_tval key, const bk_tjson_style *style) {
    if (key.type == BK_T_STR) return write_string(sb, key.str, style);
    if (key.type != BK_T_NONE && !bk_tval_is_number(key)) {
        bk_trun_fail(sb->run, BK_ERR_FORMAT, "a %s cannot be a key in JSON",
                     bk_tval_type_name(key));
        return false;
    }
    return bk_tsb_lit(sb, "\"") && write_deep(sb, key, style, 0) && bk_tsb_lit(sb, "\"");
}

/* The order in which the entries are written: as they are, or by key. */
static size_t *entry_order(bk_trun *run, const bk_tdict *d, bool sorted) {
    size_t *order = bk_trun_alloc(run, d->n, sizeof *order);
    for (size_t i = 0; order && i < d->n; i++) {
        size_t at = i;
        for (int c = 1; sorted && at > 0; at--) {
            if (!bk_tval_order(run, d->keys[order[at - 1]], d->keys[i], &c)) return NULL;
            if (c <= 0) break;
            order[at] = order[at - 1];
        }
        order[at] = i;
    }
    return order;
}

static bool write_dict(bk_tsb *sb, const bk_tdict *d, const bk_tjson_style *style, int depth) {
    if (d->n == 0) return bk_tsb_lit(sb, "{}");
    size_t *order = entry_order(sb->run, d, style->sort_keys);
    if (!order) return false;
    bk_tsb_lit(sb, "{");
    for (size_t i = 0; i < d->n; i++) {
        if (i) bk_tsb_str(sb, style->item);
        if (!write_newline(sb, style, depth + 1)) return false;
        if (!write_key(sb, d->keys[order[i]], style) || !bk_tsb_str(sb, style->key)) return false;
        if (!write_deep(sb, d->values[order[i]], style, depth + 1)) return false;
    }
    return write_newline(sb, style, depth) && bk_tsb_lit(sb, "}");
}

static bool write_plain(bk_tsb *sb, bk_tval v, const bk_tjson_style *style, int depth) {
    switch ((bk_ttype)v.type) {
    case BK_T_NONE: return bk_tsb_lit(sb, "null");
    case BK_T_BOOL: return bk_tsb_lit(sb, v.b ? "true" : "false");
    case BK_T_INT: return bk_tval_print(sb, v);
    case BK_T_FLOAT: return write_float(sb, v.f);
    case BK_T_STR: return write_string(sb, v.str, style);
    case BK_T_SEQ:
        if (v.seq->kind <= BK_SEQ_TUPLE) return write_list(sb, v.seq, style, depth);
        break;
    case BK_T_DICT: return write_dict(sb, v.dict, style, depth);
    default: break;
    }
    bk_trun_fail(sb->run, BK_ERR_FORMAT, "a %s cannot be written as JSON", bk_tval_type_name(v));
    return false;
}

static bool write_deep(bk_tsb *sb, bk_tval v, const bk_tjson_style *style, int depth) {
    if (depth > BK_T_MAX_NESTING) {
        bk_trun_fail(sb->run, BK_ERR_LIMIT, "values nested more than %d deep", BK_T_MAX_NESTING);
        return false;
    }
    size_t begin = sb->len;
    bool ok = write_plain(sb, v, style, depth);
    if (v.user) bk_tsb_mark_user(sb, begin);
    return ok && bk_trun_ok(sb->run);
}

bool bk_tval_json(bk_tsb *sb, bk_tval v, const bk_tjson_style *style) {
    return write_deep(sb, v, style, 0);
}

/* ---- Reading --------------------------------------------------------------------------------- */

static bk_tval read_string(bk_trun *run, const char *data, size_t len, bool user) {
    char *copy = bk_trun_alloc(run, len, 1);
    if (!copy) return bk_tval_fail();
    if (len) memcpy(copy, data, len);
    return bk_tval_text(run, (bk_str){copy, len}, user);
}

static bk_tval read_value(bk_trun *run, const json_t *json, bool user);

static bk_tval read_list(bk_trun *run, const json_t *json, bool user) {
    size_t n = json_array_size(json);
    bk_tval *items = bk_trun_alloc(run, n, sizeof *items);
    for (size_t i = 0; items && i < n; i++) {
        items[i] = read_value(run, json_array_get(json, i), user);
        if (items[i].type == BK_T_FAIL) return bk_tval_fail();
    }
    return items ? bk_tval_seq(run, BK_SEQ_LIST, items, n) : bk_tval_fail();
}

/* jansson keeps the order in which keys were first inserted and has made them unique, as Python
 * does; so no key is looked up here. What trusted (may be NULL) holds under the same key is not the
 * user's. */
static bk_tval read_dict(bk_trun *run, json_t *json, bool user, json_t *trusted) {
    bk_tval v = bk_tval_dict(run);
    size_t n = json_object_size(json), i = 0;
    if (v.type == BK_T_FAIL) return v;
    v.dict->keys = bk_trun_alloc(run, n, sizeof *v.dict->keys);
    v.dict->values = bk_trun_alloc(run, n, sizeof *v.dict->values);
    if (!v.dict->keys || !v.dict->values) return bk_tval_fail();
    for (void *it = json_object_iter(json); it && i < n;
         it = json_object_iter_next(json, it), i++) {
        const char *key = json_object_iter_key(it);
        const json_t *value = json_object_iter_value(it);
        bool ours = trusted && json_object_get(trusted, key) == value;
        v.dict->keys[i] = read_string(run, key, strlen(key), user);
        v.dict->values[i] = read_value(run, value, user && !ours);
        if (!bk_trun_ok(run)) return bk_tval_fail();
    }
    v.dict->n = v.dict->cap = n;
    return v;
}

static bk_tval read_value(bk_trun *run, const json_t *json, bool user) {
    bk_tval v = bk_tval_none();
    switch (json_typeof(json)) {
    case JSON_OBJECT: v = read_dict(run, (json_t *)json, user, NULL); break;
    case JSON_ARRAY: v = read_list(run, json, user); break;
    case JSON_STRING:
        return read_string(run, json_string_value(json), json_string_length(json), user);
    case JSON_INTEGER: v = bk_tval_int(json_integer_value(json)); break;
    case JSON_REAL: v = bk_tval_float(json_real_value(json)); break;
    case JSON_TRUE: v = bk_tval_bool(true); break;
    case JSON_FALSE: v = bk_tval_bool(false); break;
    case JSON_NULL: break;
    }
    v.user = user;
    return v;
}

/* Parses; NULL after noting the failure. what: "the variables are not a JSON object". */
static json_t *parse(bk_trun *run, bk_str text, const char *what) {
    bk_error err;
    json_t *json;
    bk_status status = bk_json_parse(text, BK_T_MAX_NESTING, false, &json, &err);
    if (status != BK_OK) bk_trun_fail(run, status, "%s: %s", what, err.text);
    return json;
}

/* Puts what a request holds over the variables. */
static void merge_request(bk_trun *run, json_t *vars, json_t *request) {
    static const char kwargs[] = "chat_template_kwargs";
    bool ok = true;
    if (json_is_array(request)) {
        ok = json_object_set(vars, "messages", request) == 0;
    } else if (json_is_object(request)) {
        json_t *extra = json_object_get(request, kwargs);
        if (extra && !json_is_object(extra) && !json_is_null(extra)) {
            bk_trun_fail(run, BK_ERR_FORMAT, "\"%s\" is not a JSON object", kwargs);
        } else {
            ok = json_object_update(vars, request) == 0;
            if (json_is_object(extra)) ok = ok && json_object_update(vars, extra) == 0;
            json_object_del(vars, kwargs);
        }
    } else {
        bk_trun_fail(run, BK_ERR_FORMAT,
                     "the request is neither a JSON object nor an array of "
                     "messages");
    }
    if (!ok) bk_trun_fail(run, BK_ERR_NOMEM, "out of memory");
}

bool bk_trun_read_vars(bk_trun *run, bk_str text, bk_str request) {
    static const char wanted[] = "the variables are not a JSON object";
    json_t *vars = parse(run, text, wanted), *all = NULL, *over = NULL;
    if (vars && !json_is_object(vars)) bk_trun_fail(run, BK_ERR_FORMAT, "%s", wanted);
    if (bk_trun_ok(run) && request.data) over = parse(run, request, "the request is not JSON");
    if (bk_trun_ok(run) && !(all = json_copy(vars)))
        bk_trun_fail(run, BK_ERR_NOMEM, "out of memory");
    if (bk_trun_ok(run) && over) merge_request(run, all, over);
    if (bk_trun_ok(run)) run->vars = read_dict(run, all, true, request.data ? vars : NULL).dict;
    json_decref(over);
    json_decref(all);
    json_decref(vars);
    return bk_trun_ok(run);
}
