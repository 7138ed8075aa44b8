/* The models whose units are characters: SentencePiece's BPE and Unigram, and BPE with merges over
 * characters. Names have their spaces back (add_token), so a text needs no escaping. */
#include "base/mem.h"
#include "text/tokenizer_internal.h"

/* ---- Tables ------------------------------------------------------------------------------------- */

/* Ranks in the order of falling scores: a float's bits, read as a number, are in the order of the
 * floats once negative ones are turned round. */
static uint32_t rank_of(float score) {
    uint32_t bits;
    score += 0.0f; /* -0 is 0 */
    memcpy(&bits, &score, sizeof bits);
    uint32_t ascending = bits >> 31 ? ~bits : bits | 1u << 31;
    return ~ascending - 1 + (ascending == UINT32_MAX); /* never BK_BPE_NONE */
}

/* Where no name has a space inside, merges never cross the gap before a word: texts are cut there, so
 * that the work on each piece is in the cache. */
static void note_name(bk_tokenizer *t, bk_str name) {
    t->longest = bk_max_size(t->longest, name.len);
    if (name.len < 2) return;
    const char *end = name.data + name.len, *at = name.data + 1;
    for (; (at = memchr(at, ' ', (size_t)(end - at))); at++)
        if (at[-1] != ' ') t->joins_space[(unsigned char)at[-1]] = true;
}

static bk_status build_ranks(bk_tokenizer *t, const float *scores, bk_error *err) {
    t->rank = bk_alloc(t->n_tokens, sizeof *t->rank);
    if (!t->rank) return bk_fail(err, BK_ERR_NOMEM, "no memory for %zu scores", t->n_tokens);
    for (size_t i = 0; i < t->n_tokens; i++) t->rank[i] = rank_of(scores[i]);
    return BK_OK;
}

bk_status bk_tok_build_chars(bk_tokenizer *t, const bk_tokenizer_desc *desc, bk_error *err) {
    if (t->model != BK_TOK_MERGES && !desc->scores)
        return bk_fail(err, BK_ERR_FORMAT,
                       "key 'tokenizer.ggml.scores' is missing, wanted one "
                       "score per token");
    for (size_t i = 0; i < t->n_tokens; i++)
        if (t->info[i] & BK_INFO_KEYED) note_name(t, bk_tok_name(t, (int32_t)i));
    t->squeeze = desc->squeeze;
    bk_status st = bk_charsmap_create(desc->charsmap, &t->charsmap, err);
    if (!st && t->model == BK_TOK_SCORES) st = build_ranks(t, desc->scores, err);
    if (!st && t->model == BK_TOK_UNIGRAM) st = bk_tok_build_unigram(t, desc->scores, err);
    return st;
}

/* ---- Bytes and unknown characters --------------------------------------------------------------- */

bool bk_tok_put_bytes(bk_tok_encoder *e, bk_str text) {
    const bk_tokenizer *t = e->t;
    bool unknown = false;
    for (size_t i = 0; i < text.len; i++) {
        int32_t id = t->byte_id[(unsigned char)text.data[i]];
        if (id < 0) {
            unknown = true;
        } else if (!bk_ids_push(e->out, id)) {
            return false;
        }
    }
    /* Characters without bytes that follow one another are one unknown token. */
    bool joins = unknown && e->after_unknown;
    e->after_unknown = unknown;
    return !unknown || joins || t->unk < 0 || bk_ids_push(e->out, t->unk);
}

bool bk_tok_put_token(bk_tok_encoder *e, int32_t id, bk_str text) {
    if (id < 0) return bk_tok_put_bytes(e, text);
    e->after_unknown = false;
    return bk_ids_push(e->out, id);
}

/* ---- SCORES ------------------------------------------------------------------------------------- */

typedef struct scored {
    const bk_tokenizer *t;
    bk_str word;
} scored;

enum { NOT_LOOKED_UP = -2 };

/* A symbol's position is its first byte's, so that the text of a pair is known. */
static bk_str symbol_text(const scored *c, uint32_t pos, uint32_t end) {
    size_t to = end == BK_BPE_NONE ? c->word.len : end;
    return (bk_str){c->word.data + pos, to - pos};
}

static void find_scored(const void *ctx, bk_bpe_work *w, uint32_t pos) {
    const scored *c = ctx;
    bk_bpe_symbol *s = &w->symbols[pos];
    bk_str pair = symbol_text(c, pos, w->symbols[s->next].next);
    if (pair.len > c->t->longest) return;
    int32_t id = bk_tok_lookup(c->t, pair);
    if (id < 0) return;
    s->merged = id;
    s->rank = c->t->rank[id];
}

static bool encode_scored(bk_tok_encoder *e, bk_str word) {
    if (!bk_bpe_reserve(&e->work, word.len)) return false;
    bk_bpe_symbol *s = e->work.symbols;
    uint32_t prev = BK_BPE_NONE, cp;
    for (uint32_t pos = 0; pos < word.len;) {
        uint32_t next = pos + (uint32_t)bk_utf8_decode(word.data + pos, word.len - pos, &cp);
        s[pos] = (bk_bpe_symbol){.id = NOT_LOOKED_UP, .prev = prev};
        s[pos].next = next < word.len ? next : BK_BPE_NONE;
        prev = pos;
        pos = next;
    }
    scored c = {e->t, word};
    bk_bpe_merge_linked(&e->work, find_scored, &c);
    for (uint32_t pos = 0; pos != BK_BPE_NONE; pos = s[pos].next) {
        bk_str text = symbol_text(&c, pos, s[pos].next);
        int32_t id = s[pos].id == NOT_LOOKED_UP ? bk_tok_lookup(e->t, text) : s[pos].id;
        if (!bk_tok_put_token(e, id, text)) return false;
    }
    return true;
}

/* ---- MERGES ------------------------------------------------------------------------------------- */

/* Characters that the vocabulary lacks take part as their bytes. */
static bool encode_merged(bk_tok_encoder *e, bk_str word) {
    const bk_tokenizer *t = e->t;
    if (!bk_bpe_reserve(&e->work, word.len)) return false;
    bk_bpe_symbol *s = e->work.symbols;
    size_t n = 0, len;
    uint32_t cp;
    for (size_t pos = 0; pos < word.len; pos += len) {
        len = bk_utf8_decode(word.data + pos, word.len - pos, &cp);
        int32_t id = bk_tok_lookup(t, (bk_str){word.data + pos, len});
        if (id >= 0) s[n++].id = id;
        for (size_t i = 0; i < len && id < 0; i++) {
            int32_t byte = t->byte_id[(unsigned char)word.data[pos + i]];
            if (byte >= 0) s[n++].id = byte;
        }
    }
    n = bk_bpe_merge(&t->bpe, &e->work, n);
    for (size_t i = 0; i < n; i++)
        if (!bk_ids_push(e->out, s[i].id)) return false;
    return true;
}

/* ---- Texts -------------------------------------------------------------------------------------- */

static size_t word_length(const bk_tokenizer *t, bk_str s) {
    for (size_t i = 1; i < s.len; i++)
        if (s.data[i] == ' ' && s.data[i - 1] != ' ' &&
            !t->joins_space[(unsigned char)s.data[i - 1]])
            return i;
    return s.len;
}

static bool encode_words(bk_tok_encoder *e, bk_str text) {
    for (size_t pos = 0, n; pos < text.len; pos += n) {
        bk_str rest = {text.data + pos, text.len - pos};
        n = word_length(e->t, rest);
        rest.len = n;
        bool ok = e->t->model == BK_TOK_SCORES   ? encode_scored(e, rest)
                  : e->t->model == BK_TOK_MERGES ? encode_merged(e, rest)
                                                 : bk_tok_encode_unigram(e, rest);
        if (!ok) return false;
    }
    return true;
}

bool bk_tok_encode_chars(bk_tok_encoder *e, bk_str text, bool first, bool last) {
    const bk_tokenizer *t = e->t;
    if (text.len == 0) return true;
    bk_buf normal = {.limit = SIZE_MAX / 4};
    bk_charsmap_rules rules = {first && t->add_space, t->squeeze, first, last};
    e->score = 0;
    bool ok = bk_charsmap_apply(&t->charsmap, text, rules, &normal) &&
              encode_words(e, bk_buf_view(&normal));
    bk_buf_free(&normal);
    e->after_unknown = false;
    return ok;
}

bool bk_tok_put_space(bk_tok_encoder *e) {
    return !e->t->add_space || e->t->model == BK_TOK_WORD || encode_words(e, BK_STR(" "));
}
