/* TLS on a connection. OpenSSL is loaded when certificates are given: its own start would slow down
 * every start of the program. */
#ifndef BRISK_SERVER_TLS_H
#define BRISK_SERVER_TLS_H

#include <stddef.h>

typedef struct sv_tls sv_tls;
struct bufferevent;
struct event_base;

/* PEM files: the certificate with its chain, and its key. NULL after writing why. */
sv_tls *sv_tls_create(const char *cert, const char *key, char *why, size_t cap);
void sv_tls_destroy(sv_tls **tls);

/* A connection's end that speaks TLS; owns fd. NULL when memory is short: fd is closed then. */
struct bufferevent *sv_tls_wrap(sv_tls *tls, struct event_base *base, int fd);

#endif
