/* The options of training that are numbers or short texts, as a table: defaults of each kind, ranges,
 * and what of them a checkpoint holds. */
#ifndef BRISK_TRAIN_OPTIONS_H
#define BRISK_TRAIN_OPTIONS_H

#include "base/mem.h"
#include "format/gguf_build.h"
#include "train/train.h"

/* INVALID, naming the field and what it may be. */
bk_status bk_train_options_check(const bk_train_options *o, bk_error *err);
/* Sizes that are still 0 become the kind's own. */
void bk_train_options_complete(bk_train_options *o);

/* Into a checkpoint, and back: what o leaves open is taken; a size that it gives differently is
 * INVALID. Texts that are taken live in the arena. */
void bk_train_options_put(const bk_train_options *o, bk_gguf_builder *b);
bk_status bk_train_options_get(const bk_gguf *g, bk_arena *arena, bk_train_options *o,
                               bk_error *err);
/* Sizes of a GGUF model (from.c): what o leaves open is taken; a size that it gives differently is
 * INVALID. UNSUPPORTED: an architecture, or something in it, that cannot be trained. */
bk_status bk_train_options_from(const bk_gguf *g, bk_train_options *o, bk_error *err);

#endif
