/* The life of the server: start, load, serve, drain, end. */
#include <errno.h>
#include <event2/event.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "server/live.h"
#include "server/work.h"

enum {
    LOOP_NICE = -5,  /* the loop writes tokens: it must not wait for the threads that compute */
    LOADER_NICE = 1, /* where it may not be raised, those are lowered */
    BODY_MOST = 8 << 20,
    BODIES_MOST = 256 << 20,
    OUTPUT_MOST = 1 << 20,
    CONNS_MOST = 16384,
    LAST_SECONDS = 2 /* for the last bytes on their way out */
};

typedef struct sv_life {
    sv_server s;
    struct event *term, *interrupt, *loaded, *engine, *tick;
    int loaded_fd;
    bool lower; /* the loader's priority, and with it that of the threads that it starts */
    uint64_t drain_ns, last_ns; /* when to end what runs; when to go in any case */

    /* Written by the loader before loaded_fd. */
    pthread_t loader;
    bool loading, good;
    brisk_model *model;
    brisk_engine *engine_made;
    const char *name;
    brisk_error why;
} sv_life;

/* ---- Loading ------------------------------------------------------------------------------------ */

static void *load(void *user) {
    sv_life *l = user;
    const sv_options *o = l->s.o;
    uint64_t one = 1;
    if (l->lower) setpriority(PRIO_PROCESS, (id_t)syscall(SYS_gettid), LOADER_NICE);
    l->good = o->load(o->user, &l->model, &l->name);
    if (l->good && brisk_engine_create(l->model, &o->engine, &l->engine_made, &l->why)) {
        sv_log("%s", l->why.text);
        l->good = false;
    }
    while (write(l->loaded_fd, &one, sizeof one) < 0 && errno == EINTR) continue;
    return NULL;
}

static void on_engine(evutil_socket_t fd, short what, void *user) {
    (void)fd, (void)what;
    sv_life *l = user;
    sv_live_poll(&l->s);
}

static void fail(sv_life *l, const char *why) {
    sv_log("%s", why);
    l->s.status = 1;
    event_base_loopbreak(l->s.base);
}

static void on_loaded(evutil_socket_t fd, short what, void *user) {
    (void)fd, (void)what;
    sv_life *l = user;
    sv_server *s = &l->s;
    pthread_join(l->loader, NULL);
    l->loading = false;
    event_del(l->loaded);
    if (!l->good) {
        s->status = 1; /* why has been said */
        event_base_loopbreak(s->base);
        return;
    }
    s->model = l->model;
    s->engine = l->engine_made;
    s->name = l->name;
    s->created = time(NULL);
    brisk_model_get_info(s->model, &s->info);
    s->chat_template =
        s->o->chat_template ? s->o->chat_template : brisk_model_chat_template(s->model);
    l->engine = event_new(s->base, brisk_engine_fd(s->engine), EV_READ | EV_PERSIST, on_engine, l);
    if (!l->engine || event_add(l->engine, NULL) != 0) {
        fail(l, "no memory for the server");
        return;
    }
    if (!(s->work = sv_work_create(s))) {
        fail(l, "no memory for the server");
        return;
    }
    s->phase = SV_READY;
    sv_log_start(s);
}

/* ---- Ending ------------------------------------------------------------------------------------- */

static void on_signal(evutil_socket_t sig, short what, void *user) {
    (void)sig, (void)what;
    sv_life *l = user;
    sv_server *s = &l->s;
    if (s->phase != SV_READY) { /* a second one, or nothing is served yet */
        fflush(stderr);
        _exit(s->phase == SV_DRAINING ? 1 : 0);
    }
    s->phase = SV_DRAINING;
    l->drain_ns = bk_now_ns() + (uint64_t)(s->o->drain_seconds * 1e9);
    sv_http_drain(s->http);
    unsigned n = sv_live_get_counts(s->live).answers;
    if (n > 0)
        sv_log("%u answers are finished within %g s; a second signal ends at once", n,
               s->o->drain_seconds);
}

static void drain(sv_life *l, uint64_t now) {
    sv_server *s = &l->s;
    if (sv_live_get_counts(s->live).answers > 0 && now >= l->drain_ns) {
        sv_problem p;
        sv_problem_set(&p, 503, "draining", NULL, "the server ended before the answer did");
        sv_live_fail_all(s, &p);
    }
    if (sv_live_get_counts(s->live).answers > 0) return;
    if (sv_work_count(s->work) > 0 && now < l->drain_ns) return;
    if (l->last_ns == 0) l->last_ns = now + LAST_SECONDS * UINT64_C(1000000000);
    if (!sv_http_busy(s->http) || now >= l->last_ns) event_base_loopbreak(s->base);
}

static void on_tick(evutil_socket_t fd, short what, void *user) {
    (void)fd, (void)what;
    sv_life *l = user;
    uint64_t now = bk_now_ns();
    if (l->s.phase != SV_LOADING) sv_live_tick(&l->s, now);
    if (l->s.phase == SV_DRAINING) drain(l, now);
}

/* ---- The whole ---------------------------------------------------------------------------------- */

static void on_ended(void *user, sv_exchange *x, bool whole) {
    sv_server *s = user;
    if (x->head.method == SV_POST && x->status >= 400)
        sv_metrics_rejected(&s->metrics, x->status, x->problem);
    sv_log_exchange(s, x, whole);
}

static void quiet(int severity, const char *text) {
    if (severity >= EVENT_LOG_ERR) sv_log("libevent: %s", text);
}

static bool open_listener(sv_server *s) {
    char why[640];
    const sv_options *o = s->o;
    const sv_http_options http = {.body_most = BODY_MOST,
                                  .bodies_most = BODIES_MOST,
                                  .output_most = OUTPUT_MOST,
                                  .conns_most = CONNS_MOST,
                                  .cert = o->cert,
                                  .key = o->key,
                                  .user = s,
                                  .head = sv_on_head,
                                  .request = sv_on_request,
                                  .refuse = sv_on_refuse,
                                  .ended = on_ended};
    if (!(s->http = sv_http_create(s->base, &http, why, sizeof why)) ||
        (s->port = sv_http_listen(s->http, o->host, o->port, why, sizeof why)) < 0) {
        sv_log("%s", why);
        return false;
    }
    return true;
}

static bool add_event(struct event **slot, struct event *e, const struct timeval *period) {
    *slot = e;
    return e && event_add(e, period) == 0;
}

static bool add_events(sv_life *l) {
    struct event_base *base = l->s.base;
    const struct timeval period = {0, 100000};
    l->loaded_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    return l->loaded_fd >= 0 &&
           add_event(&l->term, evsignal_new(base, SIGTERM, on_signal, l), NULL) &&
           add_event(&l->interrupt, evsignal_new(base, SIGINT, on_signal, l), NULL) &&
           add_event(&l->loaded, event_new(base, l->loaded_fd, EV_READ, on_loaded, l), NULL) &&
           add_event(&l->tick, event_new(base, -1, EV_PERSIST, on_tick, l), &period);
}

static bool set_up(sv_life *l) {
    sv_server *s = &l->s;
    const sv_auth_options auth = {.host = s->o->host,
                                  .keys = s->o->api_keys,
                                  .n_keys = s->o->n_api_keys,
                                  .cors_origins = s->o->cors_origins};
    struct event_config *config = event_config_new();
    if (config) {
        event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK);
        s->base = event_base_new_with_config(config);
        event_config_free(config);
    }
    s->auth = sv_auth_create(&auth);
    s->live = sv_live_create();
    if (!s->base || !s->auth || !s->live || !add_events(l)) {
        sv_log("no memory for the server");
        return false;
    }
    return open_listener(s);
}

static bool start_loading(sv_life *l) {
    l->lower = setpriority(PRIO_PROCESS, (id_t)syscall(SYS_gettid), LOOP_NICE) != 0;
    int bad = pthread_create(&l->loader, NULL, load, l);
    l->loading = !bad;
    if (bad) sv_log("no thread for loading the model");
    return !bad;
}

static void tear_down(sv_life *l) {
    sv_server *s = &l->s;
    struct event *events[] = {l->term, l->interrupt, l->loaded, l->engine, l->tick};
    if (l->loading) pthread_join(l->loader, NULL);
    sv_work_destroy(&s->work);
    sv_http_destroy(&s->http);
    sv_live_destroy(&s->live);
    for (size_t i = 0; i < BK_ARRAY_LEN(events); i++) {
        if (events[i]) event_free(events[i]);
    }
    brisk_engine_destroy(&l->engine_made);
    brisk_model_close(&l->model);
    sv_auth_destroy(&s->auth);
    if (s->base) event_base_free(s->base);
    if (l->loaded_fd >= 0) close(l->loaded_fd);
    libevent_global_shutdown();
}

/* As many connections as the system allows. */
static void raise_limit(void) {
    struct rlimit r;
    if (getrlimit(RLIMIT_NOFILE, &r) != 0) return;
    r.rlim_cur = r.rlim_max < 65536 ? r.rlim_max : 65536;
    setrlimit(RLIMIT_NOFILE, &r);
}

int sv_run(const sv_options *o) {
    sv_life *l = bk_alloc_zero(1, sizeof *l);
    if (!l) {
        sv_log("no memory for the server");
        return 1;
    }
    *l = (sv_life){.s = {.o = o, .tls = o->cert != NULL}, .loaded_fd = -1};
    sv_metrics_init(&l->s.metrics);
    if (!sv_is_loopback(o->host) && o->n_api_keys == 0 && !o->insecure) {
        sv_log("--host %s can be reached from other machines: give --api-key, or --insecure if "
               "everybody may use this server",
               o->host);
        bk_free(l);
        return 1;
    }
    signal(SIGPIPE, SIG_IGN);
    event_set_log_callback(quiet);
    raise_limit();
    bool good = set_up(l);
    if (good) {
        sv_log_listening(&l->s);
        good = start_loading(l);
    }
    if (good) event_base_dispatch(l->s.base);
    int status = good ? l->s.status : 1;
    tear_down(l);
    bk_free(l);
    return status;
}
