/* A PyTorch model's state dictionary and its vocabulary as any bytes: two bytes with the length of the
 * safetensors part, a byte whose lowest bit says that the vocabulary is JSON, both parts. What becomes
 * of them must be a model of consistent shapes whose tokenizer can be made. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "model/model.h"
#include "model/state_dict.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const bk_gguf *g, size_t n_vocab) {
    bk_error err;
    bk_tokenizer *t = NULL;
    if (bk_vocab_read(g, NULL, &t, &err) != BK_OK || bk_tokenizer_count(t) != n_vocab) abort();
    bk_tokenizer_destroy(&t);
    const bk_gguf_tensor *embed = bk_gguf_find_tensor(g, "token_embd.weight");
    const bk_gguf_tensor *hh = bk_gguf_find_tensor(g, "blk.0.lstm_hh.weight");
    if (!embed || embed->ne[1] != n_vocab || !hh || hh->ne[1] != 4 * hh->ne[0]) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    bk_error err = {0};
    bk_gguf *g = NULL;
    bk_safetensors *s = NULL;
    size_t n = 0;
    if (size < 3) return 0;
    size_t len = bk_min_size(data[0] | (size_t)data[1] << 8, size - 3);
    bk_str vocab = {(const char *)data + 3 + len, size - 3 - len};
    bk_gguf_builder *b = bk_gguf_builder_create();
    bk_status st = bk_safetensors_parse(data + 3, len, &s, &err);
    if (st == BK_OK) st = bk_state_dict_read(s, b, &n, &err);
    if (st == BK_OK) st = bk_state_vocab_read(vocab, data[2] & 1, n, b, &err);
    if (st != BK_OK && strlen(err.text) < 5) abort();
    if (bk_gguf_builder_finish(&b, &g, &err) == BK_OK && st == BK_OK) check(g, n);
    bk_gguf_destroy(&g);
    bk_safetensors_destroy(&s);
    return 0;
}
