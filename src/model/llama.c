/* Architecture `llama`: Llama 1-3, SmolLM2, Mistral and whatever else is converted to that name.
 * Touvron et al. 2023 (arXiv 2302.13971); grouped queries as in Ainslie et al. 2023; per layer
 *     x += Wo attention(rope(Wq n), rope(Wk n), Wv n)     n = rms_norm(x)
 *     x += Wdown (silu(Wgate n) * (Wup n))                n = rms_norm(x)
 * and logits = head rms_norm(x). GGUF stores Wq and Wk so that neighbours rotate. */
#include <math.h>

#include "model/arch.h"

#define CONFIG(field) offsetof(bk_config, field)
#define LAYER(field) offsetof(bk_layer, field)
#define WEIGHTS(field) offsetof(bk_weights, field)

static const bk_key keys[] = {
    {"block_count", CONFIG(n_layers), BK_KEY_INT, 1, 1024, true, 0},
    {"context_length", CONFIG(context_length), BK_KEY_INT, 1, 1 << 24, true, 0},
    {"embedding_length", CONFIG(n_embd), BK_KEY_INT, 1, 1 << 17, true, 0},
    {"feed_forward_length", CONFIG(n_ff), BK_KEY_INT, 1, 1 << 20, true, 0},
    {"attention.head_count", CONFIG(n_heads), BK_KEY_INT, 1, 1024, true, 0},
    {"attention.head_count_kv", CONFIG(n_kv_heads), BK_KEY_INT, 1, 1024, false, 0},
    {"attention.key_length", CONFIG(head_size), BK_KEY_INT, 1, 256, false, 0},
    {"rope.dimension_count", CONFIG(rope_dims), BK_KEY_INT, 2, 256, false, 0},
    {"rope.freq_base", CONFIG(rope_base), BK_KEY_FLOAT, 1, 1e9, false, 10000},
    {"rope.scaling.factor", CONFIG(rope_scale), BK_KEY_FLOAT, 1e-3, 1e6, false, 0},
    {"attention.layer_norm_rms_epsilon", CONFIG(norm_eps), BK_KEY_FLOAT, 1e-12, 1, true, 0},
};

static const bk_role roles[] = {
    {"token_embd.weight", WEIGHTS(embed), false, true, false, BK_DIM_EMBD, BK_DIM_VOCAB},
    {"output.weight", WEIGHTS(head), false, true, true, BK_DIM_EMBD, BK_DIM_VOCAB},
    {"output_norm.weight", WEIGHTS(out_norm), false, false, false, BK_DIM_EMBD, BK_DIM_NONE},
    {"rope_freqs.weight", WEIGHTS(rope_factors), false, false, true, BK_DIM_ROPE_HALF, BK_DIM_NONE},
    {"blk.%d.attn_norm.weight", LAYER(attn_norm), true, false, false, BK_DIM_EMBD, BK_DIM_NONE},
    {"blk.%d.attn_q.weight", LAYER(q), true, true, false, BK_DIM_EMBD, BK_DIM_Q},
    {"blk.%d.attn_k.weight", LAYER(k), true, true, false, BK_DIM_EMBD, BK_DIM_KV},
    {"blk.%d.attn_v.weight", LAYER(v), true, true, false, BK_DIM_EMBD, BK_DIM_KV},
    {"blk.%d.attn_output.weight", LAYER(o), true, true, false, BK_DIM_Q, BK_DIM_EMBD},
    {"blk.%d.ffn_norm.weight", LAYER(ffn_norm), true, false, false, BK_DIM_EMBD, BK_DIM_NONE},
    {"blk.%d.ffn_gate.weight", LAYER(gate), true, true, false, BK_DIM_EMBD, BK_DIM_FF},
    {"blk.%d.ffn_up.weight", LAYER(up), true, true, false, BK_DIM_EMBD, BK_DIM_FF},
    {"blk.%d.ffn_down.weight", LAYER(down), true, true, false, BK_DIM_FF, BK_DIM_EMBD},
};

static bk_status check_scaling(const bk_gguf *g, bk_config *c, bk_error *err) {
    bk_str type = {0};
    bk_status status = bk_gguf_str(g, "llama.rope.scaling.type", &type, err);
    if (status != BK_OK && status != BK_ERR_NOT_FOUND) return status;
    if (status == BK_ERR_NOT_FOUND || bk_str_eq(type, BK_STR("none"))) {
        c->rope_scale = 1;
    } else if (!bk_str_eq(type, BK_STR("linear"))) {
        return bk_fail(err, BK_ERR_UNSUPPORTED,
                       "key 'llama.rope.scaling.type': '" BK_STR_FMT
                       "' found, 'none' or 'linear' is supported",
                       BK_STR_ARG(type));
    } else if (c->rope_scale == 0) {
        return bk_fail(err, BK_ERR_FORMAT,
                       "key 'llama.rope.scaling.factor' is missing, and the scaling is linear");
    }
    return BK_OK;
}

static bk_status check_heads(bk_config *c, bk_error *err) {
    if (c->n_kv_heads == 0) c->n_kv_heads = c->n_heads;
    if (c->n_heads % c->n_kv_heads)
        return bk_fail(err, BK_ERR_FORMAT,
                       "key 'llama.attention.head_count_kv': %d found, a divisor of head_count = "
                       "%d wanted",
                       c->n_kv_heads, c->n_heads);
    if (c->head_size == 0) {
        if (c->n_embd % c->n_heads)
            return bk_fail(err, BK_ERR_FORMAT,
                           "key 'llama.attention.head_count': %d found, a divisor of "
                           "embedding_length = %d wanted",
                           c->n_heads, c->n_embd);
        c->head_size = c->n_embd / c->n_heads;
    }
    if (c->head_size > 256)
        return bk_fail(err, BK_ERR_UNSUPPORTED, "heads of %d values found, 256 is the most",
                       c->head_size);
    if (c->rope_dims == 0) c->rope_dims = c->head_size;
    if (c->rope_dims > c->head_size || c->rope_dims % 2)
        return bk_fail(err, BK_ERR_FORMAT,
                       "key 'llama.rope.dimension_count': %d found, an even number up to the head "
                       "size %d wanted",
                       c->rope_dims, c->head_size);
    return BK_OK;
}

static bk_status finish(const bk_gguf *g, bk_config *c, bk_attn_shape *attn, bk_error *err) {
    uint32_t experts = 0, value_length = 0;
    bk_status status = bk_gguf_u32(g, "llama.expert_count", 0, UINT32_MAX, &experts, err);
    if (status != BK_OK && status != BK_ERR_NOT_FOUND) return status;
    if (experts)
        return bk_fail(err, BK_ERR_UNSUPPORTED,
                       "key 'llama.expert_count': %u found, mixtures of experts are not supported",
                       experts);
    if ((status = check_heads(c, err)) != BK_OK) return status;
    status = bk_gguf_u32(g, "llama.attention.value_length", 1, 256, &value_length, err);
    if (status != BK_OK && status != BK_ERR_NOT_FOUND) return status;
    if (value_length && (int)value_length != c->head_size)
        return bk_fail(err, BK_ERR_UNSUPPORTED,
                       "key 'llama.attention.value_length': %u found, the key length %d wanted",
                       value_length, c->head_size);
    if ((status = check_scaling(g, c, err)) != BK_OK) return status;
    *attn = (bk_attn_shape){.n_heads = c->n_heads,
                            .n_kv_heads = c->n_kv_heads,
                            .head_size = c->head_size,
                            .rope_dims = c->rope_dims,
                            .scale = 1.0f / sqrtf((float)c->head_size)};
    return BK_OK;
}

/* ---- Forward ---------------------------------------------------------------------------------------- */

/* A product of rows prepared as `input` says; product() appends its weights. */
static bk_cmd *products(bk_pass *p, size_t rows, bk_input input, bool add) {
    bk_cmd *c = bk_pass_add(p, BK_OP_PRODUCT, rows);
    c->product.input = input;
    c->product.add = add;
    return c;
}

/* y [rows][ld] (+)= w input */
static void product(bk_cmd *c, const bk_weight *w, float *y, int ld) {
    int i = c->product.n++;
    c->product.w[i] = w;
    c->product.out[i] = y;
    c->product.ldo[i] = (size_t)ld;
}

static bk_input norm_of_x(const bk_pass *p, const float *weight, const int32_t *index) {
    const bk_config *cfg = &p->model->config;
    return (bk_input){.kind = BK_INPUT_NORM,
                      .k = (size_t)cfg->n_embd,
                      .x = p->x,
                      .ld = (size_t)cfg->n_embd,
                      .index = index,
                      .weight = weight,
                      .eps = cfg->norm_eps};
}

static void attention(bk_pass *p, const bk_layer *l, int layer) {
    const bk_config *cfg = &p->model->config;
    int q_len = cfg->n_heads * cfg->head_size, kv_len = cfg->n_kv_heads * cfg->head_size;

    bk_cmd *c = products(p, p->n_rows, norm_of_x(p, l->attn_norm, NULL), false);
    product(c, l->q, p->q, q_len);
    product(c, l->k, p->k, kv_len);
    product(c, l->v, p->v, kv_len);

    c = bk_pass_add(p, BK_OP_ATTENTION, p->n_rows);
    c->attention.q = p->q, c->attention.k = p->k, c->attention.v = p->v;
    c->attention.out = p->attn;
    c->attention.ldq = (size_t)q_len, c->attention.ldkv = (size_t)kv_len;
    c->attention.angles = p->angles;
    c->attention.row = p->rows, c->attention.seqs = p->seqs;
    c->attention.shape = &p->model->attn;
    c->attention.layer = layer;

    bk_input out = {.kind = BK_INPUT_ROWS, .k = (size_t)q_len, .x = p->attn, .ld = (size_t)q_len};
    product(products(p, p->n_rows, out, true), l->o, p->x, cfg->n_embd);
}

static void feed_forward(bk_pass *p, const bk_layer *l) {
    const bk_config *cfg = &p->model->config;
    bk_cmd *c = products(p, p->n_rows, norm_of_x(p, l->ffn_norm, NULL), false);
    product(c, l->gate, p->gate, cfg->n_ff);
    product(c, l->up, p->up, cfg->n_ff);

    bk_input gated = {.kind = BK_INPUT_GATE,
                      .k = (size_t)cfg->n_ff,
                      .x = p->gate,
                      .up = p->up,
                      .ld = (size_t)cfg->n_ff};
    product(products(p, p->n_rows, gated, true), l->down, p->x, cfg->n_embd);
}

static void record(bk_pass *p) {
    const bk_model *m = p->model;
    bk_cmd *c = bk_pass_add(p, BK_OP_EMBED, p->n_rows);
    c->embed.tokens = p->tokens;
    c->embed.table = m->weights.embed;
    c->embed.x = p->x, c->embed.ldx = (size_t)m->config.n_embd;

    for (int i = 0; i < m->config.n_layers; i++) {
        attention(p, &m->weights.layers[i], i);
        feed_forward(p, &m->weights.layers[i]);
    }
    if (p->n_logits == 0) return;
    bk_input last = norm_of_x(p, m->weights.out_norm, p->logit_rows);
    product(products(p, p->n_logits, last, false), m->weights.head, p->logits, m->config.n_vocab);
}

const bk_arch bk_arch_llama = {
    .name = "llama",
    .keys = keys,
    .n_keys = BK_ARRAY_LEN(keys),
    .roles = roles,
    .n_roles = BK_ARRAY_LEN(roles),
    .cmds_per_layer = 5,
    .cmds_extra = 2,
    .finish = finish,
    .record = record,
};
