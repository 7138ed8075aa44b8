/* Connections: requests in, replies out, on libevent's loop. One thread calls all of this.
 *
 * A request is handed on when it is whole. Its reply is one piece (sv_reply) or a stream of events
 * (sv_stream_begin), at once or later; until then the connection reads on, so that a client that leaves
 * is noticed, and a next request waits its turn. */
#ifndef BRISK_SERVER_CONN_H
#define BRISK_SERVER_CONN_H

#include "server/http.h"

typedef struct sv_http sv_http;
typedef struct sv_conn sv_conn;
struct event_base;

enum { SV_ID_CAP = 72 };

/* What the log says of an answer, beside its status. */
typedef struct sv_tally {
    bool any;
    size_t prompt, cached, generated;
    double queue_ms, first_ms, decode_ms;
} sv_tally;

/* A reply that is made where the connection may not be touched (work.h). */
typedef struct sv_draft {
    int status;
    const char *type;
    bk_buf data;
    struct sv_job *job; /* instead of a reply: what is to be started */
} sv_draft;

typedef struct sv_exchange sv_exchange;

/* One request and its reply; lives until the reply has ended or the client has left. */
struct sv_exchange {
    sv_head head; /* its texts live in block */
    bk_buf block, body;
    uint64_t began_ns, whole_ns; /* first byte here; request complete */
    char id[SV_ID_CAP];          /* x-request-id, printable: the client's or a new one */
    bk_buf headers;              /* more lines of the reply's head: "name: value\r\n" */
    int status;                  /* of the reply, 0 before */
    bool streaming, ended;
    uint64_t sent; /* bytes of the reply's body */
    const void *route;
    uint64_t tenant; /* from the key */
    sv_tally tally;
    const char *problem; /* the error's code, a constant; NULL: none */
    void *user;          /* who answers later; NULL: nobody is to be told when the client leaves */
    /* Set with user: the client has left. x is gone when this returns. */
    void (*left)(void *user, sv_exchange *x);
    sv_draft *draft; /* replies go there; conn is NULL then */
    sv_conn *conn;
};

typedef struct sv_http_options {
    size_t body_most;       /* bytes of a request's body */
    size_t bodies_most;     /* of all together */
    size_t output_most;     /* bytes that wait for a slow reader before it is given up */
    unsigned conns_most;    /* open connections */
    const char *cert, *key; /* PEM files; NULL: no TLS */
    void *user;
    /* The head is there. False when it was replied to already: the body is not read then. */
    bool (*head)(void *user, sv_exchange *x);
    void (*request)(void *user, sv_exchange *x);
    /* The message cannot be understood: reply with this status. */
    void (*refuse)(void *user, sv_exchange *x, int status, const char *why);
    /* The reply has ended, or its client left (then left came before): for the log. */
    void (*ended)(void *user, sv_exchange *x, bool whole);
} sv_http_options;

/* NULL after writing why: TLS files, memory. */
sv_http *sv_http_create(struct event_base *base, const sv_http_options *o, char *why, size_t cap);
void sv_http_destroy(sv_http **http); /* closes all; left is not called */

/* Listens; port 0 takes a free one. The port, or -1 after writing why. */
int sv_http_listen(sv_http *http, const char *host, int port, char *why, size_t cap);

typedef struct sv_http_counts {
    unsigned open, most_reached; /* connections; times that a new one was refused */
    uint64_t accepted;
} sv_http_counts;
sv_http_counts sv_http_get_counts(const sv_http *http);

/* From now on replies close their connections; idle ones are closed. */
void sv_http_drain(sv_http *http);

/* Whether replies wait to be written. */
bool sv_http_busy(const sv_http *http);

/* ---- Replies ------------------------------------------------------------------------------------ */

/* The whole reply; type NULL: without a body's type. x is gone when this returns, unless it was called
 * within head or request. */
void sv_reply(sv_exchange *x, int status, const char *type, const void *data, size_t len);

/* "name: value" for the reply's head; values are ours or checked. */
void sv_add_header(sv_exchange *x, const char *name, const char *fmt, ...) BK_PRINTF(3, 4);

/* The head of a reply of events goes out at once. */
void sv_stream_begin(sv_exchange *x);
/* False when the client reads too slowly: more than output_most waits. Nothing is written then. */
bool sv_stream_write(sv_exchange *x, const void *data, size_t len);
void sv_stream_end(sv_exchange *x); /* x is gone then */

/* The body, out of x and back to nothing: until then it counts among all bodies. */
void sv_body_take(sv_exchange *x, bk_buf *body);
void sv_body_free(sv_http *http, bk_buf *body);

/* Cuts the connection; left is not called. */
void sv_cut(sv_exchange *x);

#endif
