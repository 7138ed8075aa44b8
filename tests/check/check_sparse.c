/* Products of sparse matrices: those of the dense matrix with the zeros filled in, bit for bit. */
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "check.h"
#include "kernel/sparse.h"

/* Which of the three plans; the argument of a test is one of them. */
typedef struct form {
    bk_sparse_kind kind;
    bk_type type;
    const char *name;
} form;

static const form forms[] = {{BK_SPARSE_TILES, BK_TYPE_Q4_0, "tiles4"},
                             {BK_SPARSE_TILES, BK_TYPE_Q8_0, "tiles8"},
                             {BK_SPARSE_BITS, BK_TYPE_Q4_0, "bits4"}};

/* One matrix in both forms. */
typedef struct pair {
    bk_packed dense, sparse;
} pair;

static void clear_weight(const bk_quant *type, uint8_t *row, size_t k) {
    uint8_t *block = row + k / 32 * type->block_bytes + 2;
    if (type->bits == 8)
        block[k % 32] = 0;
    else if (k % 32 < 16)
        block[k % 16] = (uint8_t)((block[k % 16] & 0xF0) | 8);
    else
        block[k % 16] = (uint8_t)((block[k % 16] & 0x0F) | 0x80);
}

/* Takes tiles out, or single weights, so that about `percent` are left. */
static void thin(check *c, const form *f, uint8_t *rows, size_t n_rows, size_t k,
                 unsigned percent) {
    const bk_quant *type = bk_quant_find(f->type);
    size_t pitch = k / 32 * type->block_bytes;
    for (size_t r = 0; r < n_rows; r += 16) {
        for (size_t t = 0; t < k / 4; t++) {
            bool tile = check_below(c, 100) < percent;
            for (size_t i = 0; i < 64 && r + i / 4 < n_rows; i++) {
                bool keep = f->kind == BK_SPARSE_TILES ? tile : check_below(c, 100) < percent;
                if (!keep) clear_weight(type, rows + (r + i / 4) * pitch, 4 * t + i % 4);
            }
        }
    }
}

static bool make_pair(check *c, const form *f, size_t n_rows, size_t k, check_weights weights,
                      unsigned percent, pair *p) {
    const bk_quant *type = bk_quant_find(f->type);
    uint8_t *rows = check_blocks(c, weights, type, n_rows, k);
    uint64_t *at = check_mem((bk_div_up(n_rows, 16) + 1) * sizeof *at);
    bk_sparse s;
    bk_error err;
    thin(c, f, rows, n_rows, k, percent);
    if (bk_sparse_encode(f->kind, type, rows, n_rows, k, &s, &err) != BK_OK ||
        bk_sparse_decode(&s, rows, &err) != BK_OK || !bk_packed_init_sparse(&p->sparse, &s, at)) {
        check_fail(c, "cannot be stored: %s", err.text);
        return false;
    }
    p->sparse.data = check_mem(bk_packed_bytes(&p->sparse));
    if (!bk_pack_sparse(&p->sparse, &s)) check_fail(c, "cannot be packed");
    bk_free((void *)(uintptr_t)s.index);
    bk_packed_init(&p->dense, type, n_rows, k);
    p->dense.data = check_mem(bk_packed_bytes(&p->dense));
    bk_pack_groups(&p->dense, rows, 0, p->dense.n_groups);
    return true;
}

static void *make_acts(check *c, size_t k, size_t cols, check_kind kind, size_t pitch) {
    char *acts = check_mem(pitch * cols);
    float *x = check_floats(k);
    for (size_t i = 0; i < cols; i++) {
        check_fill(c, kind, x, k);
        c->ref->quantize(x, k, acts + i * pitch);
        c->k->tile_sums(k, acts + i * pitch);
    }
    return acts;
}

/* Groups [first, first + n) into out, straight or by panels. */
static void multiply(const bk_kernels *k, const bk_packed *w, bool panels, size_t first, size_t n,
                     const void *acts, size_t pitch, size_t cols, float *out, bool add) {
    if (!panels) {
        k->direct(w, first, n, acts, pitch, cols, out, w->n_rows, add);
        return;
    }
    bk_panel panel = bk_panel_view(check_mem(bk_panel_bytes(w->k)), w->k);
    for (size_t g = first; g < first + n; g += BK_PANEL_GROUPS) {
        size_t step = bk_min_size(BK_PANEL_GROUPS, first + n - g);
        k->expand(w, g, step, &panel);
        k->tiles(w, g, step, &panel, acts, pitch, cols, out, w->n_rows, add);
    }
}

typedef struct shape {
    size_t n_rows, k, cols;
    unsigned percent;
    check_weights weights;
    check_kind acts;
    bool panels;
} shape;

static void run_case(check *c, const form *f, shape s) {
    pair p;
    if (!make_pair(c, f, s.n_rows, s.k, s.weights, s.percent, &p)) return;
    size_t pitch = bk_sparse_act_bytes(s.k), n = p.dense.n_groups, n_out = s.n_rows * s.cols;
    size_t split = check_below(c, (unsigned)n + 1);
    bool add = check_below(c, 3) == 0;
    void *acts = make_acts(c, s.k, s.cols, s.acts, pitch);
    float *got = check_floats(n_out), *want = check_floats(n_out);
    check_fill(c, CHECK_NORMAL, got, n_out);
    memcpy(want, got, n_out * sizeof *got);
    multiply(c->k, &p.sparse, s.panels, 0, split, acts, pitch, s.cols, got, add);
    multiply(c->k, &p.sparse, s.panels, split, n - split, acts, pitch, s.cols, got, add);
    c->ref->direct(&p.dense, 0, n, acts, pitch, s.cols, want, s.n_rows, add);
    unsigned before = c->failures;
    check_same_floats(c, "product", got, want, n_out);
    if (before == 0 && c->failures)
        check_fail(c,
                   "at %zu rows, k %zu, %zu columns, %u %%, weights %d, acts %d, panels %d, add %d",
                   s.n_rows, s.k, s.cols, s.percent, s.weights, s.acts, s.panels, add);
    check_release();
}

static void products(check *c, int arg) {
    static const unsigned percents[] = {0, 3, 30, 50, 90, 100};
    static const size_t ks[] = {32, 64, 96, 288, 512, 544, 576, 1024, 1536};
    const form *f = &forms[arg];
    for (int panels = 0; panels < 2; panels++) {
        size_t most = panels ? 26 : BK_DIRECT_COLS;
        for (size_t n = 1; n <= 52; n++)
            run_case(c, f,
                     (shape){n, 32 * (1 + n % 4), 1 + n % most, percents[n % 6],
                             (check_weights)(n % CHECK_WEIGHTS), (check_kind)(n / 2 % CHECK_KINDS),
                             panels});
        for (size_t i = 0; i < BK_ARRAY_LEN(ks) * 6; i++)
            run_case(c, f,
                     (shape){40, ks[i / 6], 1 + i % most, percents[i % 6], CHECK_W_RANDOM,
                             (check_kind)(i % CHECK_KINDS), panels});
        for (size_t cols = 1; cols <= most; cols++)
            run_case(c, f, (shape){33, 160, cols, 50, CHECK_W_SCALES, CHECK_OUTLIER, panels});
    }
}

/* The fast product has panels of its own, of the same weights. */
static void fast(check *c, int arg) {
    static const unsigned percents[] = {0, 10, 50, 100};
    for (size_t i = 0; i < 16; i++) {
        pair p;
        size_t k = 32 * (1 + i % 9), n_rows = 17 + i, pitch = bk_fast_act_bytes(k);
        if (!make_pair(c, &forms[arg], n_rows, k, CHECK_W_RANDOM, percents[i % 4], &p)) return;
        bk_panel got = bk_panel_view(check_mem(bk_panel_bytes(k)), k);
        bk_panel want = bk_panel_view(check_mem(bk_panel_bytes(k)), k);
        float *x = check_floats(k), *y = check_floats(n_rows), *z = check_floats(n_rows);
        void *act = check_mem(pitch);
        check_fill(c, CHECK_NORMAL, x, k);
        c->ref->fast_quantize(x, k, act);
        for (size_t g = 0; g < p.dense.n_groups; g += BK_PANEL_GROUPS) {
            size_t n = bk_min_size(BK_PANEL_GROUPS, p.dense.n_groups - g);
            c->k->fast_expand(&p.sparse, g, n, &got);
            c->k->fast_tiles(&p.sparse, g, n, &got, act, pitch, 1, y, n_rows, false);
            c->ref->fast_expand(&p.dense, g, n, &want);
            c->ref->fast_tiles(&p.dense, g, n, &want, act, pitch, 1, z, n_rows, false);
        }
        check_same_floats(c, "product", y, z, n_rows);
        check_release();
    }
}

static void rows(check *c, int arg) {
    if (!c->portable) return; /* the same code at every level */
    for (size_t i = 0; i < 12; i++) {
        pair p;
        size_t k = 32 * (1 + 5 * i % 23), n_rows = 1 + 7 * i;
        if (!make_pair(c, &forms[arg], n_rows, k, CHECK_W_RANDOM, 50, &p)) return;
        float *got = check_floats(k), *want = check_floats(k);
        for (size_t r = 0; r < n_rows; r++) {
            bk_packed_row(&p.sparse, r, got);
            bk_packed_row(&p.dense, r, want);
            check_same_floats(c, "row", got, want, k);
        }
        check_release();
    }
}

static void sums(check *c, int arg) {
    (void)arg;
    for (size_t k = 1; k < 1200; k += 1 + k / 4) {
        size_t bytes = bk_sparse_act_bytes(k);
        void *got = check_mem(bytes), *want = check_mem(bytes);
        float *x = check_floats(k);
        check_fill(c, CHECK_NORMAL, x, k);
        c->ref->quantize(x, k, got);
        c->ref->quantize(x, k, want);
        c->k->tile_sums(k, got);
        c->ref->tile_sums(k, want);
        check_same_bytes(c, "sums", got, want, bytes);
        check_release();
    }
}

/* ---- Timing ---------------------------------------------------------------------------------------- */

typedef struct timed {
    const bk_kernels *k;
    const bk_packed *w;
    const bk_panel *panel; /* NULL: direct */
    const void *acts;
    size_t pitch, cols;
    float *out;
} timed;

static void run_timed(void *arg) {
    const timed *t = arg;
    if (!t->panel) {
        t->k->direct(t->w, 0, t->w->n_groups, t->acts, t->pitch, t->cols, t->out, t->w->n_rows,
                     false);
        return;
    }
    for (size_t g = 0; g < t->w->n_groups; g += BK_PANEL_GROUPS) {
        size_t n = bk_min_size(BK_PANEL_GROUPS, t->w->n_groups - g);
        t->k->expand(t->w, g, n, t->panel);
        t->k->tiles(t->w, g, n, t->panel, t->acts, t->pitch, t->cols, t->out, t->w->n_rows, false);
    }
}

static void bench_shape(check *c, const form *f, size_t n_rows, size_t k, unsigned percent) {
    static const size_t many[] = {1, 4, 8, 128};
    size_t pitch = bk_sparse_act_bytes(k);
    pair p;
    if (!make_pair(c, f, n_rows, k, CHECK_W_RANDOM, percent, &p)) return;
    bk_panel panel = bk_panel_view(check_mem(bk_panel_bytes(k)), k);
    for (size_t i = 0; i < BK_ARRAY_LEN(many); i++) {
        size_t cols = many[i];
        timed t = {c->k, &p.dense, cols > BK_DIRECT_COLS ? &panel : NULL, NULL, pitch, cols, NULL};
        if (n_rows > 10000 && cols > 8) break;
        t.acts = make_acts(c, k, cols, CHECK_NORMAL, pitch);
        t.out = check_floats(n_rows * cols);
        double dense = check_time(run_timed, &t);
        t.w = &p.sparse;
        double sparse = check_time(run_timed, &t);
        t.w = &p.dense;
        double again = check_time(run_timed, &t);
        dense = again < dense ? again : dense;
        double places = (double)(n_rows * k * cols);
        printf("%-8s %s %6zu x %-5zu %3u %% %4zu cols  dense %6.1f Gplaces/s, sparse %6.1f: %.2f, "
               "bytes 1/%.2f\n",
               c->level, f->name, n_rows, k, percent, cols, places / dense, places / sparse,
               dense / sparse,
               (double)bk_packed_bytes(&p.dense) / (double)bk_packed_bytes(&p.sparse));
    }
    check_release();
}

static void bench(check *c, const char *filter) {
    static const unsigned percents[] = {50};
    if (!filter || !strstr("sparse", filter)) return; /* minutes: only when asked for */
    for (size_t f = 0; f < BK_ARRAY_LEN(forms); f++) {
        for (size_t i = 0; i < BK_ARRAY_LEN(percents); i++) {
            bench_shape(c, &forms[f], 576, 1536, percents[i]);
            if (percents[i] == 50) bench_shape(c, &forms[f], 32768, 2048, percents[i]);
        }
    }
}

static const check_test tests[] = {
    {"sparse/tiles4", products, 0},  {"sparse/tiles8", products, 1},
    {"sparse/bits4", products, 2},   {"sparse/fast/tiles4", fast, 0},
    {"sparse/fast/tiles8", fast, 1}, {"sparse/fast/bits4", fast, 2},
    {"sparse/rows/tiles4", rows, 0}, {"sparse/rows/bits4", rows, 2},
    {"sparse/sums", sums, 0},
};
const check_family check_sparse_family = {tests, BK_ARRAY_LEN(tests), bench};
