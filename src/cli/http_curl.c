#define CURL_DISABLE_TYPECHECK
#include <curl/curl.h>
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "brisk.h"
#include "cli/cli.h"
#include "cli/http.h"

enum { REDIRECTS_MOST = 10, URL_CAP = 8192 };

/* ---- The library -------------------------------------------------------------------------------- */

static struct curl {
    void *library;
    CURL *handle; /* keeps connections open between requests */
    __typeof__(curl_global_init) *global_init;
    __typeof__(curl_easy_init) *easy_init;
    __typeof__(curl_easy_reset) *easy_reset;
    __typeof__(curl_easy_setopt) *easy_setopt;
    __typeof__(curl_easy_perform) *easy_perform;
    __typeof__(curl_easy_getinfo) *easy_getinfo;
    __typeof__(curl_easy_strerror) *easy_strerror;
    __typeof__(curl_slist_append) *slist_append;
    __typeof__(curl_slist_free_all) *slist_free_all;
    __typeof__(curl_version) *version;
} curl;

static bool load_symbols(void) {
    const struct symbol {
        const char *name;
        void *slot;
    } symbols[] = {
        {"curl_global_init", &curl.global_init},       {"curl_easy_init", &curl.easy_init},
        {"curl_easy_reset", &curl.easy_reset},         {"curl_easy_setopt", &curl.easy_setopt},
        {"curl_easy_perform", &curl.easy_perform},     {"curl_easy_getinfo", &curl.easy_getinfo},
        {"curl_easy_strerror", &curl.easy_strerror},   {"curl_slist_append", &curl.slist_append},
        {"curl_slist_free_all", &curl.slist_free_all}, {"curl_version", &curl.version},
    };
    for (size_t i = 0; i < BK_ARRAY_LEN(symbols); i++) {
        void *found = dlsym(curl.library, symbols[i].name);
        if (!found) return false;
        memcpy(symbols[i].slot, &found, sizeof found);
    }
    return true;
}

/* False after writing why. */
static bool load(char *why, size_t cap) {
    static const char *const names[] = {"libcurl.so.4", "libcurl-gnutls.so.4"};
    if (curl.handle) return true;
    for (size_t i = 0; i < BK_ARRAY_LEN(names) && !curl.library; i++) {
        curl.library = dlopen(names[i], RTLD_NOW | RTLD_LOCAL);
    }
    if (!curl.library) {
        snprintf(why, cap, "libcurl is not there (%.150s): install libcurl4", dlerror());
        return false;
    }
    if (load_symbols() && curl.global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK)
        curl.handle = curl.easy_init();
    if (!curl.handle) snprintf(why, cap, "libcurl cannot be used: it lacks a function, or memory");
    return curl.handle != NULL;
}

bool http_version(char *out, size_t cap) {
    if (!load(out, cap)) return false;
    snprintf(out, cap, "%s", curl.version());
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

/* Adds a header; false when memory is short. */
static bool add_header(struct curl_slist **list, const char *name, const char *value) {
    char line[4096];
    int n = snprintf(line, sizeof line, "%s: %s", name, value);
    struct curl_slist *longer =
        n > 0 && (size_t)n < sizeof line ? curl.slist_append(*list, line) : NULL;
    if (longer) *list = longer;
    return longer != NULL;
}

static bool make_headers(const http_request *q, const char *url, struct curl_slist **list) {
    char value[4096];
    bool good = true;
    if (q->token && same_origin(url, q->origin)) {
        int n = snprintf(value, sizeof value, "Bearer %s", q->token);
        good = n > 0 && (size_t)n < sizeof value && add_header(list, "Authorization", value);
    }
    if (q->from == 0) return good;
    snprintf(value, sizeof value, "bytes=%llu-", (unsigned long long)q->from);
    good = good && add_header(list, "Range", value);
    return good && (!*q->if_range || add_header(list, "If-Range", q->if_range));
}

static void set_options(exchange *x, const char *url, struct curl_slist *headers, char *error) {
    CURL *h = curl.handle;
    const char *ca = getenv("CURL_CA_BUNDLE"), *ssl = getenv("SSL_CERT_FILE");
    if (!ca || !*ca) ca = ssl;
    curl.easy_reset(h);
    curl.easy_setopt(h, CURLOPT_URL, url);
    curl.easy_setopt(h, CURLOPT_HTTPHEADER, headers);
    curl.easy_setopt(h, CURLOPT_USERAGENT, "brisk/" BRISK_VERSION);
    curl.easy_setopt(h, CURLOPT_NOSIGNAL, 1L);
    curl.easy_setopt(h, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
    curl.easy_setopt(h, CURLOPT_CONNECTTIMEOUT, 30L);
    curl.easy_setopt(h, CURLOPT_LOW_SPEED_LIMIT, 1L);
    curl.easy_setopt(h, CURLOPT_LOW_SPEED_TIME, 60L);
    curl.easy_setopt(h, CURLOPT_ERRORBUFFER, error);
    curl.easy_setopt(h, CURLOPT_HEADERFUNCTION, on_header);
    curl.easy_setopt(h, CURLOPT_HEADERDATA, x);
    curl.easy_setopt(h, CURLOPT_WRITEFUNCTION, on_body);
    curl.easy_setopt(h, CURLOPT_WRITEDATA, x);
    curl.easy_setopt(h, CURLOPT_XFERINFOFUNCTION, on_tick);
    curl.easy_setopt(h, CURLOPT_XFERINFODATA, x);
    curl.easy_setopt(h, CURLOPT_NOPROGRESS, 0L);
    if (ca && *ca) curl.easy_setopt(h, CURLOPT_CAINFO, ca);
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
        curl.slist_free_all(headers);
        snprintf(why, HTTP_WHY_CAP, "no memory for the request, or a token that is too long");
        return HTTP_FAILED;
    }
    set_options(&x, url, headers, error);
    CURLcode code = curl.easy_perform(curl.handle);
    if (code == CURLE_OK && has_body(reply)) begin(&x); /* an empty body had no first byte */
    http_result result = result_of(code, &x);
    curl.easy_getinfo(curl.handle, CURLINFO_REDIRECT_URL, &redirect);
    if (redirect) snprintf(next, URL_CAP, "%s", redirect);
    snprintf(why, HTTP_WHY_CAP, "%s", *error ? error : curl.easy_strerror(code));
    curl.easy_setopt(curl.handle, CURLOPT_ERRORBUFFER, NULL);
    curl.slist_free_all(headers);
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
