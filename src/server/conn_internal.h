/* What conn_event.c, reply_event.c and listen_event.c share. */
#ifndef BRISK_SERVER_CONN_INTERNAL_H
#define BRISK_SERVER_CONN_INTERNAL_H

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>

#include "base/clock.h"
#include "server/conn.h"
#include "server/tls.h"

#define SV_SECOND UINT64_C(1000000000)

typedef enum sv_state {
    SV_IDLE,    /* nothing of a request here */
    SV_IN_HEAD, /* part of a head */
    SV_IN_BODY,
    SV_ANSWERING, /* the request is whole, its reply is not */
    SV_CLOSING,   /* the last reply is on its way out */
    SV_LINGER /* it is out; what still comes in is thrown away, lest a reset overtake the reply */
} sv_state;

struct sv_conn {
    sv_http *http;
    sv_conn *prev, *next;
    struct bufferevent *b;
    int fd;
    sv_state state;
    unsigned depth; /* of our calls on it: it is freed when the last returns */
    bool dead, peer_done;
    uint64_t deadline_ns, body_ns; /* 0: none; when the body began */
    sv_chunks chunks;
    sv_exchange x;
};

struct sv_http {
    sv_http_options o;
    struct event_base *base;
    sv_tls *tls;
    sv_conn *first;
    struct event *accept, *tick;
    int listener, spare; /* spare: a descriptor to close when there is no other */
    bool draining;
    size_t bodies; /* bytes of all */
    sv_http_counts counts;
    uint64_t id_state;
    char date[40]; /* of the second date_s */
    int64_t date_s;
};

/* Takes over a connected socket. */
void sv_conn_open(sv_http *http, int fd);

/* Does what the input allows. */
void sv_conn_advance(sv_conn *c);

/* Once a while: deadlines. */
void sv_conn_tick(sv_conn *c, uint64_t now);

/* Frees it, now or when our calls on it have returned. */
void sv_conn_free(sv_conn *c);

/* Frees what the exchange holds. */
void sv_exchange_clear(sv_exchange *x, sv_http *http);

/* The reply has been handed over: on to the next request, or to the end of the connection. */
void sv_conn_answered(sv_conn *c, bool close);

#endif
