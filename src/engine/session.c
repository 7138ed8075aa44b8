#include "engine/session.h"

#include <pthread.h>
#include <stdatomic.h>

#include "base/mem.h"

enum {
    DEFAULT_BATCH = 512,
    MAX_BATCH = 8192,
    ROW_BATCH = 32 /* rows of logits kept at once by eval_rows */
};

/* Forks share one scratch: only one of them computes at a time anyway, as all threads of the model's
 * pool take part in a pass. The lock also guards the pages that forks have in common. */
typedef struct scratch {
    pthread_mutex_t lock;
    atomic_int refs;
    bk_exec *exec;
} scratch;

struct bk_session {
    bk_model *model;
    scratch *shared;
    bk_kv *kv;
    int32_t *tokens; /* [context] */
    size_t n, context, batch, n_vocab;
    size_t chosen, chosen_end; /* tokens of the latest answer; all others go as prompts */
    float *logits;             /* [n_vocab] */
    bool logits_valid;         /* they follow tokens[n - 1] */
    bool spare;                /* logits may be left out, */
    float margin;              /* so far below the best */
    float *rows;               /* [ROW_BATCH][n_vocab], made by the first eval_rows */
};

static bk_status scratch_create(bk_model *model, size_t batch, scratch **out, bk_error *err) {
    scratch *sh = bk_alloc_zero(1, sizeof *sh);
    if (!sh) return bk_fail(err, BK_ERR_NOMEM, "no memory for a session");
    bk_status st = bk_exec_create(model, batch, bk_min_size(batch, ROW_BATCH), &sh->exec, err);
    if (st) {
        bk_free(sh);
        return st;
    }
    pthread_mutex_init(&sh->lock, NULL);
    atomic_init(&sh->refs, 1);
    *out = sh;
    return BK_OK;
}

static void scratch_unref(scratch *sh) {
    if (!sh || atomic_fetch_sub(&sh->refs, 1) != 1) return;
    pthread_mutex_destroy(&sh->lock);
    bk_exec_destroy(&sh->exec);
    bk_free(sh);
}

/* A session without scratch and KV. */
static bk_session *session_alloc(bk_model *model, size_t context, size_t batch) {
    bk_session *s = bk_alloc_zero(1, sizeof *s);
    if (!s) return NULL;
    s->model = bk_model_ref(model);
    s->context = context;
    s->batch = batch;
    s->n_vocab = (size_t)bk_model_config(model)->n_vocab;
    s->tokens = bk_alloc(context, sizeof *s->tokens);
    s->logits = bk_alloc(s->n_vocab, sizeof *s->logits);
    if (!s->tokens || !s->logits) bk_session_destroy(&s);
    return s;
}

bk_status bk_session_create(bk_model *model, const bk_session_options *options, bk_session **out,
                            bk_error *err) {
    *out = NULL;
    int trained = bk_model_config(model)->context_length;
    int context = options && options->context ? options->context : trained;
    int batch = options && options->batch ? options->batch : DEFAULT_BATCH;
    if (context < 1 || context > trained) {
        return bk_fail(err, BK_ERR_INVALID,
                       "a context of %d tokens was asked for, this model takes 1 to %d", context,
                       trained);
    }
    if (batch < 1 || batch > MAX_BATCH) {
        return bk_fail(err, BK_ERR_INVALID,
                       "a batch of %d tokens was asked for, 1 to %d are possible", batch,
                       MAX_BATCH);
    }
    batch = bk_min_int(batch, context);
    bk_session *s = session_alloc(model, (size_t)context, (size_t)batch);
    if (!s) return bk_fail(err, BK_ERR_NOMEM, "no memory for a session of %d tokens", context);
    bk_status st = scratch_create(model, s->batch, &s->shared, err);
    if (!st) st = bk_model_new_kv(model, &s->kv, err);
    if (st) bk_session_destroy(&s);
    *out = s;
    return st;
}

void bk_session_destroy(bk_session **sp) {
    bk_session *s = *sp;
    *sp = NULL;
    if (!s) return;
    if (s->kv) {
        pthread_mutex_lock(&s->shared->lock);
        bk_kv_destroy(&s->kv);
        pthread_mutex_unlock(&s->shared->lock);
    }
    scratch_unref(s->shared);
    bk_free(s->tokens);
    bk_free(s->logits);
    bk_free(s->rows);
    bk_model_unref(&s->model);
    bk_free(s);
}

bk_model *bk_session_model(const bk_session *s) { return s->model; }

const int32_t *bk_session_tokens(const bk_session *s, size_t *n) {
    *n = s->n;
    return s->tokens;
}

size_t bk_session_computed(const bk_session *s) { return bk_kv_len(s->kv); }
size_t bk_session_context(const bk_session *s) { return s->context; }
size_t bk_session_kv_bytes(const bk_session *s) { return bk_kv_bytes(s->kv); }

/* Whether n tokens may follow the first `kept` ones. */
static bk_status check_tokens(const bk_session *s, size_t kept, const int32_t *tokens, size_t n,
                              bk_error *err) {
    if (n > s->context - kept) {
        return bk_fail(err, BK_ERR_LIMIT,
                       "%zu tokens do not fit into the context of %zu tokens: shorten the text or "
                       "ask for a larger context",
                       n <= SIZE_MAX - kept ? kept + n : n, s->context);
    }
    for (size_t i = 0; i < n; i++) {
        if (tokens[i] < 0 || (size_t)tokens[i] >= s->n_vocab) {
            return bk_fail(err, BK_ERR_INVALID,
                           "token id %d is out of range: this model has 0 to %zu", tokens[i],
                           s->n_vocab - 1);
        }
    }
    return BK_OK;
}

static void append(bk_session *s, const int32_t *tokens, size_t n) {
    if (n == 0) return;
    memcpy(s->tokens + s->n, tokens, n * sizeof *tokens);
    s->n += n;
    s->logits_valid = false;
}

bk_status bk_session_append(bk_session *s, const int32_t *tokens, size_t n, bk_error *err) {
    bk_status st = check_tokens(s, s->n, tokens, n, err);
    if (!st) append(s, tokens, n);
    return st;
}

bk_status bk_session_choose(bk_session *s, int32_t token, bk_error *err) {
    bk_status st = bk_session_append(s, &token, 1, err);
    if (st) return st;
    if (s->chosen_end != s->n - 1) s->chosen = s->n - 1;
    s->chosen_end = s->n;
    return BK_OK;
}

/* Drops KV beyond n positions. A window that has already let go of what n needs means starting
 * again: the tokens are all there. */
static bk_status rewind_kv(bk_session *s, size_t n, bk_error *err) {
    if (bk_kv_len(s->kv) <= n) return BK_OK;
    pthread_mutex_lock(&s->shared->lock);
    bk_status st = bk_kv_truncate(s->kv, n, err);
    if (st == BK_ERR_LIMIT) st = bk_kv_truncate(s->kv, 0, err);
    pthread_mutex_unlock(&s->shared->lock);
    return st;
}

bk_status bk_session_truncate(bk_session *s, size_t n, bk_error *err) {
    if (n > s->n) {
        return bk_fail(err, BK_ERR_INVALID, "cannot keep %zu tokens: the session holds %zu", n,
                       s->n);
    }
    if (n == s->n) return BK_OK;
    bk_status st = rewind_kv(s, n, err);
    if (st) return st;
    s->n = n;
    s->chosen = bk_min_size(s->chosen, n);
    s->chosen_end = bk_min_size(s->chosen_end, n);
    s->logits_valid = false;
    return BK_OK;
}

bk_status bk_session_set(bk_session *s, const int32_t *tokens, size_t n, bk_error *err) {
    bk_status st = check_tokens(s, 0, tokens, n, err);
    if (st) return st;
    size_t same = 0;
    while (same < n && same < s->n && tokens[same] == s->tokens[same]) same++;
    st = bk_session_truncate(s, same, err);
    if (!st) append(s, tokens + same, n - same);
    return st;
}

bk_status bk_session_fork(const bk_session *s, bk_session **out, bk_error *err) {
    *out = NULL;
    bk_session *copy = session_alloc(s->model, s->context, s->batch);
    if (!copy) return bk_fail(err, BK_ERR_NOMEM, "no memory for a copy of the session");
    copy->shared = s->shared;
    atomic_fetch_add(&s->shared->refs, 1);
    pthread_mutex_lock(&s->shared->lock);
    bk_status st = bk_kv_fork(s->kv, &copy->kv, err);
    pthread_mutex_unlock(&s->shared->lock);
    if (st) {
        bk_session_destroy(&copy);
        return st;
    }
    append(copy, s->tokens, s->n);
    copy->chosen = s->chosen;
    copy->chosen_end = s->chosen_end;
    copy->logits_valid = s->logits_valid;
    if (s->logits_valid) memcpy(copy->logits, s->logits, s->n_vocab * sizeof *s->logits);
    *out = copy;
    return BK_OK;
}

static bool is_chosen(const bk_session *s, size_t at) {
    return at >= s->chosen && at < s->chosen_end;
}

/* How many of the tokens [at, end) go into one pass: all of a prompt, or all chosen. */
static size_t part(const bk_session *s, size_t at, size_t end) {
    if (is_chosen(s, at))
        end = bk_min_size(end, s->chosen_end);
    else if (at < s->chosen)
        end = bk_min_size(end, s->chosen);
    return bk_min_size(end - at, s->batch);
}

/* One pass over tokens[computed, computed + n), with the logits of the last n_logits. */
static bk_status forward(bk_session *s, size_t n, size_t n_logits, float *logits, bk_error *err) {
    size_t at = bk_kv_len(s->kv);
    bk_rows rows = {.kv = s->kv,
                    .tokens = s->tokens + at,
                    .n = n,
                    .exact = is_chosen(s, at),
                    .spare = s->spare,
                    .margin = s->margin,
                    .history = s->tokens,
                    .n_logits = n_logits,
                    .logits = logits,
                    .long_context = bk_config_long_context(bk_model_config(s->model), s->context)};
    return bk_exec_forward(s->shared->exec, &rows, 1, err);
}

void bk_session_spare(bk_session *s, bool spare, float margin) {
    const bk_model_meta *meta = bk_model_get_meta(s->model);
    if (spare == s->spare && margin == s->margin) return;
    s->spare = spare;
    s->margin = margin;
    /* What a screen has left out, or others need: again. */
    if (meta->head_kept || meta->head_screen) s->logits_valid = false;
}

static bool cancelled(const volatile bool *cancel) { return cancel && *cancel; }

/* Computes tokens up to `end`, with logits after the last when `last` says so. */
static bk_status compute(bk_session *s, size_t end, bool last, const volatile bool *cancel,
                         bk_error *err) {
    bk_status st = BK_OK;
    pthread_mutex_lock(&s->shared->lock);
    for (size_t at = bk_kv_len(s->kv); at < end && !st; at = bk_kv_len(s->kv)) {
        if (cancelled(cancel)) {
            st = bk_fail(err, BK_ERR_CANCELLED, "cancelled after %zu of %zu tokens", at, end);
            break;
        }
        size_t n = part(s, at, end);
        bool want = last && at + n == end;
        st = forward(s, n, want, want ? s->logits : NULL, err);
    }
    pthread_mutex_unlock(&s->shared->lock);
    return st;
}

bk_status bk_session_eval(bk_session *s, const float **logits, const volatile bool *cancel,
                          bk_error *err) {
    if (s->n == 0) {
        return bk_fail(err, BK_ERR_INVALID, "the session is empty: append at least one token");
    }
    if (!s->logits_valid) {
        /* After a truncate the KV may be complete while the logits are gone: one token again. */
        bk_status st = rewind_kv(s, s->n - 1, err);
        if (!st) st = compute(s, s->n, true, cancel, err);
        if (st) return st;
        s->logits_valid = true;
    }
    if (logits) *logits = s->logits;
    return BK_OK;
}

/* A pass of at most ROW_BATCH rows into s->rows, which the first call makes. */
static bk_status row_batch(bk_session *s, size_t n, bk_error *err) {
    size_t count;
    if (!s->rows && bk_mul_size(bk_min_size(s->batch, ROW_BATCH), s->n_vocab, &count)) {
        s->rows = bk_alloc(count, sizeof(float));
    }
    if (!s->rows) return bk_fail(err, BK_ERR_NOMEM, "no memory for the logits of %zu tokens", n);
    pthread_mutex_lock(&s->shared->lock);
    bk_status st = forward(s, n, n, s->rows, err);
    pthread_mutex_unlock(&s->shared->lock);
    return st;
}

bk_status bk_session_eval_rows(bk_session *s, const int32_t *tokens, size_t n, bk_row_fn row,
                               void *user, bk_error *err) {
    bk_status st = check_tokens(s, s->n, tokens, n, err);
    if (!st) st = compute(s, s->n, false, NULL, err);
    if (st || n == 0) return st;
    append(s, tokens, n);
    for (size_t done = 0; done < n;) {
        size_t count = bk_min_size(n - done, bk_min_size(s->batch, ROW_BATCH));
        st = row_batch(s, count, err);
        if (st) {
            s->n = bk_kv_len(s->kv);
            return st;
        }
        for (size_t i = 0; i < count && row; i++) row(done + i, s->rows + i * s->n_vocab, user);
        done += count;
        if (done == n)
            memcpy(s->logits, s->rows + (count - 1) * s->n_vocab, s->n_vocab * sizeof(float));
    }
    s->logits_valid = true;
    return BK_OK;
}
