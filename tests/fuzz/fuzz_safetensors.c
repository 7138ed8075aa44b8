/* The safetensors reader on any bytes: parse, then every tensor found again and its extent read. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "format/safetensors.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What must hold of a header that was accepted. */
static void require(bool ok) {
    if (!ok) abort();
}

static void touch(const bk_safetensors *s, const bk_st_tensor *t, const uint8_t *data,
                  size_t size) {
    float out[1];
    size_t offset = (size_t)(t->data - data);
    require(t->data >= data && offset <= size && t->bytes <= size - offset);
    require(t->n_dims >= 0 && t->n_dims <= BK_GGUF_MAX_DIMS && t->dtype);
    require(bk_safetensors_find(s, t->name.data) == t);
    if (!t->type || t->n_elements == 0) return;
    require(t->bytes == t->n_elements * t->type->block_bytes);
    t->type->dequantize(t->data, out, 1);
    t->type->dequantize(t->data + t->bytes - t->type->block_bytes, out, 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    bk_safetensors *s;
    bk_error err;
    bk_status status = bk_safetensors_parse(data, size, &s, &err);
    if (status != BK_OK) {
        require(!s && err.code == status && strlen(err.text) > 10);
        return 0;
    }
    for (size_t i = 0; i < bk_safetensors_count(s); i++)
        touch(s, bk_safetensors_at(s, i), data, size);
    bk_safetensors_destroy(&s);
    return 0;
}
