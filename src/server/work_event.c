/* Large bodies on a thread of their own: see work.h. */
#include "server/work.h"

#include <errno.h>
#include <event2/event.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/mem.h"
#include "server/live.h"

enum { WORK_NICE = 10 }; /* steps of the engine come first: everybody's tokens wait for them */

typedef struct task {
    struct task *next;
    sv_work *owner;
    sv_exchange *x; /* the loop's own; NULL once its client is gone */
    sv_handler *handler;
    sv_exchange mine; /* what the handler sees: the body, the tenant, and no connection */
    sv_draft draft;
} task;

struct sv_work {
    sv_server *s;
    struct event *event;
    int fd;
    pthread_t thread;
    bool started;
    unsigned n; /* tasks that have not been handed back */
    pthread_mutex_t lock;
    pthread_cond_t wake;
    task *queue, *done; /* under lock, as is stop; done is in no order */
    bool stop;
};

/* ---- The thread --------------------------------------------------------------------------------- */

static task *take(sv_work *w) {
    pthread_mutex_lock(&w->lock);
    while (!w->queue && !w->stop) pthread_cond_wait(&w->wake, &w->lock);
    task *t = w->stop ? NULL : w->queue;
    if (t) w->queue = t->next;
    pthread_mutex_unlock(&w->lock);
    return t;
}

static void *work(void *user) {
    sv_work *w = user;
    uint64_t one = 1;
    task *t;
    setpriority(PRIO_PROCESS, (id_t)syscall(SYS_gettid), WORK_NICE);
    while ((t = take(w))) {
        t->handler(w->s, &t->mine);
        pthread_mutex_lock(&w->lock);
        t->next = w->done;
        w->done = t;
        pthread_mutex_unlock(&w->lock);
        while (write(w->fd, &one, sizeof one) < 0 && errno == EINTR) continue;
    }
    return NULL;
}

/* ---- The loop ----------------------------------------------------------------------------------- */

static void drop(task *t) {
    if (t->draft.job) t->draft.job->kind->destroy(t->draft.job);
    sv_body_free(t->owner->s->http, &t->mine.body);
    bk_buf_free(&t->mine.headers);
    bk_buf_free(&t->draft.data);
    bk_free(t);
}

/* The client has left: a task that waits is gone at once, one in work when it is done. */
static void on_left(void *user, sv_exchange *x) {
    (void)user;
    task *t = x->user;
    sv_work *w = t->owner;
    pthread_mutex_lock(&w->lock);
    task **at = &w->queue;
    while (*at && *at != t) at = &(*at)->next;
    bool waits = *at != NULL;
    if (waits) *at = t->next;
    pthread_mutex_unlock(&w->lock);
    t->x = NULL;
    x->user = NULL;
    if (!waits) return;
    w->n--;
    drop(t);
}

static void hand_back(task *t) {
    sv_exchange *x = t->x;
    sv_job *j = t->draft.job;
    t->owner->n--;
    if (x) {
        x->user = NULL;
        x->problem = t->mine.problem;
        bk_buf_append(&x->headers, t->mine.headers.data, t->mine.headers.len);
        t->draft.job = NULL;
        if (j)
            sv_job_start(j, x);
        else if (t->draft.data.failed)
            sv_cut(x);
        else
            sv_reply(x, t->draft.status, t->draft.type, t->draft.data.data, t->draft.data.len);
    }
    drop(t);
}

static void on_done(evutil_socket_t fd, short what, void *user) {
    (void)what;
    sv_work *w = user;
    uint64_t n;
    if (read(fd, &n, sizeof n) < 0) return;
    pthread_mutex_lock(&w->lock);
    task *t = w->done;
    w->done = NULL;
    pthread_mutex_unlock(&w->lock);
    while (t) {
        task *next = t->next;
        hand_back(t);
        t = next;
    }
}

bool sv_work_add(sv_work *w, sv_exchange *x, sv_handler *handler) {
    task *t = bk_alloc_zero(1, sizeof *t);
    if (!t) return false;
    *t = (task){.owner = w, .x = x, .handler = handler};
    t->mine = (sv_exchange){.tenant = x->tenant, .draft = &t->draft};
    sv_body_take(x, &t->mine.body);
    x->user = t;
    x->left = on_left;
    w->n++;
    pthread_mutex_lock(&w->lock);
    task **end = &w->queue;
    while (*end) end = &(*end)->next;
    *end = t;
    pthread_cond_signal(&w->wake);
    pthread_mutex_unlock(&w->lock);
    return true;
}

unsigned sv_work_count(const sv_work *w) { return w->n; }

/* ---- Life --------------------------------------------------------------------------------------- */

sv_work *sv_work_create(sv_server *s) {
    sv_work *w = bk_alloc_zero(1, sizeof *w);
    if (!w) return NULL;
    w->s = s;
    pthread_mutex_init(&w->lock, NULL);
    pthread_cond_init(&w->wake, NULL);
    w->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    w->event = event_new(s->base, w->fd, EV_READ | EV_PERSIST, on_done, w);
    if (w->fd >= 0 && w->event && event_add(w->event, NULL) == 0)
        w->started = pthread_create(&w->thread, NULL, work, w) == 0;
    if (!w->started) sv_work_destroy(&w);
    return w;
}

static void drop_all(task *t) {
    while (t) {
        task *next = t->next;
        drop(t);
        t = next;
    }
}

void sv_work_destroy(sv_work **work) {
    sv_work *w = *work;
    if (!w) return;
    pthread_mutex_lock(&w->lock);
    w->stop = true;
    pthread_cond_signal(&w->wake);
    pthread_mutex_unlock(&w->lock);
    if (w->started) pthread_join(w->thread, NULL);
    drop_all(w->queue);
    drop_all(w->done);
    if (w->event) event_free(w->event);
    if (w->fd >= 0) close(w->fd);
    pthread_cond_destroy(&w->wake);
    pthread_mutex_destroy(&w->lock);
    bk_free(w);
    *work = NULL;
}
