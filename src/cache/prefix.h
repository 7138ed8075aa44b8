/* Prompts that were computed before: a radix tree over token ids whose nodes hold keys and values.
 *
 * A node is a span of tokens and an idle sequence (cache/kv.h) that ends where the span ends; it shares
 * the pages of its ancestors, so that it costs its own span only. A prompt may end inside a span: what
 * it gets is a fork that is cut there. Models that cannot be cut anywhere (sliding windows, recurrent
 * layers) start again from a place that can be: the end of a node, or inside the span as far as the
 * window still has its pages. The idea of the tree: SGLang's RadixAttention (Zheng et al. 2024).
 *
 * Tokens are compared, never only a hash. Every salt has a tree of its own, so that nobody learns from
 * his waiting time what somebody else has asked.
 *
 * One thread at a time for the tree, its pool and the pool's sequences. */
#ifndef BRISK_CACHE_PREFIX_H
#define BRISK_CACHE_PREFIX_H

#include "cache/kv.h"

typedef struct bk_prefix bk_prefix;

/* A node that may not be evicted, nor its ancestors. Zero-initialised: none. */
typedef struct bk_prefix_pin {
    struct bk_prefix_node *node;
} bk_prefix_pin;

typedef struct bk_prefix_match {
    bk_kv *kv;      /* of the first `matched` tokens, the caller's; NULL: none */
    size_t matched; /* computed tokens */
    bk_prefix_pin pin;
    size_t agreed; /* tokens that are the same in the tree: at least `matched` */
    int32_t other; /* what the tree has instead of tokens[agreed]; -1: nothing, or several tokens */
} bk_prefix_match;

typedef struct bk_prefix_stats {
    size_t nodes, tokens;
    size_t bytes;                     /* that the tree alone holds */
    uint64_t asked, matched, evicted; /* tokens since the start */
} bk_prefix_stats;

/* The tree of `pool`, which it keeps alive. NOMEM. */
bk_status bk_prefix_create(bk_kv_pool *pool, bk_prefix **out, bk_error *err);
void bk_prefix_destroy(bk_prefix **tree);

/* The longest known part of tokens[0, n), pinned, and the reason for its end. The whole path counts as
 * used now. A caller that wants logits of the last token asks for all but that one. NOMEM, with *out
 * empty. */
bk_status bk_prefix_find(bk_prefix *tree, uint64_t salt, const int32_t *tokens, size_t n,
                         bk_prefix_match *out, bk_error *err);

/* How many tokens bk_prefix_find would match; changes nothing. */
size_t bk_prefix_peek(const bk_prefix *tree, uint64_t salt, const int32_t *tokens, size_t n);

/* Keeps tokens[0, n), n > 0, whose keys and values are all that kv holds; may be called as a prompt
 * grows. What the tree has already stays: pages that kv computed a second time are exchanged for the
 * tree's. *pin (may be NULL) moves to the place of the last token. INVALID, NOMEM: the tree and *pin
 * are as they were. */
bk_status bk_prefix_insert(bk_prefix *tree, uint64_t salt, const int32_t *tokens, size_t n,
                           bk_kv *kv, bk_prefix_pin *pin, bk_error *err);

void bk_prefix_unpin(bk_prefix_pin *pin);

/* Gives back memory until the pool has `bytes` less or nothing is left that may go; returns how much it
 * has less. Ends of paths go first, those that were used longest ago, from their end; before those that
 * were found twice (they are protected while they make up at most four fifths of the tree: segmented
 * LRU, Karedla, Love and Wherry 1994), and before those whose pages a running sequence holds anyway. */
size_t bk_prefix_evict(bk_prefix *tree, size_t bytes);

bk_prefix_stats bk_prefix_stats_of(const bk_prefix *tree);

#endif
