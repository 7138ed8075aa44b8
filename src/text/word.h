/* Words: how texts are cut for vocabularies of whole words (tokenizer.ggml.model "word").
 *
 * A word is letters and their marks with apostrophes inside (don't), or a row of numbers; the space
 * before either belongs to it. Every other character stands alone: punctuation, white space, bytes that
 * are not UTF-8, and Han characters, between which nothing is written. One behind the other the pieces
 * are the text. */
#ifndef BRISK_TEXT_WORD_H
#define BRISK_TEXT_WORD_H

#include "base/base.h"

/* Length of the first piece of s[0..len), 1..len; len > 0. It depends on what follows only. */
size_t bk_word_next(const char *s, size_t len);

#endif
