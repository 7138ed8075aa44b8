#include "cli/load/idle.h"

#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/str.h"
#include "cli/cli.h"
#include "cli/load/load.h"

typedef struct place {
    char host[256], port[8];
} place;

/* http://HOST[:PORT][/...], http://[::1]:8080 */
static bool find_place(const char *url, place *p) {
    bk_str rest = bk_str_from(url);
    if (bk_str_starts(rest, BK_STR("https://"))) return false;
    if (bk_str_starts(rest, BK_STR("http://"))) rest.data += 7, rest.len -= 7;
    rest.len = bk_min_size(rest.len, strcspn(rest.data, "/?#"));
    bool v6 = rest.len && rest.data[0] == '[';
    const char *close = v6 ? memchr(rest.data, ']', rest.len) : NULL;
    size_t skip = close ? (size_t)(close - rest.data) : 0;
    const char *colon = memchr(rest.data + skip, ':', rest.len - skip);
    size_t end = colon ? (size_t)(colon - rest.data) : rest.len;
    size_t begin = close ? 1 : 0, host = (close ? skip : end) - begin;
    size_t port = colon ? rest.len - end - 1 : 0;
    if ((v6 && !close) || host == 0 || host >= sizeof p->host || port >= sizeof p->port)
        return false;
    memcpy(p->host, rest.data + begin, host);
    p->host[host] = '\0';
    snprintf(p->port, sizeof p->port, "%.*s", (int)port, colon ? colon + 1 : "");
    if (port == 0) snprintf(p->port, sizeof p->port, "80");
    return true;
}

/* A connection that has got an answer; -1 when it has not. */
static int open_one(const struct addrinfo *at, const char *ask) {
    struct timeval patience = {.tv_sec = 5};
    char answer[4096];
    int fd = socket(at->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return -1;
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    bool good = connect(fd, at->ai_addr, at->ai_addrlen) == 0 &&
                send(fd, ask, strlen(ask), MSG_NOSIGNAL) == (ssize_t)strlen(ask) &&
                recv(fd, answer, sizeof answer, 0) > 0;
    if (good) return fd;
    close(fd);
    return -1;
}

bool load_idle_open(load_idle *idle, const char *base_url, int n, char *why) {
    place p;
    char ask[512];
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found = NULL;
    *idle = (load_idle){.n = 0};
    if (!find_place(base_url, &p) || getaddrinfo(p.host, p.port, &hints, &found) != 0) {
        snprintf(why, LOAD_WHY_CAP, "idle connections go to http://HOST:PORT; found '%.80s'",
                 base_url);
        return false;
    }
    snprintf(ask, sizeof ask, "GET /health HTTP/1.1\r\nHost: %.255s\r\n\r\n", p.host);
    idle->fds = bk_alloc((size_t)n, sizeof *idle->fds);
    while (idle->fds && idle->n < n && !cli_interrupted) {
        idle->fds[idle->n] = open_one(found, ask);
        if (idle->fds[idle->n++] < 0) break; /* what one could not get, the others cannot */
        idle->opened++;
    }
    freeaddrinfo(found);
    return true;
}

int load_idle_left(const load_idle *idle) {
    int left = 0;
    for (int i = 0; i < idle->n; i++) {
        char rest[4096];
        ssize_t got = 1;
        while (idle->fds[i] >= 0 && got > 0)
            got = recv(idle->fds[i], rest, sizeof rest, MSG_DONTWAIT);
        left += idle->fds[i] >= 0 && got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK);
    }
    return left;
}

void load_idle_close(load_idle *idle) {
    for (int i = 0; i < idle->n; i++)
        if (idle->fds[i] >= 0) close(idle->fds[i]);
    bk_free(idle->fds);
    *idle = (load_idle){.n = 0};
}
