/* The parse tree of a template, and the lexer and parser that make it.
 *
 * The tree lives in the template's arena, is never changed after parsing and may be used by several
 * renderings at once. */
#ifndef BRISK_TEXT_TEMPLATE_AST_H
#define BRISK_TEXT_TEMPLATE_AST_H

#include "base/error.h"
#include "base/mem.h"
#include "base/str.h"
#include "text/template_value.h"

/* Budgets of parsing. The depth counts nested blocks, brackets and operands; it bounds the C stack
 * of the parser and, with the chains, that of the evaluator. */
#define BK_T_MAX_SOURCE ((size_t)1 << 20)
#define BK_T_MAX_PARSE_DEPTH 200

/* ---- Lexer ----------------------------------------------------------------------------------- */

typedef enum bk_ttok {
    BK_TOK_EOF,
    BK_TOK_DATA,
    BK_TOK_VAR_BEGIN,
    BK_TOK_VAR_END,
    BK_TOK_BLOCK_BEGIN,
    BK_TOK_BLOCK_END,
    BK_TOK_NAME,
    BK_TOK_STRING,
    BK_TOK_INT,
    BK_TOK_FLOAT,
    BK_TOK_FLOORDIV, /* operators, in the order of the lexer's table */
    BK_TOK_POW,
    BK_TOK_EQ,
    BK_TOK_NE,
    BK_TOK_GE,
    BK_TOK_LE,
    BK_TOK_ADD,
    BK_TOK_SUB,
    BK_TOK_DIV,
    BK_TOK_MUL,
    BK_TOK_MOD,
    BK_TOK_TILDE,
    BK_TOK_LBRACKET,
    BK_TOK_RBRACKET,
    BK_TOK_LPAREN,
    BK_TOK_RPAREN,
    BK_TOK_LBRACE,
    BK_TOK_RBRACE,
    BK_TOK_GT,
    BK_TOK_LT,
    BK_TOK_ASSIGN,
    BK_TOK_DOT,
    BK_TOK_COLON,
    BK_TOK_PIPE,
    BK_TOK_COMMA
} bk_ttok;

typedef struct bk_ttoken {
    bk_ttok kind;
    int line;
    bk_str text; /* data, name, unescaped string, or the operator as written */
    int64_t i;
    double f;
} bk_ttoken;

typedef struct bk_tlexer {
    bk_arena *arena;
    bk_error *err;
    bk_status status; /* of the first error */
    bk_str src;       /* newlines normalised, a last one dropped */
    size_t pos;
    int line;
    bool line_starting; /* the last tag ended with a newline */
    bk_ttok tag;        /* inside a tag: how it ends; else BK_TOK_EOF */
    bk_ttoken queue[3];
    int n_queue, queue_at;
    char open[BK_T_MAX_PARSE_DEPTH]; /* brackets that are open inside a tag */
    int n_open;
} bk_tlexer;

/* Checks and copies the source. The lexer keeps arena and err. */
bk_status bk_tlexer_init(bk_tlexer *lx, bk_str source, bk_arena *arena, bk_error *err);
/* False with lx->status set on an error. */
bool bk_tlexer_next(bk_tlexer *lx, bk_ttoken *tok);
/* Records the first error, naming the line; always false. */
bool bk_tlexer_fail(bk_tlexer *lx, bk_status code, int line, const char *fmt, ...) BK_PRINTF(4, 5);
/* Lexing of string literals and numbers, at lx->pos. */
bool bk_tlexer_string(bk_tlexer *lx, bk_ttoken *tok);
bool bk_tlexer_number(bk_tlexer *lx, bk_ttoken *tok);

/* ---- Tree ------------------------------------------------------------------------------------ */

typedef enum bk_tnode_kind {
    /* Expressions */
    BK_N_CONST,   /* value */
    BK_N_NAME,    /* name */
    BK_N_LIST,    /* items */
    BK_N_TUPLE,   /* items */
    BK_N_DICT,    /* items: key, value, key, value, ... */
    BK_N_ATTR,    /* a.name */
    BK_N_ITEM,    /* a[b] */
    BK_N_SLICE,   /* a[b:c:d], each of b, c, d may be NULL */
    BK_N_CALL,    /* a(items); BK_N_KEYWORD, BK_N_STAR and BK_N_STARSTAR among them */
    BK_N_KEYWORD, /* name=a */
    BK_N_STAR,    /* *a */
    BK_N_STARSTAR,
    BK_N_FILTER, /* a|name(items); a is NULL in filter blocks */
    BK_N_TEST,   /* a is name(items) */
    BK_N_NOT,
    BK_N_NEG,
    BK_N_POS,
    BK_N_AND, /* a and b */
    BK_N_OR,
    BK_N_BINARY,  /* a op b, op is a token kind */
    BK_N_CONCAT,  /* items joined by ~ */
    BK_N_COMPARE, /* a, then BK_N_OPERAND items */
    BK_N_OPERAND, /* op, a */
    BK_N_COND,    /* a if b else c; c may be NULL */
    BK_N_NSREF,   /* name.attr as a target: name, a is a BK_N_NAME holding attr */
    /* Statements; bodies are chains of next */
    BK_N_DATA,      /* value: a string */
    BK_N_OUTPUT,    /* a */
    BK_N_SET,       /* a = b */
    BK_N_SET_BLOCK, /* a = body b, through filter c or NULL */
    BK_N_IF,        /* items: condition, ..., bodies in bodies; b is the else body */
    BK_N_FOR,       /* a in b if d: body c; else body e */
    BK_N_BREAK,
    BK_N_CONTINUE,
    BK_N_MACRO,        /* name(items), body b */
    BK_N_CALL_BLOCK,   /* call a, caller is macro b */
    BK_N_FILTER_BLOCK, /* filter a, body b */
    BK_N_WITH,         /* items: target, value, ...; body b */
    BK_N_SCOPE,        /* body b in a scope of its own */
    BK_N_BRANCH        /* one arm of an if: condition a, body b */
} bk_tnode_kind;

enum { /* special names that a macro's body refers to */
       BK_T_USES_CALLER = 1,
       BK_T_USES_KWARGS = 2,
       BK_T_USES_VARARGS = 4
};

typedef struct bk_tnode bk_tnode;
struct bk_tnode {
    uint8_t kind, op, uses;
    bool in_not;   /* BK_N_OPERAND: "not in" */
    int16_t depth; /* levels of nodes below, itself included */
    int line;
    bk_str name;
    bk_tval value;
    bk_tnode *a, *b, *c, *d, *e;
    bk_tnode **items;
    size_t n;
    bk_tnode *next;
};

struct bk_template {
    bk_arena arena;
    bk_str source;
    bk_tnode *body;
};

/* ---- Parser ---------------------------------------------------------------------------------- */

typedef struct bk_tparser {
    bk_tlexer lx;
    bk_ttoken cur, ahead;
    bool has_ahead;
    int depth;
    int loops;     /* for statements around, within the same macro */
    int soft;      /* conditions around: an unknown filter is an error only when it runs */
    unsigned uses; /* BK_T_USES_... seen since the macro began */
} bk_tparser;

static inline bool bk_tparser_ok(const bk_tparser *p) { return p->lx.status == BK_OK; }
/* Records an error at the current token; returns NULL. */
void *bk_tparser_fail(bk_tparser *p, bk_status code, const char *fmt, ...) BK_PRINTF(3, 4);
bool bk_tparser_advance(bk_tparser *p);
bool bk_tparser_look(bk_tparser *p, bk_ttoken *tok); /* the token after the current one */
bool bk_tparser_is(const bk_tparser *p, const char *keyword);
bool bk_tparser_skip(bk_tparser *p, const char *keyword); /* whether it was there */
bool bk_tparser_expect(bk_tparser *p, bk_ttok kind, const char *what);
/* Counts one level down; every true is followed by p->depth--. */
bool bk_tparser_enter(bk_tparser *p);

bk_tnode *bk_tnode_new(bk_tparser *p, bk_tnode_kind kind);
/* Sets the depth of node from its children. NULL when the tree becomes too deep. */
bk_tnode *bk_tnode_finish(bk_tparser *p, bk_tnode *node);
/* Growing list of children. */
bool bk_tnode_push(bk_tparser *p, bk_tnode *node, bk_tnode *child);

/* Expressions; NULL on error. */
bk_tnode *bk_tparse_expr(bk_tparser *p);
bk_tnode *bk_tparse_or(bk_tparser *p); /* without a conditional expression at the top */
/* Expressions separated by commas make a tuple; end is a keyword that ends it, or NULL. */
bk_tnode *bk_tparse_tuple(bk_tparser *p, bool cond, const char *end, bool parens);
bk_tnode *bk_tparse_filters(bk_tparser *p, bool inline_start); /* a chain without a value */
/* What is assigned to: names, tuples of them, and namespace attributes where `spaces`. */
bk_tnode *bk_tparse_target(bk_tparser *p, bool spaces, const char *end);
bk_tnode *bk_tparse_target_name(bk_tparser *p);

#endif
