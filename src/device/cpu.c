#include "device/cpu.h"

#include <string.h>

#include "base/mem.h"
#include "kernel/sparse.h"
#include "sys/cache.h"

const bk_quant *bk_weight_type(const bk_weight *w) { return w->packed.type; }
size_t bk_weight_bytes(const bk_weight *w) { return bk_packed_bytes(&w->packed); }
size_t bk_weight_rows(const bk_weight *w) { return w->packed.n_rows; }

size_t bk_page_positions(void) { return BK_ATTN_CHUNK; }

size_t bk_page_layer_bytes(bk_kv_type type, int n_kv_heads, int head_size) {
    return (size_t)n_kv_heads * bk_kv_chunk_bytes(type, (size_t)head_size);
}

size_t bk_page_state_bytes(size_t floats) { return BK_ATTN_CHUNK * floats * sizeof(float); }

/* ---- Weights ------------------------------------------------------------------------------------ */

static bk_status weight_create(bk_device *d, const bk_quant *type, size_t n_rows, size_t k,
                               bk_weight **out, bk_error *err) {
    bk_cpu_device *cpu = (bk_cpu_device *)d;
    bk_packed p;
    if (!bk_packed_init(&p, type, n_rows, k))
        return bk_fail(err, BK_ERR_UNSUPPORTED, "no packing of %zu x %zu %s weights", n_rows, k,
                       type->name);
    bk_weight *w = bk_alloc_zero(1, sizeof *w);
    p.data = w ? bk_slabs_alloc(&cpu->weights, bk_packed_bytes(&p)) : NULL;
    if (!p.data) {
        bk_free(w);
        return bk_fail(err, BK_ERR_NOMEM, "no memory for %zu bytes of weights",
                       bk_packed_bytes(&p));
    }
    w->packed = p;
    *out = w;
    return BK_OK;
}

static bk_status weight_create_sparse(bk_device *d, const bk_sparse *s, bk_weight **out,
                                      bk_error *err) {
    bk_cpu_device *cpu = (bk_cpu_device *)d;
    bk_weight *w = bk_alloc_zero(1, sizeof *w);
    if (w) w->group_at = bk_alloc(bk_sparse_strips(s) + 1, sizeof *w->group_at);
    bool good = w && w->group_at && bk_packed_init_sparse(&w->packed, s, w->group_at);
    if (good) w->packed.data = bk_slabs_alloc(&cpu->weights, bk_packed_bytes(&w->packed));
    bk_status status = BK_OK;
    if (!good || !w->packed.data)
        status =
            bk_fail(err, BK_ERR_NOMEM, "no memory for %zu x %zu sparse weights", s->n_rows, s->k);
    else if (!bk_pack_sparse(&w->packed, s))
        status = bk_fail(err, BK_ERR_IO, "a sparse matrix changed while it was read");
    if (status == BK_OK)
        *out = w;
    else
        d->ops->weight_destroy(d, w);
    return status;
}

static void weight_forget(bk_device *d, const bk_weight *w) {
    (void)d;
    bk_cache_flush(w->packed.data, bk_packed_bytes(&w->packed));
}

/* The packed bytes go with the device. */
static void weight_destroy(bk_device *d, bk_weight *w) {
    (void)d;
    if (w) bk_free(w->group_at);
    bk_free(w);
}

typedef struct load_job {
    bk_cpu_device *d;
    const bk_packed *packed;
    const uint8_t *rows;
    size_t first, end; /* groups */
} load_job;

/* Groups that a thread takes at a time. */
enum { LOAD_GROUPS = BK_LOAD_ROWS / BK_GROUP_ROWS };

static void load_region(void *arg, int thread) {
    load_job *job = arg;
    (void)thread;
    for (;;) {
        size_t first = job->first + bk_pool_next(job->d->pool) * LOAD_GROUPS;
        if (first >= job->end) return;
        bk_pack_groups(job->packed, job->rows, first, bk_min_size(LOAD_GROUPS, job->end - first));
    }
}

static void weight_load(bk_device *d, bk_weight *w, const uint8_t *rows, size_t first, size_t n) {
    bk_cpu_device *cpu = (bk_cpu_device *)d;
    load_job job = {cpu, &w->packed, rows, first / BK_GROUP_ROWS,
                    bk_div_up(first + n, BK_GROUP_ROWS)};
    bk_pool_run(cpu->pool, load_region, &job);
}

/* ---- Pages ----------------------------------------------------------------------------------------- */

static void *page_alloc(bk_device *d, size_t bytes) {
    return bk_cpu_page_alloc(&((bk_cpu_device *)d)->pages, bytes);
}

static void page_free(bk_device *d, void *page) {
    bk_cpu_page_free(&((bk_cpu_device *)d)->pages, page);
}

static void page_copy(bk_device *d, void *dst, const void *src, size_t bytes) {
    (void)d;
    memcpy(dst, src, bytes);
}

static void page_read(bk_device *d, const void *page, size_t offset, void *out, size_t bytes) {
    (void)d;
    memcpy(out, (const char *)page + offset, bytes);
}

static void page_write(bk_device *d, void *page, size_t offset, const void *src, size_t bytes) {
    (void)d;
    memcpy((char *)page + offset, src, bytes);
}

/* ---- Running -------------------------------------------------------------------------------------- */

static void embed(bk_cpu_device *d, const bk_cmd *c) {
    const bk_packed *table = &c->embed.table->packed;
    for (size_t r; (r = bk_pool_next(d->pool)) < c->rows;) {
        float *x = c->embed.x + r * c->embed.ldx;
        bk_packed_row(table, (size_t)c->embed.tokens[r], x);
        for (size_t i = 0; i < table->k; i++) x[i] *= c->embed.scale;
    }
}

/* Up to so many rows operations take some tens of microseconds. A trace wants all threads. */
enum { SHORT_ROWS = 8 };

typedef struct run_job {
    bk_cpu_device *d;
    bk_trace *trace;
    const bk_cmd *cmds;
    size_t n;
} run_job;

/* Memory need not rest while a thread waits. */
static void look_ahead(bk_cpu_device *d, const bk_cmd *next, int thread) {
    if (next->op == BK_OP_PRODUCT) bk_cpu_product_ahead(d, next, thread);
    if (next->op == BK_OP_ATTENTION) bk_cpu_attention_ahead(d, next, thread);
}

static void run_region(void *arg, int thread) {
    run_job *job = arg;
    bk_trace *trace = job->trace;
    for (size_t i = 0; i < job->n; i++) {
        const bk_cmd *c = &job->cmds[i];
        if (i) {
            look_ahead(job->d, c, thread);
            bk_pool_barrier(job->d->pool);
        }
        bk_trace_command(trace, thread, i);
        switch (c->op) {
        case BK_OP_EMBED: embed(job->d, c); break;
        case BK_OP_PRODUCT: bk_cpu_product(job->d, c, thread); break;
        case BK_OP_ATTENTION: bk_cpu_attention(job->d, c, thread); break;
        case BK_OP_LSTM: bk_cpu_lstm(job->d, c, thread); break;
        case BK_OP_ROUTE: bk_cpu_route(job->d, c); break;
        case BK_OP_COMBINE: bk_cpu_combine(job->d, c); break;
        case BK_OP_SOFT_CAP: bk_cpu_soft_cap(job->d, c); break;
        case BK_OP_SPREAD: bk_cpu_spread(job->d, c); break;
        }
        bk_trace_done(trace, thread, c);
    }
}

static bk_cpu_need need_of(const bk_cpu_device *d, const bk_cmd *cmds, size_t n) {
    bk_cpu_need most = {0, 0};
    for (size_t i = 0; i < n; i++) {
        bk_cpu_need need = {0, 0};
        if (cmds[i].op == BK_OP_PRODUCT) need = bk_cpu_product_need(&cmds[i]);
        if (cmds[i].op == BK_OP_ATTENTION) need = bk_cpu_attention_need(d, &cmds[i]);
        if (cmds[i].op == BK_OP_LSTM) need = bk_cpu_lstm_need(&cmds[i]);
        most.shared = bk_max_size(most.shared, need.shared);
        most.private = bk_max_size(most.private, need.private);
    }
    return most;
}

static bool grow(void **memory, size_t bytes) {
    bk_free(*memory);
    *memory = bk_alloc_aligned(bytes);
    return *memory != NULL;
}

static bk_status reserve_scratch(bk_cpu_device *d, const bk_cmd *cmds, size_t n, bk_error *err) {
    bk_cpu_need need = need_of(d, cmds, n);
    bool ok = true;
    if (need.shared > d->shared_bytes) {
        ok = grow(&d->shared, need.shared);
        d->shared_bytes = ok ? need.shared : 0;
    }
    if (need.private > d->private_bytes) {
        d->private_bytes = 0;
        for (int t = 0; ok && t < d->base.threads; t++) ok = grow(&d->private[t], need.private);
        if (ok) d->private_bytes = need.private;
    }
    return ok ? BK_OK
              : bk_fail(err, BK_ERR_NOMEM, "no memory for %zu bytes of scratch",
                        need.shared + need.private * (size_t)d->base.threads);
}

/* Command by command, each shown to the observer. */
static bk_status run_observed(bk_cpu_device *d, const bk_cmd *cmds, size_t n, bk_error *err) {
    const bk_observer *o = d->base.observer;
    bk_status status = BK_OK;
    for (size_t i = 0; i < n && status == BK_OK; i++) {
        const bk_cmd *c = &cmds[i];
        if (c->op == BK_OP_PRODUCT) status = bk_cpu_product_show(d, c, o, err);
        run_job job = {d, NULL, c, 1};
        bk_pool_run(d->pool, run_region, &job);
        if (c->op == BK_OP_LSTM) o->see(c, c->lstm.out, c->lstm.n, o->user);
    }
    return status;
}

static bk_status run_all(bk_cpu_device *d, const bk_cmd *cmds, size_t n, bk_error *err) {
    bk_trace *trace = d->base.trace;
    bk_status status = trace ? bk_trace_begin(trace, n, err) : BK_OK;
    if (status != BK_OK) return status;
    run_job job = {d, trace, cmds, n};
    bool is_short = !trace && n > 0 && cmds[0].rows <= SHORT_ROWS;
    (is_short ? bk_pool_run_short : bk_pool_run)(d->pool, run_region, &job);
    if (trace) bk_trace_end(trace, cmds, n);
    return BK_OK;
}

static bk_status run(bk_device *device, const bk_cmd *cmds, size_t n, bk_error *err) {
    bk_cpu_device *d = (bk_cpu_device *)device;
    pthread_mutex_lock(&d->lock);
    bk_status status = reserve_scratch(d, cmds, n, err);
    if (status == BK_OK) status = (d->base.observer ? run_observed : run_all)(d, cmds, n, err);
    pthread_mutex_unlock(&d->lock);
    return status;
}

static void destroy(bk_device *device) {
    bk_cpu_device *d = (bk_cpu_device *)device;
    for (int t = 0; d->private && t < d->base.threads; t++) bk_free(d->private[t]);
    bk_free(d->private);
    bk_free(d->shared);
    bk_pool_destroy(&d->pool);
    bk_slabs_free(&d->weights);
    pthread_mutex_destroy(&d->pages.lock);
    pthread_mutex_destroy(&d->lock);
    bk_free(d);
}

static const struct bk_device_ops cpu_ops = {
    .name = "cpu",
    .destroy = destroy,
    .weight_create = weight_create,
    .weight_create_sparse = weight_create_sparse,
    .weight_forget = weight_forget,
    .weight_destroy = weight_destroy,
    .weight_load = weight_load,
    .page_alloc = page_alloc,
    .page_free = page_free,
    .page_copy = page_copy,
    .page_read = page_read,
    .page_write = page_write,
    .run = run,
};

bk_status bk_device_cpu_create(bk_cpu_level level, int threads, bk_device **out, bk_error *err) {
    *out = NULL;
    bk_cpu_device *d = bk_alloc_zero(1, sizeof *d);
    if (!d) return bk_fail(err, BK_ERR_NOMEM, "no memory for a device");
    pthread_mutex_init(&d->lock, NULL);
    pthread_mutex_init(&d->pages.lock, NULL);
    d->kernels = bk_kernels_select(level);
    d->base = (bk_device){&cpu_ops, d->kernels->level, threads, NULL, NULL};
    bk_status status = bk_pool_create(threads, &d->pool, err);
    if (status == BK_OK) {
        d->private = bk_alloc_zero((size_t)threads, sizeof *d->private);
        if (!d->private) status = bk_fail(err, BK_ERR_NOMEM, "no memory for a device");
    }
    if (status != BK_OK) {
        destroy(&d->base);
        return status;
    }
    *out = &d->base;
    return BK_OK;
}
