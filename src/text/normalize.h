/* Unicode normalisation forms (UAX #15) and full case folding (Unicode standard, section 3.13): what is
 * done to a text before it is cut into tokens. Unicode 15.0, as all tables here. */
#ifndef BRISK_TEXT_NORMALIZE_H
#define BRISK_TEXT_NORMALIZE_H

#include "base/buf.h"
#include "base/error.h"

typedef enum bk_normal_form {
    BK_NORMAL_NONE,
    BK_NFC, /* what the Qwen 2 family applies before splitting */
    BK_NFD,
    BK_NFKC,
    BK_NFKD
} bk_normal_form;

/* Whether normalising could change the text; false for almost all text in form C or KC, at the cost of
 * one scan. */
bool bk_normal_needed(bk_normal_form form, bk_str text);

/* Appends the text in this form to out (C and D: at most 3 times its length, KC and KD 11 times).
 * Invalid UTF-8 is copied byte by byte and combines with nothing. Linear in the text, however many marks
 * follow one another. False when memory is short or out is full. */
bool bk_normal_append(bk_normal_form form, bk_str text, bk_buf *out);

/* Appends the text case-folded, as Python's str.casefold (at most 3 times its length). */
bool bk_casefold_append(bk_str text, bk_buf *out);

/* "nfc", "nfd", "nfkc" or "nfkd"; NOT_FOUND. */
bk_status bk_normal_find(bk_str name, bk_normal_form *out, bk_error *err);
const char *bk_normal_name(bk_normal_form form); /* NULL for none */

/* What a vocabulary wants done to every text: normalised, folded, and normalised again, as folding can
 * leave a normal form. */
typedef struct bk_text_rules {
    bk_normal_form form;
    bool casefold;
} bk_text_rules;

/* A text after that: the one that was given, or one in a buffer. */
typedef struct bk_prepared {
    bk_str text;
    bk_buf bufs[2];
} bk_prepared;

/* False when memory is short, or the text grew beyond 1 GiB. Released with bk_prepared_free in any
 * case. */
bool bk_text_prepare(bk_text_rules rules, bk_str text, bk_prepared *out);
void bk_prepared_free(bk_prepared *p);

#endif
