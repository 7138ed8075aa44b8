/* From options to requests: random words, ShareGPT conversations, Mooncake traces, --mix, --turns. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/json_read.h"
#include "base/mem.h"
#include "cli/cli.h"
#include "cli/load/load.h"
#include "cli/load/stats.h"

enum { BLOCK_TOKENS = 512, JSON_DEPTH = 64, TRACE_LENGTH_MOST = 1 << 24 };

/* Keys of parts: own texts count from 0, shared prefixes and blocks of a trace have ranges of their own. */
#define PREFIX_KEYS (1ull << 40)
#define BLOCK_KEYS (1ull << 41)

struct load_plan_memory {
    bk_arena arena;
};

typedef struct maker {
    load_plan *p;
    const load_options *o;
    double ratio; /* words per token */
    bk_rng rng;
    char *why;
} maker;

static bool fail(maker *m, const char *what) {
    snprintf(m->why, LOAD_WHY_CAP, "%.*s", LOAD_WHY_CAP - 1, what);
    return false;
}

static bool allocate(maker *m, size_t n) {
    m->p->requests = n ? bk_alloc_zero(n, sizeof *m->p->requests) : NULL;
    if (!m->p->requests) return fail(m, n ? "no memory for the requests" : "no requests to send");
    m->p->n = m->p->n_all = n;
    for (size_t i = 0; i < n; i++) {
        load_request *r = &m->p->requests[i];
        r->prompt_tokens = r->output_tokens = r->cached_tokens = -1;
    }
    return true;
}

static load_part *new_parts(maker *m, load_request *r, size_t n) {
    load_part *parts = bk_arena_alloc(&m->p->memory->arena, n, sizeof *parts);
    if (!parts) {
        fail(m, "no memory for the prompts");
        return NULL;
    }
    r->parts = parts;
    r->n_parts = n;
    return parts;
}

/* A prompt of random words: the index among all requests makes it unlike any other. */
static bool random_prompt(maker *m, load_request *r, int tokens) {
    load_part *part = new_parts(m, r, 1);
    if (!part) return false;
    part->key = (uint64_t)(r - m->p->requests);
    part->words = load_words(m->ratio, tokens);
    return true;
}

/* Uniform within the range ratio. */
static int vary(maker *m, int length) {
    double r = (double)m->o->range_ratio, low = floor(length * (1 - r)),
           high = ceil(length * (1 + r));
    double v = low + floor(bk_rng_unit(&m->rng) * (high - low + 1));
    return v < 1 ? 1 : (int)v;
}

static bool set_arrivals(maker *m) {
    double *at = bk_alloc(m->p->n, sizeof *at);
    if (!at) return fail(m, "no memory for the arrival times");
    load_arrivals(&m->rng, m->o->rate, (double)m->o->burstiness, at, m->p->n);
    for (size_t i = 0; i < m->p->n; i++) m->p->requests[i].due = (uint64_t)(at[i] * 1e9);
    bk_free(at);
    return true;
}

/* ---- Random words ------------------------------------------------------------------------------- */

static bool with_prefix(maker *m, load_request *r, size_t i) {
    const load_options *o = m->o;
    load_part *parts = new_parts(m, r, 2);
    if (!parts) return false;
    parts[0].key = PREFIX_KEYS + i % (size_t)o->prefix_count;
    parts[0].words = load_words(m->ratio, o->prefix_len);
    parts[1].key = i;
    parts[1].words = load_words(m->ratio, vary(m, o->input_len));
    r->system = load_is_chat(o);
    return true;
}

static bool make_random(maker *m) {
    const load_options *o = m->o;
    if (!allocate(m, (size_t)o->num_prompts)) return false;
    for (size_t i = 0; i < m->p->n; i++) {
        load_request *r = &m->p->requests[i];
        bool good =
            o->prefix_len ? with_prefix(m, r, i) : random_prompt(m, r, vary(m, o->input_len));
        if (!good) return false;
        r->out_want = vary(m, o->output_len);
    }
    return set_arrivals(m);
}

/* A first turn, a second one that goes on with it, and a conversation as long as that whose words are
 * others: its answer is that of the first turn, so that only the beginning differs. The order in the array
 * is: all first turns, all second ones, all cold ones. */
static bool make_turns(maker *m) {
    const load_options *o = m->o;
    size_t n = (size_t)o->num_prompts;
    if (!allocate(m, 4 * n)) return false;
    m->p->n = n;
    load_request *first = m->p->requests, *second = first + n, *cold = second + n, *past = cold + n;
    for (size_t i = 0; i < n; i++) {
        bool good = random_prompt(m, &first[i], o->input_len) &&
                    random_prompt(m, &second[i], o->turn_len) &&
                    random_prompt(m, &cold[i], o->turn_len) &&
                    random_prompt(m, &past[i], o->input_len);
        if (!good) return false;
        first[i].out_want = second[i].out_want = cold[i].out_want = o->output_len;
        first[i].keep_answer = true;
        first[i].then = &second[i];
        second[i].kind = LOAD_SECOND;
        second[i].history = &first[i];
        second[i].due = cold[i].due = past[i].due = LOAD_NEVER;
        cold[i].kind = LOAD_COLD;
        cold[i].history = &past[i]; /* never sent: only what the cold one begins with */
    }
    return set_arrivals(m);
}

static bool make_mix(maker *m) {
    const load_options *o = m->o;
    size_t steady = (size_t)o->steady, n = steady + (size_t)o->long_count;
    if (!allocate(m, n + o->alone)) return false;
    m->p->n = n;
    for (size_t i = 0; i < m->p->n_all; i++) {
        load_request *r = &m->p->requests[i];
        bool is_long = i >= steady;
        if (!random_prompt(m, r, is_long ? o->long_len : o->input_len)) return false;
        r->kind = i >= n ? LOAD_ALONE : is_long ? LOAD_LONG : LOAD_STEADY;
        r->out_want = is_long ? o->long_output_len : o->output_len;
        r->due = r->kind == LOAD_LONG ? LOAD_NEVER : 0;
    }
    return true;
}

/* ---- ShareGPT ----------------------------------------------------------------------------------- */

static bool is_from(const json_t *turn, const char *who, const char *also) {
    bk_str from = bk_json_text(json_object_get(turn, "from"));
    return bk_str_eq(from, bk_str_from(who)) || bk_str_eq(from, bk_str_from(also));
}

/* The first question and its answer; false when there are none. */
static bool question(const json_t *entry, bk_str *ask, bk_str *answer) {
    const json_t *turns = json_object_get(entry, "conversations");
    const json_t *a = json_array_get(turns, 0), *b = json_array_get(turns, 1);
    if (!is_from(a, "human", "user") || !is_from(b, "gpt", "assistant")) return false;
    *ask = bk_json_text(json_object_get(a, "value"));
    *answer = bk_json_text(json_object_get(b, "value"));
    return ask->len > 0 && answer->len > 0 && !memchr(ask->data, '\0', ask->len);
}

/* About as many tokens as the text has, for English in most vocabularies. */
static int tokens_of(bk_str text) { return (int)(bk_min_size(text.len, 1 << 24) / 4) + 1; }

static bool take_question(maker *m, load_request *r, bk_str ask, bk_str answer) {
    load_part *part = new_parts(m, r, 1);
    char *text = part ? bk_arena_alloc(&m->p->memory->arena, ask.len + 1, 1) : NULL;
    if (!text) return fail(m, "no memory for the prompts");
    memcpy(text, ask.data, ask.len); /* the arena is zeroed: NUL at its end */
    part->text = text;
    r->out_want = tokens_of(answer);
    return true;
}

/* num_prompts of those whose question and answer are of common length, in random order. */
static bool choose(maker *m, const json_t *all) {
    size_t total = json_array_size(all), n = 0, wanted = (size_t)m->o->num_prompts;
    size_t *order = total ? bk_alloc(total, sizeof *order) : NULL;
    bool good = order != NULL;
    bk_str ask, answer;
    for (size_t i = 0; good && i < total; i++) {
        if (!question(json_array_get(all, i), &ask, &answer)) continue;
        int a = tokens_of(ask), b = tokens_of(answer);
        if (a < 4 || b < 4 || a > 1024 || a + b > 2048) continue; /* as vLLM's bench does it */
        order[n++] = i;
    }
    for (size_t i = n; good && i > 1; i--) {
        size_t k = (size_t)(bk_rng_unit(&m->rng) * (double)i), t = order[k];
        order[k] = order[i - 1];
        order[i - 1] = t;
    }
    n = bk_min_size(n, wanted);
    if (n == 0)
        good = fail(m, "it has no conversation of 'human' and 'gpt' of usable length, as in "
                       "[{\"conversations\": [{\"from\": \"human\", \"value\": \"...\"}, ...]}]");
    good = good && allocate(m, n);
    for (size_t i = 0; good && i < n; i++) {
        good = question(json_array_get(all, order[i]), &ask, &answer) &&
               take_question(m, &m->p->requests[i], ask, answer);
    }
    bk_free(order);
    return good && set_arrivals(m);
}

static bool make_sharegpt(maker *m) {
    bk_buf text = {.limit = 0};
    json_t *all = NULL;
    bk_error err;
    bool good = cli_read_file(m->o->sharegpt, &text) || fail(m, "it cannot be read");
    if (good && bk_json_parse(bk_buf_view(&text), JSON_DEPTH, false, &all, &err))
        good = fail(m, err.text);
    bk_buf_free(&text);
    good = good && choose(m, all);
    json_decref(all);
    return good;
}

/* ---- Traces ------------------------------------------------------------------------------------- */

/* {"timestamp": ms, "input_length": n, "output_length": n, "hash_ids": [...]}: an id for each block of 512
 * tokens, equal ones for equal beginnings (Qin and others 2024, Mooncake). */
static bool take_trace_line(maker *m, const json_t *line, load_request *r) {
    const json_t *ids = json_object_get(line, "hash_ids");
    double at = json_number_value(json_object_get(line, "timestamp"));
    double scale = (double)m->o->trace_scale;
    double in = json_number_value(json_object_get(line, "input_length")) * scale;
    double out = json_number_value(json_object_get(line, "output_length")) * scale;
    if (!(in > 0 && in <= TRACE_LENGTH_MOST && out >= 0 && out <= TRACE_LENGTH_MOST && at >= 0 &&
          at < 1e12))
        return fail(m, "a line lacks timestamp, input_length or output_length of usable size");
    size_t n = bk_max_size(json_array_size(ids), 1);
    load_part *parts = new_parts(m, r, n);
    if (!parts) return false;
    double block = BLOCK_TOKENS * scale;
    for (size_t i = 0; i < n; i++) {
        const json_t *id = json_array_get(ids, i);
        double left = in - (double)i * block;
        parts[i].key = json_is_integer(id) ? BLOCK_KEYS + (uint64_t)json_integer_value(id)
                                           : (uint64_t)(r - m->p->requests);
        bool whole = i + 1 < n && left > block;
        parts[i].words = left > 0 ? load_words(m->ratio, (int)ceil(whole ? block : left)) : 0;
    }
    r->out_want = bk_max_int((int)out, 1);
    r->due = (uint64_t)(at * 1e6 / (double)m->o->trace_speed);
    return true;
}

static int by_due(const void *a, const void *b) {
    uint64_t x = ((const load_request *)a)->due, y = ((const load_request *)b)->due;
    return x < y ? -1 : x > y;
}

/* The next line; false at the end. */
static bool next_line(bk_str *rest, bk_str *line) {
    if (rest->len == 0) return false;
    const char *end = memchr(rest->data, '\n', rest->len);
    *line = (bk_str){rest->data, end ? (size_t)(end - rest->data) : rest->len};
    size_t skip = line->len + (end != NULL);
    rest->data += skip;
    rest->len -= skip;
    return true;
}

static bool take_trace(maker *m, bk_str text) {
    size_t n = 0;
    bk_str rest = text, line;
    while (next_line(&rest, &line)) n += line.len > 1;
    if (!allocate(m, bk_min_size(n, (size_t)m->o->num_prompts))) return false;
    size_t i = 0;
    for (rest = text; i < m->p->n && next_line(&rest, &line);) {
        json_t *v = NULL;
        bk_error err;
        if (line.len <= 1) continue;
        if (bk_json_parse(line, JSON_DEPTH, false, &v, &err)) return fail(m, err.text);
        bool good = take_trace_line(m, v, &m->p->requests[i++]);
        json_decref(v);
        if (!good) return false;
    }
    qsort(m->p->requests, m->p->n, sizeof *m->p->requests, by_due);
    uint64_t first = m->p->requests[0].due;
    for (i = 0; i < m->p->n; i++) m->p->requests[i].due -= first;
    return true;
}

static bool make_trace(maker *m) {
    bk_buf text = {.limit = 0};
    bool good = cli_read_file(m->o->trace, &text) ? take_trace(m, bk_buf_view(&text))
                                                  : fail(m, "it cannot be read");
    bk_buf_free(&text);
    return good;
}

/* ---- All ---------------------------------------------------------------------------------------- */

bool load_plan_make(load_plan *p, const load_options *o, double words_per_token, char *why) {
    maker m = {.p = p, .o = o, .ratio = words_per_token, .why = why};
    *p = (load_plan){.memory = bk_alloc_zero(1, sizeof *p->memory)};
    bk_rng_seed(&m.rng, o->seed, BLOCK_KEYS << 1);
    if (!p->memory) return fail(&m, "no memory for the requests");
    if (o->mix) return make_mix(&m);
    if (o->turns == 2) return make_turns(&m);
    if (o->sharegpt) return make_sharegpt(&m);
    if (o->trace) return make_trace(&m);
    return make_random(&m);
}

void load_plan_free(load_plan *p) {
    for (size_t i = 0; i < p->n_all; i++) load_request_clear(&p->requests[i]);
    if (p->memory) bk_arena_free(&p->memory->arena);
    bk_free(p->memory);
    bk_free(p->requests);
    *p = (load_plan){.n = 0};
}
