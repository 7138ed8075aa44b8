/* Distributions and the lines of an exposition. tests/server/test_metrics.py has readers of others look
 * at the whole of it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>

#include "server/metrics.h"

static uint64_t total(const sv_histogram *h) {
    uint64_t n = 0;
    for (size_t i = 0; i <= h->n_bounds; i++) n += h->count[i];
    return n;
}

static void test_observe(void **state) {
    (void)state;
    sv_metrics m;
    sv_metrics_init(&m);
    sv_histogram *h = &m.of[SV_ITL];
    sv_metrics_gap(&m, 0);
    sv_metrics_gap(&m, h->bounds[0] * 1e3); /* a bound belongs to the bucket below it */
    assert_int_equal(h->count[0], 2);
    sv_metrics_gap(&m, h->bounds[0] * 1e3 + 1e-6);
    assert_int_equal(h->count[1], 1);
    sv_metrics_gap(&m, 1e9);
    assert_int_equal(h->count[h->n_bounds], 1);
    double sum = h->sum;
    sv_metrics_gap(&m, -1);
    sv_metrics_gap(&m, (double)NAN);
    sv_metrics_gap(&m, (double)INFINITY);
    assert_int_equal(total(h), 4);
    assert_true(h->sum == sum);
    for (size_t i = 0; i < SV_DISTRIBUTIONS; i++) {
        assert_true(m.of[i].n_bounds > 8 && m.of[i].n_bounds <= SV_HISTOGRAM_BOUNDS);
        for (size_t k = 1; k < m.of[i].n_bounds; k++) {
            assert_true(m.of[i].bounds[k] > m.of[i].bounds[k - 1]);
        }
    }
}

/* What is measured of a request that got so far. */
static void test_stages(void **state) {
    (void)state;
    static const uint64_t wanted[SV_STAGES][SV_DISTRIBUTIONS] = {
        [SV_IN_QUEUE] = {0},
        [SV_IN_PREFILL] = {[SV_QUEUE_TIME] = 1},
        [SV_IN_DECODE] = {[SV_QUEUE_TIME] = 1, [SV_TTFT] = 1},
        [SV_DONE] = {[SV_QUEUE_TIME] = 1,
                     [SV_PREFILL_TIME] = 1,
                     [SV_TTFT] = 1,
                     [SV_DECODE_TIME] = 1,
                     [SV_TPOT] = 1,
                     [SV_E2E_TIME] = 1,
                     [SV_PROMPT_TOKENS] = 1,
                     [SV_GENERATION_TOKENS] = 1},
    };
    const brisk_request_stats st = {.prompt_tokens = 5, .generated_tokens = 3, .decode_ms = 40};
    for (int s = 0; s < SV_STAGES; s++) {
        sv_metrics m;
        sv_metrics_init(&m);
        sv_metrics_request(&m, &st, (sv_stage)s, "stop", 100);
        for (size_t i = 0; i < SV_DISTRIBUTIONS; i++) {
            assert_int_equal(total(&m.of[i]), wanted[s][i]);
        }
    }
    /* No token, no time to the first one; one token, no time per token. */
    sv_metrics m;
    sv_metrics_init(&m);
    const brisk_request_stats none = {.prompt_tokens = 5}, one = {.generated_tokens = 1};
    sv_metrics_request(&m, &none, SV_DONE, "length", 1);
    assert_int_equal(total(&m.of[SV_TTFT]), 0);
    assert_int_equal(total(&m.of[SV_DECODE_TIME]), 0);
    assert_int_equal(total(&m.of[SV_E2E_TIME]), 1);
    sv_metrics_request(&m, &one, SV_DONE, "length", 1);
    assert_int_equal(total(&m.of[SV_TTFT]), 1);
    assert_int_equal(total(&m.of[SV_TPOT]), 0);
}

static void test_names(void **state) {
    (void)state;
    assert_int_equal(sv_compat_of("vllm"), SV_COMPAT_VLLM);
    assert_int_equal(sv_compat_of("llamacpp"), SV_COMPAT_LLAMACPP);
    assert_int_equal(sv_compat_of("sglang"), SV_COMPAT_NONE);
    assert_int_equal(sv_compat_of(NULL), SV_COMPAT_NONE);
}

/* A name from outside cannot end its line or its quotes; what is not UTF-8 is replaced. Values that are
 * no numbers are not printed. */
static void test_hostile_values(void **state) {
    (void)state;
    sv_metrics m;
    bk_buf out = {0};
    brisk_engine_stats e = {.prefill_per_second = (double)NAN, .cached_tokens = 5};
    const brisk_model_info info = {
        .architecture = "a\"\n", .quantization = "\\", .kv_type = "", .cpu_level = ""};
    const sv_metrics_scene scene = {"x\"} 1\n\xff", &info, &e};
    sv_metrics_init(&m);
    assert_true(sv_metrics_render(&m, &scene, SV_COMPAT_NONE, &out));
    assert_non_null(strstr(out.data, "{model=\"x\\\"} 1\\n\xEF\xBF\xBD\"} 0\n"));
    assert_non_null(strstr(out.data, "architecture=\"a\\\"\\n\",quantization=\"\\\\\""));
    assert_non_null(strstr(out.data, "phase=\"prefill\"} 0\n"));
    assert_non_null(strstr(out.data, "source=\"computed\"} 0\n"));
    assert_null(strstr(out.data, "nan"));
    assert_int_equal(bk_utf8_valid_len(out.data, out.len), out.len);
    bk_buf_free(&out);
    out = (bk_buf){.limit = 1000};
    assert_false(sv_metrics_render(&m, &scene, SV_COMPAT_VLLM, &out));
    bk_buf_free(&out);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_observe),
        cmocka_unit_test(test_stages),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_hostile_values),
    };
    return cmocka_run_group_tests_name("metrics", tests, NULL, NULL);
}
