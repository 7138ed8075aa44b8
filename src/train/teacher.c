#include "train/teacher.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "measure/logprob.h"
#include "model/model.h"
#include "sys/file.h"
#include "train/task.h"

/* ---- Asking: the teacher's logits of a window --------------------------------------------------- */

enum { MOST_ROWS = 512 /* of a pass */, MOST_LOGITS = 1 << 24 /* floats */ };

typedef struct asker {
    const bk_lessons *l;
    bk_model *model;
    bk_exec *exec;
    bk_kv **kv;      /* [B] */
    bk_rows *rows;   /* [group] */
    int32_t *tokens; /* [B * T], sequence by sequence */
    float *logits;   /* [group][chunk][V] */
    size_t V, context;
    size_t chunk, group; /* tokens and sequences of a pass */
} asker;

/* Row `row` of the window; false ends asking, *err says why. */
typedef bool (*row_fn)(void *user, size_t row, const float *logits, bk_error *err);

static bool same_vocab(const bk_tokenizer *a, const bk_tokenizer *b) {
    size_t n = bk_tokenizer_count(a);
    if (n != bk_tokenizer_count(b)) return false;
    for (size_t i = 0; i < n; i++) {
        int32_t id = (int32_t)i;
        if (bk_tokenizer_type(a, id) != bk_tokenizer_type(b, id) ||
            !bk_str_eq(bk_tokenizer_bytes(a, id), bk_tokenizer_bytes(b, id)))
            return false;
    }
    return true;
}

static void asker_close(asker *a) {
    for (size_t b = 0; a->kv && b < a->l->B; b++)
        if (a->kv[b]) bk_kv_destroy(&a->kv[b]);
    if (a->exec) bk_exec_destroy(&a->exec);
    if (a->model) bk_model_unref(&a->model);
    bk_free(a->kv);
    bk_free(a->rows);
    bk_free(a->tokens);
    bk_free(a->logits);
}

static bk_status check_teacher(const asker *a, bk_error *err) {
    const bk_lessons *l = a->l;
    if (!same_vocab(bk_model_tokenizer(a->model), l->tokenizer))
        return bk_fail(err, BK_ERR_INVALID,
                       "teacher %s has another vocabulary than the model that learns: %zu tokens, "
                       "%zu there; give a model with the same one",
                       l->o->teacher, a->V, bk_tokenizer_count(l->tokenizer));
    if (l->T > a->context)
        return bk_fail(err, BK_ERR_INVALID,
                       "teacher %s sees %zu tokens, windows have %zu: give a smaller sequence",
                       l->o->teacher, a->context, l->T);
    return BK_OK;
}

static bk_status asker_open(asker *a, const bk_lessons *l, bk_error *err) {
    *a = (asker){.l = l};
    const bk_model_options mo = {.threads = l->o->threads, .cpu_level = l->o->cpu_level};
    bk_status st = bk_model_load(l->o->teacher, &mo, &a->model, err);
    if (st) return st;
    a->V = (size_t)bk_model_config(a->model)->n_vocab;
    a->context = (size_t)bk_model_config(a->model)->context_length;
    st = check_teacher(a, err);
    if (st) return st;
    size_t most = bk_min_size(MOST_ROWS, bk_max_size(1, MOST_LOGITS / a->V));
    a->chunk = bk_min_size(l->T, most);
    a->group = bk_min_size(l->B, most / a->chunk);
    size_t n = a->chunk * a->group;
    a->kv = bk_alloc_zero(l->B, sizeof(bk_kv *));
    a->rows = bk_alloc(a->group, sizeof *a->rows);
    a->tokens = bk_alloc(l->B * l->T, sizeof *a->tokens);
    a->logits = bk_alloc(n * a->V, sizeof *a->logits);
    if (!a->kv || !a->rows || !a->tokens || !a->logits)
        return bk_fail(err, BK_ERR_NOMEM, "no memory for the teacher's predictions");
    st = bk_exec_create(a->model, n, n, &a->exec, err);
    for (size_t b = 0; !st && b < l->B; b++) st = bk_model_new_kv(a->model, &a->kv[b], err);
    return st;
}

/* Sequences from nothing, or on with what is remembered as long as there is room. */
static bk_status begin(asker *a, const bk_window *w, bool fresh, bk_error *err) {
    bk_status st = BK_OK;
    for (size_t b = 0; !st && b < w->B; b++) {
        if (fresh || bk_kv_len(a->kv[b]) + w->T > a->context) st = bk_kv_truncate(a->kv[b], 0, err);
        for (size_t t = 0; t < w->T; t++) a->tokens[b * w->T + t] = w->ids[bk_window_row(w, b, t)];
    }
    return st;
}

/* Tokens [t, t + n) of sequences [b, b + n_seq). */
static bk_status pass(asker *a, const bk_window *w, size_t b, size_t n_seq, size_t t, size_t n,
                      row_fn fn, void *user, bk_error *err) {
    bool lengthy = bk_config_long_context(bk_model_config(a->model), a->context);
    for (size_t i = 0; i < n_seq; i++)
        a->rows[i] = (bk_rows){.kv = a->kv[b + i],
                               .tokens = a->tokens + (b + i) * w->T + t,
                               .n = n,
                               .n_logits = n,
                               .logits = a->logits + i * n * a->V,
                               .long_context = lengthy};
    bk_status st = bk_exec_forward(a->exec, a->rows, n_seq, err);
    for (size_t i = 0; !st && i < n_seq; i++)
        for (size_t k = 0; !st && k < n; k++)
            if (!fn(user, bk_window_row(w, b + i, t + k), a->logits + (i * n + k) * a->V, err))
                st = BK_ERR_FORMAT;
    return st;
}

static bk_status ask(asker *a, const bk_window *w, bool fresh, row_fn fn, void *user,
                     bk_error *err) {
    bk_status st = begin(a, w, fresh, err);
    for (size_t t = 0; !st && t < w->T; t += a->chunk)
        for (size_t b = 0; !st && b < w->B; b += a->group)
            st = pass(a, w, b, bk_min_size(a->group, w->B - b), t, bk_min_size(a->chunk, w->T - t),
                      fn, user, err);
    return st;
}

typedef bk_status (*window_fn)(void *user, const bk_window *w, bk_error *err);

/* All windows of l: *current is the one whose rows fn gets, then `done` (or NULL) is called. */
static bk_status ask_all(const bk_lessons *l, const char *what, row_fn fn, window_fn done,
                         const bk_window **current, void *user, bk_error *err) {
    asker a;
    bk_status st = asker_open(&a, l, err);
    for (uint64_t i = 0; !st && i < l->n; i++) {
        bool fresh = true;
        if (!bk_train_progress(l->o, what, (double)i / (double)l->n, err)) {
            st = BK_ERR_CANCELLED;
            break;
        }
        *current = l->window(l->user, i, &fresh);
        st = ask(&a, *current, fresh, fn, user, err);
        if (!st && done) st = done(user, *current, err);
    }
    asker_close(&a);
    return st;
}

static bool finite_norm(const float *logits, size_t V, double *norm, bk_error *err) {
    *norm = bk_logprob_norm(logits, V);
    if (isfinite(*norm)) return true;
    bk_fail(err, BK_ERR_FORMAT, "the teacher's predictions are not all numbers");
    return false;
}

/* ---- Its loss ----------------------------------------------------------------------------------- */

typedef struct losses {
    const bk_window *w;
    size_t V;
    double sum;
    uint64_t n;
} losses;

static bool add_loss(void *user, size_t row, const float *logits, bk_error *err) {
    losses *s = user;
    double norm;
    int32_t target = s->w->targets[row];
    if (target < 0) return true;
    if (!finite_norm(logits, s->V, &norm, err)) return false;
    s->sum += norm - (double)logits[target];
    s->n++;
    return true;
}

bk_status bk_teacher_loss(const bk_lessons *l, double *loss, bk_error *err) {
    losses s = {.V = bk_tokenizer_count(l->tokenizer)};
    bk_status st = ask_all(l, "validating the teacher", add_loss, NULL, &s.w, &s, err);
    *loss = s.n ? s.sum / (double)s.n : 0;
    return st;
}

/* ---- The file of lessons ------------------------------------------------------------------------ */

/* This, a record per batch (hash of the window's ids, ids, log-probabilities), then a checksum of the
 * records. Numbers as this machine has them: the file is a cache. */
typedef struct header {
    char magic[8];
    uint64_t key, rows, n_best, n;
} header;

static const char magic[8] = "brisktl1";

struct bk_teacher {
    bk_map map;
    size_t rows, n_best, record;
    uint64_t n;
};

/* Multiply and fold, 8 bytes at a time. */
static uint64_t hash_bytes(uint64_t h, const void *data, size_t n) {
    const uint8_t *p = data;
    for (size_t at = 0; at < n; at += 8) {
        uint64_t word = 0;
        memcpy(&word, p + at, bk_min_size(8, n - at));
        h = (h ^ word) * 0x9E3779B97F4A7C15u;
        h ^= h >> 29;
    }
    return h;
}

static uint64_t hash_ids(const bk_window *w) {
    return hash_bytes(1, w->ids, w->B * w->T * sizeof *w->ids);
}

static size_t record_bytes(size_t rows, size_t n_best) {
    return sizeof(uint64_t) + rows * n_best * (sizeof(int32_t) + sizeof(float));
}

/* All keys and tensors of the teacher. */
static bk_status hash_model(const char *path, uint64_t *h, bk_error *err) {
    bk_gguf *g = NULL;
    bk_status st = bk_gguf_open(path, &g, err);
    for (size_t i = 0; !st && i < bk_gguf_n_kv(g); i++) {
        const bk_gguf_kv *kv = bk_gguf_kv_at(g, i);
        *h = hash_bytes(hash_bytes(*h, kv->key.data, kv->key.len), kv->data, kv->bytes);
    }
    for (size_t i = 0; !st && i < bk_gguf_n_tensors(g); i++) {
        const bk_gguf_tensor *t = bk_gguf_tensor_at(g, i);
        const uint8_t *data;
        *h = hash_bytes(*h, t->name.data, t->name.len);
        *h = hash_bytes(*h ^ (uint64_t)t->type->type, t->ne, sizeof t->ne);
        st = bk_gguf_read(g, t, &data, err);
        if (st) break;
        *h = hash_bytes(*h, data, t->bytes);
        bk_gguf_release(g, t, data);
    }
    bk_gguf_destroy(&g);
    return st;
}

static bk_status make_key(const bk_lessons *l, size_t n_best, uint64_t *key, bk_error *err) {
    const uint64_t parts[] = {l->data, l->B, l->T, l->o->seed, n_best, (uint64_t)l->o->kind};
    *key = hash_bytes(1, parts, sizeof parts);
    if (l->o->cpu_level) *key = hash_bytes(*key, l->o->cpu_level, strlen(l->o->cpu_level));
    return hash_model(l->o->teacher, key, err);
}

/* Whether the map is of this key, whole, and has enough batches. */
static bool whole(bk_teacher *t, uint64_t key, uint64_t n) {
    header h;
    uint64_t check = 1, found;
    if (t->map.size < sizeof h + sizeof check) return false;
    memcpy(&h, t->map.data, sizeof h);
    if (memcmp(h.magic, magic, sizeof magic) != 0 || h.key != key || h.rows != t->rows ||
        h.n_best != t->n_best || h.n < n)
        return false;
    size_t body = t->map.size - sizeof h - sizeof check;
    if (body % t->record != 0 || body / t->record != h.n) return false;
    for (uint64_t i = 0; i < h.n; i++)
        check = hash_bytes(check, t->map.data + sizeof h + i * t->record, t->record);
    memcpy(&found, t->map.data + t->map.size - sizeof found, sizeof found);
    t->n = h.n;
    return check == found;
}

static bool load(bk_teacher *t, const char *path, uint64_t key, uint64_t n) {
    bk_error missing;
    if (bk_map_open(path, &t->map, &missing)) return false;
    if (whole(t, key, n)) return true;
    bk_map_close(&t->map);
    t->map = (bk_map){0};
    return false;
}

typedef struct maker {
    const bk_window *w;
    bk_file_writer file;
    bk_logprob *best; /* [n_best] */
    uint8_t *record;
    size_t rows, n_best, bytes, V;
    uint64_t check;
} maker;

static bool put_row(void *user, size_t row, const float *logits, bk_error *err) {
    maker *m = user;
    int32_t *ids = (int32_t *)(m->record + sizeof(uint64_t)) + row * m->n_best;
    float *logp = (float *)(m->record + sizeof(uint64_t)) + (m->rows + row) * m->n_best;
    double norm;
    if (!finite_norm(logits, m->V, &norm, err)) return false;
    size_t found = bk_logprob_top(logits, m->V, norm, m->n_best, m->best);
    for (size_t i = 0; i < m->n_best; i++) {
        ids[i] = i < found ? m->best[i].token : -1;
        logp[i] = i < found ? m->best[i].logprob : 0;
    }
    return true;
}

static bk_status put_record(void *user, const bk_window *w, bk_error *err) {
    maker *m = user;
    uint64_t ids = hash_ids(w);
    memcpy(m->record, &ids, sizeof ids);
    m->check = hash_bytes(m->check, m->record, m->bytes);
    return bk_file_put(&m->file, m->record, m->bytes, err);
}

static bk_status make(const bk_teacher *t, const bk_lessons *l, const char *path, uint64_t key,
                      bk_error *err) {
    maker m = {.rows = t->rows, .n_best = t->n_best, .bytes = t->record, .check = 1};
    header h = {.key = key, .rows = t->rows, .n_best = t->n_best, .n = l->n};
    memcpy(h.magic, magic, sizeof magic);
    m.V = bk_tokenizer_count(l->tokenizer);
    m.best = bk_alloc(t->n_best, sizeof *m.best);
    m.record = bk_alloc(t->record, 1);
    bk_status st = BK_OK;
    if (!m.best || !m.record) st = bk_fail(err, BK_ERR_NOMEM, "no memory for lessons");
    if (!st) st = bk_file_begin(path, &m.file, err);
    if (!st) st = bk_file_put(&m.file, &h, sizeof h, err);
    if (!st) st = ask_all(l, "asking the teacher", put_row, put_record, &m.w, &m, err);
    if (!st) st = bk_file_put(&m.file, &m.check, sizeof m.check, err);
    if (!st) st = bk_file_commit(&m.file, err);
    bk_file_abandon(&m.file);
    bk_free(m.best);
    bk_free(m.record);
    return st;
}

bk_status bk_teacher_open(const bk_lessons *l, bk_teacher **out, bk_error *err) {
    char path[4096];
    uint64_t key = 0;
    *out = NULL;
    bk_status st = bk_cache_dir(path, sizeof path - 64, err);
    bk_teacher *t = st ? NULL : bk_alloc_zero(1, sizeof *t);
    if (st) return st;
    if (!t) return bk_fail(err, BK_ERR_NOMEM, "no memory for a teacher");
    t->rows = l->B * l->T;
    size_t V = bk_tokenizer_count(l->tokenizer);
    t->n_best = bk_min_size((size_t)l->o->top_k, V > 1 ? V - 1 : 1);
    t->record = record_bytes(t->rows, t->n_best);
    st = make_key(l, t->n_best, &key, err);
    size_t len = strlen(path);
    snprintf(path + len, sizeof path - len, "/teacher-%016llx.bin", (unsigned long long)key);
    if (!st && !load(t, path, key, l->n)) {
        st = make(t, l, path, key, err);
        if (!st && !load(t, path, key, l->n))
            st = bk_fail(err, BK_ERR_IO, "%s does not read as it was written", path);
    }
    if (st) {
        bk_teacher_close(&t);
        return st;
    }
    *out = t;
    return BK_OK;
}

void bk_teacher_close(bk_teacher **pt) {
    bk_teacher *t = *pt;
    *pt = NULL;
    if (!t) return;
    bk_map_close(&t->map);
    bk_free(t);
}

size_t bk_teacher_n_best(const bk_teacher *t) { return t->n_best; }

bk_status bk_teacher_lesson(const bk_teacher *t, uint64_t i, const bk_window *w,
                            const int32_t **ids, const float **logp, bk_error *err) {
    bk_status st = bk_map_check_unchanged(&t->map, err);
    if (st) return st;
    const uint8_t *at = t->map.data + sizeof(header) + i * t->record;
    uint64_t seen;
    if (i < t->n) memcpy(&seen, at, sizeof seen);
    if (i >= t->n || seen != hash_ids(w))
        return bk_fail(err, BK_ERR_FORMAT,
                       "batch %llu is not the one that the teacher saw: begin again",
                       (unsigned long long)i);
    *ids = (const int32_t *)(at + sizeof(uint64_t));
    *logp = (const float *)(*ids + t->rows * t->n_best);
    return BK_OK;
}
