/* The client: many requests at once on one thread, over libcurl and epoll. */
#ifndef BRISK_CLI_LOAD_CLIENT_H
#define BRISK_CLI_LOAD_CLIENT_H

#include "cli/load/load.h"

typedef struct load_client load_client;

/* NULL with why[LOAD_WHY_CAP]. The options live as long as the client. */
load_client *load_client_open(const load_options *o, char *why);
/* When nothing runs; NULL is fine. */
void load_client_close(load_client *c);

/* A call that is answered at once: GET, or POST of a JSON body. The answer is appended to out. *status is
 * 0 with why[LOAD_WHY_CAP] when there was none. */
void load_client_call(load_client *c, const char *path, const char *body, bk_buf *out, int *status,
                      char *why);

/* Sends the request. It may end in an error at once; r->outcome says how it goes. */
void load_client_start(load_client *c, load_request *r);

/* Closes the request's connection: LOAD_STOPPED. Of one that does not run: nothing. */
void load_client_stop(load_client *c, load_request *r);

/* Waits for the network until that time (monotonic ns) and takes what has come, once. */
void load_client_wait(load_client *c, uint64_t until);

/* A request that has ended since the last call; NULL: none. */
load_request *load_client_ended(load_client *c);

#endif
