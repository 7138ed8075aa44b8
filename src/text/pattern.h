/* Regular expressions as tokenizer files write them: what their pre-tokenizers need, in the order of
 * choices that Perl, Oniguruma and PCRE take (the first alternative that leads to a match).
 *
 *     a|b  (?:a)  (a)  (?i:a)  (?=a)  (?!a)  [a-z\p{L}]  [^\s]  [\p{L}&&[^\p{Han}]]  .  \b  ^  $
 *     a?  a*  a+  a{3}  a{1,3}  a{2,}, each of a single character also possessive: a?+
 *     \p{..}: L Lu Ll Lt Lm Lo M N Nd P S Han, \P{..}, \s \S \d \D \w \r \n \t \uNNNN \xNN
 *
 * (?i:) folds ASCII letters and the two characters outside ASCII that fold to one. Where a set is
 * repeated the work is linear in the text; a pattern that tries too much at one place does not match
 * there (PATTERN_STEPS). */
#ifndef BRISK_TEXT_PATTERN_H
#define BRISK_TEXT_PATTERN_H

#include "base/error.h"
#include "base/str.h"

typedef struct bk_pattern bk_pattern;

/* UNSUPPORTED names what is not in the list above; LIMIT, NOMEM. */
bk_status bk_pattern_compile(bk_str source, bk_pattern **out, bk_error *err);
void bk_pattern_destroy(bk_pattern **p);

/* Working memory of one caller; zero-initialised is empty. */
typedef struct bk_pattern_work {
    struct bk_pattern_choice *stack;
    size_t n, cap;
    bool failed; /* memory was short */
} bk_pattern_work;
void bk_pattern_work_free(bk_pattern_work *w);

/* The first match in text[from..) that is not empty, as Perl finds it: false when there is none. */
bool bk_pattern_find(const bk_pattern *p, bk_pattern_work *w, bk_str text, size_t from,
                     bk_span *match);

#endif
