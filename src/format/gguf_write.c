/* A model to a file: the header as one buffer, then tensor after tensor in pieces. */
#include <string.h>

#include "base/buf.h"
#include "format/gguf_affine.h"
#include "format/gguf_build.h"
#include "format/gguf_internal.h"

enum { PIECE = 16 << 20 }; /* bytes between two looks at cancel */

static void put_le(bk_buf *b, uint64_t v, size_t n) {
    for (size_t i = 0; i < n; i++) bk_buf_putc(b, (char)(v >> 8 * i & 0xFF));
}

static void put_string(bk_buf *b, bk_str s) {
    put_le(b, s.len, 8);
    bk_buf_append(b, s.data, s.len);
}

static void put_kv(bk_buf *b, const bk_gguf_kv *kv) {
    put_string(b, kv->key);
    put_le(b, kv->type, 4);
    if (kv->type == BK_GGUF_STRING) put_le(b, kv->bytes, 8);
    if (kv->type == BK_GGUF_ARRAY) {
        put_le(b, kv->elem_type, 4);
        put_le(b, kv->n, 8);
    }
    bk_buf_append(b, kv->data, kv->bytes);
}

static void put_padding(bk_buf *b, size_t alignment) {
    while (!b->failed && b->len % alignment) bk_buf_putc(b, 0);
}

static void put_header(bk_buf *b, const bk_gguf *g) {
    uint64_t offset = 0;
    bk_buf_append(b, "GGUF", 4);
    put_le(b, 3, 4);
    put_le(b, g->n_tensors, 8);
    put_le(b, g->n_kv, 8);
    for (size_t i = 0; i < g->n_kv; i++) put_kv(b, &g->kv[i]);
    for (size_t i = 0; i < g->n_tensors; i++) {
        const bk_gguf_tensor *t = &g->tensors[i];
        put_string(b, t->name);
        put_le(b, (uint64_t)t->n_dims, 4);
        for (int d = 0; d < t->n_dims; d++) put_le(b, t->ne[d], 8);
        put_le(b, t->type->type, 4);
        put_le(b, offset, 8);
        offset += bk_round_up(t->bytes, g->alignment);
    }
    put_padding(b, g->alignment);
}

typedef struct writer {
    const bk_gguf *g;
    bk_gguf_write_options o;
    bk_file_writer file;
    uint64_t done, total; /* bytes of tensors */
    bk_error *err;
} writer;

static bk_status put_tensor(writer *w, const bk_gguf_tensor *t) {
    static const char zeros[64];
    const uint8_t *data;
    bk_status status = bk_gguf_read(w->g, t, &data, w->err);
    if (status != BK_OK) return status;
    for (size_t at = 0; status == BK_OK && at < t->bytes; at += PIECE) {
        size_t n = bk_min_size(t->bytes - at, PIECE);
        if (w->o.cancel && *w->o.cancel) {
            status = bk_fail(w->err, BK_ERR_CANCELLED, "cancelled");
            break;
        }
        status = bk_file_put(&w->file, data + at, n, w->err);
        w->done += n;
        if (w->o.progress) w->o.progress((double)w->done / (double)w->total, w->o.user);
    }
    bk_gguf_release(w->g, t, data);
    size_t padding = bk_round_up(t->bytes, w->g->alignment) - t->bytes;
    while (status == BK_OK && padding) {
        size_t n = bk_min_size(padding, sizeof zeros);
        status = bk_file_put(&w->file, zeros, n, w->err);
        padding -= n;
    }
    return status;
}

static bk_status write_as_it_is(const bk_gguf *g, const char *path,
                                const bk_gguf_write_options *options, bk_error *err) {
    writer w = {.g = g, .file = {.fd = -1}, .err = err};
    bk_buf header = {0};
    if (options) w.o = *options;
    for (size_t i = 0; i < g->n_tensors; i++) w.total += g->tensors[i].bytes;
    put_header(&header, g);
    bk_status status = header.failed ? bk_fail(err, BK_ERR_NOMEM, "no memory for a header") : BK_OK;
    if (status == BK_OK) status = bk_file_begin(path, &w.file, err);
    if (status == BK_OK) status = bk_file_put(&w.file, header.data, header.len, err);
    bk_buf_free(&header);
    for (size_t i = 0; status == BK_OK && i < g->n_tensors; i++)
        status = put_tensor(&w, &g->tensors[i]);
    if (status == BK_OK) return bk_file_commit(&w.file, err);
    bk_file_abandon(&w.file);
    return status;
}

bk_status bk_gguf_write(const bk_gguf *g, const char *path, const bk_gguf_write_options *options,
                        bk_error *err) {
    bk_gguf *split;
    bk_status status = bk_gguf_split_affine(g, &split, err);
    if (status == BK_OK) status = write_as_it_is(split ? split : g, path, options, err);
    if (split) bk_gguf_destroy(&split);
    return status;
}
