/* Fuzz target: the tokenizer. The first byte chooses the model or rule, and what the rest is: text for a
 * fixed vocabulary, or a vocabulary (names, an empty line, merges, an empty line, text; one per line). */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/buf.h"
#include "base/mem.h"
#include "text/tokenizer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MAX_LINES = 512, N_BYTES = 256 };

static void require(bool ok) {
    if (!ok) abort();
}

/* What comes out is the text, and the detokenizer writes valid UTF-8. */
static void encode(const bk_tokenizer *t, bk_str text, bool special, bool comes_back) {
    bk_ids ids = {0};
    bk_buf bytes = {0}, shown = {0};
    bk_detok detok = {0};
    if (bk_tokenizer_encode(t, text, special, &ids, NULL) == BK_OK) {
        for (size_t i = 0; i < ids.len; i++) {
            require(ids.data[i] >= 0 && (size_t)ids.data[i] < bk_tokenizer_count(t));
            bk_str b = bk_tokenizer_bytes(t, ids.data[i]);
            bk_buf_append(&bytes, b.data, b.len);
            bk_detok_push(&detok, b, &shown);
        }
        bk_detok_finish(&detok, &shown);
        if (comes_back) require(bk_str_eq(bk_buf_view(&bytes), text));
        require(bk_utf8_valid_len(bk_buf_view(&shown).data, shown.len) == shown.len);
    }
    bk_ids_free(&ids);
    bk_buf_free(&bytes);
    bk_buf_free(&shown);
}

static size_t lines(bk_str *rest, bk_str *out, size_t max) {
    size_t n = 0;
    while (rest->len > 0) {
        const char *end = memchr(rest->data, '\n', rest->len);
        size_t len = end ? (size_t)(end - rest->data) : rest->len;
        bk_str line = {rest->data, len};
        size_t used = end ? len + 1 : len;
        *rest = (bk_str){rest->data + used, rest->len - used};
        if (len == 0) break;
        if (n < max) out[n++] = line;
    }
    return n;
}

/* A tokenizer of each kind; the first four are byte-level rules whose ids give the text back. */
static const struct {
    const char *model, *pre;
} kinds[] = {
    {"gpt2", "gpt-2"},      {"gpt2", "smollm"},
    {"gpt2", "llama-bpe"},  {"gpt2", "qwen2"},
    {"llama", ""},          {"t5", ""},
    {"gemma4", ""},         {"gpt2", "deepseek-llm"},
    {"gpt2", "chameleon"},  {"gpt2", "superbpe"},
    {"gpt2", "tiny_aya"},   {"gpt2", "kimi-k2"},
    {"gpt2", "gpt-4o"},     {"gpt2", "exaone-moe"},
    {"gpt2", "bailingmoe"}, {"gpt2", "youtu"},
};

static void name_byte(uint32_t b, bool gpt2, uint32_t *next, char name[8], bk_str *out) {
    bool own = (b >= 0x21 && b <= 0x7E) || (b >= 0xA1 && b <= 0xAC) || b >= 0xAE;
    size_t n = 6;
    if (gpt2) {
        n = bk_utf8_encode(own ? b : (*next)++, name);
    } else {
        snprintf(name, 8, "<0x%02X>", b);
    }
    *out = (bk_str){name, n};
}

/* Names of the bytes, then those of the input; its own types by their first letter. */
static void fuzz_vocabulary(size_t kind, bk_str input) {
    static char letters[N_BYTES][8];
    bk_str tokens[N_BYTES + MAX_LINES], merges[MAX_LINES];
    int32_t types[N_BYTES + MAX_LINES];
    float scores[N_BYTES + MAX_LINES];
    uint32_t next = 256;
    bk_str pre = bk_str_from(kinds[kind].pre), model = bk_str_from(kinds[kind].model);
    bool gpt2 = bk_str_eq(model, BK_STR("gpt2")), nfc = bk_str_eq(pre, BK_STR("qwen2"));
    for (uint32_t b = 0; b < N_BYTES; b++) {
        name_byte(b, gpt2, &next, letters[b], &tokens[b]);
        types[b] = gpt2 ? BK_TOKEN_NORMAL : BK_TOKEN_BYTE;
    }
    bk_tokenizer_desc d = {.model = model, .pre = pre, .tokens = tokens, .types = types};
    d.n_tokens = N_BYTES + lines(&input, tokens + N_BYTES, MAX_LINES);
    for (size_t i = 0; i < d.n_tokens; i++) {
        char first = i < N_BYTES ? 'a' : tokens[i].data[0];
        if (i >= N_BYTES)
            types[i] = first == '<'   ? BK_TOKEN_CONTROL
                       : first == '{' ? BK_TOKEN_USER_DEFINED
                                      : BK_TOKEN_NORMAL;
        scores[i] = (float)(i * 7919 % 64);
    }
    d.scores = scores;
    d.merges = merges;
    d.n_merges = lines(&input, merges, MAX_LINES);
    d.bos = d.eos = d.eot = d.unk = d.pad = -1;
    d.add_space = input.len & 1;
    d.squeeze = input.len & 2;
    bk_tokenizer *t = NULL;
    bk_error err = {0};
    if (bk_tokenizer_create(&d, &t, &err) == BK_OK) {
        encode(t, input, true, gpt2 && !nfc);
        encode(t, input, false, gpt2 && !nfc);
    } else {
        require(!t && err.text[0] != '\0');
    }
    bk_tokenizer_destroy(&t);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const char words[] = "he\nll\nhell\nhello\naa\naaaa\n<s>\n<|im_end|>\n{x\n\n"
                                "h e\nl l\nhe ll\nhell o\na a\naa aa\n\n";
    if (size == 0) return 0;
    size_t kind = (data[0] & 3) | (data[0] >> 1 & 12);
    bk_str input = {(const char *)data + 1, size - 1};
    if (data[0] & 4) {
        fuzz_vocabulary(kind, input);
        return 0;
    }
    bk_buf whole = {0};
    if (bk_buf_append_str(&whole, words) && bk_buf_append(&whole, input.data, input.len))
        fuzz_vocabulary(kind, bk_buf_view(&whole));
    bk_buf_free(&whole);
    return 0;
}
