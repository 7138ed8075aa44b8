#include "cli/load/client.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/json_read.h"
#include "base/mem.h"
#include "brisk.h"
#include "cli/cli.h"
#include "cli/libcurl.h"
#include "cli/load/sse.h"

enum { JSON_DEPTH = 32, SAMPLE_CAP = 2048, CALL_TIMEOUT_S = 60, CONNECT_TIMEOUT_S = 30 };

struct load_client {
    const load_options *o;
    const libcurl *lib;
    CURLM *multi;
    int epoll;
    uint64_t timer; /* when libcurl wants to be called; LOAD_NEVER: not at all */
    struct curl_slist *headers;
    load_request *first_ended, *last_ended;
};

/* A request on its way. */
typedef struct transfer {
    load_client *c;
    load_request *r;
    CURL *easy;
    bk_buf body, sample; /* sample: the beginning of what came */
    load_sse sse;
    uint64_t now; /* when the bytes at hand were read */
    bool events, done, finished;
} transfer;

/* ---- What the server sends ---------------------------------------------------------------------- */

static bool end_as(load_request *r, load_outcome outcome, bk_str why) {
    r->outcome = outcome;
    bk_str_printable(r->why, sizeof r->why, why.data, why.len);
    return false;
}

static bool stamp(transfer *t) {
    load_request *r = t->r;
    if (r->n_stamps == r->cap_stamps) {
        size_t cap = r->cap_stamps ? 2 * r->cap_stamps : 64;
        uint64_t *more = bk_realloc(r->stamps, cap, sizeof *more);
        if (!more) return end_as(r, LOAD_STOPPED, BK_STR("no memory for the time stamps"));
        r->stamps = more;
        r->cap_stamps = cap;
    }
    r->stamps[r->n_stamps++] = t->now;
    return true;
}

/* The text of a chunk of either interface; reasoning counts as text. */
static bk_str text_of(const json_t *choice) {
    static const char *const names[] = {"content", "reasoning_content", "reasoning"};
    const json_t *delta = json_object_get(choice, "delta");
    bk_str text = bk_json_text(json_object_get(choice, "text"));
    for (size_t i = 0; i < BK_ARRAY_LEN(names) && text.len == 0; i++)
        text = bk_json_text(json_object_get(delta, names[i]));
    return text;
}

static void take_count(const json_t *object, const char *key, int64_t *out) {
    const json_t *v = json_object_get(object, key);
    if (json_is_integer(v) && json_integer_value(v) >= 0) *out = json_integer_value(v);
}

static void take_usage(load_request *r, const json_t *chunk) {
    const json_t *usage = json_object_get(chunk, "usage");
    take_count(json_object_get(chunk, "timings"), "cache_n", &r->cached_tokens);
    take_count(usage, "prompt_tokens", &r->prompt_tokens);
    take_count(usage, "completion_tokens", &r->output_tokens);
    take_count(json_object_get(usage, "prompt_tokens_details"), "cached_tokens", &r->cached_tokens);
}

/* "message" of {"error": {"message"}} or of {"error": "..."}; NULL when there is no error. */
static const json_t *error_of(const json_t *answer) {
    const json_t *error = json_object_get(answer, "error");
    const json_t *message = json_object_get(error, "message");
    if (!error || json_is_null(error) || json_is_false(error)) return NULL;
    return json_is_string(message) ? message : error;
}

static bool take_chunk(transfer *t, const json_t *chunk) {
    load_request *r = t->r;
    const json_t *error = error_of(chunk);
    const json_t *choice = json_array_get(json_object_get(chunk, "choices"), 0);
    if (error) return end_as(r, LOAD_EVENT, bk_json_text(error));
    take_usage(r, chunk);
    bk_str text = text_of(choice);
    if (text.len > 0 && !stamp(t)) return false;
    if (r->keep_answer) bk_buf_append(&r->answer, text.data, text.len);
    if (json_is_string(json_object_get(choice, "finish_reason"))) t->finished = true;
    return true;
}

static bool on_event(bk_str data, void *user) {
    transfer *t = user;
    json_t *chunk = NULL;
    bk_error err;
    t->events = true;
    if (bk_str_eq(data, BK_STR("[DONE]"))) {
        t->done = true;
        return true;
    }
    if (bk_json_parse(data, JSON_DEPTH, false, &chunk, &err))
        return end_as(t->r, LOAD_BAD_JSON, bk_str_from(err.text));
    bool good = take_chunk(t, chunk);
    json_decref(chunk);
    return good;
}

static size_t on_body(char *data, size_t size, size_t n, void *user) {
    transfer *t = user;
    t->now = bk_now_ns();
    size_t len = size * n;
    long status = 0;
    if (t->r->status == 0) {
        t->c->lib->easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &status);
        t->r->status = (int)status;
    }
    if (!t->events && t->sample.len < SAMPLE_CAP)
        bk_buf_append(&t->sample, data, bk_min_size(len, SAMPLE_CAP - t->sample.len));
    if (t->r->status != 200 || load_sse_feed(&t->sse, data, len, on_event, t)) return len;
    if (t->r->outcome == LOAD_RUNNING)
        end_as(t->r, LOAD_BAD_JSON, BK_STR("an event of more than 1 MiB, or no memory"));
    return len + 1; /* ends the transfer; one less would, too, but not for empty data */
}

/* ---- How it ended ------------------------------------------------------------------------------- */

/* The server's own words, or the beginning of what it sent. */
static void explain(transfer *t) {
    json_t *answer = NULL;
    bk_str text = bk_buf_view(&t->sample);
    if (t->sample.len < SAMPLE_CAP) bk_json_parse(text, JSON_DEPTH, false, &answer, NULL);
    const json_t *error = error_of(answer);
    if (json_is_string(error)) text = bk_json_text(error);
    end_as(t->r, t->r->outcome, text);
    json_decref(answer);
}

static load_outcome outcome_of_code(CURLcode code) {
    switch (code) {
    case CURLE_URL_MALFORMAT:
    case CURLE_UNSUPPORTED_PROTOCOL:
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_COULDNT_CONNECT: return LOAD_UNREACHED;
    case CURLE_OPERATION_TIMEDOUT: return LOAD_TIMEOUT;
    default: return LOAD_CUT;
    }
}

static void judge(transfer *t, CURLcode code) {
    load_request *r = t->r;
    curl_off_t wait = 0;
    long status = 0;
    t->c->lib->easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &status);
    r->status = (int)status;
    if (r->outcome != LOAD_RUNNING) return; /* an event said it */
    if (code != CURLE_OK && !t->done) {
        end_as(r, outcome_of_code(code), bk_str_from(t->c->lib->easy_strerror(code)));
    } else if (r->status == 429 || r->status == 503) {
        r->outcome = LOAD_REFUSED;
        t->c->lib->easy_getinfo(t->easy, CURLINFO_RETRY_AFTER, &wait);
        r->retry_after = wait > 0 && wait < INT32_MAX ? (int)wait : 0;
        explain(t);
    } else if (r->status != 200 || !t->events) {
        r->outcome = r->status != 200 ? LOAD_HTTP : LOAD_NO_STREAM;
        explain(t);
    } else if (!t->done && !t->finished) {
        end_as(r, LOAD_CUT, BK_STR("the stream ended without finish_reason or [DONE]"));
    } else {
        r->outcome = load_has_text(r) ? LOAD_OK : LOAD_EMPTY;
    }
}

static void queue_ended(load_client *c, load_request *r) {
    r->ended = bk_now_ns();
    r->transfer = NULL;
    r->next_ended = NULL;
    if (c->last_ended)
        c->last_ended->next_ended = r;
    else
        c->first_ended = r;
    c->last_ended = r;
}

static void end_transfer(transfer *t) {
    load_client *c = t->c;
    queue_ended(c, t->r);
    if (t->easy) {
        c->lib->multi_remove_handle(c->multi, t->easy);
        c->lib->easy_cleanup(t->easy);
    }
    bk_buf_free(&t->body);
    bk_buf_free(&t->sample);
    load_sse_free(&t->sse);
    bk_free(t);
}

static void take_ended(load_client *c) {
    int left;
    for (CURLMsg *m; (m = c->lib->multi_info_read(c->multi, &left));) {
        char *user = NULL;
        if (m->msg != CURLMSG_DONE) continue;
        CURLcode code = m->data.result; /* the message goes with the handle */
        c->lib->easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, &user);
        transfer *t = (transfer *)(void *)user;
        judge(t, code);
        end_transfer(t);
    }
}

load_request *load_client_ended(load_client *c) {
    load_request *r = c->first_ended;
    if (!r) return NULL;
    c->first_ended = r->next_ended;
    if (!c->first_ended) c->last_ended = NULL;
    return r;
}

/* ---- Sockets and timers ------------------------------------------------------------------------- */

static int on_socket(CURL *easy, curl_socket_t fd, int what, void *user, void *known) {
    load_client *c = user;
    struct epoll_event e = {.data.fd = fd};
    (void)easy;
    if (what == CURL_POLL_REMOVE) {
        epoll_ctl(c->epoll, EPOLL_CTL_DEL, fd, NULL);
        c->lib->multi_assign(c->multi, fd, NULL);
        return 0;
    }
    if (what & CURL_POLL_IN) e.events |= EPOLLIN;
    if (what & CURL_POLL_OUT) e.events |= EPOLLOUT;
    if (epoll_ctl(c->epoll, known ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, fd, &e) != 0 && known)
        epoll_ctl(c->epoll, EPOLL_CTL_ADD, fd, &e);
    c->lib->multi_assign(c->multi, fd, c);
    return 0;
}

static int on_timer(CURLM *multi, long ms, void *user) {
    load_client *c = user;
    (void)multi;
    c->timer = ms < 0 ? LOAD_NEVER : bk_now_ns() + (uint64_t)ms * 1000000u;
    return 0;
}

static void act(load_client *c, curl_socket_t fd, int what) {
    int running;
    c->lib->multi_socket_action(c->multi, fd, what, &running);
}

static void fire_timer(load_client *c) {
    if (c->timer > bk_now_ns()) return;
    c->timer = LOAD_NEVER;
    act(c, CURL_SOCKET_TIMEOUT, 0);
}

void load_client_wait(load_client *c, uint64_t until) {
    enum { AT_ONCE = 256 };
    struct epoll_event events[AT_ONCE];
    struct pollfd p = {.fd = c->epoll, .events = POLLIN};
    uint64_t now = bk_now_ns(), wake = until < c->timer ? until : c->timer;
    uint64_t left = wake > now ? wake - now : 0;
    struct timespec wait = {.tv_sec = (time_t)(left / 1000000000u),
                            .tv_nsec = (long)(left % 1000000000u)};
    if (ppoll(&p, 1, &wait, NULL) > 0) {
        int n = epoll_wait(c->epoll, events, AT_ONCE, 0);
        for (int i = 0; i < n; i++) {
            uint32_t e = events[i].events;
            act(c, events[i].data.fd,
                (e & EPOLLIN ? CURL_CSELECT_IN : 0) | (e & EPOLLOUT ? CURL_CSELECT_OUT : 0) |
                    (e & (EPOLLERR | EPOLLHUP) ? CURL_CSELECT_ERR : 0));
        }
    }
    fire_timer(c);
    take_ended(c);
}

/* ---- Requests ----------------------------------------------------------------------------------- */

static bool set_url(load_client *c, CURL *easy, const char *path) {
    char url[4096];
    int n = snprintf(url, sizeof url, "%s%s", c->o->base_url, path);
    return n > 0 && (size_t)n < sizeof url &&
           c->lib->easy_setopt(easy, CURLOPT_URL, url) == CURLE_OK;
}

static bool set_common(load_client *c, CURL *easy, const char *path, const bk_buf *body) {
    const libcurl *lib = c->lib;
    lib->easy_setopt(easy, CURLOPT_HTTPHEADER, c->headers);
    lib->easy_setopt(easy, CURLOPT_USERAGENT, "brisk/" BRISK_VERSION);
    lib->easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    lib->easy_setopt(easy, CURLOPT_PROXY, ""); /* one would be measured with the server */
    lib->easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    lib->easy_setopt(easy, CURLOPT_CONNECTTIMEOUT, (long)CONNECT_TIMEOUT_S);
    libcurl_certificates(lib, easy);
    if (body) {
        lib->easy_setopt(easy, CURLOPT_POSTFIELDS, body->data);
        lib->easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)body->len);
    }
    return set_url(c, easy, path);
}

void load_client_start(load_client *c, load_request *r) {
    const libcurl *lib = c->lib;
    transfer *t = bk_alloc_zero(1, sizeof *t);
    r->sent = bk_now_ns();
    if (!t) {
        end_as(r, LOAD_STOPPED, BK_STR("no memory for the request"));
        queue_ended(c, r);
        return;
    }
    *t = (transfer){.c = c, .r = r};
    r->transfer = t;
    r->outcome = LOAD_RUNNING;
    if (load_body(c->o, r, &t->body)) t->easy = lib->easy_init();
    if (!t->easy || !set_common(c, t->easy, c->o->endpoint, &t->body)) {
        end_as(r, LOAD_STOPPED, BK_STR("no memory for the request"));
        end_transfer(t);
        return;
    }
    lib->easy_setopt(t->easy, CURLOPT_PRIVATE, t);
    lib->easy_setopt(t->easy, CURLOPT_TIMEOUT, (long)c->o->timeout);
    lib->easy_setopt(t->easy, CURLOPT_WRITEFUNCTION, on_body);
    lib->easy_setopt(t->easy, CURLOPT_WRITEDATA, t);
    r->sent = bk_now_ns();
    lib->multi_add_handle(c->multi, t->easy);
    fire_timer(c); /* connects, or sends on a connection that is there */
    take_ended(c);
}

void load_client_stop(load_client *c, load_request *r) {
    (void)c;
    if (r->outcome != LOAD_RUNNING || !r->transfer) return;
    r->outcome = LOAD_STOPPED;
    end_transfer(r->transfer);
}

static size_t on_answer(char *data, size_t size, size_t n, void *user) {
    return bk_buf_append(user, data, size * n) ? size * n : 0;
}

static int on_progress(void *user, curl_off_t a, curl_off_t b, curl_off_t c, curl_off_t d) {
    (void)user, (void)a, (void)b, (void)c, (void)d;
    return cli_interrupted;
}

void load_client_call(load_client *c, const char *path, const char *body, bk_buf *out, int *status,
                      char *why) {
    const libcurl *lib = c->lib;
    CURL *easy = lib->easy_init();
    bk_buf text = {.data = (char *)(uintptr_t)body, .len = body ? strlen(body) : 0};
    CURLcode code = CURLE_OUT_OF_MEMORY;
    long answered = 0;
    if (easy && set_common(c, easy, path, body ? &text : NULL)) {
        lib->easy_setopt(easy, CURLOPT_TIMEOUT, (long)CALL_TIMEOUT_S);
        lib->easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_answer);
        lib->easy_setopt(easy, CURLOPT_WRITEDATA, out);
        lib->easy_setopt(easy, CURLOPT_XFERINFOFUNCTION, on_progress);
        lib->easy_setopt(easy, CURLOPT_NOPROGRESS, 0L);
        code = lib->easy_perform(easy);
        if (code == CURLE_OK) lib->easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &answered);
    }
    *status = (int)answered;
    if (code != CURLE_OK) snprintf(why, LOAD_WHY_CAP, "%s", lib->easy_strerror(code));
    if (easy) lib->easy_cleanup(easy);
}

/* ---- Opening ------------------------------------------------------------------------------------ */

static bool set_headers(load_client *c) {
    const char *key = c->o->api_key;
    char value[2048];
    int n = snprintf(value, sizeof value, "Bearer %s", key ? key : "");
    return (!key || (n > 0 && (size_t)n < sizeof value &&
                     libcurl_header(c->lib, &c->headers, "Authorization", value))) &&
           libcurl_header(c->lib, &c->headers, "Content-Type", "application/json") &&
           libcurl_header(c->lib, &c->headers, "Expect", ""); /* the body goes with the head */
}

/* A socket for each stream: as many as may be had. */
static void raise_limit(void) {
    struct rlimit l;
    if (getrlimit(RLIMIT_NOFILE, &l) != 0) return;
    l.rlim_cur = l.rlim_max;
    setrlimit(RLIMIT_NOFILE, &l);
}

load_client *load_client_open(const load_options *o, char *why) {
    const libcurl *lib = libcurl_load(why, LOAD_WHY_CAP);
    load_client *c = lib ? bk_alloc_zero(1, sizeof *c) : NULL;
    if (!lib) return NULL;
    snprintf(why, LOAD_WHY_CAP, "no memory for the client, or a key that is too long");
    if (!c) return NULL;
    raise_limit();
    *c = (load_client){.o = o, .lib = lib, .timer = LOAD_NEVER};
    c->epoll = epoll_create1(EPOLL_CLOEXEC);
    c->multi = lib->multi_init();
    if (c->epoll < 0 || !c->multi || !set_headers(c)) {
        load_client_close(c);
        return NULL;
    }
    lib->multi_setopt(c->multi, CURLMOPT_SOCKETFUNCTION, on_socket);
    lib->multi_setopt(c->multi, CURLMOPT_SOCKETDATA, c);
    lib->multi_setopt(c->multi, CURLMOPT_TIMERFUNCTION, on_timer);
    lib->multi_setopt(c->multi, CURLMOPT_TIMERDATA, c);
    return c;
}

void load_client_close(load_client *c) {
    if (!c) return;
    if (c->multi) c->lib->multi_cleanup(c->multi);
    if (c->headers) c->lib->slist_free_all(c->headers);
    if (c->epoll >= 0) close(c->epoll);
    bk_free(c);
}
