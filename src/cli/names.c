#include "cli/names.h"

#include <stdio.h>
#include <strings.h>

static bool digits(const char *at, unsigned *out) {
    *out = 0;
    for (int i = 0; i < 5; i++) {
        if (at[i] < '0' || at[i] > '9') return false;
        *out = *out * 10 + (unsigned)(at[i] - '0');
    }
    return true;
}

bool name_split(const char *file, unsigned *part, unsigned *of, size_t *stem) {
    static const char tail[] = "-00001-of-00003.gguf";
    size_t len = strlen(file);
    if (len < sizeof tail) return false;
    const char *at = file + len - (sizeof tail - 1);
    if (at[0] != '-' || memcmp(at + 6, "-of-", 4) != 0 || strcasecmp(at + 15, ".gguf") != 0)
        return false;
    unsigned found, all;
    if (!digits(at + 1, &found) || !digits(at + 10, &all) || found < 1 || found > all) return false;
    *part = found;
    *of = all;
    *stem = (size_t)(at - file);
    return true;
}

bool name_of_part(const char *file, unsigned part, char *out, size_t cap) {
    unsigned was, of;
    size_t stem;
    if (!name_split(file, &was, &of, &stem) || part > NAME_PART_MOST) return false;
    int n = snprintf(out, cap, "%.*s-%05u%s", (int)stem, file, part, file + stem + 6);
    return n > 0 && (size_t)n < cap;
}

bool name_same(bk_str a, bk_str b) {
    return a.len == b.len && (a.len == 0 || strncasecmp(a.data, b.data, a.len) == 0);
}

bool name_ends(const char *text, const char *end) {
    size_t n = strlen(text), m = strlen(end);
    return n >= m && strcasecmp(text + n - m, end) == 0;
}

const char *name_base(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

bk_str name_stem(const char *path) {
    const char *base = name_base(path);
    unsigned part, of;
    size_t stem = strlen(base);
    if (!name_split(base, &part, &of, &stem) && name_ends(base, ".gguf")) stem -= 5;
    return (bk_str){base, stem};
}

static bool between(char c, char lo, char hi) { return c >= lo && c <= hi; }

static char upper(char c) { return between(c, 'a', 'z') ? (char)(c - 32) : c; }

static bool separates(bk_str s, size_t i) { return i >= s.len || strchr("-._", s.data[i]); }

/* Length of a quantisation that begins at s[i]: [I|T]Q, a digit, then _ and letters or digits; or a
 * name of the table. 0 when there is none. */
static size_t quant_len(bk_str s, size_t i) {
    static const char *const words[] = {"BF16", "FP16", "FP32", "F16", "F32", "MXFP4"};
    for (size_t k = 0; k < BK_ARRAY_LEN(words); k++) {
        size_t n = strlen(words[k]);
        if (i + n <= s.len && strncasecmp(s.data + i, words[k], n) == 0 && separates(s, i + n))
            return n;
    }
    size_t at = i;
    if (at < s.len && (upper(s.data[at]) == 'I' || upper(s.data[at]) == 'T')) at++;
    if (at + 1 >= s.len || upper(s.data[at]) != 'Q' || !between(s.data[at + 1], '1', '9')) return 0;
    at += 2;
    while (at + 1 < s.len && s.data[at] == '_' && !separates(s, at + 1)) {
        for (at++; !separates(s, at); at++) continue;
    }
    return separates(s, at) ? at - i : 0;
}

void name_quant(bk_str stem, char *out, size_t cap, size_t *at) {
    if (cap > 0) out[0] = '\0';
    for (size_t i = 0; i < stem.len; i++) {
        if (i > 0 && !separates(stem, i - 1)) continue;
        size_t n = quant_len(stem, i);
        if (n == 0 || n >= cap) continue;
        for (size_t k = 0; k < n; k++) out[k] = upper(stem.data[i + k]);
        out[n] = '\0';
        if (at) *at = i;
        i += n;
    }
}

bool name_has_tag(bk_str stem, bk_str tag) {
    char quant[32];
    name_quant(stem, quant, sizeof quant, NULL);
    if (tag.len == 0 || name_same(tag, bk_str_from(quant)) || name_same(tag, stem)) return tag.len;
    if (tag.len >= stem.len) return false;
    size_t at = stem.len - tag.len;
    return separates(stem, at - 1) && name_same(tag, (bk_str){stem.data + at, tag.len});
}

bool name_is_side(const char *path) { return strncasecmp(name_base(path), "mmproj", 6) == 0; }

/* A component of user/repo: letters, digits, - _ . */
static bool good_component(bk_str s) {
    if (s.len == 0 || s.len > 96 || s.data[0] == '.') return false;
    for (size_t i = 0; i < s.len; i++) {
        char c = upper(s.data[i]);
        if (!between(c, 'A', 'Z') && !between(c, '0', '9') && !strchr("-_.", c)) return false;
    }
    return true;
}

bool name_repo(const char *text, bk_str *repo, bk_str *tag) {
    size_t len = strcspn(text, ":");
    const char *slash = memchr(text, '/', len);
    if (!slash) return false;
    bk_str user = {text, (size_t)(slash - text)};
    bk_str name = {slash + 1, len - user.len - 1};
    *repo = (bk_str){text, len};
    *tag = text[len] ? bk_str_from(text + len + 1) : (bk_str){text + len, 0};
    return good_component(user) && good_component(name) && (!text[len] || tag->len > 0);
}

bool name_is_inside(const char *path) {
    size_t all = strlen(path);
    if (all == 0 || all > 1024) return false;
    for (const char *at = path;; at++) {
        size_t len = strcspn(at, "/");
        if (len == 0 || len > 255 || (len == 1 && at[0] == '.')) return false;
        if (len == 2 && at[0] == '.' && at[1] == '.') return false;
        for (size_t i = 0; i < len; i++) {
            if ((unsigned char)at[i] < 32 || at[i] == 127 || at[i] == '\\') return false;
        }
        at += len;
        if (*at == '\0') return true;
    }
}
