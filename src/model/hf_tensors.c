/* safetensors files -> GGUF tensors. Those that GGUF stores in the same way point into the maps; the
 * others are made when they are read, one at a time. */
#include <stdio.h>
#include <string.h>

#include "model/hf_internal.h"

/* ---- Files ---------------------------------------------------------------------------------- */

static bk_status open_shard(bk_hf *h, const char *name, bk_hf_shard **out) {
    bk_buf path = {.limit = 1 << 16};
    bk_hf_shard *list = bk_realloc(h->shards, h->n_shards + 1, sizeof *list);
    if (list) h->shards = list;
    bk_buf_printf(&path, "%s/%s", h->folder, name);
    if (!list || path.failed) {
        bk_buf_free(&path);
        return bk_fail(h->err, BK_ERR_NOMEM, "no memory for %zu files", h->n_shards + 1);
    }
    bk_hf_shard *s = &h->shards[h->n_shards++];
    *s = (bk_hf_shard){.name = bk_strndup(name, strlen(name))};
    bk_map map;
    bk_status status = bk_map_open(path.data, &map, h->err);
    bk_buf_free(&path);
    if (status != BK_OK) return status;
    s->map = map;
    status = s->name ? bk_safetensors_parse(map.data, map.size, &s->tensors, h->err)
                     : bk_fail(h->err, BK_ERR_NOMEM, "no memory for a name");
    if (status != BK_OK) bk_error_prefix(h->err, "%.200s", name);
    if (status == BK_OK) {
        s->used = bk_alloc_zero(bk_safetensors_count(s->tensors), sizeof *s->used);
        if (!s->used) status = bk_fail(h->err, BK_ERR_NOMEM, "no memory for a list of tensors");
    }
    bk_gguf_builder_map(h->b, &map);
    *out = s;
    return status;
}

static bk_status shard_named(bk_hf *h, const char *name, bk_hf_shard **out) {
    for (size_t i = 0; i < h->n_shards; i++) {
        *out = &h->shards[i];
        if (strcmp(h->shards[i].name, name) == 0) return BK_OK;
    }
    if (strchr(name, '/') || name[0] == '.' || !name[0])
        return bk_fail(h->err, BK_ERR_FORMAT,
                       "model.safetensors.index.json: '%.100s' is not the name of a file beside it",
                       name);
    return open_shard(h, name, out);
}

static bk_status open_index(bk_hf *h, const json_t *index) {
    const char *tensor;
    json_t *file, *map = json_object_get(index, "weight_map");
    bk_hf_shard *shard;
    if (!json_is_object(map) || json_object_size(map) == 0)
        return bk_fail(h->err, BK_ERR_FORMAT,
                       "model.safetensors.index.json: 'weight_map' is missing; wanted an object");
    json_object_foreach(map, tensor, file) {
        if (!json_is_string(file) || strlen(json_string_value(file)) != json_string_length(file))
            return bk_fail(h->err, BK_ERR_FORMAT,
                           "model.safetensors.index.json: '%.100s' has no file", tensor);
        bk_status status = shard_named(h, json_string_value(file), &shard);
        if (status != BK_OK) return status;
        if (!bk_safetensors_find(shard->tensors, tensor))
            return bk_fail(h->err, BK_ERR_FORMAT,
                           "tensor '%.100s' is not in %.100s, where model.safetensors.index.json "
                           "has it: fetch that file again",
                           tensor, shard->name);
    }
    return BK_OK;
}

bk_status bk_hf_open_shards(bk_hf *h) {
    json_t *index;
    bk_hf_shard *only;
    bk_status status = bk_hf_read_json(h, "model.safetensors.index.json", true, &index);
    if (status == BK_ERR_NOT_FOUND) return open_shard(h, "model.safetensors", &only);
    if (status != BK_OK) return status;
    status = open_index(h, index);
    json_decref(index);
    return status;
}

/* ---- One tensor ----------------------------------------------------------------------------- */

typedef struct found {
    const bk_st_tensor *t;
    bk_map map;
} found;

/* Marks it as used. By its name in a text-only model; inside one of several modalities it stands as
 * language_model.model.X or model.language_model.X. */
static bool find(const bk_hf *h, const char *name, found *out) {
    static const struct {
        const char *from, *to;
    } forms[] = {{"", ""}, {"", "language_model."}, {"model.", "model.language_model."}};
    for (size_t f = 0; f < BK_ARRAY_LEN(forms); f++) {
        char full[160];
        size_t skip = strlen(forms[f].from);
        if (strncmp(name, forms[f].from, skip) != 0) continue;
        snprintf(full, sizeof full, "%s%s", forms[f].to, name + skip);
        for (size_t i = 0; i < h->n_shards; i++) {
            out->t = bk_safetensors_find(h->shards[i].tensors, full);
            out->map = h->shards[i].map;
            if (!out->t) continue;
            h->shards[i].used[out->t - bk_safetensors_at(h->shards[i].tensors, 0)] = true;
            return true;
        }
    }
    return false;
}

/* How to make a tensor: parts one after another, each a matrix [rows][cols]. A vector is a row, or,
 * when its elements are to be permuted, a column. */
typedef struct source {
    const bk_quant *from, *to;
    size_t rows, cols, n_parts;
    size_t half; /* of a head's rows, when they are to be interleaved; 0: they stay */
    float add;
    found parts[];
} source;

static void convert_row(const source *s, const uint8_t *in, uint8_t *out) {
    enum { PIECE = 256 };
    float values[PIECE];
    if (s->from == s->to && s->add == 0) {
        memcpy(out, in, s->cols * s->from->block_bytes);
        return;
    }
    for (size_t i = 0; i < s->cols; i += PIECE) {
        size_t n = bk_min_size(s->cols - i, PIECE);
        bk_quant_dequantize(s->from, in + i * s->from->block_bytes, values, n);
        for (size_t k = 0; k < n; k++) values[k] += s->add;
        memcpy(out + i * sizeof *values, values, n * sizeof *values); /* nothing else is made */
    }
}

/* The row that stands at r: of a head, first halves and second halves take turns. */
static size_t row_at(const source *s, size_t r) {
    if (s->half == 0) return r;
    size_t head = r / (2 * s->half), within = r % (2 * s->half);
    return head * 2 * s->half + within % 2 * s->half + within / 2;
}

static bk_status fill(const void *p, uint8_t *out, bk_error *err) {
    const source *s = p;
    (void)err;
    for (size_t i = 0; i < s->n_parts; i++) {
        const bk_st_tensor *t = s->parts[i].t;
        for (size_t r = 0; r < s->rows; r++) {
            convert_row(s, t->data + row_at(s, r) * s->cols * s->from->block_bytes, out);
            out += s->cols * s->to->block_bytes;
        }
        bk_map_drop(&s->parts[i].map, (size_t)(t->data - s->parts[i].map.data), t->bytes);
    }
    return BK_OK;
}

/* ---- Roles ---------------------------------------------------------------------------------- */

typedef struct adder {
    bk_hf *h;
    int64_t heads, kv_heads, n_experts;
} adder;

static bk_status check_type(const adder *a, const bk_st_tensor *t) {
    if (t->type && t->n_elements > 0) return BK_OK;
    return bk_fail(a->h->err, BK_ERR_UNSUPPORTED,
                   "tensor '" BK_STR_FMT "': type %s found; wanted F32, F16 or BF16, not empty",
                   BK_STR_ARG(t->name), t->dtype);
}

/* All parts of a role into s, which has room for them. */
static bk_status find_parts(adder *a, const bk_hf_role *role, int layer, source *s, size_t n) {
    for (size_t i = 0; i < n; i++) {
        char name[128];
        snprintf(name, sizeof name, role->hf, layer, (int)i);
        if (!find(a->h, name, &s->parts[i])) {
            if (role->flags & BK_HF_OPTIONAL && i == 0) return BK_ERR_NOT_FOUND;
            return bk_fail(a->h->err, BK_ERR_FORMAT, "tensor '%s' is missing", name);
        }
        const bk_st_tensor *t = s->parts[i].t, *first = s->parts[0].t;
        bk_status status = check_type(a, t);
        if (status != BK_OK) return status;
        if (t->type != first->type || t->n_dims != first->n_dims ||
            memcmp(t->ne, first->ne, sizeof t->ne) != 0)
            return bk_fail(a->h->err, BK_ERR_FORMAT,
                           "tensor '%s': its type or shape is not that of expert 0", name);
        if (t->n_dims < 1 || t->n_dims > 2)
            return bk_fail(a->h->err, BK_ERR_FORMAT, "tensor '%s': %d dimensions, wanted 1 or 2",
                           name, t->n_dims);
    }
    s->n_parts = n;
    return BK_OK;
}

static bk_status set_permutation(const adder *a, const bk_hf_role *role, source *s) {
    int64_t heads = role->flags & BK_HF_PERMUTE_Q ? a->heads : a->kv_heads;
    const bk_st_tensor *t = s->parts[0].t;
    if (!(role->flags & (BK_HF_PERMUTE_Q | BK_HF_PERMUTE_K))) return BK_OK;
    if (t->n_dims == 1) s->rows = (size_t)t->ne[0], s->cols = 1;
    if (s->rows % (2 * (size_t)heads) != 0)
        return bk_fail(a->h->err, BK_ERR_FORMAT,
                       "tensor '" BK_STR_FMT "': %zu rows, wanted a multiple of %lld (twice the "
                       "heads)",
                       BK_STR_ARG(t->name), s->rows, 2 * (long long)heads);
    s->half = s->rows / (2 * (size_t)heads);
    return BK_OK;
}

/* The norms that Gemma stores as a difference from 1 are its only vectors. */
static void set_types(const adder *a, const bk_hf_role *role, source *s) {
    const bk_st_tensor *t = s->parts[0].t;
    bool vector = t->n_dims == 1;
    s->from = t->type;
    s->to = t->type;
    if (vector || role->flags & BK_HF_F32) s->to = bk_quant_find(BK_TYPE_F32);
    if (vector && a->h->arch->add_one) s->add = 1;
}

/* NOT_FOUND without text: an optional tensor that is not there. */
static bk_status add_role(adder *a, const bk_hf_role *role, int layer) {
    size_t n = role->flags & BK_HF_EXPERTS ? (size_t)a->n_experts : 1;
    source *s = bk_gguf_builder_alloc(a->h->b, 1, sizeof *s + n * sizeof(found));
    if (!s) return bk_fail(a->h->err, BK_ERR_NOMEM, "no memory for a tensor's description");
    bk_status status = find_parts(a, role, layer, s, n);
    if (status != BK_OK) return status;
    const bk_st_tensor *t = s->parts[0].t;
    s->cols = (size_t)t->ne[0];
    s->rows = (size_t)t->ne[1];
    set_types(a, role, s);
    status = set_permutation(a, role, s);
    if (status != BK_OK) return status;
    /* What fill reads must outlive the description of the files. */
    bk_st_tensor *kept = bk_gguf_builder_alloc(a->h->b, n, sizeof *kept);
    for (size_t i = 0; kept && i < n; i++) kept[i] = *s->parts[i].t, s->parts[i].t = &kept[i];
    uint64_t ne[3] = {t->ne[0], t->ne[1], n};
    char name[64];
    snprintf(name, sizeof name, role->gguf, layer);
    int n_dims = role->flags & BK_HF_EXPERTS ? 3 : t->n_dims;
    if (n == 1 && s->from == s->to && s->half == 0 && s->add == 0)
        bk_gguf_builder_tensor(a->h->b, name, s->to->type, n_dims, ne, t->data);
    else if (kept)
        bk_gguf_builder_lazy(a->h->b, name, s->to->type, n_dims, ne, fill, s);
    return BK_OK;
}

/* Whether a tensor without a role may be left out: what is computed anyway, what looks and listens. */
static bool ignorable(bk_str name) {
    static const char *const parts[] = {"rotary_emb.inv_freq", "attention.masked_bias",
                                        "vision_tower.", "multi_modal_projector."};
    for (size_t i = 0; i < BK_ARRAY_LEN(parts); i++)
        if (memmem(name.data, name.len, parts[i], strlen(parts[i]))) return true;
    return false;
}

/* A weight that nothing reads would make the output silently wrong. */
static bk_status check_unused(const bk_hf *h) {
    for (size_t i = 0; i < h->n_shards; i++) {
        const bk_safetensors *st = h->shards[i].tensors;
        for (size_t k = 0; k < bk_safetensors_count(st); k++) {
            bk_str name = bk_safetensors_at(st, k)->name;
            if (h->shards[i].used[k] || ignorable(name)) continue;
            return bk_fail(h->err, BK_ERR_UNSUPPORTED, "tensor '" BK_STR_FMT "' has no role in %s",
                           BK_STR_ARG(name), h->arch->hf);
        }
    }
    return BK_OK;
}

/* The head, unless it is the embedding. */
static bk_status add_head(adder *a) {
    const json_t *tied = json_object_get(a->h->config, "tie_word_embeddings");
    if (!tied) tied = json_object_get(a->h->root, "tie_word_embeddings");
    found same;
    if (json_is_true(tied) || a->h->arch->add_one) { /* Gemma's is always tied */
        find(a->h, bk_hf_role_head.hf, &same);
        return BK_OK;
    }
    bk_status status = add_role(a, &bk_hf_role_head, 0);
    if (status != BK_ERR_NOT_FOUND) return status;
    if (!json_is_false(tied)) return BK_OK;
    return bk_fail(a->h->err, BK_ERR_FORMAT, "tensor '%s' is missing", bk_hf_role_head.hf);
}

/* The embedding comes first, so that its rows are known. */
static bk_status add_embedding(adder *a, size_t *n_vocab) {
    found f;
    bk_status status = add_role(a, &bk_hf_role_embed, 0);
    if (status != BK_OK) return status;
    find(a->h, bk_hf_role_embed.hf, &f);
    if (f.t->n_dims != 2 || f.t->ne[1] > 1 << 24)
        return bk_fail(a->h->err, BK_ERR_FORMAT,
                       "tensor '%s': wanted two dimensions, at most %d rows", bk_hf_role_embed.hf,
                       1 << 24);
    *n_vocab = (size_t)f.t->ne[1];
    bk_gguf_builder_file_type(a->h->b, f.t->type);
    return BK_OK;
}

bk_status bk_hf_add_tensors(bk_hf *h, size_t *n_vocab) {
    adder a = {.h = h};
    int64_t layers;
    const char *experts =
        json_object_get(h->config, "num_experts") ? "num_experts" : "num_local_experts";
    bk_status s = bk_hf_int(h, "num_hidden_layers", 1, 1024, -1, &layers);
    if (s == BK_OK) s = bk_hf_int(h, "num_attention_heads", 1, 1 << 16, -1, &a.heads);
    if (s == BK_OK) s = bk_hf_int(h, "num_key_value_heads", 1, 1 << 16, a.heads, &a.kv_heads);
    if (s == BK_OK) s = bk_hf_int(h, experts, 1, 4096, 1, &a.n_experts);
    if (s == BK_OK) s = add_embedding(&a, n_vocab);
    for (int i = 0; s == BK_OK && i < layers; i++) {
        for (size_t r = 0; s == BK_OK && r < h->arch->n_roles; r++) {
            s = add_role(&a, &h->arch->roles[r], i);
            if (s == BK_ERR_NOT_FOUND) s = BK_OK;
        }
    }
    if (s == BK_OK) s = add_role(&a, &bk_hf_role_norm, 0);
    if (s == BK_OK) s = add_head(&a);
    return s == BK_OK ? check_unused(h) : s;
}
