/* brisk.h: language-model inference. A model, a session over it, text in and text out.
 *
 *     brisk_error err;
 *     brisk_model *model = NULL;
 *     if (brisk_model_open("smollm2.gguf", NULL, &model, &err)) return puts(err.text);
 *     brisk_session *session = NULL;
 *     brisk_session_create(model, NULL, &session, &err);
 *     brisk_chat_message hello = {"user", "Name three uses of a paper clip."};
 *     brisk_session_chat(session, &hello, 1, &err);
 *     brisk_generate(session, NULL, on_text, NULL, NULL, &err);
 *
 * Conventions. Functions that can fail return brisk_status: 0, or negative with one line of text in
 * *err (err may be NULL). Objects made by _open or _create are freed by _close or _destroy, which
 * take the address of your pointer, set it to NULL and accept NULL. Strings are UTF-8 unless the
 * comment says bytes. The library never prints, never exits, and no file or argument can make it
 * crash. A model may be used from several threads at once; a session from one at a time.
 * Option structs: fill with the _default function or pass NULL. */
#ifndef BRISK_H
#define BRISK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define BRISK_VERSION "0.1.0"

typedef enum brisk_status {
    BRISK_OK = 0,
    BRISK_ERR_INVALID = -1,     /* an argument is out of range */
    BRISK_ERR_FORMAT = -2,      /* a file or text is damaged or contradicts itself */
    BRISK_ERR_UNSUPPORTED = -3, /* well-formed, but not something this build can do */
    BRISK_ERR_NOMEM = -4,       /* memory could not be had */
    BRISK_ERR_IO = -5,          /* the system refused a read, write or map */
    BRISK_ERR_LIMIT = -6,       /* a budget or the context is exhausted */
    BRISK_ERR_NOT_FOUND = -7,   /* no such file, model, key */
    BRISK_ERR_CANCELLED = -8    /* the caller asked to stop */
} brisk_status;

typedef struct brisk_error {
    brisk_status code;
    char text[512]; /* one printable line: what was found, what was wanted, what to do */
} brisk_error;

typedef struct brisk_model brisk_model;
typedef struct brisk_session brisk_session;

/* "0.1.0". */
const char *brisk_version(void);

/* "bad format" and so on. Never NULL. */
const char *brisk_status_str(brisk_status status);

/* ---- Model ---------------------------------------------------------------------------------- */

typedef struct brisk_model_options {
    int threads;           /* compute threads; 0: physical cores this process may use (affinity,
                              cgroup quota) */
    const char *cpu_level; /* "ref", "avx2", "avxvnni", "avx512" or NULL: the best that works */
    bool vocab_only;       /* read metadata and tokenizer, leave the weights alone */
    bool tokenizer_only;   /* read nothing but tokenizer and chat template, whatever the model is */
    const char *pre;       /* name of the pre-tokenizer in place of the file's; NULL: the file's */
    const char *kv_type;   /* of keys and values in the cache: "q16" or NULL: 16-bit integers with a
                              scale per position and head ("f16" is taken for it); "q8_0": 8-bit */
    /* Prompts are computed with coarser scales: faster, and less precise (brisk_eval_text says by how
     * much). What the model chose itself is computed as always. */
    bool fast;
    /* Which matrices that the file stores sparsely stay so: those that are faster than dense ones here,
     * by a short measurement; all; none. The results are the same. */
    enum { BRISK_SPARSE_AUTO, BRISK_SPARSE_ON, BRISK_SPARSE_OFF } sparse;
    /* The head keeps the rows of some tokens alone, so answers are chosen among these and the tokens
     * of the text before: "N", the N most common, "FILE", the ids in a file, or "N:FILE", the N that
     * stand there most often. NULL: all. Where the caller names tokens or wants logits or
     * probabilities all are computed. */
    const char *head_keep;
    /* NULL or "full": the head computes all logits. "screen": a copy of it with 4 bits a weight estimates
     * them, and those that its error bound does not rule out are computed, for greedy answers and for
     * sampling with min_p alone; the text is the same. "screen:6": with the bound of 6 standard deviations
     * of errors at random in place of the one that always holds. */
    const char *head;
    /* Called while weights are packed, done in 0..1; may be NULL. */
    void (*progress)(double done, void *user);
    void *progress_user;
} brisk_model_options;

void brisk_model_options_default(brisk_model_options *options);

/* Opens a GGUF file (version 2 or 3). The file is mapped for the time of loading and stays as it is.
 * *model is NULL on failure. Errors: NOT_FOUND, IO, FORMAT, UNSUPPORTED, NOMEM. */
brisk_status brisk_model_open(const char *path, const brisk_model_options *options,
                              brisk_model **model, brisk_error *err);
/* Sessions hold a reference: the memory goes when the last of them is destroyed. */
void brisk_model_close(brisk_model **model);

typedef struct brisk_model_info {
    const char *architecture; /* "llama"; valid as long as the model, like all strings here */
    const char *name;         /* general.name, printable, or "" */
    const char *quantization; /* the type that holds most weights: "Q4_1" */
    const char *cpu_level;    /* kernels chosen: "avx512" */
    const char *kv_type;      /* of keys and values: "q16" */
    int threads;
    int n_layers, n_embd, n_heads, n_kv_heads, head_size, n_ff, n_vocab;
    int n_hidden;          /* units of a recurrent layer (an LSTM has no heads and no feed-forward);
                                else 0 */
    int n_out;             /* values of an embedding of text: of what the head reads */
    int context_length;    /* tokens the model was trained for */
    uint64_t n_params;     /* elements of all tensors */
    uint64_t file_bytes;   /* size of the file */
    uint64_t tensor_bytes; /* size of its tensor data */
    uint64_t resident_bytes; /* memory that the loaded weights take */
    uint64_t token_bytes;    /* weight bytes read to decode one token */
    bool has_chat_template;
    bool fast;     /* as it was opened */
    int n_sparse;  /* matrices that are stored and multiplied sparsely */
    int n_filled;  /* sparse ones of the file that are dense in memory, since that is faster here */
    int head_kept; /* tokens that a trimmed head keeps; 0: all */
    uint64_t head_bytes; /* memory for them, or for a screen, in resident_bytes too */
    bool head_screen;
    /* So far: predictions that were screened, rows of the head computed for all of these, and predictions
     * that wanted all rows. */
    uint64_t head_screened, head_computed, head_whole;
} brisk_model_info;

void brisk_model_get_info(const brisk_model *model, brisk_model_info *info);

/* ---- Tokens --------------------------------------------------------------------------------- */

typedef int32_t brisk_token;
#define BRISK_TOKEN_NONE (-1)

/* Token ids of text (any bytes). Control tokens spelled in the text stay plain text unless
 * parse_special; tokens that the model's makers defined for text (USER_DEFINED) are always found. add_bos puts the begin token first where the model has and wants one.
 * Writes at most cap ids; *n is the whole count, also when it is larger than cap (then LIMIT).
 * Errors: LIMIT, NOMEM. */
brisk_status brisk_tokenize(const brisk_model *model, const char *text, size_t len, bool add_bos,
                            bool parse_special, brisk_token *tokens, size_t cap, size_t *n,
                            brisk_error *err);

/* The bytes of one token (not NUL-terminated; may be part of a UTF-8 character), borrowed from the
 * model. Special tokens give their name, e.g. "<|im_end|>", *special says so (may be NULL). An id
 * out of range gives NULL and length 0. */
const char *brisk_token_bytes(const brisk_model *model, brisk_token token, size_t *len,
                              bool *special);

/* The text of tokens: their bytes, what is not UTF-8 replaced by U+FFFD, special tokens by name; the
 * space that the tokenizer puts in front of a text is left away. *text is NUL-terminated, owned by the
 * caller, freed with brisk_free; *len may be NULL. INVALID names an id out of range. */
brisk_status brisk_detokenize(const brisk_model *model, const brisk_token *tokens, size_t n,
                              char **text, size_t *len, brisk_error *err);

/* BRISK_TOKEN_NONE where the model has none. */
brisk_token brisk_token_bos(const brisk_model *model);
brisk_token brisk_token_eos(const brisk_model *model);
/* Whether the token ends an answer (end of text, end of turn). */
bool brisk_token_is_end(const brisk_model *model, brisk_token token);

/* ---- Chat template -------------------------------------------------------------------------- */

typedef struct brisk_chat_message {
    const char *role; /* "system", "user", "assistant", "tool" */
    const char *content;
} brisk_chat_message;

/* Renders the model's own chat template. *text is NUL-terminated, owned by the caller, freed with
 * brisk_free. Errors: UNSUPPORTED (no template), FORMAT (template or messages wrong), LIMIT. */
brisk_status brisk_chat_render(const brisk_model *model, const brisk_chat_message *messages,
                               size_t n_messages, bool add_generation_prompt, char **text,
                               brisk_error *err);

/* The same for a request as JSON text: an object with messages, tools, add_generation_prompt (false
 * where absent), chat_template_kwargs and whatever else the template knows, or the array of messages
 * alone. template_text: the template to use, NULL for the model's own. *len (may be NULL) is the
 * length: the text may hold NULs. */
brisk_status brisk_chat_render_json(const brisk_model *model, const char *request,
                                    size_t request_len, const char *template_text, char **text,
                                    size_t *len, brisk_error *err);

/* The same as token ids: only the template's own text yields control tokens, whatever the messages
 * spell. *tokens is owned by the caller, freed with brisk_free; *n may be 0, then *tokens is NULL. */
brisk_status brisk_chat_tokenize_json(const brisk_model *model, const char *request,
                                      size_t request_len, const char *template_text,
                                      brisk_token **tokens, size_t *n, brisk_error *err);

/* The model's own template; NULL when it has none that can be used. Valid as long as the model. */
const char *brisk_model_chat_template(const brisk_model *model);

void brisk_free(void *memory);

/* ---- Session: a sequence of tokens and what the model remembers of it ----------------------- */

typedef struct brisk_session_options {
    int context;    /* most tokens, at most (and with 0) what the model was trained for */
    int batch_size; /* prompt tokens per pass over the weights, 1..8192; 0: 512 */
} brisk_session_options;

void brisk_session_options_default(brisk_session_options *options);
brisk_status brisk_session_create(brisk_model *model, const brisk_session_options *options,
                                  brisk_session **session, brisk_error *err);
void brisk_session_destroy(brisk_session **session);

/* Forgets everything after the first n tokens. n above the length is INVALID. */
brisk_status brisk_session_truncate(brisk_session *session, size_t n, brisk_error *err);

/* A copy that shares memory with the original until either goes on. */
brisk_status brisk_session_fork(const brisk_session *session, brisk_session **copy,
                                brisk_error *err);

/* Tokens so far, borrowed until the session changes; those not yet computed included. */
const brisk_token *brisk_session_tokens(const brisk_session *session, size_t *n);
int brisk_session_context(const brisk_session *session);
uint64_t brisk_session_memory(const brisk_session *session); /* bytes of KV held */

/* Appends tokens; nothing is computed until logits are needed. LIMIT when the context would
 * overflow, with both numbers in the text, and then nothing is appended. */
brisk_status brisk_session_append(brisk_session *session, const brisk_token *tokens, size_t n,
                                  brisk_error *err);
/* Tokenises and appends (begin token first when the session is empty and the model wants one). */
brisk_status brisk_session_append_text(brisk_session *session, const char *text, size_t len,
                                       brisk_error *err);
/* Makes the session hold the rendered conversation with the answer's beginning, keeping the longest
 * common prefix with what it already holds. Only the template's own text yields special tokens. */
brisk_status brisk_session_chat(brisk_session *session, const brisk_chat_message *messages,
                                size_t n_messages, brisk_error *err);

/* Computes what is pending. *logits, when not NULL, receives n_vocab floats of the last token,
 * borrowed until the session changes. cancel, when not NULL, is polled between passes: CANCELLED. */
brisk_status brisk_session_eval(brisk_session *session, const float **logits,
                                const volatile bool *cancel, brisk_error *err);

/* Appends and computes tokens, calling row once per token, in order, with the logits that follow
 * it (n_vocab floats, valid during the call). For measuring: perplexity, comparison. */
typedef void (*brisk_logits_fn)(size_t index, const float *logits, void *user);
brisk_status brisk_session_eval_rows(brisk_session *session, const brisk_token *tokens, size_t n,
                                     brisk_logits_fn row, void *user, brisk_error *err);

/* ---- Generate ------------------------------------------------------------------------------- */

typedef struct brisk_logit_bias {
    brisk_token token;
    float bias; /* added to its logit; -INFINITY: never this token */
} brisk_logit_bias;

typedef struct brisk_sampling {
    float temperature;       /* 0: greedy; 0..100 */
    int top_k;               /* 0: off */
    float top_p;             /* 0..1; 1: off */
    float min_p;             /* 0..1; 0: off */
    float repeat_penalty;    /* 1: off; >0 */
    float presence_penalty;  /* 0: off */
    float frequency_penalty; /* 0: off */
    int penalty_last_n;      /* tokens that penalties look back; -1: all */
    uint64_t seed;
    float typical_p;                    /* 0..1; 1 and 0: off */
    const brisk_logit_bias *logit_bias; /* added before all else; borrowed during the call */
    size_t n_logit_bias;
} brisk_sampling;

/* temperature 0.8, top-k 40, top-p 0.95, min-p 0.05, typical-p off, no penalties, 64 tokens back, seed
 * 0, no biases. */
void brisk_sampling_default(brisk_sampling *sampling);

typedef struct brisk_generate_options {
    brisk_sampling sampling;
    int max_tokens;          /* -1: until an end token or the context is full */
    bool ignore_end;         /* go on after end tokens */
    const char *const *stop; /* texts that end the answer and are not part of it */
    size_t n_stop;
    const volatile bool *cancel; /* polled between tokens and prompt passes; may be NULL */
} brisk_generate_options;

void brisk_generate_options_default(brisk_generate_options *options);

typedef enum brisk_finish {
    BRISK_FINISH_END,      /* the model ended its answer */
    BRISK_FINISH_LENGTH,   /* max_tokens reached */
    BRISK_FINISH_CONTEXT,  /* the context is full */
    BRISK_FINISH_STOP,     /* a stop text */
    BRISK_FINISH_CANCELLED /* cancel, or the callback returned false */
} brisk_finish;

typedef struct brisk_stats {
    size_t prompt_tokens; /* all tokens before the answer */
    size_t cached_tokens; /* of these, kept from before */
    size_t generated_tokens;
    double prompt_ms;      /* computing prompt_tokens - cached_tokens */
    double first_token_ms; /* from the call to the first token's text */
    double decode_ms;      /* from the first token to the last */
    brisk_finish finish;
} brisk_stats;

/* Called with whole UTF-8 characters as they come, never with none; token is the one that completed
 * them. What may be the beginning of a stop text is held back until that is known. Control tokens
 * have no text. Return false to stop. */
typedef bool (*brisk_text_fn)(const char *text, size_t len, brisk_token token, void *user);

/* Computes what is pending, then samples until something ends it. The tokens of the answer stay in
 * the session (an end token included). on_text and stats may be NULL. Being cancelled is a finish,
 * not an error. INVALID (an option out of range, nothing to continue), FORMAT (logits that are all
 * NaN), NOMEM. */
brisk_status brisk_generate(brisk_session *session, const brisk_generate_options *options,
                            brisk_text_fn on_text, void *user, brisk_stats *stats,
                            brisk_error *err);

#ifdef __cplusplus
}
#endif
#endif
