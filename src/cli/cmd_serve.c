/* brisk serve: the options of the server. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "cli/cli.h"
#include "server/server.h"

#define TOKENS_MAX 100000000.0
#define SECONDS_MAX 1000000.0

enum { SERVE_OPTIONS_MOST = 64, KEYS_MOST = 4096 };

typedef struct serve {
    sv_options o;
    const char *model_name, *hub, *alias, *pre, *mem_limit, *key_file, *template_file;
    cli_cache_types cache;
    int threads, pooling, compat;
    float budget_ms, queue_s, timeout_s, ping_s, drain_s;
    opt_strs keys;
    const char *head, *head_keep;
    bool fast, no_prompt_cache, prompt_cache, embeddings, metrics, ui;
    bk_buf key_text, template_text;
    const char **all_keys;
    char path[4096], name[256];
} serve;

/* ---- Options ------------------------------------------------------------------------------------ */

static size_t add_specs(opt_spec *to, size_t n, const opt_spec *specs, size_t count) {
    memcpy(to + n, specs, count * sizeof *specs);
    return n + count;
}

/* Model, size, processor, keys and values. */
static size_t engine_specs(serve *v, opt_spec *out) {
    brisk_engine_options *e = &v->o.engine;
    const opt_spec specs[] = {
        {"-m --model", "PATH|NAME",
         "model file, or name of one that is there (" CLI_DEFAULT_MODEL ")", OPT_STR,
         &v->model_name, 0, 0},
        CLI_HUB_SPEC(&v->hub),
        {"-a --alias --served-model-name", "NAME", "what clients call the model (the file's name)",
         OPT_STR, &v->alias, 0, 0},
        {"-c --ctx-size --max-model-len --context-length", "N",
         "context of an answer in tokens; 0: what the model was trained for", OPT_INT, &e->context,
         0, TOKENS_MAX},
        {"-np --parallel --max-num-seqs --max-running-requests", "N",
         "answers at the same time; 0: 16", OPT_INT, &e->max_running, 0, 256},
        {"-b --batch-size --max-num-batched-tokens", "N", "most tokens of a step; 0: 512", OPT_INT,
         &e->batch_size, 0, 8192},
        {"--mem-limit", "SIZE", "weights, keys and values, and scratch together: 800M, 4G", OPT_STR,
         &v->mem_limit, 0, 0},
        {"-t --threads", "N", "compute threads; 0: as many as there are cores", OPT_INT,
         &v->threads, 0, 256},
        CLI_CACHE_SPECS(&v->cache),
        CLI_FAST_SPEC(&v->fast),
        CLI_HEAD_SPECS(v),
        {"--cache-prompt", NULL, "keep and share beginnings of prompts (the default)", OPT_FLAG,
         &v->prompt_cache, 0, 0},
        {"--no-cache-prompt --no-enable-prefix-caching", NULL,
         "compute every prompt from its start", OPT_FLAG, &v->no_prompt_cache, 0, 0},
        {"--itl-budget-ms", "MS",
         "longest gap between tokens that others' prompts may cause; 0: 4 medians, 50 to 100",
         OPT_FLOAT, &v->budget_ms, 0, 3600000},
        {"--queue-max --max-num-queued-reqs --max-queued-requests", "N",
         "requests that wait; more are refused; 0: 256", OPT_INT, &e->queue_max, 0, 1000000},
        {"--queue-seconds", "S", "predicted wait above which requests are refused; 0: 60",
         OPT_FLOAT, &v->queue_s, 0, SECONDS_MAX},
        {"-to --timeout", "S", "an answer that takes longer is ended; 0: none is (0)", OPT_FLOAT,
         &v->timeout_s, 0, SECONDS_MAX},
        {"--pre", "NAME", "pre-tokenizer in place of the file's tokenizer.ggml.pre", OPT_STR,
         &v->pre, 0, 0},
        {"--chat-template", "TEXT", "chat template in place of the model's own", OPT_STR,
         &v->o.chat_template, 0, 0},
        {"--chat-template-file", "PATH", "the same from a file", OPT_STR, &v->template_file, 0, 0},
        {"--pooling", "last|mean", "how embeddings are made of states (last)", OPT_CHOICE,
         &v->pooling, 0, 0},
        {"--embeddings --embedding", NULL, "accepted: embeddings are always served", OPT_FLAG,
         &v->embeddings, 0, 0},
    };
    return add_specs(out, 0, specs, BK_ARRAY_LEN(specs));
}

static size_t server_specs(serve *v, opt_spec *out) {
    sv_options *o = &v->o;
    const opt_spec specs[] = {
        {"--host", "ADDRESS", "address to listen at (127.0.0.1)", OPT_STR, &o->host, 0, 0},
        {"--port", "N", "port; 0 takes a free one and prints it (8080)", OPT_INT, &o->port, 0,
         65535},
        {"--api-key", "KEY", "a key that clients must have; may be repeated", OPT_STRS, &v->keys, 0,
         0},
        {"--api-key-file", "PATH", "keys, one a line", OPT_STR, &v->key_file, 0, 0},
        {"--insecure", NULL, "let other machines in without a key", OPT_FLAG, &o->insecure, 0, 0},
        {"--ssl-cert-file", "PATH", "certificate with its chain (PEM): serve https", OPT_STR,
         &o->cert, 0, 0},
        {"--ssl-key-file", "PATH", "its private key (PEM)", OPT_STR, &o->key, 0, 0},
        {"--cors-origins", "LIST", "pages that may ask: https://a.example,https://b.example or *",
         OPT_STR, &o->cors_origins, 0, 0},
        {"--sse-ping-interval", "S", "a stream is silent for at most this long; 0: no pings (1)",
         OPT_FLOAT, &v->ping_s, 0, SECONDS_MAX},
        {"--metrics", NULL, "serve /metrics (the default)", OPT_FLAG, &v->metrics, 0, 0},
        {"--no-metrics", NULL, "no /metrics", OPT_FLAG, &o->no_metrics, 0, 0},
        {"--metrics-compat", "none|vllm|llamacpp", "also under the names of others (none)",
         OPT_CHOICE, &v->compat, 0, 0},
        {"--ui", NULL, "serve the chat page (the default)", OPT_FLAG, &v->ui, 0, 0},
        {"--no-ui", NULL, "no chat page", OPT_FLAG, &o->no_ui, 0, 0},
        {"--drain-seconds", "S", "time for running answers after SIGTERM or Ctrl-C (30)", OPT_FLOAT,
         &v->drain_s, 0, SECONDS_MAX},
        {"--log-jsonl", NULL, "log requests as JSON, one a line", OPT_FLAG, &o->log_jsonl, 0, 0},
        {"-v --verbose", NULL, "log also requests that cost nothing", OPT_FLAG, &o->verbose, 0, 0},
    };
    return add_specs(out, 0, specs, BK_ARRAY_LEN(specs));
}

static bool parse(serve *v, int argc, char **argv, int *status) {
    opt_spec specs[SERVE_OPTIONS_MOST];
    size_t n = engine_specs(v, specs);
    n += server_specs(v, specs + n);
    const opt_table table = {
        .verb = "serve",
        .usage = "usage: brisk serve [-m MODEL] [options]",
        .about =
            "Answers many users at once over HTTP, as OpenAI's interface does, with a chat page "
            "at /.\n"
            "BRISK_ARG_NAME in the environment stands for an option --name.",
        .specs = specs,
        .n_specs = n};
    return cli_options(&table, argc, argv, status);
}

/* "512M", "4G", "1.5GiB", bytes without a letter. */
static bool parse_size(const char *text, uint64_t *out) {
    static const char letters[] = "kmgt";
    char *end;
    if (*text < '0' || *text > '9') return false;
    double v = strtod(text, &end);
    const char *letter = *end ? strchr(letters, *end | 32) : NULL;
    if (letter) {
        for (const char *p = letters; p <= letter; p++) v *= 1024;
        end++;
        if (strcmp(end, "i") != 0 && strcmp(end, "iB") != 0 && strcmp(end, "B") != 0 && *end)
            return false;
    } else if (*end) {
        return false;
    }
    if (!(v >= 1 && v < 9e18)) return false;
    *out = (uint64_t)v;
    return true;
}

/* Keys of the command line and of the file, which get NULs for ends of lines. */
static bool gather_keys(serve *v) {
    size_t cap = v->keys.n + KEYS_MOST, n = 0;
    if (v->key_file && !cli_read_file(v->key_file, &v->key_text)) return false;
    v->all_keys = bk_alloc(cap, sizeof *v->all_keys);
    if (!v->all_keys) return !cli_fail("no memory for the keys");
    for (size_t i = 0; i < v->keys.n; i++) v->all_keys[n++] = v->keys.v[i];
    char *at = v->key_text.data;
    while (at && *at && n < cap) {
        size_t len = strcspn(at, "\r\n");
        char *next = at + len + (at[len] != '\0');
        at[len] = '\0';
        if (len > 0) v->all_keys[n++] = at;
        at = next;
    }
    for (size_t i = 0; i < n; i++) {
        if (!*v->all_keys[i]) return !cli_fail("--api-key: a key is empty");
    }
    if (v->key_file && n == v->keys.n) return !cli_fail("%s: there is no key in it", v->key_file);
    v->o.api_keys = v->all_keys;
    v->o.n_api_keys = n;
    return true;
}

static bool settle(serve *v) {
    sv_options *o = &v->o;
    static const char *const compat[] = {NULL, "vllm", "llamacpp"};
    if (v->mem_limit && !parse_size(v->mem_limit, &o->engine.mem_limit))
        return !cli_fail("--mem-limit: found '%.80s', wanted a size such as 800M or 4G",
                         v->mem_limit);
    if (!o->cert != !o->key) return !cli_fail("--ssl-cert-file and --ssl-key-file go together");
    if (o->chat_template && v->template_file)
        return !cli_fail("give --chat-template or --chat-template-file, not both");
    if (v->template_file) {
        if (!cli_read_file(v->template_file, &v->template_text)) return false;
        if (!v->template_text.data || strlen(v->template_text.data) != v->template_text.len)
            return !cli_fail("%s: not a template, it is empty or has a NUL", v->template_file);
        o->chat_template = v->template_text.data;
    }
    o->engine.itl_budget_ms = (double)v->budget_ms;
    o->engine.queue_seconds = (double)v->queue_s;
    o->engine.no_prefix_cache = v->no_prompt_cache;
    o->timeout_seconds = (double)v->timeout_s;
    o->ping_seconds = (double)v->ping_s;
    o->drain_seconds = (double)v->drain_s;
    o->pooling = v->pooling ? BRISK_POOLING_MEAN : BRISK_POOLING_LAST;
    o->metrics_compat = compat[v->compat];
    return gather_keys(v);
}

/* ---- The model ---------------------------------------------------------------------------------- */

/* The file's name without folders and ".gguf". */
static void name_model(serve *v) {
    size_t len = strlen(v->path);
    while (len > 1 && v->path[len - 1] == '/') len--;
    size_t begin = len;
    while (begin > 0 && v->path[begin - 1] != '/') begin--;
    len -= begin;
    if (len > 5 && strncmp(v->path + begin + len - 5, ".gguf", 5) == 0) len -= 5;
    bk_str_printable(v->name, sizeof v->name, v->path + begin, len);
}

static bool load(void *user, brisk_model **model, const char **name) {
    serve *v = user;
    const cli_open o = {.model = v->model_name,
                        .hub = v->hub,
                        .threads = v->threads,
                        .pre = v->pre,
                        .cache = v->cache,
                        .fast = v->fast,
                        .head = v->head,
                        .head_keep = v->head_keep};
    *model = cli_open_model(&o, v->path, sizeof v->path);
    if (!*model) return false;
    name_model(v);
    *name = v->alias ? v->alias : v->name;
    return true;
}

int cmd_serve(int argc, char **argv) {
    int status;
    serve *v = bk_alloc_zero(1, sizeof *v);
    if (!v) return cli_fail("no memory for the server");
    *v = (serve){.o = {.host = "127.0.0.1", .port = 8080, .load = load, .user = v},
                 .ping_s = 1,
                 .drain_s = 30};
    brisk_engine_options_default(&v->o.engine);
    if (parse(v, argc, argv, &status)) status = settle(v) ? sv_run(&v->o) : EXIT_ERROR;
    bk_free(v->all_keys);
    bk_buf_free(&v->key_text);
    bk_buf_free(&v->template_text);
    bk_free(v);
    return status;
}
