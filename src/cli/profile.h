/* The results of `brisk profile` and how they are shown. */
#ifndef BRISK_CLI_PROFILE_H
#define BRISK_CLI_PROFILE_H

#include "brisk_tools.h"
#include "cli/cli.h"

typedef struct profile_report {
    char path[4096];
    brisk_model_info info;
    brisk_machine machine;
    int n_prompt, n_gen, n_depth, ubatch, repetitions;
    char date[32];
    brisk_profile result;
} profile_report;

/* What to show of one phase, in order: prefill, then decode; those without tokens are left out. */
typedef struct profile_view {
    const char *name; /* "prefill" */
    const brisk_profile_phase *phase;
    double per;           /* prompts, or tokens: what times are divided by */
    const char *per_name; /* "prompt", "token" */
} profile_view;

size_t profile_views(const profile_report *r, profile_view views[2]);

/* What a table has: the parts, serial time, the total. */
typedef struct profile_line {
    const char *name, *types;
    double time_ns, prepare_ns, wait_ns, limit_ns, bytes, ops;
} profile_line;

typedef struct profile_cell {
    const char *name, *unit; /* of the column */
    char text[16];           /* "" where there is nothing to tell */
} profile_cell;

enum { PROFILE_LINES = BRISK_PROFILE_PARTS + 2, PROFILE_COLUMNS = 9 };

/* Both return how many there are. */
size_t profile_lines(const profile_view *v, profile_line lines[PROFILE_LINES]);
size_t profile_cells(const profile_view *v, const profile_line *l,
                     profile_cell cells[PROFILE_COLUMNS]);

/* Operations of all kinds. */
double profile_ops(const brisk_profile_part *p);

/* A share of the machine's limit, 0..1; 0: not known. */
double profile_share(double limit_ns, double time_ns);

/* "SmolLM2-135M-Instruct.Q4_1 (llama, Q4_1)", and the machine: "2 threads, avx512, AMD EPYC ..." */
const char *profile_model(const profile_report *r, char *out, size_t cap);
const char *profile_machine(const profile_report *r, char *out, size_t cap);

void profile_print_table(const profile_report *r);
void profile_print_json(const profile_report *r);

/* Roofline and time bars as one SVG element, light or dark as the reader has it. standalone: a file of
 * its own; otherwise to stand in HTML. */
void profile_svg(const profile_report *r, bool standalone, bk_buf *out);
void profile_html(const profile_report *r, bk_buf *out);

#endif
