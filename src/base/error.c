#include "base/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/str.h"

bk_status bk_fail(bk_error *err, bk_status code, const char *fmt, ...) {
    if (!err) return code;
    char raw[sizeof err->text];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(raw, sizeof raw, fmt, ap);
    va_end(ap);
    err->code = code;
    bk_str_printable(err->text, sizeof err->text, raw, strlen(raw));
    return code;
}

void bk_error_prefix(bk_error *err, const char *fmt, ...) {
    if (!err) return;
    char raw[sizeof err->text], joined[2 * sizeof err->text + 3];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(raw, sizeof raw, fmt, ap);
    va_end(ap);
    int n = snprintf(joined, sizeof joined, "%s: %s", raw, err->text);
    bk_str_printable(err->text, sizeof err->text, joined, n < 0 ? 0 : (size_t)n);
}

const char *bk_status_str(bk_status code) {
    switch (code) {
    case BK_OK: return "ok";
    case BK_ERR_INVALID: return "invalid argument";
    case BK_ERR_FORMAT: return "bad format";
    case BK_ERR_UNSUPPORTED: return "unsupported";
    case BK_ERR_NOMEM: return "out of memory";
    case BK_ERR_IO: return "input/output error";
    case BK_ERR_LIMIT: return "limit exceeded";
    case BK_ERR_NOT_FOUND: return "not found";
    case BK_ERR_CANCELLED: return "cancelled";
    }
    return "unknown error";
}

bk_status bk_check_range(const char *name, double v, double lo, double hi, bk_error *err) {
    if (v >= lo && v <= hi) return BK_OK;
    return bk_fail(err, BK_ERR_INVALID, "%s is %g, it must be from %g to %g", name, v, lo, hi);
}
