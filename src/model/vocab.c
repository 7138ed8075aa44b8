/* Tokenizer and chat template out of the metadata: read, range-checked, cross-checked. */
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "format/gguf_build.h"
#include "model/arch.h"

/* Memory that only the description needs; the tokenizer copies. */
typedef struct vocab {
    bk_tokenizer_desc desc;
    bk_str *tokens, *merges;
    int32_t *types;
    float *scores;
} vocab;

static void vocab_free(vocab *v) {
    bk_free(v->tokens);
    bk_free(v->merges);
    bk_free(v->types);
    bk_free(v->scores);
}

/* An optional id below n_tokens, -1 when absent. */
static bk_status read_id(const bk_gguf *g, const char *key, size_t n_tokens, int32_t *out,
                         bk_error *err) {
    uint32_t id;
    *out = -1;
    bk_status status = bk_gguf_u32(g, key, 0, (uint32_t)n_tokens - 1, &id, err);
    if (status == BK_OK) *out = (int32_t)id;
    return status == BK_ERR_NOT_FOUND ? BK_OK : status;
}

static bk_status required(bk_status status, const char *key, bk_error *err) {
    if (status == BK_ERR_NOT_FOUND) return bk_fail(err, BK_ERR_FORMAT, "key '%s' is missing", key);
    return status;
}

/* What there must be one of per token, where it is there. */
static bk_status check_count(bk_status status, const char *key, size_t n, const vocab *v,
                             bk_error *err) {
    if (status == BK_ERR_NOT_FOUND) return BK_OK;
    if (status == BK_OK && n != v->desc.n_tokens)
        return bk_fail(err, BK_ERR_FORMAT,
                       "key '%s': %zu entries found, %zu (one per token) wanted", key, n,
                       v->desc.n_tokens);
    return status;
}

static bk_status read_tokens(const bk_gguf *g, vocab *v, bk_error *err) {
    size_t n = 0;
    const char *key = "tokenizer.ggml.tokens";
    bk_status status =
        required(bk_gguf_str_array(g, key, &v->tokens, &v->desc.n_tokens, err), key, err);
    if (status != BK_OK) return status;
    if (v->desc.n_tokens == 0 || v->desc.n_tokens > 1 << 24)
        return bk_fail(err, BK_ERR_FORMAT, "key '%s': %zu tokens found, 1 to 16777216 wanted", key,
                       v->desc.n_tokens);
    key = "tokenizer.ggml.token_type";
    status = bk_gguf_i32_array(g, key, &v->types, &n, err);
    status = check_count(status, key, n, v, err);
    v->desc.tokens = v->tokens;
    v->desc.types = v->types;
    return status;
}

/* The table of bytes that "t5" files carry. */
static bk_status read_charsmap(const bk_gguf *g, bk_str *out, bk_error *err) {
    const char *key = "tokenizer.ggml.precompiled_charsmap";
    const bk_gguf_kv *kv = bk_gguf_find(g, key);
    if (!kv) return BK_OK;
    if (kv->type != BK_GGUF_ARRAY || (kv->elem_type != BK_GGUF_U8 && kv->elem_type != BK_GGUF_I8))
        return bk_fail(err, BK_ERR_FORMAT, "key '%s' is not an array of bytes", key);
    *out = (bk_str){(const char *)kv->data, kv->bytes};
    return BK_OK;
}

/* What joins units: merges for byte-level BPE, scores for SentencePiece, nothing for words; rules about
 * spaces. */
static bk_status read_rules(const bk_gguf *g, vocab *v, bk_error *err) {
    size_t n = 0;
    bk_tokenizer_desc *d = &v->desc;
    bool merged = bk_str_eq(d->model, BK_STR("gpt2")) || bk_str_eq(d->model, BK_STR("gemma4"));
    const char *key = merged ? "tokenizer.ggml.merges" : "tokenizer.ggml.scores";
    bk_status s = BK_OK;
    if (bk_str_eq(d->model, BK_STR("word"))) {
        d->add_space = false;
    } else if (merged) {
        s = required(bk_gguf_str_array(g, key, &v->merges, &d->n_merges, err), key, err);
        d->merges = v->merges;
    } else {
        s = bk_gguf_f32_array(g, key, &v->scores, &n, err);
        s = check_count(s, key, n, v, err);
        d->scores = v->scores;
        d->add_space = true;
    }
    if (s != BK_OK) return s;
    s = bk_gguf_bool(g, "tokenizer.ggml.add_space_prefix", &d->add_space, err);
    if (s == BK_OK || s == BK_ERR_NOT_FOUND)
        s = bk_gguf_bool(g, "tokenizer.ggml.remove_extra_whitespaces", &d->squeeze, err);
    return s == BK_OK || s == BK_ERR_NOT_FOUND ? read_charsmap(g, &d->charsmap, err) : s;
}

/* What is done to texts first; brisk's own keys, of vocabularies that it made. */
static bk_status read_prepare(const bk_gguf *g, bk_text_rules *out, bk_error *err) {
    bk_str name;
    const char *key = "tokenizer.brisk.normalize";
    bk_status s = bk_gguf_str(g, key, &name, err);
    if (s == BK_OK && bk_normal_find(name, &out->form, err) != BK_OK) {
        bk_error_prefix(err, "key '%s'", key);
        return BK_ERR_FORMAT;
    }
    if (s != BK_OK && s != BK_ERR_NOT_FOUND) return s;
    s = bk_gguf_bool(g, "tokenizer.brisk.casefold", &out->casefold, err);
    return s == BK_ERR_NOT_FOUND ? BK_OK : s;
}

static bk_status read_ids(const bk_gguf *g, bk_tokenizer_desc *d, bk_error *err) {
    bk_status s = read_id(g, "tokenizer.ggml.bos_token_id", d->n_tokens, &d->bos, err);
    if (s == BK_OK) s = read_id(g, "tokenizer.ggml.eos_token_id", d->n_tokens, &d->eos, err);
    if (s == BK_OK) s = read_id(g, "tokenizer.ggml.eot_token_id", d->n_tokens, &d->eot, err);
    if (s == BK_OK) s = read_id(g, "tokenizer.ggml.unknown_token_id", d->n_tokens, &d->unk, err);
    if (s == BK_OK) s = read_id(g, "tokenizer.ggml.padding_token_id", d->n_tokens, &d->pad, err);
    if (s != BK_OK) return s;
    s = bk_gguf_bool(g, "tokenizer.ggml.add_bos_token", &d->add_bos, err);
    /* Converters leave the key out and mean true for these. */
    if (s == BK_ERR_NOT_FOUND)
        d->add_bos = d->bos >= 0 &&
                     (bk_str_eq(d->pre, BK_STR("llama-bpe")) ||
                      bk_str_eq(d->pre, BK_STR("tekken")) || bk_str_eq(d->model, BK_STR("llama")));
    return s == BK_ERR_NOT_FOUND ? BK_OK : s;
}

/* The architecture's own count, where a file has one, must agree with the tokenizer's. */
static bk_status check_vocab_size(const bk_gguf *g, const bk_model *m, bk_error *err) {
    char key[128];
    uint32_t n = 0;
    if (!m->arch) return BK_OK;
    snprintf(key, sizeof key, "%s.vocab_size", m->arch->name);
    bk_status status = bk_gguf_u32(g, key, 0, UINT32_MAX, &n, err);
    if (status == BK_ERR_NOT_FOUND) return BK_OK;
    if (status == BK_OK && n != (uint32_t)m->config.n_vocab)
        return bk_fail(err, BK_ERR_FORMAT, "key '%s': %u found, %d (the tokens) wanted", key, n,
                       m->config.n_vocab);
    return status;
}

static bk_status read_desc(const bk_gguf *g, vocab *v, const char *pre, bk_error *err) {
    bk_status status = required(bk_gguf_str(g, "tokenizer.ggml.model", &v->desc.model, err),
                                "tokenizer.ggml.model", err);
    if (status != BK_OK) return status;
    v->desc.pre = BK_STR("gpt-2"); /* what files had before there was the key */
    status = bk_gguf_str(g, "tokenizer.ggml.pre", &v->desc.pre, err);
    if (status != BK_OK && status != BK_ERR_NOT_FOUND) return status;
    if (pre) v->desc.pre = bk_str_from(pre);
    status = read_tokens(g, v, err);
    if (status == BK_OK) status = read_rules(g, v, err);
    if (status == BK_OK) status = read_prepare(g, &v->desc.prepare, err);
    if (status == BK_OK) status = read_ids(g, &v->desc, err);
    return status;
}

bk_status bk_vocab_read(const bk_gguf *g, const char *pre, bk_tokenizer **out, bk_error *err) {
    vocab v = {0};
    *out = NULL;
    bk_status status = read_desc(g, &v, pre, err);
    if (status == BK_OK) status = bk_tokenizer_create(&v.desc, out, err);
    vocab_free(&v);
    return status;
}

/* A template that does not parse must not keep the model from loading: --raw works without it, and
 * the reason is kept for whoever asks for a chat. */
static bk_status load_template(const bk_gguf *g, bk_model *m, bk_error *err) {
    bk_str source;
    bk_error why = {0};
    bk_status status = bk_gguf_str(g, "tokenizer.chat_template", &source, err);
    if (status == BK_ERR_NOT_FOUND) {
        m->template_why = "the file has no chat template (key 'tokenizer.chat_template')";
        return BK_OK;
    }
    if (status != BK_OK) return status;
    status = bk_template_parse(source, &m->template, &why);
    if (status == BK_ERR_NOMEM) return bk_fail(err, status, "%s", why.text);
    if (status != BK_OK) {
        bk_error_prefix(&why, "key 'tokenizer.chat_template'");
        size_t len = strlen(why.text);
        char *copy = bk_arena_alloc(&m->arena, len + 1, 1);
        if (!copy) return bk_fail(err, BK_ERR_NOMEM, "no memory for a template");
        memcpy(copy, why.text, len);
        m->template_why = copy;
    }
    return BK_OK;
}

bk_status bk_load_vocab(const bk_gguf *g, bk_model *m, const char *pre, bk_error *err) {
    bk_status status = bk_vocab_read(g, pre, &m->tokenizer, err);
    if (status != BK_OK) return status;
    m->config.n_vocab = (int)bk_tokenizer_count(m->tokenizer);
    if ((status = check_vocab_size(g, m, err)) != BK_OK) return status;
    return load_template(g, m, err);
}

static void write_id(bk_gguf_builder *b, const char *key, int32_t id) {
    if (id >= 0) bk_gguf_builder_u32(b, key, (uint32_t)id);
}

void bk_vocab_write(const bk_tokenizer_desc *d, bk_gguf_builder *b) {
    bk_gguf_builder_str(b, "tokenizer.ggml.model", d->model);
    bk_gguf_builder_str(b, "tokenizer.ggml.pre", d->pre);
    bk_gguf_builder_strs(b, "tokenizer.ggml.tokens", d->tokens, d->n_tokens);
    if (d->types) bk_gguf_builder_i32s(b, "tokenizer.ggml.token_type", d->types, d->n_tokens);
    if (d->scores) bk_gguf_builder_f32s(b, "tokenizer.ggml.scores", d->scores, d->n_tokens);
    if (d->merges) bk_gguf_builder_strs(b, "tokenizer.ggml.merges", d->merges, d->n_merges);
    write_id(b, "tokenizer.ggml.bos_token_id", d->bos);
    write_id(b, "tokenizer.ggml.eos_token_id", d->eos);
    write_id(b, "tokenizer.ggml.eot_token_id", d->eot);
    write_id(b, "tokenizer.ggml.unknown_token_id", d->unk);
    write_id(b, "tokenizer.ggml.padding_token_id", d->pad);
    bk_gguf_builder_bool(b, "tokenizer.ggml.add_bos_token", d->add_bos);
    bk_gguf_builder_bool(b, "tokenizer.ggml.add_eos_token", false);
    bk_gguf_builder_bool(b, "tokenizer.ggml.add_space_prefix", d->add_space);
    const char *form = bk_normal_name(d->prepare.form);
    if (form) bk_gguf_builder_str(b, "tokenizer.brisk.normalize", bk_str_from(form));
    if (d->prepare.casefold) bk_gguf_builder_bool(b, "tokenizer.brisk.casefold", true);
}
