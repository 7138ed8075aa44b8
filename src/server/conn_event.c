/* One connection: from bytes to requests, its deadlines and its end. */
#include "server/conn.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/mem.h"
#include "server/conn_internal.h"

#define HEAD_SECONDS 10    /* for a whole head */
#define BODY_SECONDS 10    /* for a body, beside ... */
#define BODY_RATE 1024     /* ... what this rate needs, bytes per second */
#define IDLE_SECONDS 300   /* between requests */
#define LINGER_SECONDS 2   /* for the client to read the last reply */
#define WRITE_SECONDS 60   /* without a byte taken */
#define READ_AHEAD 65536   /* bytes of requests that wait */
#define SEND_BUFFER 262144 /* bytes that the system holds for a slow reader */

/* ---- Life --------------------------------------------------------------------------------------- */

void sv_exchange_clear(sv_exchange *x, sv_http *http) {
    sv_conn *c = x->conn;
    sv_body_free(http, &x->body);
    bk_buf_free(&x->block);
    bk_buf_free(&x->headers);
    *x = (sv_exchange){.conn = c};
}

void sv_body_take(sv_exchange *x, bk_buf *body) {
    *body = x->body;
    x->body = (bk_buf){0};
}

void sv_body_free(sv_http *http, bk_buf *body) {
    http->bodies -= body->len;
    bk_buf_free(body);
}

static void release(sv_conn *c) {
    sv_http *http = c->http;
    sv_exchange_clear(&c->x, http);
    if (c->prev) c->prev->next = c->next;
    if (c->next) c->next->prev = c->prev;
    if (http->first == c) http->first = c->next;
    http->counts.open--;
    bufferevent_free(c->b);
    bk_free(c);
}

void sv_conn_free(sv_conn *c) {
    c->dead = true;
    if (c->depth == 0) release(c);
}

/* The client is gone in the middle of its request. */
static void abandon(sv_conn *c) {
    sv_http *http = c->http;
    if (c->state == SV_ANSWERING && !c->x.ended) {
        c->x.ended = true;
        c->depth++;
        if (c->x.user) c->x.left(http->o.user, &c->x);
        http->o.ended(http->o.user, &c->x, false);
        c->depth--;
    }
    sv_conn_free(c);
}

static void set_deadline(sv_conn *c, unsigned seconds) {
    c->deadline_ns = seconds ? bk_now_ns() + seconds * SV_SECOND : 0;
}

void sv_conn_answered(sv_conn *c, bool close) {
    struct evbuffer *out = bufferevent_get_output(c->b);
    sv_exchange_clear(&c->x, c->http);
    c->state = close ? SV_CLOSING : SV_IDLE;
    set_deadline(c, close ? WRITE_SECONDS : IDLE_SECONDS);
    if (close && c->peer_done && evbuffer_get_length(out) == 0)
        sv_conn_free(c);
    else if (c->depth == 0)
        sv_conn_advance(c);
}

/* ---- Reading ------------------------------------------------------------------------------------ */

static void refuse(sv_conn *c, int status, const char *why) {
    c->x.head.keep_alive = false;
    c->http->o.refuse(c->http->o.user, &c->x, status, why);
}

/* x-request-id: the client's where it is short and printable, otherwise a new one. */
static void take_id(sv_conn *c) {
    bk_str given = c->x.head.request_id;
    bool good = given.len > 0 && given.len < SV_ID_CAP;
    for (size_t i = 0; good && i < given.len; i++) {
        char k = given.data[i];
        good = k > 32 && k < 127 && k != '"' && k != '\\';
    }
    if (good) {
        memcpy(c->x.id, given.data, given.len);
        c->x.id[given.len] = '\0';
        return;
    }
    /* A splitmix64 step: no two equal ones. */
    uint64_t z = c->http->id_state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    snprintf(c->x.id, sizeof c->x.id, "%016llx", (unsigned long long)(z ^ z >> 31));
}

static void whole(sv_conn *c) {
    c->state = SV_ANSWERING;
    c->deadline_ns = 0;
    c->x.whole_ns = bk_now_ns();
    c->http->o.request(c->http->o.user, &c->x);
}

/* The head is there and understood. */
static void begin_body(sv_conn *c) {
    sv_http *http = c->http;
    sv_exchange *x = &c->x;
    if (!http->o.head(http->o.user, x)) return;
    if (x->head.length > http->o.body_most) {
        refuse(c, 413, "the body is too large");
        return;
    }
    if (!x->head.chunked && x->head.length == 0) {
        whole(c);
        return;
    }
    if (x->head.expects_continue) {
        static const char go_on[] = "HTTP/1.1 100 Continue\r\n\r\n";
        bufferevent_write(c->b, go_on, sizeof go_on - 1);
    }
    x->body.limit = http->o.body_most + 1; /* and a byte to see that it is too much */
    c->chunks = (sv_chunks){0};
    c->body_ns = bk_now_ns();
    c->state = SV_IN_BODY;
    set_deadline(c, BODY_SECONDS);
}

/* False when more input is needed. */
static bool read_head(sv_conn *c) {
    struct evbuffer *in = bufferevent_get_input(c->b);
    size_t len = bk_min_size(evbuffer_get_length(in), SV_HEAD_MOST);
    if (len == 0) return false;
    if (c->state == SV_IDLE) {
        c->state = SV_IN_HEAD;
        c->x.began_ns = bk_now_ns();
        set_deadline(c, HEAD_SECONDS);
    }
    const char *data = (const char *)evbuffer_pullup(in, (ev_ssize_t)len), *why = "no memory";
    int bad = data ? 0 : 503;
    size_t head = data ? sv_head_find(data, len, &bad) : 0;
    if (head == 0 && !bad) return false;
    if (!bad && !bk_buf_append(&c->x.block, data, head))
        bad = 503;
    else if (bad && data)
        why = "the head is too long, or a line does not end in CR LF";
    evbuffer_drain(in, head);
    if (!bad) bad = sv_head_parse(c->x.block.data, head, &c->x.head, &why);
    take_id(c);
    if (bad)
        refuse(c, bad, why);
    else
        begin_body(c);
    return true;
}

/* Appends what has come of the body; the status of a refusal, 0, or -1 when it is whole. */
static int take_body(sv_conn *c, const char *data, size_t len, size_t *used, const char **why) {
    sv_exchange *x = &c->x;
    size_t before = x->body.len;
    sv_chunks_result r = SV_CHUNKS_MORE;
    if (x->head.chunked) {
        r = sv_chunks_feed(&c->chunks, data, len, &x->body, used);
    } else {
        *used = bk_min_size(len, (size_t)x->head.length - before);
        bk_buf_append(&x->body, data, *used);
        if (x->body.len == x->head.length) r = SV_CHUNKS_DONE;
    }
    c->http->bodies += x->body.len - before;
    *why = "a chunk of the body is not one";
    if (r == SV_CHUNKS_BAD) return 400;
    *why = "the body is too large";
    if (x->body.failed || x->body.len > c->http->o.body_most) return 413;
    *why = "too many large requests at once";
    if (c->http->bodies > c->http->o.bodies_most) return 503;
    return r == SV_CHUNKS_DONE ? -1 : 0;
}

static bool read_body(sv_conn *c) {
    struct evbuffer *in = bufferevent_get_input(c->b);
    struct evbuffer_iovec v;
    while (evbuffer_get_length(in) > 0 && evbuffer_peek(in, -1, NULL, &v, 1) > 0) {
        const char *why;
        size_t used;
        int r = take_body(c, v.iov_base, v.iov_len, &used, &why);
        evbuffer_drain(in, used);
        if (r > 0) refuse(c, r, why);
        if (r < 0) whole(c);
        if (r != 0) return true;
    }
    c->deadline_ns =
        c->body_ns + BODY_SECONDS * SV_SECOND + c->x.body.len * (SV_SECOND / BODY_RATE);
    return false;
}

void sv_conn_advance(sv_conn *c) {
    c->depth++;
    bool more = true;
    while (more && !c->dead) {
        switch (c->state) {
        case SV_IDLE:
        case SV_IN_HEAD: more = read_head(c); break;
        case SV_IN_BODY: more = read_body(c); break;
        case SV_LINGER: {
            struct evbuffer *in = bufferevent_get_input(c->b);
            evbuffer_drain(in, evbuffer_get_length(in));
            more = false;
            break;
        }
        default: more = false;
        }
    }
    c->depth--;
    if (c->dead && c->depth == 0) release(c);
}

/* ---- What libevent tells ------------------------------------------------------------------------ */

static void on_read(struct bufferevent *b, void *user) {
    (void)b;
    sv_conn_advance(user);
}

/* All output is with the system. */
static void on_written(struct bufferevent *b, void *user) {
    (void)b;
    sv_conn *c = user;
    if (c->state != SV_CLOSING) return;
    if (c->peer_done || shutdown(c->fd, SHUT_WR) != 0) {
        sv_conn_free(c);
        return;
    }
    c->state = SV_LINGER;
    set_deadline(c, LINGER_SECONDS);
    sv_conn_advance(c);
}

/* The client sends no more. While its answer is being made that means that it has left: a client that
 * only closed its half cannot be told from one that is gone before something is written to it. */
static void on_event(struct bufferevent *b, short what, void *user) {
    sv_conn *c = user;
    if (what & BEV_EVENT_CONNECTED) return;
    bool waiting = evbuffer_get_length(bufferevent_get_output(b)) > 0;
    c->peer_done = true;
    if ((what & BEV_EVENT_EOF) && waiting && (c->state == SV_IDLE || c->state == SV_CLOSING)) {
        c->state = SV_CLOSING; /* a short script that sends its request and shuts its end */
        set_deadline(c, WRITE_SECONDS);
        return;
    }
    abandon(c);
}

void sv_conn_tick(sv_conn *c, uint64_t now) {
    if (c->state == SV_ANSWERING && !c->deadline_ns) {
        /* So much is waiting to be read that reading has paused: look for the end another way. */
        if (evbuffer_get_length(bufferevent_get_input(c->b)) < READ_AHEAD) return;
        struct pollfd p = {.fd = c->fd, .events = POLLRDHUP};
        if (poll(&p, 1, 0) > 0 && (p.revents & (POLLRDHUP | POLLHUP | POLLERR))) abandon(c);
        return;
    }
    if (c->deadline_ns == 0 || now < c->deadline_ns) return;
    if (c->state == SV_IN_HEAD || c->state == SV_IN_BODY) {
        if (!c->x.id[0]) take_id(c);
        refuse(c, 408, "the request came too slowly");
    } else {
        abandon(c);
    }
}

void sv_conn_open(sv_http *http, int fd) {
    int one = 1, send_buffer = SEND_BUFFER;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &send_buffer, sizeof send_buffer);
    struct bufferevent *b = NULL;
    sv_conn *c = bk_alloc_zero(1, sizeof *c);
    if (!c)
        close(fd);
    else if (http->tls)
        b = sv_tls_wrap(http->tls, http->base, fd);
    else if (!(b = bufferevent_socket_new(http->base, fd, BEV_OPT_CLOSE_ON_FREE)))
        close(fd);
    if (!b) {
        bk_free(c);
        return;
    }
    *c = (sv_conn){.http = http, .b = b, .fd = fd, .next = http->first, .x.conn = c};
    if (c->next) c->next->prev = c;
    http->first = c;
    http->counts.open++;
    http->counts.accepted++;
    set_deadline(c, HEAD_SECONDS + IDLE_SECONDS);
    const struct timeval patience = {WRITE_SECONDS, 0};
    bufferevent_set_timeouts(b, NULL, &patience);
    bufferevent_setwatermark(b, EV_READ, 0, READ_AHEAD);
    bufferevent_setcb(b, on_read, on_written, on_event, c);
    bufferevent_enable(b, EV_READ | EV_WRITE);
}
