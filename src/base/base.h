/* Things every file may use: sizes, checked arithmetic, small macros. No dependency but libc. */
#ifndef BRISK_BASE_BASE_H
#define BRISK_BASE_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BK_ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))
#define BK_CACHE_LINE 64

/* Marks a function of include/brisk*.h; everything else is built with hidden visibility. */
#define BK_API __attribute__((visibility("default")))
#define BK_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))

static inline size_t bk_min_size(size_t a, size_t b) { return a < b ? a : b; }
static inline size_t bk_max_size(size_t a, size_t b) { return a > b ? a : b; }
static inline int bk_min_int(int a, int b) { return a < b ? a : b; }
static inline int bk_max_int(int a, int b) { return a > b ? a : b; }

/* a / b rounded up; b > 0. */
static inline size_t bk_div_up(size_t a, size_t b) { return a / b + (a % b != 0); }

/* a rounded up to a multiple of b (b > 0). The caller knows that the result fits. */
static inline size_t bk_round_up(size_t a, size_t b) { return bk_div_up(a, b) * b; }

/* Checked size arithmetic: false, with *out untouched, when the result does not fit. Every size
 * that comes from a file or a request goes through these. */
static inline bool bk_mul_size(size_t a, size_t b, size_t *out) {
    size_t r;
    if (__builtin_mul_overflow(a, b, &r)) return false;
    *out = r;
    return true;
}

static inline bool bk_add_size(size_t a, size_t b, size_t *out) {
    size_t r;
    if (__builtin_add_overflow(a, b, &r)) return false;
    *out = r;
    return true;
}

#endif
