/* Calls of functions as models write them into their answers: the forms, and the text of one call to
 * a name and arguments. answer.h finds them in a stream of text. */
#ifndef BRISK_SERVER_TOOL_CALLS_H
#define BRISK_SERVER_TOOL_CALLS_H

#include "base/buf.h"
#include "base/json_read.h"

typedef enum sv_call_form {
    SV_CALL_FORM_NONE,
    SV_CALL_FORM_HERMES, /* <tool_call>{"name": ..., "arguments": {...}}</tool_call>: Hermes, Qwen */
    SV_CALL_FORM_XML,    /* <tool_call><function=NAME><parameter=KEY>...: Qwen3-Coder */
    SV_CALL_FORM_LLAMA3, /* {"name": ..., "parameters": {...}}, perhaps after <|python_tag|> */
    SV_CALL_FORM_MISTRAL /* [TOOL_CALLS] [{"name": ..., "arguments": {...}}], or NAME[ARGS]{...} */
} sv_call_form;

/* The form that a model answers in, from its chat template's text: the template shows the model how to
 * write calls, or repeats those of the conversation. NONE when it knows of no tools, or of a form that
 * is not among these. */
sv_call_form sv_call_form_of(bk_str template_text);

enum { SV_CALL_ID_CAP = 32, SV_CALL_JSON_DEPTH = 64 };

/* A fresh id: "call_" and 24 random letters and digits, or, as Mistral's templates want it of the
 * conversation that comes back, nine of them alone. */
void sv_call_id(sv_call_form form, char id[SV_CALL_ID_CAP]);

/* Finds the end of a JSON object in text that arrives in pieces. Zero but for begin, the offset of its
 * '{'. Looks at each byte once. */
typedef struct sv_call_scan {
    size_t begin,
        at; /* at: bytes before this one have been looked at; after END the object's end */
    int depth;
    bool in_string, escaped;
} sv_call_scan;

typedef enum sv_call_found { SV_CALL_MORE, SV_CALL_END, SV_CALL_BAD } sv_call_found;

/* BAD as soon as the text cannot be JSON (a byte that has no place there, nested too deep); END says
 * only that the brackets close. */
sv_call_found sv_call_scan_object(sv_call_scan *s, bk_str text);

/* A member of the outermost object that text begins with, which may be incomplete or no JSON at all. */
typedef struct sv_call_member {
    bk_span value; /* its text; up to the end of what there is when not complete */
    bool complete;
} sv_call_member;

/* The first member with this key, or the other one (may be NULL). */
bool sv_call_find_member(bk_str object, const char *key, const char *other, sv_call_member *out);

/* One call. Freed with sv_call_free, also after a failure. */
typedef struct sv_call {
    bk_str name; /* not empty */
    bk_str args; /* a JSON object: the model's own text where that is one */
    json_t *root, *inner;
    bk_buf text; /* root, inner and text are what name and args borrow from */
} sv_call;

/* {"name": ..., "arguments" or "parameters": an object, or a string that holds one}. Without arguments
 * they are {}, unless `strict`. False: not a call. */
bool sv_call_parse_object(bk_str text, bool strict, sv_call *out);

/* NAME and the text of its arguments. */
bool sv_call_parse_named(bk_str name, bk_str args, sv_call *out);

/* <function=NAME>, <parameter=KEY>VALUE</parameter> any number of times, </function>. This form does
 * not tell "5" from 5: a value is a string unless `tools` (the request's array, may be NULL) gives the
 * parameter another type and it is JSON. */
bool sv_call_parse_xml(bk_str text, const json_t *tools, sv_call *out);

void sv_call_free(sv_call *c);

/* Whether the request's tools have a function of this name. */
bool sv_call_is_named(const json_t *tools, bk_str name);

/* A JSON string's text (quotes included) decoded; *owner is freed with json_decref. */
bool sv_call_string(bk_str quoted, json_t **owner, bk_str *text);

#endif
