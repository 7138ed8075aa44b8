#include <signal.h>
#include <string.h>
#include <time.h>

#include "base/mem.h"
#include "cli/profile.h"

typedef struct profile {
    const char *model, *hub, *file, *html, *svg;
    int threads;
    bool fast;
    const char *head, *head_keep;
    bool json, no_limits;
    cli_tokens tokens;
    profile_report report;
} profile;

static bool parse(profile *p, int argc, char **argv, int *status) {
    profile_report *r = &p->report;
    const opt_spec specs[] = {
        {"-m --model", "PATH|NAME", "model file, or name of a fetched one", OPT_STR, &p->model, 0,
         0},
        CLI_HUB_SPEC(&p->hub),
        {"-p --n-prompt", "N", "prompt tokens processed together (512)", OPT_INT, &r->n_prompt, 0,
         1e8},
        {"-n --n-gen", "N", "then tokens decoded one at a time (64)", OPT_INT, &r->n_gen, 0, 1e8},
        {"-d --n-depth", "N", "tokens in memory beforehand (0)", OPT_INT, &r->n_depth, 0, 1e8},
        {"-ub --ubatch-size", "N", "tokens per pass (512)", OPT_INT, &r->ubatch, 1, 8192},
        {"-t --threads", "N", "compute threads; 0: as many as there are cores", OPT_INT,
         &p->threads, 0, 256},
        CLI_FAST_SPEC(&p->fast),
        CLI_HEAD_SPECS(p),
        {"-r --repetitions", "N", "runs that are added up (3)", OPT_INT, &r->repetitions, 1, 1000},
        {"-f --file", "PATH", "take the tokens of this text (-: stdin) instead of random ones",
         OPT_STR, &p->file, 0, 0},
        {"--no-limits", NULL, "do without the machine's limits (measured once, in some seconds)",
         OPT_FLAG, &p->no_limits, 0, 0},
        {"--json", NULL, "print JSON", OPT_FLAG, &p->json, 0, 0},
        {"--html", "FILE", "also write a page with roofline, time bars and tables", OPT_STR,
         &p->html, 0, 0},
        {"--svg", "FILE", "also write roofline and time bars as a picture", OPT_STR, &p->svg, 0, 0},
    };
    const opt_table table = {.verb = "profile",
                             .usage = "usage: brisk profile [-m MODEL] [options]",
                             .about = "Shows where the time of a prompt and of each token goes, "
                                      "operation by operation.",
                             .specs = specs,
                             .n_specs = BK_ARRAY_LEN(specs)};
    return cli_options(&table, argc, argv, status);
}

/* The tokens of the file; false after printing why not. */
static bool read_tokens(profile *p, brisk_model *model) {
    bk_buf text = {0};
    bool ok = cli_read_file(p->file, &text) &&
              cli_tokenize(model, bk_buf_view(&text), true, false, &p->tokens);
    bk_buf_free(&text);
    if (ok && p->tokens.n == 0) cli_fail("%s: no text in it", p->file);
    return ok && p->tokens.n > 0;
}

static void on_progress(double done, void *user) { cli_progress_show(user, done, NULL); }

static brisk_status add_limits(const brisk_model *model, brisk_profile *result, brisk_error *err) {
    brisk_limits_options o;
    cli_progress bar;
    brisk_limits_options_default(&o);
    o.progress = on_progress;
    o.user = &bar;
    o.cancel = &cli_interrupted;
    cli_progress_start(&bar, "measuring this machine's limits");
    brisk_status st = brisk_profile_limits(model, &o, result, err);
    cli_progress_end(&bar);
    return st;
}

static int run(profile *p, brisk_model *model) {
    profile_report *r = &p->report;
    brisk_bench_test t;
    brisk_bench_default(&t);
    t.n_prompt = r->n_prompt;
    t.n_gen = r->n_gen;
    t.n_depth = r->n_depth;
    t.batch_size = r->ubatch;
    t.repetitions = r->repetitions;
    t.cancel = &cli_interrupted;
    if (p->file && !read_tokens(p, model)) return EXIT_ERROR;
    brisk_error err;
    brisk_status st = brisk_profile_run(model, &t, p->tokens.ids, p->tokens.n, &r->result, &err);
    if (!st && !p->no_limits) {
        st = add_limits(model, &r->result, &err);
    }
    if (st == BRISK_ERR_CANCELLED) return EXIT_INTERRUPTED;
    return st ? cli_fail("%s", err.text) : 0;
}

static bool write_file(const char *path, const bk_buf *text) {
    if (!text->failed) return cli_write_file(path, text->data, text->len);
    cli_fail("no memory for %s", path);
    return false;
}

static int show(const profile *p) {
    const profile_report *r = &p->report;
    if (p->json)
        profile_print_json(r);
    else
        profile_print_table(r);
    bool good = cli_finish_output(stdout);
    bk_buf text = {0};
    if (p->html) {
        profile_html(r, &text);
        good = write_file(p->html, &text) && good;
    }
    bk_buf_clear(&text);
    if (p->svg) {
        profile_svg(r, true, &text);
        good = write_file(p->svg, &text) && good;
    }
    bk_buf_free(&text);
    return good ? 0 : EXIT_ERROR;
}

int cmd_profile(int argc, char **argv) {
    static profile p; /* its tables are much for a stack */
    profile_report *r = &p.report;
    p = (profile){.report = {.n_prompt = 512, .n_gen = 64, .ubatch = 512, .repetitions = 3}};
    int status = 0;
    if (!parse(&p, argc, argv, &status)) return status;
    if (p.hub && p.model) return cli_fail("give -m or -hf, not both");
    cli_open o = {.model = p.model,
                  .hub = p.hub,
                  .threads = p.threads,
                  .quiet = p.json,
                  .fast = p.fast,
                  .head = p.head,
                  .head_keep = p.head_keep};
    cli_catch(SIGINT);
    brisk_model *model = cli_open_model(&o, r->path, sizeof r->path);
    if (!model) return cli_failed();
    brisk_model_get_info(model, &r->info);
    brisk_machine_get(&r->machine);
    time_t now = time(NULL);
    struct tm utc;
    gmtime_r(&now, &utc);
    strftime(r->date, sizeof r->date, "%Y-%m-%dT%H:%M:%SZ", &utc);
    status = run(&p, model);
    if (!status) status = show(&p);
    bk_free(p.tokens.ids);
    brisk_model_close(&model);
    return status;
}
