#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/json_write.h"
#include "cli/run.h"

/* ---- One answer --------------------------------------------------------------------------------- */

static bool on_text(const char *text, size_t len, brisk_token token, void *user) {
    (void)token;
    run *r = user;
    bk_buf_append(&r->answer, text, len);
    return !r->answer.failed;
}

static bool on_text_print(const char *text, size_t len, brisk_token token, void *user) {
    run *r = user;
    if (!cli_put_text(stdout, r->out_terminal, text, len) || fflush(stdout) != 0)
        r->out_failed = true;
    return on_text(text, len, token, user) && !r->out_failed;
}

bool run_answer(run *r, bool print, brisk_stats *stats) {
    brisk_generate_options o;
    brisk_generate_options_default(&o);
    o.sampling = r->sampling;
    o.max_tokens = r->n_predict != RUN_N_DEFAULT ? r->n_predict : r->chat ? -1 : 128;
    o.ignore_end = r->ignore_eos;
    o.stop = r->stop.v;
    o.n_stop = r->stop.n;
    o.cancel = &cli_interrupted;
    brisk_error err;
    bk_buf_clear(&r->answer);
    if (brisk_generate(r->session, &o, print ? on_text_print : on_text, r, stats, &err)) {
        cli_fail("%s", err.text);
        return false;
    }
    if (r->out_failed) cli_fail("cannot write the output");
    if (r->answer.failed) cli_fail("no memory for the answer");
    return !r->out_failed && !r->answer.failed;
}

static double per_second(double n, double ms) { return ms > 0 ? n * 1000 / ms : 0; }

static double prompt_rate(const brisk_stats *s) {
    return per_second((double)(s->prompt_tokens - s->cached_tokens), s->prompt_ms);
}

/* Tokens after the first, over the time they took. */
static double decode_rate(const brisk_stats *s) {
    return s->generated_tokens > 1 ? per_second((double)(s->generated_tokens - 1), s->decode_ms)
                                   : 0;
}

static const char *finish_name(brisk_finish f) {
    static const char *const names[] = {"end", "length", "context", "stop", "cancelled"};
    return names[f];
}

/* What a screen has done so far. */
static void print_screen(const run *r) {
    brisk_model_info i;
    brisk_model_get_info(r->model, &i);
    if (!i.head_screen) return;
    fprintf(stderr,
            "[head: %llu tokens screened, %.0f rows computed for each; %llu with all rows]\n",
            (unsigned long long)i.head_screened,
            i.head_screened ? (double)i.head_computed / (double)i.head_screened : 0,
            (unsigned long long)i.head_whole);
}

void run_print_figures(const run *r, const brisk_stats *s) {
    char memory[32], kv[32];
    bool color = cli_colored(r->color, stderr);
    fprintf(stderr, "%s[%zu prompt", color ? "\033[2m" : "", s->prompt_tokens);
    if (s->cached_tokens > 0) fprintf(stderr, " (%zu kept)", s->cached_tokens);
    fprintf(stderr,
            " %.1f tok/s | first token %.0f ms | %zu tokens %.1f tok/s | %s, KV %s%s%s]%s\n",
            prompt_rate(s), s->first_token_ms, s->generated_tokens, decode_rate(s),
            cli_bytes(cli_resident(), memory, sizeof memory),
            cli_bytes(brisk_session_memory(r->session), kv, sizeof kv),
            s->finish == BRISK_FINISH_END ? "" : " | ",
            s->finish == BRISK_FINISH_END       ? ""
            : s->finish == BRISK_FINISH_CONTEXT ? "the context is full"
                                                : finish_name(s->finish),
            color ? "\033[0m" : "");
    print_screen(r);
}

static void json_timings(bk_json *w, const run *r, const brisk_stats *s) {
    bk_json_key(w, "timings");
    bk_json_begin(w, '{');
    bk_json_key_double(w, "load_ms", r->load_ms);
    bk_json_key_double(w, "first_token_ms", s->first_token_ms);
    bk_json_key_double(w, "prompt_ms", s->prompt_ms);
    bk_json_key_double(w, "prompt_per_second", prompt_rate(s));
    bk_json_key_double(w, "predicted_ms", s->decode_ms);
    bk_json_key_double(w, "predicted_per_second", decode_rate(s));
    bk_json_end(w, '}');
    bk_json_key(w, "memory");
    bk_json_begin(w, '{');
    bk_json_key_uint(w, "resident_bytes", cli_resident());
    bk_json_key_uint(w, "peak_resident_bytes", cli_peak_resident());
    bk_json_key_uint(w, "weight_bytes", r->info.resident_bytes);
    bk_json_key_uint(w, "kv_bytes", brisk_session_memory(r->session));
    bk_json_end(w, '}');
}

static bool print_json(const run *r, const brisk_stats *s) {
    bk_buf out = {0};
    bk_json w = {.out = &out};
    size_t n;
    const brisk_token *tokens = brisk_session_tokens(r->session, &n);
    bk_json_begin(&w, '{');
    bk_json_key_str(&w, "model", r->path);
    bk_json_key(&w, "text");
    bk_json_str(&w, bk_buf_view(&r->answer));
    bk_json_key(&w, "tokens");
    bk_json_begin(&w, '[');
    for (size_t i = n - s->generated_tokens; i < n; i++) bk_json_int(&w, tokens[i]);
    bk_json_end(&w, ']');
    bk_json_key_str(&w, "finish_reason", finish_name(s->finish));
    bk_json_key_uint(&w, "prompt_tokens", s->prompt_tokens);
    bk_json_key_uint(&w, "cached_tokens", s->cached_tokens);
    bk_json_key_uint(&w, "generated_tokens", s->generated_tokens);
    bk_json_key_uint(&w, "seed", r->sampling.seed);
    bk_json_key_int(&w, "threads", r->info.threads);
    bk_json_key_str(&w, "cpu_level", r->info.cpu_level);
    json_timings(&w, r, s);
    bk_json_end(&w, '}');
    bk_buf_putc(&out, '\n');
    if (out.failed) {
        cli_fail("no memory for the answer");
    } else {
        fwrite(out.data, 1, out.len, stdout);
    }
    bool good = !out.failed && cli_finish_output(stdout);
    bk_buf_free(&out);
    return good;
}

/* Puts the prompt into the session, through the template or bare. */
static bool feed_prompt(run *r, const char *text, size_t len) {
    brisk_error err;
    brisk_status st;
    if (!r->chat) {
        st = brisk_session_append_text(r->session, text, len, &err);
    } else if (strlen(text) != len) {
        cli_fail("the prompt contains a zero byte; only --raw takes any bytes");
        return false;
    } else {
        brisk_chat_message m[2] = {{"system", r->system}, {"user", text}};
        st = r->system ? brisk_session_chat(r->session, m, 2, &err)
                       : brisk_session_chat(r->session, m + 1, 1, &err);
    }
    if (st) cli_fail("%s", err.text);
    return st == BRISK_OK;
}

static int one_answer(run *r, const char *text, size_t len) {
    brisk_stats stats;
    if (!feed_prompt(r, text, len)) return EXIT_ERROR;
    bool good = run_answer(r, !r->json, &stats);
    if (!good) return EXIT_ERROR;
    if (r->json) {
        good = print_json(r, &stats);
    } else if (r->out_terminal && r->answer.len > 0 && r->answer.data[r->answer.len - 1] != '\n') {
        putchar('\n');
        fflush(stdout);
    }
    if (!r->quiet && !r->json) run_print_figures(r, &stats);
    if (!good) return EXIT_ERROR;
    return stats.finish == BRISK_FINISH_CANCELLED ? EXIT_INTERRUPTED : 0;
}

/* ---- Set-up ------------------------------------------------------------------------------------- */

static bool open_all(run *r) {
    uint64_t start = bk_now_ns();
    cli_open o = {.model = r->model_name,
                  .hub = r->hub,
                  .threads = r->threads,
                  .pre = r->pre,
                  .cache = r->cache,
                  .fast = r->fast,
                  .sparse = r->sparse,
                  .head = r->head,
                  .head_keep = r->head_keep};
    r->model = cli_open_model(&o, r->path, sizeof r->path);
    if (!r->model) return false;
    brisk_model_get_info(r->model, &r->info);
    r->chat = !r->raw && r->info.has_chat_template;
    brisk_session_options so = {.context = r->context, .batch_size = r->batch};
    brisk_error err;
    if (brisk_session_create(r->model, &so, &r->session, &err)) {
        cli_fail("%s", err.text);
        return false;
    }
    r->load_ms = (double)(bk_now_ns() - start) * 1e-6;
    run_pick_seed(r);
    cli_catch(SIGINT);
    return true;
}

static void print_verbose(const run *r) {
    char file[32], weights[32], text[128];
    fprintf(stderr, "model     %s\n", r->path);
    fprintf(stderr, "          %s, %s, %s, weights in memory %s, loaded in %.0f ms\n",
            r->info.architecture, r->info.quantization,
            cli_bytes(r->info.file_bytes, file, sizeof file),
            cli_bytes(r->info.resident_bytes, weights, sizeof weights), r->load_ms);
    fprintf(stderr, "compute   %s, %d thread%s, context %d\n", r->info.cpu_level, r->info.threads,
            &"s"[r->info.threads == 1], brisk_session_context(r->session));
    if (r->info.n_sparse + r->info.n_filled > 0)
        fprintf(stderr, "sparse    %s\n", cli_sparse(&r->info, text, sizeof text));
    fprintf(stderr, "sampling  ");
    run_print_sampling(r, stderr);
}

static int go(run *r) {
    if (r->prompt && r->file) return cli_fail("give -p or -f, not both");
    bool interactive = !r->prompt && !r->file && isatty(0);
    if (interactive && r->json) return cli_fail("--json answers one prompt: give it with -p or -f");
    bk_buf text = {0};
    const char *file = r->file ? r->file : "-";
    if (!interactive && !r->prompt && !cli_read_file(file, &text)) return EXIT_ERROR;
    if (r->prompt) bk_buf_append_str(&text, r->prompt);
    int status = EXIT_ERROR;
    if (!interactive && text.len == 0) {
        cli_fail("the prompt is empty");
    } else if (open_all(r)) {
        if (r->verbose) print_verbose(r);
        status = interactive ? run_repl(r) : one_answer(r, text.data, text.len);
    } else {
        status = cli_failed();
    }
    bk_buf_free(&text);
    return status;
}

int cmd_run(int argc, char **argv) {
    run r = {.n_predict = RUN_N_DEFAULT, .out_terminal = isatty(1)};
    brisk_sampling_default(&r.sampling);
    r.sampling.seed = UINT64_MAX;
    r.sampling.logit_bias = r.biases;
    int status;
    if (!run_parse(&r, argc, argv, &status)) return status;
    status = go(&r);
    brisk_session_destroy(&r.session);
    brisk_model_close(&r.model);
    bk_buf_free(&r.answer);
    return status;
}
