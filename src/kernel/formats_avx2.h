/* What the matrix products of all x86 levels share, whatever their width: the plan of each format,
 * and the entry points of the direct kernels. */
#ifndef BRISK_KERNEL_FORMATS_AVX2_H
#define BRISK_KERNEL_FORMATS_AVX2_H

#include "kernel/parts.h"

typedef struct fmt {
    bk_type type;
    bk_layout layout;
    int zero, zero_shift, sub;
    bool has_min;
    size_t lines; /* per 32 k */
} fmt;

INLINE fmt fmt_of(bk_type type) {
    switch (type) {
    case BK_TYPE_Q4_0: return (fmt){type, BK_LAYOUT_N4, 8, 3, 32, false, 4};
    case BK_TYPE_Q4_1: return (fmt){type, BK_LAYOUT_N4, 0, 0, 32, true, 4};
    case BK_TYPE_Q5_0: return (fmt){type, BK_LAYOUT_N5, 16, 4, 32, false, 5};
    case BK_TYPE_Q4_K: return (fmt){type, BK_LAYOUT_N4, 0, 0, 32, true, 4};
    case BK_TYPE_Q6_K: return (fmt){type, BK_LAYOUT_N6, 32, 5, 16, false, 6};
    default: return (fmt){type, BK_LAYOUT_B8, 128, 7, 32, false, 8};
    }
}

INLINE bk_act act_at(const void *acts, size_t pitch, size_t c, size_t k) {
    return bk_act_view((char *)(uintptr_t)acts + c * pitch, k); /* read only here */
}

/* Entry points over direct_cols and float_cols of the including file, the number of columns a
 * compile-time constant of each call. */
#define DIRECT(name, T)                                                                          \
    static void name(const bk_packed *w, size_t first, size_t n, const void *acts, size_t pitch, \
                     size_t cols, float *out, size_t ldo, bool add) {                            \
        const fmt f = fmt_of(T);                                                                 \
        switch (cols) {                                                                          \
        case 1: direct_cols(f, w, first, n, acts, pitch, 1, out, ldo, add); break;               \
        case 2: direct_cols(f, w, first, n, acts, pitch, 2, out, ldo, add); break;               \
        case 3: direct_cols(f, w, first, n, acts, pitch, 3, out, ldo, add); break;               \
        default: direct_cols(f, w, first, n, acts, pitch, 4, out, ldo, add); break;              \
        }                                                                                        \
    }

#define DIRECT_FLOAT(name, T)                                                                  \
    static void name(const bk_packed *w, size_t first, size_t n, const float *x, size_t pitch, \
                     size_t cols, float *out, size_t ldo, bool add) {                          \
        switch (cols) {                                                                        \
        case 1: float_cols(T, w, first, n, x, pitch, 1, out, ldo, add); break;                 \
        case 2: float_cols(T, w, first, n, x, pitch, 2, out, ldo, add); break;                 \
        case 3: float_cols(T, w, first, n, x, pitch, 3, out, ldo, add); break;                 \
        default: float_cols(T, w, first, n, x, pitch, 4, out, ldo, add); break;                \
        }                                                                                      \
    }

#endif
