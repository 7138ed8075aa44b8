/* Metadata into the configuration of a model: every key read by the table of names, its range checked,
 * then checked against the others. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "model/arch.h"

static const bk_arch *const archs[] = {
    &bk_arch_llama,  &bk_arch_qwen2,  &bk_arch_qwen3, &bk_arch_qwen3moe, &bk_arch_gemma,
    &bk_arch_gemma2, &bk_arch_gemma3, &bk_arch_phi3,  &bk_arch_lstm,
};

const bk_arch *bk_arch_find(bk_str name) {
    for (size_t i = 0; i < BK_ARRAY_LEN(archs); i++)
        if (bk_str_eq(name, bk_str_from(archs[i]->name))) return archs[i];
    return NULL;
}

static void list_archs(char *out, size_t cap) {
    size_t len = 0;
    for (size_t i = 0; i < BK_ARRAY_LEN(archs) && len < cap; i++)
        len += (size_t)snprintf(out + len, cap - len, "%s%s", i ? ", " : "", archs[i]->name);
}

/* ---- Configuration ------------------------------------------------------------------------------- */

static bk_status load_key(const bk_gguf *g, const char *arch, const bk_key *k, bk_config *c,
                          bk_error *err) {
    char key[128];
    uint32_t u = 0;
    float f = 0;
    bk_status status;
    snprintf(key, sizeof key, "%s.%s", arch, k->suffix);
    if (k->kind == BK_KEY_INT)
        status = bk_gguf_u32(g, key, (uint32_t)k->min, (uint32_t)k->max, &u, err);
    else
        status = bk_gguf_f32(g, key, (float)k->min, (float)k->max, &f, err);
    if (status == BK_ERR_NOT_FOUND) {
        if (k->required)
            return bk_fail(err, BK_ERR_FORMAT, "key '%s' is missing; a number from %g to %g wanted",
                           key, k->min, k->max);
        u = (uint32_t)k->fallback;
        f = (float)k->fallback;
    } else if (status != BK_OK) {
        return status;
    }
    if (k->kind == BK_KEY_INT)
        *(int *)(void *)((char *)c + k->offset) = (int)u;
    else
        *(float *)(void *)((char *)c + k->offset) = f;
    return BK_OK;
}

static bk_status check_heads(const bk_gguf *g, const char *arch, bk_config *c, bk_error *err) {
    char key[128];
    uint32_t value_length = 0;
    if (c->n_kv_heads == 0) c->n_kv_heads = c->n_heads;
    if (c->n_heads % c->n_kv_heads)
        return bk_fail(err, BK_ERR_FORMAT,
                       "key '%s.attention.head_count_kv': %d found, a divisor of head_count = %d "
                       "wanted",
                       arch, c->n_kv_heads, c->n_heads);
    if (c->head_size == 0) {
        if (c->n_embd % c->n_heads)
            return bk_fail(err, BK_ERR_FORMAT,
                           "key '%s.attention.head_count': %d found, a divisor of "
                           "embedding_length = %d wanted",
                           arch, c->n_heads, c->n_embd);
        c->head_size = c->n_embd / c->n_heads;
    }
    if (c->head_size > 256)
        return bk_fail(err, BK_ERR_UNSUPPORTED, "heads of %d values found, 256 is the most",
                       c->head_size);
    snprintf(key, sizeof key, "%s.attention.value_length", arch);
    bk_status status = bk_gguf_u32(g, key, 1, 256, &value_length, err);
    if (status != BK_OK && status != BK_ERR_NOT_FOUND) return status;
    if (value_length && (int)value_length != c->head_size)
        return bk_fail(err, BK_ERR_UNSUPPORTED, "key '%s': %u found, the key length %d wanted", key,
                       value_length, c->head_size);
    if (c->rope.dims == 0) c->rope.dims = c->head_size;
    if (c->rope.dims > c->head_size || c->rope.dims % 2)
        return bk_fail(err, BK_ERR_FORMAT,
                       "key '%s.rope.dimension_count': %d found, an even number up to the head "
                       "size %d wanted",
                       arch, c->rope.dims, c->head_size);
    return BK_OK;
}

static bk_status check_feed_forward(const char *arch, bk_config *c, bk_error *err) {
    if (c->n_experts) c->features |= BK_EXPERTS;
    if (!(c->features & BK_EXPERTS)) {
        if (c->n_ff > 0) return BK_OK;
        return bk_fail(err, BK_ERR_FORMAT,
                       "key '%s.feed_forward_length' is missing or 0; 1 to 1048576 wanted", arch);
    }
    if (c->n_experts_used < 1 || c->n_experts_used > c->n_experts)
        return bk_fail(err, BK_ERR_FORMAT,
                       "key '%s.expert_used_count': %d found, 1 to expert_count = %d wanted", arch,
                       c->n_experts_used, c->n_experts);
    if (c->n_ff_expert == 0) c->n_ff_expert = c->n_ff;
    if (c->n_ff_expert > 0) return BK_OK;
    return bk_fail(err, BK_ERR_FORMAT,
                   "key '%s.expert_feed_forward_length' is missing or 0; 1 to 1048576 wanted",
                   arch);
}

/* ---- Layers -------------------------------------------------------------------------------------- */

/* Layers with the same window share pages and the shape of their attention. */
static int group_of_window(bk_model *m, int window) {
    int g = 0;
    while (g < m->n_groups && m->group[g].window != window) g++;
    if (g < m->n_groups) return g;
    const bk_config *c = &m->config;
    m->n_groups++;
    m->group[g] = (bk_kv_group){.window = window};
    m->attn[g] = (bk_attn_shape){.n_heads = c->n_heads,
                                 .n_kv_heads = c->n_kv_heads,
                                 .head_size = c->head_size,
                                 .rope_dims = c->rope.dims,
                                 .scale = c->score_scale,
                                 .cap = c->score_cap,
                                 .window = window,
                                 .kv_type = m->meta.kv_type,
                                 .neox = (c->features & BK_HALVES) != 0};
    return g;
}

bk_status bk_make_layers(bk_model *m, bk_error *err) {
    size_t n = (size_t)m->config.n_layers;
    bk_layer *layers = bk_arena_alloc(&m->arena, n, sizeof *layers);
    if (!layers) return bk_fail(err, BK_ERR_NOMEM, "no memory for %zu layers", n);
    memset(layers, 0, n * sizeof *layers);
    m->weights.layers = layers;
    return BK_OK;
}

static bk_status group_layers(bk_model *m, bk_error *err) {
    const bk_config *c = &m->config;
    bk_status status = bk_make_layers(m, err);
    if (status != BK_OK) return status;
    bk_layer *layers = m->weights.layers;
    for (int i = 0; i < c->n_layers; i++) {
        /* The last of every window_every layers sees everything. */
        bool all = c->window_every && i % c->window_every == c->window_every - 1;
        layers[i].group = group_of_window(m, all ? 0 : c->window);
        layers[i].index = m->group[layers[i].group].n_layers++;
    }
    return BK_OK;
}

bk_status bk_transformer_settle(const bk_gguf *g, bk_model *m, bk_error *err) {
    bk_config *c = &m->config;
    const char *arch = m->arch->name;
    bk_status status = check_heads(g, arch, c, err);
    if (status == BK_OK) status = check_feed_forward(arch, c, err);
    if (status == BK_OK) status = bk_rope_read(g, arch, &c->rope, err);
    if (status != BK_OK) return status;
    c->n_out = c->n_embd;
    c->score_scale = 1.0f / sqrtf((float)c->head_size);
    if (m->arch->finish) m->arch->finish(c);
    return group_layers(m, err);
}

/* ---- Any model ----------------------------------------------------------------------------------- */

static bk_status read_arch(const bk_gguf *g, bk_model *m, bk_error *err) {
    bk_str name;
    char known[256];
    bk_status status = bk_gguf_str(g, "general.architecture", &name, err);
    if (status == BK_ERR_NOT_FOUND)
        return bk_fail(err, BK_ERR_FORMAT, "key 'general.architecture' is missing");
    if (status != BK_OK) return status;
    m->arch = bk_arch_find(name);
    if (m->arch) {
        m->family = m->arch->family ? m->arch->family : &bk_transformer;
        return BK_OK;
    }
    list_archs(known, sizeof known);
    return bk_fail(err, BK_ERR_UNSUPPORTED,
                   "key 'general.architecture': '" BK_STR_FMT "' found; supported: %s",
                   BK_STR_ARG(name), known);
}

bk_status bk_load_config(const bk_gguf *g, bk_model *m, bk_error *err) {
    bk_config *c = &m->config;
    bk_status status = read_arch(g, m, err);
    if (status != BK_OK) return status;
    const bk_family *f = m->family;
    for (size_t i = 0; i < f->n_keys; i++) {
        status = load_key(g, m->arch->name, &f->keys[i], c, err);
        if (status != BK_OK) return status;
    }
    c->features = m->arch->features;
    c->embed_scale = 1;
    if (c->rope.original_context == 0) c->rope.original_context = c->context_length;
    return f->settle(g, m, err);
}
