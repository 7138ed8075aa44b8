#include "train/lm.h"

#include <math.h>

#include "base/mem.h"
#include "sys/memory.h"

/* ---- Pieces of networks ------------------------------------------------------------------------- */

bk_vec bk_lm_alloc(bk_lm *m, size_t words, bool *good) {
    bk_mem *mem = *good ? m->task.nn->ops->mem_create(m->task.nn, words) : NULL;
    if (!mem) *good = false;
    m->words += words;
    return (bk_vec){mem, 0};
}

bk_status bk_lm_check_memory(const bk_lm *m, size_t words, bk_error *err) {
    bk_memory memory;
    bk_memory_read(bk_memory_root(), &memory);
    uint64_t most = memory.total;
    if (memory.cgroup_limit && (!most || memory.cgroup_limit < most)) most = memory.cgroup_limit;
    double needed = 16.0 * (double)m->task.params->n_weights +
                    4.0 * ((double)words + (double)m->R * (double)m->V);
    if (!most || needed <= (double)most) return BK_OK;
    return bk_fail(err, BK_ERR_LIMIT,
                   "training needs %.1f GB of memory for weights, gradients, moments and "
                   "activations; this process may have %.1f GB: make model, batch or sequence "
                   "smaller",
                   needed * 1e-9, (double)most * 1e-9);
}

bk_linear bk_lm_linear(const bk_lm *m, size_t param, size_t n, size_t k) {
    const bk_params *p = m->task.params;
    return (bk_linear){bk_param_w(p, param), bk_param_grad(p, param), m->R, n, k};
}

void bk_linear_forward(bk_nn *nn, const bk_linear *l, bk_vec x, bk_vec bias, bk_vec y, bool add) {
    nn->ops->gemm(nn, &(bk_gemm){.m = l->R,
                                 .n = l->n,
                                 .k = l->k,
                                 .a = x,
                                 .b = l->w,
                                 .c = y,
                                 .lda = l->k,
                                 .ldb = l->k,
                                 .ldc = l->n,
                                 .tb = true,
                                 .add = add,
                                 .bias = bias});
}

void bk_linear_backward(bk_nn *nn, const bk_linear *l, bk_vec x, bk_vec dy, bk_vec dx, bool add) {
    if (l->dw.mem)
        nn->ops->gemm(nn, &(bk_gemm){.m = l->n,
                                     .n = l->k,
                                     .k = l->R,
                                     .a = dy,
                                     .b = x,
                                     .c = l->dw,
                                     .lda = l->n,
                                     .ldb = l->k,
                                     .ldc = l->k,
                                     .ta = true,
                                     .add = true});
    if (!dx.mem) return;
    nn->ops->gemm(nn, &(bk_gemm){.m = l->R,
                                 .n = l->k,
                                 .k = l->n,
                                 .a = dy,
                                 .b = l->w,
                                 .c = dx,
                                 .lda = l->n,
                                 .ldb = l->k,
                                 .ldc = l->k,
                                 .add = add});
}

void bk_lm_dropout(bk_lm *m, bk_vec x, size_t n, unsigned place) {
    float p = m->task.o.dropout;
    if (!m->learning || p <= 0) return;
    /* 2^28 batches, 64 places, 2^30 values each. */
    uint64_t at = m->index << 36 | (uint64_t)place << 30;
    m->task.nn->ops->dropout(m->task.nn, x, n, p, m->task.o.seed, at, x);
}

/* ---- A batch ------------------------------------------------------------------------------------ */

static bk_lm *lm_of(bk_task *t) { return (bk_lm *)t; }

/* The next window of the streams; each pass over the data is shifted, so that the places where gradients
 * are cut differ. */
static void next_streams(bk_lm *m, bool *fresh) {
    size_t n = m->text.n_train;
    size_t shift = (size_t)(m->pass * 31 % m->T);
    if (shift + m->B * m->T >= n) shift = 0;
    *fresh = m->at == 0;
    bk_window_streams(&m->window, m->text.ids.data + shift, n - shift, (size_t)m->at);
    m->at += m->T;
    /* What is left at the end of the streams is less than a window. */
    if (m->at + m->T > bk_stream_len(n - shift, m->B)) {
        m->at = 0;
        m->pass++;
    }
}

/* The window of batch number `index`: *fresh when its sequences begin anew. Streams are passed in the
 * order of the indices. */
static const bk_window *next_window(void *lm, uint64_t index, bool *fresh) {
    bk_lm *m = lm;
    *fresh = true;
    if (m->ops->carries) {
        next_streams(m, fresh);
    } else {
        bk_window_random(&m->window, m->text.ids.data, m->text.n_train, m->task.o.seed, index);
    }
    return &m->window;
}

/* Logits of the window. */
static void forward(bk_lm *m) {
    bk_nn *nn = m->task.nn;
    nn->ops->write(nn, m->ids, m->host, 2 * m->R); /* targets lie behind */
    m->ops->forward(m);
}

double bk_lm_losses(bk_lm *m, float scale) {
    bk_nn *nn = m->task.nn;
    forward(m);
    nn->ops->cross_entropy(nn, m->logits, m->R, m->V, m->V, m->targets, m->losses, scale > 0,
                           scale);
    return nn->ops->sum(nn, m->losses, m->R);
}

/* The same against what the teacher said to these rows. */
static bk_status teacher_losses(bk_lm *m, float scale, double *sum, bk_error *err) {
    bk_nn *nn = m->task.nn;
    const int32_t *ids;
    const float *logp;
    bk_status st = bk_teacher_lesson(m->teacher, m->index, &m->window, &ids, &logp, err);
    if (st) return st;
    nn->ops->write(nn, m->best, ids, m->R * m->n_best);
    nn->ops->write(nn, m->best_logp, logp, m->R * m->n_best);
    forward(m);
    nn->ops->distil(nn, m->logits, m->R, m->V, m->V, m->best, m->best_logp, m->n_best, m->losses,
                    true, scale);
    *sum = nn->ops->sum(nn, m->losses, m->R);
    return BK_OK;
}

static size_t n_targets(const bk_lm *m) {
    size_t n = 0;
    for (size_t i = 0; i < m->R; i++) n += m->host[m->R + i] >= 0;
    return n;
}

static void clear_state(bk_lm *m) {
    if (m->carried) m->task.nn->ops->zero(m->task.nn, (bk_vec){m->carried, 0}, m->n_state);
}

static bk_status batch(bk_task *t, uint64_t index, float share, double *loss, uint64_t *n,
                       bk_error *err) {
    bk_lm *m = lm_of(t);
    bool fresh;
    next_window(m, index, &fresh);
    m->index = index;
    m->learning = true;
    m->carried = m->state[0];
    if (fresh) clear_state(m);
    *n = n_targets(m);
    float scale = share / (float)*n;
    bk_status st = m->teacher ? teacher_losses(m, scale, loss, err) : BK_OK;
    if (st) return st;
    if (!m->teacher) *loss = bk_lm_losses(m, scale);
    if (!isfinite(*loss)) m->at = 0; /* with a state of zeros */
    m->ops->backward(m);
    return t->nn->ops->finish(t->nn, err);
}

/* Sequences in streams side by side where state is carried, else window after window. */
static size_t valid_window(bk_lm *m, size_t i, size_t n) {
    size_t all;
    const int32_t *ids = bk_text_valid(&m->text, &all);
    const bk_window w = m->window;
    if (m->ops->carries) return bk_window_streams(&w, ids, n, i * m->T);
    size_t at = i * m->R, wanted = 0;
    for (size_t r = 0; r < m->R; r++) {
        bool there = at + r + 1 < n;
        w.ids[r] = there ? ids[at + r] : 0;
        w.targets[r] = there ? ids[at + r + 1] : -1;
        wanted += there;
    }
    return wanted;
}

/* How many tokens of the part held out are looked at, and in how many windows. */
static bk_status valid_size(const bk_lm *m, uint64_t most, size_t *n, size_t *steps,
                            bk_error *err) {
    bk_text_valid(&m->text, n);
    if (most > 0 && most + 1 < *n) *n = (size_t)most + 1;
    if (*n < 2)
        return bk_fail(err, BK_ERR_LIMIT,
                       "nothing is held out to validate with: give a share of the data");
    *steps = m->ops->carries ? bk_div_up(bk_stream_len(*n, m->B), m->T) : bk_div_up(*n - 1, m->R);
    return BK_OK;
}

static bk_status validate(bk_task *t, uint64_t most, bk_train_score *score, bk_error *err) {
    bk_lm *m = lm_of(t);
    size_t n, steps;
    bk_status st = valid_size(m, most, &n, &steps, err);
    if (st) return st;
    m->learning = false;
    m->carried = m->state[1];
    clear_state(m);
    double sum = 0;
    uint64_t tokens = 0;
    for (size_t i = 0; i < steps; i++) {
        if (!bk_train_progress(&t->o, "validating", (double)i / (double)steps, err))
            return BK_ERR_CANCELLED;
        tokens += valid_window(m, i, n);
        sum += bk_lm_losses(m, 0);
    }
    *score = (bk_train_score){.tokens = tokens, .loss = sum / (double)tokens};
    return t->nn->ops->finish(t->nn, err);
}

/* ---- A teacher ---------------------------------------------------------------------------------- */

static bk_lessons lessons_of(bk_lm *m) {
    return (bk_lessons){.o = &m->task.o,
                        .tokenizer = m->text.tokenizer,
                        .data = m->text.hash,
                        .B = m->B,
                        .T = m->T,
                        .n = (uint64_t)m->task.o.steps * (uint64_t)m->task.o.accumulate,
                        .window = next_window,
                        .user = m};
}

static bk_status open_teacher(bk_lm *m, bk_error *err) {
    const bk_lessons l = lessons_of(m);
    bk_status st = bk_teacher_open(&l, &m->teacher, err);
    m->at = m->pass = 0;
    if (st) return st;
    m->n_best = bk_teacher_n_best(m->teacher);
    bool good = true;
    m->best = bk_lm_alloc(m, 2 * m->R * m->n_best, &good);
    m->best_logp = bk_vec_at(m->best, m->R * m->n_best);
    return good ? BK_OK : bk_fail(err, BK_ERR_NOMEM, "no memory for a teacher's predictions");
}

typedef struct valid_windows {
    bk_lm *m;
    size_t n;
} valid_windows;

static const bk_window *next_valid(void *user, uint64_t i, bool *fresh) {
    const valid_windows *v = user;
    *fresh = i == 0 || !v->m->ops->carries;
    valid_window(v->m, (size_t)i, v->n);
    return &v->m->window;
}

static bk_status reference(bk_task *t, uint64_t most, double *loss, bk_error *err) {
    bk_lm *m = lm_of(t);
    valid_windows v = {.m = m};
    size_t steps = 0;
    *loss = 0;
    if (!m->teacher) return BK_OK;
    bk_status st = valid_size(m, most, &v.n, &steps, err);
    bk_lessons l = lessons_of(m);
    l.n = steps;
    l.window = next_valid;
    l.user = &v;
    return st ? st : bk_teacher_loss(&l, loss, err);
}

/* ---- Files -------------------------------------------------------------------------------------- */

static void put_u64(bk_gguf_builder *b, const char *key, uint64_t v) {
    const int32_t words[2] = {(int32_t)(uint32_t)v, (int32_t)(uint32_t)(v >> 32)};
    bk_gguf_builder_i32s(b, key, words, 2);
}

static bk_status get_u64(const bk_gguf *g, const char *key, uint64_t *out, bk_error *err) {
    int32_t *words = NULL;
    size_t n = 0;
    bk_status st = bk_gguf_i32_array(g, key, &words, &n, err);
    if (!st && n == 2) *out = (uint64_t)(uint32_t)words[1] << 32 | (uint32_t)words[0];
    bk_free(words);
    if (st == BK_ERR_NOT_FOUND || (!st && n != 2))
        return bk_fail(err, BK_ERR_FORMAT, "key '%s' is missing or no pair of words", key);
    return st;
}

typedef struct state_source {
    bk_lm *m;
} state_source;

static bk_status fill_state(const void *what, uint8_t *out, bk_error *err) {
    const bk_lm *m = ((const state_source *)what)->m;
    (void)err;
    m->task.nn->ops->read(m->task.nn, (bk_vec){m->state[0], 0}, out, m->n_state);
    return BK_OK;
}

static void save(bk_task *t, bk_gguf_builder *b) {
    bk_lm *m = lm_of(t);
    bk_gguf_builder_keys_of(b, m->text.keys);
    put_u64(b, "brisk.train.data", m->text.hash);
    put_u64(b, "brisk.train.at", m->at);
    put_u64(b, "brisk.train.pass", m->pass);
    state_source *s = m->state[0] ? bk_gguf_builder_alloc(b, 1, sizeof *s) : NULL;
    if (!s) return;
    s->m = m;
    const uint64_t ne[1] = {m->n_state};
    bk_gguf_builder_lazy(b, "state", BK_TYPE_F32, 1, ne, fill_state, s);
}

static bk_status get_state(bk_lm *m, const bk_gguf *g, bk_error *err) {
    const bk_gguf_tensor *in = bk_gguf_find_tensor(g, "state");
    if (!in || in->n_elements != m->n_state || in->type->type != BK_TYPE_F32)
        return bk_fail(err, BK_ERR_FORMAT, "tensor 'state' is missing or not of %zu floats",
                       m->n_state);
    const uint8_t *data;
    bk_status st = bk_gguf_read(g, in, &data, err);
    if (st) return st;
    m->task.nn->ops->write(m->task.nn, (bk_vec){m->state[0], 0}, data, m->n_state);
    bk_gguf_release(g, in, data);
    return BK_OK;
}

static bk_status restore(bk_task *t, const bk_gguf *g, bk_error *err) {
    bk_lm *m = lm_of(t);
    uint64_t hash = 0;
    bk_status st = get_u64(g, "brisk.train.data", &hash, err);
    if (!st && hash != m->text.hash)
        return bk_fail(err, BK_ERR_INVALID, "%s is not the text that this checkpoint was made from",
                       t->o.data);
    if (!st) st = get_u64(g, "brisk.train.at", &m->at, err);
    if (!st) st = get_u64(g, "brisk.train.pass", &m->pass, err);
    if (!st && m->at > m->text.n_train)
        return bk_fail(err, BK_ERR_FORMAT, "its position %llu is behind the end of the text",
                       (unsigned long long)m->at);
    if (!st && m->state[0]) st = get_state(m, g, err);
    return st;
}

static void export(bk_task *t, bk_gguf_builder *b) {
    bk_lm *m = lm_of(t);
    bk_gguf_builder_keys_of(b, m->text.keys);
    m->ops->keys(m, b);
}

static void info(const bk_task *t, bk_train_info *out) {
    const bk_lm *m = (const bk_lm *)t;
    out->n_vocab = (int)m->V;
    out->train_tokens = m->text.n_train;
    out->valid_tokens = m->text.ids.len - m->text.n_train;
    out->valid_chars = m->text.valid_chars;
    out->floor = m->text.floor;
    out->memory += 4 * (uint64_t)m->words;
}

static bk_status init(bk_task *t, bk_error *err) { return lm_of(t)->ops->init(lm_of(t), err); }

static void destroy(bk_task *t) {
    bk_lm *m = lm_of(t);
    const struct bk_nn_ops *ops = t->nn->ops;
    bk_mem *all[] = {m->batch, m->state[0], m->state[1], m->best.mem};
    bk_teacher_close(&m->teacher);
    for (size_t i = 0; i < BK_ARRAY_LEN(all); i++)
        if (all[i]) ops->mem_destroy(t->nn, all[i]);
    bk_text_free(&m->text);
    bk_free(m->host);
    m->ops->destroy(m);
}

static const struct bk_task_ops ops = {.destroy = destroy,
                                       .init = init,
                                       .batch = batch,
                                       .validate = validate,
                                       .reference = reference,
                                       .save = save,
                                       .restore = restore,
                                       .export = export,
                                       .info = info};

/* ---- Making one --------------------------------------------------------------------------------- */

bk_status bk_lm_prepare(bk_lm *m, bk_error *err) {
    m->task.ops = &ops;
    size_t words = 0;
    bool good = bk_mul_size(m->R, m->V + 3, &words);
    m->host = bk_alloc(2 * m->R, sizeof *m->host);
    m->batch = bk_lm_alloc(m, words, &good).mem;
    for (int i = 0; i < 2 && m->n_state; i++) m->state[i] = bk_lm_alloc(m, m->n_state, &good).mem;
    if (!good || !m->host)
        return bk_fail(err, BK_ERR_NOMEM, "no memory for the logits of %zu tokens of %zu", m->R,
                       m->V);
    m->ids = (bk_vec){m->batch, 0};
    m->targets = bk_vec_at(m->ids, m->R);
    m->losses = bk_vec_at(m->targets, m->R);
    m->logits = bk_vec_at(m->losses, m->R);
    m->window = (bk_window){m->B, m->T, m->ops->carries, m->host, m->host + m->R};
    return BK_OK;
}

static bk_status check_length(const bk_lm *m, bk_error *err) {
    size_t least = (m->ops->carries ? m->R : m->T) + 1, n = m->text.n_train;
    if (n >= least) return BK_OK;
    return bk_fail(err, BK_ERR_FORMAT,
                   "%s is too short: %zu tokens to learn from, %zu wanted; give more text, or a "
                   "smaller batch or sequence",
                   m->task.o.data, n, least);
}

bk_status bk_lm_create(const bk_train_options *o, bk_nn *nn, bk_params *params, const bk_gguf *old,
                       bk_task **out, bk_error *err) {
    bk_text text = {0};
    bk_lm *m = NULL;
    *out = NULL;
    bk_status st = bk_text_open(o, old, &text, err);
    if (st) return st;
    size_t V = bk_tokenizer_count(text.tokenizer);
    bool lstm = o->kind == BK_TRAIN_LSTM;
    st = (lstm ? bk_lstm_create : bk_llama_create)(o, nn, params, V, &m, err);
    if (st) {
        bk_text_free(&text);
        return st;
    }
    m->text = text;
    st = bk_lm_prepare(m, err);
    if (!st) st = check_length(m, err);
    if (!st && o->teacher) st = open_teacher(m, err);
    if (st) {
        destroy(&m->task);
        return st;
    }
    *out = &m->task;
    return BK_OK;
}
