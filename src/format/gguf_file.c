/* Files behind a bk_gguf: one, or the parts of a split model; and reading tensors out of them. */
#include <stdio.h>
#include <string.h>

#include "format/gguf_internal.h"
#include "format/gguf_parts.h"

bk_status bk_gguf_hold_map(bk_gguf *g, bk_map *map, bk_error *err) {
    bk_map *maps = bk_realloc(g->maps, g->n_maps + 1, sizeof *maps);
    if (!maps) {
        bk_map_close(map);
        return bk_fail(err, BK_ERR_NOMEM, "no memory for %zu files", g->n_maps + 1);
    }
    g->maps = maps;
    g->maps[g->n_maps++] = *map;
    *map = (bk_map){.fd = -1};
    return BK_OK;
}

static bk_status open_one(const char *path, bk_gguf **out, bk_error *err) {
    bk_map map;
    *out = NULL;
    bk_status status = bk_map_open(path, &map, err);
    if (status != BK_OK) return status;
    status = bk_gguf_parse(map.data, map.size, out, err);
    if (status != BK_OK) {
        bk_map_close(&map);
        return status;
    }
    status = bk_gguf_hold_map(*out, &map, err);
    if (status != BK_OK) bk_gguf_destroy(out);
    return status;
}

/* ---- Split models --------------------------------------------------------------------------- */

enum { MAX_PARTS = 99999 }; /* five digits */

#define SUFFIX_FMT "-%05u-of-%05u.gguf"

typedef struct split {
    uint32_t no, count, n_tensors; /* no counts from 0; n_tensors of all parts, 0 when unknown */
} split;

/* count 0: not split. */
static bk_status read_split(const bk_gguf *g, split *s, bk_error *err) {
    *s = (split){0};
    bk_status status = bk_gguf_u32(g, "split.count", 0, MAX_PARTS, &s->count, err);
    if (status == BK_OK && s->count > 0)
        status = bk_gguf_u32(g, "split.no", 0, s->count - 1, &s->no, err);
    if (status == BK_OK && s->count > 0)
        status = bk_gguf_u32(g, "split.tensors.count", 0, UINT32_MAX, &s->n_tensors, err);
    return status == BK_ERR_NOT_FOUND ? BK_OK : status;
}

/* The length of path without "-NNNNN-of-NNNNN.gguf", 0 when it does not end so for this part. */
static size_t stem_of(const char *path, const split *s) {
    char suffix[40];
    snprintf(suffix, sizeof suffix, SUFFIX_FMT, s->no + 1, s->count);
    size_t len = strlen(path), end = strlen(suffix);
    return len > end && strcmp(path + len - end, suffix) == 0 ? len - end : 0;
}

static const char *base_of(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

/* The parts' names follow from this one's. */
static bk_status check_first(const char *path, const split *s, bk_error *err) {
    size_t stem = stem_of(path, s);
    const char *base = base_of(path);
    if (stem == 0)
        return bk_fail(err, BK_ERR_FORMAT,
                       "this is part %u of %u by its keys, but its name does not end in " SUFFIX_FMT
                       ", so the other parts cannot be found: give all parts their names back",
                       s->no + 1, s->count, s->no + 1, s->count);
    if (s->no != 0)
        return bk_fail(err, BK_ERR_FORMAT,
                       "this is part %u of %u: open the first one, %.*s" SUFFIX_FMT, s->no + 1,
                       s->count, (int)bk_min_size(stem - (size_t)(base - path), 200), base, 1u,
                       s->count);
    return BK_OK;
}

/* The tensors and the map of part go over to g. */
static bk_status adopt(bk_gguf *g, bk_gguf *part, bk_error *err) {
    size_t n = g->n_tensors + part->n_tensors;
    bk_gguf_tensor *tensors = bk_realloc(g->tensors, n, sizeof *tensors);
    if (tensors) g->tensors = tensors;
    const bk_gguf_tensor **index = bk_realloc(g->tensor_index, n, sizeof *index);
    if (index) g->tensor_index = index;
    if (!tensors || !index)
        return bk_fail(err, BK_ERR_NOMEM, "no memory for the header's %zu tensors", n);
    if (part->n_tensors)
        memcpy(tensors + g->n_tensors, part->tensors, part->n_tensors * sizeof *tensors);
    g->n_tensors = n;
    bk_status status = bk_gguf_hold_map(g, &part->maps[0], err);
    part->n_maps = 0;
    return status == BK_OK ? bk_gguf_index_tensors(g, err) : status;
}

static bk_status add_part(bk_gguf *g, const char *path, const split *first, uint32_t no,
                          bk_error *err) {
    split s;
    bk_gguf *part = NULL;
    bk_status status = open_one(path, &part, err);
    if (status == BK_OK) status = read_split(part, &s, err);
    if (status == BK_OK && s.count != first->count)
        status = bk_fail(err, BK_ERR_FORMAT,
                         "key 'split.count': found %u, wanted %u as in the first part", s.count,
                         first->count);
    if (status == BK_OK && s.no != no)
        status = bk_fail(err, BK_ERR_FORMAT, "key 'split.no': found %u, wanted %u", s.no, no);
    if (status == BK_OK) status = adopt(g, part, err);
    bk_gguf_destroy(&part);
    if (status != BK_OK) bk_error_prefix(err, "part %u of %u", no + 1, first->count);
    return status;
}

/* A reader of the whole must not take it for a part. */
static void drop_split_keys(bk_gguf *g) {
    size_t n = 0;
    for (size_t i = 0; i < g->n_kv; i++)
        if (!bk_str_starts(g->kv[i].key, BK_STR("split."))) g->kv[n++] = g->kv[i];
    g->n_kv = n;
    bk_gguf_index_keys(g);
}

static bk_status add_parts(bk_gguf *g, const char *path, const split *s, bk_error *err) {
    bk_status status = check_first(path, s, err);
    if (status != BK_OK) return status;
    size_t stem = stem_of(path, s), cap = strlen(path) + 1;
    char *name = bk_alloc(cap, 1);
    if (!name) return bk_fail(err, BK_ERR_NOMEM, "no memory for a path");
    for (uint32_t i = 1; status == BK_OK && i < s->count; i++) {
        memcpy(name, path, stem);
        snprintf(name + stem, cap - stem, SUFFIX_FMT, i + 1, s->count);
        status = add_part(g, name, s, i, err);
    }
    bk_free(name);
    if (status == BK_OK && s->n_tensors != 0 && s->n_tensors != g->n_tensors)
        status = bk_fail(err, BK_ERR_FORMAT,
                         "key 'split.tensors.count': found %u, but the %u parts have %zu tensors",
                         s->n_tensors, s->count, g->n_tensors);
    if (status == BK_OK) drop_split_keys(g);
    return status;
}

bk_status bk_gguf_open(const char *path, bk_gguf **out, bk_error *err) {
    split s;
    bk_status status = open_one(path, out, err);
    if (status != BK_OK) return status;
    status = read_split(*out, &s, err);
    if (status == BK_OK && s.count > 1) status = add_parts(*out, path, &s, err);
    if (status == BK_OK) status = bk_gguf_join_parts(*out, err);
    if (status != BK_OK) bk_gguf_destroy(out);
    return status;
}

/* ---- Reading -------------------------------------------------------------------------------- */

/* The map that holds p, or NULL. */
static const bk_map *map_of(const bk_gguf *g, const uint8_t *p) {
    for (size_t i = 0; i < g->n_maps; i++)
        if (p >= g->maps[i].data && p < g->maps[i].data + g->maps[i].size) return &g->maps[i];
    return NULL;
}

bk_status bk_gguf_read(const bk_gguf *g, const bk_gguf_tensor *t, const uint8_t **data,
                       bk_error *err) {
    *data = t->data;
    if (t->data) {
        const bk_map *map = map_of(g, t->data);
        return map ? bk_map_check_unchanged(map, err) : BK_OK;
    }
    for (size_t i = 0; i < g->n_maps; i++) {
        bk_status status = bk_map_check_unchanged(&g->maps[i], err);
        if (status != BK_OK) return status;
    }
    uint8_t *made = bk_alloc_aligned(t->bytes);
    if (!made)
        return bk_fail(err, BK_ERR_NOMEM, "tensor '" BK_STR_FMT "': no memory for %zu bytes",
                       NAME_ARG(t->name), t->bytes);
    bk_status status = t->fill(t->source, made, err);
    if (status == BK_OK)
        *data = made;
    else
        bk_free(made);
    return status;
}

void bk_gguf_release(const bk_gguf *g, const bk_gguf_tensor *t, const uint8_t *data) {
    if (!t->data) {
        bk_free((void *)(uintptr_t)data);
        return;
    }
    bk_gguf_drop(g, t, 0, t->bytes);
}

void bk_gguf_drop(const bk_gguf *g, const bk_gguf_tensor *t, size_t offset, size_t bytes) {
    const bk_map *map = t->data ? map_of(g, t->data) : NULL;
    if (map) bk_map_drop(map, (size_t)(t->data - map->data) + offset, bytes);
}

uint64_t bk_gguf_file_bytes(const bk_gguf *g) {
    uint64_t sum = 0;
    for (size_t i = 0; i < g->n_maps; i++) sum += g->maps[i].size;
    return sum;
}
