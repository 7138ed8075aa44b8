/* A sequence of tokens and what the model remembers of it.
 *
 * Tokens are appended freely and computed when logits are needed; the tokens beyond what the KV
 * holds are "pending". A session is used by one thread at a time; sessions of one model, forks
 * among them, may be used from several. */
#ifndef BRISK_ENGINE_SESSION_H
#define BRISK_ENGINE_SESSION_H

#include "model/model.h"

typedef struct bk_session bk_session;

typedef struct bk_session_options {
    int context; /* most tokens; 0: what the model was trained for */
    int batch;   /* prompt tokens per pass; 0: 512 */
} bk_session_options;

/* Reserves all that decoding needs (scratch, token list, logits), so that later calls allocate
 * nothing but pages of KV. Takes a reference to the model. INVALID, NOMEM. */
bk_status bk_session_create(bk_model *model, const bk_session_options *options, bk_session **out,
                            bk_error *err);
void bk_session_destroy(bk_session **s);

bk_model *bk_session_model(const bk_session *s); /* borrowed */
const int32_t *bk_session_tokens(const bk_session *s, size_t *n);
size_t bk_session_computed(const bk_session *s); /* how many of them the KV holds */
size_t bk_session_context(const bk_session *s);
size_t bk_session_kv_bytes(const bk_session *s);

/* INVALID for an id out of range, LIMIT when the context would overflow; then nothing changes. */
bk_status bk_session_append(bk_session *s, const int32_t *tokens, size_t n, bk_error *err);
/* The same with a token that was chosen from this session's logits: no part of a prompt. */
bk_status bk_session_choose(bk_session *s, int32_t token, bk_error *err);

/* Makes the session hold exactly these tokens, keeping what their longest common prefix with the
 * present ones has computed. Errors as with append. */
bk_status bk_session_set(bk_session *s, const int32_t *tokens, size_t n, bk_error *err);

/* Keeps the first n tokens. INVALID when there are fewer. */
bk_status bk_session_truncate(bk_session *s, size_t n, bk_error *err);

/* A copy that shares pages of KV, and the scratch memory, with the original. */
bk_status bk_session_fork(const bk_session *s, bk_session **out, bk_error *err);

/* Computes what is pending, batch by batch. *logits (may be NULL) gets n_vocab floats that follow
 * the last token, borrowed until the session changes. *cancel (may be NULL) is read before each
 * batch: CANCELLED, and what has been computed stays. INVALID for an empty session. */
bk_status bk_session_eval(bk_session *s, const float **logits, const volatile bool *cancel,
                          bk_error *err);

/* Whether what is computed from now on may lack the logits that a trimmed or screened head leaves out
 * (bk_rows.spare and margin); at first it may not. */
void bk_session_spare(bk_session *s, bool spare, float margin);

/* Appends n tokens and calls row(i, logits after tokens[i]) for each, in order. */
typedef void (*bk_row_fn)(size_t index, const float *logits, void *user);
bk_status bk_session_eval_rows(bk_session *s, const int32_t *tokens, size_t n, bk_row_fn row,
                               void *user, bk_error *err);

#endif
