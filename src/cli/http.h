/* HTTP GET, through libcurl. */
#ifndef BRISK_CLI_HTTP_H
#define BRISK_CLI_HTTP_H

#include "base/base.h"

enum { HTTP_ETAG_CAP = 200, HTTP_WHY_CAP = 320 };

typedef struct http_reply {
    int status;               /* 0 before there is one */
    int64_t length;           /* Content-Length; -1: not announced */
    uint64_t from, total;     /* Content-Range of a 206 (or 416: total) */
    char etag[HTTP_ETAG_CAP]; /* a strong one, with its quotes; otherwise "" */
    int retry_after;          /* seconds; 0: the server does not say */
} http_reply;

typedef struct http_request {
    const char *url;
    const char *token;    /* bearer token, sent to servers of this origin only; NULL: none */
    const char *origin;   /* "https://huggingface.co" */
    uint64_t from;        /* first byte wanted */
    const char *if_range; /* an ETag: from counts only while the file is still this one; "": none */
    /* For an answer of status 200 or 206: once before its first byte, then with its bytes. False ends
     * the request. */
    bool (*head)(const http_reply *reply, void *user);
    bool (*body)(const void *data, size_t len, void *user);
    void (*tick)(void *user); /* now and then; may be NULL */
    void *user;
} http_request;

typedef enum http_result {
    HTTP_DONE,    /* reply->status says how it went */
    HTTP_DROPPED, /* the connection could not be made or broke off: trying again may help */
    HTTP_FAILED,
    HTTP_REFUSED, /* head or body returned false */
    HTTP_STOPPED  /* Ctrl-C */
} http_result;

/* Follows redirects (not from https to http). why[HTTP_WHY_CAP] says what went wrong. */
http_result http_get(const http_request *request, http_reply *reply, char *why);

/* "libcurl/7.88.1 OpenSSL/3.0" where the library can be loaded; otherwise false, with why not. */
bool http_version(char *out, size_t cap);

/* "https://host:port" of a URL into out[cap]; false when it is neither http nor https. */
bool http_origin(const char *url, char *out, size_t cap);

#endif
