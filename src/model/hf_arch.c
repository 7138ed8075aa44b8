/* Architectures that Hugging Face folders hold, as tables: names in config.json and in safetensors
 * files, names in GGUF. Sources: the configuration and modeling files of transformers, the constants of
 * the gguf package. A new architecture is a line in bk_hf_archs and what it has of its own. */
#include <math.h>

#include "model/hf_internal.h"

#define NONE NAN

static const bk_hf_key llama_keys[] = {
    {"head_dim", "attention.key_length", BK_HF_INT, false, NONE},
    {"head_dim", "attention.value_length", BK_HF_INT, false, NONE},
};

static const bk_hf_key mixtral_keys[] = {
    {"head_dim", "attention.key_length", BK_HF_INT, false, NONE},
    {"head_dim", "attention.value_length", BK_HF_INT, false, NONE},
    {"num_local_experts", "expert_count", BK_HF_INT, true, 0},
    {"num_experts_per_tok", "expert_used_count", BK_HF_INT, true, 0},
};

static const bk_hf_key qwen3moe_keys[] = {
    {"head_dim", "attention.key_length", BK_HF_INT, false, NONE},
    {"head_dim", "attention.value_length", BK_HF_INT, false, NONE},
    {"num_experts", "expert_count", BK_HF_INT, false, NONE},
    {"num_local_experts", "expert_count", BK_HF_INT, false, NONE}, /* transformers 5 */
    {"num_experts_per_tok", "expert_used_count", BK_HF_INT, true, 0},
    {"moe_intermediate_size", "expert_feed_forward_length", BK_HF_INT, true, 0},
};

static const bk_hf_key gemma_keys[] = {
    {"head_dim", "attention.key_length", BK_HF_INT, false, 256},
    {"head_dim", "attention.value_length", BK_HF_INT, false, 256},
};

static const bk_hf_key gemma2_keys[] = {
    {"head_dim", "attention.key_length", BK_HF_INT, false, 256},
    {"head_dim", "attention.value_length", BK_HF_INT, false, 256},
    {"attn_logit_softcapping", "attn_logit_softcapping", BK_HF_FLOAT, false, NONE},
    {"final_logit_softcapping", "final_logit_softcapping", BK_HF_FLOAT, false, NONE},
    {"sliding_window", "attention.sliding_window", BK_HF_INT, false, 4096},
};

static const bk_hf_key gemma3_keys[] = {
    {"head_dim", "attention.key_length", BK_HF_INT, false, 256},
    {"head_dim", "attention.value_length", BK_HF_INT, false, 256},
    {"final_logit_softcapping", "final_logit_softcapping", BK_HF_FLOAT, false, NONE},
    {"sliding_window", "attention.sliding_window", BK_HF_INT, false, 4096},
};

static const bk_hf_key phi3_keys[] = {
    {"sliding_window", "attention.sliding_window", BK_HF_INT, false, 0},
};

#define LAYER "model.layers.%d."
#define BLK "blk.%d."
#define PROJ(hf, gguf, flags)                                        \
    {LAYER hf ".weight", BLK gguf ".weight", (flags)}, {             \
        LAYER hf ".bias", BLK gguf ".bias", (flags) | BK_HF_OPTIONAL \
    }
#define NORM(hf, gguf) \
    { LAYER hf ".weight", BLK gguf ".weight", 0 }

#define ATTENTION(q, k)                                                               \
    NORM("input_layernorm", "attn_norm"), PROJ("self_attn.q_proj", "attn_q", q),      \
        PROJ("self_attn.k_proj", "attn_k", k), PROJ("self_attn.v_proj", "attn_v", 0), \
        PROJ("self_attn.o_proj", "attn_output", 0)
#define HEAD_NORMS NORM("self_attn.q_norm", "attn_q_norm"), NORM("self_attn.k_norm", "attn_k_norm")
#define FEED_FORWARD                                                        \
    PROJ("mlp.gate_proj", "ffn_gate", 0), PROJ("mlp.up_proj", "ffn_up", 0), \
        PROJ("mlp.down_proj", "ffn_down", 0)
#define GEMMA_NORMS                                          \
    NORM("post_attention_layernorm", "post_attention_norm"), \
        NORM("pre_feedforward_layernorm", "ffn_norm"),       \
        NORM("post_feedforward_layernorm", "post_ffw_norm")

static const bk_hf_role llama_roles[] = {ATTENTION(BK_HF_PERMUTE_Q, BK_HF_PERMUTE_K),
                                         NORM("post_attention_layernorm", "ffn_norm"),
                                         FEED_FORWARD};
static const bk_hf_role qwen2_roles[] = {ATTENTION(0, 0),
                                         NORM("post_attention_layernorm", "ffn_norm"),
                                         FEED_FORWARD};
static const bk_hf_role qwen3_roles[] = {ATTENTION(0, 0), HEAD_NORMS,
                                         NORM("post_attention_layernorm", "ffn_norm"),
                                         FEED_FORWARD};
static const bk_hf_role gemma2_roles[] = {ATTENTION(0, 0), GEMMA_NORMS, FEED_FORWARD};
static const bk_hf_role gemma3_roles[] = {ATTENTION(0, 0), HEAD_NORMS, GEMMA_NORMS, FEED_FORWARD};

static const bk_hf_role phi3_roles[] = {
    NORM("input_layernorm", "attn_norm"),       PROJ("self_attn.qkv_proj", "attn_qkv", 0),
    PROJ("self_attn.o_proj", "attn_output", 0), NORM("post_attention_layernorm", "ffn_norm"),
    PROJ("mlp.gate_up_proj", "ffn_up", 0),      PROJ("mlp.down_proj", "ffn_down", 0),
};

#define MIXTRAL LAYER "block_sparse_moe."
static const bk_hf_role mixtral_roles[] = {
    ATTENTION(BK_HF_PERMUTE_Q, BK_HF_PERMUTE_K),
    NORM("post_attention_layernorm", "ffn_norm"),
    {MIXTRAL "gate.weight", BLK "ffn_gate_inp.weight", BK_HF_F32},
    {MIXTRAL "experts.%d.w1.weight", BLK "ffn_gate_exps.weight", BK_HF_EXPERTS},
    {MIXTRAL "experts.%d.w3.weight", BLK "ffn_up_exps.weight", BK_HF_EXPERTS},
    {MIXTRAL "experts.%d.w2.weight", BLK "ffn_down_exps.weight", BK_HF_EXPERTS},
};

static const bk_hf_role qwen3moe_roles[] = {
    ATTENTION(0, 0),
    HEAD_NORMS,
    NORM("post_attention_layernorm", "ffn_norm"),
    {LAYER "mlp.gate.weight", BLK "ffn_gate_inp.weight", BK_HF_F32},
    {LAYER "mlp.experts.%d.gate_proj.weight", BLK "ffn_gate_exps.weight", BK_HF_EXPERTS},
    {LAYER "mlp.experts.%d.up_proj.weight", BLK "ffn_up_exps.weight", BK_HF_EXPERTS},
    {LAYER "mlp.experts.%d.down_proj.weight", BLK "ffn_down_exps.weight", BK_HF_EXPERTS},
};

const bk_hf_role bk_hf_role_embed = {"model.embed_tokens.weight", "token_embd.weight", 0};
const bk_hf_role bk_hf_role_norm = {"model.norm.weight", "output_norm.weight", 0};
const bk_hf_role bk_hf_role_head = {"lm_head.weight", "output.weight", BK_HF_OPTIONAL};

#define KEYS(t) .keys = t, .n_keys = BK_ARRAY_LEN(t)
#define ROLES(t) .roles = t, .n_roles = BK_ARRAY_LEN(t)
#define LLAMA \
    .gguf = "llama", .act = "silu", .vocab_size = true, .rope_dims = true, .llama3_rope = true

const bk_hf_arch bk_hf_archs[] = {
    {.hf = "LlamaForCausalLM", LLAMA, KEYS(llama_keys), ROLES(llama_roles)},
    {.hf = "MistralForCausalLM", LLAMA, KEYS(llama_keys), ROLES(llama_roles)},
    {.hf = "MixtralForCausalLM", LLAMA, KEYS(mixtral_keys), ROLES(mixtral_roles)},
    {.hf = "Qwen2ForCausalLM",
     .gguf = "qwen2",
     .act = "silu",
     KEYS(llama_keys),
     ROLES(qwen2_roles)},
    {.hf = "Qwen3ForCausalLM",
     .gguf = "qwen3",
     .act = "silu",
     KEYS(llama_keys),
     ROLES(qwen3_roles)},
    {.hf = "Qwen3MoeForCausalLM",
     .gguf = "qwen3moe",
     .act = "silu",
     KEYS(qwen3moe_keys),
     ROLES(qwen3moe_roles)},
    {.hf = "GemmaForCausalLM",
     .gguf = "gemma",
     .act = "gelu",
     .add_one = true,
     KEYS(gemma_keys),
     ROLES(qwen2_roles)},
    {.hf = "Gemma2ForCausalLM",
     .gguf = "gemma2",
     .act = "gelu",
     .add_one = true,
     .window_every = 2,
     .wide_layers = 46,
     KEYS(gemma2_keys),
     ROLES(gemma2_roles)},
    {.hf = "Gemma3ForCausalLM",
     .gguf = "gemma3",
     .act = "gelu",
     .add_one = true,
     .window_every = 6,
     .wide_layers = 62,
     KEYS(gemma3_keys),
     ROLES(gemma3_roles)},
    {.hf = "Gemma3ForConditionalGeneration", /* its text part */
     .gguf = "gemma3",
     .act = "gelu",
     .add_one = true,
     .window_every = 6,
     .wide_layers = 62,
     KEYS(gemma3_keys),
     ROLES(gemma3_roles)},
    {.hf = "Phi3ForCausalLM",
     .gguf = "phi3",
     .act = "silu",
     .rope_dims = true,
     .long_rope = true,
     KEYS(phi3_keys),
     ROLES(phi3_roles)},
};
const size_t bk_hf_n_archs = BK_ARRAY_LEN(bk_hf_archs);
