/* The bodies of /v1/chat/completions and /v1/completions: every field that has an effect here, checked
 * and in its own type, ready for the template and the engine.
 *
 *     sv_request r;
 *     sv_field_error e;
 *     if (!sv_request_parse(body, SV_REQUEST_CHAT, &limits, &r, &e)) answer 400 with e;
 *     ...
 *     sv_request_free(&r);
 *
 * Unknown fields are ignored, as clients send many. Those that would change the output, and that this
 * server cannot honour, are errors by name: never an unconstrained answer to a constrained question.
 * A sampling field that is absent has the value of brisk_sampling_default, not OpenAI's. */
#ifndef BRISK_SERVER_REQUEST_H
#define BRISK_SERVER_REQUEST_H

#include "brisk.h"

#include "base/buf.h"
#include "base/mem.h"
#include "server/fields.h"

typedef enum sv_request_kind { SV_REQUEST_CHAT = 1, SV_REQUEST_COMPLETION = 2 } sv_request_kind;

/* What requests are measured against. */
typedef struct sv_request_limits {
    int n_vocab;     /* token ids are below */
    int max_choices; /* of one request: n times prompts; at least 1 */
} sv_request_limits;

/* Text (which may be empty), or tokens where text.data is NULL. */
typedef struct sv_prompt {
    bk_str text;
    const brisk_token *tokens;
    size_t n_tokens; /* at least 1 */
} sv_prompt;

/* What it points to lives until sv_request_free. */
typedef struct sv_request {
    json_t *body; /* owned; the messages in it are made ready for templates (below) */
    bk_arena memory;

    bk_str model, user, cache_salt; /* data NULL: not given */

    /* Chat. Messages for a template: `content` a string (parts of text joined by a newline, "" where
     * null), "developer" is "system", no member null, no empty tool_calls, and the arguments of a call
     * an object where they are one's text. */
    json_t *messages;
    json_t *tools;       /* NULL: none given */
    bool may_call;       /* there are tools, and tool_choice is not "none" */
    bool parallel_calls; /* false: the answer should end after its first call */
    json_t *kwargs;      /* chat_template_kwargs; NULL: none given */
    bool add_generation_prompt;

    /* Completions. */
    const sv_prompt *prompts;
    size_t n_prompts;
    bool echo;

    brisk_sampling sampling; /* with the biases; seed only where has_seed */
    bool has_seed;           /* false: also with -1; take a fresh one */
    int max_tokens; /* -1: no limit. Absent: -1 for chat, 16 for completions as in OpenAI */
    int min_tokens;
    bool ignore_end;
    const char **stop;
    size_t n_stop;
    const brisk_token *stop_tokens, *allowed;
    size_t n_stop_tokens, n_allowed; /* n_allowed 0: all */
    int n;                           /* choices per prompt */
    int logprobs;                    /* most likely tokens beside the chosen one, 0..20; -1: none */
    bk_str prediction;               /* what the answer will probably be; data NULL: not given */
    const brisk_token *prediction_tokens; /* of that text; sv_read_request has them made */
    size_t n_prediction_tokens;

    bool stream, include_usage, continuous_usage;
    bool cache_prompt; /* true unless told otherwise */
    bool return_progress, timings_per_token;
    int priority; /* -100..100, higher first */
} sv_request;

/* Fills *out, which sv_request_free frees, also after a failure. */
bool sv_request_parse(bk_str body, sv_request_kind kind, const sv_request_limits *limits,
                      sv_request *out, sv_field_error *err);
void sv_request_free(sv_request *r);

/* Appends the JSON text that brisk_chat_render_json and its like take: messages, tools,
 * add_generation_prompt, chat_template_kwargs. */
bool sv_request_template(const sv_request *r, bk_buf *out);

/* ---- Parts, for other routes -------------------------------------------------------------------- */

/* The four forms of a prompt, from field `key` (also `input` of embeddings): a string, strings, token
 * ids, arrays of token ids. At most max prompts; memory is the caller's. A missing one is an error. */
bool sv_prompts_read(const sv_fields *f, const char *key, size_t max, int n_vocab, bk_arena *memory,
                     const sv_prompt **out, size_t *n);

/* Checks the messages of a conversation and makes them ready for templates, as described above. */
bool sv_messages_read(const sv_fields *body, json_t **out);

/* OpenAI's `prediction`: content, whose form is that of a message's; data NULL when absent. */
bool sv_prediction_read(const sv_fields *body, bk_str *out);

/* tools and tool_choice. */
bool sv_tools_read(const sv_fields *body, json_t **out, bool *may_call);

/* Token ids of an array field; NULL and 0 when absent. */
bool sv_token_ids_read(const sv_fields *f, const char *key, size_t max, int n_vocab,
                       bk_arena *memory, const brisk_token **out, size_t *n);

#endif
