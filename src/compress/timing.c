/* How long the products of a token take in every type, on this machine. */
#include "base/clock.h"
#include "base/mem.h"
#include "compress/allocate.h"
#include "device/device.h"
#include "sys/cpu.h"

enum {
    BYTES =
        48
        << 20, /* of a matrix that is timed: more than caches keep of a model from token to token */
    ROUNDS = 3,
    MOST = 256 /* pairs of a type and a length of rows */
};

typedef struct timed {
    const bk_quant *type;
    size_t k;
    double ns; /* of a weight */
} timed;

typedef struct timer {
    const bk_allocation *a;
    bk_device *device;
    timed known[MOST];
    size_t n;
} timer;

/* The best of some products with one vector; what the weights are does not matter. */
static bk_status time_product(timer *t, const bk_weight *w, size_t n_rows, size_t k, double *ns,
                              bk_error *err) {
    float *x = bk_alloc_zero(k, sizeof *x), *y = bk_alloc_zero(bk_round_up(n_rows, 64), sizeof *y);
    bk_status st = x && y ? BK_OK : bk_fail(err, BK_ERR_NOMEM, "no memory to time a product");
    bk_cmd c = {.op = BK_OP_PRODUCT, .rows = 1};
    c.product.input = (bk_input){.kind = BK_INPUT_ROWS, .k = k, .x = x, .ld = k};
    c.product.n = 1;
    c.product.w[0] = w;
    c.product.out[0] = y;
    c.product.ldo[0] = n_rows;
    *ns = 0;
    for (int i = 0; i < ROUNDS && !st; i++) {
        uint64_t start = bk_now_ns();
        st = t->device->ops->run(t->device, &c, 1, err);
        double took = (double)(bk_now_ns() - start);
        if (*ns == 0 || took < *ns) *ns = took;
    }
    bk_free(x);
    bk_free(y);
    return st;
}

static bk_status time_type(timer *t, const bk_quant *type, size_t k, double *ns, bk_error *err) {
    for (size_t i = 0; i < t->n; i++) {
        *ns = t->known[i].ns;
        if (t->known[i].type == type && t->known[i].k == k) return BK_OK;
    }
    if (t->n == MOST) return bk_fail(err, BK_ERR_LIMIT, "more than %d kinds of matrices", MOST);
    size_t row_bytes = k / type->block_len * type->block_bytes;
    size_t n_rows = bk_round_up(BYTES / row_bytes + 1, BK_LOAD_ROWS);
    uint8_t *blocks = bk_alloc_zero(n_rows, row_bytes);
    bk_weight *w = NULL;
    if (!blocks) return bk_fail(err, BK_ERR_NOMEM, "no memory to time a product");
    bk_status st = t->device->ops->weight_create(t->device, type, n_rows, k, &w, err);
    if (!st) {
        t->device->ops->weight_load(t->device, w, blocks, 0, n_rows);
        st = time_product(t, w, n_rows, k, ns, err);
        t->device->ops->weight_destroy(t->device, w);
    }
    bk_free(blocks);
    *ns /= (double)n_rows * (double)k;
    if (!st) t->known[t->n++] = (timed){type, k, *ns};
    return st;
}

/* How many of a tensor's weights a token multiplies. */
static double weights_of(const bk_allocation *a, const bk_gguf_tensor *t) {
    bool looked_up = bk_str_eq(t->name, BK_STR("token_embd.weight")) && !a->tied;
    double share = t->ne[2] > 1 && a->experts_share > 0 ? a->experts_share : 1;
    return looked_up ? 0 : (double)t->n_elements * share;
}

bk_status bk_allocation_time(bk_allocation *a, int threads, bk_error *err) {
    timer t = {.a = a};
    bk_cpu_level level;
    bk_status st = bk_cpu_level_choose(NULL, &level, err);
    if (!st) st = bk_device_cpu_create(level, threads, &t.device, err);
    for (size_t i = 0; i < a->n && !st; i++) {
        const bk_gguf_tensor *tensor = bk_gguf_tensor_at(a->source, a->items[i].tensor);
        for (size_t c = 0; c < a->items[i].n && !st; c++) {
            bk_candidate *o = &a->items[i].candidates[c];
            if (a->cancel && *a->cancel) st = bk_fail(err, BK_ERR_CANCELLED, "cancelled");
            if (!st) st = time_type(&t, o->type, (size_t)tensor->ne[0], &o->ns, err);
            o->ns *= weights_of(a, tensor);
        }
        if (a->progress) a->progress((double)(i + 1) / (double)a->n, a->user);
    }
    bk_device_destroy(&t.device);
    return st;
}
