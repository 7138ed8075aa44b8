/* brisk template: a conversation as the model's chat template renders it. */
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"

typedef struct job {
    const char *model_name, *messages, *template_path, *pre;
} job;

static bool parse(job *j, int argc, char **argv, int *status) {
    const opt_spec specs[] = {
        {"-m --model", "PATH|NAME", "model file, or name of a fetched one (" CLI_DEFAULT_MODEL ")",
         OPT_STR, &j->model_name, 0, 0},
        {"-f --file", "PATH", "the request: JSON, an object or an array of messages", OPT_STR,
         &j->messages, 0, 0},
        {"--template --chat-template-file", "PATH", "template file in place of the model's own",
         OPT_STR, &j->template_path, 0, 0},
        {"--pre", "NAME", "pre-tokenizer in place of the file's tokenizer.ggml.pre", OPT_STR,
         &j->pre, 0, 0},
    };
    const opt_table table = {
        .verb = "template",
        .usage = "usage: brisk template [-m MODEL] -f MESSAGES.json [options]",
        .about = "Prints the text that the model's chat template makes of a request: an object "
                 "with messages,\ntools, add_generation_prompt, chat_template_kwargs, or the array "
                 "of messages alone.",
        .specs = specs,
        .n_specs = BK_ARRAY_LEN(specs)};
    return cli_options(&table, argc, argv, status);
}

static bool render(const job *j, const brisk_model *model, bk_buf *request, bk_buf *source) {
    brisk_error err;
    char *text;
    size_t len;
    if (!cli_read_file(j->messages, request)) return false;
    if (j->template_path && !cli_read_file(j->template_path, source)) return false;
    if (j->template_path && source->len > 0 && memchr(source->data, '\0', source->len)) {
        cli_fail("%s: not a text, it has a NUL", j->template_path);
        return false;
    }
    const char *own = !j->template_path ? NULL : source->len > 0 ? source->data : "";
    if (brisk_chat_render_json(model, bk_buf_view(request).data, request->len, own, &text, &len,
                               &err)) {
        cli_fail("%s", err.text);
        return false;
    }
    bool ok = cli_put_text(stdout, isatty(1), text, len);
    brisk_free(text);
    return ok;
}

int cmd_template(int argc, char **argv) {
    job j = {0};
    int status;
    char path[4096];
    if (!parse(&j, argc, argv, &status)) return status;
    if (!j.messages) return cli_fail("brisk template takes -f MESSAGES.json (- is standard input)");
    cli_open o = {.model = j.model_name, .tokenizer_only = true, .quiet = true, .pre = j.pre};
    brisk_model *model = cli_open_model(&o, path, sizeof path);
    if (!model) return EXIT_ERROR;
    bk_buf request = {0}, source = {0};
    bool ok = render(&j, model, &request, &source);
    bk_buf_free(&request);
    bk_buf_free(&source);
    brisk_model_close(&model);
    return cli_finish_output(stdout) && ok ? 0 : EXIT_ERROR;
}
