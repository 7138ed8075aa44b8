#include "cli/bench_serve.h"

#include "cli/cli.h"

#if !BRISK_HAVE_CURL

int bench_serve(int argc, char **argv) {
    (void)argc, (void)argv;
    return cli_fail("this brisk was built without libcurl, which 'bench serve' needs: install "
                    "libcurl4-openssl-dev and build again");
}

#else
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>

#include "base/clock.h"
#include "base/json_read.h"
#include "base/json_write.h"
#include "cli/load/idle.h"
#include "cli/load/report.h"

enum { JSON_DEPTH = 64, WARM_WORDS = 32, WARM_TOKENS = 4, TRY_WORDS = 256 };
#define OWN_KEYS (1ull << 42) /* of prompts that only prepare */

typedef struct serve_bench {
    load_options o;
    const char *rate, *percentiles, *metrics, *json, *html, *svg, *against;
    opt_strs goodput, rest;

    load_client *client;
    load_plan plan;
    load_run run;
    load_mix mix;
    load_report report;
    load_lanes other, own;
    bool has_other, has_own;
    double words_per_token;
    char base[2048], model[256], owner[96];
    bk_buf extra;
} serve_bench;

/* ---- Options ------------------------------------------------------------------------------------ */

static bool parse(serve_bench *b, int argc, char **argv, int *status) {
    load_options *o = &b->o;
    const opt_spec specs[] = {
        {"--base-url", "URL", "the server (http://127.0.0.1:8080)", OPT_STR, &o->base_url, 0, 0},
        {"--endpoint", "PATH", "/v1/completions, or (default) /v1/chat/completions", OPT_STR,
         &o->endpoint, 0, 0},
        {"-m --model", "NAME", "as the server calls it (the first of its list)", OPT_STR, &o->model,
         0, 0},
        {"--api-key", "KEY", "bearer token", OPT_STR, &o->api_key, 0, 0},
        {"--label", "TEXT", "name of the server in tables and pictures", OPT_STR, &o->label, 0, 0},
        {"--num-prompts", "N", "requests (16)", OPT_INT, &o->num_prompts, 1, 1e6},
        {"--request-rate", "R|inf", "requests per second, at random times (inf: all at once)",
         OPT_STR, &b->rate, 0, 0},
        {"--burstiness", "B", "shape of the gaps between them; 1: Poisson, less: bursts (1)",
         OPT_FLOAT, &o->burstiness, 0.01, 1000},
        {"--max-concurrency", "N", "at most so many at a time", OPT_INT, &o->max_concurrency, 1,
         100000},
        {"--random-input-len", "N", "tokens of a prompt (256)", OPT_INT, &o->input_len, 1, 1e7},
        {"--random-output-len", "N", "tokens of an answer (128; 2048 with --mix)", OPT_INT,
         &o->output_len, 1, 1e7},
        {"--random-range-ratio", "F", "lengths vary from 1-F to 1+F of that (0)", OPT_FLOAT,
         &o->range_ratio, 0, 1},
        {"--prefix-len --random-prefix-len", "N", "tokens of a shared system prompt before it (0)",
         OPT_INT, &o->prefix_len, 0, 1e7},
        {"--prefix-count", "N", "different system prompts (1)", OPT_INT, &o->prefix_count, 1, 1e6},
        {"--sharegpt", "FILE", "prompts from a ShareGPT file", OPT_STR, &o->sharegpt, 0, 0},
        {"--trace", "FILE", "lengths, times and shared blocks of a Mooncake trace (JSON lines)",
         OPT_STR, &o->trace, 0, 0},
        {"--trace-speed", "F", "times F times as fast (1)", OPT_FLOAT, &o->trace_speed, 1e-3, 1e6},
        {"--trace-scale", "F", "lengths F times as long (1)", OPT_FLOAT, &o->trace_scale, 1e-4,
         100},
        {"--mix", NULL, "steady streams, then a long prompt", OPT_FLAG, &o->mix, 0, 0},
        {"--steady", "N", "streams of --mix (4)", OPT_INT, &o->steady, 1, 1000},
        {"--long-len", "N", "tokens of the long prompt (3300)", OPT_INT, &o->long_len, 1, 1e7},
        {"--long-output-len", "N", "tokens of its answer (16)", OPT_INT, &o->long_output_len, 1,
         1e6},
        {"--long-count", "N", "long prompts (1)", OPT_INT, &o->long_count, 1, 1000},
        {"--long-every", "S", "seconds between them (0)", OPT_FLOAT, &o->long_every, 0, 3600},
        {"--lead", "S", "seconds of the streams alone, before and after (2)", OPT_FLOAT, &o->lead,
         0, 3600},
        {"--alone", NULL, "first a long prompt with nothing beside it", OPT_FLAG, &o->alone, 0, 0},
        {"--turns", "N", "2: each conversation goes on once, beside as long a cold one (1)",
         OPT_INT, &o->turns, 1, 2},
        {"--turn-len", "N", "tokens of the second turn (32)", OPT_INT, &o->turn_len, 1, 1e6},
        {"--goodput", "KEY:MS ...", "limits ttft, tpot, e2el: answers within all, per second",
         OPT_STRS, &b->goodput, 0, 0},
        {"--percentile-metrics", "KEY,...", "rows of the table (ttft,tpot,itl,e2el)", OPT_STR,
         &b->metrics, 0, 0},
        {"--metric-percentiles", "P,...", "its columns (50,90,99)", OPT_STR, &b->percentiles, 0, 0},
        {"--ignore-eos", NULL, "answers as long as asked for", OPT_FLAG, &o->ignore_eos, 0, 0},
        {"--temperature", "T", "(0)", OPT_FLOAT, &o->temperature, 0, 100},
        {"--extra-body", "JSON", "an object: more members for every request", OPT_STR,
         &o->extra_body, 0, 0},
        {"--seed", "N", "of words and times (-1: another each time)", OPT_SEED, &o->seed, 0, 0},
        {"--warmup", "N", "short requests beforehand, which do not count (1)", OPT_INT, &o->warmup,
         0, 1000},
        {"--idle-connections", "N", "connections that are open and silent (0)", OPT_INT, &o->idle,
         0, 100000},
        {"--timeout", "S", "seconds for a request (600)", OPT_INT, &o->timeout, 1, 86400},
        {"--json --save-result", "FILE", "everything as JSON ('-': standard output, no table)",
         OPT_STR, &b->json, 0, 0},
        {"--html", "FILE", "a page with distributions and a timeline", OPT_STR, &b->html, 0, 0},
        {"--svg", "FILE", "--mix as a picture: the streams' tokens over time", OPT_STR, &b->svg, 0,
         0},
        {"--against", "FILE", "a result of --mix to show above this one in pictures", OPT_STR,
         &b->against, 0, 0},
    };
    const opt_table table = {
        .verb = "bench serve",
        .usage = "usage: brisk bench serve [--base-url URL] [options]",
        .about = "Measures a server with the OpenAI interface under load: time to the first token, "
                 "gaps between tokens,\ntokens per second.",
        .specs = specs,
        .n_specs = BK_ARRAY_LEN(specs),
        .rest = &b->rest};
    return cli_options(&table, argc, argv, status);
}

/* The text up to the comma or blank; moves *at behind it. Empty at the end. */
static bk_str next_word(const char **at) {
    *at += strspn(*at, ", ");
    bk_str word = {*at, strcspn(*at, ", ")};
    *at += word.len;
    return word;
}

/* A positive number, the whole word. */
static bool number_of(bk_str word, double *out) {
    char text[32], *end;
    if (word.len == 0 || word.len >= sizeof text) return false;
    memcpy(text, word.data, word.len);
    text[word.len] = '\0';
    *out = strtod(text, &end);
    return *end == '\0' && *out > 0 && !isnan(*out);
}

static int metric_of(bk_str key) {
    for (int i = 0; i < LOAD_METRICS; i++)
        if (bk_str_eq(key, bk_str_from(load_metric_names[i].key))) return i;
    return -1;
}

static bool take_goodput(serve_bench *b, const char *text) {
    static const char *const keys[LOAD_SLOS] = {"ttft", "tpot", "e2el"};
    for (bk_str word; (word = next_word(&text)).len;) {
        const char *colon = memchr(word.data, ':', word.len);
        size_t n = colon ? (size_t)(colon - word.data) : word.len;
        double *slot = NULL;
        for (int i = 0; i < LOAD_SLOS; i++)
            if (bk_str_eq((bk_str){word.data, n}, bk_str_from(keys[i]))) slot = &b->o.slo[i];
        if (!slot || !colon || !number_of((bk_str){colon + 1, word.len - n - 1}, slot)) {
            cli_fail("--goodput: found '" BK_STR_FMT "', wanted ttft:MS, tpot:MS or e2el:MS",
                     BK_STR_ARG(word));
            return false;
        }
    }
    return true;
}

static bool take_lists(serve_bench *b) {
    load_report *r = &b->report;
    const char *at = b->metrics;
    for (bk_str word; (word = next_word(&at)).len;) {
        int i = metric_of(word);
        if (i < 0) {
            cli_fail("--percentile-metrics: found '" BK_STR_FMT "', wanted of ttft,tpot,itl,e2el",
                     BK_STR_ARG(word));
            return false;
        }
        r->show[i] = true;
    }
    at = b->percentiles;
    for (bk_str word; (word = next_word(&at)).len;) {
        double v = 0;
        if (r->n_percentiles == LOAD_PERCENTILES || !number_of(word, &v) || v > 100) {
            cli_fail("--metric-percentiles: found '" BK_STR_FMT "', wanted up to %d from 0 to 100",
                     BK_STR_ARG(word), LOAD_PERCENTILES);
            return false;
        }
        r->percentiles[r->n_percentiles++] = v;
    }
    for (size_t i = 0; i < b->goodput.n; i++)
        if (!take_goodput(b, b->goodput.v[i])) return false;
    for (size_t i = 0; i < b->rest.n; i++) /* --goodput ttft:500 tpot:80 */
        if (!b->goodput.n || !take_goodput(b, b->rest.v[i])) {
            if (!b->goodput.n)
                cli_fail("unexpected '%.80s' (brisk bench serve --help)", b->rest.v[i]);
            return false;
        }
    return true;
}

/* The members of --extra-body, without the braces. */
static bool take_extra(serve_bench *b) {
    json_t *v = NULL;
    bk_error err = {.text = "it is no JSON object"};
    const char *text = b->o.extra_body;
    b->o.extra_body = "";
    if (!text) return true;
    bool bad = bk_json_parse(bk_str_from(text), JSON_DEPTH, true, &v, &err);
    char *dump = !bad && json_is_object(v) ? json_dumps(v, JSON_COMPACT) : NULL;
    if (dump) bk_buf_append(&b->extra, dump + 1, strlen(dump) - 2);
    if (dump && b->extra.len) b->o.extra_body = b->extra.data;
    if (!dump) cli_fail("--extra-body: %s", err.text);
    free(dump);
    json_decref(v);
    return dump != NULL;
}

/* The server's address without a slash or "/v1" at its end, since paths bring their own. */
static bool set_base(serve_bench *b) {
    bk_str base = bk_str_from(b->o.base_url);
    while (base.len && base.data[base.len - 1] == '/') base.len--;
    if (base.len > 3 && memcmp(base.data + base.len - 3, "/v1", 3) == 0) base.len -= 3;
    bool scheme = bk_str_starts(base, BK_STR("http://")) || bk_str_starts(base, BK_STR("https://"));
    size_t n = (size_t)snprintf(b->base, sizeof b->base, "%s%.*s", scheme ? "" : "http://",
                                (int)bk_min_size(base.len, sizeof b->base), base.data);
    b->o.base_url = b->base;
    if (n >= sizeof b->base) cli_fail("--base-url: the address is too long");
    return n < sizeof b->base;
}

static bool check(serve_bench *b) {
    load_options *o = &b->o;
    int ways = o->mix + (o->turns == 2) + (o->sharegpt != NULL) + (o->trace != NULL);
    o->rate = INFINITY;
    if (strcmp(b->rate, "inf") != 0 && !number_of(bk_str_from(b->rate), &o->rate)) {
        cli_fail("--request-rate: found '%.80s', wanted requests per second, or inf", b->rate);
        return false;
    }
    if (o->output_len == 0) o->output_len = o->mix ? 2048 : 128;
    if (o->seed == UINT64_MAX) o->seed = bk_now_ns() % 1000000000u;
    const char *wrong = ways > 1 ? "one of --mix, --turns 2, --sharegpt and --trace at a time"
                        : ways && o->prefix_len
                            ? "--prefix-len goes with random prompts, not with --mix, --turns, "
                              "--sharegpt or --trace"
                        : (b->svg || b->against || o->alone) && !o->mix
                            ? "--svg, --against and --alone go with --mix"
                        : o->endpoint[0] != '/' ? "--endpoint begins with a slash"
                                                : NULL;
    if (wrong) cli_fail("%s", wrong);
    return !wrong && set_base(b) && take_lists(b) && take_extra(b);
}

/* ---- Before the load ---------------------------------------------------------------------------- */

static void note(const char *what, const char *why) {
    char text[LOAD_WHY_CAP];
    bk_str_printable(text, sizeof text, why, strlen(why));
    fprintf(stderr, "%s%s%s\n", what, *text ? ": " : "", text);
}

/* The first of the server's models, and who it says owns it. */
static void ask_model(serve_bench *b) {
    char why[LOAD_WHY_CAP] = "";
    bk_buf answer = {.limit = 1 << 24};
    json_t *v = NULL;
    int status;
    load_client_call(b->client, "/v1/models", NULL, &answer, &status, why);
    if (status == 200) bk_json_parse(bk_buf_view(&answer), JSON_DEPTH, false, &v, NULL);
    const json_t *first = json_array_get(json_object_get(v, "data"), 0);
    bk_str id = bk_json_text(json_object_get(first, "id"));
    bk_str owner = bk_json_text(json_object_get(first, "owned_by"));
    bk_str_printable(b->model, sizeof b->model, id.data, id.len);
    bk_str_printable(b->owner, sizeof b->owner, owner.data, owner.len);
    if (!b->o.model && !id.len) note("the server lists no models (--model names one)", why);
    if (!b->o.model) b->o.model = id.len ? b->model : "default";
    if (!b->o.label) b->o.label = owner.len ? b->owner : "server";
    json_decref(v);
    bk_buf_free(&answer);
}

/* Tokens of so many words by the server's /tokenize, in the dialects of llama.cpp ("content") and vLLM
 * ("prompt"); 0 when it has none. */
static size_t ask_tokens(serve_bench *b, int words) {
    char why[LOAD_WHY_CAP];
    bk_buf text = {.limit = 0}, body = {.limit = 0}, answer = {.limit = 1 << 24};
    bk_json w = {.out = &body};
    json_t *v = NULL;
    int status;
    load_part_text(&b->o, &(load_part){.key = OWN_KEYS, .words = words}, &text);
    bk_buf_putc(&text, '\0');
    bk_json_begin(&w, '{');
    bk_json_key_str(&w, "model", b->o.model);
    bk_json_key_str(&w, "content", text.data ? text.data : "");
    bk_json_key_str(&w, "prompt", text.data ? text.data : "");
    bk_json_end(&w, '}');
    if (!body.failed)
        load_client_call(b->client, "/tokenize", body.data, &answer, &status, why);
    else
        status = 0;
    if (status == 200) bk_json_parse(bk_buf_view(&answer), JSON_DEPTH, false, &v, NULL);
    size_t n = json_array_size(json_object_get(v, "tokens"));
    json_decref(v);
    bk_buf_free(&text);
    bk_buf_free(&body);
    bk_buf_free(&answer);
    return n;
}

/* Requests that do not count, one after another. */
static void run_quietly(serve_bench *b, load_request *requests, size_t n) {
    load_run run = {.requests = requests, .n = n, .max_open = 1};
    load_run_all(&run, b->client);
}

static load_request short_request(const load_part *part, int out) {
    return (load_request){.parts = part,
                          .n_parts = 1,
                          .out_want = out,
                          .prompt_tokens = -1,
                          .output_tokens = -1,
                          .cached_tokens = -1};
}

/* From what two answers say of prompts that differ in length: the template's tokens cancel out. */
static double calibrate(serve_bench *b) {
    const load_part parts[2] = {{.key = OWN_KEYS + 1, .words = TRY_WORDS / 4},
                                {.key = OWN_KEYS + 2, .words = TRY_WORDS}};
    load_request r[2] = {short_request(&parts[0], 1), short_request(&parts[1], 1)};
    run_quietly(b, r, 2);
    double tokens = (double)(r[1].prompt_tokens - r[0].prompt_tokens);
    bool told = r[0].prompt_tokens > 0 && tokens > 0;
    for (int i = 0; i < 2; i++) load_request_clear(&r[i]);
    if (!told && !cli_interrupted)
        note("the server counts no tokens, neither at /tokenize nor in usage: prompts have a word "
             "for each",
             "");
    return told ? (TRY_WORDS - TRY_WORDS / 4) / tokens : 1;
}

static void find_ratio(serve_bench *b) {
    size_t tokens = ask_tokens(b, TRY_WORDS);
    b->words_per_token = tokens ? (double)TRY_WORDS / (double)tokens : calibrate(b);
}

static void warm_up(serve_bench *b) {
    for (int i = 0; i < b->o.warmup && !cli_interrupted; i++) {
        load_part part = {.key = OWN_KEYS + 8 + (uint64_t)i, .words = WARM_WORDS};
        load_request r = short_request(&part, WARM_TOKENS);
        run_quietly(b, &r, 1);
        load_request_clear(&r);
    }
}

/* ---- The load ----------------------------------------------------------------------------------- */

/* Conversations as long as the second turns, whose beginning the server has not seen. */
static void run_cold(serve_bench *b) {
    size_t n = b->plan.n;
    load_request *first = b->plan.requests, *cold = first + 2 * n, *past = first + 3 * n;
    for (size_t i = 0; i < n; i++) {
        bk_buf_append(&past[i].answer, first[i].answer.data, first[i].answer.len);
        cold[i].due = 0;
    }
    load_run run = b->run;
    run.requests = cold;
    run.next = run.finished = 0;
    load_run_all(&run, b->client);
}

static void run_load(serve_bench *b) {
    const load_options *o = &b->o;
    b->run = (load_run){.requests = b->plan.requests,
                        .n = b->plan.n,
                        .max_open = (size_t)o->max_concurrency,
                        .what = "sending"};
    if (o->mix) {
        if (o->alone) run_quietly(b, b->plan.requests + b->plan.n, 1);
        b->mix = (load_mix){.o = o, .span = b->has_other ? b->other.end * 1e-3 : 0};
        b->run.steer = load_mix_steer;
        b->run.user = &b->mix;
    }
    load_run_all(&b->run, b->client);
    if (o->turns == 2 && !cli_interrupted) run_cold(b);
}

/* ---- Results ------------------------------------------------------------------------------------ */

static bool write_text(const char *path, const bk_buf *text) {
    if (!text->failed) return cli_write_file(path, text->data, text->len);
    cli_fail("%s: no memory for it", path);
    return false;
}

static bool write_results(serve_bench *b) {
    const load_lanes *other = b->has_other ? &b->other : NULL, *own = b->has_own ? &b->own : NULL;
    bk_buf text = {.limit = 0};
    bool good = true, to_stdout = b->json && strcmp(b->json, "-") == 0;
    if (b->json) load_report_json(&b->report, &text);
    if (b->json && !to_stdout) good = write_text(b->json, &text);
    if (!to_stdout) {
        bk_buf_clear(&text);
        load_report_print(&b->report, &text);
    }
    cli_put_text(stdout, !to_stdout, text.data ? text.data : "", text.len);
    bk_buf_clear(&text);
    if (b->html) load_report_html(&b->report, other, own, &text);
    if (b->html) good &= write_text(b->html, &text);
    bk_buf_clear(&text);
    if (b->svg && own) load_lanes_svg(other, own, true, &text);
    if (b->svg && own) good &= write_text(b->svg, &text);
    if (b->svg && !own) good = cli_fail("%s: no picture, since no stream began", b->svg) == 0;
    bk_buf_free(&text);
    return cli_finish_output(stdout) && good;
}

static void report(serve_bench *b, const load_idle *idle) {
    load_report *r = &b->report;
    time_t now = time(NULL);
    struct tm utc;
    gmtime_r(&now, &utc);
    strftime(r->date, sizeof r->date, "%Y-%m-%dT%H:%M:%SZ", &utc);
    r->o = &b->o;
    r->plan = &b->plan;
    r->interrupted = cli_interrupted;
    r->idle_opened = idle->opened;
    r->idle_left = load_idle_left(idle);
    load_report_make(r, &b->run, &b->mix);
    b->has_own = b->o.mix && load_lanes_make(r, &b->own);
}

static int run_bench(serve_bench *b) {
    char why[LOAD_WHY_CAP] = "";
    load_idle idle = {.n = 0};
    ask_model(b);
    if (!b->o.sharegpt && !cli_interrupted) find_ratio(b);
    if (cli_interrupted) return EXIT_INTERRUPTED;
    if (!load_plan_make(&b->plan, &b->o, b->words_per_token, why)) {
        const char *file = b->o.sharegpt ? b->o.sharegpt : b->o.trace;
        return cli_fail("%s%s%s", file ? file : "", file ? ": " : "", why);
    }
    warm_up(b);
    if (b->o.idle && !load_idle_open(&idle, b->o.base_url, b->o.idle, why)) note(why, "");
    run_load(b);
    report(b, &idle);
    load_idle_close(&idle);
    bool written = write_results(b);
    if (cli_interrupted) return EXIT_INTERRUPTED;
    return written && b->report.ms[LOAD_TTFT].n ? 0 : EXIT_ERROR;
}

static bool read_against(serve_bench *b) {
    bk_buf text = {.limit = 0};
    char why[LOAD_WHY_CAP];
    if (!b->against) return true;
    bool good = cli_read_file(b->against, &text);
    b->has_other = good && load_lanes_read(bk_buf_view(&text), &b->other, why);
    if (good && !b->has_other) cli_fail("--against %s: %s", b->against, why);
    bk_buf_free(&text);
    return b->has_other;
}

int bench_serve(int argc, char **argv) {
    serve_bench b = {.o = {.base_url = "http://127.0.0.1:8080",
                           .endpoint = "/v1/chat/completions",
                           .num_prompts = 16,
                           .burstiness = 1,
                           .input_len = 256,
                           .prefix_count = 1,
                           .trace_speed = 1,
                           .trace_scale = 1,
                           .seed = UINT64_MAX,
                           .steady = 4,
                           .long_len = 3300,
                           .long_output_len = 16,
                           .long_count = 1,
                           .lead = 2,
                           .turns = 1,
                           .turn_len = 32,
                           .warmup = 1,
                           .timeout = 600},
                     .rate = "inf",
                     .percentiles = "50,90,99",
                     .metrics = "ttft,tpot,itl,e2el",
                     .words_per_token = 1};
    char why[LOAD_WHY_CAP] = "";
    int status = EXIT_ERROR;
    if (!parse(&b, argc, argv, &status)) return status;
    if (check(&b) && read_against(&b)) {
        cli_catch(SIGINT);
        b.client = load_client_open(&b.o, why);
        status = b.client ? run_bench(&b) : cli_fail("%s", why);
    } else {
        status = EXIT_ERROR;
    }
    load_report_free(&b.report);
    load_lanes_free(&b.other);
    load_lanes_free(&b.own);
    load_plan_free(&b.plan);
    load_client_close(b.client);
    bk_buf_free(&b.extra);
    return status;
}
#endif
