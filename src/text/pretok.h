/* Pre-tokenizers: how a text is cut into the pieces within which byte pairs merge.
 *
 * Each rule is published as a regular expression; these are hand-written equivalents, linear in the
 * text. tests/unit/test_pretok.c compares them with PCRE2 running the expressions. */
#ifndef BRISK_TEXT_PRETOK_H
#define BRISK_TEXT_PRETOK_H

#include "base/str.h"

typedef enum bk_pretok {
    /* 's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+ */
    BK_PRETOK_GPT2,
    /* every \p{N} stands alone; what lies between is cut as BK_PRETOK_GPT2 */
    BK_PRETOK_SMOLLM,
    /* (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*
     * |\s*[\r\n]+|\s+(?!\S)|\s+ */
    BK_PRETOK_LLAMA3,
    /* as BK_PRETOK_LLAMA3 with \p{N} for \p{N}{1,3} */
    BK_PRETOK_QWEN2
} bk_pretok;

/* What a tokenizer.ggml.pre name stands for. */
typedef struct bk_pretok_rules {
    const char *name;
    bk_pretok kind;
    bool nfc;           /* text is normalised to form C first */
    bool ignore_merges; /* a piece that is a token as a whole is not built from merges */
} bk_pretok_rules;

/* NULL when the name is unknown. */
const bk_pretok_rules *bk_pretok_find(bk_str name);

/* Length of the first piece of s[0..len), 1..len; len > 0. Bytes that are not UTF-8 count as
 * characters that are neither letter, number nor space. Where the piece ends depends on what
 * follows only, so a text is cut by calling this again on the rest. */
size_t bk_pretok_next(bk_pretok kind, const char *s, size_t len);

#endif
