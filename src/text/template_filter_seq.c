/* Filters over sequences and dictionaries. */
#include <string.h>

#include "text/template_case.h"
#include "text/template_eval.h"

/* ---- Attribute paths and keys ---------------------------------------------------------------- */

/* One step of "a.b.0": digits are an index. */
static bk_tval path_step(bk_trun *run, bk_tval item, bk_str part, const bk_tstr *whole) {
    int64_t index;
    bool digits = part.len > 0;
    for (size_t i = 0; i < part.len; i++)
        digits = digits && part.data[i] >= '0' && part.data[i] <= '9';
    if (digits && bk_tparse_int(part, 10, &index)) return bk_titem(run, item, bk_tval_int(index));
    size_t begin = (size_t)(part.data - whole->data);
    bk_tval key = bk_tstr_slice(run, whole, begin, begin + part.len);
    return key.type == BK_T_FAIL ? key : bk_titem(run, item, key);
}

bk_tval bk_tattr_path(bk_trun *run, bk_tval item, bk_tval path, bk_tval otherwise) {
    bool has_default = otherwise.type != BK_T_NONE && otherwise.type != BK_T_MISSING;
    if (path.type != BK_T_STR) return bk_titem(run, item, path);
    for (size_t at = 0; at <= path.str->len;) {
        const char *rest = path.str->data + at;
        const char *dot = memchr(rest, '.', path.str->len - at);
        bk_str part = {rest, dot ? (size_t)(dot - rest) : path.str->len - at};
        item = path_step(run, item, part, path.str);
        if (item.type == BK_T_FAIL) return item;
        if (has_default && item.type == BK_T_UNDEF) item = otherwise;
        at += part.len + 1;
    }
    return item;
}

static bool given(bk_tval v) { return v.type != BK_T_MISSING && v.type != BK_T_NONE; }

/* The value that an item is compared by: an attribute of it, in lower case. */
static bk_tval compare_key(bk_trun *run, bk_tval item, bk_tval attribute, bool case_sensitive) {
    if (given(attribute)) item = bk_tattr_path(run, item, attribute, bk_tval_none());
    if (item.type == BK_T_STR && !case_sensitive) return bk_tstr_case(run, item.str, BK_CASE_LOWER);
    return item;
}

/* The key of sort: a list, one value for each of the attributes separated by commas. */
static bk_tval sort_key(bk_trun *run, bk_tval item, bk_tval attribute, bool case_sensitive) {
    bk_tvec keys = {0};
    const char *comma = NULL;
    size_t at = 0;
    do {
        bk_tval path = attribute;
        if (attribute.type == BK_T_STR) {
            size_t left = attribute.str->len - at;
            comma = memchr(attribute.str->data + at, ',', left);
            size_t end = comma ? (size_t)(comma - attribute.str->data) : attribute.str->len;
            path = bk_tstr_slice(run, attribute.str, at, end);
            at = end + 1;
        }
        if (path.type == BK_T_FAIL) return path;
        if (!bk_tvec_push(run, &keys, compare_key(run, item, path, case_sensitive)))
            return bk_tval_fail();
    } while (comma);
    return bk_tval_seq(run, BK_SEQ_LIST, keys.items, keys.n);
}

/* ---- Sorting --------------------------------------------------------------------------------- */

/* Merges keys[lo..mid) and keys[mid..hi), items along with them; stable, also in reverse. */
static bool merge(bk_trun *run, bk_tval *keys[2], bk_tval *items[2], const size_t bounds[3],
                  bool reverse) {
    size_t i = bounds[0], j = bounds[1], out = bounds[0];
    while (i < bounds[1] || j < bounds[2]) {
        int order = 0;
        if (i < bounds[1] && j < bounds[2] && !bk_tval_order(run, keys[0][j], keys[0][i], &order))
            return false;
        bool right = i == bounds[1] || (j < bounds[2] && order == (reverse ? 1 : -1));
        size_t from = right ? j++ : i++;
        keys[1][out] = keys[0][from];
        items[1][out++] = items[0][from];
    }
    return true;
}

/* Items in the order of their keys, as a new array; NULL when the keys have no order. */
static bk_tval *sort_items(bk_trun *run, bk_tval *keys, const bk_tval *items, size_t n,
                           bool reverse) {
    bk_tval *k[2] = {keys, bk_trun_alloc(run, n, sizeof *keys)};
    bk_tval *v[2] = {bk_trun_alloc(run, n, sizeof *items), bk_trun_alloc(run, n, sizeof *items)};
    if (!k[1] || !v[0] || !v[1]) return NULL;
    if (n) memcpy(v[0], items, n * sizeof *items);
    for (size_t width = 1; width < n; width *= 2) {
        for (size_t lo = 0; lo < n; lo += 2 * width) {
            size_t bounds[3] = {lo, bk_min_size(lo + width, n), bk_min_size(lo + 2 * width, n)};
            if (!merge(run, k, v, bounds, reverse)) return NULL;
        }
        bk_tval *swap = k[0];
        k[0] = k[1];
        k[1] = swap;
        swap = v[0];
        v[0] = v[1];
        v[1] = swap;
    }
    return v[0];
}

static bk_tval f_sort(bk_trun *run, bk_tval v, const bk_tval *a, const bk_targs *raw) {
    (void)raw;
    bk_tval *items;
    size_t n;
    if (!bk_tval_items(run, v, &items, &n)) return bk_tval_fail();
    bk_tval *keys = bk_trun_alloc(run, n, sizeof *keys);
    if (!keys) return bk_tval_fail();
    for (size_t i = 0; i < n; i++) {
        keys[i] = sort_key(run, items[i], a[2], bk_tval_truth(a[1]));
        if (keys[i].type == BK_T_FAIL) return keys[i];
    }
    items = sort_items(run, keys, items, n, bk_tval_truth(a[0]));
    return items ? bk_tval_seq(run, BK_SEQ_LIST, items, n) : bk_tval_fail();
}

static bk_tval f_dictsort(bk_trun *run, bk_tval v, const bk_tval *a, const bk_targs *raw) {
    (void)raw;
    bool by_value = a[1].type == BK_T_STR && bk_str_eq(bk_tstr_view(a[1].str), BK_STR("value"));
    bool by_key = a[1].type == BK_T_MISSING ||
                  (a[1].type == BK_T_STR && bk_str_eq(bk_tstr_view(a[1].str), BK_STR("key")));
    if (v.type == BK_T_UNDEF) return bk_tundef_fail(run, v);
    if (v.type != BK_T_DICT)
        return bk_trun_fail(run, BK_ERR_FORMAT, "dictsort needs a dict, not a %s",
                            bk_tval_type_name(v));
    if (!by_value && !by_key)
        return bk_trun_fail(run, BK_ERR_FORMAT, "dictsort sorts by \"key\" or \"value\"");
    bk_tval pairs = bk_tdict_items(run, v.dict, BK_SEQ_LIST);
    bk_tval *keys = bk_trun_alloc(run, v.dict->n, sizeof *keys);
    if (pairs.type == BK_T_FAIL || !keys) return bk_tval_fail();
    for (size_t i = 0; i < v.dict->n; i++) {
        bk_tval key = by_value ? v.dict->values[i] : v.dict->keys[i];
        keys[i] = compare_key(run, key, bk_tval_missing(), bk_tval_truth(a[0]));
        if (keys[i].type == BK_T_FAIL) return keys[i];
    }
    bk_tval *items = sort_items(run, keys, pairs.seq->items, v.dict->n, bk_tval_truth(a[2]));
    return items ? bk_tval_seq(run, BK_SEQ_LIST, items, v.dict->n) : bk_tval_fail();
}

/* The first item that no other comes before (wanted -1) or after (1). */
static bk_tval extreme(bk_trun *run, bk_tval v, const bk_tval *a, int wanted) {
    bk_tval *items, best = bk_tval_missing(), best_key = best;
    size_t n;
    if (!bk_tval_items(run, v, &items, &n)) return bk_tval_fail();
    for (size_t i = 0; i < n; i++) {
        int order = wanted;
        bk_tval key = compare_key(run, items[i], a[1], bk_tval_truth(a[0]));
        if (key.type == BK_T_FAIL) return key;
        if (i && !bk_tval_order(run, key, best_key, &order)) return bk_tval_fail();
        if (order != wanted) continue;
        best = items[i];
        best_key = key;
    }
    return n ? best : bk_tval_undef(run, BK_STR("least or greatest item"), "an empty sequence");
}

static bk_tval f_min(bk_trun *run, bk_tval v, const bk_tval *a, const bk_targs *raw) {
    (void)raw;
    return extreme(run, v, a, -1);
}

static bk_tval f_max(bk_trun *run, bk_tval v, const bk_tval *a, const bk_targs *raw) {
    (void)raw;
    return extreme(run, v, a, 1);
}

static bk_tval f_unique(bk_trun *run, bk_tval v, const bk_tval *a, const bk_targs *raw) {
    (void)raw;
    bk_tval *items, seen = bk_tval_dict(run);
    bk_tvec kept = {0};
    size_t n;
    if (seen.type == BK_T_FAIL || !bk_tval_items(run, v, &items, &n)) return bk_tval_fail();
    for (size_t i = 0; i < n; i++) {
        bk_tval key = compare_key(run, items[i], a[1], bk_tval_truth(a[0]));
        size_t before = seen.dict->n;
        if (key.type == BK_T_FAIL || !bk_tdict_set(run, seen.dict, key, bk_tval_none()))
            return bk_tval_fail();
        if (seen.dict->n > before && !bk_tvec_push(run, &kept, items[i])) return bk_tval_fail();
    }
    return bk_tval_seq(run, BK_SEQ_ITER, kept.items, kept.n);
}

static bk_tval f_sum(bk_trun *run, bk_tval v, const bk_tval *a, const bk_targs *raw) {
    (void)raw;
    bk_tval *items, total = a[1].type == BK_T_MISSING ? bk_tval_int(0) : a[1];
    size_t n;
    if (total.type == BK_T_STR) return bk_trun_fail(run, BK_ERR_FORMAT, "strings have no sum");
    if (!bk_tval_items(run, v, &items, &n)) return bk_tval_fail();
    for (size_t i = 0; i < n && total.type != BK_T_FAIL; i++) {
        bk_tval x = given(a[0]) ? bk_tattr_path(run, items[i], a[0], bk_tval_none()) : items[i];
        total = x.type == BK_T_FAIL ? x : bk_tbinary(run, BK_TOK_ADD, total, x);
    }
    return total;
}

/* ---- Taking and turning ---------------------------------------------------------------------- */

static bk_tval f_first(bk_trun *run, bk_tval v, const bk_tval *a, const bk_targs *raw) {
    (void)a, (void)raw;
    bk_tval *items;
    size_t n;
    bk_tseq *iter = v.type == BK_T_SEQ && v.seq->kind == BK_SEQ_ITER ? v.seq : NULL;
    size_t next = iter ? iter->next : 0;
    if (!bk_tval_items(run, v, &items, &n)) return bk_tval_fail();
    if (iter) iter->next = n ? next + 1 : next; /* only one item is used up */
    return n ? items[0] : bk_tval_undef(run, BK_STR("first item"), "an empty sequence");
}

static bool reversible(bk_tval v) { return bk_tval_sized(v); }

static bk_tval f_last(bk_trun *run, bk_tval v, const bk_tval *a, const bk_targs *raw) {
    (void)a, (void)raw;
    bk_tval *items;
    size_t n;
    if (!reversible(v))
        return bk_trun_fail(run, BK_ERR_FORMAT, "a %s has no last item", bk_tval_type_name(v));
    if (!bk_tval_items(run, v, &items, &n)) return bk_tval_fail();
    return n ? items[n - 1] : bk_tval_undef(run, BK_STR("last item"), "an empty sequence");
}

static bk_tval f_list(bk_trun *run, bk_tval v, const bk_tval *a, const bk_targs *raw) {
    (void)a, (void)raw;
    bk_tval *items;
    size_t n;
    if (!bk_tval_items(run, v, &items, &n)) return bk_tval_fail();
    bk_tval list = bk_tval_seq(run, BK_SEQ_LIST, items, n);
    list.user = v.user;
    return list;
}

static bk_tval f_reverse(bk_trun *run, bk_tval v, const bk_tval *a, const bk_targs *raw) {
    (void)a, (void)raw;
    bk_tval *items, minus = bk_tval_int(-1), none = bk_tval_missing();
    size_t n;
    if (v.type == BK_T_STR) return bk_tslice(run, v, none, none, minus);
    if (!bk_tval_items(run, v, &items, &n)) return bk_tval_fail();
    bk_tval *turned = bk_trun_alloc(run, n, sizeof *turned);
    if (!turned || !bk_trun_charge(run, 16 * n)) return bk_tval_fail();
    for (size_t i = 0; i < n; i++) turned[i] = items[n - 1 - i];
    return bk_tval_seq(run, reversible(v) ? BK_SEQ_ITER : BK_SEQ_LIST, turned, n);
}

static bk_tval f_items(bk_trun *run, bk_tval v, const bk_tval *a, const bk_targs *raw) {
    (void)a, (void)raw;
    if (v.type == BK_T_UNDEF) return bk_tval_seq(run, BK_SEQ_ITER, NULL, 0);
    if (v.type == BK_T_DICT) return bk_tdict_items(run, v.dict, BK_SEQ_ITER);
    return bk_trun_fail(run, BK_ERR_FORMAT, "items needs a dict, not a %s", bk_tval_type_name(v));
}

static bk_tval f_batch(bk_trun *run, bk_tval v, const bk_tval *a, const bk_targs *raw) {
    (void)raw;
    bk_tval *items;
    bk_tvec rows = {0}, row = {0};
    int64_t width;
    size_t n;
    if (!bk_targ_int(run, "batch", a[0], 0, &width) || !bk_tval_items(run, v, &items, &n))
        return bk_tval_fail();
    if (width < 1 || width > BK_T_MAX_RANGE)
        return bk_trun_fail(run, BK_ERR_LIMIT, "batch of other than 1 to %d", BK_T_MAX_RANGE);
    for (size_t i = 0; i < n; i++) {
        if (row.n == (size_t)width) {
            if (!bk_tvec_push(run, &rows, bk_tval_seq(run, BK_SEQ_LIST, row.items, row.n)))
                return bk_tval_fail();
            row = (bk_tvec){0};
        }
        if (!bk_tvec_push(run, &row, items[i])) return bk_tval_fail();
    }
    while (row.n && given(a[1]) && row.n < (size_t)width) {
        if (!bk_tvec_push(run, &row, a[1])) return bk_tval_fail();
    }
    if (row.n && !bk_tvec_push(run, &rows, bk_tval_seq(run, BK_SEQ_LIST, row.items, row.n)))
        return bk_tval_fail();
    return bk_tval_seq(run, BK_SEQ_ITER, rows.items, rows.n);
}

/* ---- map, select and relatives --------------------------------------------------------------- */

/* raw without its first `skip` positional arguments. */
static bk_targs rest(const bk_targs *raw, size_t skip) {
    bk_targs args = *raw;
    skip = bk_min_size(skip, args.n);
    if (skip) args.pos += skip;
    args.n -= skip;
    return args;
}

/* The items that a lazy filter goes over: nothing at all when the value is false. */
static bool lazy_items(bk_trun *run, bk_tval v, bk_tval **items, size_t *n) {
    *items = NULL;
    *n = 0;
    return !bk_tval_truth(v) || bk_tval_items(run, v, items, n);
}

static bk_tval f_map(bk_trun *run, bk_tval v, const bk_tval *a, const bk_targs *raw) {
    (void)a;
    bk_tval *items, bound[BK_T_MAX_PARAMS];
    bk_tvec out = {0};
    bk_targs args = rest(raw, 1);
    const bk_tstr *name = NULL;
    size_t n;
    if (!lazy_items(run, v, &items, &n)) return bk_tval_fail();
    if (n && raw->n == 0 && !bk_targs_bind(run, "map", "attribute default", 1, raw, bound))
        return bk_tval_fail();
    if (n && raw->n && !bk_targ_str(run, "map", raw->pos[0], &name)) return bk_tval_fail();
    for (size_t i = 0; i < n; i++) {
        bk_tval x = name ? bk_tfilter_apply(run, bk_tstr_view(name), items[i], &args)
                         : bk_tattr_path(run, items[i], bound[0], bound[1]);
        if (!bk_tvec_push(run, &out, x)) return bk_tval_fail();
    }
    return bk_tval_seq(run, BK_SEQ_ITER, out.items, out.n);
}

static bk_tval choose(bk_trun *run, bk_tval v, const bk_targs *raw, bool by_attribute,
                      bool wanted) {
    bk_tval *items;
    bk_tvec out = {0};
    size_t n, skip = by_attribute ? 1 : 0;
    const bk_tstr *test = NULL;
    bk_targs args = rest(raw, skip + 1);
    if (!lazy_items(run, v, &items, &n)) return bk_tval_fail();
    if (n && by_attribute && raw->n == 0)
        return bk_trun_fail(run, BK_ERR_FORMAT, "the name of an attribute is missing");
    if (n && raw->n > skip && !bk_targ_str(run, "select", raw->pos[skip], &test))
        return bk_tval_fail();
    for (size_t i = 0; i < n; i++) {
        bk_tval x = items[i];
        if (by_attribute) x = bk_tattr_path(run, x, raw->pos[0], bk_tval_none());
        if (x.type != BK_T_FAIL && test) x = bk_ttest_apply(run, bk_tstr_view(test), x, &args);
        if (x.type == BK_T_FAIL) return x;
        if (bk_tval_truth(x) == wanted && !bk_tvec_push(run, &out, items[i])) return bk_tval_fail();
    }
    return bk_tval_seq(run, BK_SEQ_ITER, out.items, out.n);
}

static bk_tval f_select(bk_trun *run, bk_tval v, const bk_tval *a, const bk_targs *raw) {
    (void)a;
    return choose(run, v, raw, false, true);
}

static bk_tval f_reject(bk_trun *run, bk_tval v, const bk_tval *a, const bk_targs *raw) {
    (void)a;
    return choose(run, v, raw, false, false);
}

static bk_tval f_selectattr(bk_trun *run, bk_tval v, const bk_tval *a, const bk_targs *raw) {
    (void)a;
    return choose(run, v, raw, true, true);
}

static bk_tval f_rejectattr(bk_trun *run, bk_tval v, const bk_tval *a, const bk_targs *raw) {
    (void)a;
    return choose(run, v, raw, true, false);
}

const bk_tfilter bk_tfilters_seq[] = {
    {"first", "", 0, f_first},
    {"last", "", 0, f_last},
    {"list", "", 0, f_list},
    {"reverse", "", 0, f_reverse},
    {"items", "", 0, f_items},
    {"batch", "linecount fill_with", 1, f_batch},
    {"sort", "reverse case_sensitive attribute", 0, f_sort},
    {"dictsort", "case_sensitive by reverse", 0, f_dictsort},
    {"min", "case_sensitive attribute", 0, f_min},
    {"max", "case_sensitive attribute", 0, f_max},
    {"unique", "case_sensitive attribute", 0, f_unique},
    {"sum", "attribute start", 0, f_sum},
    {"map", NULL, 0, f_map},
    {"select", NULL, 0, f_select},
    {"reject", NULL, 0, f_reject},
    {"selectattr", NULL, 0, f_selectattr},
    {"rejectattr", NULL, 0, f_rejectattr},
};
const size_t bk_tfilters_n_seq = sizeof bk_tfilters_seq / sizeof bk_tfilters_seq[0];
