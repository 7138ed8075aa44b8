/* The evaluator: names, operators, calls, filters, tests and statements.
 *
 * A function that returns bk_tval returns BK_T_FAIL after recording an error in run; arguments are
 * never BK_T_FAIL unless it says so. */
#ifndef BRISK_TEXT_TEMPLATE_EVAL_H
#define BRISK_TEXT_TEMPLATE_EVAL_H

#include "text/template_ast.h"
#include "text/template_value.h"

/* Keeps the frames of the recursive functions small: what they call is not inlined into them. */
#define BK_T_NOINLINE __attribute__((noinline))

/* ---- Names ----------------------------------------------------------------------------------- */

typedef struct bk_tscope {
    struct bk_tscope *parent;
    bk_str *names;
    bk_tval *values;
    size_t n, cap;
} bk_tscope;

typedef struct bk_tmacro {
    const bk_tnode *node;
    bk_tscope *scope; /* where it was defined */
} bk_tmacro;

/* A running for loop, as its body sees it. With a filter, items are tested when they are needed. */
typedef struct bk_tloop {
    const bk_tnode *node;
    bk_tscope *outer;
    bk_tval *source; /* not yet tested: from `at` on */
    size_t n_source, at;
    bk_tval *ready; /* accepted */
    size_t n_ready, taken;
    bool finished;   /* a round came to its end without break or continue */
    bk_tval changed; /* what loop.changed() was last called with */
} bk_tloop;

bk_tscope *bk_tscope_push(bk_trun *run, bk_tscope *parent);
bool bk_tscope_set(bk_trun *run, bk_tscope *scope, bk_str name, bk_tval value);
/* The value of a name: scopes, variables, global functions; undefined when it is nowhere. */
bk_tval bk_tname_get(bk_trun *run, bk_str name);
bk_str bk_tmacro_name(const bk_tmacro *macro);
const bk_tfunc *bk_tglobal_find(bk_str name);

/* ---- Expressions ----------------------------------------------------------------------------- */

bk_tval bk_teval(bk_trun *run, const bk_tnode *node);
/* Counts one level of recursion; every true is followed by run->depth--. */
bool bk_trun_enter(bk_trun *run);
/* Values of the arguments of a call, filter or test node. */
bool bk_teval_args(bk_trun *run, const bk_tnode *node, bk_targs *args);
bk_tval bk_teval_call(bk_trun *run, const bk_tnode *node, const bk_tmacro *caller);

bk_tval bk_tcall(bk_trun *run, bk_tval callee, const bk_targs *args);
/* obj.name and obj[key]; undefined when there is nothing, an error when obj is undefined. */
bk_tval bk_tattr(bk_trun *run, bk_tval obj, bk_str name);
bk_tval bk_titem(bk_trun *run, bk_tval obj, bk_tval key);
bk_tval bk_tslice(bk_trun *run, bk_tval obj, bk_tval start, bk_tval stop, bk_tval step);
/* op is a token kind. */
bk_tval bk_tbinary(bk_trun *run, int op, bk_tval a, bk_tval b);
bk_tval bk_tnegate(bk_trun *run, bk_tval v, bool negative);
/* Records that an undefined value was used. */
bk_tval bk_tundef_fail(bk_trun *run, bk_tval v);

/* ---- Functions, methods, filters, tests ------------------------------------------------------ */

/* Spreads args over the parameters named in `params` (separated by blanks); those not given are
 * BK_T_MISSING. False with the error recorded when one of the first `required` is missing or an
 * argument fits nowhere. `what` is for the message. */
enum { BK_T_MAX_PARAMS = 6 };
bool bk_targs_bind(bk_trun *run, const char *what, const char *params, size_t required,
                   const bk_targs *args, bk_tval out[BK_T_MAX_PARAMS]);
/* Positional arguments only, between min and max of them. */
bool bk_targs_count(bk_trun *run, const char *what, const bk_targs *args, size_t min, size_t max);
/* An integer argument (bool counts); false with the error recorded for another type. */
bool bk_targ_int(bk_trun *run, const char *what, bk_tval v, int64_t missing, int64_t *out);
bool bk_targ_str(bk_trun *run, const char *what, bk_tval v, const bk_tstr **out);

/* NULL when the type has no method of this name. */
const bk_tmethod_def *bk_tmethod_find(bk_tval self, bk_str name);
const bk_tmethod_def *bk_tstr_method(bk_str name);
/* Whether it is a method that jinja2's sandbox forbids because it would change the value. */
bool bk_tmethod_changes(bk_tval self, bk_str name);

bool bk_tfilter_known(bk_str name);
bk_tval bk_tfilter_apply(bk_trun *run, bk_str name, bk_tval value, const bk_targs *args);
bool bk_ttest_known(bk_str name);
bk_tval bk_ttest_apply(bk_trun *run, bk_str name, bk_tval value, const bk_targs *args);

typedef struct bk_tfilter {
    const char *name, *params;
    size_t required;
    /* a: bound to params; raw: as given. Filters without params take raw. */
    bk_tval (*apply)(bk_trun *run, bk_tval v, const bk_tval *a, const bk_targs *raw);
} bk_tfilter;
extern const bk_tfilter bk_tfilters_seq[];
extern const size_t bk_tfilters_n_seq;

/* "%" on strings, and str.format(). */
bk_tval bk_tformat_percent(bk_trun *run, const bk_tstr *format, bk_tval args);
bk_tval bk_tformat_braces(bk_trun *run, const bk_tstr *format, const bk_targs *args);

bk_tval bk_tloop_attr(bk_trun *run, bk_tloop *loop, bk_str name);
/* Pieces that several methods and filters share. */
bk_tval bk_tstr_strip(bk_trun *run, const bk_tstr *s, bk_tval chars, bool left, bool right);
bk_tval bk_tstr_replace(bk_trun *run, const bk_tstr *s, const bk_tstr *from, const bk_tstr *to,
                        int64_t count);
bk_tval bk_tstr_join(bk_trun *run, const bk_tstr *sep, bk_tval *items, size_t n, bool convert);
bk_tval bk_tstr_lines(bk_trun *run, const bk_tstr *s, bool keep_ends);
bk_tval bk_tdict_items(bk_trun *run, const bk_tdict *d, bk_tkind kind);
/* item.a.b.0 for the path "a.b.0", or item[path] when path is no string; `otherwise`, unless none,
 * in place of what is undefined. */
bk_tval bk_tattr_path(bk_trun *run, bk_tval item, bk_tval path, bk_tval otherwise);
/* int(text, base): false when it is none. */
bool bk_tparse_int(bk_str text, int base, int64_t *out);

/* ---- Statements ------------------------------------------------------------------------------ */

/* Runs a macro and gives its text. */
bk_tval bk_tmacro_call(bk_trun *run, const bk_tmacro *macro, const bk_targs *args);
/* Runs a chain of statements; false when an error was recorded. */
bool bk_texec(bk_trun *run, const bk_tnode *body);

#endif
