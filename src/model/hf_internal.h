/* What the files that read a Hugging Face folder share. */
#ifndef BRISK_MODEL_HF_INTERNAL_H
#define BRISK_MODEL_HF_INTERNAL_H

#include "base/buf.h"
#include "base/json_read.h"
#include "base/mem.h"
#include "format/gguf_build.h"
#include "format/safetensors.h"
#include "model/hf.h"

/* A number of config.json -> the key "<architecture>.<suffix>". */
typedef struct bk_hf_key {
    const char *name, *suffix;
    enum { BK_HF_INT, BK_HF_FLOAT } kind;
    bool required;
    double fallback; /* written when absent and not required; NAN: then no key is */
} bk_hf_key;

/* What happens to a tensor on its way, besides its name. Permuted rows of a head go from [2][half] to
 * [half][2], since GGUF's llama turns neighbours. */
enum {
    BK_HF_OPTIONAL = 1,
    BK_HF_PERMUTE_Q = 2,
    BK_HF_PERMUTE_K = 4,
    BK_HF_F32 = 8,     /* a matrix that stays F32 */
    BK_HF_EXPERTS = 16 /* one tensor per expert becomes one with a third dimension */
};

typedef struct bk_hf_role {
    const char *hf, *gguf; /* %d: the layer; a second %d in hf: the expert */
    unsigned flags;
} bk_hf_role;

/* An architecture: tables alone. Tensors are named in the order in which they are written. */
typedef struct bk_hf_arch {
    const char *hf;   /* of config.json's "architectures" */
    const char *gguf; /* general.architecture */
    const char *act;  /* what hidden_act has to begin with */
    const bk_hf_key *keys;
    size_t n_keys;
    const bk_hf_role *roles; /* per layer; those around the layers are the same for all */
    size_t n_roles;
    bool vocab_size;  /* writes <architecture>.vocab_size */
    bool rope_dims;   /* and rope.dimension_count */
    bool llama3_rope; /* knows rope_freqs.weight */
    bool long_rope;   /* Phi-3: partial rotation, factors for short and long contexts */
    bool add_one;     /* norms are stored as the difference from 1 (Gemma) */
    int window_every; /* of so many layers the last sees all, the others a window; 0: the configuration
                         may have no such layers */
    int wide_layers; /* Gemma: with so many layers, scores are divided by sqrt(width / heads), otherwise
                         by sqrt(head size) */
} bk_hf_arch;

extern const bk_hf_arch bk_hf_archs[];
extern const size_t bk_hf_n_archs;
extern const bk_hf_role bk_hf_role_embed, bk_hf_role_norm, bk_hf_role_head;

typedef struct bk_hf_shard {
    char *name;
    bk_map map; /* kept after the builder has taken the map over: for advice on its pages */
    bk_safetensors *tensors;
    bool *used; /* tensors in the order of bk_safetensors_at that have found a role */
} bk_hf_shard;

/* A folder being read. */
typedef struct bk_hf {
    const char *folder;
    const bk_hf_options *options;
    json_t *root, *config; /* config.json; its text_config where it has one */
    json_t *tokenizer, *tokenizer_config, *generation; /* the latter two may be NULL */
    const bk_hf_arch *arch;
    bk_hf_shard *shards;
    size_t n_shards;
    bk_gguf_builder *b;
    bk_error *err;
} bk_hf;

/* hf.c: a file of the folder, parsed. NOT_FOUND without text when `optional` and not there. */
bk_status bk_hf_read_json(const bk_hf *h, const char *name, bool optional, json_t **out);
bk_status bk_hf_read_text(const bk_hf *h, const char *name, bk_buf *out); /* NOT_FOUND: the same */

/* hf_config.c. A whole number of config.json from min to max; absent (or null): fallback, or FORMAT
 * when that is negative. */
bk_status bk_hf_int(const bk_hf *h, const char *name, int64_t min, int64_t max, int64_t fallback,
                    int64_t *out);
/* Finds the architecture; writes all keys but the vocabulary's. */
bk_status bk_hf_find_arch(bk_hf *h);
bk_status bk_hf_add_config(bk_hf *h);

/* hf_tensors.c: opens the files; adds all tensors; *n_vocab gets the rows of the embedding. */
bk_status bk_hf_open_shards(bk_hf *h);
bk_status bk_hf_add_tensors(bk_hf *h, size_t *n_vocab);

/* hf_vocab.c and hf_special.c: tokens, merges and scores; ids of special tokens, the chat template. */
bk_status bk_hf_add_vocab(bk_hf *h, size_t n_vocab);
bk_status bk_hf_add_special(bk_hf *h, size_t n_vocab);
/* hf_pre.c: tokenizer.ggml.pre for a byte-level tokenizer.json. */
bk_status bk_hf_find_pre(const bk_hf *h, const char **out);

#endif
