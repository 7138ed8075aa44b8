/* The hand-written rules. */
#include "text/pretok.h"

#include "text/unicode.h"

/* Class and length of the character at s[pos], pos < len. */
static bk_char_class char_at(const char *s, size_t len, size_t pos, size_t *n) {
    uint32_t cp = (unsigned char)s[pos];
    *n = 1;
    if (cp >= 0x80) *n = bk_utf8_decode(s + pos, len - pos, &cp);
    return bk_unicode_class(cp);
}

static bool class_is(const char *s, size_t len, size_t pos, bk_char_class class) {
    size_t n;
    return pos < len && char_at(s, len, pos, &n) == class;
}

/* End of the characters of one class from pos on, at most max of them. */
static size_t skip_class(const char *s, size_t len, size_t pos, bk_char_class class, size_t max) {
    size_t n;
    for (; max > 0 && pos < len && char_at(s, len, pos, &n) == class; max--) pos += n;
    return pos;
}

static bool is_newline(char c) { return c == '\r' || c == '\n'; }

/* Length of 's 't 're 've 'm 'll 'd at s, or 0. Folding case, LATIN SMALL LETTER LONG S is an s. */
static size_t contraction(const char *s, size_t len, bool fold) {
    if (len < 2 || s[0] != '\'') return 0;
    if (fold && len >= 3 && memcmp(s + 1, "\xC5\xBF", 2) == 0) return 3;
    char bit = fold ? 0x20 : 0; /* what upper case lacks; the characters compared are letters */
    char a = s[1] | bit;
    if (a == 's' || a == 't' || a == 'm' || a == 'd') return 2;
    if (len < 3) return 0;
    char b = s[2] | bit;
    return (b == 'e' && (a == 'r' || a == 'v')) || (a == 'l' && b == 'l') ? 3 : 0;
}

/* The white space at s (at least one character) as \s+(?!\S)|\s+ takes it: all of it at the end of
 * the text, else all but the last character, which goes with what follows. With newlines,
 * \s*[\r\n]+ comes first: up to the last line end. */
static size_t white_space(const char *s, size_t len, bool digits_end, bool newlines) {
    size_t end = 0, last = 0, after_newline = 0, n;
    while (end < len && char_at(s, len, end, &n) == BK_CHAR_SPACE) {
        last = end;
        end += n;
        if (is_newline(s[last])) after_newline = end;
    }
    if (newlines && after_newline) return after_newline;
    if (end == len || (digits_end && class_is(s, len, end, BK_CHAR_NUMBER))) return end;
    return last > 0 ? last : end;
}

static size_t next_gpt2(const char *s, size_t len, bool digits) {
    size_t n = contraction(s, len, false);
    if (n) return n;
    bk_char_class class = char_at(s, len, 0, &n);
    if (digits && class == BK_CHAR_NUMBER) return n;
    size_t begin = 0;
    if (s[0] == ' ' && len > 1) {
        bk_char_class after = char_at(s, len, 1, &n);
        if (after != BK_CHAR_SPACE && !(digits && after == BK_CHAR_NUMBER)) {
            begin = 1;
            class = after;
        }
    }
    if (class == BK_CHAR_SPACE) return white_space(s, len, digits, false);
    return skip_class(s, len, begin, class, SIZE_MAX);
}

static size_t next_llama3(const char *s, size_t len, size_t max_digits) {
    size_t n = contraction(s, len, true);
    if (n) return n;
    bk_char_class class = char_at(s, len, 0, &n);
    if (class == BK_CHAR_NUMBER) return skip_class(s, len, 0, class, max_digits);
    size_t word = class == BK_CHAR_LETTER || is_newline(s[0]) ? 0 : n;
    if (class_is(s, len, word, BK_CHAR_LETTER))
        return skip_class(s, len, word, BK_CHAR_LETTER, SIZE_MAX);
    size_t begin = s[0] == ' ';
    if (class_is(s, len, begin, BK_CHAR_OTHER)) {
        size_t end = skip_class(s, len, begin, BK_CHAR_OTHER, SIZE_MAX);
        while (end < len && is_newline(s[end])) end++;
        return end;
    }
    return white_space(s, len, false, true);
}

size_t bk_pretok_next(bk_pretok kind, const char *s, size_t len) {
    switch (kind) {
    case BK_PRETOK_GPT2: return next_gpt2(s, len, false);
    case BK_PRETOK_SMOLLM: return next_gpt2(s, len, true);
    case BK_PRETOK_LLAMA3: return next_llama3(s, len, 3);
    case BK_PRETOK_QWEN2: return next_llama3(s, len, 1);
    default: break;
    }
    return len;
}
