/* Matching: a stack of the choices that are left, no recursion but for what looks ahead. */
#include "text/pattern.h"

#include "base/mem.h"
#include "text/pattern_internal.h"
#include "text/unicode.h"

/* Choices at one place beyond this many for each byte are given up. */
enum { STEPS_PER_BYTE = 64, STEPS_LEAST = 100000 };

typedef struct bk_pattern_choice {
    uint32_t pc;
    uint32_t pos;   /* where to go on */
    uint32_t least; /* pos may be moved back as far as this, a character a time */
} bk_pattern_choice;

typedef struct run {
    const bk_pattern *p;
    bk_pattern_work *w;
    bk_str text;
    size_t steps;
} run;

static bool set_has_other(const bk_pattern *p, const bk_pattern_set *s, uint32_t cp) {
    bool in = s->kinds >> bk_unicode_kind(cp) & 1;
    for (uint32_t i = 0; i < s->n_ranges && !in; i++) {
        const bk_pattern_range *r = &p->ranges[s->first_range + i];
        in = cp >= r->first && cp <= r->last;
    }
    in ^= s->negated;
    return in && (s->and_set < 0 || bk_pattern_set_has(p, &p->sets[s->and_set], cp));
}

bool bk_pattern_set_has(const bk_pattern *p, const bk_pattern_set *s, uint32_t cp) {
    if (cp < 128) return s->ascii[cp / 32] >> cp % 32 & 1;
    return set_has_other(p, s, cp);
}

static size_t char_at(bk_str s, size_t pos, uint32_t *cp) {
    *cp = (unsigned char)s.data[pos];
    return *cp < 0x80 ? 1 : bk_utf8_decode(s.data + pos, s.len - pos, cp);
}

/* Where the character that ends at pos begins. */
static size_t char_before(bk_str s, size_t pos) {
    uint32_t cp;
    for (size_t n = 2; n <= 4 && n <= pos && (s.data[pos - 1] & 0x80); n++)
        if (bk_utf8_decode(s.data + pos - n, n, &cp) == n) return pos - n;
    return pos - 1;
}

static bool push(run *r, uint32_t pc, size_t pos, size_t least) {
    bk_pattern_work *w = r->w;
    if (w->n == w->cap) {
        size_t cap = bk_max_size(64, 2 * w->cap);
        bk_pattern_choice *stack = bk_realloc(w->stack, cap, sizeof *stack);
        if (!stack) {
            w->failed = true;
            return false;
        }
        w->stack = stack;
        w->cap = cap;
    }
    w->stack[w->n++] = (bk_pattern_choice){pc, (uint32_t)pos, (uint32_t)least};
    return true;
}

/* Takes as many characters as there are; leaves the choice of fewer. */
static bool take_run(run *r, uint32_t pc, size_t *pos) {
    const bk_pattern_inst *in = &r->p->code[pc];
    const bk_pattern_set *set = &r->p->sets[in->set];
    size_t at = *pos, least = at;
    uint32_t n = 0, cp;
    while (n < in->max && at < r->text.len) {
        size_t len = char_at(r->text, at, &cp);
        if (!bk_pattern_set_has(r->p, set, cp)) break;
        at += len;
        if (++n == in->min) least = at;
    }
    r->steps += n;
    if (n < in->min) return false;
    *pos = at;
    return in->possessive || at == least || push(r, pc + 1, at, least);
}

static bool is_word(bk_str s, size_t pos) {
    uint32_t cp;
    if (pos >= s.len) return false;
    char_at(s, pos, &cp);
    return bk_unicode_is_word(cp);
}

static bool is_edge(bk_str s, size_t pos) {
    bool before = pos > 0 && is_word(s, char_before(s, pos));
    return before != is_word(s, pos);
}

static bool run_from(run *r, uint32_t pc, size_t pos, size_t *end);

/* What looks at the text without taking any of it. */
static bool holds(run *r, uint32_t pc, size_t pos) {
    const bk_pattern_inst *in = &r->p->code[pc];
    bk_str s = r->text;
    size_t end;
    switch (in->op) {
    case BK_PAT_EDGE: return is_edge(s, pos) != in->negated;
    case BK_PAT_BEGIN: return pos == 0 || s.data[pos - 1] == '\n';
    case BK_PAT_END: return pos == s.len || s.data[pos] == '\n';
    default: return run_from(r, pc + 1, pos, &end) != in->negated;
    }
}

/* Goes back to the newest choice above base. */
static bool next_choice(run *r, size_t base, uint32_t *pc, size_t *pos) {
    bk_pattern_work *w = r->w;
    if (w->n == base) return false;
    bk_pattern_choice *c = &w->stack[w->n - 1];
    *pc = c->pc;
    if (c->least < c->pos) c->pos = (uint32_t)char_before(r->text, c->pos);
    *pos = c->pos;
    if (c->pos == c->least) w->n--;
    return true;
}

static bool run_from(run *r, uint32_t pc, size_t pos, size_t *end) {
    size_t base = r->w->n, budget = STEPS_LEAST + STEPS_PER_BYTE * (r->text.len - pos);
    for (;;) {
        const bk_pattern_inst *in = &r->p->code[pc];
        bool ok = true;
        if (r->w->failed || r->steps++ > budget) break;
        switch (in->op) {
        case BK_PAT_RUN:
            ok = take_run(r, pc, &pos);
            pc++;
            break;
        case BK_PAT_SPLIT:
            ok = push(r, pc + (uint32_t)in->jump, pos, pos);
            pc++;
            break;
        case BK_PAT_JUMP: pc += (uint32_t)in->jump; break;
        case BK_PAT_ACCEPT:
            *end = pos;
            r->w->n = base;
            return true;
        default: ok = holds(r, pc, pos); pc += in->op == BK_PAT_AHEAD ? (uint32_t)in->jump : 1;
        }
        if (!ok && !next_choice(r, base, &pc, &pos)) break;
    }
    r->w->n = base;
    return false;
}

/* After a failure at pos: where a match may begin next. When the pattern begins with a run without end
 * and that did not help, no shorter part of the run will. */
static size_t next_start(const bk_pattern *p, bk_str s, size_t pos) {
    const bk_pattern_inst *in = &p->code[0];
    bool whole = in->op == BK_PAT_RUN && in->max == BK_PATTERN_MANY && in->min <= 1;
    uint32_t cp;
    size_t next = pos + char_at(s, pos, &cp);
    if (!whole) return next; /* nor need there be any set */
    const bk_pattern_set *set = &p->sets[in->set];
    if (!bk_pattern_set_has(p, set, cp)) return next;
    while (next < s.len) {
        size_t n = char_at(s, next, &cp);
        if (!bk_pattern_set_has(p, set, cp)) break;
        next += n;
    }
    return next;
}

bool bk_pattern_find(const bk_pattern *p, bk_pattern_work *w, bk_str text, size_t from,
                     bk_span *match) {
    run r = {.p = p, .w = w, .text = text};
    for (size_t pos = from; pos < text.len && !w->failed; pos = next_start(p, text, pos)) {
        r.steps = 0;
        size_t end;
        if (!run_from(&r, 0, pos, &end) || end == pos) continue;
        *match = (bk_span){pos, end};
        return true;
    }
    return false;
}

void bk_pattern_work_free(bk_pattern_work *w) {
    bk_free(w->stack);
    *w = (bk_pattern_work){0};
}
