/* Stop words: taking the words that every text is full of (the, of, 的, 了) out of a text.
 *
 * For bags of words, word counts, keyword search. Not for language models: one that never saw "the"
 * cannot write English, and a sentence without its small words says something else. */
#ifndef BRISK_TEXT_STOP_WORDS_H
#define BRISK_TEXT_STOP_WORDS_H

#include "base/buf.h"
#include "base/error.h"

typedef struct bk_stop_words bk_stop_words;

/* Lists and files by name with commas between: "en", "zh", or a path. A file has a word per line, in
 * UTF-8; empty lines and lines that begin with # do not count. A word is letters with apostrophes inside
 * (text/word.h) or Han characters alone. NOT_FOUND and IO (a file), FORMAT (with file and line), LIMIT
 * (above 1 MiB), NOMEM. */
bk_status bk_stop_words_open(const char *names, bk_stop_words **out, bk_error *err);
/* The same from a text that has the form of a file. */
bk_status bk_stop_words_parse(bk_str text, bk_stop_words **out, bk_error *err);
void bk_stop_words_destroy(bk_stop_words **w);

/* Appends text without its stop words to out. Case is folded and U+2019 is an apostrophe for the
 * comparison, what remains is as it was. A word goes with the space before it; no line is left to begin
 * with one that it did not begin with.
 *
 * Chinese has no spaces: at every Han character the longest entry that stands there goes, wherever it
 * is, so that 的 also leaves 目的, and 是 leaves 但是 unless that is an entry. Linear in the text; false
 * when memory is short or out is full. */
bool bk_stop_words_apply(const bk_stop_words *w, bk_str text, bk_buf *out);

/* The lists of the program, in the form of a file; NULL: no list of this name. */
const char *bk_stop_list(bk_str name);

#endif
