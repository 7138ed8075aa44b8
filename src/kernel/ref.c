/* Portable kernels: the definition that every other level must equal bit for bit, and what runs on
 * a CPU without AVX2. Written for clarity; fmaf is the C library's. */
#include <math.h>
#include <string.h>

#include "kernel/expf.h"
#include "kernel/kernel.h"

enum { LANES = 16 };

/* Lanes fold 16 -> 8 -> 4 -> 2 -> 1. */
static float fold(const float lane[LANES]) {
    float t[LANES];
    memcpy(t, lane, sizeof t);
    for (int n = LANES / 2; n > 0; n /= 2)
        for (int i = 0; i < n; i++) t[i] += t[i + n];
    return t[0];
}

/* ---- Matrix product ---------------------------------------------------------------------------- */

/* Dot of q's over [begin, begin + n) of a block, as if q were q - zero. */
static float int_dot(const bk_canon *c, const int8_t *q, int begin, int n, int zero) {
    int32_t sum = 0;
    for (int i = begin; i < begin + n; i++) sum += ((int)c->q[i] - zero) * q[i];
    return (float)sum;
}

static float dot_int_row(const bk_packed *w, size_t r, const bk_act *x) {
    size_t nb = w->k / 32;
    int zero = w->type->zero, sub = w->type->sub;
    float acc = 0;
    bk_canon c;
    if (w->type->has_min) {
        for (size_t b = 0; b < nb; b++) {
            bk_packed_block(w, r, b, &c);
            for (int h = 0; h < 32; h += sub)
                acc = fmaf(sub == 32 ? x->a[b] : bk_act_half_a(x, b, h / 16), c.m[h / 16], acc);
        }
    }
    for (size_t b = 0; b < nb; b++) {
        bk_packed_block(w, r, b, &c);
        for (int h = 0; h < 32; h += sub)
            acc = fmaf(int_dot(&c, x->q + 32 * b, h, sub, zero) * x->s[b], c.d[h / 16], acc);
    }
    for (int e = 0; e < BK_ACT_EXACT; e++) {
        size_t k = (size_t)x->at[e];
        bk_packed_block(w, r, k / 32, &c);
        float weight = fmaf(c.d[k % 32 / 16], (float)((int)c.q[k % 32] - zero), c.m[k % 32 / 16]);
        acc = fmaf(x->value[e], weight, acc);
    }
    return acc;
}

static float dot_float_row(const bk_packed *w, size_t r, const float *x) {
    float acc = 0;
    for (size_t k = 0; k < w->k; k++) acc = fmaf(x[k], bk_packed_float(w, r, k), acc);
    return acc;
}

static void matmul(const bk_packed *w, size_t first, size_t n, const void *acts, size_t pitch,
                   size_t cols, float *out, size_t ldo, bool add) {
    size_t end = bk_min_size((first + n) * BK_GROUP_ROWS, w->n_rows);
    for (size_t c = 0; c < cols; c++) {
        bk_act x = {0};
        const float *xf = (const float *)acts + c * pitch;
        /* The view only reads here. */
        if (w->type->bits) x = bk_act_view((char *)(uintptr_t)acts + c * pitch, w->k);
        for (size_t r = first * BK_GROUP_ROWS; r < end; r++) {
            float y = w->type->bits ? dot_int_row(w, r, &x) : dot_float_row(w, r, xf);
            float *o = out + c * ldo + r;
            *o = add ? *o + y : y;
        }
    }
}

/* The reference works from the packed groups: its panels stay empty. */
static void expand(const bk_packed *w, size_t first, size_t n, const bk_panel *panel) {
    (void)w, (void)first, (void)n, (void)panel;
}

static void tiles(const bk_packed *w, size_t first, size_t n, const bk_panel *panel,
                  const void *acts, size_t pitch, size_t cols, float *out, size_t ldo, bool add) {
    (void)panel;
    matmul(w, first, n, acts, pitch, cols, out, ldo, add);
}

/* ---- Activations ------------------------------------------------------------------------------- */

static float block_max(const float *x, size_t n) {
    float max = 0;
    for (size_t i = 0; i < n; i++) {
        float v = fabsf(x[i]);
        if (v > max) max = v;
    }
    return max;
}

/* Takes the largest |x| out of the row. s[] holds the maximum of each block, kept up to date in
 * `rest`, the row without the values taken so far: here, by index. */
static size_t take_largest(const float *x, size_t k, const int32_t *taken, int n_taken) {
    size_t best = 0;
    float max = -1;
    for (size_t i = 0; i < k; i++) {
        bool gone = false;
        for (int e = 0; e < n_taken; e++) gone |= taken[e] == (int32_t)i;
        float v = fabsf(x[i]);
        if (!gone && v > max) {
            max = v;
            best = i;
        }
    }
    return best;
}

static void quantize_block(const float *x, size_t n, size_t b, const bk_act *a) {
    float max = block_max(x, n);
    float inverse = max > 0 ? 127.0f / max : 0.0f;
    int32_t sum[2] = {0, 0};
    int8_t *q = a->q + 32 * b;
    a->s[b] = max / 127.0f;
    for (size_t i = 0; i < 32; i++) {
        float v = i < n ? rintf(x[i] * inverse) : 0.0f;
        q[i] = (int8_t)(v > 127 ? 127 : v < -127 ? -127 : v == v ? v : 0);
        sum[i / 16] += q[i];
    }
    a->nsum[b] = -(sum[0] + sum[1]);
    a->nsum0[b] = -sum[0];
    a->a[b] = a->s[b] * (float)(sum[0] + sum[1]);
}

static void quantize(const float *x, size_t k, void *act) {
    bk_act a = bk_act_view(act, k);
    for (int e = 0; e < BK_ACT_EXACT; e++) {
        size_t i = take_largest(x, k, a.at, e);
        a.at[e] = (int32_t)i;
        a.value[e] = x[i];
        /* A row of one value has nothing left to take. */
        if ((size_t)e >= k) a.at[e] = 0, a.value[e] = 0;
    }
    for (size_t b = 0; b * 32 < k; b++) {
        float rest[32];
        size_t n = bk_min_size(32, k - 32 * b);
        memcpy(rest, x + 32 * b, n * sizeof *rest);
        for (int e = 0; e < BK_ACT_EXACT; e++)
            if ((size_t)a.at[e] / 32 == b) rest[a.at[e] % 32] = 0;
        quantize_block(rest, n, b, &a);
    }
}

/* ---- Rows --------------------------------------------------------------------------------------- */

static void rms_norm(const float *x, const float *w, size_t n, float eps, float *y) {
    float lane[LANES] = {0};
    for (size_t i = 0; i < n; i++) lane[i % LANES] = fmaf(x[i], x[i], lane[i % LANES]);
    float scale = 1.0f / sqrtf(fold(lane) / (float)n + eps);
    for (size_t i = 0; i < n; i++) y[i] = x[i] * scale * w[i];
}

static void silu_mul(const float *gate, const float *up, size_t n, float *y) {
    for (size_t i = 0; i < n; i++) y[i] = gate[i] / (1.0f + bk_expf(-gate[i])) * up[i];
}

static void gelu_mul(const float *gate, const float *up, size_t n, float *y) {
    for (size_t i = 0; i < n; i++) y[i] = bk_gelu(gate[i]) * up[i];
}

static void soft_cap(float *x, size_t n, float cap) {
    for (size_t i = 0; i < n; i++) x[i] = bk_soft_cap(x[i], cap);
}

/* ---- Attention ---------------------------------------------------------------------------------- */

static float attn_scores(const float *q, const uint16_t *keys, size_t head_size, float cap, int lo,
                         int hi, float *s) {
    float max = -INFINITY;
    for (int k = lo; k < hi; k++) {
        const uint16_t *tile = keys + (size_t)k / 16 * 16 * head_size + (size_t)k % 16;
        float acc = 0;
        for (size_t d = 0; d < head_size; d++) acc = fmaf(q[d], bk_f16_to_f32(tile[d * 16]), acc);
        s[k] = cap > 0 ? bk_soft_cap(acc, cap) : acc;
        if (s[k] > max) max = s[k];
    }
    return max;
}

static void attn_chunk(const float *q, size_t ldq, size_t n_q, const uint16_t *keys,
                       const uint16_t *values, size_t head_size, float cap, const int *lo,
                       const int *hi, float *max, float *sum, float *o, size_t ldo) {
    for (size_t i = 0; i < n_q; i++) {
        float s[BK_ATTN_CHUNK], lane[LANES] = {0}, *oi = o + i * ldo;
        max[i] = attn_scores(q + i * ldq, keys, head_size, cap, lo[i], hi[i], s);
        memset(oi, 0, head_size * sizeof *oi);
        for (int k = lo[i]; k < hi[i]; k++) {
            float p = bk_expf(s[k] - max[i]);
            lane[k % LANES] += p;
            for (size_t d = 0; d < head_size; d++)
                oi[d] = fmaf(p, bk_f16_to_f32(values[(size_t)k * head_size + d]), oi[d]);
        }
        sum[i] = fold(lane);
    }
}

static void attn_merge(float *max, float *sum, float *o, float max2, float sum2, const float *o2,
                       size_t head_size) {
    if (sum2 == 0) return;
    float m = *max > max2 ? *max : max2;
    float f = bk_expf(*max - m), g = bk_expf(max2 - m);
    *max = m;
    *sum = fmaf(sum2, g, *sum * f);
    for (size_t d = 0; d < head_size; d++) o[d] = fmaf(o2[d], g, o[d] * f);
}

static uint16_t to_f16(float f) {
    float c = f > 65504.0f ? 65504.0f : f < -65504.0f ? -65504.0f : f;
    return bk_f32_to_f16(c);
}

static void kv_store(const float *k, const float *v, size_t head_size, size_t pos, uint16_t *keys,
                     uint16_t *values) {
    uint16_t *tile = keys + pos / 16 * 16 * head_size + pos % 16;
    for (size_t d = 0; d < head_size; d++) tile[d * 16] = to_f16(k[d]);
    for (size_t d = 0; d < head_size; d++) values[pos * head_size + d] = to_f16(v[d]);
}

void bk_kernels_init_ref(bk_kernels *k) {
    *k = (bk_kernels){
        .level = BK_CPU_REF,
        .direct = matmul,
        .expand = expand,
        .tiles = tiles,
        .quantize = quantize,
        .rms_norm = rms_norm,
        .silu_mul = silu_mul,
        .gelu_mul = gelu_mul,
        .soft_cap = soft_cap,
        .attn_chunk = attn_chunk,
        .attn_merge = attn_merge,
        .kv_store = kv_store,
    };
}
