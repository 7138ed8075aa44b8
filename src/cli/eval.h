/* What `brisk eval` prints. */
#ifndef BRISK_CLI_EVAL_H
#define BRISK_CLI_EVAL_H

#include "brisk_tools.h"

typedef struct eval_report {
    const char *model;
    const brisk_eval_result *result;     /* compared and tokens 0: nothing was evaluated */
    const brisk_greedy_result *answers;  /* prompts 0: none */
    const brisk_choices_result *choices; /* questions 0: none */
    bool reference;                      /* choices were answered by one too */
    double seconds;
} eval_report;

void eval_print_text(const eval_report *r);
void eval_print_json(const eval_report *r);

#endif
