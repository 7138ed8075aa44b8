#include "server/live.h"

#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "base/clock.h"
#include "base/mem.h"

enum { CHOICES_MOST = 128 }; /* of one request */

/* A place in the table; the engine's tag names it and how often it had been used before. */
typedef struct slot {
    sv_choice *choice; /* NULL: free, or its answer is gone */
    uint32_t uses;
    bool taken;
} slot;

struct sv_live {
    slot *slots;
    size_t n_slots;
    sv_job *first;
    sv_live_counts counts;
};

sv_live *sv_live_create(void) { return bk_alloc_zero(1, sizeof(sv_live)); }

void sv_live_destroy(sv_live **live) {
    if (!*live) return;
    while ((*live)->first) {
        sv_job *j = (*live)->first;
        (*live)->first = j->next;
        j->kind->destroy(j);
    }
    bk_free((*live)->slots);
    bk_free(*live);
    *live = NULL;
}

sv_live_counts sv_live_get_counts(const sv_live *live) { return live->counts; }

/* ---- Slots -------------------------------------------------------------------------------------- */

static bool take_slot(sv_live *l, sv_choice *c, uint64_t *tag) {
    size_t i = 0;
    while (i < l->n_slots && l->slots[i].taken) i++;
    if (i == l->n_slots) {
        size_t n = l->n_slots ? 2 * l->n_slots : 64;
        slot *more = bk_realloc(l->slots, n, sizeof *more);
        if (!more) return false;
        for (size_t k = l->n_slots; k < n; k++) more[k] = (slot){0};
        l->slots = more;
        l->n_slots = n;
    }
    slot *s = &l->slots[i];
    *s = (slot){.choice = c, .uses = s->uses + 1, .taken = true};
    *tag = (uint64_t)s->uses << 32 | i;
    l->counts.engine++;
    return true;
}

static slot *find_slot(sv_live *l, uint64_t tag) {
    size_t i = (size_t)(tag & UINT32_MAX);
    if (i >= l->n_slots || !l->slots[i].taken || l->slots[i].uses != tag >> 32) return NULL;
    return &l->slots[i];
}

static void free_slot(sv_live *l, slot *s) {
    s->taken = false;
    s->choice = NULL;
    l->counts.engine--;
}

/* ---- Answers ------------------------------------------------------------------------------------ */

/* Plain text, as the answer is; what is beyond the context cannot be part of it. */
static bool tokenize_prediction(const sv_server *s, sv_request *r, sv_problem *p) {
    sv_tokens all = {0};
    if (r->prediction.len == 0) return true;
    if (!sv_tokenize(s, r->prediction, false, false, &all, p)) return false;
    size_t n = bk_min_size(all.n, (size_t)sv_context(s));
    brisk_token *own = bk_arena_alloc(&r->memory, n ? n : 1, sizeof *own);
    if (own && n) memcpy(own, all.v, n * sizeof *own);
    bk_free(all.v);
    r->prediction_tokens = own;
    r->n_prediction_tokens = n;
    return own ? true : sv_problem_set(p, 503, "out_of_memory", NULL, "no memory for the request");
}

bool sv_read_request(const sv_server *s, sv_exchange *x, sv_request_kind kind, sv_request *r,
                     sv_problem *p) {
    const sv_request_limits limits = {.n_vocab = s->info.n_vocab, .max_choices = CHOICES_MOST};
    sv_field_error err;
    if (!sv_request_parse(bk_buf_view(&x->body), kind, &limits, r, &err))
        return sv_problem_field(p, &err);
    /* Whatever the name, this model answers; the reply says which it was. */
    if (r->model.data && !bk_str_eq(r->model, bk_str_from(s->name)))
        sv_add_header(x, "x-brisk-note",
                      "the request names another model than the one that is here");
    return tokenize_prediction(s, r, p);
}

bool sv_prompts_tokenize(const sv_server *s, const char *param, bool parse_special,
                         bk_arena *memory, const sv_prompt **prompts, size_t n, sv_problem *p) {
    sv_prompt *out = bk_arena_alloc(memory, n, sizeof *out);
    bool good = out != NULL;
    for (size_t i = 0; good && i < n; i++) {
        sv_tokens tokens = {0};
        brisk_token *own = NULL;
        out[i] = (*prompts)[i];
        if (out[i].text.data) {
            if (!sv_tokenize(s, out[i].text, true, parse_special, &tokens, p)) return false;
            if (tokens.n > 0) own = bk_arena_alloc(memory, tokens.n, sizeof *own);
            good = own || tokens.n == 0;
            if (own) memcpy(own, tokens.v, tokens.n * sizeof *own);
            bk_free(tokens.v);
            out[i].tokens = own;
            out[i].n_tokens = tokens.n;
        }
        if (good && !sv_check_prompt(s, out[i].n_tokens, param, p)) return false;
    }
    *prompts = out;
    return good || sv_problem_set(p, 503, "out_of_memory", NULL, "no memory for the tokens");
}

static uint64_t random_bits(void) {
    uint64_t bits;
    return getrandom(&bits, sizeof bits, 0) == sizeof bits ? bits : bk_now_ns();
}

void sv_engine_request(const sv_request *r, brisk_request *e) {
    brisk_request_default(e);
    e->sampling = r->sampling;
    if (!r->has_seed) e->sampling.seed = random_bits();
    e->max_tokens = r->max_tokens;
    e->min_tokens = r->min_tokens;
    e->ignore_end = r->ignore_end;
    e->stop = r->stop;
    e->n_stop = r->n_stop;
    e->stop_tokens = r->stop_tokens;
    e->n_stop_tokens = r->n_stop_tokens;
    e->allowed = r->allowed;
    e->n_allowed = r->n_allowed;
    e->prediction = r->prediction_tokens;
    e->n_prediction = r->n_prediction_tokens;
    e->logprobs = r->logprobs;
    e->progress = r->return_progress;
    e->priority = r->priority;
    e->no_cache = !r->cache_prompt;
}

static sv_stage stage_of(const sv_choice *c) {
    return c->decoding ? SV_IN_DECODE : c->started ? SV_IN_PREFILL : SV_IN_QUEUE;
}

/* The engine may still have events for its choices: they go nowhere then. */
static void detach(sv_job *j) {
    sv_live *l = j->s->live;
    for (size_t i = 0; i < l->n_slots; i++) {
        sv_choice *c = l->slots[i].choice;
        if (!c || c->job != j) continue;
        l->slots[i].choice = NULL;
        sv_metrics_request(&j->s->metrics, &c->stats, stage_of(c), NULL, 0);
        brisk_engine_cancel(j->s->engine, c->engine_id);
    }
}

static void forget(sv_job *j) {
    sv_live *l = j->s->live;
    detach(j);
    if (j->prev) j->prev->next = j->next;
    if (j->next) j->next->prev = j->prev;
    if (l->first == j) l->first = j->next;
    l->counts.answers--;
    for (size_t i = 0; i < j->n_choices; i++) bk_buf_free(&j->choices[i]->stop);
    j->kind->destroy(j);
}

/* What the log and the metrics say of it. */
static void tally(const sv_job *j) {
    sv_tally *t = &j->x->tally;
    *t = (sv_tally){.any = j->n_choices > 0, .prompt = j->n_prompt};
    for (size_t i = 0; i < j->n_choices; i++) {
        const brisk_request_stats *st = &j->choices[i]->stats;
        if (i % j->per_prompt == 0) t->cached += st->cached_tokens;
        t->generated += st->generated_tokens;
        if (i > 0) continue;
        t->queue_ms = st->queue_ms;
        t->first_ms = st->first_token_ms;
    }
    for (size_t i = 0; i < j->n_choices; i++) {
        double ms = j->choices[i]->stats.decode_ms;
        if (ms > t->decode_ms) t->decode_ms = ms;
    }
}

void sv_job_end(sv_job *j) {
    j->x->user = NULL;
    forget(j);
}

void sv_job_fail(sv_job *j, const sv_problem *p) {
    sv_exchange *x = j->x;
    tally(j);
    sv_job_end(j);
    if (!x->streaming) {
        sv_reply_problem(x, p);
        return;
    }
    bk_buf out = {0};
    bk_buf_append_str(&out, "data: ");
    sv_problem_write(&out, p);
    bk_buf_append_str(&out, "\n\n");
    if (!out.failed) sv_stream_write(x, out.data, out.len);
    bk_buf_free(&out);
    x->head.keep_alive = false;
    sv_stream_end(x);
}

bool sv_job_submit(sv_job *j, sv_choice *c, brisk_request *r, sv_problem *p) {
    brisk_error err;
    double retry_s = 0;
    c->job = j;
    if (!take_slot(j->s->live, c, &r->tag))
        return sv_problem_set(p, 503, "out_of_memory", NULL, "no memory for the request");
    r->tenant = j->tenant;
    r->cache_space = j->cache_space;
    brisk_status st = brisk_engine_submit(j->s->engine, r, &c->engine_id, &retry_s, &err);
    if (!st) {
        j->n_open++;
        return true;
    }
    free_slot(j->s->live, find_slot(j->s->live, r->tag));
    if (st != BRISK_ERR_LIMIT || retry_s <= 0) return sv_problem_from(p, &err, NULL);
    sv_problem_set(p, 429, "queue_full", NULL, "%s", err.text);
    p->retry_s = retry_s;
    return false;
}

bool sv_job_submit_choices(sv_job *j, size_t first, size_t n, brisk_request *r, sv_problem *p) {
    uint64_t seed = r->sampling.seed;
    bool good = true;
    for (size_t i = 0; i < n && good; i++) {
        r->sampling.seed = seed + i;
        good = sv_job_submit(j, j->choices[first + i], r, p);
    }
    r->sampling.seed = seed;
    return good;
}

/* The client has left (conn.h). */
static void on_left(void *user, sv_exchange *x) {
    (void)user;
    sv_job *j = x->user;
    tally(j);
    sv_job_end(j);
}

void sv_job_start(sv_job *j, sv_exchange *x) {
    sv_server *s = j->s;
    sv_problem p;
    j->tenant = x->tenant;
    if (j->salt.len > 0) j->cache_space = sv_auth_salt(s->auth, x->tenant, j->salt);
    j->x = x;
    j->created = time(NULL);
    j->began_ns = j->wrote_ns = bk_now_ns();
    snprintf(j->id, sizeof j->id, "%s%016llx%08llx", j->kind->prefix,
             (unsigned long long)random_bits(), (unsigned long long)(random_bits() & UINT32_MAX));
    j->prev = NULL;
    j->next = s->live->first;
    if (j->next) j->next->prev = j;
    s->live->first = j;
    s->live->counts.answers++;
    x->user = j;
    x->left = on_left;
    if (!j->kind->submit(j, &p)) sv_job_fail(j, &p);
}

void sv_job_ready(sv_job *j, sv_server *s, sv_exchange *x, const sv_job_kind *kind,
                  const sv_request *r) {
    j->s = s;
    j->kind = kind;
    if (r) j->salt = r->cache_salt;
    if (x->draft)
        x->draft->job = j;
    else
        sv_job_start(j, x);
}

bool sv_job_write(sv_job *j, const bk_buf *data) {
    if (!data->failed && sv_stream_write(j->x, data->data, data->len)) {
        j->wrote_ns = bk_now_ns();
        return true;
    }
    sv_exchange *x = j->x;
    sv_job_end(j);
    sv_cut(x);
    return false;
}

/* ---- Events ------------------------------------------------------------------------------------- */

static void on_done(sv_job *j, const brisk_event *e) {
    sv_problem p;
    j->n_open--;
    if (e->status != BRISK_OK) {
        brisk_error err = {.code = e->status};
        snprintf(err.text, sizeof err.text, "%s", e->message ? e->message : "the request failed");
        sv_problem_from(&p, &err, NULL);
        sv_job_fail(j, &p);
    } else if (e->finish == BRISK_FINISH_CANCELLED) {
        sv_problem_set(&p, 400, "cancelled", NULL, "the request was cancelled");
        sv_job_fail(j, &p);
    } else if (j->n_open == 0) {
        tally(j);
        j->kind->finish(j);
    }
}

static double ms_since(uint64_t ns) { return (double)(bk_now_ns() - ns) * 1e-6; }

/* What the event says of how far the request is. */
static void note(sv_choice *c, const brisk_event *e) {
    switch (e->kind) {
    case BRISK_EVENT_STARTED:
        c->started = true;
        c->stats = e->stats;
        c->computed = e->stats.cached_tokens;
        break;
    case BRISK_EVENT_PROGRESS: c->computed = e->stats.computed_tokens; break;
    case BRISK_EVENT_TOKEN:
        c->decoding = true;
        if (c->stats.generated_tokens++ == 0)
            c->stats.first_token_ms = ms_since(c->job->began_ns);
        else
            sv_metrics_gap(&c->job->s->metrics, ms_since(c->token_ns));
        c->token_ns = bk_now_ns();
        break;
    case BRISK_EVENT_DONE:
        c->done = true;
        c->stats = e->stats;
        c->finish = e->finish;
        c->stop_token = e->stop_token;
        if (e->stop) bk_buf_append_str(&c->stop, e->stop);
        break;
    default: break;
    }
}

/* c may be a copy: its answer may be gone. */
static void count_end(sv_server *s, const sv_choice *c, const brisk_event *e, double ms) {
    bool cut = e->finish == BRISK_FINISH_LENGTH || e->finish == BRISK_FINISH_CONTEXT;
    if (e->stats.generated_tokens == 0) cut = false; /* nothing was to be generated */
    const char *finish = c->calls ? "tool_calls" : cut ? "length" : "stop";
    if (e->status != BRISK_OK) finish = "error";
    bool cancelled = e->status == BRISK_OK && e->finish == BRISK_FINISH_CANCELLED;
    sv_metrics_request(&s->metrics, &c->stats, cancelled ? stage_of(c) : SV_DONE, finish, ms);
}

static void on_event(sv_server *s, const brisk_event *e) {
    slot *at = find_slot(s->live, e->tag);
    if (!at) return;
    sv_choice *c = at->choice;
    if (e->kind == BRISK_EVENT_DONE) free_slot(s->live, at);
    if (!c) return;
    sv_job *j = c->job;
    note(c, e);
    sv_choice was = *c;
    double ms = ms_since(j->began_ns);
    bool there = j->kind->event(j, c, e);
    if (e->kind != BRISK_EVENT_DONE) return;
    count_end(s, there ? c : &was, e, ms);
    if (there) on_done(j, e);
}

void sv_live_poll(sv_server *s) {
    brisk_event e;
    while (brisk_engine_poll(s->engine, &e)) on_event(s, &e);
}

/* ---- Time --------------------------------------------------------------------------------------- */

static void ping(sv_job *j) {
    static char text[] = ": ping\n\n";
    const bk_buf data = {.data = text, .len = sizeof text - 1};
    sv_job_write(j, &data);
}

void sv_live_tick(sv_server *s, uint64_t now) {
    double pause_s = s->o->ping_seconds, most_s = s->o->timeout_seconds;
    for (sv_job *j = s->live->first, *next; j; j = next) {
        next = j->next; /* only a itself may go */
        if (most_s > 0 && (double)(now - j->began_ns) > most_s * 1e9) {
            sv_problem p;
            sv_problem_set(&p, 504, "timeout", NULL, "the answer took longer than %g s (--timeout)",
                           most_s);
            sv_job_fail(j, &p);
        } else if (j->x->streaming && pause_s > 0 && (double)(now - j->wrote_ns) > pause_s * 1e9) {
            ping(j);
        }
    }
}

void sv_live_fail_all(sv_server *s, const sv_problem *p) {
    while (s->live->first) sv_job_fail(s->live->first, p);
}

/* ---- /v1/requests ------------------------------------------------------------------------------- */

static const char *phase_of(const sv_choice *c) {
    return c->done ? "done" : c->decoding ? "decode" : c->started ? "prefill" : "queue";
}

static void write_answer(bk_json *w, const sv_job *j, uint64_t now) {
    size_t computed = 0, generated = 0, cached = 0;
    const char *phase = "done";
    for (size_t i = 0; i < j->n_choices; i++) {
        const sv_choice *c = j->choices[i];
        computed += c->decoding ? c->stats.prompt_tokens : c->computed;
        cached += c->stats.cached_tokens;
        generated += c->stats.generated_tokens;
        if (!c->done && strcmp(phase, "done") == 0) phase = phase_of(c);
    }
    double ms = (double)(now - j->began_ns) * 1e-6;
    bk_json_begin(w, '{');
    bk_json_key_str(w, "id", j->id);
    bk_json_key_str(w, "request_id", j->x->id);
    bk_json_key_str(w, "route", j->kind->route);
    bk_json_key_str(w, "phase", phase);
    bk_json_key_uint(w, "choices", j->n_choices);
    bk_json_key_uint(w, "prompt_tokens", j->n_prompt);
    bk_json_key_uint(w, "computed_tokens", computed);
    bk_json_key_uint(w, "cached_tokens", cached);
    bk_json_key_uint(w, "generated_tokens", generated);
    bk_json_key_bool(w, "stream", j->x->streaming);
    bk_json_key_double(w, "age_ms", ms);
    bk_json_end(w, '}');
}

void sv_get_requests(sv_server *s, sv_exchange *x) {
    bk_buf out = {0};
    bk_json w = {.out = &out};
    brisk_engine_stats st;
    brisk_engine_get_stats(s->engine, &st);
    uint64_t now = bk_now_ns();
    bk_json_begin(&w, '{');
    bk_json_key_str(&w, "object", "list");
    bk_json_key(&w, "data");
    bk_json_begin(&w, '[');
    for (const sv_job *j = s->live->first; j; j = j->next) {
        if (j->x->tenant == x->tenant) write_answer(&w, j, now); /* not other people's */
    }
    bk_json_end(&w, ']');
    bk_json_key_int(&w, "running", st.running);
    bk_json_key_int(&w, "waiting", st.waiting);
    bk_json_key_uint(&w, "engine_requests", s->live->counts.engine);
    bk_json_key_double(&w, "queue_seconds", st.queue_seconds);
    bk_json_end(&w, '}');
    sv_reply_json(x, 200, &out);
}

/* /v1/requests/ID/cancel, by the answer's id or the exchange's. */
static sv_job *named(sv_server *s, sv_exchange *x) {
    static const char before[] = "/v1/requests/", after[] = "/cancel";
    bk_str id = {x->head.path.data + sizeof before - 1, x->head.path.len - (sizeof before - 1)};
    if (id.len < sizeof after - 1 ||
        memcmp(id.data + id.len - (sizeof after - 1), after, sizeof after - 1) != 0)
        return NULL;
    id.len -= sizeof after - 1;
    for (sv_job *j = s->live->first; j; j = j->next) {
        if (j->x->tenant != x->tenant) continue;
        if (bk_str_eq(id, bk_str_from(j->id)) || bk_str_eq(id, bk_str_from(j->x->id))) return j;
    }
    return NULL;
}

void sv_post_cancel(sv_server *s, sv_exchange *x) {
    sv_problem p;
    sv_job *j = named(s, x);
    if (!j) {
        sv_problem_set(&p, 404, "unknown_request", NULL, "there is no such request in progress");
        sv_reply_problem(x, &p);
        return;
    }
    for (size_t i = 0; i < j->n_choices; i++) {
        if (!j->choices[i]->done) brisk_engine_cancel(s->engine, j->choices[i]->engine_id);
    }
    static const char yes[] = "{\"cancelled\":true}";
    sv_reply(x, 200, "application/json", yes, sizeof yes - 1);
}
