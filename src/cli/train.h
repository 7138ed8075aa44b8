/* Inside of `brisk train`: cmd_train.c reads the options, train_loop.c takes the steps, train_log.c keeps
 * the table of losses, train_print.c tells. */
#ifndef BRISK_CLI_TRAIN_H
#define BRISK_CLI_TRAIN_H

#include <limits.h>

#include "brisk_train.h"
#include "cli/cli.h"

/* Line of the table: the mean of the steps since the line before, and a score where there was one. */
typedef struct train_row {
    int step;
    double loss, lr, grad_norm, tokens_per_second;
    double valid_loss, accuracy; /* valid_loss 0: none; accuracy of mlp */
} train_row;

typedef struct train_log {
    const char *path; /* CSV; NULL: none is written */
    train_row *rows;
    size_t n, cap;
} train_log;

/* With `resume`, lines up to that step are taken from the file that is there. False after printing why
 * not. */
bool train_log_open(train_log *log, const char *path, int resume);
bool train_log_add(train_log *log, const train_row *row);
/* The whole table again, atomically: whoever draws it meanwhile sees whole lines. */
bool train_log_write(const train_log *log);
void train_log_free(train_log *log);

typedef struct train_run {
    brisk_train_options o;
    const char *kind, *type, *log_path, *plot;
    const char *out, *checkpoint; /* NULL: mlp, nothing is kept */
    char checkpoint_path[4096], digits[PATH_MAX];
    int save_every, eval_every, eval_tokens, log_every; /* 0: as it suits the number of steps */
    bool resume, json;
    int argc; /* as given, for the line that says how to go on */
    char **argv;

    brisk_train *train;
    brisk_train_info info;
    brisk_train_score score; /* the last one; over all of the part held out at the end */
    bool scored;
    train_log log;
    cli_progress bar;
    uint64_t tokens; /* since this start */
    double seconds;
} train_run;

/* All steps, scores and checkpoints; the exit status. */
int train_loop(train_run *r);

/* What is trained, from what; not with --json. */
void train_print_start(const train_run *r);
void train_print_before(const train_run *r); /* the first score of a model that is to be repaired */
void train_print_row(const train_run *r, const train_row *row);
void train_print_end(const train_run *r);
void train_print_json(const train_run *r);
/* "go on with: brisk train ... --resume" */
void train_print_resume(const train_run *r);
/* The picture of the log; false after printing why not. */
bool train_write_plot(const train_run *r);

#endif
