#include "compress/plan.h"

#include <regex.h>

#include "base/mem.h"
#include "compress/round.h"

enum { MOST_NAME = 256 };

/* ---- Patterns ----------------------------------------------------------------------------------- */

typedef struct pattern {
    regex_t regex;
    bool compiled, used;
    const bk_quant *type;
} pattern;

static void free_patterns(pattern *p, size_t n) {
    for (size_t i = 0; p && i < n; i++)
        if (p[i].compiled) regfree(&p[i].regex);
    bk_free(p);
}

static bk_status compile(const char *text, pattern *out, bk_error *err) {
    char expression[MOST_NAME];
    const char *equals = strrchr(text, '=');
    size_t len = equals ? (size_t)(equals - text) : 0;
    if (len == 0 || len >= sizeof expression)
        return bk_fail(err, BK_ERR_INVALID, "'%.80s' found, PATTERN=TYPE wanted (attn_v=q6_k)",
                       text);
    memcpy(expression, text, len);
    expression[len] = '\0';
    bk_status st = bk_round_type(equals + 1, &out->type, err);
    if (st) return st;
    out->compiled = regcomp(&out->regex, expression, REG_EXTENDED | REG_NOSUB) == 0;
    if (out->compiled) return BK_OK;
    return bk_fail(err, BK_ERR_INVALID, "'%.80s' is no regular expression", expression);
}

static const bk_quant *match(pattern *p, size_t n, const bk_gguf_tensor *t) {
    char name[MOST_NAME];
    if (t->name.len >= sizeof name) return NULL;
    memcpy(name, t->name.data, t->name.len);
    name[t->name.len] = '\0';
    const bk_quant *first = NULL;
    for (size_t i = 0; i < n; i++) {
        if (regexec(&p[i].regex, name, 0, NULL, 0) != 0) continue;
        p[i].used = true;
        if (!first) first = p[i].type;
    }
    return first;
}

/* ---- Plans -------------------------------------------------------------------------------------- */

static bk_status make_room(const bk_gguf *g, bk_plan *p, bk_error *err) {
    size_t n = bk_gguf_n_tensors(g);
    *p = (bk_plan){bk_alloc_zero(n + 1, sizeof *p->types), bk_alloc_zero(n + 1, sizeof *p->fixed)};
    if (p->types && p->fixed) return BK_OK;
    bk_plan_free(p);
    return bk_fail(err, BK_ERR_NOMEM, "no memory for a plan of %zu tensors", n);
}

void bk_plan_free(bk_plan *p) {
    bk_free(p->types);
    bk_free(p->fixed);
    *p = (bk_plan){0};
}

/* A type by an option, NULL without. */
static const bk_quant *chosen(const bk_plan_options *o, const bk_mixture *m, pattern *patterns,
                              const bk_gguf_tensor *t) {
    const bk_quant *type = match(patterns, o->n_tensor_types, t);
    bool head = bk_tensor_is_head(t, m->tied);
    if (head && o->leave_output) return t->type;
    if (bk_str_eq(t->name, BK_STR("token_embd.weight")) && o->embedding) return o->embedding;
    return head && o->output ? o->output : type;
}

static void plan_tensor(const bk_plan_options *o, const bk_mixture *m, pattern *patterns,
                        const bk_gguf_tensor *t, const bk_quant **type, bool *fixed) {
    *type = t->type;
    *fixed = true;
    if (!bk_tensor_rounds(t)) return;
    const bk_quant *given = chosen(o, m, patterns, t);
    bk_type want = o->pure ? m->preset->base : bk_mixture_type(m, t);
    if (given) want = given->type;
    *fixed = given != NULL;
    *type = given == t->type ? given : bk_quant_find(bk_type_fitting(want, t->ne[0]));
}

bk_status bk_plan_make(const bk_gguf *g, const bk_plan_options *o, bk_plan *out, bk_error *err) {
    bk_mixture m = bk_mixture_of(g, o->preset, o->importance);
    pattern *patterns = bk_alloc_zero(o->n_tensor_types + 1, sizeof *patterns);
    bk_status st = make_room(g, out, err);
    if (!st && !patterns) st = bk_fail(err, BK_ERR_NOMEM, "no memory for patterns");
    for (size_t i = 0; !st && i < o->n_tensor_types; i++)
        st = compile(o->tensor_types[i], &patterns[i], err);
    for (size_t i = 0; !st && i < bk_gguf_n_tensors(g); i++)
        plan_tensor(o, &m, patterns, bk_gguf_tensor_at(g, i), &out->types[i], &out->fixed[i]);
    for (size_t i = 0; !st && i < o->n_tensor_types; i++)
        if (!patterns[i].used)
            st = bk_fail(err, BK_ERR_INVALID, "'%.80s': no tensor that is rounded has such a name",
                         o->tensor_types[i]);
    free_patterns(patterns, o->n_tensor_types);
    if (st) bk_plan_free(out);
    return st;
}

bk_status bk_plan_convert(const bk_gguf *g, const bk_quant *type, const char *keep, bk_plan *out,
                          bk_error *err) {
    bk_status st = make_room(g, out, err);
    for (size_t i = 0; !st && i < bk_gguf_n_tensors(g); i++) {
        const bk_gguf_tensor *t = bk_gguf_tensor_at(g, i);
        bool rounds = bk_tensor_rounds(t) && t->type->bits == 0 && t->ne[0] % type->block_len == 0;
        out->types[i] = rounds && !(keep && bk_str_contains(t->name, keep)) ? type : t->type;
    }
    return st;
}
