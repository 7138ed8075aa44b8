/* String and number literals of templates, as Python reads them. */
#include <locale.h>
#include <stdlib.h>
#include <string.h>

#include "text/template_ast.h"

static int digit_value(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'z') return c - 'a' + 10;
    if (c >= 'A' && c <= 'Z') return c - 'A' + 10;
    return 99;
}

/* ---- Strings --------------------------------------------------------------------------------- */

/* Code point from n hexadecimal digits at s, false when there are not so many. */
static bool hex(bk_str s, size_t n, uint32_t *cp) {
    *cp = 0;
    if (s.len < n) return false;
    for (size_t i = 0; i < n; i++) {
        int d = digit_value(s.data[i]);
        if (d > 15) return false;
        *cp = *cp << 4 | (uint32_t)d;
    }
    return true;
}

/* The escape after a backslash at s: writes what it stands for, returns the bytes read, 0 when it
 * is malformed. An unknown escape stays as it is written, backslash included. */
static size_t unescape(bk_str s, char *out, size_t *n) {
    static const char from[] = "\\'\"abfnrtv", to[] = "\\'\"\a\b\f\n\r\t\v";
    uint32_t cp = 0;
    size_t used = 1;
    const char *simple = s.data[0] ? strchr(from, s.data[0]) : NULL;
    if (simple) {
        out[(*n)++] = to[simple - from];
        return 1;
    }
    if (s.data[0] == '\n') return 1;
    if (s.data[0] >= '0' && s.data[0] <= '7') {
        for (used = 0; used < 3 && used < s.len && digit_value(s.data[used]) < 8; used++)
            cp = cp << 3 | (uint32_t)digit_value(s.data[used]);
    } else if (s.data[0] == 'x' || s.data[0] == 'u' || s.data[0] == 'U') {
        size_t digits = s.data[0] == 'x' ? 2 : s.data[0] == 'u' ? 4 : 8;
        if (!hex((bk_str){s.data + 1, s.len - 1}, digits, &cp)) return 0;
        if (cp > 0x10FFFF || (cp >= 0xD800 && cp <= 0xDFFF)) return 0;
        used = 1 + digits;
    } else if (s.data[0] == 'N') {
        return 0;
    } else {
        out[(*n)++] = '\\';
        out[(*n)++] = s.data[0];
        return 1;
    }
    *n += bk_utf8_encode(cp, out + *n);
    return used;
}

bool bk_tlexer_string(bk_tlexer *lx, bk_ttoken *tok) {
    const char *src = lx->src.data;
    size_t begin = lx->pos + 1, end = begin, n = 0;
    while (end < lx->src.len && src[end] != src[lx->pos]) end += src[end] == '\\' ? 2 : 1;
    if (end >= lx->src.len)
        return bk_tlexer_fail(lx, BK_ERR_FORMAT, lx->line, "a string without its closing quote");
    /* No escape is longer than what it stands for. */
    char *text = bk_arena_alloc(lx->arena, end - begin + 1, 1);
    if (!text) return bk_tlexer_fail(lx, BK_ERR_NOMEM, lx->line, "out of memory");
    for (size_t i = begin; i < end;) {
        if (src[i] != '\\') {
            text[n++] = src[i++];
            continue;
        }
        size_t used = unescape((bk_str){src + i + 1, end - i - 1}, text, &n);
        if (!used)
            return bk_tlexer_fail(lx, BK_ERR_FORMAT, lx->line, "a bad escape \"%.*s\" in a string",
                                  (int)bk_min_size(10, end - i), src + i);
        i += 1 + used;
    }
    *tok = (bk_ttoken){.kind = BK_TOK_STRING, .line = lx->line, .text = {text, n}};
    for (size_t i = lx->pos; i <= end; i++) lx->line += src[i] == '\n';
    lx->pos = end + 1;
    return true;
}

/* ---- Numbers --------------------------------------------------------------------------------- */

/* End of digits of this base from pos, with single underscores between them. */
static size_t digits_end(bk_str s, size_t pos, int base) {
    while (pos < s.len) {
        size_t next = pos + (s.data[pos] == '_');
        if (next >= s.len || digit_value(s.data[next]) >= base) break;
        pos = next + 1;
    }
    return pos;
}

static bool is_digit(bk_str s, size_t pos) {
    return pos < s.len && s.data[pos] >= '0' && s.data[pos] <= '9';
}

/* End of the fraction and exponent after decimal digits, or pos when the number is an integer. */
static size_t float_end(bk_str s, size_t pos) {
    size_t end = pos;
    if (pos < s.len && s.data[pos] == '.' && is_digit(s, pos + 1)) end = digits_end(s, pos + 1, 10);
    if (end < s.len && (s.data[end] == 'e' || s.data[end] == 'E')) {
        size_t e = end + 1;
        if (e < s.len && (s.data[e] == '+' || s.data[e] == '-')) e++;
        if (is_digit(s, e)) end = digits_end(s, e, 10);
    }
    return end;
}

static bool read_int(bk_tlexer *lx, bk_str s, int base, int64_t *out) {
    int64_t v = 0;
    for (size_t i = 0; i < s.len; i++) {
        if (s.data[i] == '_') continue;
        if (__builtin_mul_overflow(v, (int64_t)base, &v) ||
            __builtin_add_overflow(v, (int64_t)digit_value(s.data[i]), &v))
            return bk_tlexer_fail(lx, BK_ERR_LIMIT, lx->line, "an integer of more than 64 bits");
    }
    *out = v;
    return true;
}

static bool read_float(bk_tlexer *lx, bk_str s, double *out) {
    char *z = bk_arena_alloc(lx->arena, s.len + 1, 1);
    if (!z) return bk_tlexer_fail(lx, BK_ERR_NOMEM, lx->line, "out of memory");
    size_t n = 0;
    for (size_t i = 0; i < s.len; i++) {
        if (s.data[i] == '_') continue;
        z[n++] = s.data[i] == '.' ? localeconv()->decimal_point[0] : s.data[i];
    }
    *out = strtod(z, NULL);
    return true;
}

bool bk_tlexer_number(bk_tlexer *lx, bk_ttoken *tok) {
    bk_str s = lx->src;
    size_t begin = lx->pos, end = digits_end(s, begin, 10), f = float_end(s, end);
    bool after_dot = begin > 0 && s.data[begin - 1] == '.';
    *tok = (bk_ttoken){.kind = BK_TOK_INT, .line = lx->line};
    if (f > end && !after_dot) {
        tok->kind = BK_TOK_FLOAT;
        lx->pos = f;
        return read_float(lx, (bk_str){s.data + begin, f - begin}, &tok->f);
    }
    int base = 10;
    char mark = begin + 1 < s.len && s.data[begin] == '0' ? s.data[begin + 1] | 0x20 : '\0';
    if (mark == 'x' || mark == 'o' || mark == 'b') {
        int wanted = mark == 'x' ? 16 : mark == 'o' ? 8 : 2;
        size_t e = digits_end(s, begin + 2, wanted);
        if (e > begin + 2) {
            base = wanted;
            begin += 2;
            end = e;
        }
    }
    lx->pos = end;
    return read_int(lx, (bk_str){s.data + begin, end - begin}, base, &tok->i);
}
