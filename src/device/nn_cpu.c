#include "device/nn_cpu.h"

#include <pthread.h>
#include <string.h>

#include "base/mem.h"

/* ---- Memory --------------------------------------------------------------------------------------- */

static bk_mem *mem_create(bk_nn *d, size_t words) {
    (void)d;
    size_t bytes;
    if (!bk_mul_size(bk_max_size(words, 1), 4, &bytes)) return NULL;
    bk_mem *m = bk_alloc(1, sizeof *m);
    if (!m) return NULL;
    m->words = bk_alloc_aligned(bytes);
    if (!m->words) {
        bk_free(m);
        return NULL;
    }
    memset(m->words, 0, bytes);
    return m;
}

static void mem_destroy(bk_nn *d, bk_mem *m) {
    (void)d;
    if (m) bk_free(m->words);
    bk_free(m);
}

static void write_words(bk_nn *d, bk_vec to, const void *words, size_t n) {
    (void)d;
    if (n) memcpy(bk_nn_floats(to), words, 4 * n);
}

static void read_words(bk_nn *d, bk_vec from, void *words, size_t n) {
    (void)d;
    if (n) memcpy(words, bk_nn_floats(from), 4 * n);
}

static bk_status finish(bk_nn *nn, bk_error *err) {
    bk_nn_cpu *d = (bk_nn_cpu *)nn;
    bk_status status = d->failed.code;
    if (status != BK_OK && err) *err = d->failed;
    d->failed.code = BK_OK;
    return status;
}

void bk_nn_cpu_failed(bk_nn_cpu *d, const bk_error *err) {
    if (d->failed.code == BK_OK) d->failed = *err;
}

void *bk_nn_cpu_scratch(bk_nn_cpu *d, size_t bytes) {
    if (bytes <= d->scratch_bytes) return d->scratch;
    bk_free(d->scratch);
    d->scratch = bk_alloc_aligned(bytes);
    d->scratch_bytes = d->scratch ? bytes : 0;
    if (!d->scratch) {
        bk_error err;
        bk_fail(&err, BK_ERR_NOMEM, "no memory for %zu bytes of scratch", bytes);
        bk_nn_cpu_failed(d, &err);
    }
    return d->scratch;
}

/* ---- Running -------------------------------------------------------------------------------------- */

typedef struct region {
    bk_pool *pool;
    size_t parts;
    bk_nn_part fn;
    const void *job;
} region;

static void run_parts(void *arg, int thread) {
    const region *r = arg;
    unsigned before = bk_nn_cpu_flush_begin();
    for (size_t part; bk_pool_share(r->pool, thread, r->parts, &part);) r->fn(r->job, part, thread);
    bk_nn_cpu_flush_end(before);
}

void bk_nn_cpu_each(bk_nn_cpu *d, size_t parts, size_t work, bk_nn_part fn, const void *job) {
    if (parts > 1 && work >= BK_NN_SMALL && d->base.threads > 1) {
        region r = {d->pool, parts, fn, job};
        (work < BK_NN_LONG ? bk_pool_run_short : bk_pool_run_steady)(d->pool, run_parts, &r);
        return;
    }
    unsigned before = bk_nn_cpu_flush_begin();
    for (size_t part = 0; part < parts; part++) fn(job, part, 0);
    bk_nn_cpu_flush_end(before);
}

static void destroy(bk_nn *nn) {
    bk_nn_cpu *d = (bk_nn_cpu *)nn;
    bk_pool_destroy(&d->pool);
    bk_free(d->scratch);
    bk_free(d->rope);
    bk_free(d);
}

static struct bk_nn_ops cpu_ops = {
    .name = "cpu",
    .destroy = destroy,
    .mem_create = mem_create,
    .mem_destroy = mem_destroy,
    .write = write_words,
    .read = read_words,
    .finish = finish,
    .gemm = bk_nn_cpu_gemm,
    .lstm = bk_nn_cpu_lstm,
    .lstm_bwd = bk_nn_cpu_lstm_bwd,
    .attention = bk_nn_cpu_attention,
    .attention_bwd = bk_nn_cpu_attention_bwd,
};

static void fill_table(void) {
    bk_nn_cpu_row_ops(&cpu_ops);
    bk_nn_cpu_vector_ops(&cpu_ops);
    bk_nn_cpu_loss_ops(&cpu_ops);
}

bk_status bk_nn_cpu_create(bk_cpu_level level, int threads, bk_nn **out, bk_error *err) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    *out = NULL;
    bk_nn_cpu *d = bk_alloc_zero(1, sizeof *d);
    if (!d) return bk_fail(err, BK_ERR_NOMEM, "no memory for a device");
    pthread_once(&once, fill_table);
    d->base = (bk_nn){&cpu_ops, threads};
    d->kernels = bk_nn_kernels_select(level);
    d->sgemm = bk_sgemm_select(level);
    bk_status status = bk_pool_create(threads, &d->pool, err);
    if (status != BK_OK) {
        bk_free(d);
        return status;
    }
    *out = &d->base;
    return BK_OK;
}
