/* brisk detokenize: the text of each line of token ids. */
#include <string.h>
#include <unistd.h>

#include "base/json_write.h"
#include "base/mem.h"
#include "cli/cli.h"

typedef struct ids {
    brisk_token *data;
    size_t len, cap;
} ids;

static bool push(ids *list, brisk_token id) {
    if (list->len == list->cap) {
        size_t cap = bk_max_size(256, 2 * list->cap);
        brisk_token *data = bk_realloc(list->data, cap, sizeof *data);
        if (!data) return false;
        list->data = data;
        list->cap = cap;
    }
    list->data[list->len++] = id;
    return true;
}

static bool is_digit(char c) { return c >= '0' && c <= '9'; }

static void skip_blanks(bk_str *s) {
    while (s->len > 0 && (s->data[0] == ' ' || s->data[0] == '\t' || s->data[0] == '\r'))
        s->data++, s->len--;
}

static bool take(bk_str *s, char c) {
    skip_blanks(s);
    if (s->len == 0 || s->data[0] != c) return false;
    s->data++, s->len--;
    return true;
}

static bool take_id(bk_str *s, brisk_token *out) {
    int64_t v = 0;
    skip_blanks(s);
    if (s->len == 0 || !is_digit(s->data[0])) return false;
    for (; s->len > 0 && is_digit(s->data[0]); s->data++, s->len--) {
        v = 10 * v + (s->data[0] - '0');
        if (v > INT32_MAX) return false;
    }
    *out = (brisk_token)v;
    return true;
}

/* "[1, 2]": a JSON array of whole numbers and nothing else. */
static bool read_ids(bk_str line, ids *list) {
    brisk_token id;
    list->len = 0;
    if (!take(&line, '[')) return false;
    if (!take(&line, ']')) {
        do {
            if (!take_id(&line, &id) || !push(list, id)) return false;
        } while (take(&line, ','));
        if (!take(&line, ']')) return false;
    }
    skip_blanks(&line);
    return line.len == 0;
}

static bool print_text(const brisk_model *model, const ids *list, bool json, size_t row) {
    brisk_error err;
    char *text;
    size_t len;
    if (brisk_detokenize(model, list->data, list->len, &text, &len, &err)) {
        cli_fail("line %zu: %s", row, err.text);
        return false;
    }
    bk_buf out = {0};
    bk_json w = {.out = &out};
    if (json) {
        bk_json_str(&w, (bk_str){text, len});
    } else {
        bk_buf_append(&out, text, len);
    }
    bk_buf_putc(&out, '\n');
    brisk_free(text);
    if (out.failed) cli_fail("no memory for the output");
    bool ok = !out.failed && cli_put_text(stdout, isatty(1), out.data, out.len);
    bk_buf_free(&out);
    return ok;
}

static bool all_lines(const brisk_model *model, bk_str text, bool json) {
    ids list = {0};
    bool ok = true;
    for (size_t row = 1; text.len > 0 && ok; row++) {
        const char *end = memchr(text.data, '\n', text.len);
        size_t len = end ? (size_t)(end - text.data) : text.len;
        if (!read_ids((bk_str){text.data, len}, &list)) {
            cli_fail("line %zu: wanted a JSON array of token ids such as [1, 42]", row);
            ok = false;
        } else {
            ok = print_text(model, &list, json, row);
        }
        len += end != NULL;
        text = (bk_str){text.data + len, text.len - len};
    }
    bk_free(list.data);
    return ok;
}

int cmd_detokenize(int argc, char **argv) {
    const char *model_name = NULL, *file = NULL, *pre = NULL;
    bool json = false;
    int status;
    char path[4096];
    const opt_spec specs[] = {
        {"-m --model", "PATH|NAME", "model file, or name of a fetched one (" CLI_DEFAULT_MODEL ")",
         OPT_STR, &model_name, 0, 0},
        {"-f --file", "PATH", "one JSON array of ids per line (- is standard input)", OPT_STR,
         &file, 0, 0},
        {"--json", NULL, "texts as JSON strings, so that line ends in them show", OPT_FLAG, &json,
         0, 0},
        {"--pre", "NAME", "pre-tokenizer in place of the file's tokenizer.ggml.pre", OPT_STR, &pre,
         0, 0},
    };
    const opt_table table = {.verb = "detokenize",
                             .usage = "usage: brisk detokenize [-m MODEL] -f IDS [options]",
                             .about = "Prints the text of each line of token ids.",
                             .specs = specs,
                             .n_specs = BK_ARRAY_LEN(specs)};
    if (!cli_options(&table, argc, argv, &status)) return status;
    if (!file) return cli_fail("brisk detokenize takes -f IDS (- is standard input)");
    cli_open o = {.model = model_name, .tokenizer_only = true, .quiet = true, .pre = pre};
    brisk_model *model = cli_open_model(&o, path, sizeof path);
    if (!model) return EXIT_ERROR;
    bk_buf text = {0};
    bool ok = cli_read_file(file, &text) && all_lines(model, bk_buf_view(&text), json);
    bk_buf_free(&text);
    brisk_model_close(&model);
    return cli_finish_output(stdout) && ok ? 0 : EXIT_ERROR;
}
