#include "engine/sample.h"

#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "base/rng.h"

/* A token that may be chosen. */
typedef struct cand {
    int32_t id;
    float logit;
    double weight; /* exp(logit - largest logit), where a step needs it */
} cand;

enum { RADIX_BITS = 11, RADIX_BINS = 1 << RADIX_BITS, TOP_K_SLACK = 2048 };
enum { ARGMAX_LANES = 16, ARGMAX_BLOCK = 1024 };

/* What a choice needs while it is made. */
struct bk_sample_scratch {
    size_t n_vocab;
    cand *cands;     /* [n_vocab] */
    float *adjusted; /* [n_vocab]: the logits with biases and penalties */
    double bins[RADIX_BINS];
};

struct bk_sampler {
    bk_sampling p;
    size_t n_vocab;
    bk_rng rng;
    bk_sample_scratch *scratch, *own; /* own: NULL when it is somebody else's */

    /* Penalties only: how often each token stands in the window, and the window. */
    uint32_t *counts; /* [n_vocab] */
    int32_t *window;  /* ring of penalty_last_n tokens; NULL when all count */
    size_t window_len, window_cap;
};

bk_status bk_sampling_check(const bk_sampling *p, bk_error *err) {
    bk_status st = bk_check_range("temperature", p->temperature, 0, 100, err);
    if (!st) st = bk_check_range("top_k", p->top_k, 0, INT32_MAX, err);
    if (!st) st = bk_check_range("top_p", p->top_p, 0, 1, err);
    if (!st) st = bk_check_range("min_p", p->min_p, 0, 1, err);
    if (!st) st = bk_check_range("typical_p", p->typical_p, 0, 1, err);
    if (!st) st = bk_check_range("repeat_penalty", p->repeat_penalty, 1e-3, 100, err);
    if (!st) st = bk_check_range("presence_penalty", p->presence_penalty, -100, 100, err);
    if (!st) st = bk_check_range("frequency_penalty", p->frequency_penalty, -100, 100, err);
    if (!st) st = bk_check_range("penalty_last_n", p->penalty_last_n, -1, INT32_MAX, err);
    return st;
}

bk_status bk_sampling_check_biases(const bk_sampling *p, size_t n_vocab, bk_error *err) {
    for (size_t i = 0; i < p->n_biases; i++) {
        const bk_logit_bias *b = &p->biases[i];
        if (b->token < 0 || (size_t)b->token >= n_vocab || isnan(b->bias)) {
            return bk_fail(
                err, BK_ERR_INVALID,
                "logit bias %g for token %d: this model has tokens 0 to %zu, the bias must "
                "be a number",
                (double)b->bias, b->token, n_vocab - 1);
        }
    }
    return BK_OK;
}

static bool penalties_on(const bk_sampling *p) {
    return p->penalty_last_n != 0 && (p->repeat_penalty != 1.0f || p->presence_penalty != 0.0f ||
                                      p->frequency_penalty != 0.0f);
}

float bk_sampling_margin(const bk_sampling *p) {
    bool typical = p->typical_p > 0 && p->typical_p < 1;
    if (penalties_on(p) || p->n_biases > 0) return INFINITY;
    if (p->temperature <= 0 || p->top_k == 1) return 0;
    if (p->top_k > 0 || typical || p->top_p < 1 || p->min_p <= 0) return INFINITY;
    return -logf(p->min_p) + 1e-4f;
}

bk_status bk_sample_scratch_create(size_t n_vocab, bk_sample_scratch **out, bk_error *err) {
    *out = NULL;
    bk_sample_scratch *w = n_vocab ? bk_alloc_zero(1, sizeof *w) : NULL;
    if (w) {
        w->n_vocab = n_vocab;
        w->cands = bk_alloc(n_vocab, sizeof *w->cands);
        w->adjusted = bk_alloc(n_vocab, sizeof *w->adjusted);
    }
    if (!w || !w->cands || !w->adjusted) {
        bk_sample_scratch_destroy(&w);
        return bk_fail(err, BK_ERR_NOMEM, "no memory to sample from %zu tokens", n_vocab);
    }
    *out = w;
    return BK_OK;
}

size_t bk_sample_scratch_bytes(size_t n_vocab) {
    const bk_sample_scratch *w;
    return sizeof *w + n_vocab * (sizeof *w->cands + sizeof *w->adjusted);
}

void bk_sample_scratch_destroy(bk_sample_scratch **wp) {
    bk_sample_scratch *w = *wp;
    *wp = NULL;
    if (!w) return;
    bk_free(w->cands);
    bk_free(w->adjusted);
    bk_free(w);
}

/* Whether memory was to be had. */
static bool reserve(bk_sampler *s) {
    if (!s->scratch && bk_sample_scratch_create(s->n_vocab, &s->own, NULL)) return false;
    if (s->own) s->scratch = s->own;
    if (!penalties_on(&s->p)) return true;
    s->counts = bk_alloc_zero(s->n_vocab, sizeof *s->counts);
    if (!s->counts) return false;
    if (s->p.penalty_last_n < 0) return true;
    s->window_cap = (size_t)s->p.penalty_last_n;
    s->window = bk_alloc(s->window_cap, sizeof *s->window);
    return s->window != NULL;
}

bk_status bk_sampler_create(const bk_sampling *p, size_t n_vocab, bk_sample_scratch *scratch,
                            bk_sampler **out, bk_error *err) {
    *out = NULL;
    bk_status st = bk_sampling_check(p, err);
    if (st) return st;
    if (n_vocab == 0) return bk_fail(err, BK_ERR_INVALID, "the vocabulary is empty");
    st = bk_sampling_check_biases(p, n_vocab, err);
    if (st) return st;
    bk_sampler *s = bk_alloc_zero(1, sizeof *s);
    if (!s) return bk_fail(err, BK_ERR_NOMEM, "no memory for the sampler");
    s->p = *p;
    s->n_vocab = n_vocab;
    s->scratch = scratch;
    bk_rng_seed(&s->rng, p->seed, 1);
    if (!reserve(s)) {
        bk_sampler_destroy(&s);
        return bk_fail(err, BK_ERR_NOMEM, "no memory to sample from %zu tokens", n_vocab);
    }
    *out = s;
    return BK_OK;
}

void bk_sampler_destroy(bk_sampler **sp) {
    bk_sampler *s = *sp;
    *sp = NULL;
    if (!s) return;
    bk_sample_scratch_destroy(&s->own);
    bk_free(s->counts);
    bk_free(s->window);
    bk_free(s);
}

void bk_sampler_accept(bk_sampler *s, int32_t token) {
    if (!s->counts || token < 0 || (size_t)token >= s->n_vocab) return;
    s->counts[token]++;
    if (!s->window) return;
    int32_t *slot = &s->window[s->window_len++ % s->window_cap];
    if (s->window_len > s->window_cap) s->counts[*slot]--;
    *slot = token;
}

/* The logits after biases and penalties. A repeated token's logit is divided (or, when negative,
 * multiplied) by the repeat penalty (Keskar et al. 2019, CTRL); presence and frequency are
 * subtracted. */
static const float *adjust(bk_sampler *s, const float *logits) {
    const bk_sampling *p = &s->p;
    float *adjusted = s->scratch->adjusted;
    if (!s->counts && p->n_biases == 0) return logits;
    memcpy(adjusted, logits, s->n_vocab * sizeof *logits);
    for (size_t i = 0; i < p->n_biases; i++) adjusted[p->biases[i].token] += p->biases[i].bias;
    for (size_t i = 0; i < s->n_vocab && s->counts; i++) {
        if (s->counts[i] == 0) continue;
        float l = adjusted[i];
        l = l > 0 ? l / p->repeat_penalty : l * p->repeat_penalty;
        adjusted[i] = l - (p->presence_penalty + p->frequency_penalty * (float)s->counts[i]);
    }
    return adjusted;
}

/* The first allowed token from i on; n or more when there is none. */
static inline size_t next_allowed(const uint32_t *allowed, size_t i, size_t n) {
    while (allowed && i < n) {
        uint32_t word = allowed[i / 32] >> i % 32;
        if (word) return i + (size_t)__builtin_ctz(word);
        i = (i / 32 + 1) * 32;
    }
    return i;
}

/* The largest of n <= ARGMAX_BLOCK numbers, passing over NaN: lanes side by side, which the compiler
 * makes vectors of. */
static float block_max(const float *x, size_t n) {
    float lanes[ARGMAX_LANES], best = -INFINITY;
    for (size_t l = 0; l < ARGMAX_LANES; l++) lanes[l] = -INFINITY;
    size_t i = 0;
    for (; i + ARGMAX_LANES <= n; i += ARGMAX_LANES)
        for (size_t l = 0; l < ARGMAX_LANES; l++)
            lanes[l] = x[i + l] > lanes[l] ? x[i + l] : lanes[l];
    for (; i < n; i++) best = x[i] > best ? x[i] : best;
    for (size_t l = 0; l < ARGMAX_LANES; l++) best = lanes[l] > best ? lanes[l] : best;
    return best;
}

/* The first of the largest, passing over NaN; -1 when there is none above -infinity. */
static int32_t argmax_all(const float *logits, size_t n) {
    float best = -INFINITY;
    size_t block = n;
    for (size_t i = 0; i < n; i += ARGMAX_BLOCK) {
        float max = block_max(logits + i, bk_min_size(ARGMAX_BLOCK, n - i));
        if (!(max > best)) continue;
        best = max;
        block = i;
    }
    while (block < n && logits[block] != best) block++;
    return block < n ? (int32_t)block : -1;
}

/* The same among those that are allowed. */
static int32_t argmax(const float *logits, size_t n, const uint32_t *allowed) {
    if (!allowed) return argmax_all(logits, n);
    float best = -INFINITY;
    int32_t at = -1;
    for (size_t i = next_allowed(allowed, 0, n); i < n; i = next_allowed(allowed, i + 1, n)) {
        if (logits[i] > best) {
            best = logits[i];
            at = (int32_t)i;
        }
    }
    return at;
}

/* An integer that orders as the floats do (no NaN). */
static uint32_t sort_key(float f) {
    f += 0.0f; /* -0 and 0 tie */
    uint32_t u;
    memcpy(&u, &f, sizeof u);
    return u & 0x80000000u ? ~u : u | 0x80000000u;
}

static double amount(const cand *c, bool by_weight) { return by_weight ? c->weight : 1.0; }

/* The key at which the amounts of the candidates, from the largest logit down, first add up to
 * target > 0. Found digit by digit with a histogram: linear, whatever the values. *above gets the
 * amount of the keys above it. */
static uint32_t boundary_key(bk_sampler *s, size_t n, double target, bool by_weight,
                             double *above) {
    const cand *c = s->scratch->cands;
    static const struct digit {
        unsigned shift;
        uint32_t mask;
    } digits[] = {{21, 0x7FF}, {10, 0x7FF}, {0, 0x3FF}};
    uint32_t prefix = 0, known = 0; /* digits of the key found so far */
    *above = 0;
    for (size_t d = 0; d < BK_ARRAY_LEN(digits); d++) {
        memset(s->scratch->bins, 0, sizeof s->scratch->bins);
        for (size_t i = 0; i < n; i++) {
            uint32_t key = sort_key(c[i].logit);
            if ((key & known) != prefix) continue;
            s->scratch->bins[key >> digits[d].shift & digits[d].mask] += amount(&c[i], by_weight);
        }
        uint32_t bin = digits[d].mask, lowest = bin;
        for (;; bin--) {
            if (s->scratch->bins[bin] > 0) lowest = bin;
            if (bin == 0 || *above + s->scratch->bins[bin] >= target) break;
            *above += s->scratch->bins[bin];
        }
        if (s->scratch->bins[bin] <= 0) { /* rounding kept the sum below target: all the way down */
            *above -= s->scratch->bins[lowest];
            bin = lowest;
        }
        prefix |= bin << digits[d].shift;
        known |= digits[d].mask << digits[d].shift;
    }
    return prefix;
}

/* Keeps, in their order, the candidates with the largest logits whose amounts (weights, or 1 each)
 * first add up to target > 0; of equal logits the earlier. Returns how many, at least 1 of n > 0. */
static size_t keep_largest(bk_sampler *s, size_t n, double target, bool by_weight) {
    double above;
    uint32_t boundary = boundary_key(s, n, target, by_weight, &above);
    cand *c = s->scratch->cands;
    size_t kept = 0;
    for (size_t i = 0; i < n; i++) {
        uint32_t key = sort_key(c[i].logit);
        if (key < boundary || (key == boundary && above >= target)) continue;
        if (key == boundary) above += amount(&c[i], by_weight);
        c[kept++] = c[i];
    }
    return kept;
}

/* Candidates in order of id: the top_k best, or all that are finite when top_k is off. */
static size_t gather(bk_sampler *s, const float *logits, const uint32_t *allowed) {
    size_t k = s->p.top_k > 0 ? (size_t)s->p.top_k : s->n_vocab;
    size_t room = k < s->n_vocab / 2 ? bk_min_size(s->n_vocab, 2 * k + TOP_K_SLACK) : s->n_vocab;
    float floor = -INFINITY;
    size_t n = 0, end = s->n_vocab;
    for (size_t i = next_allowed(allowed, 0, end); i < end; i = next_allowed(allowed, i + 1, end)) {
        if (!(logits[i] > floor)) continue; /* NaN too */
        if (n == room) { /* the k best so far: nothing up to the least of them matters any more */
            n = keep_largest(s, n, (double)k, false);
            floor = s->scratch->cands[0].logit;
            for (size_t j = 1; j < n; j++) floor = fminf(floor, s->scratch->cands[j].logit);
            if (!(logits[i] > floor)) continue;
        }
        s->scratch->cands[n++] = (cand){.id = (int32_t)i, .logit = logits[i]};
    }
    return n > k ? keep_largest(s, n, (double)k, false) : n;
}

/* Gives each candidate its weight; returns the sum. */
static double weigh(bk_sampler *s, size_t n, float max) {
    double total = 0;
    for (size_t i = 0; i < n; i++) {
        s->scratch->cands[i].weight = exp((double)s->scratch->cands[i].logit - (double)max);
        total += s->scratch->cands[i].weight;
    }
    return total;
}

static size_t keep_top_p(bk_sampler *s, size_t n, float max) {
    double total = weigh(s, n, max);
    /* Above 0, so that top_p 0 keeps the best one. */
    return keep_largest(s, n, fmax(total * (double)s->p.top_p, 1e-300), true);
}

/* Locally typical sampling (Meister et al. 2022): keeps those whose surprise -log p is nearest to its
 * mean, the entropy, until they make up typical_p. As log p is the logit minus a constant, the distance
 * is that of the logit from the mean logit. *max becomes the largest logit that is kept. */
static size_t keep_typical(bk_sampler *s, size_t n, const float *logits, float *max) {
    double total = weigh(s, n, *max), mean = 0;
    for (size_t i = 0; i < n; i++) {
        mean += s->scratch->cands[i].weight / total *
                ((double)s->scratch->cands[i].logit - (double)*max);
    }
    for (size_t i = 0; i < n; i++) { /* the nearest first, as keep_largest wants it */
        s->scratch->cands[i].logit =
            (float)-fabs((double)s->scratch->cands[i].logit - (double)*max - mean);
    }
    n = keep_largest(s, n, total * (double)s->p.typical_p, true);
    *max = -INFINITY;
    for (size_t i = 0; i < n; i++) {
        s->scratch->cands[i].logit = logits[s->scratch->cands[i].id];
        *max = fmaxf(*max, s->scratch->cands[i].logit);
    }
    return n;
}

static size_t keep_min_p(bk_sampler *s, size_t n, float max) {
    double floor = (double)max + log((double)s->p.min_p);
    size_t kept = 0;
    for (size_t i = 0; i < n; i++) {
        if ((double)s->scratch->cands[i].logit >= floor)
            s->scratch->cands[kept++] = s->scratch->cands[i];
    }
    return kept;
}

/* One of n > 0 candidates, by the probabilities of the softmax at this temperature. */
static int32_t draw(bk_sampler *s, size_t n, float max) {
    double total = 0, inverse = 1.0 / (double)s->p.temperature;
    for (size_t i = 0; i < n; i++) {
        s->scratch->cands[i].weight =
            exp(((double)s->scratch->cands[i].logit - (double)max) * inverse);
        total += s->scratch->cands[i].weight;
    }
    double u = bk_rng_unit(&s->rng) * total;
    size_t last = 0;
    for (size_t i = 0; i < n; i++) {
        if (s->scratch->cands[i].weight <= 0) continue;
        last = i;
        if (u < s->scratch->cands[i].weight) break;
        u -= s->scratch->cands[i].weight;
    }
    return s->scratch->cands[last].id;
}

int32_t bk_sampler_pick(bk_sampler *s, const float *logits, const uint32_t *allowed) {
    logits = adjust(s, logits);
    int32_t best = argmax(logits, s->n_vocab, allowed);
    if (best < 0) return -1;
    float max = logits[best];
    if (s->p.temperature <= 0 || s->p.top_k == 1 || isinf(max)) return best;
    size_t n = gather(s, logits, allowed);
    if (s->p.typical_p > 0 && s->p.typical_p < 1) n = keep_typical(s, n, logits, &max);
    if (s->p.top_p < 1) n = keep_top_p(s, n, max);
    if (s->p.min_p > 0) n = keep_min_p(s, n, max);
    return draw(s, n, max);
}
