#include "format/gguf_sparse.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "format/gguf_bytes.h"
#include "format/gguf_parts.h"

enum { MOST_NAME = 256 };

#define KEY "brisk.sparse."

/* ---- Reading ------------------------------------------------------------------------------------- */

static bk_status fill(const void *source, uint8_t *out, bk_error *err) {
    return bk_sparse_decode(source, out, err);
}

const bk_sparse *bk_gguf_sparse_of(const bk_gguf_tensor *t) {
    return t->fill == fill ? t->source : NULL;
}

static bk_status read_shape(const bk_gguf *g, bk_str name, bk_sparse *s, bk_error *err) {
    char key[MOST_NAME];
    int32_t *v;
    size_t n;
    bk_status status = BK_ERR_NOT_FOUND;
    if (name.len < sizeof key - sizeof KEY) {
        snprintf(key, sizeof key, KEY "%.*s", (int)name.len, name.data);
        status = bk_gguf_i32_array(g, key, &v, &n, err);
    }
    if (status == BK_ERR_NOT_FOUND)
        return bk_fail(err, BK_ERR_FORMAT, "key '" KEY BK_STR_FMT "' is missing", NAME_ARG(name));
    if (status != BK_OK) return status;
    const bk_quant *type = n == 4 && v[1] >= 0 ? bk_quant_find((uint32_t)v[1]) : NULL;
    if (type && v[2] > 0 && v[3] > 0) {
        *s = (bk_sparse){
            .kind = (bk_sparse_kind)v[0], .type = type, .n_rows = (size_t)v[2], .k = (size_t)v[3]};
    }
    bk_free(v);
    if (!s->type || !bk_sparse_has(s->kind, s->type))
        return bk_fail(err, BK_ERR_FORMAT,
                       "key '" KEY BK_STR_FMT
                       "': wanted a kind, a type that it can be of, rows and columns",
                       NAME_ARG(name));
    return bk_sparse_shape(s, err);
}

bk_status bk_gguf_join_sparse(bk_gguf *g, bk_gguf_tensor *t, bk_error *err) {
    const bk_gguf_tensor *index, *scales, *values;
    bk_sparse *s = bk_gguf_alloc(g, 1, sizeof *s);
    if (!s) return bk_fail(err, BK_ERR_NOMEM, "no memory for a tensor");
    bk_status status = read_shape(g, t->name, s, err);
    if (status == BK_OK)
        status = bk_gguf_part(g, t->name, ".index", BK_TYPE_I8, s->index_bytes, &index, err);
    if (status != BK_OK) return status;
    s->index = index->data;
    bk_sparse_measure(s);
    status = bk_gguf_part(g, t->name, ".scales", BK_TYPE_F16, s->scales_bytes, &scales, err);
    if (status == BK_OK)
        status = bk_gguf_part(g, t->name, ".values", BK_TYPE_I8, s->values_bytes, &values, err);
    if (status != BK_OK) return status;
    s->scales = scales->data;
    s->values = values->data;
    t->type = s->type;
    t->n_dims = 2;
    t->ne[0] = s->k;
    t->ne[1] = s->n_rows;
    t->fill = fill;
    t->source = s;
    return BK_OK;
}

/* ---- Writing ------------------------------------------------------------------------------------- */

/* The smaller one of the kinds that are wanted. */
static bk_status encode(const bk_gguf_tensor *t, const uint8_t *rows, bk_sparse_kind wanted,
                        bk_sparse *out, bk_error *err) {
    *out = (bk_sparse){0};
    for (int kind = BK_SPARSE_TILES; kind <= BK_SPARSE_BITS; kind++) {
        bk_sparse s;
        if ((wanted && kind != (int)wanted) || !bk_sparse_has((bk_sparse_kind)kind, t->type))
            continue;
        bk_status status = bk_sparse_encode((bk_sparse_kind)kind, t->type, rows, (size_t)t->ne[1],
                                            (size_t)t->ne[0], &s, err);
        if (status != BK_OK) {
            bk_free((void *)(uintptr_t)out->index);
            return status;
        }
        bool better = !out->index || bk_sparse_bytes(&s) < bk_sparse_bytes(out);
        bk_free((void *)(uintptr_t)(better ? out->index : s.index));
        if (better) *out = s;
    }
    return BK_OK;
}

static void add_part(bk_gguf_builder *b, bk_str name, const char *suffix, bk_type type,
                     size_t width, const uint8_t *data, size_t bytes) {
    char text[MOST_NAME];
    size_t n = bytes / bk_quant_find(type)->block_bytes;
    uint64_t ne[2] = {width, n / width};
    snprintf(text, sizeof text, "%.*s%s", (int)name.len, name.data, suffix);
    bk_gguf_builder_tensor(b, text, type, width == n ? 1 : 2, ne, data);
}

/* The arrays move into memory of the builder. */
static void add_sparse(bk_gguf_builder *b, const bk_gguf_tensor *t, const bk_sparse *s) {
    char key[MOST_NAME];
    int32_t shape[4] = {(int32_t)s->kind, (int32_t)s->type->type, (int32_t)s->n_rows,
                        (int32_t)s->k};
    uint8_t *all = bk_gguf_builder_alloc(b, bk_sparse_bytes(s), 1);
    if (!all) return;
    memcpy(all, s->index, bk_sparse_bytes(s));
    bool tiles = s->kind == BK_SPARSE_TILES;
    snprintf(key, sizeof key, KEY "%.*s", (int)t->name.len, t->name.data);
    bk_gguf_builder_i32s(b, key, shape, 4);
    add_part(b, t->name, ".index", BK_TYPE_I8, (tiles ? 1u : 64u) * s->k / 32, all, s->index_bytes);
    all += s->index_bytes;
    add_part(b, t->name, ".scales", BK_TYPE_F16, BK_STRIP_ROWS, all, s->scales_bytes);
    add_part(b, t->name, ".values", BK_TYPE_I8, tiles ? BK_TILE_PLACES : s->values_bytes,
             all + s->scales_bytes, s->values_bytes);
}

static void add_dense(bk_gguf_builder *b, const bk_gguf_tensor *t) {
    char *name = bk_gguf_builder_alloc(b, t->name.len + 1, 1);
    if (!name) return;
    memcpy(name, t->name.data, t->name.len);
    if (t->data)
        bk_gguf_builder_tensor(b, name, t->type->type, t->n_dims, t->ne, t->data);
    else
        bk_gguf_builder_lazy(b, name, t->type->type, t->n_dims, t->ne, t->fill, t->source);
}

static bool can_be_sparse(const bk_gguf_tensor *t) {
    return t->n_dims == 2 && t->name.len < MOST_NAME - sizeof KEY &&
           bk_sparse_has(BK_SPARSE_TILES, t->type);
}

/* Adds one tensor; whether sparsely. */
static bk_status add_tensor(bk_gguf_builder *b, const bk_gguf *from, const bk_gguf_tensor *t,
                            const bk_gguf_sparsify_options *o, bool *sparse, bk_error *err) {
    const uint8_t *rows;
    bk_sparse s = {0};
    *sparse = false;
    if (can_be_sparse(t)) {
        bk_status status = bk_gguf_read(from, t, &rows, err);
        if (status != BK_OK) return status;
        status = encode(t, rows, o->kind, &s, err);
        bk_gguf_release(from, t, rows);
        if (status != BK_OK) return status;
    }
    *sparse = s.index && (double)bk_sparse_bytes(&s) <= o->most * (double)t->bytes;
    if (*sparse)
        add_sparse(b, t, &s);
    else
        add_dense(b, t);
    bk_free((void *)(uintptr_t)s.index);
    return BK_OK;
}

bk_status bk_gguf_sparsify(const bk_gguf *from, const bk_gguf_sparsify_options *o, bk_gguf **out,
                           size_t *n, bk_error *err) {
    const bk_str name = BK_STR("sparse");
    size_t sum = 0;
    bk_status status = BK_OK;
    *out = NULL;
    bk_gguf_builder *b = bk_gguf_builder_create();
    if (b) bk_gguf_builder_keys_of(b, from);
    for (size_t i = 0; b && status == BK_OK && i < bk_gguf_n_tensors(from); i++) {
        bool sparse;
        status = add_tensor(b, from, bk_gguf_tensor_at(from, i), o, &sparse, err);
        if (status == BK_OK) sum += sparse;
    }
    if (status != BK_OK) {
        bk_gguf_builder_destroy(&b);
        return status;
    }
    if (b && sum) bk_gguf_builder_strs(b, "brisk.extensions", &name, 1);
    if (n) *n = sum;
    return bk_gguf_builder_finish(&b, out, err);
}
