/* What a GGUF model that is to be trained on says of its sizes. */
#include <stdio.h>

#include "train/options.h"
#include "train/params.h"

typedef struct key {
    const char *name; /* behind "ARCHITECTURE." */
    size_t at;        /* int in the options */
    bool size;        /* must agree with a value that was given */
} key;

#define AT(name) offsetof(bk_train_options, name)
static const key lstm_keys[] = {{"embedding_length", AT(embedding), true},
                                {"hidden_length", AT(hidden), true},
                                {"output_length", AT(output), true},
                                {"block_count", AT(layers), true}};
static const key llama_keys[] = {
    {"embedding_length", AT(embedding), true},       {"block_count", AT(layers), true},
    {"feed_forward_length", AT(ffn), true},          {"attention.head_count", AT(heads), true},
    {"attention.head_count_kv", AT(kv_heads), true}, {"context_length", AT(context), false}};

static bk_status read_key(const bk_gguf *g, const char *arch, const key *k, bk_train_options *o,
                          bk_error *err) {
    char name[96];
    uint32_t v = 0;
    int *to = (int *)((char *)o + k->at);
    snprintf(name, sizeof name, "%s.%s", arch, k->name);
    bk_status st = bk_gguf_u32(g, name, 1, 1 << 30, &v, err);
    if (st == BK_ERR_NOT_FOUND) return bk_fail(err, BK_ERR_FORMAT, "key '%s' is missing", name);
    if (st) return st;
    if (k->size && *to != 0 && *to != (int)v)
        return bk_fail(err, BK_ERR_INVALID, "%s: %d was asked for, the model has %u", name, *to, v);
    *to = (int)v;
    return BK_OK;
}

/* Parts that a llama model may have and that are not computed here. */
static bk_status check_llama(const bk_gguf *g, const bk_train_options *o, bk_error *err) {
    static const char *const widths[] = {"llama.rope.dimension_count", "llama.attention.key_length",
                                         "llama.attention.value_length"};
    bk_str scaling = BK_STR("none");
    bk_status st = bk_gguf_str(g, "llama.rope.scaling.type", &scaling, err);
    if (st && st != BK_ERR_NOT_FOUND) return st;
    if (!bk_str_eq(scaling, BK_STR("none")))
        return bk_fail(err, BK_ERR_UNSUPPORTED,
                       "stretched positions (llama.rope.scaling.type '" BK_STR_FMT
                       "') cannot be trained",
                       BK_STR_ARG(scaling));
    for (size_t i = 0; i < BK_ARRAY_LEN(widths); i++) {
        uint32_t width = 0;
        st = bk_gguf_u32(g, widths[i], 0, UINT32_MAX, &width, err);
        if (st && st != BK_ERR_NOT_FOUND) return st;
        if (!st && width * (uint64_t)o->heads != (uint64_t)o->embedding)
            return bk_fail(err, BK_ERR_UNSUPPORTED,
                           "%d heads of %u (%s) in a model of width %d cannot be trained", o->heads,
                           width, widths[i], o->embedding);
    }
    return BK_OK;
}

bk_status bk_params_check(const bk_params *p, const bk_gguf *g, bk_error *err) {
    for (size_t i = 0; i < bk_gguf_n_tensors(g); i++) {
        bk_str name = bk_gguf_tensor_at(g, i)->name;
        size_t k = 0;
        while (k < p->n && !bk_str_eq(name, bk_str_from(p->list[k].name))) k++;
        if (k == p->n)
            return bk_fail(err, BK_ERR_UNSUPPORTED,
                           "models with a tensor '" BK_STR_FMT "' cannot be trained",
                           BK_STR_ARG(name));
    }
    return BK_OK;
}

static bk_status optional(const bk_gguf *g, const char *name, float *out, bk_error *err) {
    bk_status st = bk_gguf_f32(g, name, 0, 1e9f, out, err);
    return st == BK_ERR_NOT_FOUND ? BK_OK : st;
}

bk_status bk_train_options_from(const bk_gguf *g, bk_train_options *o, bk_error *err) {
    bk_str arch = {0};
    const char *want = bk_train_kind_name(o->kind);
    bk_status st = bk_gguf_str(g, "general.architecture", &arch, err);
    if (st && st != BK_ERR_NOT_FOUND) return st;
    if (!bk_str_eq(arch, bk_str_from(want)))
        return bk_fail(err, BK_ERR_INVALID, "architecture '" BK_STR_FMT "' found, %s is wanted",
                       BK_STR_ARG(arch), want);
    if (o->kind == BK_TRAIN_MLP) return BK_OK;
    bool lstm = o->kind == BK_TRAIN_LSTM;
    const key *keys = lstm ? lstm_keys : llama_keys;
    size_t n = lstm ? BK_ARRAY_LEN(lstm_keys) : BK_ARRAY_LEN(llama_keys);
    st = BK_OK;
    for (size_t i = 0; !st && i < n; i++) st = read_key(g, want, &keys[i], o, err);
    o->tied = bk_gguf_find_tensor(g, "output.weight") == NULL;
    o->projection = bk_gguf_find_tensor(g, "output_proj.weight") != NULL;
    o->decoder_bias = bk_gguf_find_tensor(g, "output.bias") != NULL;
    if (!st && !lstm) st = check_llama(g, o, err);
    if (!st) st = optional(g, "llama.rope.freq_base", &o->rope_base, err);
    if (!st) st = optional(g, "llama.attention.layer_norm_rms_epsilon", &o->norm_eps, err);
    return st;
}
