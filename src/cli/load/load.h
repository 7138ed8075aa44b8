/* `brisk bench serve`: requests to a server with the OpenAI interface, and when their tokens came.
 *
 * A plan is a list of requests with the times at which they are due; run.h sends them through the client
 * of client.h, which notes the time at which each piece of text was read; report.h says what that means. */
#ifndef BRISK_CLI_LOAD_LOAD_H
#define BRISK_CLI_LOAD_LOAD_H

#include "base/buf.h"

enum { LOAD_WHY_CAP = 240 };
#define LOAD_NEVER UINT64_MAX

typedef enum load_slo { LOAD_SLO_TTFT, LOAD_SLO_TPOT, LOAD_SLO_E2EL, LOAD_SLOS } load_slo;

typedef struct load_options {
    const char *base_url, *endpoint, *model, *api_key, *label, *extra_body;
    const char *sharegpt, *trace;
    int num_prompts, max_concurrency; /* 0: no bound */
    double rate;                      /* requests per second; infinite: all at once */
    float burstiness, temperature;
    int input_len, output_len, prefix_len, prefix_count;
    float range_ratio, trace_speed, trace_scale;
    uint64_t seed;
    bool ignore_eos;
    double slo[LOAD_SLOS]; /* ms; 0: none */
    bool mix, alone;
    int steady, long_len, long_output_len, long_count;
    float long_every, lead; /* seconds */
    int turns, turn_len;
    int warmup, idle, timeout;
} load_options;

static inline bool load_is_chat(const load_options *o) {
    size_t n = strlen(o->endpoint), tail = strlen("chat/completions");
    return n >= tail && strcmp(o->endpoint + n - tail, "chat/completions") == 0;
}

/* ---- Requests ----------------------------------------------------------------------------------- */

/* A piece of a prompt: the text, or so many words that follow from the key. */
typedef struct load_part {
    const char *text; /* NULL: words */
    uint64_t key;
    int words;
} load_part;

typedef enum load_kind {
    LOAD_USER,
    LOAD_STEADY, /* of --mix: streams until it is stopped */
    LOAD_LONG,   /* of --mix: arrives among them */
    LOAD_ALONE,  /* of --mix: as long, with nothing beside it */
    LOAD_SECOND, /* of --turns 2: goes on with a conversation */
    LOAD_COLD    /* of --turns 2: a conversation as long that the server has not seen */
} load_kind;

typedef enum load_outcome {
    LOAD_WAITING,
    LOAD_RUNNING,
    LOAD_OK,
    LOAD_STOPPED,   /* by the client, on purpose or by Ctrl-C */
    LOAD_REFUSED,   /* 429 or 503 */
    LOAD_HTTP,      /* another status than 200 */
    LOAD_UNREACHED, /* no connection */
    LOAD_CUT,       /* ended before [DONE] and without a finish_reason */
    LOAD_TIMEOUT,
    LOAD_NO_STREAM, /* 200, but no event */
    LOAD_BAD_JSON,
    LOAD_EVENT, /* an event with an error */
    LOAD_EMPTY, /* a complete answer without text */
    LOAD_OUTCOMES
} load_outcome;

typedef struct load_request {
    load_kind kind;
    const load_part *parts; /* borrowed from the plan */
    size_t n_parts;
    bool system;                        /* the first part is a system message */
    int out_want;                       /* max_tokens */
    uint64_t due;                       /* ns after the start; LOAD_NEVER: not yet decided */
    struct load_request *then;          /* to send as soon as this one has ended; NULL: none */
    const struct load_request *history; /* what its conversation begins with; NULL: nothing */
    bool keep_answer;

    load_outcome outcome;
    int status, retry_after;
    char why[LOAD_WHY_CAP];
    uint64_t sent, ended; /* monotonic ns */
    uint64_t *stamps;     /* of every piece of text; owned */
    size_t n_stamps, cap_stamps;
    int64_t prompt_tokens, output_tokens, cached_tokens; /* as the server counts; -1: not said */
    bk_buf answer;                                       /* with keep_answer */
    void *transfer;                                      /* the client's */
    struct load_request *next_ended;                     /* the client's */
} load_request;

static inline bool load_has_text(const load_request *r) { return r->n_stamps > 0; }

/* Whether the answer counts: complete, or stopped on purpose after it had begun. */
static inline bool load_answered(const load_request *r) {
    return r->outcome == LOAD_OK || (r->outcome == LOAD_STOPPED && load_has_text(r));
}

/* Milliseconds; of requests with text. */
static inline double load_ttft(const load_request *r) {
    return (double)(r->stamps[0] - r->sent) * 1e-6;
}
static inline double load_e2e(const load_request *r) {
    return (double)(r->stamps[r->n_stamps - 1] - r->sent) * 1e-6;
}
/* Tokens of the answer: the server's count, otherwise one for each piece of text. */
static inline int64_t load_output(const load_request *r) {
    return r->output_tokens >= 0 ? r->output_tokens : (int64_t)r->n_stamps;
}
/* Time per output token after the first; 0 of one token. */
static inline double load_tpot(const load_request *r) {
    int64_t n = load_output(r);
    return n > 1 ? (load_e2e(r) - load_ttft(r)) / (double)(n - 1) : 0;
}

/* "refused (429 or 503)" */
const char *load_outcome_name(load_outcome o);

void load_request_clear(load_request *r); /* what it owns */

/* The request's JSON; false when memory is short. */
bool load_body(const load_options *o, const load_request *r, bk_buf *out);

/* The words of a part, or its text. */
void load_part_text(const load_options *o, const load_part *p, bk_buf *out);

/* ---- Plan --------------------------------------------------------------------------------------- */

typedef struct load_plan {
    load_request *requests; /* in the order in which they are due; owned */
    size_t n;               /* those which the clock starts; more may follow them */
    size_t n_all;
    struct load_plan_memory *memory;
} load_plan;

/* How many words make a token here. */
int load_words(double words_per_token, int tokens);

/* Everything that the options ask for. False with why[LOAD_WHY_CAP] (a file that is not what it should
 * be, memory). */
bool load_plan_make(load_plan *p, const load_options *o, double words_per_token, char *why);
void load_plan_free(load_plan *p);

#endif
