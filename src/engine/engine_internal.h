/* What engine.c, loop.c, step.c and answer.c share. */
#ifndef BRISK_ENGINE_ENGINE_INTERNAL_H
#define BRISK_ENGINE_ENGINE_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "engine/engine.h"
#include "engine/mailbox.h"
#include "engine/plan.h"
#include "engine/sequence.h"

enum {
    BK_MAX_RUNNING = BK_MAX_CLAIMS,
    BK_PROMPT_LOGITS = 32 /* rows of prompts in a step whose logits are wanted */
};

/* What is promised to sequences that run, in bytes of KV, and what everybody may have. */
typedef struct bk_sequences {
    bk_sequence **at;
    size_t n, cap;
} bk_sequences;

struct bk_engine {
    bk_model *model;
    bk_engine_options o;
    pthread_t thread;
    atomic_bool stop;
    bk_mailbox in, out;

    /* The engine's thread alone. */
    bk_exec *exec;
    float *hidden;     /* [batch][n_out], of embeddings; made by the first */
    bk_prefix *prefix; /* NULL: no cache */
    bk_sample_scratch *sampling;
    bk_sequences waiting, running;
    bk_buf commands, events;
    bk_work work;
    bk_cost cost;
    bk_pace pace;
    bk_shares shares;
    double service_ms; /* running mean of a request's time from start to end */
    double gap_ms;     /* running median of the gaps between tokens */
    int32_t *ends;     /* tokens that end an answer */
    size_t n_ends;
    bk_engine_stats live;

    /* Whoever polls. */
    bk_buf taken;
    size_t taken_at;

    /* Under the lock. */
    pthread_mutex_t lock;
    bk_engine_stats published;
    size_t queued; /* submitted, not yet started */
    double wait_ms,
        slope;       /* predicted wait of the queue and ms per prompt token, by the last step */
    double fresh_ms; /* of requests submitted since then */
    uint64_t last_id;
};

/* The thread. */
void *bk_engine_loop(void *engine);

/* Runs one step with the sequences in e->running; those that end are taken out and destroyed. */
void bk_engine_step(bk_engine *e);

/* After a pass: what it means for all who took part; those that end are taken out of e->running. */
void bk_engine_follow(bk_engine *e);

/* The longest wait between two tokens that prompts may cause now. */
double bk_engine_budget(const bk_engine *e);

/* Ends a sequence that is in neither list any more: its last event, its tokens to the cache. */
void bk_engine_finish(bk_engine *e, bk_sequence *s, bk_finish finish, int32_t stop_token,
                      const bk_error *failure);
/* Adds an event of a sequence, from may be NULL; s->lost when memory for it is short. */
void bk_engine_emit(bk_engine *e, bk_sequence *s, bk_event head, const bk_event_view *from);

/* Whether a sequence takes part in the prefix cache. One that wants something of every token of its
 * prompt computes them all. */
static inline bool bk_engine_shares(const bk_engine *e, const bk_sequence *s) {
    const bk_request *r = s->request;
    bool every =
        r->prompt_logprobs || (r->kind == BK_REQUEST_EMBED && r->pooling == BK_POOLING_MEAN);
    return e->prefix && !r->no_cache && !every;
}

static inline bool bk_engine_fast(const bk_engine *e) { return bk_model_get_meta(e->model)->fast; }

/* Tokens of which it can take over from the cache: at least one is left to compute. A fast model has only
 * prompts there, and computes otherwise what it has chosen itself. */
static inline size_t bk_engine_shared_most(const bk_engine *e, const bk_sequence *s) {
    return bk_engine_fast(e) ? bk_min_size(s->n - 1, s->n_prompt) : s->n - 1;
}

/* Shares what a sequence has computed with others (a fast model: of its prompt), and pins it there.
 * whole: with its last page, otherwise up to the last full one. */
void bk_engine_remember(bk_engine *e, bk_sequence *s, bool whole);

bool bk_sequences_push(bk_sequences *list, bk_sequence *s);
bk_sequence *bk_sequences_take(bk_sequences *list, size_t i); /* keeps the order */

#endif
