/* Answers taken apart: calls, reasoning and content, with the text cut anywhere. The server's sources
 * belong to the program, so they are taken in here. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "server/answer.h"

static json_t *tools;

static int make_tools(void **state) {
    (void)state;
    static const char text[] =
        "[{\"type\":\"function\",\"function\":{\"name\":\"weather\",\"parameters\":{\"type\":"
        "\"object\",\"properties\":{\"city\":{\"type\":\"string\"},\"days\":{\"type\":\"integer\"},"
        "\"tags\":{\"type\":\"array\"},\"note\":{\"type\":[\"string\",\"null\"]}}}}},"
        "{\"type\":\"function\",\"function\":{\"name\":\"now\"}}]";
    tools = json_loads(text, 0, NULL);
    return tools ? 0 : -1;
}

static int free_tools(void **state) {
    (void)state;
    json_decref(tools);
    return 0;
}

/* What came out, in one line: content as it is, {r reasoning}, {c name arguments}. */
typedef struct record {
    bk_buf text;
    char last; /* 't', 'r', 'c' or 0 */
    char ids[8][SV_CALL_ID_CAP];
    size_t n_ids, n_pieces;
} record;

static void change(record *r, char to) {
    if (r->last == to && to != 'c') return;
    if (r->last == 'r' || r->last == 'c') bk_buf_putc(&r->text, '}');
    if (to == 'r') bk_buf_append_str(&r->text, "{r ");
    if (to == 'c') bk_buf_append_str(&r->text, "{c ");
    r->last = to;
}

static void on_piece(const sv_answer_piece *p, void *user) {
    record *r = user;
    r->n_pieces++;
    if (p->kind == SV_ANSWER_CALL) {
        change(r, 'c');
        assert_int_equal(p->index, r->n_ids);
        assert_true(r->n_ids < 8 && strlen(p->id) < SV_CALL_ID_CAP);
        memcpy(r->ids[r->n_ids++], p->id, strlen(p->id) + 1);
        bk_buf_append(&r->text, p->name.data, p->name.len);
        bk_buf_putc(&r->text, ' ');
        return;
    }
    assert_true(p->text.len > 0);
    if (p->kind == SV_ANSWER_ARGUMENTS) {
        assert_int_equal(r->last, 'c');
        assert_int_equal(p->index + 1, r->n_ids);
    } else {
        change(r, p->kind == SV_ANSWER_REASONING ? 'r' : 't');
    }
    bk_buf_append(&r->text, p->text.data, p->text.len);
}

static sv_answer_options options(sv_call_form form, bool stream) {
    return (sv_answer_options){.calls = form,
                               .tools = tools,
                               .think_open = "<think>",
                               .think_close = "</think>",
                               .stream_arguments = stream};
}

/* Pieces of `cut` bytes after a first one of `first`. */
static void run(const sv_answer_options *o, const char *text, size_t first, size_t cut, record *r,
                bool *malformed) {
    sv_answer a;
    size_t len = strlen(text);
    *r = (record){0};
    sv_answer_init(&a, o, on_piece, r);
    for (size_t at = 0; at < len;) {
        size_t n = bk_min_size(at ? cut : first, len - at);
        /* A block of its own: nothing may look beyond the piece. */
        char *piece = malloc(n);
        assert_non_null(piece);
        memcpy(piece, text + at, n);
        assert_true(sv_answer_text(&a, (bk_str){piece, n}));
        free(piece);
        at += n;
    }
    assert_true(sv_answer_finish(&a));
    change(r, 0);
    assert_int_equal(a.n_calls, r->n_ids);
    *malformed = a.malformed;
    sv_answer_free(&a);
}

static void expect_options(const sv_answer_options *o, const char *text, const char *wanted,
                           bool bad) {
    size_t len = strlen(text);
    for (size_t first = 1; first <= len; first++) {
        for (int way = 0; way < 2; way++) {
            record r;
            bool malformed;
            run(o, text, first, way ? 1 : len, &r, &malformed);
            assert_string_equal(bk_buf_view(&r.text).data, wanted);
            assert_int_equal(malformed, bad);
            bk_buf_free(&r.text);
        }
    }
}

/* The same result whether arguments are passed on as they come or not. */
static void expect(sv_call_form form, const char *text, const char *wanted) {
    for (int stream = 0; stream < 2; stream++) {
        sv_answer_options o = options(form, stream);
        expect_options(&o, text, wanted, false);
    }
}

static void test_hermes(void **state) {
    (void)state;
    sv_call_form f = SV_CALL_FORM_HERMES;
    expect(
        f,
        "<tool_call>\n{\"name\": \"weather\", \"arguments\": {\"city\": \"Köln\"}}\n</tool_call>",
        "{c weather {\"city\": \"Köln\"}}");
    expect(f,
           "I look.\n\n<tool_call>\n{\"name\": \"now\", \"arguments\": "
           "{}}\n</tool_call>\n<tool_call>\n"
           "{\"name\": \"weather\", \"arguments\": {\"x\": \"</tool_call>\\\"}\"}}\n</tool_call>\n",
           "I look.{c now {}}{c weather {\"x\": \"</tool_call>\\\"}\"}}");
    /* No arguments, another order, another key, arguments as text, an unknown function. */
    expect(f, "<tool_call>{\"name\":\"now\"}</tool_call>", "{c now {}}");
    expect(f, "<tool_call>{\"name\":\"now\",\"arguments\":null}</tool_call>", "{c now {}}");
    expect(
        f,
        "<tool_call>{\"id\":[1],\"arguments\":{\"a\":[1,{}]},\"name\":\"n\\u006fw\"}</tool_call>",
        "{c now {\"a\":[1,{}]}}");
    expect(f, "<tool_call>{\"name\":\"else\",\"parameters\":{\"a\":1e5}}</tool_call>",
           "{c else {\"a\":1e5}}");
    expect(f, "<tool_call>{\"name\":\"now\",\"arguments\":\"{\\\"a\\\": 1}\"}</tool_call>",
           "{c now {\"a\": 1}}");
    /* Two in one mark; text after a call; the closing mark or the last brace forgotten. */
    expect(f, "<tool_call>{\"name\":\"now\"}\n{\"name\":\"now\"}</tool_call> then",
           "{c now {}}{c now {}}then");
    expect(f, "<tool_call>{\"name\":\"now\",\"arguments\":{\"a\":1}}", "{c now {\"a\":1}}");
    expect(f, "<tool_call>{\"name\":\"now\",\"arguments\":{\"a\":1}\n</tool_call>",
           "{c now {\"a\":1}}");
    expect(f, "<tool_call>{\"name\":\"now\",\"arguments\":{\"a\":1}", "{c now {\"a\":1}}");
}

static void test_not_calls(void **state) {
    (void)state;
    static const char *const same[] = {
        "plain text, a < b, <tool, <tool_cal",
        " leading and trailing \n",
        "{\"name\": \"now\", \"arguments\": {}}",
        "<tool_call>",
        "<tool_call> \n",
        "write <tool_call> first",
        "<tool_call>{}</tool_call>",
        "<tool_call>[1]</tool_call>",
        "x\n<tool_call>\n{\"name\": 5, \"arguments\": {}}\n</tool_call>\n",
        "<tool_call>{\"name\":\"\",\"arguments\":{}}</tool_call>",
        "<tool_call>{\"name\":\"now\",\"arguments\":[1]}</tool_call>",
        "<tool_call>{\"name\":\"now\",\"arguments\":\"no\"}</tool_call>",
        "<tool_call>{\"name\":\"now\",\"arguments\":\"[1]\"}</tool_call>",
        "<tool_call>{'name':'now','arguments':{}}</tool_call>",
        "<tool_call>{\"name\":\"now\"",
        "<tool_call>{\"name\":\"now\",\"arguments\":",
        "<tool_call><function=now></tool_call>",
        "<tool_call>{\"name\":\"a\",\"name\":\"b\"}</tool_call>",
    };
    for (size_t i = 0; i < BK_ARRAY_LEN(same); i++) expect(SV_CALL_FORM_HERMES, same[i], same[i]);
    /* A real call after a false one. */
    expect(SV_CALL_FORM_HERMES, "a <tool_call> b <tool_call>{\"name\":\"now\"}</tool_call>",
           "a <tool_call> b{c now {}}");
    expect(SV_CALL_FORM_HERMES, "<tool_call>{\"x\": \"<tool_call>{\"name\":\"now\"}</tool_call>",
           "<tool_call>{\"x\": \"{c now {}}");
    for (size_t i = 0; i < BK_ARRAY_LEN(same); i++) expect(SV_CALL_FORM_NONE, same[i], same[i]);
    expect(SV_CALL_FORM_NONE, "<tool_call>{\"name\":\"now\"}</tool_call>",
           "<tool_call>{\"name\":\"now\"}</tool_call>");
}

/* Held back, a call that is wrong comes out as content; passed on, it says so. */
static void test_malformed_arguments(void **state) {
    (void)state;
    static const char *const texts[][2] = {
        {"<tool_call>{\"name\":\"now\",\"arguments\":{\"a\":1]}</tool_call>", NULL},
        {"<tool_call>{\"name\":\"now\",\"arguments\":{\"a\":\"b", "{c now {\"a\":\"b}"},
        {"<tool_call>{\"name\":\"now\",\"arguments\":{\"a\":'b'}}</tool_call>",
         "{c now {\"a\":}'b'}}</tool_call>"},
        {"<tool_call>{\"name\":\"now\",\"arguments\":{\"a\":\"b\nc\"}}</tool_call>",
         "{c now {\"a\":\"b}\nc\"}}</tool_call>"},
        {"<tool_call>{\"name\":\"now\",\"arguments\":{\"a\":nul}}</tool_call>",
         "{c now {\"a\":nul}}"},
    };
    for (size_t i = 0; i < BK_ARRAY_LEN(texts); i++) {
        sv_answer_options held = options(SV_CALL_FORM_HERMES, false);
        sv_answer_options streamed = options(SV_CALL_FORM_HERMES, true);
        expect_options(&held, texts[i][0], texts[i][0], false);
        if (texts[i][1]) expect_options(&streamed, texts[i][0], texts[i][1], true);
    }
    bk_buf deep = {0};
    bk_buf_append_str(&deep, "<tool_call>{\"name\":\"now\",\"arguments\":{\"a\":");
    for (int i = 0; i < 70; i++) bk_buf_putc(&deep, '[');
    sv_answer_options held = options(SV_CALL_FORM_HERMES, false);
    expect_options(&held, deep.data, deep.data, false);
    bk_buf_free(&deep);
}

static void test_xml(void **state) {
    (void)state;
    sv_call_form f = SV_CALL_FORM_XML;
    expect(f,
           "Well.\n<tool_call>\n<function=weather>\n<parameter=city>\nSan\nJosé\n</parameter>\n"
           "<parameter=days>\n5\n</parameter>\n<parameter=tags>\n[1, \"a\"]\n</parameter>\n"
           "<parameter=note>\n7\n</parameter>\n<parameter=other>\n7\n</parameter>\n"
           "</function>\n</tool_call>",
           "Well.{c weather {\"city\":\"San\\nJosé\",\"days\":5,\"tags\":[1,\"a\"],\"note\":\"7\","
           "\"other\":\"7\"}}");
    expect(f, "<function=now>\n</function>\n</tool_call>\n<tool_call><function=now></function>",
           "{c now {}}{c now {}}");
    /* A type that the text is not; the closing mark of a parameter forgotten; a JSON body. */
    expect(f, "<tool_call><function=weather><parameter=days>many<parameter=city>\nA\n</function>",
           "{c weather {\"days\":\"many\",\"city\":\"A\"}}");
    expect(f, "<tool_call>{\"name\": \"now\", \"arguments\": {}}</tool_call>", "{c now {}}");
    expect(SV_CALL_FORM_HERMES, "<tool_call>\n<function=now>\n</function>\n</tool_call>",
           "{c now {}}");
    expect(f, "<function=now> is no call", "<function=now> is no call");
    expect(f, "<function=></function>", "<function=></function>");
    expect(f, "<function=a><parameter=></parameter></function>",
           "<function=a><parameter=></parameter></function>");
    expect(f, "<function=<function=now></function>", "<function={c now {}}");
}

static void test_llama(void **state) {
    (void)state;
    sv_call_form f = SV_CALL_FORM_LLAMA3;
    expect(f, "{\"name\": \"weather\", \"parameters\": {\"city\": \"Rom\"}}",
           "{c weather {\"city\": \"Rom\"}}");
    expect(f, "\n{\"type\": \"function\", \"name\": \"now\", \"parameters\": {}}", "{c now {}}");
    expect(
        f,
        "{\"name\": \"now\", \"parameters\": {}}; {\"name\": \"weather\", \"parameters\": {\"a\": "
        "2}}",
        "{c now {}}{c weather {\"a\": 2}}");
    expect(f, "<|python_tag|>{\"name\": \"else\", \"parameters\": {}}; {\"name\": \"now\"}",
           "{c else {}}{c now {}}");
    expect(f, "Let me see. <|python_tag|>{\"name\": \"now\", \"arguments\": {}}",
           "Let me see.{c now {}}");
    expect(f, "{\"name\": \"now\", \"parameters\": {}}; and more", "{c now {}}; and more");
    static const char *const same[] = {
        "{\"name\": \"Alice\", \"parameters\": {}}", /* not one of the request's functions */
        "{\"name\": \"now\"}",                       /* JSON that was asked for */
        "{\"name\": \"now\", \"parameters\": 1}",
        "{\"nam\": 1}",
        "{}",
        " { \"age\": {\"name\": \"now\", \"parameters\": {}}}",
        "Say {\"name\": \"now\", \"parameters\": {}}",
        "<|python_tag|>brave_search.call(query=\"x\")",
        "{",
    };
    for (size_t i = 0; i < BK_ARRAY_LEN(same); i++) expect(f, same[i], same[i]);
}

static void test_mistral(void **state) {
    (void)state;
    sv_call_form f = SV_CALL_FORM_MISTRAL;
    expect(f, "[TOOL_CALLS] [{\"name\": \"now\", \"arguments\": {}}]", "{c now {}}");
    expect(f,
           "[TOOL_CALLS][{\"name\": \"now\", \"arguments\": {\"a\": [1]}}, {\"arguments\": {}, "
           "\"name\": \"weather\", \"id\": \"123456789\"}] bye",
           "{c now {\"a\": [1]}}{c weather {}}bye");
    expect(f, "Hm [TOOL_CALLS]{\"name\": \"now\", \"arguments\": {}}", "Hm{c now {}}");
    expect(f, "[TOOL_CALLS]now{\"a\": 1}", "{c now {\"a\": 1}}");
    expect(f, "[TOOL_CALLS]now[ARGS]{\"a\": 1}[TOOL_CALLS]weather[CALL_ID]123456789[ARGS]{}",
           "{c now {\"a\": 1}}{c weather {}}");
    static const char *const same[] = {
        "[TOOL_CALLS] []",      "[TOOL_CALLS] I think", "[TOOL_CALLS]now[ARGS]",
        "[TOOL_CALLS]now",      "[TOOL_CALLS][ARGS]{}", "[TOOL_CALLS] [{\"name\": 1}]",
        "[TOOL_CALLS]now[CALL", "see [1], [TOOL",       "[TOOL_CALLS]now[CALL_ID]12",
    };
    for (size_t i = 0; i < BK_ARRAY_LEN(same); i++) expect(f, same[i], same[i]);
    expect(f, "[TOOL_CALLS][{\"name\": \"now\", \"arguments\": {}}, 5]", "{c now {}}, 5]");
    record r;
    bool malformed;
    sv_answer_options o = options(f, false);
    run(&o, "[TOOL_CALLS][{\"name\":\"now\"},{\"name\":\"now\"}]", 5, 5, &r, &malformed);
    assert_int_equal(r.n_ids, 2);
    assert_int_equal(strlen(r.ids[0]), 9);
    assert_string_not_equal(r.ids[0], r.ids[1]);
    bk_buf_free(&r.text);
}

static void test_reasoning(void **state) {
    (void)state;
    sv_call_form none = SV_CALL_FORM_NONE;
    expect(none, "<think>\nHm.\n\nYes.\n</think>\n\nHello\n", "{r Hm.\n\nYes.}Hello\n");
    expect(none, "<think>\n\n</think>\n\nHello", "Hello");
    expect(none, "<think>never ends </thin", "{r never ends </thin}");
    expect(none, "No <think> here</think>", "No <think> here</think>");
    expect(none, " \n", " \n");
    expect(none, "<thin", "<thin");
    expect(SV_CALL_FORM_HERMES,
           "<think>\na <tool_call> b\n</think>\n\n<tool_call>{\"name\":\"now\"}</tool_call>",
           "{r a <tool_call> b}{c now {}}");
    expect(SV_CALL_FORM_LLAMA3, "<think>x</think>\n{\"name\": \"now\", \"parameters\": {}}",
           "{r x}{c now {}}");
    expect(SV_CALL_FORM_LLAMA3, "<think>x</think>\n{\"a\": 1}", "{r x}{\"a\": 1}");
    sv_answer_options o = options(none, true);
    o.in_thought = true;
    expect_options(&o, "\nHm. \n</think>\nHello", "{r Hm.}Hello", false);
    o.think_open = NULL;
    expect_options(&o, "\nHm.</think>", "\nHm.</think>", false);
}

/* Marks that are control tokens, beside control tokens that are none. */
static void test_control_tokens(void **state) {
    (void)state;
    sv_answer a;
    record r = {0};
    sv_answer_options o = options(SV_CALL_FORM_MISTRAL, true);
    sv_answer_init(&a, &o, on_piece, &r);
    sv_answer_control(&a, BK_STR("<think>"));
    sv_answer_text(&a, BK_STR("Hm"));
    sv_answer_control(&a, BK_STR("</think>"));
    sv_answer_control(&a, BK_STR("[TOOL_CALLS]"));
    sv_answer_text(&a, BK_STR("now"));
    sv_answer_control(&a, BK_STR("[ARGS]"));
    sv_answer_text(&a, BK_STR("{\"a\""));
    assert_string_equal(r.text.data, "{r Hm}{c now {\"a\"");
    sv_answer_text(&a, BK_STR(": 1}"));
    sv_answer_control(&a, BK_STR("</s>"));
    sv_answer_control(&a, BK_STR("<tool_call>"));
    sv_answer_control(&a, BK_STR("[TOOL_CALLS]"));
    assert_true(sv_answer_finish(&a));
    change(&r, 0);
    assert_string_equal(r.text.data, "{r Hm}{c now {\"a\": 1}}[TOOL_CALLS]");
    sv_answer_free(&a);
    bk_buf_free(&r.text);
}

/* Content goes out at once, up to what may be a mark; arguments as they come. */
static void test_nothing_waits(void **state) {
    (void)state;
    sv_answer a;
    record r = {0};
    sv_answer_options o = options(SV_CALL_FORM_HERMES, true);
    sv_answer_init(&a, &o, on_piece, &r);
    sv_answer_text(&a, BK_STR("One two <b>"));
    assert_string_equal(r.text.data, "One two <b>");
    sv_answer_text(&a, BK_STR("\n<tool_call>{\"name\":\"now\",\"arguments\":{\"te"));
    assert_string_equal(r.text.data, "One two <b>{c now {\"te");
    sv_answer_text(&a, BK_STR("xt"));
    assert_string_equal(r.text.data, "One two <b>{c now {\"text");
    sv_answer_free(&a);
    bk_buf_free(&r.text);
    r = (record){0};
    o = options(SV_CALL_FORM_LLAMA3, false);
    sv_answer_init(&a, &o, on_piece, &r);
    sv_answer_text(&a, BK_STR("{\"answer\": "));
    assert_string_equal(r.text.data, "{\"answer\":");
    sv_answer_free(&a);
    bk_buf_free(&r.text);
}

/* Marks that begin nothing are looked at a limited number of times. */
static void test_many_marks(void **state) {
    (void)state;
    enum { MARKS = 20000 };
    bk_buf text = {0};
    record r;
    bool malformed;
    for (int i = 0; i < MARKS; i++) bk_buf_append_str(&text, "<tool_call>{\"a\":\"");
    sv_answer_options o = options(SV_CALL_FORM_HERMES, true);
    run(&o, text.data, 7, 7, &r, &malformed);
    assert_string_equal(r.text.data, text.data);
    bk_buf_free(&r.text);
    bk_buf_free(&text);
}

/* ---- Chat templates ------------------------------------------------------------------------- */

static bk_buf read_template(const char *name) {
    char path[256];
    bk_buf text = {0};
    snprintf(path, sizeof path, "tests/template/templates/%s", name);
    FILE *f = fopen(path, "rb");
    if (!f) fail_msg("%s cannot be read", path);
    for (int c; (c = getc(f)) != EOF;) bk_buf_putc(&text, (char)c);
    fclose(f);
    return text;
}

static void test_templates(void **state) {
    (void)state;
    static const struct {
        const char *file;
        sv_call_form calls;
        bool thinks;
    } known[] = {
        {"chatml.jinja", SV_CALL_FORM_NONE, false},
        {"gemma.jinja", SV_CALL_FORM_NONE, false},
        {"gemma3.jinja", SV_CALL_FORM_NONE, false},
        {"llama2.jinja", SV_CALL_FORM_NONE, false},
        {"llama3.jinja", SV_CALL_FORM_NONE, false},
        {"llama3-tools.jinja", SV_CALL_FORM_LLAMA3, false},
        {"mistral.jinja", SV_CALL_FORM_NONE, false},
        {"mistral-tools.jinja", SV_CALL_FORM_MISTRAL, false},
        {"phi4.jinja", SV_CALL_FORM_NONE, false},
        {"qwen2.jinja", SV_CALL_FORM_NONE, false},
        {"qwen2.5.jinja", SV_CALL_FORM_HERMES, false},
        {"qwen3.jinja", SV_CALL_FORM_HERMES, true},
        {"smollm2.jinja", SV_CALL_FORM_NONE, false},
        {"zephyr.jinja", SV_CALL_FORM_NONE, false},
    };
    for (size_t i = 0; i < BK_ARRAY_LEN(known); i++) {
        bk_buf text = read_template(known[i].file);
        sv_answer_format f = sv_answer_format_of(bk_buf_view(&text));
        if (f.calls != known[i].calls || (f.think_open != NULL) != known[i].thinks) {
            fail_msg("%s: form %d, %s", known[i].file, f.calls, f.think_open);
        }
        bk_buf_free(&text);
    }
    sv_answer_format coder = sv_answer_format_of(
        BK_STR("<tool_call>\n<function=example>\n<parameter=one>\nvalue\n</parameter>"));
    assert_int_equal(coder.calls, SV_CALL_FORM_XML);
    assert_int_equal(sv_call_form_of(BK_STR("<tool_call>{name}\n<arg_key>{key}</arg_key>")),
                     SV_CALL_FORM_NONE);
    assert_string_equal(sv_answer_format_of(BK_STR("[THINK]..[/THINK][TOOL_CALLS]")).think_close,
                        "[/THINK]");
    sv_answer_format q = {.think_open = "<think>", .think_close = "</think>"}, plain = {0};
    assert_true(sv_answer_prompt_opens_thought(&q, BK_STR("<|Assistant|><think>\n")));
    assert_false(sv_answer_prompt_opens_thought(&q, BK_STR("<think>\n\n</think>\n\n")));
    assert_false(sv_answer_prompt_opens_thought(&q, BK_STR("")));
    assert_false(sv_answer_prompt_opens_thought(&plain, BK_STR("<think>")));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hermes),
        cmocka_unit_test(test_not_calls),
        cmocka_unit_test(test_malformed_arguments),
        cmocka_unit_test(test_xml),
        cmocka_unit_test(test_llama),
        cmocka_unit_test(test_mistral),
        cmocka_unit_test(test_reasoning),
        cmocka_unit_test(test_control_tokens),
        cmocka_unit_test(test_nothing_waits),
        cmocka_unit_test(test_many_marks),
        cmocka_unit_test(test_templates),
    };
    return cmocka_run_group_tests_name("tool_calls", tests, make_tools, free_tools);
}
