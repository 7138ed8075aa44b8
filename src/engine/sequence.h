/* One request on its way through the engine: its tokens, what the model remembers of them, its sampler,
 * its text, its times. Lives on the engine's thread alone. */
#ifndef BRISK_ENGINE_SEQUENCE_H
#define BRISK_ENGINE_SEQUENCE_H

#include "cache/prefix.h"
#include "engine/draft.h"
#include "engine/plan.h"
#include "engine/record.h"
#include "engine/reply.h"
#include "model/model.h"

typedef enum bk_phase { BK_PHASE_WAITING, BK_PHASE_PREFILL, BK_PHASE_DECODE } bk_phase;

typedef struct bk_sequence {
    bk_request *request; /* the record, owned */
    bk_request_view view;
    bk_phase phase;
    int32_t *tokens; /* [cap]: the prompt, then the answer */
    size_t n, n_prompt, cap;
    size_t n_target; /* tokens to compute before the next one can be chosen */
    bk_kv *kv;       /* of tokens [0, bk_kv_len); NULL while waiting */
    bk_prefix_pin pin;
    bk_sampler *sampler; /* made when it starts, kept when it is preempted */
    bk_reply reply;
    const char **stop; /* [n_stop], into the record */
    uint32_t *allowed; /* bitmask over the vocabulary; NULL: all */
    bool early;        /* before min_tokens */
    bk_draft draft;
    float *pooled;         /* [n_out], of embeddings */
    size_t rows, n_logits; /* of this step */
    size_t n_reported;     /* tokens of the prompt whose log-probabilities are out */
    bool cancelled;
    bool lost; /* an event had no memory: the rest would have a gap, so it ends */
    bk_request_stats stats;
    uint64_t submitted, started, first, last; /* ns */
    uint64_t following; /* since when another computes what this one needs; 0: nobody does */
    float *gaps;        /* [cap - n_prompt] ms between tokens */
} bk_sequence;

/* Takes over a copy of the record. NOMEM. */
bk_status bk_sequence_create(const bk_request *record, size_t context, bk_sequence **out,
                             bk_error *err);
void bk_sequence_destroy(bk_sequence **s);

/* What answering needs, made at the first start: sampler, text, masks. `ends` are the tokens that end
 * an answer. INVALID, NOMEM. */
bk_status bk_sequence_prepare(bk_sequence *s, bk_model *m, bk_sample_scratch *scratch,
                              const int32_t *ends, size_t n_ends, bk_error *err);

/* min_tokens have come: end tokens and stop texts count from now on. */
void bk_sequence_open_ends(bk_sequence *s, const int32_t *ends, size_t n_ends);

/* Gives back the KV; the tokens stay, so that it can start again. */
void bk_sequence_release(bk_sequence *s);

/* A token was chosen at `now`. */
void bk_sequence_push(bk_sequence *s, int32_t token, uint64_t now);

/* Fills in the times of stats that are known when it ends. */
void bk_sequence_finish(bk_sequence *s);

static inline bool bk_token_listed(const int32_t *list, size_t n, int32_t token) {
    for (size_t i = 0; i < n; i++)
        if (list[i] == token) return true;
    return false;
}

/* The tokens of [begin, end) wait for computing. */
static inline bk_claim bk_sequence_claim(const bk_sequence *s, size_t begin, size_t end,
                                         uint64_t now) {
    return (bk_claim){.tenant = s->request->tenant,
                      .arrival = s->request->id,
                      .priority = s->request->priority,
                      .begin = begin,
                      .left = end - begin,
                      .waited_ms = (double)(now - s->submitted) * 1e-6};
}

static inline size_t bk_sequence_computed(const bk_sequence *s) {
    return s->kv ? bk_kv_len(s->kv) : 0;
}
/* Whether what is computed next are tokens of the prompt. */
static inline bool bk_sequence_in_prompt(const bk_sequence *s) {
    return bk_sequence_computed(s) < s->n_prompt;
}

/* States that an embedding needs of this step: of all rows, or of the prompt's last. */
static inline size_t bk_sequence_states(const bk_sequence *s) {
    if (!s->pooled || s->rows == 0) return 0;
    return s->request->pooling == BK_POOLING_MEAN ? s->rows : 1;
}

/* Whether it can do without the logits that a trimmed head leaves out: nobody has named tokens, nor wants
 * to know probabilities. */
static inline bool bk_sequence_spare(const bk_sequence *s) {
    const bk_request *r = s->request;
    return r->n_biases == 0 && r->logprobs < 0 && !r->prompt_logprobs && r->n_allowed == 0;
}

static inline size_t bk_sequence_generated(const bk_sequence *s) { return s->n - s->n_prompt; }

#endif
