/* tokenizer.json -> tokens, types, merges and scores.
 *
 * Three kinds: byte-level BPE ("gpt2" in GGUF: merges), BPE over characters with a token for each byte
 * that no other covers, which SentencePiece calls BPE ("llama": scores), and Unigram ("t5": scores).
 * Format: https://huggingface.co/docs/tokenizers; it is what serialising that library's objects gives. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "model/hf_internal.h"
#include "text/tokenizer.h"

typedef struct vocab {
    const bk_hf *h;
    const json_t *model; /* tokenizer.json's "model" */
    size_t n;
    bk_str *text;   /* [n]; views into tokenizer.json or the arena */
    float *score;   /* [n]; NAN: none yet */
    int32_t *types; /* [n] */
    bk_arena arena;
} vocab;

enum { SCORE_ADDED = -1000, SCORE_UNUSED = -10000 }; /* what converters give what never merges */

static bk_status fail(const vocab *v, const char *what) {
    return bk_fail(v->h->err, BK_ERR_FORMAT, "tokenizer.json: %s", what);
}

static bk_status no_memory(const vocab *v) {
    return bk_fail(v->h->err, BK_ERR_NOMEM, "no memory for a vocabulary of %zu tokens", v->n);
}

/* ---- Tokens --------------------------------------------------------------------------------- */

/* Ids that no token has. An embedding often has more rows than there are tokens. */
static bk_status fill_unused(vocab *v) {
    v->text = bk_arena_alloc(&v->arena, v->n, sizeof *v->text);
    v->score = bk_arena_alloc(&v->arena, v->n, sizeof *v->score);
    v->types = bk_arena_alloc(&v->arena, v->n, sizeof *v->types);
    if (!v->text || !v->score || !v->types) return no_memory(v);
    for (size_t i = 0; i < v->n; i++) v->types[i] = BK_TOKEN_UNUSED, v->score[i] = NAN;
    return BK_OK;
}

static bk_status name_unused(vocab *v) {
    for (size_t i = 0; i < v->n; i++) {
        char name[32];
        if (v->text[i].data) continue;
        size_t len = (size_t)snprintf(name, sizeof name, "[PAD%zu]", i);
        char *copy = bk_arena_alloc(&v->arena, len, 1);
        if (!copy) return no_memory(v);
        memcpy(copy, name, len);
        v->text[i] = (bk_str){copy, len};
        v->score[i] = SCORE_UNUSED;
    }
    return BK_OK;
}

/* The place of a token; NULL after an error. */
static bk_str *place(const vocab *v, const json_t *id, bk_str text) {
    json_int_t i = json_integer_value(id);
    if (json_is_integer(id) && i >= 0 && (uint64_t)i < v->n) return &v->text[i];
    bk_fail(v->h->err, BK_ERR_FORMAT,
            "tokenizer.json: token '" BK_STR_FMT "' has id %lld, wanted 0 to %zu (the rows of the "
            "embedding)",
            (int)bk_min_size(text.len, 64), text.data, (long long)i, v->n - 1);
    return NULL;
}

static bk_status add_bpe_tokens(vocab *v) {
    const char *key;
    json_t *id, *list = json_object_get(v->model, "vocab");
    if (!json_is_object(list)) return fail(v, "'model.vocab' is missing; wanted an object");
    json_object_foreach(list, key, id) {
        bk_str text = bk_str_from(key), *p = place(v, id, text);
        if (!p) return BK_ERR_FORMAT;
        if (p->data)
            return bk_fail(v->h->err, BK_ERR_FORMAT, "tokenizer.json: two tokens have id %lld",
                           (long long)json_integer_value(id));
        *p = text;
        v->types[p - v->text] = BK_TOKEN_NORMAL;
    }
    return BK_OK;
}

static bk_status add_unigram_tokens(vocab *v) {
    const json_t *list = json_object_get(v->model, "vocab");
    size_t n = json_array_size(list);
    if (n == 0 || n > v->n)
        return bk_fail(
            v->h->err, BK_ERR_FORMAT,
            "tokenizer.json: 'model.vocab' has %zu pieces, wanted a list of 1 to %zu (the "
            "rows of the embedding)",
            n, v->n);
    for (size_t i = 0; i < n; i++) {
        const json_t *piece = json_array_get(list, i), *score = json_array_get(piece, 1);
        v->text[i] = bk_json_text(json_array_get(piece, 0));
        v->score[i] = (float)json_number_value(score);
        v->types[i] = BK_TOKEN_NORMAL;
        if (!v->text[i].data || !json_is_number(score) || !isfinite(v->score[i]))
            return fail(v, "a piece of 'model.vocab' is not a text and a number");
    }
    return BK_OK;
}

/* Names that mean a control token though some files do not say so, as converters take them. */
static bool looks_special(bk_str s) {
    static const char *const names[] = {"<pad>", "<mask>", "<2mass>", "[@BOS@]"};
    static const char *const ends[][2] = {{"<|", "|>"}, {"<｜", "｜>"}, {"<unused", ">"}};
    for (size_t i = 0; i < BK_ARRAY_LEN(names); i++)
        if (bk_str_eq(s, bk_str_from(names[i]))) return true;
    for (size_t i = 0; i < BK_ARRAY_LEN(ends); i++) {
        bk_str last = bk_str_from(ends[i][1]);
        if (s.len >= strlen(ends[i][0]) + last.len && bk_str_starts(s, bk_str_from(ends[i][0])) &&
            memcmp(s.data + s.len - last.len, last.data, last.len) == 0)
            return true;
    }
    return false;
}

/* U+2581 stands for a space where text is normalised; these tokens are found in text as it is. */
static bk_str with_spaces(vocab *v, bk_str s) {
    static const char mark[] = "\xe2\x96\x81";
    char *out = bk_arena_alloc(&v->arena, s.len ? s.len : 1, 1);
    size_t n = 0;
    for (size_t i = 0; out && i < s.len;) {
        bool hit = s.len - i >= 3 && memcmp(s.data + i, mark, 3) == 0;
        out[n++] = hit ? ' ' : s.data[i];
        i += hit ? 3 : 1;
    }
    return (bk_str){out, n};
}

static bk_status add_added_tokens(vocab *v) {
    const json_t *list = json_object_get(v->h->tokenizer, "added_tokens");
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *entry = json_array_get(list, i);
        bk_str text = bk_json_text(json_object_get(entry, "content"));
        if (!text.data) return fail(v, "one of 'added_tokens' has no 'content'");
        bk_str *p = place(v, json_object_get(entry, "id"), text);
        if (!p) return BK_ERR_FORMAT;
        bool special = json_is_true(json_object_get(entry, "special")) || looks_special(text);
        *p = special ? text : with_spaces(v, text);
        if (!p->data) return no_memory(v);
        v->types[p - v->text] = special ? BK_TOKEN_CONTROL : BK_TOKEN_USER_DEFINED;
        v->score[p - v->text] = SCORE_ADDED;
    }
    return BK_OK;
}

static bool is_byte(bk_str s) {
    static const char digits[] = "0123456789ABCDEF";
    return s.len == 6 && memcmp(s.data, "<0x", 3) == 0 && s.data[5] == '>' &&
           memchr(digits, s.data[3], 16) && memchr(digits, s.data[4], 16);
}

/* Of a vocabulary with scores: the tokens for bytes, and the one for what is unknown. */
static void mark_bytes_and_unknown(vocab *v) {
    bk_str unknown = bk_json_text(json_object_get(v->model, "unk_token"));
    const json_t *id = json_object_get(v->model, "unk_id");
    for (size_t i = 0; i < v->n; i++) {
        bk_str s = v->text[i];
        if (!s.data) continue;
        if (is_byte(s)) v->types[i] = BK_TOKEN_BYTE, v->score[i] = 0;
        if ((unknown.data && bk_str_eq(s, unknown)) ||
            (json_is_integer(id) && (size_t)json_integer_value(id) == i))
            v->types[i] = BK_TOKEN_UNKNOWN;
    }
}

/* ---- Merges --------------------------------------------------------------------------------- */

/* A merge is "left right", or since some tokens hold spaces ["left", "right"]. */
static bool merge_parts(const json_t *merge, bk_str *left, bk_str *right) {
    *left = bk_json_text(json_array_get(merge, 0));
    *right = bk_json_text(json_array_get(merge, 1));
    bk_str s = bk_json_text(merge);
    const char *space = s.len > 1 ? memchr(s.data + 1, ' ', s.len - 1) : NULL;
    if (space) {
        *left = (bk_str){s.data, (size_t)(space - s.data)};
        *right = (bk_str){space + 1, s.len - left->len - 1};
    }
    return left->len > 0 && right->len > 0;
}

/* For GGUF, which has a space between the parts: one inside a part becomes the character that
 * byte-level alphabets have for it. */
static void append_part(bk_buf *out, bk_str s) {
    for (size_t i = 0; i < s.len; i++) {
        if (s.data[i] == ' ')
            bk_buf_append_str(out, "\xc4\xa0");
        else
            bk_buf_putc(out, s.data[i]);
    }
}

static bk_status add_merges(const vocab *v, const json_t *merges) {
    size_t n = json_array_size(merges);
    bk_buf text = {0};
    bk_str *list = bk_alloc(n, sizeof *list), left, right;
    bk_status status = list ? BK_OK : no_memory(v);
    for (size_t i = 0; status == BK_OK && i < n; i++) {
        size_t begin = text.len;
        if (!merge_parts(json_array_get(merges, i), &left, &right))
            status = fail(v, "one of 'model.merges' is not two parts");
        append_part(&text, left);
        bk_buf_putc(&text, ' ');
        append_part(&text, right);
        list[i].len = text.len - begin;
    }
    if (status == BK_OK && text.failed) status = no_memory(v);
    if (status == BK_OK) {
        size_t at = 0;
        for (size_t i = 0; i < n; i++) list[i].data = text.data + at, at += list[i].len;
        bk_gguf_builder_strs(v->h->b, "tokenizer.ggml.merges", list, n);
    }
    bk_free(list);
    bk_buf_free(&text);
    return status;
}

/* SentencePiece merges the pair whose result scores best, and its scores are minus the order in which
 * results came up in training; so is this. */
static bk_status score_by_merges(vocab *v, const json_t *merges) {
    const json_t *ids = json_object_get(v->model, "vocab");
    bk_buf joined = {.limit = 1 << 20};
    bk_status status = BK_OK;
    size_t rank = 0;
    bk_str left, right;
    for (size_t i = 0; status == BK_OK && i < json_array_size(merges); i++) {
        if (!merge_parts(json_array_get(merges, i), &left, &right)) {
            status = fail(v, "one of 'model.merges' is not two parts");
            break;
        }
        bk_buf_clear(&joined);
        bk_buf_append(&joined, left.data, left.len);
        bk_buf_append(&joined, right.data, right.len);
        const json_t *id = joined.failed ? NULL : json_object_get(ids, joined.data);
        if (joined.failed)
            status = no_memory(v);
        else if (!id)
            status = fail(v, "one of 'model.merges' gives what is no token");
        /* The ids have been checked when the tokens were added. */
        if (id && isnan(v->score[json_integer_value(id)]))
            v->score[json_integer_value(id)] = -(float)rank++;
    }
    for (size_t i = 0; i < v->n; i++)
        if (isnan(v->score[i])) v->score[i] = -(float)rank++;
    bk_buf_free(&joined);
    return status;
}

/* ---- Normalisation -------------------------------------------------------------------------- */

typedef struct spaces {
    bool prefix, remove_extra;
    bk_str charsmap; /* base64 */
} spaces;

/* What normalizer and pre_tokenizer (objects, or sequences of such) do with spaces. */
static void look_at_spaces(const json_t *step, int depth, spaces *s) {
    bk_str type = bk_json_text(json_object_get(step, "type"));
    static const char *const lists[] = {"normalizers", "pretokenizers"};
    for (size_t k = 0; depth < 4 && k < BK_ARRAY_LEN(lists); k++) {
        const json_t *list = json_object_get(step, lists[k]);
        for (size_t i = 0; i < json_array_size(list); i++)
            look_at_spaces(json_array_get(list, i), depth + 1, s);
    }
    if (bk_str_eq(type, BK_STR("Prepend"))) s->prefix = true;
    if (bk_str_eq(type, BK_STR("WhitespaceSplit"))) s->remove_extra = true;
    if (bk_str_eq(type, BK_STR("Precompiled")))
        s->charsmap = bk_json_text(json_object_get(step, "precompiled_charsmap"));
    if (bk_str_eq(type, BK_STR("Metaspace"))) {
        bk_str scheme = bk_json_text(json_object_get(step, "prepend_scheme"));
        s->prefix = scheme.data ? !bk_str_eq(scheme, BK_STR("never"))
                                : !json_is_false(json_object_get(step, "add_prefix_space"));
    }
    bk_str regex = bk_json_text(json_object_get(json_object_get(step, "pattern"), "Regex"));
    if (bk_str_eq(type, BK_STR("Replace")) && bk_str_eq(regex, BK_STR(" {2,}")))
        s->remove_extra = true;
}

static int base64_value(char c) {
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const char *at = memchr(digits, c, 64);
    return at ? (int)(at - digits) : -1;
}

static bk_status add_charsmap(const vocab *v, bk_str text) {
    bk_buf out = {0};
    unsigned bits = 0, n_bits = 0;
    while (text.len && text.data[text.len - 1] == '=') text.len--;
    for (size_t i = 0; i < text.len; i++) {
        int value = base64_value(text.data[i]);
        if (value < 0) {
            bk_buf_free(&out);
            return fail(v, "'precompiled_charsmap' is not base64");
        }
        bits = bits << 6 | (unsigned)value;
        n_bits += 6;
        if (n_bits >= 8) bk_buf_putc(&out, (char)(bits >> (n_bits -= 8) & 0xFF));
    }
    bk_status status = out.failed ? no_memory(v) : BK_OK;
    if (status == BK_OK && out.len)
        bk_gguf_builder_u8s(v->h->b, "tokenizer.ggml.precompiled_charsmap", (uint8_t *)out.data,
                            out.len);
    bk_buf_free(&out);
    return status;
}

/* The keys that only vocabularies with scores have. */
static bk_status add_spaces(const vocab *v, bool unigram) {
    spaces s = {0};
    look_at_spaces(json_object_get(v->h->tokenizer, "normalizer"), 0, &s);
    look_at_spaces(json_object_get(v->h->tokenizer, "pre_tokenizer"), 0, &s);
    bk_gguf_builder_bool(v->h->b, "tokenizer.ggml.add_space_prefix", s.prefix);
    if (!unigram) return BK_OK;
    bk_gguf_builder_bool(v->h->b, "tokenizer.ggml.remove_extra_whitespaces", s.remove_extra);
    return add_charsmap(v, s.charsmap);
}

/* ---- The vocabulary ------------------------------------------------------------------------- */

static void add_lists(const vocab *v, const char *model, const char *pre, bool scores) {
    bk_gguf_builder *b = v->h->b;
    bk_gguf_builder_str(b, "tokenizer.ggml.model", bk_str_from(model));
    bk_gguf_builder_str(b, "tokenizer.ggml.pre", bk_str_from(pre));
    bk_gguf_builder_strs(b, "tokenizer.ggml.tokens", v->text, v->n);
    if (scores) bk_gguf_builder_f32s(b, "tokenizer.ggml.scores", v->score, v->n);
    bk_gguf_builder_i32s(b, "tokenizer.ggml.token_type", v->types, v->n);
}

static bk_status add_byte_level(vocab *v, const json_t *merges) {
    const char *pre;
    bk_status s = bk_hf_find_pre(v->h, &pre);
    if (s == BK_OK) s = name_unused(v);
    if (s != BK_OK) return s;
    add_lists(v, "gpt2", pre, false);
    const json_t *prefix = json_object_get(v->h->tokenizer_config, "add_prefix_space");
    if (json_is_boolean(prefix))
        bk_gguf_builder_bool(v->h->b, "tokenizer.ggml.add_space_prefix", json_is_true(prefix));
    return add_merges(v, merges);
}

static bk_status add_scored(vocab *v, const json_t *merges) {
    bk_status s = BK_OK;
    mark_bytes_and_unknown(v);
    if (merges) s = score_by_merges(v, merges);
    if (s == BK_OK) s = name_unused(v);
    if (s != BK_OK) return s;
    add_lists(v, merges ? "llama" : "t5", "default", true);
    return add_spaces(v, !merges);
}

static bk_status add_model(vocab *v) {
    bk_str type = bk_json_text(json_object_get(v->model, "type"));
    const json_t *merges = json_object_get(v->model, "merges");
    bool unigram = bk_str_eq(type, BK_STR("Unigram"));
    bool bpe = json_is_array(merges) && (!type.data || bk_str_eq(type, BK_STR("BPE")));
    if (!bpe && !unigram)
        return bk_fail(v->h->err, BK_ERR_UNSUPPORTED,
                       "tokenizer.json: model '" BK_STR_FMT "' found; wanted BPE (with merges) or "
                       "Unigram",
                       (int)bk_min_size(type.len, 64), type.data ? type.data : "");
    bk_status s = bpe ? add_bpe_tokens(v) : add_unigram_tokens(v);
    if (s == BK_OK) s = add_added_tokens(v);
    if (s != BK_OK) return s;
    if (bpe && !json_is_true(json_object_get(v->model, "byte_fallback")))
        return add_byte_level(v, merges);
    return add_scored(v, bpe ? merges : NULL);
}

bk_status bk_hf_add_vocab(bk_hf *h, size_t n_vocab) {
    vocab v = {.h = h, .n = n_vocab, .model = json_object_get(h->tokenizer, "model")};
    bk_status s = fill_unused(&v);
    if (s == BK_OK) s = add_model(&v);
    bk_arena_free(&v.arena);
    return s;
}
