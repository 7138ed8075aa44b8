/* Arguments of calls, methods of lists and dictionaries, and the global functions. */
#include <string.h>
#include <time.h>

#include "text/template_eval.h"

/* ---- Arguments ------------------------------------------------------------------------------- */

/* Cuts the next name from a list separated by blanks. */
static bk_str next_name(const char **params) {
    size_t len = strcspn(*params, " ");
    bk_str name = {*params, len};
    *params += len + ((*params)[len] == ' ');
    return name;
}

bool bk_targs_bind(bk_trun *run, const char *what, const char *params, size_t required,
                   const bk_targs *args, bk_tval out[BK_T_MAX_PARAMS]) {
    size_t n = 0, used = 0;
    for (; *params; n++) {
        bk_str name = next_name(&params);
        out[n] = n < args->n ? args->pos[n] : bk_tval_missing();
        for (size_t k = 0; k < args->n_kw; k++) {
            if (!bk_str_eq(args->kw[k].name, name)) continue;
            if (n < args->n) {
                bk_trun_fail(run, BK_ERR_FORMAT, "%s gets \"" BK_STR_FMT "\" twice", what,
                             BK_STR_ARG(name));
                return false;
            }
            out[n] = args->kw[k].value;
            used++;
        }
        if (n < required && out[n].type == BK_T_MISSING) {
            bk_trun_fail(run, BK_ERR_FORMAT, "%s needs \"" BK_STR_FMT "\"", what, BK_STR_ARG(name));
            return false;
        }
    }
    if (args->n <= n && used == args->n_kw) return true;
    bk_trun_fail(run, BK_ERR_FORMAT, "%s gets an argument that it does not take", what);
    return false;
}

bool bk_targs_count(bk_trun *run, const char *what, const bk_targs *args, size_t min, size_t max) {
    if (args->n >= min && args->n <= max && args->n_kw == 0) return true;
    bk_trun_fail(run, BK_ERR_FORMAT, "%s takes %zu to %zu arguments, found %zu", what, min, max,
                 args->n + args->n_kw);
    return false;
}

bool bk_targ_int(bk_trun *run, const char *what, bk_tval v, int64_t missing, int64_t *out) {
    *out = missing;
    if (v.type == BK_T_MISSING) return true;
    if (v.type == BK_T_INT || v.type == BK_T_BOOL) {
        *out = bk_tval_as_int(v);
        return true;
    }
    bk_trun_fail(run, BK_ERR_FORMAT, "%s needs an integer, not a %s", what, bk_tval_type_name(v));
    return false;
}

bool bk_targ_str(bk_trun *run, const char *what, bk_tval v, const bk_tstr **out) {
    if (v.type == BK_T_STR) {
        *out = v.str;
        return true;
    }
    bk_trun_fail(run, BK_ERR_FORMAT, "%s needs a string, not a %s", what, bk_tval_type_name(v));
    return false;
}

/* ---- Methods of lists, tuples and dictionaries ----------------------------------------------- */

bk_tval bk_tdict_items(bk_trun *run, const bk_tdict *d, bk_tkind kind) {
    bk_tval *items = bk_trun_alloc(run, d->n, sizeof *items);
    for (size_t i = 0; items && i < d->n; i++) {
        bk_tval *pair = bk_trun_alloc(run, 2, sizeof *pair);
        if (!pair) return bk_tval_fail();
        pair[0] = d->keys[i];
        pair[1] = d->values[i];
        items[i] = bk_tval_seq(run, BK_SEQ_TUPLE, pair, 2);
        if (items[i].type == BK_T_FAIL) return items[i];
    }
    return items ? bk_tval_seq(run, kind, items, d->n) : bk_tval_fail();
}

static bk_tval m_items(bk_trun *run, bk_tval self, const bk_targs *args) {
    if (!bk_targs_count(run, "items", args, 0, 0)) return bk_tval_fail();
    return bk_tdict_items(run, self.dict, BK_SEQ_ITEMS);
}

static bk_tval m_keys(bk_trun *run, bk_tval self, const bk_targs *args) {
    if (!bk_targs_count(run, "keys", args, 0, 0)) return bk_tval_fail();
    return bk_tval_seq(run, BK_SEQ_KEYS, self.dict->keys, self.dict->n);
}

static bk_tval m_values(bk_trun *run, bk_tval self, const bk_targs *args) {
    if (!bk_targs_count(run, "values", args, 0, 0)) return bk_tval_fail();
    return bk_tval_seq(run, BK_SEQ_VALUES, self.dict->values, self.dict->n);
}

static bk_tval m_get(bk_trun *run, bk_tval self, const bk_targs *args) {
    if (!bk_targs_count(run, "get", args, 1, 2)) return bk_tval_fail();
    bk_tval v = bk_tdict_get(run, self.dict, args->pos[0]);
    if (v.type != BK_T_MISSING) return v;
    return args->n > 1 ? args->pos[1] : bk_tval_none();
}

static bk_tval m_copy(bk_trun *run, bk_tval self, const bk_targs *args) {
    return bk_targs_count(run, "copy", args, 0, 0) ? self : bk_tval_fail();
}

static bk_tval m_count(bk_trun *run, bk_tval self, const bk_targs *args) {
    int64_t n = 0;
    if (!bk_targs_count(run, "count", args, 1, 1)) return bk_tval_fail();
    for (size_t i = 0; i < self.seq->n && bk_trun_ok(run); i++)
        n += bk_tval_equal(run, self.seq->items[i], args->pos[0]);
    return bk_trun_ok(run) ? bk_tval_int(n) : bk_tval_fail();
}

static bk_tval m_index(bk_trun *run, bk_tval self, const bk_targs *args) {
    if (!bk_targs_count(run, "index", args, 1, 1)) return bk_tval_fail();
    for (size_t i = 0; i < self.seq->n && bk_trun_ok(run); i++) {
        if (bk_tval_equal(run, self.seq->items[i], args->pos[0])) return bk_tval_int((int64_t)i);
    }
    return bk_trun_fail(run, BK_ERR_FORMAT, "index found nothing");
}

static const bk_tmethod_def *find_method(const bk_tmethod_def *defs, size_t n, bk_str name) {
    for (size_t i = 0; i < n; i++) {
        if (bk_str_eq(name, bk_str_from(defs[i].name))) return &defs[i];
    }
    return NULL;
}

const bk_tmethod_def *bk_tmethod_find(bk_tval self, bk_str name) {
    static const bk_tmethod_def dict[] = {{"items", m_items},
                                          {"keys", m_keys},
                                          {"values", m_values},
                                          {"get", m_get},
                                          {"copy", m_copy}};
    static const bk_tmethod_def list[] = {{"count", m_count}, {"index", m_index}, {"copy", m_copy}};
    if (self.type == BK_T_STR) return bk_tstr_method(name);
    if (self.type == BK_T_DICT) return find_method(dict, BK_ARRAY_LEN(dict), name);
    if (self.type != BK_T_SEQ || self.seq->kind > BK_SEQ_RANGE) return NULL;
    bool copies = self.seq->kind == BK_SEQ_LIST;
    return find_method(list, copies ? BK_ARRAY_LEN(list) : BK_ARRAY_LEN(list) - 1, name);
}

bool bk_tmethod_changes(bk_tval self, bk_str name) {
    static const char *const list[] = {"append", "clear", "pop",    "reverse",
                                       "insert", "sort",  "extend", "remove"};
    static const char *const dict[] = {"clear", "pop", "popitem", "setdefault", "update"};
    bool is_list = bk_tval_is_list(self);
    if (!is_list && self.type != BK_T_DICT) return false;
    for (size_t i = 0; i < (is_list ? BK_ARRAY_LEN(list) : BK_ARRAY_LEN(dict)); i++) {
        if (bk_str_eq(name, bk_str_from(is_list ? list[i] : dict[i]))) return true;
    }
    return false;
}

/* ---- Global functions ------------------------------------------------------------------------ */

static bk_tval g_range(bk_trun *run, const bk_targs *args) {
    int64_t v[3] = {0, 0, 1}, step;
    if (!bk_targs_count(run, "range", args, 1, 3)) return bk_tval_fail();
    for (size_t i = 0; i < args->n; i++) {
        if (!bk_targ_int(run, "range", args->pos[i], 0, &v[args->n == 1 ? 1 : i]))
            return bk_tval_fail();
    }
    step = v[2];
    if (step == 0) return bk_trun_fail(run, BK_ERR_FORMAT, "range with step 0");
    uint64_t span = step > 0 ? (uint64_t)v[1] - (uint64_t)v[0] : (uint64_t)v[0] - (uint64_t)v[1];
    uint64_t width = step > 0 ? (uint64_t)step : -(uint64_t)step;
    bool empty = step > 0 ? v[1] <= v[0] : v[1] >= v[0];
    uint64_t n = empty ? 0 : (span - 1) / width + 1;
    if (n > BK_T_MAX_RANGE)
        return bk_trun_fail(run, BK_ERR_LIMIT, "a range of more than %d numbers", BK_T_MAX_RANGE);
    bk_tval *items = bk_trun_alloc(run, n, sizeof *items);
    if (!items || !bk_trun_charge(run, 16 * n)) return bk_tval_fail();
    for (uint64_t i = 0; i < n; i++)
        items[i] = bk_tval_int((int64_t)((uint64_t)v[0] + i * (uint64_t)step));
    bk_tval r = bk_tval_seq(run, BK_SEQ_RANGE, items, n);
    if (r.type == BK_T_FAIL) return r;
    r.seq->start = v[0];
    r.seq->stop = v[1];
    r.seq->step = step;
    return r;
}

/* dict(mapping or pairs, key=value, ...). */
static bk_tval g_dict(bk_trun *run, const bk_targs *args) {
    bk_tval d = bk_tval_dict(run), *items, *pair;
    size_t n = 0, two;
    if (d.type == BK_T_FAIL) return d;
    if (args->n > 1) return bk_trun_fail(run, BK_ERR_FORMAT, "dict takes one argument at most");
    if (args->n && !bk_tval_items(run, args->pos[0], &items, &n)) return bk_tval_fail();
    for (size_t i = 0; i < n; i++) {
        bk_tval key = items[i], value;
        if (args->pos[0].type == BK_T_DICT) {
            value = args->pos[0].dict->values[i];
        } else {
            if (!bk_tval_items(run, items[i], &pair, &two)) return bk_tval_fail();
            if (two != 2) return bk_trun_fail(run, BK_ERR_FORMAT, "dict needs pairs");
            key = pair[0];
            value = pair[1];
        }
        if (!bk_tdict_set(run, d.dict, key, value)) return bk_tval_fail();
    }
    for (size_t i = 0; i < args->n_kw; i++) {
        bk_tval key = bk_tval_text(run, args->kw[i].name, false);
        if (key.type == BK_T_FAIL || !bk_tdict_set(run, d.dict, key, args->kw[i].value))
            return bk_tval_fail();
    }
    return d;
}

static bk_tval g_namespace(bk_trun *run, const bk_targs *args) {
    bk_tval d = g_dict(run, args);
    if (d.type != BK_T_FAIL) d.type = BK_T_SPACE;
    return d;
}

static bk_tval g_raise_exception(bk_trun *run, const bk_targs *args) {
    bk_tval a[BK_T_MAX_PARAMS];
    if (!bk_targs_bind(run, "raise_exception", "message", 1, args, a)) return bk_tval_fail();
    bk_tval text = bk_tval_to_str(run, a[0]);
    if (text.type == BK_T_FAIL) return text;
    return bk_trun_fail(run, BK_ERR_FORMAT, "%.*s", (int)bk_min_size(text.str->len, 400),
                        text.str->data);
}

static bk_tval g_strftime_now(bk_trun *run, const bk_targs *args) {
    bk_tval a[BK_T_MAX_PARAMS];
    const bk_tstr *s;
    char format[258], text[1024];
    if (!bk_targs_bind(run, "strftime_now", "format", 1, args, a) ||
        !bk_targ_str(run, "strftime_now", a[0], &s))
        return bk_tval_fail();
    if (s->len > 256 || (s->len && memchr(s->data, 0, s->len)))
        return bk_trun_fail(run, BK_ERR_LIMIT, "a time format of %zu bytes", s->len);
    /* A first character tells an empty result from one that did not fit. */
    format[0] = ' ';
    memcpy(format + 1, s->data, s->len);
    format[1 + s->len] = '\0';
    time_t now = time(NULL);
    struct tm tm;
    size_t n = localtime_r(&now, &tm) ? strftime(text, sizeof text, format, &tm) : 0;
    if (n == 0 || bk_utf8_valid_len(text, n) != n)
        return bk_trun_fail(run, BK_ERR_LIMIT, "the time in this format is too long");
    char *copy = bk_trun_alloc(run, n, 1);
    if (!copy) return bk_tval_fail();
    memcpy(copy, text, n);
    return bk_tval_text(run, (bk_str){copy + 1, n - 1}, s->n_user > 0);
}

const bk_tfunc *bk_tglobal_find(bk_str name) {
    static const bk_tfunc functions[] = {{"range", g_range},
                                         {"dict", g_dict},
                                         {"namespace", g_namespace},
                                         {"raise_exception", g_raise_exception},
                                         {"strftime_now", g_strftime_now}};
    for (size_t i = 0; i < BK_ARRAY_LEN(functions); i++) {
        if (bk_str_eq(name, bk_str_from(functions[i].name))) return &functions[i];
    }
    return NULL;
}
