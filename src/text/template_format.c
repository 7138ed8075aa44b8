/* Formatting: "%" on strings, and str.format(). */
#include <inttypes.h>
#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "text/template_eval.h"

enum { MAX_WIDTH = 1000 };

/* One conversion, in the terms of both languages. */
typedef struct spec {
    char type, align; /* align: '<', '>', '^', '=', or 0 for the type's own */
    char sign;        /* '+', ' ' or 0 */
    bool zero, alternate;
    int width, precision; /* precision -1: none */
    char fill[4];
    size_t fill_len;
} spec;

static spec plain_spec(void) { return (spec){.precision = -1, .fill = " ", .fill_len = 1}; }

/* ---- Padding --------------------------------------------------------------------------------- */

static void put_fill(bk_tsb *out, const spec *f, size_t n) {
    for (size_t i = 0; i < n; i++) bk_tsb_bytes(out, f->fill, f->fill_len, false);
}

/* Appends text in its field. `head` bytes at its front (sign, "0x") stay left of '=' padding. */
static bool put_padded(bk_tsb *out, const bk_tstr *text, const spec *f, char align, size_t head) {
    size_t room = (size_t)f->width > text->chars ? (size_t)f->width - text->chars : 0;
    size_t before = align == '>' ? room : align == '^' ? room / 2 : 0;
    put_fill(out, f, before);
    if (align == '=') {
        bk_tsb_slice(out, text, 0, head);
        put_fill(out, f, room);
        return bk_tsb_slice(out, text, head, text->len);
    }
    bk_tsb_str(out, text);
    put_fill(out, f, room - before);
    return bk_trun_ok(out->run);
}

static bool put_string(bk_tsb *out, const bk_tstr *s, const spec *f, char align) {
    if (f->precision >= 0 && (size_t)f->precision < s->chars) {
        size_t end = bk_tstr_offset(out->run, s, (size_t)f->precision);
        bk_tval cut = bk_tstr_slice(out->run, s, 0, end);
        if (cut.type == BK_T_FAIL) return false;
        s = cut.str;
    }
    return put_padded(out, s, f, f->align ? f->align : align, 0);
}

/* ---- Numbers --------------------------------------------------------------------------------- */

static bool put_number(bk_tsb *out, const char *body, size_t head, const spec *f, bool user) {
    bk_tstr *s = bk_tstr_new(out->run, bk_str_from(body), user);
    if (!s) return false;
    return put_padded(out, s, f, f->align ? f->align : f->zero ? '=' : '>', head);
}

/* Digits of u in a base, at the end of buf[70]. */
static const char *digits_of(uint64_t u, unsigned base, bool capital, char buf[70]) {
    char *p = buf + 69;
    *p = '\0';
    do {
        *--p = (capital ? "0123456789ABCDEF" : "0123456789abcdef")[u % base];
        u /= base;
    } while (u);
    return p;
}

static bool put_int(bk_tsb *out, bk_tval v, spec f) {
    char buf[70], body[160];
    int64_t i = bk_tval_as_int(v);
    uint64_t u = i < 0 ? -(uint64_t)i : (uint64_t)i;
    unsigned base = f.type == 'x' || f.type == 'X' ? 16
                    : f.type == 'o'                ? 8
                    : f.type == 'b'                ? 2
                                                   : 10;
    const char *prefix = base == 16 ? (f.type == 'X' ? "0X" : "0x") : base == 8 ? "0o" : "0b";
    const char *digits = digits_of(u, base, f.type == 'X', buf);
    int n = 0, zeros = f.precision - (int)strlen(digits);
    if (i < 0 || f.sign) body[n++] = i < 0 ? '-' : f.sign;
    if (f.alternate && base != 10) n += snprintf(body + n, 3, "%s", prefix);
    size_t head = (size_t)n;
    while (zeros-- > 0 && n < 80) body[n++] = '0';
    snprintf(body + n, sizeof body - (size_t)n, "%s", digits);
    return put_number(out, body, head, &f, v.user);
}

/* The text of a finite or other number by one of "eEfFgG". */
static void float_body(char out[600], double x, char type, int precision, bool alternate) {
    char format[12];
    snprintf(format, sizeof format, "%%%s.*%c", alternate ? "#" : "", type);
    snprintf(out, 600, format, precision, x);
    char point = localeconv()->decimal_point[0], *at = point == '.' ? NULL : strchr(out, point);
    if (at) *at = '.';
}

static bool put_float(bk_tsb *out, bk_tval v, spec f) {
    char body[620];
    double x = bk_tval_as_float(v);
    int n = 0, precision = f.precision < 0 ? 6 : f.precision;
    bool percent = f.type == '%';
    if (precision > 250) {
        bk_trun_fail(out->run, BK_ERR_LIMIT, "a number of more than 250 decimals");
        return false;
    }
    if (signbit(x) && !isnan(x)) body[n++] = '-';
    if (n == 0 && f.sign) body[n++] = f.sign;
    x = fabs(x);
    if (percent) x *= 100;
    float_body(body + n, x, percent ? 'f' : f.type, precision, f.alternate);
    size_t len = strlen(body);
    if (percent) memcpy(body + len, "%", 2);
    return put_number(out, body, (size_t)n, &f, v.user);
}

static bool bad_type(bk_trun *run, char type, bk_tval v) {
    bk_trun_fail(run, BK_ERR_FORMAT, "a %s cannot be formatted as '%c'", bk_tval_type_name(v),
                 type);
    return false;
}

/* ---- "%" ------------------------------------------------------------------------------------- */

typedef struct percent {
    bk_trun *run;
    const bk_tstr *format;
    size_t at;
    bk_tval args;
    size_t used; /* positional arguments taken */
    bool mapping, keyed;
} percent;

static bk_tval next_arg(percent *p) {
    bool tuple = p->args.type == BK_T_SEQ && p->args.seq->kind == BK_SEQ_TUPLE;
    size_t n = tuple ? p->args.seq->n : 1;
    if (p->used >= n) return bk_trun_fail(p->run, BK_ERR_FORMAT, "too few values for the format");
    p->used++;
    return tuple ? p->args.seq->items[p->used - 1] : p->args;
}

static char peek(const percent *p) {
    return p->at < p->format->len ? p->format->data[p->at] : '\0';
}

static bool read_number(percent *p, int *out) {
    if (peek(p) == '*') {
        int64_t i;
        p->at++;
        bk_tval v = next_arg(p);
        if (v.type == BK_T_FAIL || !bk_targ_int(p->run, "a format", v, 0, &i)) return false;
        *out = i < -MAX_WIDTH ? -MAX_WIDTH - 1 : i > MAX_WIDTH ? MAX_WIDTH + 1 : (int)i;
    } else {
        for (*out = 0; peek(p) >= '0' && peek(p) <= '9' && *out <= MAX_WIDTH; p->at++)
            *out = *out * 10 + (peek(p) - '0');
    }
    if (*out <= MAX_WIDTH && *out >= -MAX_WIDTH) return true;
    bk_trun_fail(p->run, BK_ERR_LIMIT, "a field wider than %d", MAX_WIDTH);
    return false;
}

/* "(name)" after the percent sign: the value under that key. */
static bk_tval keyed_arg(percent *p) {
    size_t begin = p->at + 1, end = begin;
    while (end < p->format->len && p->format->data[end] != ')') end++;
    if (end == p->format->len || p->args.type != BK_T_DICT)
        return bk_trun_fail(p->run, BK_ERR_FORMAT, "the format needs a dict");
    p->at = end + 1;
    p->keyed = true;
    bk_str key = {p->format->data + begin, end - begin};
    bk_tval v = bk_tdict_find(p->run, p->args.dict, key);
    if (v.type != BK_T_MISSING) return v;
    return bk_trun_fail(p->run, BK_ERR_FORMAT, "the format's \"" BK_STR_FMT "\" is missing",
                        BK_STR_ARG(key));
}

static bool put_percent(percent *p, bk_tsb *out, spec f, bk_tval v) {
    bk_tval text;
    bk_tsb sb;
    switch (f.type) {
    case 's':
    case 'r':
    case 'a':
        bk_tsb_init(&sb, p->run);
        if (!(f.type == 's' ? bk_tval_print(&sb, v) : bk_tval_repr(&sb, v))) return false;
        text = bk_tsb_done(&sb);
        return text.type != BK_T_FAIL && put_string(out, text.str, &f, '>');
    case 'c':
        if (v.type != BK_T_STR || v.str->chars != 1) return bad_type(p->run, f.type, v);
        f.precision = -1;
        return put_string(out, v.str, &f, '>');
    case 'd':
    case 'i':
    case 'u':
        if (v.type == BK_T_FLOAT && fabs(v.f) < 0x1p63) v = bk_tval_int((int64_t)v.f);
        if (v.type != BK_T_INT && v.type != BK_T_BOOL) return bad_type(p->run, f.type, v);
        f.type = 'd';
        return put_int(out, v, f);
    case 'x':
    case 'X':
    case 'o':
        if (v.type != BK_T_INT && v.type != BK_T_BOOL) return bad_type(p->run, f.type, v);
        return put_int(out, v, f);
    case 'e':
    case 'E':
    case 'f':
    case 'F':
    case 'g':
    case 'G': return bk_tval_is_number(v) ? put_float(out, v, f) : bad_type(p->run, f.type, v);
    default: bk_trun_fail(p->run, BK_ERR_FORMAT, "an unknown conversion in a format"); return false;
    }
}

/* One conversion, after its percent sign. */
static bool convert(percent *p, bk_tsb *out) {
    spec f = plain_spec();
    bk_tval v = bk_tval_missing();
    if (peek(p) == '(') v = keyed_arg(p);
    for (bool flags = true; flags && bk_trun_ok(p->run);) {
        switch (peek(p)) {
        case '-': f.align = '<'; break;
        case '+': f.sign = '+'; break;
        case ' ': f.sign = f.sign ? f.sign : ' '; break;
        case '0': f.zero = true; break;
        case '#': f.alternate = true; break;
        default: flags = false;
        }
        p->at += flags;
    }
    if (!read_number(p, &f.width)) return false;
    if (f.width < 0) f.align = '<';
    if (f.width < 0) f.width = -f.width;
    if (peek(p) == '.') {
        p->at++;
        if (!read_number(p, &f.precision)) return false;
        if (f.precision < 0) f.precision = 0;
    }
    while (peek(p) == 'l' || peek(p) == 'h' || peek(p) == 'L') p->at++;
    f.type = peek(p);
    p->at++;
    if (f.type == '%') return bk_tsb_lit(out, "%");
    if (f.zero && !f.align && !strchr("sracu", f.type)) memcpy(f.fill, "0", 2);
    if (v.type == BK_T_MISSING) v = next_arg(p);
    return v.type != BK_T_FAIL && put_percent(p, out, f, v);
}

bk_tval bk_tformat_percent(bk_trun *run, const bk_tstr *format, bk_tval args) {
    bk_tsb out;
    percent p = {.run = run, .format = format, .args = args};
    bool tuple = args.type == BK_T_SEQ && args.seq->kind == BK_SEQ_TUPLE;
    bk_tsb_init(&out, run);
    while (p.at < format->len) {
        const char *rest = format->data + p.at;
        const char *sign = memchr(rest, '%', format->len - p.at);
        size_t n = sign ? (size_t)(sign - rest) : format->len - p.at;
        if (!bk_tsb_slice(&out, format, p.at, p.at + n)) return bk_tval_fail();
        p.at += n;
        if (!sign) break;
        p.at++;
        if (!convert(&p, &out)) return bk_tval_fail();
    }
    /* Python lets a value that can be subscripted go unused, since keys may have been meant. */
    bool spare =
        args.type == BK_T_DICT || args.type == BK_T_UNDEF || (args.type == BK_T_SEQ && !tuple);
    if (!spare && !p.keyed && p.used < (tuple ? args.seq->n : 1))
        return bk_trun_fail(run, BK_ERR_FORMAT, "too many values for the format");
    return bk_tsb_done(&out);
}

/* ---- str.format() ---------------------------------------------------------------------------- */

typedef struct braces {
    bk_trun *run;
    const bk_tstr *format;
    const bk_targs *args;
    int64_t next; /* of the fields without a name or number */
} braces;

static bool is_align(char c) { return c == '<' || c == '>' || c == '^' || c == '='; }

/* "[[fill]align][sign][#][0][width][.precision][type]". */
static bool parse_spec(bk_trun *run, bk_str s, spec *f) {
    uint32_t cp;
    size_t i = 0, n = s.len ? bk_utf8_decode(s.data, s.len, &cp) : 0;
    *f = plain_spec();
    if (n && n < s.len && is_align(s.data[n])) {
        memcpy(f->fill, s.data, n);
        f->fill_len = n;
        f->align = s.data[n];
        i = n + 1;
    } else if (n && is_align(s.data[0])) {
        f->align = s.data[i++];
    }
    if (i < s.len && strchr("+- ", s.data[i])) f->sign = s.data[i++];
    if (f->sign == '-') f->sign = '\0';
    if (i < s.len && s.data[i] == '#') f->alternate = s.data[i++] == '#';
    if (i < s.len && s.data[i] == '0') {
        f->zero = true;
        if (!f->align) memcpy(f->fill, "0", 2);
        i++;
    }
    for (; i < s.len && s.data[i] >= '0' && s.data[i] <= '9' && f->width <= MAX_WIDTH; i++)
        f->width = f->width * 10 + (s.data[i] - '0');
    if (i + 1 < s.len && s.data[i] == '.') {
        f->precision = 0;
        for (i++; i < s.len && s.data[i] >= '0' && s.data[i] <= '9' && f->precision <= MAX_WIDTH;
             i++)
            f->precision = f->precision * 10 + (s.data[i] - '0');
    }
    if (i < s.len && strchr("sdboxXeEfFgG%", s.data[i])) f->type = s.data[i++];
    if (i == s.len && f->width <= MAX_WIDTH && f->precision <= MAX_WIDTH) return true;
    bk_trun_fail(run, BK_ERR_UNSUPPORTED, "the format \"" BK_STR_FMT "\" is not supported",
                 BK_STR_ARG(s));
    return false;
}

static bool put_braced(braces *b, bk_tsb *out, bk_tval v, bk_str text) {
    spec f;
    if (!parse_spec(b->run, text, &f)) return false;
    if (text.len == 0) return bk_tval_print(out, v);
    if (v.type == BK_T_STR && (f.type == 's' || !f.type) && !f.sign && f.align != '=')
        return put_string(out, v.str, &f, '<');
    bool floats = f.type && strchr("eEfFgG%", f.type);
    bool ints = !f.type || strchr("dboxX", f.type);
    if (bk_tval_is_number(v) && floats) return put_float(out, v, f);
    if ((v.type == BK_T_INT || (v.type == BK_T_BOOL && f.type)) && ints && f.precision < 0)
        return put_int(out, v, f);
    return bad_type(b->run, f.type ? f.type : 's', v);
}

/* The value that a field names: "", "0", "name", then ".attribute" and "[key]" steps. */
static bk_tval field_value(braces *b, bk_str field) {
    size_t i = 0;
    int64_t index;
    bk_tval v = bk_tval_missing();
    while (i < field.len && field.data[i] != '.' && field.data[i] != '[') i++;
    bk_str first = {field.data, i};
    if (first.len == 0 || bk_tparse_int(first, 10, &index)) {
        if (first.len == 0) index = b->next++;
        if (index >= 0 && (uint64_t)index < b->args->n) v = b->args->pos[index];
    }
    for (size_t k = 0; v.type == BK_T_MISSING && k < b->args->n_kw; k++) {
        if (bk_str_eq(b->args->kw[k].name, first)) v = b->args->kw[k].value;
    }
    if (v.type == BK_T_MISSING)
        return bk_trun_fail(b->run, BK_ERR_FORMAT, "the format's \"" BK_STR_FMT "\" is missing",
                            BK_STR_ARG(first));
    while (i < field.len && v.type != BK_T_FAIL) {
        bool item = field.data[i] == '[';
        size_t begin = ++i;
        while (i < field.len &&
               (item ? field.data[i] != ']' : field.data[i] != '.' && field.data[i] != '['))
            i++;
        bk_str name = {field.data + begin, i - begin};
        i += item && i < field.len;
        if (!item) {
            v = bk_tattr(b->run, v, name);
        } else if (bk_tparse_int(name, 10, &index)) {
            v = bk_titem(b->run, v, bk_tval_int(index));
        } else {
            bk_tval key = bk_tval_text(b->run, name, false);
            v = key.type == BK_T_FAIL ? key : bk_titem(b->run, v, key);
        }
    }
    return v;
}

/* "{field!conversion:spec}" without its braces. */
static bool put_field(braces *b, bk_tsb *out, bk_str text) {
    size_t name = 0;
    bk_tsb sb;
    while (name < text.len && text.data[name] != '!' && text.data[name] != ':') name++;
    bk_tval v = field_value(b, (bk_str){text.data, name});
    if (v.type == BK_T_FAIL) return false;
    if (name < text.len && text.data[name] == '!') {
        char how = name + 1 < text.len ? text.data[name + 1] : '\0';
        bk_tsb_init(&sb, b->run);
        if (how != 's' && how != 'r') {
            bk_trun_fail(b->run, BK_ERR_UNSUPPORTED, "an unknown conversion in a format");
            return false;
        }
        if (!(how == 's' ? bk_tval_print(&sb, v) : bk_tval_repr(&sb, v))) return false;
        v = bk_tsb_done(&sb);
        name += 2;
    }
    if (v.type == BK_T_FAIL) return false;
    if (name < text.len && text.data[name] == ':') name++;
    return put_braced(b, out, v, (bk_str){text.data + name, text.len - name});
}

bk_tval bk_tformat_braces(bk_trun *run, const bk_tstr *format, const bk_targs *args) {
    bk_tsb out;
    braces b = {.run = run, .format = format, .args = args};
    bk_tsb_init(&out, run);
    for (size_t i = 0; i < format->len && bk_trun_ok(run);) {
        char c = format->data[i];
        bool doubled = i + 1 < format->len && format->data[i + 1] == c;
        size_t end = i;
        if ((c == '{' || c == '}') && doubled) {
            bk_tsb_slice(&out, format, i, i + 1);
            i += 2;
        } else if (c == '{') {
            while (end < format->len && format->data[end] != '}') end++;
            bk_str field = {format->data + i + 1, end - i - 1};
            if (end == format->len || memchr(field.data, '{', field.len))
                return bk_trun_fail(run, BK_ERR_FORMAT, "a '{' in a format without its '}'");
            if (!put_field(&b, &out, field)) return bk_tval_fail();
            i = end + 1;
        } else if (c == '}') {
            return bk_trun_fail(run, BK_ERR_FORMAT, "a '}' in a format without its '{'");
        } else {
            while (end < format->len && format->data[end] != '{' && format->data[end] != '}') end++;
            bk_tsb_slice(&out, format, i, end);
            i = end;
        }
    }
    return bk_tsb_done(&out);
}
