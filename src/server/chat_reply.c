/* The replies of /v1/chat/completions: chunks of a stream, or one object. */
#include <stdio.h>

#include "base/mem.h"
#include "server/chat.h"

/* ---- Chunks ------------------------------------------------------------------------------------- */

/* One chunk, from chunk_begin to chunk_end; between them the members of "delta". */
static void chunk_begin(bk_json *w, chat_choice *c) {
    sv_event_begin(w->out);
    sv_json_begin(w, &c->chat->base, "chat.completion.chunk");
    bk_json_key(w, "choices");
    bk_json_begin(w, '[');
    bk_json_begin(w, '{');
    bk_json_key_uint(w, "index", c->base.index);
    bk_json_key(w, "delta");
    bk_json_begin(w, '{');
    /* With the first text, not before it: who measures the time to the first chunk measures that. */
    if (!c->role_sent) bk_json_key_str(w, "role", "assistant");
    c->role_sent = true;
}

static void write_logprobs(bk_json *w, chat_choice *c) {
    bk_json_key(w, "logprobs");
    if (c->chat->style.logprobs < 0 || c->logprobs.len == 0) {
        bk_json_null(w);
        return;
    }
    bk_json_begin(w, '{');
    bk_json_key(w, "content");
    bk_json_begin(w, '[');
    bk_buf_append(w->out, c->logprobs.data, c->logprobs.len);
    bk_json_end(w, ']');
    bk_json_end(w, '}');
    bk_buf_clear(&c->logprobs);
}

static size_t reasoning_tokens(const chat *k) {
    size_t n = 0;
    for (size_t i = 0; i < k->base.n_choices; i++) n += k->choices[i].reasoning_tokens;
    return n;
}

static void chunk_end(bk_json *w, chat_choice *c, bool last) {
    chat *k = c->chat;
    bk_json_end(w, '}');
    write_logprobs(w, c);
    if (last) {
        sv_json_finish(w, &c->base, c->split.n_calls > 0);
    } else {
        bk_json_key(w, "finish_reason");
        bk_json_null(w);
    }
    bk_json_end(w, '}');
    bk_json_end(w, ']');
    if (k->style.usage_always) {
        sv_json_usage(w, &k->base, reasoning_tokens(k));
    } else if (k->style.usage) {
        bk_json_key(w, "usage");
        bk_json_null(w);
    }
    if (k->style.timings || (last && k->base.n_open == 1)) sv_json_timings(w, &k->base);
    bk_json_end(w, '}');
    sv_event_end(w->out);
}

static void call_delta(bk_json *w, const sv_answer_piece *p) {
    bk_json_key(w, "tool_calls");
    bk_json_begin(w, '[');
    bk_json_begin(w, '{');
    bk_json_key_uint(w, "index", p->index);
    if (p->kind == SV_ANSWER_CALL) {
        bk_json_key_str(w, "id", p->id);
        bk_json_key_str(w, "type", "function");
    }
    bk_json_key(w, "function");
    bk_json_begin(w, '{');
    if (p->kind == SV_ANSWER_CALL) {
        bk_json_key(w, "name");
        bk_json_str(w, p->name);
    }
    bk_json_key(w, "arguments");
    bk_json_str(w, p->kind == SV_ANSWER_CALL ? BK_STR("") : p->text);
    bk_json_end(w, '}');
    bk_json_end(w, '}');
    bk_json_end(w, ']');
}

static void stream_piece(chat_choice *c, const sv_answer_piece *p) {
    bk_json w = {.out = &c->chat->out};
    chunk_begin(&w, c);
    if (p->kind == SV_ANSWER_CONTENT || p->kind == SV_ANSWER_REASONING) {
        bk_json_key(&w, p->kind == SV_ANSWER_CONTENT ? "content" : "reasoning_content");
        bk_json_str(&w, p->text);
    } else {
        call_delta(&w, p);
    }
    chunk_end(&w, c, false);
}

/* ---- Pieces ------------------------------------------------------------------------------------- */

static chat_call *new_call(chat_choice *c) {
    chat_call *more = bk_realloc(c->calls, c->n_calls + 1, sizeof *more);
    if (!more) {
        c->chat->failed = true;
        return NULL;
    }
    c->calls = more;
    more[c->n_calls] = (chat_call){0};
    return &more[c->n_calls++];
}

static void keep_piece(chat_choice *c, const sv_answer_piece *p) {
    chat_call *call;
    switch (p->kind) {
    case SV_ANSWER_CONTENT: bk_buf_append(&c->content, p->text.data, p->text.len); break;
    case SV_ANSWER_REASONING: bk_buf_append(&c->reasoning, p->text.data, p->text.len); break;
    case SV_ANSWER_CALL:
        if (!(call = new_call(c))) return;
        snprintf(call->id, sizeof call->id, "%s", p->id);
        bk_buf_append(&call->name, p->name.data, p->name.len);
        break;
    case SV_ANSWER_ARGUMENTS:
        if (c->n_calls > 0)
            bk_buf_append(&c->calls[c->n_calls - 1].arguments, p->text.data, p->text.len);
        break;
    }
}

void chat_on_piece(const sv_answer_piece *piece, void *user) {
    chat_choice *c = user;
    bool call = piece->kind == SV_ANSWER_CALL || piece->kind == SV_ANSWER_ARGUMENTS;
    if (call && c->chat->one_call && piece->index > 0) return;
    if (piece->kind == SV_ANSWER_REASONING) c->reasoned = true;
    if (c->chat->style.stream)
        stream_piece(c, piece);
    else
        keep_piece(c, piece);
}

/* ---- Events ------------------------------------------------------------------------------------- */

static void take_logprob(chat_choice *c, const brisk_event *e) {
    if (c->chat->style.logprobs < 0 || !e->has_logprob || e->control) return;
    if (c->logprobs.len > 0) bk_buf_putc(&c->logprobs, ',');
    bk_json w = {.out = &c->logprobs};
    sv_json_token_logprob(&w, c->chat->base.s, e);
}

static void take_text(chat_choice *c, const brisk_event *e) {
    bool good = true;
    c->reasoned = false;
    take_logprob(c, e);
    if (e->control) {
        size_t len = 0;
        const char *spelling = brisk_token_bytes(c->chat->base.s->model, e->token, &len, NULL);
        good = sv_answer_control(&c->split, (bk_str){spelling, len});
    } else if (e->text_len > 0) {
        good = sv_answer_text(&c->split, (bk_str){e->text, e->text_len});
    }
    if (c->reasoned) c->reasoning_tokens++;
    if (!good) c->chat->failed = true;
}

static void stream_progress(chat_choice *c) {
    chat *k = c->chat;
    bk_json w = {.out = &k->out};
    sv_event_begin(w.out);
    sv_json_begin(&w, &k->base, "chat.completion.chunk");
    bk_json_key(&w, "choices");
    bk_json_begin(&w, '[');
    bk_json_end(&w, ']');
    sv_json_progress(&w, &c->base, k->base.began_ns);
    bk_json_end(&w, '}');
    sv_event_end(w.out);
}

static void take_end(chat_choice *c, const brisk_event *e) {
    if (e->text_len > 0 && !sv_answer_text(&c->split, (bk_str){e->text, e->text_len}))
        c->chat->failed = true;
    if (!sv_answer_finish(&c->split)) c->chat->failed = true;
    c->base.calls = c->split.n_calls > 0;
    if (!c->chat->style.stream) return;
    bk_json w = {.out = &c->chat->out};
    bool silent = !c->role_sent;
    chunk_begin(&w, c);
    if (silent) bk_json_key_str(&w, "content", "");
    chunk_end(&w, c, true);
}

bool chat_on_event(sv_job *j, sv_choice *base, const brisk_event *e) {
    chat *k = (chat *)j;
    chat_choice *c = (chat_choice *)base;
    bool failed_end = e->kind == BRISK_EVENT_DONE &&
                      (e->status != BRISK_OK || e->finish == BRISK_FINISH_CANCELLED);
    if (failed_end) return true; /* live.h says so */
    if (e->kind == BRISK_EVENT_TOKEN) take_text(c, e);
    if (e->kind == BRISK_EVENT_PROGRESS && k->style.progress && k->style.stream) stream_progress(c);
    if (e->kind == BRISK_EVENT_DONE) take_end(c, e);
    if (k->failed || k->out.failed) {
        sv_problem p;
        sv_problem_set(&p, 503, "out_of_memory", NULL, "no memory for the answer");
        sv_job_fail(j, &p);
        return false;
    }
    if (k->out.len == 0) return true;
    bool good = sv_job_write(j, &k->out);
    if (good) bk_buf_clear(&k->out);
    return good;
}

/* ---- The end ------------------------------------------------------------------------------------ */

static void write_calls(bk_json *w, const chat_choice *c) {
    bk_json_key(w, "tool_calls");
    bk_json_begin(w, '[');
    for (size_t i = 0; i < c->n_calls; i++) {
        const chat_call *call = &c->calls[i];
        bk_json_begin(w, '{');
        bk_json_key_str(w, "id", call->id);
        bk_json_key_str(w, "type", "function");
        bk_json_key(w, "function");
        bk_json_begin(w, '{');
        bk_json_key(w, "name");
        bk_json_str(w, bk_buf_view(&call->name));
        bk_json_key(w, "arguments");
        bk_json_str(w, call->arguments.len ? bk_buf_view(&call->arguments) : BK_STR("{}"));
        bk_json_end(w, '}');
        bk_json_end(w, '}');
    }
    bk_json_end(w, ']');
}

static void write_choice(bk_json *w, chat_choice *c) {
    bk_json_begin(w, '{');
    bk_json_key_uint(w, "index", c->base.index);
    bk_json_key(w, "message");
    bk_json_begin(w, '{');
    bk_json_key_str(w, "role", "assistant");
    bk_json_key(w, "content");
    if (c->content.len == 0 && c->n_calls > 0)
        bk_json_null(w);
    else
        bk_json_str(w, bk_buf_view(&c->content));
    if (c->reasoning.len > 0) {
        bk_json_key(w, "reasoning_content");
        bk_json_str(w, bk_buf_view(&c->reasoning));
    }
    if (c->n_calls > 0) write_calls(w, c);
    bk_json_end(w, '}');
    write_logprobs(w, c);
    sv_json_finish(w, &c->base, c->n_calls > 0);
    bk_json_end(w, '}');
}

/* The last events of a stream. */
static void end_stream(chat *k) {
    sv_exchange *x = k->base.x;
    if (k->style.usage) {
        bk_json w = {.out = &k->out};
        sv_event_begin(w.out);
        sv_json_begin(&w, &k->base, "chat.completion.chunk");
        bk_json_key(&w, "choices");
        bk_json_begin(&w, '[');
        bk_json_end(&w, ']');
        sv_json_usage(&w, &k->base, reasoning_tokens(k));
        sv_json_timings(&w, &k->base);
        bk_json_end(&w, '}');
        sv_event_end(w.out);
    }
    bk_buf_append_str(&k->out, "data: [DONE]\n\n");
    if (!sv_job_write(&k->base, &k->out)) return;
    sv_job_end(&k->base);
    sv_stream_end(x);
}

void chat_on_finish(sv_job *j) {
    chat *k = (chat *)j;
    if (k->style.stream) {
        end_stream(k);
        return;
    }
    sv_exchange *x = j->x;
    bk_buf out = {0};
    bk_json w = {.out = &out};
    sv_json_begin(&w, j, "chat.completion");
    bk_json_key(&w, "choices");
    bk_json_begin(&w, '[');
    for (size_t i = 0; i < j->n_choices; i++) write_choice(&w, &k->choices[i]);
    bk_json_end(&w, ']');
    sv_json_usage(&w, j, reasoning_tokens(k));
    sv_json_timings(&w, j);
    bk_json_end(&w, '}');
    sv_job_end(j);
    sv_reply_json(x, 200, &out);
}
