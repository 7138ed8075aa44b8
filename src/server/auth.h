/* Who may ask: API keys, and the checks that keep web pages of others away from a server that listens
 * on this machine only. */
#ifndef BRISK_SERVER_AUTH_H
#define BRISK_SERVER_AUTH_H

#include "server/http.h"

typedef struct sv_auth sv_auth;

typedef struct sv_auth_options {
    const char *host; /* listened at */
    const char *const *keys;
    size_t n_keys;
    const char *cors_origins;
} sv_auth_options;

/* Keys are kept as keyed hashes only. NULL when memory or randomness is short. */
sv_auth *sv_auth_create(const sv_auth_options *o);
void sv_auth_destroy(sv_auth **a);

/* Whether only this machine can reach the address. */
bool sv_is_loopback(const char *host);

/* Whether the request bears one of the keys (any request does when there are none). A missing key and a
 * wrong one take the same path: hashes of fixed length, all compared. *tenant: whose caches it may
 * share. */
bool sv_auth_key(const sv_auth *a, const sv_head *h, uint64_t *tenant);

/* Whose caches a request with a salt of its own may share. */
uint64_t sv_auth_salt(const sv_auth *a, uint64_t tenant, bk_str salt);

/* Bound to loopback, a Host that is no name of this machine means that a page has had its own name
 * point here (DNS rebinding). */
bool sv_auth_host(const sv_auth *a, const sv_head *h);

typedef enum sv_origin {
    SV_ORIGIN_NONE,
    SV_ORIGIN_SAME,
    SV_ORIGIN_ALLOWED,
    SV_ORIGIN_FOREIGN
} sv_origin;

/* Where a browser says that the request comes from. */
sv_origin sv_auth_origin(const sv_auth *a, const sv_head *h);

#endif
