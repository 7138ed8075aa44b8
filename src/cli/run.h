/* What `brisk run` knows while it runs; shared by the one-answer path and the interactive chat. */
#ifndef BRISK_CLI_RUN_H
#define BRISK_CLI_RUN_H

#include "cli/cli.h"

typedef struct run {
    /* Options. */
    const char *model_name, *hub, *prompt, *file, *system;
    opt_strs stop;
    int n_predict, context, batch, threads, color;
    brisk_sampling sampling;
    bool ignore_eos, raw, json, verbose, quiet;

    /* State. */
    brisk_model *model;
    brisk_model_info info;
    brisk_session *session;
    char path[4096];   /* of the model */
    bool chat;         /* with the model's template */
    bool out_terminal; /* stdout is one */
    bool out_failed;   /* writing to it went wrong */
    double load_ms;
    bk_buf answer; /* text of the newest answer */
} run;

enum { RUN_N_DEFAULT = -2 }; /* n_predict was not given */

/* Generates into r->answer and, when `print`, to stdout. False after printing why not. */
bool run_answer(run *r, bool print, brisk_stats *stats);

/* The figures of an answer in one line on stderr. */
void run_print_figures(const run *r, const brisk_stats *s);

/* Chats until the user leaves; returns the exit status. */
int run_repl(run *r);

#endif
