/* A growable byte buffer with a limit: what comes from outside can fill it, never the machine. */
#ifndef BRISK_BASE_BUF_H
#define BRISK_BASE_BUF_H

#include "base/base.h"
#include "base/str.h"

typedef struct bk_buf {
    char *data; /* owned; NUL-terminated after every append, the NUL not counted */
    size_t len, cap;
    size_t limit; /* most bytes it may hold; 0 means 1 GiB */
    bool failed;  /* an append did not fit or memory was short; sticky, later appends do nothing */
} bk_buf;

/* Zero-initialised is empty. All appends return !failed. */
bool bk_buf_reserve(bk_buf *b, size_t extra);
bool bk_buf_append(bk_buf *b, const void *data, size_t len);
bool bk_buf_append_str(bk_buf *b, const char *z);
bool bk_buf_putc(bk_buf *b, char c);
bool bk_buf_printf(bk_buf *b, const char *fmt, ...) BK_PRINTF(2, 3);
void bk_buf_clear(bk_buf *b); /* empties, keeps the memory, forgets a failure */
void bk_buf_free(bk_buf *b);

static inline bk_str bk_buf_view(const bk_buf *b) {
    return (bk_str){b->data ? b->data : "", b->len};
}

#endif
