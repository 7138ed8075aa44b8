/* Commands that go over rows without weights: choosing experts, adding up what they say, capping. */
#include <math.h>

#include "device/cpu.h"
#include "kernel/expf.h"

/* Columns of a unit of work. */
enum { CHUNK = 1024 };

/* The best `n_used` of a row's scores, best first, and their softmax. */
static void choose(const float *scores, int n_experts, int n_used, int32_t *expert, float *weight) {
    int n = 0;
    for (int e = 0; e < n_experts; e++) {
        if (n == n_used && !(scores[e] > scores[expert[n - 1]])) continue;
        int at = n < n_used ? n++ : n - 1;
        for (; at > 0 && scores[e] > scores[expert[at - 1]]; at--) expert[at] = expert[at - 1];
        expert[at] = e;
    }
    float sum = 0;
    for (int u = 0; u < n_used; u++) {
        weight[u] = bk_expf(scores[expert[u]] - scores[expert[0]]);
        sum += weight[u];
    }
    for (int u = 0; u < n_used; u++) weight[u] /= sum;
}

/* From the experts of each row (in routes->slot) to slots in order of expert. */
static void sort_slots(bk_routes *r, size_t rows) {
    size_t used = (size_t)r->n_used, slots = rows * used;
    for (int e = 0; e <= r->n_experts; e++) r->first[e] = 0;
    for (size_t i = 0; i < slots; i++) r->first[r->slot[i] + 1]++;
    for (int e = 0; e < r->n_experts; e++) r->first[e + 1] += r->first[e];
    /* first[e] runs through the slots of e, and ends where those of e + 1 begin. */
    for (size_t i = 0; i < slots; i++) {
        int32_t at = r->first[r->slot[i]]++;
        r->row[at] = (int32_t)(i / used);
        r->slot[i] = at;
    }
    for (int e = r->n_experts; e > 0; e--) r->first[e] = r->first[e - 1];
    r->first[0] = 0;
}

void bk_cpu_route(bk_cpu_device *d, const bk_cmd *c) {
    bk_routes *r = c->route.routes;
    if (bk_pool_next(d->pool) != 0) return; /* counting is quicker than sharing it */
    for (size_t i = 0; i < c->rows; i++)
        choose(c->route.scores + i * (size_t)r->n_experts, r->n_experts, r->n_used,
               r->slot + i * (size_t)r->n_used, r->weight + i * (size_t)r->n_used);
    sort_slots(r, c->rows);
}

void bk_cpu_combine(bk_cpu_device *d, const bk_cmd *c) {
    const bk_routes *r = c->combine.routes;
    size_t chunks = bk_div_up(c->combine.n, CHUNK);
    for (size_t i; (i = bk_pool_next(d->pool)) < c->rows * chunks;) {
        size_t row = i / chunks, begin = i % chunks * CHUNK;
        size_t end = bk_min_size(begin + CHUNK, c->combine.n);
        float *x = c->combine.x + row * c->combine.ldx;
        for (int u = 0; u < r->n_used; u++) {
            size_t at = row * (size_t)r->n_used + (size_t)u;
            const float *y = c->combine.y + (size_t)r->slot[at] * c->combine.ldx;
            for (size_t k = begin; k < end; k++) x[k] += r->weight[at] * y[k];
        }
    }
}

void bk_cpu_soft_cap(bk_cpu_device *d, const bk_cmd *c) {
    size_t chunks = bk_div_up(c->soft_cap.n, CHUNK);
    for (size_t i; (i = bk_pool_next(d->pool)) < c->rows * chunks;) {
        size_t begin = i % chunks * CHUNK;
        d->kernels->soft_cap(c->soft_cap.x + i / chunks * c->soft_cap.ldx + begin,
                             bk_min_size(CHUNK, c->soft_cap.n - begin), c->soft_cap.cap);
    }
}

/* Tokens of one word, of which `bits` may stay; x: the first of those that are kept. */
static void spread_word(bk_cpu_device *d, const bk_cmd *c, uint32_t bits, uint32_t keep,
                        const float *x, float *out, size_t n) {
    for (size_t i = 0; i < n; i++) {
        bool kept = keep >> i & 1;
        if (!(bits >> i & 1))
            out[i] = -INFINITY;
        else if (x && kept)
            out[i] = *x;
        else if (x && c->spread.cap != 0)
            d->kernels->soft_cap(out + i, 1, c->spread.cap);
        if (x && kept) x++;
    }
}

void bk_cpu_spread(bk_cpu_device *d, const bk_cmd *c) {
    enum { WORDS = 128 };
    size_t words = c->spread.words, chunks = bk_div_up(words, WORDS), n = c->spread.n;
    for (size_t i; (i = bk_pool_next(d->pool)) < c->rows * chunks;) {
        size_t row = i / chunks, begin = i % chunks * WORDS;
        for (size_t w = begin; w < bk_min_size(begin + WORDS, words); w++) {
            const float *x = c->spread.x;
            if (x) x += row * c->spread.ldx + c->spread.rank[w];
            spread_word(d, c, c->spread.allowed[row * words + w], c->spread.keep[w], x,
                        c->spread.out + row * n + w * 32, bk_min_size(32, n - w * 32));
        }
    }
}
