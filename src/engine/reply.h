/* The text of an answer in the making: tokens in, whole characters out, up to a stop text. */
#ifndef BRISK_ENGINE_REPLY_H
#define BRISK_ENGINE_REPLY_H

#include "engine/stop.h"
#include "text/tokenizer.h"

typedef struct bk_reply {
    const bk_tokenizer *tokenizer;
    bk_detok detok;
    bk_stop stop;
    bk_buf text;   /* of the newest token */
    size_t passed; /* bytes of stop.held that were returned last */
} bk_reply;

/* Reserves more than a step adds: no allocation while tokens come. The stop texts are borrowed.
 * INVALID (bk_stop_init), NOMEM. */
bk_status bk_reply_init(bk_reply *r, const bk_tokenizer *t, const char *const *stop, size_t n_stop,
                        bk_error *err);
void bk_reply_free(bk_reply *r);

/* The text that may be passed on after this token, borrowed until the next call; control tokens have
 * none. r->stop.found says that the answer ends with it. */
bk_str bk_reply_push(bk_reply *r, int32_t token);
/* The end: what was held back for a character or a stop text that did not come. */
bk_str bk_reply_finish(bk_reply *r);

static inline bool bk_reply_failed(const bk_reply *r) {
    return r->text.failed || r->stop.held.failed;
}

#endif
