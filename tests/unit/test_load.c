/* The parts of `brisk bench serve` that need no server: event streams in pieces, statistics, arrivals,
 * what a report makes of time stamps. They belong to the program, so their sources are taken in here. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/json_read.h"
#include "cli/load/load.c"
#include "cli/load/report.c"
#include "cli/load/sse.c"
#include "cli/load/stats.c"

/* ---- Events ------------------------------------------------------------------------------------- */

typedef struct events {
    char text[1024];
    size_t n, stop_after;
} events;

static bool on_event(bk_str data, void *user) {
    events *e = user;
    size_t at = strlen(e->text);
    snprintf(e->text + at, sizeof e->text - at, "[" BK_STR_FMT "]", BK_STR_ARG(data));
    return ++e->n != e->stop_after;
}

/* The text in pieces of this size; what comes out. */
static events feed(const char *text, size_t len, size_t piece, size_t stop_after, bool good) {
    events e = {.stop_after = stop_after};
    load_sse s = {.begun = false};
    bool going = true;
    for (size_t i = 0; i < len && going; i += piece)
        going = load_sse_feed(&s, text + i, bk_min_size(piece, len - i), on_event, &e);
    assert_int_equal(going, good);
    load_sse_free(&s);
    return e;
}

static void test_events_in_pieces(void **state) {
    (void)state;
    static const char text[] =
        "\xEF\xBB\xBF"
        "data: one\n\n: a comment\r\nevent: x\r\ndata:two\r\ndata:  three\r\n\r\nid: 7\rdata\r\r"
        "retry: 5\n\ndata: \xE2\x82\xAC\n\n\n\ndatax: no\ndata : no\n\ndata: last\n\ndata: cut";
    static const char want[] = "[one][two\n three][][\xE2\x82\xAC][last]";
    for (size_t piece = 1; piece <= sizeof text; piece++) {
        events e = feed(text, sizeof text - 1, piece, 0, true);
        assert_string_equal(e.text, want);
    }
}

static void test_events_stop(void **state) {
    (void)state;
    for (size_t piece = 1; piece < 20; piece++) {
        events e = feed("data: a\n\ndata: b\n\ndata: c\n\n", 27, piece, 2, false);
        assert_string_equal(e.text, "[a][b]");
    }
}

static void test_event_too_long(void **state) {
    (void)state;
    static char text[LOAD_SSE_EVENT_MOST + 64];
    memset(text, 'x', sizeof text);
    memcpy(text, "data: ", 6);
    assert_int_equal(feed(text, sizeof text, 4096, 0, false).n, 0);
    for (size_t i = 0; i + 8 < sizeof text; i += 64) memcpy(text + i + 57, "\ndata: ", 7);
    assert_int_equal(feed(text, sizeof text, sizeof text, 0, true).n,
                     0); /* lines alone are short */
}

/* ---- Statistics --------------------------------------------------------------------------------- */

static void test_percentiles(void **state) {
    (void)state;
    load_samples s = {.n = 0};
    assert_float_equal(load_percentile(&s, 50), 0, 0);
    assert_float_equal(load_samples_mean(&s), 0, 0);
    const double v[] = {9, 1, 4, 16, 25};
    for (size_t i = 0; i < BK_ARRAY_LEN(v); i++) load_samples_add(&s, v[i]);
    load_samples_sort(&s);
    /* numpy.percentile([1, 4, 9, 16, 25], [0, 10, 50, 90, 99, 100]) */
    const double p[] = {0, 10, 50, 90, 99, 100}, want[] = {1, 2.2, 9, 21.4, 24.64, 25};
    for (size_t i = 0; i < BK_ARRAY_LEN(p); i++)
        assert_float_equal(load_percentile(&s, p[i]), want[i], 1e-9);
    assert_float_equal(load_samples_mean(&s), 11, 1e-12);
    assert_float_equal(load_samples_sd(&s), 9.669539802906858, 1e-9); /* numpy.std(ddof=1) */
    load_samples_free(&s);
}

/* Mean and variance of a gamma distribution of scale 1 are its shape. */
static void test_gamma(void **state) {
    (void)state;
    const double shapes[] = {0.25, 1, 3};
    enum { N = 40000 };
    bk_rng rng;
    bk_rng_seed(&rng, 5, 0);
    for (size_t k = 0; k < BK_ARRAY_LEN(shapes); k++) {
        double a = shapes[k], sum = 0, square = 0;
        for (int i = 0; i < N; i++) {
            double v = load_gamma(&rng, a);
            assert_true(v >= 0 && isfinite(v));
            sum += v;
            square += v * v;
        }
        double mean = sum / N;
        assert_float_equal(mean, a, 0.04 * a);
        assert_float_equal(square / N - mean * mean, a, 0.15 * a);
    }
}

static void test_arrivals(void **state) {
    (void)state;
    enum { N = 2000 };
    static double at[N];
    bk_rng rng;
    bk_rng_seed(&rng, 6, 0);
    const double shapes[] = {1, 0.2, 50};
    double spread[3];
    for (size_t k = 0; k < 3; k++) {
        double square = 0;
        load_arrivals(&rng, 40, shapes[k], at, N);
        assert_float_equal(at[N - 1], N / 40.0, 1e-9); /* the mean rate is exact */
        for (int i = 1; i < N; i++) {
            assert_true(at[i] >= at[i - 1]);
            square += pow((at[i] - at[i - 1]) * 40 - 1, 2);
        }
        spread[k] = square / N; /* variance of gaps of mean 1: 1 / shape */
        assert_float_equal(spread[k] * shapes[k], 1, 0.35);
    }
    load_arrivals(&rng, INFINITY, 1, at, N);
    for (int i = 0; i < N; i++) assert_float_equal(at[i], 0, 0);
}

/* ---- Reports ------------------------------------------------------------------------------------ */

#define MS 1000000u

static load_request answer(load_kind kind, load_outcome outcome, uint64_t sent, uint64_t *stamps,
                           size_t n) {
    return (load_request){.kind = kind,
                          .outcome = outcome,
                          .sent = sent,
                          .ended = n ? stamps[n - 1] : sent + 5 * MS,
                          .stamps = stamps,
                          .n_stamps = n,
                          .prompt_tokens = 10,
                          .output_tokens = (int64_t)n,
                          .cached_tokens = -1};
}

static void test_report(void **state) {
    (void)state;
    uint64_t a[] = {130 * MS, 150 * MS, 190 * MS}, b[] = {160 * MS, 161 * MS}, c[] = {120 * MS};
    load_request r[] = {answer(LOAD_USER, LOAD_OK, 100 * MS, a, 3),
                        answer(LOAD_USER, LOAD_OK, 100 * MS, b, 2),
                        answer(LOAD_USER, LOAD_CUT, 110 * MS, c, 1),
                        answer(LOAD_USER, LOAD_REFUSED, 110 * MS, NULL, 0),
                        answer(LOAD_USER, LOAD_WAITING, 0, NULL, 0)};
    r[1].output_tokens = 5;
    r[2].ended = 1100 * MS;
    const load_options o = {.endpoint = "", .slo = {0, 20, 90}};
    const load_plan plan = {.requests = r, .n = 5, .n_all = 5};
    const load_run run = {.requests = r, .n = 5, .started = 90 * MS};
    load_report s = {.o = &o, .plan = &plan};
    load_report_make(&s, &run, NULL);
    assert_int_equal(s.n, 5);
    assert_int_equal(s.sent, 4);
    assert_int_equal(s.of[LOAD_OK], 2);
    assert_int_equal(s.of[LOAD_REFUSED], 1);
    assert_float_equal(s.seconds, 1.0, 1e-9); /* the cut one ended last */
    assert_int_equal(s.ms[LOAD_TTFT].n, 2);
    assert_float_equal(s.ms[LOAD_TTFT].v[0], 30, 1e-9);
    assert_float_equal(s.ms[LOAD_TTFT].v[1], 60, 1e-9);
    const double gaps[] = {1, 20, 40}, tpot[] = {0.25, 30}, e2e[] = {61, 90};
    assert_int_equal(s.ms[LOAD_ITL].n, 3);
    for (int i = 0; i < 3; i++) assert_float_equal(s.ms[LOAD_ITL].v[i], gaps[i], 1e-9);
    for (int i = 0; i < 2; i++) assert_float_equal(s.ms[LOAD_TPOT].v[i], tpot[i], 1e-9);
    for (int i = 0; i < 2; i++) assert_float_equal(s.ms[LOAD_E2EL].v[i], e2e[i], 1e-9);
    assert_float_equal(s.refused_ms.v[0], 5, 1e-9);
    assert_int_equal(s.output_tokens, 8);
    assert_int_equal(s.prompt_tokens, 20);
    assert_int_equal(s.cached_tokens, -1);
    assert_true(s.counted);
    assert_int_equal(s.good, 1); /* the other one's tokens took 30 ms each */
    load_report_free(&s);
}

/* Two streams, a token every 10 ms; the long prompt comes at 200 ms and stops one of them until 262 ms,
 * its first token comes at 260 ms. */
static void test_mix_windows(void **state) {
    (void)state;
    uint64_t a[64], b[64], long_stamp[] = {260 * MS};
    size_t n_a = 0, n_b = 0;
    for (uint64_t t = 100; t < 400; t += 10) {
        a[n_a++] = t * MS;
        if (t <= 200 || t >= 270) b[n_b++] = (t == 270 ? 262 : t) * MS;
    }
    load_request r[] = {answer(LOAD_STEADY, LOAD_STOPPED, 50 * MS, a, n_a),
                        answer(LOAD_STEADY, LOAD_STOPPED, 50 * MS, b, n_b),
                        answer(LOAD_LONG, LOAD_OK, 200 * MS, long_stamp, 1)};
    const load_options o = {.endpoint = "", .mix = true, .steady = 2, .long_count = 1};
    const load_plan plan = {.requests = r, .n = 3, .n_all = 3};
    const load_run run = {.requests = r, .n = 3, .started = 40 * MS};
    const load_mix mix = {.o = &o, .running = 100 * MS, .stopped = 400 * MS};
    load_report s = {.o = &o, .plan = &plan};
    load_report_make(&s, &run, &mix);
    assert_float_equal(s.long_ms.v[0], 60, 1e-9);
    assert_float_equal(s.window[LOAD_BEFORE].seconds, 0.1, 1e-9);
    assert_float_equal(s.window[LOAD_BEFORE].tokens, 20, 0);
    assert_float_equal(s.window[LOAD_DURING].seconds, 0.06, 1e-9);
    assert_float_equal(s.window[LOAD_DURING].tokens, 7, 0); /* six of one, one of the other */
    assert_float_equal(s.window[LOAD_AFTER].tokens, 14 + 13, 0);
    assert_float_equal(load_percentile(&s.window[LOAD_BEFORE].gaps, 100), 10, 1e-9);
    assert_float_equal(load_percentile(&s.window[LOAD_DURING].gaps, 100), 62, 1e-9);
    assert_float_equal(load_percentile(&s.window[LOAD_AFTER].gaps, 100), 18, 1e-9);
    assert_int_equal(s.of[LOAD_STOPPED], 2); /* the long prompt is told apart */
    load_report_free(&s);
}

/* ---- Requests ----------------------------------------------------------------------------------- */

static json_t *body_of(const load_options *o, const load_request *r) {
    bk_buf out = {.limit = 0};
    json_t *v = NULL;
    assert_true(load_body(o, r, &out));
    assert_int_equal(bk_json_parse(bk_buf_view(&out), 8, true, &v, NULL), BK_OK);
    bk_buf_free(&out);
    return v;
}

static const char *text_at(const json_t *v, size_t message, const char *key) {
    const json_t *at = json_array_get(json_object_get(v, "messages"), message);
    return json_string_value(json_object_get(at, key));
}

static void test_body(void **state) {
    (void)state;
    load_options o = {.endpoint = "/v1/chat/completions", .model = "m", .extra_body = "\"x\":1"};
    const load_part parts[] = {{.text = "be \"kind\""}, {.key = 1, .words = 3}, {.text = "more"}};
    load_request first = {.parts = parts, .n_parts = 3, .system = true, .out_want = 9};
    json_t *v = body_of(&o, &first);
    assert_int_equal(json_array_size(json_object_get(v, "messages")), 2);
    assert_string_equal(text_at(v, 0, "content"), "be \"kind\"");
    assert_string_equal(text_at(v, 1, "role"), "user");
    int blanks = 0;
    for (const char *c = text_at(v, 1, "content"); *c; c++) blanks += *c == ' ';
    assert_int_equal(blanks, 3);
    assert_int_equal(json_integer_value(json_object_get(v, "max_tokens")), 9);
    assert_int_equal(json_integer_value(json_object_get(v, "x")), 1);
    assert_null(json_object_get(v, "ignore_eos"));

    load_request second = {.parts = &parts[2], .n_parts = 1, .history = &first, .out_want = 1};
    bk_buf_append_str(&first.answer, "yes");
    json_t *w = body_of(&o, &second);
    assert_int_equal(json_array_size(json_object_get(w, "messages")), 4);
    assert_string_equal(text_at(w, 1, "content"), text_at(v, 1, "content")); /* the same words */
    assert_string_equal(text_at(w, 2, "content"), "yes");
    assert_string_equal(text_at(w, 3, "content"), "more");
    json_decref(w);
    json_decref(v);

    o.endpoint = "/v1/completions";
    o.ignore_eos = true;
    v = body_of(&o, &second);
    const char *prompt = json_string_value(json_object_get(v, "prompt"));
    assert_non_null(prompt);
    assert_non_null(strstr(prompt, "moreyes more"));
    assert_true(json_is_true(json_object_get(v, "ignore_eos")));
    json_decref(v);
    load_request_clear(&first);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_events_in_pieces),
        cmocka_unit_test(test_events_stop),
        cmocka_unit_test(test_event_too_long),
        cmocka_unit_test(test_percentiles),
        cmocka_unit_test(test_gamma),
        cmocka_unit_test(test_arrivals),
        cmocka_unit_test(test_report),
        cmocka_unit_test(test_mix_windows),
        cmocka_unit_test(test_body),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
