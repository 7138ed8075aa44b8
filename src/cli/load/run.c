#include "cli/load/run.h"

#include "base/clock.h"

#define LOOK_EVERY_NS 20000000u /* at steering, Ctrl-C and the progress line */

static void start(load_run *run, load_client *c, load_request *r) {
    run->open++;
    load_client_start(c, r);
}

static void start_due(load_run *run, load_client *c) {
    while (run->next < run->n && (run->max_open == 0 || run->open < run->max_open)) {
        load_request *r = &run->requests[run->next];
        uint64_t now = bk_now_ns();
        if (r->due == LOAD_NEVER || run->started + r->due > now) return;
        /* One that waited for another's end is due then, not when it stands in the plan. */
        uint64_t since = run->started + r->due;
        if (run->freed > since) since = run->freed;
        if (now - since > run->late) run->late = now - since;
        run->next++;
        start(run, c, r);
    }
}

static void take_ended(load_run *run, load_client *c) {
    for (load_request *r; (r = load_client_ended(c));) {
        if (run->open == run->max_open) run->freed = bk_now_ns();
        run->open--;
        run->finished++;
        if (r->then && r->outcome == LOAD_OK && !cli_interrupted) start(run, c, r->then);
    }
}

static uint64_t wake_at(const load_run *run, uint64_t now) {
    uint64_t wake = now + LOOK_EVERY_NS;
    if (run->next == run->n || (run->max_open && run->open >= run->max_open)) return wake;
    uint64_t due = run->requests[run->next].due;
    return due != LOAD_NEVER && run->started + due < wake ? run->started + due : wake;
}

static void show(const load_run *run, cli_progress *bar) {
    char note[64];
    snprintf(note, sizeof note, "%zu running, %zu ended", run->open, run->finished);
    if (run->what) cli_progress_show(bar, (double)run->finished / (double)run->n, note);
}

static void stop_all(load_run *run, load_client *c) {
    for (size_t i = 0; i < run->n; i++) {
        load_client_stop(c, &run->requests[i]);
        if (run->requests[i].then) load_client_stop(c, run->requests[i].then);
    }
    take_ended(run, c);
}

void load_run_all(load_run *run, load_client *c) {
    cli_progress bar;
    cli_progress_start(&bar, run->what);
    run->started = bk_now_ns();
    while (!cli_interrupted) {
        uint64_t now = bk_now_ns();
        if (run->steer) run->steer(run, c, now);
        start_due(run, c);
        take_ended(run, c);
        if (run->open == 0 && run->next == run->n) break;
        load_client_wait(c, wake_at(run, now));
        show(run, &bar);
    }
    stop_all(run, c);
    run->ended = bk_now_ns();
    cli_progress_end(&bar);
}

/* ---- --mix -------------------------------------------------------------------------------------- */

static uint64_t ns(double seconds) { return (uint64_t)(seconds * 1e9); }

/* When the last of the streams began; 0 while one has not. Those that failed do not count. */
static uint64_t all_run(const load_run *run, size_t steady, uint64_t now) {
    uint64_t last = 0;
    for (size_t i = 0; i < steady; i++) {
        const load_request *r = &run->requests[i];
        if (r->outcome == LOAD_WAITING || (r->outcome == LOAD_RUNNING && !load_has_text(r)))
            return 0;
        if (load_has_text(r) && r->stamps[0] > last) last = r->stamps[0];
    }
    return last ? last : now;
}

void load_mix_steer(load_run *run, load_client *c, uint64_t now) {
    load_mix *m = run->user;
    size_t steady = (size_t)m->o->steady;
    if (m->stopped) return;
    if (!m->running) {
        m->running = all_run(run, steady, now);
        if (!m->running) return;
        for (size_t i = steady; i < run->n; i++) {
            uint64_t after =
                ns((double)m->o->lead + (double)m->o->long_every * (double)(i - steady));
            run->requests[i].due = m->running - run->started + after;
        }
    }
    uint64_t last = run->requests[steady].sent + ns(m->span);
    for (size_t i = steady; i < run->n; i++) {
        const load_request *r = &run->requests[i];
        if (r->outcome == LOAD_WAITING || r->outcome == LOAD_RUNNING) return;
        if (r->ended + ns((double)m->o->lead) > last) last = r->ended + ns((double)m->o->lead);
    }
    if (now < last) return;
    m->stopped = now;
    for (size_t i = 0; i < steady; i++) load_client_stop(c, &run->requests[i]);
}
