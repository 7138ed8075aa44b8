/* What both halves of the parser stand on: the token at hand, errors, nodes. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "text/template_ast.h"

void *bk_tparser_fail(bk_tparser *p, bk_status code, const char *fmt, ...) {
    char text[400];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    bk_tlexer_fail(&p->lx, code, p->cur.line, "%s", text);
    return NULL;
}

bool bk_tparser_advance(bk_tparser *p) {
    if (p->has_ahead) {
        p->cur = p->ahead;
        p->has_ahead = false;
        return true;
    }
    return bk_tlexer_next(&p->lx, &p->cur);
}

bool bk_tparser_look(bk_tparser *p, bk_ttoken *tok) {
    if (!p->has_ahead && !bk_tlexer_next(&p->lx, &p->ahead)) return false;
    p->has_ahead = true;
    *tok = p->ahead;
    return true;
}

bool bk_tparser_is(const bk_tparser *p, const char *keyword) {
    return p->cur.kind == BK_TOK_NAME && bk_str_eq(p->cur.text, bk_str_from(keyword));
}

bool bk_tparser_skip(bk_tparser *p, const char *keyword) {
    return bk_tparser_is(p, keyword) && bk_tparser_advance(p);
}

static const char *describe(const bk_ttoken *tok, char out[64]) {
    switch (tok->kind) {
    case BK_TOK_EOF: return "the end of the template";
    case BK_TOK_DATA: return "text";
    case BK_TOK_VAR_BEGIN: return "\"{{\"";
    case BK_TOK_VAR_END: return "\"}}\"";
    case BK_TOK_BLOCK_BEGIN: return "\"{%\"";
    case BK_TOK_BLOCK_END: return "\"%}\"";
    case BK_TOK_STRING: return "a string";
    case BK_TOK_INT:
    case BK_TOK_FLOAT: return "a number";
    default: break;
    }
    snprintf(out, 64, "\"%.*s\"", (int)bk_min_size(40, tok->text.len), tok->text.data);
    return out;
}

bool bk_tparser_expect(bk_tparser *p, bk_ttok kind, const char *what) {
    char found[64];
    if (p->cur.kind == kind) return bk_tparser_advance(p);
    bk_tparser_fail(p, BK_ERR_FORMAT, "expected %s, found %s", what, describe(&p->cur, found));
    return false;
}

bool bk_tparser_enter(bk_tparser *p) {
    p->depth++;
    if (p->depth <= BK_T_MAX_PARSE_DEPTH) return true;
    bk_tparser_fail(p, BK_ERR_LIMIT, "nested more than %d deep", BK_T_MAX_PARSE_DEPTH);
    return false;
}

bk_tnode *bk_tnode_new(bk_tparser *p, bk_tnode_kind kind) {
    bk_tnode *node = bk_arena_alloc(p->lx.arena, 1, sizeof *node);
    if (!node) return bk_tparser_fail(p, BK_ERR_NOMEM, "out of memory");
    node->kind = kind;
    node->line = p->cur.line;
    return node;
}

bk_tnode *bk_tnode_finish(bk_tparser *p, bk_tnode *node) {
    if (!node || !bk_tparser_ok(p)) return NULL;
    const bk_tnode *children[] = {node->a, node->b, node->c, node->d, node->e};
    int deepest = 0;
    for (size_t i = 0; i < BK_ARRAY_LEN(children); i++) {
        for (const bk_tnode *c = children[i]; c; c = c->next)
            deepest = bk_max_int(deepest, c->depth);
    }
    for (size_t i = 0; i < node->n; i++) {
        if (node->items[i]) deepest = bk_max_int(deepest, node->items[i]->depth);
    }
    if (deepest >= BK_T_MAX_PARSE_DEPTH)
        return bk_tparser_fail(p, BK_ERR_LIMIT, "an expression of more than %d levels",
                               BK_T_MAX_PARSE_DEPTH);
    node->depth = (int16_t)(deepest + 1);
    return node;
}

bool bk_tnode_push(bk_tparser *p, bk_tnode *node, bk_tnode *child) {
    if (!child) return false;
    bool full = (node->n & (node->n - 1)) == 0; /* 0 and powers of two: grow */
    if (full) {
        bk_tnode **items = bk_arena_alloc(p->lx.arena, node->n ? 2 * node->n : 1, sizeof *items);
        if (!items) {
            bk_tparser_fail(p, BK_ERR_NOMEM, "out of memory");
            return false;
        }
        if (node->n) memcpy(items, node->items, node->n * sizeof *items);
        node->items = items;
    }
    node->items[node->n++] = child;
    return true;
}
