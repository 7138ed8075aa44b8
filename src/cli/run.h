/* What `brisk run` knows while it runs; shared by the one-answer path and the interactive chat. */
#ifndef BRISK_CLI_RUN_H
#define BRISK_CLI_RUN_H

#include "cli/cli.h"

typedef struct run {
    /* Options. */
    const char *model_name, *hub, *pre, *prompt, *file, *system;
    cli_cache_types cache;
    bool fast;
    int sparse;
    const char *head, *head_keep;
    opt_strs stop;
    int n_predict, context, batch, threads, color;
    brisk_sampling sampling;
    brisk_logit_bias biases[OPT_LIST_MAX]; /* sampling.logit_bias */
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

/* ---- Options (run_options.c) -------------------------------------------------------------------- */

/* True when the verb is to go on; otherwise *status is the exit status. */
bool run_parse(run *r, int argc, char **argv, int *status);

/* Changes an option of sampling by its name ("temp"). False after printing why not. */
bool run_set(run *r, const char *name, const char *value);

void run_pick_seed(run *r); /* where -1 asks for a random one */
void run_print_sampling(const run *r, FILE *to);

/* ---- Answers ------------------------------------------------------------------------------------ */

/* Generates into r->answer and, when `print`, to stdout. False after printing why not. */
bool run_answer(run *r, bool print, brisk_stats *stats);

/* The figures of an answer in one line on stderr. */
void run_print_figures(const run *r, const brisk_stats *s);

/* Chats until the user leaves; returns the exit status. */
int run_repl(run *r);

/* ---- Conversations in files (conversation.c) ---------------------------------------------------- */

typedef struct conversation {
    brisk_chat_message *messages; /* contents owned, roles not */
    size_t n, cap;
} conversation;

/* False when memory is short. role is one of the known ones, or constant text. */
bool conversation_push(conversation *c, const char *role, const char *text, size_t len);
void conversation_pop(conversation *c);
void conversation_free(conversation *c);

/* As a JSON array of {"role", "content"}; an old file stays whole until the new one is. Both print what
 * went wrong. Loading also takes an object with "messages", and leaves *out alone when it fails. */
bool conversation_save(const conversation *c, const char *path);
bool conversation_load(const char *path, conversation *out);

#endif
