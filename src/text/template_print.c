/* How values become text: str(), repr() and JSON as Python writes them. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "text/template_case.h"
#include "text/template_eval.h"
#include "text/template_value.h"

void bk_tfloat_repr(double f, char out[40]) {
    if (!isfinite(f)) {
        snprintf(out, 40, "%s", isnan(f) ? "nan" : f < 0 ? "-inf" : "inf");
        return;
    }
    char e[40], digits[24];
    for (int prec = 0; prec <= 16; prec++) {
        snprintf(e, sizeof e, "%.*e", prec, fabs(f));
        if (strtod(e, NULL) == fabs(f)) break;
    }
    /* Whatever the locale's decimal point is, digits and the exponent are what counts. */
    int n = 0, i = 0;
    for (; e[i] != 'e'; i++) {
        if (e[i] >= '0' && e[i] <= '9') digits[n++] = e[i];
    }
    int exp10 = (int)strtol(e + i + 1, NULL, 10);
    char *p = out;
    if (signbit(f)) *p++ = '-';
    if (exp10 < -4 || exp10 >= 16) {
        *p++ = digits[0];
        if (n > 1) *p++ = '.';
        for (i = 1; i < n; i++) *p++ = digits[i];
        snprintf(p, 16, "e%c%02d", exp10 < 0 ? '-' : '+', abs(exp10));
        return;
    }
    if (exp10 < 0) p += snprintf(p, 8, "0.%.*s", -exp10 - 1, "000");
    for (i = 0; i < n || i <= exp10; i++) {
        *p++ = i < n ? digits[i] : '0';
        if (i == exp10) *p++ = '.';
    }
    if (p[-1] == '.') *p++ = '0';
    *p = '\0';
}

static bool put_int(bk_tsb *sb, int64_t i) {
    char text[24];
    snprintf(text, sizeof text, "%" PRId64, i);
    return bk_tsb_lit(sb, text);
}

static bool put_float(bk_tsb *sb, double f) {
    char text[40];
    bk_tfloat_repr(f, text);
    return bk_tsb_lit(sb, text);
}

/* An escape in place of the character at s[at], as much a variable's as the character was. */
static bool put_escape(bk_tsb *sb, const bk_tstr *s, size_t at, const char *esc) {
    return bk_tsb_bytes(sb, esc, strlen(esc), bk_tstr_user_at(s, at));
}

/* The escape that repr() writes for this character, or "" for the character itself. */
static void repr_escape(uint32_t cp, char quote, char out[16]) {
    out[0] = '\0';
    if (cp == (unsigned char)quote || cp == '\\') {
        snprintf(out, 16, "\\%c", (int)cp);
    } else if (cp == '\n') {
        snprintf(out, 16, "\\n");
    } else if (cp == '\r') {
        snprintf(out, 16, "\\r");
    } else if (cp == '\t') {
        snprintf(out, 16, "\\t");
    } else if (cp < 0x7F ? cp < 0x20 : !bk_tchar_printable(cp)) {
        snprintf(out, 16, cp < 0x100 ? "\\x%02x" : cp < 0x10000 ? "\\u%04x" : "\\U%08x", cp);
    }
}

static bool repr_string(bk_tsb *sb, const bk_tstr *s) {
    bool single = s->len && memchr(s->data, '\'', s->len),
         dbl = s->len && memchr(s->data, '"', s->len);
    char quote = single && !dbl ? '"' : '\'', esc[16];
    size_t from = 0;
    bk_tsb_bytes(sb, &quote, 1, false);
    for (size_t i = 0; i < s->len && bk_trun_ok(sb->run);) {
        uint32_t cp;
        size_t len = bk_utf8_decode(s->data + i, s->len - i, &cp);
        repr_escape(cp, quote, esc);
        if (esc[0]) {
            bk_tsb_slice(sb, s, from, i);
            put_escape(sb, s, i, esc);
            from = i + len;
        }
        i += len;
    }
    bk_tsb_slice(sb, s, from, s->len);
    return bk_tsb_bytes(sb, &quote, 1, false);
}

static bool too_deep(bk_tsb *sb, int depth) {
    if (depth <= BK_T_MAX_NESTING) return false;
    bk_trun_fail(sb->run, BK_ERR_LIMIT, "values nested more than %d deep", BK_T_MAX_NESTING);
    return true;
}

static bool repr_deep(bk_tsb *sb, bk_tval v, int depth);

static bool repr_seq(bk_tsb *sb, const bk_tseq *seq, int depth) {
    static const char *const open[] = {"[",           "(", "", "", "dict_keys([", "dict_values([",
                                       "dict_items(["};
    static const char *const close[] = {"]", ")", "", "", "])", "])", "])"};
    if (seq->kind == BK_SEQ_ITER) return bk_tsb_lit(sb, "<generator object>");
    if (seq->kind == BK_SEQ_RANGE) {
        bk_tsb_lit(sb, "range(");
        put_int(sb, seq->start);
        bk_tsb_lit(sb, ", ");
        put_int(sb, seq->stop);
        if (seq->step != 1) bk_tsb_lit(sb, ", ");
        if (seq->step != 1) put_int(sb, seq->step);
        return bk_tsb_lit(sb, ")");
    }
    bk_tsb_lit(sb, open[seq->kind]);
    for (size_t i = 0; i < seq->n; i++) {
        if (i && !bk_tsb_lit(sb, ", ")) return false;
        if (!repr_deep(sb, seq->items[i], depth + 1)) return false;
    }
    if (seq->kind == BK_SEQ_TUPLE && seq->n == 1) bk_tsb_lit(sb, ",");
    return bk_tsb_lit(sb, close[seq->kind]);
}

static bool repr_dict(bk_tsb *sb, const bk_tdict *d, int depth) {
    bk_tsb_lit(sb, "{");
    for (size_t i = 0; i < d->n; i++) {
        if (i && !bk_tsb_lit(sb, ", ")) return false;
        if (!repr_deep(sb, d->keys[i], depth + 1)) return false;
        if (!bk_tsb_lit(sb, ": ") || !repr_deep(sb, d->values[i], depth + 1)) return false;
    }
    return bk_tsb_lit(sb, "}");
}

static bool repr_named(bk_tsb *sb, const char *kind, bk_str name) {
    bk_tsb_lit(sb, "<");
    bk_tsb_lit(sb, kind);
    bk_tsb_lit(sb, " '");
    bk_tsb_bytes(sb, name.data, name.len, false);
    return bk_tsb_lit(sb, "'>");
}

static bool repr_plain(bk_tsb *sb, bk_tval v, int depth) {
    switch ((bk_ttype)v.type) {
    case BK_T_UNDEF: return bk_tsb_lit(sb, "Undefined");
    case BK_T_NONE: return bk_tsb_lit(sb, "None");
    case BK_T_BOOL: return bk_tsb_lit(sb, v.b ? "True" : "False");
    case BK_T_INT: return put_int(sb, v.i);
    case BK_T_FLOAT: return put_float(sb, v.f);
    case BK_T_STR: return repr_string(sb, v.str);
    case BK_T_SEQ: return repr_seq(sb, v.seq, depth);
    case BK_T_DICT: return repr_dict(sb, v.dict, depth);
    case BK_T_SPACE:
        return bk_tsb_lit(sb, "<Namespace ") && repr_dict(sb, v.dict, depth) && bk_tsb_lit(sb, ">");
    case BK_T_MACRO: return repr_named(sb, "Macro", bk_tmacro_name(v.macro));
    case BK_T_FUNC: return repr_named(sb, "function", bk_str_from(v.func->name));
    case BK_T_METHOD: return repr_named(sb, "method", bk_str_from(v.method->def->name));
    case BK_T_LOOP: return bk_tsb_lit(sb, "<loop>");
    default: return false;
    }
}

static bool repr_deep(bk_tsb *sb, bk_tval v, int depth) {
    if (too_deep(sb, depth)) return false;
    size_t begin = sb->len;
    bool ok = repr_plain(sb, v, depth);
    if (v.user) bk_tsb_mark_user(sb, begin);
    return ok && bk_trun_ok(sb->run);
}

bool bk_tval_repr(bk_tsb *sb, bk_tval v) { return repr_deep(sb, v, 0); }

bool bk_tval_print(bk_tsb *sb, bk_tval v) {
    if (v.type == BK_T_STR) return bk_tsb_str(sb, v.str);
    if (v.type == BK_T_UNDEF) return bk_trun_ok(sb->run);
    return repr_deep(sb, v, 0);
}

bk_tval bk_tval_to_str(bk_trun *run, bk_tval v) {
    if (v.type == BK_T_STR || v.type == BK_T_FAIL) return v;
    bk_tsb sb;
    bk_tsb_init(&sb, run);
    return bk_tval_print(&sb, v) ? bk_tsb_done(&sb) : bk_tval_fail();
}
