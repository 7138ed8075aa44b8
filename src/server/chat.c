/* POST /v1/chat/completions: from the body to requests to the engine. */
#include "server/chat.h"

#include "base/mem.h"

static void destroy(sv_job *j) {
    chat *k = (chat *)j;
    for (size_t i = 0; k->choices && i < j->n_choices; i++) {
        chat_choice *c = &k->choices[i];
        sv_answer_free(&c->split);
        for (size_t n = 0; n < c->n_calls; n++) {
            bk_buf_free(&c->calls[n].name);
            bk_buf_free(&c->calls[n].arguments);
        }
        bk_free(c->calls);
        bk_buf_free(&c->logprobs);
        bk_buf_free(&c->content);
        bk_buf_free(&c->reasoning);
    }
    bk_free(k->choices);
    bk_free(k->list);
    bk_buf_free(&k->out);
    brisk_free(k->prompt.v);
    sv_request_free(&k->request);
    bk_free(k);
}

static bool submit(sv_job *j, sv_problem *p) {
    chat *k = (chat *)j;
    brisk_request e;
    sv_engine_request(&k->request, &e);
    e.tokens = k->prompt.v;
    e.n_tokens = k->prompt.n;
    bool good = sv_job_submit_choices(j, 0, j->n_choices, &e, p);
    brisk_free(k->prompt.v);
    k->prompt = (sv_tokens){0};
    if (good && k->style.stream) sv_stream_begin(j->x);
    return good;
}

static const sv_job_kind kind = {"chatcmpl-", "chat",         chat_on_event,
                                 submit,      chat_on_finish, destroy};

/* ---- The prompt --------------------------------------------------------------------------------- */

/* The prompt's tokens, and whether it ends inside reasoning. */
static bool make_prompt(const sv_server *s, const sv_request *r, const sv_answer_format *format,
                        sv_tokens *tokens, bool *in_thought, sv_problem *p) {
    bk_buf request = {0};
    brisk_error err;
    char *text = NULL;
    size_t len = 0;
    const char *own = s->o->chat_template;
    if (!sv_request_template(r, &request)) {
        bk_buf_free(&request);
        return sv_problem_set(p, 503, "out_of_memory", NULL, "no memory for the conversation");
    }
    brisk_status st = brisk_chat_tokenize_json(s->model, request.data, request.len, own, &tokens->v,
                                               &tokens->n, &err);
    if (!st && format->think_open)
        st = brisk_chat_render_json(s->model, request.data, request.len, own, &text, &len, &err);
    if (text) *in_thought = sv_answer_prompt_opens_thought(format, (bk_str){text, len});
    brisk_free(text);
    bk_buf_free(&request);
    return st ? sv_problem_from(p, &err, "messages") : sv_check_prompt(s, tokens->n, "messages", p);
}

/* ---- The request -------------------------------------------------------------------------------- */

static chat *create(size_t n) {
    chat *k = bk_alloc_zero(1, sizeof *k);
    if (!k) return NULL;
    k->choices = bk_alloc_zero(n, sizeof *k->choices);
    k->list = bk_alloc_zero(n, sizeof(*k->list));
    if (k->choices && k->list) return k;
    destroy(&k->base);
    return NULL;
}

/* Takes over *r and *tokens, and begins to answer. */
static void start(sv_server *s, sv_exchange *x, sv_request *r, sv_tokens *tokens,
                  const sv_answer_options *o) {
    sv_problem p;
    size_t n = (size_t)r->n;
    chat *k = create(n);
    if (!k) {
        sv_request_free(r);
        sv_problem_set(&p, 503, "out_of_memory", NULL, "no memory for the request");
        sv_reply_problem(x, &p);
        return;
    }
    k->request = *r;
    k->style = sv_style_of(r);
    k->one_call = !r->parallel_calls;
    k->base.choices = k->list;
    k->base.n_choices = k->base.per_prompt = n;
    k->base.n_prompt = tokens->n;
    k->prompt = *tokens;
    *tokens = (sv_tokens){0};
    for (size_t i = 0; i < n; i++) {
        chat_choice *c = &k->choices[i];
        *c = (chat_choice){.base = {.index = (unsigned)i, .job = &k->base}, .chat = k};
        k->list[i] = &c->base;
        sv_answer_init(&c->split, o, chat_on_piece, c);
    }
    sv_job_ready(&k->base, s, x, &kind, r);
}

void sv_post_chat(sv_server *s, sv_exchange *x) {
    sv_problem p;
    sv_request r;
    sv_tokens tokens = {0};
    sv_answer_format format = {0};
    bool in_thought = false;
    if (s->chat_template) format = sv_answer_format_of(bk_str_from(s->chat_template));
    if (!sv_read_request(s, x, SV_REQUEST_CHAT, &r, &p) ||
        !make_prompt(s, &r, &format, &tokens, &in_thought, &p)) {
        sv_request_free(&r);
        sv_reply_problem(x, &p);
    } else {
        const sv_answer_options o = {.calls = r.may_call ? format.calls : SV_CALL_FORM_NONE,
                                     .tools = r.tools,
                                     .think_open = format.think_open,
                                     .think_close = format.think_close,
                                     .in_thought = in_thought,
                                     .stream_arguments = r.stream};
        start(s, x, &r, &tokens, &o);
    }
    brisk_free(tokens.v);
}
