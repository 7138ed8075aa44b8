#include <string.h>

#include "base/json_write.h"
#include "cli/cli.h"

static void print_table(const char *path, const brisk_model_info *i, bool metadata_only) {
    char a[32], b[32], text[256];
    const char *const fmt = "%-16s";
#define ROW(name, ...) (printf(fmt, name), printf(__VA_ARGS__), putchar('\n'))
    bk_str_printable(text, sizeof text, path, strlen(path));
    ROW("file", "%s (%s)", text, cli_bytes(i->file_bytes, a, sizeof a));
    ROW("name", "%s", *i->name ? i->name : "(none)");
    ROW("architecture", "%s", i->architecture);
    ROW("parameters", "%.2f M", (double)i->n_params * 1e-6);
    ROW("weights", "mostly %s, %s, %.2f bits each", i->quantization,
        cli_bytes(i->tensor_bytes, a, sizeof a),
        i->n_params ? 8.0 * (double)i->tensor_bytes / (double)i->n_params : 0.0);
    ROW("layers", "%d", i->n_layers);
    if (i->n_hidden) {
        ROW("width", "%d, hidden %d, output %d", i->n_embd, i->n_hidden, i->n_out);
    } else {
        ROW("width", "%d, feed-forward %d", i->n_embd, i->n_ff);
        ROW("heads", "%d of %d, %d for keys and values", i->n_heads, i->head_size, i->n_kv_heads);
    }
    ROW("vocabulary", "%d tokens", i->n_vocab);
    ROW("context", "%d tokens", i->context_length);
    uint64_t kept = i->n_hidden ? 2 * sizeof(float) * (uint64_t)i->n_hidden
                                : 4 * (uint64_t)i->n_kv_heads * (uint64_t)i->head_size;
    ROW(i->n_hidden ? "state" : "KV per token", "%s",
        cli_bytes((uint64_t)i->n_layers * kept, a, sizeof a));
    ROW("chat template", "%s", i->has_chat_template ? "yes" : "no");
    if (!metadata_only) {
        ROW("in memory", "%s, of which %s are read per token",
            cli_bytes(i->resident_bytes, a, sizeof a), cli_bytes(i->token_bytes, b, sizeof b));
        if (i->n_sparse + i->n_filled > 0) ROW("sparse", "%s", cli_sparse(i, text, sizeof text));
        ROW("kernels", "%s, %d thread%s", i->cpu_level, i->threads, i->threads == 1 ? "" : "s");
    }
#undef ROW
}

static void print_json(const char *path, const brisk_model_info *i, bool metadata_only) {
    bk_buf out = {0};
    bk_json w = {.out = &out};
    bk_json_begin(&w, '{');
    bk_json_key_str(&w, "path", path);
    bk_json_key_str(&w, "name", i->name);
    bk_json_key_str(&w, "architecture", i->architecture);
    bk_json_key_str(&w, "quantization", i->quantization);
    bk_json_key_uint(&w, "n_params", i->n_params);
    bk_json_key_uint(&w, "file_bytes", i->file_bytes);
    bk_json_key_uint(&w, "tensor_bytes", i->tensor_bytes);
    bk_json_key_int(&w, "n_layers", i->n_layers);
    bk_json_key_int(&w, "n_embd", i->n_embd);
    bk_json_key_int(&w, "n_hidden", i->n_hidden);
    bk_json_key_int(&w, "n_ff", i->n_ff);
    bk_json_key_int(&w, "n_heads", i->n_heads);
    bk_json_key_int(&w, "n_kv_heads", i->n_kv_heads);
    bk_json_key_int(&w, "head_size", i->head_size);
    bk_json_key_int(&w, "n_vocab", i->n_vocab);
    bk_json_key_int(&w, "context_length", i->context_length);
    bk_json_key_bool(&w, "has_chat_template", i->has_chat_template);
    if (!metadata_only) {
        bk_json_key_uint(&w, "resident_bytes", i->resident_bytes);
        bk_json_key_uint(&w, "token_bytes", i->token_bytes);
        bk_json_key_int(&w, "n_sparse", i->n_sparse);
        bk_json_key_int(&w, "n_filled", i->n_filled);
        bk_json_key_str(&w, "cpu_level", i->cpu_level);
        bk_json_key_int(&w, "threads", i->threads);
    }
    bk_json_end(&w, '}');
    bk_buf_putc(&out, '\n');
    if (!out.failed) fwrite(out.data, 1, out.len, stdout);
    bk_buf_free(&out);
}

int cmd_info(int argc, char **argv) {
    const char *model = NULL, *hub = NULL;
    bool json = false, metadata = false;
    opt_strs rest = {0};
    const opt_spec specs[] = {
        {"-m --model", "PATH|NAME", "model file, or name of a fetched one", OPT_STR, &model, 0, 0},
        CLI_HUB_SPEC(&hub),
        {"--metadata", NULL, "read the header only, leave the weights unchecked", OPT_FLAG,
         &metadata, 0, 0},
        {"--json", NULL, "one JSON object", OPT_FLAG, &json, 0, 0},
    };
    const opt_table table = {.verb = "info",
                             .usage = "usage: brisk info [MODEL] [options]",
                             .about = "Loads a model with all checks and says what is in it.",
                             .specs = specs,
                             .n_specs = BK_ARRAY_LEN(specs),
                             .rest = &rest};
    int status;
    if (!cli_options(&table, argc, argv, &status)) return status;
    if (rest.n > 1 || (rest.n == 1 && model)) return cli_fail("brisk info takes one model");
    cli_open o = {.model = rest.n ? rest.v[0] : model, .hub = hub, .metadata_only = metadata};
    char path[4096];
    brisk_model *m = cli_open_model(&o, path, sizeof path);
    if (!m) return cli_failed();
    brisk_model_info info;
    brisk_model_get_info(m, &info);
    if (json) {
        print_json(path, &info, metadata);
    } else {
        print_table(path, &info, metadata);
    }
    brisk_model_close(&m);
    return cli_finish_output(stdout) ? 0 : EXIT_ERROR;
}
