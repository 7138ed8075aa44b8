/* Requests with large bodies: reading and tokenising megabytes takes a second, in which the loop would
 * write nobody's tokens. Their handlers run on one thread of their own, in order, on an exchange without
 * a connection (sv_draft, conn.h), and what they made is handed back to the loop. */
#ifndef BRISK_SERVER_WORK_H
#define BRISK_SERVER_WORK_H

#include "server/state.h"

enum { SV_WORK_BYTES = 64 << 10 }; /* bodies above that: tokenised in about 3 ms */

typedef struct sv_work sv_work;

/* NULL without memory or threads. */
sv_work *sv_work_create(sv_server *s);

/* Waits for the handler that runs; replies to nobody. Before the connections and the model end. */
void sv_work_destroy(sv_work **work);

/* Takes over the body of x, whose request is whole. False without memory. The handler reads the state's
 * constants alone: it runs while the loop does. */
bool sv_work_add(sv_work *w, sv_exchange *x, sv_handler *handler);

/* Requests that wait for it. */
unsigned sv_work_count(const sv_work *w);

#endif
