#include "format/gguf_parts.h"

#include <string.h>

#include "format/gguf_internal.h"

/* The part that marks a tensor of this way. Every way is known by another one. */
static const struct {
    const char *name, *marker;
    bk_gguf_join join;
} ways[] = {
    {"sparse", ".index", bk_gguf_join_sparse},
    {"q8_affine", ".q8", bk_gguf_join_affine},
};

enum { MOST_NAME = 256 };

void *bk_gguf_alloc(bk_gguf *g, size_t n, size_t size) {
    return bk_arena_alloc(&g->arena, n, size);
}

bk_status bk_gguf_part(bk_gguf *g, bk_str name, const char *suffix, bk_type type, size_t bytes,
                       const bk_gguf_tensor **out, bk_error *err) {
    char text[MOST_NAME];
    size_t len = strlen(suffix);
    *out = NULL;
    if (name.len + len < sizeof text) {
        memcpy(text, name.data, name.len);
        memcpy(text + name.len, suffix, len + 1);
        *out = bk_gguf_find_tensor(g, text);
    }
    const bk_gguf_tensor *t = *out;
    if (!t)
        return bk_fail(err, BK_ERR_FORMAT, "tensor '" BK_STR_FMT "': its part %s is missing",
                       NAME_ARG(name), suffix);
    if (t->type->type != type)
        return bk_fail(err, BK_ERR_FORMAT, "tensor '" BK_STR_FMT "': %s found, %s wanted",
                       NAME_ARG(t->name), t->type->name, bk_quant_type_name(type));
    if (bytes && t->bytes != bytes)
        return bk_fail(err, BK_ERR_FORMAT, "tensor '" BK_STR_FMT "': %zu bytes found, %zu wanted",
                       NAME_ARG(t->name), t->bytes, bytes);
    g->tensors[t - g->tensors].part = true;
    return BK_OK;
}

static bool ends_with(bk_str s, const char *suffix) {
    size_t n = strlen(suffix);
    return s.len > n && memcmp(s.data + s.len - n, suffix, n) == 0;
}

/* Sizes that follow from type and shape, checked. */
static bk_status measure(bk_gguf_tensor *t, bk_error *err) {
    size_t n = 1, bytes = 0;
    bool good = t->n_dims >= 1 && t->n_dims <= BK_GGUF_MAX_DIMS;
    for (int d = 0; d < BK_GGUF_MAX_DIMS; d++) {
        if (d >= t->n_dims) t->ne[d] = 1;
        good =
            good && t->ne[d] > 0 && t->ne[d] <= PTRDIFF_MAX && bk_mul_size(n, (size_t)t->ne[d], &n);
    }
    good = good && n <= PTRDIFF_MAX && t->ne[0] % t->type->block_len == 0 &&
           bk_mul_size(n / t->type->block_len, t->type->block_bytes, &bytes);
    t->n_elements = n;
    t->bytes = bytes;
    return good ? BK_OK
                : bk_fail(err, BK_ERR_FORMAT, "tensor '" BK_STR_FMT "': no tensor has that shape",
                          NAME_ARG(t->name));
}

/* All tensors of one way, to the end of `made`. */
static bk_status join_way(bk_gguf *g, size_t way, bk_gguf_tensor *made, size_t *n, bk_error *err) {
    for (size_t i = 0; i < g->n_tensors; i++) {
        bk_gguf_tensor t = {.name = g->tensors[i].name};
        if (g->tensors[i].part || !ends_with(t.name, ways[way].marker)) continue;
        t.name.len -= strlen(ways[way].marker);
        bk_status status = ways[way].join(g, &t, err);
        if (status == BK_OK) status = measure(&t, err);
        if (status != BK_OK) return status;
        made[(*n)++] = t;
    }
    return BK_OK;
}

static bk_status find_way(bk_str name, size_t *way, bk_error *err) {
    for (*way = 0; *way < BK_ARRAY_LEN(ways); ++*way)
        if (bk_str_eq(name, bk_str_from(ways[*way].name))) return BK_OK;
    return bk_fail(err, BK_ERR_UNSUPPORTED,
                   "key 'brisk.extensions': '" BK_STR_FMT
                   "' found, which this version cannot read: get a newer one",
                   NAME_ARG(name));
}

static bk_status join_ways(bk_gguf *g, const bk_str *names, size_t n_names, bk_gguf_tensor *made,
                           size_t *n, bk_error *err) {
    bool seen[BK_ARRAY_LEN(ways)] = {false};
    size_t way;
    for (size_t i = 0; i < n_names; i++) {
        bk_status status = find_way(names[i], &way, err);
        if (status == BK_OK && seen[way])
            status = bk_fail(err, BK_ERR_FORMAT, "key 'brisk.extensions': '%s' stands twice",
                             ways[way].name);
        if (status == BK_OK) status = join_way(g, way, made, n, err);
        if (status != BK_OK) return status;
        seen[way] = true;
    }
    return BK_OK;
}

/* brisk.extensions, or one of brisk.WAY.*. */
static bool is_ways_key(bk_str key) {
    const bk_str all = BK_STR("brisk.");
    if (bk_str_eq(key, BK_STR("brisk.extensions"))) return true;
    for (size_t i = 0; i < BK_ARRAY_LEN(ways); i++) {
        bk_str rest = {key.data + all.len, key.len - all.len}, way = bk_str_from(ways[i].name);
        if (bk_str_starts(key, all) && bk_str_starts(rest, way) && rest.len > way.len &&
            rest.data[way.len] == '.')
            return true;
    }
    return false;
}

/* Tensors without parts, then those that were made of them: no more than there were. */
static bk_status replace_parts(bk_gguf *g, const bk_gguf_tensor *made, size_t n, bk_error *err) {
    size_t kept = 0, keys = 0;
    for (size_t i = 0; i < g->n_tensors; i++)
        if (!g->tensors[i].part) g->tensors[kept++] = g->tensors[i];
    if (n) memcpy(g->tensors + kept, made, n * sizeof *made);
    g->n_tensors = kept + n;
    for (size_t i = 0; i < g->n_kv; i++)
        if (!is_ways_key(g->kv[i].key)) g->kv[keys++] = g->kv[i];
    g->n_kv = keys;
    bk_gguf_index_keys(g);
    return bk_gguf_index_tensors(g, err);
}

bk_status bk_gguf_join_parts(bk_gguf *g, bk_error *err) {
    bk_str *names;
    size_t n_names, n = 0;
    bk_status status = bk_gguf_str_array(g, "brisk.extensions", &names, &n_names, err);
    if (status == BK_ERR_NOT_FOUND) return BK_OK;
    if (status != BK_OK) return status;
    bk_gguf_tensor *made = bk_alloc(g->n_tensors, sizeof *made);
    if (!made) status = bk_fail(err, BK_ERR_NOMEM, "no memory for %zu tensors", g->n_tensors);
    if (status == BK_OK) status = join_ways(g, names, n_names, made, &n, err);
    if (status == BK_OK) status = replace_parts(g, made, n, err);
    bk_free(made);
    bk_free(names);
    return status;
}
