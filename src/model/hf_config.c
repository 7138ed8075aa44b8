/* config.json -> keys. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "model/hf_internal.h"

/* ---- Values --------------------------------------------------------------------------------- */

/* NULL where JSON has null, too. */
static const json_t *member(const json_t *object, const char *name) {
    const json_t *v = json_object_get(object, name);
    return v && !json_is_null(v) ? v : NULL;
}

bk_status bk_hf_int(const bk_hf *h, const char *name, int64_t min, int64_t max, int64_t fallback,
                    int64_t *out) {
    const json_t *v = member(h->config, name);
    *out = fallback;
    if (!v && fallback >= 0) return BK_OK;
    if (!v)
        return bk_fail(h->err, BK_ERR_FORMAT,
                       "config.json: '%s' is missing; a whole number from %lld to %lld wanted",
                       name, (long long)min, (long long)max);
    if (!json_is_integer(v))
        return bk_fail(h->err, BK_ERR_FORMAT, "config.json: '%s' is not a whole number", name);
    *out = json_integer_value(v);
    if (*out < min || *out > max)
        return bk_fail(h->err, BK_ERR_FORMAT, "config.json: '%s' is %lld, wanted %lld to %lld",
                       name, (long long)*out, (long long)min, (long long)max);
    return BK_OK;
}

/* A finite number at object[name], *found false when absent. */
static bk_status number(const bk_hf *h, const json_t *object, const char *name, double *out,
                        bool *found) {
    const json_t *v = member(object, name);
    *found = v != NULL;
    if (!v) return BK_OK;
    *out = json_number_value(v);
    if (json_is_number(v) && fabs(*out) <= 3e38) return BK_OK;
    return bk_fail(h->err, BK_ERR_FORMAT, "config.json: '%s' is not a number", name);
}

static void set_u32(const bk_hf *h, const char *suffix, uint32_t v) {
    char key[128];
    snprintf(key, sizeof key, "%s.%s", h->arch->gguf, suffix);
    bk_gguf_builder_u32(h->b, key, v);
}

static void set_f32(const bk_hf *h, const char *suffix, double v) {
    char key[128];
    snprintf(key, sizeof key, "%s.%s", h->arch->gguf, suffix);
    bk_gguf_builder_f32(h->b, key, (float)v);
}

static void set_str(const bk_hf *h, const char *suffix, const char *v) {
    char key[128];
    snprintf(key, sizeof key, "%s.%s", h->arch->gguf, suffix);
    bk_gguf_builder_str(h->b, key, bk_str_from(v));
}

/* ---- The architecture ----------------------------------------------------------------------- */

static bk_status fail_arch(const bk_hf *h, bk_str name) {
    char list[320];
    size_t len = 0;
    for (size_t i = 0; i < bk_hf_n_archs && len < sizeof list; i++)
        len += (size_t)snprintf(list + len, sizeof list - len, "%s%s", i ? ", " : "",
                                bk_hf_archs[i].hf);
    return bk_fail(h->err, BK_ERR_UNSUPPORTED,
                   "config.json: architecture '" BK_STR_FMT "' found; supported: %s",
                   (int)bk_min_size(name.len, 60), name.data, list);
}

static bk_status check_act(const bk_hf *h) {
    bk_str act = bk_json_text(member(h->config, "hidden_activation"));
    if (!act.data) act = bk_json_text(member(h->config, "hidden_act"));
    if (!act.data || bk_str_starts(act, bk_str_from(h->arch->act))) return BK_OK;
    return bk_fail(h->err, BK_ERR_UNSUPPORTED,
                   "config.json: 'hidden_act' is '" BK_STR_FMT "', wanted %s", BK_STR_ARG(act),
                   h->arch->act);
}

/* Which layers see a window is fixed in GGUF: an architecture's readers know it. */
static bk_status check_layers(const bk_hf *h) {
    const json_t *types = member(h->config, "layer_types");
    int64_t every = h->arch->window_every, pattern;
    bk_status s = bk_hf_int(h, "sliding_window_pattern", 1, 1024, every, &pattern);
    if (s != BK_OK) return s;
    bool good = pattern == every || every == 0;
    good = good && !json_is_true(member(h->config, "use_sliding_window"));
    for (size_t i = 0; i < json_array_size(types); i++) {
        bool full = every == 0 || (i + 1) % (size_t)every == 0;
        bk_str wanted = full ? BK_STR("full_attention") : BK_STR("sliding_attention");
        good = good && bk_str_eq(bk_json_text(json_array_get(types, i)), wanted);
    }
    if (good) return BK_OK;
    return bk_fail(h->err, BK_ERR_UNSUPPORTED,
                   "config.json: other layers with a sliding window than GGUF's %s has",
                   h->arch->gguf);
}

/* So is by what scores are divided. */
static bk_status check_scale(const bk_hf *h) {
    int64_t layers, embd, heads, size, said;
    if (h->arch->wide_layers == 0) return BK_OK;
    bk_status s = bk_hf_int(h, "num_hidden_layers", 1, 1024, -1, &layers);
    if (s == BK_OK) s = bk_hf_int(h, "hidden_size", 1, 1 << 20, -1, &embd);
    if (s == BK_OK) s = bk_hf_int(h, "num_attention_heads", 1, 1 << 16, -1, &heads);
    if (s == BK_OK) s = bk_hf_int(h, "head_dim", 1, 1 << 16, 256, &size);
    if (s != BK_OK) return s;
    if (layers == h->arch->wide_layers) size = embd / heads;
    s = bk_hf_int(h, "query_pre_attn_scalar", 1, 1 << 20, size, &said);
    if (s != BK_OK || said == size) return s;
    return bk_fail(
        h->err, BK_ERR_UNSUPPORTED,
        "config.json: 'query_pre_attn_scalar' is %lld, wanted %lld, which GGUF's %s takes",
        (long long)said, (long long)size, h->arch->gguf);
}

bk_status bk_hf_find_arch(bk_hf *h) {
    const json_t *text = member(h->root, "text_config");
    bk_str name = bk_json_text(json_array_get(json_object_get(h->root, "architectures"), 0));
    if (!name.data)
        return bk_fail(h->err, BK_ERR_FORMAT,
                       "config.json: 'architectures' is missing; wanted a list with a name like "
                       "LlamaForCausalLM");
    for (size_t i = 0; i < bk_hf_n_archs && !h->arch; i++)
        if (bk_str_eq(name, bk_str_from(bk_hf_archs[i].hf))) h->arch = &bk_hf_archs[i];
    if (!h->arch) return fail_arch(h, name);
    h->config = json_is_object(text) ? (json_t *)text : h->root;
    const json_t *quantized = member(h->root, "quantization_config");
    bk_str method = bk_json_text(json_object_get(quantized, "quant_method"));
    if (quantized)
        return bk_fail(h->err, BK_ERR_UNSUPPORTED,
                       "config.json: weights quantized with '" BK_STR_FMT
                       "'; wanted the model in float",
                       BK_STR_ARG(method));
    const json_t *renormalise = member(h->config, "norm_topk_prob");
    if (json_is_false(renormalise))
        return bk_fail(h->err, BK_ERR_UNSUPPORTED,
                       "config.json: 'norm_topk_prob' is false, which GGUF's %s cannot say",
                       h->arch->gguf);
    bk_status s = check_act(h);
    if (s == BK_OK) s = check_layers(h);
    return s == BK_OK ? check_scale(h) : s;
}

/* ---- Rotation ------------------------------------------------------------------------------- */

/* The object with rope_type, factor and so on: transformers 4 calls it rope_scaling, 5
 * rope_parameters, there with one object per kind of layer where kinds differ. */
typedef struct rope {
    const json_t *full, *local; /* may be NULL */
    bk_str type;                /* "" when nothing is scaled */
    int64_t dims, head_size, context, original;
    double base;
} rope;

static bk_status read_rope(const bk_hf *h, rope *r) {
    const json_t *p = member(h->config, "rope_parameters");
    int64_t embd, heads;
    bool found;
    if (!p) p = member(h->config, "rope_scaling");
    r->full = member(p, "full_attention") ? member(p, "full_attention") : p;
    r->local = member(p, "sliding_attention");
    r->type = bk_json_text(member(r->full, "rope_type"));
    if (!r->type.data) r->type = bk_json_text(member(r->full, "type"));
    if (!r->type.data || bk_str_eq(r->type, BK_STR("default"))) r->type = BK_STR("");
    bk_status s = number(h, r->full, "rope_theta", &r->base, &found);
    if (s == BK_OK && !found) s = number(h, h->config, "rope_theta", &r->base, &found);
    if (s == BK_OK && !found) r->base = strcmp(h->arch->gguf, "gemma3") == 0 ? 1e6 : 1e4;
    if (s == BK_OK) s = bk_hf_int(h, "hidden_size", 1, 1 << 20, -1, &embd);
    if (s == BK_OK) s = bk_hf_int(h, "num_attention_heads", 1, 1 << 16, -1, &heads);
    if (s == BK_OK) s = bk_hf_int(h, "head_dim", 1, 1 << 16, 0, &r->head_size);
    if (s == BK_OK) s = bk_hf_int(h, "max_position_embeddings", 1, 1 << 30, 131072, &r->context);
    if (s != BK_OK) return s;
    if (r->head_size == 0) r->head_size = embd / heads;
    double part = 1;
    s = number(h, r->full, "partial_rotary_factor", &part, &found);
    if (s == BK_OK && !found) s = number(h, h->config, "partial_rotary_factor", &part, &found);
    if (s != BK_OK) return s;
    if (!(part > 0 && part <= 1))
        return bk_fail(h->err, BK_ERR_FORMAT,
                       "config.json: 'partial_rotary_factor' is %g, wanted above 0 and at most 1",
                       part);
    if (part < 1 && !h->arch->long_rope)
        return bk_fail(h->err, BK_ERR_UNSUPPORTED,
                       "config.json: 'partial_rotary_factor' is %g, which GGUF's %s cannot say",
                       part, h->arch->gguf);
    r->dims = (int64_t)(part * (double)r->head_size);
    double original = (double)r->context;
    s = number(h, r->full, "original_max_position_embeddings", &original, &found);
    if (s == BK_OK && !found)
        s = number(h, h->config, "original_max_position_embeddings", &original, &found);
    if (s != BK_OK) return s;
    if (!(original >= 1 && original < (double)(1 << 30)))
        return bk_fail(h->err, BK_ERR_FORMAT,
                       "config.json: 'original_max_position_embeddings' is %g, wanted from 1 on",
                       original);
    r->original = (int64_t)original;
    return BK_OK;
}

/* Llama 3.1's scaling: long waves are slowed down by `factor`, short ones not, those between by a
 * blend (transformers' modeling_rope_utils.py). GGUF stores the divisor of each frequency. */
static bk_status add_llama3(const bk_hf *h, const rope *r) {
    double factor = 8, low = 1, high = 4;
    bool found;
    bk_status s = number(h, r->full, "factor", &factor, &found);
    if (s == BK_OK) s = number(h, r->full, "low_freq_factor", &low, &found);
    if (s == BK_OK) s = number(h, r->full, "high_freq_factor", &high, &found);
    if (s != BK_OK) return s;
    if (!(factor > 0) || !(low > 0) || !(high > low))
        return bk_fail(h->err, BK_ERR_FORMAT,
                       "config.json: rope factors %g, %g and %g, wanted above 0 and the high one "
                       "above the low one",
                       factor, low, high);
    uint64_t half = (uint64_t)r->dims / 2;
    float *out = bk_gguf_builder_alloc(h->b, half, sizeof *out);
    for (uint64_t i = 0; out && i < half; i++) {
        double freq = pow(r->base, -2.0 * (double)i / (double)r->dims);
        double wave = 2 * 3.14159265358979323846 / freq, original = (double)r->original;
        double smooth = (original / wave - low) / (high - low);
        if (wave < original / high)
            out[i] = 1;
        else if (wave > original / low)
            out[i] = (float)factor;
        else
            out[i] = (float)(1 / ((1 - smooth) / factor + smooth));
    }
    if (out)
        bk_gguf_builder_tensor(h->b, "rope_freqs.weight", BK_TYPE_F32, 1, &half, (uint8_t *)out);
    return BK_OK;
}

static bk_status add_factors(const bk_hf *h, const rope *r, const char *name, const char *tensor) {
    const json_t *list = member(r->full, name);
    uint64_t half = (uint64_t)r->dims / 2;
    if (json_array_size(list) != half)
        return bk_fail(h->err, BK_ERR_FORMAT,
                       "config.json: '%s' has %zu numbers, wanted %llu (half of what is rotated)",
                       name, json_array_size(list), (unsigned long long)half);
    float *out = bk_gguf_builder_alloc(h->b, half, sizeof *out);
    for (uint64_t i = 0; out && i < half; i++) {
        double v = json_number_value(json_array_get(list, i));
        if (!(v > 0 && v < 1e30))
            return bk_fail(h->err, BK_ERR_FORMAT, "config.json: '%s' has a number that is %g", name,
                           v);
        out[i] = (float)v;
    }
    if (out) bk_gguf_builder_tensor(h->b, tensor, BK_TYPE_F32, 1, &half, (uint8_t *)out);
    return BK_OK;
}

/* LongRoPE (arXiv 2402.13753), as Phi-3 has it. */
static bk_status add_long(const bk_hf *h, const rope *r) {
    double scale = (double)r->context / (double)r->original;
    double attn = scale > 1 ? sqrt(1 + log(scale) / log((double)r->original)) : 1;
    bk_status s = add_factors(h, r, "long_factor", "rope_factors_long.weight");
    if (s == BK_OK) s = add_factors(h, r, "short_factor", "rope_factors_short.weight");
    if (s == BK_OK) set_f32(h, "rope.scaling.attn_factor", attn);
    return s;
}

/* YaRN (arXiv 2309.00071); what config.json leaves out, every reader takes from the paper. */
static bk_status add_yarn(const bk_hf *h, const rope *r) {
    static const char *const names[][2] = {
        {"extrapolation_factor", "rope.scaling.yarn_ext_factor"},
        {"attention_factor", "rope.scaling.yarn_attn_factor"},
        {"beta_fast", "rope.scaling.yarn_beta_fast"},
        {"beta_slow", "rope.scaling.yarn_beta_slow"},
    };
    set_u32(h, "rope.scaling.original_context_length", (uint32_t)r->original);
    for (size_t i = 0; i < BK_ARRAY_LEN(names); i++) {
        double v;
        bool found;
        bk_status s = number(h, r->full, names[i][0], &v, &found);
        if (s != BK_OK) return s;
        if (found) set_f32(h, names[i][1], v);
    }
    return BK_OK;
}

static bk_status add_scaling(const bk_hf *h, const rope *r) {
    bool yarn = bk_str_eq(r->type, BK_STR("yarn")), found;
    double factor;
    if (r->type.len == 0) return BK_OK;
    if (h->arch->llama3_rope && bk_str_eq(r->type, BK_STR("llama3"))) return add_llama3(h, r);
    if (h->arch->long_rope &&
        (bk_str_eq(r->type, BK_STR("longrope")) || bk_str_eq(r->type, BK_STR("su"))))
        return add_long(h, r);
    if (h->arch->long_rope || (!yarn && !bk_str_eq(r->type, BK_STR("linear"))))
        return bk_fail(h->err, BK_ERR_UNSUPPORTED,
                       "config.json: rope type '" BK_STR_FMT "' found, which GGUF's %s cannot say",
                       BK_STR_ARG(r->type), h->arch->gguf);
    bk_status s = number(h, r->full, "factor", &factor, &found);
    if (s == BK_OK && !found)
        s = bk_fail(h->err, BK_ERR_FORMAT, "config.json: the rope scaling has no 'factor'");
    if (s != BK_OK) return s;
    set_str(h, "rope.scaling.type", yarn ? "yarn" : "linear");
    set_f32(h, "rope.scaling.factor", factor);
    return yarn ? add_yarn(h, r) : BK_OK;
}

static bk_status add_rope(const bk_hf *h) {
    rope r = {0};
    double local;
    bool found;
    bk_status s = read_rope(h, &r);
    if (s != BK_OK) return s;
    set_f32(h, "rope.freq_base", r.base);
    if (h->arch->rope_dims) set_u32(h, "rope.dimension_count", (uint32_t)r.dims);
    if (h->arch->long_rope)
        set_u32(h, "rope.scaling.original_context_length", (uint32_t)r.original);
    s = number(h, r.local, "rope_theta", &local, &found);
    if (s == BK_OK && !found) s = number(h, h->config, "rope_local_base_freq", &local, &found);
    if (s == BK_OK && found) set_f32(h, "rope.freq_base_swa", local);
    return s == BK_OK ? add_scaling(h, &r) : s;
}

/* ---- Keys ----------------------------------------------------------------------------------- */

static const bk_hf_key common[] = {
    {"num_hidden_layers", "block_count", BK_HF_INT, true, 0},
    {"max_position_embeddings", "context_length", BK_HF_INT, false, 131072},
    {"hidden_size", "embedding_length", BK_HF_INT, true, 0},
    {"intermediate_size", "feed_forward_length", BK_HF_INT, true, 0},
    {"num_attention_heads", "attention.head_count", BK_HF_INT, true, 0},
    {"num_key_value_heads", "attention.head_count_kv", BK_HF_INT, false, NAN},
    {"rms_norm_eps", "attention.layer_norm_rms_epsilon", BK_HF_FLOAT, false, 1e-6},
};

static bk_status add_key(const bk_hf *h, const bk_hf_key *k) {
    double v = k->fallback;
    bool found;
    if (k->kind == BK_HF_INT && (k->required || member(h->config, k->name))) {
        int64_t i;
        bk_status s = bk_hf_int(h, k->name, 0, UINT32_MAX, -1, &i);
        if (s == BK_OK) set_u32(h, k->suffix, (uint32_t)i);
        return s;
    }
    bk_status s = k->kind == BK_HF_FLOAT ? number(h, h->config, k->name, &v, &found) : BK_OK;
    if (s != BK_OK || isnan(v)) return s;
    if (k->kind == BK_HF_FLOAT)
        set_f32(h, k->suffix, v);
    else
        set_u32(h, k->suffix, (uint32_t)v);
    return BK_OK;
}

static bk_status add_keys(const bk_hf *h, const bk_hf_key *keys, size_t n) {
    bk_status s = BK_OK;
    for (size_t i = 0; s == BK_OK && i < n; i++) s = add_key(h, &keys[i]);
    return s;
}

/* The folder's own name, for people. */
static bk_str folder_name(const char *folder) {
    size_t len = strlen(folder);
    while (len > 1 && folder[len - 1] == '/') len--;
    size_t begin = len;
    while (begin > 0 && folder[begin - 1] != '/') begin--;
    return (bk_str){folder + begin, len - begin};
}

bk_status bk_hf_add_config(bk_hf *h) {
    bk_gguf_builder_str(h->b, "general.architecture", bk_str_from(h->arch->gguf));
    bk_gguf_builder_str(h->b, "general.type", BK_STR("model"));
    bk_gguf_builder_str(h->b, "general.name", folder_name(h->folder));
    bk_status s = add_keys(h, common, BK_ARRAY_LEN(common));
    if (s == BK_OK) s = add_keys(h, h->arch->keys, h->arch->n_keys);
    return s == BK_OK ? add_rope(h) : s;
}
