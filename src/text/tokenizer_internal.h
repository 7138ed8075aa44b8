/* What the tokenizer's own files share: the vocabulary's flat tables. */
#ifndef BRISK_TEXT_TOKENIZER_INTERNAL_H
#define BRISK_TEXT_TOKENIZER_INTERNAL_H

#include "text/bpe.h"
#include "text/pretok.h"
#include "text/tokenizer.h"

/* bk_tokenizer.info: the token's type and two facts. */
enum {
    BK_INFO_TYPE = 7,
    BK_INFO_KEYED = 8, /* in the table of names: merges and whole pieces can yield it */
    BK_INFO_END = 16   /* ends an answer */
};

typedef struct bk_name_slot {
    uint32_t hash;
    int32_t id; /* -1: empty */
} bk_name_slot;

struct bk_tokenizer {
    const bk_pretok_rules *rules;
    size_t n_tokens;
    char *bytes;     /* all tokens' raw bytes, one after another */
    uint32_t *begin; /* [n_tokens + 1] where each begins in bytes */
    uint8_t *info;   /* [n_tokens] */

    bk_name_slot *names; /* token by raw bytes; open addressing, at most 3/4 full */
    size_t name_mask;
    int32_t byte_id[256]; /* the token of a single byte, -1: none */
    bk_bpe bpe;

    int32_t *special; /* CONTROL and USER_DEFINED tokens by name in byte order */
    size_t n_special;
    bool special_first[256]; /* some special token begins with this byte */

    int32_t bos, eos;
    bool add_bos;
};

static inline bk_str bk_tok_name(const bk_tokenizer *t, int32_t id) {
    return (bk_str){t->bytes + t->begin[id], t->begin[id + 1] - t->begin[id]};
}

static inline bool bk_tok_is_special(const bk_tokenizer *t, int32_t id) {
    int type = t->info[id] & BK_INFO_TYPE;
    return type == BK_TOKEN_CONTROL || type == BK_TOKEN_USER_DEFINED;
}

/* tokenizer_vocab.c: fills bytes, begin, info, names, byte_id, then bpe. */
bk_status bk_tok_build_vocab(bk_tokenizer *t, const bk_tokenizer_desc *desc, bk_error *err);
bk_status bk_tok_build_merges(bk_tokenizer *t, const bk_tokenizer_desc *desc, bk_error *err);
/* Id of the keyed token with these raw bytes, or -1. */
int32_t bk_tok_lookup(const bk_tokenizer *t, bk_str bytes);

/* tokenizer_special.c */
bk_status bk_tok_build_special(bk_tokenizer *t, bk_error *err);
/* The longest special token at the beginning of s, or -1. */
int32_t bk_tok_match_special(const bk_tokenizer *t, bk_str s);
/* Whether a special token of this name is known to end an answer. */
bool bk_tok_known_end(bk_str name);

#endif
