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
    {"rope_freqs.weight", WEIGHTS(rope_factors), false, false, true, BK_DIM_ROPE_HALF,
     BK_DIM_NONE},
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

static bool quantized(const bk_weight *w) { return bk_weight_type(w)->bits != 0; }

static void norm(bk_pass *p, const int32_t *index, size_t rows, const float *weight, bk_operand y,
                 bool quantize) {
    bk_cmd *c = bk_pass_add(p, BK_OP_NORM, rows);
    c->norm.x = p->x;
    c->norm.ldx = (size_t)p->model->config.n_embd;
    c->norm.index = index;
    c->norm.weight = weight;
    c->norm.eps = p->model->config.norm_eps;
    c->norm.y = y;
    c->norm.quantize = quantize;
}

static bk_cmd *matmul(bk_pass *p, size_t rows, bk_operand x) {
    bk_cmd *c = bk_pass_add(p, BK_OP_MATMUL, rows);
    c->matmul.x = x;
    return c;
}

/* y [rows][ld] (+)= w x */
static void product(bk_cmd *c, const bk_weight *w, float *y, int ld) {
    int i = c->matmul.n++;
    c->matmul.w[i] = w;
    c->matmul.out[i] = y;
    c->matmul.ldo[i] = (size_t)ld;
}

static void attention(bk_pass *p, const bk_layer *l, int layer) {
    const bk_config *cfg = &p->model->config;
    int q_len = cfg->n_heads * cfg->head_size, kv_len = cfg->n_kv_heads * cfg->head_size;

    bk_cmd *c = matmul(p, p->n_rows, p->norm);
    product(c, l->q, p->q, q_len);
    product(c, l->k, p->k, kv_len);
    product(c, l->v, p->v, kv_len);

    c = bk_pass_add(p, BK_OP_ROPE_STORE, p->n_rows);
    c->rope.q = p->q, c->rope.k = p->k, c->rope.v = p->v;
    c->rope.ldq = (size_t)q_len, c->rope.ldkv = (size_t)kv_len;
    c->rope.angles = p->angles;
    c->rope.row = p->rows, c->rope.seqs = p->seqs;
    c->rope.shape = &p->model->attn;
    c->rope.layer = layer;

    c = bk_pass_add(p, BK_OP_ATTENTION, p->n_rows);
    c->attention.q = p->q, c->attention.ldq = (size_t)q_len;
    c->attention.out = p->attn;
    c->attention.row = p->rows, c->attention.seqs = p->seqs;
    c->attention.shape = &p->model->attn;
    c->attention.layer = layer;

    if (quantized(l->o)) bk_pass_add(p, BK_OP_PREPARE, p->n_rows)->prepare.y = p->attn;
    c = matmul(p, p->n_rows, p->attn);
    product(c, l->o, p->x, cfg->n_embd);
    c->matmul.add = true;
}

static void feed_forward(bk_pass *p, const bk_layer *l) {
    const bk_config *cfg = &p->model->config;
    bk_cmd *c = matmul(p, p->n_rows, p->norm);
    product(c, l->gate, p->gate, cfg->n_ff);
    product(c, l->up, p->up, cfg->n_ff);

    c = bk_pass_add(p, BK_OP_GATE, p->n_rows);
    c->gate.gate = p->gate, c->gate.up = p->up, c->gate.ld = (size_t)cfg->n_ff;
    c->gate.y = p->ff;
    c->gate.quantize = quantized(l->down);

    c = matmul(p, p->n_rows, p->ff);
    product(c, l->down, p->x, cfg->n_embd);
    c->matmul.add = true;
}

static void record(bk_pass *p) {
    const bk_model *m = p->model;
    bk_cmd *c = bk_pass_add(p, BK_OP_EMBED, p->n_rows);
    c->embed.tokens = p->tokens;
    c->embed.table = m->weights.embed;
    c->embed.x = p->x, c->embed.ldx = (size_t)m->config.n_embd;

    for (int i = 0; i < m->config.n_layers; i++) {
        const bk_layer *l = &m->weights.layers[i];
        norm(p, NULL, p->n_rows, l->attn_norm, p->norm,
             quantized(l->q) || quantized(l->k) || quantized(l->v));
        attention(p, l, i);
        norm(p, NULL, p->n_rows, l->ffn_norm, p->norm, quantized(l->gate) || quantized(l->up));
        feed_forward(p, l);
    }
    if (p->n_logits == 0) return;
    norm(p, p->logit_rows, p->n_logits, m->weights.out_norm, p->last, quantized(m->weights.head));
    product(matmul(p, p->n_logits, p->last), m->weights.head, p->logits, m->config.n_vocab);
}

const bk_arch bk_arch_llama = {
    .name = "llama",
    .keys = keys,
    .n_keys = BK_ARRAY_LEN(keys),
    .roles = roles,
    .n_roles = BK_ARRAY_LEN(roles),
    .cmds_per_layer = 10,
    .cmds_extra = 3,
    .finish = finish,
    .record = record,
};
