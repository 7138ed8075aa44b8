#include <signal.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "cli/cli.h"
#include "cli/eval.h"

typedef struct eval {
    const char *model_name, *hub, *file, *tokens, *reference_name, *reference_logits, *save_logits,
        *choices_file;
    int context, threads, greedy, greedy_tokens;
    cli_cache_types cache;
    bool json, fast;
    const char *head, *head_keep;
    brisk_model *model, *reference;
    char path[4096];
    cli_progress bar;
    bk_buf text, choices_text;
    brisk_eval_result result;
    brisk_greedy_result answers;  /* prompts 0: none */
    brisk_choices_result choices; /* questions 0: none */
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
    snprintf(note, sizeof note, ppl > 0 ? "%zu of %zu, perplexity %.4f" : "%zu of %zu", done, total,
             ppl);
    cli_progress_show(user, (double)done / (double)total, note);
}

static brisk_status evaluate(eval *e, const brisk_eval_options *o, brisk_error *err) {
    if (e->file)
        return brisk_eval_text(e->model, e->text.data ? e->text.data : "", e->text.len, o,
                               &e->result, err);
    if (!e->tokens) return BRISK_OK;
    sequences s = {0};
    brisk_status st = BRISK_ERR_IO; /* its line is printed already */
    if (read_sequences(e->tokens, &s)) {
        st = brisk_eval_tokens(e->model, s.ids, s.lengths, s.n_lengths, o, &e->result, err);
    }
    bk_free(s.ids);
    bk_free(s.lengths);
    return st;
}

static brisk_status measure(eval *e, brisk_error *err) {
    brisk_eval_options o;
    brisk_eval_options_default(&o);
    o.context = e->context;
    o.reference = e->reference;
    o.reference_logits = e->reference_logits;
    o.save_logits = e->save_logits;
    o.progress = on_progress;
    o.user = &e->bar;
    o.cancel = &cli_interrupted;
    cli_progress_start(&e->bar, "evaluating");
    brisk_status st = evaluate(e, &o, err);
    cli_progress_end(&e->bar);
    if (!st && e->greedy) {
        cli_progress_start(&e->bar, "answering");
        st = brisk_eval_greedy(e->model, e->text.data ? e->text.data : "", e->text.len, e->greedy,
                               e->greedy_tokens, &o, &e->answers, err);
        cli_progress_end(&e->bar);
    }
    if (!st && e->choices_file) {
        cli_progress_start(&e->bar, "choosing");
        st = brisk_eval_choices(e->model, e->choices_text.data ? e->choices_text.data : "",
                                e->choices_text.len, &o, &e->choices, err);
        cli_progress_end(&e->bar);
    }
    return st;
}

static int check(const eval *e) {
    if (e->file && e->tokens) return cli_fail("give -f or --tokens, not both");
    if (!e->file && !e->tokens && !e->choices_file) {
        return cli_fail(
            "give a text with -f, token ids with --tokens, or questions with --choices");
    }
    if (e->reference_name && e->reference_logits) {
        return cli_fail("give --reference or --reference-logits, not both");
    }
    if (e->greedy && (!e->file || !e->reference_name)) {
        return cli_fail(
            "--greedy compares answers to parts of a text: it needs -f and --reference");
    }
    return 0;
}

static bool open_all(eval *e) {
    char reference_path[4096];
    cli_open o = {.model = e->model_name,
                  .hub = e->hub,
                  .threads = e->threads,
                  .cache = e->cache,
                  .fast = e->fast,
                  .head = e->head,
                  .head_keep = e->head_keep,
                  .untold = true};
    if (e->file && !cli_read_file(e->file, &e->text)) return false;
    if (e->choices_file && !cli_read_file(e->choices_file, &e->choices_text)) return false;
    e->model = cli_open_model(&o, e->path, sizeof e->path);
    o.model = e->reference_name;
    o.hub = NULL;
    o.cache = (cli_cache_types){0};
    o.fast = false;
    o.head = o.head_keep = NULL;
    if (e->model && o.model)
        e->reference = cli_open_model(&o, reference_path, sizeof reference_path);
    return e->model && (!o.model || e->reference);
}

static int go(eval *e) {
    int status = check(e);
    if (status) return status;
    if (!open_all(e)) return cli_failed();
    cli_catch(SIGINT);
    brisk_error err = {0}; /* stays empty where a line was printed already */
    uint64_t start = bk_now_ns();
    brisk_status st = measure(e, &err);
    if (st == BRISK_ERR_CANCELLED) return EXIT_INTERRUPTED;
    if (st) return *err.text ? cli_fail("%s", err.text) : EXIT_ERROR;
    const eval_report report = {.model = e->path,
                                .result = &e->result,
                                .answers = &e->answers,
                                .choices = &e->choices,
                                .reference = e->reference != NULL,
                                .seconds = (double)(bk_now_ns() - start) * 1e-9};
    if (e->json) {
        eval_print_json(&report);
    } else {
        eval_print_text(&report);
    }
    return cli_finish_output(stdout) ? 0 : EXIT_ERROR;
}

int cmd_eval(int argc, char **argv) {
    eval e = {.greedy_tokens = 64};
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
        {"--choices", "PATH", "questions with one right choice, a JSON list (docs/eval.md)",
         OPT_STR, &e.choices_file, 0, 0},
        {"--greedy", "N", "compare greedy answers to N parts of the text (0)", OPT_INT, &e.greedy,
         0, 10000},
        {"--greedy-tokens", "N", "tokens of each answer (64)", OPT_INT, &e.greedy_tokens, 1,
         100000},
        CLI_CACHE_SPECS(&e.cache),
        CLI_FAST_SPEC(&e.fast),
        CLI_HEAD_SPECS(&e),
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
    bk_buf_free(&e.text);
    bk_buf_free(&e.choices_text);
    return status;
}
