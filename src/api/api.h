/* Between the public types and the internal ones: handles are the same objects under another name,
 * errors are copied. */
#ifndef BRISK_API_API_H
#define BRISK_API_API_H

#include "brisk_tools.h"
#include "engine/chat.h"
#include "engine/sample.h"
#include "engine/session.h"
#include "measure/score.h"

_Static_assert((int)BRISK_ERR_CANCELLED == (int)BK_ERR_CANCELLED, "status codes agree");
_Static_assert(sizeof(((brisk_error *)0)->text) == sizeof(((bk_error *)0)->text), "texts agree");

static inline bk_model *bk_api_model(brisk_model *m) { return (bk_model *)m; }
static inline const bk_model *bk_api_cmodel(const brisk_model *m) { return (const bk_model *)m; }
static inline bk_session *bk_api_session(brisk_session *s) { return (bk_session *)s; }
static inline const bk_session *bk_api_csession(const brisk_session *s) {
    return (const bk_session *)s;
}

/* Returns st as a public status; a failure's text goes to *err. */
brisk_status bk_api_result(bk_status st, const bk_error *from, brisk_error *err);

/* INVALID: a NULL where there must be none. */
brisk_status bk_api_null(const char *what, brisk_error *err);

/* Arrays are borrowed. */
bk_sampling bk_api_sampling(const brisk_sampling *s);

/* The messages as the engine takes them, texts borrowed; freed with bk_free. NULL when memory is
 * short. */
bk_chat_message *bk_api_messages(const brisk_chat_message *messages, size_t n);

void bk_api_eval_result(const bk_summary *s, brisk_eval_result *out);

#endif
