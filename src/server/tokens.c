/* Text to tokens and back, and templates, over HTTP. One handler serves both dialects: `prompt` and
 * add_special_tokens (vLLM), `content` and add_special (llama.cpp). */
#include "base/mem.h"
#include "server/state.h"

/* ---- Tokens ------------------------------------------------------------------------------------- */

bool sv_tokenize(const sv_server *s, bk_str text, bool add_bos, bool parse_special, sv_tokens *out,
                 sv_problem *p) {
    size_t cap = text.len / 3 + 16;
    brisk_error err;
    *out = (sv_tokens){0};
    for (;;) {
        brisk_token *v = bk_realloc(out->v, cap, sizeof *v);
        if (!v) break;
        out->v = v;
        brisk_status st = brisk_tokenize(s->model, text.data, text.len, add_bos, parse_special, v,
                                         cap, &out->n, &err);
        if (!st) return true;
        bool short_of_room = st == BRISK_ERR_LIMIT && out->n > cap;
        cap = out->n;
        if (short_of_room) continue;
        bk_free(out->v);
        *out = (sv_tokens){0};
        return sv_problem_from(p, &err, NULL);
    }
    bk_free(out->v);
    *out = (sv_tokens){0};
    return sv_problem_set(p, 503, "out_of_memory", NULL, "no memory for the tokens");
}

bool sv_token_array(const sv_server *s, const json_t *array, const char *param, sv_tokens *out,
                    sv_problem *p) {
    size_t n = json_array_size(array);
    *out = (sv_tokens){.v = n ? bk_alloc(n, sizeof *out->v) : NULL};
    if (n && !out->v)
        return sv_problem_set(p, 503, "out_of_memory", NULL, "no memory for the tokens");
    for (size_t i = 0; i < n; i++) {
        const json_t *v = json_array_get(array, i);
        json_int_t id = json_is_integer(v) ? json_integer_value(v) : -1;
        if (id < 0 || id >= s->info.n_vocab) {
            bk_free(out->v);
            *out = (sv_tokens){0};
            return sv_problem_set(p, 400, "invalid_value", param,
                                  "%s[%zu] is no token id: wanted 0 to %d", param, i,
                                  s->info.n_vocab - 1);
        }
        out->v[out->n++] = (brisk_token)id;
    }
    return true;
}

bool sv_check_prompt(const sv_server *s, size_t n, const char *param, sv_problem *p) {
    size_t context = (size_t)sv_context(s);
    if (n == 0) return sv_problem_set(p, 400, "invalid_value", param, "the prompt is empty");
    if (n < context) return true;
    /* In OpenAI's words: clients know an overflow by them. */
    sv_problem_set(p, 400, "context_length_exceeded", param,
                   "This model's maximum context length is %zu tokens. However, you requested %zu "
                   "tokens in the prompt alone. Please reduce the length of the prompt.",
                   context, n);
    p->n_prompt = n;
    p->n_context = context;
    return false;
}

/* ---- Fields ------------------------------------------------------------------------------------- */

/* A member that may be missing or null, else true or false. */
static bool get_bool(const json_t *body, const char *key, bool *value, sv_problem *p) {
    const json_t *v = json_object_get(body, key);
    if (!v || json_is_null(v)) return true;
    if (!json_is_boolean(v))
        return sv_problem_set(p, 400, "invalid_type", key, "%s: wanted true or false", key);
    *value = json_is_true(v);
    return true;
}

/* The body as a template's request, which ends with the answer's beginning unless it says otherwise. */
static bool chat_request(json_t *body, bk_buf *out, sv_problem *p) {
    if (!json_is_array(json_object_get(body, "messages")))
        return sv_problem_set(p, 400, "invalid_type", "messages", "messages: wanted an array");
    if (!json_object_get(body, "add_generation_prompt"))
        json_object_set_new(body, "add_generation_prompt", json_true());
    char *text = json_dumps(body, JSON_COMPACT | JSON_ENCODE_ANY);
    if (text) bk_buf_append_str(out, text);
    free(text);
    if (!text || out->failed)
        return sv_problem_set(p, 503, "out_of_memory", NULL, "no memory for the conversation");
    return true;
}

static bool chat_tokens(const sv_server *s, json_t *body, sv_tokens *out, sv_problem *p) {
    bk_buf request = {0};
    brisk_error err;
    bool good = chat_request(body, &request, p);
    if (good && brisk_chat_tokenize_json(s->model, request.data, request.len, s->o->chat_template,
                                         &out->v, &out->n, &err))
        good = sv_problem_from(p, &err, "messages");
    bk_buf_free(&request);
    return good;
}

/* ---- Routes ------------------------------------------------------------------------------------- */

static bool tokenize(const sv_server *s, json_t *body, sv_tokens *out, bool *pieces,
                     sv_problem *p) {
    bool add = false, special = true;
    if (!get_bool(body, "with_pieces", pieces, p)) return false;
    if (json_object_get(body, "messages")) return chat_tokens(s, body, out, p);
    const json_t *prompt = json_object_get(body, "prompt"), *text = prompt;
    if (!text) text = json_object_get(body, "content");
    add = prompt != NULL; /* the default of each dialect */
    if (!get_bool(body, "add_special", &add, p) || !get_bool(body, "add_special_tokens", &add, p) ||
        !get_bool(body, "parse_special", &special, p))
        return false;
    if (!json_is_string(text))
        return sv_problem_set(p, 400, "invalid_type", "prompt",
                              "wanted a text as prompt (or content), or messages");
    return sv_tokenize(s, bk_json_text(text), add, special, out, p);
}

static void write_piece(bk_json *w, const sv_server *s, brisk_token token) {
    size_t len;
    const char *bytes = brisk_token_bytes(s->model, token, &len, NULL);
    bk_json_begin(w, '{');
    bk_json_key_int(w, "id", token);
    bk_json_key(w, "piece");
    if (bk_utf8_valid_len(bytes, len) == len) {
        bk_json_str(w, (bk_str){bytes, len});
    } else { /* part of a character */
        bk_json_begin(w, '[');
        for (size_t i = 0; i < len; i++) bk_json_uint(w, (unsigned char)bytes[i]);
        bk_json_end(w, ']');
    }
    bk_json_end(w, '}');
}

void sv_post_tokenize(sv_server *s, sv_exchange *x) {
    sv_problem p;
    sv_tokens tokens = {0};
    bool pieces = false;
    json_t *body = sv_body_object(x);
    if (!body) return;
    if (!tokenize(s, body, &tokens, &pieces, &p)) {
        json_decref(body);
        sv_reply_problem(x, &p);
        return;
    }
    json_decref(body);
    bk_buf out = {0};
    bk_json w = {.out = &out};
    bk_json_begin(&w, '{');
    bk_json_key(&w, "tokens");
    bk_json_begin(&w, '[');
    for (size_t i = 0; i < tokens.n; i++) {
        if (pieces)
            write_piece(&w, s, tokens.v[i]);
        else
            bk_json_int(&w, tokens.v[i]);
    }
    bk_json_end(&w, ']');
    bk_json_key_uint(&w, "count", tokens.n);
    bk_json_key_int(&w, "max_model_len", sv_context(s));
    bk_json_end(&w, '}');
    brisk_free(tokens.v);
    sv_reply_json(x, 200, &out);
}

static bool detokenize(const sv_server *s, const json_t *body, char **text, size_t *len,
                       sv_problem *p) {
    sv_tokens tokens;
    brisk_error err;
    const json_t *array = json_object_get(body, "tokens");
    if (!json_is_array(array))
        return sv_problem_set(p, 400, "invalid_type", "tokens", "tokens: wanted an array of ids");
    if (!sv_token_array(s, array, "tokens", &tokens, p)) return false;
    brisk_status st = brisk_detokenize(s->model, tokens.v, tokens.n, text, len, &err);
    bk_free(tokens.v);
    return st ? sv_problem_from(p, &err, "tokens") : true;
}

void sv_post_detokenize(sv_server *s, sv_exchange *x) {
    sv_problem p;
    char *text = NULL;
    size_t len = 0;
    json_t *body = sv_body_object(x);
    if (!body) return;
    bool good = detokenize(s, body, &text, &len, &p);
    json_decref(body);
    if (!good) {
        sv_reply_problem(x, &p);
        return;
    }
    bk_buf out = {0};
    bk_json w = {.out = &out};
    bk_json_begin(&w, '{');
    bk_json_key(&w, "prompt");
    bk_json_str(&w, (bk_str){text, len});
    bk_json_key(&w, "content");
    bk_json_str(&w, (bk_str){text, len});
    bk_json_end(&w, '}');
    brisk_free(text);
    sv_reply_json(x, 200, &out);
}

static void write_token(bk_json *w, const sv_server *s, const char *key, brisk_token token) {
    size_t len = 0;
    const char *bytes = token >= 0 ? brisk_token_bytes(s->model, token, &len, NULL) : NULL;
    bk_json_key(w, key);
    if (bytes)
        bk_json_str(w, (bk_str){bytes, len});
    else
        bk_json_null(w);
}

void sv_get_tokenizer_info(sv_server *s, sv_exchange *x) {
    bk_buf out = {0};
    bk_json w = {.out = &out};
    brisk_token eos = brisk_token_eos(s->model);
    bk_json_begin(&w, '{');
    bk_json_key_str(&w, "tokenizer_class", "brisk");
    write_token(&w, s, "bos_token", brisk_token_bos(s->model));
    write_token(&w, s, "eos_token", eos);
    write_token(&w, s, "pad_token", eos);
    bk_json_key_int(&w, "vocab_size", s->info.n_vocab);
    bk_json_key_int(&w, "model_max_length", sv_context(s));
    bk_json_key(&w, "chat_template");
    if (s->chat_template)
        bk_json_str(&w, bk_str_from(s->chat_template));
    else
        bk_json_null(&w);
    bk_json_end(&w, '}');
    sv_reply_json(x, 200, &out);
}

void sv_post_apply_template(sv_server *s, sv_exchange *x) {
    sv_problem p;
    bk_buf request = {0}, out = {0};
    brisk_error err;
    char *text = NULL;
    size_t len = 0;
    json_t *body = sv_body_object(x);
    if (!body) return;
    bool good = chat_request(body, &request, &p);
    json_decref(body);
    if (good && brisk_chat_render_json(s->model, request.data, request.len, s->o->chat_template,
                                       &text, &len, &err))
        good = sv_problem_from(&p, &err, "messages");
    bk_buf_free(&request);
    if (!good) {
        sv_reply_problem(x, &p);
        return;
    }
    bk_json w = {.out = &out};
    bk_json_begin(&w, '{');
    bk_json_key(&w, "prompt");
    bk_json_str(&w, (bk_str){text, len});
    bk_json_end(&w, '}');
    brisk_free(text);
    sv_reply_json(x, 200, &out);
}

void sv_post_input_tokens(sv_server *s, sv_exchange *x) {
    sv_problem p;
    sv_tokens tokens = {0};
    json_t *body = sv_body_object(x);
    if (!body) return;
    bool good = chat_tokens(s, body, &tokens, &p);
    json_decref(body);
    if (!good) {
        sv_reply_problem(x, &p);
        return;
    }
    brisk_free(tokens.v);
    bk_buf out = {0};
    bk_json w = {.out = &out};
    bk_json_begin(&w, '{');
    bk_json_key_uint(&w, "input_tokens", tokens.n);
    bk_json_key_str(&w, "object", "response.input_tokens");
    bk_json_end(&w, '}');
    sv_reply_json(x, 200, &out);
}
