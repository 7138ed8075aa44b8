/* From the text of a pattern to its instructions, in one pass: what a quantifier or an alternative puts
 * in front of code already written is inserted there, which relative jumps allow. */
#include "base/mem.h"
#include "text/pattern_internal.h"
#include "text/unicode.h"

enum { MAX_ALTERNATIVES = 64, MAX_REPEAT = 1000 };

typedef struct compiler {
    bk_pattern *p;
    bk_str s;
    size_t pos;
    bool fold;
    unsigned depth;
    bk_status st;
    bk_error *err;
} compiler;

/* ---- Failures and characters -------------------------------------------------------------------- */

static void fail(compiler *c, bk_status st, const char *what) {
    if (!c->st)
        c->st = bk_fail(c->err, st, "pattern, at byte %zu of \"" BK_STR_FMT "\": %s", c->pos,
                        BK_STR_ARG(c->s), what);
}

static bool looking_at(const compiler *c, const char *z) {
    return bk_str_starts((bk_str){c->s.data + c->pos, c->s.len - c->pos}, bk_str_from(z));
}

static bool take(compiler *c, const char *z) {
    if (c->st || !looking_at(c, z)) return false;
    c->pos += strlen(z);
    return true;
}

static uint32_t next_char(compiler *c) {
    uint32_t cp = 0xFFFFFFFF;
    if (c->pos < c->s.len) c->pos += bk_utf8_decode(c->s.data + c->pos, c->s.len - c->pos, &cp);
    if (cp == 0xFFFFFFFF) fail(c, BK_ERR_FORMAT, "a character is missing or not UTF-8");
    return cp;
}

static uint32_t hex_digits(compiler *c, size_t n) {
    uint32_t v = 0;
    for (; n > 0 && !c->st; n--) {
        uint32_t d = next_char(c), low = d | 0x20;
        bool digit = d >= '0' && d <= '9', letter = low >= 'a' && low <= 'f';
        if (!digit && !letter) fail(c, BK_ERR_FORMAT, "a hexadecimal digit is missing");
        v = v << 4 | (digit ? d - '0' : low - 'a' + 10);
    }
    return v;
}

/* ---- Code --------------------------------------------------------------------------------------- */

/* Makes room for n instructions at `at`, moving what is behind. */
static bk_pattern_inst *insert(compiler *c, size_t at, size_t n) {
    static bk_pattern_inst none;
    bk_pattern *p = c->p;
    if (n > BK_PATTERN_MAX_CODE - p->n_code) fail(c, BK_ERR_LIMIT, "it is too long");
    if (c->st) return &none;
    if (p->n_code + n > p->cap_code) {
        size_t cap = bk_max_size(64, 2 * (p->n_code + n));
        bk_pattern_inst *code = bk_realloc(p->code, cap, sizeof *code);
        if (!code) {
            fail(c, BK_ERR_NOMEM, "no memory for it");
            return &none;
        }
        p->code = code;
        p->cap_code = cap;
    }
    memmove(p->code + at + n, p->code + at, (p->n_code - at) * sizeof *p->code);
    p->n_code += n;
    p->code[at] = (bk_pattern_inst){0};
    return &p->code[at];
}

static size_t emit(compiler *c, bk_pattern_op op, int32_t jump) {
    size_t at = c->p->n_code;
    *insert(c, at, 1) = (bk_pattern_inst){.op = (uint8_t)op, .jump = jump};
    return at;
}

static void insert_split(compiler *c, size_t at, size_t target) {
    *insert(c, at, 1) =
        (bk_pattern_inst){.op = BK_PAT_SPLIT, .jump = (int32_t)(target + 1) - (int32_t)at};
}

/* ---- Sets --------------------------------------------------------------------------------------- */

static void add_range(compiler *c, bk_pattern_set *s, uint32_t first, uint32_t last) {
    bk_pattern *p = c->p;
    for (uint32_t cp = first; cp <= last && cp < 128; cp++) s->ascii[cp / 32] |= 1u << cp % 32;
    if (last < 128 || c->st) return;
    if (p->n_ranges == p->cap_ranges) {
        size_t cap = bk_max_size(32, 2 * p->cap_ranges);
        bk_pattern_range *ranges = bk_realloc(p->ranges, cap, sizeof *ranges);
        if (!ranges) {
            fail(c, BK_ERR_NOMEM, "no memory for it");
            return;
        }
        p->ranges = ranges;
        p->cap_ranges = cap;
    }
    p->ranges[p->n_ranges++] = (bk_pattern_range){first < 128 ? 128 : first, last};
    s->n_ranges++;
}

static void add_kinds(bk_pattern_set *s, uint32_t kinds) {
    s->kinds |= kinds;
    for (uint32_t cp = 0; cp < 128; cp++)
        if (kinds >> bk_unicode_kind(cp) & 1) s->ascii[cp / 32] |= 1u << cp % 32;
}

#define BIT(kind) (1u << (kind) | 1u << ((kind) + BK_KIND_HAN))
#define LETTERS \
    (BIT(BK_KIND_LU) | BIT(BK_KIND_LL) | BIT(BK_KIND_LT) | BIT(BK_KIND_LM) | BIT(BK_KIND_LO))

static const struct {
    const char *name;
    uint32_t kinds;
} properties[] = {
    {"L", LETTERS},          {"Lu", BIT(BK_KIND_LU)},
    {"Ll", BIT(BK_KIND_LL)}, {"Lt", BIT(BK_KIND_LT)},
    {"Lm", BIT(BK_KIND_LM)}, {"Lo", BIT(BK_KIND_LO)},
    {"M", BIT(BK_KIND_M)},   {"N", BIT(BK_KIND_ND) | BIT(BK_KIND_NL) | BIT(BK_KIND_NO)},
    {"Nd", BIT(BK_KIND_ND)}, {"P", BIT(BK_KIND_P)},
    {"S", BIT(BK_KIND_S)},   {"Han", 0xFFFF0000u},
};

static uint32_t property(compiler *c) {
    size_t begin = c->pos;
    while (c->pos < c->s.len && c->s.data[c->pos] != '}') c->pos++;
    bk_str name = {c->s.data + begin, c->pos - begin};
    if (!take(c, "}")) fail(c, BK_ERR_FORMAT, "a } is missing");
    for (size_t i = 0; i < BK_ARRAY_LEN(properties); i++)
        if (bk_str_eq(name, bk_str_from(properties[i].name))) return properties[i].kinds;
    fail(c, BK_ERR_UNSUPPORTED, "a property that is not known here");
    return 0;
}

/* After a backslash: adds a class to the set, or returns the one character that is meant. */
static bool escape(compiler *c, bk_pattern_set *s, uint32_t *cp) {
    static const uint32_t word = LETTERS | BIT(BK_KIND_M) | BIT(BK_KIND_ND) | BIT(BK_KIND_NL);
    *cp = next_char(c);
    switch (*cp) {
    case 's': add_kinds(s, BIT(BK_KIND_SPACE)); return false;
    case 'S': add_kinds(s, ~BIT(BK_KIND_SPACE)); return false;
    case 'd': add_kinds(s, BIT(BK_KIND_ND)); return false;
    case 'D': add_kinds(s, ~BIT(BK_KIND_ND)); return false;
    case 'w':
        add_kinds(s, word);
        add_range(c, s, '_', '_');
        add_range(c, s, 0xB2, 0xB3);
        add_range(c, s, 0xB9, 0xB9);
        add_range(c, s, 0xBC, 0xBE);
        return false;
    case 'p':
    case 'P': {
        bool negated = *cp == 'P';
        if (!take(c, "{")) fail(c, BK_ERR_UNSUPPORTED, "\\p without {}");
        uint32_t kinds = property(c);
        add_kinds(s, negated ? ~kinds : kinds);
        return false;
    }
    case 'r': *cp = '\r'; return true;
    case 'n': *cp = '\n'; return true;
    case 't': *cp = '\t'; return true;
    case 'u': *cp = hex_digits(c, 4); return true;
    case 'x': *cp = hex_digits(c, 2); return true;
    default: break;
    }
    bool letter = (*cp | 0x20) >= 'a' && (*cp | 0x20) <= 'z';
    if (letter || (*cp >= '0' && *cp <= '9'))
        fail(c, BK_ERR_UNSUPPORTED, "an escape that is not known here");
    return true;
}

/* Both cases of ASCII letters, and what outside ASCII folds to one. */
static void fold(compiler *c, bk_pattern_set *s) {
    for (uint32_t cp = 'a'; cp <= 'z'; cp++) {
        uint32_t upper = cp - 0x20;
        if (!((s->ascii[cp / 32] >> cp % 32 | s->ascii[upper / 32] >> upper % 32) & 1)) continue;
        add_range(c, s, cp, cp);
        add_range(c, s, upper, upper);
        if (cp == 's') add_range(c, s, 0x17F, 0x17F);
        if (cp == 'k') add_range(c, s, 0x212A, 0x212A);
    }
}

static int close_set(compiler *c, bk_pattern_set s);

/* The items of a set up to its bracket or to &&. */
static void set_items(compiler *c, bk_pattern_set *s) {
    while (!c->st && !looking_at(c, "]") && !looking_at(c, "&&")) {
        if (looking_at(c, "[")) fail(c, BK_ERR_UNSUPPORTED, "a set inside a set");
        uint32_t first = next_char(c), last;
        if (first == '\\' && !escape(c, s, &first)) continue;
        last = first;
        if (looking_at(c, "-") && !looking_at(c, "-]") && take(c, "-")) {
            last = next_char(c);
            if (last == '\\' && !escape(c, s, &last)) last = 0;
            if (last < first) fail(c, BK_ERR_FORMAT, "a range that ends before it begins");
        }
        add_range(c, s, first, last);
    }
}

static int read_set(compiler *c) {
    bk_pattern_set s = {.and_set = -1, .first_range = (uint32_t)c->p->n_ranges};
    bool negated = take(c, "^");
    set_items(c, &s);
    if (c->fold) fold(c, &s);
    s.negated = negated;
    for (size_t i = 0; i < 4 && negated; i++) s.ascii[i] = ~s.ascii[i];
    if (take(c, "&&")) {
        if (!take(c, "[")) fail(c, BK_ERR_UNSUPPORTED, "&& without a set behind it");
        if (++c->depth > BK_PATTERN_MAX_DEPTH) fail(c, BK_ERR_LIMIT, "it is nested too deep");
        if (!c->st) s.and_set = read_set(c);
        c->depth--;
        for (size_t i = 0; i < 4 && !c->st; i++) s.ascii[i] &= c->p->sets[s.and_set].ascii[i];
    }
    if (!take(c, "]")) fail(c, BK_ERR_FORMAT, "a ] is missing");
    return close_set(c, s);
}

static bool same_set(const bk_pattern_set *a, const bk_pattern_set *b) {
    return memcmp(a->ascii, b->ascii, sizeof a->ascii) == 0 && a->kinds == b->kinds &&
           a->n_ranges == 0 && b->n_ranges == 0 && a->negated == b->negated && a->and_set < 0 &&
           b->and_set < 0;
}

static int close_set(compiler *c, bk_pattern_set s) {
    bk_pattern *p = c->p;
    for (size_t i = 0; i < p->n_sets; i++)
        if (same_set(&p->sets[i], &s)) return (int)i;
    if (p->n_sets == BK_PATTERN_MAX_SETS) fail(c, BK_ERR_LIMIT, "it has too many sets");
    if (c->st) return 0;
    if (p->n_sets == p->cap_sets) {
        size_t cap = bk_max_size(16, 2 * p->cap_sets);
        bk_pattern_set *sets = bk_realloc(p->sets, cap, sizeof *sets);
        if (!sets) {
            fail(c, BK_ERR_NOMEM, "no memory for it");
            return 0;
        }
        p->sets = sets;
        p->cap_sets = cap;
    }
    p->sets[p->n_sets++] = s;
    return (int)p->n_sets - 1;
}

static void emit_set(compiler *c, int set) {
    size_t at = c->p->n_code;
    *insert(c, at, 1) =
        (bk_pattern_inst){.op = BK_PAT_RUN, .set = (uint16_t)set, .min = 1, .max = 1};
}

/* ---- Structure ---------------------------------------------------------------------------------- */

static void alternatives(compiler *c);

static void group(compiler *c) {
    bool fold = c->fold, ahead = false, negated = false;
    if (take(c, "?i:")) {
        c->fold = true;
    } else if (take(c, "?=")) {
        ahead = true;
    } else if (take(c, "?!")) {
        ahead = negated = true;
    } else if (!take(c, "?:") && looking_at(c, "?")) {
        fail(c, BK_ERR_UNSUPPORTED, "a group that is not known here");
    }
    size_t at = ahead ? emit(c, BK_PAT_AHEAD, 0) : 0;
    alternatives(c);
    if (ahead) emit(c, BK_PAT_ACCEPT, 0);
    if (!take(c, ")")) fail(c, BK_ERR_FORMAT, "a ) is missing");
    if (ahead && !c->st) {
        c->p->code[at].negated = negated;
        c->p->code[at].jump = (int32_t)(c->p->n_code - at);
    }
    c->fold = fold;
}

static void literal(compiler *c, uint32_t cp) {
    bk_pattern_set s = {.and_set = -1, .first_range = (uint32_t)c->p->n_ranges};
    add_range(c, &s, cp, cp);
    if (c->fold) fold(c, &s);
    emit_set(c, close_set(c, s));
}

static void escaped(compiler *c) {
    if (take(c, "b")) {
        emit(c, BK_PAT_EDGE, 0);
        return;
    }
    bk_pattern_set s = {.and_set = -1, .first_range = (uint32_t)c->p->n_ranges};
    uint32_t cp;
    if (escape(c, &s, &cp)) {
        literal(c, cp);
    } else {
        emit_set(c, close_set(c, s));
    }
}

static void atom(compiler *c) {
    if (take(c, "(")) {
        group(c);
    } else if (take(c, "[")) {
        emit_set(c, read_set(c));
    } else if (take(c, "\\")) {
        escaped(c);
    } else if (take(c, "^")) {
        emit(c, BK_PAT_BEGIN, 0);
    } else if (take(c, "$")) {
        emit(c, BK_PAT_END, 0);
    } else if (take(c, ".")) {
        bk_pattern_set s = {.and_set = -1, .first_range = (uint32_t)c->p->n_ranges};
        add_kinds(&s, ~0u);
        s.ascii['\n' / 32] &= ~(1u << '\n' % 32);
        emit_set(c, close_set(c, s));
    } else if (looking_at(c, "*") || looking_at(c, "+") || looking_at(c, "?")) {
        fail(c, BK_ERR_FORMAT, "a quantifier without anything before it");
    } else {
        literal(c, next_char(c));
    }
}

static uint32_t number(compiler *c) {
    uint32_t v = 0;
    bool any = false;
    for (; c->pos < c->s.len && c->s.data[c->pos] >= '0' && c->s.data[c->pos] <= '9'; c->pos++) {
        v = bk_min_size(10 * v + (uint32_t)(c->s.data[c->pos] - '0'), MAX_REPEAT + 1);
        any = true;
    }
    if (!any || v > MAX_REPEAT) fail(c, BK_ERR_LIMIT, "a count from 0 to 1000 is wanted");
    return v;
}

static bool quantifier(compiler *c, uint32_t *min, uint32_t *max) {
    *min = 0;
    *max = BK_PATTERN_MANY;
    if (take(c, "*")) return true;
    if (take(c, "?")) {
        *max = 1;
    } else if (take(c, "+")) {
        *min = 1;
    } else if (take(c, "{")) {
        *max = *min = number(c);
        if (take(c, ",")) *max = looking_at(c, "}") ? BK_PATTERN_MANY : number(c);
        if (!take(c, "}")) fail(c, BK_ERR_FORMAT, "a } is missing");
        if (*max < *min) fail(c, BK_ERR_FORMAT, "a count that ends before it begins");
    } else {
        return false;
    }
    return !c->st;
}

/* Copies of the n instructions at begin, at the end. */
static void copy(compiler *c, size_t begin, size_t n, uint32_t times) {
    for (uint32_t i = 0; i < times && !c->st; i++) {
        size_t at = c->p->n_code;
        insert(c, at, n);
        if (!c->st) memcpy(c->p->code + at, c->p->code + begin, n * sizeof *c->p->code);
    }
}

/* One group is at begin; makes min..max of it. */
static void repeat_group(compiler *c, size_t begin, uint32_t min, uint32_t max) {
    size_t n = c->p->n_code - begin;
    if (max == 0 || (min == 0 && max != 1 && max != BK_PATTERN_MANY)) {
        fail(c, BK_ERR_UNSUPPORTED, "a group with such a count");
    } else if (max == BK_PATTERN_MANY && min <= 1) {
        /* a*: SPLIT a JUMP; a+: a SPLIT JUMP */
        if (min == 0) insert_split(c, begin, begin + n + 1);
        if (min == 1) emit(c, BK_PAT_SPLIT, 2);
        emit(c, BK_PAT_JUMP, -(int32_t)(n + 1));
    } else {
        copy(c, begin, n, min > 0 ? min - 1 : 0);
        uint32_t more = max == BK_PATTERN_MANY ? 1 : min > 0 ? max - min : 0;
        if (min == 0) insert_split(c, begin, begin + n);
        for (uint32_t i = 0; i < more && !c->st; i++) {
            bool many = max == BK_PATTERN_MANY;
            size_t after = (more - i) * (n + 1) + many;
            emit(c, BK_PAT_SPLIT, (int32_t)after);
            copy(c, begin, n, 1);
            if (many) emit(c, BK_PAT_JUMP, -(int32_t)(n + 1));
        }
    }
}

static void quantified(compiler *c) {
    size_t begin = c->p->n_code;
    uint32_t min, max;
    atom(c);
    if (c->st || !quantifier(c, &min, &max)) return;
    bool possessive = take(c, "+");
    if (looking_at(c, "?")) fail(c, BK_ERR_UNSUPPORTED, "a quantifier that takes the least");
    if (c->p->n_code == begin) return; /* as often as one likes nothing */
    bk_pattern_inst *in = &c->p->code[begin];
    bool single = c->p->n_code == begin + 1 && in->op == BK_PAT_RUN && in->min == 1 && in->max == 1;
    if (single) {
        in->min = min;
        in->max = max;
        in->possessive = possessive;
    } else if (possessive) {
        fail(c, BK_ERR_UNSUPPORTED, "a possessive group");
    } else {
        repeat_group(c, begin, min, max);
    }
}

static void alternatives(compiler *c) {
    size_t ends[MAX_ALTERNATIVES], n = 0, begin = c->p->n_code;
    if (++c->depth > BK_PATTERN_MAX_DEPTH) fail(c, BK_ERR_LIMIT, "it is nested too deep");
    while (!c->st && c->pos < c->s.len && !looking_at(c, ")")) {
        if (!take(c, "|")) {
            quantified(c);
            continue;
        }
        if (n == MAX_ALTERNATIVES) {
            fail(c, BK_ERR_LIMIT, "it has too many alternatives");
            break;
        }
        insert_split(c, begin, c->p->n_code + 1);
        ends[n++] = emit(c, BK_PAT_JUMP, 0);
        begin = c->p->n_code;
    }
    for (size_t i = 0; i < n && !c->st; i++)
        c->p->code[ends[i]].jump = (int32_t)(c->p->n_code - ends[i]);
    c->depth--;
}

bk_status bk_pattern_compile(bk_str source, bk_pattern **out, bk_error *err) {
    *out = NULL;
    bk_pattern *p = bk_alloc_zero(1, sizeof *p);
    if (!p) return bk_fail(err, BK_ERR_NOMEM, "no memory for a pattern");
    compiler c = {.p = p, .s = source, .err = err};
    alternatives(&c);
    if (c.pos < source.len) fail(&c, BK_ERR_FORMAT, "a ) without a (");
    emit(&c, BK_PAT_ACCEPT, 0);
    if (c.st) {
        bk_pattern_destroy(&p);
        return c.st;
    }
    *out = p;
    return BK_OK;
}

void bk_pattern_destroy(bk_pattern **p) {
    if (!*p) return;
    bk_free((*p)->code);
    bk_free((*p)->sets);
    bk_free((*p)->ranges);
    bk_free(*p);
    *p = NULL;
}
