#include "train/data.h"

#include <string.h>

#include "base/mem.h"
#include "base/rng.h"
#include "measure/ngram.h"
#include "model/model.h"
#include "sys/file.h"
#include "text/stop_words.h"
#include "train/task.h"

/* ---- Reading ------------------------------------------------------------------------------------ */

/* Characters, and how many bytes are none. */
static void count_chars(bk_str text, uint64_t *chars, uint64_t *bad) {
    *chars = *bad = 0;
    for (size_t at = 0; at < text.len; ++*chars) {
        uint32_t cp;
        at += bk_utf8_decode(text.data + at, text.len - at, &cp);
        *bad += cp == 0xFFFFFFFF;
    }
}

/* A few broken characters are no reason to refuse a text. */
static bk_status check_text(const char *path, bk_str text, bk_error *err) {
    uint64_t chars, bad;
    const char *zero = text.len ? memchr(text.data, '\0', text.len) : NULL;
    count_chars(text, &chars, &bad);
    if (text.len == 0) return bk_fail(err, BK_ERR_FORMAT, "%s is empty: a text is wanted", path);
    if (zero)
        return bk_fail(err, BK_ERR_FORMAT, "%s is no text: there is a zero byte at %zu", path,
                       (size_t)(zero - text.data));
    if (bad > 16 + chars / 100)
        return bk_fail(err, BK_ERR_FORMAT,
                       "%s is no text: %llu of %llu characters are not UTF-8; convert it", path,
                       (unsigned long long)bad, (unsigned long long)chars);
    return BK_OK;
}

/* Takes the stop words out of a text. */
static bk_status leave_out(const char *lists, bk_buf *text, bk_error *err) {
    bk_buf rest = {.limit = text->limit};
    bk_stop_words *words = NULL;
    bk_status st = bk_stop_words_open(lists, &words, err);
    if (!st && !bk_stop_words_apply(words, bk_buf_view(text), &rest))
        st = bk_fail(err, BK_ERR_NOMEM, "no memory for the text without its stop words");
    bk_stop_words_destroy(&words);
    if (!st) {
        bk_buf swap = *text;
        *text = rest;
        rest = swap;
    }
    bk_buf_free(&rest);
    return st;
}

static bk_status read_text(const bk_train_options *o, bk_buf *out, bk_error *err) {
    bk_status st = bk_file_read(o->data, out, err);
    if (!st) st = check_text(o->data, bk_buf_view(out), err);
    if (!st && o->stop_words) st = leave_out(o->stop_words, out, err);
    if (!st && out->len == 0)
        st = bk_fail(err, BK_ERR_FORMAT, "%s has nothing but stop words", o->data);
    return st;
}

/* Where the part held out begins: at a character. */
static size_t cut_of(bk_str text, float share) {
    size_t at = text.len - (size_t)((double)text.len * (double)share);
    while (at < text.len && ((uint8_t)text.data[at] & 0xC0) == 0x80) at++;
    return at;
}

/* ---- Vocabulary --------------------------------------------------------------------------------- */

/* What of a model's keys goes along: those of the tokenizer and of the model in general. */
static void keep_keys(const bk_gguf *old, bk_gguf_builder *b) {
    bk_gguf_builder_keys_of(b, old);
    for (size_t i = 0; i < bk_gguf_n_kv(old); i++) {
        bk_str key = bk_gguf_kv_at(old, i)->key;
        char name[256];
        if (bk_str_starts(key, BK_STR("tokenizer.")) || bk_str_starts(key, BK_STR("general.")) ||
            key.len >= sizeof name)
            continue;
        memcpy(name, key.data, key.len);
        name[key.len] = '\0';
        bk_gguf_builder_remove(b, name);
    }
}

static bk_status make_vocab(const bk_train_options *o, bk_str text, bk_gguf_builder *b,
                            bk_text *out, bk_error *err) {
    bk_vocab_options vo = {.kind = o->vocab, .size = (size_t)o->vocab_size};
    bk_vocab *vocab = NULL;
    bk_status st = BK_OK;
    if (!vo.size && o->vocab == BK_VOCAB_WORD) vo.size = 8192;
    if (!vo.size && o->vocab == BK_VOCAB_BPE) vo.size = 1024;
    vo.prepare.casefold = o->casefold;
    if (o->normalize) st = bk_normal_find(bk_str_from(o->normalize), &vo.prepare.form, err);
    if (st) return st;
    if (!bk_train_progress(o, "making the vocabulary", 0, err)) return BK_ERR_CANCELLED;
    st = bk_vocab_train(&vo, text, &vocab, err);
    if (st) return st;
    bk_vocab_write(bk_vocab_desc(vocab), b);
    st = bk_tokenizer_create(bk_vocab_desc(vocab), &out->tokenizer, err);
    bk_vocab_destroy(&vocab);
    return st;
}

static bk_status open_vocab(const bk_train_options *o, const bk_gguf *old, bk_str text,
                            bk_text *out, bk_error *err) {
    bk_gguf_builder *b = bk_gguf_builder_create();
    bk_status st;
    if (old) {
        if (b) keep_keys(old, b);
        st = bk_vocab_read(old, NULL, &out->tokenizer, err);
    } else {
        st = make_vocab(o, text, b, out, err);
    }
    if (st) {
        bk_gguf_builder_destroy(&b);
        return st;
    }
    return bk_gguf_builder_finish(&b, &out->keys, err);
}

/* ---- A text ------------------------------------------------------------------------------------- */

/* FNV-1a (Fowler, Noll, Vo 1991) over the ids as little-endian words. */
static uint64_t hash_ids(const bk_ids *ids, size_t cut) {
    uint64_t h = 0xCBF29CE484222325u ^ cut;
    for (size_t i = 0; i < ids->len; i++)
        for (int k = 0; k < 4; k++)
            h = (h ^ ((uint32_t)ids->data[i] >> 8 * k & 0xFF)) * 0x100000001B3u;
    return h;
}

static bk_status encode(const bk_train_options *o, bk_str text, size_t cut, bk_text *out,
                        bk_error *err) {
    bk_str head = {text.data, cut}, tail = {text.data + cut, text.len - cut};
    uint64_t bad;
    if (!bk_train_progress(o, "reading the text", 0, err)) return BK_ERR_CANCELLED;
    bk_status st = bk_tokenizer_encode(out->tokenizer, head, false, &out->ids, err);
    out->n_train = out->ids.len;
    if (!st) st = bk_tokenizer_encode(out->tokenizer, tail, false, &out->ids, err);
    count_chars(tail, &out->valid_chars, &bad);
    out->hash = hash_ids(&out->ids, out->n_train);
    return st;
}

static bk_status count(const bk_train_options *o, bk_text *t, bk_error *err) {
    bk_ngram_loss loss;
    if (o->floor_order == 0 || t->n_train == 0 || t->n_train == t->ids.len) return BK_OK;
    if (!bk_train_progress(o, "counting", 0, err)) return BK_ERR_CANCELLED;
    bk_status st =
        bk_ngram_floor(t->ids.data, t->ids.len, t->n_train, bk_tokenizer_count(t->tokenizer),
                       o->floor_order, o->cancel, &loss, err);
    if (!st) t->floor = loss.order[loss.n_orders - 1];
    return st;
}

bk_status bk_text_open(const bk_train_options *o, const bk_gguf *old, bk_text *out, bk_error *err) {
    bk_buf file = {.limit = (size_t)1 << 36};
    *out = (bk_text){0};
    bk_status st = read_text(o, &file, err);
    if (!st) {
        bk_str text = bk_buf_view(&file);
        size_t cut = cut_of(text, o->valid_share);
        st = open_vocab(o, old, (bk_str){text.data, cut}, out, err);
        if (!st) st = encode(o, text, cut, out, err);
        if (!st) st = count(o, out, err);
    }
    bk_buf_free(&file);
    if (st) bk_text_free(out);
    return st;
}

void bk_text_free(bk_text *t) {
    bk_tokenizer_destroy(&t->tokenizer);
    bk_gguf_destroy(&t->keys);
    bk_ids_free(&t->ids);
}

/* ---- Windows ------------------------------------------------------------------------------------ */

static void put(const bk_window *w, size_t b, size_t t, const int32_t *at, bool wanted) {
    size_t row = bk_window_row(w, b, t);
    w->ids[row] = wanted ? at[0] : 0;
    w->targets[row] = wanted ? at[1] : -1;
}

void bk_window_random(const bk_window *w, const int32_t *ids, size_t n, uint64_t seed,
                      uint64_t index) {
    bk_rng rng;
    bk_rng_seed(&rng, seed, index);
    for (size_t b = 0; b < w->B; b++) {
        size_t from = (size_t)(bk_rng_unit(&rng) * (double)(n - w->T));
        for (size_t t = 0; t < w->T; t++) put(w, b, t, ids + from + t, true);
    }
}

size_t bk_window_streams(const bk_window *w, const int32_t *ids, size_t n, size_t at) {
    size_t len = bk_stream_len(n, w->B), wanted = 0;
    for (size_t b = 0; b < w->B; b++) {
        for (size_t t = 0; t < w->T; t++) {
            size_t i = b * len + at + t;
            bool there = at + t < len && i + 1 < n;
            put(w, b, t, ids + (there ? i : 0), there);
            wanted += there;
        }
    }
    return wanted;
}
