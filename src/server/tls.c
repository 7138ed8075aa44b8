#include "server/tls.h"

#include <stdio.h>

#if !BRISK_HAVE_OPENSSL

sv_tls *sv_tls_create(const char *cert, const char *key, char *why, size_t cap) {
    (void)cert, (void)key;
    snprintf(why, cap, "this brisk was built without TLS: install libssl-dev and build it again");
    return NULL;
}

void sv_tls_destroy(sv_tls **tls) { (void)tls; }

struct bufferevent *sv_tls_wrap(sv_tls *tls, struct event_base *base, int fd) {
    (void)tls, (void)base, (void)fd;
    return NULL;
}

#endif
