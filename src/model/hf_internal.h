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
typedef struct hf_key {
    const char *name, *suffix;
    enum { HF_INT, HF_FLOAT } kind;
    bool required;
    double fallback; /* written when absent and not required; NAN: then no key is */
} hf_key;

/* What happens to a tensor on its way, besides its name. */
enum {
    HF_OPTIONAL = 1,
    HF_PERMUTE_Q =
        2, /* rows of a head from [2][half] to [half][2]: GGUF's llama turns neighbours */
    HF_PERMUTE_K = 4,
    HF_ADD_ONE = 8, /* stored as the difference from 1 */
    HF_F32 = 16,    /* a matrix that stays F32 */
    HF_EXPERTS = 32 /* one tensor per expert becomes one with a third dimension */
};

typedef struct hf_role {
    const char *hf, *gguf; /* %d: the layer; a second %d in hf: the expert */
    unsigned flags;
} hf_role;

/* An architecture: tables alone. Tensors are named in the order in which they are written. */
typedef struct hf_arch {
    const char *hf;   /* of config.json's "architectures" */
    const char *gguf; /* general.architecture */
    const char *act;  /* what hidden_act has to begin with */
    const hf_key *keys;
    size_t n_keys;
    const hf_role *roles; /* per layer; those around the layers are the same for all */
    size_t n_roles;
    bool vocab_size;  /* writes <architecture>.vocab_size */
    bool rope_dims;   /* and rope.dimension_count */
    bool llama3_rope; /* knows rope_freqs.weight */
    bool long_rope;   /* Phi-3: partial rotation, factors for short and long contexts */
    bool add_one;     /* to all norms (Gemma) */
    int window_every; /* of so many layers the last sees all, the others a window; 0: the configuration
                         may have no such layers */
    int wide_layers; /* Gemma: with so many layers, scores are divided by sqrt(width / heads), otherwise
                         by sqrt(head size) */
} hf_arch;

extern const hf_arch hf_archs[];
extern const size_t hf_n_archs;
extern const hf_role hf_role_embed, hf_role_norm, hf_role_head;

typedef struct hf_shard {
    char *name;
    bk_map map; /* kept after the builder has taken the map over: for advice on its pages */
    bk_safetensors *tensors;
    bool *used; /* tensors in the order of bk_safetensors_at that have found a role */
} hf_shard;

/* A folder being read. */
typedef struct hf {
    const char *folder;
    const bk_hf_options *options;
    json_t *root, *config; /* config.json; its text_config where it has one */
    json_t *tokenizer, *tokenizer_config, *generation; /* the latter two may be NULL */
    const hf_arch *arch;
    hf_shard *shards;
    size_t n_shards;
    bk_gguf_builder *b;
    bk_error *err;
} hf;

/* hf.c: a file of the folder, parsed. NOT_FOUND without text when `optional` and not there. */
bk_status hf_read_json(const hf *h, const char *name, bool optional, json_t **out);
bk_status hf_read_text(const hf *h, const char *name, bk_buf *out); /* NOT_FOUND: the same */

/* hf_config.c. A whole number of config.json from min to max; absent (or null): fallback, or FORMAT
 * when that is negative. */
bk_status hf_int(const hf *h, const char *name, int64_t min, int64_t max, int64_t fallback,
                 int64_t *out);
/* Finds the architecture; writes all keys but the vocabulary's. */
bk_status hf_find_arch(hf *h);
bk_status hf_add_config(hf *h);

/* hf_tensors.c: opens the files; adds all tensors; *n_vocab gets the rows of the embedding. */
bk_status hf_open_shards(hf *h);
bk_status hf_add_tensors(hf *h, size_t *n_vocab);

/* hf_vocab.c and hf_special.c: tokens, merges and scores; ids of special tokens, the chat template. */
bk_status hf_add_vocab(hf *h, size_t n_vocab);
bk_status hf_add_special(hf *h, size_t n_vocab);
/* hf_pre.c: tokenizer.ggml.pre for a byte-level tokenizer.json. */
bk_status hf_find_pre(const hf *h, const char **out);

#endif
