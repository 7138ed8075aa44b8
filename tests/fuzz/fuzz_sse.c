/* Event streams of `brisk bench serve`: the same events whatever the pieces in which the bytes come. */
#include <stdlib.h>

#include "cli/load/sse.c"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool take(bk_str event, void *user) {
    return bk_buf_append(user, event.data, event.len) && bk_buf_append(user, "\0", 1);
}

/* The events, one after another, of bytes that come in pieces of this size. */
static bk_buf events(const char *bytes, size_t size, size_t piece) {
    bk_buf all = {.limit = 0};
    load_sse s = {.begun = false};
    for (size_t i = 0; i < size; i += piece) {
        if (!load_sse_feed(&s, bytes + i, bk_min_size(piece, size - i), take, &all)) break;
    }
    load_sse_free(&s);
    return all;
}

/* The first byte is the size of the pieces. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 2) return 0;
    const char *bytes = (const char *)data + 1;
    bk_buf whole = events(bytes, size - 1, size - 1);
    bk_buf pieces = events(bytes, size - 1, (size_t)data[0] % 16 + 1);
    if (!bk_str_eq(bk_buf_view(&whole), bk_buf_view(&pieces))) abort();
    bk_buf_free(&whole);
    bk_buf_free(&pieces);
    return 0;
}
