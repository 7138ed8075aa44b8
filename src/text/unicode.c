#include "text/unicode.h"

#include <string.h>

/* Hangul syllables decompose and compose by arithmetic (Unicode standard, section 3.12). */
enum {
    S_BASE = 0xAC00,
    L_BASE = 0x1100,
    V_BASE = 0x1161,
    T_BASE = 0x11A7,
    N_L = 19,
    N_V = 21,
    N_T = 28,
    N_S = N_L * N_V * N_T
};

/* The first of n entries of `size` bytes whose code point, at `offset`, is not below cp; n: none. */
static size_t find(const void *table, size_t n, size_t size, size_t offset, uint32_t cp) {
    size_t lo = 0, hi = n;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        uint32_t at;
        memcpy(&at, (const char *)table + mid * size + offset, sizeof at);
        if (at < cp) {
            lo = mid + 1;
        } else {
            hi = mid;
        }
    }
    return lo;
}

/* The same in a table of n structs, by their member. */
#define FIND(table, n, member, cp)  \
    find(table, n, sizeof *(table), \
         (size_t)((const char *)&(table)->member - (const char *)(table)), cp)

unsigned bk_unicode_combining(uint32_t cp) {
    size_t lo = FIND(bk_unicode_ccc, bk_unicode_n_ccc, last, cp);
    if (lo == bk_unicode_n_ccc || cp < bk_unicode_ccc[lo].first) return 0;
    return bk_unicode_ccc[lo].ccc;
}

static const bk_unicode_decomp *find_decomp(uint32_t cp) {
    size_t lo = FIND(bk_unicode_decomps, bk_unicode_n_decomps, cp, cp);
    if (lo == bk_unicode_n_decomps || bk_unicode_decomps[lo].cp != cp) return NULL;
    return &bk_unicode_decomps[lo];
}

static size_t decompose_hangul(uint32_t s, uint32_t *out) {
    out[0] = L_BASE + s / (N_V * N_T);
    out[1] = V_BASE + s % (N_V * N_T) / N_T;
    out[2] = T_BASE + s % N_T;
    return s % N_T ? 3 : 2;
}

size_t bk_unicode_decompose(uint32_t cp, uint32_t out[BK_UNICODE_MAX_DECOMP]) {
    if (cp >= S_BASE && cp < S_BASE + N_S) return decompose_hangul(cp - S_BASE, out);
    /* Only the first half of a pair decomposes further, so the tail fills from the end. */
    uint32_t tail[BK_UNICODE_MAX_DECOMP];
    size_t n_tail = 0, n = 0;
    const bk_unicode_decomp *d;
    while (n_tail < BK_UNICODE_MAX_DECOMP - 1 && (d = find_decomp(cp))) {
        if (d->b) tail[n_tail++] = d->b;
        cp = d->a;
    }
    out[n++] = cp;
    while (n_tail) out[n++] = tail[--n_tail];
    return n;
}

const uint32_t *bk_unicode_compatible(uint32_t cp, size_t *n) {
    size_t lo = FIND(bk_unicode_compats, bk_unicode_n_compats, cp, cp);
    if (lo == bk_unicode_n_compats || bk_unicode_compats[lo].cp != cp) return NULL;
    *n = bk_unicode_compats[lo].len;
    return bk_unicode_compat_chars + bk_unicode_compats[lo].begin;
}

static const bk_unicode_fold_string *find_fold_string(uint32_t cp) {
    size_t lo = FIND(bk_unicode_fold_strings, bk_unicode_n_fold_strings, cp, cp);
    bool found = lo < bk_unicode_n_fold_strings && bk_unicode_fold_strings[lo].cp == cp;
    return found ? &bk_unicode_fold_strings[lo] : NULL;
}

static uint32_t fold_one(uint32_t cp) {
    size_t lo = FIND(bk_unicode_folds, bk_unicode_n_folds, last, cp);
    if (lo == bk_unicode_n_folds) return cp;
    const bk_unicode_fold_range *r = &bk_unicode_folds[lo];
    bool in = cp >= r->first && (cp - r->first) % r->step == 0;
    return in ? (uint32_t)((int32_t)cp + r->delta) : cp;
}

size_t bk_unicode_fold(uint32_t cp, uint32_t out[BK_UNICODE_MAX_FOLD]) {
    const bk_unicode_fold_string *many = cp < 0x80 ? NULL : find_fold_string(cp);
    size_t n = 1;
    out[0] = many ? many->to[0] : fold_one(cp);
    for (; many && n < BK_UNICODE_MAX_FOLD && many->to[n]; n++) out[n] = many->to[n];
    return n;
}

static uint32_t compose_hangul(uint32_t a, uint32_t b) {
    uint32_t l = a - L_BASE, v = b - V_BASE, s = a - S_BASE, t = b - T_BASE;
    if (l < N_L && v < N_V) return S_BASE + (l * N_V + v) * N_T;
    if (s < N_S && s % N_T == 0 && t > 0 && t < N_T) return a + t;
    return 0;
}

uint32_t bk_unicode_compose(uint32_t a, uint32_t b) {
    size_t lo = 0, hi = bk_unicode_n_pairs;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        const bk_unicode_decomp *d = &bk_unicode_decomps[bk_unicode_pairs[mid]];
        if (d->a == a && d->b == b) return d->cp;
        if (d->a < a || (d->a == a && d->b < b)) {
            lo = mid + 1;
        } else {
            hi = mid;
        }
    }
    return compose_hangul(a, b);
}
