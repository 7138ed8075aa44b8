/* Stop texts: finds them in a stream of text across its pieces, and holds back what may still
 * become one, so that no part of a stop text is ever passed on. */
#ifndef BRISK_ENGINE_STOP_H
#define BRISK_ENGINE_STOP_H

#include "base/buf.h"
#include "base/error.h"

typedef struct bk_stop {
    const char *const *texts; /* borrowed */
    size_t n;
    bk_buf held; /* text not yet passed on */
    bool found;
    size_t which; /* of the texts, once one is found */
} bk_stop;

/* Zero-initialised has no texts. INVALID for a text that is empty or not UTF-8 (cutting there
 * could split a character). */
bk_status bk_stop_init(bk_stop *s, const char *const *texts, size_t n, bk_error *err);
void bk_stop_free(bk_stop *s);

/* Takes in text. Returns how many bytes at the beginning of s->held may be passed on now; after a
 * stop text has been found these end before it and s->found is set. The caller passes them on, then
 * calls bk_stop_drop with the number. */
size_t bk_stop_push(bk_stop *s, bk_str text);
void bk_stop_drop(bk_stop *s, size_t n);

#endif
