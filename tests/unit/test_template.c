/* Chat templates: the text that jinja2 gives (stored), provenance, budgets, refusals. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>
#include <jansson.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "fail_alloc.h"
#include "text/template.h"

#define CASES "tests/template/cases.json"
#define TEMPLATES "tests/template/templates/"

static const char *const files[] = {"chatml.jinja",       "gemma.jinja",    "llama3.jinja",
                                    "llama3-tools.jinja", "mistral.jinja",  "mistral-tools.jinja",
                                    "qwen2.jinja",        "qwen2.5.jinja",  "qwen3.jinja",
                                    "smollm2.jinja",      "training.jinja", "zephyr.jinja"};

static bk_status render(bk_str source, const char *vars, bk_rendered *out, bk_error *err) {
    bk_template *t = NULL;
    *out = (bk_rendered){0};
    bk_status status = bk_template_parse(source, &t, err);
    if (status == BK_OK) status = bk_template_render(t, bk_str_from(vars), out, err);
    bk_template_destroy(&t);
    return status;
}

static void expect_text(const char *source, const char *vars, const char *want) {
    bk_rendered r;
    bk_error err = {0};
    if (render(bk_str_from(source), vars, &r, &err) != BK_OK) fail_msg("%s: %s", source, err.text);
    if (!bk_str_eq(bk_buf_view(&r.text), bk_str_from(want)))
        fail_msg("%s gives \"%s\", wanted \"%s\"", source, bk_buf_view(&r.text).data, want);
    bk_rendered_free(&r);
}

/* The template must be refused with this status, in words that contain `part`. */
static void expect_error(const char *source, const char *vars, bk_status want, const char *part) {
    bk_rendered r;
    bk_error err = {0};
    bk_status status = render(bk_str_from(source), vars, &r, &err);
    if (status != want || !strstr(err.text, part))
        fail_msg("%.100s: status %d, \"%s\"; wanted %d, \"%s\"", source, (int)status, err.text,
                 (int)want, part);
    assert_int_equal(err.code, want);
    assert_null(r.text.data);
    assert_null(r.user);
}

static char *read_file(const char *dir, const char *name, size_t *len) {
    char path[512], *data = malloc(1 << 20);
    snprintf(path, sizeof path, "%s%s", dir, name);
    FILE *f = fopen(path, "rb");
    if (!f || !data) fail_msg("cannot read %s (run from the root of the tree)", path);
    *len = fread(data, 1, (1 << 20) - 1, f);
    data[*len] = '\0';
    fclose(f);
    return data;
}

/* ---- Stored cases ---------------------------------------------------------------------------- */

static void check_spans(const json_t *want, const bk_rendered *r, const char *name) {
    if (json_array_size(want) != r->n_user) fail_msg("%s: %zu spans", name, r->n_user);
    for (size_t i = 0; i < r->n_user; i++) {
        const json_t *span = json_array_get(want, i);
        assert_int_equal(r->user[i].begin, json_integer_value(json_array_get(span, 0)));
        assert_int_equal(r->user[i].end, json_integer_value(json_array_get(span, 1)));
    }
}

static void check_case(const json_t *row, bk_str source, const char *vars, const char *name) {
    bk_rendered r;
    bk_error err = {0};
    bk_status status = render(source, vars, &r, &err);
    const json_t *text = json_object_get(row, "text");
    if (!text) {
        if (status == BK_OK || !err.text[0]) fail_msg("%s: not refused", name);
        return;
    }
    if (status != BK_OK) fail_msg("%s: %s", name, err.text);
    bk_str want = {json_string_value(text), json_string_length(text)};
    if (!bk_str_eq(bk_buf_view(&r.text), want))
        fail_msg("%s: found \"%s\", wanted \"%s\"", name, bk_buf_view(&r.text).data, want.data);
    check_spans(json_object_get(row, "user"), &r, name);
    bk_rendered_free(&r);
}

static void test_stored(void **state) {
    (void)state;
    json_error_t jerr;
    json_t *all = json_load_file(CASES, JSON_ALLOW_NUL, &jerr);
    if (!all) fail_msg("%s: %s", CASES, jerr.text);
    char *vars = json_dumps(json_object_get(all, "vars"), 0);
    const json_t *rows = json_object_get(all, "cases"), *talks = json_object_get(all, "talks");
    assert_true(json_array_size(rows) > 1000);
    for (size_t i = 0; i < json_array_size(rows); i++) {
        const json_t *row = json_array_get(rows, i), *source = json_object_get(row, "template");
        if (source) {
            bk_str s = {json_string_value(source), json_string_length(source)};
            check_case(row, s, vars, s.data);
            continue;
        }
        size_t len, talk = (size_t)json_integer_value(json_object_get(row, "talk"));
        const char *name = json_string_value(json_object_get(row, "file"));
        char *text = read_file(TEMPLATES, name, &len);
        char *own = json_dumps(json_array_get(talks, talk), 0);
        check_case(row, (bk_str){text, len}, own, name);
        free(text);
        free(own);
    }
    free(vars);
    json_decref(all);
}

static void test_smollm2(void **state) {
    (void)state;
    size_t len;
    char *source = read_file(TEMPLATES, "smollm2.jinja", &len);
    expect_text(source,
                "{\"messages\": [{\"role\": \"user\", \"content\": \"Hi\"}], "
                "\"add_generation_prompt\": true}",
                "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by "
                "Hugging Face<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n");
    free(source);
}

/* ---- Provenance ------------------------------------------------------------------------------ */

static bool inside_span(const bk_rendered *r, size_t begin, size_t end) {
    for (size_t i = 0; i < r->n_user; i++) {
        if (r->user[i].begin <= begin && end <= r->user[i].end) return true;
    }
    return false;
}

/* Every "<|im_end|>" next to the marker '@' came from the content. Returns how many there were. */
static size_t check_marked(const bk_rendered *r, const char *marked) {
    size_t n = 0;
    const char *text = bk_buf_view(&r->text).data;
    for (const char *at = text; (at = strstr(at, marked)) != NULL; at++, n++) {
        size_t begin = (size_t)(at - text);
        if (!inside_span(r, begin, begin + strlen(marked)))
            fail_msg("a variable's special token counts as the template's: %s", text);
    }
    return n;
}

static void test_injection_templates(void **state) {
    (void)state;
    const char *vars = "{\"messages\": [{\"role\": \"user\", \"content\": \" @<|im_end|>@ \"}, "
                       "{\"role\": \"assistant\", \"content\": \"x@<|im_end|>@\"}], "
                       "\"bos_token\": \"<s>\", \"eos_token\": \"</s>\", \"date_string\": \"d\", "
                       "\"tools\": [{\"type\": \"function\", \"function\": {\"name\": "
                       "\"f\", \"description\": \"@<|im_end|>@\", \"parameters\": {}}}]}";
    for (size_t i = 0; i < BK_ARRAY_LEN(files); i++) {
        size_t len;
        char *source = read_file(TEMPLATES, files[i], &len);
        bk_rendered r;
        bk_error err = {0};
        if (render((bk_str){source, len}, vars, &r, &err) != BK_OK)
            fail_msg("%s: %s", files[i], err.text);
        assert_true(check_marked(&r, "@<|im_end|>@") >= 2);
        bk_rendered_free(&r);
        free(source);
    }
}

static void test_injection_operations(void **state) {
    (void)state;
    static const char *const sources[] = {"{{ c }}",
                                          "{{ c | trim }}",
                                          "{{ c.strip() }}",
                                          "{{ c | replace(' ', '_') }}",
                                          "{{ '-'.join(c.split(' ')) }}",
                                          "{{ c[1:-1] }}",
                                          "{{ (c ~ 'tail')[:-2] }}",
                                          "{{ c | tojson }}",
                                          "{{ [c] | tojson(indent=2) }}",
                                          "{{ {'k': c} }}",
                                          "{{ l }}",
                                          "{{ l | join('') }}",
                                          "{{ 'a' + c + 'b' }}",
                                          "{{ '%s' % c }}",
                                          "{{ '{}'.format(c) }}",
                                          "{{ c | list | join }}",
                                          "{{ c[::-1][::-1] }}",
                                          "{{ c | lower }}",
                                          "{{ c * 2 }}",
                                          "{{ d | tojson }}",
                                          "{% for k in d %}{{ k }}{% endfor %}",
                                          "{{ c | indent }}",
                                          "{% set x %}{{ c }}{% endset %}{{ x }}",
                                          "{% macro m(x) %}{{ x }}{% endmacro %}{{ m(c) }}",
                                          "{{ 'y' | replace('y', c) }}",
                                          "{{ c | default('z') }}",
                                          "{{ c.splitlines()[0] }}",
                                          "{% filter trim %}{{ c }}{% endfilter %}",
                                          "{{ c.partition('zz')[0] }}"};
    const char *vars = "{\"c\": \" @<|im_end|>@ \", \"l\": [\"@<|im_end|>@\"], "
                       "\"d\": {\"@<|im_end|>@\": 1}}";
    for (size_t i = 0; i < BK_ARRAY_LEN(sources); i++) {
        bk_rendered r;
        bk_error err = {0};
        if (render(bk_str_from(sources[i]), vars, &r, &err) != BK_OK)
            fail_msg("%s: %s", sources[i], err.text);
        if (check_marked(&r, "@<|im_end|>@") == 0) fail_msg("%s lost its marker", sources[i]);
        bk_rendered_free(&r);
    }
}

/* The template's own words stay outside, also right beside a variable's. */
static void test_own_text(void **state) {
    (void)state;
    bk_rendered r;
    bk_error err = {0};
    const char *source =
        "<a>{{ '<b>' + c ~ '<c>' }}{{ ('<d>' ~ c ~ '<e>') | upper | trim }}{{ n }}";
    assert_int_equal(render(bk_str_from(source), "{\"c\": \"xy\", \"n\": 5}", &r, &err), BK_OK);
    assert_string_equal(r.text.data, "<a><b>xy<c><D>XY<E>5");
    assert_int_equal(r.n_user, 3);
    assert_int_equal(r.user[0].begin, 6);
    assert_int_equal(r.user[0].end, 8);
    assert_int_equal(r.user[1].begin, 14);
    assert_int_equal(r.user[1].end, 16);
    assert_int_equal(r.user[2].begin, 19);
    assert_int_equal(r.user[2].end, 20);
    bk_rendered_free(&r);
}

/* ---- Variables ------------------------------------------------------------------------------- */

static void test_variables(void **state) {
    (void)state;
    expect_text("{% for k, v in d.items() %}{{ k }}{{ v }} {% endfor %}",
                "{\"d\": {\"z\": 1, \"a\": 2, \"m\": 3, \"z\": 4}}", "z4 a2 m3 ");
    expect_text("{{ a }} {{ b }} {{ c }}",
                "{\"a\": 9223372036854775807, \"b\": -9223372036854775808, \"c\": 1.0}",
                "9223372036854775807 -9223372036854775808 1.0");
    expect_text("{{ s | length }}", "{\"s\": \"a\\u0000\\ud83d\\ude00\"}", "3");
    expect_text("{{ range }}{{ messages }}", "{\"range\": 1, \"messages\": []}", "1[]");
    static const char *const bad[] = {"",
                                      "[]",
                                      "1",
                                      "{",
                                      "{} x",
                                      "{\"a\": 1e999}",
                                      "{\"a\": 'b'}",
                                      "{\"a\": \"\xff\"}",
                                      "{\"a\": \"\\ud800\"}",
                                      "null",
                                      "{\"a\": 9223372036854775808}",
                                      "{\"a\\u0000\": 1}"};
    for (size_t i = 0; i < BK_ARRAY_LEN(bad); i++)
        expect_error("x", bad[i], BK_ERR_FORMAT, "not a JSON object");
}

/* Renders "[{{bos}}|{{x}}|{{tools is none}}|{{messages|length}}]" for a request; ranges of user's text. */
static void check_request(const char *request, const char *want, const char *user) {
    static const char source[] =
        "[{{ bos_token }}|{{ x }}|{{ tools is none }}|{{ messages | length }}]";
    bk_template *t = NULL;
    bk_rendered r = {0};
    bk_error err = {0};
    char spans[64] = "";
    size_t at = 0;
    assert_int_equal(bk_template_parse(BK_STR(source), &t, &err), BK_OK);
    if (bk_template_render_request(
            t, bk_str_from(request),
            BK_STR("{\"bos_token\": \"<s>\", \"tools\": null, \"x\": \"d\"}"), &r, &err))
        fail_msg("%s: %s", request, err.text);
    assert_true(bk_str_eq(bk_buf_view(&r.text), bk_str_from(want)));
    for (size_t i = 0; i < r.n_user; i++)
        at += (size_t)snprintf(spans + at, sizeof spans - at, "%zu-%zu ", r.user[i].begin,
                               r.user[i].end);
    assert_string_equal(spans, user);
    bk_rendered_free(&r);
    bk_template_destroy(&t);
}

/* What the model itself says is no user's text, unless the request says it too. */
static void test_request(void **state) {
    (void)state;
    check_request("[{}, {}]", "[<s>|d|True|2]", "");
    check_request("{\"messages\": [], \"x\": \"y\"}", "[<s>|y|True|0]", "5-6 ");
    check_request("{\"messages\": [1], \"x\": 1, \"chat_template_kwargs\": {\"x\": \"kw\", "
                  "\"bos_token\": \"<s>\"}}",
                  "[<s>|kw|True|1]", "1-4 5-7 ");
    check_request("{\"messages\": [1], \"tools\": [], \"chat_template_kwargs\": null}",
                  "[<s>|d|False|1]", "");
    static const char *const bad[] = {"", "1", "{", "{\"chat_template_kwargs\": []}"};
    for (size_t i = 0; i < BK_ARRAY_LEN(bad); i++) {
        bk_template *t = NULL;
        bk_rendered r;
        assert_int_equal(bk_template_parse(BK_STR("x"), &t, NULL), BK_OK);
        assert_int_equal(bk_template_render_request(t, bk_str_from(bad[i]), BK_STR("{}"), &r, NULL),
                         BK_ERR_FORMAT);
        bk_template_destroy(&t);
    }
}

static char *repeated(const char *before, const char *open, const char *middle, const char *close,
                      size_t n, const char *after) {
    bk_buf b = {0};
    bk_buf_append_str(&b, before);
    for (size_t i = 0; i < n; i++) bk_buf_append_str(&b, open);
    bk_buf_append_str(&b, middle);
    for (size_t i = 0; i < n; i++) bk_buf_append_str(&b, close);
    bk_buf_append_str(&b, after);
    return b.data;
}

static void test_deep_variables(void **state) {
    (void)state;
    char *vars = repeated("{\"a\": ", "[", "\"[[[[\\\"[\"", "]", 190, "}");
    expect_text("{{ a | tojson | length }}", vars, "389");
    bk_free(vars);
    vars = repeated("{\"a\": ", "[", "", "]", 100000, "}");
    expect_error("x", vars, BK_ERR_LIMIT, "nested more than 200 deep");
    bk_free(vars);
}

/* ---- Refusals -------------------------------------------------------------------------------- */

static void test_refusals(void **state) {
    (void)state;
    expect_error("{{ raise_exception('Roles must alternate') }}", "{}", BK_ERR_FORMAT,
                 "Roles must alternate");
    expect_error("a\nb\n{{ 1 + }}", "{}", BK_ERR_FORMAT, "line 3");
    expect_error("a\n\n{{ x.y }}", "{}", BK_ERR_FORMAT, "line 3: \"x\" is undefined");
    expect_error("{{ d.x.y }}", "{\"d\": {}}", BK_ERR_FORMAT, "dict has no \"x\"");
    expect_error("{{ 1 | nosuch }}", "{}", BK_ERR_UNSUPPORTED, "unknown filter \"nosuch\"");
    expect_error("{{ 1 is nosuch }}", "{}", BK_ERR_UNSUPPORTED, "unknown test \"nosuch\"");
    expect_error("{% include 'x' %}", "{}", BK_ERR_UNSUPPORTED, "include");
    expect_error("{% for x in y recursive %}{% endfor %}", "{}", BK_ERR_UNSUPPORTED, "recursive");
    expect_error("{% frobnicate %}", "{}", BK_ERR_FORMAT, "frobnicate");
    expect_error("{% if x %}", "{}", BK_ERR_FORMAT, "elif");
    expect_error("\xff", "{}", BK_ERR_FORMAT, "byte 0 is not UTF-8");
    expect_error("{{ '\\ud800' }}", "{}", BK_ERR_FORMAT, "bad escape");
    expect_error("{{ l.append(1) }}", "{\"l\": []}", BK_ERR_FORMAT, "may not change");
    expect_error("{{ '\x01\x1b[31m' + 1 }}{{ raise_exception('\x1b[31m') }}", "{}", BK_ERR_FORMAT,
                 "str");
    expect_error("{{ raise_exception('\\x1b[31m') }}", "{}", BK_ERR_FORMAT, "\\x1b[31m");
}

/* ---- Budgets --------------------------------------------------------------------------------- */

static void test_budgets(void **state) {
    (void)state;
    static const struct {
        const char *source, *part;
    } cases[] = {
        {"{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}", "steps"},
        {"{{ range(100001) }}", "range of more than 100000"},
        {"{{ range(-9223372036854775807, 9223372036854775807) }}", "range"},
        {"{{ 'x' * 99999999 }}", "MiB"},
        {"{{ 'x' * 9223372036854775807 }}", "MiB"},
        {"{{ [1] * 9223372036854775807 }}", "MiB"},
        {"{{ [1, 2] * 99999999 }}", "MiB"},
        {"{% set n = namespace(s='xxxxxxxx') %}{% for i in range(60) %}{% set n.s = n.s + n.s %}"
         "{% endfor %}",
         "MiB"},
        {"{% set n = namespace(l=[1]) %}{% for i in range(60) %}{% set n.l = n.l + n.l %}"
         "{% endfor %}",
         "MiB"},
        {"{% for a in range(99999) %}{{ 'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx' * 99 }}"
         "{% endfor %}",
         "MiB"},
        {"{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "100 deep"},
        {"{% macro f() %}{{ [[[[[[[[f()]]]]]]]] }}{% endmacro %}{{ f() }}", "600 deep"},
        {"{% set n = namespace(x=[]) %}{% for i in range(300) %}{% set n.x = [n.x] %}{% endfor %}"
         "{{ n.x }}",
         "200 deep"},
        {"{% set n = namespace(x=[]) %}{% for i in range(300) %}{% set n.x = [n.x] %}{% endfor %}"
         "{{ n.x | tojson }}",
         "200 deep"},
        {"{% set n = namespace(x=[], y=[]) %}{% for i in range(300) %}{% set n.x = [n.x] %}"
         "{% set n.y = [n.y] %}{% endfor %}{{ n.x == n.y }}",
         "200 deep"},
        {"{% set n = namespace() %}{% set n.n = n %}{{ n }}", "200 deep"},
        {"{{ 9223372036854775807 + 1 }}", "64 bits"},
        {"{{ -9223372036854775807 - 2 }}", "64 bits"},
        {"{{ 2 ** 63 }}", "64 bits"},
        {"{{ 99999999999 * 99999999999 }}", "64 bits"},
        {"{{ 9223372036854775808 }}", "64 bits"},
        {"{{ (-9223372036854775807 - 1) // -1 }}", "64 bits"},
        {"{{ 1e300 | int }}", "64 bits"},
        {"{{ '%99999d' % 1 }}", "wider than 1000"},
        {"{{ '%.300f' % 1 }}", "250 decimals"},
    };
    for (size_t i = 0; i < BK_ARRAY_LEN(cases); i++)
        expect_error(cases[i].source, "{}", BK_ERR_LIMIT, cases[i].part);
    expect_text("{{ (-9223372036854775807 - 1) % -1 }}{{ -9223372036854775807 - 1 }}", "{}",
                "0-9223372036854775808");
}

static const struct {
    const char *before, *open, *middle, *close, *after;
} deep[] = {
    {"{{ ", "(", "1", ")", " }}"},
    {"{{ ", "[", "1", "]", " }}"},
    {"{{ ", "{1:", "1", "}", " }}"},
    {"{{ ", "not ", "1", "", " }}"},
    {"{{ ", "-", "1", "", " }}"},
    {"{{ ", "1 + ", "1", "", " }}"},
    {"{{ ", "1 if 0 else ", "1", "", " }}"},
    {"{{ 1", "|abs", "", "", " }}"},
    {"{{ x", ".a", "", "", " }}"},
    {"{{ x", "[1]", "", "", " }}"},
    {"{{ ", "f(", "1", ")", " }}"},
    {"", "{% if 1 %}", "x", "{% endif %}", ""},
    {"", "{% for x in [1] %}", "x", "{% endfor %}", ""},
    {"", "{% set x %}", "x", "{% endset %}", ""},
    {"", "{% filter upper %}", "x", "{% endfilter %}", ""},
    {"", "{% macro f() %}", "x", "{% endmacro %}", ""},
};

static void test_parse_depth(void **state) {
    (void)state;
    for (size_t i = 0; i < BK_ARRAY_LEN(deep); i++) {
        bk_template *t = NULL;
        bk_error err = {0};
        char *few = repeated(deep[i].before, deep[i].open, deep[i].middle, deep[i].close, 60,
                             deep[i].after);
        char *many = repeated(deep[i].before, deep[i].open, deep[i].middle, deep[i].close, 5000,
                              deep[i].after);
        if (bk_template_parse(bk_str_from(few), &t, &err) != BK_OK) fail_msg("%s", err.text);
        bk_template_destroy(&t);
        assert_int_equal(bk_template_parse(bk_str_from(many), &t, &err), BK_ERR_LIMIT);
        assert_null(t);
        assert_non_null(strstr(err.text, "more than 200"));
        bk_free(few);
        bk_free(many);
    }
}

static void test_source_size(void **state) {
    (void)state;
    char *big = repeated("", "12345678", "", "", 131073, "");
    expect_error(big, "{}", BK_ERR_LIMIT, "at most 1048576");
    bk_free(big);
}

/* ---- Small stacks, threads, memory ----------------------------------------------------------- */

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || !defined(__OPTIMIZE__)
#define STACK_BYTES ((size_t)2 << 20) /* their frames are several times larger */
#else
#define STACK_BYTES ((size_t)256 << 10)
#endif

static void *deepest(void *arg) {
    static const char *const sources[] = {
        "{% macro f() %}{{ [1, 1 + (f() | upper | length)][0] if 1 else 2 }}{% endmacro %}{{ f() "
        "}}",
        "{% macro f() %}{% for x in [1] if f() %}{% endfor %}{% endmacro %}{{ f() }}",
        "{% macro f(a=f()) %}{% endmacro %}{{ f() }}",
        "{% set n = namespace(x=[]) %}{% for i in range(198) %}{% set n.x = {1: (n.x,)} %}"
        "{% endfor %}{{ ((((((((((n.x | tojson))))))))) | length }}"};
    size_t *done = arg;
    bk_error err = {0};
    bk_rendered r;
    for (size_t i = 0; i < BK_ARRAY_LEN(deep); i++, ++*done) {
        char *s = repeated(deep[i].before, deep[i].open, deep[i].middle, deep[i].close, 199,
                           deep[i].after);
        if (render(bk_str_from(s), "{}", &r, &err) == BK_OK) bk_rendered_free(&r);
        bk_free(s);
    }
    for (size_t i = 0; i < BK_ARRAY_LEN(sources); i++, ++*done) {
        if (render(bk_str_from(sources[i]), "{}", &r, &err) == BK_OK) bk_rendered_free(&r);
    }
    char *vars = repeated("{\"a\": ", "[", "", "]", 199, "}");
    if (render(BK_STR("{{ a }}{{ a == a + [] }}"), vars, &r, &err) == BK_OK) ++*done;
    bk_rendered_free(&r);
    bk_free(vars);
    return NULL;
}

static void test_small_stack(void **state) {
    (void)state;
    pthread_attr_t attr;
    pthread_t thread;
    size_t done = 0;
    assert_int_equal(pthread_attr_init(&attr), 0);
    assert_int_equal(pthread_attr_setstacksize(&attr, STACK_BYTES), 0);
    assert_int_equal(pthread_create(&thread, &attr, deepest, &done), 0);
    pthread_join(thread, NULL);
    pthread_attr_destroy(&attr);
    assert_int_equal(done, BK_ARRAY_LEN(deep) + 5);
}

static void *render_often(void *arg) {
    const bk_template *t = arg;
    size_t good = 0;
    for (int i = 0; i < 50; i++) {
        bk_rendered r;
        if (bk_template_render(t, BK_STR("{\"a\": [1, 2, 3]}"), &r, NULL) == BK_OK)
            good += bk_str_eq(bk_buf_view(&r.text), BK_STR("<1><2><3>[1, 2, 3]"));
        bk_rendered_free(&r);
    }
    return (void *)(uintptr_t)good;
}

static void test_shared_between_threads(void **state) {
    (void)state;
    bk_template *t = NULL;
    pthread_t threads[2];
    void *good;
    bk_str source = BK_STR("{% macro f(x) %}<{{ x }}>{% endmacro %}{% for x in a %}{{ f(x) }}"
                           "{% endfor %}{{ a }}");
    assert_int_equal(bk_template_parse(source, &t, NULL), BK_OK);
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, render_often, t), 0);
    for (int i = 0; i < 2; i++) {
        pthread_join(threads[i], &good);
        assert_int_equal((uintptr_t)good, 50);
    }
    bk_template_destroy(&t);
}

/* A rendering that allocates in every part; under "sweep" one allocation fails. */
static int sweep_scenario(void) {
    bk_rendered r;
    bk_error err = {0};
    bk_status status = render(
        BK_STR("{% set n = namespace(s='') %}{% for x in a %}{% set n.s = n.s ~ x %}{% endfor %}"
               "{{ n.s | upper }}{{ a | tojson }}{{ 'x' * 200000 }}"),
        "{\"a\": [\"one\", {\"k\": [2.5, null]}]}", &r, &err);
    bool right = status == BK_OK && r.text.len == 200000 + 21 + 27;
    bk_rendered_free(&r);
    if (status == BK_OK) return right ? SWEEP_ALL_OK : SWEEP_WRONG;
    return status == BK_ERR_NOMEM && err.code == status ? SWEEP_FAILED_WELL : SWEEP_WRONG;
}

#ifdef BRISK_TESTING
static void test_out_of_memory(void **state) {
    (void)state;
    assert_true(sweep_all("template", 1) > 3);
}
#endif

int main(int argc, char **argv) {
    if (argc > 1 && strcmp(argv[1], "sweep") == 0) return sweep_scenario();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_smollm2),
        cmocka_unit_test(test_stored),
        cmocka_unit_test(test_injection_templates),
        cmocka_unit_test(test_injection_operations),
        cmocka_unit_test(test_own_text),
        cmocka_unit_test(test_variables),
        cmocka_unit_test(test_request),
        cmocka_unit_test(test_deep_variables),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_budgets),
        cmocka_unit_test(test_parse_depth),
        cmocka_unit_test(test_source_size),
        cmocka_unit_test(test_small_stack),
        cmocka_unit_test(test_shared_between_threads),
#ifdef BRISK_TESTING
        cmocka_unit_test(test_out_of_memory),
#endif
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
