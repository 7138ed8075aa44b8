#include "text/tokenizer.h"

#include "base/mem.h"
#include "text/tokenizer_internal.h"

static bk_status check_desc(const bk_tokenizer_desc *desc, bk_error *err) {
    if (!bk_str_eq(desc->model, BK_STR("gpt2")))
        return bk_fail(err, BK_ERR_UNSUPPORTED,
                       "tokenizer.ggml.model is \"" BK_STR_FMT
                       "\", wanted \"gpt2\" (byte-level BPE)",
                       BK_STR_ARG(desc->model));
    if (!bk_pretok_find(desc->pre))
        return bk_fail(err, BK_ERR_UNSUPPORTED,
                       "tokenizer.ggml.pre is \"" BK_STR_FMT
                       "\", wanted a known one such as \"gpt-2\", \"smollm\", \"llama-bpe\" or "
                       "\"qwen2\"",
                       BK_STR_ARG(desc->pre));
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
    bk_status st = check_desc(desc, err);
    if (st) return st;
    bk_tokenizer *t = bk_alloc_zero(1, sizeof *t);
    if (!t) return bk_fail(err, BK_ERR_NOMEM, "no memory for a tokenizer");
    t->rules = bk_pretok_find(desc->pre);
    t->bos = desc->bos;
    t->eos = desc->eos;
    t->add_bos = desc->add_bos;
    st = bk_tok_build_vocab(t, desc, err);
    if (!st) st = bk_tok_build_merges(t, desc, err);
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

bool bk_tokenizer_is_end(const bk_tokenizer *t, int32_t id) {
    return in_range(t, id) && (t->info[id] & BK_INFO_END);
}
