/* The product command: how its input rows are made, which rows of the weights a thread takes, and by
 * which kernel. None of these choices changes a bit of the result.
 *
 * Few rows (decode): every thread makes all input rows for itself, which costs a microsecond and
 * saves a barrier, then takes chunks of row groups straight from the packed weights, each byte read
 * once. Many rows (prefill): threads share the making of the rows, meet, and then each expands
 * panels of two groups in its scratch over which all rows pass. */
#include <string.h>

#include "device/cpu.h"

enum { CHUNKS_PER_THREAD = 8 };

/* Input rows ready for the kernels: floats, and their quantised form when integer weights read it. */
typedef struct operand {
    const float *x;
    size_t ld;
    void *acts;
    size_t pitch;
} operand;

/* Whether a weight of the product reads quantised rows. */
static bool any_int(const bk_cmd *c) {
    for (int i = 0; i < c->product.n; i++)
        if (bk_weight_type(c->product.w[i])->bits) return true;
    return false;
}

static size_t row_floats(size_t k) { return bk_round_up(k, 16); }

static size_t operand_bytes(size_t rows, size_t k) {
    return rows * (row_floats(k) * sizeof(float) + bk_act_row_bytes(k));
}

bk_cpu_need bk_cpu_product_need(const bk_cmd *c) {
    size_t k = c->product.input.k, rows = operand_bytes(c->rows, k);
    if (c->rows <= BK_DIRECT_COLS) return (bk_cpu_need){0, rows};
    return (bk_cpu_need){rows, bk_panel_bytes(k)};
}

/* ---- Input ----------------------------------------------------------------------------------------- */

/* Where the operand of a command lies in its scratch. */
static operand operand_view(const bk_cmd *c, void *memory) {
    const bk_input *in = &c->product.input;
    size_t ld = row_floats(in->k);
    operand o = {memory, ld, (char *)memory + c->rows * ld * sizeof(float),
                 bk_act_row_bytes(in->k)};
    if (in->kind == BK_INPUT_ROWS && !in->index) o.x = in->x, o.ld = in->ld;
    return o;
}

static void make_row(const bk_cpu_device *d, const bk_cmd *c, const operand *o, size_t r,
                     bool quantize) {
    const bk_input *in = &c->product.input;
    const float *x = in->x + (in->index ? (size_t)in->index[r] : r) * in->ld;
    /* The view is of scratch but for ROWS without index, which nothing writes. */
    float *y = (float *)(uintptr_t)o->x + r * o->ld;
    switch (in->kind) {
    case BK_INPUT_NORM: d->kernels->rms_norm(x, in->weight, in->k, in->eps, y); break;
    case BK_INPUT_GATE: d->kernels->silu_mul(x, in->up + r * in->ld, in->k, y); break;
    case BK_INPUT_ROWS:
        if (in->index) memcpy(y, x, in->k * sizeof *y);
        break;
    }
    if (quantize) d->kernels->quantize(y, in->k, (char *)o->acts + r * o->pitch);
}

/* What the kernels read for weights of a type, from row r on. */
static const void *rows_of(const operand *o, const bk_quant *type, size_t r, size_t *pitch) {
    *pitch = type->bits ? o->pitch : o->ld;
    return type->bits ? (const void *)((const char *)o->acts + r * o->pitch)
                      : (const void *)(o->x + r * o->ld);
}

/* ---- Few rows -------------------------------------------------------------------------------------- */

static void direct(bk_cpu_device *d, const bk_cmd *c, const operand *o) {
    size_t total = 0;
    for (int i = 0; i < c->product.n; i++) total += c->product.w[i]->packed.n_groups;
    size_t size = bk_max_size(1, total / (size_t)(CHUNKS_PER_THREAD * d->base.threads));
    size_t chunk = bk_pool_next(d->pool), base = 0;
    for (int i = 0; i < c->product.n; i++) {
        const bk_packed *w = &c->product.w[i]->packed;
        size_t pitch, chunks = bk_div_up(w->n_groups, size);
        const void *x = rows_of(o, w->type, 0, &pitch);
        for (; chunk < base + chunks; chunk = bk_pool_next(d->pool)) {
            size_t first = (chunk - base) * size;
            d->kernels->direct(w, first, bk_min_size(size, w->n_groups - first), x, pitch, c->rows,
                               c->product.out[i], c->product.ldo[i], c->product.add);
        }
        base += chunks;
    }
}

/* ---- Many rows ------------------------------------------------------------------------------------- */

/* Columns of a chunk: all, unless there are too few panels to share evenly. */
static size_t chunk_cols(const bk_cpu_device *d, const bk_cmd *c) {
    size_t panels = 0, want = (size_t)(4 * d->base.threads), parts = 1;
    for (int i = 0; i < c->product.n; i++)
        panels += bk_div_up(c->product.w[i]->packed.n_groups, BK_PANEL_GROUPS);
    if (panels < want) parts = bk_min_size(bk_div_up(want, panels), bk_div_up(c->rows, 48));
    return bk_round_up(bk_div_up(c->rows, parts), BK_TILE_COLS);
}

static void panels(bk_cpu_device *d, const bk_cmd *c, const operand *o, void *scratch) {
    size_t cols = chunk_cols(d, c), parts = bk_div_up(c->rows, cols);
    bk_panel panel = bk_panel_view(scratch, c->product.input.k);
    size_t chunk = bk_pool_next(d->pool), base = 0;
    for (int i = 0; i < c->product.n; i++) {
        const bk_packed *w = &c->product.w[i]->packed;
        size_t pitch, ldo = c->product.ldo[i];
        size_t chunks = bk_div_up(w->n_groups, BK_PANEL_GROUPS) * parts;
        for (; chunk < base + chunks; chunk = bk_pool_next(d->pool)) {
            size_t first = (chunk - base) / parts * BK_PANEL_GROUPS;
            size_t c0 = (chunk - base) % parts * cols, n = bk_min_size(cols, c->rows - c0);
            size_t groups = bk_min_size(BK_PANEL_GROUPS, w->n_groups - first);
            const void *x = rows_of(o, w->type, c0, &pitch);
            d->kernels->expand(w, first, groups, &panel);
            d->kernels->tiles(w, first, groups, &panel, x, pitch, n, c->product.out[i] + c0 * ldo,
                              ldo, c->product.add);
        }
        base += chunks;
    }
}

void bk_cpu_product(bk_cpu_device *d, const bk_cmd *c, int thread) {
    bool ints = any_int(c);
    if (c->rows <= BK_DIRECT_COLS) {
        operand o = operand_view(c, d->private[thread]);
        for (size_t r = 0; r < c->rows; r++) make_row(d, c, &o, r, ints);
        direct(d, c, &o);
        return;
    }
    operand o = operand_view(c, d->shared);
    if (ints || c->product.input.kind != BK_INPUT_ROWS || c->product.input.index) {
        for (size_t r; (r = bk_pool_next(d->pool)) < c->rows;) make_row(d, c, &o, r, ints);
        bk_pool_barrier(d->pool);
    }
    panels(d, c, &o, d->private[thread]);
}
