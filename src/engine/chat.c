#include "engine/chat.h"

#include "base/json_write.h"

static void token_name(bk_json *w, const bk_tokenizer *t, const char *key, int32_t id) {
    if (id < 0) return;
    bk_json_key(w, key);
    bk_json_str(w, bk_tokenizer_bytes(t, id));
}

/* What transformers' apply_chat_template defines before the caller's own. */
static void write_defaults(bk_buf *out, const bk_tokenizer *t) {
    bk_json w = {.out = out};
    bk_json_begin(&w, '{');
    bk_json_key(&w, "tools");
    bk_json_null(&w);
    bk_json_key(&w, "documents");
    bk_json_null(&w);
    bk_json_key_bool(&w, "add_generation_prompt", false);
    token_name(&w, t, "bos_token", bk_tokenizer_bos(t));
    token_name(&w, t, "eos_token", bk_tokenizer_eos(t));
    bk_json_end(&w, '}');
}

static void write_request(bk_buf *out, const bk_chat_message *messages, size_t n,
                          bool add_generation_prompt) {
    bk_json w = {.out = out};
    bk_json_begin(&w, '{');
    bk_json_key(&w, "messages");
    bk_json_begin(&w, '[');
    for (size_t i = 0; i < n; i++) {
        bk_json_begin(&w, '{');
        bk_json_key_str(&w, "role", messages[i].role);
        bk_json_key_str(&w, "content", messages[i].content);
        bk_json_end(&w, '}');
    }
    bk_json_end(&w, ']');
    bk_json_key_bool(&w, "add_generation_prompt", add_generation_prompt);
    bk_json_end(&w, '}');
}

static bk_status check_message(const bk_chat_message *m, size_t i, bk_error *err) {
    const char *const part[] = {m->role, m->content}, *const name[] = {"role", "content"};
    for (size_t k = 0; k < 2; k++) {
        if (!part[k]) {
            return bk_fail(err, BK_ERR_INVALID, "message %zu has no %s", i + 1, name[k]);
        }
        size_t len = strlen(part[k]), good = bk_utf8_valid_len(part[k], len);
        if (good != len) {
            return bk_fail(err, BK_ERR_INVALID, "the %s of message %zu is not UTF-8 at byte %zu",
                           name[k], i + 1, good);
        }
    }
    return BK_OK;
}

bk_status bk_chat_render_request(const bk_model *m, const bk_template *t, bk_str request,
                                 bk_rendered *out, bk_error *err) {
    const char *why = NULL;
    if (!t) t = bk_model_template(m, &why);
    if (!t) {
        return bk_fail(err, BK_ERR_UNSUPPORTED, "no chat template: %s",
                       why ? why : "the model file has none, use raw text");
    }
    bk_buf defaults = {0};
    write_defaults(&defaults, bk_model_tokenizer(m));
    bk_status st = defaults.failed
                       ? bk_fail(err, BK_ERR_NOMEM, "no memory for the conversation")
                       : bk_template_render_request(t, request, bk_buf_view(&defaults), out, err);
    bk_buf_free(&defaults);
    return st;
}

bk_status bk_chat_render(const bk_model *m, const bk_chat_message *messages, size_t n,
                         bool add_generation_prompt, bk_rendered *out, bk_error *err) {
    for (size_t i = 0; i < n; i++) {
        bk_status bad = check_message(&messages[i], i, err);
        if (bad) return bad;
    }
    bk_buf request = {0};
    write_request(&request, messages, n, add_generation_prompt);
    bk_status st = request.failed
                       ? bk_fail(err, BK_ERR_NOMEM, "no memory for the conversation")
                       : bk_chat_render_request(m, NULL, bk_buf_view(&request), out, err);
    bk_buf_free(&request);
    return st;
}

bk_status bk_chat_encode(const bk_tokenizer *t, const bk_rendered *r, bk_ids *out, bk_error *err) {
    return bk_tokenizer_encode_marked(t, bk_buf_view(&r->text), r->user, r->n_user, out, err);
}
