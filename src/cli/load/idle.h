/* Connections that have asked once and then stay open in silence. */
#ifndef BRISK_CLI_LOAD_IDLE_H
#define BRISK_CLI_LOAD_IDLE_H

#include "base/base.h"

typedef struct load_idle {
    int *fds; /* owned */
    int n, opened;
} load_idle;

/* Opens n connections to http://HOST[:PORT] and asks each for /health. False with why[LOAD_WHY_CAP] when
 * the address is none of http; idle->opened says how many could be opened. */
bool load_idle_open(load_idle *idle, const char *base_url, int n, char *why);

/* How many the server has not closed. */
int load_idle_left(const load_idle *idle);
void load_idle_close(load_idle *idle);

#endif
