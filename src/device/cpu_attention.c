/* Rotation, storing of keys and values, and attention on the CPU.
 *
 * Attention goes chunk by chunk (one page each) at absolute positions: every chunk gives a maximum,
 * a sum and an average of its own, and these are merged in order of position. So the bits do not
 * depend on how a prompt was cut, on the other rows of the pass, or on the threads. When there are
 * fewer heads than would keep the threads busy, chunks are shared between them and merged afterwards,
 * in the same order. */
#include <math.h>
#include <string.h>

#include "device/cpu.h"

/* Rows of one sequence whose queries go through a chunk together, and queries that go through it
 * before they are merged: a multiple of what the kernels take at once. */
enum { ROW_BLOCK = 16, MERGED = 12 };

/* The chunk of a KV head in a page. */
static char *chunk_at(const bk_cmd *c, const void *page, size_t head) {
    const bk_attn_shape *s = c->attention.shape;
    size_t layer = bk_page_layer_bytes(s->kv_type, s->n_kv_heads, s->head_size);
    return (char *)(uintptr_t)page + (size_t)c->attention.layer * layer +
           head * bk_kv_chunk_bytes(s->kv_type, (size_t)s->head_size);
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
    prepare(d, c, q, head * g, g, c->attention.q_bias, c->attention.q_norm, angles);
    prepare(d, c, k, head, 1, c->attention.k_bias, c->attention.k_norm, angles);
    add(v, c->attention.v_bias ? c->attention.v_bias + head * hs : NULL, hs);
    d->kernels->kv_store(s->kv_type, k + head * hs, v, hs, pos % BK_ATTN_CHUNK,
                         chunk_at(c, pages[pos / BK_ATTN_CHUNK], head));
}

/* Asks for what rope_store reads of a row: another thread wrote it. */
static void ask_for_row(const bk_cmd *c, size_t r, size_t head) {
    const bk_attn_shape *s = c->attention.shape;
    size_t hs = (size_t)s->head_size, g = (size_t)(s->n_heads / s->n_kv_heads);
    bk_cpu_ask(c->attention.q + r * c->attention.ldq + head * g * hs, g * hs * sizeof(float));
    bk_cpu_ask(c->attention.k + r * c->attention.ldkv + head * hs, hs * sizeof(float));
    bk_cpu_ask(c->attention.v + r * c->attention.ldkv + head * hs, hs * sizeof(float));
}

/* All rows, shared by the threads in blocks: neighbouring positions share cache lines. */
static void rope_store_all(bk_cpu_device *d, const bk_cmd *c) {
    size_t blocks = bk_div_up(c->rows, ROW_BLOCK), heads = (size_t)c->attention.shape->n_kv_heads;
    for (size_t i; (i = bk_pool_next(d->pool)) < blocks * heads;) {
        size_t r = i / heads * ROW_BLOCK, end = bk_min_size(c->rows, r + ROW_BLOCK);
        for (; r < end; r++) {
            if (r + 1 < c->rows) ask_for_row(c, r + 1, i % heads);
            rope_store(d, c, r, i % heads);
        }
    }
}

/* ---- Attention ------------------------------------------------------------------------------------ */

/* The queries of a block of rows for one KV head, stacked row by row, heads within. */
typedef struct block {
    size_t n, head; /* queries; padded head size */
    int16_t *q;
    float *q_scale, *o, *max, *sum;
    float *part, *part_max, *part_sum; /* what one chunk gives */
    int *lo, *hi;
} block;

static size_t block_queries(const bk_attn_shape *s) {
    return ROW_BLOCK * (size_t)(s->n_heads / s->n_kv_heads);
}

static size_t block_bytes(const bk_attn_shape *s) {
    size_t head = bk_kv_head((size_t)s->head_size), n = block_queries(s);
    return n * (BK_ATTN_PITCH * 2 + head * 4 + 5 * 4) + MERGED * (head + 2) * 4;
}

static block block_view(void *scratch, const bk_attn_shape *s) {
    size_t n = block_queries(s), head = bk_kv_head((size_t)s->head_size);
    block b = {.head = head, .q = scratch};
    b.o = (float *)(void *)(b.q + n * BK_ATTN_PITCH);
    b.part = b.o + n * head;
    b.part_max = b.part + MERGED * head;
    b.part_sum = b.part_max + MERGED;
    b.max = b.part_sum + MERGED;
    b.sum = b.max + n;
    b.q_scale = b.sum + n;
    b.lo = (int *)(void *)(b.q_scale + n);
    b.hi = b.lo + n;
    return b;
}

/* Oldest position that a query at `pos` sees. */
static size_t first_seen(const bk_attn_shape *s, size_t pos) {
    size_t window = (size_t)s->window;
    return window && pos >= window ? pos - window + 1 : 0;
}

static void gather(const bk_cpu_device *d, const bk_cmd *c, size_t r0, size_t rows, size_t head,
                   block *b) {
    const bk_attn_shape *s = c->attention.shape;
    size_t hs = (size_t)s->head_size, g = (size_t)(s->n_heads / s->n_kv_heads);
    b->n = rows * g;
    for (size_t i = 0; i < b->n; i++) {
        const float *q = c->attention.q + (r0 + i / g) * c->attention.ldq + (head * g + i % g) * hs;
        d->kernels->attn_query(q, hs, s->scale, b->q + i * BK_ATTN_PITCH, &b->q_scale[i]);
        b->max[i] = -INFINITY;
        b->sum[i] = 0;
    }
    memset(b->o, 0, b->n * b->head * sizeof(float));
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
        for (size_t d = 0; d < hs; d++) o[d] = b->o[i * b->head + d] * inverse;
    }
}

/* A chunk. `more`: the next one follows, here. */
static bk_kv_view view_chunk(const bk_cmd *c, size_t r0, size_t head, size_t chunk, bool more) {
    const bk_attn_shape *s = c->attention.shape;
    void *const *pages = c->attention.seqs[c->attention.row[r0].seq].pages[c->attention.group];
    const char *p = chunk_at(c, pages[chunk], head);
    bk_kv_view v = bk_kv_view_of(s->kv_type, p, (size_t)s->head_size);
    if (more) v.ahead = (ptrdiff_t)((uintptr_t)chunk_at(c, pages[chunk + 1], head) - (uintptr_t)p);
    return v;
}

/* Queries [i, i + n) of the block with a chunk: part, part_max, part_sum. */
static void part_of(bk_cpu_device *d, const bk_cmd *c, const block *b, size_t i, size_t n,
                    const bk_kv_view *v) {
    bk_attn a = {n,
                 b->head,
                 c->attention.shape->cap,
                 b->q + i * BK_ATTN_PITCH,
                 b->q_scale + i,
                 b->lo + i,
                 b->hi + i,
                 b->part_max,
                 b->part_sum,
                 b->part};
    d->kernels->attn_chunk(&a, v);
}

/* Chunks that a row sees; *first is the first. */
static size_t chunks_of(const bk_cmd *c, size_t r, size_t *first) {
    size_t pos = c->attention.row[r].pos;
    *first = first_seen(c->attention.shape, pos) / BK_ATTN_CHUNK;
    return pos / BK_ATTN_CHUNK - *first + 1;
}

/* Rows [r0, r0 + rows) of one sequence, one KV head. */
static void attend(bk_cpu_device *d, const bk_cmd *c, size_t r0, size_t rows, size_t head,
                   void *scratch) {
    size_t chunk, last = c->attention.row[r0].pos + rows - 1;
    block b = block_view(scratch, c->attention.shape);
    gather(d, c, r0, rows, head, &b);
    for (chunks_of(c, r0, &chunk); chunk * BK_ATTN_CHUNK <= last; chunk++) {
        bool more = (chunk + 1) * BK_ATTN_CHUNK <= last;
        bk_kv_view v = view_chunk(c, r0, head, chunk, more);
        set_ranges(c, r0, chunk, &b);
        for (size_t i = 0; i < b.n; i += MERGED) {
            size_t n = bk_min_size(MERGED, b.n - i);
            part_of(d, c, &b, i, n, &v);
            d->kernels->attn_merge(n, b.head, b.max + i, b.sum + i, b.o + i * b.head, b.part_max,
                                   b.part_sum, b.part);
            v.ahead = 0;
        }
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

/* ---- Chunks shared between the threads --------------------------------------------------------------- */

/* Fewer chunks than this are quicker than the two barriers. */
enum { SPLIT_CHUNKS = 4 };

/* Most chunks of a row; 0 when they are not to be shared. */
static size_t split_chunks(const bk_cpu_device *d, const bk_cmd *c) {
    size_t most = 0, first, threads = (size_t)d->base.threads;
    size_t units = c->rows * (size_t)c->attention.shape->n_kv_heads;
    if (threads == 1 || units >= 4 * threads || !all_single(c)) return 0;
    for (size_t r = 0; r < c->rows; r++) most = bk_max_size(most, chunks_of(c, r, &first));
    return most >= SPLIT_CHUNKS ? most : 0;
}

/* Floats of one row, head and chunk: averages, maxima, sums. */
static size_t partial_floats(const bk_attn_shape *s) {
    size_t g = (size_t)(s->n_heads / s->n_kv_heads);
    return g * (bk_kv_head((size_t)s->head_size) + 2);
}

static void use_partial(const bk_cpu_device *d, const bk_attn_shape *s, size_t index, block *b) {
    size_t g = (size_t)(s->n_heads / s->n_kv_heads), n = partial_floats(s);
    b->part = (float *)d->shared + index * n;
    b->part_max = b->part + n - 2 * g;
    b->part_sum = b->part_max + g;
}

/* A chunk of one row and KV head: unit i of all, those of a head after one another. */
typedef struct unit {
    size_t r, head, chunk;
    bool seen; /* rows differ in how many chunks they see */
} unit;

static unit unit_at(const bk_cmd *c, size_t i, size_t most) {
    size_t heads = (size_t)c->attention.shape->n_kv_heads, first;
    unit u = {.r = i / most / heads, .head = i / most % heads};
    u.seen = i % most < chunks_of(c, u.r, &first);
    u.chunk = first + i % most;
    return u;
}

static const char *unit_memory(const bk_cmd *c, const unit *u) {
    const bk_row *row = &c->attention.row[u->r];
    return chunk_at(c, c->attention.seqs[row->seq].pages[c->attention.group][u->chunk], u->head);
}

/* The queries of u's head are gathered when the unit before it was of another one. */
static void attend_unit(bk_cpu_device *d, const bk_cmd *c, size_t i, size_t n_units, size_t most,
                        size_t *gathered, block *b) {
    const bk_attn_shape *s = c->attention.shape;
    unit u = unit_at(c, i, most);
    if (!u.seen) return;
    if (*gathered != i / most) gather(d, c, u.r, 1, u.head, b);
    *gathered = i / most;
    const char *p = unit_memory(c, &u);
    bk_kv_view v = bk_kv_view_of(s->kv_type, p, (size_t)s->head_size);
    if (i + 1 < n_units) {
        unit next = unit_at(c, i + 1, most);
        if (next.seen) v.ahead = (ptrdiff_t)((uintptr_t)unit_memory(c, &next) - (uintptr_t)p);
    }
    use_partial(d, s, i, b);
    set_ranges(c, u.r, u.chunk, b);
    part_of(d, c, b, 0, b->n, &v);
}

static void merge_units(bk_cpu_device *d, const bk_cmd *c, size_t r, size_t head, size_t most,
                        void *scratch) {
    const bk_attn_shape *s = c->attention.shape;
    size_t first, n = chunks_of(c, r, &first);
    block b = block_view(scratch, s);
    gather(d, c, r, 1, head, &b);
    for (size_t k = 0; k < n; k++) {
        use_partial(d, s, (r * (size_t)s->n_kv_heads + head) * most + k, &b);
        d->kernels->attn_merge(b.n, b.head, b.max, b.sum, b.o, b.part_max, b.part_sum, b.part);
    }
    scatter(c, r, head, &b);
}

/* Each thread has a stretch of neighbouring units, so that it can fetch the next ahead. */
static void attend_split(bk_cpu_device *d, const bk_cmd *c, size_t most, int thread) {
    void *scratch = d->private[thread];
    size_t heads = (size_t)c->attention.shape->n_kv_heads, n = c->rows * heads * most;
    size_t gathered = SIZE_MAX;
    block b = block_view(scratch, c->attention.shape);
    for (size_t i; bk_pool_share(d->pool, thread, n, &i);)
        attend_unit(d, c, i, n, most, &gathered, &b);
    bk_cpu_meet(d, thread);
    for (size_t i; (i = bk_pool_next(d->pool)) < c->rows * heads;)
        merge_units(d, c, i / heads, i % heads, most, scratch);
}

void bk_cpu_attention_ahead(const bk_cpu_device *d, const bk_cmd *c, int thread) {
    size_t most = split_chunks(d, c), n = c->rows * (size_t)c->attention.shape->n_kv_heads * most;
    if (!most) return;
    unit u = unit_at(c, bk_pool_share_begin(d->pool, thread, n), most);
    if (!u.seen) return;
    const bk_attn_shape *s = c->attention.shape;
    size_t bytes = bk_kv_chunk_bytes(s->kv_type, (size_t)s->head_size);
    bk_cpu_ask(unit_memory(c, &u), bk_min_size(bytes, BK_CPU_AHEAD));
}

bk_cpu_need bk_cpu_attention_need(const bk_cpu_device *d, const bk_cmd *c) {
    const bk_attn_shape *s = c->attention.shape;
    size_t split = split_chunks(d, c), most = 1;
    if (!split) return (bk_cpu_need){0, block_bytes(s)};
    /* Doubled, so that a growing context seldom allocates. */
    while (most < split) most *= 2;
    return (bk_cpu_need){c->rows * (size_t)s->n_kv_heads * most * partial_floats(s) * sizeof(float),
                         block_bytes(s)};
}

/* Work units: blocks of rows of one sequence x KV heads, found by walking the rows. */
void bk_cpu_attention(bk_cpu_device *d, const bk_cmd *c, int thread) {
    size_t heads = (size_t)c->attention.shape->n_kv_heads, split = split_chunks(d, c);
    bool single = all_single(c);
    if (!single || split) {
        rope_store_all(d, c);
        bk_cpu_meet(d, thread);
    }
    if (split) {
        attend_split(d, c, split, thread);
        return;
    }
    size_t next = bk_pool_next(d->pool), base = 0;
    for (size_t r = 0; r < c->rows; r += c->attention.row[r].seq_rows) {
        size_t n = c->attention.row[r].seq_rows, blocks = bk_div_up(n, ROW_BLOCK);
        for (; next < base + blocks * heads; next = bk_pool_next(d->pool)) {
            /* Later rows see more keys: longest first. */
            size_t r0 = r + (blocks - 1 - (next - base) / heads) * ROW_BLOCK;
            size_t head = (next - base) % heads;
            if (single) rope_store(d, c, r, head);
            attend(d, c, r0, bk_min_size(ROW_BLOCK, r + n - r0), head, d->private[thread]);
        }
        base += blocks * heads;
    }
}
