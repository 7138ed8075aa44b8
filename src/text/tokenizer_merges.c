/* The merges of a byte-pair vocabulary: from texts to ids. */
#include "base/mem.h"
#include "text/tokenizer_internal.h"

enum { BLOCK = 32 };

/* Splits "left right" at its one space. */
static bool split_merge(bk_str merge, bk_str *left, bk_str *right) {
    const char *space = merge.len ? memchr(merge.data, ' ', merge.len) : NULL;
    if (!space) return false;
    *left = (bk_str){merge.data, (size_t)(space - merge.data)};
    *right = (bk_str){space + 1, merge.len - left->len - 1};
    return left->len && right->len && !memchr(right->data, ' ', right->len);
}

/* Merges were learned in the order of their tokens, so the result is mostly the next id. */
static int32_t find_merged(const bk_tokenizer *t, bk_str bytes, int32_t guess) {
    if (guess >= 0 && (size_t)guess < t->n_tokens && (t->info[guess] & BK_INFO_KEYED) &&
        bk_str_eq(bk_tok_name(t, guess), bytes))
        return guess;
    return bk_tok_lookup(t, bytes);
}

/* A merge on its way into the table. Some are read at a time: what the next step needs of each is on
 * the way from memory while the others take this one. */
typedef struct merge {
    bk_str whole; /* both names, one behind the other, in scratch */
    size_t n_left;
    uint32_t left_hash, right_hash;
    int32_t left, right, merged;
} merge;

static bk_str left_of(const merge *m) { return (bk_str){m->whole.data, m->n_left}; }

static bk_str right_of(const merge *m) {
    return (bk_str){m->whole.data + m->n_left, m->whole.len - m->n_left};
}

static bk_status no_tokens(bk_str text, size_t index, bk_error *err) {
    return bk_fail(err, BK_ERR_FORMAT,
                   "tokenizer.ggml.merges: merge %zu is \"" BK_STR_FMT
                   "\", wanted both parts and their union in tokenizer.ggml.tokens",
                   index, BK_STR_ARG(text));
}

/* Decodes the names into scratch, which has room for the merge's text. */
static bk_status read_merge(const bk_tokenizer *t, const int16_t *byte_of, bk_str text,
                            size_t index, char *scratch, merge *m, bk_error *err) {
    bk_str left, right;
    size_t n_right;
    if (!split_merge(text, &left, &right))
        return bk_fail(err, BK_ERR_FORMAT,
                       "tokenizer.ggml.merges: merge %zu is \"" BK_STR_FMT
                       "\", wanted two tokens with one space between",
                       index, BK_STR_ARG(text));
    if (!bk_tok_decode_name(byte_of, left, scratch, &m->n_left) ||
        !bk_tok_decode_name(byte_of, right, scratch + m->n_left, &n_right))
        return no_tokens(text, index, err);
    m->whole = (bk_str){scratch, m->n_left + n_right};
    m->left_hash = bk_tok_hash(left_of(m));
    m->right_hash = bk_tok_hash(right_of(m));
    __builtin_prefetch(&t->names[m->left_hash & t->name_mask]);
    __builtin_prefetch(&t->names[m->right_hash & t->name_mask]);
    return BK_OK;
}

/* Merges from..to; *last is the token that the merge before them makes. */
static bk_status add_merges(bk_tokenizer *t, const bk_tokenizer_desc *desc, size_t from, size_t to,
                            const int16_t *byte_of, char *scratch, int32_t *last, bk_error *err) {
    merge block[BLOCK];
    bk_status st = BK_OK;
    for (size_t i = from; i < to && !st; i++) {
        st = read_merge(t, byte_of, desc->merges[i], i, scratch, &block[i - from], err);
        scratch += desc->merges[i].len;
    }
    for (size_t i = from; i < to && !st; i++) {
        merge *m = &block[i - from];
        m->left = bk_tok_lookup_hashed(t, left_of(m), m->left_hash);
        m->right = bk_tok_lookup_hashed(t, right_of(m), m->right_hash);
        *last = m->merged = find_merged(t, m->whole, *last + 1);
        if (m->left < 0 || m->right < 0 || m->merged < 0) return no_tokens(desc->merges[i], i, err);
        bk_bpe_prefetch(&t->bpe, m->left, m->right);
    }
    for (size_t i = from; i < to && !st; i++) {
        const merge *m = &block[i - from];
        if (!bk_bpe_put(&t->bpe, m->left, m->right, (uint32_t)i, m->merged))
            st = bk_fail(err, BK_ERR_FORMAT,
                         "tokenizer.ggml.merges: too many merges fall on one place of the hash "
                         "table; the file looks made to be slow");
    }
    return st;
}

bk_status bk_tok_build_merges(bk_tokenizer *t, const bk_tokenizer_desc *desc, bk_error *err) {
    int16_t byte_of[BK_TOK_ALPHABET];
    size_t room = 1, in_block = 0;
    bk_status st = BK_OK;
    if (desc->n_merges > UINT32_MAX / 4)
        return bk_fail(err, BK_ERR_FORMAT, "tokenizer.ggml.merges: %zu merges, wanted at most %u",
                       desc->n_merges, UINT32_MAX / 4);
    for (size_t i = 0; i < desc->n_merges; i++) {
        in_block = (i % BLOCK ? in_block : 0) + desc->merges[i].len;
        room = bk_max_size(room, in_block);
    }
    char *scratch = bk_alloc(room, 1);
    if (!scratch || !bk_bpe_init(&t->bpe, desc->n_merges)) {
        bk_free(scratch);
        return bk_fail(err, BK_ERR_NOMEM, "no memory for %zu merges", desc->n_merges);
    }
    bk_tok_make_alphabet(byte_of);
    int32_t last = -1;
    for (size_t i = 0; i < desc->n_merges && !st; i += BLOCK)
        st = add_merges(t, desc, i, bk_min_size(i + BLOCK, desc->n_merges),
                        t->model == BK_TOK_GPT2 ? byte_of : NULL, scratch, &last, err);
    bk_free(scratch);
    return st;
}
