#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "brisk.h"
#include "cli/cli.h"
#include "cli/http.h"
#include "cli/libcurl.h"

enum { REDIRECTS_MOST = 10, URL_CAP = 8192 };

/* ---- The library -------------------------------------------------------------------------------- */

static const libcurl *lib;
static CURL *handle; /* keeps connections open between requests */

/* False after writing why. */
static bool load(char *why, size_t cap) {
    if (handle) return true;
    lib = libcurl_load(why, cap);
    if (!lib) return false;
    handle = lib->easy_init();
    if (!handle) snprintf(why, cap, "libcurl cannot be used: it lacks memory");
    return handle != NULL;
}

bool http_version(char *out, size_t cap) {
    if (!load(out, cap)) return false;
    snprintf(out, cap, "%s", lib->version());
    return true;
}

/* ---- Headers ------------------------------------------------------------------------------------ */

typedef struct exchange {
    const http_request *request;
    http_reply *reply;
    bool begun, refused;
} exchange;

/* The value when the line is this header; NULL otherwise. */
static const char *value_of(const char *line, const char *name) {
    size_t n = strlen(name);
    if (strncasecmp(line, name, n) != 0 || line[n] != ':') return NULL;
    return line + n + 1 + strspn(line + n + 1, " \t");
}

static void take_etag(const char *value, http_reply *r) {
    size_t len = strlen(value);
    if (len < 2 || len >= sizeof r->etag || value[0] != '"' || value[len - 1] != '"') return;
    memcpy(r->etag, value, len + 1); /* a weak one (W/"...") does not vouch for every byte */
}

/* "bytes 100-199/1000", "bytes * /1000" without the blank. */
static void take_range(const char *value, http_reply *r) {
    const char *slash = strchr(value, '/');
    if (strncasecmp(value, "bytes ", 6) != 0 || !slash) return;
    r->from = strtoull(value + 6, NULL, 10);
    r->total = strtoull(slash + 1, NULL, 10);
}

static size_t on_header(char *data, size_t size, size_t n, void *user) {
    exchange *x = user;
    http_reply *r = x->reply;
    char line[1024];
    size_t len = bk_min_size(size * n, sizeof line - 1);
    memcpy(line, data, len);
    line[len] = '\0';
    line[strcspn(line, "\r\n")] = '\0';
    const char *value;
    if (strncmp(line, "HTTP/", 5) == 0) { /* a new answer: what an earlier one said is void */
        const char *blank = strchr(line, ' ');
        *r = (http_reply){.status = blank ? (int)strtol(blank, NULL, 10) : 0, .length = -1};
    } else if ((value = value_of(line, "Content-Length"))) {
        r->length = strtoll(value, NULL, 10);
    } else if ((value = value_of(line, "Content-Range"))) {
        take_range(value, r);
    } else if ((value = value_of(line, "ETag"))) {
        take_etag(value, r);
    } else if ((value = value_of(line, "Retry-After"))) {
        long seconds = strtol(value, NULL, 10); /* a date counts as nothing said */
        r->retry_after = seconds > 0 && seconds < 100000 ? (int)seconds : 0;
    }
    return size * n;
}

static bool begin(exchange *x) {
    if (x->begun || x->refused) return !x->refused;
    x->begun = true;
    x->refused = x->request->head && !x->request->head(x->reply, x->request->user);
    return !x->refused;
}

static bool has_body(const http_reply *r) { return r->status == 200 || r->status == 206; }

static size_t on_body(char *data, size_t size, size_t n, void *user) {
    exchange *x = user;
    if (!has_body(x->reply)) return size * n; /* an error page */
    if (!begin(x)) return 0;
    x->refused = !x->request->body(data, size * n, x->request->user);
    return x->refused ? 0 : size * n;
}

static int on_tick(void *user, curl_off_t a, curl_off_t b, curl_off_t c, curl_off_t d) {
    (void)a, (void)b, (void)c, (void)d;
    exchange *x = user;
    if (x->request->tick) x->request->tick(x->request->user);
    return cli_interrupted;
}

/* ---- One request -------------------------------------------------------------------------------- */

bool http_origin(const char *url, char *out, size_t cap) {
    size_t scheme = strncasecmp(url, "https://", 8) == 0  ? 8
                    : strncasecmp(url, "http://", 7) == 0 ? 7
                                                          : 0;
    size_t host = strcspn(url + scheme, "/?#");
    if (scheme == 0 || host == 0 || scheme + host >= cap) return false;
    memcpy(out, url, scheme + host);
    out[scheme + host] = '\0';
    return true;
}

static bool same_origin(const char *url, const char *origin) {
    char own[512];
    return origin && http_origin(url, own, sizeof own) && strcasecmp(own, origin) == 0;
}

static bool make_headers(const http_request *q, const char *url, struct curl_slist **list) {
    char value[4096];
    bool good = true;
    if (q->token && same_origin(url, q->origin)) {
        int n = snprintf(value, sizeof value, "Bearer %s", q->token);
        good =
            n > 0 && (size_t)n < sizeof value && libcurl_header(lib, list, "Authorization", value);
    }
    if (q->from == 0) return good;
    snprintf(value, sizeof value, "bytes=%llu-", (unsigned long long)q->from);
    good = good && libcurl_header(lib, list, "Range", value);
    return good && (!*q->if_range || libcurl_header(lib, list, "If-Range", q->if_range));
}

static void set_options(exchange *x, const char *url, struct curl_slist *headers, char *error) {
    CURL *h = handle;
    lib->easy_reset(h);
    lib->easy_setopt(h, CURLOPT_URL, url);
    lib->easy_setopt(h, CURLOPT_HTTPHEADER, headers);
    lib->easy_setopt(h, CURLOPT_USERAGENT, "brisk/" BRISK_VERSION);
    lib->easy_setopt(h, CURLOPT_NOSIGNAL, 1L);
    lib->easy_setopt(h, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
    lib->easy_setopt(h, CURLOPT_CONNECTTIMEOUT, 30L);
    lib->easy_setopt(h, CURLOPT_LOW_SPEED_LIMIT, 1L);
    lib->easy_setopt(h, CURLOPT_LOW_SPEED_TIME, 60L);
    lib->easy_setopt(h, CURLOPT_ERRORBUFFER, error);
    lib->easy_setopt(h, CURLOPT_HEADERFUNCTION, on_header);
    lib->easy_setopt(h, CURLOPT_HEADERDATA, x);
    lib->easy_setopt(h, CURLOPT_WRITEFUNCTION, on_body);
    lib->easy_setopt(h, CURLOPT_WRITEDATA, x);
    lib->easy_setopt(h, CURLOPT_XFERINFOFUNCTION, on_tick);
    lib->easy_setopt(h, CURLOPT_XFERINFODATA, x);
    lib->easy_setopt(h, CURLOPT_NOPROGRESS, 0L);
    libcurl_certificates(lib, h);
}

static http_result result_of(CURLcode code, const exchange *x) {
    if (x->refused) return HTTP_REFUSED;
    switch (code) {
    case CURLE_OK: return HTTP_DONE;
    case CURLE_ABORTED_BY_CALLBACK: return HTTP_STOPPED;
    case CURLE_COULDNT_RESOLVE_PROXY:
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_CONNECT:
    case CURLE_PARTIAL_FILE:
    case CURLE_OPERATION_TIMEDOUT:
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_GOT_NOTHING:
    case CURLE_SEND_ERROR:
    case CURLE_RECV_ERROR:
    case CURLE_HTTP2:
    case CURLE_HTTP2_STREAM: return HTTP_DROPPED;
    default: return HTTP_FAILED;
    }
}

/* A request without redirects; next[URL_CAP] gets where the answer points to, or "". */
static http_result one_hop(const http_request *q, const char *url, http_reply *reply, char *next,
                           char *why) {
    char error[CURL_ERROR_SIZE] = "", *redirect = NULL;
    exchange x = {.request = q, .reply = reply};
    struct curl_slist *headers = NULL;
    *reply = (http_reply){.length = -1};
    next[0] = '\0';
    if (!make_headers(q, url, &headers)) {
        lib->slist_free_all(headers);
        snprintf(why, HTTP_WHY_CAP, "no memory for the request, or a token that is too long");
        return HTTP_FAILED;
    }
    set_options(&x, url, headers, error);
    CURLcode code = lib->easy_perform(handle);
    if (code == CURLE_OK && has_body(reply)) begin(&x); /* an empty body had no first byte */
    http_result result = result_of(code, &x);
    lib->easy_getinfo(handle, CURLINFO_REDIRECT_URL, &redirect);
    if (redirect) snprintf(next, URL_CAP, "%s", redirect);
    snprintf(why, HTTP_WHY_CAP, "%s", *error ? error : lib->easy_strerror(code));
    lib->easy_setopt(handle, CURLOPT_ERRORBUFFER, NULL);
    lib->slist_free_all(headers);
    return result;
}

http_result http_get(const http_request *q, http_reply *reply, char *why) {
    char url[URL_CAP], next[URL_CAP];
    *reply = (http_reply){.length = -1};
    if (!load(why, HTTP_WHY_CAP)) return HTTP_FAILED;
    if ((size_t)snprintf(url, sizeof url, "%s", q->url) >= sizeof url) {
        snprintf(why, HTTP_WHY_CAP, "the address is too long");
        return HTTP_FAILED;
    }
    for (int hop = 0; hop <= REDIRECTS_MOST; hop++) {
        http_result result = one_hop(q, url, reply, next, why);
        if (result != HTTP_DONE || reply->status < 300 || reply->status > 399 || !*next)
            return result;
        bool secure = strncasecmp(url, "https://", 8) == 0;
        if (strncasecmp(next, "https://", 8) != 0 &&
            (secure || strncasecmp(next, "http://", 7) != 0)) {
            snprintf(why, HTTP_WHY_CAP, "it redirects from https to %.100s, which is not followed",
                     next);
            return HTTP_FAILED;
        }
        memcpy(url, next, sizeof url);
    }
    snprintf(why, HTTP_WHY_CAP, "more than %d redirects", REDIRECTS_MOST);
    return HTTP_FAILED;
}
