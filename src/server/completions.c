/* POST /v1/completions: prompts as texts or tokens, echo, log-probabilities in the old shape. */
#include <string.h>

#include "base/mem.h"
#include "server/reply_json.h"

typedef struct completion completion;

typedef struct text_choice {
    sv_choice base; /* first: live.h hands this on */
    completion *owner;
    const sv_prompt *prompt;
    bk_buf text; /* of a stream: not yet sent */
    /* Elements of the arrays of "logprobs"; of a stream those not yet sent. */
    bk_buf tokens, values, tops, offsets;
    size_t offset;   /* of the next token in the text, in characters */
    size_t n_tokens; /* of the answer, in these arrays */
} text_choice;

struct completion {
    sv_job base;
    sv_style style;
    sv_request request;
    text_choice *choices;
    sv_choice **list;
    bk_buf out;
};

/* ---- Log-probabilities -------------------------------------------------------------------------- */

static size_t count_characters(const char *text, size_t len) {
    size_t n = 0;
    for (size_t i = 0; i < len; i++) n += ((unsigned char)text[i] & 0xc0) != 0x80;
    return n;
}

static void comma(bk_buf *b) {
    if (b->len > 0) bk_buf_putc(b, ',');
}

/* {"token": logprob, ...}: the most likely ones and the chosen one, once each. */
static void write_top(bk_json *w, const sv_server *s, const brisk_event *e) {
    bool chosen = false;
    bk_buf key = {0};
    bk_json_begin(w, '{');
    for (size_t i = 0; i <= e->n_top; i++) {
        bool last = i == e->n_top;
        if (last && chosen) break;
        brisk_token token = last ? e->token : e->top[i].token;
        if (token == e->token) chosen = true;
        sv_token_text(s, token, &key);
        bk_json_key(w, bk_buf_view(&key).data);
        sv_json_logprob(w, last ? e->logprob : e->top[i].logprob);
    }
    bk_json_end(w, '}');
    bk_buf_free(&key);
}

static void take_logprob(text_choice *c, const brisk_event *e) {
    const sv_server *s = c->owner->base.s;
    size_t len = 0;
    bool special = false;
    const char *bytes = brisk_token_bytes(s->model, e->token, &len, &special);
    bk_buf *const all[] = {&c->tokens, &c->values, &c->tops, &c->offsets};
    for (size_t i = 0; i < BK_ARRAY_LEN(all); i++) comma(all[i]);
    bk_json tokens = {.out = &c->tokens}, values = {.out = &c->values};
    bk_json tops = {.out = &c->tops}, offsets = {.out = &c->offsets};
    sv_json_token(&tokens, s, e->token);
    if (e->has_logprob) {
        sv_json_logprob(&values, e->logprob);
        write_top(&tops, s, e);
    } else {
        bk_json_null(&values);
        bk_json_null(&tops);
    }
    bk_json_uint(&offsets, c->offset);
    if (!special) c->offset += count_characters(bytes ? bytes : "", len);
}

/* The token that ended the answer has no text and comes without a log-probability, but it counts:
 * clients that score prompts leave out as many entries at the end as they asked tokens for. */
static void take_end_token(text_choice *c, const brisk_event *done) {
    if (done->stop_token < 0 || done->stats.generated_tokens <= c->n_tokens) return;
    brisk_event e = {.token = done->stop_token};
    take_logprob(c, &e);
}

static void write_array(bk_json *w, const char *key, bk_buf *elements) {
    bk_json_key(w, key);
    bk_json_begin(w, '[');
    bk_buf_append(w->out, elements->data, elements->len);
    bk_json_end(w, ']');
    if (elements->failed) w->out->failed = true;
    bk_buf_clear(elements);
}

/* What has been gathered, which is then forgotten. */
static void write_logprobs(bk_json *w, text_choice *c) {
    bk_json_key(w, "logprobs");
    if (c->owner->style.logprobs < 0) {
        bk_json_null(w);
        return;
    }
    bk_json_begin(w, '{');
    write_array(w, "tokens", &c->tokens);
    write_array(w, "token_logprobs", &c->values);
    write_array(w, "top_logprobs", &c->tops);
    write_array(w, "text_offset", &c->offsets);
    bk_json_end(w, '}');
}

/* ---- Replies ------------------------------------------------------------------------------------ */

static void write_choice(bk_json *w, text_choice *c, bool last) {
    bk_json_begin(w, '{');
    bk_json_key_uint(w, "index", c->base.index);
    bk_json_key(w, "text");
    bk_json_str(w, bk_buf_view(&c->text));
    write_logprobs(w, c);
    if (last) {
        sv_json_finish(w, &c->base, false);
    } else {
        bk_json_key(w, "finish_reason");
        bk_json_null(w);
    }
    bk_json_end(w, '}');
    if (c->text.failed) w->out->failed = true;
    bk_buf_clear(&c->text);
}

static void stream_choice(completion *k, text_choice *c, bool last) {
    bk_json w = {.out = &k->out};
    sv_event_begin(w.out);
    sv_json_begin(&w, &k->base, "text_completion");
    bk_json_key(&w, "choices");
    bk_json_begin(&w, '[');
    write_choice(&w, c, last);
    bk_json_end(&w, ']');
    if (k->style.usage_always) {
        sv_json_usage(&w, &k->base, 0);
    } else if (k->style.usage) {
        bk_json_key(&w, "usage");
        bk_json_null(&w);
    }
    if (k->style.timings || (last && k->base.n_open == 1)) sv_json_timings(&w, &k->base);
    bk_json_end(&w, '}');
    sv_event_end(w.out);
}

/* An event without choices: progress, or the usage at the end. */
static void stream_figures(completion *k, const sv_choice *progress) {
    bk_json w = {.out = &k->out};
    sv_event_begin(w.out);
    sv_json_begin(&w, &k->base, "text_completion");
    bk_json_key(&w, "choices");
    bk_json_begin(&w, '[');
    bk_json_end(&w, ']');
    if (progress) {
        sv_json_progress(&w, progress, k->base.began_ns);
    } else {
        sv_json_usage(&w, &k->base, 0);
        sv_json_timings(&w, &k->base);
    }
    bk_json_end(&w, '}');
    sv_event_end(w.out);
}

/* The prompt's text in front of the answer's. */
static void echo(completion *k, text_choice *c) {
    const sv_prompt *p = c->prompt;
    char *text = NULL;
    size_t len = 0;
    if (!k->request.echo) return;
    if (p->text.data) {
        bk_buf_append(&c->text, p->text.data, p->text.len);
    } else if (!brisk_detokenize(k->base.s->model, p->tokens, p->n_tokens, &text, &len, NULL)) {
        bk_buf_append(&c->text, text, len);
        brisk_free(text);
    }
}

static bool take(completion *k, text_choice *c, const brisk_event *e) {
    bool asked = k->style.logprobs >= 0;
    bk_buf_append(&c->text, e->text, e->text_len);
    switch (e->kind) {
    case BRISK_EVENT_STARTED: echo(k, c); return false;
    case BRISK_EVENT_PROMPT:
        if (asked) take_logprob(c, e);
        return false;
    case BRISK_EVENT_TOKEN:
        if (asked) take_logprob(c, e);
        c->n_tokens++;
        return c->text.len > 0 || asked;
    case BRISK_EVENT_DONE:
        if (asked) take_end_token(c, e);
        return true;
    default: return false;
    }
}

static bool on_event(sv_job *j, sv_choice *base, const brisk_event *e) {
    completion *k = (completion *)j;
    text_choice *c = (text_choice *)base;
    bool last = e->kind == BRISK_EVENT_DONE;
    if (last && (e->status != BRISK_OK || e->finish == BRISK_FINISH_CANCELLED)) return true;
    bool ready = take(k, c, e);
    if (!k->style.stream) return true;
    if (ready) stream_choice(k, c, last);
    if (e->kind == BRISK_EVENT_PROGRESS && k->style.progress) stream_figures(k, base);
    if (k->out.len == 0 && !k->out.failed) return true;
    bool good = sv_job_write(j, &k->out);
    if (good) bk_buf_clear(&k->out);
    return good;
}

static void on_finish(sv_job *j) {
    completion *k = (completion *)j;
    sv_exchange *x = j->x;
    if (k->style.stream) {
        if (k->style.usage) stream_figures(k, NULL);
        bk_buf_append_str(&k->out, "data: [DONE]\n\n");
        if (!sv_job_write(j, &k->out)) return;
        sv_job_end(j);
        sv_stream_end(x);
        return;
    }
    bk_buf out = {0};
    bk_json w = {.out = &out};
    sv_json_begin(&w, j, "text_completion");
    bk_json_key(&w, "choices");
    bk_json_begin(&w, '[');
    for (size_t i = 0; i < j->n_choices; i++) write_choice(&w, &k->choices[i], true);
    bk_json_end(&w, ']');
    sv_json_usage(&w, j, 0);
    sv_json_timings(&w, j);
    bk_json_end(&w, '}');
    sv_job_end(j);
    sv_reply_json(x, 200, &out);
}

static void destroy(sv_job *j) {
    completion *k = (completion *)j;
    for (size_t i = 0; k->choices && i < j->n_choices; i++) {
        text_choice *c = &k->choices[i];
        bk_buf *const all[] = {&c->text, &c->tokens, &c->values, &c->tops, &c->offsets};
        for (size_t n = 0; n < BK_ARRAY_LEN(all); n++) bk_buf_free(all[n]);
    }
    bk_free(k->choices);
    bk_free(k->list);
    bk_buf_free(&k->out);
    sv_request_free(&k->request);
    bk_free(k);
}

static bool submit(sv_job *j, sv_problem *p) {
    completion *k = (completion *)j;
    brisk_request e;
    sv_engine_request(&k->request, &e);
    e.prompt_logprobs = k->request.echo && k->request.logprobs >= 0;
    for (size_t i = 0; i < k->request.n_prompts; i++) {
        const sv_prompt *prompt = &k->request.prompts[i];
        e.tokens = prompt->tokens;
        e.n_tokens = prompt->n_tokens;
        j->n_prompt += e.n_tokens;
        if (!sv_job_submit_choices(j, i * j->per_prompt, j->per_prompt, &e, p)) return false;
    }
    if (k->style.stream) sv_stream_begin(j->x);
    return true;
}

static const sv_job_kind kind = {"cmpl-", "completion", on_event, submit, on_finish, destroy};

/* ---- The request -------------------------------------------------------------------------------- */

static completion *create(const sv_request *r) {
    size_t per = (size_t)r->n, n = per * r->n_prompts; /* at most max_choices */
    completion *k = bk_alloc_zero(1, sizeof *k);
    if (!k) return NULL;
    k->choices = bk_alloc_zero(n, sizeof *k->choices);
    k->list = bk_alloc_zero(n, sizeof(*k->list));
    if (!k->choices || !k->list) {
        destroy(&k->base);
        return NULL;
    }
    k->request = *r;
    k->style = sv_style_of(r);
    k->base.choices = k->list;
    k->base.n_choices = n;
    k->base.per_prompt = per;
    for (size_t i = 0; i < n; i++) {
        text_choice *c = &k->choices[i];
        *c = (text_choice){.base = {.index = (unsigned)i, .job = &k->base},
                           .owner = k,
                           .prompt = &k->request.prompts[i / per]};
        k->list[i] = &c->base;
    }
    return k;
}

void sv_post_completions(sv_server *s, sv_exchange *x) {
    sv_problem p;
    sv_request r;
    sv_field_error err;
    bool special = false;
    completion *k = NULL;
    bool good = sv_read_request(s, x, SV_REQUEST_COMPLETION, &r, &p);
    const sv_fields fields = {.object = r.body, .path = "", .err = &err};
    if (good && !sv_field_bool(&fields, "parse_special", &special))
        good = sv_problem_field(&p, &err);
    if (good)
        good = sv_prompts_tokenize(s, "prompt", special, &r.memory, &r.prompts, r.n_prompts, &p);
    if (good && !(k = create(&r)))
        good = sv_problem_set(&p, 503, "out_of_memory", NULL, "no memory for the request");
    if (!good) {
        sv_request_free(&r);
        sv_reply_problem(x, &p);
        return;
    }
    sv_job_ready(&k->base, s, x, &kind, &k->request);
}
