/* Text to token ids and back: byte-level BPE (GPT-2, Llama 3, Qwen 2, SmolLM2 splitting rules).
 *
 * Vocabulary and merges come from GGUF metadata. A tokenizer is immutable after creation and may be
 * used from several threads. */
#ifndef BRISK_TEXT_TOKENIZER_H
#define BRISK_TEXT_TOKENIZER_H

#include "base/error.h"
#include "base/str.h"

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
    bk_str model; /* "gpt2" */
    bk_str pre;   /* "smollm", "gpt-2", "llama-bpe", "qwen2", ... */
    size_t n_tokens;
    const bk_str *tokens; /* n_tokens, in the byte-to-character alphabet of GPT-2 */
    const int32_t *types; /* n_tokens, or NULL: all NORMAL */
    size_t n_merges;
    const bk_str *merges;            /* "left right", best first */
    int32_t bos, eos, eot, unk, pad; /* -1: none; otherwise < n_tokens */
    bool add_bos;
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

/* Appends the ids of text (any bytes; invalid UTF-8 is encoded byte by byte). Special tokens
 * (CONTROL and USER_DEFINED) spelled in the text are recognised only with parse_special. Linear in
 * the text up to a logarithm, whatever the text. NOMEM; LIMIT above 1 GiB of text. On failure out is
 * as it was. */
bk_status bk_tokenizer_encode(const bk_tokenizer *t, bk_str text, bool parse_special, bk_ids *out,
                              bk_error *err);

/* The raw bytes of a token (already mapped back from GPT-2's alphabet); special tokens give their
 * name. Borrowed from the tokenizer; {NULL, 0} for an id out of range. */
bk_str bk_tokenizer_bytes(const bk_tokenizer *t, int32_t id);
int bk_tokenizer_type(const bk_tokenizer *t, int32_t id);
size_t bk_tokenizer_count(const bk_tokenizer *t);
int32_t bk_tokenizer_find(const bk_tokenizer *t, bk_str name); /* special token by name, or -1 */

int32_t bk_tokenizer_bos(const bk_tokenizer *t);
int32_t bk_tokenizer_eos(const bk_tokenizer *t);
bool bk_tokenizer_add_bos(const bk_tokenizer *t);
/* End of text, end of turn, and the known names of end tokens (<|im_end|>, <|eot_id|>, ...). */
bool bk_tokenizer_is_end(const bk_tokenizer *t, int32_t id);

/* Streaming detokenizer: bytes in, whole UTF-8 characters out. Zero-initialised is empty. */
typedef struct bk_detok {
    char held[4]; /* an incomplete character */
    size_t n_held;
} bk_detok;

/* Appends to out what is complete after these bytes; invalid bytes come out as U+FFFD. */
struct bk_buf;
bool bk_detok_push(bk_detok *d, bk_str bytes, struct bk_buf *out);
/* The end: what is still held becomes U+FFFD. */
bool bk_detok_finish(bk_detok *d, struct bk_buf *out);

#endif
