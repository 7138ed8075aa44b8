/* Pre-tokenizers: how a text is cut into the pieces within which byte pairs merge.
 *
 * Each rule is published as one or more regular expressions, each of which cuts what the one before has
 * left. The four that most models use are hand-written equivalents, linear in the text; the others are
 * run as patterns. tests/unit/test_pretok.c compares the former with PCRE2, tests/tokenizer with
 * Hugging Face's pre-tokenizers. */
#ifndef BRISK_TEXT_PRETOK_H
#define BRISK_TEXT_PRETOK_H

#include "base/str.h"
#include "text/pattern.h"

typedef enum bk_pretok {
    /* 's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+ */
    BK_PRETOK_GPT2,
    /* every \p{N} stands alone; what lies between is cut as BK_PRETOK_GPT2 */
    BK_PRETOK_SMOLLM,
    /* (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*
     * |\s*[\r\n]+|\s+(?!\S)|\s+ */
    BK_PRETOK_LLAMA3,
    /* as BK_PRETOK_LLAMA3 with \p{N} for \p{N}{1,3} */
    BK_PRETOK_QWEN2,
    /* From here on patterns: see pretok_rules.c. */
    BK_PRETOK_QWEN35,
    BK_PRETOK_JAIS2,
    BK_PRETOK_DEEPSEEK_LLM,
    BK_PRETOK_DEEPSEEK_CODER,
    BK_PRETOK_DEEPSEEK3,
    BK_PRETOK_SPARK25,
    BK_PRETOK_YOUTU,
    BK_PRETOK_FALCON,
    BK_PRETOK_DEFAULT,
    BK_PRETOK_BLOOM,
    BK_PRETOK_VIKING,
    BK_PRETOK_TEKKEN,
    BK_PRETOK_CHAMELEON,
    BK_PRETOK_O200K,
    BK_PRETOK_TINY_AYA,
    BK_PRETOK_KIMI,
    BK_PRETOK_SUPERBPE,
    BK_PRETOK_BAILING,
    BK_PRETOK_SEED,
    BK_PRETOK_UFAKZEKA,
    BK_PRETOK_AFMOE,
    BK_PRETOK_LAGUNA,
    BK_PRETOK_EXAONE_MOE,
    BK_PRETOK_MINICPM5
} bk_pretok;

enum { BK_PRETOK_STAGES = 6 };

typedef struct bk_pretok_stage {
    bk_pattern *pattern;
    bool threes;      /* instead: runs of \p{N} in threes, counted from the right */
    bool whole_words; /* threes of \d, only in runs that no word goes on behind */
    bool cuts;        /* threes of \d, cut before each, not behind the last */
} bk_pretok_stage;

/* What a tokenizer.ggml.pre name stands for. */
typedef struct bk_pretok_rules {
    bk_pretok kind;
    bool nfc;           /* text is normalised to form C first */
    bool ignore_merges; /* a piece that is a token as a whole is not built from merges */
    bk_pretok_stage stages[BK_PRETOK_STAGES];
    size_t n_stages; /* 0 for the hand-written ones */
} bk_pretok_rules;

/* False when the name is unknown. */
bool bk_pretok_find(bk_str name, bk_pretok_rules *out);

/* Makes the stages, once; released with bk_pretok_free in any case. */
bk_status bk_pretok_compile(bk_pretok_rules *r, bk_error *err);
void bk_pretok_free(bk_pretok_rules *r);

/* Length of the first piece of s[0..len), 1..len; len > 0; of the hand-written kinds. Bytes that are not
 * UTF-8 count as characters that are neither letter, number nor space. Where the piece ends depends on
 * what follows only, so a text is cut by calling this again on the rest. */
size_t bk_pretok_next(bk_pretok kind, const char *s, size_t len);

/* A text being cut by any rule. */
typedef struct bk_cut_level {
    bk_span part;    /* what this stage cuts, as bytes of the text */
    size_t pos;      /* as far as it has come */
    bk_span match;   /* the next match, from pos on; empty at the end of part when there is none */
    size_t run_pos;  /* of threes: as far as the digits have been taken, */
    size_t run_left; /* and how many of their run are left */
} bk_cut_level;

typedef struct bk_cut {
    const bk_pretok_rules *rules;
    bk_str text;
    size_t pos; /* hand-written kinds */
    bk_cut_level level[BK_PRETOK_STAGES];
    bk_pattern_work work;
} bk_cut;

void bk_cut_begin(bk_cut *c, const bk_pretok_rules *rules, bk_str text);
/* The next piece, never empty; false at the end, or when memory was short (work.failed). */
bool bk_cut_next(bk_cut *c, bk_str *piece);
/* Releases the working memory; a cut may begin again without. */
void bk_cut_free(bk_cut *c);

#endif
