/* Vocabularies as people keep them beside a PyTorch model. */
#include <string.h>

#include "base/buf.h"
#include "base/json_read.h"
#include "base/mem.h"
#include "model/arch.h"
#include "model/state_dict.h"
#include "text/word.h"

enum { SPACE_SIGN = 0x2581 };

/* Tokens by id, and what a tokenizer is made of. */
typedef struct vocab {
    bk_str *tokens;
    int32_t *types;
    size_t n;
    bk_arena arena;
    bk_tokenizer_desc desc;
    bk_error *err;
} vocab;

static bk_status no_memory(const vocab *v) {
    return bk_fail(v->err, BK_ERR_NOMEM, "no memory for a vocabulary of %zu tokens", v->n);
}

/* ---- Files ---------------------------------------------------------------------------------- */

static bk_status wrong_count(const vocab *v, size_t found) {
    return bk_fail(v->err, BK_ERR_FORMAT, "%zu tokens found; %zu wanted, the embedding's rows",
                   found, v->n);
}

static bk_status read_object(vocab *v, json_t *root) {
    const char *key;
    json_t *id;
    if (json_object_size(root) != v->n) return wrong_count(v, json_object_size(root));
    json_object_foreach(root, key, id) {
        json_int_t i = json_is_integer(id) ? json_integer_value(id) : -1;
        if (i < 0 || (size_t)i >= v->n || v->tokens[i].data)
            return bk_fail(v->err, BK_ERR_FORMAT,
                           "token '%.40s': its id is no number from 0 to %zu that no other token "
                           "has",
                           key, v->n - 1);
        v->tokens[i] = bk_str_from(key);
    }
    return BK_OK;
}

static bk_status read_list(vocab *v, const json_t *root) {
    if (json_array_size(root) != v->n) return wrong_count(v, json_array_size(root));
    for (size_t i = 0; i < v->n; i++) {
        v->tokens[i] = bk_json_text(json_array_get(root, i));
        if (!v->tokens[i].data)
            return bk_fail(v->err, BK_ERR_FORMAT, "item %zu of the list is not a text", i);
    }
    return BK_OK;
}

/* A token a line; the two characters \n alone stand for the end of a line. */
static bk_status read_lines(vocab *v, bk_str text) {
    size_t n = 0;
    for (size_t pos = 0; pos < text.len; n++) {
        const char *line = text.data + pos, *end = memchr(line, '\n', text.len - pos);
        size_t len = end ? (size_t)(end - line) : text.len - pos;
        pos += len + 1;
        if (len > 1 && line[len - 1] == '\r') len--;
        bk_str token = {line, len};
        if (n < v->n) v->tokens[n] = bk_str_eq(token, BK_STR("\\n")) ? BK_STR("\n") : token;
    }
    return n == v->n ? BK_OK : wrong_count(v, n);
}

/* ---- The tokenizer -------------------------------------------------------------------------- */

/* "<eos>", "[UNK]": not text. */
static bool is_special(bk_str s) {
    char close = s.len > 2 && s.data[0] == '<' ? '>' : s.len > 2 && s.data[0] == '[' ? ']' : 0;
    if (!close || s.data[s.len - 1] != close) return false;
    for (size_t i = 1; i + 1 < s.len; i++)
        if ((unsigned char)s.data[i] <= ' ' ||
            (close == ']' && !(s.data[i] >= 'A' && s.data[i] <= 'Z')))
            return false;
    return true;
}

static bool is_one_of(bk_str s, const char *const *names) {
    for (; *names; names++)
        if (bk_str_eq(s, bk_str_from(*names))) return true;
    return false;
}

static void note_special(vocab *v, int32_t id) {
    static const char *const unknown[] = {"<unk>", "<UNK>", "[UNK]", NULL};
    static const char *const begin[] = {"<bos>", "<BOS>", "<sos>", "<SOS>", "<s>", "[BOS]", NULL};
    static const char *const end[] = {"<eos>", "<EOS>", "</s>", "[EOS]", "<|endoftext|>", NULL};
    static const char *const pad[] = {"<pad>", "<PAD>", "[PAD]", NULL};
    bk_str s = v->tokens[id];
    v->types[id] = BK_TOKEN_CONTROL;
    if (is_one_of(s, unknown)) {
        v->types[id] = BK_TOKEN_UNKNOWN;
        v->desc.unk = id;
    } else if (is_one_of(s, begin)) {
        v->desc.bos = id;
    } else if (is_one_of(s, end)) {
        v->desc.eos = id;
    } else if (is_one_of(s, pad)) {
        v->desc.pad = id;
    }
}

static bool is_character(bk_str s) {
    uint32_t cp;
    return s.len > 0 && bk_utf8_decode(s.data, s.len, &cp) == s.len && cp != UINT32_MAX;
}

/* A token as tokenizers name it: spaces by their sign, and one in front of a word. */
static bool name_token(vocab *v, bk_str *s, bool words) {
    bk_buf spaced = {0};
    char sign[4];
    size_t sign_len = bk_utf8_encode(SPACE_SIGN, sign);
    bk_buf_putc(&spaced, ' ');
    bk_buf_append(&spaced, s->data, s->len);
    bool front = words && !spaced.failed && bk_word_next(spaced.data, spaced.len) == spaced.len;
    bk_buf name = {0};
    for (size_t i = front ? 0 : 1; !spaced.failed && i < spaced.len; i++) {
        if (spaced.data[i] == ' ')
            bk_buf_append(&name, sign, sign_len);
        else
            bk_buf_putc(&name, spaced.data[i]);
    }
    char *copy = name.failed || spaced.failed ? NULL : bk_arena_alloc(&v->arena, name.len + 1, 1);
    if (copy) memcpy(copy, name.data, name.len);
    if (copy) *s = (bk_str){copy, name.len};
    bk_buf_free(&name);
    bk_buf_free(&spaced);
    return copy != NULL;
}

static bk_status describe(vocab *v) {
    bk_tokenizer_desc *d = &v->desc;
    bool words = false;
    d->bos = d->eos = d->eot = d->unk = d->pad = -1;
    for (size_t i = 0; i < v->n; i++) {
        v->types[i] = BK_TOKEN_NORMAL;
        if (v->tokens[i].len == 0) return bk_fail(v->err, BK_ERR_FORMAT, "token %zu is empty", i);
        if (is_special(v->tokens[i]))
            note_special(v, (int32_t)i);
        else if (!is_character(v->tokens[i]))
            words = true;
    }
    for (size_t i = 0; i < v->n; i++)
        if (v->types[i] == BK_TOKEN_NORMAL && !name_token(v, &v->tokens[i], words))
            return no_memory(v);
    d->model = words ? BK_STR("word") : BK_STR("llama");
    d->pre = BK_STR("default");
    d->add_space = words;
    d->tokens = v->tokens, d->types = v->types, d->n_tokens = v->n;
    if (!words) d->scores = bk_arena_alloc(&v->arena, v->n, sizeof(float));
    if (!words && d->scores) memset((float *)(uintptr_t)d->scores, 0, v->n * sizeof(float));
    return words || d->scores ? BK_OK : no_memory(v);
}

/* Whatever is wrong with the tokens is said now, not when the file is run. */
static bk_status write_tokens(vocab *v, bk_gguf_builder *b) {
    bk_tokenizer *t = NULL;
    bk_status s = describe(v);
    if (s == BK_OK) s = bk_tokenizer_create(&v->desc, &t, v->err);
    bk_tokenizer_destroy(&t);
    if (s == BK_OK) bk_vocab_write(&v->desc, b);
    return s;
}

bk_status bk_state_vocab_read(bk_str text, bool json, size_t n, bk_gguf_builder *b, bk_error *err) {
    vocab v = {.n = n, .err = err};
    json_t *root = NULL;
    bk_status s = BK_OK;
    v.tokens = bk_alloc_zero(n, sizeof *v.tokens);
    v.types = bk_alloc_zero(n, sizeof *v.types);
    if (!v.tokens || !v.types) s = no_memory(&v);
    if (s == BK_OK && json) {
        s = bk_json_parse(text, 4, true, &root, err);
        if (s == BK_OK) s = json_is_array(root) ? read_list(&v, root) : read_object(&v, root);
    } else if (s == BK_OK) {
        s = read_lines(&v, text);
    }
    if (s == BK_OK) s = write_tokens(&v, b);
    json_decref(root);
    bk_arena_free(&v.arena);
    bk_free(v.tokens);
    bk_free(v.types);
    return s;
}
