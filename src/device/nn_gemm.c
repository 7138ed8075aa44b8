/* Matrix products. b is divided into blocks that fit the second-level cache of every core, n in
 * columns and k in parts; all threads pack one block together, and then the next while others still
 * multiply. Each takes rows of a, packs them for itself and multiplies them with the block.
 *
 * At every element the parts of k follow one another, whoever computes it: equal bits on any number of
 * threads. */
#include "device/nn_cpu.h"
#include "kernel/sgemm.h"

enum {
    BLOCK_FLOATS = 128 * 1024, /* of b: half of a second-level cache of 1 MB */
    CHUNK_STRIPS = 8,          /* of a */
    STRIP_FLOATS = BK_SGEMM_ROWS * BK_NN_PART,
    CHUNK_FLOATS = CHUNK_STRIPS * STRIP_FLOATS,
    PACK_PANELS = 4,     /* of b, at a time, at most */
    LEAST_PANELS = 4,    /* of b for a strip of a, so that packing it costs little */
    CHUNKS = 16,         /* for each thread, where there is enough */
    SMALL = 1024 * 1024, /* multiplications that one thread does in the time that a fork takes */
};

typedef struct job {
    const bk_sgemm *kernels;
    const bk_gemm *g;
    const float *a, *b, *bias;
    float *c;
    bk_pool *pool;                                  /* NULL: one thread alone */
    size_t part, n_parts, width, n_blocks;          /* of k, of b's columns */
    size_t pack_cols;                               /* of b, that a thread packs at a time */
    size_t threads, strips, row_chunks, col_chunks; /* chunks of a block: strips by panels */
    float *packed_b[2], *packed_a;                  /* a: CHUNK_FLOATS for each thread */
} job;

/* One block: columns [j, j + n) and values [p, p + k) of the sums. */
typedef struct range {
    size_t j, n, p, k;
    float *b;
} range;

static range block_at(const job *x, size_t i) {
    range r = {.j = i / x->n_parts * x->width, .p = i % x->n_parts * x->part};
    r.b = x->packed_b[i % 2];
    r.n = bk_min_size(x->width, x->g->n - r.j);
    r.k = bk_min_size(x->part, x->g->k - r.p);
    return r;
}

static void pack_part(const job *x, const range *r, size_t chunk) {
    const bk_gemm *g = x->g;
    size_t cols = x->pack_cols, at = chunk * cols, j = r->j + at;
    const float *from = x->b + (g->tb ? j * g->ldb + r->p : r->p * g->ldb + j);
    x->kernels->pack_b(from, g->ldb, g->tb, bk_min_size(cols, r->n - at), r->k, r->b + at * r->k);
}

static void pack(const job *x, size_t block) {
    range r = block_at(x, block);
    size_t n = bk_div_up(r.n, x->pack_cols), i = 0;
    if (x->pool)
        while ((i = bk_pool_next(x->pool)) < n) pack_part(x, &r, i);
    else
        while (i < n) pack_part(x, &r, i++);
}

/* Rows [i, end) of strips and columns [j, to) of panels. */
typedef struct chunk {
    size_t i, end, j, to;
} chunk;

static chunk chunk_at(const job *x, const range *r, size_t n) {
    size_t row = n / x->col_chunks, col = n % x->col_chunks, cols = x->kernels->cols;
    size_t panels = bk_div_up(r->n, cols), m = x->g->m;
    chunk c = {.i = bk_sgemm_strip(m, x->strips, x->strips * row / x->row_chunks)};
    c.end = bk_sgemm_strip(m, x->strips, x->strips * (row + 1) / x->row_chunks);
    c.j = panels * col / x->col_chunks * cols;
    c.to = bk_min_size(panels * (col + 1) / x->col_chunks * cols, r->n);
    return c;
}

static bk_sgemm_ahead lines_of(const float *at, size_t ld, size_t rows, size_t cols) {
    return (bk_sgemm_ahead){at, ld, rows, cols / 16 + 1};
}

static const float *a_at(const job *x, size_t i, size_t p) {
    return x->a + (x->g->ta ? p * x->g->lda + i : i * x->g->lda + p);
}

/* What is needed after rows [i, end): the rows after them, or the same ones of the next part when each
 * thread has but one chunk; and of b's next part what the other chunks leave. */
static size_t look_ahead(const job *x, const range *r, size_t n, size_t i, size_t end,
                         bk_sgemm_ahead out[2]) {
    const bk_gemm *g = x->g;
    size_t count = 0, p = r->p + r->k, chunks = x->row_chunks * x->col_chunks;
    size_t k = bk_min_size(x->part, g->k - p);
    if (!g->ta) {
        if (end < g->m) out[count++] = lines_of(a_at(x, end, r->p), g->lda, end - i, r->k);
        return count;
    }
    if (chunks > x->threads && end < g->m)
        out[count++] = lines_of(a_at(x, end, r->p), g->lda, r->k, end - i);
    else if (chunks <= x->threads && k)
        out[count++] = lines_of(a_at(x, i, p), g->lda, k, end - i);
    if (!g->tb && k) {
        size_t from = k * n / chunks, to = k * (n + 1) / chunks;
        out[count++] = lines_of(x->b + (p + from) * g->ldb + r->j, g->ldb, to - from, r->n);
    }
    return count;
}

/* Rows of a lie in lines of their own: a strip is packed when its turn comes. Of a transposed a several
 * strips are packed together, as they share lines. */
static void multiply_chunk(const job *x, const range *r, size_t n, float *packed) {
    const bk_gemm *g = x->g;
    chunk c = chunk_at(x, r, n);
    size_t end;
    for (size_t i = c.i; i < c.end; i = end) {
        size_t strips = bk_div_up(c.end - i, x->kernels->rows);
        end = g->ta ? c.end : i + bk_sgemm_strip(c.end - i, strips, 1);
        x->kernels->pack_a(a_at(x, i, r->p), g->lda, g->ta, end - i, r->k, packed);
        bk_sgemm_ahead ahead[2];
        bk_sgemm_block b = {.m = end - i, .n = c.to - c.j, .k = r->k, .a = packed, .ahead = ahead};
        b.n_ahead = look_ahead(x, r, n, i, end, ahead);
        b.b = r->b + c.j * r->k;
        b.c = x->c + i * g->ldc + r->j + c.j;
        b.ldc = g->ldc;
        b.bias = x->bias && r->p == 0 ? x->bias + r->j + c.j : NULL;
        b.add = g->add || r->p > 0;
        x->kernels->block(&b);
    }
}

static void multiply(const job *x, size_t block, int thread) {
    range r = block_at(x, block);
    size_t n = x->row_chunks * x->col_chunks, i = 0;
    float *packed = x->packed_a + (size_t)thread * CHUNK_FLOATS;
    while (x->pool ? bk_pool_share(x->pool, thread, n, &i) : i < n)
        multiply_chunk(x, &r, i++, packed);
}

static void region(void *arg, int thread) {
    const job *x = arg;
    size_t n = x->n_blocks * x->n_parts;
    unsigned before = bk_nn_cpu_flush_begin();
    pack(x, 0);
    for (size_t i = 0; i < n; i++) {
        if (x->pool) bk_pool_barrier(x->pool);
        multiply(x, i, thread);
        if (i + 1 < n) pack(x, i + 1);
    }
    bk_nn_cpu_flush_end(before);
}

/* Whole rows for each thread where there are enough strips, else columns are divided too. */
static void divide(job *x) {
    size_t panels = bk_div_up(x->width, x->kernels->cols), n = x->threads;
    x->strips = bk_div_up(x->g->m, x->kernels->rows);
    size_t fewest = bk_div_up(x->strips, CHUNK_STRIPS);
    size_t wanted = bk_max_size(fewest, x->g->ta ? x->strips / 4 : x->strips);
    x->row_chunks = bk_min_size(bk_max_size(wanted, n), bk_max_size(fewest, CHUNKS * n));
    x->row_chunks = n == 1 ? fewest : bk_min_size(x->row_chunks, x->strips);
    x->col_chunks = 1;
    if (x->row_chunks < CHUNKS / 4 * n && x->row_chunks % n)
        x->col_chunks = bk_min_size(n, bk_max_size(1, panels / LEAST_PANELS));
}

/* The columns of a block, and how many there are of them. */
static void cut(job *x) {
    size_t cols = x->kernels->cols, n = x->g->n, most;
    x->part = bk_nn_part_of(x->g->k);
    x->n_parts = bk_max_size(1, bk_div_up(x->g->k, x->part));
    most = BLOCK_FLOATS / x->part / cols * cols;
    x->width = bk_round_up(bk_div_up(n, bk_div_up(n, most)), cols);
    x->n_blocks = bk_div_up(n, x->width);
    x->pack_cols = bk_max_size(1, bk_min_size(PACK_PANELS, x->width / cols / x->threads)) * cols;
}

void bk_nn_cpu_gemm(bk_nn *nn, const bk_gemm *g) {
    bk_nn_cpu *d = (bk_nn_cpu *)nn;
    if (!g->m || !g->n) return;
    job x = {.kernels = d->sgemm, .g = g};
    size_t threads = (size_t)nn->threads;
    if ((double)g->m * (double)g->n * (double)g->k < SMALL) threads = 1;
    if (threads > 1) x.pool = d->pool;
    x.a = bk_nn_floats(g->a);
    x.b = bk_nn_floats(g->b);
    x.c = bk_nn_floats(g->c);
    x.bias = bk_nn_floats(g->bias);
    x.packed_b[0] =
        bk_nn_cpu_scratch(d, (2 * BLOCK_FLOATS + threads * CHUNK_FLOATS) * sizeof(float));
    if (!x.packed_b[0]) return;
    x.packed_b[1] = x.packed_b[0] + BLOCK_FLOATS;
    x.packed_a = x.packed_b[1] + BLOCK_FLOATS;
    x.threads = threads;
    cut(&x);
    divide(&x);
    if (x.pool)
        bk_pool_run_steady(x.pool, region, &x);
    else
        region(&x, 0);
}
