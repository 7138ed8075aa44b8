/* The loop that makes an answer: compute, sample, turn into text, until something ends it. */
#ifndef BRISK_ENGINE_GENERATE_H
#define BRISK_ENGINE_GENERATE_H

#include "engine/sample.h"
#include "engine/session.h"

typedef enum bk_finish {
    BK_FINISH_END,
    BK_FINISH_LENGTH,
    BK_FINISH_CONTEXT,
    BK_FINISH_STOP,
    BK_FINISH_CANCELLED
} bk_finish;

typedef struct bk_stats {
    size_t prompt_tokens, cached_tokens, generated_tokens;
    double prompt_ms, first_token_ms, decode_ms;
    bk_finish finish;
} bk_stats;

/* Whole characters; false stops. */
typedef bool (*bk_text_fn)(const char *text, size_t len, int32_t token, void *user);

typedef struct bk_generate_options {
    bk_sampling sampling;
    int max_tokens; /* -1: no limit */
    bool ignore_end;
    const char *const *stop; /* UTF-8, borrowed */
    size_t n_stop;
    const volatile bool *cancel;
    bk_text_fn on_text; /* may be NULL */
    void *user;
} bk_generate_options;

/* Being cancelled is no failure: OK with that finish. INVALID, NOMEM, FORMAT (logits that are all
 * NaN). stats may be NULL. */
bk_status bk_generate(bk_session *s, const bk_generate_options *options, bk_stats *stats,
                      bk_error *err);

#endif
