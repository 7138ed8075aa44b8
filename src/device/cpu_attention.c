/* Rotation, storing of keys and values, and attention on the CPU.
 *
 * Attention goes chunk by chunk (one page each) at absolute positions: every chunk gives a maximum,
 * a sum and an average of its own, and these are merged in order of position. So the bits do not
 * depend on how a prompt was cut, on the other rows of the pass, or on the threads. */
#include <math.h>
#include <string.h>

#include "device/cpu.h"

/* Rows of one sequence whose queries go through a chunk together. */
enum { ROW_BLOCK = 16 };

static char *layer_head(const bk_attn_shape *s, void *const *pages, size_t page, int layer,
                        size_t head) {
    return (char *)pages[page] + (size_t)layer * bk_page_layer_bytes(s->n_kv_heads, s->head_size) +
           head * bk_page_head_bytes(s->head_size);
}

static uint16_t *keys_of(const bk_attn_shape *s, void *const *pages, size_t page, int layer,
                         size_t head) {
    return (uint16_t *)(void *)layer_head(s, pages, page, layer, head);
}

/* ---- Rotation ------------------------------------------------------------------------------------ */

/* Rotary embedding of one head (Su et al. 2021): pairs (a, b) turn by the angle of their index. */
static void rotate(float *x, const float *angles, const bk_attn_shape *s) {
    size_t half = (size_t)s->rope_dims / 2, step = s->neox ? 1 : 2, other = s->neox ? half : 1;
    for (size_t i = 0; i < half; i++) {
        float c = angles[2 * i], n = angles[2 * i + 1];
        float *a = x + i * step, *b = a + other, a0 = *a, b0 = *b;
        *a = a0 * c - b0 * n;
        *b = a0 * n + b0 * c;
    }
}

static void add(float *x, const float *bias, size_t n) {
    for (size_t i = 0; bias && i < n; i++) x[i] += bias[i];
}

/* n heads from `first` on of a row of queries or keys: bias, norm, rotation. */
static void prepare(const bk_cpu_device *d, const bk_cmd *c, float *x, size_t first, size_t n,
                    const float *bias, const float *norm, const float *angles) {
    const bk_attn_shape *s = c->attention.shape;
    size_t hs = (size_t)s->head_size;
    x += first * hs;
    add(x, bias ? bias + first * hs : NULL, n * hs);
    for (size_t h = 0; h < n; h++, x += hs) {
        if (norm) d->kernels->rms_norm(x, norm, hs, c->attention.eps, x);
        rotate(x, angles, s);
    }
}

/* The queries of one KV head, its key and value, of one row. */
static void rope_store(bk_cpu_device *d, const bk_cmd *c, size_t r, size_t head) {
    const bk_attn_shape *s = c->attention.shape;
    size_t hs = (size_t)s->head_size, pos = c->attention.row[r].pos;
    size_t g = (size_t)(s->n_heads / s->n_kv_heads);
    const float *angles = c->attention.angles + r * (size_t)s->rope_dims;
    void *const *pages = c->attention.seqs[c->attention.row[r].seq].pages[c->attention.group];
    float *q = c->attention.q + r * c->attention.ldq, *k = c->attention.k + r * c->attention.ldkv;
    float *v = c->attention.v + r * c->attention.ldkv + head * hs;
    uint16_t *keys = keys_of(s, pages, pos / BK_ATTN_CHUNK, c->attention.layer, head);
    prepare(d, c, q, head * g, g, c->attention.q_bias, c->attention.q_norm, angles);
    prepare(d, c, k, head, 1, c->attention.k_bias, c->attention.k_norm, angles);
    add(v, c->attention.v_bias ? c->attention.v_bias + head * hs : NULL, hs);
    d->kernels->kv_store(k + head * hs, v, hs, pos % BK_ATTN_CHUNK, keys,
                         keys + BK_ATTN_CHUNK * hs);
}

/* All rows, shared by the threads in blocks: neighbouring positions share cache lines. */
static void rope_store_all(bk_cpu_device *d, const bk_cmd *c) {
    size_t blocks = bk_div_up(c->rows, ROW_BLOCK), heads = (size_t)c->attention.shape->n_kv_heads;
    for (size_t i; (i = bk_pool_next(d->pool)) < blocks * heads;) {
        size_t r = i / heads * ROW_BLOCK, end = bk_min_size(c->rows, r + ROW_BLOCK);
        for (; r < end; r++) rope_store(d, c, r, i % heads);
    }
}

/* ---- Attention ------------------------------------------------------------------------------------ */

/* The queries of a block of rows for one KV head, stacked row by row, heads within. */
typedef struct block {
    size_t n; /* queries */
    int *lo, *hi;
    float *q, *o, *part, *max, *sum, *part_max, *part_sum;
} block;

static size_t block_queries(const bk_attn_shape *s) {
    return ROW_BLOCK * (size_t)(s->n_heads / s->n_kv_heads);
}

bk_cpu_need bk_cpu_attention_need(const bk_cmd *cmd) {
    const bk_attn_shape *s = cmd->attention.shape;
    size_t hs = bk_round_up((size_t)s->head_size, 16);
    return (bk_cpu_need){0, block_queries(s) * (3 * hs + 6) * sizeof(float)};
}

static block block_view(void *scratch, const bk_attn_shape *s) {
    size_t n = block_queries(s), hs = bk_round_up((size_t)s->head_size, 16);
    block b;
    b.n = 0;
    b.q = scratch;
    b.o = b.q + n * hs;
    b.part = b.o + n * hs;
    b.max = b.part + n * hs;
    b.sum = b.max + n;
    b.part_max = b.sum + n;
    b.part_sum = b.part_max + n;
    b.lo = (int *)(void *)(b.part_sum + n);
    b.hi = b.lo + n;
    return b;
}

/* Oldest position that a query at `pos` sees. */
static size_t first_seen(const bk_attn_shape *s, size_t pos) {
    size_t window = (size_t)s->window;
    return window && pos >= window ? pos - window + 1 : 0;
}

static void gather(const bk_cmd *c, size_t r0, size_t rows, size_t head, block *b) {
    const bk_attn_shape *s = c->attention.shape;
    size_t hs = (size_t)s->head_size, g = (size_t)(s->n_heads / s->n_kv_heads);
    b->n = rows * g;
    for (size_t i = 0; i < b->n; i++) {
        const float *q = c->attention.q + (r0 + i / g) * c->attention.ldq + (head * g + i % g) * hs;
        for (size_t d = 0; d < hs; d++) b->q[i * hs + d] = q[d] * s->scale;
        b->max[i] = -INFINITY;
        b->sum[i] = 0;
        memset(b->o + i * hs, 0, hs * sizeof(float));
    }
}

/* Which positions of the chunk each query sees. */
static void set_ranges(const bk_cmd *c, size_t r0, size_t chunk, block *b) {
    const bk_attn_shape *s = c->attention.shape;
    size_t g = (size_t)(s->n_heads / s->n_kv_heads), begin = chunk * BK_ATTN_CHUNK;
    for (size_t i = 0; i < b->n; i++) {
        size_t pos = c->attention.row[r0 + i / g].pos, lo = first_seen(s, pos);
        b->hi[i] = pos < begin ? 0 : (int)bk_min_size(pos + 1 - begin, BK_ATTN_CHUNK);
        b->lo[i] = lo > begin ? (int)bk_min_size(lo - begin, BK_ATTN_CHUNK) : 0;
        if (b->lo[i] > b->hi[i]) b->lo[i] = b->hi[i];
    }
}

static void scatter(const bk_cmd *c, size_t r0, size_t head, const block *b) {
    const bk_attn_shape *s = c->attention.shape;
    size_t hs = (size_t)s->head_size, g = (size_t)(s->n_heads / s->n_kv_heads);
    for (size_t i = 0; i < b->n; i++) {
        float *o = c->attention.out + (r0 + i / g) * c->attention.ldo + (head * g + i % g) * hs;
        float inverse = 1.0f / b->sum[i];
        for (size_t d = 0; d < hs; d++) o[d] = b->o[i * hs + d] * inverse;
    }
}

/* Rows [r0, r0 + rows) of one sequence, one KV head. */
static void attend(bk_cpu_device *d, const bk_cmd *c, size_t r0, size_t rows, size_t head,
                   void *scratch) {
    const bk_attn_shape *s = c->attention.shape;
    const bk_row *row = c->attention.row + r0;
    void *const *pages = c->attention.seqs[row->seq].pages[c->attention.group];
    size_t hs = (size_t)s->head_size, last = row->pos + rows - 1;
    block b = block_view(scratch, s);
    gather(c, r0, rows, head, &b);
    for (size_t chunk = first_seen(s, row->pos) / BK_ATTN_CHUNK; chunk * BK_ATTN_CHUNK <= last;
         chunk++) {
        const uint16_t *keys = keys_of(s, pages, chunk, c->attention.layer, head);
        set_ranges(c, r0, chunk, &b);
        d->kernels->attn_chunk(b.q, hs, b.n, keys, keys + BK_ATTN_CHUNK * hs, hs, s->cap, b.lo,
                               b.hi, b.part_max, b.part_sum, b.part, hs);
        for (size_t i = 0; i < b.n; i++)
            d->kernels->attn_merge(&b.max[i], &b.sum[i], b.o + i * hs, b.part_max[i], b.part_sum[i],
                                   b.part + i * hs, hs);
    }
    scatter(c, r0, head, &b);
}

/* Whether every row is alone in its sequence: then a unit of work needs no other row's key, and the
 * rotation and storing can be part of it. */
static bool all_single(const bk_cmd *c) {
    for (size_t r = 0; r < c->rows; r++)
        if (c->attention.row[r].seq_rows != 1) return false;
    return true;
}

/* Work units: blocks of rows of one sequence x KV heads, found by walking the rows. */
void bk_cpu_attention(bk_cpu_device *d, const bk_cmd *c, int thread) {
    size_t heads = (size_t)c->attention.shape->n_kv_heads;
    bool single = all_single(c);
    if (!single) {
        rope_store_all(d, c);
        bk_pool_barrier(d->pool);
    }
    size_t unit = bk_pool_next(d->pool), base = 0;
    for (size_t r = 0; r < c->rows; r += c->attention.row[r].seq_rows) {
        size_t n = c->attention.row[r].seq_rows, blocks = bk_div_up(n, ROW_BLOCK);
        for (; unit < base + blocks * heads; unit = bk_pool_next(d->pool)) {
            /* Later rows see more keys: longest first. */
            size_t r0 = r + (blocks - 1 - (unit - base) / heads) * ROW_BLOCK;
            size_t head = (unit - base) % heads;
            if (single) rope_store(d, c, r, head);
            attend(d, c, r0, bk_min_size(ROW_BLOCK, r + n - r0), head, d->private[thread]);
        }
        base += blocks * heads;
    }
}
