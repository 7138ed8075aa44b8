/* The names of a transformer: metadata keys and tensors as GGUF files spell them, with ranges and
 * shapes. The loader binds from these tables; which rows apply follows from the model's features.
 * Names: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md and the `gguf` Python package. */
#include "model/arch.h"

#define CONFIG(field) offsetof(bk_config, field)
#define LAYER(field) offsetof(bk_layer, field), true
#define MODEL(field) offsetof(bk_weights, field), false
#define NEEDED false
#define OPTIONAL true

static const bk_key keys[] = {
    {"block_count", CONFIG(n_layers), BK_KEY_INT, 1, 1024, true, 0},
    {"context_length", CONFIG(context_length), BK_KEY_INT, 1, 1 << 24, true, 0},
    {"embedding_length", CONFIG(n_embd), BK_KEY_INT, 1, 1 << 17, true, 0},
    {"feed_forward_length", CONFIG(n_ff), BK_KEY_INT, 0, 1 << 20, false, 0},
    {"expert_count", CONFIG(n_experts), BK_KEY_INT, 0, 1024, false, 0},
    {"expert_used_count", CONFIG(n_experts_used), BK_KEY_INT, 0, 64, false, 0},
    {"expert_feed_forward_length", CONFIG(n_ff_expert), BK_KEY_INT, 0, 1 << 20, false, 0},
    {"attention.head_count", CONFIG(n_heads), BK_KEY_INT, 1, 1024, true, 0},
    {"attention.head_count_kv", CONFIG(n_kv_heads), BK_KEY_INT, 1, 1024, false, 0},
    {"attention.key_length", CONFIG(head_size), BK_KEY_INT, 1, 256, false, 0},
    {"attention.sliding_window", CONFIG(window), BK_KEY_INT, 0, 1 << 30, false, 0},
    {"attention.layer_norm_rms_epsilon", CONFIG(norm_eps), BK_KEY_FLOAT, 1e-12, 1, true, 0},
    {"attn_logit_softcapping", CONFIG(score_cap), BK_KEY_FLOAT, 0, 1e6, false, 0},
    {"final_logit_softcapping", CONFIG(logit_cap), BK_KEY_FLOAT, 0, 1e6, false, 0},
    {"rope.dimension_count", CONFIG(rope.dims), BK_KEY_INT, 2, 256, false, 0},
    {"rope.freq_base", CONFIG(rope.base), BK_KEY_FLOAT, 1, 1e9, false, 10000},
    {"rope.freq_base_swa", CONFIG(rope.base_local), BK_KEY_FLOAT, 1, 1e9, false, 0},
    {"rope.scaling.factor", CONFIG(rope.factor), BK_KEY_FLOAT, 1e-3, 1e6, false, 0},
    {"rope.scaling.attn_factor", CONFIG(rope.attn_factor), BK_KEY_FLOAT, 1e-3, 1e3, false, 1},
    {"rope.scaling.original_context_length", CONFIG(rope.original_context), BK_KEY_INT, 1, 1 << 24,
     false, 0},
    {"rope.scaling.yarn_beta_fast", CONFIG(rope.beta_fast), BK_KEY_FLOAT, 1e-3, 1e6, false, 32},
    {"rope.scaling.yarn_beta_slow", CONFIG(rope.beta_slow), BK_KEY_FLOAT, 1e-3, 1e6, false, 1},
};

#define VECTOR BK_ROLE_VECTOR
#define MATRIX BK_ROLE_MATRIX
#define STACK BK_ROLE_EXPERTS
#define DIMS(k, rows) BK_DIM_##k, BK_DIM_##rows

static const bk_role roles[] = {
    {"token_embd.weight", MODEL(embed), NEEDED, MATRIX, DIMS(EMBD, VOCAB), 0, 0},
    {"output.weight", MODEL(head), OPTIONAL, MATRIX, DIMS(EMBD, VOCAB), 0, 0},
    {"output_norm.weight", MODEL(out_norm), NEEDED, VECTOR, DIMS(EMBD, NONE), 0, 0},
    {"rope_freqs.weight", MODEL(rope_factors), OPTIONAL, VECTOR, DIMS(ROPE_HALF, NONE), 0, 0},
    {"rope_factors_short.weight", MODEL(rope_short), OPTIONAL, VECTOR, DIMS(ROPE_HALF, NONE), 0, 0},
    {"rope_factors_long.weight", MODEL(rope_long), OPTIONAL, VECTOR, DIMS(ROPE_HALF, NONE), 0, 0},

    {"blk.%d.attn_norm.weight", LAYER(attn_norm), NEEDED, VECTOR, DIMS(EMBD, NONE), 0, 0},
    {"blk.%d.attn_q.weight", LAYER(q), NEEDED, MATRIX, DIMS(EMBD, Q), 0, BK_FUSED_QKV},
    {"blk.%d.attn_k.weight", LAYER(k), NEEDED, MATRIX, DIMS(EMBD, KV), 0, BK_FUSED_QKV},
    {"blk.%d.attn_v.weight", LAYER(v), NEEDED, MATRIX, DIMS(EMBD, KV), 0, BK_FUSED_QKV},
    {"blk.%d.attn_qkv.weight", LAYER(qkv), NEEDED, MATRIX, DIMS(EMBD, QKV), BK_FUSED_QKV, 0},
    {"blk.%d.attn_q.bias", LAYER(q_bias), OPTIONAL, VECTOR, DIMS(Q, NONE), 0, BK_FUSED_QKV},
    {"blk.%d.attn_k.bias", LAYER(k_bias), OPTIONAL, VECTOR, DIMS(KV, NONE), 0, BK_FUSED_QKV},
    {"blk.%d.attn_v.bias", LAYER(v_bias), OPTIONAL, VECTOR, DIMS(KV, NONE), 0, BK_FUSED_QKV},
    {"blk.%d.attn_q_norm.weight", LAYER(q_norm), NEEDED, VECTOR, DIMS(HEAD, NONE), BK_QK_NORM, 0},
    {"blk.%d.attn_k_norm.weight", LAYER(k_norm), NEEDED, VECTOR, DIMS(HEAD, NONE), BK_QK_NORM, 0},
    {"blk.%d.attn_output.weight", LAYER(o), NEEDED, MATRIX, DIMS(Q, EMBD), 0, 0},
    {"blk.%d.post_attention_norm.weight", LAYER(attn_post_norm), NEEDED, VECTOR, DIMS(EMBD, NONE),
     BK_POST_NORMS, 0},

    {"blk.%d.ffn_norm.weight", LAYER(ffn_norm), NEEDED, VECTOR, DIMS(EMBD, NONE), 0, 0},
    {"blk.%d.ffn_gate.weight", LAYER(gate), NEEDED, MATRIX, DIMS(EMBD, FF), 0,
     BK_FUSED_FF | BK_EXPERTS},
    {"blk.%d.ffn_up.weight", LAYER(up), NEEDED, MATRIX, DIMS(EMBD, FF), 0,
     BK_FUSED_FF | BK_EXPERTS},
    {"blk.%d.ffn_up.weight", LAYER(gate_up), NEEDED, MATRIX, DIMS(EMBD, TWO_FF), BK_FUSED_FF, 0},
    {"blk.%d.ffn_down.weight", LAYER(down), NEEDED, MATRIX, DIMS(FF, EMBD), 0, BK_EXPERTS},
    {"blk.%d.ffn_gate_inp.weight", LAYER(router), NEEDED, MATRIX, DIMS(EMBD, EXPERTS), BK_EXPERTS,
     0},
    {"blk.%d.ffn_gate_exps.weight", LAYER(gate), NEEDED, STACK, DIMS(EMBD, FF_EXPERT), BK_EXPERTS,
     0},
    {"blk.%d.ffn_up_exps.weight", LAYER(up), NEEDED, STACK, DIMS(EMBD, FF_EXPERT), BK_EXPERTS, 0},
    {"blk.%d.ffn_down_exps.weight", LAYER(down), NEEDED, STACK, DIMS(FF_EXPERT, EMBD), BK_EXPERTS,
     0},
    {"blk.%d.post_ffw_norm.weight", LAYER(ffn_post_norm), NEEDED, VECTOR, DIMS(EMBD, NONE),
     BK_POST_NORMS, 0},
};

const bk_family bk_transformer = {.keys = keys,
                                  .n_keys = BK_ARRAY_LEN(keys),
                                  .roles = roles,
                                  .n_roles = BK_ARRAY_LEN(roles),
                                  .settle = bk_transformer_settle,
                                  .buffers = bk_transformer_buffers,
                                  .record = bk_transformer_record,
                                  .cmds = bk_transformer_cmds,
                                  .hidden = bk_transformer_hidden};

uint64_t bk_dim_size(const bk_config *c, bk_dim d) {
    uint64_t q = (uint64_t)c->n_heads * (uint64_t)c->head_size;
    uint64_t kv = (uint64_t)c->n_kv_heads * (uint64_t)c->head_size;
    switch (d) {
    case BK_DIM_EMBD: return (uint64_t)c->n_embd;
    case BK_DIM_OUT: return (uint64_t)c->n_out;
    case BK_DIM_HIDDEN:
    case BK_DIM_INPUT: return (uint64_t)c->n_hidden;
    case BK_DIM_FOUR_HIDDEN: return 4 * (uint64_t)c->n_hidden;
    case BK_DIM_HEAD: return (uint64_t)c->head_size;
    case BK_DIM_Q: return q;
    case BK_DIM_KV: return kv;
    case BK_DIM_QKV: return q + 2 * kv;
    case BK_DIM_FF: return (uint64_t)c->n_ff;
    case BK_DIM_TWO_FF: return 2 * (uint64_t)c->n_ff;
    case BK_DIM_FF_EXPERT: return (uint64_t)c->n_ff_expert;
    case BK_DIM_EXPERTS: return (uint64_t)c->n_experts;
    case BK_DIM_VOCAB: return (uint64_t)c->n_vocab;
    case BK_DIM_ROPE_HALF: return (uint64_t)c->rope.dims / 2;
    case BK_DIM_NONE: break;
    }
    return 1;
}
