/* SentencePiece's normalisation of a text: replacements of characters by a compiled table, and what
 * happens to white space. The table (GGUF tokenizer.ggml.precompiled_charsmap) is the byte length of a
 * double array of 32-bit units, the array (Yata et al. 2007, XOR variant as in Darts-clone), and the
 * replacements, NUL-terminated. */
#ifndef BRISK_TEXT_CHARSMAP_H
#define BRISK_TEXT_CHARSMAP_H

#include "base/buf.h"
#include "base/error.h"

typedef struct bk_charsmap {
    uint32_t *units; /* owned; NULL: no replacements */
    size_t n_units;
    char *texts; /* the replacements, in the same allocation */
    size_t n_texts;
} bk_charsmap;

/* Copies a table; an empty one is none. FORMAT, NOMEM. Released with bk_charsmap_free in any case. */
bk_status bk_charsmap_create(bk_str blob, bk_charsmap *out, bk_error *err);
void bk_charsmap_free(bk_charsmap *map);

typedef struct bk_charsmap_rules {
    bool prefix;      /* a space in front */
    bool squeeze;     /* one space for a run of them, */
    bool first, last; /* and none where the text begins and ends, which is at these ends of it */
} bk_charsmap_rules;

/* Appends to out the text with the table's replacements, U+2581 as the space that it stands for. A text
 * of which nothing is left stays empty. Linear in the text; false when memory is short or out is full. */
bool bk_charsmap_apply(const bk_charsmap *map, bk_str text, bk_charsmap_rules rules, bk_buf *out);

#endif
