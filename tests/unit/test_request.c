/* Bodies of requests: what is read from them, and that whatever is wrong is an error that names its
 * field. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include <math.h>

#include "fail_alloc.h"
#include "server/request.h"

static const sv_request_limits limits = {.n_vocab = 1000, .max_choices = 16};

static bool parse(sv_request_kind kind, const char *body, sv_request *r, sv_field_error *e) {
    /* A block of exactly its size: nothing may look beyond the body. */
    size_t len = strlen(body);
    char *copy = malloc(len ? len : 1);
    assert_non_null(copy);
    memcpy(copy, body, len);
    bool good = sv_request_parse((bk_str){copy, len}, kind, &limits, r, e);
    free(copy);
    return good;
}

/* A body that only has the fields given beside what has to be there. */
static void with_fields(sv_request_kind kind, const char *fields, char *body, size_t cap) {
    const char *needed = kind == SV_REQUEST_CHAT
                             ? "\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]"
                             : "\"prompt\":\"hi\"";
    snprintf(body, cap, "{%s%s%s}", needed, fields[0] ? "," : "", fields);
}

static void accept(sv_request_kind kind, const char *fields, sv_request *r) {
    char body[4096];
    sv_field_error e;
    with_fields(kind, fields, body, sizeof body);
    if (!parse(kind, body, r, &e)) fail_msg("%s: %s", body, e.text);
}

static void refuse_body(sv_request_kind kind, const char *body, const char *param, const char *code,
                        const char *text) {
    sv_request r;
    sv_field_error e;
    if (parse(kind, body, &r, &e)) fail_msg("%s was accepted", body);
    if (strcmp(e.param, param) || strcmp(e.code, code) || !strstr(e.text, text)) {
        fail_msg("%s: param %s, code %s, %s", body, e.param, e.code, e.text);
    }
    sv_request_free(&r);
}

static void refuse(sv_request_kind kind, const char *fields, const char *param, const char *code,
                   const char *text) {
    char body[4096];
    with_fields(kind, fields, body, sizeof body);
    refuse_body(kind, body, param, code, text);
}

/* ---- The body ----------------------------------------------------------------------------------- */

static void test_bodies(void **state) {
    (void)state;
    sv_request_kind c = SV_REQUEST_CHAT;
    refuse_body(c, "", "", "invalid_json", "not JSON");
    refuse_body(c, "[]", "", "invalid_type", "wanted a JSON object as the body, found an array");
    refuse_body(c, "{\"a\":1", "", "invalid_json", "line 1");
    refuse_body(c, "{\"a\":\"\xff\"}", "", "invalid_utf8", "at byte 6");
    refuse_body(c, "{\"a\":\"\xed\xa0\x80\"}", "", "invalid_utf8", "at byte 6");
    refuse_body(c, "{\"a\":\"\\ud800\"}", "", "invalid_json", "not JSON");
    refuse_body(c, "{\"temperature\":1e400}", "", "invalid_json", "overflow");
    refuse_body(c, "{\"temperature\":NaN}", "", "invalid_json", "NaN");
    refuse_body(c, "{\"temperature\":Infinity}", "", "invalid_json", "Infinity");
    refuse_body(c, "{\"seed\":99999999999999999999}", "", "invalid_json", "too big");
    refuse_body(c, "{} x", "", "invalid_json", "not JSON");
    char deep[400];
    memset(deep, '[', sizeof deep);
    memcpy(deep, "{\"a\":", 5);
    deep[5 + 64] = '\0';
    refuse_body(c, deep, "", "invalid_json", "nested more than 64 deep");
    refuse_body(c, "{}", "messages", "missing_field", "wanted an array of messages, found nothing");
    refuse_body(SV_REQUEST_COMPLETION, "{}", "prompt", "missing_field", "found nothing");
    refuse_body(SV_REQUEST_COMPLETION, "{\"prompt\":null}", "prompt", "missing_field", "nothing");
    /* The last of two counts. */
    sv_request r;
    accept(c, "\"top_k\":3,\"top_k\":4", &r);
    assert_int_equal(r.sampling.top_k, 4);
    sv_request_free(&r);
}

/* ---- Fields with a range ------------------------------------------------------------------------ */

/* Each with a value on either side of its range; "" where there is none. */
static const struct ranged {
    const char *name, *least, *most, *below, *above;
    sv_request_kind kind;
} ranged[] = {
    {"temperature", "0", "100", "-0.01", "100.5", SV_REQUEST_CHAT},
    {"top_p", "0", "1", "-1e-9", "1.01", SV_REQUEST_CHAT},
    {"min_p", "0", "1", "-1", "2", SV_REQUEST_CHAT},
    {"typical_p", "0", "1.0", "-1", "1e300", SV_REQUEST_CHAT},
    {"top_k", "-1", "2147483647", "-2", "2147483648", SV_REQUEST_CHAT},
    {"repeat_penalty", "0.001", "100", "0", "101", SV_REQUEST_CHAT},
    {"repetition_penalty", "0.001", "100", "-1", "1e9", SV_REQUEST_CHAT},
    {"repeat_last_n", "-1", "64", "-2", "9007199254740993", SV_REQUEST_CHAT},
    {"presence_penalty", "-2", "2", "-101", "101", SV_REQUEST_CHAT},
    {"frequency_penalty", "-2.0", "2.0", "-101", "101", SV_REQUEST_CHAT},
    {"max_tokens", "-1", "2147483647", "-2", "9223372036854775807", SV_REQUEST_CHAT},
    {"max_completion_tokens", "0", "4096.0", "-5", "4096.5", SV_REQUEST_CHAT},
    {"n_predict", "-1", "1", "-9223372036854775808", "1e30", SV_REQUEST_CHAT},
    {"min_tokens", "0", "5", "-1", "1e12", SV_REQUEST_CHAT},
    {"priority", "-100", "100", "-101", "101", SV_REQUEST_CHAT},
    {"n", "1", "16", "0", "17", SV_REQUEST_CHAT},
    {"best_of", "1", "1", "0", "1e10", SV_REQUEST_COMPLETION},
    {"logprobs", "0", "20", "-1", "21", SV_REQUEST_COMPLETION},
    {"top_logprobs", "0", "0", "-1", "21", SV_REQUEST_CHAT},
    {"seed", "-9223372036854775808", "9223372036854775807", "-1e19", "1.5", SV_REQUEST_CHAT},
};

static void test_ranges(void **state) {
    (void)state;
    static const char *const wrong[] = {"\"1\"", "true", "[]", "{}"};
    char fields[128];
    sv_request r;
    for (size_t i = 0; i < BK_ARRAY_LEN(ranged); i++) {
        const struct ranged *f = &ranged[i];
        const char *const good[] = {f->least, f->most, "null"};
        const char *const bad[] = {f->below, f->above};
        for (size_t k = 0; k < BK_ARRAY_LEN(good); k++) {
            snprintf(fields, sizeof fields, "\"%s\":%s", f->name, good[k]);
            accept(f->kind, fields, &r);
            sv_request_free(&r);
        }
        for (size_t k = 0; k < BK_ARRAY_LEN(bad); k++) {
            snprintf(fields, sizeof fields, "\"%s\":%s", f->name, bad[k]);
            refuse(f->kind, fields, f->name, "invalid_value", "number from ");
        }
        for (size_t k = 0; k < BK_ARRAY_LEN(wrong); k++) {
            snprintf(fields, sizeof fields, "\"%s\":%s", f->name, wrong[k]);
            refuse(f->kind, fields, f->name, "invalid_type", "wanted a");
        }
    }
    refuse(SV_REQUEST_CHAT, "\"temperature\":\"hot\\n\"", "temperature", "invalid_type",
           "temperature: wanted a number from 0 to 100, found \"hot\\x0a\"");
    refuse(SV_REQUEST_CHAT, "\"max_tokens\":3,\"min_tokens\":4", "min_tokens", "invalid_value",
           "4 is more than the 3 of max_tokens");
}

static void test_switches(void **state) {
    (void)state;
    static const char *const names[] = {
        "ignore_eos",        "stream",   "cache_prompt",          "return_progress",     "echo",
        "timings_per_token", "logprobs", "add_generation_prompt", "parallel_tool_calls",
    };
    static const char *const wrong[] = {"1", "\"true\"", "[]", "{}"};
    char fields[128];
    sv_request r;
    for (size_t i = 0; i < BK_ARRAY_LEN(names); i++) {
        for (size_t k = 0; k < BK_ARRAY_LEN(wrong); k++) {
            snprintf(fields, sizeof fields, "\"%s\":%s", names[i], wrong[k]);
            refuse(SV_REQUEST_CHAT, fields, names[i], "invalid_type", "wanted true or false");
        }
        snprintf(fields, sizeof fields, "\"%s\":null", names[i]);
        accept(SV_REQUEST_CHAT, fields, &r);
        sv_request_free(&r);
    }
    accept(SV_REQUEST_CHAT,
           "\"ignore_eos\":true,\"stream\":true,\"cache_prompt\":false,\"return_progress\":true,"
           "\"timings_per_token\":true,\"add_generation_prompt\":false,\"parallel_tool_calls\":"
           "false,\"stream_options\":{\"include_usage\":true,\"continuous_usage_stats\":true}",
           &r);
    assert_true(r.ignore_end && r.stream && r.return_progress && r.timings_per_token);
    assert_true(r.include_usage && r.continuous_usage);
    assert_false(r.cache_prompt || r.add_generation_prompt || r.parallel_calls);
    sv_request_free(&r);
    refuse(SV_REQUEST_CHAT, "\"stream_options\":true", "stream_options", "invalid_type",
           "wanted an object");
    refuse(SV_REQUEST_CHAT, "\"stream_options\":{\"include_usage\":1}",
           "stream_options.include_usage", "invalid_type", "wanted true or false");
}

static void test_defaults(void **state) {
    (void)state;
    sv_request r;
    brisk_sampling own;
    brisk_sampling_default(&own);
    accept(SV_REQUEST_CHAT, "\"store\":true,\"metadata\":{\"a\":1},\"reasoning_effort\":\"low\"",
           &r);
    assert_float_equal(r.sampling.temperature, own.temperature, 0);
    assert_int_equal(r.sampling.top_k, own.top_k);
    assert_float_equal(r.sampling.top_p, own.top_p, 0);
    assert_float_equal(r.sampling.min_p, own.min_p, 0);
    assert_int_equal(r.max_tokens, -1);
    assert_int_equal(r.n, 1);
    assert_int_equal(r.logprobs, -1);
    assert_true(r.cache_prompt && r.add_generation_prompt && r.parallel_calls);
    assert_false(r.stream || r.include_usage || r.echo || r.may_call || r.has_seed);
    assert_null(r.model.data);
    assert_null(r.tools);
    sv_request_free(&r);
    accept(SV_REQUEST_COMPLETION, "", &r);
    assert_int_equal(r.max_tokens, 16);
    sv_request_free(&r);
}

static void test_values(void **state) {
    (void)state;
    sv_request r;
    accept(SV_REQUEST_CHAT,
           "\"model\":\"m\",\"user\":\"u\",\"cache_salt\":\"s\",\"temperature\":0.5,\"top_k\":-1,"
           "\"repetition_penalty\":1.5,\"max_tokens\":7,\"max_completion_tokens\":9,\"seed\":-7,"
           "\"n\":3,\"logprobs\":true,\"top_logprobs\":5,\"priority\":2,\"min_tokens\":2",
           &r);
    assert_string_equal(r.model.data, "m");
    assert_string_equal(r.user.data, "u");
    assert_string_equal(r.cache_salt.data, "s");
    assert_float_equal(r.sampling.temperature, 0.5, 0);
    assert_int_equal(r.sampling.top_k, 0);
    assert_float_equal(r.sampling.repeat_penalty, 1.5, 0);
    assert_int_equal(r.max_tokens, 9);
    assert_true(r.has_seed && r.sampling.seed == (uint64_t)-7);
    assert_int_equal(r.n, 3);
    assert_int_equal(r.logprobs, 5);
    assert_int_equal(r.priority, 2);
    assert_int_equal(r.min_tokens, 2);
    sv_request_free(&r);
    accept(SV_REQUEST_CHAT, "\"logprobs\":true", &r);
    assert_int_equal(r.logprobs, 0);
    sv_request_free(&r);
    accept(SV_REQUEST_CHAT, "\"seed\":-1", &r);
    assert_false(r.has_seed);
    sv_request_free(&r);
    accept(SV_REQUEST_COMPLETION, "\"logprobs\":false,\"echo\":true,\"max_tokens\":0", &r);
    assert_true(r.logprobs == -1 && r.echo && r.max_tokens == 0);
    sv_request_free(&r);
    refuse(SV_REQUEST_CHAT, "\"top_logprobs\":5", "top_logprobs", "invalid_value",
           "needs logprobs");
    refuse(SV_REQUEST_CHAT, "\"model\":5", "model", "invalid_type", "wanted a string, found 5");
}

/* ---- Lists -------------------------------------------------------------------------------------- */

static void test_stop(void **state) {
    (void)state;
    sv_request r;
    accept(SV_REQUEST_CHAT, "\"stop\":\"END\"", &r);
    assert_true(r.n_stop == 1 && !strcmp(r.stop[0], "END"));
    sv_request_free(&r);
    accept(SV_REQUEST_CHAT, "\"stop\":[\"a\",\"\\u00e9\"]", &r);
    assert_true(r.n_stop == 2 && !strcmp(r.stop[1], "é"));
    sv_request_free(&r);
    accept(SV_REQUEST_CHAT, "\"stop\":[]", &r);
    assert_int_equal(r.n_stop, 0);
    sv_request_free(&r);
    refuse(SV_REQUEST_CHAT, "\"stop\":\"\"", "stop", "invalid_value", "found 0 bytes");
    refuse(SV_REQUEST_CHAT, "\"stop\":[\"a\",\"\"]", "stop[1]", "invalid_value", "found 0 bytes");
    refuse(SV_REQUEST_CHAT, "\"stop\":[\"a\",null]", "stop[1]", "invalid_type", "found null");
    refuse(SV_REQUEST_CHAT, "\"stop\":\"a\\u0000b\"", "stop", "invalid_value", "without NUL");
    refuse(SV_REQUEST_CHAT, "\"stop\":5", "stop", "invalid_type", "an array of strings, found 5");
    refuse(
        SV_REQUEST_CHAT,
        "\"stop\":[\"1\",\"2\",\"3\",\"4\",\"5\",\"6\",\"7\",\"8\",\"9\",\"a\",\"b\",\"c\",\"d\","
        "\"e\",\"f\",\"g\",\"h\"]",
        "stop", "invalid_value", "at most 16 texts, found 17");
}

static void test_ids(void **state) {
    (void)state;
    sv_request r;
    accept(SV_REQUEST_CHAT,
           "\"stop_token_ids\":[0,999],\"allowed_token_ids\":[5],\"logit_bias\":{\"7\":-100,\"8\":"
           "1.5}",
           &r);
    assert_true(r.n_stop_tokens == 2 && r.stop_tokens[1] == 999);
    assert_true(r.n_allowed == 1 && r.allowed[0] == 5);
    assert_int_equal(r.sampling.n_logit_bias, 2);
    assert_true(r.sampling.logit_bias[0].token == 7 && isinf(r.sampling.logit_bias[0].bias));
    assert_true(r.sampling.logit_bias[0].bias < 0);
    assert_float_equal(r.sampling.logit_bias[1].bias, 1.5, 0);
    sv_request_free(&r);
    refuse(SV_REQUEST_CHAT, "\"stop_token_ids\":[1,-1]", "stop_token_ids[1]", "invalid_value",
           "from 0 to 999, found -1");
    refuse(SV_REQUEST_CHAT, "\"stop_token_ids\":[1000]", "stop_token_ids[0]", "invalid_value",
           "found 1000");
    refuse(SV_REQUEST_CHAT, "\"allowed_token_ids\":[\"a\"]", "allowed_token_ids[0]", "invalid_type",
           "found \"a\"");
    refuse(SV_REQUEST_CHAT, "\"allowed_token_ids\":5", "allowed_token_ids", "invalid_type",
           "wanted an array, found 5");
    refuse(SV_REQUEST_CHAT, "\"logit_bias\":[[1,2]]", "logit_bias", "invalid_type", "an object");
    static const char *const keys[] = {"1000", "-1", "", "1x", " 1", "4294967296", "+1"};
    for (size_t i = 0; i < BK_ARRAY_LEN(keys); i++) {
        char fields[64], param[64];
        snprintf(fields, sizeof fields, "\"logit_bias\":{\"%s\":1}", keys[i]);
        snprintf(param, sizeof param, "logit_bias.%s", keys[i]);
        refuse(SV_REQUEST_CHAT, fields, param, "invalid_value", "as the key");
    }
    refuse(SV_REQUEST_CHAT, "\"logit_bias\":{\"1\":101}", "logit_bias.1", "invalid_value",
           "from -100 to 100, found 101");
    refuse(SV_REQUEST_CHAT, "\"logit_bias\":{\"1\":\"x\"}", "logit_bias.1", "invalid_type",
           "\"x\"");
}

static void test_prompts(void **state) {
    (void)state;
    sv_request_kind c = SV_REQUEST_COMPLETION;
    sv_request r;
    sv_field_error e;
    assert_true(parse(c, "{\"prompt\":\"\"}", &r, &e));
    assert_true(r.n_prompts == 1 && r.prompts[0].text.data && r.prompts[0].text.len == 0);
    sv_request_free(&r);
    assert_true(parse(c, "{\"prompt\":[\"a\",\"b\"],\"n\":8}", &r, &e));
    assert_true(r.n_prompts == 2 && r.n == 8 && !strcmp(r.prompts[1].text.data, "b"));
    sv_request_free(&r);
    assert_true(parse(c, "{\"prompt\":[3,4,5]}", &r, &e));
    assert_true(r.n_prompts == 1 && r.prompts[0].n_tokens == 3 && r.prompts[0].tokens[2] == 5);
    assert_null(r.prompts[0].text.data);
    sv_request_free(&r);
    assert_true(parse(c, "{\"prompt\":[[3],[4,5],\"x\"]}", &r, &e));
    assert_true(r.n_prompts == 3 && r.prompts[1].n_tokens == 2 && r.prompts[2].text.len == 1);
    sv_request_free(&r);
    refuse_body(c, "{\"prompt\":[]}", "prompt", "invalid_value", "at least one prompt");
    refuse_body(c, "{\"prompt\":[[1],[]]}", "prompt[1]", "invalid_value", "no tokens");
    refuse_body(c, "{\"prompt\":[1,\"a\"]}", "prompt[1]", "invalid_type", "found \"a\"");
    refuse_body(c, "{\"prompt\":[\"a\",1]}", "prompt[1]", "invalid_type", "found 1");
    refuse_body(c, "{\"prompt\":[[1,2],[3,1000]]}", "prompt[1][1]", "invalid_value", "found 1000");
    refuse_body(c, "{\"prompt\":[[-1]]}", "prompt[0][0]", "invalid_value", "found -1");
    refuse_body(c, "{\"prompt\":{}}", "prompt", "invalid_type", "found an object");
    refuse_body(c, "{\"prompt\":[{}]}", "prompt[0]", "invalid_type", "found an object");
    refuse_body(c, "{\"prompt\":[\"a\",\"b\"],\"n\":9}", "n", "invalid_value", "from 1 to 8");
    refuse_body(
        c, "{\"prompt\":[[1],[1],[1],[1],[1],[1],[1],[1],[1],[1],[1],[1],[1],[1],[1],[1],[1]]}",
        "prompt", "invalid_value", "at most 16 prompts, found 17");
}

static void test_prediction(void **state) {
    (void)state;
    static const sv_request_kind kinds[] = {SV_REQUEST_CHAT, SV_REQUEST_COMPLETION};
    for (size_t i = 0; i < BK_ARRAY_LEN(kinds); i++) {
        sv_request r;
        accept(kinds[i], "\"prediction\":{\"type\":\"content\",\"content\":\"a <b>\"}", &r);
        assert_true(bk_str_eq(r.prediction, BK_STR("a <b>")));
        sv_request_free(&r);
        accept(kinds[i],
               "\"prediction\":{\"type\":\"content\",\"content\":[{\"type\":\"text\",\"text\":"
               "\"a\"},{\"type\":\"text\",\"text\":\"b\"}]}",
               &r);
        assert_true(bk_str_eq(r.prediction, BK_STR("a\nb")));
        sv_request_free(&r);
        accept(kinds[i], "\"prediction\":null", &r);
        assert_null(r.prediction.data);
        sv_request_free(&r);
        refuse(kinds[i], "\"prediction\":\"a\"", "prediction", "invalid_type", "an object");
        refuse(kinds[i], "\"prediction\":{}", "prediction.type", "missing_field", "a string");
        refuse(kinds[i], "\"prediction\":{\"type\":\"tokens\",\"content\":\"a\"}",
               "prediction.type", "unsupported_value", "wanted \"content\", found \"tokens\"");
        refuse(kinds[i], "\"prediction\":{\"type\":\"content\"}", "prediction.content",
               "missing_field", "found nothing");
        refuse(kinds[i], "\"prediction\":{\"type\":\"content\",\"content\":[{\"type\":\"image\"}]}",
               "prediction.content[0].type", "unsupported_value", "\"image\"");
    }
}

/* ---- What this server does not do --------------------------------------------------------------- */

static void test_refused(void **state) {
    (void)state;
    static const char *const names[] = {
        "grammar",
        "json_schema",
        "guided_json",
        "guided_regex",
        "guided_choice",
        "regex",
        "structured_outputs",
        "chat_template",
        "suffix",
        "functions",
        "continue_final_message",
    };
    char fields[128];
    sv_request r;
    for (size_t i = 0; i < BK_ARRAY_LEN(names); i++) {
        static const char *const nothing[] = {"null", "\"\"", "[]", "false"};
        for (size_t k = 0; k < BK_ARRAY_LEN(nothing); k++) {
            snprintf(fields, sizeof fields, "\"%s\":%s", names[i], nothing[k]);
            accept(SV_REQUEST_CHAT, fields, &r);
            sv_request_free(&r);
        }
        static const char *const something[] = {"\"x\"", "{}", "[1]", "true"};
        for (size_t k = 0; k < BK_ARRAY_LEN(something); k++) {
            snprintf(fields, sizeof fields, "\"%s\":%s", names[i], something[k]);
            refuse(SV_REQUEST_CHAT, fields, names[i], "unsupported_value", "leave the field out");
        }
    }
    accept(SV_REQUEST_CHAT, "\"mirostat\":0,\"xtc_probability\":0.0,\"dry_multiplier\":0", &r);
    sv_request_free(&r);
    refuse(SV_REQUEST_CHAT, "\"mirostat\":2", "mirostat", "unsupported_value", "not supported");
    accept(SV_REQUEST_CHAT, "\"response_format\":{\"type\":\"text\"}", &r);
    sv_request_free(&r);
    refuse(SV_REQUEST_CHAT, "\"response_format\":{\"type\":\"json_object\"}", "response_format",
           "unsupported_value", "found \"json_object\"");
    refuse(SV_REQUEST_COMPLETION,
           "\"response_format\":{\"type\":\"json_schema\",\"json_schema\":{}}", "response_format",
           "unsupported_value", "found \"json_schema\"");
    refuse(SV_REQUEST_CHAT, "\"response_format\":{}", "response_format.type", "missing_field", "");
    refuse(SV_REQUEST_CHAT, "\"response_format\":\"json\"", "response_format", "invalid_type", "");
    refuse(SV_REQUEST_COMPLETION, "\"best_of\":3,\"n\":2", "best_of", "unsupported_value", "n, 2");
}

/* ---- Chat --------------------------------------------------------------------------------------- */

/* The text for the template. */
static void expect_template(const char *body, const char *wanted) {
    sv_request r;
    sv_field_error e;
    bk_buf text = {0};
    if (!parse(SV_REQUEST_CHAT, body, &r, &e)) fail_msg("%s: %s", body, e.text);
    assert_true(sv_request_template(&r, &text));
    assert_string_equal(text.data, wanted);
    bk_buf_free(&text);
    sv_request_free(&r);
}

#define WITH_MESSAGES(m) "{\"add_generation_prompt\":true,\"messages\":[" m "]}"
#define BODY(m) "{\"messages\":[" m "]}"

static void test_messages(void **state) {
    (void)state;
    expect_template(BODY("{\"role\":\"developer\",\"content\":\"a\",\"name\":null}"),
                    WITH_MESSAGES("{\"role\":\"system\",\"content\":\"a\"}"));
    expect_template(BODY("{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"a\"},"
                         "{\"type\":\"text\",\"text\":\"\\u00e9\\u0000\"}]}"),
                    WITH_MESSAGES("{\"role\":\"user\",\"content\":\"a\\né\\u0000\"}"));
    expect_template(BODY("{\"role\":\"user\",\"content\":[]}"),
                    WITH_MESSAGES("{\"role\":\"user\",\"content\":\"\"}"));
    expect_template(BODY("{\"role\":\"assistant\",\"content\":null,\"tool_calls\":[],\"refusal\":"
                         "null,\"reasoning_content\":\"hm\"}"),
                    WITH_MESSAGES("{\"role\":\"assistant\",\"reasoning_content\":\"hm\","
                                  "\"content\":\"\"}"));
    expect_template(
        BODY("{\"role\":\"assistant\",\"tool_calls\":[{\"id\":\"c1\",\"type\":\"function\","
             "\"function\":{\"name\":\"f\",\"arguments\":\"{\\\"a\\\": [1, 2.5]}\"}},"
             "{\"function\":{\"name\":\"g\",\"arguments\":\"\"}},"
             "{\"function\":{\"name\":\"h\",\"arguments\":\"{no\"}},"
             "{\"function\":{\"name\":\"i\",\"arguments\":\"[1]\"}},"
             "{\"function\":{\"name\":\"j\"}}]},"
             "{\"role\":\"tool\",\"tool_call_id\":\"c1\",\"content\":\"5\"}"),
        WITH_MESSAGES(
            "{\"role\":\"assistant\",\"tool_calls\":[{\"id\":\"c1\",\"type\":\"function\","
            "\"function\":{\"name\":\"f\",\"arguments\":{\"a\":[1,2.5]}}},"
            "{\"function\":{\"name\":\"g\",\"arguments\":{}}},"
            "{\"function\":{\"name\":\"h\",\"arguments\":\"{no\"}},"
            "{\"function\":{\"name\":\"i\",\"arguments\":\"[1]\"}},"
            "{\"function\":{\"name\":\"j\",\"arguments\":{}}}],\"content\":\"\"},"
            "{\"role\":\"tool\",\"tool_call_id\":\"c1\",\"content\":\"5\"}"));
}

static void test_wrong_messages(void **state) {
    (void)state;
    static const struct {
        const char *message, *param, *code, *text;
    } wrong[] = {
        {"5", "messages[0]", "invalid_type", "wanted an object with role and content, found 5"},
        {"{\"content\":\"a\"}", "messages[0].role", "missing_field", "wanted a string"},
        {"{\"role\":\"king\",\"content\":\"a\"}", "messages[0].role", "invalid_value", "\"king\""},
        {"{\"role\":[],\"content\":\"a\"}", "messages[0].role", "invalid_type", "an array"},
        {"{\"role\":\"user\"}", "messages[0].content", "missing_field", "found nothing"},
        {"{\"role\":\"user\",\"content\":null}", "messages[0].content", "missing_field", "nothing"},
        {"{\"role\":\"user\",\"content\":5}", "messages[0].content", "invalid_type", "found 5"},
        {"{\"role\":\"user\",\"content\":[\"a\"]}", "messages[0].content[0]", "invalid_type",
         "found \"a\""},
        {"{\"role\":\"user\",\"content\":[{\"text\":\"a\"}]}", "messages[0].content[0].type",
         "missing_field", "wanted a string"},
        {"{\"role\":\"user\",\"content\":[{\"type\":\"text\"}]}", "messages[0].content[0].text",
         "missing_field", "wanted a string"},
        {"{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"a\"},{\"type\":\"image_"
         "url\","
         "\"image_url\":{\"url\":\"x\"}}]}",
         "messages[0].content[1].type", "unsupported_value", "found \"image_url\""},
        {"{\"role\":\"user\",\"content\":\"a\",\"tool_calls\":[{\"function\":{\"name\":\"f\"}}]}",
         "messages[0].tool_calls", "invalid_value", "assistant"},
        {"{\"role\":\"assistant\",\"tool_calls\":{}}", "messages[0].tool_calls", "invalid_type",
         "found an object"},
        {"{\"role\":\"assistant\",\"tool_calls\":[5]}", "messages[0].tool_calls[0]", "invalid_type",
         "found 5"},
        {"{\"role\":\"assistant\",\"tool_calls\":[{}]}", "messages[0].tool_calls[0].function",
         "missing_field", "found nothing"},
        {"{\"role\":\"assistant\",\"tool_calls\":[{\"type\":\"x\"}]}",
         "messages[0].tool_calls[0].type", "unsupported_value", "\"function\""},
        {"{\"role\":\"assistant\",\"tool_calls\":[{\"function\":{\"name\":\"\"}}]}",
         "messages[0].tool_calls[0].function.name", "invalid_value", "empty"},
        {"{\"role\":\"assistant\",\"tool_calls\":[{\"function\":{\"name\":\"f\",\"arguments\":5}}]"
         "}",
         "messages[0].tool_calls[0].function.arguments", "invalid_type", "found 5"},
        {"{\"role\":\"tool\",\"content\":\"a\",\"tool_call_id\":5}", "messages[0].tool_call_id",
         "invalid_type", "found 5"},
    };
    for (size_t i = 0; i < BK_ARRAY_LEN(wrong); i++) {
        char body[1024];
        snprintf(body, sizeof body, BODY("%s"), wrong[i].message);
        refuse_body(SV_REQUEST_CHAT, body, wrong[i].param, wrong[i].code, wrong[i].text);
    }
    refuse_body(SV_REQUEST_CHAT, BODY(""), "messages", "invalid_value", "at least one");
    refuse_body(SV_REQUEST_CHAT, "{\"messages\":{}}", "messages", "invalid_type", "an object");
    /* Names from outside are printable in what comes back. */
    refuse_body(SV_REQUEST_CHAT, BODY("{\"role\":\"\\u001b]0;x\",\"content\":\"a\"}"),
                "messages[0].role", "invalid_value", "\\x1b]0;x");
}

static void test_tools(void **state) {
    (void)state;
    sv_request r;
    static const char tool[] = "\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"f\","
                               "\"strict\":null,\"parameters\":{\"type\":\"object\"}}}]";
    char fields[512];
    accept(SV_REQUEST_CHAT, tool, &r);
    assert_true(r.may_call && json_array_size(r.tools) == 1);
    bk_buf text = {0};
    assert_true(sv_request_template(&r, &text));
    assert_non_null(strstr(text.data,
                           "\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"f\","
                           "\"parameters\":{\"type\":\"object\"}}}]}"));
    bk_buf_free(&text);
    sv_request_free(&r);
    snprintf(fields, sizeof fields, "%s,\"tool_choice\":\"none\"", tool);
    accept(SV_REQUEST_CHAT, fields, &r);
    assert_true(!r.may_call && r.tools);
    sv_request_free(&r);
    snprintf(fields, sizeof fields, "%s,\"tool_choice\":\"auto\"", tool);
    accept(SV_REQUEST_CHAT, fields, &r);
    assert_true(r.may_call);
    sv_request_free(&r);
    accept(SV_REQUEST_CHAT, "\"tools\":[]", &r);
    assert_null(r.tools);
    sv_request_free(&r);
    refuse(SV_REQUEST_CHAT, "\"tool_choice\":\"required\"", "tool_choice", "unsupported_value",
           "cannot force a call");
    refuse(SV_REQUEST_CHAT, "\"tool_choice\":{\"type\":\"function\"}", "tool_choice",
           "unsupported_value", "cannot force a call");
    refuse(SV_REQUEST_CHAT, "\"tool_choice\":\"maybe\"", "tool_choice", "invalid_value",
           "\"maybe\"");
    refuse(SV_REQUEST_CHAT, "\"tool_choice\":5", "tool_choice", "invalid_type", "found 5");
    refuse(SV_REQUEST_CHAT, "\"tools\":{}", "tools", "invalid_type", "an object");
    refuse(SV_REQUEST_CHAT, "\"tools\":[1]", "tools[0]", "invalid_type", "found 1");
    refuse(SV_REQUEST_CHAT, "\"tools\":[{\"type\":\"web_search\"}]", "tools[0].type",
           "unsupported_value", "\"web_search\"");
    refuse(SV_REQUEST_CHAT, "\"tools\":[{\"type\":\"function\"}]", "tools[0].function",
           "missing_field", "found nothing");
    refuse(SV_REQUEST_CHAT, "\"tools\":[{\"type\":\"function\",\"function\":{}}]",
           "tools[0].function.name", "missing_field", "wanted a string");
    refuse(SV_REQUEST_CHAT,
           "\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"f\",\"parameters\":[]}}]",
           "tools[0].function.parameters", "invalid_type", "wanted an object");
}

static void test_kwargs(void **state) {
    (void)state;
    expect_template(
        "{\"messages\":[{\"role\":\"user\",\"content\":\"a\"}],\"chat_template_kwargs\":{"
        "\"enable_thinking\":false},\"add_generation_prompt\":false}",
        "{\"add_generation_prompt\":false,\"messages\":[{\"role\":\"user\",\"content\":"
        "\"a\"}],\"chat_template_kwargs\":{\"enable_thinking\":false}}");
    refuse(SV_REQUEST_CHAT, "\"chat_template_kwargs\":{\"messages\":[]}",
           "chat_template_kwargs.messages", "invalid_value", "not allowed");
    refuse(SV_REQUEST_CHAT, "\"chat_template_kwargs\":{\"add_generation_prompt\":false}",
           "chat_template_kwargs.add_generation_prompt", "invalid_value", "not allowed");
    refuse(SV_REQUEST_CHAT, "\"chat_template_kwargs\":[]", "chat_template_kwargs", "invalid_type",
           "wanted an object");
}

/* ---- Memory ------------------------------------------------------------------------------------- */

static int sweep_request(void) {
    sv_request r;
    sv_field_error e;
    static const char body[] =
        "{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"a\"}]}],"
        "\"stop\":[\"a\"],\"stop_token_ids\":[1],\"allowed_token_ids\":[2],\"logit_bias\":{\"1\":1}"
        "}";
    bool good = sv_request_parse(BK_STR(body), SV_REQUEST_CHAT, &limits, &r, &e);
    bool told = good || !strcmp(e.code, "out_of_memory");
    sv_request_free(&r);
    return !told ? SWEEP_WRONG : good ? SWEEP_ALL_OK : SWEEP_FAILED_WELL;
}

#ifdef BRISK_TESTING
static void test_short_of_memory(void **state) {
    (void)state;
    assert_true(sweep_all("request", 1) >= 2);
}
#endif

int main(int argc, char **argv) {
    if (argc == 3 && !strcmp(argv[1], "sweep")) return sweep_status(sweep_request());
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bodies),
        cmocka_unit_test(test_ranges),
        cmocka_unit_test(test_switches),
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_values),
        cmocka_unit_test(test_stop),
        cmocka_unit_test(test_ids),
        cmocka_unit_test(test_prompts),
        cmocka_unit_test(test_prediction),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_messages),
        cmocka_unit_test(test_wrong_messages),
        cmocka_unit_test(test_tools),
        cmocka_unit_test(test_kwargs),
#ifdef BRISK_TESTING
        cmocka_unit_test(test_short_of_memory),
#endif
    };
    return cmocka_run_group_tests_name("request", tests, NULL, NULL);
}
