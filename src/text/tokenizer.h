/* Text to token ids and back: byte-level BPE, SentencePiece's BPE and Unigram.
 *
 * Vocabulary and merges come from GGUF metadata. A tokenizer is immutable after creation and may be
 * used from several threads. */
#ifndef BRISK_TEXT_TOKENIZER_H
#define BRISK_TEXT_TOKENIZER_H

#include "base/error.h"
#include "base/str.h"
#include "text/normalize.h"

typedef struct bk_tokenizer bk_tokenizer;

/* tokenizer.ggml.token_type values. */
enum {
    BK_TOKEN_NORMAL = 1,
    BK_TOKEN_UNKNOWN = 2,
    BK_TOKEN_CONTROL = 3,
    BK_TOKEN_USER_DEFINED = 4,
    BK_TOKEN_UNUSED = 5,
    BK_TOKEN_BYTE = 6
};

/* What the loader has read and range-checked. Everything is copied by bk_tokenizer_create. */
typedef struct bk_tokenizer_desc {
    bk_str model; /* "gpt2", "llama", "t5", "gemma4", "word" */
    bk_str pre;   /* of "gpt2": "smollm", "gpt-2", "llama-bpe", "qwen2", ... */
    size_t n_tokens;
    const bk_str *tokens; /* n_tokens; of "gpt2" in that model's byte-to-character alphabet, else
                             with U+2581 for a space */
    const int32_t *types; /* n_tokens, or NULL: all NORMAL */
    const float *scores;  /* n_tokens, finite; of "llama" and "t5" */
    size_t n_merges;
    const bk_str *merges;            /* "left right", best first; of "gpt2" and "gemma4" */
    int32_t bos, eos, eot, unk, pad; /* -1: none; otherwise < n_tokens */
    bool add_bos;
    bool add_space;  /* a space goes in front of a text (not "gpt2") */
    bool squeeze;    /* runs of white space become one, none is left at the ends (not "gpt2") */
    bk_str charsmap; /* precompiled_charsmap's bytes, or empty (not "gpt2") */
    bk_text_rules prepare; /* before all of this, but after special tokens were found */
} bk_tokenizer_desc;

/* Checks the contents (merges that are not "a b", duplicate tokens, ...) and builds the tables.
 * FORMAT or UNSUPPORTED (tokenizer model or pre-tokenizer by name) with *out = NULL. */
bk_status bk_tokenizer_create(const bk_tokenizer_desc *desc, bk_tokenizer **out, bk_error *err);
void bk_tokenizer_destroy(bk_tokenizer **t);

/* Growable array of ids, owned by the caller; zero-initialised is empty; free with bk_ids_free. */
typedef struct bk_ids {
    int32_t *data;
    size_t len, cap;
} bk_ids;
bool bk_ids_push(bk_ids *ids, int32_t id); /* false when memory is short */
void bk_ids_free(bk_ids *ids);

/* Appends the ids of text (any bytes; invalid UTF-8 is encoded byte by byte). USER_DEFINED tokens
 * spelled in the text are always recognised, CONTROL tokens only with parse_special. Linear in the
 * text up to a logarithm, whatever the text. NOMEM; LIMIT above 1 GiB of text. On failure out is as it
 * was. */
bk_status bk_tokenizer_encode(const bk_tokenizer *t, bk_str text, bool parse_special, bk_ids *out,
                              bk_error *err);

/* The same with CONTROL tokens recognised where they lie wholly outside of the plain ranges
 * (ascending, disjoint): what a user wrote yields none, nor can it be part of one. */
bk_status bk_tokenizer_encode_marked(const bk_tokenizer *t, bk_str text, const bk_span *plain,
                                     size_t n_plain, bk_ids *out, bk_error *err);

/* The raw bytes of a token (already mapped back from GPT-2's alphabet); special tokens give their
 * name. Borrowed from the tokenizer; {NULL, 0} for an id out of range. */
bk_str bk_tokenizer_bytes(const bk_tokenizer *t, int32_t id);
int bk_tokenizer_type(const bk_tokenizer *t, int32_t id);
size_t bk_tokenizer_count(const bk_tokenizer *t);
int32_t bk_tokenizer_find(const bk_tokenizer *t, bk_str name); /* special token by name, or -1 */

int32_t bk_tokenizer_bos(const bk_tokenizer *t);
int32_t bk_tokenizer_eos(const bk_tokenizer *t);
bool bk_tokenizer_add_bos(const bk_tokenizer *t);
bool bk_tokenizer_add_space(const bk_tokenizer *t); /* a text's first token begins with a space */
/* End of text, end of turn, and the known names of end tokens (<|im_end|>, <|eot_id|>, ...). */
bool bk_tokenizer_is_end(const bk_tokenizer *t, int32_t id);

/* Appends the text of ids: what bk_detok makes of their bytes, without the space that add_space put in
 * front. INVALID (an id out of range), NOMEM. */
struct bk_buf;
bk_status bk_tokenizer_decode(const bk_tokenizer *t, const int32_t *ids, size_t n,
                              struct bk_buf *out, bk_error *err);

/* Streaming detokenizer: bytes in, whole UTF-8 characters out. Zero-initialised is empty. */
typedef struct bk_detok {
    char held[4]; /* an incomplete character */
    size_t n_held;
} bk_detok;

/* Appends to out what is complete after these bytes; invalid bytes come out as U+FFFD. */
bool bk_detok_push(bk_detok *d, bk_str bytes, struct bk_buf *out);
/* The end: what is still held becomes U+FFFD. */
bool bk_detok_finish(bk_detok *d, struct bk_buf *out);

#endif
