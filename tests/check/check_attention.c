/* Attention over a chunk, merging of chunks, and storing of keys and values. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "check.h"

#define EPS 0x1p-24 /* one rounding of a float */

static const size_t heads[] = {16, 20, 32, 37, 48, 64, 80, 96, 100, 128, 129, 160, 192, 255, 256};

typedef struct chunk {
    size_t n, head, ldq, ldo;
    float cap;
    float *q, *max, *sum, *o;
    uint16_t *keys, *values;
    int lo[BK_ATTN_MAX_QUERIES], hi[BK_ATTN_MAX_QUERIES];
} chunk;

/* Keys of slots that no query sees are NaN: a page that is not full holds anything. */
static void make_keys(check *c, chunk *a, float scale) {
    int first = BK_ATTN_CHUNK, last = 0;
    for (size_t i = 0; i < a->n; i++) {
        if (a->lo[i] == a->hi[i]) continue;
        first = bk_min_int(first, a->lo[i]);
        last = bk_max_int(last, a->hi[i]);
    }
    memset(a->keys, 0xFF, BK_ATTN_CHUNK * a->head * 2);
    memset(a->values, 0xFF, BK_ATTN_CHUNK * a->head * 2);
    for (int k = first; k < last; k++) {
        for (size_t d = 0; d < a->head; d++) {
            size_t at = (size_t)k / 16 * 16 * a->head + d * 16 + (size_t)k % 16;
            a->keys[at] = bk_f32_to_f16(check_unit(c) * scale);
            a->values[(size_t)k * a->head + d] = bk_f32_to_f16(check_unit(c) * scale);
        }
    }
}

/* Ranges as the engine makes them (causal, windows, full) and empty ones. */
static void make_ranges(check *c, chunk *a) {
    int start = (int)check_below(c, BK_ATTN_CHUNK + 1);
    unsigned kind = check_below(c, 4);
    for (size_t i = 0; i < a->n; i++) {
        a->lo[i] = 0;
        a->hi[i] = bk_min_int(start + (int)i, BK_ATTN_CHUNK);
        if (kind == 0) a->hi[i] = BK_ATTN_CHUNK;
        if (kind >= 2) a->lo[i] = bk_min_int((int)i + start / 2, a->hi[i]);
        if (kind == 3 && i == 1) a->lo[i] = a->hi[i] = start;
    }
}

static void make(check *c, chunk *a, size_t n, size_t head, float scale) {
    *a = (chunk){.n = n, .head = head, .ldq = head + check_below(c, 20)};
    a->ldo = head + check_below(c, 20);
    a->q = check_floats(a->ldq * (n - 1) + head);
    a->max = check_floats(n);
    a->sum = check_floats(n);
    a->o = check_floats(a->ldo * (n - 1) + head);
    a->keys = check_mem(BK_ATTN_CHUNK * head * 2);
    a->values = check_mem(BK_ATTN_CHUNK * head * 2);
    for (size_t i = 0; i < a->ldq * (n - 1) + head; i++) a->q[i] = check_unit(c) * scale;
    a->cap = check_below(c, 3) == 0 ? 4.0f : 0.0f;
    make_ranges(c, a);
    make_keys(c, a, scale);
}

static void run(const bk_kernels *k, const chunk *a, float *max, float *sum, float *o) {
    k->attn_chunk(a->q, a->ldq, a->n, a->keys, a->values, a->head, a->cap, a->lo, a->hi, max, sum,
                  o, a->ldo);
}

static double score(const chunk *a, size_t i, int k, double *size) {
    double s = 0;
    *size = 0;
    for (size_t d = 0; d < a->head; d++) {
        size_t at = (size_t)k / 16 * 16 * a->head + d * 16 + (size_t)k % 16;
        double p = (double)a->q[i * a->ldq + d] * (double)bk_f16_to_f32(a->keys[at]);
        s += p;
        *size += fabs(p);
    }
    return s;
}

/* An error of a score multiplies its exp, so the bound of a product carries through. */
static void query_double(check *c, const chunk *a, size_t i) {
    double s[BK_ATTN_CHUNK], max = -INFINITY, err = 0, sum = 0;
    for (int k = a->lo[i]; k < a->hi[i]; k++) {
        double size;
        s[k] = score(a, i, k, &size);
        if (a->cap > 0) {
            s[k] = (double)a->cap * tanh(s[k] / (double)a->cap);
            size += 8 * (double)a->cap / ((double)a->head + 1);
        }
        max = fmax(max, s[k]);
        err = fmax(err, size * ((double)a->head + 1) * EPS);
    }
    if (a->lo[i] == a->hi[i]) {
        if (a->max[i] != -INFINITY || a->sum[i] != 0) check_fail(c, "empty range: max, sum");
        for (size_t d = 0; d < a->head; d++)
            if (a->o[i * a->ldo + d] != 0) check_fail(c, "empty range: output");
        return;
    }
    check_near(c, "max", (double)a->max[i], max, err, i);
    double rel = exp(3 * err) - 1 + 90 * EPS + 64 * EPS;
    for (int k = a->lo[i]; k < a->hi[i]; k++) sum += exp(s[k] - max);
    check_near(c, "sum", (double)a->sum[i], sum, sum * rel, i);
    for (size_t d = 0; d < a->head; d++) {
        double want = 0, size = 0;
        for (int k = a->lo[i]; k < a->hi[i]; k++) {
            double p = exp(s[k] - max);
            double v = p * (double)bk_f16_to_f32(a->values[(size_t)k * a->head + d]);
            want += v;
            size += fabs(v);
        }
        check_near(c, "output", (double)a->o[i * a->ldo + d], want, size * rel + 1e-30, d);
    }
}

static void chunk_case(check *c, size_t n, size_t head, float scale) {
    chunk a;
    make(c, &a, n, head, scale);
    size_t n_o = a.ldo * (n - 1) + head;
    float *max = check_floats(n), *sum = check_floats(n), *o = check_floats(n_o);
    run(c->k, &a, a.max, a.sum, a.o);
    if (c->portable) {
        for (size_t i = 0; i < n; i++) query_double(c, &a, i);
    } else {
        run(c->ref, &a, max, sum, o);
        check_same_floats(c, "max", a.max, max, n);
        check_same_floats(c, "sum", a.sum, sum, n);
        check_same_floats(c, "output", a.o, o, n_o);
    }
    check_release();
}

static void attn_chunk(check *c, int arg) {
    (void)arg;
    static const float scales[] = {0.3f, 1, 3, 0, 1e-6f};
    for (size_t h = 0; h < BK_ARRAY_LEN(heads); h++)
        for (size_t n = 1; n <= BK_ATTN_MAX_QUERIES; n++)
            for (size_t s = 0; s < BK_ARRAY_LEN(scales); s++) chunk_case(c, n, heads[h], scales[s]);
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

/* A partial result as one array: max, sum, o[head]. */
static void merge_case(check *c, size_t head, int which) {
    float *a = check_floats(head + 2), *b = check_floats(head + 2), *got = check_floats(head + 2),
          *want = check_floats(head + 2);
    check_fill(c, CHECK_NORMAL, a, head + 2);
    check_fill(c, CHECK_NORMAL, b, head + 2);
    a[0] *= 20, b[0] *= 20;
    a[1] = fabsf(a[1]), b[1] = fabsf(b[1]) + 1;
    if (which == 1) b[0] = -INFINITY, b[1] = 0; /* nothing to merge */
    if (which == 2) {                           /* nothing before */
        a[0] = -INFINITY;
        memset(a + 1, 0, (head + 1) * sizeof *a);
    }
    if (which == 3) a[0] = b[0] + 200;
    memcpy(got, a, (head + 2) * sizeof *a);
    memcpy(want, a, (head + 2) * sizeof *a);
    c->k->attn_merge(got, got + 1, got + 2, b[0], b[1], b + 2, head);
    c->ref->attn_merge(want, want + 1, want + 2, b[0], b[1], b + 2, head);
    check_same_floats(c, "merged", got, want, head + 2);
    if (c->portable && which != 1) merge_double(c, a, b, got, head);
    if (which == 1) check_same_floats(c, "merged with nothing", got, a, head + 2);
    check_release();
}

static void attn_merge(check *c, int arg) {
    (void)arg;
    for (size_t head = 1; head <= 130; head++)
        for (int which = 0; which < 4; which++) merge_case(c, head, which);
    merge_case(c, BK_MAX_HEAD, 0);
}

/* ---- Store --------------------------------------------------------------------------------------- */

static bool same_half(uint16_t a, uint16_t b) {
    return a == b || ((a & 0x7FFF) > 0x7C00 && (b & 0x7FFF) > 0x7C00);
}

static void same_halves(check *c, const char *what, const uint16_t *a, const uint16_t *b,
                        size_t n) {
    for (size_t i = 0; i < n; i++) {
        if (same_half(a[i], b[i])) continue;
        check_fail(c, "%s: [%zu] is %04x, want %04x", what, i, a[i], b[i]);
        return;
    }
}

static void store_case(check *c, size_t head, size_t pos, check_kind kind) {
    size_t n = BK_ATTN_CHUNK * head;
    float *k = check_floats(head), *v = check_floats(head);
    uint16_t *keys = check_mem(n * 2), *values = check_mem(n * 2), *keys2 = check_mem(n * 2),
             *values2 = check_mem(n * 2);
    check_fill(c, kind, k, head);
    check_fill(c, kind, v, head);
    c->k->kv_store(k, v, head, pos, keys, values);
    c->ref->kv_store(k, v, head, pos, keys2, values2);
    same_halves(c, "keys", keys, keys2, n);
    same_halves(c, "values", values, values2, n);
    for (size_t d = 0; c->portable && d < head; d++) {
        if (k[d] != k[d]) continue;
        uint16_t want = bk_f32_to_f16(fminf(fmaxf(k[d], -65504.0f), 65504.0f));
        if (keys[pos / 16 * 16 * head + d * 16 + pos % 16] != want) check_fail(c, "key %zu", d);
    }
    check_release();
}

static void kv_store(check *c, int arg) {
    (void)arg;
    for (size_t h = 0; h < BK_ARRAY_LEN(heads); h++)
        for (size_t pos = 0; pos < BK_ATTN_CHUNK; pos += 1 + h % 3)
            store_case(c, heads[h], pos, (check_kind)(pos % CHECK_KINDS));
}

/* ---- Bench --------------------------------------------------------------------------------------- */

typedef struct bench_arg {
    const bk_kernels *k;
    const chunk *a;
} bench_arg;

static void bench_chunk(void *p) {
    const bench_arg *b = p;
    run(b->k, b->a, b->a->max, b->a->sum, b->a->o);
}

static void bench(check *c, const char *filter) {
    static const size_t sizes[] = {64, 128, 256};
    if (filter && !strstr("attn_chunk", filter)) return;
    for (size_t h = 0; h < BK_ARRAY_LEN(sizes); h++) {
        for (size_t n = 1; n <= BK_ATTN_MAX_QUERIES; n = n < 3 ? n + 2 : n + 5) {
            chunk a;
            make(c, &a, n, sizes[h], 1);
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
    {"attn_chunk", attn_chunk, 0},
    {"attn_merge", attn_merge, 0},
    {"kv_store", kv_store, 0},
};
const check_family check_attention_family = {tests, BK_ARRAY_LEN(tests), bench};
