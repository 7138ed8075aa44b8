#include "text/template_case.h"

#include <string.h>

bool bk_tchar_space(uint32_t cp) {
    return (cp >= 9 && cp <= 13) || (cp >= 28 && cp <= 32) || cp == 0x85 || cp == 0xA0 ||
           cp == 0x1680 || (cp >= 0x2000 && cp <= 0x200A) || cp == 0x2028 || cp == 0x2029 ||
           cp == 0x202F || cp == 0x205F || cp == 0x3000;
}

bool bk_tchar_printable(uint32_t cp) {
    static const uint32_t hidden[][2] = {{0, 0x1F},          {0x7F, 0xA0},       {0xAD, 0xAD},
                                         {0x600, 0x605},     {0x61C, 0x61C},     {0x6DD, 0x6DD},
                                         {0x70F, 0x70F},     {0x890, 0x891},     {0x8E2, 0x8E2},
                                         {0x1680, 0x1680},   {0x180E, 0x180E},   {0x2000, 0x200F},
                                         {0x2028, 0x202F},   {0x205F, 0x206F},   {0x3000, 0x3000},
                                         {0xD800, 0xF8FF},   {0xFEFF, 0xFEFF},   {0xFFF9, 0xFFFB},
                                         {0x110BD, 0x110BD}, {0x110CD, 0x110CD}, {0x13430, 0x13438},
                                         {0x1BCA0, 0x1BCA3}, {0x1D173, 0x1D17A}, {0xE0001, 0xE0001},
                                         {0xE0020, 0xE007F}, {0xF0000, 0x10FFFF}};
    for (size_t i = 0; i < BK_ARRAY_LEN(hidden); i++) {
        if (cp >= hidden[i][0] && cp <= hidden[i][1]) return false;
    }
    return true;
}

size_t bk_tspace_begin(bk_str s) {
    size_t at = 0;
    while (at < s.len) {
        uint32_t cp;
        size_t len = bk_utf8_decode(s.data + at, s.len - at, &cp);
        if (!bk_tchar_space(cp)) break;
        at += len;
    }
    return at;
}

size_t bk_tspace_end(bk_str s) {
    size_t end = s.len;
    while (end > 0) {
        size_t at = end - 1;
        while (at > 0 && ((unsigned char)s.data[at] & 0xC0) == 0x80) at--;
        uint32_t cp;
        bk_utf8_decode(s.data + at, end - at, &cp);
        if (!bk_tchar_space(cp)) break;
        end = at;
    }
    return s.len - end;
}

static uint32_t map(const bk_tcase_range *table, size_t n, uint32_t cp) {
    size_t lo = 0, hi = n;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (table[mid].last < cp) {
            lo = mid + 1;
        } else {
            hi = mid;
        }
    }
    if (lo == n || cp < table[lo].first || (cp - table[lo].first) % table[lo].step != 0) return cp;
    return (uint32_t)((int32_t)cp + table[lo].delta);
}

static uint32_t upper(uint32_t cp) {
    if (cp < 128) return cp >= 'a' && cp <= 'z' ? cp - 32 : cp;
    return map(bk_tcase_upper, bk_tcase_n_upper, cp);
}

static uint32_t lower(uint32_t cp) {
    if (cp < 128) return cp >= 'A' && cp <= 'Z' ? cp + 32 : cp;
    return map(bk_tcase_lower, bk_tcase_n_lower, cp);
}

static const bk_tcase_special *special(uint32_t cp) {
    for (size_t i = 0; cp >= 128 && i < bk_tcase_n_specials; i++) {
        if (bk_tcase_specials[i].cp == cp) return &bk_tcase_specials[i];
    }
    return NULL;
}

static bool is_upper(uint32_t cp) { return lower(cp) != cp; }
static bool is_lower(uint32_t cp) { return lower(cp) == cp && (upper(cp) != cp || special(cp)); }
static bool is_cased(uint32_t cp) { return is_upper(cp) || is_lower(cp); }

/* Characters that do not end a word for the rule of the final sigma (the common ones). */
static bool case_ignorable(uint32_t cp) {
    return cp == '\'' || cp == '.' || cp == ':' || cp == '^' || cp == '`' || cp == 0xA8 ||
           cp == 0xAD || cp == 0xB7 || (cp >= 0x300 && cp <= 0x36F) || cp == 0x2019;
}

/* Whether the sigma at s[at] ends a word that has letters before it. */
static bool final_sigma(bk_str s, size_t at, size_t len) {
    size_t i = at;
    uint32_t cp;
    bool before = false, after = false;
    while (i > 0) {
        for (i--; i > 0 && ((unsigned char)s.data[i] & 0xC0) == 0x80;) i--;
        bk_utf8_decode(s.data + i, s.len - i, &cp);
        before = is_cased(cp);
        if (!case_ignorable(cp)) break;
    }
    for (i = at + len; i < s.len;) {
        i += bk_utf8_decode(s.data + i, s.len - i, &cp);
        after = is_cased(cp);
        if (!case_ignorable(cp)) break;
    }
    return before && !after;
}

static void put(bk_tsb *sb, uint32_t cp, bool user) {
    char utf8[4];
    bk_tsb_bytes(sb, utf8, bk_utf8_encode(cp, utf8), user);
}

static void put_upper(bk_tsb *sb, uint32_t cp, bool title, bool user) {
    const bk_tcase_special *s = special(cp);
    if (s) {
        const char *text = title ? s->title : s->upper;
        bk_tsb_bytes(sb, text, strlen(text), user);
    } else {
        put(sb, title && cp >= 0x10D0 && cp <= 0x10FF ? cp : upper(cp), user);
    }
}

static void put_lower(bk_tsb *sb, bk_str s, size_t at, size_t len, uint32_t cp, bool user) {
    if (cp == 0x130) {
        bk_tsb_bytes(sb, "i\314\207", 3, user);
    } else if (cp == 0x3A3 && final_sigma(s, at, len)) {
        put(sb, 0x3C2, user);
    } else {
        put(sb, lower(cp), user);
    }
}

static bool opens_word(uint32_t cp) {
    return bk_tchar_space(cp) || cp == '-' || cp == '(' || cp == '{' || cp == '[' || cp == '<';
}

bk_tval bk_tstr_case(bk_trun *run, const bk_tstr *s, bk_tcase mode) {
    bk_tsb sb;
    bk_tsb_init(&sb, run);
    bool first = true;
    size_t word = 0; /* where the part begins that the filter changes on its own */
    for (size_t i = 0; i < s->len && bk_trun_ok(run);) {
        uint32_t cp;
        size_t len = bk_utf8_decode(s->data + i, s->len - i, &cp);
        bool user = bk_tstr_user_at(s, i);
        if (mode == BK_CASE_UPPER || (first && mode != BK_CASE_LOWER)) {
            put_upper(&sb, cp, mode == BK_CASE_CAPITALIZE || mode == BK_CASE_TITLE, user);
        } else {
            put_lower(&sb, (bk_str){s->data + word, s->len - word}, i - word, len, cp, user);
        }
        if (first && mode == BK_CASE_TITLE_FILTER) word = i + len;
        first =
            mode == BK_CASE_TITLE ? !is_cased(cp) : mode == BK_CASE_TITLE_FILTER && opens_word(cp);
        i += len;
    }
    return bk_tsb_done(&sb);
}

bool bk_tstr_is_case(bk_str s, bk_tcase mode) {
    bool any = false;
    for (size_t i = 0; i < s.len;) {
        uint32_t cp;
        i += bk_utf8_decode(s.data + i, s.len - i, &cp);
        if (mode == BK_CASE_UPPER ? is_lower(cp) : is_upper(cp)) return false;
        any = any || is_cased(cp);
    }
    return any;
}
