/* What the makers of vocabularies share: a description that grows token by token. */
#ifndef BRISK_TEXT_VOCAB_TRAIN_INTERNAL_H
#define BRISK_TEXT_VOCAB_TRAIN_INTERNAL_H

#include "base/mem.h"
#include "text/vocab_train.h"

struct bk_vocab {
    bk_tokenizer_desc desc; /* points into the arena */
    bk_str *tokens;         /* [cap]; desc.n_tokens of them are there */
    int32_t *types;         /* [cap] */
    size_t cap;
    bk_arena arena;
};

/* Room for so many tokens; false when memory is short. Once, before the first bk_vocab_add. */
bool bk_vocab_reserve(bk_vocab *v, size_t n_tokens);
/* Copies the name of the next token; its id, or -1 when memory is short. Within what is reserved. */
int32_t bk_vocab_add(bk_vocab *v, bk_str name, int32_t type);
/* <unk>, and <|endoftext|> where it is wanted: the begin and end of texts, else <unk> is. llama.cpp
 * takes fixed ids, of ordinary characters here, where a file names none. */
bool bk_vocab_add_special(bk_vocab *v, bool end_of_text);

/* How many ordinary tokens fit beside n_special others where found are there: INVALID when none does,
 * or none is. */
bk_status bk_vocab_room(const bk_vocab_options *o, size_t n_special, size_t found, size_t *room,
                        bk_error *err);

/* One per kind: fills model, pre, tokens and what belongs to them. */
bk_status bk_vocab_chars(bk_vocab *v, const bk_vocab_options *o, bk_str text, bk_error *err);
bk_status bk_vocab_words(bk_vocab *v, const bk_vocab_options *o, bk_str text, bk_error *err);
bk_status bk_vocab_pairs(bk_vocab *v, const bk_vocab_options *o, bk_str text, bk_error *err);

#endif
