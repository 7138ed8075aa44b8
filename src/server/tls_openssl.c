#include "server/tls.h"

#include <dlfcn.h>
#include <event2/bufferevent.h>
#include <event2/bufferevent_ssl.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"

struct sv_tls {
    SSL_CTX *context;
};

static struct tls_library {
    void *event, *ssl, *crypto;
    __typeof__(bufferevent_openssl_socket_new) *wrap;
    __typeof__(bufferevent_openssl_set_allow_dirty_shutdown) *allow_dirty;
    __typeof__(TLS_server_method) *method;
    __typeof__(SSL_CTX_new) *context_new;
    __typeof__(SSL_CTX_free) *context_free;
    __typeof__(SSL_CTX_ctrl) *context_ctrl;
    __typeof__(SSL_CTX_use_certificate_chain_file) *use_chain;
    __typeof__(SSL_CTX_use_PrivateKey_file) *use_key;
    __typeof__(SSL_CTX_check_private_key) *check_key;
    __typeof__(SSL_new) *connection_new;
    __typeof__(SSL_free) *connection_free;
    __typeof__(ERR_get_error) *get_error;
    __typeof__(ERR_reason_error_string) *error_reason;
} lib;

static bool load_symbols(void) {
    const struct symbol {
        void *library;
        const char *name;
        void *slot;
    } symbols[] = {
        {lib.event, "bufferevent_openssl_socket_new", &lib.wrap},
        {lib.event, "bufferevent_openssl_set_allow_dirty_shutdown", &lib.allow_dirty},
        {lib.ssl, "TLS_server_method", &lib.method},
        {lib.ssl, "SSL_CTX_new", &lib.context_new},
        {lib.ssl, "SSL_CTX_free", &lib.context_free},
        {lib.ssl, "SSL_CTX_ctrl", &lib.context_ctrl},
        {lib.ssl, "SSL_CTX_use_certificate_chain_file", &lib.use_chain},
        {lib.ssl, "SSL_CTX_use_PrivateKey_file", &lib.use_key},
        {lib.ssl, "SSL_CTX_check_private_key", &lib.check_key},
        {lib.ssl, "SSL_new", &lib.connection_new},
        {lib.ssl, "SSL_free", &lib.connection_free},
        {lib.crypto, "ERR_get_error", &lib.get_error},
        {lib.crypto, "ERR_reason_error_string", &lib.error_reason},
    };
    for (size_t i = 0; i < BK_ARRAY_LEN(symbols); i++) {
        void *found = dlsym(symbols[i].library, symbols[i].name);
        if (!found) return false;
        memcpy(symbols[i].slot, &found, sizeof found);
    }
    return true;
}

static bool load(char *why, size_t cap) {
    if (lib.error_reason) return true;
    lib.event = dlopen("libevent_openssl-2.1.so.7", RTLD_NOW | RTLD_LOCAL);
    if (lib.event) lib.ssl = dlopen("libssl.so.3", RTLD_NOW | RTLD_LOCAL);
    if (lib.ssl) lib.crypto = dlopen("libcrypto.so.3", RTLD_NOW | RTLD_LOCAL);
    if (!lib.crypto) {
        snprintf(why, cap,
                 "TLS needs a library that is not there (%.150s): install "
                 "libevent-openssl-2.1-7 and libssl3",
                 dlerror());
        return false;
    }
    if (load_symbols()) return true;
    snprintf(why, cap, "TLS cannot be used: the libraries lack a function");
    lib.error_reason = NULL;
    return false;
}

/* What OpenSSL complains about. */
static const char *complaint(void) {
    const char *text = NULL, *reason;
    unsigned long code;
    while ((code = lib.get_error()) != 0) {
        reason = lib.error_reason(code);
        if (reason) text = reason;
    }
    return text ? text : "no reason given";
}

static bool set_up(SSL_CTX *c, const char *cert, const char *key, char *why, size_t cap) {
    lib.context_ctrl(c, SSL_CTRL_SET_MIN_PROTO_VERSION, TLS1_2_VERSION, NULL);
    lib.context_ctrl(c, SSL_CTRL_MODE, SSL_MODE_RELEASE_BUFFERS, NULL);
    const char *file = cert;
    if (lib.use_chain(c, cert) == 1) {
        file = key;
        if (lib.use_key(c, key, SSL_FILETYPE_PEM) == 1 && lib.check_key(c) == 1) return true;
    }
    snprintf(why, cap, "%.300s: not usable for TLS (%.100s)", file, complaint());
    return false;
}

sv_tls *sv_tls_create(const char *cert, const char *key, char *why, size_t cap) {
    if (!load(why, cap)) return NULL;
    sv_tls *t = bk_alloc_zero(1, sizeof *t);
    if (t) t->context = lib.context_new(lib.method());
    if (!t || !t->context) {
        snprintf(why, cap, "no memory for TLS");
        bk_free(t);
        return NULL;
    }
    if (!set_up(t->context, cert, key, why, cap)) sv_tls_destroy(&t);
    return t;
}

void sv_tls_destroy(sv_tls **tls) {
    if (!*tls) return;
    lib.context_free((*tls)->context);
    bk_free(*tls);
    *tls = NULL;
}

struct bufferevent *sv_tls_wrap(sv_tls *tls, struct event_base *base, int fd) {
    SSL *ssl = lib.connection_new(tls->context);
    struct bufferevent *b =
        ssl ? lib.wrap(base, fd, ssl, BUFFEREVENT_SSL_ACCEPTING, BEV_OPT_CLOSE_ON_FREE) : NULL;
    if (b) {
        lib.allow_dirty(b, 1); /* many clients just go: that is a leave, not an error */
        return b;
    }
    if (ssl) lib.connection_free(ssl);
    close(fd);
    return NULL;
}
