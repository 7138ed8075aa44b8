/* Replies: heads, whole bodies, streams of events. */
#include <stdarg.h>
#include <string.h>
#include <time.h>

#include "brisk.h"
#include "server/conn_internal.h"

void sv_add_header(sv_exchange *x, const char *name, const char *fmt, ...) {
    char value[512];
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(value, sizeof value, fmt, args);
    va_end(args);
    if (n >= 0 && (size_t)n < sizeof value && !strpbrk(value, "\r\n"))
        bk_buf_printf(&x->headers, "%s: %s\r\n", name, value);
}

static const char *date_now(sv_http *http) {
    struct tm tm;
    time_t now = time(NULL);
    if (http->date_s == now) return http->date;
    http->date_s = now;
    if (!gmtime_r(&now, &tm) ||
        strftime(http->date, sizeof http->date, "%a, %d %b %Y %H:%M:%S GMT", &tm) == 0)
        http->date[0] = '\0';
    return http->date;
}

/* Everything up to the empty line. Also decides whether the connection lives on. */
static void put_head(sv_exchange *x, int status, const char *type, bool known, size_t len) {
    sv_conn *c = x->conn;
    bool unread = c->state != SV_ANSWERING && (x->head.length > 0 || x->head.chunked);
    if (unread || c->http->draining || c->peer_done) x->head.keep_alive = false;
    if (!known && x->head.minor == 0) x->head.keep_alive = false;
    struct evbuffer *out = bufferevent_get_output(c->b);
    evbuffer_add_printf(out, "HTTP/1.1 %d %s\r\nDate: %s\r\nServer: brisk/%s\r\n", status,
                        sv_status_name(status), date_now(c->http), brisk_version());
    if (x->id[0]) evbuffer_add_printf(out, "x-request-id: %s\r\n", x->id);
    if (type) evbuffer_add_printf(out, "Content-Type: %s\r\n", type);
    if (known && status != 204 && status != 304)
        evbuffer_add_printf(out, "Content-Length: %zu\r\n", len);
    else if (!known && x->head.minor > 0)
        evbuffer_add_printf(out, "Transfer-Encoding: chunked\r\n");
    if (!x->head.keep_alive)
        evbuffer_add_printf(out, "Connection: close\r\n");
    else if (x->head.minor == 0)
        evbuffer_add_printf(out, "Connection: keep-alive\r\n");
    evbuffer_add(out, x->headers.data, x->headers.len);
    evbuffer_add(out, "\r\n", 2);
    x->status = status;
}

static void finish(sv_exchange *x) {
    sv_conn *c = x->conn;
    bool close = !x->head.keep_alive;
    x->ended = true;
    c->http->o.ended(c->http->o.user, x, true);
    sv_conn_answered(c, close);
}

void sv_reply(sv_exchange *x, int status, const char *type, const void *data, size_t len) {
    if (x->draft) {
        x->draft->status = status;
        x->draft->type = type;
        bk_buf_append(&x->draft->data, data, len);
        return;
    }
    put_head(x, status, type, true, len);
    if (x->head.method != SV_HEAD && len > 0)
        evbuffer_add(bufferevent_get_output(x->conn->b), data, len);
    x->sent = len;
    finish(x);
}

void sv_stream_begin(sv_exchange *x) {
    sv_add_header(x, "Cache-Control", "no-cache");
    sv_add_header(x, "X-Accel-Buffering", "no"); /* nginx passes events on at once */
    x->streaming = true;
    put_head(x, 200, "text/event-stream; charset=utf-8", false, 0);
}

bool sv_stream_write(sv_exchange *x, const void *data, size_t len) {
    struct evbuffer *out = bufferevent_get_output(x->conn->b);
    if (evbuffer_get_length(out) > x->conn->http->o.output_most) return false;
    if (len == 0) return true;
    if (x->head.minor > 0) evbuffer_add_printf(out, "%zx\r\n", len);
    evbuffer_add(out, data, len);
    if (x->head.minor > 0) evbuffer_add(out, "\r\n", 2);
    x->sent += len;
    return true;
}

void sv_stream_end(sv_exchange *x) {
    if (x->head.minor > 0) evbuffer_add(bufferevent_get_output(x->conn->b), "0\r\n\r\n", 5);
    finish(x);
}

void sv_cut(sv_exchange *x) {
    sv_conn *c = x->conn;
    x->ended = true;
    c->http->o.ended(c->http->o.user, x, false);
    sv_conn_free(c);
}
