/* The listening socket and the set of connections. */
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/mem.h"
#include "server/conn_internal.h"

static void on_tick(evutil_socket_t fd, short what, void *user) {
    (void)fd, (void)what;
    sv_http *http = user;
    uint64_t now = bk_now_ns();
    for (sv_conn *c = http->first, *next; c; c = next) {
        next = c->next; /* c alone may go */
        sv_conn_tick(c, now);
    }
}

sv_http *sv_http_create(struct event_base *base, const sv_http_options *o, char *why, size_t cap) {
    sv_http *http = bk_alloc_zero(1, sizeof *http);
    if (!http) {
        snprintf(why, cap, "no memory for the server");
        return NULL;
    }
    *http = (sv_http){.o = *o, .base = base, .listener = -1, .date_s = -1};
    http->spare = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (getrandom(&http->id_state, sizeof http->id_state, 0) < 0) http->id_state = bk_now_ns();
    const struct timeval period = {0, 100000};
    http->tick = event_new(base, -1, EV_PERSIST, on_tick, http);
    bool good = http->tick && event_add(http->tick, &period) == 0;
    if (!good) snprintf(why, cap, "no memory for the server");
    if (good && o->cert) {
        http->tls = sv_tls_create(o->cert, o->key, why, cap);
        good = http->tls != NULL;
    }
    if (!good) sv_http_destroy(&http);
    return http;
}

void sv_http_destroy(sv_http **slot) {
    sv_http *http = *slot;
    if (!http) return;
    while (http->first) sv_conn_free(http->first);
    if (http->accept) event_free(http->accept);
    if (http->tick) event_free(http->tick);
    if (http->listener >= 0) close(http->listener);
    if (http->spare >= 0) close(http->spare);
    sv_tls_destroy(&http->tls);
    bk_free(http);
    *slot = NULL;
}

sv_http_counts sv_http_get_counts(const sv_http *http) { return http->counts; }

void sv_http_drain(sv_http *http) {
    http->draining = true;
    for (sv_conn *c = http->first, *next; c; c = next) {
        next = c->next;
        if (c->state == SV_IDLE && evbuffer_get_length(bufferevent_get_output(c->b)) == 0)
            sv_conn_free(c);
    }
}

bool sv_http_busy(const sv_http *http) {
    for (const sv_conn *c = http->first; c; c = c->next) {
        if (evbuffer_get_length(bufferevent_get_output(c->b)) > 0) return true;
    }
    return false;
}

/* ---- Accepting ---------------------------------------------------------------------------------- */

/* Says that there is no room, as far as one write without waiting goes. */
static void turn_away(sv_http *http, int fd) {
    static const char text[] = "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\n"
                               "Connection: close\r\nContent-Length: 0\r\n\r\n";
    http->counts.most_reached++;
    if (!http->tls && send(fd, text, sizeof text - 1, MSG_DONTWAIT | MSG_NOSIGNAL) < 0) {
        /* it will see the end of the connection */
    }
    close(fd);
}

/* No descriptor is free: gives up the spare one for long enough to end the connection that waits, which
 * would otherwise wake the loop again and again. False when none waits. */
static bool accept_with_spare(sv_http *http) {
    if (http->spare < 0) return false;
    close(http->spare);
    int fd = accept4(http->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd >= 0) turn_away(http, fd);
    http->spare = open("/dev/null", O_RDONLY | O_CLOEXEC);
    return fd >= 0;
}

static void on_accept(evutil_socket_t listener, short what, void *user) {
    (void)what;
    sv_http *http = user;
    for (int i = 0; i < 64; i++) { /* then the others' turn */
        int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0 && (errno == EMFILE || errno == ENFILE)) {
            if (accept_with_spare(http)) continue;
            return;
        }
        if (fd < 0 && (errno == EINTR || errno == ECONNABORTED)) continue;
        if (fd < 0) return;
        if (http->counts.open >= http->o.conns_most)
            turn_away(http, fd);
        else
            sv_conn_open(http, fd);
    }
}

/* A listening socket at this address, or -1 with errno. */
static int try_address(const struct addrinfo *a) {
    int one = 1, fd = socket(a->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) return -1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(fd, a->ai_addr, a->ai_addrlen) == 0 && listen(fd, 1024) == 0) return fd;
    int why = errno;
    close(fd);
    errno = why;
    return -1;
}

static int port_of(int fd) {
    struct sockaddr_storage s;
    socklen_t len = sizeof s;
    char port[16];
    if (getsockname(fd, (struct sockaddr *)&s, &len) != 0 ||
        getnameinfo((struct sockaddr *)&s, len, NULL, 0, port, sizeof port, NI_NUMERICSERV) != 0)
        return -1;
    int n = 0;
    for (const char *p = port; *p >= '0' && *p <= '9'; p++) n = n * 10 + (*p - '0');
    return n;
}

int sv_http_listen(sv_http *http, const char *host, int port, char *why, size_t cap) {
    char service[16];
    snprintf(service, sizeof service, "%d", port);
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
    struct addrinfo *all = NULL;
    int bad = getaddrinfo(host, service, &hints, &all);
    if (bad) {
        snprintf(why, cap, "--host %.200s: %s", host, gai_strerror(bad));
        return -1;
    }
    int reason = 0;
    for (const struct addrinfo *a = all; a && http->listener < 0; a = a->ai_next) {
        http->listener = try_address(a);
        if (http->listener < 0 && !reason) reason = errno;
    }
    freeaddrinfo(all);
    if (http->listener < 0 && reason == EADDRINUSE) {
        snprintf(why, cap,
                 "%.200s:%d is in use by another program; choose a port with --port "
                 "(0: any free one)",
                 host, port);
    } else if (http->listener < 0) {
        snprintf(why, cap, "cannot listen at %.200s:%d: %s", host, port, strerror(reason));
    }
    if (http->listener < 0) return -1;
    http->accept = event_new(http->base, http->listener, EV_READ | EV_PERSIST, on_accept, http);
    if (!http->accept || event_add(http->accept, NULL) != 0) {
        snprintf(why, cap, "no memory for the server");
        return -1;
    }
    return port_of(http->listener);
}
