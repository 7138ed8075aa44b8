/* brisk prune: a model with its least useful parts left out. */
#include <signal.h>
#include <string.h>

#include "base/json_write.h"
#include "brisk_compress.h"
#include "cli/cli.h"
#include "cli/compare.h"

typedef struct prune {
    const char *model, *out, *calibrate, *eval;
    float ratio, target_speed, reconstruct;
    const char *nm;
    int choice, tokens, ratios;
    bool no_bench, json;
    brisk_prune_options o;
    cli_progress bar;
    bk_buf text, eval_text;
} prune;

static void on_progress(const char *what, double done, void *user) {
    cli_progress *bar = user;
    if (bar->what != what) { /* the names are literals */
        cli_progress_end(bar);
        cli_progress_start(bar, what);
    }
    cli_progress_show(bar, done, NULL);
}

/* ---- Output -------------------------------------------------------------------------------------- */

static void print_row(const char *what, const char *before, const char *after, double ratio) {
    printf("%-18s %14s %14s", what, before, after);
    if (ratio > 0) printf("   %.3fx", ratio);
    putchar('\n');
}

static void print_number(const char *what, double before, double after, int digits, double ratio) {
    char a[32], b[32];
    snprintf(a, sizeof a, "%.*f", digits, before);
    snprintf(b, sizeof b, "%.*f", digits, after);
    print_row(what, a, b, ratio);
}

static double quotient(uint64_t after, uint64_t before) {
    return before ? (double)after / (double)before : 0;
}

static void print_text(const prune *p, const brisk_prune_result *r) {
    char a[32], b[32];
    const brisk_prune_side *x = &r->before, *y = &r->after;
    printf("%s: %s left out (%.1f %%)\n", p->o.strategy, r->removed, 100 * r->ratio);
    print_row("", "before", "after", 0);
    print_number("parameters", (double)x->parameters, (double)y->parameters, 0,
                 quotient(y->parameters, x->parameters));
    print_row("tensors", cli_bytes(x->bytes, a, sizeof a), cli_bytes(y->bytes, b, sizeof b),
              quotient(y->bytes, x->bytes));
    print_number("zeros", (double)x->zeros, (double)y->zeros, 0, 0);
    if (r->sparse_tensors) printf("%zu matrices are stored sparsely\n", r->sparse_tensors);
    if (x->decode > 0) print_number("decode tokens/s", x->decode, y->decode, 1, r->decode_ratio);
    if (x->prefill > 0)
        print_number("prefill tokens/s", x->prefill, y->prefill, 1, r->prefill_ratio);
    if (r->quality.tokens) {
        print_number("perplexity", r->quality.ref_ppl, r->quality.ppl, 4,
                     r->quality.ppl / r->quality.ref_ppl);
        printf("KL divergence mean %.6f, p99 %.6f; same top token %.2f %% (%zu tokens)\n",
               r->quality.kl_mean, r->quality.kl_p99, 100 * r->quality.top_agreement,
               r->quality.tokens);
    }
}

static void json_side(bk_json *w, const char *name, const brisk_prune_side *s, double ppl) {
    bk_json_key(w, name);
    bk_json_begin(w, '{');
    bk_json_key_uint(w, "parameters", s->parameters);
    bk_json_key_uint(w, "bytes", s->bytes);
    bk_json_key_uint(w, "zeros", s->zeros);
    if (s->decode > 0) bk_json_key_double(w, "decode", s->decode);
    if (s->prefill > 0) bk_json_key_double(w, "prefill", s->prefill);
    if (ppl > 0) bk_json_key_double(w, "ppl", ppl);
    bk_json_end(w, '}');
}

static void print_json(const prune *p, const brisk_prune_result *r) {
    bk_buf out = {0};
    bk_json w = {.out = &out};
    const brisk_eval_result *q = &r->quality;
    bk_json_begin(&w, '{');
    bk_json_key_str(&w, "strategy", p->o.strategy);
    bk_json_key_double(&w, "ratio", r->ratio);
    bk_json_key_str(&w, "removed", r->removed);
    bk_json_key_uint(&w, "calibration_tokens", r->calibration_tokens);
    bk_json_key_uint(&w, "sparse_tensors", r->sparse_tensors);
    json_side(&w, "before", &r->before, q->tokens ? q->ref_ppl : 0);
    json_side(&w, "after", &r->after, q->tokens ? q->ppl : 0);
    if (r->decode_ratio > 0) bk_json_key_double(&w, "decode_ratio", r->decode_ratio);
    if (r->prefill_ratio > 0) bk_json_key_double(&w, "prefill_ratio", r->prefill_ratio);
    if (q->tokens) {
        bk_json_key_uint(&w, "eval_tokens", q->tokens);
        bk_json_key_double(&w, "kl_mean", q->kl_mean);
        bk_json_key_double(&w, "kl_p99", q->kl_p99);
        bk_json_key_double(&w, "top_agreement", q->top_agreement);
    }
    bk_json_end(&w, '}');
    bk_buf_putc(&out, '\n');
    if (!out.failed) fwrite(out.data, 1, out.len, stdout);
    bk_buf_free(&out);
}

/* ---- Running ------------------------------------------------------------------------------------- */

static bool read_nm(prune *p) {
    long long n = 0, m = 0;
    char first[8];
    const char *colon = p->nm ? strchr(p->nm, ':') : NULL;
    size_t len = colon ? (size_t)(colon - p->nm) : 0;
    if (!p->nm) return true;
    if (colon && len < sizeof first) {
        memcpy(first, p->nm, len);
        first[len] = '\0';
        if (opt_number(first, 1, 255, &n) && opt_number(colon + 1, 2, 256, &m) && n < m) {
            p->o.keep_n = (int)n, p->o.keep_m = (int)m;
            return true;
        }
    }
    cli_fail("--nm '%s' found; N:M with N less than M wanted, as 2:4", p->nm);
    return false;
}

static int go(prune *p) {
    char path[4096];
    brisk_prune_result result;
    brisk_error err;
    if (!p->model) return cli_fail("give the model with -m");
    if (!p->out) return cli_fail("give the file to write with -o");
    if (!p->o.strategy) {
        char known[256];
        return cli_fail("give a strategy with --strategy: %s",
                        brisk_prune_strategies(known, sizeof known));
    }
    if (!read_nm(p)) return EXIT_ERROR;
    if (!cli_model_path(p->model, path, sizeof path)) return EXIT_ERROR;
    if (p->calibrate && !cli_read_file(p->calibrate, &p->text)) return EXIT_ERROR;
    if (p->eval && !cli_read_file(p->eval, &p->eval_text)) return EXIT_ERROR;
    p->o.ratio = (double)p->ratio;
    p->o.target_speed = (double)p->target_speed;
    p->o.reconstruct = (double)p->reconstruct;
    p->o.choice = (brisk_prune_choice)p->choice;
    p->o.spread = (brisk_prune_spread)p->ratios;
    p->o.max_tokens = (size_t)p->tokens;
    p->o.bench = !p->no_bench;
    p->o.calibrate = p->text.data, p->o.calibrate_len = p->text.len;
    p->o.eval = p->eval_text.data, p->o.eval_len = p->eval_text.len;
    p->o.progress = on_progress;
    p->o.user = &p->bar;
    p->o.cancel = &cli_interrupted;
    cli_catch(SIGINT);
    cli_catch(SIGTERM);
    cli_progress_start(&p->bar, "pruning");
    brisk_status st = brisk_prune(path, p->out, &p->o, &result, &err);
    cli_progress_end(&p->bar);
    if (st == BRISK_ERR_CANCELLED) return EXIT_INTERRUPTED;
    if (st) return cli_fail("%s", err.text);
    if (p->json)
        print_json(p, &result);
    else
        print_text(p, &result);
    return cli_finish_output(stdout) ? 0 : EXIT_ERROR;
}

int cmd_prune(int argc, char **argv) {
    if (compare_asked(argc, argv)) return compare_run("prune", argc, argv);
    prune p = {0};
    brisk_prune_default(&p.o);
    p.tokens = (int)p.o.max_tokens;
    char strategies[256];
    brisk_prune_strategies(strategies, sizeof strategies);
    const opt_spec specs[] = {
        {"-m --model", "MODEL", "the model to prune: a file, a folder, or a name", OPT_STR,
         &p.model, 0, 0},
        {"-o --output", "FILE", "the pruned model", OPT_STR, &p.out, 0, 0},
        {"--strategy", "NAME", strategies, OPT_STR, &p.o.strategy, 0, 0},
        {"--ratio", "R", "share to leave out, as 0.2", OPT_FLOAT, &p.ratio, 0, 1},
        {"--target-speed", "X", "instead: what makes decoding X times as fast, as 1.2", OPT_FLOAT,
         &p.target_speed, 0, 100},
        {"--calibrate", "FILE", "text that choice and repair go by", OPT_STR, &p.calibrate, 0, 0},
        {"--calibrate-tokens", "N", "of it that are read; 0: all (20000)", OPT_INT, &p.tokens, 0,
         INT32_MAX},
        {"--no-repair", NULL, "what stays keeps its values", OPT_FLAG, &p.o.no_repair, 0, 0},
        {"--reconstruct", "SECONDS", "then fit feed-forward blocks to the dense ones for so long",
         OPT_FLOAT, &p.reconstruct, 0, 1e6},
        {"--choose", "kl|influence|contiguous", "how layers are chosen (kl)", OPT_CHOICE, &p.choice,
         0, 0},
        {"--nm", "N:M", "strategy nm: of each M weights of a row N stay, as 2:4", OPT_STR, &p.nm, 0,
         0},
        {"--ratios", "uniform|outliers|kl", "single weights: of the layers (uniform)", OPT_CHOICE,
         &p.ratios, 0, 0},
        {"--sparse", NULL, "write matrices with many zeros as sparse tensors", OPT_FLAG,
         &p.o.sparse, 0, 0},
        {"--type", "NAME", "of the matrices written (as they were)", OPT_STR, &p.o.type, 0, 0},
        {"--eval", "FILE", "text for perplexity and KL before and after", OPT_STR, &p.eval, 0, 0},
        {"--no-bench", NULL, "do not measure the speed before and after", OPT_FLAG, &p.no_bench, 0,
         0},
        {"-t --threads", "N", "threads (all that the process may use)", OPT_INT, &p.o.threads, 0,
         256},
        {"--json", NULL, "print the report as JSON", OPT_FLAG, &p.json, 0, 0},
    };
    const opt_table table = {
        .verb = "prune",
        .usage = "usage: brisk prune -m MODEL -o OUT.gguf --strategy NAME --ratio R [options]",
        .about = "Leaves out what a model needs least and says what that saved and cost.",
        .specs = specs,
        .n_specs = BK_ARRAY_LEN(specs)};
    int status;
    if (!cli_options(&table, argc, argv, &status)) return status;
    status = go(&p);
    bk_buf_free(&p.text);
    bk_buf_free(&p.eval_text);
    return status == EXIT_ERROR ? cli_failed() : status;
}
