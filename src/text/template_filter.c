/* Filters over strings and numbers, and the look-up of all filters. */
#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "text/template_case.h"
#include "text/template_eval.h"

/* ---- Strings --------------------------------------------------------------------------------- */

static bk_tval change_case(bk_trun *run, bk_tval v, bk_tcase mode) {
    bk_tval s = bk_tval_to_str(run, v);
    return s.type == BK_T_FAIL ? s : bk_tstr_case(run, s.str, mode);
}

static bk_tval f_upper(bk_trun *run, bk_tval v, const bk_tval *a, const bk_targs *raw) {
    (void)a, (void)raw;
    return change_case(run, v, BK_CASE_UPPER);
}

static bk_tval f_lower(bk_trun *run, bk_tval v, const bk_tval *a, const bk_targs *raw) {
    (void)a, (void)raw;
    return change_case(run, v, BK_CASE_LOWER);
}

static bk_tval f_title(bk_trun *run, bk_tval v, const bk_tval *a, const bk_targs *raw) {
    (void)a, (void)raw;
    return change_case(run, v, BK_CASE_TITLE_FILTER);
}

static bk_tval f_capitalize(bk_trun *run, bk_tval v, const bk_tval *a, const bk_targs *raw) {
    (void)a, (void)raw;
    return change_case(run, v, BK_CASE_CAPITALIZE);
}

static bk_tval f_string(bk_trun *run, bk_tval v, const bk_tval *a, const bk_targs *raw) {
    (void)a, (void)raw;
    return bk_tval_to_str(run, v);
}

static bk_tval f_trim(bk_trun *run, bk_tval v, const bk_tval *a, const bk_targs *raw) {
    (void)raw;
    bk_tval s = bk_tval_to_str(run, v);
    return s.type == BK_T_FAIL ? s : bk_tstr_strip(run, s.str, a[0], true, true);
}

static bk_tval f_replace(bk_trun *run, bk_tval v, const bk_tval *a, const bk_targs *raw) {
    (void)raw;
    int64_t count;
    bk_tval s = bk_tval_to_str(run, v), from = bk_tval_to_str(run, a[0]);
    bk_tval to = bk_tval_to_str(run, a[1]);
    bk_tval n = a[2].type == BK_T_NONE ? bk_tval_missing() : a[2];
    if (!bk_trun_ok(run) || !bk_targ_int(run, "replace", n, -1, &count)) return bk_tval_fail();
    return bk_tstr_replace(run, s.str, from.str, to.str, count);
}

static bk_tval f_format(bk_trun *run, bk_tval v, const bk_tval *a, const bk_targs *raw) {
    (void)a;
    bk_tval s = bk_tval_to_str(run, v), values;
    if (s.type == BK_T_FAIL) return s;
    if (raw->n && raw->n_kw)
        return bk_trun_fail(run, BK_ERR_FORMAT, "format takes positional or named arguments");
    if (!raw->n_kw) {
        values = bk_tval_seq(run, BK_SEQ_TUPLE, raw->pos, raw->n);
    } else {
        values = bk_tval_dict(run);
        for (size_t i = 0; values.type != BK_T_FAIL && i < raw->n_kw; i++) {
            bk_tval key = bk_tval_text(run, raw->kw[i].name, false);
            if (key.type == BK_T_FAIL || !bk_tdict_set(run, values.dict, key, raw->kw[i].value))
                return bk_tval_fail();
        }
    }
    return values.type == BK_T_FAIL ? values : bk_tformat_percent(run, s.str, values);
}

/* The lines of a text as indent sees them: one more, empty, after a last newline. */
static bk_tval indent_lines(bk_trun *run, const bk_tstr *s) {
    bk_tval with_end =
        bk_tbinary(run, BK_TOK_ADD, bk_tval_str(s), bk_tval_text(run, BK_STR("\n"), false));
    return with_end.type == BK_T_FAIL ? with_end : bk_tstr_lines(run, with_end.str, false);
}

static bk_tval f_indent(bk_trun *run, bk_tval v, const bk_tval *a, const bk_targs *raw) {
    (void)raw;
    const bk_tstr *s;
    int64_t width;
    bk_tsb sb;
    bk_tval by = a[0];
    if (!bk_targ_str(run, "indent", v, &s)) return bk_tval_fail();
    if (by.type != BK_T_STR) {
        if (!bk_targ_int(run, "indent", by, 4, &width)) return bk_tval_fail();
        by = bk_tbinary(run, BK_TOK_MUL, bk_tval_text(run, BK_STR(" "), false), bk_tval_int(width));
    }
    bk_tval lines = indent_lines(run, s);
    if (by.type == BK_T_FAIL || lines.type == BK_T_FAIL) return bk_tval_fail();
    bool first = bk_tval_truth(a[1]), blank = bk_tval_truth(a[2]);
    bk_tsb_init(&sb, run);
    for (size_t i = 0; i < lines.seq->n; i++) {
        const bk_tstr *line = lines.seq->items[i].str;
        if (i) bk_tsb_lit(&sb, "\n");
        if (i ? blank || line->len : first) bk_tsb_str(&sb, by.str);
        if (!bk_tsb_str(&sb, line)) return bk_tval_fail();
    }
    return bk_tsb_done(&sb);
}

static bk_tval f_join(bk_trun *run, bk_tval v, const bk_tval *a, const bk_targs *raw) {
    (void)raw;
    bk_tval *items, sep;
    size_t n;
    sep = a[0].type == BK_T_MISSING ? bk_tval_text(run, BK_STR(""), false)
                                    : bk_tval_to_str(run, a[0]);
    if (sep.type == BK_T_FAIL || !bk_tval_items(run, v, &items, &n)) return bk_tval_fail();
    if (a[1].type != BK_T_MISSING && a[1].type != BK_T_NONE) {
        bk_tval *picked = bk_trun_alloc(run, n, sizeof *picked);
        if (!picked) return bk_tval_fail();
        for (size_t i = 0; i < n; i++) {
            picked[i] = bk_tattr_path(run, items[i], a[1], bk_tval_none());
            if (picked[i].type == BK_T_FAIL) return picked[i];
        }
        items = picked;
    }
    return bk_tstr_join(run, sep.str, items, n, true);
}

/* transformers' tojson: json.dumps(v, ensure_ascii, indent, separators, sort_keys). */
static bk_tval f_tojson(bk_trun *run, bk_tval v, const bk_tval *a, const bk_targs *raw) {
    (void)raw;
    bk_tjson_style style = {.ascii = bk_tval_truth(a[0]), .sort_keys = bk_tval_truth(a[3])};
    bk_tval indent = a[1], *pair;
    size_t n = 0;
    if (indent.type == BK_T_INT || indent.type == BK_T_BOOL) {
        indent = bk_tbinary(run, BK_TOK_MUL, bk_tval_text(run, BK_STR(" "), false), indent);
        if (indent.type == BK_T_FAIL) return indent;
    }
    if (indent.type != BK_T_MISSING && indent.type != BK_T_NONE &&
        !bk_targ_str(run, "tojson", indent, &style.indent))
        return bk_tval_fail();
    style.item = bk_tstr_new(run, style.indent ? BK_STR(",") : BK_STR(", "), false);
    style.key = bk_tstr_new(run, BK_STR(": "), false);
    if (!style.item || !style.key) return bk_tval_fail();
    if (a[2].type != BK_T_MISSING && a[2].type != BK_T_NONE) {
        if (!bk_tval_items(run, a[2], &pair, &n)) return bk_tval_fail();
        if (n != 2) return bk_trun_fail(run, BK_ERR_FORMAT, "tojson needs two separators");
        if (!bk_targ_str(run, "tojson", pair[0], &style.item) ||
            !bk_targ_str(run, "tojson", pair[1], &style.key))
            return bk_tval_fail();
    }
    bk_tsb sb;
    bk_tsb_init(&sb, run);
    return bk_tval_json(&sb, v, &style) ? bk_tsb_done(&sb) : bk_tval_fail();
}

/* ---- Numbers --------------------------------------------------------------------------------- */

static bk_str strip(bk_str s) {
    size_t begin = bk_tspace_begin(s);
    s = (bk_str){s.data + begin, s.len - begin};
    s.len -= bk_tspace_end(s);
    return s;
}

static int digit(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'z') return c - 'a' + 10;
    return c >= 'A' && c <= 'Z' ? c - 'A' + 10 : 99;
}

bool bk_tparse_int(bk_str text, int base, int64_t *out) {
    bk_str s = strip(text);
    bool negative = s.len && s.data[0] == '-', any = false, gap = true;
    if (s.len && (s.data[0] == '-' || s.data[0] == '+')) s = (bk_str){s.data + 1, s.len - 1};
    char mark = s.len > 1 && s.data[0] == '0' ? s.data[1] | 0x20 : '\0';
    int marked = mark == 'x' ? 16 : mark == 'o' ? 8 : mark == 'b' ? 2 : 0;
    if (marked && (base == marked || base == 0)) {
        base = marked;
        s = (bk_str){s.data + 2, s.len - 2};
        gap = false;
    }
    int64_t v = 0;
    for (size_t i = 0; i < s.len; i++) {
        if (s.data[i] == '_' && !gap) {
            gap = true;
            continue;
        }
        int d = digit(s.data[i]);
        if (d >= (base ? base : 10)) return false;
        if (__builtin_mul_overflow(v, (int64_t)(base ? base : 10), &v) ||
            __builtin_add_overflow(v, (int64_t)d, &v))
            return false;
        any = true;
        gap = false;
    }
    *out = negative ? -v : v;
    return any && !gap;
}

/* float(text) of Python: decimal, or a name of infinity or nan. */
static bool parse_float(bk_str text, double *out) {
    char z[512];
    bk_str s = strip(text);
    size_t n = 0;
    bool digits = false;
    if (s.len == 0 || s.len >= sizeof z) return false;
    for (size_t i = 0; i < s.len; i++) {
        char c = s.data[i];
        bool between =
            i > 0 && i + 1 < s.len && digit(s.data[i - 1]) < 10 && digit(s.data[i + 1]) < 10;
        if (c == '_' && between) continue;
        if (c == '_' || c == '(' || c == '\0') return false;
        digits = digits || (c >= '0' && c <= '9');
        z[n++] = c == '.' ? localeconv()->decimal_point[0] : c;
    }
    z[n] = '\0';
    if (strpbrk(z, "xX")) return false;
    char *end;
    *out = strtod(z, &end);
    return *end == '\0' && (digits || isinf(*out) || isnan(*out));
}

static bk_tval int_of_float(bk_trun *run, double f, bk_tval otherwise) {
    if (isnan(f)) return otherwise;
    if (f >= 0x1p63 || f < -0x1p63)
        return bk_trun_fail(run, BK_ERR_LIMIT, "an integer of more than 64 bits");
    return bk_tval_int((int64_t)f);
}

static bk_tval f_int(bk_trun *run, bk_tval v, const bk_tval *a, const bk_targs *raw) {
    (void)raw;
    bk_tval otherwise = a[0].type == BK_T_MISSING ? bk_tval_int(0) : a[0], r = otherwise;
    int64_t base, i;
    double f;
    if (!bk_targ_int(run, "int", a[1], 10, &base)) return bk_tval_fail();
    if (v.type == BK_T_UNDEF) return bk_tundef_fail(run, v);
    if (v.type == BK_T_INT || v.type == BK_T_BOOL) {
        r = bk_tval_int(bk_tval_as_int(v));
    } else if (v.type == BK_T_FLOAT) {
        r = int_of_float(run, v.f, otherwise);
    } else if (v.type == BK_T_STR && base >= 0 && base <= 36 &&
               bk_tparse_int(bk_tstr_view(v.str), (int)base, &i)) {
        r = bk_tval_int(i);
    } else if (v.type == BK_T_STR && parse_float(bk_tstr_view(v.str), &f)) {
        r = isinf(f) ? otherwise : int_of_float(run, f, otherwise);
    }
    r.user = v.user || v.type == BK_T_STR;
    return r;
}

static bk_tval f_float(bk_trun *run, bk_tval v, const bk_tval *a, const bk_targs *raw) {
    (void)raw;
    bk_tval r = a[0].type == BK_T_MISSING ? bk_tval_float(0) : a[0];
    double f;
    if (v.type == BK_T_UNDEF) return bk_tundef_fail(run, v);
    if (bk_tval_is_number(v)) {
        r = bk_tval_float(bk_tval_as_float(v));
    } else if (v.type == BK_T_STR && parse_float(bk_tstr_view(v.str), &f)) {
        r = bk_tval_float(f);
    }
    r.user = v.user || v.type == BK_T_STR;
    return r;
}

static bk_tval f_abs(bk_trun *run, bk_tval v, const bk_tval *a, const bk_targs *raw) {
    (void)a, (void)raw;
    bool negative = v.type == BK_T_FLOAT ? signbit(v.f) != 0 : v.type == BK_T_INT && v.i < 0;
    return bk_tnegate(run, v, negative);
}

static bk_tval f_round(bk_trun *run, bk_tval v, const bk_tval *a, const bk_targs *raw) {
    (void)raw;
    const bk_tstr *method = NULL;
    int64_t digits;
    char text[400];
    if (v.type == BK_T_UNDEF) return bk_tundef_fail(run, v);
    if (!bk_tval_is_number(v))
        return bk_trun_fail(run, BK_ERR_FORMAT, "a %s cannot be rounded", bk_tval_type_name(v));
    if (!bk_targ_int(run, "round", a[0], 0, &digits)) return bk_tval_fail();
    if (digits < 0 || digits > 15)
        return bk_trun_fail(run, BK_ERR_UNSUPPORTED, "round to other than 0 to 15 digits");
    if (a[1].type != BK_T_MISSING && !bk_targ_str(run, "round", a[1], &method))
        return bk_tval_fail();
    bool common = !method || bk_str_eq(bk_tstr_view(method), BK_STR("common"));
    bool up = method && bk_str_eq(bk_tstr_view(method), BK_STR("ceil"));
    if (!common && !up && !bk_str_eq(bk_tstr_view(method), BK_STR("floor")))
        return bk_trun_fail(run, BK_ERR_FORMAT, "round knows common, ceil and floor");
    bk_tval r = bk_tval_int(bk_tval_as_int(v));
    if (!common) {
        double scale = pow(10, (double)digits), x = bk_tval_as_float(v) * scale;
        r = bk_tval_float((up ? ceil(x) : floor(x)) / scale);
    } else if (v.type == BK_T_FLOAT) {
        snprintf(text, sizeof text, "%.*f", (int)digits, v.f);
        r = bk_tval_float(isfinite(v.f) ? strtod(text, NULL) : v.f);
    }
    r.user = v.user;
    return r;
}

/* ---- Any value ------------------------------------------------------------------------------- */

static bk_tval f_length(bk_trun *run, bk_tval v, const bk_tval *a, const bk_targs *raw) {
    (void)a, (void)raw;
    if (v.type == BK_T_LOOP) return bk_tloop_attr(run, v.loop, BK_STR("length"));
    if (!bk_tval_sized(v))
        return bk_trun_fail(run, BK_ERR_FORMAT, "a %s has no length", bk_tval_type_name(v));
    return bk_tval_int((int64_t)bk_tval_len(v));
}

static bk_tval f_default(bk_trun *run, bk_tval v, const bk_tval *a, const bk_targs *raw) {
    (void)raw;
    if (v.type != BK_T_UNDEF && (!bk_tval_truth(a[1]) || bk_tval_truth(v))) return v;
    return a[0].type == BK_T_MISSING ? bk_tval_text(run, BK_STR(""), false) : a[0];
}

static const bk_tfilter filters[] = {
    {"upper", "", 0, f_upper},
    {"lower", "", 0, f_lower},
    {"title", "", 0, f_title},
    {"capitalize", "", 0, f_capitalize},
    {"string", "", 0, f_string},
    {"safe", "", 0, f_string},
    {"trim", "chars", 0, f_trim},
    {"replace", "old new count", 2, f_replace},
    {"format", NULL, 0, f_format},
    {"indent", "width first blank", 0, f_indent},
    {"join", "d attribute", 0, f_join},
    {"tojson", "ensure_ascii indent separators sort_keys", 0, f_tojson},
    {"int", "default base", 0, f_int},
    {"float", "default", 0, f_float},
    {"abs", "", 0, f_abs},
    {"round", "precision method", 0, f_round},
    {"length", "", 0, f_length},
    {"count", "", 0, f_length},
    {"default", "default_value boolean", 0, f_default},
    {"d", "default_value boolean", 0, f_default},
};

static const bk_tfilter *find_filter(bk_str name) {
    for (size_t i = 0; i < BK_ARRAY_LEN(filters); i++) {
        if (bk_str_eq(name, bk_str_from(filters[i].name))) return &filters[i];
    }
    for (size_t i = 0; i < bk_tfilters_n_seq; i++) {
        if (bk_str_eq(name, bk_str_from(bk_tfilters_seq[i].name))) return &bk_tfilters_seq[i];
    }
    return NULL;
}

bool bk_tfilter_known(bk_str name) { return find_filter(name) != NULL; }

bk_tval bk_tfilter_apply(bk_trun *run, bk_str name, bk_tval value, const bk_targs *args) {
    bk_tval bound[BK_T_MAX_PARAMS];
    const bk_tfilter *f = find_filter(name);
    if (!f)
        return bk_trun_fail(run, BK_ERR_UNSUPPORTED, "unknown filter \"" BK_STR_FMT "\"",
                            BK_STR_ARG(name));
    if (f->params && !bk_targs_bind(run, f->name, f->params, f->required, args, bound))
        return bk_tval_fail();
    return f->apply(run, value, bound, args);
}
