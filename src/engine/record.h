/* Requests and events as flat records: what crosses between the engine's thread and everybody else.
 *
 * A record is one block of memory without pointers: a head of fixed size, then its arrays one after
 * another, each padded to 8 bytes. So a record can be copied, queued, or sent to another process on
 * the same machine. */
#ifndef BRISK_ENGINE_RECORD_H
#define BRISK_ENGINE_RECORD_H

#include "base/buf.h"
#include "engine/generate.h"
#include "measure/logprob.h"

enum { BK_MAX_LOGPROBS = 20 }; /* most likely tokens that are reported */

typedef enum bk_request_kind {
    BK_REQUEST_GENERATE,
    BK_REQUEST_EMBED,
    BK_REQUEST_CANCEL
} bk_request_kind;
typedef enum bk_pooling { BK_POOLING_LAST, BK_POOLING_MEAN } bk_pooling;

/* Head of a request; its arrays are tokens, stop_tokens, allowed, prediction (int32), biases (bk_logit_bias) and
 * the stop texts, each with its NUL, in one run. */
typedef struct bk_request {
    uint64_t bytes;                                   /* of the whole record, a multiple of 8 */
    uint64_t id, tag, tenant, cache_space, submitted; /* ns */
    uint32_t kind, pooling;
    int32_t priority, max_tokens, min_tokens, logprobs;
    uint8_t ignore_end, prompt_logprobs, progress, no_cache;
    bk_sampling sampling; /* biases is NULL: they are in the record */
    uint64_t n_tokens, n_stop_tokens, n_allowed, n_prediction, n_biases, n_stop, stop_bytes;
} bk_request;

/* The arrays of a request, borrowed from its record. */
typedef struct bk_request_view {
    const int32_t *tokens, *stop_tokens, *allowed, *prediction;
    const bk_logit_bias *biases;
    const char *stop; /* n_stop texts, one after another */
} bk_request_view;

/* Lays out a request: `head` (its bytes field is set here) and the arrays of `from`; stop texts are
 * given one by one. Appends the record to out. */
bool bk_request_write(const bk_request *head, const bk_request_view *from, const char *const *stop,
                      bk_buf *out);
bk_request_view bk_request_read(const bk_request *r);

typedef enum bk_event_kind {
    BK_EVENT_STARTED,
    BK_EVENT_PROGRESS,
    BK_EVENT_PROMPT,
    BK_EVENT_TOKEN,
    BK_EVENT_EMBEDDING,
    BK_EVENT_DONE
} bk_event_kind;

typedef struct bk_request_stats {
    uint64_t prompt_tokens, cached_tokens, computed_tokens, generated_tokens, preemptions;
    uint64_t predicted_tokens, accepted_tokens;
    double queue_ms, cache_ms, prefill_ms, first_token_ms, decode_ms;
    double gap_p50_ms, gap_p99_ms, gap_max_ms;
} bk_request_stats;

/* Head of an event; its arrays are top (bk_logprob), values (float), text, stop and message
 * (bytes, each with a NUL). */
typedef struct bk_event {
    uint64_t bytes;
    uint64_t id, tag;
    uint32_t kind;
    int32_t token, stop_token, status;
    uint32_t finish;
    uint8_t control, has_logprob;
    float logprob;
    bk_request_stats stats;
    uint64_t n_top, n_values, text_len, stop_len, message_len;
} bk_event;

typedef struct bk_event_view {
    const bk_logprob *top;
    const float *values;
    const char *text, *stop, *message;
} bk_event_view;

bool bk_event_write(const bk_event *head, const bk_event_view *from, bk_buf *out);
bk_event_view bk_event_read(const bk_event *e);

#endif
