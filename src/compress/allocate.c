#include "compress/allocate.h"

#include <math.h>

#include "base/mem.h"

enum { MOST_TYPES = 64, FEWEST_ROWS = 16, MOST_ROWS = 40, ROWS_SHARE = 16 };

/* The type whose errors sensitivities are measured with. */
#define PROBE BK_TYPE_Q4_0

void bk_allocation_free(bk_allocation *a) {
    for (size_t i = 0; i < a->n; i++) bk_free(a->items[i].candidates);
    bk_free(a->items);
    a->items = NULL;
    a->n = 0;
}

/* ---- Errors ------------------------------------------------------------------------------------- */

/* Bits per weight. */
static double bits_of(const bk_quant *q) {
    return 8.0 * (double)q->block_bytes / (double)q->block_len;
}

/* Not those that need a model trained for them, or lose so much that nothing is proportional. */
static bool worth_trying(const bk_quant *q, uint64_t k, double fewest) {
    return bk_round_to(q) && q->bits > 0 && k % q->block_len == 0 && bits_of(q) >= fewest &&
           bits_of(q) >= 2.06;
}

static bk_status list_candidates(bk_allocation_item *item, const bk_gguf_tensor *t, double fewest,
                                 bk_error *err) {
    item->candidates = bk_alloc_zero(MOST_TYPES, sizeof *item->candidates);
    if (!item->candidates) return bk_fail(err, BK_ERR_NOMEM, "no memory for types of a tensor");
    for (uint32_t i = 0; i < MOST_TYPES; i++) {
        const bk_quant *q = bk_quant_find(i);
        if (!q || !worth_trying(q, t->ne[0], fewest)) continue;
        double blocks = (double)(t->n_elements / q->block_len);
        item->candidates[item->n++] =
            (bk_candidate){.type = q, .bytes = blocks * (double)q->block_bytes};
    }
    return BK_OK;
}

typedef struct sample {
    const bk_allocation *a;
    const bk_allocation_item *item;
    const bk_gguf_tensor *t;
    const uint8_t *data;
    const float *importance; /* [matrices][k] or NULL */
    size_t k, n_rows, n;     /* n: sampled of n_rows */
    float *scratch;          /* [threads][2 * k] */
    uint8_t *blocks;         /* [threads][8 * k] */
    double *errors;          /* [n][candidates + 2]: of each, of the probe, the norm */
} sample;

static double weigh(const float *x, const float *y, const float *h, size_t n) {
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        double d = (double)x[i] - (y ? (double)y[i] : 0);
        sum += (h ? (double)h[i] : 1) * d * d;
    }
    return sum;
}

static void sample_row(const sample *s, size_t i, int thread) {
    const bk_quant *from = s->t->type;
    size_t row = i * s->n_rows / s->n, n_types = s->item->n;
    float *x = s->scratch + (size_t)thread * 2 * s->k, *y = x + s->k;
    uint8_t *blocks = s->blocks + (size_t)thread * 8 * s->k;
    double *errors = s->errors + i * (n_types + 2);
    const float *h = s->importance ? s->importance + row / (size_t)s->t->ne[1] * s->k : NULL;
    bk_quant_dequantize(from, s->data + row * (s->k / from->block_len * from->block_bytes), x,
                        s->k);
    for (size_t c = 0; c <= n_types; c++) {
        const bk_quant *q = c < n_types ? s->item->candidates[c].type : bk_quant_find(PROBE);
        bk_round_row(q, false, x, h, blocks, s->k);
        bk_quant_dequantize(q, blocks, y, s->k);
        errors[c] = weigh(x, y, h, s->k);
    }
    errors[n_types + 1] = weigh(x, NULL, h, s->k);
}

static void sample_rows(void *arg, int thread) {
    sample *s = arg;
    for (size_t i; (i = bk_pool_next(s->a->pool)) < s->n;) sample_row(s, i, thread);
}

/* Sums over the rows, in their order. */
static void take_errors(const sample *s, bk_allocation_item *item) {
    size_t n = item->n, width = n + 2;
    double norm = 0;
    for (size_t i = 0; i < s->n; i++) {
        for (size_t c = 0; c < n; c++) item->candidates[c].error += s->errors[i * width + c];
        item->probe_error += s->errors[i * width + n];
        norm += s->errors[i * width + n + 1];
    }
    for (size_t c = 0; c < n; c++) item->candidates[c].error /= norm > 0 ? norm : 1;
    item->probe_error /= norm > 0 ? norm : 1;
}

static bk_status measure_item(const bk_allocation *a, bk_allocation_item *item,
                              const bk_gguf_tensor *t, bk_error *err) {
    size_t threads = (size_t)bk_pool_threads(a->pool), k = (size_t)t->ne[0];
    sample s = {.a = a, .item = item, .t = t, .k = k, .n_rows = (size_t)(t->n_elements / t->ne[0])};
    float *importance = NULL;
    s.n = bk_min_size(bk_max_size(s.n_rows / ROWS_SHARE, FEWEST_ROWS), MOST_ROWS);
    s.n = bk_min_size(s.n, s.n_rows);
    s.scratch = bk_alloc(threads * 2, k * sizeof *s.scratch);
    s.blocks = bk_alloc(threads * 8, k);
    s.errors = bk_alloc(s.n, (item->n + 2) * sizeof *s.errors);
    bk_status st = bk_round_importance(a->imatrix, t, &importance, err);
    s.importance = importance;
    if (!st && (!s.scratch || !s.blocks || !s.errors))
        st = bk_fail(err, BK_ERR_NOMEM, "no memory for rows of %zu weights", k);
    if (!st) st = bk_gguf_read(a->source, t, &s.data, err);
    if (!st) {
        bk_pool_run_steady(a->pool, sample_rows, &s);
        take_errors(&s, item);
        bk_gguf_release(a->source, t, s.data);
    }
    bk_free(importance);
    bk_free(s.scratch);
    bk_free(s.blocks);
    bk_free(s.errors);
    return st;
}

static bk_status add_item(bk_allocation *a, size_t i, double fewest, bk_error *err) {
    const bk_gguf_tensor *t = bk_gguf_tensor_at(a->source, i);
    const bk_quant *now = a->plan->types[i];
    bool floats = t->ne[0] % bk_quant_find(PROBE)->block_len != 0;
    if (a->plan->fixed[i] || floats) {
        a->fixed_bytes += (double)(t->n_elements / now->block_len) * (double)now->block_bytes;
        return BK_OK;
    }
    bk_allocation_item *item = &a->items[a->n++];
    *item = (bk_allocation_item){.tensor = i, .sensitivity = 1};
    bk_status st = list_candidates(item, t, fewest, err);
    return st ? st : measure_item(a, item, t, err);
}

bk_status bk_allocation_errors(bk_allocation *a, double fewest, bk_error *err) {
    size_t n = bk_gguf_n_tensors(a->source);
    a->tied = !bk_gguf_find_tensor(a->source, "output.weight");
    a->items = bk_alloc_zero(n + 1, sizeof *a->items);
    if (!a->items) return bk_fail(err, BK_ERR_NOMEM, "no memory for %zu tensors", n);
    for (size_t i = 0; i < n; i++) {
        if (a->cancel && *a->cancel) return bk_fail(err, BK_ERR_CANCELLED, "cancelled");
        bk_status st = add_item(a, i, fewest, err);
        if (st) return st;
        if (a->progress) a->progress((double)(i + 1) / (double)n, a->user);
    }
    return BK_OK;
}

/* ---- Solving ------------------------------------------------------------------------------------ */

static double damage_of(const bk_allocation_item *item, const bk_candidate *c) {
    return item->sensitivity * c->error;
}

static double amount(const bk_allocation_item *item, const bk_candidate *c,
                     bk_allocation_given given) {
    return given == BK_GIVEN_KL ? damage_of(item, c) : given == BK_GIVEN_NS ? c->ns : c->bytes;
}

static double fixed_of(const bk_allocation *a, bk_allocation_given given) {
    return given == BK_GIVEN_KL ? 0 : given == BK_GIVEN_NS ? a->fixed_ns : a->fixed_bytes;
}

/* What can be reached instead. */
static bk_status explain(const bk_allocation *a, bk_allocation_given given, double total,
                         bk_error *err) {
    static const char *const units[] = {"bits per weight", "ms a token", "nats of KL"};
    double least = fixed_of(a, given), most = least, weights = 0;
    for (size_t i = 0; i < bk_gguf_n_tensors(a->source); i++)
        weights += (double)bk_gguf_tensor_at(a->source, i)->n_elements;
    for (size_t i = 0; i < a->n; i++) {
        const bk_allocation_item *item = &a->items[i];
        double low = INFINITY, high = 0;
        for (size_t c = 0; c < item->n; c++) {
            low = fmin(low, amount(item, &item->candidates[c], given));
            high = fmax(high, amount(item, &item->candidates[c], given));
        }
        least += low;
        most += high;
    }
    double unit = given == BK_GIVEN_KL ? 1 : given == BK_GIVEN_NS ? 1e-6 : 8 / weights;
    return bk_fail(err, BK_ERR_LIMIT, "a target of %.4g %s found; this model can have %.4g to %.4g",
                   total * unit, units[given], least * unit, most * unit);
}

static void take_choice(const bk_allocation *a, const size_t *choice, const bk_quant **types,
                        bk_allocation_sum *sum) {
    *sum = (bk_allocation_sum){.bytes = a->fixed_bytes, .ns = a->fixed_ns};
    for (size_t i = 0; i < a->n; i++) {
        const bk_candidate *c = &a->items[i].candidates[choice[i]];
        types[a->items[i].tensor] = c->type;
        sum->bytes += c->bytes;
        sum->ns += c->ns;
        sum->kl += damage_of(&a->items[i], c);
    }
}

bk_status bk_allocation_solve(const bk_allocation *a, bk_allocation_given given, double total,
                              const bk_quant **types, bk_allocation_sum *sum, bk_error *err) {
    bk_budget_item *items = bk_alloc_zero(a->n + 1, sizeof *items);
    bk_budget_option *options = bk_alloc(a->n + 1, MOST_TYPES * sizeof *options);
    size_t *choice = bk_alloc_zero(a->n + 1, sizeof *choice);
    bk_allocation_given other = given == BK_GIVEN_KL ? BK_GIVEN_BYTES : BK_GIVEN_KL;
    bk_status st = BK_OK;
    if (!items || !options || !choice) st = bk_fail(err, BK_ERR_NOMEM, "no memory for a budget");
    for (size_t i = 0; !st && i < a->n; i++) {
        const bk_allocation_item *item = &a->items[i];
        bk_budget_option *o = options + i * MOST_TYPES;
        for (size_t c = 0; c < item->n; c++)
            o[c] = (bk_budget_option){.cost = amount(item, &item->candidates[c], given),
                                      .damage = amount(item, &item->candidates[c], other)};
        items[i] = (bk_budget_item){o, item->n};
    }
    if (!st) st = bk_budget_choose(items, a->n, total - fixed_of(a, given), choice, NULL, err);
    if (st == BK_ERR_LIMIT) st = explain(a, given, total, err);
    if (!st) take_choice(a, choice, types, sum);
    bk_free(items);
    bk_free(options);
    bk_free(choice);
    return st;
}
