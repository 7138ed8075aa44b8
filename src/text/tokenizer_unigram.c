/* SentencePiece's Unigram: of all ways to split a text into names the one with the best sum of scores
 * (Kudo 2018). */
#include <float.h>

#include "base/mem.h"
#include "text/tokenizer_internal.h"

/* ---- Tables ------------------------------------------------------------------------------------- */

/* t->lengths has sets of lengths, a bit each and one for all from 31 on: of names of less than 3 bytes,
 * by the hash of the first 3 bytes those below 6, and by the hash of the first 6 bytes the others. So
 * most of what a text might begin with is not looked for. */
enum { HASH_BITS = 16, N_LENGTHS = 1 + (2 << HASH_BITS), LONG = 31, LONGEST = 255 };
enum { LONGER = 1 }; /* in a set by 3 bytes: some name has 6 or more */

static uint32_t *lengths_of(const bk_tokenizer *t, const char *s, size_t n) {
    size_t hash = bk_tok_hash((bk_str){s, n}) >> (32 - HASH_BITS);
    return &t->lengths[1 + (n == 6) * ((size_t)1 << HASH_BITS) + hash];
}

static void note_length(bk_tokenizer *t, bk_str name) {
    uint32_t bit = 1u << bk_min_size(name.len, LONG);
    if (name.len < 3) {
        *t->lengths |= bit;
    } else if (name.len < 6) {
        *lengths_of(t, name.data, 3) |= bit;
    } else {
        *lengths_of(t, name.data, 3) |= LONGER;
        *lengths_of(t, name.data, 6) |= bit;
    }
}

bk_status bk_tok_build_unigram(bk_tokenizer *t, const float *scores, bk_error *err) {
    float least = FLT_MAX;
    if (t->longest > LONGEST)
        return bk_fail(err, BK_ERR_UNSUPPORTED,
                       "tokenizer.ggml.tokens: a token of %zu bytes, wanted at most %d", t->longest,
                       LONGEST);
    t->lengths = bk_alloc_zero(N_LENGTHS, sizeof *t->lengths);
    t->scores = bk_alloc(t->n_tokens, sizeof *t->scores);
    if (!t->lengths || !t->scores)
        return bk_fail(err, BK_ERR_NOMEM, "no memory for %zu scores", t->n_tokens);
    memcpy(t->scores, scores, t->n_tokens * sizeof *scores);
    for (size_t i = 0; i < t->n_tokens; i++) {
        if (t->info[i] & BK_INFO_KEYED) note_length(t, bk_tok_name(t, (int32_t)i));
        if ((t->info[i] & BK_INFO_TYPE) == BK_TOKEN_NORMAL && scores[i] < least) least = scores[i];
    }
    t->unknown_score = least - 10.0f; /* SentencePiece's penalty */
    return BK_OK;
}

/* ---- Steps -------------------------------------------------------------------------------------- */

/* Names are found byte by byte in a trie of which only what the text needs is there: e->steps, a hash
 * table with open addressing, keeps the steps met so far. So the hundreds of thousands of other names cost
 * neither time when the vocabulary is loaded nor room in the cache. When the table is full a larger one
 * begins, empty; the largest begins anew. */
enum { FEW_BITS = 11, MORE_BITS = 3, MOST_BITS = 17, ROOT = 1 };

/* Before a walk: room for all of its steps, below 3/4 of the table. */
static bool reserve_steps(bk_tok_encoder *e) {
    size_t size = (size_t)1 << e->step_bits;
    if (e->steps && e->n_steps + LONGEST <= size / 4 * 3) return true;
    if (e->steps && e->step_bits == MOST_BITS) {
        memset(e->steps, 0, size * sizeof *e->steps);
    } else {
        e->step_bits = e->steps ? e->step_bits + MORE_BITS : FEW_BITS;
        bk_free(e->steps);
        e->steps = bk_alloc_zero((size_t)1 << e->step_bits, sizeof *e->steps);
    }
    e->n_steps = 0;
    return e->steps;
}

/* Which lengths the names have that begin like s, as far as its n bytes tell. */
static uint32_t possible_lengths(const bk_tokenizer *t, const char *s, size_t n) {
    return n < 3 ? *t->lengths : *lengths_of(t, s, n < 6 ? 3 : 6);
}

/* What the first n bytes of s are to the vocabulary. */
static bk_tok_step make_step(const bk_tokenizer *t, uint32_t key, const char *s, size_t n) {
    uint32_t set = possible_lengths(t, s, n), at = (uint32_t)bk_min_size(n, LONG);
    bk_tok_step step = {.key = key, .id = -1};
    if (set >> at & 1) step.id = bk_tok_lookup(t, (bk_str){s, n});
    if (step.id >= 0) step.score = t->scores[step.id];
    bool more = n < 3 || (n < 6 && (set & LONGER)) || set >> bk_min_size(n + 1, LONG);
    step.last = !more || n >= t->longest;
    return step;
}

/* The step from node, which is ROOT or the one to the first n - 1 bytes, to the first n; *node becomes
 * its own number. */
static const bk_tok_step *next_step(bk_tok_encoder *e, uint32_t *node, const char *s, size_t n) {
    uint32_t key = *node << 8 | (unsigned char)s[n - 1], mask = (1u << e->step_bits) - 1;
    uint32_t i = key * 0x9E3779B1u >> (32 - e->step_bits);
    while (e->steps[i].key != key && e->steps[i].key) i = (i + 1) & mask;
    if (!e->steps[i].key) {
        e->steps[i] = make_step(e->t, key, s, n);
        e->n_steps++;
    }
    *node = ROOT + 1 + i;
    return &e->steps[i];
}

/* ---- Search ------------------------------------------------------------------------------------- */

static bool reserve_nodes(bk_tok_encoder *e, size_t n) {
    if (n <= e->n_nodes) return true;
    size_t cap = bk_max_size(n, bk_max_size(256, 2 * e->n_nodes));
    bk_free(e->nodes);
    bk_free(e->way);
    e->nodes = bk_alloc(cap, sizeof *e->nodes);
    e->way = bk_alloc(cap, sizeof *e->way);
    e->n_nodes = e->nodes && e->way ? cap : 0;
    return e->n_nodes > 0;
}

static void offer(bk_tok_node *node, float score, size_t begin, int32_t id) {
    if (score > node->score) *node = (bk_tok_node){score, (uint32_t)begin, id};
}

/* Offers every token that begins at pos to the place where it ends. Names that end inside of one of the
 * text's characters do no harm: nothing goes on from there. */
static void offer_all(bk_tok_encoder *e, bk_str word, size_t pos, size_t first_len) {
    float so_far = e->nodes[pos].score;
    size_t left = word.len - pos;
    uint32_t node = ROOT;
    bool covered = false, last = false;
    for (size_t n = 1; n <= left && !last; n++) {
        const bk_tok_step *step = next_step(e, &node, word.data + pos, n);
        last = step->last;
        if (step->id < 0) continue;
        covered |= n == first_len;
        offer(&e->nodes[pos + n], so_far + step->score, pos, step->id);
    }
    if (!covered) offer(&e->nodes[pos + first_len], so_far + e->t->unknown_score, pos, -1);
}

/* The best way through the word (Viterbi 1967), in floats as SentencePiece computes it. */
bool bk_tok_encode_unigram(bk_tok_encoder *e, bk_str word) {
    if (!reserve_nodes(e, word.len + 1)) return false;
    for (size_t i = 0; i <= word.len; i++) e->nodes[i] = (bk_tok_node){-FLT_MAX, 0, -1};
    e->nodes[0].score = e->score;
    size_t len, n = 0;
    uint32_t cp;
    for (size_t pos = 0; pos < word.len; pos += len) {
        if (!reserve_steps(e)) return false;
        len = bk_utf8_decode(word.data + pos, word.len - pos, &cp);
        offer_all(e, word, pos, len);
    }
    e->score = e->nodes[word.len].score;
    for (size_t end = word.len; end > 0; end = e->nodes[end].begin) e->way[n++] = (int32_t)end;
    while (n-- > 0) {
        const bk_tok_node *node = &e->nodes[e->way[n]];
        bk_str text = {word.data + node->begin, (size_t)e->way[n] - node->begin};
        if (!bk_tok_put_token(e, node->id, text)) return false;
    }
    return true;
}
