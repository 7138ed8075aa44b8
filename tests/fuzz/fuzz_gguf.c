/* The GGUF reader on any bytes: parse, every typed access on every key, every tensor's extent. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "format/gguf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What must hold of a header that was accepted. */
static void require(bool ok) {
    if (!ok) abort();
}

static void touch_key(const bk_gguf *g, const bk_gguf_kv *kv) {
    char *key = bk_strndup(kv->key.data, kv->key.len);
    bk_error err;
    bk_str text, *strings;
    uint32_t u;
    int32_t *ints;
    float f, *floats;
    bool flag;
    size_t n;
    if (!key) return;
    /* A name with a NUL inside cannot be asked for; all others are found. */
    require(strlen(key) != kv->key.len || bk_gguf_find(g, key) == kv);
    (void)bk_gguf_u32(g, key, 1, 1u << 30, &u, &err);
    (void)bk_gguf_bool(g, key, &flag, &err);
    (void)bk_gguf_str(g, key, &text, &err);
    if (bk_gguf_f32(g, key, -10, 10, &f, &err) == BK_OK) require(f >= -10 && f <= 10);
    if (bk_gguf_i32_array(g, key, &ints, &n, &err) == BK_OK) bk_free(ints);
    if (bk_gguf_f32_array(g, key, &floats, &n, &err) == BK_OK) bk_free(floats);
    if (bk_gguf_str_array(g, key, &strings, &n, &err) == BK_OK) {
        unsigned sum = 0;
        for (size_t i = 0; i < n; i++) {
            for (size_t k = 0; k < strings[i].len; k++) sum += (unsigned char)strings[i].data[k];
        }
        require(sum != 0xFFFFFFFF);
        bk_free(strings);
    }
    bk_free(key);
}

static void touch_tensor(const bk_gguf_tensor *t, const uint8_t *data, size_t size) {
    float out[256];
    size_t offset = (size_t)(t->data - data);
    require(t->data >= data && offset <= size && t->bytes <= size - offset);
    require(t->bytes >= t->type->block_bytes && t->n_elements >= t->type->block_len);
    bk_quant_dequantize(t->type, t->data, out, t->type->block_len);
    bk_quant_dequantize(t->type, t->data + t->bytes - t->type->block_bytes, out,
                        t->type->block_len);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    bk_gguf *g;
    bk_error err;
    bk_status status = bk_gguf_parse(data, size, &g, &err);
    if (status != BK_OK) {
        require(!g && err.code == status && strlen(err.text) > 10);
        return 0;
    }
    for (size_t i = 0; i < bk_gguf_n_kv(g); i++) touch_key(g, bk_gguf_kv_at(g, i));
    for (size_t i = 0; i < bk_gguf_n_tensors(g); i++) {
        touch_tensor(bk_gguf_tensor_at(g, i), data, size);
    }
    bk_gguf_destroy(&g);
    return 0;
}
