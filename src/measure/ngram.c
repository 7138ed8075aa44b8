#include "measure/ngram.h"

#include <math.h>
#include <string.h>

#include "base/mem.h"

/* Of a context: total and kinds of what follows it; of a context with what follows: how often. */
typedef struct entry {
    uint64_t key; /* 0: empty */
    uint32_t total, kinds;
} entry;

/* Open addressing, at most half full. */
typedef struct table {
    entry *slots;
    size_t n, n_slots;
} table;

/* Mixes token into the hash of those before it (multiply and fold, as in wyhash's finish). */
static uint64_t mix(uint64_t key, int32_t token) {
    key = (key ^ (uint64_t)(uint32_t)token) * 0x9E3779B97F4A7C15u;
    key = (key ^ key >> 29) * 0xBF58476D1CE4E5B9u;
    return key ^ key >> 32;
}

/* The n tokens that end before `end`, as a key that is never 0. */
static uint64_t key_of(const int32_t *end, int n) {
    uint64_t key = (uint64_t)n + 1;
    for (int i = n; i > 0; i--) key = mix(key, end[-i]);
    return key ? key : 1;
}

static uint64_t follow_key(uint64_t context, int32_t token) {
    uint64_t key = mix(~context, token);
    return key ? key : 1;
}

static entry *find(const table *t, uint64_t key) {
    size_t i = key & (t->n_slots - 1);
    while (t->slots[i].key && t->slots[i].key != key) i = (i + 1) & (t->n_slots - 1);
    return &t->slots[i];
}

/* Room for one more. */
static bool reserve(table *t) {
    if (2 * (t->n + 1) <= t->n_slots) return true;
    table bigger = {.n = t->n, .n_slots = bk_max_size(1 << 12, 2 * t->n_slots)};
    if (!(bigger.slots = bk_alloc_zero(bigger.n_slots, sizeof *bigger.slots))) return false;
    for (size_t i = 0; i < t->n_slots; i++)
        if (t->slots[i].key) *find(&bigger, t->slots[i].key) = t->slots[i];
    bk_free(t->slots);
    *t = bigger;
    return true;
}

static entry *find_or_add(table *t, uint64_t key) {
    entry *e = find(t, key);
    t->n += e->key == 0;
    e->key = key;
    return e;
}

/* Only contexts that will be asked for are counted. */
static bool count_order(table *t, const int32_t *tokens, size_t n, size_t n_train, int order) {
    if (t->slots) memset(t->slots, 0, t->n_slots * sizeof *t->slots);
    t->n = 0;
    for (size_t i = bk_max_size(n_train, (size_t)order); i < n; i++) {
        if (!reserve(t)) return false;
        find_or_add(t, key_of(tokens + i, order));
    }
    for (size_t i = (size_t)order; i < n_train; i++) {
        if (!reserve(t)) return false;
        entry *context = find(t, key_of(tokens + i, order));
        if (!context->key) continue;
        entry *follow = find_or_add(t, follow_key(context->key, tokens[i]));
        context->kinds += follow->total++ == 0;
        context->total++;
    }
    return true;
}

/* p[i]: of token n_train + i by the order below; becomes that of this one. Returns the loss. */
static double score_order(const table *t, const int32_t *tokens, size_t n, size_t n_train,
                          int order, double *p) {
    double sum = 0;
    for (size_t i = n_train; i < n; i++) {
        double *at = &p[i - n_train];
        const entry *c = i >= (size_t)order ? find(t, key_of(tokens + i, order)) : NULL;
        if (c && c->total) {
            double seen = find(t, follow_key(c->key, tokens[i]))->total;
            *at = (seen + c->kinds * *at) / ((double)c->total + c->kinds);
        }
        sum -= log(*at);
    }
    return sum / (double)(n - n_train);
}

static size_t count_kinds(table *t, const int32_t *tokens, size_t n) {
    for (size_t i = 0; i < n; i++) {
        if (!reserve(t)) return 0;
        find_or_add(t, follow_key(0, tokens[i]));
    }
    return t->n;
}

static bk_status check(const int32_t *tokens, size_t n, size_t n_train, size_t n_vocab,
                       bk_error *err) {
    if (n_train == 0 || n_train >= n)
        return bk_fail(err, BK_ERR_INVALID,
                       "%zu tokens to count and %zu to score, wanted some of both", n_train,
                       n > n_train ? n - n_train : 0);
    if (n > INT32_MAX)
        return bk_fail(err, BK_ERR_LIMIT, "%zu tokens, wanted at most %d", n, INT32_MAX);
    for (size_t i = 0; i < n; i++)
        if (tokens[i] < 0 || (n_vocab && (size_t)tokens[i] >= n_vocab))
            return bk_fail(err, BK_ERR_INVALID, "token %zu is %d, wanted 0 to %zu", i,
                           (int)tokens[i], n_vocab - 1);
    return BK_OK;
}

bk_status bk_ngram_floor(const int32_t *tokens, size_t n, size_t n_train, size_t n_vocab,
                         int max_order, const volatile bool *cancel, bk_ngram_loss *out,
                         bk_error *err) {
    *out = (bk_ngram_loss){0};
    bk_status st = check(tokens, n, n_train, n_vocab, err);
    if (!st) st = bk_check_range("n-gram order", max_order, 0, BK_NGRAM_MAX, err);
    if (st) return st;
    table t = {0};
    double *p = bk_alloc(n - n_train, sizeof *p);
    if (!n_vocab) n_vocab = count_kinds(&t, tokens, n);
    bool ok = p && n_vocab;
    for (size_t i = 0; ok && i < n - n_train; i++) p[i] = 1.0 / (double)n_vocab;
    for (int order = 0; ok && order <= max_order && !(cancel && *cancel); order++) {
        ok = count_order(&t, tokens, n, n_train, order);
        if (ok) out->order[order] = score_order(&t, tokens, n, n_train, order, p);
        if (out->order[order] < out->order[out->best]) out->best = order;
        out->n_orders = order + 1;
    }
    out->uniform = log((double)n_vocab);
    out->n = n - n_train;
    bk_free(t.slots);
    bk_free(p);
    if (ok && out->n_orders <= max_order)
        return bk_fail(err, BK_ERR_CANCELLED, "cancelled while n-grams were counted");
    return ok ? BK_OK : bk_fail(err, BK_ERR_NOMEM, "no memory to count %zu tokens", n);
}
