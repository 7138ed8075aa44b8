/* The classic recurrent language model of PyTorch, nn.Embedding + nn.LSTM + nn.Linear, whose state
 * dictionary was saved as safetensors, as a GGUF model of architecture `lstm` (model/lstm.c).
 *
 * What is what follows from names and shapes: the LSTM from weight_ih_l0 and its like, behind any prefix;
 * of the two other matrices the decoder has a bias, or the embedding a name like one ("emb",
 * "encoder"). One matrix alone is both (tied weights). The vocabulary lies in a file: JSON, {"token": id}
 * or ["token", ...], or a token a line. */
#ifndef BRISK_MODEL_STATE_DICT_H
#define BRISK_MODEL_STATE_DICT_H

#include "base/error.h"
#include "format/gguf_build.h"
#include "format/safetensors.h"

/* path: the safetensors file. vocab: the vocabulary's file, NULL: vocab.json or vocab.txt beside it.
 * UNSUPPORTED (two directions, projections, GRU), FORMAT, NOT_FOUND, IO, NOMEM. */
bk_status bk_state_dict_open(const char *path, const char *vocab, bk_gguf **out, bk_error *err);

/* Its parts. Tensors, which point into what s was parsed from, and keys; *n_vocab: rows of the embedding. */
bk_status bk_state_dict_read(const bk_safetensors *s, bk_gguf_builder *b, size_t *n_vocab,
                             bk_error *err);
/* state_vocab.c: a vocabulary of n tokens as a tokenizer's keys. A list of characters becomes a
 * tokenizer of characters, any other one of words (text/word.h), with a space in front of a text. */
bk_status bk_state_vocab_read(bk_str text, bool json, size_t n, bk_gguf_builder *b, bk_error *err);

#endif
