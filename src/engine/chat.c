#include "engine/chat.h"

#include "base/json_write.h"

static void token_name(bk_json *w, const bk_tokenizer *t, const char *key, int32_t id) {
    bk_json_key(w, key);
    bk_json_str(w, bk_tokenizer_bytes(t, id));
}

static void write_vars(bk_buf *out, const bk_tokenizer *t, const bk_chat_message *messages,
                       size_t n, bool add_generation_prompt) {
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
    token_name(&w, t, "bos_token", bk_tokenizer_bos(t));
    token_name(&w, t, "eos_token", bk_tokenizer_eos(t));
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

bk_status bk_chat_render(const bk_model *m, const bk_chat_message *messages, size_t n,
                         bool add_generation_prompt, bk_rendered *out, bk_error *err) {
    const char *why = NULL;
    const bk_template *t = bk_model_template(m, &why);
    if (!t) {
        return bk_fail(err, BK_ERR_UNSUPPORTED, "no chat template: %s",
                       why ? why : "the model file has none, use raw text");
    }
    for (size_t i = 0; i < n; i++) {
        bk_status bad = check_message(&messages[i], i, err);
        if (bad) return bad;
    }
    bk_buf vars = {0};
    write_vars(&vars, bk_model_tokenizer(m), messages, n, add_generation_prompt);
    bk_status st = vars.failed ? bk_fail(err, BK_ERR_NOMEM, "no memory for the conversation")
                               : bk_template_render(t, bk_buf_view(&vars), out, err);
    bk_buf_free(&vars);
    return st;
}

static bool is_special(const bk_tokenizer *t, int32_t id) {
    int type = bk_tokenizer_type(t, id);
    return type == BK_TOKEN_CONTROL || type == BK_TOKEN_USER_DEFINED;
}

/* Ends the plain text that has run from *begin to `end`, then puts the special token. */
static bk_status put_special(const bk_tokenizer *t, bk_str text, size_t *begin, size_t end,
                             int32_t id, bk_ids *out, bk_error *err) {
    bk_str plain = {text.data + *begin, end - *begin};
    bk_status st = plain.len > 0 ? bk_tokenizer_encode(t, plain, false, out, err) : BK_OK;
    if (st) return st;
    *begin = end + bk_tokenizer_bytes(t, id).len;
    return bk_ids_push(out, id) ? BK_OK : bk_fail(err, BK_ERR_NOMEM, "no memory for token ids");
}

/* Special tokens within [from, to), which is template text: a byte-level encoding loses nothing, so
 * adding up the lengths of its tokens says where each special one stands. */
static bk_status template_run(const bk_tokenizer *t, bk_str text, size_t from, size_t to,
                              size_t *begin, bk_ids *scratch, bk_ids *out, bk_error *err) {
    scratch->len = 0;
    bk_str run = {text.data + from, to - from};
    bk_status st = bk_tokenizer_encode(t, run, true, scratch, err);
    size_t at = from;
    for (size_t i = 0; i < scratch->len && !st; i++) {
        size_t len = bk_tokenizer_bytes(t, scratch->data[i]).len;
        if (len > to - at) return bk_fail(err, BK_ERR_FORMAT, "the tokenizer changes its input");
        if (is_special(t, scratch->data[i])) {
            st = put_special(t, text, begin, at, scratch->data[i], out, err);
        }
        at += len;
    }
    return st;
}

bk_status bk_chat_encode(const bk_tokenizer *t, const bk_rendered *r, bk_ids *out, bk_error *err) {
    bk_str text = bk_buf_view(&r->text);
    bk_ids scratch = {0};
    bk_status st = BK_OK;
    size_t begin = 0, from = 0; /* of the plain text not yet encoded; of the template's next run */
    for (size_t i = 0; i <= r->n_user && !st; i++) {
        size_t to = i < r->n_user ? r->user[i].begin : text.len;
        if (to > from) st = template_run(t, text, from, to, &begin, &scratch, out, err);
        if (i < r->n_user) from = r->user[i].end;
    }
    if (!st && begin < text.len) {
        bk_str rest = {text.data + begin, text.len - begin};
        st = bk_tokenizer_encode(t, rest, false, out, err);
    }
    bk_ids_free(&scratch);
    return st;
}
