#include "engine/record.h"

/* Where the next array of a record begins. */
static size_t padded(size_t bytes) { return (bytes + 7) & ~(size_t)7; }

/* Fills up an array of so many bytes. */
static void pad(bk_buf *out, size_t bytes) {
    static const char zeros[8];
    bk_buf_append(out, zeros, padded(bytes) - bytes);
}

static void put(bk_buf *out, const void *data, size_t bytes) {
    if (bytes) bk_buf_append(out, data, bytes);
    pad(out, bytes);
}

static const void *take(const char **at, size_t bytes) {
    const void *array = *at;
    *at += padded(bytes);
    return array;
}

/* A text and its NUL. */
static void put_text(bk_buf *out, const char *text, size_t len) {
    if (len) bk_buf_append(out, text, len);
    bk_buf_putc(out, '\0');
    pad(out, len + 1);
}

/* Ends a record begun at `begin`: with its length, or taken back whole when memory was short, so that
 * what is there remains readable and can grow again. */
static bool complete(bk_buf *out, size_t begin, void *head, size_t bytes, uint64_t *length) {
    bool good = !out->failed;
    if (good) {
        *length = out->len - begin;
        memcpy(out->data + begin, head, bytes);
    } else {
        out->len = begin;
        out->failed = false;
    }
    return good;
}

bool bk_request_write(const bk_request *head, const bk_request_view *from, const char *const *stop,
                      bk_buf *out) {
    size_t begin = out->len;
    bk_request h = *head;
    h.stop_bytes = 0;
    for (size_t i = 0; i < h.n_stop; i++) h.stop_bytes += strlen(stop[i]) + 1;
    h.sampling.biases = NULL;
    put(out, &h, sizeof h);
    put(out, from->tokens, h.n_tokens * sizeof *from->tokens);
    put(out, from->stop_tokens, h.n_stop_tokens * sizeof *from->stop_tokens);
    put(out, from->allowed, h.n_allowed * sizeof *from->allowed);
    put(out, from->prediction, h.n_prediction * sizeof *from->prediction);
    put(out, from->biases, h.n_biases * sizeof *from->biases);
    for (size_t i = 0; i < h.n_stop; i++) bk_buf_append(out, stop[i], strlen(stop[i]) + 1);
    pad(out, h.stop_bytes);
    return complete(out, begin, &h, sizeof h, &h.bytes);
}

bk_request_view bk_request_read(const bk_request *r) {
    const char *at = (const char *)r + padded(sizeof *r);
    bk_request_view v;
    v.tokens = take(&at, r->n_tokens * sizeof *v.tokens);
    v.stop_tokens = take(&at, r->n_stop_tokens * sizeof *v.stop_tokens);
    v.allowed = take(&at, r->n_allowed * sizeof *v.allowed);
    v.prediction = take(&at, r->n_prediction * sizeof *v.prediction);
    v.biases = take(&at, r->n_biases * sizeof *v.biases);
    v.stop = take(&at, r->stop_bytes);
    return v;
}

bool bk_event_write(const bk_event *head, const bk_event_view *from, bk_buf *out) {
    size_t begin = out->len;
    bk_event h = *head;
    put(out, &h, sizeof h);
    put(out, from->top, h.n_top * sizeof *from->top);
    put(out, from->values, h.n_values * sizeof *from->values);
    put_text(out, from->text, h.text_len);
    put_text(out, from->stop, h.stop_len);
    put_text(out, from->message, h.message_len);
    return complete(out, begin, &h, sizeof h, &h.bytes);
}

bk_event_view bk_event_read(const bk_event *e) {
    const char *at = (const char *)e + padded(sizeof *e);
    bk_event_view v;
    v.top = take(&at, e->n_top * sizeof *v.top);
    v.values = take(&at, e->n_values * sizeof *v.values);
    v.text = take(&at, e->text_len + 1);
    v.stop = take(&at, e->stop_len + 1);
    v.message = take(&at, e->message_len + 1);
    return v;
}
