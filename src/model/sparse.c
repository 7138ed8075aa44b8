#include "model/sparse.h"

#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"

enum { ROUNDS = 9, SAMPLE_ROWS = 2048 };

/* The same matrix twice on a device of its own, whose memory is given back afterwards. */
typedef struct trial {
    bk_device *device;
    bk_weight *w[2]; /* dense, sparse */
    float *x, *y;
    uint64_t best[2];
    bool cold; /* weights come from memory: they are put out of the caches before each product */
} trial;

static bk_status multiply(trial *t, int i, const bk_sparse *s, bk_error *err) {
    bk_cmd c = {.op = BK_OP_PRODUCT, .rows = 1};
    c.product.input = (bk_input){.kind = BK_INPUT_ROWS, .k = s->k, .x = t->x, .ld = s->k};
    c.product.n = 1;
    c.product.w[0] = t->w[i];
    c.product.out[0] = t->y;
    c.product.ldo[0] = s->n_rows;
    if (t->cold) t->device->ops->weight_forget(t->device, t->w[i]);
    uint64_t start = bk_now_ns();
    bk_status status = t->device->ops->run(t->device, &c, 1, err);
    uint64_t ns = bk_now_ns() - start;
    if (ns < t->best[i]) t->best[i] = ns;
    return status;
}

static bk_status make(trial *t, const bk_device *like, const bk_sparse *s, bk_error *err) {
    size_t bytes = s->n_rows * (s->k / s->type->block_len) * s->type->block_bytes;
    uint8_t *rows = bk_alloc(bytes, 1);
    t->x = bk_alloc(s->k, sizeof *t->x);
    t->y = bk_alloc(s->n_rows, sizeof *t->y);
    bk_status status = BK_OK;
    if (!rows || !t->x || !t->y) status = bk_fail(err, BK_ERR_NOMEM, "no memory for a measurement");
    for (size_t i = 0; status == BK_OK && i < s->k; i++) t->x[i] = (float)(i % 7) - 3;
    if (status == BK_OK) status = bk_sparse_decode(s, rows, err);
    if (status == BK_OK) status = bk_device_cpu_create(like->level, like->threads, &t->device, err);
    if (status == BK_OK)
        status = t->device->ops->weight_create(t->device, s->type, s->n_rows, s->k, &t->w[0], err);
    if (status == BK_OK) t->device->ops->weight_load(t->device, t->w[0], rows, 0, s->n_rows);
    if (status == BK_OK) status = t->device->ops->weight_create_sparse(t->device, s, &t->w[1], err);
    bk_free(rows);
    return status;
}

static void destroy(trial *t) {
    for (int i = 0; i < 2; i++)
        if (t->w[i]) t->device->ops->weight_destroy(t->device, t->w[i]);
    bk_device_destroy(&t->device);
    bk_free(t->x);
    bk_free(t->y);
}

static bk_status measure(const bk_device *d, const bk_sparse *all, bool cold, bool *faster,
                         bk_error *err) {
    bk_sparse s = *all; /* its first rows */
    s.n_rows = bk_min_size(s.n_rows, SAMPLE_ROWS);
    bk_status status = bk_sparse_shape(&s, err);
    if (status != BK_OK) return status;
    bk_sparse_measure(&s);
    trial t = {.best = {UINT64_MAX, UINT64_MAX}, .cold = cold};
    status = make(&t, d, &s, err);
    for (int i = 0; status == BK_OK && i < 2 * ROUNDS; i++) status = multiply(&t, i % 2, &s, err);
    *faster = t.best[1] < t.best[0];
    destroy(&t);
    return status;
}

/* Whether decoding finds its weights in a cache. */
static bool in_cache(uint64_t token_bytes) {
    long bytes = -1;
#ifdef _SC_LEVEL3_CACHE_SIZE
    bytes = sysconf(_SC_LEVEL3_CACHE_SIZE);
#endif
    return bytes > 0 && token_bytes < (uint64_t)bytes;
}

bk_status bk_sparse_choose(bk_sparse_choice *c, const bk_device *d, const bk_sparse *s, bool *use,
                           bk_error *err) {
    bk_sparse_known k = {s->kind, s->type->type, s->n_rows, s->k, (int)(32 * bk_sparse_density(s)),
                         false};
    *use = c->use == BK_SPARSE_ALWAYS;
    if (c->use != BK_SPARSE_FASTER) return BK_OK;
    for (size_t i = 0; i < c->n; i++) {
        const bk_sparse_known *o = &c->known[i];
        *use = o->faster;
        if (o->kind == k.kind && o->type == k.type && o->n_rows == k.n_rows && o->k == k.k &&
            o->density == k.density)
            return BK_OK;
    }
    bk_status status = measure(d, s, !in_cache(c->token_bytes), &k.faster, err);
    if (c->n < BK_SPARSE_KNOWN) c->known[c->n++] = k;
    *use = k.faster;
    return status;
}
