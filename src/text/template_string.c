/* Strings with provenance: slices and a builder that carry the spans along. */
#include <string.h>

#include "text/template_value.h"

size_t bk_tchars(bk_str s) {
    size_t n = 0;
    for (size_t i = 0; i < s.len; i++) n += ((unsigned char)s.data[i] & 0xC0) != 0x80;
    return n;
}

bk_tstr *bk_tstr_new(bk_trun *run, bk_str text, bool user) {
    bk_tstr *s = bk_trun_alloc(run, 1, sizeof *s);
    if (!s) return NULL;
    *s = (bk_tstr){.data = text.data, .len = text.len, .chars = bk_tchars(text)};
    if (user && text.len) {
        bk_span *span = bk_trun_alloc(run, 1, sizeof *span);
        if (!span) return NULL;
        *span = (bk_span){0, text.len};
        s->user = span;
        s->n_user = 1;
    }
    return s;
}

/* Index of the first span that ends after `at`. */
static size_t span_after(const bk_tstr *s, size_t at) {
    size_t lo = 0, hi = s->n_user;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (s->user[mid].end > at) {
            hi = mid;
        } else {
            lo = mid + 1;
        }
    }
    return lo;
}

bool bk_tstr_user_at(const bk_tstr *s, size_t at) {
    size_t i = span_after(s, at);
    return i < s->n_user && s->user[i].begin <= at;
}

bk_tval bk_tstr_slice(bk_trun *run, const bk_tstr *s, size_t begin, size_t end) {
    if (begin == 0 && end == s->len) return bk_tval_str(s);
    bk_tstr *r = bk_trun_alloc(run, 1, sizeof *r);
    if (!r || !bk_trun_charge(run, end - begin)) return bk_tval_fail();
    *r = (bk_tstr){.data = s->data + begin, .len = end - begin};
    r->chars = s->chars == s->len ? r->len : bk_tchars(bk_tstr_view(r));
    size_t first = span_after(s, begin), last = first;
    while (last < s->n_user && s->user[last].begin < end) last++;
    if (first == last || begin == end) return bk_tval_str(r);
    bk_span *spans = bk_trun_alloc(run, last - first, sizeof *spans);
    if (!spans) return bk_tval_fail();
    for (size_t i = first; i < last; i++) {
        spans[i - first].begin = bk_max_size(s->user[i].begin, begin) - begin;
        spans[i - first].end = bk_min_size(s->user[i].end, end) - begin;
    }
    r->user = spans;
    r->n_user = last - first;
    return bk_tval_str(r);
}

size_t bk_tstr_offset(bk_trun *run, const bk_tstr *s, size_t index) {
    if (s->chars == s->len || index == 0) return index;
    if (index >= s->chars) return s->len;
    bk_trun_charge(run, s->len);
    size_t at = 0;
    for (size_t seen = 0; at < s->len; at++) {
        if (((unsigned char)s->data[at] & 0xC0) != 0x80 && seen++ == index) break;
    }
    return at;
}

void bk_tsb_init(bk_tsb *sb, bk_trun *run) { *sb = (bk_tsb){.run = run}; }

static bool reserve(bk_tsb *sb, size_t extra) {
    if (!bk_trun_ok(sb->run)) return false;
    if (extra > BK_T_MAX_OUTPUT - sb->len) {
        bk_trun_fail(sb->run, BK_ERR_LIMIT, "a text of more than %zu MiB", BK_T_MAX_OUTPUT >> 20);
        return false;
    }
    size_t need = sb->len + extra;
    if (need <= sb->cap) return true;
    size_t cap = bk_max_size(need, bk_max_size(32, 2 * sb->cap));
    char *data = bk_trun_alloc(sb->run, cap, 1);
    if (!data) return false;
    if (sb->len) memcpy(data, sb->data, sb->len);
    sb->data = data;
    sb->cap = cap;
    return true;
}

static bool add_span(bk_tsb *sb, size_t begin, size_t end) {
    if (begin == end) return true;
    if (sb->n_user && sb->user[sb->n_user - 1].end == begin) {
        sb->user[sb->n_user - 1].end = end;
        return true;
    }
    if (sb->n_user == sb->cap_user) {
        size_t cap = sb->cap_user ? 2 * sb->cap_user : 4;
        bk_span *user = bk_trun_alloc(sb->run, cap, sizeof *user);
        if (!user) return false;
        if (sb->n_user) memcpy(user, sb->user, sb->n_user * sizeof *user);
        sb->user = user;
        sb->cap_user = cap;
    }
    sb->user[sb->n_user++] = (bk_span){begin, end};
    return true;
}

bool bk_tsb_bytes(bk_tsb *sb, const char *data, size_t len, bool user) {
    if (!bk_trun_charge(sb->run, len) || !reserve(sb, len)) return false;
    if (len) memcpy(sb->data + sb->len, data, len);
    sb->len += len;
    return !user || add_span(sb, sb->len - len, sb->len);
}

bool bk_tsb_lit(bk_tsb *sb, const char *z) { return bk_tsb_bytes(sb, z, strlen(z), false); }

bool bk_tsb_slice(bk_tsb *sb, const bk_tstr *s, size_t begin, size_t end) {
    size_t at = sb->len;
    if (!bk_tsb_bytes(sb, s->data + begin, end - begin, false)) return false;
    for (size_t i = span_after(s, begin); i < s->n_user && s->user[i].begin < end; i++) {
        size_t b = bk_max_size(s->user[i].begin, begin), e = bk_min_size(s->user[i].end, end);
        if (!add_span(sb, at + b - begin, at + e - begin)) return false;
    }
    return true;
}

bool bk_tsb_str(bk_tsb *sb, const bk_tstr *s) { return bk_tsb_slice(sb, s, 0, s->len); }

void bk_tsb_mark_user(bk_tsb *sb, size_t begin) {
    while (sb->n_user && sb->user[sb->n_user - 1].begin >= begin) sb->n_user--;
    if (sb->n_user && sb->user[sb->n_user - 1].end > begin) sb->user[sb->n_user - 1].end = begin;
    add_span(sb, begin, sb->len);
}

bk_tval bk_tsb_done(bk_tsb *sb) {
    bk_tstr *s = bk_trun_alloc(sb->run, 1, sizeof *s);
    if (!s) return bk_tval_fail();
    *s = (bk_tstr){.data = sb->data ? sb->data : "", .len = sb->len};
    s->chars = bk_tchars(bk_tstr_view(s));
    s->user = sb->user;
    s->n_user = sb->n_user;
    return bk_tval_str(s);
}
