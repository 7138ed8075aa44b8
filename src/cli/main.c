/* brisk: the program. Each verb is a file cmd_VERB.c. */
#include <langinfo.h>
#include <locale.h>
#include <stdarg.h>
#include <string.h>

#include "cli/cli.h"

static const struct verb {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *about;
    bool plumbing; /* for scripts and for looking inside; listed apart */
} verbs[] = {
    {"run", cmd_run, "answer a prompt, complete text, or chat", false},
    {"serve", cmd_serve, "answer many users over HTTP, with a chat page", false},
    {"train", cmd_train, "learn a language model or a classifier from a file", false},
    {"quantize", cmd_quantize, "a model in fewer bits, by what they cost", false},
    {"prune", cmd_prune, "leave out what a model needs least: smaller and faster", false},
    {"pull", cmd_pull, "fetch a model", false},
    {"ls", cmd_ls, "list the models on this machine", false},
    {"bench", cmd_bench, "measure prompt and decode speed", false},
    {"profile", cmd_profile, "where the time of a token goes, beside the machine's limits", false},
    {"doctor", cmd_doctor, "look at the machine and say what to do", false},
    {"info", cmd_info, "what is in a model file", false},
    {"eval", cmd_eval, "perplexity; distance from a reference model", false},
    {"tokenize", cmd_tokenize, "text to token ids", true},
    {"detokenize", cmd_detokenize, "token ids to text", true},
    {"template", cmd_template, "render a chat template", true},
    {"convert", cmd_convert, "a folder, a PyTorch LSTM or a split model as one GGUF file", true},
};

int cli_fail(const char *fmt, ...) {
    char safe[1536];
    va_list args;
    va_start(args, fmt);
    bk_str_vprintable(safe, sizeof safe, fmt, args);
    va_end(args);
    fflush(stdout);
    fprintf(stderr, "brisk: %s\n", safe);
    return EXIT_ERROR;
}

bool cli_options(const opt_table *t, int argc, char **argv, int *status) {
    char err[640];
    opt_result r = opt_parse(t, argc, argv, err, sizeof err);
    if (r == OPT_OK) return true;
    *status = 0;
    if (r == OPT_ERROR) {
        *status = cli_fail("%s", err);
        return false;
    }
    bk_buf text = {0};
    opt_print_help(t, &text);
    fwrite(text.data, 1, text.len, stdout);
    bk_buf_free(&text);
    if (!cli_finish_output(stdout)) *status = EXIT_ERROR;
    return false;
}

static void print_verbs(FILE *to, bool plumbing) {
    for (size_t i = 0; i < BK_ARRAY_LEN(verbs); i++) {
        if (verbs[i].plumbing != plumbing) continue;
        fprintf(to, "  %-11s%s\n", verbs[i].name, verbs[i].about);
    }
}

static void print_usage(FILE *to) {
    fprintf(to, "brisk %s: runs language models on your processor, fast\n\n", brisk_version());
    fprintf(to, "usage: brisk VERB [options]\n\n");
    print_verbs(to, false);
    fprintf(to, "\nplumbing:\n");
    print_verbs(to, true);
    fprintf(to, "\nbrisk VERB --help tells more; brisk --version names the version.\n");
}

static int unknown_verb(const char *name) {
    const char *near = NULL;
    size_t best = strlen(name) / 3 + 2;
    for (size_t i = 0; i < BK_ARRAY_LEN(verbs); i++) {
        size_t d = opt_distance(name, verbs[i].name);
        if (d < best) {
            best = d;
            near = verbs[i].name;
        }
    }
    if (near) return cli_fail("unknown verb '%.80s'; did you mean %s?", name, near);
    return cli_fail("unknown verb '%.80s' (brisk --help lists them)", name);
}

/* Line editing asks the locale what the terminal's characters are. Where none is set (a bare container)
 * UTF-8 is the better guess. */
static void set_characters(void) {
    setlocale(LC_CTYPE, "");
    if (strcmp(nl_langinfo(CODESET), "UTF-8") != 0) setlocale(LC_CTYPE, "C.UTF-8");
}

int main(int argc, char **argv) {
    set_characters();
    if (argc < 2) {
        print_usage(stderr);
        return EXIT_ERROR;
    }
    const char *name = argv[1];
    for (size_t i = 0; i < BK_ARRAY_LEN(verbs); i++) {
        if (strcmp(name, verbs[i].name) == 0) return verbs[i].run(argc - 1, argv + 1);
    }
    if (strcmp(name, "help") == 0 && argc > 2) {
        char *help[] = {argv[2], (char[]){"--help"}, NULL};
        for (size_t i = 0; i < BK_ARRAY_LEN(verbs); i++) {
            if (strcmp(argv[2], verbs[i].name) == 0) return verbs[i].run(2, help);
        }
        return unknown_verb(argv[2]);
    }
    if (strcmp(name, "--version") == 0 || strcmp(name, "version") == 0) {
        printf("brisk %s\n", brisk_version());
        return cli_finish_output(stdout) ? 0 : EXIT_ERROR;
    }
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0 || strcmp(name, "help") == 0) {
        print_usage(stdout);
        return cli_finish_output(stdout) ? 0 : EXIT_ERROR;
    }
    return unknown_verb(name);
}
