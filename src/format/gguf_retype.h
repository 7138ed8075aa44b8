/* A model with its matrices in another type, and nothing else changed. */
#ifndef BRISK_FORMAT_GGUF_RETYPE_H
#define BRISK_FORMAT_GGUF_RETYPE_H

#include "format/gguf.h"

/* The type of that name, in whatever case, which weights can be rounded to; INVALID names all there are. */
bk_status bk_gguf_type_named(const char *name, const bk_quant **out, bk_error *err);

/* Matrices that are floats in `from` are rounded to `type`, one at a time as they are read. The others
 * stay: vectors, routers of experts, rows that are no whole number of blocks, what is quantised
 * already, and every name that contains `keep` (NULL: none). `from` must outlive the result. NOMEM. */
bk_status bk_gguf_retype(const bk_gguf *from, const bk_quant *type, const char *keep, bk_gguf **out,
                         bk_error *err);

#endif
