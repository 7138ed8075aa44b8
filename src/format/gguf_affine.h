/* Tensors of Q8_AFFINE (quant/affine.h) in GGUF files: NAME.q8 has the bytes q in the tensor's shape, as
 * I8, to be read as numbers from 0 to 255; NAME.affine is scale and minimum, F32. brisk.extensions has
 * "q8_affine". Opening a file puts them together (format/gguf_parts.h), writing one takes them apart. */
#ifndef BRISK_FORMAT_GGUF_AFFINE_H
#define BRISK_FORMAT_GGUF_AFFINE_H

#include "format/gguf.h"

/* A model whose tensors of that type are in their two parts; NULL (and BK_OK) when it has none. `from`
 * must outlive *out. NOMEM; FORMAT when names are too long or stand twice. */
bk_status bk_gguf_split_affine(const bk_gguf *from, bk_gguf **out, bk_error *err);

#endif
