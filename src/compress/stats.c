#include "compress/stats.h"

#include <string.h>

#include "base/mem.h"
#include "device/nn.h"
#include "model/arch.h"

enum { DEFAULT_WINDOW = 512 };

/* Rows that some matrices read, and which these are. */
typedef struct entry {
    const void *key; /* the first of the weights */
    bk_input_stats stats;
    bk_vec gram; /* while collecting */
    bool want_gram, want_rows;
} entry;

typedef struct named {
    char name[BK_TENSOR_NAME];
    size_t entry;
} named;

struct bk_stats {
    entry *entries;
    named *names;
    size_t n_entries, n_names, cap; /* cap: of both */
    size_t tokens, windows;
};

typedef struct collector {
    bk_stats *s;
    bk_model *model;
    const bk_stats_options *o;
    bk_nn *nn; /* for Gram matrices; NULL until one is wanted */
    bk_mem *rows;
    size_t row_words;
    bk_exec *exec;
    bk_kv *kv;
    float *hidden; /* [window][n_out] */
    bk_ids ids;
    bk_status status; /* of what happened while observing */
    bk_error *err;
} collector;

/* ---- Entries --------------------------------------------------------------------------------------- */

static bool make_room(bk_stats *s, size_t more) {
    if (s->cap - s->n_names >= more) return true;
    size_t cap = 2 * s->cap + 64;
    entry *entries = bk_realloc(s->entries, cap, sizeof *entries);
    if (entries) s->entries = entries;
    named *names = entries ? bk_realloc(s->names, cap, sizeof *names) : NULL;
    if (!names) return false;
    s->names = names;
    s->cap = cap;
    return true;
}

static bool fill_entry(entry *e, const void *key, size_t k, size_t n) {
    size_t values;
    *e = (entry){.key = key, .stats = {.k = k, .n_matrices = n}};
    if (!bk_mul_size(k, n, &values)) return false;
    e->stats.rows = bk_alloc_zero(n, sizeof *e->stats.rows);
    e->stats.squares = bk_alloc_zero(values, sizeof *e->stats.squares);
    e->stats.sums = bk_alloc_zero(values, sizeof *e->stats.sums);
    return e->stats.rows && e->stats.squares && e->stats.sums;
}

static bool want_gram(const collector *c, const char *name, const bk_input_stats *s) {
    return c->o->gram && s->n_matrices == 1 && c->o->gram(name, s->k, c->o->user);
}

static bool want_rows(const collector *c, const char *name, const bk_input_stats *s) {
    return s->n_matrices == 1 && c->o->keep && c->o->keep(name, s->k, c->o->user);
}

static bk_status prepare_gram(collector *c, entry *e) {
    bk_status st = BK_OK;
    size_t k = e->stats.k, words;
    e->want_gram = true;
    if (!c->nn)
        st = bk_nn_cpu_create(c->model->device->level, c->model->device->threads, &c->nn, c->err);
    if (st) return st;
    if (bk_mul_size(k, k, &words)) e->gram.mem = c->nn->ops->mem_create(c->nn, words);
    if (e->gram.mem) return BK_OK;
    return bk_fail(c->err, BK_ERR_NOMEM, "no memory for a Gram matrix of %zu inputs", k);
}

/* The entry of rows that `n` weights read. New ones get their names. */
static entry *entry_of(collector *c, const bk_weight *const *w, int n, size_t k, size_t matrices) {
    bk_stats *s = c->s;
    for (size_t i = 0; i < s->n_entries; i++)
        if (s->entries[i].key == w[0]) return &s->entries[i];
    if (!make_room(s, (size_t)n)) return NULL;
    entry *e = &s->entries[s->n_entries];
    if (!fill_entry(e, w[0], k, matrices)) {
        s->n_entries++; /* what it has is freed with the others */
        return NULL;
    }
    for (int i = 0; i < n; i++) {
        named *to = &s->names[s->n_names];
        bk_model_weight_name(c->model, w[i], to->name);
        to->entry = s->n_entries;
        bool again = s->n_names && strcmp(to->name, to[-1].name) == 0; /* parts of one tensor */
        if (to->name[0] == '\0' || again) continue;
        if (!e->want_gram && want_gram(c, to->name, &e->stats)) c->status = prepare_gram(c, e);
        if (!e->want_rows) e->want_rows = want_rows(c, to->name, &e->stats);
        s->n_names++;
    }
    s->n_entries++;
    return e;
}

static void count(bk_input_stats *s, size_t matrix, const float *x, size_t ld, size_t n) {
    double *squares = s->squares + matrix * s->k, *sums = s->sums + matrix * s->k;
    for (size_t r = 0; r < n; r++) {
        const float *row = x + r * ld;
        for (size_t i = 0; i < s->k; i++) {
            sums[i] += (double)row[i];
            squares[i] += (double)row[i] * (double)row[i];
        }
    }
    s->rows[matrix] += n;
}

/* Before they are counted. */
static bk_status keep_rows(collector *c, bk_input_stats *s, const float *x, size_t ld, size_t n) {
    size_t rows = (size_t)s->rows[0], values;
    float *all =
        bk_mul_size(rows + n, s->k, &values) ? bk_realloc(s->x, values, sizeof *all) : NULL;
    if (!all) return bk_fail(c->err, BK_ERR_NOMEM, "no memory for %zu rows of inputs", rows + n);
    s->x = all;
    for (size_t r = 0; r < n; r++) memcpy(all + (rows + r) * s->k, x + r * ld, s->k * sizeof *all);
    return BK_OK;
}

static bk_status count_gram(collector *c, entry *e, const float *x, size_t ld, size_t n) {
    size_t k = e->stats.k, words;
    const struct bk_nn_ops *ops = c->nn->ops;
    if (!bk_mul_size(k, n, &words)) words = SIZE_MAX;
    if (words > c->row_words) {
        if (c->rows) ops->mem_destroy(c->nn, c->rows);
        c->rows = ops->mem_create(c->nn, words);
        c->row_words = c->rows ? words : 0;
        if (!c->rows)
            return bk_fail(c->err, BK_ERR_NOMEM, "no memory for %zu rows of %zu inputs", n, k);
    }
    bk_vec rows = {c->rows, 0};
    for (size_t r = 0; r < n; r++) ops->write(c->nn, bk_vec_at(rows, r * k), x + r * ld, k);
    ops->gemm(c->nn, &(bk_gemm){.m = k,
                                .n = k,
                                .k = n,
                                .a = rows,
                                .b = rows,
                                .c = e->gram,
                                .lda = k,
                                .ldb = k,
                                .ldc = k,
                                .ta = true,
                                .add = true});
    return ops->finish(c->nn, c->err);
}

static void see_rows(collector *c, const bk_weight *const *w, int n_weights, size_t k,
                     const bk_routes *routes, const float *x, size_t ld, size_t n) {
    if (c->status) return;
    size_t matrices = routes ? (size_t)routes->n_experts : 1;
    entry *e = entry_of(c, w, n_weights, k, matrices);
    if (!e && !c->status) c->status = bk_fail(c->err, BK_ERR_NOMEM, "no memory for statistics");
    if (c->status) return;
    if (e->want_rows) c->status = keep_rows(c, &e->stats, x, ld, n);
    for (size_t m = 0; m < matrices && !c->status; m++) {
        size_t first = routes ? (size_t)routes->first[m] : 0;
        size_t end = routes ? (size_t)routes->first[m + 1] : n;
        count(&e->stats, m, x + first * ld, ld, end - first);
    }
    if (e->want_gram && !c->status) c->status = count_gram(c, e, x, ld, n);
}

static void see(const bk_cmd *cmd, const float *x, size_t ld, void *user) {
    collector *c = user;
    if (cmd->op == BK_OP_LSTM) {
        const bk_weight *w[4];
        for (int i = 0; i < 4; i++) w[i] = cmd->lstm.w[i];
        see_rows(c, w, 4, cmd->lstm.n, NULL, x, ld, cmd->rows);
        return;
    }
    const bk_weight *w[BK_MAX_PRODUCTS];
    for (int i = 0; i < cmd->product.n; i++) w[i] = cmd->product.w[i];
    see_rows(c, w, cmd->product.n, cmd->product.input.k, cmd->product.routes, x, ld, cmd->rows);
}

/* ---- Reading the text --------------------------------------------------------------------------- */

static bk_status prepare(collector *c, bk_str text, size_t window) {
    const bk_config *config = bk_model_config(c->model);
    size_t n_out = (size_t)config->n_out;
    if (window < 2 || window > (size_t)config->context_length)
        return bk_fail(c->err, BK_ERR_INVALID, "windows of %zu tokens, this model takes 2 to %d",
                       window, config->context_length);
    bk_status st = bk_tokenizer_encode(bk_model_tokenizer(c->model), text, false, &c->ids, c->err);
    if (!st && c->ids.len < window)
        return bk_fail(c->err, BK_ERR_INVALID,
                       "the text has %zu tokens, statistics take at least %zu: give a longer one",
                       c->ids.len, window);
    if (!st) st = bk_exec_create(c->model, window, 1, &c->exec, c->err);
    if (!st) st = bk_model_new_kv(c->model, &c->kv, c->err);
    if (st) return st;
    c->hidden = bk_alloc(window * n_out, sizeof *c->hidden);
    c->s = bk_alloc_zero(1, sizeof *c->s);
    return c->hidden && c->s ? BK_OK : bk_fail(c->err, BK_ERR_NOMEM, "no memory for statistics");
}

/* One window from nothing; its states go into the head, of which no logits are computed. */
static bk_status read_window(collector *c, const int32_t *tokens, size_t n) {
    const bk_config *config = bk_model_config(c->model);
    size_t n_out = (size_t)config->n_out;
    bk_rows rows = {.kv = c->kv,
                    .tokens = tokens,
                    .n = n,
                    .n_hidden = n,
                    .hidden = c->hidden,
                    .long_context = bk_config_long_context(config, n)};
    bk_status st = bk_kv_truncate(c->kv, 0, c->err);
    if (!st) st = bk_exec_forward(c->exec, &rows, 1, c->err);
    if (st) return st;
    const bk_weight *head = c->model->weights.head;
    see_rows(c, &head, 1, n_out, NULL, c->hidden, n_out, n);
    return c->status;
}

static bk_status read_all(collector *c, size_t window) {
    const bk_stats_options *o = c->o;
    const bk_tokenizer *t = bk_model_tokenizer(c->model);
    size_t n = o->max_tokens ? bk_min_size(c->ids.len, o->max_tokens) : c->ids.len;
    size_t windows = bk_max_size(n / window, 1);
    for (size_t i = 0; i < windows; i++) {
        if (o->cancel && *o->cancel) return bk_fail(c->err, BK_ERR_CANCELLED, "cancelled");
        int32_t *at = c->ids.data + i * (c->ids.len / window) / windows * window;
        if (bk_tokenizer_add_bos(t)) at[0] = bk_tokenizer_bos(t);
        bk_status st = read_window(c, at, window);
        if (st) return st;
        c->s->windows++;
        c->s->tokens += window;
        if (o->progress) o->progress((double)(i + 1) / (double)windows, o->user);
    }
    return BK_OK;
}

/* Out of the device's memory. */
static bk_status take_grams(collector *c) {
    for (size_t i = 0; i < c->s->n_entries; i++) {
        entry *e = &c->s->entries[i];
        size_t k = e->stats.k;
        if (!e->want_gram) continue;
        e->stats.gram = bk_alloc(k * k, sizeof *e->stats.gram);
        if (!e->stats.gram)
            return bk_fail(c->err, BK_ERR_NOMEM, "no memory for a Gram matrix of %zu inputs", k);
        c->nn->ops->read(c->nn, e->gram, e->stats.gram, k * k);
        c->nn->ops->mem_destroy(c->nn, e->gram.mem);
        e->gram.mem = NULL;
    }
    return BK_OK;
}

static void close_collector(collector *c) {
    for (size_t i = 0; c->s && i < c->s->n_entries; i++)
        if (c->s->entries[i].gram.mem) c->nn->ops->mem_destroy(c->nn, c->s->entries[i].gram.mem);
    if (c->rows) c->nn->ops->mem_destroy(c->nn, c->rows);
    bk_nn_destroy(&c->nn);
    if (c->kv) bk_kv_destroy(&c->kv);
    if (c->exec) bk_exec_destroy(&c->exec);
    bk_free(c->hidden);
    bk_ids_free(&c->ids);
}

bk_status bk_stats_collect(bk_model *model, bk_str text, const bk_stats_options *options,
                           bk_stats **out, bk_error *err) {
    static const bk_stats_options none;
    const bk_stats_options *o = options ? options : &none;
    collector c = {.model = model, .o = o, .err = err};
    size_t longest = (size_t)bk_model_config(model)->context_length;
    size_t window = o->context ? (size_t)o->context : bk_min_size(DEFAULT_WINDOW, longest);
    *out = NULL;
    bk_status st = prepare(&c, text, window);
    if (!st) {
        bk_observer observer = {see, &c};
        bk_model_set_observer(model, &observer);
        st = read_all(&c, window);
        bk_model_set_observer(model, NULL);
    }
    if (!st) st = take_grams(&c);
    close_collector(&c);
    if (st)
        bk_stats_destroy(&c.s);
    else
        *out = c.s;
    return st;
}

void bk_stats_destroy(bk_stats **s) {
    if (!*s) return;
    for (size_t i = 0; i < (*s)->n_entries; i++) {
        bk_input_stats *e = &(*s)->entries[i].stats;
        bk_free(e->rows);
        bk_free(e->squares);
        bk_free(e->sums);
        bk_free(e->gram);
        bk_free(e->x);
    }
    bk_free((*s)->entries);
    bk_free((*s)->names);
    bk_free(*s);
    *s = NULL;
}

/* ---- Asking ---------------------------------------------------------------------------------------- */

const bk_input_stats *bk_stats_find(const bk_stats *s, const char *tensor) {
    for (size_t i = 0; i < s->n_names; i++)
        if (strcmp(s->names[i].name, tensor) == 0) return &s->entries[s->names[i].entry].stats;
    return NULL;
}

size_t bk_stats_tokens(const bk_stats *s) { return s->tokens; }
size_t bk_stats_windows(const bk_stats *s) { return s->windows; }
size_t bk_stats_n(const bk_stats *s) { return s->n_names; }
const char *bk_stats_name(const bk_stats *s, size_t i) { return s->names[i].name; }
