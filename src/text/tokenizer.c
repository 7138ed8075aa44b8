#include "text/tokenizer.h"

#include "base/mem.h"
#include "text/tokenizer_internal.h"

static const struct {
    const char *name;
    bk_tok_model model;
} models[] = {
    {"gpt2", BK_TOK_GPT2},     {"llama", BK_TOK_SCORES}, {"t5", BK_TOK_UNIGRAM},
    {"gemma4", BK_TOK_MERGES}, {"word", BK_TOK_WORD},
};

static bk_status find_model(bk_str name, bk_tok_model *out, bk_error *err) {
    for (size_t i = 0; i < BK_ARRAY_LEN(models); i++) {
        if (!bk_str_eq(name, bk_str_from(models[i].name))) continue;
        *out = models[i].model;
        return BK_OK;
    }
    return bk_fail(err, BK_ERR_UNSUPPORTED,
                   "tokenizer.ggml.model is \"" BK_STR_FMT
                   "\", wanted \"gpt2\" (byte-level BPE), \"llama\" (SentencePiece BPE), "
                   "\"gemma4\", \"t5\" (Unigram) or \"word\"",
                   BK_STR_ARG(name));
}

static bk_status check_desc(const bk_tokenizer_desc *desc, bk_tok_model *model,
                            bk_pretok_rules *rules, bk_error *err) {
    bk_status st = find_model(desc->model, model, err);
    if (st) return st;
    if (*model == BK_TOK_GPT2 && !bk_pretok_find(desc->pre, rules))
        return bk_fail(err, BK_ERR_UNSUPPORTED,
                       "tokenizer.ggml.pre is \"" BK_STR_FMT
                       "\", a rule that this build does not know; docs/tokenizer.md lists those it "
                       "knows, --pre NAME takes another",
                       BK_STR_ARG(desc->pre));
    if (*model == BK_TOK_WORD && desc->unk < 0)
        return bk_fail(
            err, BK_ERR_FORMAT,
            "key 'tokenizer.ggml.unknown_token_id' is missing, wanted the token of words "
            "that a \"word\" vocabulary lacks");
    const int32_t ids[] = {desc->bos, desc->eos, desc->eot, desc->unk, desc->pad};
    static const char *const names[] = {"bos", "eos", "eot", "unknown", "padding"};
    for (size_t i = 0; i < BK_ARRAY_LEN(ids); i++)
        if (ids[i] < -1 || (ids[i] >= 0 && (size_t)ids[i] >= desc->n_tokens))
            return bk_fail(err, BK_ERR_FORMAT,
                           "tokenizer.ggml.%s_token_id is %d, wanted less than the %zu tokens",
                           names[i], (int)ids[i], desc->n_tokens);
    return BK_OK;
}

static void mark_ends(bk_tokenizer *t, const bk_tokenizer_desc *desc) {
    if (desc->eos >= 0) t->info[desc->eos] |= BK_INFO_END;
    if (desc->eot >= 0) t->info[desc->eot] |= BK_INFO_END;
    for (size_t i = 0; i < t->n_special; i++)
        if (bk_tok_known_end(bk_tok_name(t, t->special[i]))) t->info[t->special[i]] |= BK_INFO_END;
}

bk_status bk_tokenizer_create(const bk_tokenizer_desc *desc, bk_tokenizer **out, bk_error *err) {
    *out = NULL;
    bk_tok_model model = BK_TOK_GPT2;
    bk_pretok_rules rules = {0};
    bk_status st = check_desc(desc, &model, &rules, err);
    if (st) return st;
    bk_tokenizer *t = bk_alloc_zero(1, sizeof *t);
    if (!t) return bk_fail(err, BK_ERR_NOMEM, "no memory for a tokenizer");
    t->model = model;
    t->rules = rules;
    t->bos = desc->bos;
    t->eos = desc->eos;
    t->unk = desc->unk;
    t->add_bos = desc->add_bos;
    t->prepare = desc->prepare;
    t->add_space = desc->add_space && model != BK_TOK_GPT2;
    if (model == BK_TOK_GPT2) st = bk_pretok_compile(&t->rules, err);
    if (!st) st = bk_tok_build_vocab(t, desc, err);
    if (!st && model != BK_TOK_GPT2 && model != BK_TOK_WORD) st = bk_tok_build_chars(t, desc, err);
    if (!st && (model == BK_TOK_GPT2 || model == BK_TOK_MERGES))
        st = bk_tok_build_merges(t, desc, err);
    if (!st) st = bk_tok_build_special(t, err);
    if (st) {
        bk_tokenizer_destroy(&t);
        return st;
    }
    mark_ends(t, desc);
    *out = t;
    return BK_OK;
}

void bk_tokenizer_destroy(bk_tokenizer **t) {
    if (!*t) return;
    bk_free((*t)->bytes);
    bk_free((*t)->begin);
    bk_free((*t)->info);
    bk_free((*t)->names);
    bk_free((*t)->special);
    bk_pretok_free(&(*t)->rules);
    bk_free((*t)->rank);
    bk_free((*t)->scores);
    bk_free((*t)->lengths);
    bk_charsmap_free(&(*t)->charsmap);
    bk_bpe_free(&(*t)->bpe);
    bk_free(*t);
    *t = NULL;
}

static bool in_range(const bk_tokenizer *t, int32_t id) {
    return id >= 0 && (size_t)id < t->n_tokens;
}

bk_str bk_tokenizer_bytes(const bk_tokenizer *t, int32_t id) {
    return in_range(t, id) ? bk_tok_name(t, id) : (bk_str){NULL, 0};
}

int bk_tokenizer_type(const bk_tokenizer *t, int32_t id) {
    return in_range(t, id) ? t->info[id] & BK_INFO_TYPE : BK_TOKEN_UNKNOWN;
}

size_t bk_tokenizer_count(const bk_tokenizer *t) { return t->n_tokens; }
int32_t bk_tokenizer_bos(const bk_tokenizer *t) { return t->bos; }
int32_t bk_tokenizer_eos(const bk_tokenizer *t) { return t->eos; }
bool bk_tokenizer_add_bos(const bk_tokenizer *t) { return t->add_bos; }
bool bk_tokenizer_add_space(const bk_tokenizer *t) { return t->add_space; }

bool bk_tokenizer_is_end(const bk_tokenizer *t, int32_t id) {
    return in_range(t, id) && (t->info[id] & BK_INFO_END);
}
