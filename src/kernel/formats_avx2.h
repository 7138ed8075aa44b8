/* What the matrix products of all x86 levels share, whatever their width: the plan of each format,
 * and the entry points of the direct kernels. */
#ifndef BRISK_KERNEL_FORMATS_AVX2_H
#define BRISK_KERNEL_FORMATS_AVX2_H

#include "kernel/parts.h"

typedef struct fmt {
    bk_layout layout;
    bk_scales scales;
    int zero, zero_shift, sub; /* zero << zero_shift == BK_ACT_ZERO */
    bool has_min;
    size_t lines;       /* per 32 k */
    size_t share;       /* lines of 32 k with their part of the scales, for prefetching */
    const int8_t *book; /* layout C4 */
} fmt;

/* What the plans named after a layout leave open is read from the type. */
INLINE fmt fmt_shared(bk_layout layout, size_t lines, int sub, const bk_quant *t) {
    size_t scales = t->scales == BK_SCALES_FLOAT ? (t->has_min ? 2u : 1u) * 32u / (size_t)sub : 1;
    int zero = layout == BK_LAYOUT_B8 || layout == BK_LAYOUT_C4 ? 128 : t->zero;
    int shift = zero ? __builtin_ctz(BK_ACT_ZERO) - __builtin_ctz((unsigned)zero) : 0;
    return (fmt){layout,     t->scales, zero,           shift,      sub,
                 t->has_min, lines,     lines + scales, t->codebook};
}

INLINE fmt fmt_of(bk_plan plan, const bk_quant *t) {
    const bk_scales half = BK_SCALES_HALF, super = BK_SCALES_SUPER;
    switch (plan) {
    case BK_PLAN_Q4_0: return (fmt){BK_LAYOUT_N4, half, 8, 4, 32, false, 4, 5, NULL};
    case BK_PLAN_Q4_1: return (fmt){BK_LAYOUT_N4, half, 0, 0, 32, true, 4, 5, NULL};
    case BK_PLAN_Q5_0: return (fmt){BK_LAYOUT_N5, half, 16, 3, 32, false, 5, 6, NULL};
    case BK_PLAN_Q8_0: return (fmt){BK_LAYOUT_B8, half, 128, 0, 32, false, 8, 9, NULL};
    case BK_PLAN_Q4_K: return (fmt){BK_LAYOUT_N4, super, 0, 0, 32, true, 4, 5, NULL};
    case BK_PLAN_Q6_K: return (fmt){BK_LAYOUT_N6, super, 32, 2, 16, false, 6, 7, NULL};
    case BK_PLAN_N4_16: return fmt_shared(BK_LAYOUT_N4, 4, 16, t);
    case BK_PLAN_N5_32: return fmt_shared(BK_LAYOUT_N5, 5, 32, t);
    case BK_PLAN_C4_32: return fmt_shared(BK_LAYOUT_C4, 4, 32, t);
    case BK_PLAN_C4_16: return fmt_shared(BK_LAYOUT_C4, 4, 16, t);
    case BK_PLAN_B8_16: return fmt_shared(BK_LAYOUT_B8, 8, 16, t);
    case BK_PLAN_B8_32: return fmt_shared(BK_LAYOUT_B8, 8, 32, t);
    default: return (fmt){0};
    }
}

/* Where a group's arrays of scales begin (packed.h); min and scale: the bytes of BK_SCALES_SUPER. */
typedef struct scale_arrays {
    const uint8_t *m, *d, *min, *scale;
} scale_arrays;

INLINE scale_arrays scales_of(fmt f, const uint8_t *g, size_t nb) {
    size_t n = nb * 32 / (size_t)f.sub, arrays = f.has_min ? 2 : 1;
    size_t step = f.scales == BK_SCALES_FLOAT  ? n * 64
                  : f.scales == BK_SCALES_HALF ? n * 32
                                               : nb / 8 * 32;
    const uint8_t *bytes = g + arrays * step;
    return (scale_arrays){g, g + (arrays - 1) * step, bytes, bytes + (arrays - 1) * n * 16};
}

INLINE bk_act act_at(const void *acts, size_t pitch, size_t c, size_t k) {
    return bk_act_view((char *)(uintptr_t)acts + c * pitch, k); /* read only here */
}

/* The sums of the lines [l, l + n_lines) of blocks. */
INLINE const int32_t *nsum_of(const bk_act *x, size_t l, size_t n_lines) {
    return n_lines == 8 ? x->nsum : l == 0 ? x->nsum0 : x->nsum1;
}

/* What multiplies offset `part` of block b. */
INLINE float offset_a(size_t sub, const bk_act *x, size_t b, size_t part) {
    return sub == 16 ? bk_act_half_a(x, b, (int)part) : x->a[b];
}

/* Asks for block b's share of a group's bytes, first to last, while the block is worked on. Scales
 * and lines are two streams; asked for as one beside the loads they let the hardware's prefetcher
 * lead, which is quicker than any distance of one's own (Zen 4, decode, against 12 KB ahead: Q4_0
 * 1.12, Q5_0 1.07, Q8_0 1.30; no requests at all: 0.7). Offsets are read before the first line, so
 * that those of the next group have to be there by then. */
INLINE void ask_share(fmt f, const uint8_t *g, size_t scale_bytes, size_t b) {
    const char *p = (const char *)g + b * f.share * 64 + (f.has_min ? scale_bytes : 0);
    UNROLL for (size_t j = 0; j < f.share; j++) { __builtin_prefetch(p + 64 * j, 0, 3); }
}

/* Asks for where a tile goes, which another core had last, before its dots: they hide the wait. */
INLINE void ask_output(const float *to, size_t groups) {
    UNROLL for (size_t g = 0; g < groups; g++) { __builtin_prefetch(to + g * BK_GROUP_ROWS, 1, 3); }
}

/* ---- Entry points over direct_cols of the including file --------------------------------------- */

#define EACH_TYPE_PLAN(X) X(Q4_0) X(Q4_1) X(Q5_0) X(Q8_0) X(Q4_K) X(Q6_K)
#define EACH_LAYOUT_PLAN(X) X(N4_16) X(N5_32) X(C4_32) X(C4_16) X(B8_16) X(B8_32)

/* The number of columns is a compile-time constant of each call: up to DIRECT_MOST, which the
 * including file defines by its registers, as DIRECT_WIDE, the cases above 4. */
#define DIRECT_CALL(COLS) direct_cols(f, w, first, n, acts, pitch, COLS, out, ldo, add)
#define DIRECT(PLAN)                                                      \
    static void direct_##PLAN(DIRECT_ARGS) {                              \
        const fmt f = fmt_of(BK_PLAN_##PLAN, w->type);                    \
        if (cols > DIRECT_MOST) {                                         \
            size_t half = cols / 2;                                       \
            direct_##PLAN(w, first, n, acts, pitch, half, out, ldo, add); \
            acts = (const char *)acts + half * pitch;                     \
            out += half * ldo;                                            \
            cols -= half;                                                 \
        }                                                                 \
        switch (cols) {                                                   \
        case 1: DIRECT_CALL(1); break;                                    \
        case 2: DIRECT_CALL(2); break;                                    \
        case 3: DIRECT_CALL(3); break;                                    \
        case 4:                                                           \
            DIRECT_CALL(4);                                               \
            break;                                                        \
            DIRECT_WIDE                                                   \
        }                                                                 \
    }

/* Rarer formats in less code: columns go two at a time. */
#define DIRECT_PAIRS(PLAN)                                                    \
    static void direct_##PLAN(DIRECT_ARGS) {                                  \
        const fmt f = fmt_of(BK_PLAN_##PLAN, w->type);                        \
        for (; cols >= 2; cols -= 2) {                                        \
            direct_cols(f, w, first, n, acts, pitch, 2, out, ldo, add);       \
            acts = (const char *)acts + 2 * pitch;                            \
            out += 2 * ldo;                                                   \
        }                                                                     \
        if (cols) direct_cols(f, w, first, n, acts, pitch, 1, out, ldo, add); \
    }

/* Cases of a switch over plans. */
#define CALL_DIRECT(PLAN)                                             \
    case BK_PLAN_##PLAN:                                              \
        direct_##PLAN(w, first, n, acts, pitch, cols, out, ldo, add); \
        break;
#define EXPAND(PLAN)                                                  \
    case BK_PLAN_##PLAN:                                              \
        expand_group(fmt_of(BK_PLAN_##PLAN, w->type), w, g, q, d, m); \
        break;

#endif
