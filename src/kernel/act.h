/* A quantised row of activations, the other operand of the integer matrix product.
 *
 * int8 with one scale per 32 values, and the BK_ACT_EXACT largest values of the row taken out and
 * kept as floats: without its outliers a block gets a scale that fits the rest. Why this scheme:
 * docs/kernels.md has the table (mean KL 0.35x of plain int8 per 32 at 5 % of the multiplications). */
#ifndef BRISK_KERNEL_ACT_H
#define BRISK_KERNEL_ACT_H

#include "base/base.h"

/* BK_ACT_ZERO: the zero of unsigned bytes, as which the kernels hold the weights of most formats: what
 * it adds to a dot is taken off by where the dot begins. */
enum { BK_ACT_EXACT = 2, BK_ACT_ZERO = 128 };

/* Views into one row's memory, nb = ceil(k / 32):
 *   x[k] ~ s[k/32] * q[k], but x[at[e]] = value[e] exactly and q[at[e]] = 0. */
typedef struct bk_act {
    int8_t *q;      /* [32 * nb], in [-127, 127]; zeros past k */
    float *s;       /* [nb] */
    float *a;       /* [nb] s * sum of q: multiplies the offsets m of a block */
    int32_t *nsum;  /* [nb] minus BK_ACT_ZERO times the sum of q over the block */
    int32_t *nsum0; /* [nb] the same of its first 16 */
    int32_t *nsum1; /* [nb] and of the others */
    int32_t *at;    /* [BK_ACT_EXACT] channel < k */
    float *value;   /* [BK_ACT_EXACT] */
} bk_act;

/* Bytes from one row to the next: a multiple of 64. */
static inline size_t bk_act_row_bytes(size_t k) {
    size_t nb = bk_div_up(k, 32);
    return bk_round_up(nb * (32 + 5 * 4) + BK_ACT_EXACT * 8, 64);
}

static inline bk_act bk_act_view(void *row, size_t k) {
    size_t nb = bk_div_up(k, 32);
    char *p = row;
    bk_act a;
    a.q = (int8_t *)p;
    a.s = (float *)(void *)(p + nb * 32);
    a.a = a.s + nb;
    a.nsum = (int32_t *)(void *)(a.a + nb);
    a.nsum0 = a.nsum + nb;
    a.nsum1 = a.nsum0 + nb;
    a.at = a.nsum1 + nb;
    a.value = (float *)(void *)(a.at + BK_ACT_EXACT);
    return a;
}

/* Fills what the kernels need of the sums of q over the halves of block b. */
static inline void bk_act_set_sums(const bk_act *x, size_t b, int32_t sum0, int32_t sum1) {
    x->nsum[b] = -BK_ACT_ZERO * (sum0 + sum1);
    x->nsum0[b] = -BK_ACT_ZERO * sum0;
    x->nsum1[b] = -BK_ACT_ZERO * sum1;
    x->a[b] = x->s[b] * (float)(sum0 + sum1);
}

/* a of one half of a block (its first or second 16): s * sum of q, for offsets per 16. */
static inline float bk_act_half_a(const bk_act *x, size_t b, int half) {
    return x->s[b] * (float)((half ? x->nsum1 : x->nsum0)[b] / -BK_ACT_ZERO);
}

#endif
