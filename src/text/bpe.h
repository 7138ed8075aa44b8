/* Byte-pair encoding: the table of merges and the loop that applies them to one piece.
 *
 * Sennrich, Haddow and Birch 2016: of all neighbouring pairs the one with the lowest rank merges,
 * the leftmost first among equals, until none is left. SentencePiece's variant (Kudo and Richardson
 * 2018) has no table: a pair's rank is the score of the token that it would become. */
#ifndef BRISK_TEXT_BPE_H
#define BRISK_TEXT_BPE_H

#include "base/base.h"

#define BK_BPE_NONE UINT32_MAX

typedef struct bk_bpe_pair {
    int32_t left, right, merged;
} bk_bpe_pair;

/* Open addressing over the ranks, at most half full: small, because filling it is part of every
 * start and a miss in the cache costs more than the comparison. */
typedef struct bk_bpe {
    uint32_t *slots;    /* rank, or UINT32_MAX */
    bk_bpe_pair *pairs; /* by rank */
    unsigned shift;     /* 64 - log2(number of slots) */
    size_t n_merges;
} bk_bpe;

/* Room for n_merges merges; false when memory is short. Release with bk_bpe_free in any case. */
bool bk_bpe_init(bk_bpe *b, size_t n_merges);
void bk_bpe_free(bk_bpe *b);

/* left and right become merged, at rank < n_merges. A pair put again takes the later rank, as Hugging
 * Face's tokenizers has it. False when the table has become degenerate: far more ids that share a
 * place than any real file has. */
bool bk_bpe_put(bk_bpe *b, int32_t left, int32_t right, uint32_t rank, int32_t merged);

/* Begins to fetch what putting this pair will touch. */
void bk_bpe_prefetch(const bk_bpe *b, int32_t left, int32_t right);

/* Working memory of one caller; zero-initialised is empty. */
typedef struct bk_bpe_symbol {
    int32_t id;
    int32_t merged;      /* what the pair that begins here becomes */
    uint32_t prev, next; /* neighbours; BK_BPE_NONE at the ends */
    uint32_t rank;       /* of the pair that begins here; BK_BPE_NONE when it does not merge */
} bk_bpe_symbol;

typedef struct bk_bpe_work {
    bk_bpe_symbol *symbols; /* cap of them */
    uint64_t *heap;         /* 2 cap: rank << 32 | position */
    size_t cap, n_heap;
} bk_bpe_work;

/* Room for n symbols (n < 2^31); what is in them is lost. False when memory is short. */
bool bk_bpe_reserve(bk_bpe_work *w, size_t n);
void bk_bpe_work_free(bk_bpe_work *w);

/* Merges symbols[0..n), of which only the ids are read. Afterwards symbols[0..result) hold the ids
 * that are left. O(n log n). */
size_t bk_bpe_merge(const bk_bpe *b, bk_bpe_work *w, size_t n);

/* Sets rank and merged of the symbol at pos, which has a next one; rank stays BK_BPE_NONE when the two
 * do not merge. */
typedef void (*bk_bpe_find_fn)(const void *ctx, bk_bpe_work *w, uint32_t pos);

/* The same for symbols that the caller has linked (prev, next) from symbols[0] on, with any gaps
 * between their positions, and whose pairs find looks up. Afterwards the links lead through those
 * that are left. */
void bk_bpe_merge_linked(bk_bpe_work *w, bk_bpe_find_fn find, const void *ctx);

#endif
