#include "server/request.h"

#include <limits.h>
#include <math.h>
#include <stdio.h>

enum {
    MAX_STOPS = 16,
    MAX_STOP_BYTES = 1024,
    MAX_TEXT = 4096, /* bytes of model, user, cache_salt */
    MAX_TOP = 20,
    DEFAULT_COMPLETION_TOKENS = 16
};

static bool no_memory(const sv_fields *f) {
    return sv_field_fail(f, NULL, "out_of_memory", "no memory for the request");
}

/* ---- Fields with one value ---------------------------------------------------------------------- */

typedef enum value { BOOL, INT, FLOAT, TEXT } value;

/* Of several names of one thing the last in the table counts. */
static const struct scalar {
    const char *name;
    value kind;
    size_t at;
    double min, max;
} scalars[] = {
#define AT(member) offsetof(sv_request, member)
    {"model", TEXT, AT(model), 0, MAX_TEXT},
    {"user", TEXT, AT(user), 0, MAX_TEXT},
    {"cache_salt", TEXT, AT(cache_salt), 0, MAX_TEXT},
    {"temperature", FLOAT, AT(sampling.temperature), 0, 100},
    {"top_p", FLOAT, AT(sampling.top_p), 0, 1},
    {"min_p", FLOAT, AT(sampling.min_p), 0, 1},
    {"typical_p", FLOAT, AT(sampling.typical_p), 0, 1},
    {"top_k", INT, AT(sampling.top_k), -1, INT_MAX},
    {"repetition_penalty", FLOAT, AT(sampling.repeat_penalty), 0.001, 100},
    {"repeat_penalty", FLOAT, AT(sampling.repeat_penalty), 0.001, 100},
    {"repeat_last_n", INT, AT(sampling.penalty_last_n), -1, INT_MAX},
    {"presence_penalty", FLOAT, AT(sampling.presence_penalty), -100, 100},
    {"frequency_penalty", FLOAT, AT(sampling.frequency_penalty), -100, 100},
    {"n_predict", INT, AT(max_tokens), -1, INT_MAX},
    {"max_tokens", INT, AT(max_tokens), -1, INT_MAX},
    {"max_completion_tokens", INT, AT(max_tokens), -1, INT_MAX},
    {"min_tokens", INT, AT(min_tokens), 0, INT_MAX},
    {"ignore_eos", BOOL, AT(ignore_end), 0, 0},
    {"priority", INT, AT(priority), -100, 100},
    {"stream", BOOL, AT(stream), 0, 0},
    {"cache_prompt", BOOL, AT(cache_prompt), 0, 0},
    {"return_progress", BOOL, AT(return_progress), 0, 0},
    {"timings_per_token", BOOL, AT(timings_per_token), 0, 0},
    {"parallel_tool_calls", BOOL, AT(parallel_calls), 0, 0},
    {"add_generation_prompt", BOOL, AT(add_generation_prompt), 0, 0},
    {"echo", BOOL, AT(echo), 0, 0},
#undef AT
};

static bool read_scalar(const sv_fields *f, const struct scalar *s, void *member) {
    int64_t whole;
    double number;
    switch (s->kind) {
    case BOOL: return sv_field_bool(f, s->name, member);
    case TEXT: return sv_field_str(f, s->name, (size_t)s->max, member);
    case INT:
        whole = *(int *)member;
        if (!sv_field_int(f, s->name, (int64_t)s->min, (int64_t)s->max, &whole)) return false;
        *(int *)member = (int)whole;
        return true;
    case FLOAT:
        number = *(float *)member;
        if (!sv_field_number(f, s->name, s->min, s->max, &number)) return false;
        *(float *)member = (float)number;
        return true;
    }
    return false;
}

static bool read_scalars(const sv_fields *f, sv_request *r) {
    for (size_t i = 0; i < BK_ARRAY_LEN(scalars); i++) {
        if (!read_scalar(f, &scalars[i], (char *)r + scalars[i].at)) return false;
    }
    if (r->sampling.top_k < 0) r->sampling.top_k = 0; /* vLLM's "off" */
    if (r->max_tokens >= 0 && r->min_tokens > r->max_tokens) {
        return sv_field_fail(f, "min_tokens", "invalid_value",
                             "%d is more than the %d of max_tokens", r->min_tokens, r->max_tokens);
    }
    return true;
}

static bool read_seed(const sv_fields *f, sv_request *r) {
    int64_t seed = -1;
    if (!sv_field_int(f, "seed", INT64_MIN, INT64_MAX, &seed)) return false;
    r->has_seed = seed != -1;
    r->sampling.seed = r->has_seed ? (uint64_t)seed : 0;
    return true;
}

/* ---- What is refused by name -------------------------------------------------------------------- */

static const struct refused {
    const char *name, *why;
} refused[] = {
    {"grammar", "this server does not constrain output"},
    {"json_schema", "this server does not constrain output"},
    {"guided_json", "this server does not constrain output"},
    {"guided_regex", "this server does not constrain output"},
    {"guided_choice", "this server does not constrain output"},
    {"guided_grammar", "this server does not constrain output"},
    {"structured_outputs", "this server does not constrain output"},
    {"regex", "this server does not constrain output"},
    {"ebnf", "this server does not constrain output"},
    {"bad_words", "not supported; use logit_bias"},
    {"chat_template", "templates come from the model alone"},
    {"functions", "not supported; use tools"},
    {"function_call", "not supported; use tools and tool_choice"},
    {"continue_final_message", "not supported"},
    {"suffix", "this server does not fill in"},
    {"use_beam_search", "not supported"},
    {"mirostat", "not supported"},
    {"dynatemp_range", "not supported"},
    {"xtc_probability", "not supported"},
    {"dry_multiplier", "not supported"},
};

/* Values that ask for nothing: clients send them for fields that they know. */
static bool asks_nothing(const json_t *v) {
    if (!v || json_is_false(v)) return true;
    if (json_is_number(v)) return json_number_value(v) == 0;
    if (json_is_string(v)) return json_string_length(v) == 0;
    return json_is_array(v) && json_array_size(v) == 0;
}

static bool check_refused(const sv_fields *f) {
    for (size_t i = 0; i < BK_ARRAY_LEN(refused); i++) {
        if (asks_nothing(sv_field_get(f, refused[i].name))) continue;
        return sv_field_fail(f, refused[i].name, "unsupported_value", "%s; leave the field out",
                             refused[i].why);
    }
    return true;
}

static bool check_format(const sv_fields *f) {
    json_t *format = NULL;
    bk_str type = {0};
    if (!sv_field_object(f, "response_format", &format)) return false;
    if (!format) return true;
    sv_fields in = {format, "response_format", f->err};
    if (!sv_field_get(&in, "type")) return sv_field_refuse(&in, "type", NULL, "a string");
    if (!sv_field_str(&in, "type", MAX_TEXT, &type)) return false;
    if (bk_str_eq(type, BK_STR("text"))) return true;
    return sv_field_fail(f, "response_format", "unsupported_value",
                         "this server does not constrain output: wanted type \"text\", found "
                         "\"" BK_STR_FMT "\"",
                         BK_STR_ARG(type));
}

/* ---- Lists -------------------------------------------------------------------------------------- */

static bool add_stop(const sv_fields *f, const char *name, const json_t *v, sv_request *r) {
    bk_str text = bk_json_text(v);
    if (!text.data) return sv_field_refuse(f, name, v, "a string");
    if (text.len == 0 || text.len > MAX_STOP_BYTES || memchr(text.data, 0, text.len)) {
        return sv_field_fail(f, name, "invalid_value",
                             "wanted a text of 1 to %d bytes without NUL, found %zu bytes",
                             MAX_STOP_BYTES, text.len);
    }
    r->stop[r->n_stop++] = text.data;
    return true;
}

static bool read_stop(const sv_fields *f, sv_request *r) {
    json_t *v = sv_field_get(f, "stop");
    if (!v) return true;
    size_t n = json_is_array(v) ? json_array_size(v) : 1;
    if (n > MAX_STOPS) {
        return sv_field_fail(f, "stop", "invalid_value", "wanted at most %d texts, found %zu",
                             MAX_STOPS, n);
    }
    if (!json_is_array(v) && !json_is_string(v)) {
        return sv_field_refuse(f, "stop", v, "a string or an array of strings");
    }
    r->stop = n ? bk_arena_alloc(&r->memory, n, sizeof *r->stop) : NULL;
    if (n && !r->stop) return no_memory(f);
    if (json_is_string(v)) return add_stop(f, "stop", v, r);
    for (size_t i = 0; i < n; i++) {
        char name[32];
        snprintf(name, sizeof name, "stop[%zu]", i);
        if (!add_stop(f, name, json_array_get(v, i), r)) return false;
    }
    return true;
}

/* "5", below n. */
static bool read_id(const char *text, int n, brisk_token *out) {
    int64_t id = 0;
    size_t len = strlen(text);
    if (len == 0 || len > 9) return false;
    for (size_t i = 0; i < len; i++) {
        if (text[i] < '0' || text[i] > '9') return false;
        id = id * 10 + (text[i] - '0');
    }
    *out = (brisk_token)id;
    return id < n;
}

/* -100 is "never", as OpenAI's documentation has it. */
static bool read_biases(const sv_fields *f, int n_vocab, sv_request *r) {
    json_t *map = NULL, *v;
    const char *key;
    size_t n = 0;
    if (!sv_field_object(f, "logit_bias", &map)) return false;
    if (json_object_size(map) == 0) return true;
    brisk_logit_bias *b = bk_arena_alloc(&r->memory, json_object_size(map), sizeof *b);
    if (!b) return no_memory(f);
    sv_fields in = {map, "logit_bias", f->err};
    json_object_foreach(map, key, v) {
        double bias = 0;
        if (!read_id(key, n_vocab, &b[n].token)) {
            return sv_field_fail(&in, key, "invalid_value",
                                 "wanted a token id from 0 to %d as the key", n_vocab - 1);
        }
        if (!sv_field_number(&in, key, -100, 100, &bias)) return false;
        b[n++].bias = bias <= -100 ? -INFINITY : (float)bias;
    }
    r->sampling.logit_bias = b;
    r->sampling.n_logit_bias = n;
    return true;
}

/* ---- Groups of fields --------------------------------------------------------------------------- */

static bool read_choices(const sv_fields *f, const sv_request_limits *limits, sv_request *r) {
    int64_t n = 1, best_of = 1;
    size_t prompts = r->n_prompts ? r->n_prompts : 1;
    int64_t most = limits->max_choices / (int64_t)prompts;
    if (!sv_field_int(f, "n", 1, most > 1 ? most : 1, &n)) return false;
    best_of = n;
    if (!sv_field_int(f, "best_of", 1, INT_MAX, &best_of)) return false;
    if (best_of > n) {
        return sv_field_fail(f, "best_of", "unsupported_value",
                             "this server returns every answer it makes; wanted at most n, %d",
                             (int)n);
    }
    r->n = (int)n;
    return true;
}

/* chat: logprobs is a switch, top_logprobs a number; completions: logprobs is the number. */
static bool read_logprobs(const sv_fields *f, sv_request_kind kind, sv_request *r) {
    int64_t top = -1;
    bool on = false;
    if (kind == SV_REQUEST_COMPLETION) {
        if (!json_is_false(sv_field_get(f, "logprobs")) &&
            !sv_field_int(f, "logprobs", 0, MAX_TOP, &top)) {
            return false;
        }
        r->logprobs = (int)top;
        return true;
    }
    if (!sv_field_bool(f, "logprobs", &on) || !sv_field_int(f, "top_logprobs", 0, MAX_TOP, &top)) {
        return false;
    }
    if (top > 0 && !on) {
        return sv_field_fail(f, "top_logprobs", "invalid_value", "needs logprobs: true");
    }
    r->logprobs = !on ? -1 : top < 0 ? 0 : (int)top;
    return true;
}

static bool read_stream_options(const sv_fields *f, sv_request *r) {
    json_t *options = NULL;
    if (!sv_field_object(f, "stream_options", &options)) return false;
    sv_fields in = {options, "stream_options", f->err};
    return !options || (sv_field_bool(&in, "include_usage", &r->include_usage) &&
                        sv_field_bool(&in, "continuous_usage_stats", &r->continuous_usage));
}

/* What a template's variables are named may not be replaced from the side (CVE-2025-62426 is what
 * happens otherwise). */
static bool read_kwargs(const sv_fields *f, sv_request *r) {
    static const char *const reserved[] = {"messages",      "tools",
                                           "documents",     "add_generation_prompt",
                                           "chat_template", "chat_template_kwargs",
                                           "bos_token",     "eos_token"};
    if (!sv_field_object(f, "chat_template_kwargs", &r->kwargs)) return false;
    for (size_t i = 0; i < BK_ARRAY_LEN(reserved); i++) {
        if (!json_object_get(r->kwargs, reserved[i])) continue;
        sv_fields in = {r->kwargs, "chat_template_kwargs", f->err};
        return sv_field_fail(&in, reserved[i], "invalid_value", "not allowed here");
    }
    return true;
}

static bool read_chat(const sv_fields *f, sv_request *r) {
    return sv_messages_read(f, &r->messages) && sv_tools_read(f, &r->tools, &r->may_call) &&
           read_kwargs(f, r);
}

static bool read_all(const sv_fields *f, sv_request_kind kind, const sv_request_limits *limits,
                     sv_request *r) {
    int vocab = limits->n_vocab;
    size_t max_prompts = limits->max_choices > 1 ? (size_t)limits->max_choices : 1;
    bool good = kind == SV_REQUEST_CHAT ? read_chat(f, r)
                                        : sv_prompts_read(f, "prompt", max_prompts, vocab,
                                                          &r->memory, &r->prompts, &r->n_prompts);
    return good && check_refused(f) && check_format(f) && read_scalars(f, r) && read_seed(f, r) &&
           read_stop(f, r) && read_biases(f, vocab, r) && read_choices(f, limits, r) &&
           read_logprobs(f, kind, r) && read_stream_options(f, r) &&
           sv_prediction_read(f, &r->prediction) &&
           sv_token_ids_read(f, "stop_token_ids", (size_t)vocab, vocab, &r->memory, &r->stop_tokens,
                             &r->n_stop_tokens) &&
           sv_token_ids_read(f, "allowed_token_ids", (size_t)vocab, vocab, &r->memory, &r->allowed,
                             &r->n_allowed);
}

bool sv_request_parse(bk_str body, sv_request_kind kind, const sv_request_limits *limits,
                      sv_request *out, sv_field_error *err) {
    *out = (sv_request){.parallel_calls = true,
                        .add_generation_prompt = true,
                        .cache_prompt = true,
                        .max_tokens = kind == SV_REQUEST_CHAT ? -1 : DEFAULT_COMPLETION_TOKENS,
                        .logprobs = -1,
                        .n = 1};
    *err = (sv_field_error){0};
    brisk_sampling_default(&out->sampling);
    if (!sv_fields_parse(body, &out->body, err)) return false;
    sv_fields f = {out->body, "", err};
    return read_all(&f, kind, limits, out);
}

void sv_request_free(sv_request *r) {
    json_decref(r->body);
    bk_arena_free(&r->memory);
    *r = (sv_request){0};
}

/* ---- For the template --------------------------------------------------------------------------- */

static int append_dump(const char *data, size_t len, void *buf) {
    return bk_buf_append(buf, data, len) ? 0 : -1;
}

static bool put_member(bk_buf *out, const char *name, const json_t *v) {
    bk_buf_printf(out, ",\"%s\":", name);
    return !v || !json_dump_callback(v, append_dump, out, JSON_COMPACT | JSON_ENCODE_ANY);
}

bool sv_request_template(const sv_request *r, bk_buf *out) {
    bk_buf_printf(out, "{\"add_generation_prompt\":%s",
                  r->add_generation_prompt ? "true" : "false");
    bool good = put_member(out, "messages", r->messages);
    if (r->tools) good = good && put_member(out, "tools", r->tools);
    if (r->kwargs) good = good && put_member(out, "chat_template_kwargs", r->kwargs);
    return bk_buf_putc(out, '}') && good;
}
