#include <signal.h>
#include <string.h>

#include "base/clock.h"
#include "base/json_write.h"
#include "base/mem.h"
#include "brisk_tools.h"
#include "cli/cli.h"

typedef struct eval {
    const char *model_name, *hub, *file, *tokens, *reference_name, *reference_logits, *save_logits;
    int context, threads;
    cli_cache_types cache;
    bool json, fast;
    brisk_model *model, *reference;
    char path[4096];
    cli_progress bar;
} eval;

/* ---- Token ids from JSON: [1, 2] or [[1, 2], [3]] ----------------------------------------------- */

typedef struct sequences {
    brisk_token *ids;
    size_t *lengths;
    size_t n_ids, n_lengths;
} sequences;

static void skip_blanks(const char **at) { *at += strspn(*at, " \t\r\n"); }

/* A list of numbers after its '['; false when it is none. */
static bool take_ids(const char **at, sequences *s) {
    size_t before = s->n_ids;
    skip_blanks(at);
    while (**at != ']') {
        long long id;
        char digits[16];
        size_t len = strspn(*at, "0123456789");
        if (len == 0 || len >= sizeof digits) return false;
        memcpy(digits, *at, len);
        digits[len] = '\0';
        if (!opt_number(digits, 0, INT32_MAX, &id)) return false;
        s->ids[s->n_ids++] = (brisk_token)id;
        *at += len;
        skip_blanks(at);
        if (**at == ',') {
            ++*at;
            skip_blanks(at);
            if (**at == ']') return false;
        } else if (**at != ']') {
            return false;
        }
    }
    ++*at;
    s->lengths[s->n_lengths++] = s->n_ids - before;
    return true;
}

static bool take_sequences(const char *at, sequences *s) {
    skip_blanks(&at);
    if (*at++ != '[') return false;
    skip_blanks(&at);
    bool good = true, nested = *at == '[';
    if (!nested) good = take_ids(&at, s);
    while (good && nested) {
        if (*at++ != '[' || !take_ids(&at, s)) return false;
        skip_blanks(&at);
        if (*at == ']') {
            at++;
            break;
        }
        if (*at++ != ',') return false;
        skip_blanks(&at);
    }
    skip_blanks(&at);
    return good && *at == '\0';
}

static bool read_sequences(const char *path, sequences *s) {
    bk_buf text = {0};
    bool good = cli_read_file(path, &text);
    if (good) {
        /* Every id and every list takes at least one character of its own. */
        s->ids = bk_alloc(text.len + 1, sizeof *s->ids);
        s->lengths = bk_alloc(text.len + 1, sizeof *s->lengths);
        good = s->ids && s->lengths;
        if (!good) cli_fail("no memory for the tokens of %s", path);
    }
    if (good && (strlen(text.data ? text.data : "") != text.len ||
                 !take_sequences(text.data ? text.data : "", s))) {
        cli_fail("%s: not a JSON list of token ids, nor a list of such lists", path);
        good = false;
    }
    bk_buf_free(&text);
    return good;
}

/* ---- Running ------------------------------------------------------------------------------------ */

static void on_progress(size_t done, size_t total, double ppl, void *user) {
    char note[64];
    snprintf(note, sizeof note, "%zu of %zu, perplexity %.4f", done, total, ppl);
    cli_progress_show(user, (double)done / (double)total, note);
}

static brisk_status evaluate(eval *e, brisk_eval_result *result, brisk_error *err) {
    brisk_eval_options o;
    brisk_eval_options_default(&o);
    o.context = e->context;
    o.reference = e->reference;
    o.reference_logits = e->reference_logits;
    o.save_logits = e->save_logits;
    o.progress = on_progress;
    o.user = &e->bar;
    o.cancel = &cli_interrupted;
    brisk_status st = BRISK_ERR_IO;
    err->text[0] = '\0'; /* what goes wrong before the call prints its own line */
    if (e->tokens) {
        sequences s = {0};
        if (read_sequences(e->tokens, &s)) {
            st = brisk_eval_tokens(e->model, s.ids, s.lengths, s.n_lengths, &o, result, err);
        }
        bk_free(s.ids);
        bk_free(s.lengths);
    } else {
        bk_buf text = {0};
        if (cli_read_file(e->file, &text)) {
            const char *data = text.data ? text.data : "";
            st = brisk_eval_text(e->model, data, text.len, &o, result, err);
        }
        bk_buf_free(&text);
    }
    return st;
}

/* ---- Output ------------------------------------------------------------------------------------- */

static void print_text(const brisk_eval_result *r) {
    if (r->tokens > 0) {
        printf("perplexity      %.4f +/- %.5f  (%zu tokens scored)\n", r->ppl, r->ppl_error,
               r->tokens);
    }
    if (r->compared == 0) return;
    if (r->tokens > 0) printf("of the reference %.4f\n", r->ref_ppl);
    printf("KL divergence   mean %.6f +/- %.6f, median %.6f, p99 %.6f, max %.6f  (%zu tokens)\n",
           r->kl_mean, r->kl_error, r->kl_median, r->kl_p99, r->kl_max, r->compared);
    printf("same top token  %.3f %%\n", 100 * r->top_agreement);
}

static void print_json(const eval *e, const brisk_eval_result *r, double seconds) {
    bk_buf out = {0};
    bk_json w = {.out = &out};
    bk_json_begin(&w, '{');
    bk_json_key_str(&w, "model", e->path);
    bk_json_key_uint(&w, "tokens", r->tokens);
    if (r->tokens > 0) {
        bk_json_key_double(&w, "nll", r->nll);
        bk_json_key_double(&w, "ppl", r->ppl);
        bk_json_key_double(&w, "ppl_error", r->ppl_error);
    }
    if (r->compared > 0) {
        bk_json_key_uint(&w, "compared", r->compared);
        if (r->tokens > 0) bk_json_key_double(&w, "ref_ppl", r->ref_ppl);
        bk_json_key_double(&w, "kl_mean", r->kl_mean);
        bk_json_key_double(&w, "kl_error", r->kl_error);
        bk_json_key_double(&w, "kl_median", r->kl_median);
        bk_json_key_double(&w, "kl_p99", r->kl_p99);
        bk_json_key_double(&w, "kl_max", r->kl_max);
        bk_json_key_double(&w, "top_agreement", r->top_agreement);
    }
    bk_json_key_double(&w, "seconds", seconds);
    bk_json_end(&w, '}');
    bk_buf_putc(&out, '\n');
    if (!out.failed) fwrite(out.data, 1, out.len, stdout);
    bk_buf_free(&out);
}

static int go(eval *e) {
    if (!e->file == !e->tokens) return cli_fail("give a text with -f, or token ids with --tokens");
    if (e->reference_name && e->reference_logits) {
        return cli_fail("give --reference or --reference-logits, not both");
    }
    char reference_path[4096];
    cli_open o = {.model = e->model_name,
                  .hub = e->hub,
                  .threads = e->threads,
                  .cache = e->cache,
                  .fast = e->fast,
                  .untold = true};
    e->model = cli_open_model(&o, e->path, sizeof e->path);
    if (!e->model) return cli_failed();
    o.model = e->reference_name;
    o.hub = NULL;
    o.cache = (cli_cache_types){0};
    o.fast = false;
    if (o.model) e->reference = cli_open_model(&o, reference_path, sizeof reference_path);
    if (o.model && !e->reference) return EXIT_ERROR;
    cli_catch(SIGINT);
    brisk_eval_result result;
    brisk_error err;
    uint64_t start = bk_now_ns();
    cli_progress_start(&e->bar, "evaluating");
    brisk_status st = evaluate(e, &result, &err);
    cli_progress_end(&e->bar);
    if (st == BRISK_ERR_CANCELLED) return EXIT_INTERRUPTED;
    if (st) return *err.text ? cli_fail("%s", err.text) : EXIT_ERROR;
    if (e->json) {
        print_json(e, &result, (double)(bk_now_ns() - start) * 1e-9);
    } else {
        print_text(&result);
    }
    return cli_finish_output(stdout) ? 0 : EXIT_ERROR;
}

int cmd_eval(int argc, char **argv) {
    eval e = {0};
    const opt_spec specs[] = {
        {"-m --model", "PATH|NAME", "model file, or name of a fetched one", OPT_STR, &e.model_name,
         0, 0},
        CLI_HUB_SPEC(&e.hub),
        {"-f --file", "PATH", "text to predict (- is standard input)", OPT_STR, &e.file, 0, 0},
        {"--tokens", "PATH", "or token ids: a JSON list, or a list of lists", OPT_STR, &e.tokens, 0,
         0},
        {"-c --ctx-size", "N", "tokens per window of the text (512)", OPT_INT, &e.context, 4, 1e8},
        {"--reference", "PATH|NAME", "compare with this model", OPT_STR, &e.reference_name, 0, 0},
        {"--reference-logits", "PATH", "compare with the rows of this .npy file", OPT_STR,
         &e.reference_logits, 0, 0},
        {"--save-logits", "PATH", "write the rows of logits to this .npy file", OPT_STR,
         &e.save_logits, 0, 0},
        CLI_CACHE_SPECS(&e.cache),
        CLI_FAST_SPEC(&e.fast),
        {"-t --threads", "N", "compute threads; 0: as many as there are cores", OPT_INT, &e.threads,
         0, 256},
        {"--json", NULL, "one JSON object", OPT_FLAG, &e.json, 0, 0},
    };
    const opt_table table = {
        .verb = "eval",
        .usage = "usage: brisk eval -f TEXT [-m MODEL] [options]",
        .about = "Perplexity of a text, and KL divergence from a reference's predictions.",
        .specs = specs,
        .n_specs = BK_ARRAY_LEN(specs)};
    int status;
    if (!cli_options(&table, argc, argv, &status)) return status;
    status = go(&e);
    brisk_model_close(&e.model);
    brisk_model_close(&e.reference);
    return status;
}
