/* Vocabularies made from a text: its characters, its most frequent words, or byte pairs that merge.
 *
 * The result is a tokenizer's description: bk_tokenizer_create makes the tokenizer of it and
 * bk_vocab_write (model/model.h) puts it into a GGUF file. */
#ifndef BRISK_TEXT_VOCAB_TRAIN_H
#define BRISK_TEXT_VOCAB_TRAIN_H

#include "text/tokenizer.h"

typedef enum bk_vocab_kind {
    BK_VOCAB_CHAR, /* a token per Unicode character: model "llama", without pieces to merge */
    BK_VOCAB_WORD, /* the most frequent words (text/word.h): model "word" */
    BK_VOCAB_BPE   /* byte-level BPE on GPT-2's pieces: model "gpt2" */
} bk_vocab_kind;

/* Zero-initialised: all characters of the text. */
typedef struct bk_vocab_options {
    bk_vocab_kind kind;
    size_t size; /* most tokens, special ones among them; 0: all characters or words there are */
    size_t min_count; /* what occurs less often (character, word, pair) makes no token; 0: 1 */
    bool
        end_of_text; /* a control token <|endoftext|> that begins and ends texts; BPE has it always */
    bk_text_rules prepare; /* done to the text first, and by the tokenizer to every text */
    bool bytes; /* CHAR: a token per byte too, so that what the text lacks is not <unk> */
} bk_vocab_options;

typedef struct bk_vocab bk_vocab;

/* Ids are the same for the same text. CHAR: <unk>, <|endoftext|>, the bytes, characters by code point.
 * WORD: <unk>, <|endoftext|>, words by falling frequency. BPE: 256 bytes, merged pairs in the order in
 * which they merge, <|endoftext|>; ties as in Hugging Face's tokenizers, see vocab_bpe.c.
 * Without <|endoftext|>, <unk> takes its part. In CHAR and WORD, bytes that are not UTF-8 make no token;
 * U+2581, which stands for a space in such vocabularies, counts as one in CHAR and makes none in WORD.
 * INVALID (nothing in the text to make tokens of, size too small, BPE without a size), LIMIT (a text
 * above 1 GiB), NOMEM. */
bk_status bk_vocab_train(const bk_vocab_options *options, bk_str text, bk_vocab **out,
                         bk_error *err);
/* Names are as in a GGUF file; borrowed from the vocabulary. */
const bk_tokenizer_desc *bk_vocab_desc(const bk_vocab *v);
void bk_vocab_destroy(bk_vocab **v);

/* "char", "word" or "bpe"; NOT_FOUND. */
bk_status bk_vocab_kind_find(bk_str name, bk_vocab_kind *out, bk_error *err);

#endif
