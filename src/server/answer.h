/* A model's answer, taken apart while it comes: content, reasoning and calls of functions, as the
 * streams of OpenAI's interface want them.
 *
 *     sv_answer_format f = sv_answer_format_of(template_text);     once per model
 *     sv_answer_options o = {.calls = tools wanted ? f.calls : SV_CALL_FORM_NONE, .tools = tools,
 *                            .think_open = f.think_open, .think_close = f.think_close,
 *                            .in_thought = sv_answer_prompt_opens_thought(&f, prompt),
 *                            .stream_arguments = the reply is streamed};
 *     sv_answer_init(&a, &o, on_piece, user);
 *     sv_answer_text(&a, text);                     each piece of text
 *     sv_answer_control(&a, BK_STR("<tool_call>"));   each control token
 *     sv_answer_finish(&a);       then a.n_calls > 0 means finish_reason "tool_calls"
 *     sv_answer_free(&a);
 *
 * What may be the beginning of a mark is held back. What turns out not to be a call comes out as
 * content, unchanged. White space beside calls and reasoning belongs to the marks and is left out: a
 * template puts it back when the conversation returns. The pieces do not depend on how the text was
 * cut, but for how much text each one holds. */
#ifndef BRISK_SERVER_ANSWER_H
#define BRISK_SERVER_ANSWER_H

#include "server/tool_calls.h"

/* What a chat template's text tells about answers. Strings are constants; NULL: no reasoning. */
typedef struct sv_answer_format {
    sv_call_form calls;
    const char *think_open, *think_close;
} sv_answer_format;

sv_answer_format sv_answer_format_of(bk_str template_text);

/* Whether a rendered prompt ends inside reasoning: templates that make the model think put the opening
 * mark there themselves. */
bool sv_answer_prompt_opens_thought(const sv_answer_format *f, bk_str prompt);

typedef enum sv_answer_kind {
    SV_ANSWER_CONTENT,   /* text */
    SV_ANSWER_REASONING, /* text */
    SV_ANSWER_CALL, /* index, id and name: a call begins; its arguments follow before anything else */
    SV_ANSWER_ARGUMENTS /* index, text: more of the arguments' JSON text */
} sv_answer_kind;

/* Borrowed during the call. text is never empty, and ends between characters where the pieces that
 * were put in do. */
typedef struct sv_answer_piece {
    sv_answer_kind kind;
    bk_str text;
    size_t index;
    const char *id;
    bk_str name;
} sv_answer_piece;

typedef void (*sv_answer_fn)(const sv_answer_piece *piece, void *user);

/* A function that the request does not have is passed on where the call is marked as one: the client
 * can tell the model so, a person could do nothing with the marks. Where only its shape makes a JSON
 * answer a call (Llama 3), the name has to be one of the request's. */
typedef struct sv_answer_options {
    sv_call_form calls;  /* NONE: the request has no tools, or its tool_choice is "none" */
    const json_t *tools; /* the request's array, borrowed; may be NULL */
    const char *think_open, *think_close; /* NULL: reasoning stays content */
    bool in_thought;                      /* the prompt ended with think_open */
    /* Pass arguments on as they come. They may then turn out to be no JSON, or be cut off by the token
     * limit: `malformed` says so, and what is after the fault comes out as content. Otherwise a call is
     * held back until it is complete and right; if it is not, all its text comes out as content. */
    bool stream_arguments;
} sv_answer_options;

typedef struct sv_answer {
    sv_answer_options o;
    sv_answer_fn sink;
    void *user;
    bk_buf held; /* what is not yet decided */
    int state;
    size_t n_calls;      /* calls that have begun */
    bool malformed;      /* a call that was passed on is not JSON, or incomplete */
    bool trim;           /* white space at the beginning of held goes */
    unsigned failures;   /* marks that began no call */
    struct {             /* the call that is being read; offsets into held */
        size_t prelude;  /* its mark or separator ends here */
        bool bare, list; /* without a mark; one of a list */
        bool begun;      /* passed on as far as `sent` */
        size_t sent;
        sv_call_scan object, args;
        bk_span name; /* of NAME[ARGS]{...} */
        size_t xml;   /* <function= */
        int body;
    } c;
} sv_answer;

/* Copies *o; its pointers stay borrowed until sv_answer_free. */
void sv_answer_init(sv_answer *a, const sv_answer_options *o, sv_answer_fn sink, void *user);

/* False when memory is short or an answer is beyond 16 MiB: then nothing more comes out. */
bool sv_answer_text(sv_answer *a, bk_str text);

/* A control token with this spelling was sampled. One that is a mark counts as such, others have no
 * text and change nothing. */
bool sv_answer_control(sv_answer *a, bk_str spelling);

/* The answer is complete: decides what was open. */
bool sv_answer_finish(sv_answer *a);

void sv_answer_free(sv_answer *a);

#endif
