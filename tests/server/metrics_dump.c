/* metrics_dump MODEL [vllm|llamacpp]: an exposition with known values, for test_metrics.py, which has
 * them too. */
#include <stdio.h>

#include "server/metrics.h"

static void fill(sv_metrics *m) {
    static const double gaps[] = {1, 2, 2.5, 40, 99, 700, 20000};
    brisk_request_stats st = {.prompt_tokens = 300,
                              .cached_tokens = 200,
                              .generated_tokens = 11,
                              .queue_ms = 5,
                              .prefill_ms = 200,
                              .first_token_ms = 215,
                              .decode_ms = 500};
    sv_metrics_init(m);
    for (size_t i = 0; i < BK_ARRAY_LEN(gaps); i++) sv_metrics_gap(m, gaps[i]);
    sv_metrics_request(m, &st, SV_DONE, "stop", 720);
    sv_metrics_request(m, &st, SV_DONE, "length", 720);
    sv_metrics_request(m, &st, SV_DONE, "tool_calls", 720);
    sv_metrics_request(m, &st, SV_DONE, "surprise", 720);
    st.generated_tokens = 1;
    sv_metrics_request(m, &st, SV_DONE, "stop", 400000);
    sv_metrics_request(m, &st, SV_IN_QUEUE, NULL, 1);
    sv_metrics_request(m, &st, SV_IN_PREFILL, NULL, 1);
    sv_metrics_request(m, &st, SV_IN_DECODE, NULL, 1);
    sv_metrics_request(m, &st, SV_IN_DECODE, NULL, 1);
    sv_metrics_rejected(m, 400, "invalid_value");
    sv_metrics_rejected(m, 400, "context_length_exceeded");
    sv_metrics_rejected(m, 401, NULL);
    sv_metrics_rejected(m, 413, NULL);
    sv_metrics_rejected(m, 429, "queue_full");
    sv_metrics_rejected(m, 503, NULL);
    sv_metrics_rejected(m, 404, NULL);
    sv_metrics_rejected(m, 504, "timeout");
    sv_metrics_rejected(m, 400, "cancelled");
}

int main(int argc, char **argv) {
    sv_metrics m;
    bk_buf out = {0};
    brisk_model_info info = {
        .architecture = "llama", .quantization = "Q4_1", .kv_type = "q16", .cpu_level = "avx2"};
    brisk_engine_stats e = {.memory = {.limit = 1u << 30,
                                       .weights = 100u << 20,
                                       .scratch = 20u << 20,
                                       .kv_limit = 400u << 20,
                                       .kv_used = 100u << 20,
                                       .cached = 60u << 20},
                            .running = 3,
                            .waiting = 2,
                            .itl_budget_ms = 50,
                            .prefill_per_second = 812.5,
                            .decode_per_second = 93,
                            .chunk = 64,
                            .steps = 60,
                            .prompt_tokens = 3000,
                            .cached_tokens = 1200,
                            .generated_tokens = 12345678901,
                            .preemptions = 1,
                            .over_budget = 4,
                            .cache_asked_tokens = 2900,
                            .cache_hit_tokens = 1200,
                            .cache_evicted_tokens = 77};
    for (size_t i = 0; i < BRISK_STEP_BUCKETS; i++) {
        e.step_bounds[i] = 0.001 * (double)(i + 1);
        for (size_t k = 0; k < BRISK_STEP_KINDS; k++) e.step_count[k][i] = i + k;
        e.row_bounds[i] = (double)(1u << i);
        e.row_count[i] = i;
    }
    e.rows = 4711;
    e.step_seconds[BRISK_STEP_MIXED] = 0.75;
    fill(&m);
    const sv_metrics_scene scene = {argc > 1 ? argv[1] : "model", &info, &e};
    bool good = sv_metrics_render(&m, &scene, sv_compat_of(argc > 2 ? argv[2] : NULL), &out);
    if (good) fwrite(out.data, 1, out.len, stdout);
    bk_buf_free(&out);
    return !good;
}
