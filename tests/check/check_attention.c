/* Attention over a chunk, merging of chunks, and storing of keys and values. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"

#define EPS 0x1p-24 /* one rounding of a float */

static const size_t heads[] = {16, 20, 32, 37, 48, 64, 80, 96, 100, 128, 129, 160, 192, 255, 256};

enum { MOST_QUERIES = 13 };

/* Queries and a chunk in 16 bits. */
typedef struct chunk {
    bk_attn a;
    bk_kv_view v;
    int16_t *q;
    void *keys, *values;
    float *scales, *q_scale;
    int lo[MOST_QUERIES], hi[MOST_QUERIES];
} chunk;

/* A vector of the 16-bit form, whose length is BK_KV_UNIT, or of any bytes. Some are a single
 * component. */
static void make_vector(check *c, bk_kv_type type, int16_t *x, size_t n) {
    double sum = 0;
    float v[BK_MAX_HEAD];
    bool one = check_below(c, 8) == 0;
    for (size_t i = 0; i < n; i++) {
        v[i] = one ? (float)(i == n / 2) : check_unit(c);
        sum += (double)v[i] * (double)v[i];
    }
    for (size_t i = 0; i < n; i++)
        x[i] = (int16_t)lrint(type == BK_KV_Q16 ? (double)v[i] / sqrt(sum) * (double)BK_KV_UNIT
                                                : (double)v[i] * 127);
}

static void put(bk_kv_type type, void *to, size_t at, int x) {
    if (type == BK_KV_Q16)
        ((int16_t *)to)[at] = (int16_t)x;
    else
        ((int8_t *)to)[at] = (int8_t)x;
}

static int get(bk_kv_type type, const void *from, size_t at) {
    return type == BK_KV_Q16 ? ((const int16_t *)from)[at] : ((const int8_t *)from)[at];
}

/* Slots that no query sees hold anything, with NaN for scales: a page that is not full does. */
static void make_keys(check *c, chunk *a, float scale) {
    size_t head = a->a.head;
    float unit = a->v.type == BK_KV_Q16 ? BK_KV_UNIT : 127 * sqrtf((float)head);
    int first = BK_ATTN_CHUNK, last = 0;
    for (size_t i = 0; i < a->a.n; i++) {
        if (a->lo[i] == a->hi[i]) continue;
        first = bk_min_int(first, a->lo[i]);
        last = bk_max_int(last, a->hi[i]);
    }
    memset(a->keys, 0xFE, BK_ATTN_CHUNK * head * bk_kv_element(a->v.type));
    memset(a->values, 0xFE, BK_ATTN_CHUNK * head * bk_kv_element(a->v.type));
    memset(a->scales, 0xFF, 2 * BK_ATTN_CHUNK * sizeof(float));
    for (int k = first; k < last; k++) {
        size_t pos = (size_t)k;
        int16_t x[BK_MAX_HEAD], y[BK_MAX_HEAD];
        make_vector(c, a->v.type, x, head);
        make_vector(c, a->v.type, y, head);
        for (size_t d = 0; d < head; d++) {
            put(a->v.type, a->keys, bk_kv_key_at(pos, d), x[d]);
            put(a->v.type, a->values, bk_kv_value_at(head, pos, d), y[d]);
        }
        a->scales[k] = scale * (1 + check_unit(c)) / unit;
        a->scales[BK_ATTN_CHUNK + k] = scale * (1 + check_unit(c)) / unit;
    }
}

/* Ranges as the engine makes them (causal, windows, full) and empty ones. */
static void make_ranges(check *c, chunk *a) {
    int start = (int)check_below(c, BK_ATTN_CHUNK + 1);
    unsigned kind = check_below(c, 4);
    for (size_t i = 0; i < a->a.n; i++) {
        a->lo[i] = 0;
        a->hi[i] = bk_min_int(start + (int)i, BK_ATTN_CHUNK);
        if (kind == 0) a->hi[i] = BK_ATTN_CHUNK;
        if (kind >= 2) a->lo[i] = bk_min_int((int)i + start / 2, a->hi[i]);
        if (kind == 3 && i == 1) a->lo[i] = a->hi[i] = start;
    }
}

static void make(check *c, chunk *a, bk_kv_type type, size_t n, size_t head, float scale) {
    *a = (chunk){.a = {.n = n, .head = head}};
    a->v.type = type;
    a->q = check_mem(((n - 1) * BK_ATTN_PITCH + head) * 2);
    a->q_scale = check_floats(n);
    a->scales = check_floats(2 * BK_ATTN_CHUNK);
    a->keys = check_mem(BK_ATTN_CHUNK * head * bk_kv_element(type));
    a->values = check_mem(BK_ATTN_CHUNK * head * bk_kv_element(type));
    for (size_t i = 0; i < n; i++) {
        make_vector(c, BK_KV_Q16, a->q + i * BK_ATTN_PITCH, head);
        a->q_scale[i] = 8 * scale * (1 + check_unit(c)) / BK_KV_UNIT;
    }
    make_ranges(c, a);
    make_keys(c, a, scale);
    a->v = (bk_kv_view){type, a->scales, a->scales + BK_ATTN_CHUNK, a->keys, a->values, 0};
    a->a.cap = check_below(c, 3) == 0 ? 4.0f : 0.0f;
    a->a.q = a->q, a->a.q_scale = a->q_scale, a->a.lo = a->lo, a->a.hi = a->hi;
    a->a.max = check_floats(n), a->a.sum = check_floats(n), a->a.o = check_floats(n * head);
}

/* Of query i with key k. */
static double score(const chunk *c, size_t i, int k) {
    const bk_attn *a = &c->a;
    double dot = 0, scale = (double)a->q_scale[i] * (double)c->scales[k];
    for (size_t d = 0; d < a->head; d++)
        dot += a->q[i * BK_ATTN_PITCH + d] * get(c->v.type, c->keys, bk_kv_key_at((size_t)k, d));
    return a->cap > 0 ? (double)a->cap * tanh(dot * scale / (double)a->cap) : dot * scale;
}

/* Scores are exact but for a few roundings; weights are rounded to W / BK_KV_UNIT. */
static void query_double(check *c, const chunk *a, size_t i) {
    const float *o = a->a.o + i * a->a.head, *vs = a->scales + BK_ATTN_CHUNK;
    double s[BK_ATTN_CHUNK], max = -INFINITY, most = 0, sum = 0, total = 0;
    for (int k = a->lo[i]; k < a->hi[i]; k++) {
        s[k] = score(a, i, k);
        max = fmax(max, s[k]);
        most = fmax(most, fabs(s[k]));
    }
    if (a->lo[i] == a->hi[i]) {
        if (a->a.max[i] != -INFINITY || a->a.sum[i] != 0) check_fail(c, "empty range: max, sum");
        for (size_t d = 0; d < a->a.head; d++)
            if (o[d] != 0) check_fail(c, "empty range: output");
        return;
    }
    double err = most * 8 * EPS + 1e-36 + (a->a.cap > 0 ? 32 * (double)a->a.cap * EPS : 0);
    double rel = exp(3 * err) - 1 + 160 * EPS;
    check_near(c, "max", (double)a->a.max[i], max, err, i);
    for (int k = a->lo[i]; k < a->hi[i]; k++) {
        sum += exp(s[k] - max);
        total += exp(s[k] - max) * (double)vs[k];
    }
    check_near(c, "sum", (double)a->a.sum[i], sum, sum * rel, i);
    for (size_t d = 0; d < a->a.head; d++) {
        double want = 0, size = 0, rounding = 0;
        for (int k = a->lo[i]; k < a->hi[i]; k++) {
            double x = get(a->v.type, a->values, bk_kv_value_at(a->a.head, (size_t)k, d));
            double v = exp(s[k] - max) * (double)vs[k] * x;
            want += v;
            size += fabs(v);
            rounding += fabs(x) * total / (double)BK_KV_UNIT * 0.5;
        }
        double bound = size * rel + rounding * (1 + 1e-5) + 1e-28;
        check_near(c, "output", (double)o[d], want, bound, d);
    }
}

static void chunk_case(check *c, bk_kv_type type, size_t n, size_t head, float scale) {
    chunk a;
    make(c, &a, type, n, head, scale);
    c->k->attn_chunk(&a.a, &a.v);
    if (c->portable) {
        for (size_t i = 0; i < n; i++) query_double(c, &a, i);
    } else {
        bk_attn b = a.a;
        b.max = check_floats(n), b.sum = check_floats(n), b.o = check_floats(n * head);
        c->ref->attn_chunk(&b, &a.v);
        check_same_floats(c, "max", a.a.max, b.max, n);
        check_same_floats(c, "sum", a.a.sum, b.sum, n);
        check_same_floats(c, "output", a.a.o, b.o, n * head);
    }
    check_release();
}

static void attn_chunk(check *c, int type) {
    static const float scales[] = {0.3f, 1, 3, 0, 1e-6f, 1e-30f, NAN};
    for (size_t h = 0; h < BK_ARRAY_LEN(heads); h++) {
        if (heads[h] % 16) continue;
        for (size_t n = 1; n <= MOST_QUERIES; n++) {
            for (size_t s = 0; s < BK_ARRAY_LEN(scales); s++)
                if (!c->portable || scales[s] == scales[s])
                    chunk_case(c, (bk_kv_type)type, n, heads[h], scales[s]);
        }
    }
}

/* ---- Merge --------------------------------------------------------------------------------------- */

static void merge_double(check *c, const float *a, const float *b, const float *got, size_t head) {
    double m = fmax((double)a[0], (double)b[0]);
    double f = exp((double)a[0] - m), g = exp((double)b[0] - m);
    check_near(c, "max", (double)got[0], m, 0, 0);
    for (size_t i = 1; i < head + 2; i++) {
        double x = (double)a[i] * f, y = (double)b[i] * g;
        check_near(c, "merged", (double)got[i], x + y, (fabs(x) + fabs(y)) * 100 * EPS + 1e-36, i);
    }
}

/* Partial results of n queries as arrays of max[n], sum[n], o[n][head]. */
static void merge_case(check *c, size_t n, size_t head, int which) {
    size_t all = n * (head + 2);
    float *a = check_floats(all), *b = check_floats(all), *got = check_floats(all),
          *want = check_floats(all);
    check_fill(c, CHECK_NORMAL, a, all);
    check_fill(c, CHECK_NORMAL, b, all);
    for (size_t i = 0; i < n; i++) {
        int kind = (which + (int)i) % 4;
        a[i] *= 20, b[i] *= 20;
        a[n + i] = fabsf(a[n + i]), b[n + i] = fabsf(b[n + i]) + 1;
        if (kind == 1) b[i] = -INFINITY, b[n + i] = 0; /* nothing to merge */
        if (kind == 2) {                               /* nothing before */
            a[i] = -INFINITY, a[n + i] = 0;
            memset(a + 2 * n + i * head, 0, head * sizeof *a);
        }
        if (kind == 3) a[i] = b[i] + 200;
    }
    memcpy(got, a, all * sizeof *a);
    memcpy(want, a, all * sizeof *a);
    c->k->attn_merge(n, head, got, got + n, got + 2 * n, b, b + n, b + 2 * n);
    c->ref->attn_merge(n, head, want, want + n, want + 2 * n, b, b + n, b + 2 * n);
    check_same_floats(c, "merged", got, want, all);
    if (n == 1 && c->portable && which != 1) merge_double(c, a, b, got, head);
    if (n == 1 && which == 1) check_same_floats(c, "merged with nothing", got, a, all);
    check_release();
}

static void attn_merge(check *c, int arg) {
    (void)arg;
    for (size_t head = 16; head <= BK_MAX_HEAD; head += 16)
        for (size_t n = 1; n <= 33; n += n < 4 ? 1 : 7)
            for (int which = 0; which < 4; which++) merge_case(c, n, head, which);
}

/* ---- Forms --------------------------------------------------------------------------------------- */

/* What 16 bits keep of a vector: half a unit of every component. */
static void query_near(check *c, const float *x, const int16_t *q, double unit, size_t n) {
    double length = 0;
    for (size_t i = 0; i < n; i++) length += (double)q[i] * (double)q[i];
    if (length > 32716.0 * 32716.0) check_fail(c, "length %g", sqrt(length));
    for (size_t i = 0; i < n; i++) {
        double v = fmin(fmax((double)x[i], -65504.0), 65504.0);
        check_near(c, "component", (double)q[i] * unit, v, unit * 0.51 + 1e-15, i);
    }
}

static void query_case(check *c, size_t head, check_kind kind) {
    size_t padded = bk_kv_head(head);
    float *x = check_floats(head), *scale = check_floats(1), *scale2 = check_floats(1);
    int16_t *q = check_mem(padded * 2), *q2 = check_mem(padded * 2);
    check_fill(c, kind, x, head);
    c->k->attn_query(x, head, 0.125f, q, scale);
    c->ref->attn_query(x, head, 0.125f, q2, scale2);
    check_same_bytes(c, "query", q, q2, padded * 2);
    check_same_floats(c, "scale", scale, scale2, 1);
    if (c->portable && kind != CHECK_NONFINITE) query_near(c, x, q, (double)*scale * 8, head);
    for (size_t d = head; d < padded; d++)
        if (q[d]) check_fail(c, "padding %zu", d);
    check_release();
}

static void attn_query(check *c, int arg) {
    (void)arg;
    for (size_t h = 0; h < BK_ARRAY_LEN(heads); h++)
        for (int kind = 0; kind < CHECK_KINDS; kind++) query_case(c, heads[h], (check_kind)kind);
}

/* Stored components and their scale against the input: half a unit of each. */
static void store_near(check *c, const char *what, const float *x, double unit, int largest,
                       size_t n, const int *got) {
    for (size_t d = 0; d < n; d++) {
        double v = fmin(fmax((double)x[d], -65504.0), 65504.0);
        if (abs(got[d]) > largest) check_fail(c, "%s %zu: %d", what, d, got[d]);
        check_near(c, what, got[d] * unit, v, unit * 0.51 + 1e-15, d);
    }
}

static void store_double(check *c, bk_kv_type type, const void *form, const float *k,
                         const float *v, size_t head_size, size_t pos) {
    const char *keys = (const char *)form + bk_kv_keys_offset();
    const char *values = (const char *)form + bk_kv_values_offset(type, head_size);
    const float *scale = form;
    size_t head = bk_kv_head(head_size);
    int got[2][BK_MAX_HEAD], largest = type == BK_KV_Q16 ? 32700 : 127;
    for (size_t d = 0; d < head_size; d++) {
        got[0][d] = get(type, keys, bk_kv_key_at(pos, d));
        got[1][d] = get(type, values, bk_kv_value_at(head, pos, d));
    }
    store_near(c, "key", k, (double)scale[pos], largest, head_size, got[0]);
    store_near(c, "value", v, (double)scale[BK_ATTN_CHUNK + pos], largest, head_size, got[1]);
}

static void store_case(check *c, bk_kv_type type, size_t head, size_t pos, check_kind kind) {
    size_t n = bk_kv_chunk_bytes(type, head);
    float *k = check_floats(head), *v = check_floats(head);
    void *got = check_mem(n), *want = check_mem(n);
    check_fill(c, kind, k, head);
    check_fill(c, kind, v, head);
    memset(got, 0, n);
    memset(want, 0, n);
    c->k->kv_store(type, k, v, head, pos, got);
    c->ref->kv_store(type, k, v, head, pos, want);
    check_same_floats(c, "scales", got, want, 2 * BK_ATTN_CHUNK);
    check_same_bytes(c, "integers", (char *)got + bk_kv_keys_offset(),
                     (char *)want + bk_kv_keys_offset(), n - bk_kv_keys_offset());
    if (c->portable && kind != CHECK_NONFINITE) store_double(c, type, got, k, v, head, pos);
    check_release();
}

static void kv_store(check *c, int arg) {
    (void)arg;
    for (int type = 0; type < BK_KV_TYPES; type++)
        for (size_t h = 0; h < BK_ARRAY_LEN(heads); h++)
            for (size_t pos = 0; pos < BK_ATTN_CHUNK; pos += 1 + h % 3)
                store_case(c, (bk_kv_type)type, heads[h], pos, (check_kind)(pos % CHECK_KINDS));
}

/* ---- Bench --------------------------------------------------------------------------------------- */

typedef struct bench_arg {
    const bk_kernels *k;
    const chunk *a;
} bench_arg;

static void bench_chunk(void *p) {
    const bench_arg *b = p;
    b->k->attn_chunk(&b->a->a, &b->a->v);
}

static void bench(check *c, const char *filter) {
    static const size_t sizes[] = {64, 128, 256};
    if (filter && !strstr("attn_chunk", filter)) return;
    for (size_t h = 0; h < BK_ARRAY_LEN(sizes); h++) {
        for (size_t n = 1; n <= 12; n = n < 3 ? n + 2 : 4 * n) {
            chunk a;
            make(c, &a, BK_KV_Q16, n, sizes[h], 1);
            for (size_t i = 0; i < n; i++) a.lo[i] = 0, a.hi[i] = BK_ATTN_CHUNK;
            make_keys(c, &a, 1);
            bench_arg b = {c->k, &a};
            double ns = check_time(bench_chunk, &b);
            printf("%-8s attn_chunk head %3zu queries %zu  %8.0f ns  %6.1f GOPS\n", c->level,
                   sizes[h], n, ns, 4.0 * (double)(n * sizes[h] * BK_ATTN_CHUNK) / ns);
            check_release();
        }
    }
}

static const check_test tests[] = {
    {"attn_chunk/q16", attn_chunk, BK_KV_Q16},
    {"attn_chunk/q8_0", attn_chunk, BK_KV_Q8_0},
    {"attn_merge", attn_merge, 0},
    {"attn_query", attn_query, 0},
    {"kv_store", kv_store, 0},
};
const check_family check_attention_family = {tests, BK_ARRAY_LEN(tests), bench};
