/* brisk tokenize: the ids of each line of a text. */
#include <string.h>

#include "base/json_write.h"
#include "base/mem.h"
#include "cli/cli.h"

typedef struct job {
    const char *model_name, *file, *prompt, *pre;
    bool json, bos, special;
    brisk_model *model;
    brisk_token *ids; /* [cap], reused from line to line */
    size_t cap;
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
    };
    const opt_table table = {.verb = "tokenize",
                             .usage = "usage: brisk tokenize [-m MODEL] -f FILE [options]",
                             .about = "Prints the token ids of each line of a text. The weights "
                                      "are not read.",
                             .specs = specs,
                             .n_specs = BK_ARRAY_LEN(specs)};
    return cli_options(&table, argc, argv, status);
}

static bool encode(job *j, bk_str line, size_t *n) {
    brisk_error err;
    /* A line has no more tokens than bytes, but for the two that may be put in front. */
    if (line.len + 2 > j->cap) {
        bk_free(j->ids);
        j->cap = bk_max_size(4096, 2 * line.len);
        j->ids = bk_alloc(j->cap, sizeof *j->ids);
    }
    if (!j->ids) {
        cli_fail("no memory for token ids");
        return false;
    }
    brisk_status st =
        brisk_tokenize(j->model, line.data, line.len, j->bos, j->special, j->ids, j->cap, n, &err);
    if (st) cli_fail("%s", err.text);
    return !st;
}

static void print_json(const job *j, size_t n, bk_buf *out) {
    bk_json w = {.out = out};
    bk_json_begin(&w, '[');
    for (size_t i = 0; i < n; i++) bk_json_int(&w, j->ids[i]);
    bk_json_end(&w, ']');
    bk_buf_putc(out, '\n');
}

/* One token a row, as a JSON string so that spaces and line ends show. */
static void print_rows(const job *j, size_t n, bk_buf *out) {
    for (size_t i = 0; i < n; i++) {
        size_t len;
        bk_json w = {.out = out};
        const char *bytes = brisk_token_bytes(j->model, j->ids[i], &len, NULL);
        bk_buf_printf(out, "%8d  ", (int)j->ids[i]);
        bk_json_str(&w, (bk_str){bytes, len});
        bk_buf_putc(out, '\n');
    }
    bk_buf_putc(out, '\n');
}

static bool one_line(job *j, bk_str line) {
    size_t n;
    bk_buf out = {0};
    bool ok = encode(j, line, &n);
    if (ok && j->json) print_json(j, n, &out);
    if (ok && !j->json) print_rows(j, n, &out);
    if (out.failed) cli_fail("no memory for the output");
    ok = ok && !out.failed && fwrite(out.data, 1, out.len, stdout) == out.len;
    bk_buf_free(&out);
    return ok;
}

static bool all_lines(job *j, bk_str text) {
    while (text.len > 0) {
        const char *end = memchr(text.data, '\n', text.len);
        size_t len = end ? (size_t)(end - text.data) : text.len;
        if (!one_line(j, (bk_str){text.data, len})) return false;
        len += end != NULL;
        text = (bk_str){text.data + len, text.len - len};
    }
    return true;
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
    bool ok = j.prompt ? one_line(&j, bk_str_from(j.prompt))
                       : cli_read_file(j.file, &text) && all_lines(&j, bk_buf_view(&text));
    bk_buf_free(&text);
    bk_free(j.ids);
    brisk_model_close(&j.model);
    return cli_finish_output(stdout) && ok ? 0 : EXIT_ERROR;
}
