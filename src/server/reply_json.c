#include "server/reply_json.h"

#include <math.h>

#include "base/clock.h"

sv_style sv_style_of(const sv_request *r) {
    return (sv_style){.stream = r->stream,
                      .usage = r->include_usage,
                      .usage_always = r->continuous_usage,
                      .progress = r->return_progress,
                      .timings = r->timings_per_token,
                      .logprobs = r->logprobs};
}

void sv_event_begin(bk_buf *out) { bk_buf_append_str(out, "data: "); }
void sv_event_end(bk_buf *out) { bk_buf_append_str(out, "\n\n"); }

void sv_json_begin(bk_json *w, const sv_job *j, const char *object) {
    bk_json_begin(w, '{');
    bk_json_key_str(w, "id", j->id);
    bk_json_key_str(w, "object", object);
    bk_json_key_int(w, "created", j->created);
    bk_json_key_str(w, "model", j->s->name);
}

/* ---- Figures ------------------------------------------------------------------------------------ */

/* All choices together; prompts that several choices share count once. */
static brisk_request_stats sum(const sv_job *j) {
    brisk_request_stats all = {0};
    for (size_t i = 0; i < j->n_choices; i++) {
        const brisk_request_stats *st = &j->choices[i]->stats;
        if (i == 0) {
            all = *st;
        } else {
            all.generated_tokens += st->generated_tokens;
            all.predicted_tokens += st->predicted_tokens;
            all.accepted_tokens += st->accepted_tokens;
        }
        if (i > 0 && i % j->per_prompt == 0) all.cached_tokens += st->cached_tokens;
    }
    all.prompt_tokens = j->n_prompt;
    return all;
}

void sv_json_usage(bk_json *w, const sv_job *j, size_t reasoning_tokens) {
    brisk_request_stats all = sum(j);
    bk_json_key(w, "usage");
    bk_json_begin(w, '{');
    bk_json_key_uint(w, "prompt_tokens", all.prompt_tokens);
    bk_json_key_uint(w, "completion_tokens", all.generated_tokens);
    bk_json_key_uint(w, "total_tokens", all.prompt_tokens + all.generated_tokens);
    bk_json_key(w, "prompt_tokens_details");
    bk_json_begin(w, '{');
    bk_json_key_uint(w, "cached_tokens", all.cached_tokens);
    bk_json_end(w, '}');
    bk_json_key(w, "completion_tokens_details");
    bk_json_begin(w, '{');
    bk_json_key_uint(w, "reasoning_tokens", reasoning_tokens);
    bk_json_key_uint(w, "accepted_prediction_tokens", all.accepted_tokens);
    bk_json_key_uint(w, "rejected_prediction_tokens", all.predicted_tokens - all.accepted_tokens);
    bk_json_end(w, '}');
    bk_json_end(w, '}');
}

static void rates(bk_json *w, const char *stem, size_t n, double ms) {
    char key[48];
    snprintf(key, sizeof key, "%s_n", stem);
    bk_json_key_uint(w, key, n);
    snprintf(key, sizeof key, "%s_ms", stem);
    bk_json_key_double(w, key, ms);
    snprintf(key, sizeof key, "%s_per_token_ms", stem);
    bk_json_key_double(w, key, n > 0 ? ms / (double)n : 0);
    snprintf(key, sizeof key, "%s_per_second", stem);
    bk_json_key_double(w, key, ms > 0 ? (double)n * 1000 / ms : 0);
}

void sv_json_timings(bk_json *w, const sv_job *j) {
    brisk_request_stats all = sum(j);
    bk_json_key(w, "timings");
    bk_json_begin(w, '{');
    bk_json_key_uint(w, "cache_n", all.cached_tokens);
    rates(w, "prompt", all.prompt_tokens - bk_min_size(all.cached_tokens, all.prompt_tokens),
          all.prefill_ms);
    rates(w, "predicted", all.generated_tokens, all.decode_ms);
    if (all.predicted_tokens > 0) {
        bk_json_key_uint(w, "draft_n", all.predicted_tokens);
        bk_json_key_uint(w, "draft_n_accepted", all.accepted_tokens);
    }
    bk_json_key_double(w, "queue_ms", all.queue_ms);
    bk_json_key_double(w, "cache_ms", all.cache_ms);
    bk_json_key_double(w, "ttft_ms", all.first_token_ms);
    bk_json_key_double(w, "itl_p50_ms", all.gap_p50_ms);
    bk_json_key_double(w, "itl_p99_ms", all.gap_p99_ms);
    bk_json_key_double(w, "itl_max_ms", all.gap_max_ms);
    bk_json_key_uint(w, "preemptions", all.preemptions);
    bk_json_end(w, '}');
    bk_json_key(w, "cache");
    bk_json_begin(w, '{');
    bk_json_key_uint(w, "matched", all.cached_tokens);
    bk_json_key_str(w, "source", all.cached_tokens > 0 ? "memory" : "none");
    bk_json_end(w, '}');
}

void sv_json_progress(bk_json *w, const sv_choice *c, uint64_t began_ns) {
    bk_json_key(w, "prompt_progress");
    bk_json_begin(w, '{');
    bk_json_key_uint(w, "total", c->stats.prompt_tokens);
    bk_json_key_uint(w, "cache", c->stats.cached_tokens);
    bk_json_key_uint(w, "processed", c->computed);
    bk_json_key_double(w, "time_ms", (double)(bk_now_ns() - began_ns) * 1e-6);
    bk_json_end(w, '}');
}

/* ---- The end of a choice ------------------------------------------------------------------------ */

void sv_json_finish(bk_json *w, const sv_choice *c, bool calls) {
    bool cut = c->finish == BRISK_FINISH_LENGTH || c->finish == BRISK_FINISH_CONTEXT;
    bk_json_key(w, "finish_reason");
    if (!c->done) {
        bk_json_null(w);
        return;
    }
    bk_json_str(w, bk_str_from(cut ? "length" : calls ? "tool_calls" : "stop"));
    bk_json_key(w, "stop_reason"); /* of vLLM: the text or the token that was asked to end it */
    if (c->stop.len > 0)
        bk_json_str(w, bk_buf_view(&c->stop));
    else if (c->finish == BRISK_FINISH_STOP && c->stop_token >= 0)
        bk_json_int(w, c->stop_token);
    else
        bk_json_null(w);
}

/* ---- Tokens ------------------------------------------------------------------------------------- */

void sv_json_logprob(bk_json *w, float logprob) {
    /* JSON has no infinity; nine digits are enough for any float. */
    bk_json_double(w, isfinite(logprob) ? (double)logprob : -9999.0, 9);
}

void sv_token_text(const sv_server *s, brisk_token token, bk_buf *out) {
    size_t len = 0;
    const char *bytes = brisk_token_bytes(s->model, token, &len, NULL);
    bk_buf_clear(out);
    if (bk_utf8_valid_len(bytes ? bytes : "", len) == len) {
        bk_buf_append(out, bytes, len);
        return;
    }
    bk_buf_append_str(out, "bytes:");
    for (size_t i = 0; i < len; i++) bk_buf_printf(out, "\\x%02x", (unsigned char)bytes[i]);
}

void sv_json_token(bk_json *w, const sv_server *s, brisk_token token) {
    bk_buf text = {0};
    sv_token_text(s, token, &text);
    bk_json_str(w, bk_buf_view(&text));
    bk_buf_free(&text);
}

/* "token", "logprob", "bytes". */
static void token_members(bk_json *w, const sv_server *s, brisk_token token, float logprob) {
    size_t len = 0;
    const char *bytes = brisk_token_bytes(s->model, token, &len, NULL);
    bk_json_key(w, "token");
    bk_json_str(w, (bk_str){bytes, len});
    bk_json_key(w, "logprob");
    sv_json_logprob(w, logprob);
    bk_json_key(w, "bytes");
    bk_json_begin(w, '[');
    for (size_t i = 0; i < len; i++) bk_json_uint(w, (unsigned char)bytes[i]);
    bk_json_end(w, ']');
}

void sv_json_token_logprob(bk_json *w, const sv_server *s, const brisk_event *e) {
    bk_json_begin(w, '{');
    token_members(w, s, e->token, e->logprob);
    bk_json_key(w, "top_logprobs");
    bk_json_begin(w, '[');
    for (size_t i = 0; i < e->n_top; i++) {
        bk_json_begin(w, '{');
        token_members(w, s, e->top[i].token, e->top[i].logprob);
        bk_json_end(w, '}');
    }
    bk_json_end(w, ']');
    bk_json_end(w, '}');
}
