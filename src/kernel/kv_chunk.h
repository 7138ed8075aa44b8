/* The keys and values of BK_ATTN_CHUNK consecutive positions of one KV head, as kept in the cache and
 * as the attention kernels take them.
 *
 * A key or value is a vector of integers times one float. The 16-bit form takes the length of the
 * vector as unit: components are rint(x * (BK_KV_UNIT / length)), so the dot of two such vectors is
 * below BK_KV_UNIT^2 < 2^31 (Cauchy and Schwarz), as is every partial sum, whatever the head size.
 * An f16 of the same size keeps 11 bits of every component; this keeps 15 of the vector. The 8-bit
 * form takes the largest component as 127.
 *
 * Memory of a chunk: float key_scale[64], value_scale[64]; keys [head/2][64][2], two components of all
 * positions after two others; values [64/2][head][2], two positions of all components after two
 * others: multiply-adds of pairs go through both from begin to end. head: padded to a multiple of 16
 * by zeros. */
#ifndef BRISK_KERNEL_KV_CHUNK_H
#define BRISK_KERNEL_KV_CHUNK_H

#include "base/base.h"

/* Positions of one chunk; partial results of chunks are merged in order of position. Equals the page
 * of the KV cache. */
enum { BK_ATTN_CHUNK = 64 };

typedef enum bk_kv_type { BK_KV_Q16, BK_KV_Q8_0, BK_KV_TYPES } bk_kv_type;

#define BK_KV_UNIT 32700.0f
#define BK_KV_MIN_LENGTH 0x1p-50f  /* a shorter vector counts as zero */
#define BK_KV_MIN_WEIGHT 0x1p-100f /* and a smaller sum of weights */
#define BK_KV_LIMIT 65504.0f       /* components are clamped to +- this: squares do not overflow */

static inline size_t bk_kv_head(size_t head_size) { return bk_round_up(head_size, 16); }

static inline size_t bk_kv_element(bk_kv_type type) { return type == BK_KV_Q16 ? 2 : 1; }

static inline size_t bk_kv_chunk_bytes(bk_kv_type type, size_t head_size) {
    return 2 * BK_ATTN_CHUNK * (sizeof(float) + bk_kv_head(head_size) * bk_kv_element(type));
}

/* A chunk. */
typedef struct bk_kv_view {
    bk_kv_type type;
    const float *key_scale, *value_scale;
    const void *keys, *values;
    ptrdiff_t ahead; /* bytes from here to what is read next, 0: unknown */
} bk_kv_view;

/* Queries lie this many integers apart, whatever the head size. */
enum { BK_ATTN_PITCH = 256 };

/* n queries of one KV head. */
typedef struct bk_attn {
    size_t n, head;   /* head: padded */
    float cap;        /* soft cap of the scores, 0: none */
    const int16_t *q; /* [n][BK_ATTN_PITCH] */
    const float *q_scale;
    const int *lo, *hi;
    float *max, *sum, *o; /* o: [n][head] */
} bk_attn;

/* Index of a component in keys and values. */
static inline size_t bk_kv_key_at(size_t pos, size_t d) {
    return d / 2 * 2 * BK_ATTN_CHUNK + pos * 2 + d % 2;
}
static inline size_t bk_kv_value_at(size_t head, size_t pos, size_t d) {
    return pos / 2 * 2 * head + d * 2 + pos % 2;
}

/* Where the two lie in a chunk's memory: bytes. */
static inline size_t bk_kv_keys_offset(void) { return 2 * BK_ATTN_CHUNK * sizeof(float); }
static inline size_t bk_kv_values_offset(bk_kv_type type, size_t head_size) {
    return bk_kv_keys_offset() + BK_ATTN_CHUNK * bk_kv_head(head_size) * bk_kv_element(type);
}

static inline bk_kv_view bk_kv_view_of(bk_kv_type type, const void *chunk, size_t head_size) {
    const char *p = chunk;
    const float *scales = chunk;
    return (bk_kv_view){type,
                        scales,
                        scales + BK_ATTN_CHUNK,
                        p + bk_kv_keys_offset(),
                        p + bk_kv_values_offset(type, head_size),
                        0};
}

#endif
