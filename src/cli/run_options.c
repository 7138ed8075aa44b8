/* The options of `brisk run`, and those of them that the chat can change with /set. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/clock.h"
#include "cli/run.h"

#define TOKENS_MAX 100000000.0

enum { SAMPLING_MOST = 16, OPTIONS_MOST = 64 };

/* What the chat can change too; returns how many. */
static size_t sampling_specs(run *r, opt_spec *out) {
    brisk_sampling *s = &r->sampling;
    const opt_spec specs[] = {
        {"-n --n-predict --predict", "N", "most tokens to generate; -1: until the end (raw: 128)",
         OPT_INT, &r->n_predict, -1, TOKENS_MAX},
        {"--temp --temperature", "T", "temperature; 0 is greedy (0.8)", OPT_FLOAT, &s->temperature,
         0, 100},
        {"--top-k", "K", "the K best tokens; 0: off (40)", OPT_INT, &s->top_k, 0, TOKENS_MAX},
        {"--typical --typical-p", "P", "those of typical surprise that make up P; 1: off (1)",
         OPT_FLOAT, &s->typical_p, 0, 1},
        {"--top-p", "P", "the best that make up P; 1: off (0.95)", OPT_FLOAT, &s->top_p, 0, 1},
        {"--min-p", "P", "at least P times as likely as the best; 0: off (0.05)", OPT_FLOAT,
         &s->min_p, 0, 1},
        {"--repeat-penalty", "X", "divides logits of recent tokens; 1: off (1)", OPT_FLOAT,
         &s->repeat_penalty, 0.001, 100},
        {"--repeat-last-n", "N", "how far penalties look back; -1: all (64)", OPT_INT,
         &s->penalty_last_n, -1, TOKENS_MAX},
        {"--presence-penalty", "X", "subtracted from tokens seen (0)", OPT_FLOAT,
         &s->presence_penalty, -100, 100},
        {"--frequency-penalty", "X", "subtracted per time seen (0)", OPT_FLOAT,
         &s->frequency_penalty, -100, 100},
        {"-s --seed", "N", "the same seed gives the same text; -1: random (-1)", OPT_SEED, &s->seed,
         0, 0},
        {"--ignore-eos", NULL, "go on after end tokens", OPT_FLAG, &r->ignore_eos, 0, 0},
    };
    _Static_assert(BK_ARRAY_LEN(specs) <= SAMPLING_MOST, "room for all");
    memcpy(out, specs, sizeof specs);
    return BK_ARRAY_LEN(specs);
}

/* ---- Biases ------------------------------------------------------------------------------------- */

/* "15043+1", "15043-0.5", "15043-inf", as llama.cpp spells it. */
static bool parse_bias(const char *text, brisk_logit_bias *out) {
    char *end;
    if (*text < '0' || *text > '9') return false;
    unsigned long token = strtoul(text, &end, 10);
    if (token > INT32_MAX || (*end != '+' && *end != '-')) return false;
    const char *bias = end;
    double value = strtod(bias, &end);
    if (end == bias || *end || isnan(value)) return false;
    *out = (brisk_logit_bias){(brisk_token)token, (float)value};
    return true;
}

/* Adds a bias, or replaces the one that its token has. Returns a complaint, NULL when it is taken. */
static const char *add_bias(run *r, const char *text) {
    brisk_logit_bias b;
    if (!parse_bias(text, &b)) return "wanted a token id and a bias: 15043+1, 15043-inf";
    size_t i = 0, n = r->sampling.n_logit_bias;
    while (i < n && r->biases[i].token != b.token) i++;
    if (i == BK_ARRAY_LEN(r->biases)) return "there are as many biases already as there can be";
    r->biases[i] = b;
    if (i == n) r->sampling.n_logit_bias++;
    return NULL;
}

/* ---- The command line --------------------------------------------------------------------------- */

bool run_parse(run *r, int argc, char **argv, int *status) {
    const opt_spec first[] = {
        {"-m --model", "PATH|NAME",
         "model file, or name of one that is there (" CLI_DEFAULT_MODEL ")", OPT_STR,
         &r->model_name, 0, 0},
        CLI_HUB_SPEC(&r->hub),
        {"-p --prompt", "TEXT", "what to answer; without it: chat, or standard input", OPT_STR,
         &r->prompt, 0, 0},
        {"-f --file", "PATH", "read the prompt from a file (- is standard input)", OPT_STR,
         &r->file, 0, 0},
        {"-sys --system --system-prompt", "TEXT", "system message of the chat", OPT_STR, &r->system,
         0, 0},
        {"-c --ctx-size", "N", "context in tokens; 0: what the model was trained for", OPT_INT,
         &r->context, 0, TOKENS_MAX},
        {"-t --threads", "N", "compute threads; 0: as many as there are cores", OPT_INT,
         &r->threads, 0, 256},
        {"-b --batch-size", "N", "prompt tokens per pass (512)", OPT_INT, &r->batch, 1, 8192},
        CLI_CACHE_SPECS(&r->cache),
        CLI_FAST_SPEC(&r->fast),
        CLI_SPARSE_SPEC(&r->sparse),
        CLI_HEAD_SPECS(r),
        {"--pre", "NAME", "pre-tokenizer in place of the file's tokenizer.ggml.pre", OPT_STR,
         &r->pre, 0, 0},
    };
    opt_strs biases = {0};
    const opt_spec last[] = {
        {"-l --logit-bias", "TOKEN(+|-)BIAS", "adds to the logit of a token id; may be repeated",
         OPT_STRS, &biases, 0, 0},
        {"-r --reverse-prompt --stop", "TEXT", "ends the answer, is not shown; may be repeated",
         OPT_STRS, &r->stop, 0, 0},
        {"--raw", NULL, "complete the bare text, without chat template", OPT_FLAG, &r->raw, 0, 0},
        {"--json", NULL, "one JSON object with text, tokens and timings", OPT_FLAG, &r->json, 0, 0},
        {"-q --quiet", NULL, "no figures", OPT_FLAG, &r->quiet, 0, 0},
        {"-v --verbose", NULL, "also model, kernels and settings", OPT_FLAG, &r->verbose, 0, 0},
        {"--color", "auto|always|never", "colour of prompt and figures (auto)", OPT_CHOICE,
         &r->color, 0, 0},
    };
    opt_spec specs[OPTIONS_MOST];
    size_t n = BK_ARRAY_LEN(first);
    memcpy(specs, first, sizeof first);
    n += sampling_specs(r, specs + n);
    memcpy(specs + n, last, sizeof last);
    n += BK_ARRAY_LEN(last);
    _Static_assert(BK_ARRAY_LEN(first) + SAMPLING_MOST + BK_ARRAY_LEN(last) <= OPTIONS_MOST,
                   "room for all");
    const opt_table table = {.verb = "run",
                             .usage = "usage: brisk run [-m MODEL] [-p PROMPT] [options]",
                             .about =
                                 "Answers a prompt; without one, chats. The text goes to stdout, "
                                 "figures go to stderr.\n"
                                 "BRISK_ARG_NAME in the environment stands for an option --name.",
                             .specs = specs,
                             .n_specs = n};
    if (!cli_options(&table, argc, argv, status)) return false;
    for (size_t i = 0; i < biases.n; i++) {
        const char *wrong = add_bias(r, biases.v[i]);
        if (!wrong) continue;
        *status = cli_fail("--logit-bias: found '%.80s', %s", biases.v[i], wrong);
        return false;
    }
    return true;
}

/* ---- The chat ----------------------------------------------------------------------------------- */

bool run_set(run *r, const char *name, const char *value) {
    char err[512];
    opt_spec specs[SAMPLING_MOST];
    const opt_table table = {.verb = "run", .specs = specs, .n_specs = sampling_specs(r, specs)};
    if (strcmp(name, "logit-bias") == 0) {
        const char *wrong = add_bias(r, value);
        if (wrong) cli_fail("logit-bias: found '%.80s', %s", value, wrong);
        return !wrong;
    }
    if (opt_set(&table, name, value, err, sizeof err) == OPT_OK) return true;
    cli_fail("%s", err);
    return false;
}

void run_pick_seed(run *r) {
    if (r->sampling.seed != UINT64_MAX) return;
    uint32_t seed = 0; /* short enough to type again */
    if (getrandom(&seed, sizeof seed, 0) != sizeof seed) seed = (uint32_t)bk_now_ns();
    r->sampling.seed = seed;
}

void run_print_sampling(const run *r, FILE *to) {
    const brisk_sampling *s = &r->sampling;
    fprintf(to,
            "temp %g, top-k %d, typical %g, top-p %g, min-p %g, penalties: repeat %g, presence %g, "
            "frequency %g over %d, seed %llu",
            (double)s->temperature, s->top_k, (double)s->typical_p, (double)s->top_p,
            (double)s->min_p, (double)s->repeat_penalty, (double)s->presence_penalty,
            (double)s->frequency_penalty, s->penalty_last_n, (unsigned long long)s->seed);
    for (size_t i = 0; i < s->n_logit_bias; i++) {
        fprintf(to, "%s%d%+g", i ? " " : ", biases ", s->logit_bias[i].token,
                (double)s->logit_bias[i].bias);
    }
    fputc('\n', to);
}
