/* brisk_engine.h: many requests at once over one model. What a server needs.
 *
 *     brisk_engine *engine = NULL;
 *     brisk_engine_create(model, NULL, &engine, &err);
 *     brisk_request request;
 *     brisk_request_default(&request);
 *     request.tokens = prompt, request.n_tokens = n;
 *     uint64_t id;
 *     brisk_engine_submit(engine, &request, &id, NULL, &err);
 *     ... poll() until brisk_engine_fd(engine) is readable ...
 *     brisk_event event;
 *     while (brisk_engine_poll(engine, &event))
 *         if (event.request == id) fwrite(event.text, 1, event.text_len, stdout);
 *
 * One thread of the engine's own computes. Each of its steps is one pass over the weights for a token
 * of every running answer and for pieces of the prompts that wait, sized so that no running answer
 * waits longer than a budget in milliseconds. Prefixes of prompts are kept and shared.
 *
 * The text of an answer depends on its request alone: not on the load, on what is cached, or on the
 * number of threads.
 *
 * submit, cancel and the statistics may be called from any thread; poll from one at a time. Requests
 * and events cross to the engine's thread as flat records, so that it may live in another process. */
#ifndef BRISK_ENGINE_H
#define BRISK_ENGINE_H

#include "brisk.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct brisk_engine brisk_engine;

typedef struct brisk_engine_options {
    int context;          /* most tokens of one sequence; 0: what the model was trained for */
    int max_running;      /* sequences in a step, 1..256; 0: 16 */
    int batch_size;       /* most rows of a step, 16..8192; 0: 512 */
    uint64_t mem_limit;   /* bytes of weights, KV and scratch together; 0: KV of max_running
                             contexts, but no more than 1 GiB or four contexts, or half of the memory
                             that is free */
    double itl_budget_ms; /* longest wait between two tokens of an answer that prompts of others may
                             cause; 0: four times the running median, at least 50, at most 100 */
    int queue_max;        /* requests that wait; 0: 256 */
    double queue_seconds; /* predicted wait above which a request is refused; 0: 60 */
    bool no_prefix_cache; /* every prompt is computed from its beginning */
} brisk_engine_options;

void brisk_engine_options_default(brisk_engine_options *options);

/* Starts the engine's thread. Holds a reference to the model. While it lives, the model's sessions
 * belong to it alone. INVALID, NOMEM, LIMIT (mem_limit leaves no room for one context: the text has
 * the account). */
brisk_status brisk_engine_create(brisk_model *model, const brisk_engine_options *options,
                                 brisk_engine **engine, brisk_error *err);
/* Ends the thread after its present step; requests that still run get no event. */
void brisk_engine_destroy(brisk_engine **engine);

/* ---- Requests ------------------------------------------------------------------------------- */

typedef enum brisk_request_kind {
    BRISK_REQUEST_GENERATE, /* an answer, token by token */
    BRISK_REQUEST_EMBED     /* one vector: the pooled state after the last layer, of length 1 */
} brisk_request_kind;

typedef enum brisk_pooling { BRISK_POOLING_LAST, BRISK_POOLING_MEAN } brisk_pooling;

enum { BRISK_MAX_TOP_LOGPROBS = 20 };

typedef struct brisk_request {
    brisk_request_kind kind;
    const brisk_token *tokens; /* the prompt, at least one */
    size_t n_tokens;

    brisk_sampling sampling;
    int max_tokens; /* -1: until an end token or the context is full; 0: only the prompt is computed */
    int min_tokens; /* end tokens and stop texts do not end the answer before */
    bool ignore_end;
    const char *const *stop; /* texts that end the answer and are not part of it */
    size_t n_stop;
    const brisk_token *stop_tokens; /* tokens that end the answer and are not part of its text */
    size_t n_stop_tokens;
    const brisk_token *allowed; /* no other token is ever chosen; none given: all */
    size_t n_allowed;
    const brisk_token
        *prediction; /* what the answer will probably be: it then comes faster and is the
                                      same; not used by models with a sliding window */
    size_t n_prediction;

    int logprobs; /* the most likely tokens to report beside the chosen one, 0..20; -1: none */
    bool prompt_logprobs; /* the same for every token of the prompt, which is then computed whole */
    bool progress;        /* PROGRESS events while the prompt is computed */
    brisk_pooling pooling; /* of EMBED */

    uint64_t tenant;      /* who asks: tenants share the machine evenly */
    int priority;         /* -100..100; higher goes first */
    bool no_cache;        /* neither uses nor fills the prefix cache */
    uint64_t cache_space; /* cached prefixes are shared within it; 0: the tenant's own */
    uint64_t tag;         /* comes back in every event */
} brisk_request;

/* GENERATE, brisk_sampling_default, no limit of tokens, no log-probabilities. */
void brisk_request_default(brisk_request *request);

/* Copies the request into the queue and returns at once. *id is never 0. INVALID names the field;
 * LIMIT: the prompt does not fit the context or the memory, or the queue is full: then *retry_after_s
 * (may be NULL) is above 0, the predicted time until a place is free. */
brisk_status brisk_engine_submit(brisk_engine *engine, const brisk_request *request, uint64_t *id,
                                 double *retry_after_s, brisk_error *err);

/* The request ends within a step, wherever it is, with a DONE event that says CANCELLED. One that is
 * unknown or has ended is left alone. */
void brisk_engine_cancel(brisk_engine *engine, uint64_t id);

/* ---- Events --------------------------------------------------------------------------------- */

typedef enum brisk_event_kind {
    BRISK_EVENT_STARTED,   /* left the queue: stats.prompt_tokens, cached_tokens, queue_ms */
    BRISK_EVENT_PROGRESS,  /* stats.computed_tokens of the prompt are there */
    BRISK_EVENT_PROMPT,    /* token is one of the prompt, with its log-probability */
    BRISK_EVENT_TOKEN,     /* token of the answer; the text that it completes, possibly none */
    BRISK_EVENT_EMBEDDING, /* values, n_values */
    BRISK_EVENT_DONE       /* the last one: finish, stats, and text that was held back; or status */
} brisk_event_kind;

typedef struct brisk_token_logprob {
    brisk_token token;
    float logprob; /* natural logarithm, of the model's own distribution before sampling */
} brisk_token_logprob;

typedef struct brisk_request_stats {
    size_t prompt_tokens;   /* given */
    size_t cached_tokens;   /* of these, found in the cache when the request started */
    size_t computed_tokens; /* of these, cached or computed so far */
    size_t generated_tokens;
    size_t preemptions;
    size_t predicted_tokens; /* tried, of the prediction */
    size_t accepted_tokens;  /* of these, found right */
    double queue_ms;         /* submitted to started */
    double cache_ms;         /* of looking into the cache, and of waiting while another request
                                computed what this one shares with it */
    double prefill_ms;       /* started to the last token of the prompt computed, without that */
    double first_token_ms;   /* submitted to the first token */
    double decode_ms;        /* first token to last */
    double gap_p50_ms, gap_p99_ms, gap_max_ms; /* between tokens */
} brisk_request_stats;

typedef struct brisk_event {
    brisk_event_kind kind;
    uint64_t request, tag;
    brisk_token token; /* BRISK_TOKEN_NONE where there is none */
    bool control;      /* TOKEN: a control token, which has no text */
    const char
        *text; /* whole UTF-8 characters; borrowed, like all arrays here, until the next poll */
    size_t text_len;
    bool has_logprob; /* false for the first token of a prompt */
    float logprob;
    const brisk_token_logprob *top; /* most likely first */
    size_t n_top;
    const float *values;
    size_t n_values;
    brisk_finish finish;
    const char *stop;       /* DONE with BRISK_FINISH_STOP: the text found, or NULL */
    brisk_token stop_token; /* DONE: the end token or stop token, or BRISK_TOKEN_NONE */
    brisk_status status;    /* DONE: not 0 when the request failed */
    const char *message;    /* then what happened */
    brisk_request_stats stats;
} brisk_event;

/* Readable while there are events. Owned by the engine. */
int brisk_engine_fd(const brisk_engine *engine);

/* The next event, false when there is none. */
bool brisk_engine_poll(brisk_engine *engine, brisk_event *event);

/* ---- Statistics ----------------------------------------------------------------------------- */

/* Where the memory goes, in bytes. */
typedef struct brisk_engine_memory {
    uint64_t limit; /* of all together */
    uint64_t weights, scratch;
    uint64_t kv_limit; /* what is left for keys and values */
    uint64_t kv_used;  /* by running sequences and the prefix cache */
    uint64_t cached;   /* of these, by the prefix cache alone */
    uint64_t kv_per_token;
} brisk_engine_memory;

enum { BRISK_STEP_BUCKETS = 16 };

typedef enum brisk_step_kind {
    BRISK_STEP_DECODE,
    BRISK_STEP_PREFILL,
    BRISK_STEP_MIXED,
    BRISK_STEP_KINDS
} brisk_step_kind;

typedef struct brisk_engine_stats {
    brisk_engine_memory memory;
    int context, max_running, queue_max;
    int running, waiting;                         /* requests; waiting ones have not started */
    double queue_seconds;                         /* predicted wait of a request that comes now */
    double itl_budget_ms;                         /* in force now */
    double prefill_per_second, decode_per_second; /* tokens, lately; 0: not yet known */
    size_t chunk; /* prompt tokens in the latest step that had any */
    uint64_t steps, prompt_tokens, cached_tokens, generated_tokens, preemptions;
    uint64_t over_budget; /* gaps between tokens longer than the budget */
    uint64_t cache_asked_tokens, cache_hit_tokens, cache_evicted_tokens, cache_nodes, cache_tokens;
    double step_bounds[BRISK_STEP_BUCKETS]; /* upper bounds in seconds; the last is infinite */
    uint64_t step_count[BRISK_STEP_KINDS][BRISK_STEP_BUCKETS]; /* steps that took up to the bound
                                                                  and more than the one before */
    double step_seconds[BRISK_STEP_KINDS];
    double row_bounds[BRISK_STEP_BUCKETS]; /* steps by how many tokens took part, likewise */
    uint64_t row_count[BRISK_STEP_BUCKETS], rows;
} brisk_engine_stats;

/* A consistent copy, as of the latest step. */
void brisk_engine_get_stats(brisk_engine *engine, brisk_engine_stats *stats);

#ifdef __cplusplus
}
#endif
#endif
