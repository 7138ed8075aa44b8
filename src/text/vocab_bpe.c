/* Training of byte-level BPE (Sennrich, Haddow and Birch 2016): the pair of neighbours that occurs most
 * often becomes a token, again and again. Pieces are GPT-2's, each counted once however often it occurs.
 *
 * Among pairs of the same count the one with the lower left id goes first, then the lower right id, as
 * in Hugging Face's tokenizers. Overlapping occurrences (aaa) count each and merge from the left.
 *
 * Every place of a pair is in a doubly linked list of that pair's places, so that a merge touches its
 * own places only and the memory is fixed: 28 bytes for each byte of the different pieces, beside the
 * table of pairs. */
#include "base/buf.h"
#include "text/piece_count.h"
#include "text/pretok.h"
#include "text/tokenizer_internal.h"
#include "text/vocab_train_internal.h"

enum { N_BYTES = 256 };

#define NONE UINT32_MAX

/* A symbol of a piece, at its first byte's index, and the pair that it forms with the next one. */
typedef struct place {
    int32_t symbol;
    uint32_t prev, next;    /* symbols of the piece; NONE at its ends */
    uint32_t piece;         /* whose count this occurrence has */
    uint32_t pair;          /* NONE: no next symbol */
    uint32_t before, after; /* places of the same pair */
} place;

typedef struct pair {
    int32_t left, right;
    uint32_t count; /* occurrences in the text, at most its bytes */
    uint32_t first, last;
} pair;

typedef struct queued {
    uint32_t count, pair;
} queued;

typedef struct trainer {
    bk_vocab *v;
    bk_piece_counts pieces;
    place *places;
    size_t n_places;
    pair *pairs;
    uint32_t *slots; /* indices of pairs, NONE: empty; open addressing, at most half full */
    size_t n_pairs, cap_pairs;
    queued *heap; /* [cap_pairs]; each pair at most once, with a count that was true once */
    size_t n_heap;
    bk_buf merges; /* the texts of desc.merges, one behind the other */
    char *name;    /* [room for the longest name] */
} trainer;

/* ---- Table of pairs ----------------------------------------------------------------------------- */

static size_t slot_of(const trainer *t, int32_t left, int32_t right) {
    uint64_t key = ((uint64_t)(uint32_t)left << 32 | (uint32_t)right) * 0x9E3779B97F4A7C15u;
    key = (key ^ key >> 32) * 0xBF58476D1CE4E5B9u;
    return (size_t)(key >> 32) & (2 * t->cap_pairs - 1);
}

static size_t next_slot(const trainer *t, size_t i) { return (i + 1) & (2 * t->cap_pairs - 1); }

static bool grow_pairs(trainer *t) {
    size_t cap = bk_max_size(1024, 2 * t->cap_pairs);
    pair *pairs = bk_realloc(t->pairs, cap, sizeof *pairs);
    if (pairs) t->pairs = pairs;
    queued *heap = bk_realloc(t->heap, cap, sizeof *heap);
    if (heap) t->heap = heap;
    uint32_t *slots = bk_alloc(cap, 2 * sizeof *slots);
    if (!pairs || !heap || !slots) {
        bk_free(slots);
        return false;
    }
    bk_free(t->slots);
    t->slots = slots;
    t->cap_pairs = cap;
    memset(slots, 0xFF, 2 * cap * sizeof *slots);
    for (size_t i = 0; i < t->n_pairs; i++) {
        size_t k = slot_of(t, pairs[i].left, pairs[i].right);
        while (slots[k] != NONE) k = next_slot(t, k);
        slots[k] = (uint32_t)i;
    }
    return true;
}

/* The pair of two symbols, a new one where there was none; NONE when memory is short. */
static uint32_t find_pair(trainer *t, int32_t left, int32_t right) {
    if (t->n_pairs == t->cap_pairs && !grow_pairs(t)) return NONE;
    size_t k = slot_of(t, left, right);
    for (; t->slots[k] != NONE; k = next_slot(t, k)) {
        const pair *p = &t->pairs[t->slots[k]];
        if (p->left == left && p->right == right) return t->slots[k];
    }
    t->slots[k] = (uint32_t)t->n_pairs;
    t->pairs[t->n_pairs] = (pair){left, right, 0, NONE, NONE};
    return (uint32_t)t->n_pairs++;
}

/* ---- Heap: the largest count first, then the lowest ids ----------------------------------------- */

static bool goes_before(const trainer *t, queued a, queued b) {
    if (a.count != b.count) return a.count > b.count;
    const pair *x = &t->pairs[a.pair], *y = &t->pairs[b.pair];
    return x->left != y->left ? x->left < y->left : x->right < y->right;
}

static void heap_push(trainer *t, queued q) {
    size_t i = t->n_heap++;
    for (; i > 0 && goes_before(t, q, t->heap[(i - 1) / 2]); i = (i - 1) / 2)
        t->heap[i] = t->heap[(i - 1) / 2];
    t->heap[i] = q;
}

static queued heap_pop(trainer *t) {
    queued top = t->heap[0], q = t->heap[--t->n_heap];
    size_t i = 0, n = t->n_heap;
    for (size_t child = 1; child < n; child = 2 * i + 1) {
        if (child + 1 < n && goes_before(t, t->heap[child + 1], t->heap[child])) child++;
        if (!goes_before(t, t->heap[child], q)) break;
        t->heap[i] = t->heap[child];
        i = child;
    }
    t->heap[i] = q;
    return top;
}

/* ---- Places ------------------------------------------------------------------------------------- */

static uint32_t weight(const trainer *t, uint32_t at) {
    return t->pieces.items[t->places[at].piece].count;
}

/* The symbol at a place and the next one are a pair from now on. */
static bool link_pair(trainer *t, uint32_t at) {
    place *s = &t->places[at];
    if ((s->pair = find_pair(t, s->symbol, t->places[s->next].symbol)) == NONE) return false;
    pair *p = &t->pairs[s->pair];
    s->before = p->last;
    s->after = NONE;
    if (p->last != NONE) t->places[p->last].after = at;
    if (p->first == NONE) p->first = at;
    p->last = at;
    p->count += weight(t, at);
    return true;
}

static void unlink_pair(trainer *t, uint32_t at) {
    place *s = &t->places[at];
    pair *p = &t->pairs[s->pair];
    *(s->before == NONE ? &p->first : &t->places[s->before].after) = s->after;
    *(s->after == NONE ? &p->last : &t->places[s->after].before) = s->before;
    p->count -= weight(t, at);
    s->pair = NONE;
}

/* The symbols at a place and behind it become one; the pairs with their neighbours change. */
static bool merge_place(trainer *t, uint32_t at, int32_t symbol) {
    place *s = &t->places[at], *gone = &t->places[s->next];
    unlink_pair(t, at);
    if (gone->pair != NONE) unlink_pair(t, s->next);
    if (s->prev != NONE) unlink_pair(t, s->prev);
    s->symbol = symbol;
    s->next = gone->next;
    if (s->next != NONE) t->places[s->next].prev = at;
    return (s->prev == NONE || link_pair(t, s->prev)) && (s->next == NONE || link_pair(t, at));
}

static bool place_piece(trainer *t, uint32_t piece, const int16_t *id_of) {
    bk_str text = t->pieces.items[piece].text;
    uint32_t begin = (uint32_t)t->n_places, end = begin + (uint32_t)text.len;
    for (uint32_t at = begin; at < end; at++)
        t->places[at] = (place){.symbol = id_of[(unsigned char)text.data[at - begin]],
                                .prev = at > begin ? at - 1 : NONE,
                                .next = at + 1 < end ? at + 1 : NONE,
                                .piece = piece,
                                .pair = NONE};
    t->n_places = end;
    for (uint32_t at = begin; at + 1 < end; at++)
        if (!link_pair(t, at)) return false;
    return true;
}

/* ---- Training ----------------------------------------------------------------------------------- */

static size_t next_piece(const char *s, size_t len) {
    return bk_pretok_next(BK_PRETOK_GPT2, s, len);
}

/* Bytes get the ids that they have by the code points of GPT-2's alphabet. */
static bool add_bytes(trainer *t, int16_t id_of[N_BYTES]) {
    int16_t byte_of[BK_TOK_ALPHABET];
    char name[4];
    bk_tok_make_alphabet(byte_of);
    for (uint32_t c = 0; c < BK_TOK_ALPHABET; c++) {
        if (byte_of[c] < 0) continue;
        int32_t id = bk_vocab_add(t->v, (bk_str){name, bk_utf8_encode(c, name)}, BK_TOKEN_NORMAL);
        if (id < 0) return false;
        id_of[byte_of[c]] = (int16_t)id;
    }
    return true;
}

static bool prepare(trainer *t, bk_str text) {
    int16_t id_of[N_BYTES];
    size_t bytes = 1, longest = 1;
    if (!add_bytes(t, id_of) || !bk_piece_count(&t->pieces, text, next_piece)) return false;
    for (size_t i = 0; i < t->pieces.n; i++) {
        bytes += t->pieces.items[i].text.len;
        longest = bk_max_size(longest, t->pieces.items[i].text.len);
    }
    t->places = bk_alloc(bytes, sizeof *t->places);
    t->name = bk_alloc(longest, 2); /* no character of the alphabet has more than two bytes */
    if (!t->places || !t->name || !grow_pairs(t)) return false;
    for (size_t i = 0; i < t->pieces.n; i++)
        if (!place_piece(t, (uint32_t)i, id_of)) return false;
    for (size_t i = 0; i < t->n_pairs; i++) heap_push(t, (queued){t->pairs[i].count, (uint32_t)i});
    return true;
}

/* The next token: its name and the merge that makes it. */
static int32_t add_merge(trainer *t, const pair *p) {
    bk_str left = t->v->tokens[p->left], right = t->v->tokens[p->right];
    memcpy(t->name, left.data, left.len);
    memcpy(t->name + left.len, right.data, right.len);
    bool ok = bk_buf_append(&t->merges, left.data, left.len) && bk_buf_putc(&t->merges, ' ') &&
              bk_buf_append(&t->merges, right.data, right.len) && bk_buf_putc(&t->merges, '\n');
    bk_str name = {t->name, left.len + right.len};
    return ok ? bk_vocab_add(t->v, name, BK_TOKEN_NORMAL) : -1;
}

static bool merge_pair(trainer *t, uint32_t index) {
    size_t old = t->n_pairs;
    int32_t symbol = add_merge(t, &t->pairs[index]);
    if (symbol < 0) return false;
    for (uint32_t at; (at = t->pairs[index].first) != NONE;)
        if (!merge_place(t, at, symbol)) return false;
    for (size_t i = old; i < t->n_pairs; i++)
        if (t->pairs[i].count) heap_push(t, (queued){t->pairs[i].count, (uint32_t)i});
    return true;
}

/* Counts of pairs only fall, so that one which is still true at the top is the largest. */
static bool merge_all(trainer *t, size_t n_tokens, size_t min_count) {
    while (t->v->desc.n_tokens < n_tokens && t->n_heap > 0) {
        queued q = heap_pop(t);
        uint32_t count = t->pairs[q.pair].count;
        if (count == 0 || count < min_count) continue;
        if (count < q.count) {
            heap_push(t, (queued){count, q.pair});
        } else if (!merge_pair(t, q.pair)) {
            return false;
        }
    }
    return true;
}

static bool finish(trainer *t) {
    bk_tokenizer_desc *d = &t->v->desc;
    size_t n = d->n_tokens - N_BYTES, pos = 0;
    char *texts = bk_arena_alloc(&t->v->arena, t->merges.len + 1, 1);
    bk_str *merges = bk_arena_alloc(&t->v->arena, n + 1, sizeof *merges);
    if (!texts || !merges) return false;
    if (t->merges.len) memcpy(texts, t->merges.data, t->merges.len);
    for (size_t i = 0; i < n; i++) {
        size_t len = (size_t)((char *)memchr(texts + pos, '\n', t->merges.len - pos) - texts) - pos;
        merges[i] = (bk_str){texts + pos, len};
        pos += len + 1;
    }
    d->merges = merges;
    d->n_merges = n;
    d->bos = d->eos = bk_vocab_add(t->v, BK_STR("<|endoftext|>"), BK_TOKEN_CONTROL);
    return d->eos >= 0;
}

bk_status bk_vocab_pairs(bk_vocab *v, const bk_vocab_options *o, bk_str text, bk_error *err) {
    size_t room;
    bk_status st = bk_vocab_room(o, N_BYTES + 1, text.len, &room, err);
    if (st) return st;
    if (!o->size)
        return bk_fail(err, BK_ERR_INVALID,
                       "byte pairs without a size of the vocabulary, wanted one above %d",
                       N_BYTES + 1);
    trainer t = {.v = v};
    v->desc.model = BK_STR("gpt2");
    v->desc.pre = BK_STR("gpt-2");
    bool ok = bk_vocab_reserve(v, room + N_BYTES + 1) && prepare(&t, text) &&
              merge_all(&t, room + N_BYTES, o->min_count) && finish(&t);
    bk_piece_counts_free(&t.pieces);
    bk_buf_free(&t.merges);
    bk_free(t.places);
    bk_free(t.pairs);
    bk_free(t.slots);
    bk_free(t.heap);
    bk_free(t.name);
    return ok ? BK_OK
              : bk_fail(err, BK_ERR_NOMEM, "no memory to merge the pairs of %zu bytes", text.len);
}
