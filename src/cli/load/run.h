/* Sends requests when they are due and waits until all have ended. */
#ifndef BRISK_CLI_LOAD_RUN_H
#define BRISK_CLI_LOAD_RUN_H

#include "cli/cli.h"
#include "cli/load/client.h"

typedef struct load_run {
    load_request *requests; /* started in this order */
    size_t n;
    size_t max_open; /* how many at once; 0: no bound */
    /* Looks at the requests now and then, may stop them and say when the next ones are due; NULL: no
     * need. */
    void (*steer)(struct load_run *run, load_client *c, uint64_t now);
    void *user;
    const char *what; /* on the progress line; NULL: none */

    uint64_t started, ended; /* monotonic ns */
    uint64_t freed;          /* when the last of max_open places became free; 0: not yet */
    uint64_t late;           /* most ns that a request went out after it was due and had a place */
    size_t next, open, finished;
} load_run;

/* Returns when all have ended, or after Ctrl-C with what runs stopped. */
void load_run_all(load_run *run, load_client *c);

/* ---- --mix -------------------------------------------------------------------------------------- */

/* A load_run's user with load_mix_steer: steady streams come first in the requests, then the long
 * prompts. These are sent once all streams run; the streams are stopped some time after the last of the
 * long ones has ended. */
typedef struct load_mix {
    const load_options *o;
    double span;      /* seconds after the first long prompt that the streams run at least */
    uint64_t running; /* since when all streams run; 0: not yet */
    uint64_t stopped; /* when they were stopped */
} load_mix;

void load_mix_steer(load_run *run, load_client *c, uint64_t now);

#endif
