/* Fuzz target: text before learning. The first byte chooses: a list of stop words up to an empty line,
 * then a text; or a vocabulary of the text, which must give the text back; normal forms. */
#include <stdint.h>
#include <stdlib.h>

#include "base/buf.h"
#include "base/mem.h"
#include "measure/ngram.h"
#include "text/stop_words.h"
#include "text/vocab_train.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool ok) {
    if (!ok) abort();
}

static void fuzz_stop_words(bk_str input) {
    bk_stop_words *w = NULL;
    bk_error err = {0};
    bk_buf once = {0}, twice = {0};
    size_t end = 0;
    while (end + 1 < input.len && memcmp(input.data + end, "\n\n", 2) != 0) end++;
    bk_str text = {input.data + end, input.len - end};
    if (bk_stop_words_parse((bk_str){input.data, end}, &w, &err)) {
        require(!w && err.text[0]);
        return;
    }
    require(bk_stop_words_apply(w, text, &once) && once.len <= text.len);
    require(bk_stop_words_apply(w, bk_buf_view(&once), &twice) && twice.len <= once.len);
    bk_buf_free(&once);
    bk_buf_free(&twice);
    bk_stop_words_destroy(&w);
}

/* A normal form is its own, and valid text stays valid. */
static void fuzz_forms(bk_text_rules rules, bk_str text) {
    bk_prepared p, again;
    require(bk_text_prepare(rules, text, &p));
    if (bk_utf8_valid_len(text.data, text.len) == text.len)
        require(bk_utf8_valid_len(p.text.data, p.text.len) == p.text.len);
    rules.casefold = false;
    require(bk_text_prepare(rules, p.text, &again) && bk_str_eq(p.text, again.text));
    bk_prepared_free(&p);
    bk_prepared_free(&again);
}

static void check_floor(const bk_ids *ids) {
    bk_ngram_loss loss;
    if (ids->len < 2) return;
    require(!bk_ngram_floor(ids->data, ids->len, ids->len / 2, 0, 3, NULL, &loss, NULL));
    require(loss.order[3] >= 0 && loss.order[3] < 100 && loss.n == ids->len - ids->len / 2);
}

static void fuzz_vocab(const bk_vocab_options *o, bk_str text) {
    bk_vocab *v = NULL;
    bk_tokenizer *t = NULL;
    bk_ids ids = {0};
    bk_buf bytes = {0};
    bk_error err = {0};
    bk_prepared p;
    if (bk_vocab_train(o, text, &v, &err)) {
        require(!v && err.text[0]);
        return;
    }
    require(!bk_tokenizer_create(bk_vocab_desc(v), &t, &err));
    require(!bk_tokenizer_encode(t, text, false, &ids, &err));
    bool unknown = false;
    for (size_t i = 0; i < ids.len; i++) {
        bk_str b = bk_tokenizer_bytes(t, ids.data[i]);
        unknown |= bk_tokenizer_type(t, ids.data[i]) == BK_TOKEN_UNKNOWN;
        require(bk_buf_append(&bytes, b.data, b.len));
    }
    require(bk_text_prepare(o->prepare, text, &p));
    bool sign = o->kind == BK_VOCAB_CHAR && p.text.len && memchr(p.text.data, '\xE2', p.text.len);
    if (!unknown && !sign) require(bk_str_eq(bk_buf_view(&bytes), p.text));
    if (o->kind == BK_VOCAB_BPE) require(!unknown);
    check_floor(&ids);
    bk_prepared_free(&p);
    bk_buf_free(&bytes);
    bk_ids_free(&ids);
    bk_tokenizer_destroy(&t);
    bk_vocab_destroy(&v);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 2) return 0;
    bk_str text = {(const char *)data + 2, size - 2};
    bk_vocab_options o = {.kind = (bk_vocab_kind)(data[0] % 4),
                          .prepare = {(bk_normal_form)(data[0] / 4 % 5), data[0] >= 128},
                          .end_of_text = data[1] & 1,
                          .bytes = data[1] & 2,
                          .min_count = data[1] >> 2 & 3};
    if (data[0] % 4 == 3) {
        fuzz_stop_words(text);
        fuzz_forms(o.prepare, text);
        return 0;
    }
    if (o.kind == BK_VOCAB_BPE || data[1] & 64) o.size = 258u + data[1];
    fuzz_vocab(&o, text);
    return 0;
}
