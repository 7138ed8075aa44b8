/* What a sequence remembers, in reference-counted pages: keys and values of attention or, of recurrent
 * layers, the state at every position, so that a sequence can be cut, shared and continued anywhere.
 *
 * A page holds BK_PAGE_TOKENS consecutive positions of every layer of one layer group (layers that
 * keep the same window). Pages are shared between sequences by fork; the first write to a shared
 * page copies it. Groups with a window give pages back as they leave it. Page contents are
 * reached only through the device that allocated them (device/device.h); this file counts.
 *
 * One thread at a time per pool and its sequences. */
#ifndef BRISK_CACHE_KV_H
#define BRISK_CACHE_KV_H

#include "base/buf.h"
#include "base/error.h"
#include "kernel/kv_chunk.h"

enum { BK_PAGE_TOKENS = 64 }; /* a multiple of the 16-position key tile */

/* Positions by which a sequence can be cut whatever its window: guesses that were wrong. */
enum { BK_KV_BACK = 16 };

struct bk_device;
typedef struct bk_kv_pool bk_kv_pool;
typedef struct bk_kv bk_kv;

/* Layers that share a window. */
typedef struct bk_kv_group {
    int n_layers;
    int window; /* positions a layer of this group sees, its own included; 0: all */
} bk_kv_group;

typedef struct bk_kv_shape {
    int n_groups; /* 1..2 */
    bk_kv_group group[2];
    int n_kv_heads, head_size;
    bk_kv_type kv_type;
    size_t state;      /* floats of a position and layer in place of keys and values; 0: these */
    size_t max_tokens; /* of one sequence, unless it is given others */
} bk_kv_shape;

/* "q16" or "q8_0"; "f16" is taken for q16, which has its size and more precision. INVALID names what
 * was wanted. */
bk_status bk_kv_type_find(const char *name, bk_kv_type *out, bk_error *err);
const char *bk_kv_type_name(bk_kv_type type);

/* `device` outlives the pool; limit_bytes 0: none. */
bk_status bk_kv_pool_create(const struct bk_device *device, const bk_kv_shape *shape,
                            size_t limit_bytes, bk_kv_pool **out, bk_error *err);
bk_kv_pool *bk_kv_pool_ref(bk_kv_pool *pool);
void bk_kv_pool_unref(bk_kv_pool **pool);
size_t bk_kv_pool_bytes(const bk_kv_pool *pool); /* held by live pages */
/* Of these, pages that none but idle sequences hold. */
size_t bk_kv_pool_idle_bytes(const bk_kv_pool *pool);
/* Another limit, 0: none. What is held beyond it stays. */
void bk_kv_pool_set_limit(bk_kv_pool *pool, size_t bytes);
size_t bk_kv_pool_limit(const bk_kv_pool *pool);
/* The most that a sequence of n tokens holds which grows by at most `chunk` (> 0) at a time. */
size_t bk_kv_pool_bytes_for(const bk_kv_pool *pool, size_t n, size_t chunk);

bk_status bk_kv_create(bk_kv_pool *pool, bk_kv **out, bk_error *err);
void bk_kv_destroy(bk_kv **kv);
size_t bk_kv_len(const bk_kv *kv);
size_t bk_kv_bytes(const bk_kv *kv);         /* of its pages, shared ones counted whole */
size_t bk_kv_private_bytes(const bk_kv *kv); /* of the pages that nobody else holds */

/* An idle sequence is only kept for later, by a cache: the pool's account tells what it costs. A fork
 * of it is not idle. */
void bk_kv_set_idle(bk_kv *kv, bool idle);

/* Another limit for this sequence and its forks: a measurement may pass what the model was trained for. */
void bk_kv_set_max_tokens(bk_kv *kv, size_t n);

/* Makes room for n more positions and makes the pages to be written private. After success
 * bk_kv_commit(n) counts them in; without it nothing has changed for readers. LIMIT, NOMEM. */
bk_status bk_kv_reserve(bk_kv *kv, size_t n, bk_error *err);
/* By how much that will grow the pool, the copy of a shared page included. */
size_t bk_kv_reserve_bytes(const bk_kv *kv, size_t n);
void bk_kv_commit(bk_kv *kv, size_t n);

/* Keeps the first n positions. INVALID when n is above the length, LIMIT when a window has already
 * dropped positions that n needs: start again from 0 or from a snapshot. */
bk_status bk_kv_truncate(bk_kv *kv, size_t n, bk_error *err);
bool bk_kv_keeps(const bk_kv *kv, size_t n); /* whether truncation to n succeeds */

/* A copy that shares all pages. */
bk_status bk_kv_fork(const bk_kv *kv, bk_kv **out, bk_error *err);

/* Takes over, for its own, the whole pages below position n that `from`, of the same pool, has. Both
 * must hold the same values there: two sequences that computed the same tokens apart. */
void bk_kv_share(bk_kv *kv, const bk_kv *from, size_t n);

/* The pages of a group: table[i] holds positions [i*BK_PAGE_TOKENS, ...), NULL when dropped. The
 * table is valid until the sequence changes. */
void *const *bk_kv_table(const bk_kv *kv, int group, size_t *n);

/* Serialised positions [begin, end), begin a multiple of the page: for snapshots, disk, other ranks.
 * LIMIT when a window has dropped positions that a sequence of `end` needs.
 * import appends to a sequence whose length is `begin`; the data is checked against the shape (FORMAT,
 * LIMIT, NOMEM: the sequence is as it was). */
bk_status bk_kv_export(const bk_kv *kv, size_t begin, size_t end, bk_buf *out, bk_error *err);
bk_status bk_kv_import(bk_kv *kv, const void *data, size_t len, bk_error *err);

#endif
