/* Causal attention over threads. Forward: a part is some blocks of queries of one head of one
 * sequence. Backward: one key head of one sequence with all of its queries, so that one thread adds up
 * what they give to keys and values, in their order. */
#include <math.h>

#include "device/nn_cpu.h"

/* Queries of a forward part. */
enum { PART_QUERIES = 4 * BK_NN_QUERIES };

typedef struct attn_job {
    const bk_nn_kernels *k;
    const bk_nn_attention *a;
    size_t head, group; /* floats of a head; query heads of a key head */
    size_t chunks;      /* parts of a head's queries */
    float scale;
    float *scratch; /* [threads][scratch_floats] */
    size_t scratch_floats;
} attn_job;

/* The block of sequence b and query head h that begins at position `first`. */
static bk_nn_attn block_at(const attn_job *j, size_t b, size_t h, size_t first) {
    const bk_nn_attention *a = j->a;
    size_t row = b * a->T + first, ldy = (size_t)a->n_heads * j->head;
    size_t q = row * a->ldq + h * j->head, y = row * ldy + h * j->head;
    size_t kv = b * a->T * a->ldkv + h / j->group * j->head;
    bk_nn_attn block = {.first = first, .head = j->head, .scale = j->scale, .ldq = a->ldq};
    block.n = bk_min_size(BK_NN_QUERIES, a->T - first);
    block.ldkv = a->ldkv, block.ldy = ldy;
    block.q = bk_nn_floats(a->q) + q;
    block.k = bk_nn_floats(a->k) + kv, block.v = bk_nn_floats(a->v) + kv;
    block.y = bk_nn_floats(a->y) + y;
    block.lse = bk_nn_floats(a->lse) + (b * (size_t)a->n_heads + h) * a->T + first;
    if (!a->dy.mem) return block;
    block.dy = bk_nn_floats(a->dy) + y;
    block.dq = bk_nn_floats(a->dq) + q;
    block.dk = bk_nn_floats(a->dk) + kv, block.dv = bk_nn_floats(a->dv) + kv;
    return block;
}

static void forward_part(const void *arg, size_t part, int thread) {
    const attn_job *j = arg;
    size_t H = (size_t)j->a->n_heads, b = part / j->chunks / H, h = part / j->chunks % H;
    size_t first = part % j->chunks * PART_QUERIES;
    size_t end = bk_min_size(j->a->T, first + PART_QUERIES);
    for (; first < end; first += BK_NN_QUERIES) {
        bk_nn_attn block = block_at(j, b, h, first);
        j->k->attention(&block, j->scratch + (size_t)thread * j->scratch_floats);
    }
}

static void backward_part(const void *arg, size_t part, int thread) {
    const attn_job *j = arg;
    size_t KV = (size_t)j->a->n_kv_heads, b = part / KV, kv = part % KV;
    for (size_t h = kv * j->group; h < (kv + 1) * j->group; h++) {
        for (size_t first = 0; first < j->a->T; first += BK_NN_QUERIES) {
            bk_nn_attn block = block_at(j, b, h, first);
            block.fresh = h == kv * j->group;
            j->k->attention_bwd(&block, j->scratch + (size_t)thread * j->scratch_floats);
        }
    }
}

/* floats: of scratch for each thread. */
static void run(bk_nn *nn, const bk_nn_attention *a, size_t parts, size_t floats, bk_nn_part fn) {
    bk_nn_cpu *d = (bk_nn_cpu *)nn;
    attn_job j = {.k = d->kernels, .a = a, .head = (size_t)a->head_size};
    j.group = (size_t)(a->n_heads / a->n_kv_heads);
    j.chunks = bk_div_up(a->T, PART_QUERIES);
    j.scale = (float)(1 / sqrt((double)a->head_size));
    j.scratch_floats = bk_round_up(floats, 16);
    j.scratch = bk_nn_cpu_scratch(d, j.scratch_floats * (size_t)nn->threads * sizeof *j.scratch);
    size_t work = a->B * (size_t)a->n_heads * a->T * a->T / 4 * j.head;
    if (j.scratch) bk_nn_cpu_each(d, parts, work, fn, &j);
}

void bk_nn_cpu_attention(bk_nn *nn, const bk_nn_attention *a) {
    size_t parts = a->B * (size_t)a->n_heads * bk_div_up(a->T, PART_QUERIES);
    run(nn, a, parts, bk_nn_attn_scratch((size_t)a->head_size, a->T), forward_part);
}

void bk_nn_cpu_attention_bwd(bk_nn *nn, const bk_nn_attention *a) {
    size_t parts = a->B * (size_t)a->n_kv_heads;
    run(nn, a, parts, bk_nn_attn_bwd_scratch((size_t)a->head_size), backward_part);
}
