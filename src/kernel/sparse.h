/* Sparse matrices in memory: the groups of kernel/packed.h without what is 0.
 *
 * A strip of quant/sparse.h is a group, of blocks in chunks of 16 (the last one padded with empty blocks):
 *   at    [chunks + 2] of each chunk: how many scales and bytes of values are before it; of all; and in
 *         `values` a number of lines that only a few blocks of tiles have more than
 *   index [chunks][16] bytes or 64-byte masks
 *   before (single weights) [chunks][16] bytes of values before a block since its chunk, 16 bits
 *   d     half[16] for each block that has scales
 *   values
 * d and values from a multiple of 64 on, masks too. Behind the last group kernels may read BK_SPARSE_AFTER
 * bytes.
 *
 * Products are those of the dense matrix, bit for bit: a tile that is absent adds 0 to a dot, a block
 * that is absent 0 * s * d to a sum, with the d that rounding zeros gives (-0 in Q4_0).
 *
 * A dot begins with minus zero times the sum of the activations it is of. Of tiles these sums depend on
 * which tiles there are: behind an activation row (act.h) follow those of each 4 values,
 * [chunks][8 tiles][16 blocks]. */
#ifndef BRISK_KERNEL_SPARSE_H
#define BRISK_KERNEL_SPARSE_H

#include "kernel/act.h"
#include "kernel/packed.h"
#include "quant/sparse.h"

enum { BK_CHUNK_BLOCKS = 16, BK_SPARSE_AFTER = 8 * BK_LINE };

static inline bool bk_packed_sparse(const bk_packed *p) { return p->group_at != NULL; }

static inline size_t bk_sparse_chunks(size_t k) { return bk_div_up(k, 32 * BK_CHUNK_BLOCKS); }

/* Bytes from one row of activations for sparse matrices to the next. */
static inline size_t bk_sparse_act_bytes(size_t k) {
    return bk_act_row_bytes(k) + bk_sparse_chunks(k) * BK_BLOCK_TILES * BK_CHUNK_BLOCKS * 2;
}

static inline int16_t *bk_sparse_sums(void *row, size_t k) {
    return (int16_t *)(void *)((char *)row + bk_act_row_bytes(k));
}

/* Before a chunk. */
typedef struct bk_sparse_at {
    uint32_t scales; /* of 16 rows each */
    uint32_t values; /* bytes */
} bk_sparse_at;

/* Bytes of a group before its index, and with it. */
static inline size_t bk_strip_index_at(const bk_packed *p) {
    size_t at = (bk_sparse_chunks(p->k) + 2) * sizeof(bk_sparse_at);
    return p->plan == BK_PLAN_BITS_4 ? bk_round_up(at, BK_LINE) : at;
}

static inline size_t bk_strip_index_bytes(const bk_packed *p) {
    return p->plan == BK_PLAN_BITS_4 ? BK_TILE_PLACES : 1;
}

static inline size_t bk_strip_before_at(const bk_packed *p) {
    size_t blocks = bk_sparse_chunks(p->k) * BK_CHUNK_BLOCKS;
    return bk_strip_index_at(p) + blocks * bk_strip_index_bytes(p);
}

static inline size_t bk_strip_d_at(const bk_packed *p) {
    size_t before = p->plan == BK_PLAN_BITS_4 ? bk_sparse_chunks(p->k) * BK_CHUNK_BLOCKS * 2 : 0;
    return bk_round_up(bk_strip_before_at(p) + before, BK_LINE);
}

/* Views into a group. */
typedef struct bk_strip {
    const bk_sparse_at *at;
    const uint8_t *index, *d, *values;
    const uint16_t *before;
    const uint8_t *end; /* of the group: where the next one begins */
    size_t share;       /* lines of a group that go with one of its blocks, rounded up */
} bk_strip;

static inline bk_strip bk_strip_view(const bk_packed *p, size_t group) {
    const uint8_t *at = p->data + p->group_at[group];
    bk_strip s = {.at = (const void *)at};
    s.index = at + bk_strip_index_at(p);
    s.end = p->data + p->group_at[group + 1];
    s.share = bk_div_up((size_t)(s.end - at), p->k / 32 * BK_LINE);
    s.before = (const void *)(at + bk_strip_before_at(p));
    s.d = at + bk_strip_d_at(p);
    s.values = s.d + bk_round_up(s.at[bk_sparse_chunks(p->k)].scales * (size_t)32, BK_LINE);
    return s;
}

/* Lines of a block of tiles, by its byte of the index. */
static inline size_t bk_tiles_lines(const bk_packed *p, unsigned index) {
    size_t n = (size_t)__builtin_popcount(index);
    return p->plan == BK_PLAN_TILES_4 ? (n + 1) / 2 : n;
}

/* Asks for block b's share of the next group, all of whose parts thus come in one stream: each by itself
 * is too short for the hardware to run ahead of it. */
static inline void bk_strip_ask(const bk_strip *s, size_t b) {
    const uint8_t *p = s->end + b * s->share * BK_LINE;
    for (size_t i = 0; i < s->share; i++) __builtin_prefetch(p + i * BK_LINE, 0, 3);
}

/* The -0 or 0 that is the scale of an absent block. */
static inline float bk_sparse_no_scale(const bk_packed *p) {
    return p->type->bits == 4 ? -0.0f : 0.0f;
}

/* Fills everything but data from a matrix as it is stored, and group_at[strips + 1]. False when the sizes
 * overflow. */
bool bk_packed_init_sparse(bk_packed *p, const bk_sparse *s, uint64_t *group_at);
/* All groups. False when s is no longer what init saw. */
bool bk_pack_sparse(const bk_packed *p, const bk_sparse *s);

/* Of row r the scale and the quants of block b; canonical form. */
void bk_sparse_block(const bk_packed *p, size_t r, size_t b, bk_canon *out);

#endif
