/* What the tokenizer's own files share: the vocabulary's flat tables. */
#ifndef BRISK_TEXT_TOKENIZER_INTERNAL_H
#define BRISK_TEXT_TOKENIZER_INTERNAL_H

#include "text/bpe.h"
#include "text/charsmap.h"
#include "text/pretok.h"
#include "text/tokenizer.h"

/* bk_tokenizer.info: the token's type and two facts. */
enum {
    BK_INFO_TYPE = 7,
    BK_INFO_KEYED = 8, /* in the table of names: merges and whole pieces can yield it */
    BK_INFO_END = 16   /* ends an answer */
};

/* tokenizer.ggml.model: how names are spelled, what a text's units are and what joins them. */
typedef enum bk_tok_model {
    BK_TOK_GPT2,    /* names in GPT-2's alphabet, bytes, a table of merges */
    BK_TOK_MERGES,  /* ("gemma4") names with U+2581 for a space, characters, a table of merges */
    BK_TOK_SCORES,  /* ("llama") the same names; of all pairs the one with the best score merges */
    BK_TOK_UNIGRAM, /* ("t5") the same names; the split with the best sum of scores */
    BK_TOK_WORD     /* the same names; words as text/word.h cuts them, the unknown one for others */
} bk_tok_model;

typedef struct bk_name_slot {
    uint32_t hash;
    int32_t id; /* -1: empty */
} bk_name_slot;

struct bk_tokenizer {
    bk_tok_model model;
    bk_pretok_rules rules; /* GPT2 only */
    size_t n_tokens;
    char *bytes;     /* all tokens' raw bytes, one after another */
    uint32_t *begin; /* [n_tokens + 1] where each begins in bytes */
    uint8_t *info;   /* [n_tokens] */

    bk_name_slot *names; /* token by raw bytes; open addressing, at most 3/4 full */
    size_t name_mask;
    int32_t byte_id[256]; /* the token of a single byte, -1: none */
    bk_bpe bpe;

    /* All but GPT2: */
    uint32_t *rank;        /* SCORES: [n_tokens] lower is better */
    float *scores;         /* UNIGRAM: [n_tokens] */
    float unknown_score;   /* UNIGRAM: of a character that no token covers */
    uint32_t *lengths;     /* UNIGRAM: which lengths names have, by how they begin */
    size_t longest;        /* bytes of the longest keyed name */
    bool joins_space[256]; /* some name has this byte before a space: do not cut there */
    bool add_space;        /* a text gets a space in front */
    bool squeeze;          /* white space at the ends goes, runs of it become one space */
    bk_charsmap charsmap;

    int32_t *special; /* CONTROL and USER_DEFINED tokens by name in byte order */
    size_t n_special;
    bool special_first[256]; /* some special token begins with this byte */
    bool user_first[256];    /* some USER_DEFINED token does */

    bk_text_rules prepare;
    int32_t bos, eos, unk;
    bool add_bos;
};

/* Working memory of one encoding. */
typedef struct bk_tok_node {
    float score;
    uint32_t begin;
    int32_t id; /* -1: unknown */
} bk_tok_node;

/* UNIGRAM: one byte more of what names begin with. */
typedef struct bk_tok_step {
    uint32_t key; /* bits 8 on: the step before; 0 to 7: the byte; 0: an empty place */
    int32_t id;   /* the token of this name, -1: none */
    float score;
    bool last; /* no name goes on */
} bk_tok_step;

typedef struct bk_tok_encoder {
    const bk_tokenizer *t;
    bk_ids *out;
    bk_cut cut;
    bk_bpe_work work;
    bk_tok_node *nodes; /* UNIGRAM: [n_nodes] the best way to each byte of a word */
    size_t n_nodes;
    int32_t *way;       /* [n_nodes] */
    bk_tok_step *steps; /* UNIGRAM: [1 << step_bits], n_steps of them used */
    int step_bits;
    size_t n_steps;
    float score;        /* UNIGRAM: of the words before, as one sum over the text rounds */
    bool after_unknown; /* the last token is an unknown one: the next joins it */
} bk_tok_encoder;

static inline bk_str bk_tok_name(const bk_tokenizer *t, int32_t id) {
    return (bk_str){t->bytes + t->begin[id], t->begin[id + 1] - t->begin[id]};
}

static inline bool bk_tok_is_special(const bk_tokenizer *t, int32_t id) {
    int type = t->info[id] & BK_INFO_TYPE;
    return type == BK_TOKEN_CONTROL || type == BK_TOKEN_USER_DEFINED;
}

/* tokenizer_vocab.c: fills bytes, begin, info, names, byte_id. */
bk_status bk_tok_build_vocab(bk_tokenizer *t, const bk_tokenizer_desc *desc, bk_error *err);
/* Id of the keyed token with these raw bytes, or -1; the second where their hash is known. */
int32_t bk_tok_lookup(const bk_tokenizer *t, bk_str bytes);
int32_t bk_tok_lookup_hashed(const bk_tokenizer *t, bk_str bytes, uint32_t hash);
uint32_t bk_tok_hash(bk_str bytes);

/* GPT-2's alphabet: the byte that a character stands for, -1 for characters outside of it. */
enum { BK_TOK_ALPHABET = 256 + 68 }; /* 68 bytes have no printable character of their own */
void bk_tok_make_alphabet(int16_t byte_of[BK_TOK_ALPHABET]);
/* Decodes a name into out (room for text.len), storing the length; false when it has a character
 * outside the alphabet. byte_of is NULL where names are text with U+2581 for a space. */
bool bk_tok_decode_name(const int16_t *byte_of, bk_str text, char *out, size_t *n);

/* tokenizer_merges.c: fills bpe. */
bk_status bk_tok_build_merges(bk_tokenizer *t, const bk_tokenizer_desc *desc, bk_error *err);

/* tokenizer_special.c */
bk_status bk_tok_build_special(bk_tokenizer *t, bk_error *err);
/* The longest special token at the beginning of s, or -1; CONTROL tokens of at most max_control
 * bytes. */
int32_t bk_tok_match_special(const bk_tokenizer *t, bk_str s, size_t max_control);
/* Whether a special token of this name is known to end an answer. */
bool bk_tok_known_end(bk_str name);

/* tokenizer_chars.c: the models whose units are characters. Tables: after bk_tok_build_vocab. first and
 * last: the text is at the beginning or end of what normalisation takes for one, which ends at CONTROL
 * tokens alone. False when memory is short. */
bk_status bk_tok_build_chars(bk_tokenizer *t, const bk_tokenizer_desc *desc, bk_error *err);
bool bk_tok_encode_chars(bk_tok_encoder *e, bk_str text, bool first, bool last);
/* The space in front of a text that begins with a USER_DEFINED token, where the model has one. */
bool bk_tok_put_space(bk_tok_encoder *e);
/* A token, or its text's bytes where id is -1. */
bool bk_tok_put_token(bk_tok_encoder *e, int32_t id, bk_str text);
/* Tokens of a text's bytes, or the unknown token where the vocabulary has no bytes. */
bool bk_tok_put_bytes(bk_tok_encoder *e, bk_str text);

/* tokenizer_unigram.c */
bk_status bk_tok_build_unigram(bk_tokenizer *t, const float *scores, bk_error *err);
bool bk_tok_encode_unigram(bk_tok_encoder *e, bk_str word);

#endif
