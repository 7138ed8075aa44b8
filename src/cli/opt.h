/* Command-line options from a table: strict values, aliases, help text, and a suggestion for a name
 * that nobody knows. */
#ifndef BRISK_CLI_OPT_H
#define BRISK_CLI_OPT_H

#include "base/buf.h"

enum { OPT_LIST_MAX = 64 };

/* A list given as "1,2,4", as a range "2-8", "2-8+2" or "1-8*2", or by repeating the option. The
 * first use replaces the default. */
typedef struct opt_ints {
    int v[OPT_LIST_MAX];
    size_t n;
    bool given;
} opt_ints;

typedef struct opt_strs {
    const char *v[OPT_LIST_MAX];
    size_t n;
    bool given;
} opt_strs;

typedef enum opt_kind {
    OPT_FLAG,  /* bool */
    OPT_STR,   /* const char * */
    OPT_STRS,  /* opt_strs; each use adds one */
    OPT_INT,   /* int, min..max */
    OPT_INTS,  /* opt_ints, each min..max */
    OPT_FLOAT, /* float, min..max */
    OPT_SEED,  /* uint64_t; "-1" is UINT64_MAX */
    OPT_CHOICE /* int: index among choices "a|b|c" */
} opt_kind;

typedef struct opt_spec {
    const char *names; /* "-m --model": separated by blanks, best-known first */
    const char *value; /* "PATH"; for OPT_CHOICE the choices; NULL for flags */
    const char *help;
    opt_kind kind;
    void *out;
    double min, max;
} opt_spec;

typedef struct opt_table {
    const char *verb;  /* "run" */
    const char *usage; /* "brisk run [options]": first line of the help text */
    const char *about; /* a sentence */
    const opt_spec *specs;
    size_t n_specs;
    opt_strs *rest; /* what is no option; NULL: refused */
} opt_table;

typedef enum opt_result { OPT_OK, OPT_HELP, OPT_ERROR } opt_result;

/* Parses argv[1..argc), after values from the environment: BRISK_ARG_CTX_SIZE stands for --ctx-size,
 * whichever of an option's long names it is; a flag takes 1 or 0. OPT_HELP after -h or --help; OPT_ERROR with one line in err. */
opt_result opt_parse(const opt_table *t, int argc, char **argv, char *err, size_t cap);

/* Sets one option by a name without its dashes ("temp", "top-k"); a flag takes on or off. OPT_ERROR with
 * one line in err. */
opt_result opt_set(const opt_table *t, const char *name, const char *value, char *err, size_t cap);

void opt_print_help(const opt_table *t, bk_buf *out);

/* How many single-character edits (swaps of neighbours count one) lead from a to b. Texts longer
 * than 63 characters are far from everything. */
size_t opt_distance(const char *a, const char *b);

/* A whole number, the whole text, min..max. */
bool opt_number(const char *text, long long min, long long max, long long *out);

#endif
