#include "cli/opt.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- Names -------------------------------------------------------------------------------------- */

/* The next of the names separated by blanks; {NULL, 0} at the end. */
static bk_str next_name(const char **at) {
    while (**at == ' ') (*at)++;
    bk_str name = {*at, strcspn(*at, " ")};
    *at += name.len;
    return name.len ? name : (bk_str){0};
}

static bool has_name(const opt_spec *s, bk_str wanted) {
    const char *at = s->names;
    for (bk_str name = next_name(&at); name.data; name = next_name(&at)) {
        if (bk_str_eq(name, wanted)) return true;
    }
    return false;
}

static size_t min3(size_t a, size_t b, size_t c) { return bk_min_size(a, bk_min_size(b, c)); }

size_t opt_distance(const char *a, const char *b) {
    enum { MOST = 63 };
    size_t n = strlen(a), m = strlen(b), rows[3][MOST + 1];
    if (n > MOST || m > MOST) return n > m ? n : m;
    size_t *before = rows[0], *last = rows[1], *now = rows[2];
    for (size_t j = 0; j <= m; j++) before[j] = last[j] = j;
    for (size_t i = 1; i <= n; i++) {
        now[0] = i;
        for (size_t j = 1; j <= m; j++) {
            now[j] = min3(last[j] + 1, now[j - 1] + 1, last[j - 1] + (a[i - 1] != b[j - 1]));
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
                now[j] = bk_min_size(now[j], before[j - 2] + 1);
            }
        }
        size_t *free_row = before;
        before = last;
        last = now;
        now = free_row;
    }
    return last[m];
}

/* The known name nearest to an unknown one; false when none is near. */
static bool nearest(const opt_table *t, const char *wanted, char *out, size_t cap) {
    size_t best = strlen(wanted) / 3 + 2;
    for (size_t i = 0; i < t->n_specs; i++) {
        const char *at = t->specs[i].names;
        for (bk_str name = next_name(&at); name.data; name = next_name(&at)) {
            char z[64];
            snprintf(z, sizeof z, BK_STR_FMT, BK_STR_ARG(name));
            size_t d = opt_distance(wanted, z);
            if (d < best) {
                best = d;
                snprintf(out, cap, "%s", z);
            }
        }
    }
    return best < strlen(wanted) / 3 + 2;
}

/* ---- Values ------------------------------------------------------------------------------------- */

typedef struct parser {
    const opt_table *t;
    char *err;
    size_t cap;
} parser;

static BK_PRINTF(2, 3) opt_result complain(parser *p, const char *fmt, ...) {
    char text[512];
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    bk_str_printable(p->err, p->cap, text, bk_min_size(n < 0 ? 0 : (size_t)n, sizeof text - 1));
    return OPT_ERROR;
}

bool opt_number(const char *text, long long min, long long max, long long *out) {
    const char *digits = text + (*text == '-' || *text == '+');
    if (*digits < '0' || *digits > '9') return false; /* strtoll would skip blanks */
    char *end;
    errno = 0;
    long long v = strtoll(text, &end, 10);
    if (errno || *end || v < min || v > max) return false;
    *out = v;
    return true;
}

static bool take_float(const char *text, const opt_spec *s) {
    char first = text[*text == '-' || *text == '+'];
    if ((first < '0' || first > '9') && first != '.') return false;
    char *end;
    errno = 0;
    double v = strtod(text, &end);
    if (*end || !isfinite(v) || v < s->min || v > s->max) return false;
    *(float *)s->out = (float)v;
    return true;
}

/* One of "4", "2-8", "2-8+2", "1-8*2", appended to the list. */
static bool take_range(bk_str part, const opt_spec *s) {
    char text[64];
    if (part.len == 0 || part.len >= sizeof text) return false;
    memcpy(text, part.data, part.len);
    text[part.len] = '\0';
    long long lo = (long long)s->min, hi = (long long)s->max, first, last, step = 1;
    char *dash = strchr(text + 1, '-'), op = '+';
    if (dash) {
        *dash++ = '\0';
        char *by = strpbrk(dash, "+*");
        if (by) {
            op = *by;
            *by++ = '\0';
            if (!opt_number(by, op == '*' ? 2 : 1, INT32_MAX, &step)) return false;
        }
    }
    if (!opt_number(text, lo, hi, &first)) return false;
    last = first;
    if (dash && !opt_number(dash, first, hi, &last)) return false;
    if (op == '*' && first < 1) return false;
    opt_ints *list = s->out;
    for (long long v = first; v <= last; v = op == '*' ? v * step : v + step) {
        if (list->n == OPT_LIST_MAX) return false;
        list->v[list->n++] = (int)v;
    }
    return true;
}

static bool take_ints(const char *text, const opt_spec *s) {
    opt_ints *list = s->out;
    if (!list->given) list->n = 0;
    list->given = true;
    for (;;) {
        size_t len = strcspn(text, ",");
        if (!take_range((bk_str){text, len}, s)) return false;
        if (text[len] == '\0') return true;
        text += len + 1;
    }
}

static bool take_choice(const char *text, const opt_spec *s) {
    const char *at = s->value;
    for (int i = 0;; i++) {
        size_t len = strcspn(at, "|");
        if (bk_str_eq((bk_str){at, len}, bk_str_from(text))) {
            *(int *)s->out = i;
            return true;
        }
        if (at[len] == '\0') return false;
        at += len + 1;
    }
}

static bool take_seed(const char *text, const opt_spec *s) {
    if (strcmp(text, "-1") == 0) {
        *(uint64_t *)s->out = UINT64_MAX;
        return true;
    }
    if (*text < '0' || *text > '9') return false;
    char *end;
    errno = 0;
    unsigned long long v = strtoull(text, &end, 10);
    *(uint64_t *)s->out = v;
    return !errno && !*end;
}

static bool take_str(const char *text, const opt_spec *s) {
    opt_strs *list = s->out;
    if (!list->given) list->n = 0;
    list->given = true;
    if (list->n == OPT_LIST_MAX) return false;
    list->v[list->n++] = text;
    return true;
}

static bool take_flag(const char *text, const opt_spec *s) {
    static const char *const words[] = {"0", "off", "false", "no", "1", "on", "true", "yes"};
    for (size_t i = 0; i < BK_ARRAY_LEN(words); i++) {
        if (strcmp(text, words[i]) != 0) continue;
        *(bool *)s->out = i >= 4;
        return true;
    }
    return false;
}

static const char *wanted(const opt_spec *s, char *out, size_t cap) {
    switch (s->kind) {
    case OPT_INT: snprintf(out, cap, "a whole number from %.0f to %.0f", s->min, s->max); break;
    case OPT_INTS:
        snprintf(out, cap, "whole numbers from %.0f to %.0f (1,2,4 or 1-8+2), at most %d", s->min,
                 s->max, OPT_LIST_MAX);
        break;
    case OPT_FLOAT: snprintf(out, cap, "a number from %g to %g", s->min, s->max); break;
    case OPT_SEED: snprintf(out, cap, "a whole number, or -1 for a random one"); break;
    case OPT_CHOICE: snprintf(out, cap, "one of %s", s->value); break;
    case OPT_FLAG: snprintf(out, cap, "1 or 0, on or off"); break;
    case OPT_STRS: snprintf(out, cap, "at most %d values", OPT_LIST_MAX); break;
    default: snprintf(out, cap, "%s", s->value ? s->value : "nothing");
    }
    return out;
}

static opt_result take_value(parser *p, const opt_spec *s, bk_str name, const char *text) {
    long long number;
    bool good = true;
    switch (s->kind) {
    case OPT_STR: *(const char **)s->out = text; break;
    case OPT_STRS: good = take_str(text, s); break;
    case OPT_INT:
        good = opt_number(text, (long long)s->min, (long long)s->max, &number);
        if (good) *(int *)s->out = (int)number;
        break;
    case OPT_INTS: good = take_ints(text, s); break;
    case OPT_FLOAT: good = take_float(text, s); break;
    case OPT_SEED: good = take_seed(text, s); break;
    case OPT_CHOICE: good = take_choice(text, s); break;
    case OPT_FLAG: good = take_flag(text, s); break;
    }
    if (good) return OPT_OK;
    char want[128];
    return complain(p, BK_STR_FMT ": found '%.80s', wanted %s", BK_STR_ARG(name), text,
                    wanted(s, want, sizeof want));
}

/* ---- The line ----------------------------------------------------------------------------------- */

static opt_result unknown(parser *p, const char *name) {
    char near[64];
    if (nearest(p->t, name, near, sizeof near)) {
        return complain(p, "unknown option %.80s; did you mean %s? (brisk %s --help lists all)",
                        name, near, p->t->verb);
    }
    return complain(p, "unknown option %.80s (brisk %s --help lists all)", name, p->t->verb);
}

/* An option at argv[*i]; moves *i over its value. */
static opt_result one_option(parser *p, int argc, char **argv, int *i) {
    const char *arg = argv[*i], *equals = NULL;
    bk_str name = bk_str_from(arg);
    if (arg[0] == '-' && arg[1] == '-' && (equals = strchr(arg, '='))) {
        name.len = (size_t)(equals - arg);
    }
    const opt_spec *s = NULL;
    for (size_t k = 0; k < p->t->n_specs && !s; k++) {
        if (has_name(&p->t->specs[k], name)) s = &p->t->specs[k];
    }
    if (!s) {
        char z[96];
        snprintf(z, sizeof z, BK_STR_FMT, BK_STR_ARG(name));
        return unknown(p, z);
    }
    if (s->kind == OPT_FLAG) {
        if (equals) return complain(p, BK_STR_FMT " takes no value", BK_STR_ARG(name));
        *(bool *)s->out = true;
        return OPT_OK;
    }
    if (equals) return take_value(p, s, name, equals + 1);
    if (*i + 1 >= argc) {
        char want[128];
        return complain(p, BK_STR_FMT " needs a value: %s", BK_STR_ARG(name),
                        wanted(s, want, sizeof want));
    }
    return take_value(p, s, name, argv[++*i]);
}

/* ---- The environment ---------------------------------------------------------------------------- */

/* "--ctx-size" to "BRISK_ARG_CTX_SIZE"; false for a short name, or one that does not fit. */
static bool variable_of(bk_str name, char *out, size_t cap) {
    static const char prefix[] = "BRISK_ARG_";
    if (name.len < 3 || name.data[1] != '-' || name.len + sizeof prefix > cap) return false;
    char *at = out + snprintf(out, cap, "%s", prefix);
    for (size_t i = 2; i < name.len; i++) {
        char c = name.data[i];
        *at++ = c == '-' ? '_' : c >= 'a' && c <= 'z' ? (char)(c - 32) : c;
    }
    *at = '\0';
    return true;
}

/* A list from the environment is a default: the first use on the line replaces it. */
static void forget_given(const opt_spec *s) {
    if (s->kind == OPT_INTS) ((opt_ints *)s->out)->given = false;
    if (s->kind == OPT_STRS) ((opt_strs *)s->out)->given = false;
}

static opt_result from_environment(parser *p) {
    for (size_t i = 0; i < p->t->n_specs; i++) {
        const opt_spec *s = &p->t->specs[i];
        const char *at = s->names;
        for (bk_str name = next_name(&at); name.data; name = next_name(&at)) {
            char variable[80];
            const char *value =
                variable_of(name, variable, sizeof variable) ? getenv(variable) : NULL;
            if (!value || !*value) continue;
            opt_result r = take_value(p, s, bk_str_from(variable), value);
            if (r != OPT_OK) return r;
            forget_given(s);
            break;
        }
    }
    return OPT_OK;
}

opt_result opt_set(const opt_table *t, const char *name, const char *value, char *err, size_t cap) {
    parser p = {t, err, cap};
    char full[80];
    int n = snprintf(full, sizeof full, "--%s", name);
    for (char *c = full; *c; c++) {
        if (*c == '_') *c = '-';
    }
    for (size_t i = 0; i < t->n_specs && n < (int)sizeof full; i++) {
        if (!has_name(&t->specs[i], bk_str_from(full))) continue;
        return take_value(&p, &t->specs[i], bk_str_from(full + 2), value);
    }
    char near[64];
    if (nearest(t, full, near, sizeof near)) {
        return complain(&p, "'%.60s' cannot be set; did you mean %s?", name,
                        near + strspn(near, "-"));
    }
    return complain(&p, "'%.60s' cannot be set", name);
}

/* ---- All of it ---------------------------------------------------------------------------------- */

opt_result opt_parse(const opt_table *t, int argc, char **argv, char *err, size_t cap) {
    parser p = {t, err, cap};
    bool help = argc > 1 && (strcmp(argv[1], "-h") == 0 || strcmp(argv[1], "--help") == 0);
    opt_result set =
        help ? OPT_HELP : from_environment(&p); /* help whatever the environment says */
    if (set != OPT_OK) return set;
    bool only_rest = false;
    for (int i = 1; i < argc; i++) {
        const char *arg = argv[i];
        if (!only_rest && strcmp(arg, "--") == 0) {
            only_rest = true;
            continue;
        }
        if (!only_rest && (strcmp(arg, "-h") == 0 || strcmp(arg, "--help") == 0)) return OPT_HELP;
        if (only_rest || arg[0] != '-' || arg[1] == '\0') {
            if (!t->rest) return complain(&p, "unexpected '%.80s' (brisk %s --help)", arg, t->verb);
            if (t->rest->n == OPT_LIST_MAX) return complain(&p, "too many arguments");
            t->rest->v[t->rest->n++] = arg;
            continue;
        }
        opt_result r = one_option(&p, argc, argv, &i);
        if (r != OPT_OK) return r;
    }
    return OPT_OK;
}

void opt_print_help(const opt_table *t, bk_buf *out) {
    bk_buf_printf(out, "%s\n\n%s\n\n", t->usage, t->about);
    for (size_t i = 0; i < t->n_specs; i++) {
        const opt_spec *s = &t->specs[i];
        if (!s->help) continue;
        char left[96];
        size_t n = 0;
        const char *at = s->names;
        for (bk_str name = next_name(&at); name.data; name = next_name(&at)) {
            n += (size_t)snprintf(left + n, sizeof left - n, "%s" BK_STR_FMT, n ? ", " : "",
                                  BK_STR_ARG(name));
        }
        if (s->value) snprintf(left + n, sizeof left - n, " %s", s->value);
        bk_buf_printf(out, "  %-34s%s%s\n", left,
                      strlen(left) > 33 ? "\n                                    " : "", s->help);
    }
    bk_buf_printf(out, "  %-34s%s\n", "-h, --help", "this text");
}
