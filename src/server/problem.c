/* Problems as replies, in the shape that OpenAI's clients know. */
#include <math.h>
#include <stdarg.h>
#include <stdio.h>

#include "server/state.h"

enum { BODY_DEPTH = 64 };

static const char *type_of(int status) {
    switch (status) {
    case 401: return "authentication_error";
    case 403: return "permission_error";
    case 404: return "not_found_error";
    case 408:
    case 504: return "timeout_error";
    case 429: return "rate_limit_error";
    case 503: return "unavailable_error";
    default: return status >= 500 ? "server_error" : "invalid_request_error";
    }
}

bool sv_problem_set(sv_problem *p, int status, const char *code, const char *param, const char *fmt,
                    ...) {
    char text[sizeof p->text];
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    *p = (sv_problem){.status = status, .type = type_of(status), .code = code};
    snprintf(p->param, sizeof p->param, "%s", param ? param : "");
    bk_str_printable(p->text, sizeof p->text, text,
                     bk_min_size(n < 0 ? 0 : (size_t)n, sizeof text - 1));
    return false;
}

bool sv_problem_from(sv_problem *p, const brisk_error *err, const char *param) {
    static const struct {
        brisk_status status;
        int http;
        const char *code;
    } map[] = {{BRISK_ERR_INVALID, 400, "invalid_value"},
               {BRISK_ERR_FORMAT, 400, "invalid_value"},
               {BRISK_ERR_UNSUPPORTED, 501, "not_supported"},
               {BRISK_ERR_LIMIT, 400, "limit_exceeded"},
               {BRISK_ERR_NOMEM, 503, "out_of_memory"}};
    for (size_t i = 0; i < BK_ARRAY_LEN(map); i++) {
        if (map[i].status == err->code)
            return sv_problem_set(p, map[i].http, map[i].code, param, "%s", err->text);
    }
    return sv_problem_set(p, 500, "internal_error", param, "%s", err->text);
}

bool sv_problem_field(sv_problem *p, const sv_field_error *err) {
    bool memory = strcmp(err->code, "out_of_memory") == 0;
    return sv_problem_set(p, memory ? 503 : 400, err->code, err->param, "%s", err->text);
}

void sv_problem_write(bk_buf *out, const sv_problem *p) {
    bk_json w = {.out = out};
    bk_json_begin(&w, '{');
    bk_json_key(&w, "error");
    bk_json_begin(&w, '{');
    bk_json_key_str(&w, "message", p->text);
    bk_json_key_str(&w, "type", p->type);
    bk_json_key(&w, "param");
    if (p->param[0])
        bk_json_str(&w, bk_str_from(p->param));
    else
        bk_json_null(&w);
    bk_json_key(&w, "code");
    if (p->code)
        bk_json_str(&w, bk_str_from(p->code));
    else
        bk_json_null(&w);
    if (p->n_context > 0) {
        bk_json_key_uint(&w, "n_prompt_tokens", p->n_prompt);
        bk_json_key_uint(&w, "n_ctx", p->n_context);
    }
    bk_json_end(&w, '}');
    bk_json_end(&w, '}');
}

void sv_reply_json(sv_exchange *x, int status, bk_buf *out) {
    static const char short_of_memory[] =
        "{\"error\":{\"message\":\"no memory for the reply\",\"type\":\"server_error\","
        "\"param\":null,\"code\":\"out_of_memory\"}}";
    if (out->failed)
        sv_reply(x, 503, "application/json", short_of_memory, sizeof short_of_memory - 1);
    else
        sv_reply(x, status, "application/json", out->data, out->len);
    bk_buf_free(out);
}

void sv_reply_problem(sv_exchange *x, const sv_problem *p) {
    bk_buf out = {0};
    x->problem = p->code;
    sv_problem_write(&out, p);
    if (p->retry_s > 0) {
        double ms = ceil(bk_min_size((size_t)(p->retry_s * 1000), 3600000));
        sv_add_header(x, "Retry-After", "%.0f", ceil(ms / 1000));
        sv_add_header(x, "retry-after-ms", "%.0f", ms);
    }
    if (p->status == 401) sv_add_header(x, "WWW-Authenticate", "Bearer");
    sv_reply_json(x, p->status, &out);
}

json_t *sv_body_object(sv_exchange *x) {
    sv_problem p;
    bk_error err;
    json_t *body = NULL;
    bk_str text = bk_buf_view(&x->body);
    size_t good = bk_utf8_valid_len(text.data, text.len);
    if (good < text.len)
        sv_problem_set(&p, 400, "invalid_utf8", NULL, "the body is not UTF-8 from byte %zu on",
                       good);
    else if (bk_json_parse(text, BODY_DEPTH, false, &body, &err))
        sv_problem_set(&p, 400, "invalid_json", NULL, "the body: %s", err.text);
    else if (!json_is_object(body))
        sv_problem_set(&p, 400, "invalid_json", NULL, "the body is JSON, but not an object");
    else
        return body;
    json_decref(body);
    sv_reply_problem(x, &p);
    return NULL;
}
