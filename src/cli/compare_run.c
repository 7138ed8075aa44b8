#include "cli/compare.h"

#include <signal.h>
#include <string.h>
#include <time.h>

#include "base/mem.h"

typedef struct comparing {
    const char *verb, *model, *calibrate, *eval, *choices, *html, *csv, *svg;
    opt_strs lists;
    opt_strs rest;
    brisk_compare_options o;
    bool json;
    bk_buf texts[3]; /* calibration, evaluation, choices */
    const char **recipes;
    size_t n_recipes;
    bk_buf names; /* that recipes point into */
    cli_progress bar;
    char step[48];
} comparing;

bool compare_asked(int argc, char **argv) {
    const char *name = "--compare";
    size_t len = strlen(name);
    for (int i = 1; i < argc; i++)
        if (strncmp(argv[i], name, len) == 0 && (!argv[i][len] || argv[i][len] == '=')) return true;
    return false;
}

static void on_progress(const char *what, double done, void *user) {
    comparing *k = user;
    if (strncmp(k->step, what, sizeof k->step - 1) != 0) {
        cli_progress_end(&k->bar);
        snprintf(k->step, sizeof k->step, "%s", what);
        cli_progress_start(&k->bar, k->step);
    }
    cli_progress_show(&k->bar, done, NULL);
}

/* The lists at their commas. False after printing why not. */
static bool split(comparing *k) {
    size_t most = 0;
    for (size_t i = 0; i < k->lists.n; i++) {
        for (const char *c = k->lists.v[i]; *c; c++) most += *c == ',';
        most++;
        bk_buf_append(&k->names, k->lists.v[i], strlen(k->lists.v[i]) + 1);
    }
    k->recipes = bk_alloc(most, sizeof *k->recipes);
    if (!k->recipes || k->names.failed) {
        cli_fail("no memory for a list of recipes");
        return false;
    }
    for (char *at = k->names.data; at < k->names.data + k->names.len; at += strlen(at) + 1) {
        char *comma = strchr(at, ',');
        if (comma) *comma = '\0';
        if (*at) k->recipes[k->n_recipes++] = at;
    }
    return true;
}

static bool read_text(const char *path, bk_buf *into, const char **text, size_t *len) {
    if (!path) return true;
    if (!cli_read_file(path, into)) return false;
    *text = into->data ? into->data : "";
    *len = into->len;
    return true;
}

static bool write_as(const char *path, const compare_report *r,
                     void (*print)(const compare_report *r, bk_buf *out)) {
    bk_buf out = {0};
    if (!path) return true;
    print(r, &out);
    bool good = !out.failed && cli_write_file(path, out.data, out.len);
    if (out.failed) cli_fail("no memory for %s", path);
    bk_buf_free(&out);
    return good;
}

static void svg_decode(const compare_report *r, bk_buf *out) {
    compare_svg(r, &compare_views[0], out);
}

static int print(comparing *k, const brisk_comparison *c) {
    compare_report r = {.c = c, .source = k->model, .text = k->eval};
    bk_buf out = {0};
    time_t now = time(NULL);
    struct tm utc = {0};
    gmtime_r(&now, &utc);
    strftime(r.date, sizeof r.date, "%Y-%m-%d %H:%M UTC", &utc);
    brisk_cpu_name(r.cpu, sizeof r.cpu);
    (k->json ? compare_json : compare_text)(&r, &out);
    bool good = !out.failed && fwrite(out.data, 1, out.len, stdout) == out.len;
    if (out.failed) cli_fail("no memory for a table");
    bk_buf_free(&out);
    good = write_as(k->csv, &r, compare_csv) && good;
    good = write_as(k->html, &r, compare_html) && good;
    good = write_as(k->svg, &r, svg_decode) && good;
    return cli_finish_output(stdout) && good ? 0 : EXIT_ERROR;
}

static int go(comparing *k) {
    char path[4096];
    if (k->rest.n + (k->model != NULL) != 1)
        return cli_fail("brisk %s --compare takes one model that all recipes begin with", k->verb);
    if (!k->model) k->model = k->rest.v[0];
    if (!k->eval) return cli_fail("give a text to measure quality on with --eval");
    brisk_compare_options *o = &k->o;
    if (!split(k) || !cli_model_path(k->model, path, sizeof path) ||
        !read_text(k->calibrate, &k->texts[0], &o->calibrate, &o->calibrate_len) ||
        !read_text(k->eval, &k->texts[1], &o->text, &o->text_len) ||
        !read_text(k->choices, &k->texts[2], &o->choices, &o->choices_len))
        return cli_failed();
    cli_catch(SIGINT);
    cli_catch(SIGTERM);
    o->progress = on_progress;
    o->user = k;
    o->cancel = &cli_interrupted;
    brisk_comparison *c = NULL;
    brisk_error err;
    cli_progress_start(&k->bar, "comparing");
    brisk_status st = brisk_compare(path, k->recipes, k->n_recipes, o, &c, &err);
    cli_progress_end(&k->bar);
    if (st == BRISK_ERR_CANCELLED) return EXIT_INTERRUPTED;
    if (st) return cli_fail("%s", err.text);
    int status = print(k, c);
    brisk_comparison_free(&c);
    return status;
}

int compare_run(const char *verb, int argc, char **argv) {
    comparing k = {.verb = verb};
    brisk_compare_options *o = &k.o;
    brisk_compare_default(o);
    const opt_spec specs[] = {
        {"--compare", "LIST",
         "recipes with commas between them, and files: q8_0,prune:channels:0.2+q4_0", OPT_STRS,
         &k.lists, 0, 0},
        {"-m --model", "MODEL", "the model that all begin with, if not given by itself", OPT_STR,
         &k.model, 0, 0},
        {"--calibrate", "FILE", "text that recipes go by", OPT_STR, &k.calibrate, 0, 0},
        {"--eval", "FILE", "text that quality is measured on, another one", OPT_STR, &k.eval, 0, 0},
        {"--choices", "FILE", "questions with one right choice (docs/eval.md)", OPT_STR, &k.choices,
         0, 0},
        {"-c --ctx-size", "N", "tokens a window of the text (512)", OPT_INT, &o->context, 4, 1e8},
        {"--windows", "N", "of it that are read; 0: all", OPT_INT, &o->windows, 0, 1e8},
        {"--rounds", "N", "of timing, every model once in each (5)", OPT_INT, &o->rounds, 1, 100},
        {"-p --n-prompt", "N", "tokens of a prompt (256)", OPT_INT, &o->n_prompt, 1, 1e6},
        {"-n --n-gen", "N", "tokens decoded (32)", OPT_INT, &o->n_gen, 1, 1e6},
        {"--greedy", "N", "answers compared; 0: none (16)", OPT_INT, &o->prompts, 0, 10000},
        {"--greedy-tokens", "N", "tokens of each (64)", OPT_INT, &o->answer_tokens, 1, 100000},
        {"-t --threads", "N", "threads (all that the process may use)", OPT_INT, &o->threads, 0,
         256},
        {"--json", NULL, "one JSON object", OPT_FLAG, &k.json, 0, 0},
        {"--csv", "FILE", "the table", OPT_STR, &k.csv, 0, 0},
        {"--html", "FILE", "a page with plots and tables", OPT_STR, &k.html, 0, 0},
        {"--svg", "FILE", "the plot of decoding alone", OPT_STR, &k.svg, 0, 0},
    };
    char usage[128];
    snprintf(usage, sizeof usage, "usage: brisk %s MODEL --compare LIST --eval FILE [options]",
             verb);
    const opt_table table = {.verb = verb,
                             .usage = usage,
                             .about =
                                 "Makes smaller models by several recipes and compares them: size, "
                                 "speed, quality, and the dense rivals of each.",
                             .specs = specs,
                             .n_specs = BK_ARRAY_LEN(specs),
                             .rest = &k.rest};
    int status;
    if (!cli_options(&table, argc, argv, &status)) return status;
    status = go(&k);
    for (size_t i = 0; i < BK_ARRAY_LEN(k.texts); i++) bk_buf_free(&k.texts[i]);
    bk_buf_free(&k.names);
    bk_free(k.recipes);
    return status;
}
