/* Cutting a text in stages: each stage takes the parts that the one before it yields, matches and what
 * lies between them alike. */
#include "text/pretok.h"
#include "text/unicode.h"

static bool is_digit(const bk_pretok_stage *s, uint32_t cp) {
    unsigned kind = bk_unicode_kind(cp) & 15;
    bool other = kind == BK_KIND_NL || kind == BK_KIND_NO;
    return kind == BK_KIND_ND || (other && !s->whole_words && !s->cuts);
}

/* Finds the next run of digits from run_pos on and counts it. */
static void find_run(const bk_cut *c, const bk_pretok_stage *s, bk_cut_level *l) {
    size_t pos = l->run_pos, n;
    l->run_left = 0;
    for (; pos < l->part.end; pos += n) {
        uint32_t cp;
        n = bk_utf8_decode(c->text.data + pos, l->part.end - pos, &cp);
        if (is_digit(s, cp)) {
            if (l->run_left++ == 0) l->run_pos = pos;
        } else if (l->run_left > 0) {
            if (!s->whole_words || !bk_unicode_is_word(cp)) break;
            l->run_left = 0;
        }
    }
    if (l->run_left == 0) l->run_pos = pos;
}

static void take_digits(const bk_cut *c, bk_cut_level *l, size_t n) {
    uint32_t cp;
    l->run_left -= n;
    for (; n > 0; n--)
        l->run_pos += bk_utf8_decode(c->text.data + l->run_pos, l->part.end - l->run_pos, &cp);
}

/* The first group of a run has what the threes behind it leave over. */
static void next_three(const bk_cut *c, const bk_pretok_stage *s, bk_cut_level *l) {
    if (l->run_left == 0) find_run(c, s, l);
    l->match.begin = l->run_pos;
    take_digits(c, l, l->run_left == 0 ? 0 : l->run_left % 3 ? l->run_left % 3 : 3);
    l->match.end = l->run_pos;
}

/* An empty match behind pos: before the next three. */
static void next_cut(const bk_cut *c, const bk_pretok_stage *s, bk_cut_level *l) {
    do {
        bool inside = l->run_left > 0;
        if (!inside) find_run(c, s, l);
        take_digits(c, l, inside ? 3 : l->run_left % 3);
    } while (l->run_pos < l->part.end && (l->run_left == 0 || l->run_pos == l->pos));
    l->match = (bk_span){l->run_pos, l->run_pos};
}

static void find_match(bk_cut *c, size_t stage) {
    const bk_pretok_stage *s = &c->rules->stages[stage];
    bk_cut_level *l = &c->level[stage];
    if (s->cuts) {
        next_cut(c, s, l);
        return;
    }
    if (s->threes) {
        next_three(c, s, l);
        return;
    }
    size_t begin = l->part.begin;
    bk_str part = {c->text.data + begin, l->part.end - begin};
    bk_span m;
    if (!bk_pattern_find(s->pattern, &c->work, part, l->pos - begin, &m))
        m.begin = m.end = part.len;
    l->match = (bk_span){begin + m.begin, begin + m.end};
}

/* The next part that a stage yields. Stages are few: so is the recursion. */
static bool next_part(bk_cut *c, size_t stage, bk_span *out) {
    bk_cut_level *l = &c->level[stage];
    while (l->pos == l->part.end) {
        if (stage == 0 || !next_part(c, stage - 1, &l->part)) return false;
        l->pos = l->run_pos = l->match.begin = l->match.end = l->part.begin;
        l->run_left = 0;
    }
    if (l->pos == l->match.end) find_match(c, stage);
    if (c->work.failed) return false;
    size_t end = l->pos < l->match.begin ? l->match.begin : l->match.end;
    *out = (bk_span){l->pos, end};
    l->pos = end;
    return true;
}

void bk_cut_begin(bk_cut *c, const bk_pretok_rules *rules, bk_str text) {
    bk_pattern_work work = c->work;
    *c = (bk_cut){.rules = rules, .text = text, .work = work};
    c->level[0].part.end = text.len;
}

bool bk_cut_next(bk_cut *c, bk_str *piece) {
    if (c->rules->n_stages > 0) {
        bk_span s;
        if (!next_part(c, c->rules->n_stages - 1, &s)) return false;
        *piece = (bk_str){c->text.data + s.begin, s.end - s.begin};
        return true;
    }
    if (c->pos == c->text.len) return false;
    *piece = (bk_str){c->text.data + c->pos, c->text.len - c->pos};
    piece->len = bk_pretok_next(c->rules->kind, piece->data, piece->len);
    c->pos += piece->len;
    return true;
}

void bk_cut_free(bk_cut *c) { bk_pattern_work_free(&c->work); }
