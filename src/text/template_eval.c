/* Expressions: names, attributes, calls, logic. */
#include "text/template_eval.h"

#include <stdio.h>
#include <string.h>

/* ---- Names ----------------------------------------------------------------------------------- */

bk_tscope *bk_tscope_push(bk_trun *run, bk_tscope *parent) {
    bk_tscope *scope = bk_trun_alloc(run, 1, sizeof *scope);
    if (scope) scope->parent = parent;
    return scope;
}

static bk_tval *scope_find(bk_trun *run, const bk_tscope *scope, bk_str name) {
    if (!bk_trun_charge(run, 4 * scope->n)) return NULL;
    for (size_t i = 0; i < scope->n; i++) {
        if (bk_str_eq(scope->names[i], name)) return &scope->values[i];
    }
    return NULL;
}

bool bk_tscope_set(bk_trun *run, bk_tscope *scope, bk_str name, bk_tval value) {
    bk_tval *old = scope_find(run, scope, name);
    if (old) *old = value;
    if (old || !bk_trun_ok(run)) return bk_trun_ok(run);
    if (scope->n == scope->cap) {
        size_t cap = scope->cap ? 2 * scope->cap : 4;
        bk_str *names = bk_trun_alloc(run, cap, sizeof *names);
        bk_tval *values = bk_trun_alloc(run, cap, sizeof *values);
        if (!names || !values) return false;
        if (scope->n) {
            memcpy(names, scope->names, scope->n * sizeof *names);
            memcpy(values, scope->values, scope->n * sizeof *values);
        }
        scope->names = names;
        scope->values = values;
        scope->cap = cap;
    }
    scope->names[scope->n] = name;
    scope->values[scope->n++] = value;
    return true;
}

bk_tval bk_tname_get(bk_trun *run, bk_str name) {
    for (const bk_tscope *s = run->scope; s; s = s->parent) {
        const bk_tval *v = scope_find(run, s, name);
        if (!bk_trun_ok(run)) return bk_tval_fail();
        if (v) return v->type == BK_T_MISSING ? bk_tval_undef(run, name, NULL) : *v;
    }
    bk_tval v = bk_tdict_find(run, run->vars, name);
    if (v.type != BK_T_MISSING) return v;
    const bk_tfunc *func = bk_tglobal_find(name);
    if (func) return (bk_tval){.type = BK_T_FUNC, .func = func};
    return bk_tval_undef(run, name, NULL);
}

bk_str bk_tmacro_name(const bk_tmacro *macro) { return macro->node->name; }

bk_tval bk_tundef_fail(bk_trun *run, bk_tval v) {
    if (!v.undef->owner)
        return bk_trun_fail(run, BK_ERR_FORMAT, "\"" BK_STR_FMT "\" is undefined",
                            BK_STR_ARG(v.undef->name));
    return bk_trun_fail(run, BK_ERR_FORMAT, "%s has no \"" BK_STR_FMT "\"", v.undef->owner,
                        BK_STR_ARG(v.undef->name));
}

/* ---- Attributes ------------------------------------------------------------------------------ */

static bk_tval bind_method(bk_trun *run, const bk_tmethod_def *def, bk_tval self) {
    bk_tmethod *m = bk_trun_alloc(run, 1, sizeof *m);
    if (!m) return bk_tval_fail();
    *m = (bk_tmethod){def, self};
    return (bk_tval){.type = BK_T_METHOD, .method = m};
}

bk_tval bk_tattr(bk_trun *run, bk_tval obj, bk_str name) {
    if (obj.type == BK_T_UNDEF) return bk_tundef_fail(run, obj);
    if (obj.type == BK_T_LOOP) return bk_tloop_attr(run, obj.loop, name);
    const bk_tmethod_def *def = bk_tmethod_find(obj, name);
    if (def) return bind_method(run, def, obj);
    if (bk_tmethod_changes(obj, name))
        return bk_tval_undef(run, name, "a value that templates may not change");
    bool private = name.len && name.data[0] == '_';
    if (obj.type == BK_T_DICT || (obj.type == BK_T_SPACE && !private)) {
        bk_tval v = bk_tdict_find(run, obj.dict, name);
        if (v.type != BK_T_MISSING) return v;
    }
    return bk_tval_undef(run, name, bk_tval_type_name(obj));
}

/* ---- Calls ----------------------------------------------------------------------------------- */

static bool add_positional(bk_trun *run, bk_targs *args, bk_tval v) {
    if (args->n == BK_T_MAX_ARGS) {
        bk_trun_fail(run, BK_ERR_LIMIT, "a call of more than %d arguments", BK_T_MAX_ARGS);
        return false;
    }
    args->pos[args->n++] = v;
    return true;
}

static bool add_keyword(bk_trun *run, bk_targs *args, bk_str name, bk_tval v) {
    for (size_t i = 0; i < args->n_kw; i++) {
        if (!bk_str_eq(args->kw[i].name, name)) continue;
        bk_trun_fail(run, BK_ERR_FORMAT, "the argument \"" BK_STR_FMT "\" is given twice",
                     BK_STR_ARG(name));
        return false;
    }
    if (args->n_kw == BK_T_MAX_ARGS) {
        bk_trun_fail(run, BK_ERR_LIMIT, "a call of more than %d arguments", BK_T_MAX_ARGS);
        return false;
    }
    args->kw[args->n_kw++] = (bk_tkw){name, v};
    return true;
}

/* "*list" and "**dict". */
static bool spread(bk_trun *run, const bk_tnode *arg, bk_targs *args, bk_tval v) {
    bk_tval *items;
    size_t n;
    if (arg->kind == BK_N_STARSTAR && v.type != BK_T_DICT) {
        bk_trun_fail(run, BK_ERR_FORMAT, "\"**\" needs a dict, not a %s", bk_tval_type_name(v));
        return false;
    }
    if (!bk_tval_items(run, v, &items, &n)) return false;
    for (size_t i = 0; i < n; i++) {
        if (arg->kind == BK_N_STAR) {
            if (!add_positional(run, args, items[i])) return false;
        } else if (items[i].type != BK_T_STR) {
            bk_trun_fail(run, BK_ERR_FORMAT, "\"**\" needs strings as keys");
            return false;
        } else if (!add_keyword(run, args, bk_tstr_view(items[i].str), v.dict->values[i])) {
            return false;
        }
    }
    return true;
}

bool bk_teval_args(bk_trun *run, const bk_tnode *node, bk_targs *args) {
    *args = (bk_targs){0};
    if (node->n == 0) return true;
    bool spreads = false;
    for (size_t i = 0; i < node->n; i++) {
        spreads =
            spreads || node->items[i]->kind == BK_N_STAR || node->items[i]->kind == BK_N_STARSTAR;
    }
    size_t room = spreads ? BK_T_MAX_ARGS : node->n;
    args->pos = bk_trun_alloc(run, room, sizeof *args->pos);
    args->kw = bk_trun_alloc(run, room, sizeof *args->kw);
    if (!args->pos || !args->kw) return false;
    for (size_t i = 0; i < node->n; i++) {
        const bk_tnode *arg = node->items[i];
        bool plain =
            arg->kind != BK_N_KEYWORD && arg->kind != BK_N_STAR && arg->kind != BK_N_STARSTAR;
        bk_tval v = bk_teval(run, plain ? arg : arg->a);
        if (v.type == BK_T_FAIL) return false;
        if (arg->kind == BK_N_KEYWORD ? !add_keyword(run, args, arg->name, v)
            : plain                   ? !add_positional(run, args, v)
                                      : !spread(run, arg, args, v))
            return false;
    }
    return true;
}

bk_tval bk_tcall(bk_trun *run, bk_tval callee, const bk_targs *args) {
    switch ((bk_ttype)callee.type) {
    case BK_T_FUNC: return callee.func->call(run, args);
    case BK_T_METHOD: return callee.method->def->call(run, callee.method->self, args);
    case BK_T_MACRO: return bk_tmacro_call(run, callee.macro, args);
    case BK_T_UNDEF: return bk_tundef_fail(run, callee);
    default:
        return bk_trun_fail(run, BK_ERR_FORMAT, "a %s cannot be called", bk_tval_type_name(callee));
    }
}

bk_tval bk_teval_call(bk_trun *run, const bk_tnode *node, const bk_tmacro *caller) {
    bk_targs args;
    bk_tval callee = bk_teval(run, node->a);
    if (callee.type == BK_T_FAIL || !bk_teval_args(run, node, &args)) return bk_tval_fail();
    if (caller) {
        bk_tkw *kw = bk_trun_alloc(run, args.n_kw + 1, sizeof *kw);
        if (!kw) return bk_tval_fail();
        if (args.n_kw) memcpy(kw, args.kw, args.n_kw * sizeof *kw);
        kw[args.n_kw++] = (bk_tkw){BK_STR("caller"), {.type = BK_T_MACRO, .macro = caller}};
        args.kw = kw;
    }
    run->line = node->line;
    return bk_tcall(run, callee, &args);
}

/* ---- The kinds of nodes ---------------------------------------------------------------------- */

static BK_T_NOINLINE bk_tval eval_items(bk_trun *run, const bk_tnode *node) {
    bk_tval *items = bk_trun_alloc(run, node->n, sizeof *items);
    if (!items) return bk_tval_fail();
    for (size_t i = 0; i < node->n; i++) {
        items[i] = bk_teval(run, node->items[i]);
        if (items[i].type == BK_T_FAIL) return items[i];
    }
    return bk_tval_seq(run, node->kind == BK_N_LIST ? BK_SEQ_LIST : BK_SEQ_TUPLE, items, node->n);
}

static BK_T_NOINLINE bk_tval eval_dict(bk_trun *run, const bk_tnode *node) {
    bk_tval d = bk_tval_dict(run);
    for (size_t i = 0; d.type != BK_T_FAIL && i < node->n; i += 2) {
        bk_tval key = bk_teval(run, node->items[i]);
        if (key.type == BK_T_FAIL) return key;
        bk_tval value = bk_teval(run, node->items[i + 1]);
        if (value.type == BK_T_FAIL || !bk_tdict_set(run, d.dict, key, value))
            return bk_tval_fail();
    }
    return d;
}

static BK_T_NOINLINE bk_tval eval_item(bk_trun *run, const bk_tnode *node) {
    bk_tval obj = bk_teval(run, node->a);
    if (obj.type == BK_T_FAIL) return obj;
    bk_tval key = bk_teval(run, node->b);
    return key.type == BK_T_FAIL ? key : bk_titem(run, obj, key);
}

static bk_tval eval_optional(bk_trun *run, const bk_tnode *node) {
    return node ? bk_teval(run, node) : bk_tval_missing();
}

static BK_T_NOINLINE bk_tval eval_slice(bk_trun *run, const bk_tnode *node) {
    bk_tval obj = bk_teval(run, node->a);
    if (obj.type == BK_T_FAIL) return obj;
    bk_tval from = eval_optional(run, node->b), to = eval_optional(run, node->c);
    bk_tval by = eval_optional(run, node->d);
    return bk_trun_ok(run) ? bk_tslice(run, obj, from, to, by) : bk_tval_fail();
}

static BK_T_NOINLINE bk_tval eval_filter(bk_trun *run, const bk_tnode *node) {
    bk_targs args;
    bk_tval v = node->a ? bk_teval(run, node->a) : run->block;
    if (v.type == BK_T_FAIL || !bk_teval_args(run, node, &args)) return bk_tval_fail();
    run->line = node->line;
    return node->kind == BK_N_FILTER ? bk_tfilter_apply(run, node->name, v, &args)
                                     : bk_ttest_apply(run, node->name, v, &args);
}

static BK_T_NOINLINE bk_tval eval_binary(bk_trun *run, const bk_tnode *node) {
    bk_tval a = bk_teval(run, node->a);
    if (a.type == BK_T_FAIL) return a;
    if (node->kind == BK_N_AND) return bk_tval_truth(a) ? bk_teval(run, node->b) : a;
    if (node->kind == BK_N_OR) return bk_tval_truth(a) ? a : bk_teval(run, node->b);
    bk_tval b = bk_teval(run, node->b);
    if (b.type == BK_T_FAIL) return b;
    run->line = node->line;
    return bk_tbinary(run, node->op, a, b);
}

static BK_T_NOINLINE bk_tval eval_unary(bk_trun *run, const bk_tnode *node) {
    bk_tval v = bk_teval(run, node->a);
    if (v.type == BK_T_FAIL) return v;
    if (node->kind == BK_N_NOT) return bk_tval_bool(!bk_tval_truth(v));
    return bk_tnegate(run, v, node->kind == BK_N_NEG);
}

static BK_T_NOINLINE bk_tval eval_concat(bk_trun *run, const bk_tnode *node) {
    bk_tsb sb;
    bk_tsb_init(&sb, run);
    for (size_t i = 0; i < node->n; i++) {
        bk_tval v = bk_teval(run, node->items[i]);
        if (v.type == BK_T_FAIL || !bk_tval_print(&sb, v)) return bk_tval_fail();
    }
    return bk_tsb_done(&sb);
}

static BK_T_NOINLINE bk_tval compare(bk_trun *run, const bk_tnode *op, bk_tval a, bk_tval b) {
    int order;
    if (op->op == BK_TOK_NAME) {
        bk_tval r = bk_tval_contains(run, b, a);
        return r.type == BK_T_FAIL ? r : bk_tval_bool(r.b != op->in_not);
    }
    if (op->op == BK_TOK_EQ || op->op == BK_TOK_NE) {
        bool same = bk_tval_equal(run, a, b);
        return bk_trun_ok(run) ? bk_tval_bool(same == (op->op == BK_TOK_EQ)) : bk_tval_fail();
    }
    if (a.type == BK_T_UNDEF) return bk_tundef_fail(run, a);
    if (b.type == BK_T_UNDEF) return bk_tundef_fail(run, b);
    if (!bk_tval_order(run, a, b, &order)) return bk_tval_fail();
    switch (op->op) {
    case BK_TOK_LT: return bk_tval_bool(order == -1);
    case BK_TOK_LE: return bk_tval_bool(order == -1 || order == 0);
    case BK_TOK_GT: return bk_tval_bool(order == 1);
    default: return bk_tval_bool(order == 1 || order == 0);
    }
}

static BK_T_NOINLINE bk_tval eval_compare(bk_trun *run, const bk_tnode *node) {
    bk_tval a = bk_teval(run, node->a), r = bk_tval_bool(true);
    if (a.type == BK_T_FAIL) return a;
    for (size_t i = 0; i < node->n && r.b; i++) {
        bk_tval b = bk_teval(run, node->items[i]->a);
        if (b.type == BK_T_FAIL) return b;
        run->line = node->line;
        r = compare(run, node->items[i], a, b);
        if (r.type == BK_T_FAIL) return r;
        a = b;
    }
    return r;
}

static BK_T_NOINLINE bk_tval eval_cond(bk_trun *run, const bk_tnode *node) {
    bk_tval test = bk_teval(run, node->b);
    if (test.type == BK_T_FAIL) return test;
    if (bk_tval_truth(test)) return bk_teval(run, node->a);
    return node->c ? bk_teval(run, node->c)
                   : bk_tval_undef(run, BK_STR("else"), "an \"if\" expression that is false");
}

static BK_T_NOINLINE bk_tval eval_attr(bk_trun *run, const bk_tnode *node) {
    bk_tval obj = bk_teval(run, node->a);
    return obj.type == BK_T_FAIL ? obj : bk_tattr(run, obj, node->name);
}

bool bk_trun_enter(bk_trun *run) {
    if (!bk_trun_charge(run, 0)) return false;
    if (run->depth >= BK_T_MAX_DEPTH) {
        bk_trun_fail(run, BK_ERR_LIMIT, "evaluation nested more than %d deep", BK_T_MAX_DEPTH);
        return false;
    }
    run->depth++;
    return true;
}

static bk_tval eval_kind(bk_trun *run, const bk_tnode *node) {
    switch ((bk_tnode_kind)node->kind) {
    case BK_N_NAME: return bk_tname_get(run, node->name);
    case BK_N_LIST:
    case BK_N_TUPLE: return eval_items(run, node);
    case BK_N_DICT: return eval_dict(run, node);
    case BK_N_ATTR: return eval_attr(run, node);
    case BK_N_ITEM: return eval_item(run, node);
    case BK_N_SLICE: return eval_slice(run, node);
    case BK_N_CALL: return bk_teval_call(run, node, NULL);
    case BK_N_FILTER:
    case BK_N_TEST: return eval_filter(run, node);
    case BK_N_NOT:
    case BK_N_NEG:
    case BK_N_POS: return eval_unary(run, node);
    case BK_N_AND:
    case BK_N_OR:
    case BK_N_BINARY: return eval_binary(run, node);
    case BK_N_CONCAT: return eval_concat(run, node);
    case BK_N_COMPARE: return eval_compare(run, node);
    case BK_N_COND: return eval_cond(run, node);
    default: return bk_trun_fail(run, BK_ERR_FORMAT, "not an expression");
    }
}

bk_tval bk_teval(bk_trun *run, const bk_tnode *node) {
    if (node->kind == BK_N_CONST) return node->value;
    if (!bk_trun_enter(run)) return bk_tval_fail();
    run->line = node->line;
    bk_tval v = eval_kind(run, node);
    run->depth--;
    return v;
}
