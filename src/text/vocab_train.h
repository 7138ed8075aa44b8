/* Vocabularies made from a text: its characters, its most frequent words, or byte pairs that merge.
 *
 * The result is a tokenizer's description: bk_tokenizer_create makes the tokenizer of it and
 * bk_vocab_write (model/model.h) puts it into a GGUF file. */
#ifndef BRISK_TEXT_VOCAB_TRAIN_H
#define BRISK_TEXT_VOCAB_TRAIN_H

#include "text/tokenizer.h"

typedef enum bk_vocab_kind {
    BK_VOCAB_CHAR /* a token per Unicode character: tokenizer.ggml.model "llama", no pieces to merge */
} bk_vocab_kind;

/* Zero-initialised: all characters of the text. */
typedef struct bk_vocab_options {
    bk_vocab_kind kind;
    size_t size;      /* most tokens, special ones among them; 0: all */
    bool end_of_text; /* a control token <|endoftext|> that begins and ends texts */
    bool bytes;       /* a token per byte, so that characters which the text lacks are not <unk> */
} bk_vocab_options;

typedef struct bk_vocab bk_vocab;

/* Tokens are in a fixed order, the same for the same text: <unk>, <|endoftext|>, the bytes, then
 * characters by code point. Bytes that are not UTF-8 make no token; U+2581, which stands for a space in
 * such vocabularies, counts as one. INVALID (nothing in the text to make tokens of, size too small),
 * NOMEM. */
bk_status bk_vocab_train(const bk_vocab_options *options, bk_str text, bk_vocab **out,
                         bk_error *err);
/* Names are as in a GGUF file; borrowed from the vocabulary. */
const bk_tokenizer_desc *bk_vocab_desc(const bk_vocab *v);
void bk_vocab_destroy(bk_vocab **v);

/* NOT_FOUND: "char". */
bk_status bk_vocab_kind_find(bk_str name, bk_vocab_kind *out, bk_error *err);

#endif
