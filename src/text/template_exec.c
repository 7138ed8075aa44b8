/* Statements: output, assignment, conditions, loops, macros; and a rendering from end to end. */
#include <string.h>

#include "text/template_eval.h"

typedef enum signal { GO_ON, BREAK, CONTINUE, STOP } signal;

static signal exec_body(bk_trun *run, const bk_tnode *first);

/* Runs a body with its output caught; the text, or BK_T_FAIL. */
static bk_tval capture(bk_trun *run, const bk_tnode *body) {
    bk_tsb sb, *outer = run->out;
    bk_tsb_init(&sb, run);
    run->out = &sb;
    signal s = exec_body(run, body);
    run->out = outer;
    return s == STOP ? bk_tval_fail() : bk_tsb_done(&sb);
}

/* Runs a body in a scope of its own. */
static bk_tval capture_scoped(bk_trun *run, const bk_tnode *body) {
    bk_tscope *outer = run->scope;
    run->scope = bk_tscope_push(run, outer);
    bk_tval v = run->scope ? capture(run, body) : bk_tval_fail();
    run->scope = outer;
    return v;
}

/* ---- Assignment ------------------------------------------------------------------------------ */

static bool assign(bk_trun *run, bk_tscope *scope, const bk_tnode *target, bk_tval v);

static bool assign_tuple(bk_trun *run, bk_tscope *scope, const bk_tnode *target, bk_tval v) {
    bk_tval *items;
    size_t n;
    if (!bk_tval_items(run, v, &items, &n)) return false;
    if (n != target->n) {
        bk_trun_fail(run, BK_ERR_FORMAT, "%zu values cannot be unpacked into %zu names", n,
                     target->n);
        return false;
    }
    for (size_t i = 0; i < n; i++) {
        if (!assign(run, scope, target->items[i], items[i])) return false;
    }
    return true;
}

static bool assign(bk_trun *run, bk_tscope *scope, const bk_tnode *target, bk_tval v) {
    if (target->kind == BK_N_TUPLE) return assign_tuple(run, scope, target, v);
    if (target->kind == BK_N_NAME) return bk_tscope_set(run, scope, target->name, v);
    bk_tval space = bk_tname_get(run, target->name);
    if (space.type != BK_T_SPACE) {
        bk_trun_fail(run, BK_ERR_FORMAT, "attributes can be set on namespaces only, not on a %s",
                     bk_tval_type_name(space));
        return false;
    }
    bk_tval key = bk_tval_text(run, target->a->name, false);
    return key.type != BK_T_FAIL && bk_tdict_set(run, space.dict, key, v);
}

static BK_T_NOINLINE signal exec_set(bk_trun *run, const bk_tnode *node) {
    bk_tval v = bk_teval(run, node->b);
    if (v.type == BK_T_FAIL || !assign(run, run->scope, node->a, v)) return STOP;
    return GO_ON;
}

/* Evaluates filters over a caught text. */
static bk_tval filter_text(bk_trun *run, const bk_tnode *filter, bk_tval text) {
    if (!filter || text.type == BK_T_FAIL) return text;
    bk_tval outer = run->block;
    run->block = text;
    bk_tval v = bk_teval(run, filter);
    run->block = outer;
    return v;
}

static BK_T_NOINLINE signal exec_set_block(bk_trun *run, const bk_tnode *node) {
    bk_tval v = filter_text(run, node->c, capture_scoped(run, node->b));
    if (v.type == BK_T_FAIL || !assign(run, run->scope, node->a, v)) return STOP;
    return GO_ON;
}

/* ---- Loops ----------------------------------------------------------------------------------- */

/* Makes sure that one more item is ready when there is one; false on an error. */
static bool loop_pull(bk_trun *run, bk_tloop *loop) {
    bool found = loop->n_ready > loop->taken;
    bk_tscope *outer = run->scope;
    while (!found && loop->at < loop->n_source) {
        bk_tval item = loop->source[loop->at++];
        run->scope = bk_tscope_push(run, loop->outer);
        bool ok = run->scope && assign(run, run->scope, loop->node->a, item);
        bk_tval keep = ok ? bk_teval(run, loop->node->d) : bk_tval_fail();
        run->scope = outer;
        if (keep.type == BK_T_FAIL) return false;
        found = bk_tval_truth(keep);
        if (found) loop->ready[loop->n_ready++] = item;
    }
    return true;
}

/* The number of items, for which all have to be tested. */
static bool loop_length(bk_trun *run, bk_tloop *loop, int64_t *length) {
    size_t taken = loop->taken;
    while (loop->at < loop->n_source) {
        loop->taken = loop->n_ready;
        if (!loop_pull(run, loop)) return false;
    }
    loop->taken = taken;
    *length = (int64_t)loop->n_ready;
    return true;
}

static bk_tval loop_cycle(bk_trun *run, bk_tval self, const bk_targs *args) {
    if (!bk_targs_count(run, "cycle", args, 1, BK_T_MAX_ARGS)) return bk_tval_fail();
    return args->pos[(self.loop->taken - 1) % args->n];
}

static bk_tval loop_changed(bk_trun *run, bk_tval self, const bk_targs *args) {
    if (!bk_targs_count(run, "changed", args, 0, BK_T_MAX_ARGS)) return bk_tval_fail();
    bk_tval v = bk_tval_seq(run, BK_SEQ_TUPLE, args->pos, args->n);
    if (v.type == BK_T_FAIL) return v;
    bool same = bk_tval_equal(run, self.loop->changed, v);
    self.loop->changed = v;
    return bk_trun_ok(run) ? bk_tval_bool(!same) : bk_tval_fail();
}

static bk_tval loop_method(bk_trun *run, const bk_tmethod_def *def, bk_tloop *loop) {
    bk_tmethod *m = bk_trun_alloc(run, 1, sizeof *m);
    if (!m) return bk_tval_fail();
    *m = (bk_tmethod){def, {.type = BK_T_LOOP, .loop = loop}};
    return (bk_tval){.type = BK_T_METHOD, .method = m};
}

static bk_tval loop_neighbour(bk_trun *run, bk_tloop *loop, bool next) {
    if (next) {
        if (!loop_pull(run, loop)) return bk_tval_fail();
        if (loop->n_ready > loop->taken) return loop->ready[loop->taken];
    } else if (loop->taken > 1) {
        return loop->ready[loop->taken - 2];
    }
    return bk_tval_undef(run, next ? BK_STR("nextitem") : BK_STR("previtem"), "the end of a loop");
}

bk_tval bk_tloop_attr(bk_trun *run, bk_tloop *loop, bk_str name) {
    static const bk_tmethod_def cycle = {"cycle", loop_cycle}, changed = {"changed", loop_changed};
    int64_t index = (int64_t)loop->taken, length = 0;
    bool rev = bk_str_eq(name, BK_STR("revindex")), rev0 = bk_str_eq(name, BK_STR("revindex0"));
    if (bk_str_eq(name, BK_STR("index"))) return bk_tval_int(index);
    if (bk_str_eq(name, BK_STR("index0"))) return bk_tval_int(index - 1);
    if (bk_str_eq(name, BK_STR("first"))) return bk_tval_bool(index == 1);
    if (bk_str_eq(name, BK_STR("depth"))) return bk_tval_int(1);
    if (bk_str_eq(name, BK_STR("depth0"))) return bk_tval_int(0);
    if (bk_str_eq(name, BK_STR("previtem"))) return loop_neighbour(run, loop, false);
    if (bk_str_eq(name, BK_STR("nextitem"))) return loop_neighbour(run, loop, true);
    if (bk_str_eq(name, BK_STR("cycle"))) return loop_method(run, &cycle, loop);
    if (bk_str_eq(name, BK_STR("changed"))) return loop_method(run, &changed, loop);
    if (bk_str_eq(name, BK_STR("last"))) {
        if (!loop_pull(run, loop)) return bk_tval_fail();
        return bk_tval_bool(loop->n_ready == loop->taken);
    }
    if (!rev && !rev0 && !bk_str_eq(name, BK_STR("length")))
        return bk_tval_undef(run, name, "the loop");
    if (!loop_length(run, loop, &length)) return bk_tval_fail();
    return bk_tval_int(rev ? length - index + 1 : rev0 ? length - index : length);
}

static bk_tloop *loop_begin(bk_trun *run, const bk_tnode *node) {
    bk_tval *items, seq = bk_teval(run, node->b);
    size_t n;
    if (seq.type == BK_T_FAIL || !bk_tval_items(run, seq, &items, &n)) return NULL;
    bk_tloop *loop = bk_trun_alloc(run, 1, sizeof *loop);
    if (!loop) return NULL;
    *loop = (bk_tloop){.node = node, .outer = run->scope, .changed = bk_tval_missing()};
    if (node->d) {
        loop->source = items;
        loop->n_source = n;
        loop->ready = bk_trun_alloc(run, n, sizeof *loop->ready);
    } else {
        loop->ready = items;
        loop->n_ready = n;
    }
    return bk_trun_ok(run) ? loop : NULL;
}

/* One scope serves all rounds: it is emptied before each. */
static signal loop_round(bk_trun *run, bk_tloop *loop, bk_tscope *scope) {
    bk_tval item = loop->ready[loop->taken++];
    scope->n = 0;
    run->scope = scope;
    if (!bk_tscope_set(run, scope, BK_STR("loop"), (bk_tval){.type = BK_T_LOOP, .loop = loop}))
        return STOP;
    if (!assign(run, scope, loop->node->a, item)) return STOP;
    signal s = exec_body(run, loop->node->c);
    if (s == GO_ON) loop->finished = true;
    return s;
}

static signal loop_else(bk_trun *run, const bk_tnode *body) {
    bk_tscope *outer = run->scope;
    run->scope = bk_tscope_push(run, outer);
    signal s = run->scope ? exec_body(run, body) : STOP;
    run->scope = outer;
    return s;
}

static BK_T_NOINLINE signal exec_for(bk_trun *run, const bk_tnode *node) {
    bk_tscope *outer = run->scope, *scope = bk_tscope_push(run, outer);
    bk_tloop *loop = scope ? loop_begin(run, node) : NULL;
    signal s = loop ? GO_ON : STOP;
    while (s != BREAK && s != STOP) {
        if (!loop_pull(run, loop)) return STOP;
        if (loop->n_ready == loop->taken) break;
        s = bk_trun_charge(run, 0) ? loop_round(run, loop, scope) : STOP;
        run->scope = outer;
    }
    if (s == STOP) return STOP;
    /* jinja2 runs the else body when no round came to its end: none at all, or all left early. */
    return loop->finished || !node->e ? GO_ON : loop_else(run, node->e);
}

/* ---- Macros ---------------------------------------------------------------------------------- */

static const bk_tkw *find_keyword(const bk_targs *args, bk_str name) {
    for (size_t i = 0; i < args->n_kw; i++) {
        if (bk_str_eq(args->kw[i].name, name)) return &args->kw[i];
    }
    return NULL;
}

static bool is_parameter(const bk_tnode *macro, bk_str name) {
    for (size_t i = 0; i < macro->n; i++) {
        if (bk_str_eq(macro->items[i]->name, name)) return true;
    }
    return false;
}

static bool too_many(bk_trun *run, const bk_tnode *macro, const char *what, bk_str name) {
    bk_trun_fail(run, BK_ERR_FORMAT, "macro \"" BK_STR_FMT "\" takes no %s" BK_STR_FMT,
                 BK_STR_ARG(macro->name), what, BK_STR_ARG(name));
    return false;
}

/* The special names caller, kwargs and varargs, where the body refers to them. */
static bool bind_special(bk_trun *run, const bk_tnode *macro, const bk_targs *args) {
    bool takes_caller = (macro->uses & BK_T_USES_CALLER) && !is_parameter(macro, BK_STR("caller"));
    bool takes_kwargs = (macro->uses & BK_T_USES_KWARGS) && !is_parameter(macro, BK_STR("kwargs"));
    bool takes_varargs =
        (macro->uses & BK_T_USES_VARARGS) && !is_parameter(macro, BK_STR("varargs"));
    if (takes_caller) {
        const bk_tkw *kw = find_keyword(args, BK_STR("caller"));
        bk_tval v = kw ? kw->value : bk_tval_undef(run, BK_STR("caller"), NULL);
        if (!bk_tscope_set(run, run->scope, BK_STR("caller"), v)) return false;
    }
    bk_tval rest = bk_tval_dict(run);
    if (rest.type == BK_T_FAIL) return false;
    for (size_t i = 0; i < args->n_kw; i++) {
        bk_str name = args->kw[i].name;
        if (is_parameter(macro, name) || (takes_caller && bk_str_eq(name, BK_STR("caller"))))
            continue;
        if (!takes_kwargs) return too_many(run, macro, "argument ", name);
        bk_tval key = bk_tval_text(run, name, false);
        if (key.type == BK_T_FAIL || !bk_tdict_set(run, rest.dict, key, args->kw[i].value))
            return false;
    }
    if (takes_kwargs && !bk_tscope_set(run, run->scope, BK_STR("kwargs"), rest)) return false;
    size_t used = bk_min_size(args->n, macro->n);
    if (!takes_varargs) {
        return args->n == used || too_many(run, macro, "so many arguments", BK_STR(""));
    }
    bk_tval more =
        bk_tval_seq(run, BK_SEQ_TUPLE, args->pos ? args->pos + used : NULL, args->n - used);
    return more.type != BK_T_FAIL && bk_tscope_set(run, run->scope, BK_STR("varargs"), more);
}

/* Parameters that are not given stay missing until the defaults before them are evaluated: a
 * default sees what stands before it. */
static bool bind_parameters(bk_trun *run, const bk_tnode *macro, const bk_targs *args) {
    for (size_t i = 0; i < macro->n; i++) {
        bk_str name = macro->items[i]->name;
        const bk_tkw *kw = find_keyword(args, name);
        if (i < args->n && kw) return too_many(run, macro, "second value of ", name);
        bk_tval v = i < args->n ? args->pos[i] : kw ? kw->value : bk_tval_missing();
        if (!bk_tscope_set(run, run->scope, name, v)) return false;
    }
    if (!bind_special(run, macro, args)) return false;
    for (size_t i = args->n; i < macro->n; i++) {
        const bk_tnode *parameter = macro->items[i];
        if (find_keyword(args, parameter->name) || !parameter->a) continue;
        bk_tval v = bk_teval(run, parameter->a);
        if (v.type == BK_T_FAIL || !bk_tscope_set(run, run->scope, parameter->name, v))
            return false;
    }
    return true;
}

bk_tval bk_tmacro_call(bk_trun *run, const bk_tmacro *macro, const bk_targs *args) {
    if (run->calls >= BK_T_MAX_CALLS)
        return bk_trun_fail(run, BK_ERR_LIMIT, "macro calls nested more than %d deep",
                            BK_T_MAX_CALLS);
    bk_tscope *outer = run->scope;
    run->calls++;
    run->scope = bk_tscope_push(run, macro->scope);
    bool ok = run->scope && bind_parameters(run, macro->node, args);
    bk_tval text = ok ? capture(run, macro->node->b) : bk_tval_fail();
    run->scope = outer;
    run->calls--;
    return text;
}

static bk_tmacro *make_macro(bk_trun *run, const bk_tnode *node) {
    bk_tmacro *macro = bk_trun_alloc(run, 1, sizeof *macro);
    if (macro) *macro = (bk_tmacro){node, run->scope};
    return macro;
}

static BK_T_NOINLINE signal exec_macro(bk_trun *run, const bk_tnode *node) {
    bk_tval v = {.type = BK_T_MACRO, .macro = make_macro(run, node)};
    return v.macro && bk_tscope_set(run, run->scope, node->name, v) ? GO_ON : STOP;
}

static BK_T_NOINLINE signal exec_call_block(bk_trun *run, const bk_tnode *node) {
    const bk_tmacro *caller = make_macro(run, node->b);
    bk_tval v = caller ? bk_teval_call(run, node->a, caller) : bk_tval_fail();
    return v.type != BK_T_FAIL && bk_tval_print(run->out, v) ? GO_ON : STOP;
}

/* ---- The rest -------------------------------------------------------------------------------- */

static BK_T_NOINLINE signal exec_output(bk_trun *run, const bk_tnode *node) {
    bk_tval v = bk_teval(run, node->a);
    return v.type != BK_T_FAIL && bk_tval_print(run->out, v) ? GO_ON : STOP;
}

static BK_T_NOINLINE signal exec_if(bk_trun *run, const bk_tnode *node) {
    const bk_tnode *body = node->b;
    for (size_t i = 0; i < node->n; i++) {
        bk_tval test = bk_teval(run, node->items[i]->a);
        if (test.type == BK_T_FAIL) return STOP;
        if (!bk_tval_truth(test)) continue;
        body = node->items[i]->b;
        break;
    }
    return exec_body(run, body);
}

static BK_T_NOINLINE signal exec_filter_block(bk_trun *run, const bk_tnode *node) {
    bk_tscope *outer = run->scope;
    run->scope = bk_tscope_push(run, outer);
    bk_tval v = run->scope ? filter_text(run, node->a, capture(run, node->b)) : bk_tval_fail();
    run->scope = outer;
    return v.type != BK_T_FAIL && bk_tval_print(run->out, v) ? GO_ON : STOP;
}

static BK_T_NOINLINE signal exec_with(bk_trun *run, const bk_tnode *node) {
    bk_tscope *outer = run->scope, *scope = bk_tscope_push(run, outer);
    for (size_t i = 0; scope && i < node->n; i += 2) {
        bk_tval v = bk_teval(run, node->items[i + 1]);
        if (v.type == BK_T_FAIL || !bk_tscope_set(run, scope, node->items[i]->name, v)) return STOP;
    }
    run->scope = scope;
    signal s = scope ? exec_body(run, node->b) : STOP;
    run->scope = outer;
    return s;
}

static signal exec_kind(bk_trun *run, const bk_tnode *node) {
    switch ((bk_tnode_kind)node->kind) {
    case BK_N_DATA: return bk_tsb_str(run->out, node->value.str) ? GO_ON : STOP;
    case BK_N_OUTPUT: return exec_output(run, node);
    case BK_N_SET: return exec_set(run, node);
    case BK_N_SET_BLOCK: return exec_set_block(run, node);
    case BK_N_IF: return exec_if(run, node);
    case BK_N_FOR: return exec_for(run, node);
    case BK_N_BREAK: return BREAK;
    case BK_N_CONTINUE: return CONTINUE;
    case BK_N_MACRO: return exec_macro(run, node);
    case BK_N_CALL_BLOCK: return exec_call_block(run, node);
    case BK_N_FILTER_BLOCK: return exec_filter_block(run, node);
    case BK_N_WITH:
    case BK_N_SCOPE: return exec_with(run, node);
    default: bk_trun_fail(run, BK_ERR_FORMAT, "not a statement"); return STOP;
    }
}

static signal exec_body(bk_trun *run, const bk_tnode *first) {
    signal s = GO_ON;
    if (!bk_trun_enter(run)) return STOP;
    for (const bk_tnode *node = first; node && s == GO_ON; node = node->next) {
        run->line = node->line;
        s = exec_kind(run, node);
    }
    run->depth--;
    return s;
}

bool bk_texec(bk_trun *run, const bk_tnode *body) { return exec_body(run, body) != STOP; }
