/* The product command: how its input rows are made, which rows of the weights a thread takes, and by
 * which kernel. None of these choices changes a bit of the result.
 *
 * Few rows (decode): every thread makes all input rows for itself, which costs a microsecond and
 * saves a barrier, then reads a stretch of its own straight from the packed weights, each byte once.
 * (Chunks from one cursor for all send what a thread prefetches to the wrong core: 25 to 35 % slower.) Many rows (prefill): threads share the making of the rows, meet, and then each expands
 * panels of two groups in its scratch over which all rows pass. With experts the matrix of each has
 * rows of its own, few or many. */
#include <string.h>

#include "base/mem.h"
#include "device/cpu.h"
#include "kernel/sparse.h"

enum {
    CHUNKS_PER_THREAD = 8,
    PRIVATE_ROWS = 2, /* made by every thread for itself */
    FEW_ROWS = 48,    /* without panels */
};

/* Input rows ready for the kernels: floats where float weights read them, quantised for integer
 * weights. */
typedef struct operand {
    const float *x; /* NULL: nobody reads floats */
    size_t ld;
    void *acts; /* NULL: nobody reads quantised rows */
    size_t pitch;
} operand;

/* Whether a weight of the product reads quantised rows; or else floats. */
static bool any_reads(const bk_cmd *c, bool quantised) {
    for (int i = 0; i < c->product.n; i++)
        if ((bk_weight_type(c->product.w[i])->bits > 0) == quantised) return true;
    return false;
}

/* Whether the input is there as it is to be read. */
static bool as_it_is(const bk_input *in) { return in->kind == BK_INPUT_ROWS && !in->index; }

static size_t row_bytes(size_t k) { return bk_round_up(k, 16) * sizeof(float); }

/* Whether rows need what sparse weights are multiplied with. */
static bool any_sparse(const bk_cmd *c) {
    for (int i = 0; i < c->product.n && !c->product.fast; i++)
        if (bk_packed_sparse(&c->product.w[i]->packed)) return true;
    return false;
}

/* Bytes of a quantised row. */
static size_t act_bytes(const bk_cmd *c) {
    size_t k = c->product.input.k;
    if (c->product.fast) return bk_fast_act_bytes(k);
    return any_sparse(c) ? bk_sparse_act_bytes(k) : bk_act_row_bytes(k);
}

/* Bytes of the operand. */
static size_t operand_bytes(const bk_cmd *c) {
    const bk_input *in = &c->product.input;
    size_t bytes = 0;
    if (any_reads(c, false) && !as_it_is(in)) bytes += c->rows * row_bytes(in->k);
    if (any_reads(c, true)) bytes += c->rows * act_bytes(c);
    return bytes;
}

/* Whether n rows go straight to the packed weights. */
static bool are_few(const bk_cmd *c, size_t n) { return n <= FEW_ROWS && !c->product.fast; }

static bool few_rows(const bk_cmd *c) { return are_few(c, c->rows) && !c->product.routes; }

/* Whether every thread makes all rows for itself. */
static bool private_rows(const bk_cmd *c) { return c->rows <= PRIVATE_ROWS && few_rows(c); }

/* A thread has room for a row on its way to being quantised, then for a panel or its own operand. */
bk_cpu_need bk_cpu_product_need(const bk_cmd *c) {
    size_t k = c->product.input.k, rows = operand_bytes(c), row = row_bytes(k);
    size_t screen = c->product.screen ? BK_CPU_SCREEN_BYTES : 0;
    if (private_rows(c)) return (bk_cpu_need){screen, row + rows};
    return (bk_cpu_need){screen + rows, few_rows(c) ? row : bk_max_size(row, bk_panel_bytes(k))};
}

/* ---- Input ----------------------------------------------------------------------------------------- */

/* Where the operand of a command lies in its scratch. */
static operand operand_view(const bk_cmd *c, void *memory) {
    const bk_input *in = &c->product.input;
    operand o = {.ld = row_bytes(in->k) / sizeof(float), .pitch = act_bytes(c)};
    char *at = memory;
    if (any_reads(c, false)) {
        o.x = as_it_is(in) ? in->x : (const float *)memory;
        if (as_it_is(in))
            o.ld = in->ld;
        else
            at += c->rows * row_bytes(in->k);
    }
    if (any_reads(c, true)) o.acts = at;
    return o;
}

/* x + rms_norm(add) * add_weight into y, and where it is wanted. */
static void add_residual(const bk_cpu_device *d, const bk_input *in, size_t row, float *sum,
                         float *y) {
    const float *x = in->x + row * in->ld;
    d->kernels->rms_norm(in->add + row * in->ld, in->add_weight, in->k, in->eps, y);
    for (size_t i = 0; i < in->k; i++) y[i] += x[i];
    if (sum) memcpy(sum + row * in->ld, y, in->k * sizeof *y);
}

/* Row r of the input as floats: y, or where it is already. `first`: this call also does what must
 * be done once for a row. */
static const float *float_row(const bk_cpu_device *d, const bk_input *in, size_t r, float *y,
                              bool first) {
    size_t row = in->index ? (size_t)in->index[r] : r;
    const float *x = in->x + row * in->ld;
    switch (in->kind) {
    case BK_INPUT_NORM:
        if (in->add) add_residual(d, in, row, first ? in->sum : NULL, y);
        d->kernels->rms_norm(in->add ? y : x, in->weight, in->k, in->eps, y);
        return y;
    case BK_INPUT_GATE:
        if (in->gate == BK_GATE_GELU)
            d->kernels->gelu_mul(x, in->up + r * in->ld, in->k, y);
        else
            d->kernels->silu_mul(x, in->up + r * in->ld, in->k, y);
        return y;
    default: return x;
    }
}

/* `own`: room for a row, of the caller. */
static void make_row(const bk_cpu_device *d, const bk_cmd *c, const operand *o, size_t r,
                     float *own, bool first) {
    const bk_input *in = &c->product.input;
    bool keep = o->x && !as_it_is(in);
    /* The view is of scratch where the input is not read as it is. */
    float *y = keep ? (float *)(uintptr_t)o->x + r * o->ld : own;
    const float *row = float_row(d, in, r, y, first);
    if (keep && row != y) memcpy(y, row, in->k * sizeof *y);
    if (!o->acts) return;
    char *act = (char *)o->acts + r * o->pitch;
    (c->product.fast ? d->kernels->fast_quantize : d->kernels->quantize)(row, in->k, act);
    if (any_sparse(c)) d->kernels->tile_sums(in->k, act);
}

bk_status bk_cpu_product_show(const bk_cpu_device *d, const bk_cmd *c, const bk_observer *o,
                              bk_error *err) {
    const bk_input *in = &c->product.input;
    if (as_it_is(in)) {
        o->see(c, in->x, in->ld, o->user);
        return BK_OK;
    }
    size_t ld = row_bytes(in->k) / sizeof(float);
    float *rows = bk_alloc(bk_max_size(c->rows, 1), row_bytes(in->k));
    if (!rows) return bk_fail(err, BK_ERR_NOMEM, "no memory to look at %zu rows", c->rows);
    for (size_t r = 0; r < c->rows; r++) {
        float *y = rows + r * ld;
        const float *row = float_row(d, in, r, y, false);
        if (row != y) memcpy(y, row, in->k * sizeof *y);
    }
    o->see(c, rows, ld, o->user);
    bk_free(rows);
    return BK_OK;
}

/* What the kernels read for weights of a type, from row r on. */
static const void *rows_of(const operand *o, const bk_quant *type, size_t r, size_t *pitch) {
    *pitch = type->bits ? o->pitch : o->ld;
    return type->bits ? (const void *)((const char *)o->acts + r * o->pitch)
                      : (const void *)(o->x + r * o->ld);
}

/* ---- Parts ----------------------------------------------------------------------------------------- */

/* One matrix of the command and the rows that go through it: all, or those of one expert. */
typedef struct part {
    bk_packed w;
    int product;
    size_t row, n_rows;
} part;

static size_t n_parts(const bk_cmd *c) {
    size_t experts = c->product.routes ? (size_t)c->product.routes->n_experts : 1;
    return (size_t)c->product.n * experts;
}

static part part_at(const bk_cmd *c, size_t i) {
    const bk_routes *routes = c->product.routes;
    size_t experts = routes ? (size_t)routes->n_experts : 1, e = i % experts;
    part p = {.w = c->product.w[i / experts]->packed,
              .product = (int)(i / experts),
              .n_rows = c->rows};
    if (!routes) return p;
    /* The loader sees to it that a group has rows of one expert. */
    p.w.n_rows /= experts;
    p.w.n_groups /= experts;
    p.w.data += e * p.w.n_groups * p.w.group_bytes;
    p.row = (size_t)routes->first[e];
    p.n_rows = (size_t)routes->first[e + 1] - p.row;
    return p;
}

/* How the work is cut: groups of a unit where rows are few, columns where they are many. */
typedef struct cut {
    size_t few_groups, panels;
} cut;

static cut cut_of(const bk_cpu_device *d, const bk_cmd *c) {
    size_t few = 0, panels = 0;
    for (size_t i = 0; i < n_parts(c); i++) {
        part p = part_at(c, i);
        if (p.n_rows == 0) continue;
        if (are_few(c, p.n_rows))
            few += p.w.n_groups;
        else
            panels += bk_div_up(p.w.n_groups, BK_PANEL_GROUPS);
    }
    return (cut){bk_max_size(1, few / (size_t)(CHUNKS_PER_THREAD * d->base.threads)), panels};
}

/* Columns of a unit: all, unless there are too few panels to share evenly. */
static size_t unit_cols(const bk_cpu_device *d, const cut *k, size_t rows) {
    size_t want = (size_t)(4 * d->base.threads), n = 1;
    if (k->panels < want) n = bk_min_size(bk_div_up(want, k->panels), bk_div_up(rows, 48));
    return bk_round_up(bk_div_up(rows, n), BK_TILE_COLS);
}

/* The bias where the rows of groups [first, first + n) go, to which the kernels add. Whether to. */
static bool lay_bias(const bk_cmd *c, const part *p, size_t first, size_t n, size_t row,
                     size_t rows) {
    const float *bias = c->product.bias[p->product];
    size_t ldo = c->product.ldo[p->product], at = first * BK_GROUP_ROWS;
    size_t count = bk_min_size(n * BK_GROUP_ROWS, p->w.n_rows - at);
    float *out = c->product.out[p->product] + row * ldo + at;
    for (size_t r = 0; bias && r < rows; r++) memcpy(out + r * ldo, bias + at, count * sizeof *out);
    return bias || c->product.add;
}

/* Groups [first, first + n) times a few rows, of which a kernel takes some at a time: the groups
 * come from memory once. */
static void direct(bk_cpu_device *d, const bk_cmd *c, const operand *o, const part *p, size_t first,
                   size_t n) {
    size_t pitch, ldo = c->product.ldo[p->product], strips = bk_div_up(p->n_rows, BK_DIRECT_COLS);
    n = bk_min_size(n, p->w.n_groups - first);
    bool add = lay_bias(c, p, first, n, p->row, p->n_rows);
    for (size_t i = 0, done = 0, cols; i < strips; i++, done += cols) {
        const void *x = rows_of(o, p->w.type, p->row + done, &pitch);
        cols = bk_div_up(p->n_rows - done, strips - i); /* 9 rows go as 5 + 4 */
        d->kernels->direct(&p->w, first, n, x, pitch, cols,
                           c->product.out[p->product] + (p->row + done) * ldo, ldo, add);
    }
}

/* Units are counted through all parts; `next` is the caller's next one, `base` the part's first.
 * Both return the part's number of units. */
static size_t few_units(bk_cpu_device *d, const bk_cmd *c, const operand *o, const part *p,
                        const cut *k, size_t base, size_t *next) {
    size_t size = k->few_groups, units = bk_div_up(p->w.n_groups, size);
    for (; *next < base + units; *next = bk_pool_next(d->pool))
        direct(d, c, o, p, (*next - base) * size, size);
    return units;
}

static size_t many_units(bk_cpu_device *d, const bk_cmd *c, const operand *o, const part *p,
                         const cut *k, size_t base, size_t *next, const bk_panel *panel) {
    size_t cols = unit_cols(d, k, p->n_rows), per_panel = bk_div_up(p->n_rows, cols), pitch;
    size_t units = bk_div_up(p->w.n_groups, BK_PANEL_GROUPS) * per_panel;
    size_t ldo = c->product.ldo[p->product];
    for (; *next < base + units; *next = bk_pool_next(d->pool)) {
        size_t first = (*next - base) / per_panel * BK_PANEL_GROUPS;
        size_t c0 = (*next - base) % per_panel * cols, n = bk_min_size(cols, p->n_rows - c0);
        size_t groups = bk_min_size(BK_PANEL_GROUPS, p->w.n_groups - first);
        const void *x = rows_of(o, p->w.type, p->row + c0, &pitch);
        bool add = lay_bias(c, p, first, groups, p->row + c0, n);
        float *out = c->product.out[p->product] + (p->row + c0) * ldo;
        bool fast = c->product.fast && p->w.type->bits;
        (fast ? d->kernels->fast_expand : d->kernels->expand)(&p->w, first, groups, panel);
        (fast ? d->kernels->fast_tiles : d->kernels->tiles)(&p->w, first, groups, panel, x, pitch,
                                                            n, out, ldo, add);
    }
    return units;
}

static void multiply(bk_cpu_device *d, const bk_cmd *c, const operand *o, void *scratch) {
    cut k = cut_of(d, c);
    size_t next = bk_pool_next(d->pool), base = 0;
    for (size_t i = 0; i < n_parts(c); i++) {
        part p = part_at(c, i);
        if (p.n_rows == 0) continue;
        if (are_few(c, p.n_rows)) {
            base += few_units(d, c, o, &p, &k, base, &next);
        } else {
            bk_panel panel = bk_panel_view(scratch, c->product.input.k);
            base += many_units(d, c, o, &p, &k, base, &next, &panel);
        }
    }
}

/* ---- Decode: every thread reads a stretch of its own ------------------------------------------------- */

/* The matrices of a command without experts, and their units. */
typedef struct stretch {
    part parts[BK_MAX_PRODUCTS];
    size_t first[BK_MAX_PRODUCTS + 1]; /* unit; the last is their number */
    size_t size;                       /* groups of a unit */
} stretch;

static stretch stretch_of(const bk_cpu_device *d, const bk_cmd *c) {
    stretch s = {.size = cut_of(d, c).few_groups};
    size_t n = (size_t)c->product.n;
    for (size_t i = 0; i < n; i++) {
        s.parts[i] = part_at(c, i);
        s.first[i + 1] = s.first[i] + bk_div_up(s.parts[i].w.n_groups, s.size);
    }
    return s;
}

/* Which matrix a unit is of; *group is its first. */
static const part *find_unit(const stretch *s, size_t unit, size_t *group) {
    size_t i = 0;
    while (unit >= s->first[i + 1]) i++;
    *group = (unit - s->first[i]) * s->size;
    return &s->parts[i];
}

void bk_cpu_product_ahead(const bk_cpu_device *d, const bk_cmd *c, int thread) {
    if (!few_rows(c) || c->product.groups || c->product.screen) return;
    stretch s = stretch_of(d, c);
    size_t group, unit = bk_pool_share_begin(d->pool, thread, s.first[c->product.n]);
    const part *p = find_unit(&s, unit, &group);
    size_t at = bk_packed_at(&p->w, group), left = bk_packed_bytes(&p->w) - at;
    bk_cpu_ask(p->w.data + at, bk_min_size(left, BK_CPU_AHEAD));
}

static void multiply_few(bk_cpu_device *d, const bk_cmd *c, const operand *o, int thread) {
    stretch s = stretch_of(d, c);
    for (size_t unit; bk_pool_share(d->pool, thread, s.first[c->product.n], &unit);) {
        size_t group;
        const part *p = find_unit(&s, unit, &group);
        direct(d, c, o, p, group, s.size);
    }
}

/* The groups that are listed, each with all rows. */
static void multiply_listed(bk_cpu_device *d, const bk_cmd *c, const operand *o) {
    part p = part_at(c, 0);
    for (size_t i; (i = bk_pool_next(d->pool)) < c->product.n_groups;)
        direct(d, c, o, &p, (size_t)c->product.groups[i], 1);
}

static void make_private(bk_cpu_device *d, const bk_cmd *c, const operand *o, float *own,
                         int thread) {
    for (size_t r = 0; r < c->rows; r++) make_row(d, c, o, r, own, thread == 0);
    bk_trace_prepared(d->base.trace, thread);
}

/* What other threads wrote comes slowly: asked for while the row before is made. */
static void ask_for_row(const bk_input *in, size_t r) {
    size_t row = in->index ? (size_t)in->index[r] : r;
    bk_cpu_ask(in->x + row * in->ld, in->k * sizeof *in->x);
    if (in->kind == BK_INPUT_GATE) bk_cpu_ask(in->up + r * in->ld, in->k * sizeof *in->up);
}

static void make_together(bk_cpu_device *d, const bk_cmd *c, const operand *o, float *own,
                          int thread) {
    if (!o->acts && as_it_is(&c->product.input)) return;
    for (size_t r; bk_pool_share(d->pool, thread, c->rows, &r);) {
        if (r + 1 < c->rows) ask_for_row(&c->product.input, r + 1);
        make_row(d, c, o, r, own, true);
    }
    bk_cpu_meet(d, thread);
}

void bk_cpu_product(bk_cpu_device *d, const bk_cmd *c, int thread) {
    char *scratch = d->private[thread];
    float *own = (float *)(void *)scratch;
    bool private = private_rows(c);
    char *shared = (char *)d->shared + (c->product.screen ? BK_CPU_SCREEN_BYTES : 0);
    operand o = operand_view(c, private ? scratch + row_bytes(c->product.input.k) : shared);
    if (private)
        make_private(d, c, &o, own, thread);
    else
        make_together(d, c, &o, own, thread);
    if (c->product.screen)
        bk_cpu_screen(d, c, o.acts, o.pitch, d->shared, thread);
    else if (c->product.groups)
        multiply_listed(d, c, &o);
    else if (few_rows(c))
        multiply_few(d, c, &o, thread);
    else
        multiply(d, c, &o, scratch);
}
