/* What a model file is, from its header alone: fast enough to look at every file on a disk. */
#ifndef BRISK_MODEL_PEEK_H
#define BRISK_MODEL_PEEK_H

#include "base/error.h"

typedef struct bk_brief {
    char architecture[64], name[128]; /* printable; "" when the file does not say */
    char quantization[16];            /* "Q4_K_M": general.file_type, else the commonest type */
    uint64_t n_params, file_bytes;    /* of this file: a part of a split model counts alone */
} bk_brief;

/* Reads the header of a GGUF file with all its checks; any architecture will do. NOT_FOUND, IO,
 * FORMAT, UNSUPPORTED, NOMEM; err names the file. */
bk_status bk_model_peek(const char *path, bk_brief *out, bk_error *err);

#endif
