#include "compress/edit.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "compress/preset.h"
#include "compress/round.h"

struct bk_cut {
    bk_edit *edit;
    const bk_gguf *g;
    const bk_gguf_tensor *from;
    char id[64], name[64]; /* before and after a renaming */
    bool omit;
    int32_t *rows, *cols; /* NULL: all */
    size_t n_rows, n_cols;
    float *importance;   /* [n_cols], or NULL */
    const bk_quant *to;  /* NULL until it is known */
    const uint8_t *data; /* rounded; NULL: the source's bytes */
};

struct bk_edit {
    const bk_gguf *g;
    bk_pool *pool;
    const bk_quant *type;
    bk_gguf_builder *builder;
    bk_cut *cuts; /* [n_cuts]: those of all tensors, then copies */
    size_t n_cuts, cap_cuts;
};

enum { COPIES = 2 };

bk_status bk_edit_create(const bk_gguf *g, bk_pool *pool, const bk_quant *type, bk_edit **out,
                         bk_error *err) {
    size_t n = bk_gguf_n_tensors(g);
    bk_edit *e = *out = bk_alloc_zero(1, sizeof *e);
    if (!e) return bk_fail(err, BK_ERR_NOMEM, "no memory to edit a model");
    *e = (bk_edit){.g = g, .pool = pool, .type = type, .cap_cuts = n + COPIES};
    e->builder = bk_gguf_builder_create();
    if (e->builder) bk_gguf_builder_keys_of(e->builder, g);
    e->cuts = bk_gguf_builder_alloc(e->builder, e->cap_cuts, sizeof *e->cuts);
    if (!e->cuts) {
        bk_edit_destroy(out);
        return bk_fail(err, BK_ERR_NOMEM, "no memory to edit %zu tensors", n);
    }
    for (size_t i = 0; i < n; i++) {
        const bk_gguf_tensor *t = bk_gguf_tensor_at(g, i);
        bk_cut *c = &e->cuts[e->n_cuts++];
        *c = (bk_cut){.edit = e, .g = g, .from = t, .n_cols = (size_t)t->ne[0]};
        c->n_rows = (size_t)(t->n_elements / t->ne[0]);
        snprintf(c->id, sizeof c->id, BK_STR_FMT, BK_STR_ARG(t->name));
        bk_cut_rename(c, c->id);
    }
    return BK_OK;
}

void bk_edit_destroy(bk_edit **e) {
    if (!*e) return;
    bk_gguf_builder_destroy(&(*e)->builder);
    bk_free(*e);
    *e = NULL;
}

bk_gguf_builder *bk_edit_keys(bk_edit *e) { return e->builder; }

bk_cut *bk_edit_find(bk_edit *e, const char *name) {
    for (size_t i = 0; i < e->n_cuts; i++)
        if (strcmp(e->cuts[i].id, name) == 0) return &e->cuts[i];
    return NULL;
}

bk_cut *bk_edit_layer(bk_edit *e, const char *format, int layer) {
    char name[64];
    snprintf(name, sizeof name, format, layer);
    return bk_edit_find(e, name);
}

bk_cut *bk_edit_copy(bk_edit *e, const bk_cut *of, const char *name) {
    if (e->n_cuts == e->cap_cuts) return NULL;
    bk_cut *c = &e->cuts[e->n_cuts++];
    *c = *of;
    snprintf(c->id, sizeof c->id, "%s", name);
    bk_cut_rename(c, name);
    return c;
}

static size_t row_bytes(const bk_quant *q, size_t n) { return n / q->block_len * q->block_bytes; }

/* ---- What stays ---------------------------------------------------------------------------------- */

const bk_gguf_tensor *bk_cut_tensor(const bk_cut *c) { return c->from; }
size_t bk_cut_n_rows(const bk_cut *c) { return c->n_rows; }
size_t bk_cut_n_cols(const bk_cut *c) { return c->n_cols; }

void bk_cut_omit(bk_cut *c) {
    if (c) c->omit = true;
}

void bk_cut_rename(bk_cut *c, const char *name) {
    if (c) snprintf(c->name, sizeof c->name, "%s", name);
}

/* A builder whose memory is short says so when it finishes. */
static void keep(bk_cut *c, int32_t **list, size_t *n_list, const int32_t *v, size_t n) {
    int32_t *copy = bk_gguf_builder_alloc(c->edit->builder, n, sizeof *v);
    if (!copy) return;
    memcpy(copy, v, n * sizeof *v);
    *list = copy;
    *n_list = n;
}

void bk_cut_cols(bk_cut *c, const int32_t *cols, size_t n) {
    if (c) keep(c, &c->cols, &c->n_cols, cols, n);
}

/* Of rows that are rounded already. */
static void drop_rows(bk_cut *c, const int32_t *rows, size_t n) {
    size_t bytes = row_bytes(c->to, c->n_cols);
    uint8_t *out = bk_gguf_builder_alloc(c->edit->builder, n, bytes);
    for (size_t i = 0; out && i < n; i++)
        memcpy(out + i * bytes, c->data + (size_t)rows[i] * bytes, bytes);
    if (out) c->data = out;
}

void bk_cut_rows(bk_cut *c, const int32_t *rows, size_t n) {
    if (c && c->from->n_dims == 1) {
        bk_cut_cols(c, rows, n);
    } else if (c) {
        if (c->data) drop_rows(c, rows, n);
        keep(c, &c->rows, &c->n_rows, rows, n);
    }
}

void bk_cut_importance(bk_cut *c, const float *importance, size_t n) {
    if (!c) return;
    c->importance = bk_gguf_builder_alloc(c->edit->builder, n, sizeof *importance);
    if (c->importance) memcpy(c->importance, importance, n * sizeof *importance);
}

/* ---- Types --------------------------------------------------------------------------------------- */

/* The type asked for, or the tensor's own, or where the new rows are no whole number of its blocks one
 * that is. Vectors and routers stay what they are. */
static const bk_quant *type_of(const bk_cut *c) {
    const bk_quant *own = c->from->type, *asked = c->edit->type;
    bool router = strstr(c->name, "ffn_gate_inp") != NULL;
    if (c->from->n_dims == 1 || router || !asked) asked = own;
    return bk_quant_find(bk_type_fitting(asked->type, c->n_cols));
}

/* Where the source's blocks are taken over: the first column of each run of block_len columns that stay
 * begins a block and the others follow it. */
static bool whole_blocks(const bk_cut *c) {
    size_t len = c->from->type->block_len;
    if (!c->cols) return true;
    if (c->n_cols % len) return false;
    for (size_t i = 0; i < c->n_cols; i++)
        if (i % len ? c->cols[i] != c->cols[i - 1] + 1 : (size_t)c->cols[i] % len != 0)
            return false;
    return true;
}

static bool keeps_bytes(const bk_cut *c) {
    if (!whole_blocks(c)) return false;
    if (!c->edit->type || c->from->n_dims == 1) return true;
    return type_of(c) == c->from->type;
}

/* ---- Rows ---------------------------------------------------------------------------------------- */

static const uint8_t *row_of(const bk_cut *c, const uint8_t *data, size_t i) {
    return data +
           row_bytes(c->from->type, (size_t)c->from->ne[0]) * (c->rows ? (size_t)c->rows[i] : i);
}

/* Row i as floats; scratch[ne[0]]. */
static void row_values(const bk_cut *c, const uint8_t *data, size_t i, float *scratch, float *out) {
    const uint8_t *row = row_of(c, data, i);
    if (!c->cols) {
        bk_quant_dequantize(c->from->type, row, out, c->n_cols);
        return;
    }
    bk_quant_dequantize(c->from->type, row, scratch, (size_t)c->from->ne[0]);
    for (size_t j = 0; j < c->n_cols; j++) out[j] = scratch[c->cols[j]];
}

/* Of a tensor that keeps its bytes. */
static bk_status fill(const void *source, uint8_t *out, bk_error *err) {
    const bk_cut *c = source;
    const bk_quant *q = c->from->type;
    const uint8_t *data;
    bk_status st = bk_gguf_read(c->g, c->from, &data, err);
    if (st) return st;
    size_t bytes = row_bytes(q, c->n_cols), blocks = c->n_cols / q->block_len;
    for (size_t i = 0; i < c->n_rows; i++, out += bytes) {
        const uint8_t *row = row_of(c, data, i);
        if (!c->cols) memcpy(out, row, bytes);
        for (size_t b = 0; c->cols && b < blocks; b++)
            memcpy(out + b * q->block_bytes,
                   row + (size_t)c->cols[b * q->block_len] / q->block_len * q->block_bytes,
                   q->block_bytes);
    }
    bk_gguf_release(c->g, c->from, data);
    return BK_OK;
}

bk_status bk_cut_read(const bk_cut *c, float *out, bk_error *err) {
    const uint8_t *data;
    float *scratch = bk_alloc((size_t)c->from->ne[0], sizeof *scratch);
    if (!scratch) return bk_fail(err, BK_ERR_NOMEM, "no memory for a row of '%s'", c->name);
    bk_status st = bk_gguf_read(c->g, c->from, &data, err);
    for (size_t i = 0; i < c->n_rows && !st; i++)
        row_values(c, data, i, scratch, out + i * c->n_cols);
    if (!st) bk_gguf_release(c->g, c->from, data);
    bk_free(scratch);
    return st;
}

/* ---- Rounding ------------------------------------------------------------------------------------ */

enum { ROWS = 16 }; /* that a thread takes at a time */

typedef struct rounding {
    const bk_cut *cut;
    const uint8_t *data; /* of the source; NULL: values */
    const float *values;
    uint8_t *out;
    bk_pool *pool;
    atomic_bool failed;
} rounding;

static void round_rows(void *arg, int thread) {
    rounding *r = arg;
    const bk_cut *c = r->cut;
    size_t n = c->n_cols, wide = (size_t)c->from->ne[0];
    float *scratch = bk_alloc(wide + n, sizeof *scratch);
    if (!scratch) atomic_store(&r->failed, true);
    (void)thread;
    for (size_t part; scratch && (part = bk_pool_next(r->pool)) < bk_div_up(c->n_rows, ROWS);) {
        for (size_t i = part * ROWS; i < bk_min_size((part + 1) * ROWS, c->n_rows); i++) {
            float *row = scratch + wide;
            if (r->values)
                memcpy(row, r->values + i * n, n * sizeof *row);
            else
                row_values(c, r->data, i, scratch, row);
            uint8_t *to = r->out + i * row_bytes(c->to, n);
            bk_round_row(c->to, false, row, c->importance, to, n);
        }
    }
    bk_free(scratch);
}

static bk_status round_cut(bk_cut *c, const float *values, bk_error *err) {
    rounding r = {.cut = c, .values = values, .pool = c->edit->pool};
    bk_status st = BK_OK;
    c->to = type_of(c);
    if (!bk_round_to(c->to))
        return bk_fail(err, BK_ERR_UNSUPPORTED,
                       "tensor '%s': nothing can be rounded to its type %s, give another", c->name,
                       c->to->name);
    r.out = bk_gguf_builder_alloc(c->edit->builder, c->n_rows, row_bytes(c->to, c->n_cols));
    if (!r.out) return bk_fail(err, BK_ERR_NOMEM, "no memory for tensor '%s'", c->name);
    if (!values) st = bk_gguf_read(c->g, c->from, &r.data, err);
    if (st) return st;
    bk_pool_run(r.pool, round_rows, &r);
    if (!values) bk_gguf_release(c->g, c->from, r.data);
    if (atomic_load(&r.failed)) return bk_fail(err, BK_ERR_NOMEM, "no memory for a row");
    c->data = r.out;
    return BK_OK;
}

bk_status bk_cut_values(bk_cut *c, const float *values, bk_error *err) {
    return c ? round_cut(c, values, err) : BK_OK;
}

/* ---- The result ---------------------------------------------------------------------------------- */

static bk_status add(bk_edit *e, bk_cut *c, bk_error *err) {
    bk_status st = BK_OK;
    if (!c->data && !keeps_bytes(c)) st = round_cut(c, NULL, err);
    if (st) return st;
    uint64_t ne[BK_GGUF_MAX_DIMS];
    memcpy(ne, c->from->ne, sizeof ne);
    ne[0] = c->n_cols;
    if (c->rows) ne[1] = c->n_rows;
    if (c->data)
        bk_gguf_builder_tensor(e->builder, c->name, c->to->type, c->from->n_dims, ne, c->data);
    else
        bk_gguf_builder_lazy(e->builder, c->name, c->from->type->type, c->from->n_dims, ne, fill,
                             c);
    return BK_OK;
}

bk_status bk_edit_finish(bk_edit **edit, bk_gguf **out, bk_error *err) {
    bk_edit *e = *edit;
    bk_status st = BK_OK;
    *out = NULL;
    for (size_t i = 0; i < e->n_cuts && !st; i++)
        if (!e->cuts[i].omit) st = add(e, &e->cuts[i], err);
    if (!st) st = bk_gguf_builder_finish(&e->builder, out, err);
    bk_edit_destroy(edit);
    return st;
}
