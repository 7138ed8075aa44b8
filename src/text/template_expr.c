/* Parser of expressions, by precedence climbing: the binding of operators is jinja2's, which
 * differs from Python's for filters, tests and "~". */
#include <string.h>

#include "text/template_ast.h"
#include "text/template_eval.h"

enum { PREC_OR = 1, PREC_AND, PREC_NOT, PREC_COMPARE, PREC_ADD, PREC_CONCAT, PREC_MUL, PREC_POW };

static bk_tnode *parse_binary(bk_tparser *p, int min_prec);
static bk_tnode *parse_unary(bk_tparser *p, bool with_filter);

static bk_tnode *parse_name(bk_tparser *p) {
    static const struct {
        const char *name;
        unsigned uses;
    } special[] = {{"caller", BK_T_USES_CALLER},
                   {"kwargs", BK_T_USES_KWARGS},
                   {"varargs", BK_T_USES_VARARGS}};
    bk_tnode *node = bk_tnode_new(p, BK_N_CONST);
    if (!node) return NULL;
    bool yes = bk_tparser_is(p, "true") || bk_tparser_is(p, "True");
    bool no = bk_tparser_is(p, "false") || bk_tparser_is(p, "False");
    if (yes || no) {
        node->value = bk_tval_bool(yes);
    } else if (bk_tparser_is(p, "none") || bk_tparser_is(p, "None")) {
        node->value = bk_tval_none();
    } else {
        node->kind = BK_N_NAME;
        node->name = p->cur.text;
        for (size_t i = 0; i < BK_ARRAY_LEN(special); i++) {
            if (bk_tparser_is(p, special[i].name)) p->uses |= special[i].uses;
        }
    }
    return bk_tparser_advance(p) ? bk_tnode_finish(p, node) : NULL;
}

/* A string constant; the text stays in the template's arena. */
static bool set_string(bk_tparser *p, bk_tnode *node, bk_str text) {
    bk_tstr *s = bk_arena_alloc(p->lx.arena, 1, sizeof *s);
    if (!s) {
        bk_tparser_fail(p, BK_ERR_NOMEM, "out of memory");
        return false;
    }
    *s = (bk_tstr){.data = text.data, .len = text.len, .chars = bk_tchars(text)};
    node->value = bk_tval_str(s);
    return true;
}

/* Appends to a string that is being put together; doubling keeps many small pieces linear. */
static bool append(bk_tparser *p, bk_str *text, size_t *cap, bk_str more) {
    size_t need = text->len + more.len;
    if (need > *cap) {
        *cap = 2 * need;
        char *copy = bk_arena_alloc(p->lx.arena, *cap, 1);
        if (!copy) {
            bk_tparser_fail(p, BK_ERR_NOMEM, "out of memory");
            return false;
        }
        if (text->len) memcpy(copy, text->data, text->len);
        text->data = copy;
    }
    if (more.len) memcpy((char *)text->data + text->len, more.data, more.len);
    text->len = need;
    return true;
}

static bk_tnode *parse_string(bk_tparser *p) {
    bk_tnode *node = bk_tnode_new(p, BK_N_CONST);
    bk_str text = p->cur.text;
    size_t cap = 0;
    if (!node || !bk_tparser_advance(p)) return NULL;
    while (p->cur.kind == BK_TOK_STRING) { /* adjacent literals are one */
        if (!append(p, &text, &cap, p->cur.text) || !bk_tparser_advance(p)) return NULL;
    }
    return set_string(p, node, text) ? bk_tnode_finish(p, node) : NULL;
}

static bk_tnode *parse_number(bk_tparser *p) {
    bk_tnode *node = bk_tnode_new(p, BK_N_CONST);
    if (!node) return NULL;
    node->value = p->cur.kind == BK_TOK_INT ? bk_tval_int(p->cur.i) : bk_tval_float(p->cur.f);
    return bk_tparser_advance(p) ? bk_tnode_finish(p, node) : NULL;
}

/* A list, or a dictionary whose keys and values alternate. */
static bk_tnode *parse_display(bk_tparser *p, bk_tnode_kind kind, bk_ttok end, const char *what) {
    bk_tnode *node = bk_tnode_new(p, kind);
    if (!node || !bk_tparser_advance(p)) return NULL;
    while (p->cur.kind != end) {
        if (node->n && !bk_tparser_expect(p, BK_TOK_COMMA, "\",\"")) return NULL;
        if (p->cur.kind == end) break;
        if (!bk_tnode_push(p, node, bk_tparse_expr(p))) return NULL;
        if (kind != BK_N_DICT) continue;
        if (!bk_tparser_expect(p, BK_TOK_COLON, "\":\"")) return NULL;
        if (!bk_tnode_push(p, node, bk_tparse_expr(p))) return NULL;
    }
    return bk_tparser_expect(p, end, what) ? bk_tnode_finish(p, node) : NULL;
}

static bk_tnode *parse_primary(bk_tparser *p) {
    switch (p->cur.kind) {
    case BK_TOK_NAME: return parse_name(p);
    case BK_TOK_STRING: return parse_string(p);
    case BK_TOK_INT:
    case BK_TOK_FLOAT: return parse_number(p);
    case BK_TOK_LBRACKET: return parse_display(p, BK_N_LIST, BK_TOK_RBRACKET, "\"]\"");
    case BK_TOK_LBRACE: return parse_display(p, BK_N_DICT, BK_TOK_RBRACE, "\"}\"");
    case BK_TOK_LPAREN: break;
    default: bk_tparser_expect(p, BK_TOK_NAME, "a value"); return NULL;
    }
    if (!bk_tparser_advance(p)) return NULL;
    bk_tnode *node = bk_tparse_tuple(p, true, NULL, true);
    return node && bk_tparser_expect(p, BK_TOK_RPAREN, "\")\"") ? node : NULL;
}

/* ---- What follows a value -------------------------------------------------------------------- */

static bk_tnode *parse_argument(bk_tparser *p) {
    bk_ttoken next;
    bk_tnode_kind kind = BK_N_CONST;
    if (p->cur.kind == BK_TOK_MUL) kind = BK_N_STAR;
    if (p->cur.kind == BK_TOK_POW) kind = BK_N_STARSTAR;
    if (p->cur.kind == BK_TOK_NAME) {
        if (!bk_tparser_look(p, &next)) return NULL;
        if (next.kind == BK_TOK_ASSIGN) kind = BK_N_KEYWORD;
    }
    if (kind == BK_N_CONST) return bk_tparse_expr(p);
    bk_tnode *node = bk_tnode_new(p, kind);
    if (!node) return NULL;
    node->name = p->cur.text;
    if (!bk_tparser_advance(p)) return NULL;
    if (kind == BK_N_KEYWORD && !bk_tparser_advance(p)) return NULL; /* "=" */
    node->a = bk_tparse_expr(p);
    return node->a ? bk_tnode_finish(p, node) : NULL;
}

/* Positional arguments come first, then keywords and *list, then **dict; as in jinja2. */
static bool argument_in_order(bk_tparser *p, const bk_tnode *call, const bk_tnode *arg) {
    enum { KEYWORD = 1, STAR = 2, STARSTAR = 4 };
    unsigned seen = 0, not_after = KEYWORD | STAR | STARSTAR;
    for (size_t i = 0; i < call->n; i++) {
        if (call->items[i]->kind == BK_N_KEYWORD) seen |= KEYWORD;
        if (call->items[i]->kind == BK_N_STAR) seen |= STAR;
        if (call->items[i]->kind == BK_N_STARSTAR) seen |= STARSTAR;
    }
    if (arg->kind == BK_N_KEYWORD || arg->kind == BK_N_STARSTAR) not_after = STARSTAR;
    if (arg->kind == BK_N_STAR) not_after = STAR | STARSTAR;
    if (!(seen & not_after)) return true;
    bk_tparser_fail(p, BK_ERR_FORMAT, "arguments of a call in a wrong order");
    return false;
}

static bool parse_arguments(bk_tparser *p, bk_tnode *call) {
    if (!bk_tparser_advance(p)) return false; /* "(" */
    while (p->cur.kind != BK_TOK_RPAREN) {
        if (call->n && !bk_tparser_expect(p, BK_TOK_COMMA, "\",\"")) return false;
        if (p->cur.kind == BK_TOK_RPAREN && call->n) break;
        if (call->n == BK_T_MAX_ARGS) {
            bk_tparser_fail(p, BK_ERR_LIMIT, "a call of more than %d arguments", BK_T_MAX_ARGS);
            return false;
        }
        bk_tnode *arg = parse_argument(p);
        if (!arg || !argument_in_order(p, call, arg) || !bk_tnode_push(p, call, arg)) return false;
    }
    return bk_tparser_advance(p);
}

static bk_tnode *parse_call(bk_tparser *p, bk_tnode *callee) {
    bk_tnode *node = bk_tnode_new(p, BK_N_CALL);
    if (!node) return NULL;
    node->a = callee;
    return parse_arguments(p, node) ? bk_tnode_finish(p, node) : NULL;
}

static bk_tnode *parse_attribute(bk_tparser *p, bk_tnode *object) {
    bk_tnode *node = bk_tnode_new(p, BK_N_ATTR);
    if (!node || !bk_tparser_advance(p)) return NULL;
    node->a = object;
    if (p->cur.kind == BK_TOK_INT) { /* x.0 is x[0] */
        node->kind = BK_N_ITEM;
        node->b = parse_number(p);
        return bk_tnode_finish(p, node);
    }
    node->name = p->cur.text;
    return bk_tparser_expect(p, BK_TOK_NAME, "the name of an attribute") ? bk_tnode_finish(p, node)
                                                                         : NULL;
}

/* One bound of a slice, *bound NULL when it is left out. */
static bool parse_bound(bk_tparser *p, bk_tnode **bound) {
    if (p->cur.kind == BK_TOK_COLON || p->cur.kind == BK_TOK_RBRACKET) return true;
    *bound = bk_tparse_expr(p);
    return *bound != NULL;
}

static bk_tnode *parse_subscript(bk_tparser *p, bk_tnode *object) {
    bk_tnode *node = bk_tnode_new(p, BK_N_ITEM);
    if (!node || !bk_tparser_advance(p)) return NULL;
    node->a = object;
    if (!parse_bound(p, &node->b)) return NULL;
    if (p->cur.kind == BK_TOK_COLON) {
        node->kind = BK_N_SLICE;
        if (!bk_tparser_advance(p) || !parse_bound(p, &node->c)) return NULL;
        if (p->cur.kind == BK_TOK_COLON && !(bk_tparser_advance(p) && parse_bound(p, &node->d)))
            return NULL;
    } else if (!node->b) {
        return bk_tparser_fail(p, BK_ERR_FORMAT, "an empty subscript");
    }
    return bk_tparser_expect(p, BK_TOK_RBRACKET, "\"]\"") ? bk_tnode_finish(p, node) : NULL;
}

static bk_tnode *parse_postfix(bk_tparser *p, bk_tnode *node) {
    while (node) {
        if (p->cur.kind == BK_TOK_DOT) {
            node = parse_attribute(p, node);
        } else if (p->cur.kind == BK_TOK_LBRACKET) {
            node = parse_subscript(p, node);
        } else if (p->cur.kind == BK_TOK_LPAREN) {
            node = parse_call(p, node);
        } else {
            break;
        }
    }
    return node;
}

static bk_tnode *parse_filter(bk_tparser *p, bk_tnode *value) {
    bk_tnode *node = bk_tnode_new(p, BK_N_FILTER);
    if (!node) return NULL;
    node->a = value;
    node->name = p->cur.text;
    if (!bk_tparser_expect(p, BK_TOK_NAME, "the name of a filter")) return NULL;
    if (!p->soft && !bk_tfilter_known(node->name))
        return bk_tparser_fail(p, BK_ERR_UNSUPPORTED, "unknown filter \"" BK_STR_FMT "\"",
                               BK_STR_ARG(node->name));
    if (p->cur.kind == BK_TOK_LPAREN && !parse_arguments(p, node)) return NULL;
    return bk_tnode_finish(p, node);
}

bk_tnode *bk_tparse_filters(bk_tparser *p, bool inline_start) {
    bk_tnode *node = NULL;
    while (inline_start || p->cur.kind == BK_TOK_PIPE) {
        if (!inline_start && !bk_tparser_advance(p)) return NULL;
        inline_start = false;
        node = parse_filter(p, node);
        if (!node) return NULL;
    }
    return node;
}

/* A test's only argument may come without parentheses: "x is divisibleby 3". */
static bool parse_bare_argument(bk_tparser *p, bk_tnode *test) {
    switch (p->cur.kind) {
    case BK_TOK_NAME:
        if (bk_tparser_is(p, "else") || bk_tparser_is(p, "or") || bk_tparser_is(p, "and"))
            return true;
        if (bk_tparser_is(p, "is")) {
            bk_tparser_fail(p, BK_ERR_FORMAT, "tests cannot be chained with \"is\"");
            return false;
        }
        break;
    case BK_TOK_STRING:
    case BK_TOK_INT:
    case BK_TOK_FLOAT:
    case BK_TOK_LPAREN:
    case BK_TOK_LBRACKET:
    case BK_TOK_LBRACE: break;
    default: return true;
    }
    return bk_tnode_push(p, test, parse_postfix(p, parse_primary(p)));
}

static bk_tnode *parse_test(bk_tparser *p, bk_tnode *value) {
    bk_tnode *node = bk_tnode_new(p, BK_N_TEST);
    if (!node || !bk_tparser_advance(p)) return NULL;
    bool negated = bk_tparser_skip(p, "not");
    node->a = value;
    node->name = p->cur.text;
    if (!bk_tparser_expect(p, BK_TOK_NAME, "the name of a test")) return NULL;
    if (!p->soft && !bk_ttest_known(node->name))
        return bk_tparser_fail(p, BK_ERR_UNSUPPORTED, "unknown test \"" BK_STR_FMT "\"",
                               BK_STR_ARG(node->name));
    if (!(p->cur.kind == BK_TOK_LPAREN ? parse_arguments(p, node) : parse_bare_argument(p, node)))
        return NULL;
    node = bk_tnode_finish(p, node);
    if (!negated || !node) return node;
    bk_tnode *not = bk_tnode_new(p, BK_N_NOT);
    if (!not ) return NULL;
    not ->a = node;
    return bk_tnode_finish(p, not );
}

/* Filters and tests bind tighter than any operator. */
static bk_tnode *parse_filter_chain(bk_tparser *p, bk_tnode *node) {
    while (node) {
        if (p->cur.kind == BK_TOK_PIPE) {
            node = bk_tparser_advance(p) ? parse_filter(p, node) : NULL;
        } else if (bk_tparser_is(p, "is")) {
            node = parse_test(p, node);
        } else if (p->cur.kind == BK_TOK_LPAREN) {
            node = parse_call(p, node);
        } else {
            break;
        }
    }
    return node;
}

/* ---- Operators ------------------------------------------------------------------------------- */

static bk_tnode *parse_unary(bk_tparser *p, bool with_filter) {
    bk_tnode *node;
    if (p->cur.kind == BK_TOK_SUB || p->cur.kind == BK_TOK_ADD) {
        node = bk_tnode_new(p, p->cur.kind == BK_TOK_SUB ? BK_N_NEG : BK_N_POS);
        if (!node || !bk_tparser_advance(p) || !bk_tparser_enter(p)) return NULL;
        node->a = parse_unary(p, false);
        p->depth--;
        node = node->a ? bk_tnode_finish(p, node) : NULL;
    } else {
        node = parse_primary(p);
    }
    node = parse_postfix(p, node);
    return with_filter ? parse_filter_chain(p, node) : node;
}

static int precedence(bk_tparser *p) {
    bk_ttoken next;
    switch (p->cur.kind) {
    case BK_TOK_EQ:
    case BK_TOK_NE:
    case BK_TOK_GT:
    case BK_TOK_GE:
    case BK_TOK_LT:
    case BK_TOK_LE: return PREC_COMPARE;
    case BK_TOK_ADD:
    case BK_TOK_SUB: return PREC_ADD;
    case BK_TOK_TILDE: return PREC_CONCAT;
    case BK_TOK_MUL:
    case BK_TOK_DIV:
    case BK_TOK_FLOORDIV:
    case BK_TOK_MOD: return PREC_MUL;
    case BK_TOK_POW: return PREC_POW;
    case BK_TOK_NAME: break;
    default: return 0;
    }
    if (bk_tparser_is(p, "or")) return PREC_OR;
    if (bk_tparser_is(p, "and")) return PREC_AND;
    if (bk_tparser_is(p, "in")) return PREC_COMPARE;
    if (!bk_tparser_is(p, "not") || !bk_tparser_look(p, &next)) return 0;
    return next.kind == BK_TOK_NAME && bk_str_eq(next.text, BK_STR("in")) ? PREC_COMPARE : 0;
}

static bk_tnode *parse_operand(bk_tparser *p) {
    bk_tnode *op = bk_tnode_new(p, BK_N_OPERAND);
    if (!op) return NULL;
    op->op = (uint8_t)p->cur.kind; /* BK_TOK_NAME: in */
    op->in_not = bk_tparser_is(p, "not");
    if (op->in_not && !bk_tparser_advance(p)) return NULL;
    if (!bk_tparser_advance(p)) return NULL;
    op->a = parse_binary(p, PREC_ADD);
    return op->a ? bk_tnode_finish(p, op) : NULL;
}

/* "a < b < c" and "a ~ b ~ c" are one node each. */
static bk_tnode *parse_chain(bk_tparser *p, bk_tnode *left, int prec) {
    bk_tnode *node = bk_tnode_new(p, prec == PREC_CONCAT ? BK_N_CONCAT : BK_N_COMPARE);
    if (!node) return NULL;
    if (prec == PREC_CONCAT && !bk_tnode_push(p, node, left)) return NULL;
    if (prec == PREC_COMPARE) node->a = left;
    while (bk_tparser_ok(p) && precedence(p) == prec) {
        if (prec == PREC_CONCAT && !bk_tparser_advance(p)) return NULL;
        bk_tnode *item = prec == PREC_CONCAT ? parse_binary(p, PREC_MUL) : parse_operand(p);
        if (!bk_tnode_push(p, node, item)) return NULL;
    }
    return bk_tnode_finish(p, node);
}

static bk_tnode *parse_operation(bk_tparser *p, bk_tnode *left, int prec) {
    bk_tnode_kind kind = prec == PREC_OR ? BK_N_OR : prec == PREC_AND ? BK_N_AND : BK_N_BINARY;
    bk_tnode *node = bk_tnode_new(p, kind);
    if (!node) return NULL;
    node->op = (uint8_t)p->cur.kind;
    node->a = left;
    if (!bk_tparser_advance(p)) return NULL;
    node->b = parse_binary(p, prec + 1);
    return node->b ? bk_tnode_finish(p, node) : NULL;
}

static bk_tnode *parse_not(bk_tparser *p) {
    bk_tnode *node = bk_tnode_new(p, BK_N_NOT);
    if (!node || !bk_tparser_advance(p)) return NULL;
    node->a = parse_binary(p, PREC_NOT);
    return node->a ? bk_tnode_finish(p, node) : NULL;
}

/* An expression of operators that bind at least as tightly as min_prec. */
static bk_tnode *parse_binary(bk_tparser *p, int min_prec) {
    if (!bk_tparser_enter(p)) return NULL;
    bool negation = min_prec <= PREC_NOT && bk_tparser_is(p, "not");
    bk_tnode *node = negation ? parse_not(p) : parse_unary(p, true);
    int limit = negation ? PREC_AND : PREC_POW;
    while (node && bk_tparser_ok(p)) {
        int prec = precedence(p);
        if (prec < min_prec || prec == 0 || prec > limit) break;
        bool chain = prec == PREC_COMPARE || prec == PREC_CONCAT;
        node = chain ? parse_chain(p, node, prec) : parse_operation(p, node, prec);
    }
    p->depth--;
    return bk_tparser_ok(p) ? node : NULL;
}

bk_tnode *bk_tparse_or(bk_tparser *p) { return parse_binary(p, PREC_OR); }

bk_tnode *bk_tparse_expr(bk_tparser *p) {
    bk_tnode *value = bk_tparse_or(p);
    while (value && bk_tparser_is(p, "if")) {
        bk_tnode *node = bk_tnode_new(p, BK_N_COND);
        if (!node || !bk_tparser_advance(p) || !bk_tparser_enter(p)) return NULL;
        p->soft++;
        node->a = value;
        node->b = bk_tparse_or(p);
        if (!node->b) return NULL;
        if (bk_tparser_skip(p, "else")) {
            node->c = bk_tparse_expr(p);
            if (!node->c) return NULL;
        }
        p->soft--;
        p->depth--;
        value = bk_tnode_finish(p, node);
    }
    return bk_tparser_ok(p) ? value : NULL;
}

/* ---- Tuples and targets ---------------------------------------------------------------------- */

static bool tuple_ends(const bk_tparser *p, const char *end) {
    return p->cur.kind == BK_TOK_VAR_END || p->cur.kind == BK_TOK_BLOCK_END ||
           p->cur.kind == BK_TOK_RPAREN || (end && bk_tparser_is(p, end));
}

typedef bk_tnode *(*parse_fn)(bk_tparser *p);

static bk_tnode *parse_tuple_of(bk_tparser *p, parse_fn parse, const char *end, bool parens) {
    bk_tnode *tuple = bk_tnode_new(p, BK_N_TUPLE);
    bool commas = false;
    while (tuple && !tuple_ends(p, end)) {
        if (!bk_tnode_push(p, tuple, parse(p))) return NULL;
        if (p->cur.kind != BK_TOK_COMMA) break;
        commas = true;
        if (!bk_tparser_advance(p)) return NULL;
    }
    if (!tuple || !bk_tparser_ok(p)) return NULL;
    if (!commas && tuple->n) return tuple->items[0];
    if (!commas && !parens) return bk_tparser_fail(p, BK_ERR_FORMAT, "an expression is missing");
    return bk_tnode_finish(p, tuple);
}

bk_tnode *bk_tparse_tuple(bk_tparser *p, bool cond, const char *end, bool parens) {
    return parse_tuple_of(p, cond ? bk_tparse_expr : bk_tparse_or, end, parens);
}

static bk_tnode *parse_space_or_primary(bk_tparser *p) {
    bk_ttoken next;
    if (p->cur.kind == BK_TOK_NAME && !bk_tparser_look(p, &next)) return NULL;
    if (p->cur.kind != BK_TOK_NAME || next.kind != BK_TOK_DOT) return parse_primary(p);
    bk_tnode *node = bk_tnode_new(p, BK_N_NSREF);
    if (!node) return NULL;
    node->name = p->cur.text;
    if (!bk_tparser_advance(p) || !bk_tparser_advance(p)) return NULL;
    node->a = bk_tnode_new(p, BK_N_NAME);
    if (!node->a) return NULL;
    node->a->name = p->cur.text;
    return bk_tparser_expect(p, BK_TOK_NAME, "the name of an attribute") ? bk_tnode_finish(p, node)
                                                                         : NULL;
}

/* Whether node can be assigned to. "loop" cannot within a loop: jinja2 forbids it there. */
static bool check_target(bk_tparser *p, const bk_tnode *node) {
    if (node->kind == BK_N_NSREF) return true;
    if (node->kind == BK_N_NAME) {
        if (!p->loops || !bk_str_eq(node->name, BK_STR("loop"))) return true;
        bk_tparser_fail(p, BK_ERR_FORMAT, "the special variable \"loop\" cannot be set in a loop");
        return false;
    }
    bool ok = node->kind == BK_N_TUPLE;
    for (size_t i = 0; ok && i < node->n; i++) {
        if (!check_target(p, node->items[i])) return false;
    }
    if (!ok) bk_tparser_fail(p, BK_ERR_FORMAT, "only names and tuples of names can be set");
    return ok;
}

bk_tnode *bk_tparse_target(bk_tparser *p, bool spaces, const char *end) {
    bk_tnode *node = parse_tuple_of(p, spaces ? parse_space_or_primary : parse_primary, end, false);
    return node && check_target(p, node) ? node : NULL;
}

bk_tnode *bk_tparse_target_name(bk_tparser *p) {
    bk_tnode *node = bk_tnode_new(p, BK_N_NAME);
    if (!node) return NULL;
    node->name = p->cur.text;
    return bk_tparser_expect(p, BK_TOK_NAME, "a name") ? bk_tnode_finish(p, node) : NULL;
}
