/* How often each of the pieces of a text occurs. */
#ifndef BRISK_TEXT_PIECE_COUNT_H
#define BRISK_TEXT_PIECE_COUNT_H

#include "base/str.h"

typedef struct bk_piece {
    bk_str text; /* where it occurs first */
    uint32_t hash, count;
} bk_piece;

/* Zero-initialised is empty; freed with bk_piece_counts_free in any case. */
typedef struct bk_piece_counts {
    bk_piece *items; /* [n] in the order of first occurrence */
    uint32_t *slots; /* indices of items, UINT32_MAX: empty; open addressing, at most half full */
    size_t n, cap, n_slots;
} bk_piece_counts;

/* Cuts all of text, at most 4 GiB of it, into pieces and counts them; next gives the length of the
 * first piece of s[0..len), 1..len. Pieces are views into the text. False when memory is short. */
bool bk_piece_count(bk_piece_counts *c, bk_str text, size_t (*next)(const char *s, size_t len));
/* The most frequent first, equals by their bytes. */
void bk_piece_sort(bk_piece_counts *c);
void bk_piece_counts_free(bk_piece_counts *c);

#endif
