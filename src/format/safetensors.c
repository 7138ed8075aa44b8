#include "format/safetensors.h"

#include <stdlib.h>
#include <string.h>

#include "base/json_read.h"
#include "base/mem.h"
#include "format/gguf_bytes.h"

#define CUT "the file is cut: fetch it again"

enum { MAX_HEADER_BYTES = 100 << 20, MAX_DEPTH = 8 };

struct bk_safetensors {
    const uint8_t *data; /* behind the header */
    size_t size;
    size_t n;
    bk_st_tensor *tensors; /* sorted by name */
    bk_arena arena;        /* names */
};

/* Types of whole bytes that the format defines. */
static const struct dtype {
    const char *name;
    size_t bytes;
    int type; /* bk_type, or -1 */
} dtypes[] = {
    {"F32", 4, BK_TYPE_F32}, {"F16", 2, BK_TYPE_F16}, {"BF16", 2, BK_TYPE_BF16},
    {"F64", 8, -1},          {"I64", 8, -1},          {"U64", 8, -1},
    {"I32", 4, -1},          {"U32", 4, -1},          {"I16", 2, -1},
    {"U16", 2, -1},          {"I8", 1, -1},           {"U8", 1, -1},
    {"BOOL", 1, -1},         {"F8_E4M3", 1, -1},      {"F8_E5M2", 1, -1},
    {"F8_E8M0", 1, -1},      {"C64", 8, -1},
};

static bk_status fail_tensor(const bk_st_tensor *t, const char *what, bk_error *err) {
    return bk_fail(err, BK_ERR_FORMAT, "tensor '" BK_STR_FMT "': %s", NAME_ARG(t->name), what);
}

static bk_status read_dtype(const json_t *entry, bk_st_tensor *t, size_t *element, bk_error *err) {
    bk_str name = bk_json_text(json_object_get(entry, "dtype"));
    if (!name.data) return fail_tensor(t, "'dtype' is missing; wanted a string", err);
    for (size_t i = 0; i < BK_ARRAY_LEN(dtypes); i++) {
        if (!bk_str_eq(name, bk_str_from(dtypes[i].name))) continue;
        t->dtype = dtypes[i].name;
        t->type = dtypes[i].type < 0 ? NULL : bk_quant_find((uint32_t)dtypes[i].type);
        *element = dtypes[i].bytes;
        return BK_OK;
    }
    return bk_fail(err, BK_ERR_FORMAT,
                   "tensor '" BK_STR_FMT "': dtype '" BK_STR_FMT "' is not known",
                   NAME_ARG(t->name), NAME_ARG(name));
}

/* The format has the slowest dimension first. */
static bk_status read_shape(const json_t *entry, bk_st_tensor *t, bk_error *err) {
    const json_t *shape = json_object_get(entry, "shape");
    size_t n_dims = json_array_size(shape), n = 1;
    if (!json_is_array(shape)) return fail_tensor(t, "'shape' is missing; wanted a list", err);
    if (n_dims > BK_GGUF_MAX_DIMS)
        return bk_fail(err, BK_ERR_UNSUPPORTED,
                       "tensor '" BK_STR_FMT "': %zu dimensions, wanted at most %d",
                       NAME_ARG(t->name), n_dims, BK_GGUF_MAX_DIMS);
    for (size_t d = 0; d < BK_GGUF_MAX_DIMS; d++) t->ne[d] = 1;
    for (size_t d = 0; d < n_dims; d++) {
        const json_t *v = json_array_get(shape, n_dims - 1 - d);
        if (!json_is_integer(v) || json_integer_value(v) < 0)
            return fail_tensor(t, "'shape' has an element that is no whole number from 0", err);
        t->ne[d] = (uint64_t)json_integer_value(v);
        if (t->ne[d] > PTRDIFF_MAX || !bk_mul_size(n, (size_t)t->ne[d], &n) || n > PTRDIFF_MAX)
            return fail_tensor(t, "'shape' has more elements than can be addressed", err);
    }
    t->n_dims = (int)n_dims;
    t->n_elements = n;
    return BK_OK;
}

static bk_status read_extent(const bk_safetensors *s, const json_t *entry, size_t element,
                             bk_st_tensor *t, bk_error *err) {
    const json_t *offsets = json_object_get(entry, "data_offsets");
    const json_t *first = json_array_get(offsets, 0), *last = json_array_get(offsets, 1);
    if (json_array_size(offsets) != 2 || !json_is_integer(first) || !json_is_integer(last))
        return fail_tensor(t, "'data_offsets' is missing; wanted two whole numbers", err);
    json_int_t begin = json_integer_value(first), end = json_integer_value(last);
    if (begin < 0 || end < begin)
        return bk_fail(err, BK_ERR_FORMAT,
                       "tensor '" BK_STR_FMT
                       "': its data goes from %lld to %lld, wanted from 0 on and upwards",
                       NAME_ARG(t->name), (long long)begin, (long long)end);
    if ((uint64_t)end > s->size)
        return bk_fail(err, BK_ERR_FORMAT,
                       "tensor '" BK_STR_FMT
                       "': data ends at byte %lld but %zu bytes follow the header; " CUT,
                       NAME_ARG(t->name), (long long)end, s->size);
    t->data = s->data + begin;
    if (!bk_mul_size((size_t)t->n_elements, element, &t->bytes) ||
        t->bytes != (size_t)(end - begin))
        return bk_fail(err, BK_ERR_FORMAT,
                       "tensor '" BK_STR_FMT "': %llu elements of %s do not fill %lld bytes",
                       NAME_ARG(t->name), (unsigned long long)t->n_elements, t->dtype,
                       (long long)(end - begin));
    return BK_OK;
}

static bk_status read_tensor(bk_safetensors *s, const char *name, const json_t *entry,
                             bk_st_tensor *t, bk_error *err) {
    size_t len = strlen(name), element = 0;
    char *copy = bk_arena_alloc(&s->arena, len + 1, 1);
    if (!copy) return bk_fail(err, BK_ERR_NOMEM, "no memory for a tensor's name");
    memcpy(copy, name, len);
    t->name = (bk_str){copy, len};
    if (!json_is_object(entry)) return fail_tensor(t, "its entry is not an object", err);
    bk_status status = read_dtype(entry, t, &element, err);
    if (status == BK_OK) status = read_shape(entry, t, err);
    return status == BK_OK ? read_extent(s, entry, element, t, err) : status;
}

static int compare_name(const void *a, const void *b) {
    bk_str x = ((const bk_st_tensor *)a)->name, y = ((const bk_st_tensor *)b)->name;
    int c = memcmp(x.data, y.data, bk_min_size(x.len, y.len));
    return c ? c : x.len < y.len ? -1 : x.len > y.len;
}

/* Empty tensors lie nowhere. */
static int compare_place(const void *a, const void *b) {
    const bk_st_tensor *x = *(const bk_st_tensor *const *)a, *y = *(const bk_st_tensor *const *)b;
    return x->data != y->data ? (x->data < y->data ? -1 : 1)
                              : (x->bytes > y->bytes) - (x->bytes < y->bytes);
}

static bk_status check_overlaps(const bk_safetensors *s, bk_error *err) {
    const bk_st_tensor **order = bk_alloc(s->n, sizeof(void *));
    bk_status status = BK_OK;
    if (!order) return bk_fail(err, BK_ERR_NOMEM, "no memory for %zu tensors", s->n);
    for (size_t i = 0; i < s->n; i++) order[i] = &s->tensors[i];
    qsort(order, s->n, sizeof(void *), compare_place);
    for (size_t i = 1; status == BK_OK && i < s->n; i++) {
        const bk_st_tensor *a = order[i - 1], *b = order[i];
        if ((size_t)(b->data - a->data) < a->bytes)
            status = bk_fail(err, BK_ERR_FORMAT,
                             "tensor '" BK_STR_FMT
                             "': its data overlaps that of tensor '" BK_STR_FMT "'",
                             NAME_ARG(b->name), NAME_ARG(a->name));
    }
    bk_free(order);
    return status;
}

static bk_status read_tensors(bk_safetensors *s, json_t *header, bk_error *err) {
    const char *name;
    json_t *entry;
    s->tensors = bk_alloc_zero(json_object_size(header), sizeof *s->tensors);
    if (!s->tensors)
        return bk_fail(err, BK_ERR_NOMEM, "no memory for %zu tensors", json_object_size(header));
    json_object_foreach(header, name, entry) {
        if (strcmp(name, "__metadata__") == 0) continue;
        bk_status status = read_tensor(s, name, entry, &s->tensors[s->n], err);
        if (status != BK_OK) return status;
        s->n++;
    }
    qsort(s->tensors, s->n, sizeof *s->tensors, compare_name);
    return check_overlaps(s, err);
}

static bk_status read_header(bk_safetensors *s, const uint8_t *data, size_t size, bk_error *err) {
    json_t *header;
    uint64_t len = size >= 8 ? bk_le64(data) : 0;
    if (size < 8 || len < 2 || len > MAX_HEADER_BYTES)
        return bk_fail(err, BK_ERR_FORMAT,
                       "not a safetensors file: a header of %llu bytes, wanted 2 to %d",
                       (unsigned long long)len, MAX_HEADER_BYTES);
    if (len > size - 8)
        return bk_fail(err, BK_ERR_FORMAT,
                       "the header has %llu bytes but only %zu are left in the file; " CUT,
                       (unsigned long long)len, size - 8);
    if (data[8] != '{')
        return bk_fail(err, BK_ERR_FORMAT,
                       "not a safetensors file: its header begins with byte %02x, wanted '{'",
                       data[8]);
    bk_status status =
        bk_json_parse((bk_str){(const char *)data + 8, (size_t)len}, MAX_DEPTH, true, &header, err);
    if (status != BK_OK) {
        bk_error_prefix(err, "header");
        return status;
    }
    s->data = data + 8 + len;
    s->size = size - 8 - (size_t)len;
    status = read_tensors(s, header, err);
    json_decref(header);
    return status;
}

bk_status bk_safetensors_parse(const uint8_t *data, size_t size, bk_safetensors **out,
                               bk_error *err) {
    *out = NULL;
    bk_safetensors *s = bk_alloc_zero(1, sizeof *s);
    if (!s) return bk_fail(err, BK_ERR_NOMEM, "no memory for the header");
    bk_status status = read_header(s, data, size, err);
    if (status == BK_OK)
        *out = s;
    else
        bk_safetensors_destroy(&s);
    return status;
}

void bk_safetensors_destroy(bk_safetensors **s) {
    if (!*s) return;
    bk_free((*s)->tensors);
    bk_arena_free(&(*s)->arena);
    bk_free(*s);
    *s = NULL;
}

size_t bk_safetensors_count(const bk_safetensors *s) { return s->n; }

const bk_st_tensor *bk_safetensors_at(const bk_safetensors *s, size_t i) {
    return i < s->n ? &s->tensors[i] : NULL;
}

const bk_st_tensor *bk_safetensors_find(const bk_safetensors *s, const char *name) {
    bk_st_tensor wanted = {.name = bk_str_from(name)};
    return bsearch(&wanted, s->tensors, s->n, sizeof *s->tensors, compare_name);
}
