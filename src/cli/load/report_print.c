/* The report as lines of text and as JSON, whose names are vLLM's where it has the same thing. */
#include <math.h>
#include <stdio.h>

#include "base/json_write.h"
#include "brisk.h"
#include "cli/load/report.h"

/* ---- Lines -------------------------------------------------------------------------------------- */

static void put_ms(bk_buf *out, double v) {
    bk_buf_printf(out, v < 99.95 ? " %9.1f |" : " %9.0f |", v);
}

static void put_head(const load_report *r, bk_buf *out) {
    const load_options *o = r->o;
    bk_buf_printf(out, "%s, %s%s, model %s, seed %llu\n", o->label, o->base_url, o->endpoint,
                  o->model, (unsigned long long)o->seed);
    if (o->mix) {
        bk_buf_printf(out, "%d steady streams, then %d long prompt%s of about %d tokens", o->steady,
                      o->long_count, o->long_count > 1 ? "s" : "", o->long_len);
    } else if (o->trace) {
        bk_buf_printf(out, "%zu requests at the times of %s", r->n, o->trace);
    } else if (isinf(o->rate)) {
        bk_buf_printf(out, "%zu requests, all at once", r->n);
    } else {
        bk_buf_printf(out, "%zu requests, %g per second (burstiness %g)", r->n, o->rate,
                      (double)o->burstiness);
    }
    if (o->max_concurrency) bk_buf_printf(out, ", at most %d at a time", o->max_concurrency);
    bk_buf_putc(out, '\n');
}

static void put_counts(const load_report *r, bk_buf *out) {
    size_t done = r->of[LOAD_OK];
    bk_buf_printf(out, "%zu answered in %.2f s", done, r->seconds);
    for (int i = 0; i < LOAD_OUTCOMES; i++)
        if (r->of[i] && i != LOAD_OK)
            bk_buf_printf(out, ", %zu %s", r->of[i], load_outcome_name(i));
    bk_buf_putc(out, '\n');
    if (done && r->prompt_tokens >= 0)
        bk_buf_printf(out, "prompts of %.0f tokens (%lld to %lld)",
                      (double)r->prompt_tokens / (double)done, (long long)r->prompt_least,
                      (long long)r->prompt_most);
    else if (done)
        bk_buf_printf(out, "prompts: the server does not count their tokens");
    if (done && r->cached_tokens >= 0)
        bk_buf_printf(out, ", %lld of all %lld from its cache", (long long)r->cached_tokens,
                      (long long)r->prompt_tokens);
    if (done)
        bk_buf_printf(out, "; answers of %.1f %s\n", (double)r->output_tokens / (double)done,
                      r->counted ? "tokens" : "pieces of text, taken for tokens");
}

static void put_table(const load_report *r, bk_buf *out) {
    bk_buf_printf(out, "\n| %-22s |", "ms");
    for (size_t p = 0; p < r->n_percentiles; p++) {
        char name[16];
        snprintf(name, sizeof name, "p%g", r->percentiles[p]);
        bk_buf_printf(out, " %9s |", name);
    }
    bk_buf_printf(out, " %9s | %9s | %7s |\n|%.24s|", "max", "mean", "values",
                  "------------------------");
    for (size_t p = 0; p < r->n_percentiles + 2; p++) bk_buf_append_str(out, "----------:|");
    bk_buf_append_str(out, "--------:|\n");
    for (int i = 0; i <= LOAD_METRICS; i++) {
        bool refusal = i == LOAD_METRICS;
        const load_samples *s = refusal ? &r->refused_ms : &r->ms[i];
        if (s->n == 0 || (!refusal && !r->show[i])) continue;
        bk_buf_printf(out, "| %-22s |", refusal ? "refusal" : load_metric_names[i].name);
        for (size_t p = 0; p < r->n_percentiles; p++)
            put_ms(out, load_percentile(s, r->percentiles[p]));
        put_ms(out, load_percentile(s, 100));
        put_ms(out, load_samples_mean(s));
        bk_buf_printf(out, " %7zu |\n", s->n);
    }
    bk_buf_putc(out, '\n');
}

static double per_second(const load_report *r, double v) {
    return r->seconds > 0 ? v / r->seconds : 0;
}

static void put_rates(const load_report *r, bk_buf *out) {
    if (r->of[LOAD_OK] == 0) return;
    bk_buf_printf(out, "output of all together %.1f tokens/s, %.2f answers/s",
                  per_second(r, (double)r->output_tokens), per_second(r, (double)r->of[LOAD_OK]));
    if (r->has_slo) {
        bk_buf_printf(out, "; goodput %.2f answers/s (%zu within", per_second(r, (double)r->good),
                      r->good);
        static const char *const keys[LOAD_SLOS] = {"ttft", "tpot", "e2el"};
        for (int i = 0; i < LOAD_SLOS; i++)
            if (r->o->slo[i] > 0) bk_buf_printf(out, " %s %g ms", keys[i], r->o->slo[i]);
        bk_buf_putc(out, ')');
    }
    bk_buf_putc(out, '\n');
}

static double rate(const load_window *w) { return w->seconds > 0 ? w->tokens / w->seconds : 0; }

static void put_mix(const load_report *r, bk_buf *out) {
    static const char *const names[LOAD_WINDOWS] = {"before", "until its first token", "after"};
    double normal = rate(&r->window[LOAD_BEFORE]);
    if (r->long_ms.n == 0) {
        bk_buf_append_str(out, "the long prompt got no answer\n");
        return;
    }
    bk_buf_append_str(out, "long prompt: first token after");
    for (size_t i = 0; i < r->long_ms.n; i++)
        bk_buf_printf(out, "%s %.0f ms", i ? "," : "", r->long_ms.v[i]);
    if (r->alone_ms > 0)
        bk_buf_printf(out, "; alone after %.0f ms (%.2f x)", r->alone_ms,
                      load_samples_mean(&r->long_ms) / r->alone_ms);
    bk_buf_printf(out, "\n\n| %-22s | %9s | %9s | %9s | %12s |\n|%.24s|%.48s--:|\n",
                  "steady streams", "seconds", "tokens/s", "gap p50", "longest gap",
                  "------------------------", "----------:|----------:|----------:|------------");
    for (int w = 0; w < LOAD_WINDOWS; w++) {
        const load_window *at = &r->window[w];
        bk_buf_printf(out, "| %-22s | %9.2f | %9.1f |", names[w], at->seconds, rate(at));
        put_ms(out, load_percentile(&at->gaps, 50));
        bk_buf_printf(out, " %9.0f ms |\n", load_percentile(&at->gaps, 100));
    }
    if (normal > 0)
        bk_buf_printf(out,
                      "\nwhile the long prompt was read the streams had %.0f %% of their speed\n",
                      100 * rate(&r->window[LOAD_DURING]) / normal);
}

static void put_turns(const load_report *r, bk_buf *out) {
    double second = load_percentile(&r->second_ms, 50), cold = load_percentile(&r->cold_ms, 50);
    if (r->second_ms.n == 0) return;
    bk_buf_printf(out, "second turn: first token after %.1f ms (median)", second);
    if (cold > 0)
        bk_buf_printf(out, ", as long a conversation cold %.1f ms: %.1f %%", cold,
                      100 * second / cold);
    if (r->second_cached >= 0)
        bk_buf_printf(out, "; %lld of %lld prompt tokens from the cache",
                      (long long)r->second_cached, (long long)r->second_prompt);
    bk_buf_putc(out, '\n');
}

static void put_why(const load_report *r, bk_buf *out) {
    for (int i = LOAD_STOPPED; i < LOAD_OUTCOMES; i++)
        if (r->why[i]) bk_buf_printf(out, "%s: %s\n", load_outcome_name(i), r->why[i]);
}

void load_report_print(const load_report *r, bk_buf *out) {
    if (r->interrupted) bk_buf_append_str(out, "stopped by Ctrl-C; what there is:\n");
    put_head(r, out);
    put_counts(r, out);
    put_table(r, out);
    put_rates(r, out);
    if (r->o->mix) put_mix(r, out);
    if (r->o->turns == 2) put_turns(r, out);
    if (r->idle_opened)
        bk_buf_printf(out, "%d idle connections beside it, %d open at the end\n", r->idle_opened,
                      r->idle_left);
    put_why(r, out);
    bk_buf_putc(out, '\n');
    for (int i = 0; i < LOAD_METRICS; i++)
        if (r->show[i] && r->ms[i].n)
            bk_buf_printf(out, "%s: %s\n", load_metric_names[i].name, load_metric_names[i].meaning);
    if (r->late_ms > 10)
        bk_buf_printf(out, "the client was late: a request went out %.0f ms after it was due\n",
                      r->late_ms);
}

/* ---- JSON --------------------------------------------------------------------------------------- */

static void put_key_double(bk_json *w, const char *pattern, const char *key, double v) {
    char name[64];
    snprintf(name, sizeof name, pattern, key);
    bk_json_key_double(w, name, v);
}

static void put_spread(bk_json *w, const load_report *r, const char *key, const load_samples *s) {
    if (s->n == 0) return;
    put_key_double(w, "mean_%s_ms", key, load_samples_mean(s));
    put_key_double(w, "median_%s_ms", key, load_percentile(s, 50));
    put_key_double(w, "std_%s_ms", key, load_samples_sd(s));
    put_key_double(w, "max_%s_ms", key, load_percentile(s, 100));
    for (size_t p = 0; p < r->n_percentiles; p++) {
        char name[64];
        snprintf(name, sizeof name, "p%g_%%s_ms", r->percentiles[p]);
        put_key_double(w, name, key, load_percentile(s, r->percentiles[p]));
    }
}

static void put_setting(bk_json *w, const load_report *r) {
    const load_options *o = r->o;
    bk_json_key_str(w, "date", r->date);
    bk_json_key_str(w, "brisk", brisk_version());
    bk_json_key_str(w, "label", o->label);
    bk_json_key_str(w, "base_url", o->base_url);
    bk_json_key_str(w, "endpoint", o->endpoint);
    bk_json_key_str(w, "model_id", o->model);
    bk_json_key_uint(w, "seed", o->seed);
    bk_json_key_int(w, "num_prompts", (int64_t)r->n);
    bk_json_key_double(w, "request_rate", o->rate); /* null: all at once */
    bk_json_key_double(w, "burstiness", (double)o->burstiness);
    bk_json_key_int(w, "max_concurrency", o->max_concurrency);
    bk_json_key_bool(w, "interrupted", r->interrupted);
}

static void put_outcomes(bk_json *w, const load_report *r) {
    bk_json_key_int(w, "completed", (int64_t)r->of[LOAD_OK]);
    bk_json_key_int(w, "refused", (int64_t)r->of[LOAD_REFUSED]);
    put_spread(w, r, "refusal", &r->refused_ms);
    bk_json_key(w, "outcomes");
    bk_json_begin(w, '{');
    for (int i = 0; i < LOAD_OUTCOMES; i++)
        if (r->of[i]) bk_json_key_int(w, load_outcome_name(i), (int64_t)r->of[i]);
    bk_json_end(w, '}');
    bk_json_key(w, "reasons");
    bk_json_begin(w, '{');
    for (int i = 0; i < LOAD_OUTCOMES; i++)
        if (r->why[i]) bk_json_key_str(w, load_outcome_name(i), r->why[i]);
    bk_json_end(w, '}');
}

static void put_totals(bk_json *w, const load_report *r) {
    bk_json_key_double(w, "duration", r->seconds);
    bk_json_key_int(w, "total_input_tokens", r->prompt_tokens);
    bk_json_key_int(w, "total_output_tokens", r->output_tokens);
    bk_json_key_bool(w, "output_tokens_counted_by_server", r->counted);
    bk_json_key_int(w, "cached_input_tokens", r->cached_tokens);
    bk_json_key_double(w, "request_throughput", per_second(r, (double)r->of[LOAD_OK]));
    bk_json_key_double(w, "output_throughput", per_second(r, (double)r->output_tokens));
    bk_json_key(w, "request_goodput");
    if (r->has_slo)
        bk_json_double(w, per_second(r, (double)r->good), 9);
    else
        bk_json_null(w);
    bk_json_key_double(w, "client_late_ms", r->late_ms);
    if (r->idle_opened) {
        bk_json_key_int(w, "idle_opened", r->idle_opened);
        bk_json_key_int(w, "idle_left", r->idle_left);
    }
}

static void put_samples(bk_json *w, const char *key, const load_samples *s) {
    bk_json_key(w, key);
    bk_json_begin(w, '[');
    for (size_t i = 0; i < s->n; i++) bk_json_double(w, s->v[i], 7);
    bk_json_end(w, ']');
}

static void put_lanes(bk_json *w, const load_report *r) {
    load_lanes lanes;
    if (!load_lanes_make(r, &lanes)) return;
    bk_json_key_double(w, "begin_ms", lanes.begin);
    bk_json_key_double(w, "end_ms", lanes.end);
    bk_json_key(w, "long");
    bk_json_begin(w, '[');
    for (size_t i = 0; i < lanes.n_long; i++) {
        bk_json_begin(w, '{');
        bk_json_key_double(w, "sent_ms", lanes.longs[i].sent);
        bk_json_key_double(w, "first_ms", lanes.longs[i].first);
        bk_json_end(w, '}');
    }
    bk_json_end(w, ']');
    bk_json_key(w, "streams");
    bk_json_begin(w, '[');
    for (size_t i = 0; i < lanes.n_streams; i++) {
        bk_json_begin(w, '[');
        for (size_t k = 0; k < lanes.streams[i].n; k++) bk_json_double(w, lanes.streams[i].v[k], 8);
        bk_json_end(w, ']');
    }
    bk_json_end(w, ']');
    load_lanes_free(&lanes);
}

static void put_mix_json(bk_json *w, const load_report *r) {
    static const char *const names[LOAD_WINDOWS] = {"before", "during", "after"};
    bk_json_key(w, "mix");
    bk_json_begin(w, '{');
    put_samples(w, "long_ttft_ms", &r->long_ms);
    if (r->alone_ms > 0) bk_json_key_double(w, "alone_ttft_ms", r->alone_ms);
    for (int i = 0; i < LOAD_WINDOWS; i++) {
        const load_window *at = &r->window[i];
        bk_json_key(w, names[i]);
        bk_json_begin(w, '{');
        bk_json_key_double(w, "seconds", at->seconds);
        bk_json_key_double(w, "output_throughput", rate(at));
        bk_json_key_double(w, "median_itl_ms", load_percentile(&at->gaps, 50));
        bk_json_key_double(w, "max_itl_ms", load_percentile(&at->gaps, 100));
        bk_json_end(w, '}');
    }
    put_lanes(w, r);
    bk_json_end(w, '}');
}

static void put_turns_json(bk_json *w, const load_report *r) {
    bk_json_key(w, "turns");
    bk_json_begin(w, '{');
    put_samples(w, "second_ttft_ms", &r->second_ms);
    put_samples(w, "cold_ttft_ms", &r->cold_ms);
    bk_json_key_int(w, "second_cached_tokens", r->second_cached);
    bk_json_key_int(w, "second_input_tokens", r->second_prompt);
    bk_json_end(w, '}');
}

/* Each request by itself: ms from the start of the run. */
static void put_requests(bk_json *w, const load_report *r) {
    bk_json_key(w, "requests");
    bk_json_begin(w, '[');
    for (size_t i = 0; i < r->plan->n_all; i++) {
        const load_request *q = &r->plan->requests[i];
        if (!q->sent) continue;
        bk_json_begin(w, '{');
        bk_json_key_double(w, "sent_ms", ((double)q->sent - (double)r->start) * 1e-6);
        bk_json_key_str(w, "outcome", load_outcome_name(q->outcome));
        bk_json_key_int(w, "status", q->status);
        bk_json_key_double(w, "ended_ms", (double)(q->ended - q->sent) * 1e-6);
        if (q->outcome == LOAD_REFUSED) bk_json_key_int(w, "retry_after", q->retry_after);
        if (load_has_text(q)) bk_json_key_double(w, "ttft_ms", load_ttft(q));
        bk_json_key_int(w, "prompt_tokens", q->prompt_tokens);
        bk_json_key_int(w, "cached_tokens", q->cached_tokens);
        bk_json_key_int(w, "output_tokens", q->output_tokens);
        bk_json_key(w, "itl_ms");
        bk_json_begin(w, '[');
        for (size_t k = 1; k < q->n_stamps; k++)
            bk_json_double(w, (double)(q->stamps[k] - q->stamps[k - 1]) * 1e-6, 6);
        bk_json_end(w, ']');
        bk_json_end(w, '}');
    }
    bk_json_end(w, ']');
}

void load_report_json(const load_report *r, bk_buf *out) {
    bk_json w = {.out = out};
    bk_json_begin(&w, '{');
    put_setting(&w, r);
    put_outcomes(&w, r);
    put_totals(&w, r);
    for (int i = 0; i < LOAD_METRICS; i++) put_spread(&w, r, load_metric_names[i].key, &r->ms[i]);
    bk_json_key(&w, "definitions");
    bk_json_begin(&w, '{');
    for (int i = 0; i < LOAD_METRICS; i++)
        bk_json_key_str(&w, load_metric_names[i].key, load_metric_names[i].meaning);
    bk_json_end(&w, '}');
    if (r->o->mix) put_mix_json(&w, r);
    if (r->o->turns == 2) put_turns_json(&w, r);
    put_requests(&w, r);
    bk_json_end(&w, '}');
    bk_buf_putc(out, '\n');
}
