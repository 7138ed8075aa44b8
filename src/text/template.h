/* Chat templates: an interpreter for the part of Jinja 2 that model files use.
 *
 * Templates come from files and are hostile until proven otherwise: parse depth, run-time depth,
 * steps and output bytes have budgets, and exceeding one is an error of that call. Semantics follow
 * jinja2's ImmutableSandboxedEnvironment as transformers sets it up (trim_blocks, lstrip_blocks,
 * loop controls, tojson, raise_exception, strftime_now). */
#ifndef BRISK_TEXT_TEMPLATE_H
#define BRISK_TEXT_TEMPLATE_H

#include "base/buf.h"
#include "base/error.h"

typedef struct bk_template bk_template;

/* Parses. FORMAT (syntax, with line number), UNSUPPORTED (a construct named), LIMIT, NOMEM. */
bk_status bk_template_parse(bk_str source, bk_template **out, bk_error *err);
void bk_template_destroy(bk_template **t);

/* Its text, as long as the template lives and with a NUL behind it; line ends are newlines. */
bk_str bk_template_source(const bk_template *t);

/* The variables of a rendering, as JSON text: an object such as
 *   {"messages": [{"role": "user", "content": "hi"}], "add_generation_prompt": true,
 *    "bos_token": "<s>", "tools": null}
 * (order of keys is kept; read with jansson, depth-limited).
 *
 * The output marks where text came from: spans that were computed from the variables' strings are
 * recorded in `user`, so that the tokenizer parses special tokens only in the template's own text. */
typedef struct bk_rendered {
    bk_buf text;
    bk_span *user; /* ascending, disjoint: bytes that come from variables, not from the template */
    size_t n_user, cap_user;
} bk_rendered;

bk_status bk_template_render(const bk_template *t, bk_str vars_json, bk_rendered *out,
                             bk_error *err);

/* The same for what a chat request holds, as transformers' apply_chat_template does it: the variables
 * are those of defaults_json (an object), over them the request's members, over them the members of its
 * chat_template_kwargs. A request that is an array is the messages. */
bk_status bk_template_render_request(const bk_template *t, bk_str request_json,
                                     bk_str defaults_json, bk_rendered *out, bk_error *err);
void bk_rendered_free(bk_rendered *r);

#endif
