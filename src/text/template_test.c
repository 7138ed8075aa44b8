/* Tests: what may follow "is". */
#include "text/template_case.h"
#include "text/template_eval.h"

typedef bk_tval (*test_fn)(bk_trun *run, bk_tval v, bk_tval arg);

static bk_tval t_defined(bk_trun *run, bk_tval v, bk_tval arg) {
    (void)run, (void)arg;
    return bk_tval_bool(v.type != BK_T_UNDEF);
}

static bk_tval t_undefined(bk_trun *run, bk_tval v, bk_tval arg) {
    (void)run, (void)arg;
    return bk_tval_bool(v.type == BK_T_UNDEF);
}

static bk_tval t_none(bk_trun *run, bk_tval v, bk_tval arg) {
    (void)run, (void)arg;
    return bk_tval_bool(v.type == BK_T_NONE);
}

static bk_tval t_boolean(bk_trun *run, bk_tval v, bk_tval arg) {
    (void)run, (void)arg;
    return bk_tval_bool(v.type == BK_T_BOOL);
}

static bk_tval t_true(bk_trun *run, bk_tval v, bk_tval arg) {
    (void)run, (void)arg;
    return bk_tval_bool(v.type == BK_T_BOOL && v.b);
}

static bk_tval t_false(bk_trun *run, bk_tval v, bk_tval arg) {
    (void)run, (void)arg;
    return bk_tval_bool(v.type == BK_T_BOOL && !v.b);
}

static bk_tval t_integer(bk_trun *run, bk_tval v, bk_tval arg) {
    (void)run, (void)arg;
    return bk_tval_bool(v.type == BK_T_INT);
}

static bk_tval t_float(bk_trun *run, bk_tval v, bk_tval arg) {
    (void)run, (void)arg;
    return bk_tval_bool(v.type == BK_T_FLOAT);
}

static bk_tval t_number(bk_trun *run, bk_tval v, bk_tval arg) {
    (void)run, (void)arg;
    return bk_tval_bool(bk_tval_is_number(v));
}

static bk_tval t_string(bk_trun *run, bk_tval v, bk_tval arg) {
    (void)run, (void)arg;
    return bk_tval_bool(v.type == BK_T_STR);
}

static bk_tval t_mapping(bk_trun *run, bk_tval v, bk_tval arg) {
    (void)run, (void)arg;
    return bk_tval_bool(v.type == BK_T_DICT);
}

/* jinja2 asks for a length and for subscripts, so strings and dictionaries count. */
static bk_tval t_sequence(bk_trun *run, bk_tval v, bk_tval arg) {
    (void)run, (void)arg;
    return bk_tval_bool(bk_tval_sized(v) && (v.type != BK_T_SEQ || v.seq->kind <= BK_SEQ_RANGE));
}

static bk_tval t_iterable(bk_trun *run, bk_tval v, bk_tval arg) {
    (void)run, (void)arg;
    return bk_tval_bool(bk_tval_iterable(v) || v.type == BK_T_LOOP);
}

static bk_tval t_callable(bk_trun *run, bk_tval v, bk_tval arg) {
    (void)run, (void)arg;
    return bk_tval_bool(v.type == BK_T_UNDEF || v.type >= BK_T_MACRO);
}

static bk_tval t_escaped(bk_trun *run, bk_tval v, bk_tval arg) {
    (void)run, (void)v, (void)arg;
    return bk_tval_bool(false);
}

static bk_tval is_case(bk_trun *run, bk_tval v, bk_tcase mode) {
    bk_tval s = bk_tval_to_str(run, v);
    if (s.type == BK_T_FAIL || !bk_trun_charge(run, s.str->len)) return bk_tval_fail();
    return bk_tval_bool(bk_tstr_is_case(bk_tstr_view(s.str), mode));
}

static bk_tval t_lower(bk_trun *run, bk_tval v, bk_tval arg) {
    (void)arg;
    return is_case(run, v, BK_CASE_LOWER);
}

static bk_tval t_upper(bk_trun *run, bk_tval v, bk_tval arg) {
    (void)arg;
    return is_case(run, v, BK_CASE_UPPER);
}

static bk_tval remainder_is(bk_trun *run, bk_tval v, bk_tval by, int64_t wanted) {
    bk_tval r = bk_tbinary(run, BK_TOK_MOD, v, by);
    if (r.type == BK_T_FAIL) return r;
    return bk_tval_bool(bk_tval_equal(run, r, bk_tval_int(wanted)));
}

static bk_tval t_odd(bk_trun *run, bk_tval v, bk_tval arg) {
    (void)arg;
    return remainder_is(run, v, bk_tval_int(2), 1);
}

static bk_tval t_even(bk_trun *run, bk_tval v, bk_tval arg) {
    (void)arg;
    return remainder_is(run, v, bk_tval_int(2), 0);
}

static bk_tval t_divisibleby(bk_trun *run, bk_tval v, bk_tval arg) {
    return remainder_is(run, v, arg, 0);
}

/* Python's "is", as far as a template can tell: numbers of one type are the same when equal. */
static bk_tval t_sameas(bk_trun *run, bk_tval v, bk_tval arg) {
    if (v.type != arg.type) return bk_tval_bool(false);
    if (v.type <= BK_T_FLOAT) return bk_tval_bool(bk_tval_equal(run, v, arg));
    return bk_tval_bool((const void *)v.str == (const void *)arg.str);
}

static bk_tval t_in(bk_trun *run, bk_tval v, bk_tval arg) { return bk_tval_contains(run, arg, v); }

static bk_tval t_eq(bk_trun *run, bk_tval v, bk_tval arg) {
    bool same = bk_tval_equal(run, v, arg);
    return bk_trun_ok(run) ? bk_tval_bool(same) : bk_tval_fail();
}

static bk_tval t_ne(bk_trun *run, bk_tval v, bk_tval arg) {
    bk_tval r = t_eq(run, v, arg);
    return r.type == BK_T_FAIL ? r : bk_tval_bool(!r.b);
}

/* Whether the order of v and arg is one of the two wanted. */
static bk_tval ordered(bk_trun *run, bk_tval v, bk_tval arg, int one, int other) {
    int order;
    if (v.type == BK_T_UNDEF) return bk_tundef_fail(run, v);
    if (arg.type == BK_T_UNDEF) return bk_tundef_fail(run, arg);
    if (!bk_tval_order(run, v, arg, &order)) return bk_tval_fail();
    return bk_tval_bool(order == one || order == other);
}

static bk_tval t_gt(bk_trun *run, bk_tval v, bk_tval arg) { return ordered(run, v, arg, 1, 1); }
static bk_tval t_ge(bk_trun *run, bk_tval v, bk_tval arg) { return ordered(run, v, arg, 1, 0); }
static bk_tval t_lt(bk_trun *run, bk_tval v, bk_tval arg) { return ordered(run, v, arg, -1, -1); }
static bk_tval t_le(bk_trun *run, bk_tval v, bk_tval arg) { return ordered(run, v, arg, -1, 0); }

static bk_tval t_filter(bk_trun *run, bk_tval v, bk_tval arg) {
    (void)run, (void)arg;
    return bk_tval_bool(v.type == BK_T_STR && bk_tfilter_known(bk_tstr_view(v.str)));
}

static bk_tval t_test(bk_trun *run, bk_tval v, bk_tval arg) {
    (void)run, (void)arg;
    return bk_tval_bool(v.type == BK_T_STR && bk_ttest_known(bk_tstr_view(v.str)));
}

typedef struct test {
    const char *name;
    size_t n_args;
    test_fn apply;
} test;

static const test tests[] = {
    {"defined", 0, t_defined},
    {"undefined", 0, t_undefined},
    {"none", 0, t_none},
    {"boolean", 0, t_boolean},
    {"true", 0, t_true},
    {"false", 0, t_false},
    {"integer", 0, t_integer},
    {"float", 0, t_float},
    {"number", 0, t_number},
    {"string", 0, t_string},
    {"mapping", 0, t_mapping},
    {"sequence", 0, t_sequence},
    {"iterable", 0, t_iterable},
    {"callable", 0, t_callable},
    {"escaped", 0, t_escaped},
    {"lower", 0, t_lower},
    {"upper", 0, t_upper},
    {"odd", 0, t_odd},
    {"even", 0, t_even},
    {"filter", 0, t_filter},
    {"test", 0, t_test},
    {"in", 1, t_in},
    {"sameas", 1, t_sameas},
    {"divisibleby", 1, t_divisibleby},
    {"eq", 1, t_eq},
    {"equalto", 1, t_eq},
    {"==", 1, t_eq},
    {"ne", 1, t_ne},
    {"!=", 1, t_ne},
    {"gt", 1, t_gt},
    {"greaterthan", 1, t_gt},
    {">", 1, t_gt},
    {"ge", 1, t_ge},
    {">=", 1, t_ge},
    {"lt", 1, t_lt},
    {"lessthan", 1, t_lt},
    {"<", 1, t_lt},
    {"le", 1, t_le},
    {"<=", 1, t_le},
};

static const test *find_test(bk_str name) {
    for (size_t i = 0; i < BK_ARRAY_LEN(tests); i++) {
        if (bk_str_eq(name, bk_str_from(tests[i].name))) return &tests[i];
    }
    return NULL;
}

bool bk_ttest_known(bk_str name) { return find_test(name) != NULL; }

bk_tval bk_ttest_apply(bk_trun *run, bk_str name, bk_tval value, const bk_targs *args) {
    const test *t = find_test(name);
    if (!t)
        return bk_trun_fail(run, BK_ERR_UNSUPPORTED, "unknown test \"" BK_STR_FMT "\"",
                            BK_STR_ARG(name));
    if (!bk_targs_count(run, t->name, args, t->n_args, t->n_args)) return bk_tval_fail();
    return t->apply(run, value, t->n_args ? args->pos[0] : bk_tval_missing());
}
