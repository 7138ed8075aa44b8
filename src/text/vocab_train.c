#include "text/vocab_train.h"

#include "text/vocab_train_internal.h"

bool bk_vocab_reserve(bk_vocab *v, size_t n_tokens) {
    v->tokens = bk_arena_alloc(&v->arena, n_tokens, sizeof *v->tokens);
    v->types = bk_arena_alloc(&v->arena, n_tokens, sizeof *v->types);
    v->cap = n_tokens;
    v->desc.tokens = v->tokens;
    v->desc.types = v->types;
    return v->tokens && v->types;
}

int32_t bk_vocab_add(bk_vocab *v, bk_str name, int32_t type) {
    char *copy = bk_arena_alloc(&v->arena, bk_max_size(1, name.len), 1);
    if (!copy || v->desc.n_tokens == v->cap) return -1;
    memcpy(copy, name.data, name.len);
    v->tokens[v->desc.n_tokens] = (bk_str){copy, name.len};
    v->types[v->desc.n_tokens] = type;
    return (int32_t)v->desc.n_tokens++;
}

bool bk_vocab_add_special(bk_vocab *v, bool end_of_text) {
    bk_tokenizer_desc *d = &v->desc;
    d->unk = d->bos = d->eos = bk_vocab_add(v, BK_STR("<unk>"), BK_TOKEN_UNKNOWN);
    if (d->unk >= 0 && end_of_text)
        d->bos = d->eos = bk_vocab_add(v, BK_STR("<|endoftext|>"), BK_TOKEN_CONTROL);
    return d->unk >= 0 && d->eos >= 0;
}

bk_status bk_vocab_room(const bk_vocab_options *o, size_t n_special, size_t found, size_t *room,
                        bk_error *err) {
    if (found == 0)
        return bk_fail(err, BK_ERR_INVALID,
                       "a text without a character in UTF-8, wanted one to make a vocabulary of");
    if (o->size && o->size <= n_special)
        return bk_fail(err, BK_ERR_INVALID,
                       "a vocabulary of %zu tokens, wanted at least %zu: %zu are special or bytes",
                       o->size, n_special + 1, n_special);
    *room = o->size ? bk_min_size(found, o->size - n_special) : found;
    return BK_OK;
}

static const struct {
    const char *name;
    bk_status (*train)(bk_vocab *v, const bk_vocab_options *o, bk_str text, bk_error *err);
} kinds[] = {
    [BK_VOCAB_CHAR] = {"char", bk_vocab_chars},
    [BK_VOCAB_WORD] = {"word", bk_vocab_words},
    [BK_VOCAB_BPE] = {"bpe", bk_vocab_pairs},
};

bk_status bk_vocab_kind_find(bk_str name, bk_vocab_kind *out, bk_error *err) {
    for (size_t i = 0; i < BK_ARRAY_LEN(kinds); i++) {
        if (!bk_str_eq(name, bk_str_from(kinds[i].name))) continue;
        *out = (bk_vocab_kind)i;
        return BK_OK;
    }
    return bk_fail(err, BK_ERR_NOT_FOUND,
                   "vocabulary \"" BK_STR_FMT "\", wanted \"char\", \"word\" or \"bpe\"",
                   BK_STR_ARG(name));
}

bk_status bk_vocab_train(const bk_vocab_options *options, bk_str text, bk_vocab **out,
                         bk_error *err) {
    *out = NULL;
    if (text.len > (size_t)1 << 30)
        return bk_fail(err, BK_ERR_LIMIT,
                       "a text of %zu bytes, wanted at most 1 GiB; a part of it is enough for a "
                       "vocabulary",
                       text.len);
    bk_prepared p;
    bk_vocab *v = bk_alloc_zero(1, sizeof *v);
    bool ok = bk_text_prepare(options->prepare, text, &p) && v;
    bk_status st = BK_ERR_NOMEM;
    if (ok) {
        v->desc.bos = v->desc.eos = v->desc.eot = v->desc.unk = v->desc.pad = -1;
        v->desc.prepare = options->prepare;
        st = kinds[options->kind].train(v, options, p.text, err);
    } else {
        bk_fail(err, st, "no memory for a vocabulary of %zu bytes of text", text.len);
    }
    bk_prepared_free(&p);
    if (st) {
        bk_vocab_destroy(&v);
        return st;
    }
    *out = v;
    return BK_OK;
}

const bk_tokenizer_desc *bk_vocab_desc(const bk_vocab *v) { return &v->desc; }

void bk_vocab_destroy(bk_vocab **v) {
    if (!*v) return;
    bk_arena_free(&(*v)->arena);
    bk_free(*v);
    *v = NULL;
}
