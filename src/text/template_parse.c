/* Parser of statements, and the template object. */
#include <string.h>

#include "text/template_ast.h"
#include "text/template_eval.h"

static bool parse_body(bk_tparser *p, const char *const *ends, bk_tnode **first);

/* The rest of an opening tag and what it encloses, up to one of `ends`, which is the current token
 * then (after its "{%"). */
static bool parse_block(bk_tparser *p, const char *const *ends, bk_tnode **first) {
    if (p->cur.kind == BK_TOK_COLON && !bk_tparser_advance(p)) return false;
    if (!bk_tparser_expect(p, BK_TOK_BLOCK_END, "\"%}\"")) return false;
    if (!bk_tparser_enter(p)) return false;
    bool ok = parse_body(p, ends, first);
    p->depth--;
    return ok;
}

static bool parse_enclosed(bk_tparser *p, const char *end, bk_tnode **first) {
    const char *const ends[] = {end, NULL};
    return parse_block(p, ends, first) && bk_tparser_advance(p);
}

/* The same where the text is caught first: no loop around it can be left from inside. */
static bool parse_caught(bk_tparser *p, const char *end, bk_tnode **first) {
    int loops = p->loops;
    p->loops = 0;
    bool ok = parse_enclosed(p, end, first);
    p->loops = loops;
    return ok;
}

static bk_tnode *parse_set(bk_tparser *p) {
    bk_tnode *node = bk_tnode_new(p, BK_N_SET);
    if (!node || !bk_tparser_advance(p)) return NULL;
    node->a = bk_tparse_target(p, true, NULL);
    if (!node->a) return NULL;
    if (p->cur.kind == BK_TOK_ASSIGN) {
        if (!bk_tparser_advance(p)) return NULL;
        node->b = bk_tparse_tuple(p, true, NULL, false);
        return node->b ? bk_tnode_finish(p, node) : NULL;
    }
    node->kind = BK_N_SET_BLOCK;
    node->c = bk_tparse_filters(p, false);
    if (!bk_tparser_ok(p) || !parse_caught(p, "endset", &node->b)) return NULL;
    return bk_tnode_finish(p, node);
}

static bk_tnode *parse_for(bk_tparser *p) {
    static const char *const ends[] = {"endfor", "else", NULL};
    bk_tnode *node = bk_tnode_new(p, BK_N_FOR);
    if (!node || !bk_tparser_advance(p)) return NULL;
    p->loops++;
    node->a = bk_tparse_target(p, false, "in");
    p->loops--;
    if (!node->a) return NULL;
    if (!bk_tparser_is(p, "in")) {
        bk_tparser_expect(p, BK_TOK_ASSIGN, "\"in\"");
        return NULL;
    }
    if (!bk_tparser_advance(p)) return NULL;
    node->b = bk_tparse_tuple(p, false, "recursive", false);
    if (!node->b) return NULL;
    if (bk_tparser_skip(p, "if")) {
        node->d = bk_tparse_expr(p);
        if (!node->d) return NULL;
    }
    if (bk_tparser_is(p, "recursive"))
        return bk_tparser_fail(p, BK_ERR_UNSUPPORTED, "recursive loops are not supported");
    p->loops++;
    bool ok = parse_block(p, ends, &node->c);
    p->loops--;
    if (!ok) return NULL;
    bool has_else = bk_tparser_is(p, "else");
    if (!bk_tparser_advance(p)) return NULL;
    if (has_else && !parse_enclosed(p, "endfor", &node->e)) return NULL;
    return bk_tnode_finish(p, node);
}

static bk_tnode *parse_if(bk_tparser *p) {
    static const char *const ends[] = {"elif", "else", "endif", NULL};
    bk_tnode *node = bk_tnode_new(p, BK_N_IF);
    if (!node) return NULL;
    p->soft++;
    do {
        bk_tnode *arm = bk_tnode_new(p, BK_N_BRANCH);
        if (!arm || !bk_tparser_advance(p)) return NULL;
        arm->a = bk_tparse_tuple(p, false, NULL, false);
        if (!arm->a || !parse_block(p, ends, &arm->b)) return NULL;
        if (!bk_tnode_push(p, node, bk_tnode_finish(p, arm))) return NULL;
    } while (bk_tparser_is(p, "elif"));
    bool has_else = bk_tparser_is(p, "else");
    if (!bk_tparser_advance(p)) return NULL;
    if (has_else && !parse_enclosed(p, "endif", &node->b)) return NULL;
    p->soft--;
    return bk_tnode_finish(p, node);
}

/* The parameters of a macro, "(a, b=1)": names in items, their defaults in a. */
static bool parse_signature(bk_tparser *p, bk_tnode *macro) {
    bool defaults = false;
    if (!bk_tparser_expect(p, BK_TOK_LPAREN, "\"(\"")) return false;
    while (p->cur.kind != BK_TOK_RPAREN) {
        if (macro->n && !bk_tparser_expect(p, BK_TOK_COMMA, "\",\"")) return false;
        bk_tnode *name = bk_tparse_target_name(p);
        if (!name) return false;
        if (p->cur.kind == BK_TOK_ASSIGN) {
            if (!bk_tparser_advance(p)) return false;
            name->a = bk_tparse_expr(p);
            if (!name->a || !bk_tnode_finish(p, name)) return false;
            defaults = true;
        } else if (defaults) {
            bk_tparser_fail(p, BK_ERR_FORMAT, "a parameter without a default after one with");
            return false;
        }
        if (macro->n == BK_T_MAX_ARGS) {
            bk_tparser_fail(p, BK_ERR_LIMIT, "a macro of more than %d parameters", BK_T_MAX_ARGS);
            return false;
        }
        if (!bk_tnode_push(p, macro, name)) return false;
    }
    return bk_tparser_advance(p);
}

/* The body of a macro is a function of its own: it neither breaks the loops around it nor shares
 * their use of special names. */
static bool parse_macro_body(bk_tparser *p, bk_tnode *macro, const char *end) {
    unsigned outer = p->uses;
    p->uses = 0;
    bool ok = parse_caught(p, end, &macro->b);
    macro->uses = (uint8_t)p->uses;
    p->uses |= outer;
    return ok;
}

static bk_tnode *parse_macro(bk_tparser *p) {
    bk_tnode *node = bk_tnode_new(p, BK_N_MACRO);
    if (!node || !bk_tparser_advance(p)) return NULL;
    node->name = p->cur.text;
    if (!bk_tparser_expect(p, BK_TOK_NAME, "the name of a macro")) return NULL;
    if (!parse_signature(p, node) || !parse_macro_body(p, node, "endmacro")) return NULL;
    return bk_tnode_finish(p, node);
}

static bk_tnode *parse_call_block(bk_tparser *p) {
    bk_tnode *node = bk_tnode_new(p, BK_N_CALL_BLOCK), *macro = bk_tnode_new(p, BK_N_MACRO);
    if (!node || !macro || !bk_tparser_advance(p)) return NULL;
    macro->name = BK_STR("caller");
    if (p->cur.kind == BK_TOK_LPAREN && !parse_signature(p, macro)) return NULL;
    node->a = bk_tparse_expr(p);
    if (!node->a) return NULL;
    if (node->a->kind != BK_N_CALL)
        return bk_tparser_fail(p, BK_ERR_FORMAT, "a call block must call a macro");
    if (!parse_macro_body(p, macro, "endcall")) return NULL;
    node->b = bk_tnode_finish(p, macro);
    return node->b ? bk_tnode_finish(p, node) : NULL;
}

static bk_tnode *parse_filter_block(bk_tparser *p) {
    bk_tnode *node = bk_tnode_new(p, BK_N_FILTER_BLOCK);
    if (!node || !bk_tparser_advance(p)) return NULL;
    node->a = bk_tparse_filters(p, true);
    if (!node->a || !parse_caught(p, "endfilter", &node->b)) return NULL;
    return bk_tnode_finish(p, node);
}

static bk_tnode *parse_with(bk_tparser *p) {
    bk_tnode *node = bk_tnode_new(p, BK_N_WITH);
    if (!node || !bk_tparser_advance(p)) return NULL;
    while (p->cur.kind != BK_TOK_BLOCK_END) {
        if (node->n && !bk_tparser_expect(p, BK_TOK_COMMA, "\",\"")) return NULL;
        if (!bk_tnode_push(p, node, bk_tparse_target_name(p))) return NULL;
        if (!bk_tparser_expect(p, BK_TOK_ASSIGN, "\"=\"")) return NULL;
        if (!bk_tnode_push(p, node, bk_tparse_expr(p))) return NULL;
    }
    return parse_enclosed(p, "endwith", &node->b) ? bk_tnode_finish(p, node) : NULL;
}

/* {% generation %} marks what a model wrote, for training; here it only has its own scope. */
static bk_tnode *parse_generation(bk_tparser *p) {
    bk_tnode *node = bk_tnode_new(p, BK_N_SCOPE);
    if (!node || !bk_tparser_advance(p)) return NULL;
    return parse_caught(p, "endgeneration", &node->b) ? bk_tnode_finish(p, node) : NULL;
}

static bk_tnode *parse_jump(bk_tparser *p) {
    bk_tnode *node = bk_tnode_new(p, bk_tparser_is(p, "break") ? BK_N_BREAK : BK_N_CONTINUE);
    if (!p->loops) return bk_tparser_fail(p, BK_ERR_FORMAT, "break or continue outside of a loop");
    return node && bk_tparser_advance(p) ? bk_tnode_finish(p, node) : NULL;
}

static bk_tnode *parse_statement(bk_tparser *p) {
    static const struct {
        const char *name;
        bk_tnode *(*parse)(bk_tparser *p);
    } statements[] = {{"set", parse_set},         {"if", parse_if},
                      {"for", parse_for},         {"macro", parse_macro},
                      {"call", parse_call_block}, {"filter", parse_filter_block},
                      {"with", parse_with},       {"generation", parse_generation},
                      {"break", parse_jump},      {"continue", parse_jump}};
    static const char *const others[] = {"extends", "block", "include",    "import",
                                         "from",    "print", "autoescape", "do"};
    for (size_t i = 0; i < BK_ARRAY_LEN(statements); i++) {
        if (bk_tparser_is(p, statements[i].name)) return statements[i].parse(p);
    }
    for (size_t i = 0; i < BK_ARRAY_LEN(others); i++) {
        if (bk_tparser_is(p, others[i]))
            return bk_tparser_fail(p, BK_ERR_UNSUPPORTED, "\"{%% %s %%}\" is not supported",
                                   others[i]);
    }
    if (p->cur.kind != BK_TOK_NAME) {
        bk_tparser_expect(p, BK_TOK_NAME, "the name of a tag");
        return NULL;
    }
    return bk_tparser_fail(p, BK_ERR_FORMAT, "unexpected tag \"" BK_STR_FMT "\"",
                           BK_STR_ARG(p->cur.text));
}

static bk_tnode *parse_data(bk_tparser *p) {
    bk_tnode *node = bk_tnode_new(p, BK_N_DATA);
    bk_tstr *s = bk_arena_alloc(p->lx.arena, 1, sizeof *s);
    if (!node || !s) return bk_tparser_fail(p, BK_ERR_NOMEM, "out of memory");
    *s = (bk_tstr){.data = p->cur.text.data, .len = p->cur.text.len};
    s->chars = bk_tchars(p->cur.text);
    node->value = bk_tval_str(s);
    return bk_tparser_advance(p) ? bk_tnode_finish(p, node) : NULL;
}

static bk_tnode *parse_output(bk_tparser *p) {
    bk_tnode *node = bk_tnode_new(p, BK_N_OUTPUT);
    if (!node || !bk_tparser_advance(p)) return NULL;
    node->a = bk_tparse_tuple(p, true, NULL, false);
    if (!node->a || !bk_tparser_expect(p, BK_TOK_VAR_END, "\"}}\"")) return NULL;
    return bk_tnode_finish(p, node);
}

static bool is_end(const bk_tparser *p, const char *const *ends) {
    for (; *ends; ends++) {
        if (bk_tparser_is(p, *ends)) return true;
    }
    return false;
}

static bool parse_body(bk_tparser *p, const char *const *ends, bk_tnode **first) {
    bk_tnode **tail = first, *node;
    *tail = NULL;
    while (p->cur.kind != BK_TOK_EOF) {
        if (p->cur.kind == BK_TOK_DATA) {
            node = parse_data(p);
        } else if (p->cur.kind == BK_TOK_VAR_BEGIN) {
            node = parse_output(p);
        } else {
            if (!bk_tparser_expect(p, BK_TOK_BLOCK_BEGIN, "\"{%\"")) return false;
            if (is_end(p, ends)) return true;
            node = parse_statement(p);
            if (node && !bk_tparser_expect(p, BK_TOK_BLOCK_END, "\"%}\"")) return false;
        }
        if (!node || !bk_tparser_ok(p)) return false;
        *tail = node;
        tail = &node->next;
    }
    if (!*ends) return true;
    bk_tparser_fail(p, BK_ERR_FORMAT, "the template ends within a block that needs \"%s\"", *ends);
    return false;
}

bk_status bk_template_parse(bk_str source, bk_template **out, bk_error *err) {
    static const char *const no_end[] = {NULL};
    bk_error none;
    *out = NULL;
    if (!err) err = &none;
    bk_template *t = bk_alloc_zero(1, sizeof *t);
    if (!t) return bk_fail(err, BK_ERR_NOMEM, "out of memory");
    bk_tparser p = {0};
    bk_status status = bk_tlexer_init(&p.lx, source, &t->arena, err);
    if (status == BK_OK && bk_tparser_advance(&p)) parse_body(&p, no_end, &t->body);
    if (status == BK_OK) status = p.lx.status;
    if (status == BK_OK) {
        t->source = p.lx.src;
        *out = t;
    } else {
        bk_template_destroy(&t);
    }
    return status;
}

bk_str bk_template_source(const bk_template *t) { return t->source; }

void bk_template_destroy(bk_template **t) {
    if (!*t) return;
    bk_arena_free(&(*t)->arena);
    bk_free(*t);
    *t = NULL;
}
