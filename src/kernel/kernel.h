/* The table of compute kernels, one per CPU level.
 *
 * Kernels are pure: no allocation, no threads, no globals, any thread may call them. ref.c fills the
 * table with portable C, which is also the definition: every level gives the same bits as ref,
 * because each output element is computed by the same sequence of IEEE operations (integer dots are
 * exact, every float step is one rounding, fused where written fma). Only NaN payloads may differ.
 *
 * Matrix product, output row r and column c, in this order:
 *   acc = 0
 *   for each block b, each offset h of it (1 or 2):
 *       acc = fma(a[c][b][h], m[r][b][h], acc)                                 formats with offset
 *   for each block b, each scale h of it (1 or 2):
 *       acc = fma((float)(dot of q's, exact in int32, minus zero) * s[c][b], d[r][b][h], acc)
 *   for each exact channel e: acc = fma(value[c][e], w[r][at[c][e]], acc)
 * where a is s * (float)(sum of the activations' quants over the 16 or 32 channels of the offset) and
 * w is fma(d, (float)(q - zero), m). Float weights: acc = fma(x[k], w[r][k], acc), k ascending.
 *
 * The fast product (fast.h), of weights w[r][k] = d[r][stretch] * (byte - BK_ACT_ZERO):
 *   acc = 0
 *   for each stretch t:
 *       acc = fma((float)(dot of bytes and q's, exact in int32, minus zero) * s[c][t], d[r][t], acc)
 *   for each exact channel e: acc = fma(value[c][e], w[r][at[c][e]], acc)
 * Its weights, for each part p (a block, or half a block) of a stretch:
 *   max = the largest |fma(d[p], q - zero, m[p])| over both ends of q and the stretch's parts
 *   unit = BK_FAST_UNIT / max, or 0 where not max >= BK_FAST_MIN;   d[r][t] = max / BK_FAST_UNIT
 *   factor[p] = rint(d[p] * unit * 256);  start[p] = rint(m[p] * unit * 256) - zero * factor[p] + 32896
 *
 * Vector sums over a row go by 16 lanes: lane i adds elements i, i + 16, ... in order; lanes then
 * fold 16 -> 8 -> 4 -> 2 -> 1 by adding the upper half. */
#ifndef BRISK_KERNEL_KERNEL_H
#define BRISK_KERNEL_KERNEL_H

#include "kernel/act.h"
#include "kernel/fast.h"
#include "kernel/kv_chunk.h"
#include "kernel/packed.h"
#include "sys/cpu.h"

enum { BK_MAX_HEAD = 256 };

/* Columns that the direct kernels take; more go through panels. */
enum { BK_DIRECT_COLS = 8, BK_TILE_COLS = 6, BK_PANEL_GROUPS = 2 };

/* A pair of row groups expanded to bytes, for many columns. */
typedef struct bk_panel {
    uint8_t *q; /* [2 groups][nb][8 lines][64] unsigned; for float types float[2][k][16] */
    float *d;   /* [2 groups][nb * 32/sub][16] */
    float *m;   /* the same, formats with offset */
    /* [k][2 groups][16] weights of the exact channels that columns have named so far, and [k / 64]
     * which these are, bit k % 64: columns name few different ones. Of the 256-bit kernels and of the
     * fast product; with two channels at 512 bits decoding one every time is as quick. */
    float *exact;
    uint64_t *known;
} bk_panel;

static inline size_t bk_panel_bytes(size_t k) {
    size_t nb = bk_div_up(k, 32);
    return BK_PANEL_GROUPS * (bk_round_up(k, 32) * (64 + 64) + nb * 4 * 64) +
           bk_round_up(bk_div_up(k, 64) * 8, 64);
}

/* Lays the views over 64-byte aligned memory of bk_panel_bytes(k). */
static inline bk_panel bk_panel_view(void *mem, size_t k) {
    size_t nb = bk_div_up(k, 32);
    bk_panel p;
    p.q = mem;
    p.d = (float *)(void *)(p.q + BK_PANEL_GROUPS * bk_round_up(k, 32) * 64);
    p.m = p.d + BK_PANEL_GROUPS * nb * 2 * 16;
    p.exact = p.m + BK_PANEL_GROUPS * nb * 2 * 16;
    p.known = (uint64_t *)(void *)(p.exact + BK_PANEL_GROUPS * bk_round_up(k, 32) * 16);
    return p;
}

/* Whether the weights of channel k are in panel->exact; they are after this. */
static inline bool bk_panel_knows(const bk_panel *p, size_t k) {
    uint64_t bit = (uint64_t)1 << k % 64;
    if (p->known[k / 64] & bit) return true;
    p->known[k / 64] |= bit;
    return false;
}

/* n units of an LSTM layer at one step. What goes into the gates i, f, g, o of a unit lies gate after
 * gate, ldx and ldz apart. */
typedef struct bk_lstm_units {
    size_t n;
    const float *x, *bias; /* the input's part, its pitch and the bias's is ldx */
    const float *z;        /* the part of the state before */
    size_t ldx, ldz;
    const float *c_before;
    float *h, *c;
} bk_lstm_units;

typedef struct bk_kernels {
    bk_cpu_level level;

    /* ---- Matrix product, of sparse matrices too, whose rows of acts have tile_sums. Outputs: out[c * ldo + r], r = 16 * group...; rows past n_rows are not
     * written. add: out += instead of out =. Float types take x (float rows) instead of acts; the
     * row pitch is in bytes for acts and in floats for x. ---- */

    /* Straight from the packed groups [first, first + n), cols = 1..BK_DIRECT_COLS. */
    void (*direct)(const bk_packed *w, size_t first, size_t n, const void *acts, size_t pitch,
                   size_t cols, float *out, size_t ldo, bool add);
    /* One or two groups (n) to bytes, then any number of columns. */
    void (*expand)(const bk_packed *w, size_t first, size_t n, const bk_panel *panel);
    void (*tiles)(const bk_packed *w, size_t first, size_t n, const bk_panel *panel,
                  const void *acts, size_t pitch, size_t cols, float *out, size_t ldo, bool add);

    /* The same three for the fast product, of integer formats. */
    void (*fast_expand)(const bk_packed *w, size_t first, size_t n, const bk_panel *panel);
    void (*fast_tiles)(const bk_packed *w, size_t first, size_t n, const bk_panel *panel,
                       const void *acts, size_t pitch, size_t cols, float *out, size_t ldo,
                       bool add);
    void (*fast_quantize)(const float *x, size_t k, void *act);

    /* x[k] -> one activation row (act.h). Exact channels: largest |x|, the lower index on ties. */
    void (*quantize)(const float *x, size_t k, void *act);
    /* Of a row so quantised the sums behind it that sparse matrices are multiplied with (sparse.h). */
    void (*tile_sums)(size_t k, void *act);

    /* ---- Rows ---- */

    /* y = x * (1 / sqrt(mean(x^2) + eps)) * w; y may be x. */
    void (*rms_norm)(const float *x, const float *w, size_t n, float eps, float *y);
    /* y = gate / (1 + exp(-gate)) * up; y may be gate. */
    void (*silu_mul)(const float *gate, const float *up, size_t n, float *y);
    /* The same with GELU by its tanh formula (Hendrycks and Gimpel 2016; bk_gelu in expf.h). */
    void (*gelu_mul)(const float *gate, const float *up, size_t n, float *y);
    /* x = cap * tanh(x / cap) (bk_soft_cap in expf.h), cap > 0. */
    void (*soft_cap)(float *x, size_t n, float cap);
    /* i, f, o = 1 / (1 + exp(-v)) and g = tanh(v), which is the soft cap of 1, of v = (x + bias) + z;
     *   c = fma(f, c_before, i * g);   h = o * tanh(c) */
    void (*lstm_units)(const bk_lstm_units *u);

    /* ---- Attention (kernel/kv_chunk.h has the forms) ----
     * Integer dots are exact and cost half of what float ones do; vectors are scaled by their length,
     * so that no sum leaves 32 bits. */

    /* One query of head_size floats -> int16 out[bk_kv_head(head_size)] and its scale, that of the
     * scores included: *out_scale = s * scale with (out, s) the 16-bit form of q. */
    void (*attn_query)(const float *q, size_t head_size, float scale, int16_t *out,
                       float *out_scale);
    /* k and v of one position of one KV head into slot `pos` of a chunk. */
    void (*kv_store)(bk_kv_type type, const float *k, const float *v, size_t head_size, size_t pos,
                     void *chunk);
    /* The queries with one chunk. Query i sees its positions [lo[i], hi[i]), 0 <= lo <= hi <= chunk
     * (an empty range gives max -inf, sum 0, zeros). Writes max, sum and the unnormalised average:
     *   s[k] = (float)(sum over d of q[d] * key[k][d]) * (q_scale * key_scale[k]), soft_cap if cap > 0
     *   max = max s;   p = exp(s - max);   w[k] = p * value_scale[k];   sum, W: of p and w, 16 lanes
     *   u[k] = rint(w[k] * (BK_KV_UNIT / W)), 0 where not W >= BK_KV_MIN_WEIGHT
     *   o[d] = (float)(sum over k of u[k] * value[k][d]) * (W * (1 / BK_KV_UNIT)) */
    void (*attn_chunk)(const bk_attn *a, const bk_kv_view *chunk);
    /* For n queries: (max, sum, o) <- merged with the later chunk's (max2, sum2, o2):
     *   M = max(max, max2); f = exp(max - M); g = exp(max2 - M);
     *   sum = fma(sum2, g, sum * f); o[d] = fma(o2[d], g, o[d] * f). A chunk with sum2 == 0 is
     * skipped. o, o2: [n][head], head a multiple of 16. */
    void (*attn_merge)(size_t n, size_t head, float *max, float *sum, float *o, const float *max2,
                       const float *sum2, const float *o2);
} bk_kernels;

/* The table of the highest level that is not above `level` and that this build and CPU have. */
const bk_kernels *bk_kernels_select(bk_cpu_level level);

/* Fill functions, each overriding what the level below has set. */
void bk_kernels_init_ref(bk_kernels *k);
void bk_kernels_init_avx2(bk_kernels *k);
void bk_kernels_init_avxvnni(bk_kernels *k);       /* VEX encoding */
void bk_kernels_init_avx512vnni256(bk_kernels *k); /* the same kernels, EVEX encoding */
void bk_kernels_init_avx512(bk_kernels *k);
void bk_kernels_init_avx512vbmi2(bk_kernels *k); /* above it, for sparse matrices alone */

#endif
