/* The machine's limits on the terminal, and the rate of one buffer. */
#ifndef BRISK_CLI_LIMITS_H
#define BRISK_CLI_LIMITS_H

#include "base/json_write.h"
#include "brisk_tools.h"

/* Kept or measured, with a progress bar; 0 or, after printing why not, the exit status. */
int limits_get(int threads, bool again, brisk_limits *out);

void limits_print(const brisk_limits *l);
void limits_json(bk_json *w, const brisk_limits *l); /* one object */

/* brisk bench read */
int bench_read(int argc, char **argv);

#endif
