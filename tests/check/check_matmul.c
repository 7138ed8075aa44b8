/* The matrix product of every weight type: straight from packed groups, and through panels. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"

#define EPS 0x1p-24 /* one rounding of a float */

enum { MAX_K = 2048 };

/* Operands of one product; out[c * ldo + r]. */
typedef struct product {
    const bk_quant *type;
    bk_packed w;
    const uint8_t *rows; /* as in the file */
    void *acts;          /* quantised rows or floats */
    size_t pitch, cols, ldo;
    bool add, fast;
    float *before, *got, *want;
    size_t n_out;
} product;

/* What the activations of a product are made of, beyond check_kind: quants all at one end. */
enum { ACT_HIGH = CHECK_KINDS, ACT_LOW, ACT_ALTERNATE, ACT_KINDS };

static void sums(bk_act *a, size_t nb) {
    for (size_t b = 0; b < nb; b++) {
        int32_t s[2] = {0, 0};
        for (size_t i = 0; i < 32; i++) s[i / 16] += a->q[32 * b + i];
        bk_act_set_sums(a, b, s[0], s[1]);
    }
}

static void extreme_act(check *c, int kind, size_t k, void *row) {
    bk_act a = bk_act_view(row, k);
    size_t nb = k / 32;
    for (size_t i = 0; i < k; i++)
        a.q[i] = kind == ACT_HIGH || (kind == ACT_ALTERNATE && i / 4 % 2) ? 127 : -127;
    for (size_t b = 0; b < nb; b++) a.s[b] = check_unit(c) * (check_below(c, 8) ? 1 : 1e30f);
    for (int e = 0; e < BK_ACT_EXACT; e++) {
        size_t at = e ? k - 1 : check_below(c, (unsigned)k - 1); /* the last one is an end too */
        a.at[e] = (int32_t)at;
        a.value[e] = check_unit(c) * 100;
        a.q[at] = 0;
    }
    sums(&a, nb);
}

static void extreme_fast_act(check *c, int kind, size_t k, void *row) {
    bk_fast_act a = bk_fast_act_view(row, k);
    const size_t step = 32 * BK_FAST_BLOCKS;
    for (size_t t = 0; t < bk_fast_stretches(k / 32); t++) a.s[t] = check_unit(c);
    memset(a.nsum, 0, bk_fast_stretches(k / 32) * sizeof *a.nsum);
    for (size_t i = 0; i < k; i++) {
        a.q[i] = kind == ACT_HIGH || (kind == ACT_ALTERNATE && i / 4 % 2) ? 127 : -127;
        a.nsum[i / step] -= BK_ACT_ZERO * a.q[i];
    }
    for (int e = 0; e < BK_FAST_EXACT; e++) { /* beside the quants: they are only added */
        a.at[e] = e ? (int32_t)check_below(c, (unsigned)k) : (int32_t)k - 1;
        a.value[e] = check_unit(c) * 100;
    }
}

static void make_acts(check *c, product *p, int kind) {
    size_t k = p->w.k;
    if (!p->type->bits) {
        p->pitch = k + check_below(c, 3);
        float *x = check_floats(p->pitch * (p->cols - 1) + k);
        check_fill(c, (check_kind)(kind % CHECK_KINDS), x, p->pitch * (p->cols - 1) + k);
        p->acts = x;
        return;
    }
    size_t bytes = p->fast ? bk_fast_act_bytes(k) : bk_act_row_bytes(k);
    p->pitch = bytes + 64 * check_below(c, 2);
    p->acts = check_mem(p->pitch * (p->cols - 1) + bytes);
    float *x = check_floats(k);
    for (size_t i = 0; i < p->cols; i++) {
        void *row = (char *)p->acts + i * p->pitch;
        if (kind >= CHECK_KINDS) {
            (p->fast ? extreme_fast_act : extreme_act)(c, kind, k, row);
            continue;
        }
        check_fill(c, (check_kind)kind, x, k);
        (p->fast ? c->ref->fast_quantize : c->ref->quantize)(x, k, row);
    }
}

static void make(check *c, product *p, bool fast, const bk_quant *type, size_t n_rows, size_t k,
                 size_t cols, check_weights weights, int acts) {
    *p = (product){.type = type, .cols = cols, .fast = fast};
    if (!bk_packed_init(&p->w, p->type, n_rows, k)) check_fail(c, "no plan for %s", type->name);
    p->rows = check_blocks(c, weights, p->type, n_rows, k);
    p->w.data = check_mem(bk_packed_bytes(&p->w));
    bk_pack_groups(&p->w, p->rows, 0, p->w.n_groups);
    make_acts(c, p, acts);
    p->add = check_below(c, 3) == 0;
    p->ldo = n_rows + check_below(c, 20);
    p->n_out = p->ldo * (cols - 1) + n_rows;
    p->before = check_floats(p->n_out);
    p->got = check_floats(p->n_out);
    p->want = check_floats(p->n_out);
    check_fill(c, CHECK_NORMAL, p->before, p->n_out);
    memcpy(p->got, p->before, p->n_out * sizeof *p->got);
    memcpy(p->want, p->before, p->n_out * sizeof *p->got);
}

/* The weights of a row as the kernels define them, and the magnitudes that their rounding errors
 * scale with. */
static void row_weights(const product *p, size_t r, double *w, double *size) {
    size_t row_bytes = p->w.k / p->type->block_len * p->type->block_bytes;
    const uint8_t *row = p->rows + r * row_bytes;
    bk_canon b;
    for (size_t k = 0; k < p->w.k; k++) {
        if (!p->type->bits) {
            float f;
            p->type->dequantize(row + k * p->type->block_bytes, &f, 1);
            w[k] = (double)f;
            size[k] = fabs(w[k]);
            continue;
        }
        if (k % 32 == 0) p->type->unpack(row, k / 32, &b);
        w[k] = (double)b.d[k % 32 / 16] * ((int)b.q[k % 32] - p->type->zero);
        double m = (double)b.m[k % 32 / 16];
        size[k] = fabs(w[k]) + fabs(m);
        w[k] += m;
    }
}

/* False when float arithmetic may overflow on the way, whatever the result. */
static bool column(const product *p, size_t col, double *x) {
    double max = 0;
    if (!p->type->bits) {
        for (size_t k = 0; k < p->w.k; k++) {
            x[k] = (double)((const float *)p->acts)[col * p->pitch + k];
            max = fmax(max, fabs(x[k]));
        }
        return max < 1e30;
    }
    bk_act a = bk_act_view((char *)p->acts + col * p->pitch, p->w.k);
    for (size_t k = 0; k < p->w.k; k++) {
        x[k] = (double)a.s[k / 32] * a.q[k];
        max = fmax(max, fabs((double)a.s[k / 32]));
    }
    for (int e = 0; e < BK_ACT_EXACT; e++) {
        x[a.at[e]] += (double)a.value[e];
        max = fmax(max, fabs((double)a.value[e]));
    }
    return max < 1e26;
}

/* Bound: one rounding per float operation of the chain, each relative to the sum of magnitudes. */
static void against_double(check *c, const product *p) {
    static double w[MAX_K], sizes[MAX_K], x[MAX_K];
    double steps = (double)(p->type->bits ? p->w.k / 32 * 8 + 12 : p->w.k + 4);
    for (size_t i = 0; i < p->n_out; i++)
        if (i % p->ldo >= p->w.n_rows && !check_same(p->got[i], p->before[i]))
            check_fail(c, "wrote past row %zu", p->w.n_rows);
    for (size_t r = 0; r < p->w.n_rows; r++) {
        row_weights(p, r, w, sizes);
        for (size_t col = 0; col < p->cols; col++) {
            double sum = 0, size = 0, start = p->add ? (double)p->before[col * p->ldo + r] : 0;
            if (!column(p, col, x)) continue;
            for (size_t k = 0; k < p->w.k; k++) {
                sum += x[k] * w[k];
                size += fabs(x[k]) * sizes[k];
            }
            if (!check_near(c, "product", (double)p->got[col * p->ldo + r], sum + start,
                            steps * EPS * (size + fabs(start)) + 1e-40, r))
                return;
        }
    }
}

/* Groups [first, first + n) of p through panels into out. */
static void by_panels(const bk_kernels *k, const product *p, const bk_panel *panel, size_t first,
                      size_t n, float *out) {
    for (size_t g = first; g < first + n; g += BK_PANEL_GROUPS) {
        size_t step = bk_min_size(BK_PANEL_GROUPS, first + n - g);
        k->expand(&p->w, g, step, panel);
        k->tiles(&p->w, g, step, panel, p->acts, p->pitch, p->cols, out, p->ldo, p->add);
    }
}

static void run_case(check *c, bool panels, const bk_quant *type, size_t n_rows, size_t k,
                     size_t cols, check_weights weights, int acts) {
    product p;
    make(c, &p, false, type, n_rows, k, cols, weights, acts);
    size_t n = p.w.n_groups, split = check_below(c, (unsigned)n + 1);
    if (panels) {
        bk_panel panel = bk_panel_view(check_mem(bk_panel_bytes(k)), k);
        by_panels(c->k, &p, &panel, 0, split, p.got);
        by_panels(c->k, &p, &panel, split, n - split, p.got);
    } else {
        c->k->direct(&p.w, 0, split, p.acts, p.pitch, cols, p.got, p.ldo, p.add);
        c->k->direct(&p.w, split, n - split, p.acts, p.pitch, cols, p.got, p.ldo, p.add);
    }
    if (c->portable) {
        if (weights != CHECK_W_BITS && acts != CHECK_NONFINITE) against_double(c, &p);
    } else {
        unsigned before = c->failures;
        c->ref->tiles(&p.w, 0, n, NULL, p.acts, p.pitch, cols, p.want, p.ldo, p.add);
        check_same_floats(c, "product", p.got, p.want, p.n_out);
        if (before == 0 && c->failures)
            check_fail(c, "at %zu rows, k %zu, %zu columns, ldo %zu, add %d, weights %d, acts %d",
                       n_rows, k, cols, p.ldo, p.add, weights, acts);
    }
    check_release();
}

static void all_shapes(check *c, bool panels, const bk_quant *t) {
    static const size_t many[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 16, 23, 32};
    static const size_t real[] = {32, 64, 96, 256, 288, 512, 576, 768, 1536, 2048};
    size_t max_cols = panels ? 13 : BK_DIRECT_COLS, small = t->block_len == 256 ? 256 : 64;
    for (size_t n = 1; n <= 130; n++) { /* rows, and k of float types */
        size_t k = t->bits ? small : n;
        run_case(c, panels, t, n, k, 1 + n % max_cols, (check_weights)(n / 3 % CHECK_WEIGHTS),
                 (int)(n % ACT_KINDS));
    }
    for (size_t i = 0; i < BK_ARRAY_LEN(real); i++) {
        if (real[i] % t->block_len != 0) continue;
        run_case(c, panels, t, 33, real[i], 1 + i % max_cols, CHECK_W_RANDOM, CHECK_OUTLIER);
        run_case(c, panels, t, 16, real[i], 1, CHECK_W_RANDOM, CHECK_NORMAL);
    }
    for (size_t i = 0; i < BK_ARRAY_LEN(many); i++) {
        if (!panels && many[i] > BK_DIRECT_COLS) break;
        run_case(c, panels, t, 48, small, many[i], CHECK_W_RANDOM, CHECK_NORMAL);
        run_case(c, panels, t, 70, 2 * small, many[i], CHECK_W_RANDOM, CHECK_MIXED);
    }
    for (size_t k = 1; !t->bits && k < 100; k += 7) /* many groups at once, odd and even k */
        for (size_t cols = 1; cols <= max_cols; cols++)
            run_case(c, panels, t, 250, k, cols, CHECK_W_RANDOM, CHECK_NORMAL);
    for (int w = 0; w < CHECK_WEIGHTS; w++) /* saturation: every end of weights and activations */
        for (int a = 0; a < ACT_KINDS; a++)
            run_case(c, panels, t, 34, 2 * small, 1 + check_below(c, (unsigned)max_cols),
                     (check_weights)w, a);
}

static void direct(check *c, int type) { all_shapes(c, false, check_type((size_t)type)); }

static void tiles(check *c, int type) { all_shapes(c, true, check_type((size_t)type)); }

/* ---- Fast ---------------------------------------------------------------------------------------- */

/* A panel of all groups: pairs of them, one after another. */
static void *fast_panels(const bk_kernels *k, const product *p, bk_panel *panels) {
    size_t bytes = bk_panel_bytes(p->w.k), n = bk_div_up(p->w.n_groups, BK_PANEL_GROUPS);
    char *memory = check_mem(n * bytes);
    for (size_t i = 0; i < n; i++) {
        size_t first = i * BK_PANEL_GROUPS;
        panels[i] = bk_panel_view(memory + i * bytes, p->w.k);
        k->fast_expand(&p->w, first, bk_min_size(BK_PANEL_GROUPS, p->w.n_groups - first),
                       &panels[i]);
    }
    return memory;
}

static void fast_tiles(const bk_kernels *k, const product *p, const bk_panel *panels, float *out) {
    for (size_t g = 0; g < p->w.n_groups; g += BK_PANEL_GROUPS)
        k->fast_tiles(&p->w, g, bk_min_size(BK_PANEL_GROUPS, p->w.n_groups - g),
                      &panels[g / BK_PANEL_GROUPS], p->acts, p->pitch, p->cols, out, p->ldo,
                      p->add);
}

enum { MAX_PANELS = 8 };

/* Where a row begins in its panel: bytes and scales. */
static const uint8_t *panel_row(const product *p, const bk_panel *panels, size_t r,
                                const float **d) {
    const bk_panel *panel = &panels[r / (BK_PANEL_GROUPS * BK_GROUP_ROWS)];
    size_t g = r / BK_GROUP_ROWS % BK_PANEL_GROUPS, row = r % BK_GROUP_ROWS;
    *d = panel->d + g * (p->w.k / (size_t)p->type->sub) * 16 + row;
    return panel->q + g * p->w.k * 16 + row * 4;
}

/* Every byte and scale that the portable panel has. */
static void same_panels(check *c, const product *p, const bk_panel *got, const bk_panel *want) {
    for (size_t r = 0; r < p->w.n_groups * BK_GROUP_ROWS; r++) {
        const float *d, *e;
        const uint8_t *q = panel_row(p, got, r, &d), *u = panel_row(p, want, r, &e);
        for (size_t t = 0; t < bk_fast_stretches(p->w.k / 32); t++)
            check_same_floats(c, "scale", &d[t * 16], &e[t * 16], 1);
        for (size_t k = 0; k < p->w.k; k += 4)
            check_same_bytes(c, "byte", q + k * 16, u + k * 16, 4);
    }
}

/* What became of the weights: half a step of the new scale, the factors' rounding, and that of floats. */
static void fast_weights(check *c, const product *p, size_t r, const bk_panel *panels, double *w,
                         double *sizes) {
    const float *d;
    const uint8_t *q = panel_row(p, panels, r, &d);
    row_weights(p, r, w, sizes);
    for (size_t k = 0; k < p->w.k; k++) {
        double unit = (double)d[k / (32 * BK_FAST_BLOCKS) * 16];
        double got = unit * ((int)q[k / 4 * BK_LINE + k % 4] - BK_ACT_ZERO);
        double steps = 0.5 + (129 + 1) * 0.5 / 256;
        check_near(c, "weight", got, w[k], steps * unit + 16 * EPS * sizes[k] + (double)BK_FAST_MIN,
                   k);
        w[k] = got;
    }
}

static void fast_against_double(check *c, const product *p, const bk_panel *panels) {
    static double w[MAX_K], sizes[MAX_K];
    double steps = (double)(p->w.k / 32 + 2 * BK_FAST_EXACT + 4);
    for (size_t r = 0; r < p->w.n_rows; r++) {
        fast_weights(c, p, r, panels, w, sizes);
        for (size_t col = 0; col < p->cols; col++) {
            bk_fast_act a = bk_fast_act_view((char *)p->acts + col * p->pitch, p->w.k);
            double sum = p->add ? (double)p->before[col * p->ldo + r] : 0, size = fabs(sum);
            bool large = false;
            for (size_t k = 0; k < p->w.k; k++) {
                double s = (double)a.s[k / (32 * BK_FAST_BLOCKS)], x = s * a.q[k] * w[k];
                large |= s > 1e26;
                sum += x;
                size += fabs(x);
            }
            for (int e = 0; e < BK_FAST_EXACT; e++) {
                double x = (double)a.value[e] * w[a.at[e]];
                large |= fabs((double)a.value[e]) > 1e26;
                sum += x;
                size += fabs(x);
            }
            if (!large && !check_near(c, "product", (double)p->got[col * p->ldo + r], sum,
                                      steps * EPS * size + 1e-38, r))
                return;
        }
    }
}

static void fast_case(check *c, const bk_quant *type, size_t n_rows, size_t k, size_t cols,
                      check_weights weights, int acts) {
    product p;
    bk_panel got[MAX_PANELS], want[MAX_PANELS];
    make(c, &p, true, type, n_rows, k, cols, weights, acts);
    fast_panels(c->k, &p, got);
    fast_tiles(c->k, &p, got, p.got);
    fast_panels(c->ref, &p, want);
    if (c->portable) {
        if (weights < CHECK_W_SCALES && acts != CHECK_NONFINITE) fast_against_double(c, &p, got);
    } else {
        unsigned before = c->failures;
        same_panels(c, &p, got, want);
        fast_tiles(c->ref, &p, want, p.want);
        check_same_floats(c, "product", p.got, p.want, p.n_out);
        if (before == 0 && c->failures)
            check_fail(c, "at %zu rows, k %zu, %zu columns, weights %d, acts %d", n_rows, k, cols,
                       weights, acts);
    }
    check_release();
}

static void fast(check *c, int type) {
    static const size_t real[] = {32, 64, 96, 128, 160, 256, 288, 576, 1536};
    const bk_quant *t = check_type((size_t)type);
    size_t small = t->block_len == 256 ? 256 : 160;
    if (!t->bits) return;
    for (size_t i = 0; i < BK_ARRAY_LEN(real); i++) {
        if (real[i] % t->block_len != 0) continue;
        fast_case(c, t, 33, real[i], 1 + i % 13, CHECK_W_RANDOM, CHECK_OUTLIER);
        fast_case(c, t, 16, real[i], 1, CHECK_W_RANDOM, CHECK_NORMAL);
    }
    for (size_t cols = 1; cols <= 13; cols++)
        fast_case(c, t, 10 * cols, small, cols, CHECK_W_RANDOM, (int)(cols % CHECK_NONFINITE));
    for (int w = 0; w < CHECK_WEIGHTS; w++)
        for (int a = 0; a < ACT_KINDS; a++)
            fast_case(c, t, 34, small, 1 + check_below(c, 7), (check_weights)w, a);
}

/* ---- Bench --------------------------------------------------------------------------------------- */

typedef enum road { DIRECT, PANELS, FAST } road;

typedef struct bench_arg {
    const bk_kernels *k;
    const product *p;
    bk_panel panel;
} bench_arg;

static void bench_direct(void *arg) {
    const bench_arg *a = arg;
    const product *p = a->p;
    a->k->direct(&p->w, 0, p->w.n_groups, p->acts, p->pitch, p->cols, p->got, p->ldo, false);
}

static void bench_tiles(void *arg) {
    const bench_arg *a = arg;
    by_panels(a->k, a->p, &a->panel, 0, a->p->w.n_groups, a->p->got);
}

static void bench_fast(void *arg) {
    const bench_arg *a = arg;
    const product *p = a->p;
    for (size_t g = 0; g < p->w.n_groups; g += BK_PANEL_GROUPS) {
        size_t n = bk_min_size(BK_PANEL_GROUPS, p->w.n_groups - g);
        a->k->fast_expand(&p->w, g, n, &a->panel);
        a->k->fast_tiles(&p->w, g, n, &a->panel, p->acts, p->pitch, p->cols, p->got, p->ldo, false);
    }
}

static void bench_one(check *c, road way, const bk_quant *type, size_t n_rows, size_t k,
                      size_t cols) {
    static void (*const run[])(void *) = {bench_direct, bench_tiles, bench_fast};
    product p;
    make(c, &p, way == FAST, type, n_rows, k, cols, CHECK_W_RANDOM, CHECK_NORMAL);
    p.add = false;
    bench_arg a = {c->k, &p, bk_panel_view(check_mem(bk_panel_bytes(k)), k)};
    double ns = check_time(run[way], &a);
    double ops = 2.0 * (double)n_rows * (double)k * (double)cols;
    printf("%-8s %-5s%s %5zu rows, k %5zu, columns %3zu  %10.0f ns  %6.2f GB/s  %7.1f GOPS\n",
           c->level, p.type->name, way == FAST ? " fast" : "", n_rows, k, cols, ns,
           (double)bk_packed_bytes(&p.w) / ns, ops / ns);
    check_release();
}

/* filter: a type's name; none means Q4_1, of which the default model consists. */
static void bench(check *c, const char *filter) {
    static const struct {
        size_t n_rows, k, max_cols;
    } shapes[] = {{576, 576, 512}, {1536, 576, 512}, {576, 1536, 512}, {49152, 576, 8}};
    static const size_t cols[] = {1, 2, 4, 6, 8, 12, 64, 512};
    const bk_quant *type;
    for (size_t t = 0; (type = check_type(t)); t++) {
        if (strcmp(filter ? filter : "Q4_1", type->name) != 0) continue;
        for (size_t s = 0; s < BK_ARRAY_LEN(shapes); s++)
            for (size_t i = 0; i < BK_ARRAY_LEN(cols) && cols[i] <= shapes[s].max_cols; i++) {
                size_t k = bk_round_up(shapes[s].k, type->block_len), n = cols[i];
                bench_one(c, n <= BK_DIRECT_COLS ? DIRECT : PANELS, type, shapes[s].n_rows, k, n);
                if (type->bits && n > BK_DIRECT_COLS)
                    bench_one(c, FAST, type, shapes[s].n_rows, k, n);
            }
    }
}

static const check_test tests[] = {
    {"direct/", direct, CHECK_EACH_TYPE},
    {"tiles/", tiles, CHECK_EACH_TYPE},
    {"fast/", fast, CHECK_EACH_TYPE},
};
const check_family check_matmul_family = {tests, BK_ARRAY_LEN(tests), bench};
