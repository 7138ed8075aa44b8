/* Portable kernels: the definition that every other level must equal bit for bit, and what runs on
 * a CPU without AVX2. Written for clarity; fmaf is the C library's. */
#include <math.h>
#include <string.h>

#include "kernel/expf.h"
#include "kernel/parts.h"
#include "kernel/sparse.h"

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

void bk_ref_direct(DIRECT_ARGS) { matmul(w, first, n, acts, pitch, cols, out, ldo, add); }

/* Sums of 4 quants, as sparse.h has them; blocks past the last are 0. */
static void tile_sums(size_t k, void *act) {
    const int8_t *q = bk_act_view(act, k).q;
    int16_t *sums = bk_sparse_sums(act, k);
    size_t nb = bk_div_up(k, 32);
    for (size_t chunk = 0; chunk < bk_sparse_chunks(k); chunk++) {
        for (size_t tile = 0; tile < BK_BLOCK_TILES; tile++) {
            for (size_t i = 0; i < BK_CHUNK_BLOCKS; i++, sums++) {
                const int8_t *x = q + 32 * (chunk * BK_CHUNK_BLOCKS + i) + 4 * tile;
                bool in = chunk * BK_CHUNK_BLOCKS + i < nb;
                *sums = in ? (int16_t)(x[0] + x[1] + x[2] + x[3]) : 0;
            }
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

static int8_t rounded(float v) {
    v = rintf(v);
    return (int8_t)(v > 127 ? 127 : v < -127 ? -127 : v == v ? v : 0);
}

static void quantize_block(const float *x, size_t n, size_t b, const bk_act *a) {
    float max = block_max(x, n);
    float inverse = max > 0 ? 127.0f / max : 0.0f;
    int32_t sum[2] = {0, 0};
    int8_t *q = a->q + 32 * b;
    a->s[b] = max / 127.0f;
    for (size_t i = 0; i < 32; i++) {
        q[i] = i < n ? rounded(x[i] * inverse) : 0;
        sum[i / 16] += q[i];
    }
    bk_act_set_sums(a, b, sum[0], sum[1]);
}

/* The n largest as exact channels. */
static void take_exact(const float *x, size_t k, int n, int32_t *at, float *value) {
    for (int e = 0; e < n; e++) {
        size_t i = take_largest(x, k, at, e);
        at[e] = (int32_t)i;
        value[e] = x[i];
        /* A short row has nothing left to take. */
        if ((size_t)e >= k) at[e] = 0, value[e] = 0;
    }
}

static void quantize(const float *x, size_t k, void *act) {
    bk_act a = bk_act_view(act, k);
    take_exact(x, k, BK_ACT_EXACT, a.at, a.value);
    for (size_t b = 0; b * 32 < k; b++) {
        float rest[32];
        size_t n = bk_min_size(32, k - 32 * b);
        memcpy(rest, x + 32 * b, n * sizeof *rest);
        for (int e = 0; e < BK_ACT_EXACT; e++)
            if ((size_t)a.at[e] / 32 == b) rest[a.at[e] % 32] = 0;
        quantize_block(rest, n, b, &a);
    }
}

/* x[i] as the fast product's bytes have it: nothing where it is exact or past the end. */
static float fast_rest(const float *x, size_t k, const bk_fast_act *a, size_t i) {
    if (i >= k) return 0;
    for (int e = 0; e < BK_FAST_EXACT; e++)
        if (a->at[e] == (int32_t)i) return 0;
    return x[i];
}

static void fast_quantize(const float *x, size_t k, void *act) {
    bk_fast_act a = bk_fast_act_view(act, k);
    const size_t step = 32 * BK_FAST_BLOCKS;
    take_exact(x, k, BK_FAST_EXACT, a.at, a.value);
    for (size_t t = 0; t * step < k; t++) {
        float rest[32 * BK_FAST_BLOCKS], max;
        for (size_t i = 0; i < step; i++) rest[i] = fast_rest(x, k, &a, t * step + i);
        max = block_max(rest, step);
        float inverse = max > 0 ? 127.0f / max : 0.0f;
        a.s[t] = max / 127.0f;
        a.nsum[t] = 0;
        for (size_t i = 0; i < bk_min_size(step, bk_round_up(k, 32) - t * step); i++) {
            a.q[t * step + i] = rounded(rest[i] * inverse);
            a.nsum[t] -= BK_ACT_ZERO * a.q[t * step + i];
        }
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

static float sigmoid(float x) { return 1.0f / (1.0f + bk_expf(-x)); }

static void lstm_units(const bk_lstm_units *u) {
    for (size_t k = 0; k < u->n; k++) {
        float v[4];
        for (size_t g = 0; g < 4; g++)
            v[g] = u->x[g * u->ldx + k] + u->bias[g * u->ldx + k] + u->z[g * u->ldz + k];
        float c = fmaf(sigmoid(v[1]), u->c_before[k], sigmoid(v[0]) * bk_soft_cap(v[2], 1.0f));
        u->c[k] = c;
        u->h[k] = sigmoid(v[3]) * bk_soft_cap(c, 1.0f);
    }
}

/* ---- Attention ---------------------------------------------------------------------------------- */

static float clamped(float x) {
    return x > BK_KV_LIMIT ? BK_KV_LIMIT : x < -BK_KV_LIMIT ? -BK_KV_LIMIT : x;
}

/* Factor that makes integers of a vector's components, 0 when all are to be 0; *scale: one unit. */
static float kv_factor(bk_kv_type type, const float *x, size_t n, float *scale) {
    float lane[LANES] = {0}, largest = 0;
    for (size_t i = 0; i < n; i++) {
        float c = clamped(x[i]);
        lane[i % LANES] = fmaf(c, c, lane[i % LANES]);
        if (fabsf(c) > largest) largest = fabsf(c);
    }
    float length = sqrtf(fold(lane));
    *scale = length;
    if (!(length >= BK_KV_MIN_LENGTH)) return 0;
    float unit = type == BK_KV_Q16 ? BK_KV_UNIT : 127.0f;
    if (type == BK_KV_Q8_0) length = largest;
    *scale = length * (1.0f / unit);
    return unit / length;
}

static int kv_round(float x, float factor) {
    return factor != 0 ? (int)rintf(clamped(x) * factor) : 0;
}

static void attn_query(const float *q, size_t head_size, float scale, int16_t *out,
                       float *out_scale) {
    float s, factor = kv_factor(BK_KV_Q16, q, head_size, &s);
    for (size_t d = 0; d < bk_kv_head(head_size); d++)
        out[d] = d < head_size ? (int16_t)kv_round(q[d], factor) : 0;
    *out_scale = s * scale;
}

static void kv_put(bk_kv_type type, void *to, size_t at, int x) {
    if (type == BK_KV_Q16)
        ((int16_t *)to)[at] = (int16_t)x;
    else
        ((int8_t *)to)[at] = (int8_t)x;
}

static void kv_store(bk_kv_type type, const float *k, const float *v, size_t head_size, size_t pos,
                     void *chunk) {
    float *scale = chunk;
    size_t head = bk_kv_head(head_size);
    char *keys = (char *)chunk + bk_kv_keys_offset();
    char *values = (char *)chunk + bk_kv_values_offset(type, head_size);
    float fk = kv_factor(type, k, head_size, &scale[pos]);
    float fv = kv_factor(type, v, head_size, &scale[BK_ATTN_CHUNK + pos]);
    for (size_t d = 0; d < head; d++) {
        bool in = d < head_size;
        kv_put(type, keys, bk_kv_key_at(pos, d), in ? kv_round(k[d], fk) : 0);
        kv_put(type, values, bk_kv_value_at(head, pos, d), in ? kv_round(v[d], fv) : 0);
    }
}

static int32_t kv_get(bk_kv_type type, const void *from, size_t at) {
    return type == BK_KV_Q16 ? ((const int16_t *)from)[at] : ((const int8_t *)from)[at];
}

static float attn_scores(const bk_attn *a, size_t i, const bk_kv_view *c, float *s) {
    float max = -INFINITY;
    for (int k = a->lo[i]; k < a->hi[i]; k++) {
        int32_t dot = 0;
        for (size_t d = 0; d < a->head; d++)
            dot +=
                a->q[i * BK_ATTN_PITCH + d] * kv_get(c->type, c->keys, bk_kv_key_at((size_t)k, d));
        s[k] = (float)dot * (a->q_scale[i] * c->key_scale[k]);
        if (a->cap > 0) s[k] = bk_soft_cap(s[k], a->cap);
        if (s[k] > max) max = s[k];
    }
    return max;
}

static void attn_average(const bk_attn *a, size_t i, const bk_kv_view *c, const float *w,
                         float total, float *o) {
    int32_t u[BK_ATTN_CHUNK];
    bool some = total >= BK_KV_MIN_WEIGHT;
    for (int k = a->lo[i]; k < a->hi[i]; k++)
        u[k] = some ? (int32_t)rintf(w[k] * (BK_KV_UNIT / total)) : 0;
    for (size_t d = 0; d < a->head; d++) {
        int32_t dot = 0;
        for (int k = a->lo[i]; k < a->hi[i]; k++)
            dot += u[k] * kv_get(c->type, c->values, bk_kv_value_at(a->head, (size_t)k, d));
        o[d] = (float)dot * (total * (1.0f / BK_KV_UNIT));
    }
}

static void attn_chunk(const bk_attn *a, const bk_kv_view *c) {
    for (size_t i = 0; i < a->n; i++) {
        float s[BK_ATTN_CHUNK], sums[LANES] = {0}, weights[LANES] = {0};
        float max = attn_scores(a, i, c, s);
        for (int k = a->lo[i]; k < a->hi[i]; k++) {
            float p = bk_expf(s[k] - max);
            sums[k % LANES] += p;
            s[k] = p * c->value_scale[k];
            weights[k % LANES] += s[k];
        }
        a->max[i] = max + 0.0f; /* one zero */
        a->sum[i] = fold(sums);
        attn_average(a, i, c, s, fold(weights), a->o + i * a->head);
    }
}

static void attn_merge(size_t n, size_t head, float *max, float *sum, float *o, const float *max2,
                       const float *sum2, const float *o2) {
    for (size_t i = 0; i < n; i++, o += head, o2 += head) {
        if (sum2[i] == 0) continue;
        float m = max[i] > max2[i] ? max[i] : max2[i];
        float f = bk_expf(max[i] - m), g = bk_expf(max2[i] - m);
        max[i] = m;
        sum[i] = fmaf(sum2[i], g, sum[i] * f);
        for (size_t d = 0; d < head; d++) o[d] = fmaf(o2[d], g, o[d] * f);
    }
}

void bk_kernels_init_ref(bk_kernels *k) {
    *k = (bk_kernels){
        .level = BK_CPU_REF,
        .direct = matmul,
        .expand = expand,
        .tiles = tiles,
        .quantize = quantize,
        .fast_quantize = fast_quantize,
        .tile_sums = tile_sums,
        .rms_norm = rms_norm,
        .silu_mul = silu_mul,
        .gelu_mul = gelu_mul,
        .soft_cap = soft_cap,
        .lstm_units = lstm_units,
        .attn_chunk = attn_chunk,
        .attn_merge = attn_merge,
        .attn_query = attn_query,
        .kv_store = kv_store,
    };
    bk_fast_init_ref(k);
}
