#include "api/api.h"
#include "base/mem.h"

BK_API void brisk_model_options_default(brisk_model_options *options) {
    *options = (brisk_model_options){0};
}

BK_API brisk_status brisk_model_open(const char *path, const brisk_model_options *options,
                                     brisk_model **model, brisk_error *err) {
    if (!model) return bk_api_null("model", err);
    *model = NULL;
    if (!path) return bk_api_null("path", err);
    bk_model_options o = {0};
    if (options) {
        o = (bk_model_options){.threads = options->threads,
                               .cpu_level = options->cpu_level,
                               .vocab_only = options->vocab_only,
                               .tokenizer_only = options->tokenizer_only,
                               .pre = options->pre,
                               .kv_type = options->kv_type,
                               .fast = options->fast,
                               .sparse = (bk_sparse_use)options->sparse,
                               .head_keep = options->head_keep,
                               .head = options->head,
                               .progress = options->progress,
                               .progress_user = options->progress_user};
    }
    bk_error e;
    bk_model *m = NULL;
    bk_status st = bk_model_load(path, &o, &m, &e);
    *model = (brisk_model *)m;
    return bk_api_result(st, &e, err);
}

_Static_assert((int)BRISK_SPARSE_ON == (int)BK_SPARSE_ALWAYS &&
                   (int)BRISK_SPARSE_OFF == (int)BK_SPARSE_NEVER,
               "uses agree");

BK_API void brisk_model_close(brisk_model **model) {
    if (!model || !*model) return;
    bk_model *m = bk_api_model(*model);
    *model = NULL;
    bk_model_unref(&m);
}

BK_API void brisk_model_get_info(const brisk_model *model, brisk_model_info *info) {
    const bk_config *c = bk_model_config(bk_api_cmodel(model));
    const bk_model_meta *m = bk_model_get_meta(bk_api_cmodel(model));
    *info = (brisk_model_info){.architecture = m->architecture,
                               .name = m->name,
                               .quantization = m->quantization,
                               .cpu_level = bk_cpu_level_name(m->cpu_level),
                               .kv_type = bk_kv_type_name(m->kv_type),
                               .fast = m->fast,
                               .head_kept = (int)m->head_kept,
                               .head_bytes = m->head_bytes,
                               .head_screen = m->head_screen,
                               .threads = m->threads,
                               .n_layers = c->n_layers,
                               .n_embd = c->n_embd,
                               .n_heads = c->n_heads,
                               .n_kv_heads = c->n_kv_heads,
                               .head_size = c->head_size,
                               .n_ff = c->n_ff,
                               .n_vocab = c->n_vocab,
                               .n_hidden = c->n_hidden,
                               .n_out = c->n_out,
                               .context_length = c->context_length,
                               .n_params = m->n_params,
                               .file_bytes = m->file_bytes,
                               .tensor_bytes = m->tensor_bytes,
                               .resident_bytes = m->resident_bytes,
                               .token_bytes = m->token_bytes,
                               .n_sparse = m->n_sparse,
                               .n_filled = m->n_filled};
    bk_head_counts(bk_api_cmodel(model), &info->head_screened, &info->head_computed,
                   &info->head_whole);
    info->has_chat_template = bk_model_template(bk_api_cmodel(model), NULL) != NULL;
}

/* ---- Tokens ------------------------------------------------------------------------------------- */

static const bk_tokenizer *tokenizer(const brisk_model *model) {
    return bk_model_tokenizer(bk_api_cmodel(model));
}

BK_API brisk_status brisk_tokenize(const brisk_model *model, const char *text, size_t len,
                                   bool add_bos, bool parse_special, brisk_token *tokens,
                                   size_t cap, size_t *n, brisk_error *err) {
    if (!model) return bk_api_null("model", err);
    if (!text && len > 0) return bk_api_null("text", err);
    if (!n || (!tokens && cap > 0)) return bk_api_null(n ? "tokens" : "n", err);
    const bk_tokenizer *t = tokenizer(model);
    bk_ids ids = {0};
    bk_error e;
    bk_status st = BK_OK;
    if (add_bos && bk_tokenizer_add_bos(t) && bk_tokenizer_bos(t) >= 0 &&
        !bk_ids_push(&ids, bk_tokenizer_bos(t))) {
        st = bk_fail(&e, BK_ERR_NOMEM, "no memory for token ids");
    }
    if (!st && len > 0) st = bk_tokenizer_encode(t, (bk_str){text, len}, parse_special, &ids, &e);
    *n = st ? 0 : ids.len;
    if (!st && ids.len > 0 && cap > 0) {
        memcpy(tokens, ids.data, bk_min_size(ids.len, cap) * sizeof *tokens);
    }
    if (!st && ids.len > cap) {
        st = bk_fail(&e, BK_ERR_LIMIT, "the text has %zu tokens, there is room for %zu", ids.len,
                     cap);
    }
    bk_ids_free(&ids);
    return bk_api_result(st, &e, err);
}

BK_API const char *brisk_token_bytes(const brisk_model *model, brisk_token token, size_t *len,
                                     bool *special) {
    const bk_tokenizer *t = tokenizer(model);
    bk_str s = bk_tokenizer_bytes(t, token);
    if (len) *len = s.len;
    if (special) *special = s.data && bk_tokenizer_type(t, token) == BK_TOKEN_CONTROL;
    return s.data;
}

/* Hands the buffer's bytes to the caller, with a NUL behind them. */
static bk_status hand_over(bk_buf *buf, char **text, size_t *len, bk_error *e) {
    if (!bk_buf_reserve(buf, 1)) return bk_fail(e, BK_ERR_NOMEM, "no memory for the text");
    buf->data[buf->len] = '\0';
    *text = buf->data;
    if (len) *len = buf->len;
    *buf = (bk_buf){0};
    return BK_OK;
}

BK_API brisk_status brisk_detokenize(const brisk_model *model, const brisk_token *tokens, size_t n,
                                     char **text, size_t *len, brisk_error *err) {
    if (!text) return bk_api_null("text", err);
    *text = NULL;
    if (!model) return bk_api_null("model", err);
    if (!tokens && n > 0) return bk_api_null("tokens", err);
    bk_buf out = {0};
    bk_error e;
    bk_status st = bk_tokenizer_decode(tokenizer(model), tokens, n, &out, &e);
    if (!st) st = hand_over(&out, text, len, &e);
    bk_buf_free(&out);
    return bk_api_result(st, &e, err);
}

BK_API brisk_token brisk_token_bos(const brisk_model *model) {
    return bk_tokenizer_bos(tokenizer(model));
}

BK_API brisk_token brisk_token_eos(const brisk_model *model) {
    return bk_tokenizer_eos(tokenizer(model));
}

BK_API bool brisk_token_is_end(const brisk_model *model, brisk_token token) {
    return bk_tokenizer_is_end(tokenizer(model), token);
}

/* ---- Chat template ------------------------------------------------------------------------------ */

BK_API brisk_status brisk_chat_render(const brisk_model *model, const brisk_chat_message *messages,
                                      size_t n_messages, bool add_generation_prompt, char **text,
                                      brisk_error *err) {
    if (!text) return bk_api_null("text", err);
    *text = NULL;
    if (!model) return bk_api_null("model", err);
    if (!messages && n_messages > 0) return bk_api_null("messages", err);
    bk_rendered r = {0};
    bk_error e;
    bk_chat_message *m = bk_api_messages(messages, n_messages);
    bk_status st =
        m ? bk_chat_render(bk_api_cmodel(model), m, n_messages, add_generation_prompt, &r, &e)
          : bk_fail(&e, BK_ERR_NOMEM, "no memory for the messages");
    bk_free(m);
    if (!st) st = hand_over(&r.text, text, NULL, &e);
    bk_rendered_free(&r);
    return bk_api_result(st, &e, err);
}

/* A request's rendering by a template's text, or by the model's own (NULL). */
static bk_status render_request(const brisk_model *model, const char *template_text, bk_str request,
                                bk_rendered *r, bk_error *e) {
    bk_template *t = NULL;
    bk_status st = BK_OK;
    if (template_text) st = bk_template_parse(bk_str_from(template_text), &t, e);
    if (!st) st = bk_chat_render_request(bk_api_cmodel(model), t, request, r, e);
    bk_template_destroy(&t);
    return st;
}

BK_API brisk_status brisk_chat_render_json(const brisk_model *model, const char *request,
                                           size_t request_len, const char *template_text,
                                           char **text, size_t *len, brisk_error *err) {
    if (!text) return bk_api_null("text", err);
    *text = NULL;
    if (!model) return bk_api_null("model", err);
    if (!request) return bk_api_null("request", err);
    bk_rendered r = {0};
    bk_error e;
    bk_status st = render_request(model, template_text, (bk_str){request, request_len}, &r, &e);
    if (!st) st = hand_over(&r.text, text, len, &e);
    bk_rendered_free(&r);
    return bk_api_result(st, &e, err);
}

BK_API brisk_status brisk_chat_tokenize_json(const brisk_model *model, const char *request,
                                             size_t request_len, const char *template_text,
                                             brisk_token **tokens, size_t *n, brisk_error *err) {
    if (!tokens || !n) return bk_api_null(tokens ? "n" : "tokens", err);
    *tokens = NULL;
    *n = 0;
    if (!model) return bk_api_null("model", err);
    if (!request) return bk_api_null("request", err);
    bk_rendered r = {0};
    bk_ids ids = {0};
    bk_error e;
    bk_status st = render_request(model, template_text, (bk_str){request, request_len}, &r, &e);
    if (!st) st = bk_chat_encode(tokenizer(model), &r, &ids, &e);
    bk_rendered_free(&r);
    if (st) {
        bk_ids_free(&ids);
        return bk_api_result(st, &e, err);
    }
    *tokens = ids.data;
    *n = ids.len;
    return BRISK_OK;
}

BK_API const char *brisk_model_chat_template(const brisk_model *model) {
    const bk_template *t = model ? bk_model_template(bk_api_cmodel(model), NULL) : NULL;
    return t ? bk_template_source(t).data : NULL;
}

BK_API void brisk_free(void *memory) { bk_free(memory); }
