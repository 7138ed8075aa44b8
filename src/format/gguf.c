/* The header in one pass: a cursor that never moves past the end, then two sorted indexes (keys,
 * tensor names), then the extents of all tensors. An index is sorted rather than hashed, because a
 * hostile file chooses its names: no choice makes a sort quadratic. */
#include "format/gguf.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "format/gguf_internal.h"

#define CUT "the file is cut: fetch it again"

enum {
    MAX_KEYS = 1 << 16,
    MAX_TENSORS = 1 << 20,
    MAX_KEY_BYTES = 1 << 16,
    MAX_NAME_BYTES = 1 << 10,
    MAX_STRING_BYTES = 1 << 24,
    MAX_ELEMENTS = 1 << 26,
    /* The smallest entries that a file can hold: what a declared count is compared with. */
    MIN_KEY_ENTRY = 8 + 1 + 4 + 1,
    MIN_TENSOR_ENTRY = 8 + 1 + 4 + 8 + 4 + 8,
    MIN_ALIGNMENT = 8,
    MAX_ALIGNMENT = 1 << 16
};

typedef struct cursor {
    const uint8_t *data;
    size_t pos, size;
} cursor;

static size_t left(const cursor *c) { return c->size - c->pos; }

/* The next n bytes, or NULL when fewer are left. */
static const uint8_t *take(cursor *c, size_t n) {
    if (n > left(c)) return NULL;
    const uint8_t *p = c->data + c->pos;
    c->pos += n;
    return p;
}

static bool take_u32(cursor *c, uint32_t *out) {
    const uint8_t *p = take(c, 4);
    if (p) *out = bk_le32(p);
    return p != NULL;
}

static bool take_u64(cursor *c, uint64_t *out) {
    const uint8_t *p = take(c, 8);
    if (p) *out = bk_le64(p);
    return p != NULL;
}

/* ---- Names and their order ------------------------------------------------------------------ */

/* Shorter first: most comparisons end at the length. */
static int compare_str(bk_str a, bk_str b) {
    if (a.len != b.len) return a.len < b.len ? -1 : 1;
    return a.len ? memcmp(a.data, b.data, a.len) : 0;
}

static int compare_kv(const void *a, const void *b) {
    return compare_str((*(const bk_gguf_kv *const *)a)->key, (*(const bk_gguf_kv *const *)b)->key);
}

static int compare_tensor(const void *a, const void *b) {
    return compare_str((*(const bk_gguf_tensor *const *)a)->name,
                       (*(const bk_gguf_tensor *const *)b)->name);
}

static int compare_extent(const void *a, const void *b) {
    const uint8_t *x = (*(const bk_gguf_tensor *const *)a)->data;
    const uint8_t *y = (*(const bk_gguf_tensor *const *)b)->data;
    return x < y ? -1 : x > y;
}

/* A length and that many bytes. `what` and `i` name the thing in errors: "key 3", "tensor 7". */
static bk_status take_name(cursor *c, size_t max, const char *what, size_t i, bk_str *out,
                           bk_error *err) {
    uint64_t len;
    size_t at = c->pos;
    if (!take_u64(c, &len)) {
        return bk_fail(err, BK_ERR_FORMAT,
                       "%s %zu: the file ends at byte %zu, inside its name; " CUT, what, i,
                       c->size);
    }
    if (len == 0 || len > max) {
        return bk_fail(err, BK_ERR_FORMAT,
                       "%s %zu (at byte %zu): its name has %llu bytes, wanted 1 to %zu", what, i,
                       at, (unsigned long long)len, max);
    }
    const uint8_t *p = take(c, (size_t)len);
    if (!p) {
        return bk_fail(err, BK_ERR_FORMAT,
                       "%s %zu: its name has %llu bytes but only %zu are left in the file; " CUT,
                       what, i, (unsigned long long)len, left(c));
    }
    *out = (bk_str){(const char *)p, (size_t)len};
    return BK_OK;
}

/* ---- Values --------------------------------------------------------------------------------- */

static bk_status fail_cut_key(bk_str key, const cursor *c, bk_error *err) {
    return bk_fail(err, BK_ERR_FORMAT,
                   "key '" BK_STR_FMT "': the file ends at byte %zu, inside its "
                   "value; " CUT,
                   NAME_ARG(key), c->size);
}

/* A string of a key's value; `element` is -1 for a value that is not an array. */
static bk_status take_string(cursor *c, bk_str key, long long element, const uint8_t **data,
                             size_t *bytes, bk_error *err) {
    uint64_t len;
    char where[40] = "its text";
    if (!take_u64(c, &len)) return fail_cut_key(key, c, err);
    if (len <= MAX_STRING_BYTES && len <= left(c)) {
        *bytes = (size_t)len;
        *data = take(c, (size_t)len);
        return BK_OK;
    }
    if (element >= 0) snprintf(where, sizeof where, "element %lld", element);
    if (len > MAX_STRING_BYTES) {
        return bk_fail(err, BK_ERR_FORMAT,
                       "key '" BK_STR_FMT "': %s has %llu bytes, the most is %d", NAME_ARG(key),
                       where, (unsigned long long)len, MAX_STRING_BYTES);
    }
    return bk_fail(err, BK_ERR_FORMAT,
                   "key '" BK_STR_FMT
                   "': %s has %llu bytes but only %zu are left in the file; " CUT,
                   NAME_ARG(key), where, (unsigned long long)len, left(c));
}

/* The elements of an array of strings: only their extent is kept. */
static bk_status take_strings(cursor *c, bk_gguf_kv *kv, bk_error *err) {
    size_t begin = c->pos;
    for (size_t i = 0; i < kv->n; i++) {
        const uint8_t *text;
        size_t bytes;
        bk_status status = take_string(c, kv->key, (long long)i, &text, &bytes, err);
        if (status != BK_OK) return status;
    }
    kv->bytes = c->pos - begin;
    return BK_OK;
}

static bk_status take_array(cursor *c, bk_gguf_kv *kv, bk_error *err) {
    uint32_t type;
    uint64_t n;
    if (!take_u32(c, &type) || !take_u64(c, &n)) return fail_cut_key(kv->key, c, err);
    if (type == BK_GGUF_ARRAY) {
        return bk_fail(err, BK_ERR_UNSUPPORTED,
                       "key '" BK_STR_FMT "': an array of arrays, which no "
                       "known model needs; wanted plain elements",
                       NAME_ARG(kv->key));
    }
    size_t size = bk_gguf_type_size(type);
    if (size == 0) {
        return bk_fail(err, BK_ERR_FORMAT,
                       "key '" BK_STR_FMT
                       "': its elements have type %u, wanted a type from 0 to 12",
                       NAME_ARG(kv->key), type);
    }
    if (n > MAX_ELEMENTS) {
        return bk_fail(err, BK_ERR_FORMAT,
                       "key '" BK_STR_FMT "': an array of %llu elements, the most is %d",
                       NAME_ARG(kv->key), (unsigned long long)n, MAX_ELEMENTS);
    }
    if (n > left(c) / size) {
        return bk_fail(err, BK_ERR_FORMAT,
                       "key '" BK_STR_FMT
                       "': an array of %llu elements needs at least %llu bytes but only "
                       "%zu are left in the file; " CUT,
                       NAME_ARG(kv->key), (unsigned long long)n, (unsigned long long)n * size,
                       left(c));
    }
    kv->elem_type = (bk_gguf_type)type;
    kv->n = (size_t)n;
    kv->data = c->data + c->pos;
    if (type != BK_GGUF_STRING) {
        kv->bytes = kv->n * size;
        take(c, kv->bytes);
        return BK_OK;
    }
    return take_strings(c, kv, err);
}

static bk_status take_kv(cursor *c, size_t i, bk_gguf_kv *kv, bk_error *err) {
    uint32_t type;
    bk_status status = take_name(c, MAX_KEY_BYTES, "key", i, &kv->key, err);
    if (status != BK_OK) return status;
    if (!take_u32(c, &type)) return fail_cut_key(kv->key, c, err);
    size_t size = bk_gguf_type_size(type);
    if (size == 0 && type != BK_GGUF_ARRAY) {
        return bk_fail(err, BK_ERR_FORMAT,
                       "key '" BK_STR_FMT "': its value has type %u, wanted a type from 0 to 12",
                       NAME_ARG(kv->key), type);
    }
    kv->type = kv->elem_type = (bk_gguf_type)type;
    kv->n = 1;
    if (type == BK_GGUF_ARRAY) return take_array(c, kv, err);
    if (type == BK_GGUF_STRING) return take_string(c, kv->key, -1, &kv->data, &kv->bytes, err);
    kv->bytes = size;
    kv->data = take(c, size);
    if (!kv->data) return fail_cut_key(kv->key, c, err);
    if (type == BK_GGUF_BOOL && kv->data[0] > 1) {
        return bk_fail(err, BK_ERR_FORMAT,
                       "key '" BK_STR_FMT "': a bool with the value %u, wanted 0 or 1",
                       NAME_ARG(kv->key), kv->data[0]);
    }
    return BK_OK;
}

/* Equal keys in the order in which they stand. */
static int compare_kv_place(const void *a, const void *b) {
    int c = compare_kv(a, b);
    const bk_gguf_kv *x = *(const bk_gguf_kv *const *)a, *y = *(const bk_gguf_kv *const *)b;
    return c ? c : x < y ? -1 : x > y;
}

void bk_gguf_index_keys(bk_gguf *g) {
    for (size_t i = 0; i < g->n_kv; i++) g->kv_index[i] = &g->kv[i];
    qsort(g->kv_index, g->n_kv, sizeof(void *), compare_kv_place);
}

static bk_status read_keys(bk_gguf *g, cursor *c, bk_error *err) {
    g->kv = bk_alloc_zero(g->n_kv, sizeof *g->kv);
    g->kv_index = bk_alloc(g->n_kv, sizeof(void *));
    if (!g->kv || !g->kv_index) {
        return bk_fail(err, BK_ERR_NOMEM, "no memory for the header's %zu keys", g->n_kv);
    }
    for (size_t i = 0; i < g->n_kv; i++) {
        bk_status status = take_kv(c, i, &g->kv[i], err);
        if (status != BK_OK) return status;
    }
    bk_gguf_index_keys(g);
    for (size_t i = 1; i < g->n_kv; i++) {
        if (compare_kv(&g->kv_index[i - 1], &g->kv_index[i]) == 0) {
            return bk_fail(err, BK_ERR_FORMAT, "key '" BK_STR_FMT "' stands twice in the file",
                           NAME_ARG(g->kv_index[i]->key));
        }
    }
    return BK_OK;
}

static bk_status read_alignment(bk_gguf *g, bk_error *err) {
    const bk_gguf_kv *kv = bk_gguf_find(g, "general.alignment");
    g->alignment = BK_GGUF_ALIGNMENT;
    if (!kv) return BK_OK;
    if (kv->type != BK_GGUF_U32) {
        return bk_fail(err, BK_ERR_FORMAT, "key 'general.alignment' is %s, wanted uint32",
                       bk_gguf_type_name(kv->type));
    }
    g->alignment = bk_le32(kv->data);
    bool power_of_two = (g->alignment & (g->alignment - 1)) == 0;
    if (g->alignment < MIN_ALIGNMENT || g->alignment > MAX_ALIGNMENT || !power_of_two) {
        return bk_fail(err, BK_ERR_FORMAT,
                       "key 'general.alignment': found %u, wanted a power of two from %d to %d",
                       g->alignment, MIN_ALIGNMENT, MAX_ALIGNMENT);
    }
    return BK_OK;
}

/* ---- Tensors -------------------------------------------------------------------------------- */

static bk_status fail_type(bk_str name, uint32_t type, bk_error *err) {
    const char *known = bk_quant_type_name(type);
    if (!known || type == BK_TYPE_Q8_AFFINE) {
        return bk_fail(err, BK_ERR_FORMAT,
                       "tensor '" BK_STR_FMT "': its type %u is not defined by the "
                       "format",
                       NAME_ARG(name), type);
    }
    char list[256];
    size_t len = 0;
    for (uint32_t t = 0; t < 64; t++) {
        const bk_quant *q = bk_quant_find(t);
        if (!q || t == BK_TYPE_Q8_AFFINE || len >= sizeof list - 16) continue;
        len += (size_t)snprintf(list + len, sizeof list - len, "%s%.10s", len ? ", " : "", q->name);
    }
    return bk_fail(err, BK_ERR_UNSUPPORTED,
                   "tensor '" BK_STR_FMT "': its type %s cannot be computed with; wanted one of %s",
                   NAME_ARG(name), known, list);
}

static bk_status fail_cut_tensor(bk_str name, const cursor *c, bk_error *err) {
    return bk_fail(err, BK_ERR_FORMAT,
                   "tensor '" BK_STR_FMT
                   "': the file ends at byte %zu, inside its description; " CUT,
                   NAME_ARG(name), c->size);
}

/* Dimensions and their product. */
static bk_status read_shape(bk_gguf_tensor *t, cursor *c, bk_error *err) {
    uint32_t n_dims;
    if (!take_u32(c, &n_dims)) return fail_cut_tensor(t->name, c, err);
    if (n_dims < 1 || n_dims > BK_GGUF_MAX_DIMS) {
        return bk_fail(err, BK_ERR_FORMAT, "tensor '" BK_STR_FMT "': %u dimensions, wanted 1 to %d",
                       NAME_ARG(t->name), n_dims, BK_GGUF_MAX_DIMS);
    }
    t->n_dims = (int)n_dims;
    size_t n = 1;
    for (uint32_t d = 0; d < BK_GGUF_MAX_DIMS; d++) {
        t->ne[d] = 1;
        if (d < n_dims && !take_u64(c, &t->ne[d])) return fail_cut_tensor(t->name, c, err);
        if (t->ne[d] == 0) {
            return bk_fail(err, BK_ERR_FORMAT,
                           "tensor '" BK_STR_FMT "': dimension %u is 0, wanted at "
                           "least 1",
                           NAME_ARG(t->name), d);
        }
        if (t->ne[d] > PTRDIFF_MAX || !bk_mul_size(n, (size_t)t->ne[d], &n) || n > PTRDIFF_MAX) {
            return bk_fail(err, BK_ERR_FORMAT,
                           "tensor '" BK_STR_FMT
                           "': dimension %u is %llu, more elements than can be "
                           "addressed",
                           NAME_ARG(t->name), d, (unsigned long long)t->ne[d]);
        }
    }
    t->n_elements = n;
    return BK_OK;
}

static bk_status read_tensor(bk_gguf_tensor *t, size_t i, cursor *c, uint64_t *offset,
                             bk_error *err) {
    uint32_t type;
    bk_status status = take_name(c, MAX_NAME_BYTES, "tensor", i, &t->name, err);
    if (status == BK_OK) status = read_shape(t, c, err);
    if (status != BK_OK) return status;
    if (!take_u32(c, &type) || !take_u64(c, offset)) return fail_cut_tensor(t->name, c, err);
    t->type = bk_quant_find(type);
    if (!t->type || type == BK_TYPE_Q8_AFFINE) return fail_type(t->name, type, err);
    if (t->ne[0] % t->type->block_len != 0) {
        return bk_fail(err, BK_ERR_FORMAT,
                       "tensor '" BK_STR_FMT
                       "': rows of %llu elements, wanted a multiple of %zu for type %s",
                       NAME_ARG(t->name), (unsigned long long)t->ne[0], t->type->block_len,
                       t->type->name);
    }
    if (!bk_mul_size((size_t)t->n_elements / t->type->block_len, t->type->block_bytes, &t->bytes)) {
        return bk_fail(err, BK_ERR_FORMAT,
                       "tensor '" BK_STR_FMT "': %llu elements are more than can be "
                       "addressed",
                       NAME_ARG(t->name), (unsigned long long)t->n_elements);
    }
    return BK_OK;
}

/* Sets t->data once the extent is known to lie inside the file. `start`: of the data section. */
static bk_status place_tensor(const bk_gguf *g, bk_gguf_tensor *t, size_t start, uint64_t offset,
                              bk_error *err) {
    size_t end;
    if (offset % g->alignment != 0) {
        return bk_fail(err, BK_ERR_FORMAT,
                       "tensor '" BK_STR_FMT
                       "': its offset %llu is not a multiple of the alignment %u",
                       NAME_ARG(t->name), (unsigned long long)offset, g->alignment);
    }
    if (offset > SIZE_MAX || !bk_add_size(start, (size_t)offset, &end) ||
        !bk_add_size(end, t->bytes, &end)) {
        return bk_fail(err, BK_ERR_FORMAT,
                       "tensor '" BK_STR_FMT
                       "': its offset %llu with %zu bytes is more than can be addressed",
                       NAME_ARG(t->name), (unsigned long long)offset, t->bytes);
    }
    if (end > g->size) {
        return bk_fail(err, BK_ERR_FORMAT,
                       "tensor '" BK_STR_FMT
                       "': data ends at byte %zu but the file has %zu bytes; " CUT,
                       NAME_ARG(t->name), end, g->size);
    }
    t->data = g->data + start + (size_t)offset;
    return BK_OK;
}

/* Files are almost always written in order; only the others pay for a sort. */
static bk_status check_overlaps(bk_gguf *g, const bk_gguf_tensor **order, bk_error *err) {
    bool sorted = true;
    for (size_t i = 0; i < g->n_tensors; i++) {
        order[i] = &g->tensors[i];
        if (i && order[i]->data < order[i - 1]->data) sorted = false;
    }
    if (!sorted) qsort(order, g->n_tensors, sizeof(void *), compare_extent);
    for (size_t i = 1; i < g->n_tensors; i++) {
        const bk_gguf_tensor *a = order[i - 1], *b = order[i];
        if ((size_t)(b->data - a->data) < a->bytes) {
            return bk_fail(err, BK_ERR_FORMAT,
                           "tensor '" BK_STR_FMT "': its data overlaps that of tensor '" BK_STR_FMT
                           "'",
                           NAME_ARG(b->name), NAME_ARG(a->name));
        }
    }
    return BK_OK;
}

bk_status bk_gguf_index_tensors(bk_gguf *g, bk_error *err) {
    for (size_t i = 0; i < g->n_tensors; i++) g->tensor_index[i] = &g->tensors[i];
    qsort(g->tensor_index, g->n_tensors, sizeof(void *), compare_tensor);
    for (size_t i = 1; i < g->n_tensors; i++) {
        if (compare_tensor(&g->tensor_index[i - 1], &g->tensor_index[i]) == 0) {
            return bk_fail(err, BK_ERR_FORMAT, "tensor '" BK_STR_FMT "' stands twice in the file",
                           NAME_ARG(g->tensor_index[i]->name));
        }
    }
    return BK_OK;
}

static bk_status read_tensors(bk_gguf *g, cursor *c, bk_error *err) {
    size_t start;
    bk_status status = BK_OK;
    g->tensors = bk_alloc_zero(g->n_tensors, sizeof *g->tensors);
    g->tensor_index = bk_alloc(g->n_tensors, sizeof(void *));
    uint64_t *offsets = bk_alloc(g->n_tensors, sizeof *offsets);
    if (!g->tensors || !g->tensor_index || !offsets) {
        status = bk_fail(err, BK_ERR_NOMEM, "no memory for the header's %zu tensors", g->n_tensors);
    }
    for (size_t i = 0; status == BK_OK && i < g->n_tensors; i++) {
        status = read_tensor(&g->tensors[i], i, c, &offsets[i], err);
    }
    /* c->pos <= size <= PTRDIFF_MAX, so rounding up cannot wrap. */
    start = bk_round_up(c->pos, g->alignment);
    for (size_t i = 0; status == BK_OK && i < g->n_tensors; i++) {
        status = place_tensor(g, &g->tensors[i], start, offsets[i], err);
    }
    bk_free(offsets);
    if (status == BK_OK) status = check_overlaps(g, g->tensor_index, err);
    return status == BK_OK ? bk_gguf_index_tensors(g, err) : status;
}

/* ---- The file ------------------------------------------------------------------------------- */

/* What people give instead of a model, by its first bytes. */
static const char *looks_like(const uint8_t *data, size_t size) {
    static const struct {
        const char *bytes, *what;
    } known[] = {
        {"version https://git-lfs", "a Git LFS pointer: run git lfs pull"},
        {"ggjt", "an old GGML model: convert it to GGUF"},
        {"tjgg", "an old GGML model: convert it to GGUF"},
        {"lmgg", "an old GGML model: convert it to GGUF"},
        {"FUGG", "a byte-swapped GGUF file"},
        {"PK\003\004", "a zip archive: unpack it, or convert it if it is a PyTorch model"},
        {"\037\213", "a gzip file: unpack it"},
        {"<", "a web page: check the address that it was fetched from"},
    };
    for (size_t i = 0; i < BK_ARRAY_LEN(known); i++) {
        size_t len = strlen(known[i].bytes);
        if (size >= len && memcmp(data, known[i].bytes, len) == 0) return known[i].what;
    }
    return NULL;
}

static bk_status read_version(bk_gguf *g, cursor *c, bk_error *err) {
    const uint8_t *magic = take(c, 4);
    if (!magic || memcmp(magic, "GGUF", 4) != 0) {
        const char *what = looks_like(g->data, g->size);
        if (what) return bk_fail(err, BK_ERR_FORMAT, "not a GGUF file but %s", what);
        uint8_t head[4] = {0};
        if (g->size) memcpy(head, g->data, bk_min_size(g->size, 4));
        return bk_fail(
            err, BK_ERR_FORMAT,
            "not a GGUF file: %zu bytes that begin with %02x %02x %02x %02x, wanted 47 47 55 46",
            g->size, head[0], head[1], head[2], head[3]);
    }
    if (!take_u32(c, &g->version)) {
        return bk_fail(err, BK_ERR_FORMAT, "the file ends at byte %zu, inside its header; " CUT,
                       c->size);
    }
    if (g->version == 2 || g->version == 3) return BK_OK;
    if (g->version != 0 && (g->version & 0xFFFF) == 0) {
        return bk_fail(err, BK_ERR_UNSUPPORTED,
                       "a big-endian GGUF file; wanted a little-endian one: "
                       "fetch or convert that");
    }
    return bk_fail(err, g->version == 0 ? BK_ERR_FORMAT : BK_ERR_UNSUPPORTED,
                   "GGUF version %u, wanted 2 or 3: fetch or convert the model anew", g->version);
}

/* A declared count against a cap and against what the rest of the file could hold. */
static bk_status check_count(const char *what, uint64_t n, size_t max, size_t entry,
                             const cursor *c, bk_error *err) {
    if (n > max) {
        return bk_fail(err, BK_ERR_FORMAT, "the header declares %llu %s, the most is %zu",
                       (unsigned long long)n, what, max);
    }
    if (n > left(c) / entry) {
        return bk_fail(
            err, BK_ERR_FORMAT,
            "the header declares %llu %s, which the %zu bytes left in the file cannot hold; " CUT,
            (unsigned long long)n, what, left(c));
    }
    return BK_OK;
}

static bk_status read_header(bk_gguf *g, cursor *c, bk_error *err) {
    uint64_t n_tensors, n_kv;
    bk_status status = read_version(g, c, err);
    if (status != BK_OK) return status;
    if (!take_u64(c, &n_tensors) || !take_u64(c, &n_kv)) {
        return bk_fail(err, BK_ERR_FORMAT, "the file ends at byte %zu, inside its header; " CUT,
                       c->size);
    }
    status = check_count("tensors", n_tensors, MAX_TENSORS, MIN_TENSOR_ENTRY, c, err);
    if (status == BK_OK) status = check_count("keys", n_kv, MAX_KEYS, MIN_KEY_ENTRY, c, err);
    if (status != BK_OK) return status;
    g->n_kv = (size_t)n_kv;
    status = read_keys(g, c, err);
    if (status == BK_OK) status = read_alignment(g, err);
    if (status != BK_OK) return status;
    g->n_tensors = (size_t)n_tensors;
    return read_tensors(g, c, err);
}

bk_status bk_gguf_parse(const uint8_t *data, size_t size, bk_gguf **out, bk_error *err) {
    *out = NULL;
    if (size > PTRDIFF_MAX) return bk_fail(err, BK_ERR_INVALID, "a file of %zu bytes", size);
    bk_gguf *g = bk_alloc_zero(1, sizeof *g);
    if (!g) return bk_fail(err, BK_ERR_NOMEM, "no memory for the header");
    g->data = data;
    g->size = size;
    cursor c = {.data = data, .size = size};
    bk_status status = read_header(g, &c, err);
    if (status != BK_OK) {
        bk_gguf_destroy(&g);
        return status;
    }
    *out = g;
    return BK_OK;
}

void bk_gguf_destroy(bk_gguf **g) {
    if (!*g) return;
    bk_free((*g)->kv);
    bk_free((*g)->kv_index);
    bk_free((*g)->tensors);
    bk_free((*g)->tensor_index);
    for (size_t i = 0; i < (*g)->n_maps; i++) bk_map_close(&(*g)->maps[i]);
    bk_free((*g)->maps);
    bk_arena_free(&(*g)->arena);
    bk_free(*g);
    *g = NULL;
}

unsigned bk_gguf_version(const bk_gguf *g) { return g->version; }

size_t bk_gguf_n_kv(const bk_gguf *g) { return g->n_kv; }

const bk_gguf_kv *bk_gguf_kv_at(const bk_gguf *g, size_t i) {
    return i < g->n_kv ? &g->kv[i] : NULL;
}

const bk_gguf_kv *bk_gguf_find(const bk_gguf *g, const char *key) {
    bk_gguf_kv wanted = {.key = bk_str_from(key)};
    const bk_gguf_kv *p = &wanted;
    const bk_gguf_kv **hit = bsearch(&p, g->kv_index, g->n_kv, sizeof(void *), compare_kv);
    return hit ? *hit : NULL;
}

size_t bk_gguf_n_tensors(const bk_gguf *g) { return g->n_tensors; }

const bk_gguf_tensor *bk_gguf_tensor_at(const bk_gguf *g, size_t i) {
    return i < g->n_tensors ? &g->tensors[i] : NULL;
}

const bk_gguf_tensor *bk_gguf_find_tensor(const bk_gguf *g, const char *name) {
    bk_gguf_tensor wanted = {.name = bk_str_from(name)};
    const bk_gguf_tensor *p = &wanted;
    const bk_gguf_tensor **hit =
        bsearch(&p, g->tensor_index, g->n_tensors, sizeof(void *), compare_tensor);
    return hit ? *hit : NULL;
}
