/* Server-sent events as they arrive, in pieces of any size (WHATWG HTML, "Server-sent events"): lines end
 * in LF, CR or CRLF, the data lines of an event are joined by LF, a blank line ends it, comments and
 * other fields are skipped. An event that no blank line ends is never reported. */
#ifndef BRISK_CLI_LOAD_SSE_H
#define BRISK_CLI_LOAD_SSE_H

#include "base/buf.h"

enum { LOAD_SSE_EVENT_MOST = 1 << 20 }; /* bytes of one event */

/* Zero-initialised is the start of a stream. */
typedef struct load_sse {
    bk_buf line, data;
    bool after_cr, begun, has_data;
} load_sse;

/* Gets the data of an event, which lives until it returns; false ends the stream. */
typedef bool (*load_sse_event)(bk_str data, void *user);

/* False when the event function said so, an event is too long or memory is short. */
bool load_sse_feed(load_sse *s, const char *bytes, size_t len, load_sse_event event, void *user);
void load_sse_free(load_sse *s);

#endif
