/* From source to tokens: text, the white space that tags eat, and what stands inside tags. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "text/template_ast.h"
#include "text/template_case.h"

bool bk_tlexer_fail(bk_tlexer *lx, bk_status code, int line, const char *fmt, ...) {
    if (lx->status != BK_OK) return false;
    lx->status = code;
    char text[400];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    bk_fail(lx->err, code, "chat template, line %d: %s", line, text);
    return false;
}

bk_status bk_tlexer_init(bk_tlexer *lx, bk_str source, bk_arena *arena, bk_error *err) {
    *lx = (bk_tlexer){.arena = arena, .err = err, .line = 1, .line_starting = true};
    if (source.len > BK_T_MAX_SOURCE)
        return bk_fail(err, BK_ERR_LIMIT, "chat template of %zu bytes: at most %zu are accepted",
                       source.len, BK_T_MAX_SOURCE);
    size_t valid = bk_utf8_valid_len(source.data, source.len);
    if (valid != source.len)
        return bk_fail(err, BK_ERR_FORMAT, "chat template: byte %zu is not UTF-8", valid);
    char *copy = bk_arena_alloc(arena, source.len + 1, 1);
    if (!copy) return bk_fail(err, BK_ERR_NOMEM, "out of memory");
    size_t n = 0;
    for (size_t i = 0; i < source.len; i++) {
        char c = source.data[i];
        if (c == '\r' && i + 1 < source.len && source.data[i + 1] == '\n') continue;
        copy[n++] = c == '\r' ? '\n' : c;
    }
    if (n && copy[n - 1] == '\n') n--;
    copy[n] = '\0';
    lx->src = (bk_str){copy, n};
    return BK_OK;
}

static bool at(const bk_tlexer *lx, size_t pos, const char *z) {
    size_t len = strlen(z);
    return pos <= lx->src.len && len <= lx->src.len - pos &&
           memcmp(lx->src.data + pos, z, len) == 0;
}

static size_t skip_space(const bk_tlexer *lx, size_t pos) {
    return pos + bk_tspace_begin((bk_str){lx->src.data + pos, lx->src.len - pos});
}

static size_t skip_newline(const bk_tlexer *lx, size_t pos) {
    return at(lx, pos, "\n") ? pos + 1 : pos;
}

static void move_to(bk_tlexer *lx, size_t pos) {
    for (size_t i = lx->pos; i < pos; i++) lx->line += lx->src.data[i] == '\n';
    lx->line_starting = pos > lx->pos && lx->src.data[pos - 1] == '\n';
    lx->pos = pos;
}

static void push(bk_tlexer *lx, bk_ttok kind, bk_str text) {
    lx->queue[lx->n_queue++] = (bk_ttoken){.kind = kind, .line = lx->line, .text = text};
}

static void push_data(bk_tlexer *lx, size_t begin, size_t end) {
    if (end > begin) push(lx, BK_TOK_DATA, (bk_str){lx->src.data + begin, end - begin});
}

/* Where text[begin, end) before a tag ends once the tag has eaten white space: all of it with '-';
 * else, unless '+' or a variable tag forbids, the indentation when the tag is first on its line. */
static size_t strip_before(const bk_tlexer *lx, size_t begin, size_t end, char sign, bool block) {
    const char *src = lx->src.data;
    if (sign == '-') return end - bk_tspace_end((bk_str){src + begin, end - begin});
    if (sign == '+' || !block) return end;
    size_t line = end;
    while (line > begin && src[line - 1] != '\n') line--;
    if (line == begin && !lx->line_starting) return end;
    return bk_tspace_begin((bk_str){src + line, end - line}) == end - line ? line : end;
}

static char sign_at(const bk_tlexer *lx, size_t pos) {
    char c = pos < lx->src.len ? lx->src.data[pos] : '\0';
    return c == '-' || c == '+' ? c : '\0';
}

/* The end of a block or comment tag at pos ("%}" or "#}" with its sign): where the text goes on
 * once white space has been eaten, or 0 when there is no such end at pos. */
static size_t tag_end(const bk_tlexer *lx, size_t pos, const char *end) {
    char sign = sign_at(lx, pos);
    if (sign && at(lx, pos + 1, end)) return sign == '-' ? skip_space(lx, pos + 3) : pos + 3;
    return at(lx, pos, end) ? skip_newline(lx, pos + 2) : 0;
}

static bool lex_comment(bk_tlexer *lx, size_t begin) {
    for (size_t i = begin; i < lx->src.len; i++) {
        size_t end = tag_end(lx, i, "#}");
        if (!end) continue;
        move_to(lx, end);
        return true;
    }
    return bk_tlexer_fail(lx, BK_ERR_FORMAT, lx->line, "a comment without its end \"#}\"");
}

/* "{% raw %}" at pos: where its content begins, or 0. */
static size_t raw_begin(const bk_tlexer *lx, size_t pos) {
    size_t i = pos + 2 + (sign_at(lx, pos + 2) != '\0');
    i = skip_space(lx, i);
    if (!at(lx, i, "raw")) return 0;
    i = skip_space(lx, i + 3);
    if (at(lx, i, "-%}")) return skip_space(lx, i + 3);
    return at(lx, i, "%}") ? i + 2 : 0;
}

static bool lex_raw(bk_tlexer *lx, size_t begin) {
    move_to(lx, begin);
    for (size_t i = begin; i < lx->src.len; i++) {
        if (!at(lx, i, "{%")) continue;
        char sign = sign_at(lx, i + 2);
        size_t word = skip_space(lx, i + 2 + (sign != '\0'));
        if (!at(lx, word, "endraw")) continue;
        size_t end = tag_end(lx, skip_space(lx, word + 6), "%}");
        if (!end) continue;
        push_data(lx, begin, strip_before(lx, begin, i, sign, true));
        move_to(lx, end);
        return true;
    }
    return bk_tlexer_fail(lx, BK_ERR_FORMAT, lx->line, "a raw block without its endraw");
}

/* Text up to the next tag, and the beginning of that tag. */
static bool lex_text(bk_tlexer *lx) {
    size_t begin = lx->pos, i = begin;
    while (i < lx->src.len && !at(lx, i, "{%") && !at(lx, i, "{{") && !at(lx, i, "{#")) i++;
    if (i >= lx->src.len) {
        push_data(lx, begin, lx->src.len);
        move_to(lx, lx->src.len);
        push(lx, BK_TOK_EOF, BK_STR(""));
        return true;
    }
    char tag = lx->src.data[i + 1], sign = sign_at(lx, i + 2);
    size_t inside = i + 2 + (sign != '\0'), raw = tag == '%' ? raw_begin(lx, i) : 0;
    push_data(lx, begin, strip_before(lx, begin, i, sign, tag != '{'));
    move_to(lx, i);
    if (raw) return lex_raw(lx, raw);
    if (tag == '#') return lex_comment(lx, inside);
    push(lx, tag == '%' ? BK_TOK_BLOCK_BEGIN : BK_TOK_VAR_BEGIN, BK_STR(""));
    lx->tag = tag == '%' ? BK_TOK_BLOCK_END : BK_TOK_VAR_END;
    move_to(lx, inside);
    return true;
}

static bool lex_tag_end(bk_tlexer *lx, bk_ttoken *tok) {
    size_t end = 0;
    if (lx->n_open) return false;
    if (lx->tag == BK_TOK_BLOCK_END) {
        end = tag_end(lx, lx->pos, "%}");
    } else if (at(lx, lx->pos, "-}}")) {
        end = skip_space(lx, lx->pos + 3);
    } else if (at(lx, lx->pos, "}}")) {
        end = lx->pos + 2;
    }
    if (!end) return false;
    *tok = (bk_ttoken){.kind = lx->tag, .line = lx->line};
    lx->tag = BK_TOK_EOF;
    move_to(lx, end);
    return true;
}

static bool track_brackets(bk_tlexer *lx, const bk_ttoken *tok) {
    static const char opening[] = "([{", closing[] = ")]}";
    char c = tok->text.data[0];
    const char *o = tok->text.len == 1 ? strchr(opening, c) : NULL;
    const char *e = tok->text.len == 1 ? strchr(closing, c) : NULL;
    if (o) {
        if (lx->n_open == BK_T_MAX_PARSE_DEPTH)
            return bk_tlexer_fail(lx, BK_ERR_LIMIT, lx->line, "brackets nested more than %d deep",
                                  BK_T_MAX_PARSE_DEPTH);
        lx->open[lx->n_open++] = closing[o - opening];
    } else if (e) {
        if (!lx->n_open || lx->open[lx->n_open - 1] != c)
            return bk_tlexer_fail(lx, BK_ERR_FORMAT, lx->line, "unexpected '%c'", c);
        lx->n_open--;
    }
    return true;
}

static bool lex_operator(bk_tlexer *lx, bk_ttoken *tok) {
    static const char *const operators[] = {"//", "**", "==", "!=", ">=", "<=", "+", "-", "/",
                                            "*",  "%",  "~",  "[",  "]",  "(",  ")", "{", "}",
                                            ">",  "<",  "=",  ".",  ":",  "|",  ","};
    for (size_t i = 0; i < BK_ARRAY_LEN(operators); i++) {
        if (!at(lx, lx->pos, operators[i])) continue;
        *tok = (bk_ttoken){.kind = (bk_ttok)(BK_TOK_FLOORDIV + i), .line = lx->line};
        tok->text = bk_str_from(operators[i]);
        if (!track_brackets(lx, tok)) return false;
        move_to(lx, lx->pos + tok->text.len);
        return true;
    }
    return bk_tlexer_fail(lx, BK_ERR_FORMAT, lx->line, "unexpected \"%.*s\" inside a tag",
                          (int)bk_min_size(8, lx->src.len - lx->pos), lx->src.data + lx->pos);
}

static bool name_char(char c, bool first) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' ||
           (!first && c >= '0' && c <= '9');
}

static bool lex_tag(bk_tlexer *lx, bk_ttoken *tok) {
    size_t start = skip_space(lx, lx->pos);
    move_to(lx, start);
    if (lex_tag_end(lx, tok)) return true;
    if (start == lx->src.len)
        return bk_tlexer_fail(lx, BK_ERR_FORMAT, lx->line, "a tag without its end \"%s\"",
                              lx->tag == BK_TOK_BLOCK_END ? "%}" : "}}");
    char c = lx->src.data[start];
    if (c >= '0' && c <= '9') return bk_tlexer_number(lx, tok);
    if (c == '\'' || c == '"') return bk_tlexer_string(lx, tok);
    if (!name_char(c, true)) return lex_operator(lx, tok);
    size_t end = start;
    while (end < lx->src.len && name_char(lx->src.data[end], false)) end++;
    *tok = (bk_ttoken){.kind = BK_TOK_NAME, .line = lx->line};
    tok->text = (bk_str){lx->src.data + start, end - start};
    move_to(lx, end);
    return true;
}

bool bk_tlexer_next(bk_tlexer *lx, bk_ttoken *tok) {
    if (lx->status != BK_OK) return false;
    if (lx->queue_at == lx->n_queue && lx->tag != BK_TOK_EOF) return lex_tag(lx, tok);
    while (lx->queue_at == lx->n_queue) {
        lx->queue_at = lx->n_queue = 0;
        if (!lex_text(lx)) return false;
    }
    *tok = lx->queue[lx->queue_at++];
    return true;
}
