#include "engine/generate.h"

#include "base/clock.h"
#include "engine/reply.h"

/* One answer in the making. */
typedef struct answer {
    bk_session *session;
    const bk_generate_options *o;
    const bk_tokenizer *tokenizer;
    bk_sampler *sampler;
    bk_reply reply;
    bk_stats stats;
    uint64_t started, first, last; /* ns */
} answer;

static double ms(uint64_t from, uint64_t to) { return (double)(to - from) * 1e-6; }

static bool cancelled(const answer *a) { return a->o->cancel && *a->o->cancel; }

static bk_status prepare(answer *a, bk_error *err) {
    const bk_generate_options *o = a->o;
    size_t n_vocab = (size_t)bk_model_config(bk_session_model(a->session))->n_vocab;
    if (o->max_tokens < -1) {
        return bk_fail(err, BK_ERR_INVALID, "max_tokens is %d, it must be -1 (no limit) or more",
                       o->max_tokens);
    }
    bk_status st = bk_reply_init(&a->reply, a->tokenizer, o->stop, o->n_stop, err);
    if (!st) st = bk_sampler_create(&o->sampling, n_vocab, NULL, &a->sampler, err);
    if (st) return st;
    size_t n;
    const int32_t *tokens = bk_session_tokens(a->session, &n);
    for (size_t i = 0; i < n; i++) bk_sampler_accept(a->sampler, tokens[i]);
    return BK_OK;
}

/* Passes text on; whether to go on. */
static bool hand_over(answer *a, bk_str text, int32_t token) {
    return text.len == 0 || !a->o->on_text || a->o->on_text(text.data, text.len, token, a->o->user);
}

/* The text of a token on its way to the caller; false when the answer ends here. */
static bool put_token(answer *a, int32_t token) {
    bool more = hand_over(a, bk_reply_push(&a->reply, token), token);
    if (a->reply.stop.found) {
        a->stats.finish = BK_FINISH_STOP;
        return false;
    }
    if (!more) a->stats.finish = BK_FINISH_CANCELLED;
    return more;
}

static void flush(answer *a, int32_t token) {
    if (a->stats.finish == BK_FINISH_CANCELLED) return;
    hand_over(a, bk_reply_finish(&a->reply), token);
}

/* Takes the next token from the logits into session, sampler and text. *more says whether the answer
 * goes on after it. */
static bk_status step(answer *a, const float *logits, int32_t *token, bool *more, bk_error *err) {
    *more = false;
    *token = bk_sampler_pick(a->sampler, logits, NULL);
    if (*token < 0) {
        return bk_fail(err, BK_ERR_FORMAT,
                       "the model computed no usable logits (all NaN): the file "
                       "is damaged or does not suit this program");
    }
    bk_status st = bk_session_choose(a->session, *token, err);
    if (st) return st;
    bk_sampler_accept(a->sampler, *token);
    a->stats.generated_tokens++;
    if (!a->o->ignore_end && bk_tokenizer_is_end(a->tokenizer, *token)) {
        a->stats.finish = BK_FINISH_END;
    } else {
        *more = put_token(a, *token);
    }
    a->last = bk_now_ns();
    if (a->stats.generated_tokens == 1) a->first = a->last;
    return bk_reply_failed(&a->reply)
               ? bk_fail(err, BK_ERR_NOMEM, "no memory for the answer's text")
               : BK_OK;
}

/* Whether another token may come; otherwise why not. */
static bool may_go_on(answer *a) {
    size_t n;
    bk_session_tokens(a->session, &n);
    if (cancelled(a)) {
        a->stats.finish = BK_FINISH_CANCELLED;
    } else if (a->o->max_tokens >= 0 && a->stats.generated_tokens >= (size_t)a->o->max_tokens) {
        a->stats.finish = BK_FINISH_LENGTH;
    } else if (n >= bk_session_context(a->session)) {
        a->stats.finish = BK_FINISH_CONTEXT;
    } else {
        return true;
    }
    return false;
}

static bk_status run(answer *a, bk_error *err) {
    const float *logits;
    int32_t token = -1;
    bk_status st = bk_session_eval(a->session, &logits, a->o->cancel, err);
    a->stats.prompt_ms = ms(a->started, bk_now_ns());
    bool more = true;
    while (!st && more && may_go_on(a)) {
        if (a->stats.generated_tokens > 0) {
            st = bk_session_eval(a->session, &logits, a->o->cancel, err);
        }
        if (!st) st = step(a, logits, &token, &more, err);
    }
    if (st == BK_ERR_CANCELLED) {
        a->stats.finish = BK_FINISH_CANCELLED;
        st = BK_OK;
    }
    if (!st && token >= 0) flush(a, token);
    return st;
}

bk_status bk_generate(bk_session *s, const bk_generate_options *options, bk_stats *stats,
                      bk_error *err) {
    answer a = {.session = s,
                .o = options,
                .tokenizer = bk_model_tokenizer(bk_session_model(s)),
                .started = bk_now_ns()};
    bk_session_tokens(s, &a.stats.prompt_tokens);
    a.stats.cached_tokens = bk_session_computed(s);
    bk_session_spare(s, options->sampling.n_biases == 0, bk_sampling_margin(&options->sampling));
    bk_status st = prepare(&a, err);
    if (!st) st = run(&a, err);
    if (a.stats.generated_tokens > 0) {
        a.stats.first_token_ms = ms(a.started, a.first);
        a.stats.decode_ms = ms(a.first, a.last);
    }
    if (stats) *stats = a.stats;
    bk_session_spare(s, false, 0);
    bk_sampler_destroy(&a.sampler);
    bk_reply_free(&a.reply);
    return st;
}
