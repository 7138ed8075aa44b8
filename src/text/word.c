#include "text/word.h"

#include "base/str.h"
#include "text/unicode.h"

typedef enum char_role { ALONE, LETTER, MARK, NUMBER } char_role;

/* Role and length of the character at s[pos]; ALONE at the end. */
static char_role role_at(const char *s, size_t len, size_t pos, size_t *n) {
    uint32_t cp;
    *n = 0;
    if (pos == len) return ALONE;
    *n = bk_utf8_decode(s + pos, len - pos, &cp);
    unsigned kind = bk_unicode_kind(cp);
    if (kind & BK_KIND_HAN) return ALONE;
    if (kind >= BK_KIND_LU && kind <= BK_KIND_LO) return LETTER;
    if (kind >= BK_KIND_ND && kind <= BK_KIND_NO) return NUMBER;
    return kind == BK_KIND_M ? MARK : ALONE;
}

/* Length of ' or U+2019 at s[pos], 0 where neither is. */
static size_t apostrophe(const char *s, size_t len, size_t pos) {
    if (pos < len && s[pos] == '\'') return 1;
    return len - pos >= 3 && memcmp(s + pos, "\xE2\x80\x99", 3) == 0 ? 3 : 0;
}

static size_t letters(const char *s, size_t len, size_t pos) {
    for (;;) {
        size_t n, mark = apostrophe(s, len, pos);
        char_role role = role_at(s, len, pos + mark, &n);
        if (role != LETTER && (mark || role != MARK)) return pos;
        pos += mark + n;
    }
}

size_t bk_word_next(const char *s, size_t len) {
    size_t n, begin = s[0] == ' ';
    char_role role = role_at(s, len, begin, &n);
    if (role == LETTER) return letters(s, len, begin + n);
    if (role == NUMBER) {
        size_t pos = begin + n;
        while (role_at(s, len, pos, &n) == NUMBER) pos += n;
        return pos;
    }
    return begin ? 1 : n;
}
