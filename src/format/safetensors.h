/* safetensors: eight bytes with the header's length, the header as JSON, the tensors' bytes.
 * Format: https://huggingface.co/docs/safetensors/index
 *
 * The header is parsed within limits (length against the file and 100 MB, depth, no name twice); of
 * every tensor the shape's product is compared with its extent, the extent with the file, and no two
 * may overlap. Tensors of types that brisk does not compute with (integers, float64, fp8) are listed
 * without `type`: a checkpoint may carry some that no model needs. */
#ifndef BRISK_FORMAT_SAFETENSORS_H
#define BRISK_FORMAT_SAFETENSORS_H

#include "base/error.h"
#include "base/str.h"
#include "format/gguf.h"

typedef struct bk_st_tensor {
    bk_str name;
    const char *dtype;             /* as in the file: "BF16" */
    const bk_quant *type;          /* F32, F16, BF16; NULL for others */
    int n_dims;                    /* 0 for a scalar */
    uint64_t ne[BK_GGUF_MAX_DIMS]; /* fastest first, as in GGUF; unused are 1 */
    uint64_t n_elements;           /* may be 0 */
    const uint8_t *data;           /* into the file */
    size_t bytes;
} bk_st_tensor;

typedef struct bk_safetensors bk_safetensors;

/* Reads the header in data[0..size), which must outlive *out. FORMAT, LIMIT, UNSUPPORTED (more than
 * four dimensions), NOMEM. */
bk_status bk_safetensors_parse(const uint8_t *data, size_t size, bk_safetensors **out,
                               bk_error *err);
void bk_safetensors_destroy(bk_safetensors **s);

size_t bk_safetensors_count(const bk_safetensors *s);
const bk_st_tensor *bk_safetensors_at(const bk_safetensors *s, size_t i); /* in order of name */
const bk_st_tensor *bk_safetensors_find(const bk_safetensors *s, const char *name);

#endif
