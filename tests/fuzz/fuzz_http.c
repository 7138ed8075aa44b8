/* A connection's bytes: any, arriving whole or in pieces. Both must give the same requests: the head ends
 * where it ends, and a chunked body has the same bytes. */
#include <stdlib.h>
#include <string.h>

#include "server/http.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool good) {
    if (!good) abort();
}

/* The views lie within the block. */
static void check_view(bk_str s, const char *block, size_t len) {
    if (!s.data) return;
    check(s.data >= block && s.len <= len && (size_t)(s.data - block) <= len - s.len);
}

static void check_head(const sv_head *h, const char *block, size_t len) {
    const bk_str all[] = {
        h->method_name,   h->path,         h->query,        h->host,       h->authorization,
        h->api_key,       h->origin,       h->content_type, h->request_id, h->accept_encoding,
        h->if_none_match, h->asked_method, h->asked_headers};
    for (size_t i = 0; i < BK_ARRAY_LEN(all); i++) check_view(all[i], block, len);
    check(h->path.len > 0 && h->path.data[0] == '/');
    check(bk_utf8_valid_len(h->path.data, h->path.len) == h->path.len);
    check(!h->chunked || h->length == 0);
    for (size_t i = 0; i < h->path.len; i++) check((unsigned char)h->path.data[i] >= 32);
}

/* Feeds it `step` bytes at a time. */
static sv_chunks_result feed(const char *data, size_t size, size_t step, bk_buf *out,
                             size_t *used) {
    sv_chunks c = {0};
    sv_chunks_result r = SV_CHUNKS_MORE;
    *used = 0;
    while (*used < size && r == SV_CHUNKS_MORE) {
        size_t taken;
        r = sv_chunks_feed(&c, data + *used, bk_min_size(step, size - *used), out, &taken);
        *used += taken;
    }
    return r;
}

static void check_chunks(const char *data, size_t size) {
    bk_buf whole = {.limit = 1 << 20}, pieces = {.limit = 1 << 20};
    size_t used_whole, used_pieces;
    sv_chunks_result a = feed(data, size, size ? size : 1, &whole, &used_whole);
    sv_chunks_result b = feed(data, size, 1, &pieces, &used_pieces);
    check(a == b && used_whole == used_pieces && used_whole <= size);
    check(bk_str_eq(bk_buf_view(&whole), bk_buf_view(&pieces)));
    bk_buf_free(&whole);
    bk_buf_free(&pieces);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    int refused;
    const char *text = (const char *)data, *why;
    size_t n = sv_head_find(text, size, &refused);
    check(n <= size && (n == 0 || refused == 0));
    check_chunks(text + n, size - n);
    if (n == 0) return 0;
    /* A block of exactly its size: nothing may look beyond. */
    char *block = malloc(n);
    if (!block) return 0;
    memcpy(block, text, n);
    sv_head h;
    int status = sv_head_parse(block, n, &h, &why);
    check(status == 0 || (status >= 400 && status < 600 && why && *why));
    if (status == 0) check_head(&h, block, n);
    free(block);
    for (size_t i = 0; i < n; i++) {
        int bad;
        check(sv_head_find(text, i, &bad) == 0 || i == n);
    }
    return 0;
}
