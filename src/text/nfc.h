/* Unicode normalisation form C (UAX #15), which the Qwen 2 family applies before splitting. */
#ifndef BRISK_TEXT_NFC_H
#define BRISK_TEXT_NFC_H

#include "base/buf.h"
#include "base/str.h"

/* Whether normalising could change the text; false for almost all text, at the cost of one scan. */
bool bk_nfc_needed(bk_str text);

/* Appends the text in form C to out (whose limit must allow 3 times its length). Invalid UTF-8 is
 * copied byte by byte and combines with nothing. Linear in the text, however many marks follow one
 * another. False when memory is short. */
bool bk_nfc_append(bk_str text, bk_buf *out);

#endif
