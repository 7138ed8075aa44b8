#include "cli/load/report.h"

const load_metric_name load_metric_names[LOAD_METRICS] = {
    [LOAD_TTFT] = {"ttft", "first token (TTFT)",
                   "from sending the request to the first piece of text"},
    [LOAD_TPOT] = {"tpot", "per token (TPOT)",
                   "(whole answer - first token) / (output tokens - 1), one value per answer"},
    [LOAD_ITL] = {"itl", "gap (ITL)",
                  "between one piece of text and the next of its stream, all streams together"},
    [LOAD_E2EL] = {"e2el", "whole answer (E2EL)",
                   "from sending the request to the last piece of text"},
};

static bool is_main(const load_request *r) {
    return r->kind == LOAD_USER || r->kind == LOAD_STEADY;
}

static double ms_between(uint64_t from, uint64_t to) { return ((double)to - (double)from) * 1e-6; }

/* ---- Sums --------------------------------------------------------------------------------------- */

/* Adds what the server said; a sum of nothing stays -1. */
static void add_count(int64_t *sum, int64_t v) {
    if (v < 0) return;
    *sum = *sum < 0 ? v : *sum + v;
}

static bool within_slo(const load_options *o, const load_request *r) {
    const double v[LOAD_SLOS] = {load_ttft(r), load_tpot(r), load_e2e(r)};
    for (int i = 0; i < LOAD_SLOS; i++)
        if (o->slo[i] > 0 && v[i] > o->slo[i]) return false;
    return true;
}

static void add_answer(load_report *s, const load_request *r) {
    s->output_tokens += load_output(r);
    s->counted &= r->output_tokens >= 0;
    if (r->prompt_tokens >= 0) {
        add_count(&s->prompt_tokens, r->prompt_tokens);
        if (s->prompt_least == 0 || r->prompt_tokens < s->prompt_least)
            s->prompt_least = r->prompt_tokens;
        if (r->prompt_tokens > s->prompt_most) s->prompt_most = r->prompt_tokens;
    }
    add_count(&s->cached_tokens, r->cached_tokens);
    load_samples_add(&s->ms[LOAD_E2EL], load_e2e(r));
    if (load_output(r) > 1) load_samples_add(&s->ms[LOAD_TPOT], load_tpot(r));
    s->good += within_slo(s->o, r);
}

static void add_request(load_report *s, const load_request *r) {
    s->n++;
    s->of[r->outcome]++;
    if (*r->why && !s->why[r->outcome]) s->why[r->outcome] = r->why;
    s->sent += r->sent > 0;
    if (r->outcome == LOAD_REFUSED) load_samples_add(&s->refused_ms, ms_between(r->sent, r->ended));
    if (r->outcome == LOAD_OK) add_answer(s, r);
    if (!load_answered(r)) return;
    load_samples_add(&s->ms[LOAD_TTFT], load_ttft(r));
    for (size_t i = 1; i < r->n_stamps; i++)
        load_samples_add(&s->ms[LOAD_ITL], ms_between(r->stamps[i - 1], r->stamps[i]));
}

static void add_all(load_report *s) {
    uint64_t first = UINT64_MAX, last = 0;
    for (size_t i = 0; i < s->plan->n_all; i++) {
        const load_request *r = &s->plan->requests[i];
        if (!is_main(r)) continue;
        if (s->o->turns == 2 && i >= s->plan->n) continue; /* never sent: a history */
        add_request(s, r);
        if (!r->sent) continue;
        if (r->sent < first) first = r->sent;
        if (r->ended > last) last = r->ended;
    }
    s->seconds = last > first ? (double)(last - first) * 1e-9 : 0;
}

/* ---- --mix -------------------------------------------------------------------------------------- */

typedef struct edges {
    uint64_t at[LOAD_WINDOWS + 1];
} edges;

/* Streams running, long prompt sent, its first token, end. False when there is no such thing. */
static bool find_edges(const load_report *s, const load_run *run, const load_mix *mix, edges *e) {
    size_t steady = (size_t)s->o->steady;
    uint64_t first = 0;
    for (size_t i = steady; i < run->n; i++) {
        const load_request *r = &run->requests[i];
        if (load_has_text(r) && r->stamps[0] > first) first = r->stamps[0];
    }
    if (!first || !mix->running) return false;
    *e = (edges){{mix->running, run->requests[steady].sent, first,
                  mix->stopped ? mix->stopped : run->ended}};
    for (size_t i = 0; i < steady; i++) { /* a stream that ended by itself */
        const load_request *r = &run->requests[i];
        if (r->outcome == LOAD_OK && r->ended < e->at[LOAD_WINDOWS]) e->at[LOAD_WINDOWS] = r->ended;
    }
    if (e->at[LOAD_WINDOWS] < first) e->at[LOAD_WINDOWS] = first;
    return true;
}

/* A gap belongs to "during" as soon as a part of it does. */
static int window_of_gap(const edges *e, uint64_t from, uint64_t to) {
    if (to < e->at[LOAD_DURING]) return LOAD_BEFORE;
    return from > e->at[LOAD_AFTER] ? LOAD_AFTER : LOAD_DURING;
}

static int window_of_token(const edges *e, uint64_t at) {
    for (int w = 0; w < LOAD_WINDOWS; w++)
        if (at >= e->at[w] && at < e->at[w + 1]) return w;
    return LOAD_WINDOWS;
}

static void add_mix(load_report *s, const load_run *run, const load_mix *mix) {
    edges e;
    for (size_t i = 0; i < s->plan->n_all; i++) {
        const load_request *r = &s->plan->requests[i];
        if (!load_answered(r)) continue;
        if (r->kind == LOAD_LONG) load_samples_add(&s->long_ms, load_ttft(r));
        if (r->kind == LOAD_ALONE) s->alone_ms = load_ttft(r);
    }
    if (!find_edges(s, run, mix, &e)) return;
    for (int w = 0; w < LOAD_WINDOWS; w++)
        s->window[w].seconds = (double)(e.at[w + 1] - e.at[w]) * 1e-9;
    for (size_t i = 0; i < (size_t)s->o->steady; i++) {
        const load_request *r = &run->requests[i];
        for (size_t k = 0; k < r->n_stamps; k++) {
            int w = window_of_token(&e, r->stamps[k]);
            if (w < LOAD_WINDOWS) s->window[w].tokens++;
            if (k == 0 || r->stamps[k] < e.at[0]) continue;
            w = window_of_gap(&e, r->stamps[k - 1], r->stamps[k]);
            load_samples_add(&s->window[w].gaps, ms_between(r->stamps[k - 1], r->stamps[k]));
        }
    }
    for (int w = 0; w < LOAD_WINDOWS; w++) load_samples_sort(&s->window[w].gaps);
}

/* ---- --turns 2 ---------------------------------------------------------------------------------- */

static void add_turns(load_report *s) {
    s->second_cached = s->second_prompt = -1;
    for (size_t i = 0; i < s->plan->n_all; i++) {
        const load_request *r = &s->plan->requests[i];
        if (!load_answered(r)) continue;
        if (r->kind == LOAD_COLD) load_samples_add(&s->cold_ms, load_ttft(r));
        if (r->kind != LOAD_SECOND) continue;
        load_samples_add(&s->second_ms, load_ttft(r));
        add_count(&s->second_prompt, r->prompt_tokens);
        add_count(&s->second_cached, r->cached_tokens);
    }
    load_samples_sort(&s->second_ms);
    load_samples_sort(&s->cold_ms);
}

/* ---- All ---------------------------------------------------------------------------------------- */

void load_report_make(load_report *s, const load_run *run, const load_mix *mix) {
    s->start = run->started;
    s->counted = true;
    s->cached_tokens = s->prompt_tokens = -1;
    s->late_ms = (double)run->late * 1e-6;
    add_all(s);
    for (int i = 0; i < LOAD_METRICS; i++) load_samples_sort(&s->ms[i]);
    load_samples_sort(&s->refused_ms);
    for (int i = 0; i < LOAD_SLOS; i++) s->has_slo |= s->o->slo[i] > 0;
    if (s->o->mix) add_mix(s, run, mix);
    if (s->o->turns == 2) add_turns(s);
}

void load_report_free(load_report *s) {
    for (int i = 0; i < LOAD_METRICS; i++) load_samples_free(&s->ms[i]);
    for (int w = 0; w < LOAD_WINDOWS; w++) load_samples_free(&s->window[w].gaps);
    load_samples_free(&s->refused_ms);
    load_samples_free(&s->long_ms);
    load_samples_free(&s->second_ms);
    load_samples_free(&s->cold_ms);
}
