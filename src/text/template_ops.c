/* Operators, subscripts and slices with Python's meaning. Integers have 64 bits: a result beyond
 * them is an error, not a wrong number. */
#include <math.h>
#include <string.h>

#include "text/template_eval.h"

static bk_tval too_big(bk_trun *run) {
    return bk_trun_fail(run, BK_ERR_LIMIT, "an integer of more than 64 bits");
}

static bk_tval zero_division(bk_trun *run) {
    return bk_trun_fail(run, BK_ERR_FORMAT, "division by zero");
}

static bk_tval mismatch(bk_trun *run, int op, bk_tval a, bk_tval b) {
    static const char *const names[] = {
        [BK_TOK_FLOORDIV] = "//", [BK_TOK_POW] = "**", [BK_TOK_ADD] = "+", [BK_TOK_SUB] = "-",
        [BK_TOK_DIV] = "/",       [BK_TOK_MUL] = "*",  [BK_TOK_MOD] = "%",
    };
    return bk_trun_fail(run, BK_ERR_FORMAT, "\"%s\" does not work between a %s and a %s", names[op],
                        bk_tval_type_name(a), bk_tval_type_name(b));
}

/* ---- Numbers --------------------------------------------------------------------------------- */

static bk_tval int_power(bk_trun *run, int64_t a, int64_t b) {
    if (b < 0) return a == 0 ? zero_division(run) : bk_tval_float(pow((double)a, (double)b));
    int64_t r = 1;
    while (b > 0) {
        if ((b & 1) && __builtin_mul_overflow(r, a, &r)) return too_big(run);
        b >>= 1;
        if (b > 0 && __builtin_mul_overflow(a, a, &a)) return too_big(run);
    }
    return bk_tval_int(r);
}

static bk_tval int_division(bk_trun *run, int op, int64_t a, int64_t b) {
    if (b == 0) return zero_division(run);
    if (op == BK_TOK_DIV) return bk_tval_float((double)((long double)a / (long double)b));
    if (b == -1) { /* the most negative number has no opposite */
        if (op == BK_TOK_MOD) return bk_tval_int(0);
        return a == INT64_MIN ? too_big(run) : bk_tval_int(-a);
    }
    int64_t q = a / b, r = a % b;
    if (r != 0 && (r < 0) != (b < 0)) {
        q--;
        r += b;
    }
    return bk_tval_int(op == BK_TOK_MOD ? r : q);
}

static bk_tval int_binary(bk_trun *run, int op, int64_t a, int64_t b) {
    int64_t r = 0;
    bool over = false;
    switch (op) {
    case BK_TOK_ADD: over = __builtin_add_overflow(a, b, &r); break;
    case BK_TOK_SUB: over = __builtin_sub_overflow(a, b, &r); break;
    case BK_TOK_MUL: over = __builtin_mul_overflow(a, b, &r); break;
    case BK_TOK_POW: return int_power(run, a, b);
    default: return int_division(run, op, a, b);
    }
    return over ? too_big(run) : bk_tval_int(r);
}

static bk_tval float_division(bk_trun *run, int op, double a, double b) {
    if (b == 0) return zero_division(run);
    if (op == BK_TOK_DIV) return bk_tval_float(a / b);
    double mod = fmod(a, b), div = (a - mod) / b;
    if (mod == 0) {
        mod = copysign(0, b);
    } else if ((b < 0) != (mod < 0)) {
        mod += b;
        div -= 1;
    }
    if (op == BK_TOK_MOD) return bk_tval_float(mod);
    if (div == 0) return bk_tval_float(copysign(0, a / b));
    double down = floor(div);
    return bk_tval_float(div - down > 0.5 ? down + 1 : down);
}

static bk_tval float_binary(bk_trun *run, int op, double a, double b) {
    switch (op) {
    case BK_TOK_ADD: return bk_tval_float(a + b);
    case BK_TOK_SUB: return bk_tval_float(a - b);
    case BK_TOK_MUL: return bk_tval_float(a * b);
    case BK_TOK_POW: break;
    default: return float_division(run, op, a, b);
    }
    double r = pow(a, b);
    if (a == 0 && b < 0) return zero_division(run);
    if (isnan(r) && !isnan(a) && !isnan(b))
        return bk_trun_fail(run, BK_ERR_UNSUPPORTED, "complex numbers are not supported");
    if (isinf(r) && !isinf(a) && !isinf(b))
        return bk_trun_fail(run, BK_ERR_FORMAT, "the result of \"**\" is too large");
    return bk_tval_float(r);
}

bk_tval bk_tnegate(bk_trun *run, bk_tval v, bool negative) {
    if (v.type == BK_T_UNDEF) return bk_tundef_fail(run, v);
    if (!bk_tval_is_number(v))
        return bk_trun_fail(run, BK_ERR_FORMAT, "a %s has no sign", bk_tval_type_name(v));
    bk_tval r;
    if (v.type == BK_T_FLOAT) {
        r = bk_tval_float(negative ? -v.f : v.f);
    } else {
        int64_t i = bk_tval_as_int(v);
        if (negative && i == INT64_MIN) return too_big(run);
        r = bk_tval_int(negative ? -i : i);
    }
    r.user = v.user;
    return r;
}

/* ---- Sequences ------------------------------------------------------------------------------- */

static bool is_list_or_tuple(bk_tval v) {
    return v.type == BK_T_SEQ && v.seq->kind <= BK_SEQ_TUPLE;
}

static bk_tval join_sequences(bk_trun *run, bk_tval a, bk_tval b) {
    bk_tseq *x = a.seq, *y = b.seq;
    bk_tval *items = bk_trun_alloc(run, x->n + y->n, sizeof *items);
    if (!items || !bk_trun_charge(run, 16 * (x->n + y->n))) return bk_tval_fail();
    if (x->n) memcpy(items, x->items, x->n * sizeof *items);
    if (y->n) memcpy(items + x->n, y->items, y->n * sizeof *items);
    return bk_tval_seq(run, x->kind, items, x->n + y->n);
}

static bk_tval repeat_sequence(bk_trun *run, bk_tval v, int64_t times) {
    size_t n = v.seq->n, total;
    if (times < 0) times = 0;
    if (!bk_mul_size(n, (size_t)times, &total)) total = SIZE_MAX;
    bk_tval *items = bk_trun_alloc(run, total, sizeof *items);
    if (!items || !bk_trun_charge(run, 16 * total)) return bk_tval_fail();
    for (size_t i = 0; i < total; i += n) memcpy(items + i, v.seq->items, n * sizeof *items);
    return bk_tval_seq(run, v.seq->kind, items, total);
}

static bk_tval repeat_string(bk_trun *run, const bk_tstr *s, int64_t times) {
    bk_tsb sb;
    bk_tsb_init(&sb, run);
    if (s->len == 0) times = 0;
    if (times > 0 && (uint64_t)times > BK_T_MAX_OUTPUT / s->len)
        return bk_trun_fail(run, BK_ERR_LIMIT, "a text of more than %zu MiB",
                            BK_T_MAX_OUTPUT >> 20);
    for (int64_t i = 0; i < times; i++) {
        if (!bk_tsb_str(&sb, s)) return bk_tval_fail();
    }
    return bk_tsb_done(&sb);
}

static bk_tval join_strings(bk_trun *run, const bk_tstr *a, const bk_tstr *b) {
    bk_tsb sb;
    bk_tsb_init(&sb, run);
    bk_tsb_str(&sb, a);
    bk_tsb_str(&sb, b);
    return bk_tsb_done(&sb);
}

static bk_tval repeat(bk_trun *run, bk_tval v, bk_tval times) {
    bk_tval r = v.type == BK_T_STR ? repeat_string(run, v.str, bk_tval_as_int(times))
                                   : repeat_sequence(run, v, bk_tval_as_int(times));
    if (v.type != BK_T_STR) r.user = v.user;
    return r;
}

static bool is_integer(bk_tval v) { return v.type == BK_T_INT || v.type == BK_T_BOOL; }

bk_tval bk_tbinary(bk_trun *run, int op, bk_tval a, bk_tval b) {
    if (a.type == BK_T_STR && op == BK_TOK_MOD) return bk_tformat_percent(run, a.str, b);
    if (a.type == BK_T_UNDEF) return bk_tundef_fail(run, a);
    if (b.type == BK_T_UNDEF) return bk_tundef_fail(run, b);
    if (bk_tval_is_number(a) && bk_tval_is_number(b)) {
        bool ints = is_integer(a) && is_integer(b);
        bk_tval r = ints ? int_binary(run, op, bk_tval_as_int(a), bk_tval_as_int(b))
                         : float_binary(run, op, bk_tval_as_float(a), bk_tval_as_float(b));
        r.user = a.user || b.user;
        return r;
    }
    if (op == BK_TOK_ADD) {
        if (a.type == BK_T_STR && b.type == BK_T_STR) return join_strings(run, a.str, b.str);
        if (is_list_or_tuple(a) && is_list_or_tuple(b) && a.seq->kind == b.seq->kind)
            return join_sequences(run, a, b);
    }
    if (op == BK_TOK_MUL) {
        if ((a.type == BK_T_STR || is_list_or_tuple(a)) && is_integer(b)) return repeat(run, a, b);
        if ((b.type == BK_T_STR || is_list_or_tuple(b)) && is_integer(a)) return repeat(run, b, a);
    }
    return mismatch(run, op, a, b);
}

/* ---- Subscripts ------------------------------------------------------------------------------ */

/* Item `index` of n, counted from the end when negative; n when there is none. */
static size_t resolve_index(int64_t index, size_t n) {
    if (index < 0) index += (int64_t)n;
    return index < 0 || (uint64_t)index >= n ? n : (size_t)index;
}

static bk_tval string_item(bk_trun *run, const bk_tstr *s, size_t index) {
    size_t begin = bk_tstr_offset(run, s, index);
    uint32_t cp;
    return bk_tstr_slice(run, s, begin,
                         begin + bk_utf8_decode(s->data + begin, s->len - begin, &cp));
}

bk_tval bk_titem(bk_trun *run, bk_tval obj, bk_tval key) {
    if (obj.type == BK_T_UNDEF) return bk_tundef_fail(run, obj);
    if (obj.type == BK_T_DICT && (key.type != BK_T_SEQ || key.seq->kind == BK_SEQ_TUPLE) &&
        key.type != BK_T_DICT) {
        bk_tval v = bk_tdict_get(run, obj.dict, key);
        if (v.type != BK_T_MISSING) return v;
    } else if (is_integer(key)) {
        bool subscript =
            obj.type == BK_T_STR || (obj.type == BK_T_SEQ && obj.seq->kind <= BK_SEQ_RANGE);
        size_t n = subscript ? bk_tval_len(obj) : 0;
        size_t i = resolve_index(bk_tval_as_int(key), n);
        if (i < n) return obj.type == BK_T_STR ? string_item(run, obj.str, i) : obj.seq->items[i];
    }
    if (key.type == BK_T_STR && obj.type != BK_T_DICT)
        return bk_tattr(run, obj, bk_tstr_view(key.str));
    bk_tval name = bk_tval_to_str(run, key);
    if (name.type == BK_T_FAIL) return name;
    if (key.type == BK_T_STR && bk_tmethod_find(obj, bk_tstr_view(name.str)))
        return bk_tattr(run, obj, bk_tstr_view(name.str));
    return bk_tval_undef(run, bk_tstr_view(name.str), bk_tval_type_name(obj));
}

/* One bound of a slice, clipped as Python's slice.indices does. */
static bool slice_bound(bk_trun *run, bk_tval v, int64_t n, int64_t step, int64_t missing,
                        int64_t *out) {
    int64_t i, low = step < 0 ? -1 : 0, high = step < 0 ? n - 1 : n;
    if (v.type == BK_T_MISSING || v.type == BK_T_NONE) {
        *out = missing;
        return true;
    }
    if (!bk_targ_int(run, "a slice", v, 0, &i)) return false;
    if (i < 0) i = i < -n ? low : i + n;
    *out = i < low ? low : i > high ? high : i;
    return true;
}

static bk_tval slice_string(bk_trun *run, const bk_tstr *s, int64_t start, int64_t step,
                            size_t count) {
    bk_tsb sb;
    bk_tval *chars;
    size_t n;
    if (step == 1) {
        size_t begin = bk_tstr_offset(run, s, (size_t)start);
        return bk_tstr_slice(run, s, begin, bk_tstr_offset(run, s, (size_t)start + count));
    }
    bk_tsb_init(&sb, run);
    if (!bk_tval_items(run, bk_tval_str(s), &chars, &n)) return bk_tval_fail();
    for (size_t i = 0; i < count; i++) {
        if (!bk_tsb_str(&sb, chars[start + (int64_t)i * step].str)) return bk_tval_fail();
    }
    return bk_tsb_done(&sb);
}

static bk_tval slice_sequence(bk_trun *run, bk_tval obj, int64_t start, int64_t stop, int64_t step,
                              size_t count) {
    const bk_tseq *seq = obj.seq;
    bk_tval *items = bk_trun_alloc(run, count, sizeof *items);
    if (!items || !bk_trun_charge(run, 16 * count)) return bk_tval_fail();
    for (size_t i = 0; i < count; i++) items[i] = seq->items[start + (int64_t)i * step];
    bk_tval r = bk_tval_seq(run, seq->kind, items, count);
    if (r.type == BK_T_FAIL) return r;
    r.user = obj.user;
    if (seq->kind == BK_SEQ_RANGE) { /* ranges are short, so this stays within 64 bits */
        r.seq->start = seq->start + start * seq->step;
        r.seq->stop = seq->start + stop * seq->step;
        r.seq->step = seq->step * step;
    }
    return r;
}

bk_tval bk_tslice(bk_trun *run, bk_tval obj, bk_tval from, bk_tval to, bk_tval by) {
    int64_t step, start, stop;
    if (obj.type == BK_T_UNDEF) return bk_tundef_fail(run, obj);
    if (obj.type != BK_T_STR && !(obj.type == BK_T_SEQ && obj.seq->kind <= BK_SEQ_RANGE))
        return bk_trun_fail(run, BK_ERR_FORMAT, "a %s cannot be sliced", bk_tval_type_name(obj));
    int64_t n = (int64_t)bk_tval_len(obj);
    if (by.type == BK_T_NONE) by = bk_tval_missing();
    if (!bk_targ_int(run, "a slice", by, 1, &step)) return bk_tval_fail();
    if (step == 0) return bk_trun_fail(run, BK_ERR_FORMAT, "a slice with step 0");
    /* Steps beyond the length all mean "the first item only"; clipping them keeps sums in range. */
    if (step > n) step = n + 1;
    if (step < -n) step = -n - 1;
    if (!slice_bound(run, from, n, step, step < 0 ? n - 1 : 0, &start) ||
        !slice_bound(run, to, n, step, step < 0 ? -1 : n, &stop))
        return bk_tval_fail();
    int64_t span = step > 0 ? stop - start : start - stop, width = step > 0 ? step : -step;
    size_t count = span > 0 ? (size_t)((span + width - 1) / width) : 0;
    if (obj.type != BK_T_STR) return slice_sequence(run, obj, start, stop, step, count);
    return count ? slice_string(run, obj.str, start, step, count)
                 : bk_tval_text(run, BK_STR(""), false);
}
