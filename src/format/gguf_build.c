/* The builder: growing lists of keys and tensors, values in the layout that they have in a file. */
#include "format/gguf_build.h"

#include <string.h>

#include "format/gguf_internal.h"

struct bk_gguf_builder {
    bk_gguf *g; /* becomes the model */
    size_t cap_kv, cap_tensors;
    bk_status status; /* of the first call that failed */
    bk_error err;
};

bk_gguf_builder *bk_gguf_builder_create(void) {
    bk_gguf_builder *b = bk_alloc_zero(1, sizeof *b);
    if (b) b->g = bk_alloc_zero(1, sizeof *b->g);
    if (b && !b->g) bk_gguf_builder_destroy(&b);
    if (b) b->g->version = 3, b->g->alignment = BK_GGUF_ALIGNMENT;
    return b;
}

void bk_gguf_builder_destroy(bk_gguf_builder **b) {
    if (!*b) return;
    bk_gguf_destroy(&(*b)->g);
    bk_free(*b);
    *b = NULL;
}

static bool usable(const bk_gguf_builder *b) { return b && b->status == BK_OK; }

static void fail_memory(bk_gguf_builder *b) {
    b->status = bk_fail(&b->err, BK_ERR_NOMEM, "no memory for a model's keys and tensors");
}

void *bk_gguf_builder_alloc(bk_gguf_builder *b, size_t n, size_t size) {
    void *p = usable(b) ? bk_arena_alloc(&b->g->arena, n, size) : NULL;
    if (!p && usable(b)) fail_memory(b);
    return p;
}

void bk_gguf_builder_map(bk_gguf_builder *b, bk_map *map) {
    if (!usable(b))
        bk_map_close(map);
    else
        b->status = bk_gguf_hold_map(b->g, map, &b->err);
}

/* Room for one more element; false (status set) when memory is short. */
static bool grow(bk_gguf_builder *b, void **list, size_t n, size_t *cap, size_t size) {
    if (!usable(b)) return false;
    if (n < *cap) return true;
    size_t want = *cap ? 2 * *cap : 64;
    void *p = bk_realloc(*list, want, size);
    if (!p) {
        fail_memory(b);
        return false;
    }
    *list = p;
    *cap = want;
    return true;
}

/* ---- Keys ----------------------------------------------------------------------------------- */

/* An entry with `bytes` of memory for its value; NULL on failure. */
static uint8_t *add_key(bk_gguf_builder *b, bk_str key, bk_gguf_type type, bk_gguf_type elem_type,
                        size_t n, size_t bytes) {
    if (!b || !grow(b, (void **)&b->g->kv, b->g->n_kv, &b->cap_kv, sizeof *b->g->kv)) return NULL;
    char *name = bk_gguf_builder_alloc(b, key.len, 1);
    uint8_t *data = bk_gguf_builder_alloc(b, bytes ? bytes : 1, 1);
    if (!name || !data) return NULL;
    memcpy(name, key.data, key.len);
    b->g->kv[b->g->n_kv++] = (bk_gguf_kv){.key = {name, key.len},
                                          .type = type,
                                          .elem_type = elem_type,
                                          .n = n,
                                          .data = data,
                                          .bytes = bytes};
    return data;
}

static void put_le(uint8_t *p, uint64_t v, size_t n) {
    for (size_t i = 0; i < n; i++) p[i] = (uint8_t)(v >> 8 * i);
}

static uint32_t float_bits(float v) {
    uint32_t bits;
    memcpy(&bits, &v, sizeof bits);
    return bits;
}

static void add_scalar(bk_gguf_builder *b, const char *key, bk_gguf_type type, uint64_t v) {
    size_t size = bk_gguf_type_size(type);
    uint8_t *p = add_key(b, bk_str_from(key), type, type, 1, size);
    if (p) put_le(p, v, size);
}

void bk_gguf_builder_u32(bk_gguf_builder *b, const char *key, uint32_t v) {
    add_scalar(b, key, BK_GGUF_U32, v);
}

void bk_gguf_builder_f32(bk_gguf_builder *b, const char *key, float v) {
    add_scalar(b, key, BK_GGUF_F32, float_bits(v));
}

void bk_gguf_builder_bool(bk_gguf_builder *b, const char *key, bool v) {
    add_scalar(b, key, BK_GGUF_BOOL, v);
}

void bk_gguf_builder_str(bk_gguf_builder *b, const char *key, bk_str v) {
    uint8_t *p = add_key(b, bk_str_from(key), BK_GGUF_STRING, BK_GGUF_STRING, 1, v.len);
    if (p && v.len) memcpy(p, v.data, v.len);
}

static uint8_t *add_array(bk_gguf_builder *b, const char *key, bk_gguf_type elem_type, size_t n,
                          size_t bytes) {
    return add_key(b, bk_str_from(key), BK_GGUF_ARRAY, elem_type, n, bytes);
}

void bk_gguf_builder_strs(bk_gguf_builder *b, const char *key, const bk_str *v, size_t n) {
    size_t bytes = 0;
    for (size_t i = 0; i < n; i++) bytes += 8 + v[i].len;
    uint8_t *p = add_array(b, key, BK_GGUF_STRING, n, bytes);
    for (size_t i = 0; p && i < n; i++) {
        put_le(p, v[i].len, 8);
        if (v[i].len) memcpy(p + 8, v[i].data, v[i].len);
        p += 8 + v[i].len;
    }
}

void bk_gguf_builder_i32s(bk_gguf_builder *b, const char *key, const int32_t *v, size_t n) {
    uint8_t *p = add_array(b, key, BK_GGUF_I32, n, 4 * n);
    for (size_t i = 0; p && i < n; i++) put_le(p + 4 * i, (uint32_t)v[i], 4);
}

void bk_gguf_builder_f32s(bk_gguf_builder *b, const char *key, const float *v, size_t n) {
    uint8_t *p = add_array(b, key, BK_GGUF_F32, n, 4 * n);
    for (size_t i = 0; p && i < n; i++) put_le(p + 4 * i, float_bits(v[i]), 4);
}

void bk_gguf_builder_u8s(bk_gguf_builder *b, const char *key, const uint8_t *v, size_t n) {
    uint8_t *p = add_array(b, key, BK_GGUF_U8, n, n);
    if (p && n) memcpy(p, v, n);
}

void bk_gguf_builder_keys_of(bk_gguf_builder *b, const bk_gguf *from) {
    for (size_t i = 0; i < from->n_kv; i++) {
        const bk_gguf_kv *kv = &from->kv[i];
        if (bk_str_eq(kv->key, BK_STR("general.alignment"))) continue;
        uint8_t *p = add_key(b, kv->key, kv->type, kv->elem_type, kv->n, kv->bytes);
        if (p && kv->bytes) memcpy(p, kv->data, kv->bytes);
    }
}

void bk_gguf_builder_file_type(bk_gguf_builder *b, const bk_quant *type) {
    static const struct {
        bk_type type;
        uint32_t n;
    } numbers[] = {{BK_TYPE_F32, 0},      {BK_TYPE_F16, 1},     {BK_TYPE_Q4_0, 2},
                   {BK_TYPE_Q4_1, 3},     {BK_TYPE_Q8_0, 7},    {BK_TYPE_Q5_0, 8},
                   {BK_TYPE_Q5_1, 9},     {BK_TYPE_Q2_K, 10},   {BK_TYPE_Q3_K, 12},
                   {BK_TYPE_Q4_K, 15},    {BK_TYPE_Q5_K, 17},   {BK_TYPE_Q6_K, 18},
                   {BK_TYPE_IQ2_XXS, 19}, {BK_TYPE_IQ2_XS, 20}, {BK_TYPE_IQ3_XXS, 23},
                   {BK_TYPE_IQ1_S, 24},   {BK_TYPE_IQ4_NL, 25}, {BK_TYPE_IQ3_S, 26},
                   {BK_TYPE_IQ2_S, 29},   {BK_TYPE_IQ4_XS, 30}, {BK_TYPE_IQ1_M, 31},
                   {BK_TYPE_BF16, 32},    {BK_TYPE_TQ1_0, 36},  {BK_TYPE_TQ2_0, 37},
                   {BK_TYPE_MXFP4, 38}};
    bk_gguf_builder_remove(b, "general.file_type");
    for (size_t i = 0; i < BK_ARRAY_LEN(numbers); i++)
        if (numbers[i].type == type->type)
            bk_gguf_builder_u32(b, "general.file_type", numbers[i].n);
}

void bk_gguf_builder_remove(bk_gguf_builder *b, const char *key) {
    size_t n = 0;
    if (!usable(b)) return;
    for (size_t i = 0; i < b->g->n_kv; i++)
        if (!bk_str_eq(b->g->kv[i].key, bk_str_from(key))) b->g->kv[n++] = b->g->kv[i];
    b->g->n_kv = n;
}

/* ---- Tensors -------------------------------------------------------------------------------- */

/* Sizes from the shape; INVALID when there is no such tensor. */
static bool measure(bk_gguf_builder *b, bk_gguf_tensor *t, const char *name, bk_type type,
                    const uint64_t *ne) {
    size_t n = 1, blocks;
    bool good = t->n_dims >= 1 && t->n_dims <= BK_GGUF_MAX_DIMS;
    t->type = bk_quant_find(type);
    for (int d = 0; d < BK_GGUF_MAX_DIMS; d++) {
        t->ne[d] = good && d < t->n_dims ? ne[d] : 1;
        good = good && t->ne[d] > 0 && t->ne[d] <= PTRDIFF_MAX &&
               bk_mul_size(n, (size_t)t->ne[d], &n) && n <= PTRDIFF_MAX;
    }
    if (!t->type) {
        b->status = bk_fail(&b->err, BK_ERR_UNSUPPORTED, "tensor '%.64s': type %d is unknown", name,
                            (int)type);
        return false;
    }
    blocks = n / t->type->block_len;
    good = good && t->ne[0] % t->type->block_len == 0 &&
           bk_mul_size(blocks, t->type->block_bytes, &t->bytes);
    t->n_elements = n;
    if (!good)
        b->status = bk_fail(&b->err, BK_ERR_INVALID,
                            "tensor '%.64s': no tensor of %s has that shape", name, t->type->name);
    return good;
}

static void add_tensor(bk_gguf_builder *b, const char *name, bk_type type, const uint64_t *ne,
                       bk_gguf_tensor t) {
    if (!b || !grow(b, (void **)&b->g->tensors, b->g->n_tensors, &b->cap_tensors,
                    sizeof *b->g->tensors)) {
        return;
    }
    size_t len = strlen(name);
    char *copy = bk_gguf_builder_alloc(b, len, 1);
    if (!copy || !measure(b, &t, name, type, ne)) return;
    memcpy(copy, name, len);
    t.name = (bk_str){copy, len};
    b->g->tensors[b->g->n_tensors++] = t;
}

void bk_gguf_builder_tensor(bk_gguf_builder *b, const char *name, bk_type type, int n_dims,
                            const uint64_t *ne, const uint8_t *data) {
    add_tensor(b, name, type, ne, (bk_gguf_tensor){.n_dims = n_dims, .data = data});
}

void bk_gguf_builder_lazy(bk_gguf_builder *b, const char *name, bk_type type, int n_dims,
                          const uint64_t *ne, bk_gguf_fill fill, const void *source) {
    add_tensor(b, name, type, ne,
               (bk_gguf_tensor){.n_dims = n_dims, .fill = fill, .source = source});
}

/* ---- The model ------------------------------------------------------------------------------ */

/* Of keys set twice the later stays. The index has equal keys in the order of their setting. */
static void drop_replaced(bk_gguf *g) {
    size_t n = 0;
    bk_gguf_index_keys(g);
    for (size_t i = 0; i + 1 < g->n_kv; i++) {
        const bk_gguf_kv *kv = g->kv_index[i];
        if (bk_str_eq(kv->key, g->kv_index[i + 1]->key)) g->kv[kv - g->kv].data = NULL;
    }
    for (size_t i = 0; i < g->n_kv; i++)
        if (g->kv[i].data) g->kv[n++] = g->kv[i];
    g->n_kv = n;
    bk_gguf_index_keys(g);
}

bk_status bk_gguf_builder_finish(bk_gguf_builder **builder, bk_gguf **out, bk_error *err) {
    bk_gguf_builder *b = *builder;
    *out = NULL;
    if (!b) return bk_fail(err, BK_ERR_NOMEM, "no memory for a model");
    bk_gguf *g = b->g;
    if (usable(b)) {
        g->kv_index = bk_alloc(g->n_kv, sizeof(void *));
        g->tensor_index = bk_alloc(g->n_tensors, sizeof(void *));
        if (!g->kv_index || !g->tensor_index) fail_memory(b);
    }
    if (usable(b)) {
        drop_replaced(g);
        b->status = bk_gguf_index_tensors(g, &b->err);
    }
    bk_status status = b->status;
    if (status == BK_OK) {
        *out = g;
        b->g = NULL;
    } else if (err) {
        *err = b->err;
    }
    bk_gguf_builder_destroy(builder);
    return status;
}
