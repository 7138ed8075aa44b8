/* Mixtures of types: which type each tensor gets under a name such as Q4_K_M. The names and what they
 * mean are llama-quantize's (llama.cpp, tools/quantize), so that a file made here and one made there have
 * the same type in every tensor. */
#ifndef BRISK_COMPRESS_PRESET_H
#define BRISK_COMPRESS_PRESET_H

#include "format/gguf.h"

typedef struct bk_preset {
    const char *name; /* "Q4_K_M" */
    bk_type base;     /* of most tensors */
    int file_type;    /* general.file_type; -1: it has no number */
} bk_preset;

/* In whatever case; NULL when unknown. Every type that weights can be rounded to is a preset, too. */
const bk_preset *bk_preset_named(const char *name);
/* "Q4_0, Q4_1, ..." of all of them. */
void bk_preset_names(char *out, size_t cap);

/* What the rules ask about a model. */
typedef struct bk_mixture {
    const bk_preset *preset;
    int n_layers, n_experts, n_experts_used;
    int heads_per_kv; /* queries' heads for each of keys and values */
    bool tied;        /* the embedding is the head, too */
    bool importance;  /* there is an importance matrix */
} bk_mixture;

/* From the keys of a model; what it has not is 0. */
bk_mixture bk_mixture_of(const bk_gguf *g, const bk_preset *preset, bool importance);

/* Whether this tensor is rounded at all: not vectors and routers of experts. */
bool bk_tensor_rounds(const bk_gguf_tensor *t);
/* Whether it is what the logits are computed with. */
bool bk_tensor_is_head(const bk_gguf_tensor *t, bool tied);
/* What a tensor does in a transformer's layer, a small number; 0: something else, or in no layer. */
int bk_tensor_role(const bk_gguf_tensor *t, bool tied);
/* The number in "blk.N.", -1 without. */
int bk_tensor_layer(const bk_gguf_tensor *t);

/* The type that the mixture gives to a tensor which rounds; its rows may be too short for it. */
bk_type bk_mixture_type(const bk_mixture *m, const bk_gguf_tensor *t);
/* The type in place of one whose blocks do not fit into rows of k weights. */
bk_type bk_type_fitting(bk_type type, uint64_t k);

#endif
