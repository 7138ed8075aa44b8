/* How functions fail: a status to branch on and one line of text for a person.
 *
 * A fallible function returns bk_status (0 or negative); those that read something from outside
 * take a last `bk_error *err`, which may be NULL. The text says what was found, what was wanted and,
 * where there is one, the next step. Nothing in the library prints or exits. */
#ifndef BRISK_BASE_ERROR_H
#define BRISK_BASE_ERROR_H

#include "base/base.h"

typedef enum bk_status {
    BK_OK = 0,
    BK_ERR_INVALID = -1,     /* an argument is out of range */
    BK_ERR_FORMAT = -2,      /* a file or a text from outside is damaged or contradicts itself */
    BK_ERR_UNSUPPORTED = -3, /* well-formed, but not something this build can do */
    BK_ERR_NOMEM = -4,       /* memory could not be had */
    BK_ERR_IO = -5,          /* the system refused a read, write or map */
    BK_ERR_LIMIT = -6,       /* a budget or the context is exhausted */
    BK_ERR_NOT_FOUND = -7,   /* no such file, model, key or tensor */
    BK_ERR_CANCELLED = -8    /* the caller asked to stop */
} bk_status;

typedef struct bk_error {
    bk_status code;
    char text[512]; /* one line, printable: control bytes from outside are escaped */
} bk_error;

/* Stores code and text in *err (when err is not NULL) and returns code, so that failing reads
 * `return bk_fail(err, BK_ERR_FORMAT, "...")`. The text is cut to fit and made printable: bytes
 * below 32, 127 and invalid UTF-8 become \xNN. */
bk_status bk_fail(bk_error *err, bk_status code, const char *fmt, ...) BK_PRINTF(3, 4);

/* INVALID, naming the value and what it may be, unless lo <= v <= hi. */
bk_status bk_check_range(const char *name, double v, double lo, double hi, bk_error *err);

/* Puts "prefix: " in front of the text already in *err. */
void bk_error_prefix(bk_error *err, const char *fmt, ...) BK_PRINTF(2, 3);

/* "invalid argument", "bad format", ... */
const char *bk_status_str(bk_status code);

#endif
