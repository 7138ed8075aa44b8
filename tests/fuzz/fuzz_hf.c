/* config.json, tokenizer.json and tokenizer_config.json of a Hugging Face folder as any bytes, with a
 * zero byte between them: what becomes of them must be a model whose keys can be read. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "model/hf_internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { N_VOCAB = 300 };

/* The text up to the next zero byte as JSON; NULL when it is none. */
static json_t *next(const uint8_t **data, size_t *size) {
    const uint8_t *end = *size ? memchr(*data, 0, *size) : NULL;
    size_t len = end ? (size_t)(end - *data) : *size;
    json_t *v;
    (void)bk_json_parse((bk_str){(const char *)*data, len}, 64, false, &v, NULL);
    *data += len + (end != NULL);
    *size -= len + (end != NULL);
    return v;
}

/* Every list that came out has as many elements as it says. */
static void check(const bk_gguf *g) {
    bk_error err;
    bk_str *names;
    size_t n;
    for (size_t i = 0; i < bk_gguf_n_kv(g); i++) {
        const bk_gguf_kv *kv = bk_gguf_kv_at(g, i);
        char *key = bk_strndup(kv->key.data, kv->key.len);
        if (!key || bk_gguf_find(g, key) != kv) abort();
        if (kv->type == BK_GGUF_ARRAY && kv->elem_type == BK_GGUF_STRING) {
            if (bk_gguf_str_array(g, key, &names, &n, &err) != BK_OK || n != kv->n) abort();
            bk_free(names);
        }
        bk_free(key);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    bk_error err = {0};
    bk_gguf *g;
    bk_hf h = {.folder = "/dev/null/none", .b = bk_gguf_builder_create(), .err = &err};
    h.root = next(&data, &size);
    h.tokenizer = next(&data, &size);
    h.tokenizer_config = next(&data, &size);
    bk_status s = json_is_object(h.root) ? bk_hf_find_arch(&h) : BK_ERR_FORMAT;
    if (s == BK_OK) s = bk_hf_add_config(&h);
    if (s == BK_OK) s = bk_hf_add_vocab(&h, N_VOCAB);
    if (s == BK_OK) s = bk_hf_add_special(&h, N_VOCAB);
    if (s != BK_OK && h.arch && strlen(err.text) < 10) abort();
    if (bk_gguf_builder_finish(&h.b, &g, &err) == BK_OK) check(g);
    bk_gguf_destroy(&g);
    json_decref(h.root);
    json_decref(h.tokenizer);
    json_decref(h.tokenizer_config);
    return 0;
}
