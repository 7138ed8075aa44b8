/* What an architecture is: tables that the loader binds and checks, and a function that records a
 * forward pass. One file per architecture; docs/kernels.md and docs/tour.md point here. */
#ifndef BRISK_MODEL_ARCH_H
#define BRISK_MODEL_ARCH_H

#include "base/mem.h"
#include "device/device.h"
#include "format/gguf.h"
#include "model/model.h"
#include "sys/file.h"

/* A metadata key "<architecture>.<suffix>" -> a field of bk_config. */
typedef struct bk_key {
    const char *suffix;
    size_t offset; /* of an int or float in bk_config */
    enum { BK_KEY_INT, BK_KEY_FLOAT } kind;
    double min, max; /* inclusive */
    bool required;
    double fallback; /* when absent */
} bk_key;

/* Sizes that tensor shapes are made of. */
typedef enum bk_dim {
    BK_DIM_NONE,
    BK_DIM_EMBD,
    BK_DIM_Q,
    BK_DIM_KV,
    BK_DIM_FF,
    BK_DIM_VOCAB,
    BK_DIM_ROPE_HALF
} bk_dim;

/* A tensor -> a pointer in bk_layer or bk_weights. */
typedef struct bk_role {
    const char *name; /* with %d for the layer, when per_layer */
    size_t offset;
    bool per_layer, matrix, optional;
    bk_dim k, rows; /* a vector has k alone */
} bk_role;

typedef struct bk_layer {
    float *attn_norm, *ffn_norm;
    bk_weight *q, *k, *v, *o, *gate, *up, *down;
} bk_layer;

typedef struct bk_weights {
    bk_weight *embed, *head; /* head may be embed */
    float *out_norm, *rope_factors;
    bk_layer *layers;
} bk_weights;

typedef struct bk_arch bk_arch;

struct bk_model {
    _Atomic int refs;
    const bk_arch *arch;
    bk_config config;
    bk_model_meta meta;
    bk_weights weights;
    bk_attn_shape attn;
    double *rope_freqs; /* [rope_dims / 2] radians per position */
    bk_device *device;
    bk_kv_pool *kv_pool;
    bk_tokenizer *tokenizer;
    bk_template *template;
    const char *template_why; /* static or in the arena */
    bk_arena arena;           /* vectors, strings, the layer array */
};

/* One pass: buffers of the exec and the list being recorded. */
typedef struct bk_pass {
    const bk_model *model;
    size_t n_rows, n_logits;
    const int32_t *tokens;     /* [n_rows] */
    const int32_t *logit_rows; /* [n_logits] rows whose logits are wanted */
    const bk_row *rows;
    const bk_seq_view *seqs;
    const float *angles;
    float *x, *q, *k, *v, *attn, *gate, *up, *logits;
    bk_cmd *cmds;
    size_t n_cmds, cap_cmds;
} bk_pass;

struct bk_arch {
    const char *name; /* general.architecture */
    const bk_key *keys;
    size_t n_keys;
    const bk_role *roles;
    size_t n_roles;
    size_t cmds_per_layer, cmds_extra; /* most that record appends */
    /* Fills what follows from other fields and checks them against each other. */
    bk_status (*finish)(const bk_gguf *g, bk_config *c, bk_attn_shape *attn, bk_error *err);
    void (*record)(bk_pass *p);
};

extern const bk_arch bk_arch_llama;

/* NULL when no file of this folder is for it. *known (may be NULL) lists the names there are. */
const bk_arch *bk_arch_find(bk_str name, const char **known);

static inline bk_cmd *bk_pass_add(bk_pass *p, bk_op op, size_t rows) {
    bk_cmd *c = &p->cmds[p->n_cmds++];
    *c = (bk_cmd){.op = op, .rows = rows};
    return c;
}

/* load.c: metadata and tensors into a model. */
bk_status bk_load_config(const bk_gguf *g, bk_model *m, bk_error *err);
bk_status bk_load_weights(const bk_gguf *g, bk_model *m, const bk_model_options *options,
                          const bk_map *map, bk_error *err);
void bk_free_weights(bk_model *m);
/* vocab.c: tokenizer and chat template. */
bk_status bk_load_vocab(const bk_gguf *g, bk_model *m, bk_error *err);

#endif
