/* What the server prints: a table at the start, a line for each request. Neither keys nor prompts. */
#include <stdarg.h>
#include <stdio.h>
#include <time.h>

#include "base/clock.h"
#include "server/state.h"

void sv_log(const char *fmt, ...) {
    char safe[1536];
    va_list args;
    va_start(args, fmt);
    bk_str_vprintable(safe, sizeof safe, fmt, args);
    va_end(args);
    fprintf(stderr, "brisk: %s\n", safe);
}

static double per_second(double n, double ms) { return ms > 0 ? n * 1000 / ms : 0; }

static double decode_rate(const sv_tally *t) {
    return t->generated > 1 ? per_second((double)(t->generated - 1), t->decode_ms) : 0;
}

static void log_json(const sv_exchange *x, const char *path, int status, double ms) {
    bk_buf out = {0};
    bk_json w = {.out = &out};
    const sv_tally *t = &x->tally;
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    bk_json_begin(&w, '{');
    bk_json_key(&w, "time");
    bk_json_double(&w, (double)now.tv_sec + 1e-9 * (double)now.tv_nsec, 14);
    bk_json_key_str(&w, "request_id", x->id);
    bk_json_key(&w, "method");
    bk_json_str(&w, x->head.method_name);
    bk_json_key_str(&w, "path", path);
    bk_json_key_int(&w, "status", status);
    bk_json_key_double(&w, "ms", ms);
    if (t->any) {
        bk_json_key_uint(&w, "prompt_tokens", t->prompt);
        bk_json_key_uint(&w, "cached_tokens", t->cached);
        bk_json_key_uint(&w, "generated_tokens", t->generated);
        bk_json_key_double(&w, "queue_ms", t->queue_ms);
        bk_json_key_double(&w, "first_token_ms", t->first_ms);
        bk_json_key_double(&w, "tokens_per_second", decode_rate(t));
    }
    bk_json_end(&w, '}');
    if (!out.failed) fprintf(stderr, "%s\n", out.data);
    bk_buf_free(&out);
}

static void log_line(const sv_exchange *x, const char *path, int status, double ms) {
    char clock[16] = "", figures[160] = "";
    const sv_tally *t = &x->tally;
    time_t now = time(NULL);
    struct tm tm;
    if (gmtime_r(&now, &tm)) strftime(clock, sizeof clock, "%H:%M:%S", &tm);
    if (t->any) {
        snprintf(figures, sizeof figures,
                 "  %zu tokens in (%zu cached), %zu out, first after %.0f ms, %.1f tok/s",
                 t->prompt, t->cached, t->generated, t->first_ms, decode_rate(t));
    }
    fprintf(stderr, "%s %-4.*s %s %d%s  %.0f ms  %s\n", clock, (int)x->head.method_name.len,
            x->head.method_name.len ? x->head.method_name.data : "", path, status, figures, ms,
            x->id);
}

void sv_log_exchange(const sv_server *s, const sv_exchange *x, bool whole) {
    /* Pages and probes ask again and again, also while the model loads. */
    bool usual = x->status < 400 || x->status == 503;
    if (!s->o->verbose && whole && usual && x->head.method != SV_POST) return;
    char path[160];
    int status = whole ? x->status : 499; /* the client left */
    double ms = (double)(bk_now_ns() - x->began_ns) * 1e-6;
    bk_str_printable(path, sizeof path, x->head.path.data ? x->head.path.data : "-",
                     x->head.path.data ? x->head.path.len : 1);
    if (s->o->log_jsonl)
        log_json(x, path, status, ms);
    else
        log_line(x, path, status, ms);
}

static const char *megabytes(uint64_t bytes, char *out, size_t cap) {
    snprintf(out, cap, "%.0f MB", (double)bytes * 1e-6);
    return out;
}

void sv_log_listening(const sv_server *s) {
    bool six = strchr(s->o->host, ':') != NULL;
    fprintf(stderr, "listening %s://%s%s%s:%d%s\n", s->tls ? "https" : "http", six ? "[" : "",
            s->o->host, six ? "]" : "", s->port, s->o->n_api_keys ? ", with API keys" : "");
}

void sv_log_start(const sv_server *s) {
    brisk_engine_stats st;
    brisk_engine_get_stats(s->engine, &st);
    const brisk_engine_memory *m = &st.memory;
    char limit[32], weights[32], kv[32], scratch[32];
    fprintf(stderr, "model     %s (%s, %s)\n", s->name, s->info.architecture, s->info.quantization);
    fprintf(stderr, "compute   %s, %d threads\n", s->info.cpu_level, s->info.threads);
    fprintf(stderr, "memory    weights %s + KV up to %s + scratch %s, limit %s\n",
            megabytes(m->weights, weights, sizeof weights), megabytes(m->kv_limit, kv, sizeof kv),
            megabytes(m->scratch, scratch, sizeof scratch),
            megabytes(m->limit, limit, sizeof limit));
    fprintf(stderr,
            "context   %d tokens, %s, %llu bytes each; up to %d answers at a time, %d waiting\n",
            st.context, s->info.kv_type, (unsigned long long)m->kv_per_token, st.max_running,
            st.queue_max);
    fprintf(stderr, "ready\n");
}
