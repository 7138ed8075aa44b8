/* Equality, order and membership as Python defines them. */
#include <string.h>

#include "text/template_value.h"

static bool too_deep(bk_trun *run, int depth) {
    if (depth <= BK_T_MAX_NESTING) return false;
    bk_trun_fail(run, BK_ERR_LIMIT, "values nested more than %d deep", BK_T_MAX_NESTING);
    return true;
}

/* -1, 0, 1, or 2 when either is not a number (nan). Long double holds every int64 exactly where it
 * is wider than double. */
static int order_numbers(bk_tval a, bk_tval b) {
    if (a.type != BK_T_FLOAT && b.type != BK_T_FLOAT) {
        int64_t x = bk_tval_as_int(a), y = bk_tval_as_int(b);
        return (x > y) - (x < y);
    }
    long double x = a.type == BK_T_FLOAT ? (long double)a.f : (long double)bk_tval_as_int(a);
    long double y = b.type == BK_T_FLOAT ? (long double)b.f : (long double)bk_tval_as_int(b);
    if (x != x || y != y) return 2;
    return (x > y) - (x < y);
}

static int order_strings(const bk_tstr *a, const bk_tstr *b) {
    size_t n = bk_min_size(a->len, b->len);
    int c = n ? memcmp(a->data, b->data, n) : 0;
    if (c != 0) return c < 0 ? -1 : 1;
    return (a->len > b->len) - (a->len < b->len);
}

static bool equal_deep(bk_trun *run, bk_tval a, bk_tval b, int depth);

static bool equal_items(bk_trun *run, const bk_tseq *a, const bk_tseq *b, int depth) {
    if (a->n != b->n) return false;
    for (size_t i = 0; i < a->n; i++) {
        if (!equal_deep(run, a->items[i], b->items[i], depth + 1)) return false;
    }
    return true;
}

static bool equal_dicts(bk_trun *run, const bk_tdict *a, const bk_tdict *b, int depth) {
    if (a->n != b->n) return false;
    for (size_t i = 0; i < a->n; i++) {
        bk_tval other = bk_tdict_get(run, b, a->keys[i]);
        if (other.type <= BK_T_MISSING) return false;
        if (!equal_deep(run, a->values[i], other, depth + 1)) return false;
    }
    return true;
}

static bool same_object(bk_tval a, bk_tval b) { return (const void *)a.str == (const void *)b.str; }

static bool equal_deep(bk_trun *run, bk_tval a, bk_tval b, int depth) {
    if (too_deep(run, depth) || !bk_trun_charge(run, 0)) return false;
    if (bk_tval_is_number(a) && bk_tval_is_number(b)) return order_numbers(a, b) == 0;
    if (a.type != b.type) return false;
    switch ((bk_ttype)a.type) {
    case BK_T_UNDEF:
    case BK_T_NONE: return true;
    case BK_T_STR:
        if (!bk_trun_charge(run, bk_min_size(a.str->len, b.str->len))) return false;
        return bk_str_eq(bk_tstr_view(a.str), bk_tstr_view(b.str));
    case BK_T_SEQ:
        if (a.seq == b.seq) return true;
        if (a.seq->kind != b.seq->kind || a.seq->kind >= BK_SEQ_ITER) return false;
        return equal_items(run, a.seq, b.seq, depth);
    case BK_T_DICT: return a.dict == b.dict || equal_dicts(run, a.dict, b.dict, depth);
    default: return same_object(a, b);
    }
}

bool bk_tval_equal(bk_trun *run, bk_tval a, bk_tval b) { return equal_deep(run, a, b, 0); }

static bool order_deep(bk_trun *run, bk_tval a, bk_tval b, int *order, int depth) {
    if (too_deep(run, depth) || !bk_trun_charge(run, 0)) return false;
    if (bk_tval_is_number(a) && bk_tval_is_number(b)) {
        *order = order_numbers(a, b);
        return true;
    }
    if (a.type == BK_T_STR && b.type == BK_T_STR) {
        *order = order_strings(a.str, b.str);
        return bk_trun_charge(run, bk_min_size(a.str->len, b.str->len));
    }
    if (a.type != BK_T_SEQ || b.type != BK_T_SEQ || a.seq->kind != b.seq->kind ||
        a.seq->kind > BK_SEQ_TUPLE) {
        bk_trun_fail(run, BK_ERR_FORMAT, "a %s and a %s have no order", bk_tval_type_name(a),
                     bk_tval_type_name(b));
        return false;
    }
    size_t n = bk_min_size(a.seq->n, b.seq->n);
    for (size_t i = 0; i < n; i++) {
        if (equal_deep(run, a.seq->items[i], b.seq->items[i], depth + 1)) continue;
        return bk_trun_ok(run) &&
               order_deep(run, a.seq->items[i], b.seq->items[i], order, depth + 1);
    }
    *order = (a.seq->n > b.seq->n) - (a.seq->n < b.seq->n);
    return true;
}

bool bk_tval_order(bk_trun *run, bk_tval a, bk_tval b, int *order) {
    return order_deep(run, a, b, order, 0);
}

static bk_tval seq_contains(bk_trun *run, bk_tseq *seq, bk_tval needle) {
    for (size_t i = seq->next; i < seq->n; i++) {
        if (seq->kind == BK_SEQ_ITER) seq->next = i + 1;
        if (bk_tval_equal(run, seq->items[i], needle)) return bk_tval_bool(true);
        if (!bk_trun_ok(run)) return bk_tval_fail();
    }
    return bk_tval_bool(false);
}

bk_tval bk_tval_contains(bk_trun *run, bk_tval hay, bk_tval needle) {
    switch ((bk_ttype)hay.type) {
    case BK_T_UNDEF: return bk_tval_bool(false);
    case BK_T_STR:
        if (needle.type != BK_T_STR)
            return bk_trun_fail(run, BK_ERR_FORMAT, "a %s cannot be looked for in a string",
                                bk_tval_type_name(needle));
        if (!bk_trun_charge(run, hay.str->len)) return bk_tval_fail();
        if (needle.str->len == 0) return bk_tval_bool(true);
        return bk_tval_bool(
            memmem(hay.str->data, hay.str->len, needle.str->data, needle.str->len) != NULL);
    case BK_T_DICT: {
        bk_tval found = bk_tdict_get(run, hay.dict, needle);
        return found.type == BK_T_FAIL ? found : bk_tval_bool(found.type != BK_T_MISSING);
    }
    case BK_T_SEQ: return seq_contains(run, hay.seq, needle);
    default:
        return bk_trun_fail(run, BK_ERR_FORMAT, "nothing can be looked for in a %s",
                            bk_tval_type_name(hay));
    }
}
