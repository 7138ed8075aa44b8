/* The matrix-product command: which rows a thread takes, and by which kernel.
 *
 * Few columns (decode): chunks of row groups straight from the packed weights, each byte read once.
 * Many columns (prefill): a panel of two groups is expanded to bytes in the thread's scratch, then
 * all columns pass over it. Neither choice changes a bit of the result. */
#include "device/cpu.h"

enum { CHUNKS_PER_THREAD = 8 };

size_t bk_cpu_matmul_scratch(const bk_cmd *cmd) { return bk_panel_bytes(cmd->matmul.x.k); }

/* What the kernels read of an operand: quantised rows for integer weights, floats otherwise. */
static const void *rows_of(const bk_operand *x, const bk_quant *type, size_t *pitch) {
    *pitch = type->bits ? x->pitch : x->ld;
    return type->bits ? x->acts : x->x;
}

static void direct(bk_cpu_device *d, const bk_cmd *c) {
    size_t total = 0;
    for (int i = 0; i < c->matmul.n; i++) total += c->matmul.w[i]->packed.n_groups;
    size_t size = bk_max_size(1, total / (size_t)(CHUNKS_PER_THREAD * d->base.threads));
    size_t chunk = bk_pool_next(d->pool), base = 0;
    for (int i = 0; i < c->matmul.n; i++) {
        const bk_packed *w = &c->matmul.w[i]->packed;
        size_t pitch, chunks = bk_div_up(w->n_groups, size);
        const void *x = rows_of(&c->matmul.x, w->type, &pitch);
        for (; chunk < base + chunks; chunk = bk_pool_next(d->pool)) {
            size_t first = (chunk - base) * size;
            d->kernels->direct(w, first, bk_min_size(size, w->n_groups - first), x, pitch, c->rows,
                               c->matmul.out[i], c->matmul.ldo[i], c->matmul.add);
        }
        base += chunks;
    }
}

static void panels(bk_cpu_device *d, const bk_cmd *c, void *scratch) {
    size_t total = 0;
    for (int i = 0; i < c->matmul.n; i++)
        total += bk_div_up(c->matmul.w[i]->packed.n_groups, BK_PANEL_GROUPS);
    /* Too few panels to share evenly: cut the columns as well. */
    size_t want = (size_t)(4 * d->base.threads), parts = 1;
    if (total < want) parts = bk_min_size(bk_div_up(want, total), bk_div_up(c->rows, 48));
    size_t cols = bk_round_up(bk_div_up(c->rows, parts), BK_TILE_COLS);
    parts = bk_div_up(c->rows, cols);

    bk_panel panel = bk_panel_view(scratch, c->matmul.x.k);
    size_t chunk = bk_pool_next(d->pool), base = 0;
    for (int i = 0; i < c->matmul.n; i++) {
        const bk_packed *w = &c->matmul.w[i]->packed;
        size_t pitch, chunks = bk_div_up(w->n_groups, BK_PANEL_GROUPS) * parts;
        const void *x = rows_of(&c->matmul.x, w->type, &pitch);
        size_t row_bytes = w->type->bits ? pitch : pitch * sizeof(float);
        for (; chunk < base + chunks; chunk = bk_pool_next(d->pool)) {
            size_t first = (chunk - base) / parts * BK_PANEL_GROUPS;
            size_t c0 = (chunk - base) % parts * cols;
            size_t n = bk_min_size(BK_PANEL_GROUPS, w->n_groups - first);
            d->kernels->expand(w, first, n, &panel);
            d->kernels->tiles(w, first, n, &panel, (const char *)x + c0 * row_bytes, pitch,
                              bk_min_size(cols, c->rows - c0),
                              c->matmul.out[i] + c0 * c->matmul.ldo[i], c->matmul.ldo[i],
                              c->matmul.add);
        }
        base += chunks;
    }
}

void bk_cpu_matmul(bk_cpu_device *d, const bk_cmd *cmd, void *scratch) {
    if (cmd->rows <= BK_DIRECT_COLS)
        direct(d, cmd);
    else
        panels(d, cmd, scratch);
}
