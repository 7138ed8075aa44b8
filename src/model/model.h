/* A loaded model and its forward pass, whatever the architecture.
 *
 * bk_model is immutable after loading and shared; bk_exec holds the scratch memory of one caller;
 * bk_kv (cache/kv.h) is what one sequence remembers. */
#ifndef BRISK_MODEL_MODEL_H
#define BRISK_MODEL_MODEL_H

#include "base/error.h"
#include "base/str.h"
#include "cache/kv.h"
#include "sys/cpu.h"
#include "text/template.h"
#include "text/tokenizer.h"

typedef struct bk_model bk_model;

/* Which sparse matrices of a file stay so: those that are faster than dense ones here, by a short
 * measurement at loading (model/sparse.h), or all, or none. The text is the same. */
typedef enum bk_sparse_use { BK_SPARSE_FASTER, BK_SPARSE_ALWAYS, BK_SPARSE_NEVER } bk_sparse_use;

typedef struct bk_model_options {
    int threads;           /* 0: bk_cpu_default_threads() */
    const char *cpu_level; /* NULL: $BRISK_CPU, else the best */
    bool vocab_only;
    bool tokenizer_only; /* nothing but tokenizer and template, whatever the architecture */
    const char *pre;     /* in place of tokenizer.ggml.pre; NULL: the file's */
    const char *kv_type; /* of keys and values in the cache (bk_kv_type_find); NULL: "q16" */
    bool fast;           /* prompts with the coarser scales of kernel/fast.h */
    bk_sparse_use sparse;
    const char *head_keep; /* what a trimmed head keeps (bk_head_choose); NULL: all */
    const char *head;      /* "screen", "screen:Z" with bounds of Z deviations; NULL: "full" */
    void (*progress)(double done, void *user);
    void *progress_user;
} bk_model_options;

/* How rotary positions are stretched past the context of training (model/rope.c). */
typedef enum bk_rope_kind {
    BK_ROPE_PLAIN,
    BK_ROPE_LINEAR,
    BK_ROPE_YARN,
    BK_ROPE_LONG
} bk_rope_kind;

typedef struct bk_rope_config {
    bk_rope_kind kind;
    int dims;               /* of a head that rotate */
    float base, base_local; /* base_local: of layers with a window; 0: the same base and scaling */
    float factor, attn_factor;
    float beta_fast, beta_slow; /* YaRN */
    int original_context;
} bk_rope_config;

/* Sizes and numbers of an architecture, read from metadata and cross-checked. */
typedef struct bk_config {
    unsigned features; /* bk_feature (model/arch.h) */
    int n_out;         /* values of a state before the head */
    int n_hidden;      /* units of a recurrent layer; 0: the model has none */
    int n_layers, n_embd, n_heads, n_kv_heads, head_size, n_ff, n_vocab, context_length;
    int n_experts, n_experts_used, n_ff_expert; /* 0: no experts */
    int window;                                 /* positions that a layer sees; 0: all */
    int window_every; /* every so many layers one sees all positions; 0: none does */
    bk_rope_config rope;
    float norm_eps;
    float embed_scale;          /* of the embedding */
    float score_scale;          /* of attention scores */
    float score_cap, logit_cap; /* soft caps (Gemma 2); 0: none */
    bool gelu;                  /* the gate's activation, SiLU otherwise */
} bk_config;

/* Whether a sequence that may grow to n tokens needs what the model has for long contexts. */
static inline bool bk_config_long_context(const bk_config *c, size_t n) {
    return n > (size_t)c->rope.original_context;
}

typedef struct bk_model_meta {
    const char *architecture, *name; /* printable, owned by the model */
    const char *quantization;        /* type that holds most weights */
    uint64_t n_params, file_bytes, tensor_bytes, resident_bytes, token_bytes;
    int n_sparse,
        n_filled; /* matrices that are sparse, and that are in the file but not in memory */
    bk_cpu_level cpu_level;
    bk_kv_type kv_type;
    bool fast;
    size_t head_kept; /* tokens of a trimmed head; 0: it is whole */
    bool head_screen;
    uint64_t head_bytes; /* of memory for either, beside the whole head */
    int threads;
} bk_model_meta;

/* NOT_FOUND, IO, FORMAT, UNSUPPORTED, NOMEM; err names file, then key or tensor. */
bk_status bk_model_load(const char *path, const bk_model_options *options, bk_model **out,
                        bk_error *err);
/* The same of a model that is in memory or open already; g is not needed afterwards. */
struct bk_gguf;
bk_status bk_model_load_gguf(const struct bk_gguf *g, const bk_model_options *options,
                             bk_model **out, bk_error *err);
/* Reference counting, thread-safe. */
bk_model *bk_model_ref(bk_model *m);
void bk_model_unref(bk_model **m);

const bk_config *bk_model_config(const bk_model *m);
const bk_model_meta *bk_model_get_meta(const bk_model *m);
const bk_tokenizer *bk_model_tokenizer(const bk_model *m);
/* The tokenizer of a model's keys; pre: in place of tokenizer.ggml.pre, or NULL. FORMAT, UNSUPPORTED,
 * NOMEM. */
bk_status bk_vocab_read(const struct bk_gguf *g, const char *pre, bk_tokenizer **out,
                        bk_error *err);
/* Puts a tokenizer's keys into a model that is being made: what loading it again reads. */
struct bk_gguf_builder;
void bk_vocab_write(const bk_tokenizer_desc *desc, struct bk_gguf_builder *b);
/* NULL when the file has none; then *why (may be NULL) says whether it is missing or broken. */
const bk_template *bk_model_template(const bk_model *m, const char **why);

/* Since it was loaded, of a screened head: rows of logits screened, rows of the head computed for these,
 * and rows of logits that wanted all. */
void bk_head_counts(const bk_model *m, uint64_t *screened, uint64_t *computed, uint64_t *whole);

/* What its device does from now on is noted there, NULL: no more. Not while a pass runs. */
struct bk_trace;
void bk_model_set_trace(bk_model *m, struct bk_trace *trace);
/* It is shown what goes into every product, NULL: none (bk_observer in device/device.h). Not while a
 * pass runs. */
struct bk_observer;
void bk_model_set_observer(bk_model *m, const struct bk_observer *observer);
/* Passes of a transformer leave the layer out from now on, or have it again. Not while one runs. */
void bk_model_skip_layer(bk_model *m, int layer, bool skip);
/* The name in the file of the tensor that these weights are, "" when they are none of the model's. */
enum { BK_TENSOR_NAME = 64 };
struct bk_weight;
void bk_model_weight_name(const bk_model *m, const struct bk_weight *w, char name[BK_TENSOR_NAME]);

/* Fills a matrix with other weights: blocks of the type that it has, all rows of row_bytes as in a file.
 * Not while a pass runs, and for models that nobody else uses. False when there is no such matrix. */
bool bk_model_refill(bk_model *m, const char *tensor, const uint8_t *blocks, size_t row_bytes);

/* An empty sequence of this model. */
bk_status bk_model_new_kv(bk_model *m, bk_kv **out, bk_error *err);
/* The pages of all of them, the model's; NULL when it was opened for its vocabulary alone. */
bk_kv_pool *bk_model_kv_pool(const bk_model *m);

/* ---- Forward pass --------------------------------------------------------------------------- */

typedef struct bk_exec bk_exec;

/* Scratch for at most max_rows tokens and max_logits rows of logits a call. */
bk_status bk_exec_create(bk_model *m, size_t max_rows, size_t max_logits, bk_exec **out,
                         bk_error *err);
void bk_exec_destroy(bk_exec **x);
size_t bk_exec_bytes(const bk_exec *x); /* that the scratch takes */

/* Memory for max_logits rows of logits, for callers that have none of their own. */
float *bk_exec_logits(bk_exec *x);

/* The rows of one sequence in a pass. */
typedef struct bk_rows {
    bk_kv *kv;             /* the tokens are appended at its end; a sequence appears once a call */
    const int32_t *tokens; /* each 0 <= id < n_vocab (INVALID otherwise) */
    size_t n;
    size_t n_logits; /* logits are wanted of the last n_logits rows */
    float *logits;   /* [n_logits][n_vocab], or NULL when n_logits is 0 */
    size_t
        n_hidden; /* states before the head (after the last norm) are wanted of the last n_hidden rows */
    float *hidden;     /* [n_hidden][n_out], or NULL when n_hidden is 0 */
    bool long_context; /* bk_config_long_context; the same in all passes of a sequence */
    bool exact; /* in a model opened `fast`: the tokens are no prompt but chosen by the model,
                          which costs no precision; the same for all of a pass */
    /* The caller can do without the logits that a trimmed or screened head leaves out: they are
     * -infinity. With a trimmed one those of the sequence's own tokens are there: history[0 .. length + n); NULL: they are not. */
    bool spare;
    const int32_t *history;
    float margin; /* a screened head may leave out what is further than this below the best */
} bk_rows;

/* One pass over the weights for all rows. The bits of every logit and state depend on the tokens of its
 * sequence alone (and on which of these are `exact`, in a model opened `fast`; and on `spare` and
 * `history`, with a trimmed head): not on the other rows,
 * on how a prompt is cut, or on the number of threads.
 * On failure no sequence has changed. INVALID, LIMIT (too many rows, context full), NOMEM. */
bk_status bk_exec_forward(bk_exec *x, const bk_rows *rows, size_t n, bk_error *err);

#endif
