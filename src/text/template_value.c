#include "text/template_value.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

bk_tval bk_trun_fail(bk_trun *run, bk_status code, const char *fmt, ...) {
    if (run->status != BK_OK) return bk_tval_fail();
    run->status = code;
    char text[sizeof run->err->text];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    bk_fail(run->err, code, "chat template, line %d: %s", run->line, text);
    return bk_tval_fail();
}

bool bk_trun_charge(bk_trun *run, size_t n) {
    run->steps += 1 + n / 64;
    if (run->steps <= BK_T_MAX_STEPS) return run->status == BK_OK;
    bk_trun_fail(run, BK_ERR_LIMIT, "more than %u steps: the template loops too long",
                 BK_T_MAX_STEPS);
    return false;
}

void *bk_trun_alloc(bk_trun *run, size_t n, size_t size) {
    size_t bytes;
    if (run->status != BK_OK) return NULL;
    if (!bk_mul_size(n, size, &bytes) || bytes > BK_T_MAX_BYTES - run->bytes) {
        bk_trun_fail(run, BK_ERR_LIMIT, "values take more than %zu MiB", BK_T_MAX_BYTES >> 20);
        return NULL;
    }
    void *p = bk_arena_alloc(&run->arena, n ? n : 1, size);
    if (!p) bk_trun_fail(run, BK_ERR_NOMEM, "out of memory");
    run->bytes += bytes;
    return p;
}

bk_tval bk_tval_undef(bk_trun *run, bk_str name, const char *owner) {
    bk_tundef *u = bk_trun_alloc(run, 1, sizeof *u);
    if (!u) return bk_tval_fail();
    *u = (bk_tundef){name, owner};
    return (bk_tval){.type = BK_T_UNDEF, .undef = u};
}

bk_tval bk_tval_str(const bk_tstr *s) {
    return s ? (bk_tval){.type = BK_T_STR, .str = s} : bk_tval_fail();
}

bk_tval bk_tval_text(bk_trun *run, bk_str text, bool user) {
    return bk_tval_str(bk_tstr_new(run, text, user));
}

bk_tval bk_tval_seq(bk_trun *run, bk_tkind kind, bk_tval *items, size_t n) {
    bk_tseq *seq = bk_trun_alloc(run, 1, sizeof *seq);
    if (!seq) return bk_tval_fail();
    *seq = (bk_tseq){.kind = kind, .items = items, .n = n};
    return (bk_tval){.type = BK_T_SEQ, .seq = seq};
}

bool bk_tvec_push(bk_trun *run, bk_tvec *v, bk_tval item) {
    if (item.type == BK_T_FAIL || !bk_trun_charge(run, 0)) return false;
    if (v->n == v->cap) {
        size_t cap = v->cap ? 2 * v->cap : 8;
        bk_tval *items = bk_trun_alloc(run, cap, sizeof *items);
        if (!items) return false;
        if (v->n) memcpy(items, v->items, v->n * sizeof *items);
        v->items = items;
        v->cap = cap;
    }
    v->items[v->n++] = item;
    return true;
}

/* ---- Dictionaries ---------------------------------------------------------------------------- */

bk_tval bk_tval_dict(bk_trun *run) {
    bk_tdict *d = bk_trun_alloc(run, 1, sizeof *d);
    return d ? (bk_tval){.type = BK_T_DICT, .dict = d} : bk_tval_fail();
}

static bool hashable(bk_tval v) {
    if (v.type == BK_T_DICT) return false;
    if (v.type != BK_T_SEQ) return true;
    if (v.seq->kind == BK_SEQ_ITER || v.seq->kind == BK_SEQ_RANGE) return true;
    if (v.seq->kind != BK_SEQ_TUPLE) return false;
    for (size_t i = 0; i < v.seq->n; i++) {
        bk_tval item = v.seq->items[i];
        if (item.type == BK_T_DICT || (item.type == BK_T_SEQ && item.seq->kind != BK_SEQ_TUPLE))
            return false;
    }
    return true;
}

/* Index of key, or d->n. */
static size_t dict_index(bk_trun *run, const bk_tdict *d, bk_tval key) {
    if (!bk_trun_charge(run, 4 * d->n)) return d->n;
    for (size_t i = 0; i < d->n; i++) {
        bk_tval k = d->keys[i];
        if (key.type == BK_T_STR && k.type == BK_T_STR) {
            if (bk_str_eq(bk_tstr_view(key.str), bk_tstr_view(k.str))) return i;
        } else if (bk_tval_equal(run, k, key)) {
            return i;
        }
    }
    return d->n;
}

static bool dict_grow(bk_trun *run, bk_tdict *d) {
    size_t cap = d->cap ? 2 * d->cap : 8;
    bk_tval *keys = bk_trun_alloc(run, cap, sizeof *keys);
    bk_tval *values = bk_trun_alloc(run, cap, sizeof *values);
    if (!keys || !values) return false;
    if (d->n) {
        memcpy(keys, d->keys, d->n * sizeof *keys);
        memcpy(values, d->values, d->n * sizeof *values);
    }
    d->keys = keys;
    d->values = values;
    d->cap = cap;
    return true;
}

bool bk_tdict_set(bk_trun *run, bk_tdict *d, bk_tval key, bk_tval value) {
    if (!hashable(key)) {
        bk_trun_fail(run, BK_ERR_FORMAT, "a %s cannot be a key", bk_tval_type_name(key));
        return false;
    }
    size_t i = dict_index(run, d, key);
    if (!bk_trun_ok(run)) return false;
    if (i == d->n) {
        if (d->n == d->cap && !dict_grow(run, d)) return false;
        d->keys[d->n++] = key;
    }
    d->values[i] = value;
    return true;
}

bk_tval bk_tdict_get(bk_trun *run, const bk_tdict *d, bk_tval key) {
    if (!hashable(key))
        return bk_trun_fail(run, BK_ERR_FORMAT, "a %s cannot be a key", bk_tval_type_name(key));
    size_t i = dict_index(run, d, key);
    if (!bk_trun_ok(run)) return bk_tval_fail();
    return i < d->n ? d->values[i] : bk_tval_missing();
}

bk_tval bk_tdict_find(bk_trun *run, const bk_tdict *d, bk_str name) {
    bk_tstr s = {.data = name.data, .len = name.len};
    return bk_tdict_get(run, d, (bk_tval){.type = BK_T_STR, .str = &s});
}

/* ---- Asking about values --------------------------------------------------------------------- */

const char *bk_tval_type_name(bk_tval v) {
    static const char *const seq_names[] = {
        [BK_SEQ_LIST] = "list",        [BK_SEQ_TUPLE] = "tuple",    [BK_SEQ_RANGE] = "range",
        [BK_SEQ_ITER] = "generator",   [BK_SEQ_KEYS] = "dict_keys", [BK_SEQ_VALUES] = "dict_values",
        [BK_SEQ_ITEMS] = "dict_items",
    };
    switch ((bk_ttype)v.type) {
    case BK_T_NONE: return "None";
    case BK_T_BOOL: return "bool";
    case BK_T_INT: return "int";
    case BK_T_FLOAT: return "float";
    case BK_T_STR: return "str";
    case BK_T_SEQ: return seq_names[v.seq->kind];
    case BK_T_DICT: return "dict";
    case BK_T_SPACE: return "namespace";
    case BK_T_MACRO: return "macro";
    case BK_T_FUNC: return "function";
    case BK_T_METHOD: return "method";
    case BK_T_LOOP: return "loop";
    default: return "undefined value";
    }
}

bool bk_tval_truth(bk_tval v) {
    switch ((bk_ttype)v.type) {
    case BK_T_FAIL:
    case BK_T_MISSING:
    case BK_T_UNDEF:
    case BK_T_NONE: return false;
    case BK_T_BOOL: return v.b;
    case BK_T_INT: return v.i != 0;
    case BK_T_FLOAT: return v.f != 0;
    case BK_T_STR: return v.str->len != 0;
    case BK_T_SEQ: return v.seq->kind == BK_SEQ_ITER || v.seq->n != 0;
    case BK_T_DICT: return v.dict->n != 0;
    default: return true;
    }
}

bool bk_tval_is_number(bk_tval v) {
    return v.type == BK_T_INT || v.type == BK_T_FLOAT || v.type == BK_T_BOOL;
}

int64_t bk_tval_as_int(bk_tval v) { return v.type == BK_T_BOOL ? v.b : v.i; }

double bk_tval_as_float(bk_tval v) {
    return v.type == BK_T_FLOAT ? v.f : (double)bk_tval_as_int(v);
}

bool bk_tval_is_list(bk_tval v) { return v.type == BK_T_SEQ && v.seq->kind == BK_SEQ_LIST; }

bool bk_tval_iterable(bk_tval v) {
    return v.type == BK_T_STR || v.type == BK_T_SEQ || v.type == BK_T_DICT || v.type == BK_T_UNDEF;
}

bool bk_tval_sized(bk_tval v) {
    return bk_tval_iterable(v) && !(v.type == BK_T_SEQ && v.seq->kind == BK_SEQ_ITER);
}

size_t bk_tval_len(bk_tval v) {
    if (v.type == BK_T_STR) return v.str->chars;
    if (v.type == BK_T_SEQ) return v.seq->n;
    return v.type == BK_T_DICT ? v.dict->n : 0;
}

static bool string_items(bk_trun *run, const bk_tstr *s, bk_tval **items, size_t *n) {
    bk_tval *list = bk_trun_alloc(run, s->chars, sizeof *list);
    if (!list || !bk_trun_charge(run, 4 * s->len)) return false;
    size_t count = 0;
    for (size_t i = 0; i < s->len;) {
        uint32_t cp;
        size_t len = bk_utf8_decode(s->data + i, s->len - i, &cp);
        list[count] = bk_tstr_slice(run, s, i, i + len);
        if (list[count++].type == BK_T_FAIL) return false;
        i += len;
    }
    *items = list;
    *n = count;
    return true;
}

bool bk_tval_items(bk_trun *run, bk_tval v, bk_tval **items, size_t *n) {
    *items = NULL;
    *n = 0;
    switch ((bk_ttype)v.type) {
    case BK_T_UNDEF: return true;
    case BK_T_STR: return string_items(run, v.str, items, n);
    case BK_T_DICT:
        *items = v.dict->keys;
        *n = v.dict->n;
        return true;
    case BK_T_SEQ:
        *items = v.seq->items ? v.seq->items + v.seq->next : NULL;
        *n = v.seq->n - v.seq->next;
        if (v.seq->kind == BK_SEQ_ITER) v.seq->next = v.seq->n;
        return true;
    case BK_T_FAIL: return false;
    default:
        bk_trun_fail(run, BK_ERR_FORMAT, "a %s cannot be iterated over", bk_tval_type_name(v));
        return false;
    }
}
