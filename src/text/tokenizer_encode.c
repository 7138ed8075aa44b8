/* Text to ids: special tokens, normalisation, pieces, merges. */
#include "base/buf.h"
#include "base/mem.h"
#include "text/tokenizer_internal.h"
#include "text/word.h"

/* Positions within a piece are 31-bit, and a buffer for normalised text must not overflow. */
#define MAX_TEXT ((size_t)1 << 30)

bool bk_ids_push(bk_ids *ids, int32_t id) {
    if (ids->len == ids->cap) {
        size_t cap = bk_max_size(64, ids->cap + ids->cap / 2);
        int32_t *data = bk_realloc(ids->data, cap, sizeof *data);
        if (!data) return false;
        ids->data = data;
        ids->cap = cap;
    }
    ids->data[ids->len++] = id;
    return true;
}

void bk_ids_free(bk_ids *ids) {
    bk_free(ids->data);
    *ids = (bk_ids){0};
}

static bool encode_piece(bk_tok_encoder *e, bk_str piece) {
    const bk_tokenizer *t = e->t;
    if (t->rules.ignore_merges) {
        int32_t id = bk_tok_lookup(t, piece);
        if (id >= 0) return bk_ids_push(e->out, id);
    }
    if (!bk_bpe_reserve(&e->work, piece.len)) return false;
    size_t n = 0;
    for (size_t i = 0; i < piece.len; i++) {
        int32_t id = t->byte_id[(unsigned char)piece.data[i]];
        /* Bytes that the vocabulary lacks vanish and their neighbours meet, as they do in Hugging
         * Face's tokenizers. */
        if (id >= 0) e->work.symbols[n++].id = id;
    }
    n = bk_bpe_merge(&t->bpe, &e->work, n);
    for (size_t i = 0; i < n; i++)
        if (!bk_ids_push(e->out, e->work.symbols[i].id)) return false;
    return true;
}

static bool encode_pieces(bk_tok_encoder *e, bk_str text) {
    bk_str piece;
    bk_cut_begin(&e->cut, &e->t->rules, text);
    while (bk_cut_next(&e->cut, &piece))
        if (!encode_piece(e, piece)) return false;
    return !e->cut.work.failed;
}

/* The token of a word at the beginning of a text, where add_space puts a space in front; -1 also for what
 * takes no space. */
static int32_t spaced_word(const bk_tokenizer *t, bk_str word) {
    char text[256] = " ";
    if (word.len >= sizeof text) return -1;
    memcpy(text + 1, word.data, word.len);
    if (bk_word_next(text, word.len + 1) != word.len + 1) return -1;
    return bk_tok_lookup(t, (bk_str){text, word.len + 1});
}

static bool encode_words(bk_tok_encoder *e, bk_str text, bool first) {
    for (size_t pos = 0, n; pos < text.len; pos += n) {
        n = bk_word_next(text.data + pos, text.len - pos);
        bk_str word = {text.data + pos, n};
        int32_t id = first && pos == 0 && e->t->add_space ? spaced_word(e->t, word) : -1;
        if (id < 0) id = bk_tok_lookup(e->t, word);
        if (!bk_ids_push(e->out, id >= 0 ? id : e->t->unk)) return false;
    }
    return true;
}

static bool encode_prepared(bk_tok_encoder *e, bk_str text, bool first, bool last) {
    if (e->t->model == BK_TOK_WORD) return encode_words(e, text, first);
    if (e->t->model != BK_TOK_GPT2) return bk_tok_encode_chars(e, text, first, last);
    if (!e->t->rules.nfc || !bk_normal_needed(BK_NFC, text)) return encode_pieces(e, text);
    bk_buf normal = {.limit = 3 * text.len + 16};
    bool ok = bk_normal_append(BK_NFC, text, &normal) && encode_pieces(e, bk_buf_view(&normal));
    bk_buf_free(&normal);
    return ok;
}

/* Text without special tokens; first and last: no USER_DEFINED token is before or behind it. */
static bool encode_plain(bk_tok_encoder *e, bk_str text, bool first, bool last) {
    bk_text_rules rules = e->t->prepare;
    if (!rules.form && !rules.casefold) return encode_prepared(e, text, first, last);
    bk_prepared p;
    bool ok = bk_text_prepare(rules, text, &p) && encode_prepared(e, p.text, first, last);
    bk_prepared_free(&p);
    return ok;
}

/* From pos to where the next plain range begins; 0 inside of one. *at is the first range that does
 * not end before pos. */
static size_t room_for_control(const bk_span *plain, size_t n_plain, size_t *at, size_t pos) {
    while (*at < n_plain && plain[*at].end <= pos) ++*at;
    if (*at == n_plain) return SIZE_MAX;
    return plain[*at].begin > pos ? plain[*at].begin - pos : 0;
}

static bool encode_text(bk_tok_encoder *e, bk_str text, const bk_span *plain, size_t n_plain) {
    const bk_tokenizer *t = e->t;
    size_t begin = 0, pos = 0, at = 0;
    bool first = true, all_plain = n_plain == 1 && plain->begin == 0 && plain->end >= text.len;
    const bool *maybe = all_plain ? t->user_first : t->special_first;
    while (pos < text.len) {
        if (!maybe[(unsigned char)text.data[pos]]) {
            pos++;
            continue;
        }
        size_t room = room_for_control(plain, n_plain, &at, pos);
        int32_t id = bk_tok_match_special(t, (bk_str){text.data + pos, text.len - pos}, room);
        if (id < 0) {
            pos++;
            continue;
        }
        bool control = (t->info[id] & BK_INFO_TYPE) == BK_TOKEN_CONTROL;
        bk_str before = {text.data + begin, pos - begin};
        bool ok = before.len == 0 && first && !control ? bk_tok_put_space(e)
                                                       : encode_plain(e, before, first, control);
        if (!ok || !bk_ids_push(e->out, id)) return false;
        first = control;
        begin = pos += bk_tok_name(t, id).len;
    }
    return encode_plain(e, (bk_str){text.data + begin, text.len - begin}, first, true);
}

bk_status bk_tokenizer_encode_marked(const bk_tokenizer *t, bk_str text, const bk_span *plain,
                                     size_t n_plain, bk_ids *out, bk_error *err) {
    if (text.len > MAX_TEXT)
        return bk_fail(err, BK_ERR_LIMIT,
                       "a text of %zu bytes, wanted at most %zu; send it in parts", text.len,
                       MAX_TEXT);
    bk_tok_encoder e = {.t = t, .out = out};
    size_t before = out->len;
    bool ok = encode_text(&e, text, plain, n_plain);
    bk_bpe_work_free(&e.work);
    bk_cut_free(&e.cut);
    bk_free(e.nodes);
    bk_free(e.way);
    bk_free(e.steps);
    if (ok) return BK_OK;
    out->len = before;
    return bk_fail(err, BK_ERR_NOMEM, "no memory to tokenise %zu bytes", text.len);
}

bk_status bk_tokenizer_encode(const bk_tokenizer *t, bk_str text, bool parse_special, bk_ids *out,
                              bk_error *err) {
    bk_span all = {0, text.len};
    return bk_tokenizer_encode_marked(t, text, &all, parse_special ? 0 : 1, out, err);
}
