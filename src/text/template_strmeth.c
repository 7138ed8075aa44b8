/* Methods of strings. Every piece that they cut or put together keeps its provenance. */
#include <string.h>

#include "text/template_case.h"
#include "text/template_eval.h"
#include "text/unicode.h"

/* ---- Shared with filters --------------------------------------------------------------------- */

static bool in_set(uint32_t cp, const bk_tstr *set) {
    if (!set) return bk_tchar_space(cp);
    for (size_t i = 0; i < set->len;) {
        uint32_t c;
        i += bk_utf8_decode(set->data + i, set->len - i, &c);
        if (c == cp) return true;
    }
    return false;
}

bk_tval bk_tstr_strip(bk_trun *run, const bk_tstr *s, bk_tval chars, bool left, bool right) {
    const bk_tstr *set = NULL;
    if (chars.type != BK_T_MISSING && chars.type != BK_T_NONE &&
        !bk_targ_str(run, "strip", chars, &set))
        return bk_tval_fail();
    size_t begin = 0, end = s->len;
    uint32_t cp;
    bool more = true;
    if (!bk_trun_charge(run, s->len)) return bk_tval_fail();
    while (left && begin < end) {
        size_t len = bk_utf8_decode(s->data + begin, end - begin, &cp);
        if (!in_set(cp, set) || !bk_trun_charge(run, set ? set->len : 0)) break;
        begin += len;
    }
    while (right && more && end > begin) {
        size_t at = end - 1;
        while (at > begin && ((unsigned char)s->data[at] & 0xC0) == 0x80) at--;
        bk_utf8_decode(s->data + at, end - at, &cp);
        more = in_set(cp, set) && bk_trun_charge(run, set ? set->len : 0);
        if (more) end = at;
    }
    return bk_tstr_slice(run, s, begin, end);
}

static const char *find(const bk_tstr *s, size_t from, const bk_tstr *what) {
    if (what->len > s->len - from) return NULL;
    return memmem(s->data + from, s->len - from, what->data, what->len);
}

static bk_tval replace_between(bk_trun *run, const bk_tstr *s, const bk_tstr *to, int64_t count) {
    bk_tsb sb;
    bk_tsb_init(&sb, run);
    size_t i = 0;
    for (; bk_trun_ok(run); count--) {
        uint32_t cp;
        if (count != 0) bk_tsb_str(&sb, to);
        if (i >= s->len) break;
        size_t len = count ? bk_utf8_decode(s->data + i, s->len - i, &cp) : s->len - i;
        bk_tsb_slice(&sb, s, i, i + len);
        i += len;
        if (!count) break;
    }
    return bk_tsb_done(&sb);
}

bk_tval bk_tstr_replace(bk_trun *run, const bk_tstr *s, const bk_tstr *from, const bk_tstr *to,
                        int64_t count) {
    bk_tsb sb;
    const char *hit;
    size_t at = 0;
    if (count == 0) return bk_tval_str(s);
    if (from->len == 0) return replace_between(run, s, to, count);
    if (!bk_trun_charge(run, s->len)) return bk_tval_fail();
    bk_tsb_init(&sb, run);
    for (; count != 0 && (hit = find(s, at, from)) != NULL; count--) {
        size_t pos = (size_t)(hit - s->data);
        if (!bk_tsb_slice(&sb, s, at, pos) || !bk_tsb_str(&sb, to)) return bk_tval_fail();
        at = pos + from->len;
    }
    if (at == 0) return bk_tval_str(s);
    return bk_tsb_slice(&sb, s, at, s->len) ? bk_tsb_done(&sb) : bk_tval_fail();
}

bk_tval bk_tstr_join(bk_trun *run, const bk_tstr *sep, bk_tval *items, size_t n, bool convert) {
    bk_tsb sb;
    bk_tsb_init(&sb, run);
    for (size_t i = 0; i < n; i++) {
        if (!convert && items[i].type != BK_T_STR)
            return bk_trun_fail(run, BK_ERR_FORMAT, "join needs strings, item %zu is a %s", i,
                                bk_tval_type_name(items[i]));
        if (i) bk_tsb_str(&sb, sep);
        if (!bk_tval_print(&sb, items[i])) return bk_tval_fail();
    }
    return bk_tsb_done(&sb);
}

/* Length of the line end at s[i], 0 when there is none. */
static size_t line_end(const bk_tstr *s, size_t i) {
    uint32_t cp;
    size_t len = bk_utf8_decode(s->data + i, s->len - i, &cp);
    if (cp == '\r') return i + 1 < s->len && s->data[i + 1] == '\n' ? 2 : 1;
    bool ends = (cp >= 10 && cp <= 12) || (cp >= 28 && cp <= 30) || cp == 0x85 || cp == 0x2028 ||
                cp == 0x2029;
    return ends ? len : 0;
}

bk_tval bk_tstr_lines(bk_trun *run, const bk_tstr *s, bool keep_ends) {
    bk_tvec lines = {0};
    size_t begin = 0;
    if (!bk_trun_charge(run, s->len)) return bk_tval_fail();
    for (size_t i = 0; i < s->len;) {
        size_t end = line_end(s, i);
        if (!end) {
            i++;
            while (i < s->len && ((unsigned char)s->data[i] & 0xC0) == 0x80) i++;
            continue;
        }
        bk_tval line = bk_tstr_slice(run, s, begin, keep_ends ? i + end : i);
        if (!bk_tvec_push(run, &lines, line)) return bk_tval_fail();
        begin = i += end;
    }
    if (begin < s->len && !bk_tvec_push(run, &lines, bk_tstr_slice(run, s, begin, s->len)))
        return bk_tval_fail();
    return bk_tval_seq(run, BK_SEQ_LIST, lines.items, lines.n);
}

/* ---- Cutting --------------------------------------------------------------------------------- */

static bk_tval m_strip(bk_trun *run, bk_tval self, const bk_targs *args) {
    if (!bk_targs_count(run, "strip", args, 0, 1)) return bk_tval_fail();
    return bk_tstr_strip(run, self.str, args->n ? args->pos[0] : bk_tval_missing(), true, true);
}

static bk_tval m_lstrip(bk_trun *run, bk_tval self, const bk_targs *args) {
    if (!bk_targs_count(run, "lstrip", args, 0, 1)) return bk_tval_fail();
    return bk_tstr_strip(run, self.str, args->n ? args->pos[0] : bk_tval_missing(), true, false);
}

static bk_tval m_rstrip(bk_trun *run, bk_tval self, const bk_targs *args) {
    if (!bk_targs_count(run, "rstrip", args, 0, 1)) return bk_tval_fail();
    return bk_tstr_strip(run, self.str, args->n ? args->pos[0] : bk_tval_missing(), false, true);
}

static bk_tval split_space(bk_trun *run, const bk_tstr *s, int64_t max) {
    bk_tvec parts = {0};
    size_t at = bk_tspace_begin(bk_tstr_view(s)), begin = at;
    if (!bk_trun_charge(run, s->len)) return bk_tval_fail();
    while (at < s->len && max != 0) {
        uint32_t cp;
        size_t len = bk_utf8_decode(s->data + at, s->len - at, &cp);
        if (!bk_tchar_space(cp)) {
            at += len;
            continue;
        }
        if (!bk_tvec_push(run, &parts, bk_tstr_slice(run, s, begin, at))) return bk_tval_fail();
        at += bk_tspace_begin((bk_str){s->data + at, s->len - at});
        begin = at;
        max--;
    }
    if (begin < s->len && !bk_tvec_push(run, &parts, bk_tstr_slice(run, s, begin, s->len)))
        return bk_tval_fail();
    return bk_tval_seq(run, BK_SEQ_LIST, parts.items, parts.n);
}

static bk_tval split_at(bk_trun *run, const bk_tstr *s, const bk_tstr *sep, int64_t max) {
    bk_tvec parts = {0};
    size_t at = 0;
    const char *hit;
    if (!bk_trun_charge(run, s->len)) return bk_tval_fail();
    for (; max != 0 && (hit = find(s, at, sep)) != NULL; max--) {
        size_t pos = (size_t)(hit - s->data);
        if (!bk_tvec_push(run, &parts, bk_tstr_slice(run, s, at, pos))) return bk_tval_fail();
        at = pos + sep->len;
    }
    if (!bk_tvec_push(run, &parts, bk_tstr_slice(run, s, at, s->len))) return bk_tval_fail();
    return bk_tval_seq(run, BK_SEQ_LIST, parts.items, parts.n);
}

/* Start of the last word or separator before `end`; s->len when there is none. */
static size_t find_last(const bk_tstr *s, size_t end, const bk_tstr *sep) {
    for (size_t i = end; sep->len <= end && i >= sep->len; i--) {
        if (memcmp(s->data + i - sep->len, sep->data, sep->len) == 0) return i - sep->len;
    }
    return s->len;
}

static void reverse(bk_tvec *v) {
    for (size_t i = 0; i < v->n / 2; i++) {
        bk_tval x = v->items[i];
        v->items[i] = v->items[v->n - 1 - i];
        v->items[v->n - 1 - i] = x;
    }
}

static bk_tval rsplit_at(bk_trun *run, const bk_tstr *s, const bk_tstr *sep, int64_t max) {
    bk_tvec parts = {0};
    size_t end = s->len;
    for (; max != 0; max--) {
        size_t pos = find_last(s, end, sep);
        if (!bk_trun_charge(run, (end - bk_min_size(pos, end)) * (1 + sep->len / 8)))
            return bk_tval_fail();
        if (pos == s->len) break;
        bk_tval part = bk_tstr_slice(run, s, pos + sep->len, end);
        if (!bk_tvec_push(run, &parts, part)) return bk_tval_fail();
        end = pos;
    }
    if (!bk_tvec_push(run, &parts, bk_tstr_slice(run, s, 0, end))) return bk_tval_fail();
    reverse(&parts);
    return bk_tval_seq(run, BK_SEQ_LIST, parts.items, parts.n);
}

static bk_tval rsplit_space(bk_trun *run, const bk_tstr *s, int64_t max) {
    bk_tvec parts = {0};
    size_t end = s->len - bk_tspace_end(bk_tstr_view(s)), at = end;
    if (!bk_trun_charge(run, s->len)) return bk_tval_fail();
    while (at > 0 && max != 0) {
        size_t space = bk_tspace_end((bk_str){s->data, at});
        if (!space) {
            for (at--; at > 0 && ((unsigned char)s->data[at] & 0xC0) == 0x80;) at--;
            continue;
        }
        if (at < end && !bk_tvec_push(run, &parts, bk_tstr_slice(run, s, at, end)))
            return bk_tval_fail();
        end = at -= space;
        max--;
    }
    if (end > 0 && !bk_tvec_push(run, &parts, bk_tstr_slice(run, s, 0, end))) return bk_tval_fail();
    reverse(&parts);
    return bk_tval_seq(run, BK_SEQ_LIST, parts.items, parts.n);
}

static bk_tval split(bk_trun *run, const bk_tstr *s, const bk_targs *args, bool right) {
    bk_tval a[BK_T_MAX_PARAMS];
    const bk_tstr *sep;
    int64_t max;
    if (!bk_targs_bind(run, "split", "sep maxsplit", 0, args, a)) return bk_tval_fail();
    if (!bk_targ_int(run, "split", a[1], -1, &max)) return bk_tval_fail();
    if (a[0].type == BK_T_MISSING || a[0].type == BK_T_NONE)
        return right ? rsplit_space(run, s, max) : split_space(run, s, max);
    if (!bk_targ_str(run, "split", a[0], &sep)) return bk_tval_fail();
    if (sep->len == 0) return bk_trun_fail(run, BK_ERR_FORMAT, "split needs a separator");
    return right ? rsplit_at(run, s, sep, max) : split_at(run, s, sep, max);
}

static bk_tval m_split(bk_trun *run, bk_tval self, const bk_targs *args) {
    return split(run, self.str, args, false);
}

static bk_tval m_rsplit(bk_trun *run, bk_tval self, const bk_targs *args) {
    return split(run, self.str, args, true);
}

static bk_tval m_splitlines(bk_trun *run, bk_tval self, const bk_targs *args) {
    bk_tval a[BK_T_MAX_PARAMS];
    if (!bk_targs_bind(run, "splitlines", "keepends", 0, args, a)) return bk_tval_fail();
    return bk_tstr_lines(run, self.str, bk_tval_truth(a[0]));
}

static bk_tval partition(bk_trun *run, bk_tval self, const bk_targs *args, bool right) {
    const bk_tstr *s = self.str, *sep;
    if (!bk_targs_count(run, "partition", args, 1, 1)) return bk_tval_fail();
    if (!bk_targ_str(run, "partition", args->pos[0], &sep)) return bk_tval_fail();
    if (sep->len == 0) return bk_trun_fail(run, BK_ERR_FORMAT, "partition needs a separator");
    if (!bk_trun_charge(run, s->len * (1 + sep->len / 8))) return bk_tval_fail();
    const char *hit = right ? NULL : find(s, 0, sep);
    size_t pos = right ? find_last(s, s->len, sep) : hit ? (size_t)(hit - s->data) : s->len;
    bk_tval *parts = bk_trun_alloc(run, 3, sizeof *parts);
    if (!parts) return bk_tval_fail();
    if (pos == s->len) {
        parts[0] = parts[1] = parts[2] = bk_tval_text(run, BK_STR(""), false);
        parts[right ? 2 : 0] = self;
    } else {
        parts[0] = bk_tstr_slice(run, s, 0, pos);
        parts[1] = bk_tstr_slice(run, s, pos, pos + sep->len);
        parts[2] = bk_tstr_slice(run, s, pos + sep->len, s->len);
    }
    return bk_trun_ok(run) ? bk_tval_seq(run, BK_SEQ_TUPLE, parts, 3) : bk_tval_fail();
}

static bk_tval m_partition(bk_trun *run, bk_tval self, const bk_targs *args) {
    return partition(run, self, args, false);
}

static bk_tval m_rpartition(bk_trun *run, bk_tval self, const bk_targs *args) {
    return partition(run, self, args, true);
}

static bk_tval m_removeprefix(bk_trun *run, bk_tval self, const bk_targs *args) {
    const bk_tstr *s = self.str, *x;
    if (!bk_targs_count(run, "removeprefix", args, 1, 1) ||
        !bk_targ_str(run, "removeprefix", args->pos[0], &x))
        return bk_tval_fail();
    bool there = bk_str_starts(bk_tstr_view(s), bk_tstr_view(x));
    return bk_tstr_slice(run, s, there ? x->len : 0, s->len);
}

static bool ends_with(bk_str s, bk_str end) {
    return s.len >= end.len && bk_str_eq((bk_str){s.data + s.len - end.len, end.len}, end);
}

static bk_tval m_removesuffix(bk_trun *run, bk_tval self, const bk_targs *args) {
    const bk_tstr *s = self.str, *x;
    if (!bk_targs_count(run, "removesuffix", args, 1, 1) ||
        !bk_targ_str(run, "removesuffix", args->pos[0], &x))
        return bk_tval_fail();
    bool there = ends_with(bk_tstr_view(s), bk_tstr_view(x));
    return bk_tstr_slice(run, s, 0, there ? s->len - x->len : s->len);
}

/* ---- Looking --------------------------------------------------------------------------------- */

/* The part of s that the optional arguments start and end (numbers from `first` on) leave. False:
 * recorded. *begin is a byte offset; *inside is false when start lies beyond the end. */
static bool window(bk_trun *run, const char *what, const bk_tstr *s, const bk_targs *args,
                   size_t *begin, size_t *end, bool *inside) {
    int64_t n = (int64_t)s->chars, from = 0, to = n;
    if (args->n > 1 && args->pos[1].type != BK_T_NONE &&
        !bk_targ_int(run, what, args->pos[1], 0, &from))
        return false;
    if (args->n > 2 && args->pos[2].type != BK_T_NONE &&
        !bk_targ_int(run, what, args->pos[2], 0, &to))
        return false;
    if (from < 0) from = from < -n ? 0 : from + n;
    if (to < 0) to = to < -n ? 0 : to + n;
    if (to > n) to = n;
    *inside = from <= n && from <= to;
    *begin = bk_tstr_offset(run, s, (size_t)(*inside ? from : 0));
    *end = bk_tstr_offset(run, s, (size_t)(*inside ? to : 0));
    return bk_trun_charge(run, s->len);
}

static bk_tval search(bk_trun *run, const char *name, const bk_tstr *s, const bk_targs *args,
                      bool last, bool must) {
    const bk_tstr *x;
    size_t begin, end;
    bool inside;
    if (!bk_targs_count(run, name, args, 1, 3) || !bk_targ_str(run, name, args->pos[0], &x) ||
        !window(run, name, s, args, &begin, &end, &inside))
        return bk_tval_fail();
    bk_tstr part = {.data = s->data, .len = end};
    size_t pos = s->len + 1;
    if (inside && last) {
        bk_tstr tail = {.data = s->data + begin, .len = end - begin};
        size_t hit = x->len ? find_last(&tail, tail.len, x) : tail.len;
        if (!bk_trun_charge(run, tail.len * (1 + x->len / 8))) return bk_tval_fail();
        if (hit < tail.len || x->len == 0) pos = begin + hit;
    } else if (inside) {
        const char *hit = x->len ? find(&part, begin, x) : s->data + begin;
        if (hit) pos = (size_t)(hit - s->data);
    }
    if (pos <= s->len) return bk_tval_int((int64_t)bk_tchars((bk_str){s->data, pos}));
    return must ? bk_trun_fail(run, BK_ERR_FORMAT, "%s found nothing", name) : bk_tval_int(-1);
}

static bk_tval m_find(bk_trun *run, bk_tval self, const bk_targs *args) {
    return search(run, "find", self.str, args, false, false);
}

static bk_tval m_rfind(bk_trun *run, bk_tval self, const bk_targs *args) {
    return search(run, "rfind", self.str, args, true, false);
}

static bk_tval m_index(bk_trun *run, bk_tval self, const bk_targs *args) {
    return search(run, "index", self.str, args, false, true);
}

static bk_tval m_rindex(bk_trun *run, bk_tval self, const bk_targs *args) {
    return search(run, "rindex", self.str, args, true, true);
}

static bk_tval m_count(bk_trun *run, bk_tval self, const bk_targs *args) {
    const bk_tstr *s = self.str, *x;
    size_t begin, end;
    bool inside;
    if (!bk_targs_count(run, "count", args, 1, 3) || !bk_targ_str(run, "count", args->pos[0], &x) ||
        !window(run, "count", s, args, &begin, &end, &inside))
        return bk_tval_fail();
    if (!inside) return bk_tval_int(0);
    if (x->len == 0)
        return bk_tval_int(1 + (int64_t)bk_tchars((bk_str){s->data + begin, end - begin}));
    bk_tstr part = {.data = s->data, .len = end};
    int64_t n = 0;
    for (const char *hit; (hit = find(&part, begin, x)) != NULL; n++)
        begin = (size_t)(hit - s->data) + x->len;
    return bk_tval_int(n);
}

static bk_tval affix(bk_trun *run, const char *name, const bk_tstr *s, const bk_targs *args,
                     bool at_end) {
    size_t begin, end, n = 1;
    bool inside;
    if (!bk_targs_count(run, name, args, 1, 3) ||
        !window(run, name, s, args, &begin, &end, &inside))
        return bk_tval_fail();
    bk_tval *items = args->pos;
    if (items[0].type == BK_T_SEQ && items[0].seq->kind == BK_SEQ_TUPLE) {
        n = items[0].seq->n;
        items = items[0].seq->items;
    }
    bk_str part = {s->data + begin, end - begin};
    for (size_t i = 0; i < n; i++) {
        const bk_tstr *x;
        if (!bk_targ_str(run, name, items[i], &x)) return bk_tval_fail();
        if (inside &&
            (at_end ? ends_with(part, bk_tstr_view(x)) : bk_str_starts(part, bk_tstr_view(x))))
            return bk_tval_bool(true);
    }
    return bk_tval_bool(false);
}

static bk_tval m_startswith(bk_trun *run, bk_tval self, const bk_targs *args) {
    return affix(run, "startswith", self.str, args, false);
}

static bk_tval m_endswith(bk_trun *run, bk_tval self, const bk_targs *args) {
    return affix(run, "endswith", self.str, args, true);
}

/* Whether every character (and there is one) belongs to a class: a bit per class. */
static bk_tval all_of(bk_trun *run, const bk_tstr *s, const bk_targs *args, unsigned classes) {
    if (!bk_targs_count(run, "is...", args, 0, 0) || !bk_trun_charge(run, s->len))
        return bk_tval_fail();
    for (size_t i = 0; i < s->len;) {
        uint32_t cp;
        i += bk_utf8_decode(s->data + i, s->len - i, &cp);
        bk_char_class class = bk_tchar_space(cp) ? BK_CHAR_SPACE : bk_unicode_class(cp);
        if (!(classes >> class & 1)) return bk_tval_bool(false);
    }
    return bk_tval_bool(s->len > 0);
}

static bk_tval m_isalpha(bk_trun *run, bk_tval self, const bk_targs *args) {
    return all_of(run, self.str, args, 1u << BK_CHAR_LETTER);
}

static bk_tval m_isdigit(bk_trun *run, bk_tval self, const bk_targs *args) {
    return all_of(run, self.str, args, 1u << BK_CHAR_NUMBER);
}

static bk_tval m_isalnum(bk_trun *run, bk_tval self, const bk_targs *args) {
    return all_of(run, self.str, args, 1u << BK_CHAR_LETTER | 1u << BK_CHAR_NUMBER);
}

static bk_tval m_isspace(bk_trun *run, bk_tval self, const bk_targs *args) {
    return all_of(run, self.str, args, 1u << BK_CHAR_SPACE);
}

static bk_tval m_isupper(bk_trun *run, bk_tval self, const bk_targs *args) {
    if (!bk_targs_count(run, "isupper", args, 0, 0)) return bk_tval_fail();
    return bk_tval_bool(bk_tstr_is_case(bk_tstr_view(self.str), BK_CASE_UPPER));
}

static bk_tval m_islower(bk_trun *run, bk_tval self, const bk_targs *args) {
    if (!bk_targs_count(run, "islower", args, 0, 0)) return bk_tval_fail();
    return bk_tval_bool(bk_tstr_is_case(bk_tstr_view(self.str), BK_CASE_LOWER));
}

/* ---- Making ---------------------------------------------------------------------------------- */

static bk_tval change_case(bk_trun *run, bk_tval self, const bk_targs *args, bk_tcase mode) {
    return bk_targs_count(run, "a change of case", args, 0, 0) ? bk_tstr_case(run, self.str, mode)
                                                               : bk_tval_fail();
}

static bk_tval m_upper(bk_trun *run, bk_tval self, const bk_targs *args) {
    return change_case(run, self, args, BK_CASE_UPPER);
}

static bk_tval m_lower(bk_trun *run, bk_tval self, const bk_targs *args) {
    return change_case(run, self, args, BK_CASE_LOWER);
}

static bk_tval m_title(bk_trun *run, bk_tval self, const bk_targs *args) {
    return change_case(run, self, args, BK_CASE_TITLE);
}

static bk_tval m_capitalize(bk_trun *run, bk_tval self, const bk_targs *args) {
    return change_case(run, self, args, BK_CASE_CAPITALIZE);
}

static bk_tval m_replace(bk_trun *run, bk_tval self, const bk_targs *args) {
    const bk_tstr *from, *to;
    int64_t count;
    if (!bk_targs_count(run, "replace", args, 2, 3) ||
        !bk_targ_str(run, "replace", args->pos[0], &from) ||
        !bk_targ_str(run, "replace", args->pos[1], &to) ||
        !bk_targ_int(run, "replace", args->n > 2 ? args->pos[2] : bk_tval_missing(), -1, &count))
        return bk_tval_fail();
    return bk_tstr_replace(run, self.str, from, to, count);
}

static bk_tval m_join(bk_trun *run, bk_tval self, const bk_targs *args) {
    bk_tval *items;
    size_t n;
    if (!bk_targs_count(run, "join", args, 1, 1) || !bk_tval_items(run, args->pos[0], &items, &n))
        return bk_tval_fail();
    return bk_tstr_join(run, self.str, items, n, false);
}

static bk_tval m_format(bk_trun *run, bk_tval self, const bk_targs *args) {
    return bk_tformat_braces(run, self.str, args);
}

const bk_tmethod_def *bk_tstr_method(bk_str name) {
    static const bk_tmethod_def methods[] = {
        {"strip", m_strip},
        {"lstrip", m_lstrip},
        {"rstrip", m_rstrip},
        {"split", m_split},
        {"rsplit", m_rsplit},
        {"splitlines", m_splitlines},
        {"partition", m_partition},
        {"rpartition", m_rpartition},
        {"startswith", m_startswith},
        {"endswith", m_endswith},
        {"replace", m_replace},
        {"upper", m_upper},
        {"lower", m_lower},
        {"title", m_title},
        {"capitalize", m_capitalize},
        {"join", m_join},
        {"find", m_find},
        {"rfind", m_rfind},
        {"index", m_index},
        {"rindex", m_rindex},
        {"count", m_count},
        {"format", m_format},
        {"isalpha", m_isalpha},
        {"isdigit", m_isdigit},
        {"isalnum", m_isalnum},
        {"isspace", m_isspace},
        {"isupper", m_isupper},
        {"islower", m_islower},
        {"isnumeric", m_isdigit},
        {"isdecimal", m_isdigit},
        {"removeprefix", m_removeprefix},
        {"removesuffix", m_removesuffix},
    };
    for (size_t i = 0; i < BK_ARRAY_LEN(methods); i++) {
        if (bk_str_eq(name, bk_str_from(methods[i].name))) return &methods[i];
    }
    return NULL;
}
