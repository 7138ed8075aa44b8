/* The operands of the fast product: coarser scales, so that nearly nothing but dots is left of it. It
 * loses precision (docs/kernels.md has how much), so nobody gets it who has not asked for it.
 *
 * Weights are expressed anew when a panel is made: bytes with BK_ACT_ZERO as their zero and one scale
 * for a stretch of BK_FAST_BLOCKS blocks of a row. Each scale part of a block (32 or 16 weights) has
 * two 16-bit factors, with which
 *     byte = (q * factor + start) mod 2^16 >> 8
 * Activations have one scale a stretch too, and BK_FAST_EXACT channels of a row are exact. */
#ifndef BRISK_KERNEL_FAST_H
#define BRISK_KERNEL_FAST_H

#include "kernel/act.h"
#include "quant/quant.h"

enum { BK_FAST_BLOCKS = 4, BK_FAST_EXACT = 3 };

/* Weights become at most so much: 127 would leave no room for the factors' rounding. */
#define BK_FAST_UNIT 126.0f
/* A stretch of smaller ones is 0. */
#define BK_FAST_MIN 0x1p-100f
/* Factors are cut to this, and are 0 where they are not numbers. */
#define BK_FAST_LIMIT 1e6f

static inline size_t bk_fast_stretches(size_t nb) { return bk_div_up(nb, BK_FAST_BLOCKS); }

/* Views into one row's memory, nb = ceil(k / 32):
 *   x[k] ~ s[stretch] * q[k], but x[at[e]] = value[e] exactly and q[at[e]] = 0. */
typedef struct bk_fast_act {
    int8_t *q;     /* [32 * nb], in [-127, 127]; zeros past k */
    float *s;      /* [stretches] */
    int32_t *nsum; /* [stretches] minus BK_ACT_ZERO times the sum of q */
    int32_t *at;   /* [BK_FAST_EXACT] channel < k */
    float *value;  /* [BK_FAST_EXACT] */
} bk_fast_act;

/* Bytes from one row to the next: a multiple of 64. */
static inline size_t bk_fast_act_bytes(size_t k) {
    size_t nb = bk_div_up(k, 32);
    return bk_round_up(nb * 32 + 2 * (BK_FAST_EXACT + bk_fast_stretches(nb)) * 4, 64);
}

static inline bk_fast_act bk_fast_act_view(void *row, size_t k) {
    size_t nb = bk_div_up(k, 32);
    bk_fast_act a = {.q = row};
    a.s = (float *)(void *)(a.q + nb * 32);
    a.nsum = (int32_t *)(void *)(a.s + bk_fast_stretches(nb));
    a.at = a.nsum + bk_fast_stretches(nb);
    a.value = (float *)(void *)(a.at + BK_FAST_EXACT);
    return a;
}

/* The ends of q - zero, of which d makes weights. */
static inline void bk_fast_range(const bk_quant *t, float *low, float *high) {
    int first = 0, last = (1 << t->bits) - 1;
    if (t->layout == BK_LAYOUT_C4) {
        first = last = t->codebook[0] + t->zero;
        for (int i = 1; i < 16; i++) {
            first = bk_min_int(first, t->codebook[i] + t->zero);
            last = bk_max_int(last, t->codebook[i] + t->zero);
        }
    }
    *low = (float)(first - t->zero);
    *high = (float)(last - t->zero);
}

#endif
