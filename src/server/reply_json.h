/* Parts of replies that chats and completions share: usage, timings, log-probabilities, what a request
 * asks of its reply. */
#ifndef BRISK_SERVER_REPLY_JSON_H
#define BRISK_SERVER_REPLY_JSON_H

#include "server/live.h"
#include "server/request.h"

/* How a client wants its reply. */
typedef struct sv_style {
    bool stream, usage, usage_always; /* usage: as a last chunk; always: in every chunk */
    bool progress;                    /* chunks that say how far the prompt is */
    bool timings;                     /* in every chunk */
    int logprobs;                     /* as in brisk_request: -1 none */
} sv_style;

sv_style sv_style_of(const sv_request *r);

/* "id", "object", "created", "model": the members that begin every reply and chunk. */
void sv_json_begin(bk_json *w, const sv_job *j, const char *object);

/* "usage": {...}; of all choices together. */
void sv_json_usage(bk_json *w, const sv_job *j, size_t reasoning_tokens);

/* "timings" and "cache", of the first choice; counts of all. */
void sv_json_timings(bk_json *w, const sv_job *j);

/* "finish_reason" and "stop_reason" of choice c: null until it is done; `calls`: it ended with calls of
 * functions. */
void sv_json_finish(bk_json *w, const sv_choice *c, bool calls);

/* "prompt_progress": {...} of choice c. */
void sv_json_progress(bk_json *w, const sv_choice *c, uint64_t began_ns);

/* An element of a chat's logprobs.content. */
void sv_json_token_logprob(bk_json *w, const sv_server *s, const brisk_event *e);

/* A token as a text: its bytes; those that are not UTF-8 as "bytes:\xe2\x96". Replaces what is in
 * out. */
void sv_token_text(const sv_server *s, brisk_token token, bk_buf *out);
void sv_json_token(bk_json *w, const sv_server *s, brisk_token token);

/* A log-probability, with the same digits wherever it stands; minus infinity is -9999. */
void sv_json_logprob(bk_json *w, float logprob);

/* Wraps what w has written into out as an event of a stream: "data: " before, an empty line after. */
void sv_event_begin(bk_buf *out);
void sv_event_end(bk_buf *out);

#endif
