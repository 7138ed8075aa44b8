/* What the float weights of all x86 levels share. */
#ifndef BRISK_KERNEL_FLOAT_AVX2_H
#define BRISK_KERNEL_FLOAT_AVX2_H

#include <immintrin.h>

#include "kernel/formats_avx2.h"

#define EACH_HALF_PLAN(X) X(F16) X(BF16)
#define EACH_FLOAT_PLAN(X) X(F32) EACH_HALF_PLAN(X)

/* The number of columns is a compile-time constant of each call of the including file's float_cols: up
 * to DIRECT_MOST, which that file defines by its registers, as DIRECT_WIDE, the cases above 4. */
#define FLOAT_CALL(COLS) float_cols(l, w, first, n, acts, pitch, COLS, out, ldo, add)
#define DIRECT_FLOAT(PLAN)                                                \
    static void direct_##PLAN(DIRECT_ARGS) {                              \
        const bk_layout l = BK_LAYOUT_##PLAN;                             \
        if (cols > DIRECT_MOST) {                                         \
            size_t half = cols / 2;                                       \
            direct_##PLAN(w, first, n, acts, pitch, half, out, ldo, add); \
            acts = (const float *)acts + half * pitch;                    \
            out += half * ldo;                                            \
            cols -= half;                                                 \
        }                                                                 \
        switch (cols) {                                                   \
        case 1: FLOAT_CALL(1); break;                                     \
        case 2: FLOAT_CALL(2); break;                                     \
        case 3: FLOAT_CALL(3); break;                                     \
        case 4:                                                           \
            FLOAT_CALL(4);                                                \
            break;                                                        \
            DIRECT_WIDE                                                   \
        }                                                                 \
    }

/* Case of a switch over plans. */
#define EXPAND_FLOAT(PLAN) \
    case BK_PLAN_##PLAN: expand_float(BK_LAYOUT_##PLAN, w, g, x); break;

/* How far ahead of a line to ask for memory: the same line of the n groups that come next, where
 * those fit the second-level cache beside the rest. Streams as short as a group of a small model end
 * before the hardware has noticed them (22 to 27 GB/s on Zen 4 at k 576); longer ones it follows
 * better by itself. */
INLINE size_t float_ahead(const bk_packed *w, size_t n) {
    size_t bytes = n * w->group_bytes;
    return bytes <= 256 * 1024 ? bytes : 0;
}

/* Asks for what follows the 64 bytes of each group that hold k. */
INLINE void float_prefetch(bk_layout layout, const bk_packed *w, const uint8_t *data, size_t n,
                           size_t k, size_t ahead) {
    if (layout == BK_LAYOUT_F32) return; /* enough bytes a step for the hardware to follow */
    UNROLL for (size_t g = 0; g < n; g++) {
        _mm_prefetch((const char *)data + g * w->group_bytes + k * 32 + ahead, _MM_HINT_T1);
    }
}

/* Groups of floats lie in memory as a panel would, so that none need be made. */
INLINE const float *float_panel(const bk_packed *w, size_t first, const bk_panel *panel) {
    const uint8_t *p = w->plan == BK_PLAN_F32 ? w->data + first * w->group_bytes : panel->q;
    return (const float *)(const void *)p;
}

#endif
