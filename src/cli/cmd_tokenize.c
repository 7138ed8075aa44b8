/* brisk tokenize: the ids of each line of a text. */
#include <string.h>

#include "base/json_write.h"
#include "base/mem.h"
#include "brisk_tools.h"
#include "cli/cli.h"

typedef struct job {
    const char *model_name, *file, *prompt, *pre;
    bool json, bos, special;
    brisk_text_options text; /* what is done before; any of it shows both ways */
    brisk_model *model;
    cli_tokens tokens;
} job;

static bool parse(job *j, int argc, char **argv, int *status) {
    const opt_spec specs[] = {
        {"-m --model", "PATH|NAME", "model file, or name of a fetched one (" CLI_DEFAULT_MODEL ")",
         OPT_STR, &j->model_name, 0, 0},
        {"-f --file", "PATH", "the text, line by line (- is standard input)", OPT_STR, &j->file, 0,
         0},
        {"-p --prompt", "TEXT", "the text, as one line whatever is in it", OPT_STR, &j->prompt, 0,
         0},
        {"--json", NULL, "one array of ids per line", OPT_FLAG, &j->json, 0, 0},
        {"--bos", NULL, "the begin token first, where the model wants one", OPT_FLAG, &j->bos, 0,
         0},
        {"--special", NULL, "names of control tokens in the text are those tokens", OPT_FLAG,
         &j->special, 0, 0},
        {"--pre", "NAME", "pre-tokenizer in place of the file's tokenizer.ggml.pre", OPT_STR,
         &j->pre, 0, 0},
        {"--normalize", "FORM", "before: normalise to nfc, nfd, nfkc or nfkd", OPT_STR,
         &j->text.normalize, 0, 0},
        {"--casefold", NULL, "before: fold case", OPT_FLAG, &j->text.casefold, 0, 0},
        {"--stop-words", "LISTS", "before: leave out the words of en, zh, a file (en,zh,./my.txt)",
         OPT_STR, &j->text.stop_words, 0, 0},
    };
    const opt_table table = {.verb = "tokenize",
                             .usage = "usage: brisk tokenize [-m MODEL] -f FILE [options]",
                             .about = "Prints the token ids of each line of a text, before and "
                                      "after what the last options do. The weights are not read.",
                             .specs = specs,
                             .n_specs = BK_ARRAY_LEN(specs)};
    return cli_options(&table, argc, argv, status);
}

static void put_ids(const job *j, bk_json *w) {
    bk_json_begin(w, '[');
    for (size_t i = 0; i < j->tokens.n; i++) bk_json_int(w, j->tokens.ids[i]);
    bk_json_end(w, ']');
}

/* One token a row, as a JSON string so that spaces and line ends show. */
static void print_rows(const job *j, bk_buf *out) {
    for (size_t i = 0; i < j->tokens.n; i++) {
        size_t len;
        bk_json w = {.out = out};
        const char *bytes = brisk_token_bytes(j->model, j->tokens.ids[i], &len, NULL);
        bk_buf_printf(out, "%8d  ", (int)j->tokens.ids[i]);
        bk_json_str(&w, (bk_str){bytes, len});
        bk_buf_putc(out, '\n');
    }
    bk_buf_putc(out, '\n');
}

static bool put_line(job *j, bk_str line, bk_buf *out) {
    bk_json w = {.out = out};
    if (!cli_tokenize(j->model, line, j->bos, j->special, &j->tokens)) return false;
    if (!j->json) return print_rows(j, out), true;
    put_ids(j, &w);
    bk_buf_putc(out, '\n');
    return true;
}

/* One of the two texts: as an object's field, or as a row above its tokens. */
static bool put_text(job *j, const char *name, bk_str line, bk_json *w) {
    if (!cli_tokenize(j->model, line, j->bos, j->special, &j->tokens)) return false;
    if (!j->json) {
        bk_json s = {.out = w->out};
        bk_buf_printf(w->out, "%s: ", name);
        bk_json_str(&s, line);
        bk_buf_printf(w->out, ", %zu tokens\n", j->tokens.n);
        print_rows(j, w->out);
        return true;
    }
    bk_json_key(w, name);
    bk_json_begin(w, '{');
    bk_json_key(w, "text");
    bk_json_str(w, line);
    bk_json_key(w, "tokens");
    put_ids(j, w);
    bk_json_end(w, '}');
    return true;
}

static bool put_both(job *j, bk_str before, bk_str after, bk_buf *out) {
    bk_json w = {.out = out};
    if (j->json) bk_json_begin(&w, '{');
    bool ok = put_text(j, "before", before, &w) && put_text(j, "after", after, &w);
    if (!j->json) return ok;
    bk_json_end(&w, '}');
    bk_buf_putc(out, '\n');
    return ok;
}

/* after: NULL where nothing is done before. */
static bool one_line(job *j, bk_str line, const bk_str *after) {
    bk_buf out = {0};
    bool ok = after ? put_both(j, line, *after, &out) : put_line(j, line, &out);
    if (out.failed) cli_fail("no memory for the output");
    ok = ok && !out.failed && fwrite(out.data, 1, out.len, stdout) == out.len;
    bk_buf_free(&out);
    return ok;
}

static bk_str take_line(bk_str *text) {
    const char *end = text->len ? memchr(text->data, '\n', text->len) : NULL;
    bk_str line = {text->data, end ? (size_t)(end - text->data) : text->len};
    size_t used = line.len + (end != NULL);
    *text = (bk_str){text->data + used, text->len - used};
    return line;
}

/* Line by line, or as one. What is done before leaves line ends alone, so that lines have partners. */
static bool all_lines(job *j, bk_str text, const bk_str *prepared) {
    bk_str rest = prepared ? *prepared : (bk_str){0};
    if (j->prompt) return one_line(j, text, prepared);
    while (text.len > 0) {
        bk_str line = take_line(&text), after = take_line(&rest);
        if (!one_line(j, line, prepared ? &after : NULL)) return false;
    }
    return true;
}

static bool run(job *j, bk_str text) {
    if (!j->text.normalize && !j->text.casefold && !j->text.stop_words)
        return all_lines(j, text, NULL);
    brisk_error err;
    char *prepared;
    bk_str after;
    if (brisk_text_prepare(&j->text, text.data, text.len, &prepared, &after.len, &err))
        return cli_fail("%s", err.text), false;
    after.data = prepared;
    bool ok = all_lines(j, text, &after);
    brisk_free(prepared);
    return ok;
}

int cmd_tokenize(int argc, char **argv) {
    job j = {0};
    int status;
    char path[4096];
    if (!parse(&j, argc, argv, &status)) return status;
    if (!j.file == !j.prompt)
        return cli_fail("brisk tokenize takes a text: -f FILE (- is standard input) or -p TEXT");
    cli_open o = {.model = j.model_name, .tokenizer_only = true, .quiet = true, .pre = j.pre};
    j.model = cli_open_model(&o, path, sizeof path);
    if (!j.model) return EXIT_ERROR;
    bk_buf text = {0};
    bool ok = j.prompt ? run(&j, bk_str_from(j.prompt))
                       : cli_read_file(j.file, &text) && run(&j, bk_buf_view(&text));
    bk_buf_free(&text);
    bk_free(j.tokens.ids);
    brisk_model_close(&j.model);
    return cli_finish_output(stdout) && ok ? 0 : EXIT_ERROR;
}
