#include "base/buf.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"

#define DEFAULT_LIMIT ((size_t)1 << 30)

bool bk_buf_reserve(bk_buf *b, size_t extra) {
    size_t limit = b->limit ? b->limit : DEFAULT_LIMIT;
    if (b->failed) return false;
    if (b->len > limit || extra > limit - b->len) {
        b->failed = true;
        return false;
    }
    size_t need = b->len + extra + 1;
    if (need <= b->cap) return true;
    size_t cap = bk_max_size(bk_max_size(need, 64), b->cap + b->cap / 2);
    char *data = bk_realloc(b->data, cap, 1);
    if (!data) {
        b->failed = true;
        return false;
    }
    b->data = data;
    b->cap = cap;
    return true;
}

bool bk_buf_append(bk_buf *b, const void *data, size_t len) {
    if (!bk_buf_reserve(b, len)) return false;
    if (len) memcpy(b->data + b->len, data, len);
    b->len += len;
    b->data[b->len] = '\0';
    return true;
}

bool bk_buf_append_str(bk_buf *b, const char *z) { return bk_buf_append(b, z, strlen(z)); }

bool bk_buf_putc(bk_buf *b, char c) { return bk_buf_append(b, &c, 1); }

bool bk_buf_printf(bk_buf *b, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    if (n < 0 || !bk_buf_reserve(b, (size_t)n)) {
        b->failed = true;
        return false;
    }
    va_start(ap, fmt);
    vsnprintf(b->data + b->len, (size_t)n + 1, fmt, ap);
    va_end(ap);
    b->len += (size_t)n;
    return true;
}

void bk_buf_clear(bk_buf *b) {
    b->len = 0;
    b->failed = false;
    if (b->data) b->data[0] = '\0';
}

void bk_buf_free(bk_buf *b) {
    bk_free(b->data);
    *b = (bk_buf){.limit = b->limit};
}
