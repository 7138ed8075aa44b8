/* brisk convert: a Hugging Face folder, a PyTorch LSTM or a split model, as one GGUF file. */
#include <signal.h>

#include "brisk_tools.h"
#include "cli/cli.h"

static void on_progress(double done, void *user) { cli_progress_show(user, done, NULL); }

static int convert(const char *in, const char *out, brisk_convert_options *o) {
    cli_progress bar;
    brisk_error err;
    char path[4096];
    if (!cli_model_path(in, path, sizeof path)) return EXIT_ERROR;
    cli_catch(SIGINT);
    cli_catch(SIGTERM);
    cli_progress_start(&bar, "converting");
    o->progress = on_progress;
    o->user = &bar;
    o->cancel = &cli_interrupted;
    brisk_status st = brisk_convert(path, out, o, &err);
    cli_progress_end(&bar);
    if (st == BRISK_ERR_CANCELLED) return EXIT_INTERRUPTED;
    return st ? cli_fail("%s", err.text) : 0;
}

int cmd_convert(int argc, char **argv) {
    brisk_convert_options o;
    brisk_convert_options_default(&o);
    opt_strs rest = {0};
    const opt_spec specs[] = {
        {"--type --outtype", "auto|f32|f16|bf16|q8_0|q4_0", "of matrices; auto: as they are stored",
         OPT_STR, &o.type, 0, 0},
        {"--keep", "NAME", "matrices whose names contain this stay as they are stored", OPT_STR,
         &o.keep, 0, 0},
        {"--vocab", "FILE", "of a PyTorch model: {\"token\": id} as JSON, or a token a line",
         OPT_STR, &o.vocab, 0, 0},
        {"--pre", "NAME",
         "pre-tokenizer, where it is not recognised (gpt-2, llama-bpe, qwen2, ...)", OPT_STR,
         &o.pre, 0, 0},
    };
    const opt_table table = {.verb = "convert",
                             .usage = "usage: brisk convert IN OUT.gguf [options]",
                             .about = "Writes a Hugging Face folder, a PyTorch LSTM's state "
                                      "dictionary or a split model as one GGUF file.",
                             .specs = specs,
                             .n_specs = BK_ARRAY_LEN(specs),
                             .rest = &rest};
    int status;
    if (!cli_options(&table, argc, argv, &status)) return status;
    if (rest.n != 2) return cli_fail("brisk convert takes two paths: the model and OUT.gguf");
    return convert(rest.v[0], rest.v[1], &o);
}
