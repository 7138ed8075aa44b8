/* What an architecture is: tables that the loader binds and checks, and a function that records a
 * forward pass. One file per architecture; docs/kernels.md and docs/tour.md point here. */
#ifndef BRISK_MODEL_ARCH_H
#define BRISK_MODEL_ARCH_H

#include "base/mem.h"
#include "device/device.h"
#include "format/gguf.h"
#include "model/head.h"
#include "model/model.h"

/* A metadata key "<architecture>.<suffix>" -> a field of bk_config. */
typedef struct bk_key {
    const char *suffix;
    size_t offset; /* of an int or float in bk_config */
    enum { BK_KEY_INT, BK_KEY_FLOAT } kind;
    double min, max; /* inclusive */
    bool required;
    double fallback; /* when absent */
} bk_key;

/* What a transformer block can have; which tensors there are follows from it (roles.c). */
typedef enum bk_feature {
    BK_FUSED_QKV = 1,  /* one matrix for queries, keys and values */
    BK_FUSED_FF = 2,   /* one matrix for gate and up */
    BK_QK_NORM = 4,    /* a norm over every head of queries and keys */
    BK_POST_NORMS = 8, /* norms of what attention and feed-forward add */
    BK_EXPERTS = 16,   /* a mixture of feed-forward networks; any model with experts has it */
    BK_HALVES = 32     /* halves of a head rotate, (i, i + dims/2), not neighbours */
} bk_feature;

/* Sizes that tensor shapes are made of. */
typedef enum bk_dim {
    BK_DIM_NONE,
    BK_DIM_EMBD,
    BK_DIM_OUT,
    BK_DIM_HIDDEN,
    BK_DIM_FOUR_HIDDEN,
    BK_DIM_INPUT, /* of a recurrent layer: the embedding, or the layer before */
    BK_DIM_HEAD,
    BK_DIM_Q,
    BK_DIM_KV,
    BK_DIM_QKV,
    BK_DIM_FF,
    BK_DIM_TWO_FF,
    BK_DIM_FF_EXPERT,
    BK_DIM_EXPERTS,
    BK_DIM_VOCAB,
    BK_DIM_ROPE_HALF
} bk_dim;

typedef enum bk_role_kind {
    BK_ROLE_VECTOR, /* [k] floats in host memory */
    BK_ROLE_MATRIX, /* [rows][k] on the device */
    BK_ROLE_GATES,  /* [4 * rows][k] as four matrices */
    BK_ROLE_EXPERTS /* [n_experts][rows][k] on the device */
} bk_role_kind;

/* A tensor -> a pointer in bk_layer or bk_weights. */
typedef struct bk_role {
    const char *name; /* with %d for the layer, when per_layer */
    size_t offset;
    bool per_layer, optional;
    bk_role_kind kind;
    bk_dim k, rows;
    unsigned with, without; /* only when the model has all / none of these features */
} bk_role;

typedef struct bk_layer {
    float *attn_norm, *ffn_norm;
    float *q_bias, *k_bias, *v_bias;       /* or NULL */
    float *q_norm, *k_norm;                /* BK_QK_NORM */
    float *attn_post_norm, *ffn_post_norm; /* BK_POST_NORMS */
    bk_weight *q, *k, *v, *o;
    bk_weight *qkv; /* BK_FUSED_QKV, instead of q, k and v */
    bk_weight *gate, *up, *down;
    bk_weight *gate_up;              /* BK_FUSED_FF, instead of gate and up */
    bk_weight *router;               /* BK_EXPERTS: gate, up and down are stacks */
    bk_weight *input, *recurrent[4]; /* of an LSTM */
    float *input_bias, *recurrent_bias;
    bool skip;        /* left out (bk_model_skip_layer) */
    int group, index; /* layers of one window keep their pages together: which, and where there */
} bk_layer;

typedef struct bk_weights {
    bk_weight *embed, *head; /* head may be embed */
    bk_weight *project;      /* what an LSTM's decoder reads; NULL: its last layer's h */
    float *head_bias;        /* or NULL */
    float *out_norm, *rope_factors, *rope_short, *rope_long;
    bk_layer *layers;
} bk_weights;

typedef struct bk_arch bk_arch;

enum { BK_MAX_GROUPS = 2 };

/* Angles of one group of layers. */
typedef struct bk_rope {
    double *freqs;      /* [dims / 2] radians per position */
    double *long_freqs; /* of long contexts; may be freqs */
    double scale;       /* of cosine and sine */
} bk_rope;

struct bk_model {
    _Atomic int refs;
    const bk_arch *arch;
    const struct bk_family *family;
    bk_config config;
    bk_model_meta meta;
    bk_weights weights;
    bk_head head;
    int n_groups;
    bk_kv_group group[BK_MAX_GROUPS];
    bk_attn_shape attn[BK_MAX_GROUPS];
    bk_rope rope[BK_MAX_GROUPS];
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
    bool fast; /* all products but that of the logits */
    size_t n_rows, n_logits;
    const int32_t *tokens;     /* [n_rows] */
    const int32_t *logit_rows; /* [n_logits] rows whose logits are wanted */
    const bk_row *rows;
    const bk_seq_view *seqs;
    const float *angles[BK_MAX_GROUPS];
    float *x, *qkv, *attn, *gate_up, *logits;
    float *gates, *h,
        *projected; /* of an LSTM: [rows][4 * n_hidden], [rows][n_hidden], [rows][n_out] */
    /* Models with post-norms: the other copy of x, and what is to be added to it. */
    float *x2, *delta;
    /* Once recorded: where the rows will be before the last norm, and what the delta is still to be
     * added by (NULL: there is none). */
    const float *last_x, *last_post_norm;
    /* Of a trimmed head. whole: a row wants every logit, so all are computed. */
    bool whole;
    float *kept;       /* [n_logits][n_kept] */
    uint32_t *allowed; /* [n_logits][words] tokens that a row may have */
    int32_t *groups; /* groups of rows of the whole head that the rows have beside the kept ones */
    size_t n_groups;
    bool screened; /* the rows can do with a screened head, */
    bk_screen screen;
    /* Experts: scores [rows][n_experts], gate and up of all slots, what they say [slots][n_embd]. */
    float *scores, *expert_gate_up, *expert_out;
    bk_routes routes;
    bk_cmd *cmds;
    size_t n_cmds, cap_cmds;
} bk_pass;

/* Memory of an exec: rows * cols of 4 bytes at *at; none when rows is 0. */
typedef struct bk_buffer {
    void **at;
    size_t rows, cols;
} bk_buffer;

enum { BK_MAX_BUFFERS = 24 };

#define BK_BUFFER(field, rows, cols) \
    (bk_buffer) { (void **)(void *)&(field), rows, cols }

/* What architectures of one kind share: names, checks, and how a pass is recorded. */
typedef struct bk_family {
    const bk_key *keys;
    size_t n_keys;
    const bk_role *roles;
    size_t n_roles;
    /* The keys have been read: checks them against each other and derives what follows. */
    bk_status (*settle)(const bk_gguf *g, bk_model *m, bk_error *err);
    /* Lists the buffers of a pass of n rows; how many. */
    size_t (*buffers)(bk_pass *p, const bk_config *c, size_t n, bk_buffer *b);
    /* Appends the commands of a pass; at most `cmds` of them. */
    void (*record)(bk_pass *p);
    size_t (*cmds)(const bk_config *c);
    /* After the run, [n_out]: a row as the head reads it. */
    void (*hidden)(const bk_pass *p, size_t row, float *out);
} bk_family;

extern const bk_family bk_transformer, bk_lstm;

struct bk_arch {
    const char *name;        /* general.architecture */
    const bk_family *family; /* NULL: bk_transformer */
    unsigned features;
    /* Called when the keys are read: what the architecture fixes, and defaults of its own. May be
     * NULL. */
    void (*finish)(bk_config *c);
};

extern const bk_arch bk_arch_llama, bk_arch_qwen2, bk_arch_qwen3, bk_arch_qwen3moe, bk_arch_gemma,
    bk_arch_gemma2, bk_arch_gemma3, bk_arch_phi3, bk_arch_lstm;

/* NULL when no file of this folder is for it. */
const bk_arch *bk_arch_find(bk_str name);

uint64_t bk_dim_size(const bk_config *c, bk_dim d);

static inline bool bk_role_applies(const bk_role *r, const bk_config *c) {
    return (c->features & r->with) == r->with && !(c->features & r->without);
}

/* transformer.c, config.c: the functions of bk_transformer, which is in roles.c with the names of keys
 * and tensors. */
bk_status bk_transformer_settle(const bk_gguf *g, bk_model *m, bk_error *err);
size_t bk_transformer_buffers(bk_pass *p, const bk_config *c, size_t n, bk_buffer *b);
void bk_transformer_record(bk_pass *p);
size_t bk_transformer_cmds(const bk_config *c);
void bk_transformer_hidden(const bk_pass *p, size_t row, float *out);

/* pass.c: appends one command; the caller fills in the rest. */
bk_cmd *bk_pass_add(bk_pass *p, bk_op op, const char *what, size_t rows);
/* A product of rows prepared as `input` says, to which bk_pass_product appends weights:
 * y[rows][ld] (+)= w input. */
bk_cmd *bk_pass_products(bk_pass *p, const char *what, size_t rows, bk_input input, bool add);
void bk_pass_product(bk_cmd *c, const bk_weight *w, float *y, size_t ld);

/* head.c. Which tokens the rows of one sequence may have, [n_logits][words], before it has grown; then
 * groups[] of all of the pass. */
void bk_head_allow(bk_pass *p, uint32_t *bits, const bk_rows *r);
void bk_head_list(bk_pass *p, const uint32_t *bits, int32_t *groups);
/* Whether a screened head serves all rows of a pass, with what is to be reached; counts what it did. */
bool bk_head_screens(const bk_model *m, const bk_rows *rows, size_t n, bk_screen *screen);
void bk_head_count(const bk_pass *p);
/* From the states of p->logit_rows, prepared as `in` says, to p->logits; at most BK_HEAD_CMDS. */
enum { BK_HEAD_CMDS = 4 };
void bk_head_record(bk_pass *p, const char *what, bk_input in);

/* rope.c */
bk_status bk_rope_read(const bk_gguf *g, const char *arch, bk_rope_config *r, bk_error *err);
bk_status bk_rope_make(bk_model *m, bk_error *err);
/* [dims / 2][2] cosine and sine at a position. */
void bk_rope_angles(const bk_rope *r, int dims, size_t pos, bool long_context, float *angles);

/* config.c: metadata; load.c: tensors. */
/* n_layers zeroed ones; NOMEM. */
bk_status bk_make_layers(bk_model *m, bk_error *err);
bk_status bk_load_config(const bk_gguf *g, bk_model *m, bk_error *err);
bk_status bk_load_weights(const bk_gguf *g, bk_model *m, const bk_model_options *options,
                          bk_error *err);
void bk_free_weights(bk_model *m);
/* vocab.c: tokenizer and chat template. pre: in place of tokenizer.ggml.pre, or NULL. */
bk_status bk_load_vocab(const bk_gguf *g, bk_model *m, const char *pre, bk_error *err);

#endif
